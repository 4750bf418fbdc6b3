"""Table 2, sampling: the cost of an effective sample, and the scores of consecutive samples."""

import math
import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Key

from advnets import chains as markov
from advnets.bench.cells.found import (
    Effort,
    Found,
    MissingError,
    Number,
    Trained,
    product_flops,
    reasons,
    sequential_products,
)
from advnets.bench.results import Score
from advnets.chains import Chain
from advnets.mixing import Mixing, mixing

# Independent samples whose autocorrelation time is measured, and samples in a call that is timed.
DRAWN, TIMED = 10_000, 1000
# Steps of chains in a timed call, and repeats: the fastest counts, as the others were disturbed.
STEPS, REPEATS = 50, 3
# Chains whose consecutive samples' autocorrelation time is measured, and their burn-in.
FEW, BURN_IN = 20, 100


def chained(trained: Trained, effort: Effort) -> Found:
    """The cost of samples of a Markov chain."""
    scores = _scores_of_chains(trained)
    chain = trained.chain
    rows = jnp.asarray(trained.images("train", trained.model.num_chains))
    count, key = len(rows), trained.key("sampling")
    state = eqx.filter_jit(chain.start)(key, rows)
    arrays, static = eqx.partition(chain, eqx.is_array)

    def step(key: Key[Array, ""], arrays: Any, state: Any) -> Any:
        return eqx.combine(arrays, static).step(key, state)

    def means(arrays: Any, state: Any) -> Array:
        return eqx.combine(arrays, static).means(state)

    @jax.jit
    def steps(key: Key[Array, ""], arrays: Any, state: Any) -> Any:
        def one(t: Array, state: Any) -> Any:
            return step(jax.random.fold_in(key, t), arrays, state)

        return lax.fori_loop(0, STEPS, one, state)

    mixed = consecutive(trained, chain, effort)
    costs = (
        product_flops(step, key, arrays, state) / count,
        float(sequential_products(step, key, arrays, state)),
        _fastest(lambda: steps(key, arrays, state)) / (STEPS * count),
    )
    compiled = jax.jit(means)
    readout = (
        product_flops(means, arrays, state) / count,
        float(sequential_products(means, arrays, state)),
        _fastest(lambda: compiled(arrays, state)) / count,
    )
    how = (
        f"that of a step, times the autocorrelation time of {describe_chains(effort)}, plus that "
        "of the means of an image's pixels, once. Burn-in, which a chain pays once, and thinning "
        f"are not included. {count:,} chains side by side"
    )
    return Found(
        (
            tau_of(trained, mixed, describe_chains(effort), "the chains do not move"),
            *_costs(trained, costs, readout, mixed, how),
            *scores,
        )
    )


def consecutive(trained: Trained, chain: Chain[Any], effort: Effort) -> Mixing:
    """How fast a chain mixes, measured on consecutive samples even if the run's own are thinned.

    Args:
        trained: the run.
        chain: its chain, or the same one with other noise.
        effort: decides the number of samples of each chain.

    Returns:
        The autocorrelation time in steps, and whether it is more than a lower bound.
    """
    starts = trained.images("train", 1000)
    protocol = markov.Protocol(FEW, BURN_IN, 1)
    with reasons():  # a chain that diverges
        samples = markov.run(
            trained.key("consecutive"), chain, starts, FEW * effort.consecutive, protocol
        )
        return mixing(samples)


def describe_chains(effort: Effort) -> str:
    """The samples that `consecutive` uses, in words."""
    return (
        f"{effort.consecutive:,} consecutive samples of each of {FEW} chains, after a burn-in of "
        f"{BURN_IN} steps from training rows"
    )


def _scores_of_chains(trained: Trained) -> list[Number]:
    """The run's own scores with other protocols, or why they are missing."""
    try:
        others = trained.chains().others
    except MissingError as error:
        return [
            trained.number(
                "Parzen scores by other protocols",
                "Parzen log-likelihood by one chain and by many: the run's own.",
                "nats",
                reason=str(error),
            )
        ]
    return [
        _scored(
            trained,
            f"{one.score.num_samples:,} consecutive samples"
            if one.protocol.num_chains == 1
            else f"{one.score.num_samples:,} samples of {one.protocol.num_chains:,} chains",
            one.score,
            str(one.protocol),
        )
        for one in others
    ]


