"""Gradients without differentiation: central differences in float64, of costs written in NumPy."""

import numpy as np
import scipy.special


def float64(tree_of_lists):
    return [np.asarray(x, np.float64) for x in tree_of_lists]


def log_d(logits):
    """The mean of log D, where these are the logits of D."""
    return scipy.special.log_expit(logits).mean()


def gradient(cost, arrays, step=1e-6):
    """The gradient of a cost in each of some arrays; right to some 1e-9 for costs of size 1."""
    found = []
    for number, array in enumerate(arrays):
        slope = np.zeros_like(array)
        for place in np.ndindex(array.shape):
            values = []
            for sign in (1, -1):
                moved = [x.copy() for x in arrays]
                moved[number][place] += sign * step
                values.append(cost(*moved))
            slope[place] = (values[0] - values[1]) / (2 * step)
        found.append(slope)
    return found


def assert_moved(after, before, changes, rtol=1e-4):
    """That arrays changed as they should, each relatively to its change, or not at all."""
    for ended, started, change in zip(after, before, changes, strict=True):
        moved = np.asarray(ended, np.float64) - np.asarray(started, np.float64)
        size = np.linalg.norm(change)
        if size < 1e-6:
            assert np.linalg.norm(moved) < 1e-6, moved
            continue
        assert size > 1e-4, f"a change of {size} is too small to be seen in float32"
        assert np.linalg.norm(moved - change) <= rtol * size, (moved, change)
