"""Lines in z space: straight, even, both ends included, one noise per line."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import advnets

quick = settings(deadline=None, max_examples=15)


def identity(z):
    return z


class Noisy(eqx.Module):
    """Can't do without a key, and has an example of two axes."""

    def __call__(self, z, *, key):
        return jnp.stack([z, jax.random.normal(key, z.shape)])


@quick
@given(st.integers(0, 2**32 - 1), st.sampled_from([(1, 2, 1), (3, 11, 5), (2, 4, 3)]))
def test_points_are_evenly_spaced_on_the_line(seed, shape):
    lines, steps, size = shape
    rng = np.random.default_rng(seed)
    starts, ends = rng.normal(size=(2, lines, size)).astype(np.float32)
    found = advnets.interpolate_between(
        jax.random.key(0), identity, jnp.asarray(starts), jnp.asarray(ends), steps
    )
    expected = np.empty((lines, steps, size))
    for line in range(lines):
        for step in range(steps):
            t = step / (steps - 1)
            expected[line, step] = (1 - t) * np.float64(starts[line]) + t * np.float64(ends[line])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(found[:, 0], starts)
    np.testing.assert_array_equal(found[:, -1], ends)


@pytest.mark.parametrize("prior", [advnets.Uniform(3), advnets.Normal(3), advnets.Spherical(3)])
def test_ends_are_independent_draws_from_the_prior(key, prior):
    found = np.asarray(advnets.interpolate(key, identity, prior, 2000, 2), np.float64)
    ends = found.reshape(4000, 3)
    assert len(np.unique(ends, axis=0)) == 4000
    variance = np.float64(prior(jax.random.key(1), 4000)).var(axis=0)
    error = np.sqrt(variance / 4000)
    assert (abs(ends.mean(axis=0)) < 4 * error).all()
    np.testing.assert_allclose(ends.var(axis=0), variance, rtol=0.15)
    # The two ends of a line know nothing of each other.
    correlation = (found[:, 0] * found[:, 1]).mean(axis=0) / variance
    assert (abs(correlation) < 4 / np.sqrt(2000)).all()


def test_each_example_is_the_generators(key):
    generator = advnets.mlp_generator(jax.random.key(1), 4, (3, 2), hidden_sizes=[5])
    prior = advnets.Uniform(4)
    latents = advnets.interpolate(key, identity, prior, 3, 5)
    found = advnets.interpolate(key, generator, prior, 3, 5)
    assert found.shape == (3, 5, 3, 2)
    for line in range(3):
        for step in range(5):
            expected = generator(latents[line, step])
            np.testing.assert_allclose(found[line, step], expected, rtol=1e-5)


def test_noise_inside_the_generator_is_held_along_a_line(key):
    found = np.asarray(advnets.interpolate(key, Noisy(), advnets.Normal(4), 3, 5))
    noise = found[:, :, 1]
    np.testing.assert_array_equal(noise, np.broadcast_to(noise[:, :1], noise.shape))
    assert len(np.unique(noise[:, 0], axis=0)) == 3
    assert len(np.unique(found[:, :, 0].reshape(15, 4), axis=0)) == 15


def test_it_is_pure_and_compiles(key):
    generator = advnets.mlp_generator(jax.random.key(1), 4, (3,), hidden_sizes=[5])
    arguments = (key, generator, advnets.Uniform(4), 3, 5)
    expected = advnets.interpolate(*arguments)
    np.testing.assert_array_equal(advnets.interpolate(*arguments), expected)
    np.testing.assert_allclose(eqx.filter_jit(advnets.interpolate)(*arguments), expected, rtol=1e-5)
    other = advnets.interpolate(jax.random.key(2), *arguments[1:])
    assert not np.allclose(other, expected)


@pytest.mark.parametrize(
    ("lines", "steps", "message"),
    [(0, 5, "lines must be at least 1; got 0"), (2, 1, "at least 2 points, its ends; got 1")],
)
def test_refusals(key, lines, steps, message):
    with pytest.raises(ValueError, match=message):
        advnets.interpolate(key, identity, advnets.Uniform(2), lines, steps)
