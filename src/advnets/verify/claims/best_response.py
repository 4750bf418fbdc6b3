"""Proposition 1 by training: a copy of D against a frozen G, as in the monitor of runs."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.special
from jaxtyping import Array, Float, Key

from advnets import _style, monitor
from advnets.players import Players
from advnets.priors import Prior
from advnets.verify import criterion
from advnets.verify.registry import Fault, Finding, claim, largest, worse

PAIRS, SYMBOLS, ROWS, LEAST, STEPS = 6, 8, 400, 8, 500
# The smallest curvature of V in a logit is about 0.01, the largest below 0.2.
RULE = optax.sgd(8.0)


class Table(eqx.Module):
    """A discriminator with one logit per symbol."""

    logits: Float[Array, " symbols"]

    def __call__(self, x: Float[Array, ""]) -> Float[Array, ""]:
        return self.logits[x.astype(int)]


class InTurn(Prior):
    """A prior that gives the numbers from 0 on: a batch is the same for every key."""

    size: int = eqx.field(static=True, default=1)

    def __call__(self, key: Key[Array, ""], n: int) -> Float[Array, " n 1"]:
        return jnp.arange(n, dtype=float)[:, None]


class Listed(eqx.Module):
    """A generator that goes through a list of symbols, so a batch has their exact proportions."""

    symbols: Float[Array, " rows"]

    def __call__(self, z: Float[Array, "1"]) -> Float[Array, ""]:
        return self.symbols[z[0].astype(int)]


def counts_of(rng: np.random.Generator) -> np.ndarray:
    """How often each symbol is in a list: a distribution with no small mass."""
    left = ROWS - SYMBOLS * LEAST
    return LEAST + rng.multinomial(left, rng.dirichlet(np.full(SYMBOLS, 0.7)))


@claim(
    "prop1-best-response",
    statement="A discriminator trained to convergence against a fixed generator reaches D* = "
    "p_data / (p_data + p_g), and V there is C(G).",
    source="Proposition 1, Eq. 4 and 6; Figure 1b",
    computes="6 pairs of distributions over 8 symbols, a D with one logit per symbol, and "
    "minibatches with the exact proportions of both distributions: "
    "`advnets.monitor.best_response`, by 500 steps of gradient ascent, against the criterion and "
    "the Jensen-Shannon divergence of the two vectors, and its D against D* symbol by symbol.",
    tolerance=5e-6,
    reason="Means of 400 rows in float32, and a gradient that is 0 to 1e-8.",
    condition="a D that can be any function, and minibatches with the distributions' proportions",
    faults=[
        Fault("V of the untrained D", {"best": lambda found: found.value.mean}),
        Fault(
            "log 2 instead of log 4 in the bound on the divergence",
            {"divergence": lambda found: (found.best_value.mean + math.log(2)) / 2},
        ),
        Fault(
            "D* with the ratio inverted",
            {"ratio": lambda p, q: criterion.optimal_discriminator(q, p)},
        ),
        Fault(
            "data and generated examples swapped for the copy of D",
            {"sides": lambda data, generated: (generated, data)},
        ),
    ],
)
def prop1_best_response(
    seed: int,
    *,
    best: Callable[[Any], float] = lambda found: found.best_value.mean,
    divergence: Callable[[Any], float] = lambda found: found.divergence.mean,
    ratio: Callable = criterion.optimal_discriminator,
    sides: Callable = lambda data, generated: (data, generated),
) -> Finding:
    rng = np.random.default_rng([seed, 71])
    worst, example = 0.0, {}
    shown: list[tuple[np.ndarray, ...]] = []
    for _ in range(PAIRS):
        counts = counts_of(rng), counts_of(rng)
        p, q = (count / ROWS for count in counts)
        lists = (np.repeat(np.arange(SYMBOLS, dtype=float), count) for count in counts)
        data, generated = (jnp.asarray(one, float) for one in sides(*lists))
        start = jnp.asarray(rng.normal(size=SYMBOLS), float)
        found = monitor.best_response(
            jax.random.key(seed),
            Players(Listed(generated), Table(start), InTurn()),
            data,
            jnp.repeat(data, 2),  # every other row has the same proportions
            rule=RULE,
            batch_size=ROWS,
            steps=STEPS,
            every=STEPS,
        )
        assert isinstance(found.discriminator, Table)
        on_symbols = scipy.special.expit(np.asarray(found.discriminator.logits, np.float64))
        criterion_there = criterion.virtual_criterion(p, q)
        here = largest(
            abs(best(found) - criterion_there),
            abs(divergence(found) - criterion.jensen_shannon(p, q)),
            np.abs(on_symbols - ratio(p, q)).max(),
        )
        shown.append((p, q, on_symbols))
        if worse(here, worst):
            worst, example = here, {"p_data": p, "p_g": q}
    return Finding(
        worst,
        {"pairs": PAIRS, "symbols": SYMBOLS},
        example,
        lambda figure: _draw(figure, shown),
    )


def _draw(figure: Any, shown: list[tuple[np.ndarray, ...]]) -> None:
    axes = figure.subplots()
    for p, q, on_symbols in shown:
        axes.plot(criterion.optimal_discriminator(p, q), on_symbols, "o", ms=4, color=_style.BLUE)
    axes.plot([0, 1], [0, 1], color=_style.GREY, lw=0.8)
    axes.set(xlabel="p_data / (p_data + p_g), a dot for each symbol", ylabel="D after 500 steps")
