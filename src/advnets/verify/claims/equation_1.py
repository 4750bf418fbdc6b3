"""Eq. 1: the value of the game, by Monte Carlo through players and as an integral."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.integrate
import scipy.special
import scipy.stats
from jaxtyping import Float

from advnets import _style
from advnets.game import value_function
from advnets.model import Model
from advnets.players import judge
from advnets.priors import Normal, Prior, Uniform
from advnets.verify import criterion, families
from advnets.verify.claims import toys
from advnets.verify.registry import Fault, Finding, claim, worse

N = 200_000
SHIFT, SCALE = 1.0, 0.7
UNIFORM = Uniform(1)


def _increasing(seed: int) -> tuple[Callable, Callable, dict[str, np.ndarray]]:
    """`toys.Increasing` and its derivative in float64, and their parameters."""
    rng = np.random.default_rng([seed, 2])
    slopes, heights = rng.uniform(0.5, 3, 6), rng.uniform(0.1, 0.6, 6)
    offsets = rng.normal(size=6)

    def generator(z: np.ndarray) -> np.ndarray:
        return 0.3 * z + np.tanh(np.multiply.outer(z, slopes) + offsets) @ heights

    def derivative(z: np.ndarray) -> np.ndarray:
        return 0.3 + np.cosh(np.multiply.outer(z, slopes) + offsets) ** -2.0 @ (heights * slopes)

    return generator, derivative, {"slopes": slopes, "offsets": offsets, "heights": heights}


@claim(
    "eq1-monte-carlo",
    statement="The value of the game is the expectation of log D over the data plus the "
    "expectation of log(1 - D) over the generator's examples.",
    source="Eq. 1",
    computes="advnets.game.value_function on 200,000 data and as many generated examples, with a "
    "generator and a tanh discriminator, against verify.value_on_grid of the densities and D's "
    "logits on 2,400 cells, in standard errors. Infinite unless the value on the grid is within "
    "1e-8 nats of the integral by SciPy's quadrature.",
    tolerance=4.0,
    reason="Four standard errors: exceeded by one seed in 16,000. The sum over cells of smooth "
    "functions that vanish at both ends is exact to 1e-10.",
    faults=[
        Fault(
            "the two densities swapped in the sum over the grid",
            {"value_on_grid": lambda p, q, *rest: criterion.value_on_grid(q, p, *rest)},
        ),
        Fault(
            "log D on generated examples too",
            {"value": lambda real, fake: value_function(real, -fake)},
        ),
        Fault(
            "half the sum, as in the released code's cost",
            {"value": lambda real, fake: value_function(real, fake) / 2},
        ),
    ],
)
def eq1_monte_carlo(
    seed: int,
    *,
    value: Callable = value_function,
    value_on_grid: Callable = criterion.value_on_grid,
) -> Finding:
    generator = toys.Affine(jnp.array([SCALE]), jnp.array([SHIFT]))
    discriminator_key, real_key, fake_key, judge_key = jax.random.split(jax.random.key(seed), 4)
    discriminator = eqx.nn.MLP(1, "scalar", 8, 1, jnp.tanh, key=discriminator_key)
    real = jax.random.normal(real_key, (N, 1))
    fake = Model(generator, Normal(1))(fake_key, N)
    real_logits = judge(judge_key, discriminator, real)
    fake_logits = judge(judge_key, discriminator, fake)
    estimate = float(value(real_logits, fake_logits))

    hidden, output = discriminator.layers
    w, b = np.asarray(hidden.weight, np.float64)[:, 0], np.asarray(hidden.bias, np.float64)
    v, c = np.asarray(output.weight, np.float64)[0], np.asarray(output.bias, np.float64)[0]

    def logits(x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        return np.tanh(np.multiply.outer(x, w) + b) @ v + c

    def integrand(x: float) -> float:
        logit = logits(np.array([x]))[0]
        real_term = scipy.stats.norm.pdf(x) * scipy.special.log_expit(logit)
        fake_term = scipy.stats.norm.pdf(x, SHIFT, SCALE) * scipy.special.log_expit(-logit)
        return float(real_term + fake_term)

    integral, _ = scipy.integrate.quad(integrand, -12, 12, epsabs=1e-10)
    spread = np.var(jax.nn.log_sigmoid(real_logits)) + np.var(jax.nn.log_sigmoid(-fake_logits))
    error = float(np.sqrt(spread / N))
    grid = families.Grid(((-12.0, 12.0),), (2400,))
    p_data = families.gaussian_mixture(grid, [0.0], 1.0)
    p_g = families.gaussian_mixture(grid, [SHIFT], SCALE)
    on_grid = value_on_grid(p_data, p_g, logits(grid.points[0]), grid.cell_volume)
    return Finding(
        abs(estimate - on_grid) / error if abs(on_grid - integral) < 1e-8 else np.inf,
        {
            "estimate": estimate,
            "value on the grid": on_grid,
            "integral": integral,
            "standard error": error,
        },
        {"seed": seed},
    )


@claim(
    "eq1-change-of-variables",
    statement="The expectation over the noise z of a function of G(z) is the integral of that "
    "function against p_g.",
    source="Eq. 1, Proposition 1 (proof)",
    computes="For an increasing neural G with uniform and with normal noise, and f = log(1 - D) "
    "for four discriminators: the integral over z against the integral over x with p_g(G(z)) = "
    "p_z(z) / G'(z), both by Gauss-Legendre quadrature in 4,000 panels.",
    tolerance=1e-9,
    reason="Quadrature of smooth functions; 2e-14 of the normal noise is cut off.",
    faults=[
        Fault("multiplication by G' instead of division", {"jacobian": lambda slope: 1 / slope}),
        Fault("the change of volume left out", {"jacobian": lambda slope: np.ones_like(slope)}),
    ],
)
def eq1_change_of_variables(
    seed: int, *, jacobian: Callable[[np.ndarray], np.ndarray] = lambda slope: slope
) -> Finding:
    generator, derivative, parameters = _increasing(seed)
    worst = 0.0
    example: dict[str, Any] = {}
    for name, prior in (
        ("uniform", scipy.stats.uniform(-np.sqrt(3), 2 * np.sqrt(3))),
        ("normal", scipy.stats.norm()),
    ):
        low, high = prior.ppf([1e-14, 1 - 1e-14])
        z = np.linspace(low, high, 40_001)
        x = generator(z)
        # Panels of Gauss points in x, with z = G⁻¹(x) by Newton's method from its neighbours.
        edges = np.linspace(x[0], x[-1], 4001)
        nodes, weights = np.polynomial.legendre.leggauss(8)
        middle, half = (edges[1:] + edges[:-1])[:, None] / 2, np.diff(edges)[:, None] / 2
        points = middle + half * nodes
        inverse = np.interp(points, x, z)
        for _ in range(5):
            inverse = inverse - (generator(inverse) - points) / derivative(inverse)
        density = prior.pdf(inverse) / jacobian(derivative(inverse))
        for slope in (-3.0, -0.5, 0.5, 3.0):

            def f(x: np.ndarray, slope: float = slope) -> np.ndarray:
                return scipy.special.log_expit(-slope * (x - 0.3))

            over_x = np.sum(half * weights * density * f(points))
            z_edges = np.linspace(low, high, 4001)
            z_half = np.diff(z_edges)[:, None] / 2
            z_points = (z_edges[1:] + z_edges[:-1])[:, None] / 2 + z_half * nodes
            over_z = np.sum(z_half * weights * prior.pdf(z_points) * f(generator(z_points)))
            here = float(abs(over_x - over_z))
            if worse(here, worst):
                worst, example = here, {"prior": name, "slope of D": slope, **parameters}
    return Finding(worst, {}, example)


@claim(
    "eq1-push-forward",
    statement="The generator defines p_g implicitly, as the distribution of G(z).",
    source="Section 3, section 4",
    computes="100,000 examples of an increasing neural G with uniform noise, drawn by an "
    "advnets.Model and counted in 60 cells, against the cells' masses by change of variables: "
    "Pearson's statistic, in standard deviations from its mean.",
    tolerance=5.0,
    reason="Five standard deviations of a chi-squared variable with 50 to 59 degrees of freedom: "
    "exceeded by about one seed in 30,000.",
    faults=[
        Fault("normal noise where G expects uniform", {"prior": Normal(1)}),
        Fault("each example counted four times", {"repeat": 4}),
    ],
)
def eq1_push_forward(seed: int, *, prior: Prior = UNIFORM, repeat: int = 1) -> Finding:
    generator, _, parameters = _increasing(seed)
    module = toys.Increasing(*(jnp.asarray(value, jnp.float32) for value in parameters.values()))
    n = 100_000
    drawn = Model(module, prior)(jax.random.key(seed), n // repeat)
    samples = np.repeat(np.asarray(drawn, np.float64), repeat, axis=0)
    z = scipy.stats.uniform(-np.sqrt(3), 2 * np.sqrt(3))
    low, high = generator(np.array([-np.sqrt(3), np.sqrt(3)]))
    grid = families.Grid(((low - 1e-3, high + 1e-3),), (60,))
    expected = n * grid.cell_volume * families.push_forward(grid, generator, z)
    counted = n * grid.cell_volume * families.sampled(grid, samples)
    used = expected > 5
    statistic = float(np.sum((counted - expected)[used] ** 2 / expected[used]))
    freedom = int(used.sum()) - 1
    excess = (statistic - freedom) / np.sqrt(2 * freedom)
    mass = n * grid.cell_volume
    return Finding(
        abs(excess),
        {"statistic": statistic, "degrees of freedom": freedom},
        parameters,
        functools.partial(_draw_densities, grid.points[0], counted / mass, expected / mass),
    )


def _draw_densities(x: np.ndarray, sampled: np.ndarray, expected: np.ndarray, figure: Any) -> None:
    axes = figure.subplots()
    axes.bar(x, sampled, np.diff(x)[0], label="100,000 samples")
    axes.plot(x, expected, "k.-", label="change of variables")
    axes.set(xlabel="x = G(z)", ylabel="p_g(x)")
    _style.legend(axes)
