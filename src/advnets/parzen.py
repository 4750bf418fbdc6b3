"""The Gaussian Parzen-window estimate of the log-likelihood: how the paper scores its samples (Table 1).

    log p(x) = logmeanexp_j( −|x − s_j|² / 2σ² ) − d·log(σ√(2π))      nats

`log_density` is the estimate, a pure function; `evaluate` is the paper's whole protocol.
"""

import math
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, ScalarLike

from advnets._distances import (
    flat_rows,
    num_blocks,
    recompute,
    squared_distances,
    take_block,
    working_dtype,
)

# Error allowed to the distances, as a part of 1 + |d·log(σ√(2π))| + r²/2σ² nats, r being the distance to the
# nearest sample. The whole estimate stays within 2e-5 (float32) and 1e-10 (float64) of that.
TOLERANCE = {"float32": 1.5e-5, "float64": 7.5e-11}

GridEnd = Literal["lowest", "highest"]


@dataclass(frozen=True)
class Selection:
    """A bandwidth chosen from a grid, and at which end of the grid it lies, if at one."""

    bandwidth: float
    at_grid_end: GridEnd | None


@dataclass(frozen=True)
class LogLikelihood:
    """Mean log density of `n` rows in nats, and the standard error of that mean."""

    mean: float
    standard_error: float
    n: int


@dataclass(frozen=True)
class Evaluation:
    """One entry of Table 1; `dataclasses.asdict` gives plain values for JSON."""

    num_samples: int
    bandwidth: float
    at_grid_end: GridEnd | None
    validation: LogLikelihood
    test: LogLikelihood | None


def log_density(
    points: Float[Array, "points *data"],
    samples: Float[Array, "samples *data"],
    bandwidths: Float[Array, " bandwidths"],
    *,
    point_block: int = 1000,
    sample_block: int = 1000,
) -> Float[Array, "bandwidths points"]:
    """Log density of points under Gaussian Parzen windows on samples, for every bandwidth in one pass.

    log p(x) = logmeanexp_j( −|x − s_j|² / 2σ² ) − d·log(σ√(2π))

    Pure: put it under `jax.jit`. Memory is that of one block of distances, whatever the number of samples.
    Within 2e-5·(1 + |d·log(σ√(2π))| + r²/2σ²) nats of the exact value in float32, r being the distance to the nearest
    sample, also where a point equals a sample; 1e-10 of that in float64.

    Args:
        points: where to evaluate; at least one row.
        samples: centres of the windows, in the same units; at least one row, all finite.
        bandwidths: the windows' standard deviations σ, in the data's units; positive.
        point_block: points handled at once; bounds memory, as does sample_block.
        sample_block: samples handled at once.

    Returns:
        Nats, a row for each bandwidth. In float64 if points or samples are, in float32 otherwise.

    Raises:
        ValueError: no points, no samples, no bandwidths, or a block of less than one row.

    Example:
        >>> import jax.numpy as jnp
        >>> from advnets.parzen import log_density
        >>> log_density(jnp.zeros((1, 2)), jnp.zeros((5, 2)), jnp.array([1.0])).round(4)
        Array([[-1.8379]], dtype=float32)

    References:
        Goodfellow et al. 2014, section 5 (the estimate behind Table 1); `theano_parzen` in parzen_ll.py of the released code.
    """
    for name, count in (("points", points.shape[0]), ("samples", samples.shape[0]), ("bandwidths", bandwidths.shape[0])):
        if count == 0:
            raise ValueError(f"{name} is empty; pass at least one row.")
    for name, size in (("point_block", point_block), ("sample_block", sample_block)):
        if size < 1:
            raise ValueError(f"{name} is {size}; pass a block of at least one row.")
    dtype = working_dtype(points, samples)
    points, samples = flat_rows(points, dtype), flat_rows(samples, dtype)
    bandwidths = bandwidths.astype(dtype)
    num_points, columns = points.shape
    num_samples = samples.shape[0]
    point_block, sample_block = min(point_block, num_points), min(sample_block, num_samples)

    centre = jnp.mean(samples, axis=0)
    precisions = 0.5 / bandwidths**2
    normalisers = _log_normaliser(bandwidths, columns)
    tolerance = TOLERANCE[dtype.name]
    # Multiplied by 2σ², the allowed error is tolerance·(r² + 2σ²(1 + |normaliser|)): the bandwidth that allows least decides.
    slack = jnp.min((1 + jnp.abs(normalisers)) / precisions)

    def point_step(
        index: Int[Array, ""], densities: Float[Array, "bandwidths points"]
    ) -> Float[Array, "bandwidths points"]:
        block, start, _ = take_block(points, index, point_block)

        def sample_step(
            index: Int[Array, ""], state: tuple[Float[Array, " block"], Float[Array, "bandwidths block"]]
        ) -> tuple[Float[Array, " block"], Float[Array, "bandwidths block"]]:
            nearest, totals = state
            centres, _, fresh = take_block(samples, index, sample_block)
            squared, error = squared_distances(block, centres, centre)
            squared = recompute(squared, error > tolerance * (squared + slack), block, centres)
            squared = jnp.where(fresh[None, :], squared, jnp.inf)
            # The largest exponent belongs to the same sample for every bandwidth.
            now_nearest = jnp.minimum(nearest, jnp.min(squared, axis=1))

            def add(each: tuple[Float[Array, ""], Float[Array, " block"]]) -> Float[Array, " block"]:
                precision, total = each
                weights = jnp.exp((now_nearest[:, None] - squared) * precision)
                return total * jnp.exp((now_nearest - nearest) * precision) + jnp.sum(weights, axis=1)

            # One bandwidth after the other, so that their weights are never all held at once.
            return now_nearest, lax.map(add, (precisions, totals))

        nearest = jnp.full(point_block, jnp.inf, dtype)
        totals = jnp.zeros((bandwidths.shape[0], point_block), dtype)
        nearest, totals = lax.fori_loop(0, num_blocks(num_samples, sample_block), sample_step, (nearest, totals))
        found = jnp.log(totals / num_samples) - nearest[None, :] * precisions[:, None] - normalisers[:, None]
        return lax.dynamic_update_slice_in_dim(densities, found, start, axis=1)

    densities = jnp.zeros((bandwidths.shape[0], num_points), dtype)
    return lax.fori_loop(0, num_blocks(num_points, point_block), point_step, densities)


