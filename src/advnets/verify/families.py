"""Families of densities for testing statements, on grids of one and two dimensions.

Every function returns values whose sum times the grid's cell volume is 1.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

Values = Float[np.ndarray, "*cells"]


@dataclasses.dataclass(frozen=True)
class Grid:
    """Equal cells that fill an interval or a box.

    Attributes:
        bounds: the lower and the upper end along each axis.
        cells: the number of cells along each axis.

    Raises:
        ValueError: if the two differ in length, an interval is empty, or an axis has no cell.

    Example:
        >>> from advnets.verify.families import Grid
        >>> line = Grid(((0.0, 1.0),), (4,))
        >>> line.cell_volume, line.points[0].tolist()
        (0.25, [0.125, 0.375, 0.625, 0.875])
    """

    bounds: tuple[tuple[float, float], ...]
    cells: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.bounds) != len(self.cells):
            raise ValueError(
                f"bounds has {len(self.bounds)} axes and cells {len(self.cells)}; give one of each "
                "per axis"
            )
        whole = all(isinstance(n, int | np.integer) and n > 0 for n in self.cells)
        if (
            not self.cells
            or not whole
            or not all(-math.inf < a < b < math.inf for a, b in self.bounds)
        ):
            raise ValueError(
                "a grid needs finite low < high and a whole number of cells along each axis; got "
                f"bounds {self.bounds} and cells {self.cells}"
            )

    @property
    def cell_volume(self) -> float:
        """The volume of a cell."""
        return math.prod((b - a) / n for (a, b), n in zip(self.bounds, self.cells, strict=True))

    @property
    def edges(self) -> tuple[Float[np.ndarray, " edges"], ...]:
        """The edges of the cells along each axis."""
        return tuple(
            np.linspace(a, b, n + 1) for (a, b), n in zip(self.bounds, self.cells, strict=True)
        )

    @property
    def points(self) -> tuple[Values, ...]:
        """The coordinates of the cells' centres: an array of the grid's shape for each axis."""
        return tuple(np.meshgrid(*((e[1:] + e[:-1]) / 2 for e in self.edges), indexing="ij"))

    def normalised(self, values: Values) -> Values:
        """Scales nonnegative values to a density on this grid.

        Args:
            values: one for each cell.

        Returns:
            The density.

        Raises:
            ValueError: if a value is negative, NaN or infinite, or all are 0.
        """
        if not np.isfinite(values).all():
            bad = values[~np.isfinite(values)][0]
            raise ValueError(f"values holds {bad}; a density on a grid is finite everywhere")
        if values.min() < 0:
            raise ValueError(f"values holds {values.min():.6g}; a density is never below 0")
        if values.max() == 0:
            raise ValueError(
                f"values is 0 in every cell; put some of the mass between the bounds {self.bounds}"
            )
        return values / (values.sum() * self.cell_volume)


def gaussian_mixture(
    grid: Grid,
    means: Sequence[float | Sequence[float]],
    scales: float | Sequence[float],
    weights: Sequence[float] | None = None,
) -> Values:
    """A mixture of isotropic normal densities, truncated to the grid.

    Args:
        grid: the grid.
        means: each component's mean: a number, or one for each axis.
        scales: the components' standard deviations, or one for all; above 0.
        weights: the components' weights, in any unit, not below 0; equal by default.

    Returns:
        The density at the cells' centres.

    Raises:
        ValueError: if a scale is not above 0, a weight is below 0, or the grid gets no mass.

    Example:
        >>> from advnets.verify.families import Grid, gaussian_mixture
        >>> grid = Grid(((-4.0, 4.0),), (400,))
        >>> p = gaussian_mixture(grid, [-1.0, 1.0], 0.5)
        >>> round(float(p.sum() * grid.cell_volume), 12)
        1.0
    """
    widths = np.broadcast_to(np.asarray(scales, float), len(means))
    _check_scale("scales", widths)
    shares = _shares(weights, len(means))
    values = np.zeros(grid.cells)
    for mean, scale, share in zip(means, widths, shares, strict=True):
        centre = np.broadcast_to(np.asarray(mean, float), len(grid.cells))
        squares = sum((x - c) ** 2 for x, c in zip(grid.points, centre, strict=True))
        values += share / scale ** len(grid.cells) * np.exp(-squares / (2 * scale**2))
    return grid.normalised(values)


def uniform_pieces(grid: Grid, pieces: Sequence[Sequence[tuple[float, float]]]) -> Values:
    """A constant density on some boxes and 0 between them: gaps, or disjoint supports.

    Args:
        grid: the grid.
        pieces: the boxes, each an interval for each axis.

    Returns:
        The density at the cells' centres.

    Raises:
        ValueError: if no cell's centre is in a box.

    Example:
        >>> from advnets.verify.families import Grid, uniform_pieces
        >>> grid = Grid(((0.0, 1.0),), (4,))
        >>> uniform_pieces(grid, [[(0.0, 0.25)], [(0.75, 1.0)]]).tolist()
        [2.0, 0.0, 0.0, 2.0]
    """
    inside = np.zeros(grid.cells, bool)
    for box in pieces:
        here = np.ones(grid.cells, bool)
        for x, (low, high) in zip(grid.points, box, strict=True):
            here &= (low <= x) & (x <= high)
        inside |= here
    if not inside.any():
        raise ValueError(f"no cell of the grid has its centre in {pieces}; widen them")
    return grid.normalised(inside.astype(float))


def point_masses(
    grid: Grid, locations: Sequence[float | Sequence[float]], weights: Sequence[float] | None = None
) -> Values:
    """Point masses: all mass is in the cells that contain the points.

    Args:
        grid: the grid.
        locations: the points, each a number or one number per axis.
        weights: the points' shares, in any unit, not below 0; equal by default.

    Returns:
        The density: 0 except in those cells.

    Raises:
        ValueError: if a point is off the grid, or a weight below 0.

    Example:
        >>> from advnets.verify.families import Grid, point_masses
        >>> point_masses(Grid(((0.0, 1.0),), (4,)), [0.1, 0.6]).tolist()
        [2.0, 0.0, 2.0, 0.0]
    """
    shares = _shares(weights, len(locations))
    values = np.zeros(grid.cells)
    for location, share in zip(locations, shares, strict=True):
        place = np.broadcast_to(np.asarray(location, float), len(grid.cells))
        if not all(a <= x <= b for x, (a, b) in zip(place, grid.bounds, strict=True)):
            raise ValueError(
                f"locations holds {location}, which is off the grid; its bounds are {grid.bounds}"
            )
        cell = tuple(
            min(max(int(np.searchsorted(e, x, "right")) - 1, 0), len(e) - 2)
            for e, x in zip(grid.edges, place, strict=True)
        )
        values[cell] += share
    return grid.normalised(values)


def heavy_tails(grid: Grid, location: float = 0.0, scale: float = 1.0) -> Values:
    """A Cauchy density along each axis, truncated to the grid: heavy tails.

    Args:
        grid: the grid.
        location: the centre.
        scale: half the width at half the height, above 0.

    Returns:
        The density at the cells' centres.

    Raises:
        ValueError: if the scale is not above 0.

    Example:
        >>> from advnets.verify.families import Grid, heavy_tails
        >>> p = heavy_tails(Grid(((-50.0, 50.0),), (1001,)))
        >>> round(float(p[500] / p[490]), 3)
        1.998
    """
    _check_scale("scale", np.array([scale]))
    values = np.ones(grid.cells)
    for x in grid.points:
        values = values / (1 + ((x - location) / scale) ** 2)
    return grid.normalised(values)


def push_forward(grid: Grid, generator: Callable[[Any], Any], prior: Any) -> Values:
    """The density of G(z) for an increasing G of one variable, by change of variables.

    A cell's mass is the prior's mass between the two points that G maps to the cell's edges, which
    are found by bisection.

    Args:
        grid: the grid, of one dimension.
        generator: G, increasing, on arrays of float64.
        prior: the distribution of z: a frozen SciPy distribution.

    Returns:
        The density's mean over each cell. Mass off the grid is dropped, and the rest renormalised.

    Raises:
        ValueError: if G decreases somewhere, or the grid gets no mass.

    Example:
        >>> import scipy.stats
        >>> from advnets.verify.families import Grid, push_forward
        >>> grid = Grid(((0.0, 2.0),), (4,))
        >>> push_forward(grid, lambda z: 2 * z, scipy.stats.uniform()).round(6).tolist()
        [0.5, 0.5, 0.5, 0.5]
    """
    (edges,) = grid.edges
    ends = prior.ppf(1e-15), prior.ppf(1 - 1e-15)
    if not (np.diff(generator(np.linspace(*ends, 1001))) >= 0).all():
        raise ValueError("generator must increase over the prior's range; if G decreases, give -G")
    low, high = (np.full(edges.shape, end) for end in ends)
    for _ in range(200):
        middle = (low + high) / 2
        below = generator(middle) < edges
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return grid.normalised(np.diff(prior.cdf((low + high) / 2)))


def sampled(grid: Grid, samples: Float[np.ndarray, "n dimensions"]) -> Values:
    """The histogram density of samples: their share in each cell.

    Args:
        grid: the grid; samples outside it are ignored.
        samples: the samples, one per row.

    Returns:
        The density.

    Raises:
        ValueError: if a sample is NaN, or none is on the grid.

    Example:
        >>> import numpy as np
        >>> from advnets.verify.families import Grid, sampled
        >>> sampled(Grid(((0.0, 1.0),), (2,)), np.array([[0.1], [0.2], [0.3], [0.9]])).tolist()
        [1.5, 0.5]
    """
    if np.isnan(samples).any():
        raise ValueError("samples holds nan; give numbers")
    counts, _ = np.histogramdd(samples, bins=grid.edges)
    return grid.normalised(counts)


def _shares(weights: Sequence[float] | None, count: int) -> Float[np.ndarray, " components"]:
    shares = np.ones(count) if weights is None else np.asarray(weights, float)
    if not (shares >= 0).all():
        raise ValueError(f"weights must not be below 0; got {weights}")
    return shares


def _check_scale(name: str, scales: Float[np.ndarray, " components"]) -> None:
    if not (scales > 0).all():
        raise ValueError(f"{name} must be above 0; got {scales[~(scales > 0)][0]}")


def random_pair(
    rng: np.random.Generator, cells: int = 16
) -> tuple[Float[np.ndarray, " {cells}"], Float[np.ndarray, " {cells}"]]:
    """Two random probability vectors: unrelated, nearly equal, or with partly disjoint supports.

    Masses span many orders of magnitude. A third of the pairs differ by a factor of 1 + 1e-2 to
    1 + 1e-12 in each cell.

    Args:
        rng: the source of randomness.
        cells: their length.

    Returns:
        The pair.

    Raises:
        ValueError: if there is no cell.

    Example:
        >>> import numpy as np
        >>> from advnets.verify.families import random_pair
        >>> p, q = random_pair(np.random.default_rng(0))
        >>> round(float(p.sum()), 12), round(float(q.sum()), 12)
        (1.0, 1.0)
    """
    if cells < 1:
        raise ValueError(f"a pair of densities needs at least 1 cell; got {cells}")
    cells = int(cells)  # NumPy does not accept True as a size
    p = rng.exponential(size=cells) ** rng.integers(1, 9)
    kind = rng.integers(3)
    if kind == 0:
        q = rng.exponential(size=cells) ** rng.integers(1, 9)
    elif kind == 1:
        q = p * np.exp(rng.normal(size=cells) * 10.0 ** -rng.integers(2, 13))
    else:
        q = rng.exponential(size=cells)
        p[rng.random(cells) < 0.4] = 0
        q[rng.random(cells) < 0.4] = 0
        p[rng.integers(cells)] += 0.1
        q[rng.integers(cells)] += 0.1
    return p / p.sum(), q / q.sum()
