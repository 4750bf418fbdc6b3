"""Table 2, evaluating p(x): common measures for all kinds of models, and those of each kind."""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Array, Float, Key

import advnets
from advnets import _signals, parzen
from advnets.baselines import dbn, vae
from advnets.bench.cells.found import (
    Curve,
    Effort,
    Found,
    MissingError,
    Number,
    Trained,
    mean_and_error,
    reasons,
)
from advnets.bench.systems import VariationalAutoencoder
from advnets.bench.systems.dbn import DeepBeliefNetwork
from advnets.chains import Chained

# Test rows, and the fewest samples.
ROWS, FEWEST = 1000, 1000
# The most samples held at once, and the most bytes of their pixels. Parzen windows use one such
# block.
BLOCK, BYTES = 100_000, 2**29
AT_ONCE = 10_000
# Draws of a DBN's first hidden layer for each row.
DRAWS = 100


def likelihood(trained: Trained, effort: Effort) -> Found:
    """The likelihood of test rows under a system's samples, by the number of samples."""
    own = _own(trained)  # first, so that missing files show before minutes are spent
    counts = numbers_of_samples(effort.samples)
    blocks = means_of(trained, effort.samples)
    first, binary = next(blocks), trained.binary(ROWS)
    with reasons():  # samples that are not means of pixels
        per_row = advnets.csl.curve(binary, itertools.chain([first], blocks), counts)
    rows = f"the first {len(binary):,} test rows"
    of_csl = (
        f"Conservative likelihood of {rows}, binarised: log of the mean over samples of p(x | the "
        "sample's means of pixels), pixels independent and black or white; at most log p(x) in "
        "expectation. The ± is over rows, which share the samples; it does not cover the variation "
        "between sets of samples"
    )
    numbers, curve = _by_number(trained, "CSL", of_csl, counts, per_row, [None] * len(counts))
    few = [n for n in counts if n <= len(first)]
    windows = [_windows(trained, first[:n]) for n in few]
    fitted = min(ROWS, len(trained.data.validation))
    of_parzen = (
        f"Parzen log-likelihood of {rows}, grey, with a window on each sample, its width chosen on "
        f"the first {fitted:,} validation rows. The ± is over test rows, as for CSL"
    )
    more, windowed = _by_number(
        trained, "Parzen", of_parzen, few, [found for found, _ in windows], [e for _, e in windows]
    )
    return Found((*numbers, *more, *own), (curve, windowed))


def _by_number(
    trained: Trained,
    name: str,
    definition: str,
    counts: Sequence[int],
    per_row: Sequence[Float[np.ndarray, " rows"]],
    ends: Sequence[str | None],
) -> tuple[list[Number], Curve]:
    """A likelihood by the number of samples: its value for the most, its slope, and its curve."""
    means = [mean_and_error(rows) for rows in per_row]
    at_end = [f"the {end} bandwidth of the grid" if end else "" for end in ends]
    title = f"{name}, {counts[-1]:,} samples"
    note = f" The width is {at_end[-1]}: a better one may lie beyond." if at_end[-1] else ""
    numbers = [trained.number(title, f"{definition}.{note}", "nats", **means[-1])]
    if len(counts) > 1:
        decades = math.log10(counts[-1] / counts[-2])
        slope = mean_and_error((per_row[-1] - per_row[-2]) / decades)
        more = (
            f"{definition}: the gain from more samples than {counts[-2]:,}, per factor of ten. A "
            "curve that still rises is still below its limit; the slope does not tell by how much."
        )
        numbers.append(trained.number(f"{name}, nats per decade", more, "nats", **slope))
    points = tuple(
        (float(n), mean["value"], mean["standard_error"])
        for n, mean in zip(counts, means, strict=True)
    )
    labels = tuple(at_end) if any(at_end) else ()
    return numbers, Curve(name, definition, trained.label, "samples", "nats", points, labels)


def _windows(
    trained: Trained, samples: Float[np.ndarray, " samples *shape"]
) -> tuple[Float[np.ndarray, " rows"], str | None]:
    """The Parzen log-likelihood of each test row, and the grid's end if the width is one."""
    test, validation = trained.images("test", ROWS), trained.images("validation", ROWS)
    with reasons():
        chosen = parzen.select_bandwidth(validation, samples, parzen.bandwidth_grid())
    width = jnp.asarray([chosen.bandwidth], samples.dtype)
    (found,) = parzen.log_density(jnp.asarray(test), jnp.asarray(samples), width)
    _signals.check()
    return np.asarray(found, np.float64), chosen.at_grid_end


def numbers_of_samples(most: int) -> list[int]:
    """Powers of ten from 1,000 up to a number, and the number itself."""
    powers = [10**n for n in range(3, 10) if FEWEST <= 10**n < most]
    return [*powers, most]


