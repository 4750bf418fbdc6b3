"""Parzen estimates: advnets against its one matrix product and against four other libraries.

    python bench/speed/parzen.py [--rounds 5] [--out FILE.json] [--picture FILE.png]

Every round times each side once, so that all sides run under the same conditions. Reported are
medians over rounds of the times, and of the ratios to `advnets, 1 bandwidth` within a round.
Compilation and a warm-up are excluded. Every side takes all points, unless that would take minutes.
Then its time is extrapolated linearly from 1 point and `--slow-points` points to all of them,
because the cost is a constant (the tree, the whitening) plus the same amount per point.

Each time is reported with the error against float64 brute force. The data are MNIST's if
ADVNETS_DATA names a local mirror of the Hub, otherwise uniform in [0, 1]; in float32 on every side
that supports it. Then the time and the peak memory of an evaluation whose samples are drawn on the
fly are measured against the number of samples, each in its own process; the exponent is that of the
fitted power law.

If there is a GPU, advnets and PyKeOps run on it, with all points already in its memory; the others
use the CPU.
"""

import argparse
import contextlib
import importlib
import importlib.metadata
import json
import os
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
import scipy.stats
from memory import peak_mib

import advnets
from advnets._provenance import provenance
from advnets.bench import BENCHMARKS
from advnets.bench.recipes import build_players
from advnets.model import model_of

BANDWIDTH = 0.2
OURS, TEN = "advnets, 1 bandwidth", "advnets, 10 bandwidths"
PRODUCT, NUMPY_PRODUCT = "one matrix product", "one matrix product, NumPy"
PACKAGES = ("scikit-learn", "torch", "pykeops", "keopscore")


def data(points, samples):
    """Rows of 784 values in [0, 1], in float32; points of MNIST are test images."""
    rng = np.random.default_rng(0)
    if not os.environ.get("ADVNETS_DATA"):
        rows = rng.random((points + samples, 784), np.float32)
        return rows[:points], rows[points:], "uniform in [0, 1]"
    mnist = advnets.data.load("mnist")
    chosen = [
        rng.permutation(rows)[:n] for rows, n in ((mnist.test, points), (mnist.train, samples))
    ]
    x, s = (np.float32(rows.reshape(len(rows), -1)) / np.float32(255) for rows in chosen)
    return x, s, mnist.source


def brute_force(points, samples):
    """Log densities from differences, in float64."""
    samples = np.float64(samples)
    exponents = [-((samples - x) ** 2).sum(axis=1) for x in np.float64(points)]
    log_sums = scipy.special.logsumexp(np.stack(exponents) / (2 * BANDWIDTH**2), axis=1)
    return log_sums - log_normaliser(samples)


def log_normaliser(samples):
    count, columns = samples.shape
    return np.log(count) + columns * np.log(BANDWIDTH * np.sqrt(2 * np.pi))


def advnets_with(bandwidths):
    """Log densities at every bandwidth; those at the first, `BANDWIDTH`, are returned."""

    def prepare(samples):
        samples, grid = jnp.asarray(samples), jnp.asarray(bandwidths, jnp.float32)
        compiled = jax.jit(advnets.parzen.log_density)
        return jnp.asarray, lambda points: np.asarray(compiled(points, samples, grid))[0]

    return prepare


def product(samples):
    """Only the matrix product of points and samples."""
    samples = jnp.asarray(samples)
    compiled = jax.jit(lambda x, s: jnp.matmul(x, s.T, precision=jax.lax.Precision.HIGHEST))
    return jnp.asarray, lambda points: jax.block_until_ready(compiled(points, samples))


