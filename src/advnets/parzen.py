"""The Parzen-window estimate of the log-likelihood, by which Table 1 compares models.

`log_density` is the estimate, a pure function; `evaluate` is the paper's protocol around it, and
`evaluate_draws` the same for more samples than fit in memory. Read the numbers with care: in high
dimension they depend strongly on the number of samples, and good samples don't always score best
(Theis et al. 2016, "A note on the evaluation of generative models").
"""

import contextlib
import functools
import hashlib
import io
import itertools
import math
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, ScalarLike

from advnets import _files, _progress, _warnings
from advnets._distances import (
    check_blocks,
    check_finite,
    flat_rows,
    in_float64,
    is_traced,
    lost_in_float32,
    num_blocks,
    recompute,
    squared_distances,
    take_block,
    working_dtype,
)

# The error that inexact distances may cause, as a fraction of 1 + |d log(sigma sqrt(2 pi))| +
# r^2 / (2 sigma^2). Below the documented 2e-5 and 1e-10, which must cover other roundings too.
TOLERANCE = {"float32": 1.5e-5, "float64": 7.5e-11}
# The part of it that rounding float64 rows to float32 may cause.
CAST_TOLERANCE = 2e-6
# Bandwidths for which each type holds their squares and those of the distances that matter.
RANGES = {"float32": (1e-15, 1e15), "float64": (1e-150, 1e150)}
# The largest log density whose square float64 can hold.
MOST = 1e150

# Samples sent to a device together: enough work to last while the host adds up earlier results.
GROUP_ROWS = 10_000
# Seconds between two notes of an evaluation's progress.
SECONDS_BETWEEN_NOTES = 60.0

GridEnd = Literal["lowest", "highest"]


@dataclass(frozen=True)
class Selection:
    """A bandwidth chosen from a grid, and which end of the grid it is, if it is one."""

    bandwidth: float
    at_grid_end: GridEnd | None


@dataclass(frozen=True)
class LogLikelihood:
    """The mean log density of `n` rows, in nats, and the standard error of that mean."""

    mean: float
    standard_error: float
    n: int


@dataclass(frozen=True)
class Evaluation:
    """An entry of Table 1; `dataclasses.asdict` turns it into plain values, as for JSON."""

    num_samples: int
    bandwidth: float
    at_grid_end: GridEnd | None
    validation: LogLikelihood
    test: LogLikelihood | None


def log_density(
    points: Float[Array, " points *data"],
    samples: Float[Array, " samples *data"],
    bandwidths: Float[Array, " bandwidths"],
    *,
    point_block: int = 1000,
    sample_block: int = 1000,
) -> Float[Array, " bandwidths points"]:
    r"""The log density of Gaussian Parzen windows on the samples, for all bandwidths in one pass.

    $$\log p(x) = \log \tfrac1n \textstyle\sum_j \exp(-\|x - s_j\|^2 / 2\sigma^2)
    - d \log(\sigma\sqrt{2\pi})$$

    The error is at most `2e-5 * (1 + |d log(sigma sqrt(2 pi))| + r^2 / (2 sigma^2))` nats in
    float32, where r is the distance to the nearest sample, even if a point equals a sample; in
    float64, 1e-10 takes the place of 2e-5. Memory is that of one block of distances, whatever the
    number of samples. Under `jax.jit`, values can't be refused, and arguments out of range may give
    NaN.

    Args:
        points: where to evaluate; at least one row, all values finite.
        samples: the windows' centres; at least one row, in the same units.
        bandwidths: the windows' standard deviations sigma, in the same units; from 1e-15 to 1e15,
            in float64 from 1e-150 to 1e150.
        point_block: the number of points processed at once.
        sample_block: the number of samples processed at once.

    Returns:
        Log densities in nats; float64 if the points or the samples are, float32 otherwise.

    Raises:
        ValueError: if points, samples or bandwidths are empty; if a block has less than one row, or
            a pair of blocks has 2^31 distances; if a value is not finite, a bandwidth is out of
            range, or a log density is beyond the type.

    Example:
        >>> import jax.numpy as jnp
        >>> import advnets.parzen
        >>> at_the_sample = jnp.zeros((1, 2))
        >>> print(advnets.parzen.log_density(at_the_sample, at_the_sample, jnp.array([1.0])))
        [[-1.837877]]

    References:
        Section 5 and Table 1; released code, `parzen_ll.py`, `theano_parzen`.
    """
    sizes = {"points": points.shape[0], "samples": samples.shape[0], "bandwidths": bandwidths.size}
    for name, size in {**sizes, "point_block": point_block, "sample_block": sample_block}.items():
        if size < 1:
            raise ValueError(f"the size of {name} is {size}; make it at least 1")
    point_block = min(point_block, points.shape[0])
    sample_block = min(sample_block, samples.shape[0])
    check_blocks(point_block=point_block, sample_block=sample_block)
    if is_traced(points, samples, bandwidths):
        return _log_density(points, samples, bandwidths, point_block, sample_block)
    check_finite("points", points)
    check_finite("samples", samples)
    dtype = working_dtype(points, samples)
    _checked_bandwidths(np.asarray(bandwidths, np.float64), dtype.name)
    log_densities = _compiled_blocks(points, samples, bandwidths, point_block, sample_block)
    if not jnp.isfinite(log_densities).all():
        raise ValueError(
            f"a log density is beyond {dtype}: points lie too far from all samples for these "
            "bandwidths; widen them, scale the rows, or set jax_enable_x64"
        )
    return log_densities


