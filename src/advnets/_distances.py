"""Squared Euclidean distances between rows, block by block.

The form `|x|^2 + |s|^2 - 2 x.s` costs one matrix product but loses digits where `|x - s|` is far
below `|x|` and `|s|`. So its values come with a bound on their rounding errors, and the few that a
caller can't use are recomputed from differences.
"""

import contextlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Real

# Up to this many columns, sums of squared differences are as fast as a matrix product.
DIRECT_COLUMNS = 32
# The rounding error of a sum of terms of one sign grows with its length, and a GPU's matrix product
# is such a sum: longer rows are added up in pieces.
PIECE_COLUMNS = 128
# Largest error of the product form in units of eps * (|x|^2 + |s|^2), on centred data in such
# pieces. Measured: 22.7 at worst (each image of one grey: every partial sum rounds the same way),
# 3 for images.
ROUNDINGS = 24.0
# Values recomputed in one round: a larger number means fewer rounds, but more memory.
ROUND_VALUES = 2048
# The most distances in one block, whose indices are int32.
BLOCK_VALUES = 2**31 - 1
# Rows that are examined together on the host.
ROWS_PER_LOOK = 1000


def is_traced(*arrays: Any) -> bool:
    """Whether any array is being traced, so that its values can't be examined."""
    return any(isinstance(array, jax.core.Tracer) for array in arrays)


def check_finite(name: str, rows: Real[Array | np.ndarray, " rows *data"]) -> None:
    """Refuses rows with a value that is not finite."""
    usable = (jnp if isinstance(rows, jax.Array) else np).isfinite(rows)
    if not usable.all():
        bad = ~np.asarray(usable).reshape(len(rows), -1)
        count, first = np.count_nonzero(bad), int(np.argmax(bad.any(axis=1)))
        values = "value that is" if count == 1 else "values that are"
        raise ValueError(
            f"{name} has {count} {values} not finite, the first in row {first}; leave such rows out"
        )


def check_blocks(**blocks: int) -> None:
    """Refuses blocks of rows with more distances than can be indexed."""
    (name, rows), (other, others) = blocks.items()
    if rows * others > BLOCK_VALUES:
        raise ValueError(
            f"{name} {rows:,} by {other} {others:,} makes too many distances at once; keep their "
            f"product below 2^31 (1,000 by 1,000 is fast)"
        )


def largest(rows: Float[Array | np.ndarray, " rows *data"]) -> float:
    """The largest absolute value."""
    library = jnp if isinstance(rows, jax.Array) else np
    return float(library.max(library.abs(rows), initial=0))


def lost_in_float32(rows: Float[Array | np.ndarray, " rows *data"]) -> float:
    """How far a row moves, at most, when cast to float32; 0 where JAX does not cast."""
    if rows.dtype != np.float64 or jax.config.read("jax_enable_x64"):
        return 0.0
    most = 0.0
    for start in range(0, len(rows), ROWS_PER_LOOK):
        part = np.asarray(rows[start : start + ROWS_PER_LOOK])
        with np.errstate(over="ignore"):  # overflow gives infinity, and so an infinite distance
            moved = (part - part.astype(np.float32)).reshape(len(part), -1)
        most = max(most, float(np.max(np.linalg.norm(moved, axis=1), initial=0)))
    return most


def in_float64(yes: bool) -> contextlib.AbstractContextManager[Any]:
    """A context in which JAX has float64 arrays, if `yes`."""
    return jax.enable_x64(True) if yes else contextlib.nullcontext()


def working_dtype(*arrays: Float[Array | np.ndarray, "..."]) -> np.dtype:
    """Float64 if any array has it; otherwise float32, for half-precision arrays too."""
    return np.dtype(np.float64 if any(a.dtype == np.float64 for a in arrays) else np.float32)


def flat_rows(rows: Float[Array, " rows *data"], dtype: np.dtype) -> Float[Array, " rows columns"]:
    """The rows as vectors of the given type."""
    return rows.reshape(rows.shape[0], rows[:1].size).astype(dtype)