def means_of(trained: Trained, total: int) -> Iterator[Float[np.ndarray, " samples *shape"]]:
    """The means of samples' pixels, in blocks; with chains, by the run's own protocol.

    Each block has its own chains, which start and burn in anew.

    Args:
        trained: the run.
        total: the number of samples.

    Yields:
        Blocks of 100,000 samples or the rest; smaller ones if images are large.
    """
    model, shape = trained.model, trained.config.image_shape
    if isinstance(model, Chained):
        model = dataclasses.replace(model, pixels="mean")
    most = block_of(shape)
    for number, start in enumerate(range(0, total, most)):
        n = min(most, total - start)
        key = jax.random.fold_in(trained.key("likelihood"), number)
        if isinstance(model, Chained):
            with reasons():  # a chain that diverges
                found = model.drawn(key, n, model.protocol, progress=False)
            yield found.swapaxes(0, 1).reshape(-1, *shape)[:n]  # no copy: this is its layout
        else:
            block = np.empty((n, *shape), np.float32)
            at_once = min(AT_ONCE, most)
            for first in range(0, n, at_once):
                part = np.asarray(_drawn(jax.random.fold_in(key, first), model, at_once))
                block[first : first + at_once] = part[: n - first]
                _signals.check()
            yield block
        _signals.check()


def block_of(shape: tuple[int, ...]) -> int:
    """The number of samples of an image's shape that are held at once."""
    return max(FEWEST, min(BLOCK, BYTES // (4 * max(1, math.prod(shape)))))


@eqx.filter_jit
def _drawn(key: Key[Array, ""], model: advnets.Model, n: int) -> Float[Array, " n *shape"]:
    """Samples of a generator; for a VAE, the means of their pixels."""
    if isinstance(model, vae.VAE):
        return model.decode(model.prior(key, n))
    return model(key, n)


def _own(trained: Trained) -> list[Number]:
    """The measures of a kind of model, or why it has none."""
    try:
        if isinstance(trained.system, VariationalAutoencoder):
            return _bounds(trained)
        if isinstance(trained.system, DeepBeliefNetwork):
            return _annealed(trained)
    except MissingError as error:
        return [trained.number("bound", "A bound on log p(x).", "nats", reason=str(error))]
    if isinstance(trained.model, Chained):
        why = "the chain's distribution has no formula, not even up to a constant"
    else:
        why = "AIS through the generator, with a fitted width of pixels, is not in advnets"
    definition = "log p(x) by annealed importance sampling."
    return [trained.number("AIS", definition, "nats", reason=why)]


def _bounds(trained: Trained) -> list[Number]:
    """A VAE's bounds, both on the same rows."""
    rows = trained.rows("bounds", "importance", "bound")
    draws = trained.entry("bounds", "importance", "draws")
    return [
        trained.number(
            "bound",
            f"Variational bound of {rows}, by the run's own evaluation.",
            "nats",
            **trained.mean("bounds", "importance", "plain_bound"),
        ),
        trained.number(
            "importance-weighted bound",
            f"Importance-weighted bound of {rows}, by {draws:,} draws of each: the run's own "
            "evaluation.",
            "nats",
            **trained.mean("bounds", "importance", "bound"),
        ),
    ]


def _annealed(trained: Trained) -> list[Number]:
    """A DBN's bounds, on the same rows as its samples' likelihood, and log Z."""
    log_z = trained.entry("likelihood", "log_partition")
    forward = log_z.get("forward") if isinstance(log_z, dict) else None
    if not isinstance(forward, float):
        raise MissingError(f"{trained.folder}: the evaluation likelihood has no log Z, forward")
    logs = lower_weights(trained)
    description = (
        f"of the first {logs.shape[1]:,} test rows, binarised as for CSL, by {DRAWS} draws of the "
        "first hidden layer, minus the run's own log Z, forward, whose error is not in the ±"
    )
    importance = scipy.special.logsumexp(logs, axis=0) - math.log(DRAWS)
    numbers = [
        trained.number(f"{name} by AIS", f"{title} {description}.", "nats", **mean_and_error(rows))
        for name, title, rows in (
            ("bound", "Variational bound", logs.mean(axis=0) - forward),
            ("importance-weighted bound", "Importance-weighted bound", importance - forward),
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


def lower_weights(trained: Trained) -> Float[np.ndarray, "draws rows"]:
    """Log weights of a DBN's bounds, without log Z; see [`advnets.baselines.dbn.log_weights`][].

    Args:
        trained: a run of a DBN.

    Returns:
        The log weights of the first binarised test rows, in nats.
    """
    binary = trained.binary(ROWS)
    rows = jnp.asarray(binary.reshape(len(binary), -1))
    with jax.default_matmul_precision("highest"):  # as in the estimates of log Z
        found = _log_weights(trained.key("lower layer"), trained.chain.model, rows, DRAWS)
    return np.asarray(found, np.float64)


_log_weights = eqx.filter_jit(dbn.log_weights)
