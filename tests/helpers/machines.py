"""Small Boltzmann machines with all their states summed, in NumPy's float64."""

import jax.numpy as jnp
import numpy as np
import scipy.special

from advnets.baselines.rbm import RBM


def drawn(seed, visible, hidden, scale=1.0):
    """A machine with random weights and biases."""
    rng = np.random.default_rng(seed)
    shapes = ((visible, hidden), (visible,), (hidden,))
    return RBM(*(jnp.asarray(rng.normal(0, scale, shape), jnp.float32) for shape in shapes))


def states(units):
    """All binary vectors."""
    return (np.arange(2**units)[:, None] >> np.arange(units) & 1).astype(np.float64)


def numbers(binary):
    """The place of each row in `states`."""
    binary = np.asarray(binary, np.int64)
    return binary @ (1 << np.arange(binary.shape[1]))


def log_joint(machine):
    """The unnormalised log-probability of each pair: visible states by hidden states."""
    weights, visible_bias, hidden_bias = (
        np.asarray(x, np.float64)
        for x in (machine.weights, machine.visible_bias, machine.hidden_bias)
    )
    v, h = states(len(visible_bias)), states(len(hidden_bias))
    return v @ weights @ h.T + (v @ visible_bias)[:, None] + (h @ hidden_bias)[None, :]


def joint(machine):
    """Their probabilities."""
    logs = log_joint(machine)
    return np.exp(logs - scipy.special.logsumexp(logs))


def log_visible(machine):
    """The unnormalised log-probability of each visible state, each hidden unit summed by itself."""
    weights, visible_bias, hidden_bias = (
        np.asarray(x, np.float64)
        for x in (machine.weights, machine.visible_bias, machine.hidden_bias)
    )
    v = states(len(visible_bias))
    return v @ visible_bias + np.logaddexp(0, v @ weights + hidden_bias).sum(axis=1)


def log_bernoulli(binary, inputs):
    """The log-probability of binary vectors, by log-odds that broadcast against them."""
    return (binary * inputs - np.logaddexp(0, inputs)).sum(axis=-1)


def assert_frequencies(found, probabilities):
    """That numbered states came as often as they should."""
    counts = np.bincount(found, minlength=len(probabilities))
    expected = len(found) * probabilities
    common = expected > 5  # of rare states, all together
    counts = np.append(counts[common], counts[~common].sum())
    expected = np.append(expected[common], expected[~common].sum())
    statistic = ((counts - expected) ** 2 / np.maximum(expected, 1e-9)).sum()
    assert scipy.stats.chi2.sf(statistic, len(counts) - 1) > 1e-3, statistic
