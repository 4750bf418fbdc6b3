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


@pytest.mark.parametrize("kind", [jnp.float32, jnp.bfloat16])
def test_latents_of_extreme_normals_are_in_the_unit_cube(kind):
    z = priors.UnitCube(3).from_normal(jnp.array([[-1e3, 0.0, 1e3]], kind))
    assert z.dtype == kind
    assert z.tolist() == [[0, 0.5, 1 - float(jnp.finfo(kind).epsneg)]]


@pytest.mark.parametrize(
    "prior", [priors.Uniform, priors.Normal, priors.Spherical, priors.UnitCube]
)
def test_a_latent_vector_has_a_component(key, prior):
    assert prior().size == 100  # as in the released recipes
    prior(1)
    with pytest.raises(ValueError, match="at least 1 component; got 0"):
        prior(0)
    with pytest.raises(ValueError, match=r"from 0 to 2\*\*31 - 1; got -1"):
        prior(3)(key, -1)


def test_a_mixture_is_in_equally_likely_normal_pieces(key):
    n = 20_000
    z = np.asarray(priors.Mixture(5, pieces=3, scale=0.1)(key, n), np.float64)
    piece = z.argmax(axis=1)
    counts = np.bincount(piece, minlength=5)
    assert not counts[3:].any()
    assert scipy.stats.chisquare(counts[:3]).pvalue > 0.001
    noise = (z - np.eye(5)[piece]) / 0.1
    for column in noise.T:
        assert scipy.stats.kstest(column, scipy.stats.norm().cdf).pvalue > 0.001
    correlations = np.corrcoef(noise.T)[np.triu_indices(5, 1)]
    assert abs(correlations).max() < 4 / np.sqrt(n)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"pieces": 0}, "from 1 to 4 pieces.* got 0"),
        ({"pieces": 5}, "from 1 to 4 pieces.* got 5"),
        ({"pieces": 2, "scale": 0.0}, "above 0 and finite; got 0"),
        ({"pieces": 2, "scale": float("nan")}, "above 0 and finite; got nan"),
    ],
)
def test_a_mixture_out_of_range_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        priors.Mixture(4, **given)