def _log_normaliser(bandwidths: Float[Array, " bandwidths"], columns: int) -> Float[Array, " bandwidths"]:
    """Return d·log(σ√(2π)) to full relative precision, also near σ = 1/√(2π) ≈ 0.399, where it vanishes."""
    root = 1 / math.sqrt(2 * math.pi)
    rounded = bandwidths.dtype.type(root)
    # σ − rounded is exact near the root, and d (thousands) would multiply the root's own rounding.
    offset = (bandwidths - rounded) / rounded
    near = jnp.log1p(offset) - (root - float(rounded)) / root
    return columns * jnp.where(jnp.abs(offset) < 0.5, near, jnp.log(bandwidths / rounded))


def bandwidth_grid() -> Float[np.ndarray, "10"]:
    """Bandwidths that the paper's authors chose from.

    σ_i = 10^(−1 + i/9), i = 0 … 9

    Returns:
        10 values, log-spaced from 0.1 to 1.

    Example:
        >>> from advnets.parzen import bandwidth_grid
        >>> bandwidth_grid()[[0, 2, 9]].round(3).tolist()
        [0.1, 0.167, 1.0]

    References:
        Goodfellow et al. 2014, section 5; the defaults of parzen_ll.py in the released code.
    """
    return np.logspace(-1, 0, 10)


def select_bandwidth(
    validation: Float[Array | np.ndarray, "points ..."],
    samples: Float[Array | np.ndarray, "samples ..."],
    bandwidths: Float[Array | np.ndarray, " bandwidths"],
) -> Selection:
    """Choose the bandwidth with the best mean log density of validation rows.

    σ* = argmax_σ mean_i log p(x_i; σ); the first of equals

    Args:
        validation: rows to score; at least one, all finite.
        samples: centres of the windows; at least one row, all finite, of the same row shape.
        bandwidths: the grid, in any order; positive.

    Returns:
        The bandwidth, and whether it is the lowest or the highest of the grid: then the best may lie outside, and
        a score should be reported with that warning. (None for a grid of one.)

    Raises:
        ValueError: arrays that are empty, differ in row shape or hold values that are not finite; a bandwidth not positive.

    Example:
        >>> import numpy as np
        >>> from advnets.parzen import select_bandwidth
        >>> select_bandwidth(np.array([[1.0]]), np.array([[0.0]]), np.array([0.1, 1.0, 10.0]))
        Selection(bandwidth=1.0, at_grid_end=None)

    References:
        Goodfellow et al. 2014, section 5 (σ by cross-validation); `cross_validate_sigma` in parzen_ll.py of the released code.
    """
    _check(samples, validation=validation)
    grid = _checked_bandwidths(bandwidths)
    best = int(np.argmax(_host_log_density(validation, samples, grid).mean(axis=1)))
    ends: dict[int, GridEnd] = {int(np.argmin(grid)): "lowest", int(np.argmax(grid)): "highest"}
    return Selection(float(grid[best]), ends.get(best) if len(grid) > 1 else None)


