"""The protocol of the paper: which bandwidth, which mean and error, and what it refuses."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.windows import (
    brute_force,
    problem,
)

import advnets.parzen as parzen


def test_the_grid_is_the_papers():
    np.testing.assert_array_equal(parzen.bandwidth_grid(), np.logspace(-1, 0, 10))


@pytest.mark.parametrize(
    ("grid", "bandwidth", "end"),
    [
        ([0.1, 1.0, 10.0], 1.0, None),
        ([1.0, 10.0, 100.0], 1.0, "lowest"),
        ([0.01, 0.1, 1.0], 1.0, "highest"),
        ([1.0, 0.1, 0.01], 1.0, "highest"),
        ([10.0, 1.0, 0.1], 1.0, None),
        ([1.0], 1.0, None),
        ([2.0, 2.0], 2.0, None),
    ],
)
def test_a_bandwidth_at_an_end_of_the_grid_is_reported(grid, bandwidth, end):
    # One sample at 0 and one point at 1: the likelihood is highest for sigma = 1.
    chosen = parzen.select_bandwidth(np.array([[1.0]]), np.array([[0.0]]), np.array(grid))
    assert chosen == parzen.Selection(bandwidth, end)


def test_the_bandwidth_has_the_highest_mean():
    points, samples = problem(0, 3, "unit")
    points = points[:50]
    grid = parzen.bandwidth_grid()
    expected, _ = brute_force(points, samples, grid)
    best = grid[expected.mean(axis=1).argmax()]
    assert parzen.select_bandwidth(points, samples, grid).bandwidth == best


def test_the_standard_error_is_that_of_the_released_code():
    points, samples = problem(0, 3, "unit")
    points = points[:50]
    (expected,), _ = brute_force(points, samples, np.array([0.2], np.float32))
    found = parzen.log_likelihood(points, samples, 0.2)
    assert found.n == 50
    assert found.mean == pytest.approx(expected.mean(), rel=1e-5)
    assert found.standard_error == pytest.approx(expected.std() / np.sqrt(50), rel=1e-5)


@pytest.mark.parametrize("bandwidth", [1, 1.0, np.float32(1), np.float64(1), jnp.float32(1)])
def test_any_scalar_is_a_bandwidth(bandwidth):
    found = parzen.log_likelihood(np.zeros((2, 1)), np.zeros((1, 1)), bandwidth)
    assert found.mean == pytest.approx(-0.5 * np.log(2 * np.pi), rel=1e-6)


def test_means_over_many_points_do_not_round():
    points = np.full((100_000, 1), 0.1, np.float32)
    found = parzen.log_likelihood(points, np.zeros((1, 1), np.float32), 1.0)
    one = parzen.log_likelihood(points[:1], np.zeros((1, 1), np.float32), 1.0)
    assert found.mean == pytest.approx(one.mean, rel=1e-12)
    assert found.standard_error < 1e-12


def test_evaluate_is_the_papers_protocol():
    points, samples = problem(0, 3, "unit")
    validation, test = points[:50], points[10:]
    validation[20:] = 1 - validation[20:] / 8  # rows that would choose another bandwidth
    found = parzen.evaluate(samples, validation, test, validation_rows=20)
    grid = parzen.bandwidth_grid()
    chosen = parzen.select_bandwidth(validation[:20], samples, grid)
    assert chosen != parzen.select_bandwidth(validation, samples, grid)
    assert found == parzen.Evaluation(
        num_samples=70,
        bandwidth=chosen.bandwidth,
        at_grid_end=chosen.at_grid_end,
        validation=parzen.log_likelihood(validation, samples, chosen.bandwidth),
        test=parzen.log_likelihood(test, samples, chosen.bandwidth),
    )
    assert (found.validation.n, found.test.n) == (50, 50)


def test_evaluate_may_leave_the_test_rows_alone():
    points, samples = problem(0, 3, "unit")
    assert parzen.evaluate(samples, points[:50], None).test is None


def test_an_evaluation_is_plain_values():
    points, samples = problem(0, 3, "unit")
    points, grid = points[:50], 10 * parzen.bandwidth_grid()
    found = dataclasses.asdict(parzen.evaluate(samples, points, points, grid))
    assert json.loads(json.dumps(found)) == found
    assert found["at_grid_end"] == "lowest"
    assert found["test"].keys() == {"mean", "standard_error", "n"}
    with pytest.raises(dataclasses.FrozenInstanceError):
        parzen.LogLikelihood(0.0, 1.0, 2).n = 3


def test_jax_arrays_score_as_numpy_arrays_do():
    points, samples = problem(0, 3, "unit")
    points = points[:50]
    assert parzen.evaluate(jnp.asarray(samples), jnp.asarray(points), None) == parzen.evaluate(
        samples, points, None
    )


def test_evaluate_in_float64():
    points, samples = problem(0, 3, "norm 55", np.float64)
    with jax.enable_x64(True):
        found = parzen.evaluate(samples, points, points)
    expected, _ = brute_force(points, samples, np.array([found.bandwidth]))
    assert found.test.mean == pytest.approx(expected.mean(), rel=1e-12)


GOOD = np.zeros((4, 3), np.float32)
BAD = np.array([[0, np.nan, np.inf]], np.float32)
EMPTY = GOOD[:0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((EMPTY, GOOD, GOOD), "samples has 0 rows"),
        ((GOOD, EMPTY, GOOD), "validation has 0 rows"),
        ((GOOD, GOOD, EMPTY), "test has 0 rows"),
        ((BAD, GOOD, GOOD), "samples has 2 values that are not finite"),
        ((GOOD, BAD, GOOD), "validation has 2 values that are not finite"),
        ((GOOD, GOOD, BAD), "test has 2 values that are not finite"),
        ((GOOD, GOOD[:, :2], GOOD), r"validation has rows of shape \(2,\)"),
        ((GOOD, GOOD, GOOD.reshape(4, 3, 1)), r"test has rows of shape \(3, 1\)"),
        ((GOOD, GOOD, GOOD, np.array([0.1, 0.0])), "bandwidth is 0.0"),
        ((GOOD, GOOD, GOOD, np.array([-0.1, 0.1])), "bandwidth is -0.1"),
        ((GOOD, GOOD, GOOD, np.array([np.nan])), "bandwidth is nan"),
        ((GOOD, GOOD, GOOD, np.array([np.inf])), "bandwidth is inf"),
        ((GOOD, GOOD, GOOD, np.array([])), "bandwidths is empty"),
        ((GOOD, GOOD, GOOD, None, 0), "validation_rows is 0"),
    ],
)
def test_evaluate_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        parzen.evaluate(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], GOOD, GOOD), "blocks is empty"),
        (([EMPTY], GOOD, GOOD), "block 0 of the samples has 0 rows"),
        (([GOOD, EMPTY], GOOD, GOOD), "block 1 of the samples has 0 rows"),
        (([GOOD, BAD], GOOD, GOOD), "block 1 of the samples has 2 values that are not finite"),
        (([GOOD, GOOD + np.float32(np.inf)], GOOD, GOOD), "block 1 of .* has 12 values"),
        (([GOOD, GOOD[:, :2]], GOOD, GOOD), r"block 1 of the samples has rows of shape \(2,\)"),
        (([GOOD], EMPTY, GOOD), "validation has 0 rows"),
        (([GOOD], GOOD, BAD), "test has 2 values that are not finite"),
        (([GOOD], GOOD[:, :2], GOOD), r"validation has rows of shape \(2,\)"),
        (([GOOD], GOOD, GOOD, np.array([0.1, 0.0])), "bandwidth is 0.0"),
        (([GOOD], GOOD, GOOD, None, 0), "validation_rows is 0"),
    ],
)
def test_evaluate_draws_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        parzen.evaluate_draws(*arguments)


def test_evaluate_draws_needs_a_device():
    with pytest.raises(ValueError, match="devices is empty"):
        parzen.evaluate_draws([GOOD], GOOD, None, devices=[])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((EMPTY, GOOD, 1.0), "points has 0 rows"),
        ((GOOD, EMPTY, 1.0), "samples has 0 rows"),
        ((GOOD[:, :2], GOOD, 1.0), "points has rows of shape"),
        ((GOOD, BAD, 1.0), "samples has 2 values"),
        ((GOOD, GOOD, 0), "bandwidth is 0.0"),
    ],
)
def test_log_likelihood_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        parzen.log_likelihood(*arguments)


@pytest.mark.parametrize(
    ("points", "samples", "bandwidths", "blocks", "message"),
    [
        (EMPTY, GOOD, [1.0], {}, "points is 0"),
        (GOOD, EMPTY, [1.0], {}, "samples is 0"),
        (GOOD, GOOD, [], {}, "bandwidths is 0"),
        (GOOD, GOOD, [1.0], {"point_block": 0}, "point_block is 0"),
        (GOOD, GOOD, [1.0], {"sample_block": -1}, "sample_block is -1"),
    ],
)
def test_log_density_refuses(points, samples, bandwidths, blocks, message):
    arrays = [jnp.asarray(a, jnp.float32) for a in (points, samples, bandwidths)]
    with pytest.raises(ValueError, match=message):
        parzen.log_density(*arrays, **blocks)


ONE = np.zeros((1, 1))


@pytest.mark.parametrize("bandwidth", [1e-150, 1e-30, 1e-19, 1e-15, 1e15, 1e19, 1e150])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_bandwidth_gives_a_number(bandwidth, dtype):
    # At a sample, minus the log normaliser; one bandwidth from it, half a nat less.
    points = np.array([[0.0], [bandwidth]])
    points = points.astype(dtype if 1e-30 <= bandwidth <= 1e30 else np.float64)
    found = parzen.log_likelihood(points, ONE.astype(dtype), bandwidth)
    at_sample = -np.log(bandwidth) - np.log(2 * np.pi) / 2
    assert found.mean == pytest.approx(at_sample - 0.25, rel=1e-5)
    assert found.standard_error == pytest.approx(0.25 / np.sqrt(2), rel=1e-3)


def test_squares_below_float32_count():
    found = parzen.log_likelihood(np.float32([[1e-19]]), ONE, 1e-18)
    assert found.mean == pytest.approx(-np.log(1e-18) - np.log(2 * np.pi) / 2 - 0.005, abs=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_point_may_be_far_away(dtype):
    far, near = np.array([[3e19]], dtype), ONE.astype(dtype)
    expected = -(float(far[0, 0]) ** 2) / 2
    assert parzen.log_likelihood(far, near, 1.0).mean == pytest.approx(expected, rel=1e-6)
    found = parzen.evaluate_draws([near, near], far, near, np.array([0.5, 1.0]))
    assert found.bandwidth == 1.0
    assert found.validation.mean == pytest.approx(expected, rel=1e-6)
    assert found.test.mean == pytest.approx(-np.log(2 * np.pi) / 2, rel=1e-6)


def test_a_bandwidth_is_chosen_among_numbers():
    # In float32 the log densities would be NaN, and of those the first is the greatest.
    points = np.array([[2e-30]])
    for score in (parzen.evaluate, lambda samples, *rest: parzen.evaluate_draws([samples], *rest)):
        found = score(ONE, points, None, np.array([1e-31, 1e-30, 2e-30, 1e-29]))
        assert (found.bandwidth, found.at_grid_end) == (2e-30, None)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: parzen.log_likelihood(ONE, ONE, 1e-151), "bandwidth is 1e-151; .* from 1e-150 to"),
        (lambda: parzen.log_likelihood(ONE, ONE, 1e151), r"bandwidth is 1e\+151; .* to 1e\+150"),
        (lambda: parzen.log_likelihood(ONE, ONE, 1j), "bandwidth is 1j; pass a real number"),
        (
            lambda: parzen.log_likelihood(ONE + 1e80, ONE, 1.0),
            r"with bandwidth 1 a log density is beyond 1e\+150",
        ),
        (
            lambda: parzen.evaluate_draws([ONE], ONE + 1e80, None),
            "with bandwidth 0.1 a log density is beyond",
        ),
    ],
)
def test_what_float64_does_not_hold_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("points", "bandwidth", "message"),
    [
        ([[np.nan]], 1.0, "points has 1 value that is not finite"),
        ([[0.0]], 1e-20, "bandwidth is 9.999.*e-21; pass one from 1e-15 .* the range of float32"),
        ([[3e19]], 1.0, "a log density is beyond float32: points lie too far"),
    ],
)
def test_log_density_gives_numbers_or_says_why_not(points, bandwidth, message):
    with pytest.raises(ValueError, match=message):
        parzen.log_density(jnp.array(points), jnp.zeros((1, 1)), jnp.array([bandwidth]))


def test_blocks_whose_distances_can_not_be_held_are_refused():
    rows = jax.ShapeDtypeStruct((50_000, 1), np.float32)
    bandwidths = jax.ShapeDtypeStruct((1,), np.float32)
    score = functools.partial(parzen.log_density, point_block=10**9, sample_block=10**9)
    with pytest.raises(ValueError, match="point_block 50,000 by sample_block 50,000 makes too"):
        jax.eval_shape(score, rows, rows, bandwidths)


def test_two_rows_far_from_0():
    # scikit-learn#9354: in float32 both are one.
    found = parzen.log_likelihood(np.array([[1.7e9]]), np.array([[1.7e9 + 50]]), 10.0)
    assert found.mean == pytest.approx(-15.7215, abs=1e-4)


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e4, 1e5, 1e6])
@pytest.mark.parametrize("columns", [1, 40])
def test_an_offset_of_float64_rows_is_nothing(offset, columns):
    rng = np.random.default_rng(0)
    points, samples = rng.normal(0, 30, (2, 200, columns))
    exact, scale = brute_force(points, samples, np.array([0.1]))
    points, samples = points + offset, samples + offset
    together = parzen.log_likelihood(points, samples, 0.1).mean
    # Blocks of the two types, the first of them shorter.
    blocks = [samples[:80], samples[80:]]
    apart = parzen.evaluate_draws(blocks, points, None, np.array([0.1])).validation.mean
    for found in (together, apart):
        assert abs(found - exact.mean()) <= 2e-5 * scale.mean() * (1e-3 if columns == 1 else 1)


@pytest.mark.parametrize("swap", [False, True])
def test_points_or_samples_alone_may_need_float64(swap):
    exact_in_float32 = np.array([[1e6], [1e6 + 1]])
    rows = exact_in_float32, exact_in_float32 + 0.01 * np.sqrt(2)
    points, samples = rows[::-1] if swap else rows
    expected, _ = brute_force(points, samples, np.array([0.01]))
    together = parzen.log_likelihood(points, samples, 0.01).mean
    blocks = [jnp.asarray(samples)] if swap else [samples]
    apart = parzen.evaluate_draws(blocks, points, None, np.array([0.01])).validation.mean
    np.testing.assert_allclose([together, apart], expected.mean(), rtol=1e-7)


@pytest.mark.long
def test_what_rounding_costs_is_within_the_bound():
    # Rows that float32 holds well enough are not computed in float64, and stay within the bound.
    rng = np.random.default_rng(0)
    for columns, bandwidths in ((1, [0.1, 0.4, 1.0]), (784, [0.1, 0.399, 0.4, 1.0])):
        points, samples = rng.random((2, 60, columns))
        points[:30] = samples[:30] + 0.4 / np.sqrt(columns) * rng.normal(size=(30, columns))
        for bandwidth in bandwidths:
            exact, scale = brute_force(points, samples, np.array([bandwidth]))
            for row, expected, bound in zip(points[:, None], exact[0], scale[0], strict=True):
                found = parzen.log_likelihood(row, samples, bandwidth).mean
                assert abs(found - expected) <= 2e-5 * bound


@pytest.mark.parametrize(("place", "bandwidth"), [(999, 1.0), (1000, 0.1)])
def test_a_thousand_rows_choose_the_bandwidth(place, bandwidth):
    # On the sample, 0.1 gains log 10 nats a row; one row 15 away loses 11,000 by it, more than all.
    validation = np.zeros((1001, 1))
    validation[place] = 15
    samples, grid = np.zeros((1, 1)), np.array([0.1, 1.0])
    assert parzen.evaluate(samples, validation, None, grid).bandwidth == bandwidth
    assert parzen.evaluate_draws([samples], validation, None, grid).bandwidth == bandwidth


def test_float32_rows_are_scored_in_float32():
    points, samples = problem(0, 3, "unit")
    arrays = jnp.array(points[:1]), jnp.array(samples), jnp.array([0.2])
    (expected,) = parzen.log_density(*arrays)
    assert parzen.log_likelihood(points[:1], samples, 0.2).mean == float(expected[0])


def test_an_evaluation_is_silent_unless_asked(capfd):
    samples, validation = np.zeros((1, 1)), np.zeros((5, 1))
    parzen.evaluate_draws([samples], validation, None)
    assert capfd.readouterr().err == ""
    parzen.evaluate_draws([samples], validation, None, progress=True)
    assert "Parzen windows" in capfd.readouterr().err


@pytest.mark.long
def test_blocks_of_two_types_are_scored_in_float64_where_one_needs_it():
    far = 1e4 + np.random.default_rng(0).random((30, 2))  # float32 would round it to 0.001
    blocks = [np.full((10, 2), 1e4, np.float32), far[:10]]
    together = np.concatenate([np.float64(blocks[0]), blocks[1]])
    found = parzen.evaluate_draws(blocks, far[10:20], far[20:])
    expected = parzen.evaluate(together, far[10:20], far[20:])
    assert found.bandwidth == expected.bandwidth
    assert found.test.mean == pytest.approx(expected.test.mean, rel=1e-9)
