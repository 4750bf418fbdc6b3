"""Table 2, sampling: what an effective sample costs, and what consecutive samples score."""

import math
import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from advnets import chains as markov
from advnets.bench.cells.found import Effort, Found, Trained, flops, sequential_products
from advnets.bench.results import Score
from advnets.mixing import mixing

# Independent samples whose autocorrelation time is measured, and of how many a call is timed.
DRAWN, TIMED = 10_000, 1000
# Steps of chains in a call that is timed, and how often: the fastest counts, as others disturb.
STEPS, REPEATS = 50, 3


def chained(trained: Trained, effort: Effort) -> Found:
    """What samples of a Markov chain cost."""
    chain, own = trained.chain, trained.chains()
    count = own.protocol.num_chains
    rows = jnp.asarray(trained.images("train", count))
    key = trained.key("sampling")
    state = eqx.filter_jit(chain.start)(key, rows)
    arrays, static = eqx.partition(chain, eqx.is_array)

    def step(key: Key[Array, ""], arrays: Any, state: Any) -> Any:
        return eqx.combine(arrays, static).step(key, state)

    def means(arrays: Any, state: Any) -> Array:
        found: Array = eqx.combine(arrays, static).means(state)
        return found

    walk = eqx.filter_jit(markov.walk)

    def timed() -> Any:
        return walk(key, chain, state, samples=1, thin=STEPS)[1]

    tau = math.inf if own.autocorrelation_time is None else max(own.autocorrelation_time, 1.0)
    costs = (
        flops(step, key, arrays, state) / count,
        float(sequential_products(step, key, arrays, state)),
        _fastest(timed) / (STEPS * len(rows)),
    )
    readout = (
        flops(means, arrays, state) / count,
        float(sequential_products(means, arrays, state)),
        0.0,
    )
    single, many = (one.score for one in own.others)
    how = (
        f"a step's, times the autocorrelation time of {own.protocol} ({tau:.3g} steps"
        f"{'' if own.trusted else ' at least'}), and the pixels'"
    )
    return Found(
        (
            _tau(trained, tau, own.trusted, "of the run's own protocol, its `chains` evaluation"),
            *_costs(trained, costs, readout, tau, own.trusted, how),
            _scored(trained, "10,000 consecutive samples", single, "of one chain"),
            _scored(trained, "10,000 samples of 10,000 chains", many, "of a chain each"),
        )
    )


def independent(trained: Trained, effort: Effort) -> Found:
    """What independent samples of a generator cost."""
    model, key = trained.model, trained.key("sampling")
    arrays, static = eqx.partition(model, eqx.is_array)

    def draw(key: Key[Array, ""], arrays: Any) -> Array:
        found: Array = eqx.combine(arrays, static)(key, TIMED)
        return found

    compiled = jax.jit(draw)
    samples = [
        np.asarray(compiled(jax.random.fold_in(key, n), arrays)) for n in range(DRAWN // TIMED)
    ]
    mixed = mixing(np.concatenate(samples)[None])
    costs = (
        flops(draw, key, arrays) / TIMED,
        float(sequential_products(draw, key, arrays)),
        _fastest(lambda: compiled(key, arrays)) / TIMED,
    )
    own = trained.result.parzen
    tau = max(mixed.time, 1.0)
    how = f"a sample's, times the autocorrelation time of {DRAWN:,} in a row"
    return Found(
        (
            _tau(trained, mixed.time, mixed.trusted, f"of {DRAWN:,} draws in a row"),
            *_costs(trained, costs, (0.0, 0.0, 0.0), tau, mixed.trusted, how),
            _scored(
                trained,
                f"{own.num_samples:,} consecutive samples",
                own,
                "which are independent, so any others would score the same",
            ),
        )
    )


def _tau(trained: Trained, tau: float, trusted: bool, of_what: str) -> Any:
    still = not math.isfinite(tau)
    return trained.number(
        "autocorrelation time",
        f"Integrated autocorrelation time {of_what}: the median over 10 principal components of "
        "the pixels; 1 for independent samples, up to noise.",
        "steps",
        value=None if still else tau,
        at_least=not trusted,
        reason="the chains do not move" if still else "",
    )


def _costs(
    trained: Trained,
    step: tuple[float, float, float],
    readout: tuple[float, float, float],
    tau: float,
    trusted: bool,
    how: str,
) -> list[Any]:
    """What an effective sample costs, of each kind."""
    named = (
        ("operations per effective sample", "Floating-point operations by XLA's analysis", "MFLOP"),
        ("products in a row per effective sample", "Matrix products that wait for each other", ""),
        ("time per effective sample", "Time on this machine, many side by side", "µs"),
    )
    scale = (1e-6, 1.0, 1e6)
    still = not math.isfinite(tau)
    return [
        trained.number(
            name,
            f"{what}: {how}.",
            unit,
            value=None if still else (one * tau + last) * by,
            at_least=not trusted,
            reason="the chains do not move" if still else "",
        )
        for (name, what, unit), one, last, by in zip(named, step, readout, scale, strict=True)
    ]


def _scored(trained: Trained, name: str, score: Score, of_what: str) -> Any:
    return trained.number(
        f"Parzen score of {name}",
        f"Parzen log-likelihood of the test rows by {name}, {of_what}: the run's own.",
        "nats",
        value=score.test.mean,
        standard_error=score.test.standard_error,
    )


def _fastest(work: Callable[[], Any]) -> float:
    """Seconds of a compiled call, the least of several."""
    jax.block_until_ready(work())
    found = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        jax.block_until_ready(work())
        found.append(time.perf_counter() - began)
    return min(found)
