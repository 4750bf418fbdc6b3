"""Objectives since 2014, on other densities and by other optimisers than the claims use."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from on_claims import test_the_claim_holds as test_the_claim_holds
from on_claims import test_the_planted_fault_is_caught as test_the_planted_fault_is_caught

from advnets.draws import discriminator_draws
from advnets.objectives import FGAN, Hinge, LeastSquares, Relativistic, divergences

PREFIXES = ("ls-", "hinge-", "relativistic-", "wasserstein-", "fgan-", "penalty-")

P, Q = np.array([0.5, 0.3, 0.15, 0.05]), np.array([0.1, 0.3, 0.2, 0.4])
TRIANGULAR = np.sum((P - Q) ** 2 / (P + Q))
KL, REVERSE = scipy.stats.entropy(P, Q), scipy.stats.entropy(Q, P)
JSD = (scipy.stats.entropy(P, (P + Q) / 2) + scipy.stats.entropy(Q, (P + Q) / 2)) / 2
THERE, BACK = np.outer(P, Q).ravel(), np.outer(Q, P).ravel()
MEAN = (THERE + BACK) / 2
LEAST = {
    "least squares": (LeastSquares(), 1 / 4 - TRIANGULAR / 8),
    "hinge": (Hinge(), 2 - np.abs(P - Q).sum()),
    "relativistic": (
        Relativistic(),
        np.log(2) - (scipy.stats.entropy(THERE, MEAN) + scipy.stats.entropy(BACK, MEAN)) / 2,
    ),
    "Jeffreys": (FGAN(divergences.Jeffreys()), -KL - REVERSE),
    "2014": (FGAN(divergences.GAN()), np.log(4) - 2 * JSD),
}


@pytest.mark.parametrize("name", LEAST)
def test_the_least_cost_of_d_by_powells_method_on_a_minibatch(name):
    """Data and generated examples in the densities' proportions, which are multiples of 1/20."""
    objective, least = LEAST[name]
    real, fake = (jnp.asarray(np.repeat(np.arange(4), np.rint(20 * x).astype(int))) for x in (P, Q))
    draws = discriminator_draws(jax.random.key(0))
    if name == "relativistic":  # pairs are formed place by place: take all of them
        real, fake = jnp.repeat(real, 20), jnp.tile(fake, 20)
    with jax.enable_x64(True):

        @jax.jit
        def cost(outputs):
            return objective.costs(draws, lambda _, x: outputs[x], real, fake).discriminator

        found = scipy.optimize.minimize(
            lambda outputs: float(cost(outputs)),
            np.zeros(4),
            method="Powell",
            bounds=[(-20, 20)] * 4,
            options={"xtol": 1e-10, "ftol": 1e-14},
        )
    assert found.fun == pytest.approx(least, abs=1e-6)
