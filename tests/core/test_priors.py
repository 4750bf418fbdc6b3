"""Priors: marginals and independence under a fixed key."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from advnets import priors


@pytest.mark.parametrize(
    ("prior", "marginal"),
    [
        (priors.Uniform(4), scipy.stats.uniform(-np.sqrt(3), 2 * np.sqrt(3))),
        (priors.Normal(4), scipy.stats.norm()),
        # One coordinate of a point on the sphere in four dimensions: (t + 1) / 2 ~ Beta(3/2, 3/2).
        (priors.Spherical(4), scipy.stats.beta(1.5, 1.5, loc=-1, scale=2)),
        (priors.UnitCube(4), scipy.stats.uniform(0, 1)),
    ],
)
def test_priors_have_their_marginals_and_independent_rows(key, prior, marginal):
    z = np.asarray(prior(key, 20_000), np.float64)
    assert z.shape == (20_000, 4)
    for column in z.T:
        assert scipy.stats.kstest(column, marginal.cdf).pvalue > 0.001
    correlations = np.corrcoef(z.T)[np.triu_indices(4, 1)]
    assert abs(correlations).max() < 4 / np.sqrt(len(z))
    successive = np.corrcoef(z[:-1, 0], z[1:, 0])[0, 1]
    assert abs(successive) < 4 / np.sqrt(len(z))


def test_spherical_latents_have_unit_length(key):
    z = priors.Spherical(100)(key, 50)
    np.testing.assert_allclose(jnp.linalg.norm(z, axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    "prior", [priors.Uniform, priors.Normal, priors.Spherical, priors.UnitCube]
)
def test_a_latent_vector_has_a_component(key, prior):
    assert prior().size == 100  # as in the released recipes
    prior(1)
    with pytest.raises(ValueError, match="at least 1 component; got 0"):
        prior(0)
    with pytest.raises(ValueError, match=r"from 0 to 2\*\*31; got -1"):
        prior(3)(key, -1)
