"""The paper's caveat to Proposition 2: critical points of C in a generator's parameters."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from advnets import _style
from advnets.verify import criterion, families
from advnets.verify.registry import Fault, Finding, claim

GRID = families.Grid(((-6.0, 6.0),), (600,))
WIDTH = 0.5
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(60)
SHARES = WEIGHTS / WEIGHTS.sum()


def _gap(p_data: np.ndarray, p_g: np.ndarray) -> float:
    """C + log 4 of densities on the grid."""
    return criterion.suboptimality(p_data, p_g, GRID.cell_volume)


def derivative_along(p_data: np.ndarray, p_g: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """The derivative of C along changes of p_g: D* is held fixed, by the envelope theorem."""
    log_fake = np.log(criterion.optimal_discriminator(p_g, p_data, GRID.cell_volume))
    return moves @ log_fake * GRID.cell_volume


def _normals(locations: np.ndarray) -> np.ndarray:
    """The normal densities of the generators' noise, at real or complex locations."""
    squares = ((GRID.points[0] - np.asarray(locations)[:, None]) / WIDTH) ** 2
    return np.exp(-squares / 2) / (WIDTH * np.sqrt(2 * np.pi))


def _slopes(locations: np.ndarray) -> np.ndarray:
    """The derivatives of these densities in the location."""
    return _normals(locations) * (GRID.points[0] - np.asarray(locations)[:, None]) / WIDTH**2


def network_density(theta: np.ndarray) -> np.ndarray:
    """The density of G(z, e) = v tanh(w z) + WIDTH e, with z and e normal; quadrature over z."""
    v, w = theta
    return SHARES @ _normals(v * np.tanh(w * NODES))


def network_moves(theta: np.ndarray) -> np.ndarray:
    """The derivatives of that density in v and in w, in closed form under the integral."""
    v, w = theta
    hidden = np.tanh(w * NODES)
    slopes = _slopes(v * hidden)
    return np.stack([(SHARES * hidden) @ slopes, (SHARES * v * NODES * (1 - hidden**2)) @ slopes])


