"""Eq. 1: the value of the game by Monte Carlo, through networks, equals its integral."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats

import advnets
from advnets import verify

N = 200_000


class Shift(eqx.Module):
    """z -> scale z + shift: with a normal prior, p_g is normal too."""

    scale: jax.Array
    shift: jax.Array

    def __call__(self, z):
        return self.scale * z + self.shift


def test_the_monte_carlo_value_is_the_integral():
    generator = Shift(jnp.array([0.7]), jnp.array([1.0]))
    discriminator = eqx.nn.MLP(1, "scalar", 8, 1, jnp.tanh, key=jax.random.key(3))
    real_key, fake_key, judge_key = jax.random.split(jax.random.key(0), 3)
    real = jax.random.normal(real_key, (N, 1))
    fake = advnets.generate(fake_key, generator, advnets.Normal(1), N)
    real_logits = advnets.judge(judge_key, discriminator, real)
    fake_logits = advnets.judge(judge_key, discriminator, fake)
    estimate = float(advnets.value_function(real_logits, fake_logits))

    (hidden, output) = discriminator.layers
    w, b = np.asarray(hidden.weight, float)[:, 0], np.asarray(hidden.bias, float)
    v, c = np.asarray(output.weight, float)[0], float(output.bias[0])

    def integrand(x):
        logit = v @ np.tanh(w * x + b) + c
        return scipy.stats.norm.pdf(x) * scipy.special.log_expit(logit) + scipy.stats.norm.pdf(
            x, 1.0, 0.7
        ) * scipy.special.log_expit(-logit)

    integral, _ = scipy.integrate.quad(integrand, -12, 12, epsabs=1e-10)
    spread = np.var(jax.nn.log_sigmoid(real_logits)) + np.var(jax.nn.log_sigmoid(-fake_logits))
    assert abs(estimate - integral) < 4 * np.sqrt(spread / N)
    # The tolerance is tight enough to tell the terms apart.
    assert np.sqrt(spread / N) < 1e-3 * abs(integral)


IDS = [id for id in verify.CLAIMS if id.startswith("eq1")]
FAULTS = [(id, fault) for id in IDS for fault in verify.CLAIMS[id].faults]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("id", IDS)
def test_holds(id, seed):
    assert verify.run_claim(verify.CLAIMS[id], seed).verdict == "holds"


@pytest.mark.parametrize(
    ("id", "fault"), FAULTS, ids=lambda value: getattr(value, "description", value)
)
def test_fault_is_caught(id, fault):
    assert verify.run_claim(verify.CLAIMS[id], 0, fault).verdict == "fails"
