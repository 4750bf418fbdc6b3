"""Errors of Parzen-window estimates against float64 brute force.

    python bench/parzen_accuracy.py [--points 500] [--samples 2000]

Prints Markdown. The data are MNIST if ADVNETS_DATA names a local mirror of the Hub (in fewer
dimensions, its leading principal components); otherwise they are uniform in [0, 1]. Expected:
advnets within 0.001 nats everywhere; scikit-learn's mean off by tens of nats in 50 dimensions and
by hundreds in 784, as in its open issues 7492 and 25799. For times, see `bench/speed/parzen.py`.
"""

import argparse
import os
import platform
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
import sklearn
import sklearn.neighbors

import advnets.data
import advnets.parzen

BANDWIDTH = 0.2
DIMENSIONS = (2, 50, 784)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=500)
    parser.add_argument("--samples", type=int, default=2000)
    options = parser.parse_args()

    pixels, source = data(options.points + options.samples)
    print(f"Error against float64 brute force at sigma = {BANDWIDTH}, in nats: ", end="")
    print(f"{options.points} points, {options.samples} samples, {source}.\n")
    print("| d | estimator | error of the mean | largest error | exact mean |")
    print("|---|---|---|---|---|")
    for dimensions in DIMENSIONS:
        rows = reduced(pixels, dimensions)
        samples, points = rows[: options.samples], rows[options.samples :]
        exact = brute_force(points, samples)
        for name, estimator in ESTIMATORS.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # log 0, where an estimator underflows
                error = estimator(points, samples) - exact
                mean, largest = error.mean(), abs(error).max()
            numbers = f"{brief(mean)} | {brief(largest)} | {exact.mean():,.2f}"
            print(f"| {dimensions} | {name} | {numbers} |", flush=True)
    print(f"\nPython {platform.python_version()}, jax {jax.__version__}, ", end="")
    print(f"scikit-learn {sklearn.__version__}, {jax.devices()[0].device_kind}, ", end="")
    print(f"{os.cpu_count()} CPU cores, load {os.getloadavg()[0]:.1f}.")


def brief(nats):
    return f"{nats:,.0f}" if 10 <= abs(nats) < np.inf else f"{nats:.2g}"


def data(count):
    """Rows of 784 values in [0, 1], in random order, rounded to float32."""
    rng = np.random.default_rng(0)
    if not os.environ.get("ADVNETS_DATA"):
        return rng.random((count, 784)).astype(np.float32), "uniform in [0, 1]"
    train = advnets.data.load("mnist").train
    chosen = rng.permutation(len(train))[:count]
    return train[chosen].reshape(count, -1).astype(np.float32) / np.float32(255), "MNIST"


def reduced(rows, dimensions):
    """The leading principal components: fewer dimensions, at the scale of the data."""
    if dimensions == rows.shape[1]:
        return rows
    centred = rows - rows.mean(axis=0)
    _, _, directions = np.linalg.svd(np.float64(centred), full_matrices=False)
    return (centred @ directions[:dimensions].T).astype(np.float32)


def log_normaliser(samples):
    return samples.shape[1] * np.log(BANDWIDTH * np.sqrt(2 * np.pi))


def brute_force(points, samples):
    points, samples = np.float64(points), np.float64(samples)
    exponents = np.stack([-((samples - x) ** 2).sum(axis=1) for x in points]) / (2 * BANDWIDTH**2)
    log_sums = scipy.special.logsumexp(exponents, axis=1)
    return log_sums - np.log(len(samples)) - log_normaliser(samples)


def ours(points, samples):
    bandwidths = jnp.array([BANDWIDTH], jnp.float32)
    (found,) = jax.jit(advnets.parzen.log_density)(points, samples, bandwidths)
    return np.float64(found)


def scikit_learn(**settings):
    def estimate(points, samples):
        density = sklearn.neighbors.KernelDensity(bandwidth=BANDWIDTH, **settings)
        return density.fit(samples).score_samples(points)

    return estimate


def product_form(points, samples):
    """As one would write it in NumPy or SciPy, in the data's float32."""
    squared = (points**2).sum(axis=1)[:, None] + (samples**2).sum(axis=1) - 2 * points @ samples.T
    log_sums = scipy.special.logsumexp(-squared / np.float32(2 * BANDWIDTH**2), axis=1)
    return np.float64(log_sums - np.float32(np.log(len(samples)) + log_normaliser(samples)))


def plain_exponentials(points, samples):
    """The same without the logarithm of a sum: the exponentials underflow."""
    squared = (points**2).sum(axis=1)[:, None] + (samples**2).sum(axis=1) - 2 * points @ samples.T
    means = np.exp(-squared / np.float32(2 * BANDWIDTH**2)).mean(axis=1)
    return np.float64(np.log(means)) - log_normaliser(samples)


ESTIMATORS = {
    "advnets, float32": ours,
    "scikit-learn KernelDensity, defaults": scikit_learn(),
    "scikit-learn, rtol=0, atol=0, kd_tree": scikit_learn(rtol=0, atol=0, algorithm="kd_tree"),
    "scikit-learn, rtol=0, atol=0, ball_tree": scikit_learn(rtol=0, atol=0, algorithm="ball_tree"),
    "scikit-learn, rtol=1e-4": scikit_learn(rtol=1e-4),
    "scikit-learn, depth first": scikit_learn(breadth_first=False),
    "NumPy float32, product form, logsumexp": product_form,
    "NumPy float32, product form, log of mean of exp": plain_exponentials,
}


if __name__ == "__main__":
    main()
