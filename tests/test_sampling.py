"""Sampling: reproducible, in blocks, bit for bit what recorded results were drawn by."""

import equinox as eqx
import jax
import numpy as np
import pytest

import advnets
from advnets import sampling

LATENT, SHAPE = 4, (2, 3)


def make_generator():
    return advnets.mlp_generator(
        jax.random.key(0), LATENT, SHAPE, hidden_sizes=[5], weight_range=0.5
    )


def test_samples_are_reproducible_and_as_many_as_asked(monkeypatch):
    generator, prior, key = make_generator(), advnets.Uniform(LATENT), jax.random.key(2)
    monkeypatch.setattr(sampling, "SAMPLES_PER_CALL", 4)
    samples = advnets.sample(key, generator, 10, prior=prior)
    assert samples.shape == (10, *SHAPE)
    assert (samples == advnets.sample(key, generator, 10, prior=prior)).all()
    assert len(np.unique(samples.reshape(10, -1), axis=0)) == 10
    with pytest.raises(ValueError, match="at least 1; got 0"):
        advnets.sample(key, generator, 0, prior=prior)


@pytest.mark.parametrize("n", [1, 3, 4, 8, 10])
def test_blocks_are_the_samples_bit_for_bit(monkeypatch, n):
    generator, prior, key = make_generator(), advnets.Uniform(LATENT), jax.random.key(2)
    monkeypatch.setattr(sampling, "SAMPLES_PER_CALL", 4)
    blocks = advnets.sample_blocks(key, generator, n, prior=prior)
    # What recorded results were drawn by: a key for each four, the surplus left out.
    keys = jax.random.split(key, -(-n // 4))
    draw = eqx.filter_jit(advnets.generate)
    expected = np.concatenate([draw(one, generator, prior, min(n, 4)) for one in keys])[:n]
    np.testing.assert_array_equal(np.concatenate(list(blocks)), expected)
    np.testing.assert_array_equal(advnets.sample(key, generator, n, prior=prior), expected)
    for rows in (1, 4, 5, 99):
        np.testing.assert_array_equal(blocks.first(rows), expected[:rows])
    backwards = [blocks[number] for number in reversed(range(len(blocks)))]
    np.testing.assert_array_equal(np.concatenate(backwards[::-1]), expected)


def test_blocks_are_drawn_only_when_asked_for():
    def never(latent, *, key):
        raise AssertionError

    blocks = advnets.sample_blocks(jax.random.key(0), never, 10_000_000)
    assert len(blocks) == 10_000
    for number in (-1, 10_000):
        with pytest.raises(IndexError, match=f"no block {number}; the 10000 blocks"):
            blocks[number]
    with pytest.raises(ValueError, match="at least 1; got 0"):
        advnets.sample_blocks(jax.random.key(0), never, 0)