def _log_density(
    points: Float[Array, " points *data"],
    samples: Float[Array, " samples *data"],
    bandwidths: Float[Array, " bandwidths"],
    point_block: int,
    sample_block: int,
) -> Float[Array, " bandwidths points"]:
    """The computation itself; a pure function."""
    dtype = working_dtype(points, samples)
    points, samples = flat_rows(points, dtype), flat_rows(samples, dtype)
    bandwidths = bandwidths.astype(dtype)
    centre = jnp.mean(samples, axis=0)
    precisions = 0.5 / bandwidths**2
    log_normalisers = _log_normalisers(bandwidths, points.shape[1])
    # A squared distance may be wrong by tolerance * (r^2 + slack) at every bandwidth.
    slack = jnp.min((1 + jnp.abs(log_normalisers)) / precisions)

    def score_block(
        number: Int[Array, ""], log_densities: Float[Array, " bandwidths points"]
    ) -> Float[Array, " bandwidths points"]:
        block, first_point, _ = take_block(points, number, point_block)

        def add_samples(
            number: Int[Array, ""],
            state: tuple[Float[Array, " block"], Float[Array, " bandwidths block"]],
        ) -> tuple[Float[Array, " block"], Float[Array, " bandwidths block"]]:
            old_nearest, sums = state
            centres, _, fresh = take_block(samples, number, sample_block)
            squared, of_points, of_samples = squared_distances(block, centres, centre)
            tolerance = TOLERANCE[dtype.name]

            def repair(squared: Float[Array, "block samples"]) -> Float[Array, "block samples"]:
                error = of_points[:, None] + of_samples[None, :]
                doubtful = error > tolerance * (squared + slack)
                return recompute(squared, doubtful, block, centres)

            # Most blocks need no repair, and each point's nearest sample is enough to tell.
            largest_error = of_points + jnp.max(of_samples)
            any_doubtful = jnp.any(largest_error > tolerance * (jnp.min(squared, axis=1) + slack))
            squared = lax.cond(any_doubtful, repair, lambda squared: squared, squared)
            squared = jnp.where(fresh[None, :], squared, jnp.inf)
            # The nearest sample has the largest exponent at every bandwidth.
            nearest = jnp.minimum(old_nearest, jnp.min(squared, axis=1))

            def add(one: tuple[Float[Array, ""], Float[Array, " block"]]) -> Float[Array, " block"]:
                precision, old_sum = one
                rescaled = old_sum * jnp.exp((nearest - old_nearest) * precision)
                return rescaled + jnp.sum(jnp.exp((nearest[:, None] - squared) * precision), axis=1)

            # One bandwidth after another: together their exponentials would fill the memory.
            return nearest, lax.map(add, (precisions, sums))

        nothing = (
            jnp.full(point_block, jnp.inf, dtype),
            jnp.zeros((bandwidths.shape[0], point_block), dtype),
        )
        count = num_blocks(samples.shape[0], sample_block)
        nearest, sums = lax.fori_loop(0, count, add_samples, nothing)
        log_means = jnp.log(sums / samples.shape[0]) - nearest[None, :] * precisions[:, None]
        return lax.dynamic_update_slice_in_dim(
            log_densities, log_means - log_normalisers[:, None], first_point, axis=1
        )

    nothing = jnp.zeros((bandwidths.shape[0], points.shape[0]), dtype)
    count = num_blocks(points.shape[0], point_block)
    log_densities: Float[Array, " bandwidths points"]
    log_densities = lax.fori_loop(0, count, score_block, nothing)
    return log_densities