def numpy_product(samples):
    """The same in NumPy, in the blocks of its estimates."""

    def multiply(points):
        for x in np.array_split(points, -(-len(points) // 1000)):
            x @ samples.T

    return np.asarray, multiply


def numpy_blocked(samples):
    """Blocks of points, so that the distances fit in memory, and SciPy's log-sum-exp."""
    sizes = (samples**2).sum(axis=1)
    scale = samples.dtype.type(2 * BANDWIDTH**2)

    def estimate(points):
        found = []
        for x in np.array_split(points, -(-len(points) // 1000)):
            squared = (x**2).sum(axis=1)[:, None] + sizes - 2 * x @ samples.T
            found.append(scipy.special.logsumexp(-squared / scale, axis=1))
        return np.concatenate(found) - log_normaliser(samples)

    return np.asarray, estimate


def numpy_in_float64(samples):
    """The same in NumPy's default precision, which `images / 255` has."""
    _, estimate = numpy_blocked(np.float64(samples))
    return np.float64, estimate


def numpy_in_place(samples):
    """In float32, tuned: small blocks, in place, the largest exponent subtracted by hand."""
    sizes = (samples**2).sum(axis=1)
    scale = np.float32(-1 / (2 * BANDWIDTH**2))

    def estimate(points):
        found = []
        for x in np.array_split(points, -(-len(points) // 250)):
            exponents = x @ samples.T
            exponents *= -2
            exponents += sizes
            exponents += (x**2).sum(axis=1)[:, None]
            exponents *= scale
            largest = exponents.max(axis=1)
            exponents -= largest[:, None]
            np.exp(exponents, out=exponents)
            found.append(largest + np.log(exponents.sum(axis=1)))
        return np.concatenate(found) - log_normaliser(samples)

    return np.asarray, estimate


def scikit_learn(samples):
    neighbors = importlib.import_module("sklearn.neighbors")

    def estimate(points):
        return neighbors.KernelDensity(bandwidth=BANDWIDTH).fit(samples).score_samples(points)

    return np.asarray, estimate


def scipy_stats(samples):
    class Isotropic(scipy.stats.gaussian_kde):
        """SciPy scales the data's covariance; a fixed bandwidth and singular data need this one."""

        def _compute_covariance(self):
            self.factor = BANDWIDTH
            self.covariance = BANDWIDTH**2 * np.eye(self.d)
            self.cho_cov = BANDWIDTH * np.eye(self.d)
            self.log_det = 2 * self.d * np.log(BANDWIDTH * np.sqrt(2 * np.pi))

    return np.asarray, lambda points: Isotropic(samples.T).logpdf(points.T)


def pykeops(samples):
    torch = importlib.import_module("torch")
    with contextlib.redirect_stdout(sys.stderr):
        lazy = importlib.import_module("pykeops.torch").LazyTensor
    device = "cuda" if on_gpu() else "cpu"
    centres = lazy(torch.tensor(samples, device=device)[None, :, :])

    def place(points):
        return torch.tensor(points, device=device)

    def estimate(points):
        exponents = -((lazy(points[:, None, :]) - centres) ** 2).sum(-1) / (2 * BANDWIDTH**2)
        found = exponents.logsumexp(dim=1).cpu().numpy()[:, 0]
        return found - log_normaliser(samples)

    return place, estimate


def on_gpu():
    return jax.devices()[0].platform == "gpu"


GRID = [BANDWIDTH, *advnets.parzen.bandwidth_grid()[1:]]
SIDES = {
    OURS: advnets_with([BANDWIDTH]),
    TEN: advnets_with(GRID),
    PRODUCT: product,
    NUMPY_PRODUCT: numpy_product,
    "NumPy, blocked": numpy_blocked,
    "NumPy, blocked, float64": numpy_in_float64,
    "NumPy, blocked, in place": numpy_in_place,
    "PyKeOps": pykeops,
    "SciPy gaussian_kde": scipy_stats,
    "scikit-learn KernelDensity": scikit_learn,
}
SLOW = ("PyKeOps", "SciPy gaussian_kde", "scikit-learn KernelDensity")


def seconds(call):
    time.sleep(0.05)  # threads of the previous side may still be spinning
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def timed(estimate, placed, total):
    """Seconds for all points; for a slow side, extrapolated from two small numbers of points."""
    (first, start), *more = [(len(x), seconds(lambda x=x: estimate(x))) for x in placed]
    if not more:
        return start
    ((last, end),) = more
    return start + (end - start) / (last - first) * (total - first)


def spread(values):
    values = np.asarray(values)
    return {
        name: float(f(values))
        for name, f in (("median", np.median), ("min", np.min), ("max", np.max))
    }


def side_by_side(points, samples, names, rounds, slow_points, checked):
    """The time and the error of each side, or why a side is missing."""
    exact = brute_force(points[:checked], samples)
    sides, result = {}, {}
    for name in names:
        slow = name in SLOW and not (name == "PyKeOps" and on_gpu())
        counts = (1, slow_points) if slow else (len(points),)
        result[name] = {"timed_points": counts}
        try:
            place, estimate = SIDES[name](samples)
        except ImportError as error:
            result[name] = {"skipped": f"{error.name or error} is not installed"}
            continue
        sides[name] = estimate, [place(points[:count]) for count in counts]
        timed(*sides[name], len(points))  # compiles, warms up
        if name not in (PRODUCT, NUMPY_PRODUCT):
            error = np.float64(estimate(place(points[:checked]))) - exact
            result[name]["error_of_mean_nats"] = float(error.mean())
            result[name]["largest_error_nats"] = float(abs(error).max())
    times = {name: [] for name in sides}
    for number in range(rounds):
        for name, side in sides.items():
            times[name].append(timed(*side, len(points)))
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    for name in sides:
        result[name]["seconds"] = spread(times[name])
        result[name]["ratio_to_ours"] = spread(np.divide(times[name], times[OURS]))
    for name in (OURS, TEN):
        if {name, PRODUCT} <= times.keys():
            ratio = spread(np.divide(times[name], times[PRODUCT]))
            result[name]["ratio_to_one_matrix_product"] = ratio
    return result


def streamed(samples, points):
    """Seconds and the process's peak memory for samples drawn on the fly by MNIST's generator.

    The generator is untrained, which affects neither.
    """
    rows = np.random.default_rng(0).random((points, 28, 28), np.float32)
    recipe = BENCHMARKS["mnist"].recipe
    players = build_players(jax.random.key(0), recipe, np.zeros((1, 28, 28), np.uint8))
    model = model_of(players)

    def evaluate(n):
        blocks = model.blocks(jax.random.key(1), n)
        advnets.parzen.evaluate_draws(blocks, rows[: points // 10], rows[points // 10 :])

    evaluate(min(samples, 10_000))  # compiles
    return {
        "samples": samples,
        "seconds": seconds(lambda: evaluate(samples)),
        "peak_mib": peak_mib(),
    }


def against_samples(counts, points):
    """The same for several numbers of samples, each in its own process."""
    rows = []
    for count in counts:
        command = [sys.executable, __file__, "--one", str(count), "--curve-points", str(points)]
        out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        rows.append(json.loads(out))
        print(rows[-1], file=sys.stderr, flush=True)
    # Below some 10,000 samples, fixed costs are visible.
    fitted = [row for row in rows if row["samples"] >= 10_000]
    exponent = None
    if len(fitted) > 1:
        logs = np.log([(row["samples"], row["seconds"]) for row in fitted])
        exponent = float(np.polyfit(*logs.T, 1)[0])
    return {"points": points, "rows": rows, "exponent_from_10000_samples": exponent}


def draw(path, curve):
    """The curve of `against_samples` as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    counts, times, memory = (
        [row[name] for row in curve["rows"]] for name in ("samples", "seconds", "peak_mib")
    )
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    left.loglog(counts, times, "o-", color="black")
    left.set(xlabel="samples", ylabel="seconds", title="Time")
    if curve["exponent_from_10000_samples"] is not None:
        power = curve["exponent_from_10000_samples"]
        left.set_title(f"Time: power {power:.2f} from 10,000 samples")
    right.semilogx(counts, memory, "o-", color="black")
    right.set(xlabel="samples", ylabel="MiB", ylim=(0, 1.2 * max(memory)), title="Peak memory")
    figure.savefig(path, dpi=150)


def table(result):
    """The sides as a Markdown table."""
    lines = ["| | seconds | times ours | largest error, nats |", "|---|---|---|---|"]
    for name, side in result.items():
        if "skipped" in side:
            lines.append(f"| {name} | skipped: {side['skipped']} | | |")
            continue
        ratio, error = side["ratio_to_ours"], side.get("largest_error_nats")
        lines.append(
            f"| {name} | {side['seconds']['median']:.3g} | {ratio['median']:.3g} "
            f"({ratio['min']:.3g} to {ratio['max']:.3g}) | "
            f"{'' if error is None else f'{error:.2g}'} |"
        )
    return "\n".join(lines)


def versions():
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=10_000)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slow-points", type=int, default=100, help="points for slow sides")
    parser.add_argument("--checked", type=int, default=100, help="points to compute the error on")
    parser.add_argument("--sides", nargs="*", choices=SIDES, help="besides ours; default: all")
    parser.add_argument(
        "--curve",
        type=int,
        nargs="*",
        default=[1000, 3000, *(n * 10**k for k in (4, 5) for n in (1, 3))],
    )
    parser.add_argument("--curve-points", type=int, default=2000)
    parser.add_argument("--out", help="a JSON file for the result")
    parser.add_argument("--picture", help="a PNG file for the curve")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)  # a point of the curve
    options = parser.parse_args(argv)
    if options.one:
        print(json.dumps(streamed(options.one, options.curve_points)))
        return
    points, samples, source = data(options.points, options.samples)
    names = list(SIDES) if options.sides is None else [OURS, *options.sides]
    sides = side_by_side(
        points, samples, dict.fromkeys(names), options.rounds, options.slow_points, options.checked
    )
    print(table(sides))
    result = {
        "points": len(points),
        "samples": len(samples),
        "columns": points.shape[1],
        "bandwidth": BANDWIDTH,
        "data": source,
        "rounds": options.rounds,
        "precision": "float32, products in full; SciPy, scikit-learn and where named: float64",
        "threads": os.cpu_count(),
        "sides": sides,
    }
    origin = provenance()
    origin["versions"] |= versions()
    result["provenance"] = origin
    write(options.out, result)
    if options.curve:
        result["against_samples"] = against_samples(options.curve, options.curve_points)
        write(options.out, result)
        if options.picture:
            draw(options.picture, result["against_samples"])


def write(path, result):
    if path:
        with open(path, "w") as file:
            file.write(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
