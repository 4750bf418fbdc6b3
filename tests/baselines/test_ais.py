"""Annealed importance sampling against log Z with all states summed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from helpers import machines

from advnets.baselines import ais, rbm


def exact_samples(machine, n, seed=0):
    """Visible units of exact samples."""
    probabilities = scipy.special.softmax(machines.log_visible(machine))
    chosen = np.random.default_rng(seed).choice(len(probabilities), n, p=probabilities)
    return jnp.float32(machines.states(machine.visible_bias.size)[chosen])


def test_both_estimates_are_within_a_tenth_of_a_nat_at_15_hidden_units(key):
    machine = machines.drawn(0, 12, 15, scale=0.8)
    exact = scipy.special.logsumexp(machines.log_visible(machine))
    means = rbm.pixel_means(exact_samples(machine, 50))
    up = ais.log_partition(key, machine, means, temperatures=1100)  # whose last block is not full
    samples = exact_samples(machine, 100)
    down = ais.reverse_log_partition(key, machine, means, samples, temperatures=1100)
    for found in (up, down):
        assert abs(found.value - exact) < 0.1
        assert found.standard_error < 0.05
        assert 80 < found.effective_runs <= 100
        assert found.log_weights.shape == (100,)


@pytest.mark.parametrize("mean", [0.5, 0.3])
def test_weights_are_unbiased_after_a_few_steps_too(key, mean):
    machine = machines.drawn(1, 6, 4, scale=0.7)
    exact = scipy.special.logsumexp(machines.log_visible(machine))
    means, runs = np.full(6, mean), 20_000
    up = ais.log_partition(key, machine, means, runs=runs, temperatures=3)
    samples = exact_samples(machine, runs)
    down = ais.reverse_log_partition(key, machine, means, samples, temperatures=3)
    for found, sign in ((up, 1), (down, -1)):
        assert found.standard_error < 0.02
        assert abs(found.value - exact) < 4 * found.standard_error
        weights = np.exp(sign * (found.log_weights - exact))  # of mean 1, as the value says
        np.testing.assert_allclose(sign * (found.value - exact), np.log(weights.mean()), atol=1e-6)
        np.testing.assert_allclose(
            found.standard_error, weights.std() / weights.mean() / np.sqrt(runs), rtol=1e-3
        )
    # The mean log weight errs downwards on the way up, and upwards on the way down.
    assert up.log_weights.mean() < exact < down.log_weights.mean()


def test_products_are_precise_on_any_device(key, monkeypatch):
    asked = []

    def advance(key, model, base, visible, steps):
        asked.append(jax.config.jax_default_matmul_precision)
        return visible, jnp.zeros((len(steps), len(visible)))

    monkeypatch.setattr(ais, "_advance", advance)
    ais.log_partition(key, machines.drawn(0, 4, 3), np.full(4, 0.5), temperatures=5)
    assert asked == ["highest"]


def test_bad_input_is_one_sentence(key):
    machine, means = machines.drawn(0, 4, 3), np.full(4, 0.5)
    for call, sentence in (
        (lambda: ais.log_partition(key, machine, means, runs=1), "at least 2 .*; got 1"),
        (lambda: ais.log_partition(key, machine, means, temperatures=0), "steps must be .*; got 0"),
        (
            lambda: ais.reverse_log_partition(key, machine, means, jnp.zeros((1, 4))),
            "at least 2 .*; got 1",
        ),
        (lambda: ais.log_partition(key, machine, 2 * means), "below 1; got 1 to 1"),
    ):
        with pytest.raises(ValueError, match=sentence):
            call()
