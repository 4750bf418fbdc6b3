"""Proposition 1: the optimal discriminator, found by optimisation."""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.special
import scipy.stats
from jaxtyping import Array, Key

from advnets import _style
from advnets.networks import maxout_discriminator
from advnets.players import judge
from advnets.verify import criterion, families
from advnets.verify.registry import Fault, Finding, claim, largest, worse


def _bisect(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The logit l that maximises a log σ(l) + b log σ(-l): where its derivative changes sign."""
    scale = np.maximum(a, b)  # only the ratio matters; this keeps products from underflowing
    a, b = a / scale, b / scale
    low, high = np.full(a.shape, -1500.0), np.full(a.shape, 1500.0)
    for _ in range(100):
        middle = (low + high) / 2
        rising = a * scipy.special.expit(-middle) > b * scipy.special.expit(middle)
        low, high = np.where(rising, middle, low), np.where(rising, high, middle)
    return (low + high) / 2


def _weights(seed: int, n: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Random pairs (a, b), half of them with values down to 1e-300."""
    rng = np.random.default_rng([seed, 3])
    exponents = rng.uniform(-300, 0, (2, n)) * np.where(np.arange(n) % 2, 1, 0.01)
    a, b = 10.0**exponents
    return a, b


@claim(
    "prop1-maximiser",
    statement="For fixed weights a and b, y -> a log y + b log(1 - y) has its maximum at a / (a + "
    "b).",
    source="Proposition 1 (proof)",
    computes="For 20,000 pairs (a, b) between 1e-300 and 1: the logit where the derivative changes "
    "sign, by bisection, against log a - log b.",
    tolerance=1e-8,
    reason="Bisection ends at 3000 / 2^100; logarithms of ratios up to 1e300 round at 1e-13.",
    condition="a, b ≥ 0, not both 0 (the paper says all of R² except the origin)",
    faults=[
        Fault("the ratio inverted", {"logit": lambda a, b: np.log(b) - np.log(a)}),
        Fault(
            "the odds instead of their logarithm",
            {"logit": lambda a, b: np.exp(np.clip(np.log(a) - np.log(b), -99, 99))},
        ),
    ],
)
def prop1_maximiser(seed: int, *, logit: Callable = lambda a, b: np.log(a) - np.log(b)) -> Finding:
    a, b = _weights(seed)
    errors = np.abs(_bisect(a, b) - logit(a, b))
    worst = int(np.argmax(errors))
    return Finding(
        float(errors[worst]),
        {"pairs": a.size},
        {"a": float(a[worst]), "b": float(b[worst])},
        _draw_maxima,
    )


def _draw_maxima(figure: Any) -> None:
    axes = figure.subplots()
    y = np.linspace(1e-3, 1 - 1e-3, 999)
    for a, b in ((1, 1), (3, 1), (1, 9), (1, 0)):
        axes.plot(y, a * np.log(y) + b * np.log1p(-y), label=f"a={a}, b={b}")
        top = a / (a + b)
        axes.plot(top, scipy.special.xlogy(a, top) + scipy.special.xlogy(b, 1 - top), "ko")
    axes.set(xlabel="y", ylabel="a log y + b log(1 - y)", ylim=(-8, 0.5))
    _style.legend(axes, "dots: a / (a + b)")


@claim(
    "prop1-optimal-discriminator",
    statement="For a fixed generator, the optimal discriminator is p_data / (p_data + p_g).",
    source="Proposition 1, Eq. 2",
    computes="Two densities on 20,000 cells with values down to 1e-300: D* from the library, and 1 "
    "- D* with the densities swapped, against each cell's maximiser by bisection.",
    tolerance=1e-12,
    reason="Logits of magnitude 700 round at 1e-13, and so do the ratios of their exponentials.",
    faults=[
        Fault(
            "the ratio inverted",
            {"optimal_discriminator": lambda p, q: criterion.optimal_discriminator(q, p)},
        ),
        Fault(
            "the ratio of the densities, without their sum",
            {"optimal_discriminator": lambda p, q: p / np.maximum(q, p)},
        ),
    ],
)
def prop1_optimal_discriminator(
    seed: int, *, optimal_discriminator: Callable = criterion.optimal_discriminator
) -> Finding:
    a, b = _weights(seed)
    p, q = a / a.sum(), b / b.sum()
    logits = _bisect(p, q)
    errors = np.abs(optimal_discriminator(p, q) - scipy.special.expit(logits))
    errors += np.abs(optimal_discriminator(q, p) - scipy.special.expit(-logits))
    worst = int(np.argmax(errors))
    example = {"p_data": float(p[worst]), "p_g": float(q[worst])}
    return Finding(float(errors[worst]), {"cells": p.size}, example)


def _clipped_value(limit: float) -> Callable:
    """Planted: V of logits that are clipped at a limit."""

    def value(p: np.ndarray, q: np.ndarray, logits: np.ndarray) -> float:
        return criterion.value_on_grid(p, q, np.clip(logits, -limit, limit))

    return value


@claim(
    "prop1-boundary",
    statement="Where only one of the densities is positive, the optimum is at the boundary: D = 1 "
    "where only p_data is, D = 0 where only p_g is.",
    source="Proposition 1 (proof)",
    computes="The number of steps in the wrong direction that a log y + b log(1 - y) takes over "
    "10,000 values of y, for a = 0 and for b = 0; the error of the library's D* there; and the "
    "number of wrong values of the game on two disjoint cells, for logits of magnitude 60, 800 and "
    "infinity with the right signs (V within 1e-25 of 0) and with the wrong ones (V is -2 times "
    "the magnitude).",
    tolerance=0.0,
    reason="Counts, and exact values: log(1 + e^-60) is below the rounding of 60.",
    faults=[
        Fault(
            "D* = 1/2 wherever a density is 0",
            {"optimal_discriminator": lambda p, q: np.where((p == 0) | (q == 0), 0.5, 1.0)},
        ),
        Fault("logits clipped at 30", {"value_on_grid": _clipped_value(30)}),
        Fault("logits clipped at 745", {"value_on_grid": _clipped_value(745)}),
    ],
)
def prop1_boundary(
    seed: int,
    *,
    optimal_discriminator: Callable = criterion.optimal_discriminator,
    value_on_grid: Callable = criterion.value_on_grid,
) -> Finding:
    y = np.linspace(0, 1, 10_001)
    wrong = 0
    for a, b in ((1.0, 0.0), (1e-300, 0.0), (0.0, 1.0), (0.0, 1e-300)):
        values = scipy.special.xlogy(a, y) + scipy.special.xlog1py(b, -y)
        wrong += int(np.sum(np.diff(values) * np.sign(a - b) <= 0))
    best = optimal_discriminator(np.array([0.4, 0.0, 0.6]), np.array([0.0, 1.0, 0.0]))
    p, q, right = np.array([1.0, 0.0]), np.array([0.0, 1.0]), np.array([1.0, -1.0])
    sizes = (60.0, 800.0, np.inf)
    values = sum(
        int(not abs(value_on_grid(p, q, size * right)) < 1e-25)
        + int(value_on_grid(p, q, -size * right) != -2 * size)
        for size in sizes
    )
    measured = {"steps of wrong sign": wrong, "wrong values": values}
    return Finding(float(wrong + values + np.abs(best - [1, 0, 1]).sum()), measured)


@claim(
    "prop1-domain",
    statement="The paper states the maximum for all (a, b) except the origin. That is too general: "
    "if both are negative, a / (a + b) is the minimum, and if their signs differ, it is outside "
    "(0, 1) and the maximum is at an end.",
    source="Proposition 1 (proof)",
    computes="For 2,100 random pairs, a third each with both negative, only b negative and only a "
    "negative, on 999 points of (0, 1): how many contradict this. With both negative: a / (a + b) "
    "is not in (0, 1), or a value is more than 1e-12 below the value there. With different signs: "
    "a / (a + b) is in (0, 1), or the function does not rise throughout for a > 0, or fall for a < "
    "0.",
    tolerance=0.0,
    reason="A count; the corrected statement has no exceptions.",
    faults=[
        Fault("positive weights included", {"weights": lambda rng: rng.normal(size=(2100, 2))}),
        Fault("a and b swapped", {"point": lambda a, b: b / (a + b)}),
    ],
)
def prop1_domain(
    seed: int,
    *,
    weights: Callable = lambda rng: (
        rng.exponential(size=(2100, 2)) * np.tile([[-1, -1], [1, -1], [-1, 1]], (700, 1))
    ),
    point: Callable = lambda a, b: a / (a + b),
) -> Finding:
    rng = np.random.default_rng([seed, 4])
    y = np.linspace(0, 1, 1001)[1:-1]
    wrong, example = 0, {}
    pairs = weights(rng)
    for a, b in pairs:
        best = point(a, b)
        values = a * np.log(y) + b * np.log1p(-y)
        if np.sign(a) == np.sign(b):
            right = 0 < best < 1 and bool(
                a * np.log(best) + b * np.log1p(-best) <= values.min() + 1e-12
            )
        else:
            right = not 0 < best < 1 and bool((np.diff(values) * a > 0).all())
        if not right:
            wrong, example = wrong + 1, {"a": float(a), "b": float(b)}
    return Finding(float(wrong), {"pairs": len(pairs)}, example)


@claim(
    "prop1-free-discriminator",
    statement="Gradient ascent on an unrestricted discriminator reaches the optimal one.",
    source="Proposition 1, Proposition 2 (its premise)",
    computes="For 100 random pairs of densities on 16 cells: 4,000 steps of ascent on V in the "
    "logits of all cells, from random starts; the largest |D - D*|.",
    tolerance=1e-8,
    reason="Each step multiplies the slowest cell's error by 0.9 or less.",
    faults=[
        Fault("descent", {"sign": -1.0}),
        Fault("the generator's term left out", {"fake_weight": 0.0}),
    ],
)
def prop1_free_discriminator(seed: int, *, sign: float = 1.0, fake_weight: float = 1.0) -> Finding:
    rng = np.random.default_rng([seed, 5])
    p, q = rng.uniform(0.2, 1, (2, 100, 16))
    p, q = p / p.sum(1, keepdims=True), q / q.sum(1, keepdims=True)
    logits = rng.normal(size=p.shape) * 3
    step = 4 / (p + q).max(1, keepdims=True)
    for _ in range(4000):
        gradient = p * scipy.special.expit(-logits) - fake_weight * q * scipy.special.expit(logits)
        logits = logits + sign * step * gradient
    best = np.stack([criterion.optimal_discriminator(*pair) for pair in zip(p, q, strict=True)])
    errors = np.abs(scipy.special.expit(logits) - best)
    worst = int(np.argmax(errors.max(1)))
    return Finding(float(errors.max()), {"pairs": 100}, {"p_data": p[worst], "p_g": q[worst]})


STEPS, EVERY, STARTS = 3000, 100, 7
WIDTHS = (1, 2, 8)


@claim(
    "prop1-maxout",
    statement="A discriminator network with enough capacity, trained long enough, approaches the "
    "optimal one.",
    source="Section 4 (first paragraph), Proposition 1",
    computes="Maxout networks with 1, 2 and 8 units per layer, 7 random starts each, trained by "
    "Adam on V over a grid of 200 cells: the median gap C - V of the widest networks, in nats, or "
    "infinity if a narrower width leaves a smaller one.",
    tolerance=5e-3,
    reason="A tenth of the narrow networks' gaps; C - V ≥ 0 by Eq. 4.",
    condition="enough units and steps for the tolerance",
    faults=[
        Fault("the narrowest networks alone", {"widths": WIDTHS[:1]}),
        Fault("the widths in descending order", {"widths": WIDTHS[::-1]}),
        Fault("a hundredth of the learning rate", {"rate": 5e-5}),
    ],
)
def prop1_maxout(seed: int, *, widths: tuple[int, ...] = WIDTHS, rate: float = 5e-3) -> Finding:
    grid = families.Grid(((-4.0, 4.0),), (200,))
    p = families.gaussian_mixture(grid, [-1.5, 0.0, 1.5], 0.35) * grid.cell_volume
    q = families.gaussian_mixture(grid, [0.0], 1.2) * grid.cell_volume
    best = criterion.virtual_criterion(p, q)
    curves = {}
    for width in widths:
        logits = _train(jax.random.split(jax.random.key(seed), STARTS), width, grid, p, q, rate)
        values = [[criterion.value_on_grid(p, q, step) for step in start] for start in logits]
        curves[width] = best - np.median(values, axis=0)
    gaps = {width: float(curve[-1]) for width, curve in curves.items()}
    ordered = all(gaps[a] > gaps[b] for a, b in itertools.pairwise(widths))
    return Finding(
        gaps[widths[-1]] if ordered else np.inf,
        {f"gap, {width} units": gap for width, gap in gaps.items()},
        {"seed": seed},
        functools.partial(_draw_curves, curves),
    )


def _draw_curves(curves: dict[int, np.ndarray], figure: Any) -> None:
    axes = figure.subplots()
    for width, curve in curves.items():
        axes.semilogy(np.arange(1, len(curve) + 1) * EVERY, curve, label=str(width))
    axes.set(xlabel="steps", ylabel="gap C - V of the median network, nats")
    _style.legend(axes, "units per layer")


def _train(
    keys: Key[Array, " starts"],
    width: int,
    grid: families.Grid,
    p: np.ndarray,
    q: np.ndarray,
    rate: float,
) -> np.ndarray:
    """The logits on the grid after every 100th step, of a network for each key."""
    x = jnp.asarray(grid.points[0], jnp.float32)[:, None]
    real_weights, fake_weights = jnp.asarray(p, jnp.float32), jnp.asarray(q, jnp.float32)
    rule = optax.adam(optax.cosine_decay_schedule(rate, STEPS))

    def cost(network: Any) -> Array:
        logits = judge(jax.random.key(0), network, x)
        real, fake = jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits)
        return -jnp.sum(real_weights * real + fake_weights * fake)

    def step(carry: Any, _: None) -> tuple[Any, None]:
        network, state = carry
        updates, state = rule.update(eqx.filter_grad(cost)(network), state)
        return (eqx.apply_updates(network, updates), state), None

    def start(key: Key[Array, ""]) -> Array:
        network = maxout_discriminator(
            key,
            (1,),
            units=(width, width),
            pieces=2,
            weight_range=0.5,
            input_keep=1.0,
            hidden_keep=1.0,
        )
        arrays, static = eqx.partition(network, eqx.is_inexact_array)

        def chunk(carry: Any, _: None) -> tuple[Any, Array]:
            (network, state), _ = jax.lax.scan(
                step, (eqx.combine(carry[0], static), carry[1]), length=EVERY
            )
            return (eqx.filter(network, eqx.is_inexact_array), state), judge(key, network, x)

        _, logits = jax.lax.scan(chunk, (arrays, rule.init(arrays)), length=STEPS // EVERY)
        return logits

    return np.asarray(jax.jit(jax.vmap(start))(keys), np.float64)


@claim(
    "prop1-outside-supports",
    statement="The discriminator need not be defined where neither density is positive: its values "
    "there do not affect V.",
    source="Proposition 1 (proof)",
    computes="V for 1,000 random discriminators, before and after their logits in empty cells are "
    "replaced by huge and infinite ones: the largest change.",
    tolerance=0.0,
    reason="Empty cells contribute exactly 0.",
    faults=[
        Fault(
            "logits in cells with p_data alone replaced too",
            {"empty": lambda p, q: q == 0},
        )
    ],
)
def prop1_outside_supports(
    seed: int,
    *,
    empty: Callable = lambda p, q: (p == 0) & (q == 0),
    value_on_grid: Callable = criterion.value_on_grid,
) -> Finding:
    rng = np.random.default_rng([seed, 6])
    worst, example = 0.0, {}
    for _ in range(1000):
        p, q = rng.exponential(size=(2, 12)) * (rng.random((2, 12)) < 0.5)
        p[0] = q[1] = 1.0
        p[2] = q[2] = q[3] = 0.0
        p[3] = 1.0
        p, q = p / p.sum(), q / q.sum()
        logits = rng.normal(size=12)
        changed = np.where(empty(p, q), rng.choice([-np.inf, -1e4, 1e4, np.inf], 12), logits)
        here = abs(value_on_grid(p, q, changed) - value_on_grid(p, q, logits))
        if worse(here, worst):
            worst, example = here, {"p_data": p, "p_g": q, "logits": logits, "changed": changed}
    return Finding(float(worst), {"discriminators": 1000}, example)


@claim(
    "prop1-log-likelihood",
    statement="The discriminator's objective is the log-likelihood of P(Y = y | x), where Y tells "
    "data from generated examples and both are equally likely; its optimum is the posterior "
    "probability.",
    source="Proposition 1 (text after Eq. 3)",
    computes="For 1,000 random pairs and discriminators: V / 2 against the expectation, over the "
    "joint distribution of x and Y, of SciPy's Bernoulli log-probabilities; and D* against Bayes' "
    "rule.",
    tolerance=1e-12,
    reason="Rounding of sums of 32 terms.",
    faults=[
        Fault("V instead of V / 2", {"factor": 1.0}),
        Fault("data twice as likely as generated examples", {"prior": 2 / 3}),
    ],
)
def prop1_log_likelihood(
    seed: int,
    *,
    factor: float = 0.5,
    prior: float = 0.5,
    optimal_discriminator: Callable = criterion.optimal_discriminator,
) -> Finding:
    rng = np.random.default_rng([seed, 7])
    worst, example = 0.0, {}
    for _ in range(1000):
        p, q = rng.dirichlet(np.full(16, 0.5), 2)
        joint = np.stack([(1 - prior) * q, prior * p])  # rows: Y = 0, Y = 1
        logits = rng.normal(size=16) * 2
        probabilities = scipy.stats.bernoulli.logpmf([[0], [1]], scipy.special.expit(logits))
        likelihood = np.sum(joint * probabilities)
        posterior = joint[1] / joint.sum(0)
        here = largest(
            abs(factor * criterion.value_on_grid(p, q, logits) - likelihood),
            float(np.max(np.abs(optimal_discriminator(p, q) - posterior))),
        )
        if worse(here, worst):
            worst, example = here, {"p_data": p, "p_g": q, "logits": logits}
    return Finding(worst, {"pairs": 1000}, example)