def independent(trained: Trained, effort: Effort) -> Found:
    """The cost of independent samples of a generator."""
    model, key = trained.model, trained.key("sampling")
    arrays, static = eqx.partition(model, eqx.is_array)

    def draw(key: Key[Array, ""], arrays: Any) -> Array:
        return eqx.combine(arrays, static)(key, TIMED)

    compiled = jax.jit(draw)
    samples = [
        np.asarray(compiled(jax.random.fold_in(key, n), arrays)) for n in range(DRAWN // TIMED)
    ]
    with reasons():  # samples that are not finite
        mixed = mixing(np.concatenate(samples)[None])
    costs = (
        product_flops(draw, key, arrays) / TIMED,
        float(sequential_products(draw, key, arrays)),
        _fastest(lambda: compiled(key, arrays)) / TIMED,
    )
    own = trained.result.parzen
    of_what = f"{DRAWN:,} draws in a row"
    how = (
        f"that of a sample, times the autocorrelation time of {of_what}, taken as 1 if it is "
        f"below. {TIMED:,} samples side by side"
    )
    return Found(
        (
            tau_of(trained, mixed, of_what, EQUAL),
            *_costs(trained, costs, (0.0, 0.0, 0.0), mixed, how, still=EQUAL),
            _scored(
                trained,
                f"{own.num_samples:,} consecutive samples",
                own,
                "independent, so any others would score the same up to noise",
            ),
        )
    )


EQUAL = "all samples are equal"


def tau_of(trained: Trained, mixed: Mixing, of_what: str, still: str) -> Number:
    """An autocorrelation time as a number of the table.

    Args:
        trained: the run.
        mixed: the measurement.
        of_what: the samples that it is of, in words.
        still: the reason why there is none if nothing moves.

    Returns:
        The number, which is a lower bound if it is not trusted.
    """
    moves = math.isfinite(mixed.time)
    return trained.number(
        "autocorrelation time",
        f"Integrated autocorrelation time of {of_what}: the median over 10 principal components of "
        "the pixels; 1 for independent samples, up to noise.",
        "steps",
        value=mixed.time if moves else None,
        at_least=moves and not mixed.trusted,
        reason="" if moves else still,
    )


def _costs(
    trained: Trained,
    step: tuple[float, float, float],
    readout: tuple[float, float, float],
    mixed: Mixing,
    how: str,
    still: str = "the chains do not move",
) -> list[Number]:
    """The costs of an effective sample, of each kind."""
    named = (
        (
            "FLOPs of matrix products per effective sample",
            "Floating-point operations of matrix products, two for each multiply-add; random "
            "draws and elementwise functions are not counted",
            "MFLOP",
        ),
        (
            "sequential matmuls (depth) per effective sample",
            "Matrix products that must wait for each other",
            "",
        ),
        ("time per effective sample", "Time on this machine", "µs"),
    )
    scale, tau = (1e-6, 1.0, 1e6), max(mixed.time, 1.0)
    moves = math.isfinite(tau)
    return [
        trained.number(
            name,
            f"{what}: {how}.",
            unit,
            value=(one * tau + last) * by if moves else None,
            at_least=moves and not mixed.trusted,
            reason="" if moves else still,
        )
        for (name, what, unit), one, last, by in zip(named, step, readout, scale, strict=True)
    ]


def _scored(trained: Trained, name: str, score: Score, of_what: str) -> Number:
    rows = "of each fold" if score.folds else f"{score.test.n:,}"
    return trained.number(
        f"Parzen score of {name}",
        f"Parzen log-likelihood of all test rows ({rows}) by {name} ({of_what}): the run's own.",
        "nats",
        value=score.test.mean,
        standard_error=score.test.standard_error,
    )


def _fastest(work: Callable[[], Any]) -> float:
    """Seconds of a compiled call, the minimum of several."""
    jax.block_until_ready(work())
    found = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        jax.block_until_ready(work())
        found.append(time.perf_counter() - began)
    return min(found)