def _by_complex_step(p_data: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """The derivatives of C in v and w by complex steps in Eq. 4, without differences."""
    moved = [network_density(theta + 1e-30j * side) for side in np.eye(2)]
    values = [
        np.sum(p_data * np.log(p_data / (p_data + p)) + p * np.log(p / (p_data + p))) for p in moved
    ]
    return np.imag(values) * GRID.cell_volume / 1e-30


def _draw(
    gap: Callable[[np.ndarray], float],
    sides: dict[str, np.ndarray],
    found: np.ndarray,
    best: np.ndarray,
    densities: tuple[np.ndarray, np.ndarray],
    kind: str,
    figure: Any,
) -> None:
    """C over a generator's two parameters with the point found, and the densities there."""
    landscape, line = figure.subplots(1, 2)
    across, up = sides.values()
    heights = [[gap(np.array([a, b])) for a in across] for b in up]
    image = landscape.contourf(across, up, heights, 20)
    figure.colorbar(image, label="C + log 4, nats")
    landscape.plot(*found, "wo", markeredgecolor=_style.INK, label=f"{kind}, p_g ≠ p_data")
    landscape.plot(*best.T, "w*", markeredgecolor=_style.INK, label="p_g = p_data")
    landscape.set(**dict(zip(("xlabel", "ylabel"), sides, strict=True)))
    _style.legend(landscape, above=True)
    (x,), (p_data, p_g) = GRID.points, densities
    line.plot(x, p_data, "k:", label="p_data")
    line.plot(x, p_g, color=_style.GREEN, label=f"p_g at the {kind}")
    line.set(xlabel="x", ylabel="density")
    _style.legend(line, above=True)


BEST = (2.0, 3.0)


@claim(
    "caveat-critical-point",
    statement="The proof of convergence updates p_g itself. A generator network represents a "
    "limited family of densities and has several critical points in its parameters: the derivative "
    "of C in them can vanish where p_g is not p_data.",
    source="Section 4.2 (last paragraph)",
    computes="G(z, e) = v tanh(w z) + e/2 with normal z and e, and data from the same network with "
    "v = 2, w = 3. The residual is the derivative of C in v and w at v = w = 0, in closed form, "
    "plus the same by a complex step, plus (since symmetry makes both 0 there) the largest "
    "difference between the two at 20 random points around it, where they are not 0. Infinite "
    "unless C at v = w = 0 is at least 0.1 nats above -log 4.",
    tolerance=1e-10,
    reason="Exactly 0 in closed form; rounding of sums over 600 cells and 60 nodes.",
    faults=[
        Fault(
            "the wrong sign of the derivative",
            {"derivative": lambda *args: -derivative_along(*args)},
        ),
        Fault(
            "twice the derivative in w", {"moves": lambda theta: network_moves(theta) * [[1], [2]]}
        ),
        Fault("a point near it", {"theta": (0.3, 0.3)}),
        Fault("the parameters of the data, where p_g = p_data", {"theta": BEST}),
    ],
)
def caveat_critical_point(
    seed: int,
    *,
    theta: tuple[float, float] = (0.0, 0.0),
    derivative: Callable = derivative_along,
    moves: Callable = network_moves,
) -> Finding:
    p_data = GRID.normalised(network_density(np.array(BEST)))

    def gap(theta: np.ndarray) -> float:
        return _gap(p_data, GRID.normalised(network_density(theta)))

    def exact(theta: np.ndarray) -> np.ndarray:
        return derivative(p_data, GRID.normalised(network_density(theta)), moves(theta))

    here = np.array(theta)
    sizes = [np.abs(exact(here)).max(), np.abs(_by_complex_step(p_data, here)).max()]
    around = np.random.default_rng([seed, 40]).uniform(-1.5, 1.5, (20, 2))
    slopes = np.array([exact(point) for point in around])
    apart = np.abs(slopes - [_by_complex_step(p_data, point) for point in around])
    worst = around[int(np.argmax(apart.max(1)))]
    return Finding(
        float(sum(sizes) + apart.max()) if gap(here) > 0.1 else np.inf,
        {
            "derivative in closed form": float(sizes[0]),
            "derivative by a complex step": float(sizes[1]),
            "largest derivative around it": float(np.abs(slopes).max()),
            "the two apart around it": float(apart.max()),
            "C + log 4 there, nats": gap(here),
        },
        {"v": theta[0], "w": theta[1], "(v, w) where most apart": worst},
        functools.partial(
            _draw,
            gap,
            {"v": np.linspace(-3, 3, 41), "w": np.linspace(-4, 4, 41)},
            here,
            np.array([BEST, np.negative(BEST)]),
            (p_data, network_density(here)),
            "critical point",
        ),
    )


APART = 2.0


@claim(
    "caveat-local-minimum",
    statement="Such a critical point can be a local minimum: descending C in the parameters, with "
    "D at its optimum, need not lead to p_data.",
    source="Section 4.2 (last paragraph)",
    computes="G puts 70 % of its mass around one location and 30 % around another, and learns both "
    "locations; in the data they are -2 and 2. C is minimised from the swapped locations. The "
    "residual is the largest derivative where this ends (closed form); infinite unless the Hessian "
    "there is positive definite (smallest eigenvalue above 0.01) and C is at least 0.1 nats above "
    "-log 4.",
    tolerance=1e-8,
    reason="50 steps of Newton's method end at rounding: 1e-15.",
    faults=[
        Fault("a start near the data's locations", {"start": (-1.5, 1.5)}),
        Fault("equal shares, so that swapping changes nothing", {"share": 0.5}),
        Fault("the start itself, before minimisation", {"iterations": 0}),
    ],
)
def caveat_local_minimum(
    seed: int,
    *,
    start: tuple[float, float] = (APART, -APART),
    share: float = 0.7,
    iterations: int = 50,
) -> Finding:
    shares = np.array([share, 1 - share])
    p_data = GRID.normalised(shares @ _normals(np.array([-APART, APART])))

    def density(places: np.ndarray) -> np.ndarray:
        return GRID.normalised(shares @ _normals(places))

    def gap(places: np.ndarray) -> float:
        return _gap(p_data, density(places))

    def derivative(places: np.ndarray) -> np.ndarray:
        return derivative_along(p_data, density(places), shares[:, None] * _slopes(places))

    def hessian(places: np.ndarray) -> np.ndarray:
        rows = [derivative(places + h) - derivative(places - h) for h in 1e-5 * np.eye(2)]
        return np.array(rows) / 2e-5

    places = np.array(start)
    for _ in range(iterations):
        values, vectors = np.linalg.eigh(hessian(places))
        # Newton's step, turned downhill where C is not convex, and never longer than 0.2.
        step = vectors @ (vectors.T @ derivative(places) / np.maximum(np.abs(values), 1e-3))
        places = places - step * min(1.0, 0.2 / max(float(np.linalg.norm(step)), 1e-300))
    curvature = float(np.linalg.eigvalsh(hessian(places)).min())
    size = float(np.max(np.abs(derivative(places))))
    side = np.linspace(-4, 4, 41)
    return Finding(
        size if curvature > 0.01 and gap(places) > 0.1 else np.inf,
        {"smallest curvature": curvature, "C + log 4 there, nats": gap(places)},
        {"places": places},
        functools.partial(
            _draw,
            gap,
            {"location of the 70 %": side, "location of the 30 %": side},
            places,
            np.array([-APART, APART]),
            (p_data, density(places)),
            "local minimum",
        ),
    )
