"""Restricted Boltzmann machines: against sums over all states, and against scikit-learn."""

import functools
import types

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from helpers import machines
from jax import lax

from advnets import chains
from advnets.baselines import rbm

MACHINE = machines.drawn(0, 6, 4)
LOG_JOINT, JOINT = machines.log_joint(MACHINE), machines.joint(MACHINE)
VISIBLE, HIDDEN = machines.states(6), machines.states(4)
CHAINS = 4000


def gradients(visible):
    """The gradient of the free energy at each visible state, in NumPy: one row for each."""
    weights, _, bias = (np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(MACHINE))
    means = scipy.special.expit(visible @ weights + bias)
    pairs = visible[:, :, None] * means[:, None, :]
    return -np.concatenate([pairs.reshape(len(visible), -1), visible, means], axis=1)


def flat(machine):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(machine)])


def test_energies_and_conditionals_are_those_of_the_joint_distribution():
    v, h = jnp.float32(VISIBLE), jnp.float32(HIDDEN)

    @jax.jit
    def found(machine):
        pairs = jnp.repeat(v, 16, axis=0), jnp.tile(h, (64, 1))
        return (
            machine.energy(*pairs),
            machine.free_energy(v),
            machine.hidden_means(v),
            machine.visible_means(h),
            rbm.log_partition(machine),
            jax.grad(rbm.log_partition)(machine),
        )

    energy, free, of_hidden, of_visible, log_z, gradient = found(MACHINE)
    of_v, of_h = JOINT.sum(axis=1), JOINT.sum(axis=0)
    for ours, expected in (
        (energy, -LOG_JOINT.ravel()),
        (free, -scipy.special.logsumexp(LOG_JOINT, axis=1)),
        (of_hidden, JOINT @ HIDDEN / of_v[:, None]),
        (of_visible, JOINT.T @ VISIBLE / of_h[:, None]),
        (log_z, scipy.special.logsumexp(LOG_JOINT)),
        (flat(gradient), -of_v @ gradients(VISIBLE)),
    ):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_log_z_sums_over_the_smaller_side_in_blocks():
    machine = machines.drawn(1, 11, 13, scale=0.5)
    exact = scipy.special.logsumexp(machines.log_visible(machine))
    np.testing.assert_allclose(jax.jit(rbm.log_partition)(machine), exact, rtol=1e-5)


@pytest.mark.long
def test_the_gradient_of_long_chains_is_the_exact_one(key):
    images = jnp.float32(VISIBLE[[3, 17, 60]])
    cost = rbm.PCD(steps=25, decay=0.1)
    coins = rbm.fair_coins(key, CHAINS, 4)
    gradient, (memory, seen) = jax.jit(jax.grad(lambda *given: pulled(cost, *given), has_aux=True))(
        MACHINE, key, coins, images
    )
    at_states, of_v = gradients(VISIBLE), JOINT.sum(axis=1)
    expected = gradients(np.float64(images)).mean(axis=0) - of_v @ at_states
    expected[:24] += 0.1 * np.ravel(MACHINE.weights)  # the decay is of the weights only
    deviation = np.sqrt(of_v @ at_states**2 - (of_v @ at_states) ** 2)
    assert abs((flat(gradient) - expected) / (deviation / np.sqrt(CHAINS))).max() < 4
    machines.assert_frequencies(machines.numbers(memory), JOINT.sum(axis=0))
    np.testing.assert_allclose(
        seen["free_energy_data"], MACHINE.free_energy(images).mean(), rtol=1e-5
    )


def pulled(cost, machine, key, memory, images):
    value, *rest = cost(key, machine, memory, images)
    return value, tuple(rest)


def test_gibbs_sampling_reaches_the_joint_distribution(key):
    chain = rbm.Gibbs(MACHINE, (3, 2))
    walk = eqx.filter_jit(chains.walk)
    begun = chain.start(key, jnp.ones((CHAINS, 3, 2)))
    up = MACHINE.hidden_means(jnp.ones((1, 6)))[0]
    assert abs(begun.mean(axis=0) - up).max() < 4 * 0.5 / np.sqrt(CHAINS)
    end, samples = walk(key, chain, begun, samples=2, thin=15)
    machines.assert_frequencies(machines.numbers(end), JOINT.sum(axis=0))
    np.testing.assert_allclose(samples[1].reshape(CHAINS, 6), MACHINE.visible_means(end), rtol=1e-5)
    assert samples.shape == (2, CHAINS, 3, 2)
    down = MACHINE.sample_visible(key, end)
    machines.assert_frequencies(machines.numbers(down), JOINT.sum(axis=1))


