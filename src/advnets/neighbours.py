"""The training image nearest to each sample: the rightmost column of Figure 2."""

import jax.numpy as jnp
import numpy as np
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


def nearest(
    queries: Float[Array | np.ndarray, " queries *data"],
    images: Float[Array | np.ndarray, " images *data"],
    *,
    query_block: int = 1000,
    image_block: int = 1000,
) -> tuple[Int[Array, " queries"], Float[Array, " queries"]]:
    r"""The nearest image to each query in Euclidean distance; of equals the first.

    $$\mathrm{index}_i = \mathrm{argmin}_j \|q_i - x_j\|, \qquad
    \mathrm{distance}_i = \min_j \|q_i - x_j\|$$

    Memory is that of one block of distances, whatever the number of images. Every image that
    rounding might have hidden is compared by its differences from the query, so a copy of an image
    finds that image, at distance 0. To call it repeatedly, put it under `jax.jit`.

    Args:
        queries: the rows to look up, such as samples of the generator; at least one.
        images: the rows to search, such as the training set; at least one, in the same units.
        query_block: the number of queries taken at once.
        image_block: the number of images taken at once.

    Returns:
        The indices of the nearest images, and their distances in the data's units.

    Raises:
        ValueError: if there are no queries or no images, or a block has less than one row.

    Example:
        >>> import jax.numpy as jnp
        >>> import advnets.neighbours
        >>> queries = jnp.array([[0.0, 1.0], [3.0, 4.0]])
        >>> images = jnp.array([[3.0, 4.0], [0.0, 2.0], [0.0, 2.0]])
        >>> indices, distances = advnets.neighbours.nearest(queries, images)
        >>> print(indices, distances)
        [1 0] [1. 0.]

    References:
        Figure 2; released code, `show_samples_mnist_paper.py`.
    """
    queries, images = jnp.asarray(queries), jnp.asarray(images)
    if queries.shape[0] == 0 or images.shape[0] == 0:
        raise ValueError(
            f"got {queries.shape[0]} queries and {images.shape[0]} images; pass at least one each"
        )
    if query_block < 1 or image_block < 1:
        raise ValueError(
            f"got query_block {query_block} and image_block {image_block}; pass at least 1 each"
        )
    dtype = working_dtype(queries, images)
    queries, images = flat_rows(queries, dtype), flat_rows(images, dtype)
    query_block = min(query_block, queries.shape[0])
    image_block = min(image_block, images.shape[0])
    centre = jnp.mean(images, axis=0)

    def search_block(
        number: Int[Array, ""], found: tuple[Int[Array, " queries"], Float[Array, " queries"]]
    ) -> tuple[Int[Array, " queries"], Float[Array, " queries"]]:
        block, first_query, _ = take_block(queries, number, query_block)

        def search_images(
            number: Int[Array, ""], best: tuple[Int[Array, " block"], Float[Array, " block"]]
        ) -> tuple[Int[Array, " block"], Float[Array, " block"]]:
            best_index, best_squared = best
            candidates, first_image, fresh = take_block(images, number, image_block)
            squared, of_queries, of_images = squared_distances(block, candidates, centre)
            error = of_queries[:, None] + of_images[None, :]
            # Every image whose distance is certainly more than this is out.
            limit = jnp.minimum(best_squared, jnp.min(squared + error, axis=1))
            possible = (squared - error <= limit[:, None]) & fresh[None, :]
            squared = recompute(squared, possible, block, candidates)
            squared = jnp.where(possible, squared, jnp.inf)
            index = first_image + jnp.argmin(squared, axis=1).astype(np.int32)
            squared = jnp.min(squared, axis=1)
            closer = squared < best_squared  # and not <=: of equals the first
            return (
                jnp.where(closer, index, best_index),
                jnp.where(closer, squared, best_squared),
            )

        nothing = jnp.zeros(query_block, np.int32), jnp.full(query_block, jnp.inf, dtype)
        count = num_blocks(images.shape[0], image_block)
        index, squared = lax.fori_loop(0, count, search_images, nothing)
        indices, distances = found
        return (
            lax.dynamic_update_slice_in_dim(indices, index, first_query, axis=0),
            lax.dynamic_update_slice_in_dim(distances, jnp.sqrt(squared), first_query, axis=0),
        )

    nothing = jnp.zeros(queries.shape[0], np.int32), jnp.zeros(queries.shape[0], dtype)
    count = num_blocks(queries.shape[0], query_block)
    indices, distances = lax.fori_loop(0, count, search_block, nothing)
    return indices, distances
