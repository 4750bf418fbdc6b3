"""p_g: reproducible samples in blocks, and straight, even lines with one noise each."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import seams
from hypothesis import given, settings
from hypothesis import strategies as st

import advnets
from advnets import conditions, networks, priors

LATENT, SHAPE = 4, (2, 3)
KEY = jax.random.key(2)


def build():
    generator = networks.mlp_generator(
        jax.random.key(0), LATENT, SHAPE, hidden_sizes=[5], weight_range=0.5
    )
    return advnets.Model(generator, priors.Uniform(LATENT))


def test_an_example_is_the_generators_of_a_draw_from_the_prior():
    model = build()
    found = model(KEY, 5)
    latents = model.prior(jax.random.split(KEY)[0], 5)
    expected = [model.generator(z) for z in latents]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_default_prior_is_the_papers_and_the_models_own_rules():
    assert advnets.Model(jnp.sin).prior == priors.Uniform(100)
    normal = advnets.Model(lambda z: z, priors.Normal(3)).sample(KEY, 1000)
    uniform = advnets.Model(lambda z: z, priors.Uniform(3)).sample(KEY, 1000)
    assert abs(uniform).max() <= 3**0.5 < abs(normal).max()


def test_samples_are_reproducible_and_as_many_as_asked(monkeypatch):
    model = build()
    seams.samples_per_call(monkeypatch, 4)
    samples = model.sample(KEY, 10)
    assert samples.shape == (10, *SHAPE)
    assert (samples == model.sample(KEY, 10)).all()
    assert len(np.unique(samples.reshape(10, -1), axis=0)) == 10
    with pytest.raises(ValueError, match=r"at least 1 .*; got 0"):
        model.sample(KEY, 0)


@pytest.mark.parametrize("n", [1, 3, 4, 8, 10])
def test_blocks_are_the_samples_bit_for_bit(monkeypatch, n):
    model = build()
    seams.samples_per_call(monkeypatch, 4)
    blocks = model.blocks(KEY, n)
    # What recorded results were drawn by: a key for each four, the surplus left out.
    keys = jax.random.split(KEY, -(-n // 4))
    draw = eqx.filter_jit(model)
    expected = np.concatenate([draw(one, min(n, 4)) for one in keys])[:n]
    np.testing.assert_array_equal(np.concatenate(list(blocks)), expected)
    np.testing.assert_array_equal(model.sample(KEY, n), expected)
    for rows in (1, 4, 5, 99):
        np.testing.assert_array_equal(blocks.first(rows), expected[:rows])
    backwards = [blocks[number] for number in reversed(range(len(blocks)))]
    np.testing.assert_array_equal(np.concatenate(backwards[::-1]), expected)


def test_blocks_are_drawn_only_when_asked_for():
    def never(latent, *, key):
        raise AssertionError

    blocks = advnets.Model(never).blocks(jax.random.key(0), 10_000_000)
    assert len(blocks) == 10_000
    for number in (-1, 10_000):
        with pytest.raises(IndexError, match=f"no block {number}; there are 10000, numbered"):
            blocks[number]
    with pytest.raises(ValueError, match=r"at least 1 .*; got 0"):
        advnets.Model(never).blocks(jax.random.key(0), 0)


class Noisy(eqx.Module):
    """Can't do without a key, and has an example of two axes."""

    def __call__(self, z, *, key):
        return jnp.stack([z, jax.random.normal(key, z.shape)])


def latents_of(size, prior=priors.Uniform):
    """A model whose examples are its latent vectors."""
    return advnets.Model(lambda z: z, prior(size))


@pytest.mark.parametrize("shape", [(1, 2, 1), (3, 11, 5), (2, 4, 3)])
@settings(deadline=None, max_examples=5)
@given(seed=st.integers(0, 2**32 - 1))
def test_points_are_evenly_spaced_on_the_line(shape, seed):
    lines, steps, size = shape
    rng = np.random.default_rng(seed)
    starts, ends = rng.normal(size=(2, lines, size)).astype(np.float32)
    found = latents_of(size).interpolate_between(
        jax.random.key(0), jnp.asarray(starts), jnp.asarray(ends), steps
    )
    expected = np.empty((lines, steps, size))
    for line in range(lines):
        for step in range(steps):
            t = step / (steps - 1)
            expected[line, step] = (1 - t) * np.float64(starts[line]) + t * np.float64(ends[line])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(found[:, 0], starts)
    np.testing.assert_array_equal(found[:, -1], ends)