def _log_normalisers(
    bandwidths: Float[Array, " bandwidths"], columns: int
) -> Float[Array, " bandwidths"]:
    """`d log(sigma sqrt(2 pi))` to the last digits, even near sigma = 0.399, where it is 0.

    There, the rounding error of `sigma sqrt(2 pi)` would matter, times d. `sigma - zero` has none.
    """
    exact_zero = 1 / math.sqrt(2 * math.pi)
    zero = bandwidths.dtype.type(exact_zero)
    offset = (bandwidths - zero) / zero
    near = jnp.log1p(offset) - (exact_zero - float(zero)) / exact_zero
    return columns * jnp.where(jnp.abs(offset) < 0.5, near, jnp.log(bandwidths / zero))


def bandwidth_grid() -> Float[np.ndarray, "10"]:
    r"""The bandwidths that the paper's authors chose from: 10, from 0.1 to 1.

    $$\sigma_i = 10^{-1 + i/9}, \qquad i = 0 \dots 9$$

    Returns:
        The bandwidths, ascending.

    Example:
        >>> import advnets.parzen
        >>> print(advnets.parzen.bandwidth_grid().round(3))
        [0.1   0.129 0.167 0.215 0.278 0.359 0.464 0.599 0.774 1.   ]

    References:
        Section 5; released code, `parzen_ll.py`, the defaults of `main`.
    """
    return np.logspace(-1, 0, 10)


def select_bandwidth(
    validation: Float[Array | np.ndarray, " validation ..."],
    samples: Float[Array | np.ndarray, " samples ..."],
    bandwidths: Float[Array | np.ndarray, " bandwidths"],
) -> Selection:
    r"""Chooses the bandwidth with the highest mean log density on validation rows.

    $$\sigma^* = \mathrm{argmax}_\sigma \tfrac1m \textstyle\sum_{i=1}^m \log p(x_i; \sigma)$$

    If it is at an end of the grid, a better one may lie outside: report this with the score.

    Args:
        validation: the rows to score; at least one, all values finite.
        samples: the windows' centres; at least one row, all values finite.
        bandwidths: the grid, in the data's units and any order; from 1e-150 to 1e150.

    Returns:
        The bandwidth (the first, among equals), and whether it is the lowest or the highest of the
        grid; None for a grid of one.

    Raises:
        ValueError: if an array is empty or holds a value that is not finite, a bandwidth is out of
            range, a log density is beyond 1e150, or validation rows and samples differ in shape.

    Example:
        >>> import numpy as np
        >>> import advnets.parzen
        >>> validation, samples = np.array([[1.0]]), np.array([[0.0]])
        >>> advnets.parzen.select_bandwidth(validation, samples, np.array([0.1, 1.0, 10.0]))
        Selection(bandwidth=1.0, at_grid_end=None)

    References:
        Section 5; released code, `parzen_ll.py`, `cross_validate_sigma`.
    """
    _check_rows("samples", samples, samples)
    _check_rows("validation", validation, samples)
    grid = _checked_bandwidths(bandwidths)
    return _best(_host_log_density(validation, samples, grid), grid)


