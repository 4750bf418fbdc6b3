"""Section 3, third paragraph: k steps of D per step of G, and D optimised to completion."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.special
import scipy.stats
from jaxtyping import Array, Float, Key

from advnets import _style
from advnets.algorithms import Algorithm1, State, at
from advnets.players import Players, judge
from advnets.priors import Normal
from advnets.verify import criterion, families
from advnets.verify.claims import toys
from advnets.verify.registry import Fault, Finding, claim, largest

KS = (1, 2, 4, 8)
RATIOS = (0.03, 0.1, 0.3, 1.0)
TRACKED, TRACK_EVERY = 100, 10
LINE = families.Grid(((-10.0, 10.0),), (500,))


@claim(
    "k-steps-near-optimum",
    statement="k steps of D for each step of G keep D near its optimum, as long as G changes "
    "slowly enough.",
    source="Section 3 (third paragraph)",
    computes="20 games on the line (affine G of a normal's quantiles, minibatches of 128 data "
    "points, quadratic logit, D initially at its optimum) for each of k = 1, 2, 4, 8 and four "
    "ratios of G's learning rate to D's: the mean gap C - V on a grid during 100 steps of G. In "
    "each game, the gap should fall with k and rise with the ratio (Spearman's rank correlation, "
    "averaged over the other setting). The residual is the larger p-value of the two sign tests.",
    tolerance=1e-3,
    reason="18 of 20 games must agree; fair coins would do so in one seed of 5,000.",
    faults=[
        Fault("k ignored", {"steps": lambda k: 1}),
        Fault("the learning rates of G and D swapped", {"rates": lambda ratio: (ratio, 1.0)}),
    ],
)
def k_steps_near_optimum(
    seed: int,
    *,
    steps: Callable[[int], int] = lambda k: k,
    rates: Callable[[Any], Any] = lambda ratio: (1.0, ratio),
) -> Finding:
    rng = np.random.default_rng([seed, 11])
    starts = jnp.asarray(rng.uniform([0.4, 0.9], [1.0, 1.5], (toys.RUNS, 2)), float)
    gaps = np.zeros((toys.RUNS, len(KS), len(RATIOS)))
    games: dict[int, Callable] = {}
    for row, k in enumerate(map(steps, KS)):
        if k not in games:
            games[k] = jax.jit(_over_runs_and_ratios(k, rates))
        data = jnp.asarray(rng.normal(size=(toys.RUNS, TRACKED, k, 128, 1)), float)
        paths = games[k](toys.run_keys(seed), starts, data, jnp.array(RATIOS))
        gaps[:, row] = _gaps_along(np.asarray(paths, np.float64)).mean(-1)
    with_k = np.array([_rank_correlation(KS, game) for game in gaps])
    with_ratio = np.array([_rank_correlation(RATIOS, game.T) for game in gaps])
    medians = np.median(gaps, axis=0)
    return Finding(
        largest(toys.sign_test(with_k < 0), toys.sign_test(with_ratio > 0)),
        {
            "mean rank correlation with k": float(np.mean(with_k)),
            "mean rank correlation with the ratio": float(np.mean(with_ratio)),
            "smallest median gap": float(medians.min()),
            "largest median gap": float(medians.max()),
        },
        {"seed": seed, "median gap by k and ratio": medians},
        functools.partial(_draw_gaps, medians),
    )


def _draw_gaps(medians: Float[np.ndarray, "ks ratios"], figure: Any) -> None:
    axes = figure.subplots()
    exponents = np.log10(medians)
    image = axes.imshow(exponents, origin="lower", cmap="viridis", aspect="auto")
    for (row, column), gap in np.ndenumerate(medians):
        colour = "white" if exponents[row, column] < exponents.mean() else "black"
        axes.text(column, row, f"{gap:.2g}", ha="center", va="center", color=colour)
    axes.set(xlabel="G's learning rate / D's", ylabel="k, steps of D per step of G")
    axes.set_xticks(range(len(RATIOS)), [f"{ratio:g}" for ratio in RATIOS])
    axes.set_yticks(range(len(KS)), [str(k) for k in KS])
    figure.colorbar(image, label="log10 of the median gap C - V, nats (gap in cells)")


def _gaps_along(paths: Float[np.ndarray, "*games 5"]) -> Float[np.ndarray, "*games"]:
    """C - V of players on the line, for normal data, on a grid."""
    (x,) = LINE.points
    p_data = families.gaussian_mixture(LINE, [0.0], 1.0)

    def gap(parameters: Float[np.ndarray, "5"]) -> float:
        scale, shift, *weights = parameters
        p_g = families.gaussian_mixture(LINE, [shift], abs(scale))
        logits = weights[0] + weights[1] * x + weights[2] * x**2
        best = criterion.virtual_criterion(p_data, p_g, LINE.cell_volume)
        return best - criterion.value_on_grid(p_data, p_g, logits, LINE.cell_volume)

    return np.apply_along_axis(gap, -1, paths)


def _rank_correlation(
    settings: Sequence[float], gaps: Float[np.ndarray, "settings lines"]
) -> float:
    """Spearman's rank correlation of the gap with a setting, averaged over the other one."""
    return float(np.mean([scipy.stats.spearmanr(settings, line).statistic for line in gaps.T]))


