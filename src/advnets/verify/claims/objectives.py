"""Objectives since 2014: the best D of each, and the divergence that G then minimises."""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.optimize
import scipy.sparse
import scipy.special

from advnets.objectives import Hinge, LeastSquares, Objective, OnLogits, Relativistic, Wasserstein
from advnets.verify.claims import best_responses
from advnets.verify.claims.best_responses import Densities, Table
from advnets.verify.registry import Fault, Finding, claim, largest

PEARSON, USUAL = LeastSquares(-1, 1, 0), LeastSquares()
HINGE, PAIRS, WASSERSTEIN = Hinge(), Relativistic(), Wasserstein()
COUNT = f"{best_responses.PAIRS:,} random pairs of densities on {best_responses.CELLS} cells"
NO_BETTER = "how much less any D nearby costs, the error of the best D against its formula"
SUMS = "Rounding of sums of 36 terms of magnitude at most 200; bisection ends at 400 / 2^50."


def found_out(
    densities: Densities, errors: dict[str, np.ndarray], values: np.ndarray, divergences: np.ndarray
) -> Finding:
    """The finding of a claim on many pairs of densities.

    Args:
        densities: the pairs.
        errors: the deviations of each pair from the claim, by name.
        values: what G minimises, for each pair, at the D that was found.
        divergences: the divergence of each pair, by its formula.
    """
    each = np.max(list(errors.values()), axis=0)
    worst, not_least = int(np.argmax(each)), best_responses.not_least(densities, values)
    return Finding(
        largest(each[worst], not_least),
        {"pairs": len(each)} | {name: float(np.max(error)) for name, error in errors.items()},
        densities.pair(worst),
        functools.partial(_draw, densities, values, divergences),
    )


def _draw(densities: Densities, values: np.ndarray, divergences: np.ndarray, figure: Any) -> None:
    left, right = figure.subplots(1, 2)
    left.plot(divergences, values, ".", markersize=2)
    left.set(xlabel="divergence, by its formula", ylabel="what G minimises, at the D found")
    apart = densities.total_variation > best_responses.APART
    above = (values - values[: best_responses.EQUAL].min())[apart]
    right.loglog(densities.total_variation[apart], above, ".", markersize=2)
    right.set(xlabel="total variation", ylabel="the same, above its value for equal densities")


def triangular(p: Table, q: Table) -> np.ndarray:
    """Pearson's χ² between p + q and 2 q: Σ (p - q)² / (p + q)."""
    return np.asarray(np.sum((p - q) ** 2 / (p + q), axis=1))


def _half_forgotten(real: Any, fake: Any) -> Any:
    """Planted: D's least-squares cost without the factor 1/2 of one term."""
    return jnp.mean((real - 1) ** 2) + jnp.mean(fake**2) / 2


@claim(
    "ls-pearson",
    statement="The best D for least squares is (b p_data + a p_g) / (p_data + p_g). Against it, "
    "G's cost plus the same cost on data is half the Pearson χ² divergence between p_data + p_g "
    "and 2 p_g if b - c = 1 and b - a = 2; with the usual codes 0, 1, 1, it is 1/4 plus an eighth "
    "of that divergence. Both are least where p_g = p_data.",
    source="Mao et al. 2017, section 3 (codes as used: derived)",
    computes=f"For {COUNT} and both choices of codes: D by bisection of the slope of its expected "
    f"cost in each output. The residual is the largest of {NO_BETTER}, the error of D's cost "
    "against (b - a)² (1/4 - χ²/8), the error of what G minimises against the divergence, and the "
    "number of unequal pairs that cost no more than equal ones.",
    tolerance=1e-9,
    reason=SUMS,
    faults=[
        Fault("c off by 0.1", {"pearson": LeastSquares(-1, 1, 0.1)}),
        Fault(
            "the factor 1/2 of one term left out",
            {"usual": OnLogits(_half_forgotten, USUAL.generator_cost)},
        ),
        Fault(
            "the χ² divergence of p_data from p_g",
            {"divergence": lambda p, q: np.sum((p - q) ** 2 / q, axis=1)},
        ),
    ],
)
def ls_pearson(
    seed: int,
    *,
    pearson: Objective = PEARSON,
    usual: Objective = USUAL,
    divergence: Callable[[Table, Table], np.ndarray] = triangular,
) -> Finding:
    densities = best_responses.random_densities(seed)
    p, q = densities.p_data, densities.p_g
    chi2, values = divergence(p, q), np.zeros(0)
    errors: dict[str, np.ndarray] = {}
    for name, objective, (a, b), (factor, constant) in (
        ("0, 1, 1", usual, (0, 1), (1 / 8, 1 / 4)),
        ("-1, 1, 0", pearson, (-1, 1), (1 / 2, 0)),
    ):
        outputs = best_responses.by_bisection(objective, densities)
        found = best_responses.expected(objective, densities, outputs)
        values = found.generator + found.generator_on_data
        errors |= {
            f"{name}: D": np.abs(outputs - (b * p + a * q) / (p + q)).max(1),
            f"{name}: gain": best_responses.gained_nearby(objective, densities, outputs, seed),
            f"{name}: D's cost": np.abs(found.discriminator - (b - a) ** 2 * (1 / 4 - chi2 / 8)),
            f"{name}: G's cost": np.abs(values - (factor * chi2 + constant)),
        }
    return found_out(densities, errors, values, chi2)