def log_likelihood(
    points: Float[Array | np.ndarray, " points ..."],
    samples: Float[Array | np.ndarray, " samples ..."],
    bandwidth: ScalarLike,
) -> LogLikelihood:
    r"""The mean log density of points and its standard error: a number and its ± in Table 1.

    $$\bar\ell = \tfrac1n \textstyle\sum_i \log p(x_i), \qquad
    \mathrm{se} = \sqrt{\tfrac1n \textstyle\sum_i (\log p(x_i) - \bar\ell)^2} \,/ \sqrt n$$

    Both are computed in float64. The standard error is over points, for these samples: it does not
    include the variation from one set of samples to another.

    Log densities are those of [`advnets.parzen.log_density`][], with the same error. They are
    computed in float32, even for float64 NumPy arrays where JAX has no float64 (`jax_enable_x64`);
    but in float64 where rounding such rows to float32 might cost more than that error, as it does
    far from 0, and where a bandwidth or a log density is out of float32's range.

    Args:
        points: the rows to score; at least one, all values finite.
        samples: the windows' centres; at least one row, all values finite.
        bandwidth: the windows' standard deviation, in the data's units; from 1e-150 to 1e150.

    Returns:
        Mean and standard error in nats, and the number of points.

    Raises:
        ValueError: if an array is empty or holds a value that is not finite, the bandwidth is out
            of range, a log density is beyond 1e150, or points and samples differ in shape.

    Example:
        >>> import numpy as np
        >>> import advnets.parzen
        >>> likelihood = advnets.parzen.log_likelihood(np.zeros((4, 2)), np.zeros((1, 2)), 1.0)
        >>> print(round(likelihood.mean, 3), likelihood.standard_error, likelihood.n)
        -1.838 0.0 4

    References:
        Table 1 (MNIST); released code, `parzen_ll.py`, `main`.
    """
    _check_rows("samples", samples, samples)
    _check_rows("points", points, samples)
    if np.iscomplexobj(bandwidth) or jnp.issubdtype(
        jnp.result_type(bandwidth), jax.dtypes.prng_key
    ):
        raise ValueError(f"bandwidth is {bandwidth}; pass a real number")
    grid = _checked_bandwidths(np.asarray(bandwidth, np.float64).reshape(1))
    (log_densities,) = _host_log_density(points, samples, grid)
    return _mean(log_densities)


def evaluate(
    samples: Float[Array | np.ndarray, " samples ..."],
    validation: Float[Array | np.ndarray, " validation ..."],
    test: Float[Array | np.ndarray, " test ..."] | None,
    bandwidths: Float[Array | np.ndarray, " bandwidths"] | None = None,
    validation_rows: int = 1000,
) -> Evaluation:
    r"""Scores samples as the paper does: chooses sigma on validation rows, then scores test rows.

    $$\sigma^* = \mathrm{argmax}_\sigma \tfrac1m \textstyle\sum_{i=1}^m \log p(v_i; \sigma),
    \qquad \bar\ell = \tfrac1n \textstyle\sum_i \log p(x_i; \sigma^*)$$

    For the precision, see [`advnets.parzen.log_likelihood`][].

    Args:
        samples: draws of the generator, 10,000 in the paper; at least one row, all values finite.
        validation: validation rows, in the same units. All are scored; pass a slice to score fewer.
        test: test rows, in the same units; None to leave the test set alone, as during training.
        bandwidths: the grid, in the data's units, from 1e-150 to 1e150; by default
            `bandwidth_grid()`.
        validation_rows: m, the number of rows, from the first, that sigma is chosen on; at least 1.

    Returns:
        The scores of validation and test rows in nats, the bandwidth, and whether it is the lowest
        or the highest of the grid.

    Raises:
        ValueError: if an array is empty or holds a value that is not finite, a bandwidth is out of
            range, a log density is beyond 1e150, validation_rows is not positive, or rows differ in
            shape from samples.

    Example:
        >>> import numpy as np
        >>> import advnets.parzen
        >>> rows = np.random.default_rng(0).normal(size=(300, 2))
        >>> evaluation = advnets.parzen.evaluate(rows[:100], rows[100:200], rows[200:])
        >>> print(round(evaluation.bandwidth, 3), evaluation.at_grid_end, evaluation.test.n)
        0.599 None 100

    References:
        Section 5 and Table 1; released code, `parzen_ll.py`.
    """
    _check_validation_rows(validation_rows)
    if test is not None:
        _check_rows("test", test, samples)  # before the work, not after it
    grid = bandwidth_grid() if bandwidths is None else bandwidths
    chosen = select_bandwidth(validation[:validation_rows], samples, grid)
    return Evaluation(
        num_samples=samples.shape[0],
        bandwidth=chosen.bandwidth,
        at_grid_end=chosen.at_grid_end,
        validation=log_likelihood(validation, samples, chosen.bandwidth),
        test=None if test is None else log_likelihood(test, samples, chosen.bandwidth),
    )


