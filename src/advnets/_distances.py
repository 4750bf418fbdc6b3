"""Squared Euclidean distances between rows, block by block: fast by matrix products, repaired where those round.

A product form |x|² + |s|² − 2 x·s costs one matrix product but loses digits where |x − s|² ≪ |x|² + |s|².
So each entry comes with a bound on its rounding error, and whoever needs more recomputes just those entries.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

# Up to this many columns plain sums of squared differences are as fast as a matrix product.
DIRECT_COLUMNS = 32
# Products over more columns are added up in pieces of this many, because the rounding error of a long sum
# of like-signed terms grows with its length.
PIECE_COLUMNS = 128
# The product form's largest error in units of eps·(|x|² + |s|²), with pieces of 128 columns and centred data:
# measured 22.7 for the worst case (images of one grey each, whose partial sums all round the same way), 3 for others.
ROUNDINGS = 24.0
# Entries recomputed per round; bounds the memory of a round (two gathered blocks of this many rows).
ROUND_ENTRIES = 1024


def flat_rows(rows: Float[Array, "rows *data"], dtype: jnp.dtype) -> Float[Array, "rows columns"]:
    """Return the rows as vectors of the given precision."""
    return rows.reshape(rows.shape[0], rows[:1].size).astype(dtype)


def working_dtype(*arrays: Float[Array, "..."]) -> jnp.dtype:
    """Return float64 if any array has it, and otherwise float32, also for half-precision arrays."""
    return jnp.dtype("float64" if any(array.dtype == jnp.float64 for array in arrays) else "float32")


def num_blocks(total: int, size: int) -> int:
    """Return how many blocks of `size` rows cover `total` rows."""
    return -(-total // size)


def take_block(
    rows: Float[Array, "rows columns"], index: Int[Array, ""], size: int
) -> tuple[Float[Array, "block columns"], Int[Array, ""], Bool[Array, " block"]]:
    """Return block `index`, the number of its first row, and which of its rows no earlier block had.

    The last block is moved back to end with the array, so that nothing is padded or copied.
    """
    wanted = index * size
    start = jnp.minimum(wanted, rows.shape[0] - size)
    fresh = start + jnp.arange(size, dtype=start.dtype) >= wanted
    return lax.dynamic_slice_in_dim(rows, start, size), start, fresh


def squared_distances(
    points: Float[Array, "points columns"],
    samples: Float[Array, "samples columns"],
    centre: Float[Array, " columns"],
) -> tuple[Float[Array, "points samples"], Float[Array, "points samples"]]:
    """Return |x − s|² for every pair of rows, and a bound on each entry's absolute rounding error.

    `centre` may be any vector; one amid the data keeps the error small.
    """
    columns = points.shape[1]
    if columns <= DIRECT_COLUMNS:
        squared = jnp.zeros((points.shape[0], samples.shape[0]), points.dtype)
        for column in range(columns):
            squared += (points[:, column, None] - samples[None, :, column]) ** 2
        return squared, jnp.zeros_like(squared)
    points, samples = points - centre[None, :], samples - centre[None, :]
    products = jnp.zeros((points.shape[0], samples.shape[0]), points.dtype)
    for piece in _pieces(columns):
        # Without HIGHEST a GPU multiplies in TF32, which is off by nats.
        products += jnp.matmul(points[:, piece], samples[:, piece].T, precision=lax.Precision.HIGHEST)
    sizes = _sum_of_squares(points)[:, None] + _sum_of_squares(samples)[None, :]
    return jnp.maximum(sizes - 2 * products, 0), ROUNDINGS * jnp.finfo(points.dtype).eps * sizes


def recompute(
    squared: Float[Array, "points samples"],
    doubtful: Bool[Array, "points samples"],
    points: Float[Array, "points columns"],
    samples: Float[Array, "samples columns"],
) -> Float[Array, "points samples"]:
    """Return `squared` with the doubtful entries computed anew from differences; work grows with their number."""
    size = min(ROUND_ENTRIES, squared.size)

    def replace(
        state: tuple[Float[Array, "points samples"], Bool[Array, "points samples"]],
    ) -> tuple[Float[Array, "points samples"], Bool[Array, "points samples"]]:
        squared, doubtful = state
        # Too few entries are filled up with entry (0, 0), for which an exact value does no harm.
        point, sample = jnp.nonzero(doubtful, size=size, fill_value=0)
        exact = _sum_of_squares(points[point] - samples[sample])
        return squared.at[point, sample].set(exact), doubtful.at[point, sample].set(False)

    return lax.while_loop(lambda state: jnp.any(state[1]), replace, (squared, doubtful))[0]


def _sum_of_squares(rows: Float[Array, "rows columns"]) -> Float[Array, " rows"]:
    total = jnp.zeros(rows.shape[0], rows.dtype)
    for piece in _pieces(rows.shape[1]):
        total += jnp.sum(rows[:, piece] ** 2, axis=1)
    return total


def _pieces(columns: int) -> list[slice]:
    count = num_blocks(columns, PIECE_COLUMNS)
    ends = [columns * piece // count for piece in range(count + 1)]
    return [slice(start, end) for start, end in zip(ends, ends[1:], strict=False)]
