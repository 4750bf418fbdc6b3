"""Penalties on D's gradient, for a D that is simple enough to know them in closed form."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from advnets.draws import discriminator_draws
from advnets.objectives import R1, R2, GradientPenalty, Penalty
from advnets.verify.registry import Fault, Finding, claim

GAMES, ROWS, SHAPE = 200, 32, (2, 3)
SIZE = 6
WEIGHT = 0.7
AT_DATA, AT_FAKES, BETWEEN = R1(WEIGHT), R2(WEIGHT), GradientPenalty(1.0)


def _cases(seed: int) -> dict[str, np.ndarray]:
    """Quadratic discriminators of images, and images; the first are constant, then some linear."""
    rng = np.random.default_rng([seed, 44])
    matrix = rng.normal(size=(GAMES, SIZE, SIZE))
    matrix = matrix + matrix.transpose(0, 2, 1)
    linear = rng.normal(size=(GAMES, SIZE))
    matrix[: GAMES // 10] = 0
    linear[: GAMES // 20] = 0
    return {
        "matrix": matrix,
        "linear": linear,
        "real": rng.normal(0.5, 1, (GAMES, ROWS, SIZE)),
        "fake": rng.normal(-0.5, 2, (GAMES, ROWS, SIZE)),
        "condition": rng.normal(size=(GAMES, ROWS)),
    }


def _of_library(penalty: Penalty, cases: dict[str, np.ndarray]) -> np.ndarray:
    """The penalty of each game by the library, for a D that also depends on a condition."""
    draws = discriminator_draws(jax.random.key(0))

    def one(matrix: Array, linear: Array, real: Array, fake: Array, condition: Array) -> Array:
        def judged(_: None, batch: tuple[Array, Array]) -> Float[Array, " rows"]:
            images, c = batch
            x = images.reshape(len(images), SIZE)
            quadratic = jnp.sum(x * (x @ matrix), axis=1) / 2
            return quadratic + x @ linear + 3 * c + c**2

        images = (x.reshape(ROWS, *SHAPE) for x in (real, fake))
        return penalty(draws, judged, *((x, condition) for x in images))

    with jax.enable_x64(True):
        arrays = {name: jnp.asarray(array) for name, array in cases.items()}
        return np.asarray(jax.jit(jax.vmap(lambda given: one(**given)))(arrays))


def _mean_squared_slope(cases: dict[str, np.ndarray], points: np.ndarray) -> np.ndarray:
    """The mean squared gradient norm of the quadratic D, from the moments of the points."""
    a, b = cases["matrix"], cases["linear"]
    mean = points.mean(1)
    second = np.einsum("gni,gnj->gij", points, points) / ROWS
    mixed = 2 * np.einsum("gi,gij,gj->g", b, a, mean)
    return np.asarray((b**2).sum(1) + mixed + np.einsum("gij,gjk,gki->g", a, second, a))


def _worst(errors: np.ndarray, cases: dict[str, np.ndarray]) -> Finding:
    worst = int(np.argmax(errors))
    example = {name: array[worst] for name, array in cases.items() if name != "condition"}
    return Finding(float(errors[worst]), {"discriminators": GAMES}, example)


@claim(
    "penalty-r1-r2",
    statement="R1 is half its weight times the mean squared norm of D's gradient at data, and R2 "
    "the same at generated examples. The gradient is taken in all pixels together, and not in a "
    "condition.",
    source="Mescheder et al. 2018, Eq. 9 and 10",
    computes=f"{GAMES} quadratic discriminators of images of 2 × 3 pixels that also depend on a "
    "condition: both penalties by the library, against the formula in the moments of the images. "
    "The residual is the largest difference, divided by 1 plus the penalty.",
    tolerance=1e-12,
    reason="Rounding of sums of 32 × 36 terms.",
    faults=[
        Fault("γ instead of γ/2", {"r1": R1(2 * WEIGHT)}),
        Fault("R1 at generated examples", {"r1": R2(WEIGHT)}),
        Fault("R2 at data", {"r2": R1(WEIGHT)}),
        Fault("the gradient penalty, between both, instead of R2", {"r2": GradientPenalty(WEIGHT)}),
    ],
)
def penalty_r1_r2(seed: int, *, r1: Penalty = AT_DATA, r2: Penalty = AT_FAKES) -> Finding:
    cases = _cases(seed)
    errors = np.zeros(GAMES)
    for penalty, points in ((r1, cases["real"]), (r2, cases["fake"])):
        exact = WEIGHT / 2 * _mean_squared_slope(cases, points)
        error = np.abs(_of_library(penalty, cases) - exact) / (1 + exact)
        errors = np.maximum(errors, error)
    return _worst(errors, cases)


@claim(
    "penalty-gradient",
    statement="The gradient penalty is its weight times the mean squared difference between 1 and "
    "the norm of D's gradient, at points between data and generated examples.",
    source="Gulrajani et al. 2017, Eq. 3",
    computes=f"{GAMES} quadratic discriminators, some of them linear or constant, as in "
    "penalty-r1-r2: the penalty by the library, against NumPy from the gradients A x + b at the "
    "same points. The residual is the largest difference, divided by 1 plus the penalty.",
    tolerance=1e-12,
    reason="Rounding of norms of 6 numbers.",
    faults=[
        Fault("a weight of 2", {"penalty": GradientPenalty(2.0)}),
        Fault("the squared gradient norm itself", {"penalty": R1(2.0)}),
        Fault("at data alone", {"points": lambda t, real, fake: real + 0 * t * fake}),
    ],
)
def penalty_gradient(
    seed: int,
    *,
    penalty: Penalty = BETWEEN,
    points: Callable[..., np.ndarray] = lambda t, real, fake: t * real + (1 - t) * fake,
) -> Finding:
    cases = _cases(seed)
    with jax.enable_x64(True):
        draws = discriminator_draws(jax.random.key(0))
        t = np.asarray(jax.random.uniform(draws.objective, (ROWS,)))
    between = points(t[:, None], cases["real"], cases["fake"])
    slopes = between @ cases["matrix"] + cases["linear"][:, None]
    exact = np.mean((np.linalg.norm(slopes, axis=2) - 1) ** 2, axis=1)
    errors = np.abs(_of_library(penalty, cases) - exact) / (1 + exact)
    return _worst(errors, cases)