@pytest.mark.parametrize("prior", [priors.Uniform, priors.Normal, priors.Spherical])
def test_ends_are_independent_draws_from_the_prior(key, prior):
    model = latents_of(3, prior)
    found = np.asarray(model.interpolate(key, 2000, 2), np.float64)
    ends = found.reshape(4000, 3)
    assert len(np.unique(ends, axis=0)) == 4000
    variance = np.float64(model.prior(jax.random.key(1), 4000)).var(axis=0)
    error = np.sqrt(variance / 4000)
    assert (abs(ends.mean(axis=0)) < 4 * error).all()
    np.testing.assert_allclose(ends.var(axis=0), variance, rtol=0.15)
    # The two ends of a line know nothing of each other.
    correlation = (found[:, 0] * found[:, 1]).mean(axis=0) / variance
    assert (abs(correlation) < 4 / np.sqrt(2000)).all()


def test_each_point_of_a_line_is_the_generators(key):
    model = build()
    latents = latents_of(LATENT).interpolate(key, 3, 5)
    found = model.interpolate(key, 3, 5)
    assert found.shape == (3, 5, *SHAPE)
    for line, step in np.ndindex(3, 5):
        expected = model.generator(latents[line, step])
        np.testing.assert_allclose(found[line, step], expected, rtol=1e-5)


def test_noise_inside_the_generator_is_held_along_a_line(key):
    found = np.asarray(advnets.Model(Noisy(), priors.Normal(4)).interpolate(key, 3, 5))
    noise = found[:, :, 1]
    np.testing.assert_array_equal(noise, np.broadcast_to(noise[:, :1], noise.shape))
    assert len(np.unique(noise[:, 0], axis=0)) == 3
    assert len(np.unique(found[:, :, 0].reshape(15, 4), axis=0)) == 15


def test_interpolating_is_pure_and_compiles(key):
    model = build()
    expected = model.interpolate(key, 3, 5)
    np.testing.assert_array_equal(model.interpolate(key, 3, 5), expected)
    compiled = eqx.filter_jit(lambda key, model: model.interpolate(key, 3, 5))(key, model)
    np.testing.assert_allclose(compiled, expected, rtol=1e-5)
    assert not np.allclose(model.interpolate(jax.random.key(2), 3, 5), expected)


@pytest.mark.parametrize(
    ("lines", "steps", "message"),
    [(0, 5, "lines must be at least 1; got 0"), (2, 1, "at least 2 points, its ends; got 1")],
)
def test_lines_that_are_none_are_refused(key, lines, steps, message):
    with pytest.raises(ValueError, match=message):
        latents_of(2).interpolate(key, lines, steps)


class WithLabel(eqx.Module):
    """A generator that adds its label."""

    def __call__(self, z, label):
        return z + label.astype(z.dtype)


def test_conditions_of_given_lines_are_a_row_for_each_or_a_scalar_and_are_checked(key):
    model = advnets.Model(WithLabel(), priors.Uniform(2), conditions.Labels((0.5, 0.5)))
    between = functools.partial(model.interpolate_between, key, jnp.zeros((3, 2)), jnp.ones((3, 2)))
    one = between(2, condition=(1,))
    np.testing.assert_array_equal(one, between(2, condition=(np.array([1, 1, 1]),)))
    np.testing.assert_array_equal(one[:, 0], 1)
    eqx.filter_jit(lambda model: model.interpolate(key, 3, 2))(model)  # traced ones are not
    np.testing.assert_array_equal(jax.jit(lambda c: between(2, condition=(c,)))(1), one)
    with pytest.raises(ValueError, match="each of the 3 lines, or a scalar for all; got 2 rows"):
        between(2, condition=(np.array([1, 0]),))
    with pytest.raises(ValueError, match="labels must be from 0 to 1; got 5 to 5"):
        between(2, condition=(5,))
    with pytest.raises(ValueError, match="takes a condition; give condition="):
        between(2)
    with pytest.raises(ValueError, match="leave the condition out"):
        build().interpolate_between(key, jnp.zeros((1, 4)), jnp.ones((1, 4)), 2, condition=(1,))