@runtime_checkable
class Blocks(Protocol):
    """Samples in blocks of rows: a list of arrays, or anything that makes `blocks[i]` on demand.

    The same number must always give the same block. Blocks of one size, except for the last, are
    fastest: every other size is compiled separately.
    """

    def __len__(self) -> int:
        """How many blocks there are."""
        ...

    def __getitem__(self, number: int, /) -> Float[Array | np.ndarray, " samples ..."]:
        """The block with that number, counted from 0."""
        ...


def evaluate_draws(
    blocks: Blocks,
    validation: Float[Array | np.ndarray, " validation ..."],
    test: Float[Array | np.ndarray, " test ..."] | None,
    bandwidths: Float[Array | np.ndarray, " bandwidths"] | None = None,
    validation_rows: int = 1000,
    *,
    devices: Sequence[jax.Device] | None = None,
    notes: str | os.PathLike[str] | None = None,
    progress: bool | str = False,
) -> Evaluation:
    r"""Scores samples as `evaluate` does, in the same memory whatever their number.

    For groups $B_b$ of $n_b$ samples, $n$ in total, with the log densities of each group alone:

    $$\log p(x) = \log \textstyle\sum_b \exp(\log n_b + \log p(x; B_b)) - \log n$$

    The scores are those of `evaluate` for all blocks in one array, up to the error of
    `log_density`. Each block is requested once and scored at all bandwidths; the first is requested
    a second time, for checks. Blocks are processed in groups of 10,000 samples, or of one larger
    block. Two groups are in memory, whatever the number of samples, and one more for each further
    device.

    Args:
        blocks: the samples; at least one block, each of at least one row, all values finite. See
            [`advnets.Model.blocks`][] for those of a generator.
        validation: validation rows, in the same units. All are scored; pass a slice to score fewer.
        test: test rows, in the same units; None to leave the test set alone, as during training.
        bandwidths: the grid, in the data's units, from 1e-150 to 1e150; by default
            `bandwidth_grid()`.
        validation_rows: m, the number of rows, from the first, that sigma is chosen on; at least 1.
        devices: the devices to compute on, which take the groups in turn, together with the calls
            that make their blocks. The scores are the same, bit for bit, on devices of one kind.
            JAX's default device unless given.
        notes: a folder for notes of the evaluation's progress, one a minute: the same call resumes
            from there, with the same scores. A note that is damaged, or of another evaluation, is
            ignored with a `RuntimeWarning`, and the evaluation starts over. Remove the folder
            afterwards.
        progress: show a progress bar with the time left; a string names what is being scored.

    Returns:
        The scores of validation and test rows in nats, the bandwidth, and whether it is the lowest
        or the highest of the grid.

    Raises:
        ValueError: if there are no blocks or no devices, an array is empty or holds a value that is
            not finite, a bandwidth is out of range, a log density is beyond 1e150, validation_rows
            is not positive, or rows differ in shape from samples.

    Example:
        >>> import numpy as np
        >>> import advnets.parzen
        >>> rows = np.random.default_rng(0).normal(size=(300, 2))
        >>> blocks = [rows[:60], rows[60:100]]
        >>> evaluation = advnets.parzen.evaluate_draws(blocks, rows[100:200], rows[200:])
        >>> together = advnets.parzen.evaluate(rows[:100], rows[100:200], rows[200:])
        >>> evaluation.bandwidth == together.bandwidth
        True
        >>> abs(evaluation.test.mean - together.test.mean) < 1e-4
        True

    References:
        Section 5 and Table 1; released code, `parzen_ll.py`.
    """
    _check_validation_rows(validation_rows)
    if len(blocks) == 0:
        raise ValueError("blocks is empty; pass at least one block of samples")
    first = blocks[0]
    _check_rows("block 0 of the samples", first, first)
    _check_rows("validation", validation, first)
    if test is not None:
        _check_rows("test", test, first)
    if devices is not None and not devices:
        raise ValueError("devices is empty; pass at least one, or leave it out")
    grid = _checked_bandwidths(bandwidth_grid() if bandwidths is None else bandwidths)
    rows = [validation, validation[:0] if test is None else test]
    points = np.concatenate([np.asarray(part) for part in rows])
    note = None
    if notes is not None:
        note = _Note(Path(notes), _identity(points, grid, first, blocks, devices))
    log_densities, num_samples = _streamed_log_density(
        points, blocks, grid, devices=devices or (None,), note=note, progress=progress
    )
    chosen = _best(log_densities[:, : min(validation_rows, len(validation))], grid)
    scored = log_densities[np.flatnonzero(grid == chosen.bandwidth)[0]]
    return Evaluation(
        num_samples=num_samples,
        bandwidth=chosen.bandwidth,
        at_grid_end=chosen.at_grid_end,
        validation=_mean(scored[: len(validation)]),
        test=None if test is None else _mean(scored[len(validation) :]),
    )


