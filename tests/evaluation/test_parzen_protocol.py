"""The protocol of the paper: which bandwidth, which mean and error, and what it refuses."""

import dataclasses
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

pytestmark = pytest.mark.usefixtures("quick_compilation")


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