def num_blocks(total: int, size: int) -> int:
    """How many blocks of `size` rows cover `total` rows."""
    return -(-total // size)


def take_block(
    rows: Float[Array, " rows columns"], number: Int[Array, ""], size: int
) -> tuple[Float[Array, " block columns"], Int[Array, ""], Bool[Array, " block"]]:
    """A block, the index of its first row, and which of its rows no earlier block had.

    The last block is moved back to end with the array, so nothing is padded, which would take a
    copy.
    """
    wanted = number.astype(np.int32) * size
    start = jnp.minimum(wanted, rows.shape[0] - size)
    fresh = start + jnp.arange(size, dtype=np.int32) >= wanted
    return lax.dynamic_slice_in_dim(rows, start, size), start, fresh


def squared_distances(
    points: Float[Array, " points columns"],
    samples: Float[Array, " samples columns"],
    centre: Float[Array, " columns"],
) -> tuple[Float[Array, "points samples"], Float[Array, " points"], Float[Array, " samples"]]:
    """`|x - s|^2` for each pair of rows, and the two parts of a bound on its rounding error.

    One part belongs to the point and one to the sample; their sum bounds the absolute error of the
    pair. Any `centre` is valid; one amid the data keeps the errors small.
    """
    squared = jnp.zeros((points.shape[0], samples.shape[0]), points.dtype)
    columns = points.shape[1]
    if columns <= DIRECT_COLUMNS:
        for column in range(columns):
            squared += (points[:, column, None] - samples[None, :, column]) ** 2
        return squared, jnp.zeros_like(points[:, 0]), jnp.zeros_like(samples[:, 0])
    points, samples = points - centre[None, :], samples - centre[None, :]
    for start in range(0, columns, PIECE_COLUMNS):
        piece = slice(start, start + PIECE_COLUMNS)
        # HIGHEST: by default a recent GPU multiplies in TF32, whose error amounts to nats.
        squared -= jnp.matmul(
            points[:, piece], 2 * samples[:, piece].T, precision=lax.Precision.HIGHEST
        )
    of_points, of_samples = _sum_of_squares(points), _sum_of_squares(samples)
    roundings = ROUNDINGS * float(np.finfo(points.dtype).eps)
    squared = jnp.maximum(of_points[:, None] + of_samples[None, :] + squared, 0)
    return squared, roundings * of_points, roundings * of_samples


def recompute(
    squared: Float[Array, " points samples"],
    doubtful: Bool[Array, "points samples"],
    points: Float[Array, " points columns"],
    samples: Float[Array, " samples columns"],
) -> Float[Array, " points samples"]:
    """The squared distances, the doubtful ones recomputed from differences of the rows.

    The work is proportional to the number of doubtful distances: almost none if there are none.
    """
    size = min(ROUND_VALUES, squared.size)

    def one_round(
        state: tuple[Float[Array, "points samples"], Bool[Array, "points samples"]],
    ) -> tuple[Float[Array, "points samples"], Bool[Array, "points samples"]]:
        squared, doubtful = state
        # On float32 this selection is fast. With fewer doubtful pairs than `size`, others are
        # recomputed too, which does no harm.
        _, pair = lax.top_k(doubtful.ravel().astype(np.float32), size)
        point, sample = jnp.divmod(pair, samples.shape[0])
        exact = _sum_of_squares(points[point] - samples[sample])
        return squared.at[point, sample].set(exact), doubtful.at[point, sample].set(False)

    repaired: Float[Array, " points samples"]
    repaired, _ = lax.while_loop(lambda state: jnp.any(state[1]), one_round, (squared, doubtful))
    return repaired


def _sum_of_squares(rows: Float[Array, "rows columns"]) -> Float[Array, " rows"]:
    rows = jnp.pad(rows, ((0, 0), (0, -rows.shape[1] % PIECE_COLUMNS)))
    pieces = jnp.sum(rows.reshape(rows.shape[0], -1, PIECE_COLUMNS) ** 2, axis=2)
    # Without the barrier, XLA may merge the two sums into one long one.
    return jnp.sum(lax.optimization_barrier(pieces), axis=1)
