"""The training image nearest to each sample: the rightmost column of Figure 2."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from advnets._distances import (
    flat_rows,
    num_blocks,
    recompute,
    squared_distances,
    take_block,
    working_dtype,
)


Found = tuple[Int[Array, " queries"], Float[Array, " queries"]]  # row numbers and squared distances so far


def nearest(
    queries: Float[Array, "queries *data"],
    images: Float[Array, "images *data"],
    *,
    query_block: int = 1000,
    image_block: int = 1000,
) -> tuple[Int[Array, " queries"], Float[Array, " queries"]]:
    """Nearest image to each query in Euclidean distance, the first of equals.

    index_i = argmin_j |q_i − x_j|,  distance_i = min_j |q_i − x_j|

    Pure: put it under `jax.jit`. Memory is that of one block of distances, whatever the number of images. Every image
    that rounding lets be the nearest is compared by sums of squared differences, so copies are found, at distance 0.

    Args:
        queries: rows to look up, such as samples of the generator; at least one.
        images: rows to search, such as the training set; at least one, in the same units.
        query_block: queries handled at once; bounds memory, as does image_block.
        image_block: images handled at once.

    Returns:
        The nearest images' row numbers, and their distances in the data's units.

    Raises:
        ValueError: no queries, no images, or a block of less than one row.

    Example:
        >>> import jax.numpy as jnp
        >>> from advnets.neighbours import nearest
        >>> nearest(jnp.array([[0.0, 1.0]]), jnp.array([[3.0, 5.0], [0.0, 2.0], [1.0, 1.0]]))
        (Array([1], dtype=int32), Array([1.], dtype=float32))

    References:
        Goodfellow et al. 2014, Figure 2.
    """
    for name, count in (("queries", queries.shape[0]), ("images", images.shape[0])):
        if count == 0:
            raise ValueError(f"{name} is empty; pass at least one row.")
    for name, size in (("query_block", query_block), ("image_block", image_block)):
        if size < 1:
            raise ValueError(f"{name} is {size}; pass a block of at least one row.")
    dtype = working_dtype(queries, images)
    queries, images = flat_rows(queries, dtype), flat_rows(images, dtype)
    num_queries, num_images = queries.shape[0], images.shape[0]
    query_block, image_block = min(query_block, num_queries), min(image_block, num_images)
    centre = jnp.mean(images, axis=0)

    def query_step(index: Int[Array, ""], found: Found) -> Found:
        block, start, _ = take_block(queries, index, query_block)

        def image_step(index: Int[Array, ""], best: Found) -> Found:
            best_row, best_squared = best
            candidates, first, fresh = take_block(images, index, image_block)
            squared, error = squared_distances(block, candidates, centre)
            # No image beyond this can be the nearest.
            limit = jnp.minimum(best_squared, jnp.min(squared + error, axis=1))
            possible = (squared - error <= limit[:, None]) & fresh[None, :]
            squared = jnp.where(possible, recompute(squared, possible, block, candidates), jnp.inf)
            row = jnp.argmin(squared, axis=1)
            row_squared = jnp.min(squared, axis=1)
            closer = row_squared < best_squared  # strictly: the earlier of equals stays
            return jnp.where(closer, first + row.astype(first.dtype), best_row), jnp.where(closer, row_squared, best_squared)

        best = jnp.zeros(query_block, jnp.int32), jnp.full(query_block, jnp.inf, dtype)
        best = lax.fori_loop(0, num_blocks(num_images, image_block), image_step, best)
        row, squared = (
            lax.dynamic_update_slice_in_dim(all_, part, start, axis=0) for all_, part in zip(found, best, strict=True)
        )
        return row, squared

    found = jnp.zeros(num_queries, jnp.int32), jnp.zeros(num_queries, dtype)
    row, squared = lax.fori_loop(0, num_blocks(num_queries, query_block), query_step, found)
    return row, jnp.sqrt(squared)
