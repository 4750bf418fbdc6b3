"""Table 2, evaluating p(x): one measure for all kinds, and what each kind has of its own."""

import dataclasses
import itertools
import math
from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, Key

import advnets
from advnets import _signals
from advnets.baselines import vae
from advnets.bench.cells.found import Curve, Effort, Found, Number, Trained, mean_and_error
from advnets.bench.cells.inference import decoded
from advnets.chains import Chained
from advnets.parzen import evaluate

# Test rows, and the fewest samples.
ROWS, FEWEST = 1000, 1000
# Samples drawn at once; Parzen windows are on those of one such block at most.
BLOCK = 100_000
AT_ONCE = 10_000


def likelihood(trained: Trained, effort: Effort) -> Found:
    """What a system's samples say of test rows, by their number."""
    counts = numbers_of_samples(effort.samples)
    blocks = means_of(trained, effort.samples)
    first = next(blocks)
    conservative = advnets.csl.curve(trained.binary(ROWS), itertools.chain([first], blocks), counts)
    points = [(float(n), *_mean(found)) for n, found in zip(counts, conservative, strict=True)]
    test, validation = trained.images("test", ROWS), trained.images("validation", ROWS)
    windows = []
    for n in (n for n in counts if n <= len(first)):
        found = evaluate(first[:n], validation, test)
        assert found.test is not None
        windows.append((float(n), found.test.mean, found.test.standard_error))
        _signals.check()
    of_csl = (
        "Conservative likelihood of binarised test rows: log of the mean over samples of p(x | "
        "the sample's means of pixels), pixels independent and black or white; at most log p(x) in "
        "expectation"
    )
    of_parzen = (
        "Parzen log-likelihood of grey test rows, with a window on each sample, its width chosen "
        "on validation rows"
    )
    numbers: list[Number] = []
    for name, said, held in (("CSL", of_csl, points), ("Parzen", of_parzen, windows)):
        most, mean, error = held[-1]
        title = f"{name}, {most:,.0f} samples"
        numbers.append(trained.number(title, f"{said}.", "nats", value=mean, standard_error=error))
        if len(held) > 1:
            fewer, before, _ = held[-2]
            decades = math.log10(most / fewer)
            gain: dict[str, Any] = {"value": (mean - before) / decades}
            if name == "CSL":
                gain = mean_and_error((conservative[-1] - conservative[-2]) / decades)
            more = f"{said}: what more samples than {fewer:,.0f} added, for ten times as many."
            numbers.append(trained.number(f"{name}, nats per decade", more, "nats", **gain))
    curves = (
        Curve("CSL", of_csl, trained.label, "samples", "nats", tuple(points)),
        Curve("Parzen", of_parzen, trained.label, "samples", "nats", tuple(windows)),
    )
    return Found((*numbers, *_own(trained)), curves)


def numbers_of_samples(most: int) -> list[int]:
    """Powers of ten from 1,000 to a number, and that."""
    powers = [10**n for n in range(3, 10) if FEWEST <= 10**n < most]
    return [*powers, most]


def means_of(trained: Trained, total: int) -> Iterator[Float[np.ndarray, " samples *shape"]]:
    """The means of samples' pixels, in blocks; those of a chain by the run's own protocol.

    Each block is of chains of its own, which start and burn in anew.

    Args:
        trained: the run.
        total: how many.

    Yields:
        Blocks of 100,000 or what is left.
    """
    model = trained.model
    if isinstance(model, Chained):
        model = dataclasses.replace(model, pixels="mean")
    for number, start in enumerate(range(0, total, BLOCK)):
        n = min(BLOCK, total - start)
        key = jax.random.fold_in(trained.key("likelihood"), number)
        if isinstance(model, Chained):
            found = model.drawn(key, n, model.protocol, progress=False)
            yield np.concatenate(found.swapaxes(0, 1))[:n]
        else:
            parts = []
            for first in range(0, n, AT_ONCE):
                part = np.asarray(_drawn(jax.random.fold_in(key, first), model, AT_ONCE))
                parts.append(part[: n - first])
                _signals.check()
            yield np.concatenate(parts)
        _signals.check()


@eqx.filter_jit
def _drawn(key: Key[Array, ""], model: advnets.Model, n: int) -> Float[Array, " n *shape"]:
    """Samples of a generator; of a VAE, the means of their pixels."""
    if isinstance(model, vae.VAE):
        return decoded(model, model.prior(key, n))
    return model(key, n)


def _own(trained: Trained) -> list[Number]:
    """What a kind of model has of its own, by the run's evaluations; or why it has nothing."""
    if isinstance(trained.model, vae.VAE):
        said = "of binarised test rows, by the run's own evaluation"
        return [
            trained.number(
                "bound", f"Variational bound {said}.", "nats", **trained.mean("bounds", "bound")
            ),
            trained.number(
                "importance-weighted bound",
                f"Importance-weighted bound {said}, by {trained.draws('bounds'):,} draws of each.",
                "nats",
                **trained.mean("bounds", "importance", "bound"),
            ),
        ]
    if "likelihood" in trained.result.evaluations:
        return _annealed(trained)
    name, said = "AIS", "log p(x) by annealed importance sampling"
    if isinstance(trained.model, Chained):
        why = "the chain's distribution has no formula, not even up to a constant"
    else:
        why = "AIS through the generator, with a width of pixels fitted, is not in advnets"
    return [trained.number(name, f"{said}.", "nats", reason=why)]


def _annealed(trained: Trained) -> list[Number]:
    """A DBN's bound and the log Z that it rests on."""
    found = trained.evaluation("likelihood")
    log_z = found.get("log_partition") if isinstance(found, dict) else None
    if not isinstance(log_z, dict):
        raise ValueError(f"{trained.folder}: the evaluation 'likelihood' has no log_partition")
    numbers = [
        trained.number(
            "bound by AIS",
            "Variational bound of binarised test rows, log Z of the top machine by AIS: the run's "
            "own evaluation.",
            "nats",
            **trained.mean("likelihood", "bound"),
        )
    ]
    for way, what in (
        ("forward", "too small rather than too large"),
        ("reverse", "from the machine's own samples, too large rather than too small"),
    ):
        if isinstance(log_z.get(way), float):
            numbers.append(
                trained.number(
                    f"log Z, {way}",
                    f"log Z of the top machine by AIS, {what}: the run's own evaluation.",
                    "nats",
                    value=log_z[way],
                    standard_error=log_z.get(f"{way}_standard_error"),
                )
            )
    return numbers


def _mean(rows: Float[np.ndarray, " rows"]) -> tuple[float, float]:
    return float(rows.mean()), float(rows.std(ddof=1) / len(rows) ** 0.5)