def log_likelihood(
    points: Float[Array | np.ndarray, "points ..."],
    samples: Float[Array | np.ndarray, "samples ..."],
    bandwidth: ScalarLike,
) -> LogLikelihood:
    """Mean log density of points and its standard error, one number ± another of Table 1.

    mean_i log p(x_i), ± std_i log p(x_i) / √n (std with n, not n − 1, as in the released code)

    Args:
        points: rows to score; at least one, all finite.
        samples: centres of the windows; at least one row, all finite, of the same row shape.
        bandwidth: standard deviation σ of the windows, in the data's units; positive.

    Returns:
        Mean and standard error in nats, taken in float64, and n.

    Raises:
        ValueError: arrays that are empty, differ in row shape or hold values that are not finite; a bandwidth not positive.

    Example:
        >>> import numpy as np
        >>> from advnets.parzen import log_likelihood
        >>> log_likelihood(np.zeros((4, 1)), np.zeros((1, 1)), 1.0)
        LogLikelihood(mean=-0.9189385..., standard_error=0.0, n=4)

    References:
        Goodfellow et al. 2014, Table 1 (MNIST: standard error over examples); `main` in parzen_ll.py of the released code.
    """
    _check(samples, points=points)
    densities = _host_log_density(points, samples, _checked_bandwidths(np.asarray(bandwidth).reshape(1)))[0]
    return LogLikelihood(
        mean=float(densities.mean()),
        standard_error=float(densities.std() / math.sqrt(len(densities))),
        n=len(densities),
    )


def evaluate(
    samples: Float[Array | np.ndarray, "samples ..."],
    validation: Float[Array | np.ndarray, "validation ..."],
    test: Float[Array | np.ndarray, "test ..."] | None,
    bandwidths: Float[Array | np.ndarray, " bandwidths"] | None = None,
    validation_rows: int = 1000,
) -> Evaluation:
    """Score samples as the paper does: choose σ on validation rows, then report validation and test rows at that σ.

    σ* = argmax_σ mean_{i < validation_rows} log p(x_i; σ); then mean_i log p(x_i; σ*) ± standard error

    Args:
        samples: draws of the generator, 10,000 in the paper; at least one row, all finite.
        validation: validation rows, in the same units and of the same row shape. All of them are scored: pass a slice
            to score fewer, as one does during training.
        test: test rows, or None to leave them alone, as one must before the last evaluation.
        bandwidths: the grid; the paper's `bandwidth_grid()` if None.
        validation_rows: how many of the first validation rows choose σ; all rows if there are fewer.

    Returns:
        The scores in nats, σ, and whether σ lies at an end of the grid.

    Raises:
        ValueError: arrays that are empty, differ in row shape or hold values that are not finite; a bandwidth not positive;
            less than one validation row to choose by.

    Example:
        >>> import numpy as np
        >>> from advnets.parzen import evaluate
        >>> rows = np.random.default_rng(0).normal(size=(300, 2))
        >>> score = evaluate(rows[:100], rows[100:200], rows[200:])
        >>> score.num_samples, score.at_grid_end, score.test.n
        (100, None, 100)

    References:
        Goodfellow et al. 2014, section 5 and Table 1; parzen_ll.py of the released code.
    """
    if validation_rows < 1:
        raise ValueError(f"validation_rows is {validation_rows}; choose the bandwidth on at least one row.")
    _check(samples, validation=validation, **({} if test is None else {"test": test}))
    selection = select_bandwidth(
        validation[:validation_rows], samples, bandwidth_grid() if bandwidths is None else bandwidths
    )
    return Evaluation(
        num_samples=samples.shape[0],
        bandwidth=selection.bandwidth,
        at_grid_end=selection.at_grid_end,
        validation=log_likelihood(validation, samples, selection.bandwidth),
        test=None if test is None else log_likelihood(test, samples, selection.bandwidth),
    )


_compiled_log_density = jax.jit(log_density)


def _host_log_density(
    points: Float[Array | np.ndarray, "points ..."],
    samples: Float[Array | np.ndarray, "samples ..."],
    bandwidths: Float[np.ndarray, " bandwidths"],
) -> Float[np.ndarray, "bandwidths points"]:
    """Return log densities as float64 on the host, where sums over points lose nothing."""
    found = _compiled_log_density(jnp.asarray(points), jnp.asarray(samples), jnp.asarray(bandwidths))
    return np.asarray(found, np.float64)


def _check(
    samples: Float[Array | np.ndarray, "samples ..."], **others: Float[Array | np.ndarray, "points ..."]
) -> None:
    """Raise ValueError for data that has no score."""
    for name, rows in {"samples": samples, **others}.items():
        if rows.shape[0] == 0:
            raise ValueError(f"{name} is empty; pass at least one row.")
        if rows.shape[1:] != samples.shape[1:]:
            raise ValueError(
                f"{name} has rows of shape {rows.shape[1:]} and samples of {samples.shape[1:]}; give both the same shape."
            )
        bad = int(rows.size - jnp.isfinite(jnp.asarray(rows)).sum())
        if bad:
            raise ValueError(f"{name} holds {bad} values that are not finite; leave out the rows that hold them.")


def _checked_bandwidths(bandwidths: Float[Array | np.ndarray, " bandwidths"]) -> Float[np.ndarray, " bandwidths"]:
    """Return the bandwidths as float64 on the host, or raise ValueError for one that is none."""
    grid = np.asarray(bandwidths, np.float64)
    if grid.size == 0:
        raise ValueError("bandwidths is empty; pass at least one, or None for the paper's grid.")
    for value in grid:
        if not (value > 0 and np.isfinite(value)):
            raise ValueError(f"bandwidth {value} is not positive and finite; pass a standard deviation in the data's units.")
    return grid
