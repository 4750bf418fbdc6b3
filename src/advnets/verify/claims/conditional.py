"""Section 7's first extension: the conditional model, and what Theorem 1 says about it."""

from collections.abc import Callable
from typing import Any

import numpy as np

from advnets.verify import criterion
from advnets.verify.registry import Fault, Finding, claim, largest, worse

LOG_4 = np.log(4.0)
TABLES = 500


def _tables(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """p(c), p_data(x|c) and p_g(x|c): a random number of classes and of cells, some of them empty.

    Some tables nearly agree in every class, and some agree in all but one.
    """
    classes, cells = rng.integers(2, 6), rng.integers(2, 8)
    of_c = rng.dirichlet(np.full(classes, rng.choice([0.3, 1.0, 10.0])))
    data, model = (rng.dirichlet(np.full(cells, rng.choice([0.1, 1.0])), classes) for _ in range(2))
    kind = rng.integers(4)
    if kind == 0:
        model = data + 1e-3 * (model - data)
    elif kind == 1:
        model[1:] = data[1:]
    elif kind == 2:
        model[:] = model[0]  # a generator that ignores c
    return of_c, data, model


def _joint(of_c: np.ndarray, given: np.ndarray) -> np.ndarray:
    """p(x, c), the distribution that a discriminator of pairs sees."""
    return of_c[:, None] * given


def _without_c(of_c: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Planted: p(x), the distribution that a discriminator without c sees."""
    return of_c @ given


@claim(
    "conditional-theorem-1",
    statement="With c given to both players, C(G) is -log 4 plus twice the expectation over c of "
    "the Jensen-Shannon divergence between p_data(x|c) and p_g(x|c). It is least, -log 4, if and "
    "only if they agree for every c that occurs.",
    source="Section 7, extension 1, by Theorem 1",
    computes="For 500 random tables of 2 to 5 classes and 2 to 7 cells: Eq. 4 on the joint "
    "probabilities of (x, c), from D*(x, c), against the sum over c of p(c) times the divergence "
    "of the conditionals, from entropies; the same without cancellation; Eq. 4 against the value "
    "of the game at D*(x|c), class by class; and -log 4 for each table against a copy of itself.",
    tolerance=1e-12,
    reason="Rounding of sums of up to 35 terms.",
    faults=[
        Fault("a discriminator without c", {"seen": _without_c}),
        Fault(
            "every class with the same weight",
            {"weight": lambda of_c: np.full(of_c.shape, 1 / of_c.size)},
        ),
        Fault("the divergence once instead of twice", {"factor": 1.0}),
    ],
)
def conditional_theorem_1(
    seed: int,
    *,
    seen: Callable[[np.ndarray, np.ndarray], np.ndarray] = _joint,
    weight: Callable[[np.ndarray], np.ndarray] = lambda of_c: of_c,
    factor: float = 2.0,
) -> Finding:
    rng = np.random.default_rng([seed, 7])
    worst = -1.0
    example: dict[str, Any] = {}
    ignoring, farthest = 0, 0.0
    for table in range(TABLES):
        of_c, data, model = _tables(rng)
        joint, model_joint = seen(of_c, data), seen(of_c, model)
        weights = weight(of_c)
        whole = criterion.virtual_criterion(joint, model_joint)
        pairs = list(zip(weights, data, model, strict=True))
        expected = factor * sum(p * criterion.jensen_shannon(d, g) for p, d, g in pairs)
        exactly = factor / 2 * sum(p * criterion.suboptimality(d, g) for p, d, g in pairs)
        with np.errstate(divide="ignore", invalid="ignore"):
            logits = np.log(data) - np.log(model)  # D*(x|c), which does not depend on p(c)
        logits[(data == 0) & (model == 0)] = 0
        by_class = sum(
            p * criterion.value_on_grid(d, g, own)
            for (p, d, g), own in zip(pairs, logits, strict=True)
        )
        here = largest(
            abs(whole - (expected - LOG_4)),
            abs(criterion.suboptimality(joint, model_joint) - exactly),
            abs(whole - by_class),
            abs(criterion.virtual_criterion(joint, seen(of_c, data.copy())) + LOG_4),
            criterion.suboptimality(joint, seen(of_c, data.copy())),
        )
        if (model == model[0]).all():
            ignoring, farthest = ignoring + 1, max(farthest, expected)
        if worse(here, worst):
            worst = here
            example = {"table": table, "p(c)": of_c, "p_data(x|c)": data, "p_g(x|c)": model}
    measured = {
        "tables": TABLES,
        "whose generator ignores c": ignoring,
        "the farthest of these from its best, nats": farthest,
    }
    return Finding(worst, measured, {"seed": seed, **example})
