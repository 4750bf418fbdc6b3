"""The training image nearest to each sample: the rightmost column of Figure 2."""

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from advnets._distances import (
    check_blocks,
    check_finite,
    flat_rows,
    in_float64,
    is_traced,
    largest,
    lost_in_float32,
    num_blocks,
    recompute,
    squared_distances,
    take_block,
    working_dtype,
)

# The relative error of a distance.
EXACT_TO = 1e-5
# The smallest distance whose square float32 holds at full precision, and the largest value whose
# sums of squares it holds; and the latter for float64.
LEAST, MOST, MOST_OF_ALL = 1e-16, 1e15, 1e150

Found: TypeAlias = tuple[Int[Array, " queries"], Float[Array, " queries"]]


def nearest(
    queries: Float[Array | np.ndarray, " queries *data"],
    images: Float[Array | np.ndarray, " images *data"],
    *,
    query_block: int = 1000,
    image_block: int = 1000,
) -> tuple[Int[Array, " queries"], Float[Array, " queries"]]:
    r"""The nearest image to each query in Euclidean distance; the first, among equals.

    $$\mathrm{index}_i = \mathrm{argmin}_j \|q_i - x_j\|, \qquad
    \mathrm{distance}_i = \min_j \|q_i - x_j\|$$

    Memory is that of one block of distances, whatever the number of images. Every image that
    rounding might have hidden is compared by its differences from the query, so a copy of an image
    finds that image, at distance 0, and nothing else is at distance 0.

    The relative error of distances is at most 1e-5. They are computed in float32, even for float64
    NumPy arrays where JAX has no float64 (`jax_enable_x64`), except for queries for which that is
    not exact enough, such as rows far from 0 that lie close together: for these, in float64. Under
    `jax.jit`, everything is computed in the type that JAX gives the arrays, and values can't be
    refused: an image that is not finite is never the nearest, and the distance is infinite if there
    is no other.

    Args:
        queries: the rows to look up, such as samples of the generator; at least one.
        images: the rows to search, such as the training set; at least one, in the same units.
        query_block: the number of queries processed at once.
        image_block: the number of images processed at once.

    Returns:
        The indices of the nearest images, and their distances in the data's units.

    Raises:
        ValueError: if there are no queries or no images, or one holds a value that is not finite or
            above 1e150; if a block has less than one row, or a pair of blocks has 2^31 distances;
            if a distance is beyond the type.

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
    if queries.shape[0] == 0 or images.shape[0] == 0:
        raise ValueError(
            f"got {queries.shape[0]} queries and {images.shape[0]} images; pass at least one each"
        )
    if query_block < 1 or image_block < 1:
        raise ValueError(
            f"got query_block {query_block} and image_block {image_block}; pass at least 1 each"
        )
    check_blocks(
        query_block=min(query_block, queries.shape[0]),
        image_block=min(image_block, images.shape[0]),
    )
    search = partial(_compiled_search, query_block=query_block, image_block=image_block)
    if is_traced(queries, images):
        return search(jnp.asarray(queries), jnp.asarray(images))
    check_finite("queries", queries)
    check_finite("images", images)
    return _search_exactly(search, queries, images)


def _search_exactly(
    search: Callable[[Array, Array], Found],
    queries: Float[Array | np.ndarray, " queries *data"],
    images: Float[Array | np.ndarray, " images *data"],
) -> Found:
    """What `search` finds, in float64 where float32 might be wrong."""
    most = max(largest(queries), largest(images))
    if most > MOST_OF_ALL:
        raise ValueError(f"a value is {most:.3g}; scale the rows to at most {MOST_OF_ALL}")
    lost = lost_in_float32(queries) + lost_in_float32(images)
    if most > MOST or (lost > 0 and lost > EXACT_TO * _spread(images)):
        n, dtype = len(queries), jax.dtypes.canonicalize_dtype(working_dtype(queries, images))
        indices, distances, unsure = np.zeros(n, np.int32), np.zeros(n, dtype), np.ones(n, bool)
    else:
        found = search(jnp.asarray(queries), jnp.asarray(images))
        indices, distances = (np.array(part) for part in found)
        unsure = distances <= max(LEAST, lost / EXACT_TO)
        # An exact copy is certain, however it was found.
        near = np.flatnonzero(unsure)
        rows, of_images = (np.asarray(x) for x in (queries[near], images[indices[near]]))
        unsure[near] = (rows != of_images).any(axis=tuple(range(1, rows.ndim)))
        if not unsure.any():
            return found
    with in_float64(True):
        wide = search(*(jnp.asarray(np.asarray(x, np.float64)) for x in (queries[unsure], images)))
        indices[unsure], exact = np.asarray(wide[0]), np.asarray(wide[1])
    with np.errstate(over="ignore", under="ignore"):
        distances[unsure] = exact
    beyond = ~np.isfinite(distances[unsure]) | ((distances[unsure] == 0) & (exact > 0))
    if beyond.any():
        raise ValueError(
            f"a distance is {exact[beyond][0]:.3g}, beyond {distances.dtype}; scale the rows"
            + (", or set jax_enable_x64" if distances.dtype == np.float32 else "")
        )
    return jnp.asarray(indices), jnp.asarray(distances)


def _spread(images: Float[Array | np.ndarray, " images *data"]) -> float:
    """The largest range of a column."""
    return float((images.max(axis=0) - images.min(axis=0)).max(initial=0))


def _search(
    queries: Float[Array, " queries *data"],
    images: Float[Array, " images *data"],
    *,
    query_block: int,
    image_block: int,
) -> Found:
    """The search itself; a pure function."""
    dtype = working_dtype(queries, images)
    queries, images = flat_rows(queries, dtype), flat_rows(images, dtype)
    query_block = min(query_block, queries.shape[0])
    image_block = min(image_block, images.shape[0])
    centre = jnp.mean(images, axis=0)
    # Any centre is valid, but one that is not finite would make all distances doubtful.
    centre = jnp.where(jnp.isfinite(centre), centre, 0)

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
            # Every image whose distance certainly exceeds this is ruled out. A distance that is NaN
            # rules nothing out.
            at_most = jnp.where(jnp.isnan(squared), jnp.inf, squared + error)
            limit = jnp.minimum(best_squared, jnp.min(at_most, axis=1))
            possible = ~(squared - error > limit[:, None]) & fresh[None, :]
            squared = recompute(squared, possible, block, candidates)
            squared = jnp.where(possible & ~jnp.isnan(squared), squared, jnp.inf)
            index = first_image + jnp.argmin(squared, axis=1).astype(np.int32)
            squared = jnp.min(squared, axis=1)
            closer = squared < best_squared  # not <=: the first, among equals
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


# Once for all calls: a loop that is not in a compiled program is compiled anew each time.
_compiled_search = jax.jit(_search, static_argnames=("query_block", "image_block"))
