"""Proposition 2: the criterion as a function of p_g, its gradient, and descent along it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

from advnets import _style
from advnets.verify import criterion, descent, traceable
from advnets.verify.registry import Fault, Finding, claim, largest, worse

RATES = (0.1, 0.25, 0.5, 0.75, 1.0)
POSITIVE = "a generator density that is positive wherever p_data is"


def _random(
    rng: np.random.Generator, count: int, cells: int, powers: tuple[int, int] = (1, 9)
) -> np.ndarray:
    """Probability vectors, one per row; the higher the power, the more their masses differ."""
    values = rng.exponential(size=(count, cells)) ** rng.integers(*powers, size=(count, 1))
    return values / values.sum(-1, keepdims=True)


def _emptied(rng: np.random.Generator, p: np.ndarray, share: float = 0.4) -> np.ndarray:
    """Probability vectors with that share of their cells emptied, but never the largest."""
    largest = p == p.max(-1, keepdims=True)
    values = np.where(largest | (rng.random(p.shape) > share), p, 0.0)
    return values / values.sum(-1, keepdims=True)


def _starts(rng: np.random.Generator, count: int, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Targets, every third with empty cells, and starts that are positive everywhere."""
    data = _random(rng, count, cells)
    data[::3] = _emptied(rng, data[::3])
    return data, _random(rng, count, cells)


def _near(rng: np.random.Generator, p: np.ndarray) -> np.ndarray:
    """Probability vectors whose cells differ from these by factors of 1 + 1e-1 to 1 + 1e-9."""
    sizes = 10.0 ** -rng.integers(1, 10, size=(len(p), 1))
    values = p * np.exp(sizes * rng.normal(size=p.shape))
    return values / values.sum(-1, keepdims=True)