@claim(
    "hinge-total-variation",
    statement="The best D for the hinge is 1 where p_data is greater than p_g and -1 elsewhere; "
    "its cost is 2 minus twice the total variation between p_data and p_g. Against it, G's cost "
    "plus E D over data is twice the total variation, which is least where p_g = p_data.",
    source="Lim and Ye 2017",
    computes=f"For {COUNT}: D by bisection of the slope of its expected cost in each output. The "
    f"residual is the largest of {NO_BETTER}, the errors of both costs against the total "
    "variation, and the number of unequal pairs that cost G no more than equal ones.",
    tolerance=1e-9,
    reason=SUMS,
    faults=[
        Fault(
            "a margin of 2 on generated examples",
            {
                "objective": OnLogits(
                    lambda real, fake: (
                        jnp.mean(jnp.maximum(0, 1 - real)) + jnp.mean(jnp.maximum(0, 2 + fake))
                    ),
                    lambda fake: -jnp.mean(fake),
                )
            },
        ),
        Fault(
            "the total variation without its factor 1/2",
            {"divergence": lambda p, q: np.abs(p - q).sum(1)},
        ),
    ],
)
def hinge_total_variation(
    seed: int,
    *,
    objective: Objective = HINGE,
    divergence: Callable[[Table, Table], np.ndarray] = lambda p, q: np.abs(p - q).sum(1) / 2,
) -> Finding:
    densities = best_responses.random_densities(seed)
    p, q = densities.p_data, densities.p_g
    outputs = best_responses.by_bisection(objective, densities)
    found = best_responses.expected(objective, densities, outputs)
    variation, values = divergence(p, q), found.generator - found.generator_on_data
    decided = np.abs(p - q) > 1e-12  # elsewhere any output from -1 to 1 is best
    errors = {
        "D": (np.abs(outputs - np.sign(p - q)) * decided).max(1),
        "gain": best_responses.gained_nearby(objective, densities, outputs, seed),
        "D's cost": np.abs(found.discriminator - (2 - 2 * variation)),
        "G's cost": np.abs(values - 2 * variation),
    }
    return found_out(densities, errors, values, variation)


def of_pairs(p: Table, q: Table) -> np.ndarray:
    """The Jensen-Shannon divergence between P × Q and Q × P, in nats."""
    there, back = p[:, :, None] * q[:, None, :], q[:, :, None] * p[:, None, :]
    mean = (there + back) / 2
    terms = scipy.special.rel_entr(there, mean) + scipy.special.rel_entr(back, mean)
    return np.asarray(terms.sum((1, 2)) / 2)


@claim(
    "relativistic-pairs",
    statement="The best D for relativistic pairs is log(p_data / p_g) plus any constant; log 2 "
    "minus its cost is the Jensen-Shannon divergence between pairs (x, G(z)) and (G(z), x), which "
    "is least where p_g = p_data.",
    source="Jolicoeur-Martineau 2019 (D* and the divergence: derived)",
    computes=f"For {COUNT}: D by Newton's method on its expected cost. The residual is the largest "
    f"of {NO_BETTER}, the error of its cost against the divergence of the products of the "
    "densities, and the number of unequal pairs whose value is not above that of equal ones.",
    tolerance=1e-9,
    reason="Rounding of sums of 36 terms; Newton's method converges to rounding.",
    faults=[
        Fault(
            "the divergence between the densities themselves",
            {
                "divergence": lambda p, q: (
                    (
                        scipy.special.rel_entr(p, (p + q) / 2)
                        + scipy.special.rel_entr(q, (p + q) / 2)
                    ).sum(1)
                    / 2
                )
            },
        ),
        Fault("the ratio inverted", {"best": lambda p, q: np.log(q) - np.log(p)}),
    ],
)
def relativistic_pairs(
    seed: int,
    *,
    objective: Objective = PAIRS,
    best: Callable[[Table, Table], Table] = lambda p, q: np.log(p) - np.log(q),
    divergence: Callable[[Table, Table], np.ndarray] = of_pairs,
) -> Finding:
    densities = best_responses.random_densities(seed)
    p, q = densities.p_data, densities.p_g
    outputs = best_responses.by_newton(objective, densities)
    found = best_responses.expected(objective, densities, outputs)
    ratio, between = best(p, q), divergence(p, q)
    values = np.log(2) - found.discriminator
    errors = {
        "D": np.abs(outputs - (ratio - ratio.mean(1, keepdims=True))).max(1),
        "gain": best_responses.gained_nearby(objective, densities, outputs, seed),
        "value": np.abs(values - between),
    }
    return found_out(densities, errors, values, between)