def test_updates_are_those_of_scikit_learn(key, monkeypatch):
    """With the same start and the same uniform numbers, to which both compare their means."""
    network = pytest.importorskip("sklearn.neural_network")
    rng = np.random.default_rng(0)
    shapes = [(10, 6), (10, 4)] * 3  # for each update, of visible and of hidden units
    noise = [rng.random(shape) for shape in shapes]
    images = (rng.random((3, 10, 6)) < 0.5).astype(np.float64)
    theirs = network.BernoulliRBM(n_components=4, learning_rate=0.3, batch_size=10)
    theirs.components_ = np.array(MACHINE.weights.T, np.float64, order="F")
    theirs.intercept_visible_ = np.array(MACHINE.visible_bias, np.float64)
    theirs.intercept_hidden_ = np.array(MACHINE.hidden_bias, np.float64)
    theirs.h_samples_ = np.zeros((10, 4))
    given = iter(noise)
    for batch in images:
        theirs._fit(batch, types.SimpleNamespace(uniform=lambda size: next(given)))

    draws = iter(noise)
    # The images are binary already; the chains draw visible units first, then hidden ones.
    monkeypatch.setattr(rbm, "visible_of", lambda key, images: images)
    monkeypatch.setattr(
        rbm, "binary", lambda key, means: (jnp.float32(next(draws)) < means).astype(jnp.float32)
    )
    pull = jax.grad(functools.partial(pulled, rbm.PCD(decay=0.0)), has_aux=True)

    @jax.jit
    def learn(machine, memory, images):
        for batch in images:
            gradient, (memory, _) = pull(machine, key, memory, batch)
            machine = jax.tree.map(lambda x, g: x - 0.3 * g, machine, gradient)
        return machine, memory

    ours, memory = learn(MACHINE, jnp.zeros((10, 4)), jnp.float32(images))
    np.testing.assert_allclose(ours.weights.T, theirs.components_, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours.visible_bias, theirs.intercept_visible_, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours.hidden_bias, theirs.intercept_hidden_, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(memory, theirs.h_samples_)


def test_updates_raise_the_log_likelihood(key):
    images = jnp.float32(VISIBLE[np.repeat([7, 56], 10)])  # the first three pixels, or the others
    machine = rbm.start(key, rbm.pixel_means(images), hidden=2)
    pull = jax.grad(functools.partial(pulled, rbm.PCD()), has_aux=True)

    def update(state, key):
        machine, memory = state
        gradient, (memory, _) = pull(machine, key, memory, images)
        return (jax.tree.map(lambda x, g: x - 0.2 * g, machine, gradient), memory), None

    @jax.jit
    def learn(machine, memory):
        state, _ = lax.scan(update, (machine, memory), jax.random.split(key, 500))
        return [-rbm.log_partition(x) - x.free_energy(images).mean() for x in (machine, state[0])]

    before, after = learn(machine, rbm.fair_coins(key, 20, 2))
    np.testing.assert_allclose(before, -6 * np.log(2), rtol=1e-3)
    assert after > -1.5 * np.log(2)  # of -log 2, which two images can have at best


def test_draws_have_their_means_and_are_independent(key):
    means = jnp.full((3, 66_667), 0.3)  # an odd number in all
    draws = np.asarray(rbm.binary(key, means), np.float64).ravel()
    assert set(np.unique(draws)) == {0, 1}
    error = np.sqrt(0.3 * 0.7 / len(draws))
    assert abs(draws.mean() - 0.3) < 4 * error
    for other in (1, len(draws) // 2, len(draws) // 2 + 1):  # halves come from the same words
        assert abs(np.corrcoef(draws[:-other], draws[other:])[0, 1]) < 4 / np.sqrt(
            len(draws) - other
        )


@pytest.mark.parametrize("kind", [jnp.float32, jnp.float16, jnp.bfloat16])
def test_draws_round_a_probability_to_sixteen_bits(key, monkeypatch, kind):
    every = jnp.arange(2**16, dtype=jnp.uint32)
    monkeypatch.setattr(jax.random, "bits", lambda *_: every[::2] | every[1::2] << 16)
    for mean in (0.0, 1.0, 1 / 255, 0.3, 2**-18, 1 - 2**-18):
        means = jnp.full(2**16, mean, kind)
        draws = rbm.binary(key, means)
        assert draws.dtype == kind
        assert int(jnp.sum(draws != 0)) == round(float(means[0]) * 2**16), mean


def test_each_presentation_draws_a_binary_image_afresh(key):
    levels = np.arange(256, dtype=np.uint8)
    images = np.broadcast_to(levels, (2000, 256))
    drawn = np.asarray(rbm.visible_of(key, jnp.asarray(images)))
    error = np.sqrt(levels / 255 * (1 - levels / 255) / 2000)
    assert (abs(drawn.mean(axis=0) - levels / 255) <= 4.5 * error + 2e-5).all()
    again = rbm.visible_of(jax.random.key(1), jnp.asarray(images))
    assert (drawn != again).mean() > 0.2


def test_a_machine_starts_from_small_weights_and_the_pixels_means(key):
    images = np.zeros((98, 2, 50), np.uint8)
    images[:49, 0] = 255
    machine = rbm.start(key, rbm.pixel_means(images), hidden=200)
    assert abs(np.std(machine.weights) - 0.01) < 1e-4
    np.testing.assert_allclose(machine.visible_bias[:50], 0, atol=1e-6)
    np.testing.assert_allclose(machine.visible_bias[50:], -np.log(99), rtol=1e-5)
    assert not machine.hidden_bias.any()
    np.testing.assert_allclose(rbm.pixel_means(images / 255), rbm.pixel_means(images))


def test_bad_input_is_one_sentence(key):
    images = np.zeros((5, 4))
    for call, sentence in (
        (
            lambda: rbm.start(key, np.full(4, 0.5), hidden=0),
            "hidden units must be at least 1 .*; got 0",
        ),
        (lambda: rbm.start(key, np.zeros(4), hidden=3), "above 0 and below 1; got 0 to 0"),
        (lambda: rbm.pixel_means(images - 0.5), r"from 0 to 1; got -0.5 to -0.5 \(scale"),
        (lambda: rbm.pixel_means(images + np.nan), "from 0 to 1; got nan to nan"),
        (lambda: rbm.pixel_means(images[:0]), r"an array of shape \(0, 4\)"),
        (lambda: rbm.fair_coins(key, 0, 3), "persistent chains must be at least 1 .*; got 0"),
        (lambda: rbm.PCD(steps=0), "an update must be at least 1 .*; got 0"),
        (lambda: rbm.PCD(decay=-0.1), "at least 0 and finite; got -0.1"),
        (
            lambda: rbm.log_partition(machines.drawn(0, 30, 25)),
            r"a sum over 2\*\*25 states, and at most 2\*\*24",
        ),
    ):
        with pytest.raises(ValueError, match=sentence):
            call()
