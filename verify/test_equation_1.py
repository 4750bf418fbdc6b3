"""Eq. 1: the value of the game, sampled through networks and summed."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from on_claims import test_the_claim_holds as test_the_claim_holds
from on_claims import test_the_planted_fault_is_caught as test_the_planted_fault_is_caught

from advnets import Model, game, players, priors, verify

PREFIXES = ("eq1-",)

N = 200_000


class Quarters(eqx.Module):
    """Maps z to one of four cells: with a uniform prior, the shares of the cells are exact."""

    edges: jax.Array  # of the uniform variable's distribution function

    def __call__(self, z):
        share = (z[0] / 3**0.5 + 1) / 2
        return jax.nn.one_hot(jnp.searchsorted(self.edges, share), 4)


class Table(eqx.Module):
    """A discriminator with one logit per cell."""

    logits: jax.Array

    def __call__(self, x):
        return self.logits @ x


def test_the_value_of_samples_is_the_sum_over_cells():
    p_data, p_g = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.1, 0.0, 0.5, 0.4])
    logits = np.array([1.5, -0.5, 0.25, -2.0])
    real_key, fake_key, judge_key = jax.random.split(jax.random.key(0), 3)
    cells = jax.random.choice(real_key, 4, (N,), p=jnp.asarray(p_data, jnp.float32))
    real = jax.nn.one_hot(cells, 4)
    generator = Quarters(jnp.asarray(np.cumsum(p_g)[:3], jnp.float32))
    fake = Model(generator, priors.Uniform(1))(fake_key, N)
    discriminator = Table(jnp.asarray(logits, jnp.float32))
    real_logits = players.judge(judge_key, discriminator, real)
    fake_logits = players.judge(judge_key, discriminator, fake)
    sampled = float(game.value_function(real_logits, fake_logits))

    d = 1 / (1 + np.exp(-logits))
    summed = np.sum(p_data * np.log(d) + p_g * np.log(1 - d))
    variance = sum(
        np.sum(p * f**2) - np.sum(p * f) ** 2
        for p, f in ((p_data, np.log(d)), (p_g, np.log(1 - d)))
    )
    assert abs(sampled - summed) < 4 * np.sqrt(variance / N)
    assert verify.value_on_grid(p_data, p_g, logits) == pytest.approx(summed, rel=1e-14)


weights = st.lists(st.floats(0, 1), min_size=5, max_size=5).filter(lambda w: sum(w) > 0.1)


@given(weights, weights, st.lists(st.floats(-20, 20), min_size=5, max_size=5))
def test_the_value_on_cells_by_hand(data, model, logits):
    p, q = np.array(data) / sum(data), np.array(model) / sum(model)
    # log D and log(1 - D) by NumPy's logaddexp, which the library does not use.
    log_d, log_not_d = -np.logaddexp(0, np.negative(logits)), -np.logaddexp(0, logits)
    by_hand = p @ log_d + q @ log_not_d
    assert verify.value_on_grid(p, q, np.array(logits)) == pytest.approx(by_hand, rel=1e-12)