def _best_of_slope(coefficients: Table, gaps: Table, slope: float) -> Table:
    """The table with the least weighted sum, among those on the line with bounded slopes.

    One linear programme over all pairs. It suffices to bound the slopes between neighbours: the
    triangle inequality bounds all others.
    """
    pairs, cells = coefficients.shape
    one = scipy.sparse.diags([-np.ones(cells), np.ones(cells - 1)], [0, 1], (cells - 1, cells))
    differences = scipy.sparse.block_diag([one] * pairs, format="csr")
    limits = slope * gaps.reshape(-1)
    # Tiny weights would count as 0; the pairs are independent, so each may be scaled.
    largest_weight = np.abs(coefficients).max(1, keepdims=True)
    weights = coefficients / np.where(largest_weight > 0, largest_weight, 1)
    bounds = np.full((pairs, cells, 2), [-np.inf, np.inf])
    bounds[:, 0] = 0  # a constant changes nothing
    solved = scipy.optimize.linprog(
        weights.reshape(-1),
        scipy.sparse.vstack([differences, -differences]),
        np.concatenate([limits, limits]),
        bounds=bounds.reshape(-1, 2),
        method="highs",
    )
    return np.asarray(solved.x).reshape(pairs, cells)


@claim(
    "wasserstein-distance",
    statement="Among discriminators whose slope is nowhere above 1, the best has minus the "
    "Wasserstein distance between p_data and p_g as its cost. Against it, G's cost plus E D over "
    "data is that distance, which is least where p_g = p_data.",
    source="Arjovsky et al. 2017, Eq. 2",
    computes=f"For {COUNT} at random places on the line: D by a linear programme with the slopes "
    "of its expected cost. The residual is the largest of the errors of both costs against the "
    "area between the distribution functions, and the number of unequal pairs that cost G no more "
    "than equal ones.",
    tolerance=1e-9,
    reason="Rounding; a vertex of the linear programme is exact up to rounding.",
    faults=[
        Fault("slopes up to 2", {"slope": 2.0}),
        Fault(
            "cells at equal distances",
            {"distance": lambda p, q, gaps: np.abs(np.cumsum(p - q, 1)[:, :-1]).sum(1)},
        ),
        Fault(
            "G with the sign of D's cost",
            {"objective": OnLogits(WASSERSTEIN.discriminator_cost, lambda fake: jnp.mean(fake))},
        ),
    ],
)
def wasserstein_distance(
    seed: int,
    *,
    objective: Objective = WASSERSTEIN,
    slope: float = 1.0,
    distance: Callable[[Table, Table, Table], np.ndarray] = lambda p, q, gaps: (
        np.abs(np.cumsum(p - q, 1)[:, :-1]) * gaps
    ).sum(1),
) -> Finding:
    densities = best_responses.random_densities(seed)
    p, q = densities.p_data, densities.p_g
    gaps = np.random.default_rng([seed, 43]).uniform(0.2, 2, (len(p), p.shape[1] - 1))
    # The cost is linear: its slopes are the same at any D.
    slopes = best_responses.expected(objective, densities, np.zeros(p.shape)).slopes
    outputs = _best_of_slope(slopes, gaps, slope)
    found = best_responses.expected(objective, densities, outputs)
    by_area, values = distance(p, q, gaps), found.generator - found.generator_on_data
    errors = {
        "D's cost": np.abs(found.discriminator + by_area),
        "G's cost": np.abs(values - by_area),
    }
    return found_out(densities, errors, values, by_area)