class _Note:
    """An evaluation's progress: a file that is used if it is whole and of that evaluation."""

    def __init__(self, folder: Path, identity: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{identity[:32]}.note"
        self._identity = identity

    def _digest(self, content: bytes) -> bytes:
        return hashlib.sha256(self._identity.encode() + content).digest()

    def write(self, log_sums: Float[np.ndarray, "..."], num_samples: int, done: int) -> None:
        content = io.BytesIO()
        np.savez(content, log_sums=log_sums, num_samples=num_samples, done=done)
        noted = content.getvalue()
        _files.replace(self._path, self._digest(noted) + noted)

    def read(self) -> tuple[Float[np.ndarray, "bandwidths points"], int, int] | None:
        """The sums, the number of samples in them, and the next block; None without a note."""
        if not self._path.exists():
            return None
        content = self._path.read_bytes()
        size = hashlib.sha256().digest_size
        digest, noted = content[:size], content[size:]
        if digest != self._digest(noted):
            _warnings.warn(
                f"{self._path} is damaged, or of another evaluation; the evaluation starts over"
            )
            return None
        with np.load(io.BytesIO(noted)) as found:
            return found["log_sums"], int(found["num_samples"]), int(found["done"])


def _streamed_log_density(
    points: Float[np.ndarray, " points ..."],
    blocks: Blocks,
    bandwidths: Float[np.ndarray, " bandwidths"],
    *,
    devices: Sequence[jax.Device | None] = (None,),
    note: _Note | None = None,
    progress: bool | str = False,
) -> tuple[Float[np.ndarray, " bandwidths points"], int]:
    """Log densities of all blocks' samples, in float64, and how many samples there are."""
    nothing = np.full((len(bandwidths), len(points)), -np.inf), 0, 0
    log_sums, num_samples, done = (None if note is None else note.read()) or nothing
    noted_at = time.monotonic()
    what = progress if isinstance(progress, str) else "Parzen windows"
    shown = _progress.bar(len(blocks), what, unit="block", done=done, enabled=bool(progress))
    with shown as bar:
        for of_group, size, end in _groups(points, blocks, bandwidths, devices, done):
            # The error of a log sum is the mean of its parts' errors, each weighted by its share. A
            # group that is far from a point has a larger error there, but next to no share. The sum
            # over groups is in float64: in float32, thousands would add up their roundings.
            log_sums = np.logaddexp(log_sums, of_group + math.log(size))
            num_samples += size
            bar.update(end - done)
            done = end
            late = time.monotonic() - noted_at > SECONDS_BETWEEN_NOTES or done == len(blocks)
            if note is not None and late:
                note.write(log_sums, num_samples, done)
                noted_at = time.monotonic()
    return log_sums - math.log(num_samples), num_samples


def _groups(
    points: Float[np.ndarray, " points ..."],
    blocks: Blocks,
    bandwidths: Float[np.ndarray, " bandwidths"],
    devices: Sequence[jax.Device | None],
    start: int,
) -> Iterator[tuple[Float[np.ndarray, " bandwidths points"], int, int]]:
    """The log densities of one group of blocks after another, its size, and the next block.

    When a group is yielded, the devices are already working on the next ones.
    """
    lost = lost_in_float32(points)

    @functools.cache
    def placed(device: jax.Device | None, wide: bool) -> Array:
        return jax.device_put(points.astype(np.float64) if wide else points, device)

    def give_out(
        start: int, device: jax.Device | None, wide: bool = False
    ) -> tuple[Array, Array, int, range, jax.Device | None]:
        """Starts a device on the group of blocks from `start` on."""
        with jax.default_device(device) if device else contextlib.nullcontext():
            parts, end = _group(blocks, start, points)
            wide = wide or _needs_float64(points, lost, parts, bandwidths)
            with in_float64(wide):
                # Converted one by one, so that their types agree.
                parts = [jnp.asarray(part, np.float64) for part in parts] if wide else parts
                samples = jax.device_put(jnp.concatenate(parts), device)
                at = placed(device, wide)
                found = _compiled_log_density(at, samples, jnp.asarray(bandwidths))
                unusable = _compiled_unusable(samples)
        return found, unusable, len(samples), range(start, end), device

    turns = itertools.cycle(devices)
    under_way: deque[tuple[Array, Array, int, range, jax.Device | None]] = deque()
    while start < len(blocks) or under_way:
        while start < len(blocks) and len(under_way) <= len(devices):
            under_way.append(give_out(start, next(turns)))
            start = under_way[-1][3].stop
        found, unusable, size, numbers, device = under_way.popleft()
        log_densities = np.asarray(found, np.float64)
        if unusable or not _within(log_densities):
            for number in numbers:
                _check_rows(f"block {number} of the samples", blocks[number], points)
            found, *_ = give_out(numbers.start, device, wide=True)
            log_densities = np.asarray(found, np.float64)
            _check_within(log_densities, bandwidths)
        yield log_densities, size, numbers.stop


def _group(
    blocks: Blocks, start: int, points: Float[np.ndarray, " points ..."]
) -> tuple[list[Float[Array | np.ndarray, "_ ..."]], int]:
    """The blocks from `start` on that go to a device together, and the number of the next."""
    parts: list[Float[Array | np.ndarray, "_ ..."]] = []
    rows = 0
    while start < len(blocks) and rows < GROUP_ROWS:
        parts.append(blocks[start])
        _check_shape(f"block {start} of the samples", parts[-1], points)
        rows += len(parts[-1])
        start += 1
    return parts, start


def _identity(
    points: Float[np.ndarray, " points ..."],
    bandwidths: Float[np.ndarray, " bandwidths"],
    first: Float[Array | np.ndarray, " samples ..."],
    blocks: Blocks,
    devices: Sequence[jax.Device] | None,
) -> str:
    """What distinguishes an evaluation from others.

    Its rows, grid and first block, the number of blocks, the kind of device, and the precision.
    """
    kinds = sorted({device.device_kind for device in devices or jax.devices()[:1]})
    wide = jax.config.read("jax_enable_x64")
    digest = hashlib.sha256(f"{len(blocks)} {GROUP_ROWS} {kinds} {wide}".encode())
    for array in (points, bandwidths, np.asarray(first)):
        digest.update(
            f"{array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes()
        )
    return digest.hexdigest()


def _best(
    log_densities: Float[np.ndarray, " bandwidths points"],
    grid: Float[np.ndarray, " bandwidths"],
) -> Selection:
    best = grid[int(np.argmax(log_densities.mean(axis=1)))]
    ends: dict[float, GridEnd] = {grid.min(): "lowest", grid.max(): "highest"}
    return Selection(float(best), ends.get(best) if len(ends) > 1 else None)


def _mean(log_densities: Float[np.ndarray, " points"]) -> LogLikelihood:
    n = len(log_densities)
    return LogLikelihood(float(log_densities.mean()), float(log_densities.std() / math.sqrt(n)), n)


_compiled_log_density = jax.jit(log_density)
_compiled_blocks = jax.jit(_log_density, static_argnums=(3, 4))
_compiled_unusable = jax.jit(lambda rows: jnp.sum(~jnp.isfinite(rows)))


def _host_log_density(
    points: Float[Array | np.ndarray, " points ..."],
    samples: Float[Array | np.ndarray, " samples ..."],
    bandwidths: Float[np.ndarray, " bandwidths"],
) -> Float[np.ndarray, " bandwidths points"]:
    """Log densities on the host, in float64, so that sums over points don't round."""
    if not _needs_float64(points, lost_in_float32(points), [samples], bandwidths):
        arrays = jnp.asarray(points), jnp.asarray(samples), jnp.asarray(bandwidths)
        log_densities = np.asarray(_compiled_log_density(*arrays), np.float64)
        if _within(log_densities):
            return log_densities
    with in_float64(True):
        wide = (jnp.asarray(array, np.float64) for array in (points, samples, bandwidths))
        log_densities = np.asarray(_compiled_log_density(*wide))
    _check_within(log_densities, bandwidths)
    return log_densities


def _needs_float64(
    points: Float[Array | np.ndarray, " points ..."],
    lost: float,
    samples: Sequence[Float[Array | np.ndarray, "_ ..."]],
    bandwidths: Float[np.ndarray, " bandwidths"],
) -> bool:
    r"""Whether float32 might not be enough. `lost` is how far points move when they are cast to it.

    Moving rows by $\delta$ in total changes $r^2 / 2\sigma^2$ by some $r\delta / \sigma^2$. As a
    part of $1 + L + r^2 / 2\sigma^2$ that is at most $\delta / \sigma\sqrt{2(1 + L)}$, whatever r.
    """
    least, most = RANGES["float32"]
    if bandwidths.min() < least or bandwidths.max() > most:
        return True
    lost += max(map(lost_in_float32, samples))
    normalisers = points[0].size * np.log(bandwidths * math.sqrt(2 * math.pi))
    parts = lost / (bandwidths * np.sqrt(2 * (1 + np.abs(normalisers))))
    return bool(parts.max() > CAST_TOLERANCE)


def _within(log_densities: Float[np.ndarray, " bandwidths points"]) -> bool:
    """Whether the means and variances of log densities can be computed."""
    return bool((np.abs(log_densities) < MOST).all())


def _check_within(
    log_densities: Float[np.ndarray, " bandwidths points"],
    bandwidths: Float[np.ndarray, " bandwidths"],
) -> None:
    beyond = ~(np.abs(log_densities) < MOST).all(axis=1)
    if beyond.any():
        raise ValueError(
            f"with bandwidth {bandwidths[beyond][0]:g} a log density is beyond {MOST:g}: points "
            "lie too far from all samples; take wider bandwidths, or scale the rows"
        )


def _check_shape(
    name: str,
    rows: Float[Array | np.ndarray, " rows ..."],
    samples: Float[Array | np.ndarray, " samples ..."],
) -> None:
    if rows.shape[0] == 0:
        raise ValueError(f"{name} has 0 rows; pass at least one")
    if rows.shape[1:] != samples.shape[1:]:
        raise ValueError(
            f"{name} has rows of shape {rows.shape[1:]} and samples has rows of shape"
            f" {samples.shape[1:]}; give both the same"
        )


def _check_rows(
    name: str,
    rows: Float[Array | np.ndarray, " rows ..."],
    samples: Float[Array | np.ndarray, " samples ..."],
) -> None:
    _check_shape(name, rows, samples)
    check_finite(name, rows)


def _check_validation_rows(validation_rows: int) -> None:
    if validation_rows < 1:
        raise ValueError(
            f"validation_rows is {validation_rows}; choose the bandwidth on at least 1 row"
        )


def _checked_bandwidths(
    bandwidths: Float[Array | np.ndarray, " bandwidths"],
    dtype: str = "float64",
) -> Float[np.ndarray, " bandwidths"]:
    grid = np.asarray(bandwidths, np.float64)
    if grid.size == 0:
        raise ValueError("bandwidths is empty; pass at least one")
    least, most = RANGES[dtype]
    for bandwidth in grid:
        if not least <= bandwidth <= most:
            raise ValueError(
                f"bandwidth is {bandwidth}; pass one from {least:g} to {most:g}, the range of "
                f"{dtype}"
            )
    return grid
