"""Eq. 4-6 and Theorem 1: the criterion, its divergences and its minimum."""

from collections.abc import Callable

import numpy as np
import scipy.special

from advnets.verify import criterion, families
from advnets.verify.registry import Fault, Finding, claim

LOG_4 = np.log(4.0)
PAIRS = 10_000


def _gap(p: np.ndarray, q: np.ndarray) -> float:
    """C + log 4 without cancellation, where p and q nearly agree too."""
    total = p + q
    u = np.divide(p - q, total, out=np.zeros_like(total), where=total > 0)
    inner = np.abs(u) < 1
    v = np.where(inner, u, 0.0)
    terms = np.where(inner, np.log1p(-(v**2)) + 2 * v * np.arctanh(v), 2 * np.log(2.0))
    return float(np.sum(total / 2 * terms))


def _worst(
    seed: int, residual: Callable[[np.ndarray, np.ndarray], float]
) -> tuple[float, dict, int]:
    """The largest residual over random pairs, the pair, and how many of them nearly agree."""
    rng = np.random.default_rng(seed)
    worst, example, near = -1.0, {}, 0
    for index in range(PAIRS):
        p, q = families.random_pair(rng)
        near += 0.5 * np.abs(p - q).sum() < 1e-2
        here = residual(p, q)
        if not here <= worst:
            worst, example = here, {"seed": seed, "pair": index, "p_data": p, "p_g": q}
            if np.isnan(here):
                break
    return worst, example, int(near)


@claim(
    "eq4-supremum",
    statement="The virtual criterion C(G) is the value of the game at the optimal discriminator, "
    "and no other discriminator does better.",
    source="Eq. 4",
    computes="For 10,000 random pairs: C(G) from Eq. 4 against V(D, G) summed over the grid in "
    "logits at log p_data - log p_g, and the excess of V at a randomly shifted D over C.",
    tolerance=1e-12,
    reason="Rounding of sums of 16 terms of size at most 40.",
    faults=[
        Fault(
            "D* with the ratio upside down",
            {"virtual_criterion": lambda p, q: _value_at(p, q, np.log(_odds(q, p)))},
        )
    ],
)
def eq4_supremum(
    seed: int,
    *,
    virtual_criterion: Callable = criterion.virtual_criterion,
    value_on_grid: Callable = criterion.value_on_grid,
) -> Finding:
    rng = np.random.default_rng([seed, 1])

    def residual(p: np.ndarray, q: np.ndarray) -> float:
        with np.errstate(divide="ignore", invalid="ignore"):
            logits = np.log(p) - np.log(q)
        logits[(p == 0) & (q == 0)] = 0
        best = virtual_criterion(p, q)
        shifted = np.clip(logits, -50, 50) + rng.normal(size=p.shape)
        excess = value_on_grid(p, q, shifted) - best
        return max(abs(value_on_grid(p, q, logits) - best), excess)

    worst, example, near = _worst(seed, residual)
    return Finding(worst, {"pairs": PAIRS, "nearly equal": near}, example)


def _odds(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    return np.maximum(p, 1e-300) / np.maximum(q, 1e-300)


def _value_at(p: np.ndarray, q: np.ndarray, logits: np.ndarray) -> float:
    return float(p @ scipy.special.log_expit(logits) + q @ scipy.special.log_expit(-logits))
