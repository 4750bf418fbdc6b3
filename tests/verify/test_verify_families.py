"""Families of densities: normalised, where they should be, and push-forwards by two routes."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from advnets.verify import families
from advnets.verify.families import Grid

LINE = Grid(((-5.0, 5.0),), (500,))
SQUARE = Grid(((-5.0, 5.0), (-2.0, 4.0)), (60, 50))


@pytest.mark.parametrize("grid", [LINE, SQUARE], ids=["line", "square"])
@pytest.mark.parametrize(
    "make",
    [
        lambda grid: families.gaussian_mixture(grid, [-1.0, 2.0], [0.5, 0.7], [1, 3]),
        lambda grid: families.uniform_pieces(grid, [[(-1.0, 1.0)] * len(grid.cells)]),
        lambda grid: families.point_masses(grid, [0.3, 1.7], [2, 1]),
        families.heavy_tails,
    ],
)
def test_a_density(grid, make):
    values = make(grid)
    assert values.shape == grid.cells
    assert values.min() >= 0
    assert values.sum() * grid.cell_volume == pytest.approx(1, abs=1e-12)


def test_against_scipy():
    (x,) = LINE.points
    mixture = families.gaussian_mixture(LINE, [-1.0, 1.0], [0.5, 0.3], [1, 3])
    by_hand = 0.25 * scipy.stats.norm.pdf(x, -1, 0.5) + 0.75 * scipy.stats.norm.pdf(x, 1, 0.3)
    np.testing.assert_allclose(mixture, by_hand, rtol=1e-9, atol=1e-12)
    tails = families.heavy_tails(LINE, 0.5, 2.0)
    cauchy = scipy.stats.cauchy.pdf(x, 0.5, 2.0)
    np.testing.assert_allclose(tails / tails[0], cauchy / cauchy[0], rtol=1e-12)


def test_two_dimensions_against_scipy():
    values = families.gaussian_mixture(SQUARE, [(0.5, 1.0)], 0.4)
    points = np.stack(SQUARE.points, -1)
    by_hand = scipy.stats.multivariate_normal.pdf(points, (0.5, 1.0), 0.16)
    np.testing.assert_allclose(values, by_hand, rtol=1e-6, atol=1e-9)


def test_point_masses_at_the_grids_ends():
    grid = Grid(((0.0, 1.0),), (4,))
    assert families.point_masses(grid, [0.0, 1.0]).tolist() == [2.0, 0.0, 0.0, 2.0]


def test_push_forward_in_closed_form():
    grid = Grid(((np.exp(-5.0), 20.0),), (4000,))
    masses = families.push_forward(grid, np.exp, scipy.stats.norm()) * grid.cell_volume
    by_hand = np.diff(scipy.stats.lognorm(1).cdf(grid.edges[0]))
    np.testing.assert_allclose(masses, by_hand / by_hand.sum(), atol=1e-12)


def test_push_forward_against_samples():
    grid = Grid(((-4.0, 4.0),), (40,))
    z = np.random.default_rng(0).normal(size=200_000)
    drawn = families.sampled(grid, np.sinh(z / 2)[:, None]) * grid.cell_volume
    exact = families.push_forward(grid, lambda z: np.sinh(z / 2), scipy.stats.norm())
    exact = exact * grid.cell_volume
    assert np.all(np.abs(drawn - exact) <= 5 * np.sqrt(exact / 200_000) + 1e-6)


@given(st.integers(0, 2**32 - 1))
def test_random_pairs_are_probability_vectors(seed):
    for vector in families.random_pair(np.random.default_rng(seed)):
        assert vector.min() >= 0
        assert vector.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("bounds", "cells", "named"),
    [
        (((0.0, 1.0),), (2, 2), "2"),
        (((1.0, 0.0),), (2,), "1.0, 0.0"),
        (((0.0, 1.0),), (0,), "0"),
        (((0.0, np.inf),), (2,), "inf"),
        ((), (), "axis"),
    ],
)
def test_no_grid(bounds, cells, named):
    with pytest.raises(ValueError, match=named):
        Grid(bounds, cells)


def test_cells_are_counted_in_whole_numbers():
    with pytest.raises(TypeError, match="cells must be"):
        Grid(((0.0, 1.0),), (4.5,))


def test_no_cell_inside():
    with pytest.raises(ValueError, match="no cell"):
        families.uniform_pieces(LINE, [[(0.001, 0.002)]])


UNIFORM = scipy.stats.uniform()
UNIT = Grid(((0.0, 1.0),), (4,))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: UNIT.normalised(np.zeros(4)), "values is 0 in every cell"),
        (lambda: UNIT.normalised(np.array([1, np.nan, 1, 1])), "values holds nan"),
        (lambda: UNIT.normalised(np.array([1, -0.5, 1, 1])), "values holds -0.5"),
        (lambda: families.sampled(UNIT, np.array([[5.0]])), "values is 0 in every cell"),
        (lambda: families.sampled(UNIT, np.array([[0.5], [np.nan]])), "samples holds nan"),
        (lambda: families.gaussian_mixture(UNIT, [0.5], 0.0), "scales must be above 0; got 0"),
        (lambda: families.gaussian_mixture(UNIT, [500.0], 0.01), "values is 0 in every cell"),
        (lambda: families.gaussian_mixture(UNIT, [0.5, 0.2], 0.1, [1, -1]), "weights must not be"),
        (lambda: families.heavy_tails(UNIT, 0.0, 0.0), "scale must be above 0; got 0"),
        (lambda: families.point_masses(UNIT, [7.0]), "locations holds 7.0, which is off the grid"),
        (lambda: families.point_masses(UNIT, [0.5], [-1]), "weights must not be below 0"),
        (lambda: families.push_forward(UNIT, lambda z: -z, UNIFORM), "generator must increase"),
        (lambda: families.push_forward(UNIT, lambda z: z + 9, UNIFORM), "values is 0 in every"),
    ],
)
def test_what_makes_no_density_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_what_a_push_forward_puts_off_the_grid_is_cut_off():
    assert families.push_forward(UNIT, lambda z: 2 * z, UNIFORM).round(9).tolist() == [1.0] * 4
