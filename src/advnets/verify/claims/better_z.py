"""Section 7, better distributions to sample z from: disconnected data, and rejection by D."""

import functools
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Array, Float

from advnets import _style, rejection
from advnets.model import Model
from advnets.priors import Mixture, Uniform
from advnets.verify.registry import Fault, Finding, claim, largest

GAMES, PIECES = 2000, 40


def _zigzags(
    rng: np.random.Generator, slope: Float[np.ndarray, " games"]
) -> tuple[Float[np.ndarray, "games knots"], Float[np.ndarray, "games knots"]]:
    """Random continuous functions on [-1, 1], linear between knots, with slopes up to `slope`."""
    knots = np.sort(rng.uniform(-1, 1, (len(slope), PIECES - 1)), axis=-1)
    ends = np.ones((len(slope), 1))
    knots = np.concatenate([-ends, knots, ends], axis=-1)
    # Mostly the full slope upwards, so that the function gets from one mode to the other.
    steep = np.where(rng.random((len(slope), PIECES)) < 0.9, 1.0, rng.uniform(-1, 1, PIECES))
    steps = slope[:, None] * steep * np.diff(knots, axis=-1)
    values = np.concatenate([0 * ends, np.cumsum(steps, axis=-1)], axis=-1)
    return knots, values - values.mean(-1, keepdims=True) * rng.random(ends.shape)


def _mass_between(
    knots: Float[np.ndarray, "games knots"],
    values: Float[np.ndarray, "games knots"],
    bound: Float[np.ndarray, " games"],
) -> Float[np.ndarray, " games"]:
    """The share of [-1, 1] on which the piecewise linear function is within ±bound: exact."""
    low, high = np.sort(np.stack([values[:, :-1], values[:, 1:]]), axis=0)
    inside = np.minimum(high, bound[:, None]) - np.maximum(low, -bound[:, None])
    share = np.clip(inside, 0, None) / np.maximum(high - low, 1e-300)
    return np.sum(share * np.diff(knots, axis=-1), axis=-1) / 2


def _least(slope: Any, gap: Any) -> Any:
    return (1 - gap) / slope


@claim(
    "disconnected-bound",
    statement="A continuous G of a connected prior puts mass between the modes that it reaches: "
    "with data at ±1, z uniform on [-1, 1] and slopes up to L, at least (1 - d)/L of it is within "
    "±(1 - d).",
    source="Section 7 (better distributions to sample z from)",
    computes=f"For {GAMES:,} random piecewise linear G at random slopes L and margins d: by how "
    "much the exact mass within ±(1 - d) falls below (1 - d)/L if G reaches both sides; and for "
    "G(z) = clip(L z, -1, 1), how far the mass is from this bound.",
    tolerance=1e-12,
    reason="Rounding of sums of 40 lengths.",
    condition="a G that comes within d of both modes; one that ignores a mode need not put mass "
    "between them",
    faults=[
        Fault("twice the bound", {"least": lambda slope, gap: 2 * _least(slope, gap)}),
        Fault("the margin left out", {"least": lambda slope, gap: 1 / slope}),
    ],
)
def disconnected_bound(seed: int, *, least: Callable[..., Any] = _least) -> Finding:
    rng = np.random.default_rng([seed, 81])
    slope, gap = rng.uniform(1.5, 30, GAMES), rng.uniform(0, 0.9, GAMES)
    knots, values = _zigzags(rng, slope)
    reach = np.minimum(values.max(-1), -values.min(-1)) >= 1 - gap
    mass = _mass_between(knots, values, 1 - gap)
    short = np.where(reach, least(slope, gap) - mass, 0)
    # clip(L z, -1, 1), linear between four knots.
    ones = np.ones(GAMES)
    clipped = np.stack([-ones, -1 / slope, 1 / slope, ones], axis=-1)
    equal = _mass_between(clipped, np.tile([-1.0, -1, 1, 1], (GAMES, 1)), 1 - gap)
    apart = np.abs(equal - least(slope, gap))
    worst = int(np.argmax(np.maximum(short, apart)))
    return Finding(
        largest(short.max(), apart.max(), 0.0),
        {"functions that reach both modes": int(reach.sum())},
        {"L": float(slope[worst]), "d": float(gap[worst]), "mass": float(mass[worst])},
        functools.partial(_draw_masses, slope[reach], gap[reach], mass[reach]),
    )


def _draw_masses(slope: Any, gap: Any, mass: Any, figure: Any) -> None:
    axes = figure.subplots()
    axes.loglog(_least(slope, gap), mass, ".", markersize=3, label="random G")
    line = np.array([_least(slope, gap).min(), 1])
    axes.plot(line, line, color=_style.INK, label="the bound, reached by clip(L z, -1, 1)")
    axes.set(xlabel="(1 - d)/L", ylabel="mass of G(z) within ±(1 - d)")
    _style.legend(axes)


DRAWN, MARGIN = 100_000, 0.5