def _logs(p: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The logarithms of D* and 1 - D*, for any number of positive (or complex) densities."""
    return np.log(p / (p + q)), np.log(q / (p + q))


def _blunt_logs(p: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Planted: the same for a discriminator that is not the best one."""
    return np.log(p / (p + 2 * q)), np.log(2 * q / (p + 2 * q))


def _derivative(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """The derivative of U in p_g, at the maximising D."""
    return _logs(p, q)[1]


def _compared(
    found: np.ndarray, expected: np.ndarray, data: np.ndarray, model: np.ndarray
) -> Finding:
    """A finding on gradients, one per row: the largest difference over the largest component."""
    apart = np.abs(found - expected).max(-1) / np.abs(expected).max(-1)
    worst = int(np.argmax(apart))
    example = {"p_data": data[worst], "p_g": model[worst], "gradient": found[worst]}
    return Finding(float(apart[worst]), {"pairs": len(data)}, example)


@claim(
    "prop2-affine",
    statement="For a fixed D, U(p_g, D) = V(D, G) is affine in p_g, and therefore convex.",
    source="Proposition 2, proof",
    computes="For 1,000 random draws of three densities, logits of D and t in [0, 1]: U at the "
    "mixture (1 - t) p + t q against the mixture (1 - t) U(p) + t U(q).",
    tolerance=1e-13,
    reason="Rounding of sums of 16 terms of magnitude at most 20.",
    faults=[
        Fault(
            "a D that is optimal for p_g instead of fixed",
            {"value_on_grid": lambda data, p, logits: criterion.virtual_criterion(data, p)},
        ),
        Fault(
            "p_g replaced by its normalised square",
            {
                "value_on_grid": lambda data, p, logits: criterion.value_on_grid(
                    data, p**2 / np.sum(p**2), logits
                )
            },
        ),
    ],
)
def prop2_affine(seed: int, *, value_on_grid: Callable = criterion.value_on_grid) -> Finding:
    rng = np.random.default_rng([seed, 21])
    data, p, q = (_random(rng, 1000, 16) for _ in range(3))
    logits, t = 3 * rng.normal(size=p.shape), rng.random(1000)
    worst, example = -1.0, {}
    for i in range(1000):
        mixture = (1 - t[i]) * p[i] + t[i] * q[i]
        ends = [value_on_grid(data[i], one[i], logits[i]) for one in (p, q)]
        here = abs(
            value_on_grid(data[i], mixture, logits[i]) - (1 - t[i]) * ends[0] - t[i] * ends[1]
        )
        if worse(here, worst):
            worst = here
            example = {"p_data": data[i], "p": p[i], "q": q[i], "logits": logits[i], "t": t[i]}
    return Finding(float(worst), {"segments": 1000}, example)


@claim(
    "prop2-convex",
    statement="The supremum over D of U(p_g, D) is convex in p_g.",
    source="Proposition 2, proof",
    computes="For 2,000 random pairs of densities p and q, half of them close, and t in [0, 1]: by "
    "how much C at the mixture (1 - t) p + t q exceeds the mixture of C(p) and C(q), computed from "
    "gaps to the minimum, without cancellation.",
    tolerance=1e-14,
    reason="Rounding of sums of 16 positive terms that add up to at most log 4.",
    faults=[
        Fault(
            "D* with the ratio inverted",
            {
                "supremum": lambda p, q: float(
                    np.sum(p * np.log(q / (p + q)) + q * np.log(p / (p + q)))
                )
            },
        ),
        Fault(
            "the wrong sign of the criterion",
            {"supremum": lambda p, q: -criterion.suboptimality(p, q)},
        ),
    ],
)
def prop2_convex(seed: int, *, supremum: Callable = criterion.suboptimality) -> Finding:
    rng = np.random.default_rng([seed, 22])
    data, p, q = (_random(rng, 2000, 16) for _ in range(3))
    q[::2] = _near(rng, p[::2])
    t = rng.random(2000)
    worst, example = -1.0, {}
    for i in range(2000):
        middle = supremum(data[i], (1 - t[i]) * p[i] + t[i] * q[i])
        here = middle - (1 - t[i]) * supremum(data[i], p[i]) - t[i] * supremum(data[i], q[i])
        if worse(here, worst):
            worst, example = here, {"p_data": data[i], "p": p[i], "q": q[i], "t": t[i]}
    return Finding(largest(worst, 0.0), {"segments": 2000}, example)


@claim(
    "prop2-envelope",
    statement="The derivative of sup_D U(p_g, D) in p_g is the derivative of U at the maximising "
    "D, log(1 - D*).",
    source="Proposition 2, proof",
    computes="For 1,000 random pairs: the derivative of p_g -> U(p_g, D*(p_g)) in each of 12 "
    "cells, by a complex step of 1e-20 of the cell's mass, which involves no difference, against "
    "log(1 - D*); relative to the largest component.",
    tolerance=1e-10,
    reason="A few roundings of 1e-16 of the largest component, with a margin.",
    condition="densities that are positive in every cell",
    faults=[
        Fault("the wrong sign of the gradient", {"derivative": lambda p, q: -_derivative(p, q)}),
        Fault("the derivative at a D that is not the maximiser", {"logs": _blunt_logs}),
        Fault("D* with the ratio inverted", {"derivative": lambda p, q: _derivative(q, p)}),
    ],
)
def prop2_envelope(
    seed: int, *, logs: Callable = _logs, derivative: Callable = _derivative
) -> Finding:
    rng = np.random.default_rng([seed, 23])
    data, model = _random(rng, 1000, 12, (1, 6)), _random(rng, 1000, 12, (1, 6))
    step = 1e-20 * model
    moved = model[:, None, :] + 1j * step[:, None, :] * np.eye(12)  # pair, cell moved, cell
    real, fake = logs(data[:, None, :], moved)
    values = np.sum(data[:, None, :] * real + moved * fake, -1)
    return _compared(values.imag / step, derivative(data, model), data, model)


def _newton(data: jax.Array, model: jax.Array, iterations: int) -> jax.Array:
    """U at its maximum in D's logits, from 0: at most about one step per unit of a logit."""

    def iterate(logits: jax.Array, _: None) -> tuple[jax.Array, None]:
        real, fake = jax.nn.sigmoid(logits), jax.nn.sigmoid(-logits)
        slope = data * fake - model * real
        return logits + slope / ((data + model) * real * fake), None

    logits, _ = jax.lax.scan(iterate, jnp.zeros_like(model), None, iterations)
    return traceable.value_on_grid(data, model, logits)


@claim(
    "prop2-envelope-newton",
    statement="The derivative of the maximum over D is the derivative of U at the maximising D, "
    "however the maximum is found.",
    source="Proposition 2, proof",
    computes="For 300 random pairs: jax.grad through 60 Newton steps that maximise U in D's "
    "logits, in float64, against log(1 - D*); relative to the largest component.",
    tolerance=1e-8,
    reason="Newton's method converges quadratically, so the maximiser is exact to rounding.",
    condition="densities that are positive in every cell",
    faults=[
        Fault("a D stopped after one step, short of the maximiser", {"iterations": 1}),
        Fault("the wrong sign of the gradient", {"derivative": lambda p, q: -_derivative(p, q)}),
        Fault("D* with the ratio inverted", {"derivative": lambda p, q: _derivative(q, p)}),
    ],
)
def prop2_envelope_newton(
    seed: int, *, iterations: int = 60, derivative: Callable = _derivative
) -> Finding:
    rng = np.random.default_rng([seed, 24])
    data, model = _random(rng, 300, 12, (1, 4)), _random(rng, 300, 12, (1, 4))
    with jax.enable_x64(True):
        gradient = jax.jit(jax.vmap(jax.grad(lambda p, q: _newton(p, q, iterations), argnums=1)))
        found = np.asarray(gradient(jnp.asarray(data), jnp.asarray(model)))
    return _compared(found, derivative(data, model), data, model)


@claim(
    "prop2-subgradient",
    statement="The derivative of U at the maximising D is a subgradient of sup_D U: the supremum "
    "is nowhere below its tangent there.",
    source="Proposition 2, proof",
    computes="For 5,000 random triples of p_data, p and q, half of them with p and q close: by how "
    "much sup U(p) + <log(1 - D*_p), q - p> exceeds sup U(q), computed from gaps to the minimum.",
    tolerance=1e-13,
    reason="Rounding of an inner product of 16 terms, with logarithms up to 100.",
    condition=POSITIVE,
    faults=[
        Fault("the wrong sign of the gradient", {"derivative": lambda p, q: -_derivative(p, q)}),
        Fault(
            "the derivative at a D that is not the maximiser",
            {"derivative": lambda p, q: _blunt_logs(p, q)[1]},
        ),
        Fault("D* with the ratio inverted", {"derivative": lambda p, q: _derivative(q, p)}),
    ],
)
def prop2_subgradient(seed: int, *, derivative: Callable = _derivative) -> Finding:
    rng = np.random.default_rng([seed, 25])
    data, p = _starts(rng, 5000, 16)
    q = _random(rng, 5000, 16)
    q[::2] = _near(rng, p[::2])
    slope = derivative(np.maximum(data, 1e-300), p)
    tangent = descent.gap(data, p) + np.sum(slope * (q - p), -1)
    excess = tangent - descent.gap(data, q)
    worst = int(np.argmax(excess))
    example = {"p_data": data[worst], "p": p[worst], "q": q[worst]}
    return Finding(largest(excess[worst], 0.0), {"triples": 5000}, example)


def _quotients(criterion_of: Callable, data: np.ndarray, model: np.ndarray) -> np.ndarray:
    """Difference quotients of the criterion towards a point mass in the first cell."""
    point = np.eye(len(model))[0]
    sizes = 10.0 ** -np.arange(4, 9)
    start = criterion_of(data, model)
    return np.array([(criterion_of(data, (1 - h) * model + h * point) - start) / h for h in sizes])


def _clipped(data: np.ndarray, model: np.ndarray) -> float:
    real = np.clip(data / (data + model), 1e-3, 1 - 1e-3)
    return float(data @ np.log(real) + model @ np.log(1 - real))


_by_jax = jax.jit(jax.grad(traceable.virtual_criterion, argnums=1))


@claim(
    "prop2-empty-cell",
    statement="Where p_g = 0 < p_data, the derivative of the criterion in p_g is -infinity, so "
    "there is no gradient to descend.",
    source="Proposition 2, proof: a case that it leaves out",
    computes="For 100 random pairs with such a cell: the difference quotients of C as mass h moves "
    "there, for h = 1e-4 to 1e-8, which must fall by log 10 each time that h is divided by 10. For "
    "each pair, log(1 - D*) and jax.grad of C in that cell must be -infinity.",
    tolerance=1e-2,
    reason="The remainders of the quotients are of order h / p_data, at most 1e-4 / 0.02, and "
    "their rounding is 1e-16 / h; both are compared with log 10 = 2.3.",
    faults=[
        Fault(
            "D clipped to [0.001, 0.999], as implementations do", {"virtual_criterion": _clipped}
        ),
        Fault(
            "a floor under the logarithm in the gradient",
            {"gradient": lambda p, q: jnp.log(jnp.maximum(q / (p + q), 1e-12))},
        ),
        Fault(
            "D* kept below 1",
            {"optimal_discriminator": lambda p, q: p / (p + q + 1e-12)},
        ),
    ],
)
def prop2_empty_cell(
    seed: int,
    *,
    virtual_criterion: Callable = criterion.virtual_criterion,
    optimal_discriminator: Callable = criterion.optimal_discriminator,
    gradient: Callable = _by_jax,
) -> Finding:
    rng = np.random.default_rng([seed, 26])
    worst, example, reached = -1.0, {}, 0.0
    pairs = rng.random((2, 100, 8)) + 0.2
    pairs[1, :, 0] = 0.0
    pairs /= pairs.sum(-1, keepdims=True)
    with jax.enable_x64(True):
        slopes = np.asarray(jax.vmap(gradient)(*map(jnp.asarray, pairs)))[:, 0]
    for data, model, slope in zip(*pairs, slopes, strict=True):
        quotients = _quotients(virtual_criterion, data, model)
        here = largest(*np.abs(np.diff(quotients) + np.log(10.0)))
        with np.errstate(divide="ignore"):
            by_formula = np.log(1 - optimal_discriminator(data, model)[0])
        if not by_formula == slope == -np.inf:
            here = np.inf
        if worse(here, worst):
            worst, example = here, {"p_data": data, "p_g": model, "quotients": quotients}
            reached = float(quotients[-1])
    return Finding(worst, {"pairs": 100, "quotient at 1e-8, worst pair": reached}, example)


def _gap_paths(
    step: Callable, data: np.ndarray, model: np.ndarray, rate: Any, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """The gaps along the steps from each start, one path per column, and the last densities."""
    gaps = [descent.gap(data, model)]
    with np.errstate(all="ignore"):  # planted faults overflow
        for _ in range(steps):
            model = step(data, model, rate)
            gaps.append(descent.gap(data, model))
    return np.array(gaps), model


def _step_along(sign: float, upside_down: bool = False, normalised: bool = True) -> Callable:
    """Mirror steps from their definition, with a fault."""

    def step(data: np.ndarray, model: np.ndarray, rate: Any) -> np.ndarray:
        fake = (data if upside_down else model) / np.maximum(data + model, 1e-300)
        moved = model * np.exp(-sign * rate * np.log(np.maximum(fake, 1e-100)))
        return moved / moved.sum(-1, keepdims=True) if normalised else moved

    return step


WRONG_SIGN = Fault("the wrong sign of the gradient", {"step": _step_along(-1.0)})
UPSIDE_DOWN = Fault("D* with the ratio inverted", {"step": _step_along(1.0, upside_down=True)})
NOT_NORMALISED = Fault("the normaliser Z left out", {"step": _step_along(1.0, normalised=False)})


@claim(
    "prop2-monotone",
    statement="With D at its optimum, each update of p_g improves the criterion.",
    source="Proposition 2",
    computes="From 3,000 random starts, a third of them with cells that contain no data, at rates "
    "drawn from (0, 1]: the largest rise of the gap in any of 60 steps of mirror descent.",
    tolerance=1e-14,
    reason="Rounding of gaps of at most log 4.",
    condition="mirror descent at a rate of at most 1; larger steps can overshoot",
    faults=[
        WRONG_SIGN,
        NOT_NORMALISED,
        Fault(
            "three times the rate, beyond 1",
            {"step": lambda data, model, rate: _step_along(1.0)(data, model, 3 * rate)},
        ),
    ],
)
def prop2_monotone(seed: int, *, step: Callable = descent.mirror_step) -> Finding:
    rng = np.random.default_rng([seed, 27])
    data, model = _starts(rng, 3000, 12)
    rate = 1 - rng.random((3000, 1))
    gaps, _ = _gap_paths(step, data, model, rate, 60)
    rises = np.diff(gaps, axis=0).max(0)
    worst = int(np.argmax(rises))
    example = {"p_data": data[worst], "p_0": model[worst], "rate": float(rate[worst, 0])}
    return Finding(largest(rises[worst], 0.0), {"starts": 3000, "steps": 60}, example)


@claim(
    "prop2-bound",
    statement="The descent converges at a known rate: the gap after t steps of rate eta is at most "
    "KL(p_data || p_0) / (eta t).",
    source="Proposition 2, made quantitative",
    computes="From 2,000 random starts, at rates of 0.1 to 1: the gap times eta t / KL, which must "
    "be at most 1 after each of 200 steps.",
    tolerance=1e-12,
    reason="Rounding of a quotient of at most 1. From these starts it reaches at most about 0.35, "
    "so half of this bound would hold for them too.",
    condition=POSITIVE,
    faults=[
        Fault(
            "steps at a fifth of the rate",
            {"step": lambda data, model, rate: descent.mirror_step(data, model, rate / 5)},
        ),
        WRONG_SIGN,
        UPSIDE_DOWN,
        NOT_NORMALISED,
    ],
)
def prop2_bound(seed: int, *, step: Callable = descent.mirror_step) -> Finding:
    rng = np.random.default_rng([seed, 28])
    data, model = _starts(rng, 2000, 12)
    rate = rng.choice(RATES, size=(2000, 1))
    gaps, _ = _gap_paths(step, data, model, rate, 200)
    divergence = scipy.special.rel_entr(data, model).sum(-1)
    shares = gaps[1:] * rate[:, 0] * np.arange(1, 201)[:, None] / divergence
    worst = int(np.argmax(shares.max(0)))
    tightest = float(shares.max())
    example = {"p_data": data[worst], "p_0": model[worst], "rate": float(rate[worst, 0])}

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for number, eta in enumerate(RATES):
            start = int(np.flatnonzero(rate[:, 0] == eta)[0])
            times = np.arange(1, 201)
            bound = divergence[start] / (eta * times)
            axes.loglog(times, gaps[1:, start], color=f"C{number}", label=f"rate {eta:g}")
            axes.loglog(times, bound, "--", color=f"C{number}", linewidth=0.8)
        axes.set(
            xlabel="step",
            ylabel="C + log 4 (nats)",
            ylim=(1e-16, 100),
            title="Mirror descent from random starts; dashed: the bound",
        )
        _style.legend(axes)

    residual = largest(tightest - 1, 0.0)
    return Finding(
        residual, {"starts": 2000, "largest share of the bound": tightest}, example, draw
    )


def _measured_factors(gaps: np.ndarray) -> np.ndarray:
    """Each path's last quotient of successive gaps before they fall below 1e-24."""
    last = np.maximum(np.sum(gaps > 1e-24, axis=0) - 1, 1)
    starts = np.arange(gaps.shape[1])
    factors = gaps[last, starts] / gaps[last - 1, starts]
    return np.where(np.isfinite(gaps).all(0), factors, np.nan)


@claim(
    "prop2-rate",
    statement="Asymptotically, each step of rate eta multiplies the gap by (1 - eta/2)^2, or by "
    "2^-eta if p_data is 0 in cells where p_0 is not.",
    source="Proposition 2, made quantitative",
    computes="From 100 random starts, with and without cells that contain no data, at rates 0.1, "
    "0.25, 0.5, 0.75 and 1, and from one of them by verify.mirror_descent itself: the quotient of "
    "successive gaps at about 1e-24 against the factor, as a relative error.",
    tolerance=1e-2,
    reason="The remainder of the faster modes when the gap is at 1e-24.",
    condition=POSITIVE,
    faults=[
        Fault(
            "the factor of the density, not of the gap",
            {"factor": lambda rate, empty: np.sqrt(descent.asymptotic_factor(rate, empty))},
        ),
        Fault(
            "empty cells ignored",
            {"factor": lambda rate, empty: descent.asymptotic_factor(rate, False)},
        ),
        Fault(
            "a rate that is 5 % too small",
            {"step": lambda data, model, rate: descent.mirror_step(data, model, 0.95 * rate)},
        ),
        Fault(
            "a mirror_descent that ignores its rate",
            {"descend": lambda p, q, rate, steps: descent.mirror_descent(p, q, steps=steps)},
        ),
        UPSIDE_DOWN,
    ],
)
def prop2_rate(
    seed: int,
    *,
    factor: Callable = descent.asymptotic_factor,
    step: Callable = descent.mirror_step,
    descend: Callable = descent.mirror_descent,
) -> Finding:
    rng = np.random.default_rng([seed, 29])
    full = rng.random((100, 8)) + 0.05
    full /= full.sum(-1, keepdims=True)
    model = _random(rng, 100, 8, (1, 4))
    emptied = full.copy()
    emptied[:, :2] = 0
    emptied /= emptied.sum(-1, keepdims=True)
    worst, measured, example = -1.0, {}, {}
    found = np.zeros((2, len(RATES)))
    for empty, data in enumerate((full, emptied)):
        for column, rate in enumerate(RATES):
            gaps, _ = _gap_paths(step, data, model, rate, 700)
            one = descend(data[-1], model[-1], rate=rate, steps=700).gaps
            factors = _measured_factors(np.column_stack([gaps, one]))
            apart = np.abs(factors / factor(rate, bool(empty)) - 1)
            here, start = float(apart.max()), min(int(np.argmax(apart)), len(data) - 1)
            found[empty, column] = np.median(factors)
            name = f"factor at {rate:g}" + (", empty cells" if empty else "")
            measured[name] = float(found[empty, column])
            if worse(here, worst):
                worst, example = here, {"p_data": data[start], "p_0": model[start], "rate": rate}

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        rates = np.linspace(0.02, 1, 50)
        for empty, name in enumerate(("(1 - eta/2)^2", "2^-eta, empty cells")):
            line = [descent.asymptotic_factor(float(rate), bool(empty)) for rate in rates]
            axes.plot(rates, line, color=f"C{empty}", label=f"predicted: {name}")
            axes.plot(RATES, found[empty], "o", color=f"C{empty}", label="measured")
        axes.set(xlabel="rate eta", ylabel="factor of the gap per step", ylim=(0, 1))
        _style.legend(axes)

    return Finding(worst, measured, example, draw)


@claim(
    "prop2-reach",
    statement="p_g converges to p_data.",
    source="Proposition 2",
    computes="From 2,000 random starts that are positive everywhere, with masses down to 1e-300, "
    "at rates from 0.2 to 1: the largest gap after 300 steps of mirror descent.",
    tolerance=1e-10,
    reason="The required accuracy; the factor 2^-eta alone gives 1e-18.",
    condition=POSITIVE + ", and steps that do not shrink to 0",
    faults=[WRONG_SIGN, UPSIDE_DOWN, NOT_NORMALISED],
)
def prop2_reach(seed: int, *, step: Callable = descent.mirror_step) -> Finding:
    rng = np.random.default_rng([seed, 30])
    data, model = _starts(rng, 2000, 12)
    model[::10, 0] = 1e-300
    model /= model.sum(-1, keepdims=True)
    rate = 0.2 + 0.8 * rng.random((2000, 1))
    gaps, found = _gap_paths(step, data, model, rate, 300)
    worst = int(np.argmax(gaps[-1]))
    example = {
        "p_data": data[worst],
        "p_0": model[worst],
        "rate": float(rate[worst, 0]),
        "p_g": found[worst],
    }
    measured = {
        "starts": 2000,
        "largest total variation": float(np.abs(found - data).sum(-1).max() / 2),
        "smallest mass at the start": float(model.min()),
    }
    return Finding(float(gaps[-1].max()), measured, example)


def _limit_gap(covered: np.ndarray) -> np.ndarray:
    """C + log 4 if p_g is p_data restricted to cells with this share of it, renormalised."""
    return (
        covered * np.log(2 * covered / (1 + covered))
        + (1 - covered) * np.log(2.0)
        + np.log(2 / (1 + covered))
    )


@claim(
    "prop2-empty-start",
    statement="A cell where the initial p_g is 0 but p_data is not is never filled by mirror "
    "descent: p_g converges to p_data restricted to the cells it started with.",
    source="Proposition 2: what its starting density must satisfy",
    computes="From 500 random starts with empty cells: after 300 steps, the distance of p_g from "
    "the restricted p_data, and the distance of the gap from s log(2s/(1+s)) + (1-s) log 2 + "
    "log(2/(1+s)), where s < 1 is the share of p_data that the start covers.",
    tolerance=1e-12,
    reason="Rounding: each step of rate 1 multiplies errors by 1/(1+s), less than 0.82.",
    faults=[
        Fault(
            "cells refilled by adding 1e-12",
            {"step": lambda data, model, rate: descent.mirror_step(data, model + 1e-12, rate)},
        ),
        Fault("p_data itself as the limit", {"limit_gap": lambda covered: 0 * covered}),
    ],
)
def prop2_empty_start(
    seed: int, *, step: Callable = descent.mirror_step, limit_gap: Callable = _limit_gap
) -> Finding:
    rng = np.random.default_rng([seed, 31])
    data, model = _random(rng, 500, 12, (1, 3)), _random(rng, 500, 12)
    model[:, 0] = 0
    model[:, 1:8] *= rng.random((500, 7)) < 0.5
    model /= model.sum(-1, keepdims=True)
    data[:, -1] += 0.3
    data /= data.sum(-1, keepdims=True)
    kept = data * (model > 0)
    covered = kept.sum(-1)
    gaps, found = _gap_paths(step, data, model, 1.0, 300)
    apart = np.abs(found - kept / covered[:, None]).max(-1)
    apart = np.maximum(apart, np.abs(gaps[-1] - limit_gap(covered)))
    worst = int(np.argmax(apart))
    example = {"p_data": data[worst], "p_0": model[worst], "p_g": found[worst]}
    measured = {"starts": 500, "smallest limit of the gap": float(gaps[-1].min())}

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        shares = np.linspace(0.01, 1, 100)
        axes.plot(shares, _limit_gap(shares), label="computed")
        axes.plot(covered, gaps[-1], ".", markersize=3, label="after 300 steps")
        axes.set(xlabel="share of p_data that the start covers", ylabel="C + log 4 (nats)")
        _style.legend(axes)

    return Finding(float(apart[worst]), measured, example, draw)


@claim(
    "prop2-projected",
    statement="p_g also converges to p_data by gradient steps on p_g.",
    source="Proposition 2",
    computes="From 30 random starts, half of them with empty cells, to targets of which a third "
    "have empty cells and whose other masses are at least 0.01: the largest gap after 300 steps of "
    "projected gradient with floored logarithms and backtracking, and the largest rise in a step. "
    "Also measured: the gaps left after as many steps for five targets with smaller masses.",
    tolerance=1e-10,
    reason="As for mirror descent; no rate is claimed.",
    condition="data masses of 0 or at least 0.01: cells with less data can stop the descent far "
    "from p_data",
    faults=[
        Fault(
            "the wrong sign of the gradient",
            {"gradient": lambda p, q: -descent.criterion_gradient(p, q, 1e-12)},
        ),
        Fault(
            "D* with the ratio inverted",
            {"gradient": lambda p, q: np.log(np.maximum(p / (p + q + 1e-300), 1e-12))},
        ),
    ],
)
def prop2_projected(
    seed: int, *, gradient: Callable = lambda p, q: descent.criterion_gradient(p, q, 1e-12)
) -> Finding:
    rng = np.random.default_rng([seed, 32])
    data, model = 0.01 + 0.92 * _random(rng, 30, 8, (1, 5)), _random(rng, 30, 8, (1, 4))
    data[::3] = _emptied(rng, data[::3])
    model[::2] = _emptied(rng, model[::2])
    worst, example, paths = -1.0, {}, []
    for p, q in zip(data, model, strict=True):
        _, gaps = descent.projected_steps(p, q, 300, gradient)
        paths.append(gaps)
        here = largest(gaps[-1], *np.diff(gaps))
        if worse(here, worst):
            worst, example = here, {"p_data": p, "p_0": q}

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for gaps in paths:
            axes.semilogy(gaps, color="C0", linewidth=0.6)
        axes.set(xlabel="step", ylabel="C + log 4 (nats)", title="Projected gradient")

    sparse = _random(rng, 5, 12, (4, 5))
    left = [descent.projected_steps(p, np.full(12, 1 / 12), 300, gradient)[1] for p in sparse]
    measured = {
        "starts": 30,
        "most steps": max(map(len, paths)) - 1,
        "smallest data mass": float(data[data > 0].min()),
        "smaller masses: the smallest": float(sparse.min()),
        "smaller masses: largest gap left": max(gaps[-1] for gaps in left),
        "smaller masses: least gap left": min(gaps[-1] for gaps in left),
    }
    return Finding(float(worst), measured, example, draw)
