"""Parzen windows by brute force in float64, and points on which they are hard to compute."""

import numpy as np
import scipy.special

BANDWIDTHS = np.array([0.05, 0.1, 0.2, 0.399, 0.4, 1.0])
PROMISED = {np.float32: 2e-5, np.float64: 1e-10}


def log_normalisers(columns, bandwidths):
    return columns * np.log(np.float64(bandwidths) * np.sqrt(2 * np.pi))


def brute_force(points, samples, bandwidths):
    """Log densities, and the part of the promised error that the tolerance multiplies."""
    points, samples = (np.float64(a).reshape(len(a), -1) for a in (points, samples))
    squared = np.stack([((samples - point) ** 2).sum(axis=1) for point in points])
    exponents = -squared / (2 * np.float64(bandwidths)[:, None, None] ** 2)
    log_means = scipy.special.logsumexp(exponents, axis=2) - np.log(len(samples))
    normalisers = log_normalisers(points.shape[1], bandwidths)[:, None]
    return log_means - normalisers, 1 + np.abs(normalisers) - exponents.max(axis=2)


def assert_exact(found, points, samples, bandwidths, times=1.0):
    expected, scale = brute_force(points, samples, bandwidths)
    ratio = np.abs(np.float64(found) - expected) / (PROMISED[found.dtype.type] * scale)
    assert ratio.max() <= times


def rows(rng, count, columns, kind):
    if kind == "unit":
        return rng.random((count, columns))
    if kind == "grey":  # the worst case for a sum of products: every rounding has the same sign
        return np.repeat(rng.random((count, 1)), columns, axis=1)
    normal = rng.normal(size=(count, columns))
    return 55 * normal / np.linalg.norm(normal, axis=1, keepdims=True)


def problem(seed, columns, kind, dtype=np.float32):
    """Points of which a third equal a sample, a third nearly do; samples some of which coincide."""
    rng = np.random.default_rng([seed, columns])
    samples, points = rows(rng, 70, columns, kind), rows(rng, 60, columns, kind)
    samples[50:55] = samples[:5]
    points[:40] = samples[rng.integers(0, 70, 40)]
    points[20:40] += np.geomspace(1e-6, 1e-1, 20)[:, None] * rng.normal(size=(20, columns))
    return points.astype(dtype), samples.astype(dtype)


def in_blocks(samples, size):
    return [samples[start : start + size] for start in range(0, len(samples), size)]