@claim(
    "disconnected-mixture",
    statement="A prior in two pieces avoids the bound: a G of slope sqrt 2 puts 4 % of its mass "
    "halfway between two modes, where with z uniform on [-1, 1] it must put 35 %.",
    source="Section 7 (better distributions to sample z from)",
    computes=f"G(z) = z_1 - z_2 of {DRAWN:,} draws from advnets.priors.Mixture(2, pieces=2, "
    "scale=0.2), which is a mixture of N(±1, s²) with s² = 2 · 0.2²: the share within ±1/2 against "
    "Phi(3/(2 s)) - Phi(1/(2 s)), and the share on each side of 0 against 1/2, in standard errors.",
    tolerance=5.0,
    reason="Five standard errors: exceeded by one seed in a million.",
    faults=[
        Fault("one piece", {"pieces": 1}),
        Fault("half the scale", {"scale": 0.1}),
    ],
)
def disconnected_mixture(seed: int, *, pieces: int = 2, scale: float = 0.2) -> Finding:
    prior = Mixture(2, pieces=pieces, scale=scale)
    z = np.asarray(prior(jax.random.key(seed), DRAWN), np.float64)
    x = z[:, 0] - z[:, 1]
    deviation = 0.2 * math.sqrt(2)
    phi = scipy.special.ndtr
    between = float(phi((1 + MARGIN) / deviation) - phi((1 - MARGIN) / deviation))
    found = float(np.mean(np.abs(x) < MARGIN)), float(np.mean(x > 0))
    errors = [
        abs(share - truth) / math.sqrt(truth * (1 - truth) / DRAWN)
        for share, truth in zip(found, (between, 0.5), strict=True)
    ]
    measured = {"share between": found[0], "expected": between, "share above 0": found[1]}
    return Finding(largest(*errors), measured, {"seed": seed})


CELLS, WANTED = 12, 20_000


class Cells(eqx.Module):
    """G: the number of the cell that a uniform z falls into."""

    edges: Float[Array, " inner"]

    def __call__(self, z: Float[Array, "1"]) -> Float[Array, "1"]:
        u = z / (2 * math.sqrt(3)) + 0.5
        return jnp.searchsorted(self.edges, u, side="right").astype(float)


class Table(eqx.Module):
    """D: a logit for each cell."""

    logits: Float[Array, " cells"]

    def __call__(self, x: Float[Array, "1"]) -> Float[Array, ""]:
        return self.logits[x[0].astype(int)]


def _log_odds(p: Any, q: Any) -> Any:
    return np.log(p) - np.log(q)


@claim(
    "rejection-exact",
    statement="Samples of G that are accepted with a probability proportional to D/(1 - D), with D "
    "at its optimum, follow p_data.",
    source="Section 7 (better distributions to sample z from); Azadi et al. 2019, section 3",
    computes=f"advnets.rejection.sample of {WANTED:,} from 5 random tables p_g on {CELLS} cells, "
    "with D*'s logits for a random p_data: the total variation of the accepted samples from "
    "p_data, divided by its standard error (half the sum of the cells'); and the acceptance rate "
    "against 1 / max(p_data/p_g) and the effective sample size against 1 / sum(p_data²/p_g), in "
    "standard errors.",
    tolerance=5.0,
    reason="Five standard errors of the rate and the effective sample size: exceeded by one seed "
    "in a million. The total variation is multiplied by 5/3, so it may reach 3 of its own.",
    faults=[
        Fault(
            "accepted by D instead of D/(1 - D)",
            {"logits": lambda p, q: np.log(p / (p + q))},
        ),
        Fault("D's logit with the wrong sign", {"logits": lambda p, q: -_log_odds(p, q)}),
        Fault("all samples accepted", {"logits": lambda p, q: np.zeros(CELLS)}),
    ],
)
def rejection_exact(seed: int, *, logits: Callable[..., Any] = _log_odds) -> Finding:
    rng = np.random.default_rng([seed, 83])
    results: list[tuple[float, ...]] = []
    example: dict[str, Any] = {}
    for number in range(5):
        p, q = (0.3 + rng.exponential(size=CELLS) for _ in range(2))
        p, q = p / p.sum(), q / q.sum()
        edges, table = jnp.asarray(np.cumsum(q)[:-1], float), jnp.asarray(logits(p, q), float)
        found = rejection.sample(
            jax.random.key(100 * seed + number),
            Model(Cells(edges), Uniform(1)),
            Table(table),
            WANTED,
        )
        shares = np.bincount(found.examples.astype(int).ravel(), minlength=CELLS) / WANTED
        variation = np.abs(shares - p).sum() / 2
        error = np.sqrt(p * (1 - p) / WANTED).sum() / 2
        rate, effective = float(1 / (p / q).max()), float(1 / np.sum(p**2 / q))
        of_rate = math.sqrt(rate * (1 - rate) / found.proposed)
        # Of (sum w)² / (n sum w²) by the delta method, w = p/q and E w = 1.
        w = p / q
        second = np.sum(q * w**2)
        influence = 2 * (w - 1) / second - (w**2 - second) / second**2
        of_effective = math.sqrt(np.sum(q * influence**2) / found.proposed)
        results.append(
            (
                variation / error,
                abs(found.rate - rate) / of_rate,
                abs(found.effective - effective) / of_effective,
            )
        )
        if max(results[-1]) == max(map(max, results)):
            example = {"p_data": p, "p_g": q, "accepted": shares, "rate": found.rate}
    variations, rates, sizes = np.array(results).T
    measured = {
        "total variation / SE": float(variations.max()),
        "rate, SE": float(rates.max()),
        "effective sample size, SE": float(sizes.max()),
    }
    residual = largest(variations.max() * 5 / 3, rates.max(), sizes.max())
    return Finding(residual, measured, example)