def _over_runs_and_ratios(k: int, rates: Callable[[Any], Any]) -> Callable:
    rate = 0.1

    def game(
        key: Key[Array, ""],
        start: Float[Array, "2"],
        data: Float[Array, "iterations k batch 1"],
        ratio: Float[Array, ""],
    ) -> Float[Array, "moments 5"]:
        """The parameters of G (scale, shift) and of D, along a game."""
        scale, shift = start
        # log N(x; 0, 1) - log N(x; shift, scale²)
        optimum = [jnp.log(scale) + (shift / scale) ** 2 / 2, -shift / scale**2]
        discriminator = toys.QuadraticOnLine(jnp.stack([*optimum, (1 / scale**2 - 1) / 2]))
        players = Players(toys.Affine(start[:1], start[1:]), discriminator, prior=toys.Quantiles())
        d_rate, g_rate = rates(ratio)
        algorithm = Algorithm1(
            k=k,
            generator_updates=optax.sgd(rate * g_rate),
            discriminator_updates=optax.sgd(rate * d_rate),
        )

        def step(state: State, real: Float[Array, "k batch 1"]) -> tuple[State, Float[Array, "5"]]:
            state, _ = algorithm.step(key, players, state, real[0] if k == 1 else real)
            g, d = state.generator, state.discriminator
            return state, jnp.concatenate([g.scale, g.shift, d.weights])

        _, path = jax.lax.scan(step, algorithm.init(players), data)
        return path[TRACK_EVERY - 1 :: TRACK_EVERY]

    return jax.vmap(jax.vmap(game, (None, None, None, 0)), (0, 0, 0, None))


SAMPLE, UNSEEN, FEATURES = 64, 2000, 8
FIT_STEPS, FIT_EVERY = 600, 30
SHIFT = 0.25


