"""The nearest image against float64 brute force; copies, ties and blocks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import advnets.neighbours as neighbours


@functools.cache
def jitted(**blocks):
    return jax.jit(functools.partial(neighbours.nearest, **blocks))


nearest = jitted(query_block=16, image_block=32)
quick = settings(deadline=None, max_examples=15)
seeds = st.integers(0, 2**32 - 1)


def brute_force(queries, images):
    queries, images = (np.float64(a).reshape(len(a), -1) for a in (queries, images))
    return np.stack([np.linalg.norm(images - query, axis=1) for query in queries])


def problem(seed, columns, scale=1.0, dtype=np.float32):
    """Queries of which a third equal an image, a third nearly do."""
    rng = np.random.default_rng([seed, columns])
    images, queries = scale * rng.random((70, columns)), scale * rng.random((30, columns))
    queries[:20] = images[rng.integers(0, 70, 20)]
    queries[10:20] += scale * np.geomspace(1e-6, 1e-1, 10)[:, None] * rng.random((10, columns))
    return queries.astype(dtype), images.astype(dtype)


@pytest.mark.parametrize(
    ("columns", "dtype"),
    [(c, np.float32) for c in (1, 64, 784)] + [(64, np.float64)],
)
def test_nearest_is_the_nearest(columns, dtype):
    with jax.enable_x64(dtype == np.float64):
        for scale in (1.0, 55.0):
            queries, images = problem(0, columns, scale, dtype)
            indices, distances = nearest(queries, images)
            assert distances.dtype == dtype
            expected = brute_force(queries, images)
            rtol = 1e-5 if dtype == np.float32 else 1e-12
            np.testing.assert_allclose(distances, expected.min(axis=1), rtol=rtol)
            chosen = np.take_along_axis(expected, np.asarray(indices)[:, None], axis=1)[:, 0]
            np.testing.assert_allclose(chosen, expected.min(axis=1), rtol=rtol)


@pytest.mark.parametrize("columns", [3, 64])
def test_images_that_hardly_differ_are_told_apart(columns):
    # Far from the mean, |x|^2 + |s|^2 - 2 x.s is off by more than these distances squared.
    rng = np.random.default_rng(0)
    images = np.repeat(np.float32([[100.0], [-100.0]]), [30, 40], axis=0)
    images = images + rng.integers(-64, 64, (70, columns)).astype(np.float32) / 1024
    queries = images[:30] + rng.integers(-8, 8, (30, columns)).astype(np.float32) / 1024
    indices, distances = nearest(queries, images)
    expected = brute_force(queries, images)
    np.testing.assert_allclose(distances, expected.min(axis=1), rtol=1e-6)
    np.testing.assert_allclose(expected[np.arange(30), indices], expected.min(axis=1), rtol=1e-6)


@quick
@given(seeds, st.sampled_from([3, 64]))
def test_of_equals_the_first(seed, columns):
    rng = np.random.default_rng(seed)
    distinct = rng.random((12, columns)).astype(np.float32)
    order = rng.integers(0, 12, 70)  # every image several times, in any block
    indices, distances = nearest(distinct[order[:30]], distinct[order])
    np.testing.assert_array_equal(indices, [np.argmax(order == image) for image in order[:30]])
    np.testing.assert_array_equal(distances, 0)


@quick
@given(seeds, st.sampled_from([3, 64]))
def test_equal_distances_are_a_tie(seed, columns):
    # Corners of a cube from its middle: every distance is the same.
    corners = np.random.default_rng(seed).integers(0, 2, (70, columns)).astype(np.float32)
    middle = np.full((30, columns), 0.5, np.float32)
    indices, distances = nearest(middle, corners)
    np.testing.assert_array_equal(indices, 0)
    np.testing.assert_allclose(distances, np.sqrt(columns) / 2, rtol=1e-6)


@pytest.mark.parametrize(("columns", "blocks"), [(3, (7, 69)), (64, (1000, 1000))])
@quick
@given(seed=seeds)
def test_the_blocks_are_nothing(columns, blocks, seed):
    queries, images = problem(seed, columns)
    indices, distances = jitted(query_block=blocks[0], image_block=blocks[1])(queries, images)
    expected = brute_force(queries, images)
    np.testing.assert_allclose(distances, expected.min(axis=1), rtol=1e-5)
    np.testing.assert_allclose(expected[np.arange(30), indices], distances, rtol=1e-5)


def test_images_of_any_shape_from_either_library():
    queries, images = problem(0, 64)
    expected = nearest(queries, images)
    found = neighbours.nearest(queries.reshape(-1, 4, 4, 4), images.reshape(-1, 4, 4, 4))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_memory_does_not_grow_with_the_images():
    def temporary(num_images):
        shapes = [(100, 300), (num_images, 300)]
        arguments = [jax.ShapeDtypeStruct(shape, np.float32) for shape in shapes]
        return jitted().lower(*arguments).compile().memory_analysis().temp_size_in_bytes

    assert temporary(10_000) == temporary(40_000)


@pytest.mark.parametrize(
    ("queries", "images", "blocks", "message"),
    [
        (0, 1, {}, "got 0 queries and 1 images"),
        (1, 0, {}, "got 1 queries and 0 images"),
        (1, 1, {"query_block": 0}, "query_block 0"),
        (1, 1, {"image_block": -1}, "image_block -1"),
    ],
)
def test_nearest_refuses(queries, images, blocks, message):
    with pytest.raises(ValueError, match=message):
        neighbours.nearest(jnp.zeros((queries, 3)), jnp.zeros((images, 3)), **blocks)


NAN = np.array([[np.nan] * 40, [0.5] * 40])


def test_rows_that_are_not_finite_are_refused_by_name_and_row():
    for queries, images, message in (
        (np.zeros((1, 40)), NAN, "images has 40 values that are not finite, the first in row 0"),
        (NAN, np.zeros((1, 40)), "queries has 40 values that are not finite"),
        (
            jnp.zeros((1, 2)),
            jnp.array([[0, 0], [0, np.inf]]),
            "images has 1 value that .* in row 1",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            neighbours.nearest(queries, images)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("columns", [3, 40])
def test_under_jit_they_hide_no_other(bad, columns):
    # Values can't be refused there.
    rng = np.random.default_rng(0)
    images, queries = rng.random((70, columns), np.float32), rng.random((30, columns), np.float32)
    queries[:20] = images[40:60]
    images[[0, 5, 63]] = bad
    images[[7, 33, 69], 1] = bad  # in each block, the first and the last among them
    usable = np.isfinite(images).all(axis=1)
    indices, distances = nearest(queries, images)
    expected = brute_force(queries, np.where(usable[:, None], images, 1e6))
    np.testing.assert_array_equal(indices, expected.argmin(axis=1))
    np.testing.assert_allclose(distances, expected.min(axis=1), rtol=1e-5)
    queries[3] = bad
    assert nearest(queries, images)[1][3] == np.inf
    assert (nearest(queries, np.full_like(images, bad))[1] == np.inf).all()


def test_under_jit_squares_of_rows_that_overflow_hide_no_other():
    # |x|^2 is beyond float32, |x - s|^2 is not.
    images = np.repeat(np.float32([[0], [1e19], [-1e19]]), 64, axis=1)
    indices, distances = nearest(images[1:] + np.float32(1e17), images)
    assert indices.tolist() == [1, 2]
    np.testing.assert_allclose(distances, 8e17, rtol=1e-4)


def test_float64_far_from_0_is_not_rounded_away():
    # cleanlab#1113: rows that agree to 8 digits.
    query, image = np.array([[100000001.0, 100000000.0]]), np.array([[100000000.0, 100000001.0]])
    assert neighbours.nearest(query, image)[1][0] == pytest.approx(np.sqrt(2), rel=1e-6)


@pytest.mark.parametrize("columns", [pytest.param(3, marks=pytest.mark.long), 64])
@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6, 1e9])
def test_float64_is_as_good_as_its_distances(columns, offset):
    queries, images = (offset + a for a in problem(0, columns, dtype=np.float64))
    images[1] = images[0] + 1e-9 * (1 + offset)  # as one they have to be told apart
    queries[0], queries[1] = images[1], images[0]
    indices, distances = neighbours.nearest(queries, images)
    expected = brute_force(queries, images)
    np.testing.assert_allclose(distances, expected.min(axis=1), rtol=1e-5)
    np.testing.assert_allclose(expected[np.arange(30), indices], expected.min(axis=1), rtol=1e-5)
    assert indices[:2].tolist() == [1, 0]
    np.testing.assert_array_equal(distances == 0, (queries == images[indices]).all(axis=1))


@pytest.mark.parametrize(
    ("query", "images", "index", "distance"),
    [
        ([3e19], [[0], [2e19]], 1, 1e19),  # squares beyond float32
        pytest.param([3e19] * 64, [[0] * 64, [2e19] * 64], 1, 8e19, marks=pytest.mark.long),
        ([1e-25, 0], [[0, 0], [2e-25, 0], [1.5e-25, 0]], 2, 5e-26),  # squares below it
        pytest.param([1, 0], [[1, 1e-20], [1, 0.5]], 0, 1e-20, marks=pytest.mark.long),
        ([0] * 20, [[1.2e-19] + [1e-19] * 19], 0, 4.52106e-19),  # all but one of them
    ],
)
def test_squares_beyond_the_type_decide_nothing(query, images, index, distance):
    for library in (np, jnp):
        found = neighbours.nearest(
            library.asarray([query], np.float32), library.asarray(images, np.float32)
        )
        assert found[0][0] == index
        assert found[1][0] == pytest.approx(distance, rel=1e-5, abs=0)
        assert found[1].dtype == np.float32


def test_distances_beyond_the_type_are_refused():
    for query, image, message in (
        (np.float32(3e38), np.float32(-3e38), r"a distance is 6e\+38, beyond float32; scale"),
        (1e-60, 0.0, "a distance is 1e-60, beyond float32"),
        (1e200, 0.0, r"a value is 1e\+200; scale the rows to at most 1e\+150"),
    ):
        with pytest.raises(ValueError, match=message):
            neighbours.nearest(np.reshape(query, (1, 1)), np.reshape(image, (1, 1)))


def test_blocks_whose_distances_can_not_be_held_are_refused():
    rows = jax.ShapeDtypeStruct((50_000, 1), np.float32)
    with pytest.raises(ValueError, match="query_block 50,000 by image_block 50,000 makes too many"):
        jax.eval_shape(jitted(query_block=10**9, image_block=10**9), rows, rows)
