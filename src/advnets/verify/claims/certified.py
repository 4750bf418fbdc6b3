"""Eq. 2 and Eq. 4-6 proved for random rational densities, in exact and in ball arithmetic.

Masses are exact rationals. A logarithm of one is a ball of 200 bits that is certain to contain the
true number, so a statement about whole balls is a proof for that pair of densities.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from advnets._extras import needed_for
from advnets.verify import criterion, densities, families
from advnets.verify.claims.theorem_1 import CANCELLATION
from advnets.verify.registry import Fault, Finding, claim, largest, worse

BITS = 200
PAIRS = 1_000
CELLS = 8
# python-flint has no types: exact rationals (fmpq) and balls (arb).
Rational = Any
Ball = Any
Masses = list[Rational]


@functools.cache
def _flint() -> Any:
    with needed_for("the certified claims", "verify"):
        import flint
    return flint


def random_rationals(seed: int, pairs: int = PAIRS) -> Iterator[tuple[Masses, Masses]]:
    """Pairs of rational probability vectors, of five kinds in turn, all with sums of exactly 1.

    The kinds are unrelated, nearly equal, with partly disjoint supports, equal and disjoint.
    """
    fmpq = _flint().fmpq
    rng = np.random.default_rng(seed)

    def normalised(weights: list[int]) -> Masses:
        return [fmpq(w, sum(weights)) for w in weights]

    for index in range(pairs):
        p = [int(w) for w in rng.integers(1, 10 ** rng.integers(1, 13), CELLS, endpoint=True)]
        q = [int(w) for w in rng.integers(1, 10 ** rng.integers(1, 13), CELLS, endpoint=True)]
        half = [int(cell) < CELLS // 2 for cell in rng.permutation(CELLS)]
        match index % 5:
            case 1:
                q = [
                    10**12 * w + int(e)
                    for w, e in zip(p, rng.integers(0, 10**9, CELLS), strict=True)
                ]
            case 2:
                p = [w * bool(rng.integers(3)) for w in p[1:]] + [1]
                q = [1] + [w * bool(rng.integers(3)) for w in q[1:]]
            case 3:
                q = p
            case 4:
                p = [w * h for w, h in zip(p, half, strict=True)]
                q = [w * (not h) for w, h in zip(q, half, strict=True)]
        yield normalised(p), normalised(q)


def rational_discriminator(a: Rational, b: Rational) -> Rational:
    return a / (a + b)


def _upside_down(a: Rational, b: Rational) -> Rational:
    return b / (a + b)


def _xlogy(x: Rational, y: Rational) -> Ball:
    """x log y, with 0 log 0 = 0; not finite if y is 0 and x is not."""
    arb = _flint().arb
    return arb(x) * arb(y).log() if x != 0 else arb(0)


def enclosed_criterion(p: Masses, q: Masses, discriminator: Callable) -> Ball:
    """C by Eq. 4."""
    arb = _flint().arb
    total = arb(0)
    for a, b in zip(p, q, strict=True):
        if a + b != 0:
            y = discriminator(a, b)
            total += _xlogy(a, y) + _xlogy(b, 1 - y)
    return total


def _gap(p: Masses, q: Masses) -> Ball:
    """C + log 4 by Eq. 4, with log 2 added to each logarithm, so sums need not be 1."""
    arb = _flint().arb
    total = arb(0)
    for a, b in zip(p, q, strict=True):
        if a + b != 0:
            total += _xlogy(a, 2 * a / (a + b)) + _xlogy(b, 2 * b / (a + b))
    return total


def _kullback_leibler(p: Masses, q: Masses) -> Ball:
    arb = _flint().arb
    return sum((_xlogy(a, a) - _xlogy(a, b) for a, b in zip(p, q, strict=True)), arb(0))


def _jensen_shannon(p: Masses, q: Masses) -> Ball:
    """From entropies: H(m) - H(p)/2 - H(q)/2."""
    arb = _flint().arb

    def entropy(masses: Masses) -> Ball:
        return -sum((_xlogy(a, a) for a in masses), arb(0))

    return entropy(_mean(p, q)) - (entropy(p) + entropy(q)) / 2


def _mean(p: Masses, q: Masses) -> Masses:
    return [(a + b) / 2 for a, b in zip(p, q, strict=True)]


def _radius_about_zero(ball: Ball) -> float:
    """The radius of the ball if it contains 0, else infinite."""
    return float(ball.rad()) if ball.is_finite() and ball.contains(0) else float("inf")


def _not_below_zero(ball: Ball, equality: bool) -> float:
    """0 if the whole ball is above 0; its radius if it should contain 0 and does; else infinite."""
    return _radius_about_zero(ball) if equality else 0.0 if ball > 0 else float("inf")


def _worst(seed: int, residual: Callable[[Masses, Masses], float]) -> tuple[float, dict, dict]:
    """The largest residual over random pairs, its pair, and counts, at 200 bits."""
    ctx = _flint().ctx
    worst, example, refuted, unequal = -1.0, {}, 0, 0
    with ctx.workprec(BITS):
        for index, (p, q) in enumerate(random_rationals(seed)):
            here = residual(p, q)
            refuted += here == float("inf")
            unequal += p != q
            if worse(here, worst):
                exact = {"p_data": [str(a) for a in p], "p_g": [str(b) for b in q]}
                worst, example = here, {"seed": seed, "pair": index, **exact}
    return worst, {"pairs": PAIRS, "unequal": unequal, "refuted": refuted}, example


@claim(
    "certified-discriminator",
    statement="D* = p_data / (p_data + p_g) maximises the game's integrand in each cell.",
    source="Eq. 2, Proposition 1",
    computes="For 1,000 random rational pairs, in exact rationals: the derivative a/y - b/(1-y) of "
    "a log y + b log(1-y) at y = D*, where the second derivative must be below 0. In a cell that "
    "only one density occupies, D* must be the end 1 or 0 of the interval.",
    tolerance=0.0,
    reason="The arithmetic is exact.",
    needs="flint",
    faults=[
        Fault("D* with the ratio inverted", {"discriminator": _upside_down}),
        Fault(
            "D* off by 1e-40",
            {"discriminator": lambda a, b: (a + (a * b != 0) * (a + b) / 10**40) / (a + b)},
        ),
    ],
)
def certified_discriminator(
    seed: int, *, discriminator: Callable = rational_discriminator
) -> Finding:
    def in_cell(a: Rational, b: Rational) -> float:
        y = discriminator(a, b)
        if a * b == 0:
            # One term alone is monotone: its maximum is at the end.
            return abs(float(y - (1 if b == 0 else 0)))
        if not 0 < y < 1 or not -a / y**2 - b / (1 - y) ** 2 < 0:
            return float("inf")
        return abs(float(a / y - b / (1 - y)))

    def residual(p: Masses, q: Masses) -> float:
        return largest(*(in_cell(a, b) for a, b in zip(p, q, strict=True) if a + b != 0))

    return Finding(*_worst(seed, residual))


@claim(
    "certified-eq5",
    statement="C(G) is exactly -log 4 + KL(p_data || m) + KL(p_g || m), where m is the mean of the "
    "two densities.",
    source="Eq. 5",
    computes="For 1,000 random rational pairs, with balls of 200 bits: C by Eq. 4 at the exact D*, "
    "minus the right-hand side of Eq. 5. The residual is the ball's radius if the ball contains 0, "
    "and infinite if it does not.",
    tolerance=1e-50,
    reason="200 bits are 60 digits; the sums lose few of them.",
    needs="flint",
    faults=[
        Fault("log 2 instead of log 4", {"constant": 2}),
        Fault("D* with the ratio inverted", {"discriminator": _upside_down}),
        Fault(
            "the divergences with their arguments swapped",
            {"kullback_leibler": lambda p, q: _kullback_leibler(q, p)},
        ),
    ],
)
def certified_eq5(
    seed: int,
    *,
    constant: int = 4,
    discriminator: Callable = rational_discriminator,
    kullback_leibler: Callable = _kullback_leibler,
) -> Finding:
    arb = _flint().arb

    def residual(p: Masses, q: Masses) -> float:
        mean = _mean(p, q)
        right = kullback_leibler(p, mean) + kullback_leibler(q, mean) - arb(constant).log()
        return _radius_about_zero(enclosed_criterion(p, q, discriminator) - right)

    return Finding(*_worst(seed, residual))


@claim(
    "certified-eq6",
    statement="C(G) is exactly -log 4 plus twice the Jensen-Shannon divergence between the two "
    "densities.",
    source="Eq. 6",
    computes="For 1,000 random rational pairs, with balls of 200 bits: C by Eq. 4 at the exact D*, "
    "minus the right-hand side of Eq. 6, from entropies. The residual is the ball's radius if the "
    "ball contains 0, and infinite if it does not.",
    tolerance=1e-50,
    reason="200 bits are 60 digits; the sums lose few of them.",
    needs="flint",
    faults=[
        Fault("the divergence once instead of twice", {"factor": 1}),
        Fault("log 2 instead of log 4", {"constant": 2}),
        Fault("D* with the ratio inverted", {"discriminator": _upside_down}),
    ],
)
def certified_eq6(
    seed: int,
    *,
    factor: int = 2,
    constant: int = 4,
    discriminator: Callable = rational_discriminator,
) -> Finding:
    arb = _flint().arb

    def residual(p: Masses, q: Masses) -> float:
        right = factor * _jensen_shannon(p, q) - arb(constant).log()
        return _radius_about_zero(enclosed_criterion(p, q, discriminator) - right)

    return Finding(*_worst(seed, residual))


@claim(
    "certified-range",
    statement="C(G) lies between -log 4 and 0. It is -log 4 only for equal densities, and its "
    "distance from -log 4 is bounded above and below by functions of their total variation.",
    source="Theorem 1",
    computes="For 1,000 random rational pairs, with balls of 200 bits: whole balls must satisfy "
    "-log 4 < C < 0 and TV² < C + log 4 < 2 log 2 TV, with TV the total variation in exact "
    "rationals. Where exact arithmetic says that equality must hold (equal densities, disjoint "
    "supports), the ball must contain 0, and its radius is the residual.",
    tolerance=1e-50,
    reason="200 bits are 60 digits; the sums lose few of them.",
    needs="flint",
    faults=[
        Fault("log 2 instead of log 4", {"constant": 2}),
        Fault("D* with the ratio inverted", {"discriminator": _upside_down}),
        Fault("the total variation without its factor 1/2", {"half": 1}),
    ],
)
def certified_range(
    seed: int, *, constant: int = 4, half: int = 2, discriminator: Callable = rational_discriminator
) -> Finding:
    arb = _flint().arb

    def residual(p: Masses, q: Masses) -> float:
        c = enclosed_criterion(p, q, discriminator)
        gap = c + arb(constant).log()
        distance = sum(abs(a - b) for a, b in zip(p, q, strict=True)) / half
        cells = list(zip(p, q, strict=True))
        equal, disjoint = p == q, all(a * b == 0 for a, b in cells)
        at_the_bound = all(a == b or a * b == 0 for a, b in cells)
        return largest(
            _not_below_zero(gap, equal),
            _not_below_zero(-c, disjoint),
            _not_below_zero(gap - arb(distance**2), equal),
            _not_below_zero(2 * arb(2).log() * arb(distance) - gap, at_the_bound),
        )

    return Finding(*_worst(seed, residual))


@claim(
    "certified-float64",
    statement="The library's D*, C(G), divergences and gap in float64 agree with the paper's "
    "formulas.",
    source="Eq. 2, Eq. 4-6",
    computes="For 1,000 random pairs of float64 vectors with sums within 5e-7 of 1, taken as exact "
    "rationals and divided by their sums: the distance of each library function's value from the "
    "far end of its enclosure at 200 bits, divided by 1 plus its absolute value; for D*, the "
    "distance of each cell from the exact rational, divided by that. An infinite divergence must "
    "be infinite. The gap C + log 4, however small, is compared by its relative error, for the "
    "masses as the library rounds them after that division.",
    tolerance=1e-14,
    reason="45 units of rounding: sums of 16 terms, each with a few roundings; the terms of the "
    "gap are nonnegative. (Rounding the masses changes a small gap by more than its own "
    "computation does.)",
    needs="flint",
    faults=[
        Fault(
            "single precision",
            {
                "virtual_criterion": lambda p, q: float(
                    np.float32(criterion.virtual_criterion(p, q))
                )
            },
        ),
        Fault(
            "log(p + 1e-12) in the divergence's logarithms",
            {"kullback_leibler": lambda p, q: float(p @ (np.log(p + 1e-12) - np.log(q + 1e-12)))},
        ),
        Fault(
            "D* with 1e-12 added to its denominator",
            {"optimal_discriminator": lambda p, q: p / (p + q + 1e-12)},
        ),
        Fault(
            "a criterion that grows with the sum of p_data",
            {"virtual_criterion": lambda p, q: criterion.virtual_criterion(p, q) * p.sum()},
        ),
        Fault(
            "the Jensen-Shannon divergence in bits",
            {"jensen_shannon": lambda p, q: criterion.jensen_shannon(p, q) / np.log(2)},
        ),
        Fault(
            "nearly equal densities treated as equal",
            {
                "suboptimality": lambda p, q: (
                    criterion.suboptimality(p, q) if np.abs(p - q).sum() > 1e-8 else 0.0
                )
            },
        ),
        CANCELLATION,
    ],
)
def certified_float64(
    seed: int,
    *,
    optimal_discriminator: Callable = criterion.optimal_discriminator,
    virtual_criterion: Callable = criterion.virtual_criterion,
    kullback_leibler: Callable = criterion.kullback_leibler,
    jensen_shannon: Callable = criterion.jensen_shannon,
    suboptimality: Callable = criterion.suboptimality,
) -> Finding:
    arb, ctx, fmpq = _flint().arb, _flint().ctx, _flint().fmpq

    def rationals(values: np.ndarray) -> Masses:
        return [fmpq(*float(x).as_integer_ratio()) for x in values]

    def exact(values: np.ndarray) -> Masses:
        numbers = rationals(values)
        total = sum(numbers)
        return [x / total for x in numbers]

    def error(value: float, ball: Ball, offset: int = 1) -> float:
        if not ball.is_finite():
            return 0.0 if value == float("inf") else float("inf")
        if not np.isfinite(value):
            return float("inf")
        return float((arb(value) - ball).abs_upper() / (offset + abs(ball)))

    def in_cell(value: float, a: Rational, b: Rational) -> float:
        if not np.isfinite(value):
            return float("inf")
        true = a / (a + b)
        difference = abs(fmpq(*float(value).as_integer_ratio()) - true)
        return float(difference / true if true != 0 else difference)

    rng = np.random.default_rng([seed, 1])
    errors = dict.fromkeys(("D*", "C", "KL", "JSD", "C + log 4"), 0.0)
    worst, infinite = -1.0, 0
    example: dict = {}
    with ctx.workprec(BITS):
        for index in range(PAIRS):
            p, q = (x * rng.uniform(1 - 5e-7, 1 + 5e-7) for x in families.random_pair(rng))
            data, model = exact(p), exact(q)
            c, divergence = (
                enclosed_criterion(data, model, rational_discriminator),
                _kullback_leibler(data, model),
            )
            infinite += not divergence.is_finite()
            balls = (
                (virtual_criterion, "C", c),
                (kullback_leibler, "KL", divergence),
                (jensen_shannon, "JSD", _jensen_shannon(data, model)),
            )
            here = {name: error(function(p, q), ball) for function, name, ball in balls}
            rounded = (rationals(densities.masses("p", x)) for x in (p, q))
            here["C + log 4"] = error(suboptimality(p, q), _gap(*rounded), offset=0)
            cells = zip(optimal_discriminator(p, q), data, model, strict=True)
            here["D*"] = largest(*(in_cell(y, a, b) for y, a, b in cells if a + b != 0))
            errors = {name: largest(errors[name], here[name]) for name in errors}
            if worse(largest(*here.values()), worst):
                worst = largest(*here.values())
                example = {"seed": seed, "pair": index, "p_data": p, "p_g": q}
    measured = {"pairs": PAIRS, "infinite divergences": infinite, **errors}
    return Finding(worst, measured, example)