@claim(
    "overfit-finite-data",
    statement="On finite data, a discriminator optimised to completion overfits.",
    source="Section 3 (third paragraph)",
    computes="20 samples of 64 data points from a normal density in 8 dimensions, with G fixed at "
    "another, and a network D trained on each sample for 600 steps of RMSProp: V should rise above "
    "that of D* on the sample, and fall below it on 2,000 fresh data points. The residual is the "
    "larger p-value of the two sign tests.",
    tolerance=1e-3,
    reason="18 of 20 samples must agree; fair coins would do so in one seed of 5,000.",
    faults=[
        Fault("fresh data at each step, so that the sample is not finite", {"fresh": True}),
        Fault("D before its first step", {"moment": 0}),
    ],
)
def overfit_finite_data(seed: int, *, fresh: bool = False, moment: int = -1) -> Finding:
    runs = toys.RUNS
    rng = np.random.default_rng([seed, 13])
    moments = FIT_STEPS // FIT_EVERY + 1
    sample = rng.normal(size=(runs, SAMPLE, FEATURES))
    steps = (moments, FIT_EVERY) if fresh else (1, 1)
    data = rng.normal(size=(runs, *steps, SAMPLE, FEATURES)) if fresh else sample[:, None, None]
    data = np.broadcast_to(data, (runs, moments, FIT_EVERY, SAMPLE, FEATURES))
    unseen = rng.normal(size=(runs, UNSEEN, FEATURES))
    fake = SHIFT + rng.normal(size=(runs, UNSEEN, FEATURES))
    judged = np.concatenate([sample, unseen, fake], axis=1)
    discriminators = toys.networks(rng, (FEATURES, 64, 1))
    arrays = [jnp.asarray(array, float) for array in (data, judged)]
    games = jax.jit(jax.vmap(_trained_logits))
    logits = np.asarray(games(toys.run_keys(seed), discriminators, *arrays), np.float64)
    # D*'s logit, log N(x; 0, 1) - log N(x; SHIFT, 1) in each dimension.
    best = np.sum(SHIFT * (SHIFT / 2 - judged), axis=-1)[:, None]
    excess = _values(logits) - _values(best)
    known, fresh_data = excess[:, moment].T
    return Finding(
        largest(toys.sign_test(known > 0), toys.sign_test(fresh_data < 0)),
        {
            "median excess on the sample": float(np.median(known)),
            "median excess on fresh data": float(np.median(fresh_data)),
        },
        {"seed": seed},
        functools.partial(_draw_excess, excess),
    )


def _draw_excess(excess: Float[np.ndarray, "runs moments 2"], figure: Any) -> None:
    axes = figure.subplots()
    done = np.arange(excess.shape[1]) * FIT_EVERY
    for index, name in enumerate((f"its {SAMPLE} training data", f"{UNSEEN:,} fresh data")):
        lines = axes.plot(done, excess[:, :, index].T, color=f"C{index}", alpha=0.4)
        lines[0].set_label(name)
    axes.axhline(0, color=_style.INK, linestyle=":")
    axes.annotate("D*", (done[-1], 0), va="bottom", ha="right")
    axes.set(xlabel="steps of D, G fixed", ylabel="V(D, G) - V(D*, G), nats")
    _style.legend(axes, "V on")


def _values(logits: Float[np.ndarray, "runs moments n"]) -> Float[np.ndarray, "runs moments 2"]:
    """V on the sample and on fresh data, with the same generated examples."""
    real = scipy.special.log_expit(logits)
    fake = scipy.special.log_expit(-logits[..., SAMPLE + UNSEEN :]).mean(-1)
    known, unseen = real[..., :SAMPLE].mean(-1), real[..., SAMPLE : SAMPLE + UNSEEN].mean(-1)
    return np.stack([known + fake, unseen + fake], axis=-1)


def _trained_logits(
    key: Key[Array, ""],
    discriminator: toys.Network,
    data: Float[Array, "moments steps batch d"],
    judged: Float[Array, "n d"],
) -> Float[Array, "moments n"]:
    """D's logits along its training, G fixed."""
    generator = toys.Affine(jnp.ones(FEATURES), jnp.full(FEATURES, SHIFT))
    players = Players(generator, discriminator, prior=Normal(FEATURES))
    algorithm = Algorithm1(
        generator_updates=optax.set_to_zero(),
        discriminator_updates=optax.rmsprop(3e-3),
    )

    def step(state: State, inputs: tuple[Array, Array]) -> tuple[State, None]:
        step_key, real = inputs
        return algorithm.discriminator_step(step_key, players, state, real)[0], None

    def moment(state: State, inputs: tuple[Array, Array]) -> tuple[State, Float[Array, " n"]]:
        logits = judge(key, at(players, state).discriminator, judged)
        return jax.lax.scan(step, state, inputs)[0], logits

    keys = jax.random.split(key, data.shape[:2])
    return jax.lax.scan(moment, algorithm.init(players), (keys, data))[1]
