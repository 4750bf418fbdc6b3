"""Common code of systems that sample with Markov chains: the protocol is part of the score."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import msgspec
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt8

import advnets
from advnets import _documents, _files, chains
from advnets.bench import results
from advnets.bench.evaluations import Evaluation, Subject
from advnets.bench.folders import SAMPLES
from advnets.bench.frames import mosaic, png
from advnets.bench.protocol import score
from advnets.bench.results import Json, Score
from advnets.bench.settings import Settings
from advnets.chains import Chained, Pixels, Protocol
from advnets.mixing import mixing
from advnets.training.devices import is_main_process

# The number of random training rows that chains may start from, which a saved model includes.
STARTS = 1000
# The other protocols: at most as many chains as the paper has samples, for at most this many steps.
MANY, STEPS = 10_000, 200
# Chains and samples in the picture of chains; and numbers of consecutive samples whose classes are
# counted.
SHOWN, LENGTH = 10, 60
IN_A_ROW = (10, 20, 100)
# Mixing is measured on at most this many chains, each with as many samples as the longest such
# count; on fewer chains if a run scores few samples, but at least this many samples in total.
MEASURED, LEAST = 100, 2000
STRIP = f"{SAMPLES}/chains.png"


@dataclasses.dataclass(frozen=True)
class ChainSettings(Settings):
    """The protocol of a system's Markov chains, besides data and protocol of the score.

    Raises:
        ValueError: for a setting out of range.
    """

    num_chains: int = 100
    """Markov chains run side by side from random training rows, each for its share of samples."""
    burn_in: int = 0
    """Steps of each chain before its first sample."""
    thin: int = 1
    """Steps from one sample of a chain to the next; 1 for consecutive samples."""
    pixels: Pixels = "mean"
    """A sample consists of the means of its pixels (mean), or of draws from them (bernoulli)."""

    def __post_init__(self) -> None:
        Settings.__post_init__(self)
        if self.num_chains > self.num_samples:
            raise ValueError(
                f"{self.num_chains} chains can't share {self.num_samples} samples; lower "
                "--num-chains"
            )
        _ = self.chains  # checks the protocol

    @property
    def chains(self) -> Protocol:
        """The protocol of the samples."""
        return Protocol(self.num_chains, self.burn_in, self.thin, self.pixels)


def chained(
    chain: chains.Chain[Any], settings: ChainSettings, seed: int, images: UInt8[np.ndarray, "..."]
) -> Chained:
    """The sampler of a fitted chain.

    Args:
        chain: the chain.
        settings: its protocol.
        seed: the run's, which chooses the rows that chains may start from.
        images: training images.

    Returns:
        The sampler.

    Raises:
        ValueError: if the seed is negative.
    """
    count = min(len(images), max(STARTS, settings.num_chains))
    rows = np.random.default_rng(seed).choice(len(images), count, replace=False)
    starts = jnp.asarray(images[np.sort(rows)])
    protocol = settings.chains
    return Chained(
        chain, starts, protocol.num_chains, protocol.burn_in, protocol.thin, protocol.pixels
    )


class ByProtocol(msgspec.Struct, frozen=True):
    """A model's score with a protocol.

    Attributes:
        protocol: how its chains are run.
        score: the score.
    """

    protocol: Protocol
    score: Score


class ChainsFound(msgspec.Struct, frozen=True):
    """The measurements of a model's chains.

    Attributes:
        protocol: the run's own.
        autocorrelation_time: in steps of the chain, a lower bound unless it is trusted; None if a
            chain does not move at all.
        effective_samples: the number of independent samples whose mean would be as precise as that
            of the samples.
        of_samples: the number of those samples.
        trusted: see [`advnets.mixing.Mixing`][].
        distinct_classes: the number of classes in 10, 20 and 100 consecutive samples of a chain;
            empty for data without labels.
        others: the scores with two other protocols.
    """

    protocol: Protocol
    autocorrelation_time: float | None
    effective_samples: float
    of_samples: int
    trusted: bool
    distinct_classes: dict[str, float]
    others: tuple[ByProtocol, ...]


class Chains(Evaluation):
    """How the chains mix, and the same model's scores with other protocols.

    The integrated autocorrelation time is that of samples with the run's own protocol: the median
    over their first ten principal components. Classes are those of the nearest training images.
    """

    def measure(self, subject: Subject) -> Json:
        model = subject.model
        if not isinstance(model, Chained):
            raise TypeError(f"chains are measured of a Chained model; got {type(model).__name__}")
        protocol = model.protocol
        # Not the key of any epoch that is scored.
        key = jax.random.fold_in(subject.key, 0)
        samples, length = len(subject.first(MANY)), max(IN_A_ROW)
        most = min(MEASURED, max(samples, LEAST) // length)
        few = dataclasses.replace(protocol, num_chains=min(protocol.num_chains, most))
        n = max(length * few.num_chains, LEAST)
        own = model.drawn(key, n, few, progress=subject.progress and "chains: how they mix")
        if is_main_process():
            write_strip(subject, own)
        mixed = mixing(own)
        moves = np.isfinite(mixed.time)
        return results.as_json(
            ChainsFound(
                protocol=protocol,
                autocorrelation_time=mixed.time * protocol.thin if moves else None,
                effective_samples=mixed.effective_samples,
                of_samples=own.shape[0] * own.shape[1],
                trusted=mixed.trusted,
                distinct_classes=_distinct(own, subject),
                others=tuple(
                    _scored(model, one, samples, subject, key) for one in others(protocol, samples)
                ),
            )
        )

    def line(self, found: Json) -> str:
        read = chains_found(found, "a result of chains")
        text = f"Chains ({read.protocol}): autocorrelation time "
        if read.autocorrelation_time is None:
            text += "infinite, as they do not move"
        else:
            text += "" if read.trusted else "more than "
            text += f"{read.autocorrelation_time:.3g} steps"
        for length, classes in read.distinct_classes.items():
            text += f"; {classes:.1f} classes in {length} consecutive samples"
        for one in read.others:
            test = one.score.test
            text += f"; by {one.protocol}: {test.mean:.1f} ± {test.standard_error:.1f} nats"
        return text


def chains_found(found: Json, source: object) -> ChainsFound:
    """The measurements of chains, from JSON; a ValueError that names `source` if it is damaged."""
    return _documents.convert(found, ChainsFound, source)


# The name of this evaluation in a result.
CHAINS = "chains"
CHAIN_EVALUATIONS: dict[str, Evaluation] = {CHAINS: Chains()}


def others(protocol: Protocol, samples: int) -> tuple[Protocol, Protocol]:
    """The two other protocols that a row is scored with: one chain, and a chain for each sample.

    Args:
        protocol: the row's own.
        samples: the number of scored samples.

    Returns:
        One chain with consecutive samples after the same burn-in; and as many chains as samples,
        each of which gives one sample after its burn-in, or after 200 steps if that is longer.

    Raises:
        ValueError: if there are no samples.
    """
    few = dataclasses.replace(protocol, num_chains=1, thin=1)
    return few, Protocol(samples, min(protocol.burn_in, STEPS), 1, protocol.pixels)


def _scored(
    model: Chained, protocol: Protocol, count: int, subject: Subject, key: Key[Array, ""]
) -> ByProtocol:
    if protocol.num_chains > len(model.starts):  # each from another row, as far as there are rows
        rows = np.random.default_rng(0).permutation(len(subject.data.train))[:count]
        model = dataclasses.replace(model, starts=jnp.asarray(subject.data.train[rows]))
    shown = subject.progress and f"chains: {protocol}"
    samples = np.concatenate(model.drawn(key, count, protocol, progress=shown).swapaxes(0, 1))
    return ByProtocol(protocol, score(samples[:count], subject.data, subject.preprocess))


def _distinct(
    samples: Float[np.ndarray, "chains samples *shape"], subject: Subject
) -> dict[str, float]:
    """The mean number of classes among consecutive samples of a chain, by their number."""
    labels = subject.data.train_labels
    if labels is None:
        return {}
    count, length = samples.shape[:2]
    flat = samples.reshape(count * length, *samples.shape[2:])
    classes = classified(flat, subject.preprocess(subject.data.train), labels)
    return distinct_classes(classes.reshape(count, length))


def classified(
    samples: Float[np.ndarray, " n *shape"],
    images: Float[np.ndarray, " m *shape"],
    labels: Int[np.ndarray, " m"],
) -> Int[np.ndarray, " n"]:
    """The class of each sample: that of its nearest training image.

    Args:
        samples: the samples.
        images: training images.
        labels: their classes.

    Returns:
        The classes.

    Raises:
        ValueError: as [`advnets.neighbours.nearest`][], for images that are not finite, say.
    """
    rows, _ = advnets.neighbours.nearest(jnp.asarray(samples), jnp.asarray(images))
    return np.asarray(labels)[np.asarray(rows)]


def distinct_classes(classes: Int[np.ndarray, "chains samples"]) -> dict[str, float]:
    """The mean number of classes among 10, 20 and 100 consecutive samples of a chain.

    Args:
        classes: the class of each sample of each chain, in order.

    Returns:
        The mean over all windows of each length, by the length as text; windows longer than the
        chains are left out.

    Raises:
        ValueError: if there is no chain.
    """
    if len(classes) == 0:
        raise ValueError(f"classes need at least 1 chain; got an array of shape {classes.shape}")
    found = {}
    for length in IN_A_ROW:
        if length <= classes.shape[1]:
            windows = np.lib.stride_tricks.sliding_window_view(classes, length, axis=1)
            ordered = np.sort(windows, axis=2)
            counts = 1 + (np.diff(ordered, axis=2) != 0).sum(2)
            found[f"{length}"] = float(counts.mean())
    return found


def write_strip(subject: Subject, samples: Float[np.ndarray, "chains samples *shape"]) -> None:
    """Writes consecutive samples of some chains as a picture, a row for each step.

    Raises a ValueError if there are no samples, or they are not images.
    """
    count, length = min(SHOWN, len(samples)), min(LENGTH, samples.shape[1])
    rows = samples[:count, :length].swapaxes(0, 1).reshape(count * length, *samples.shape[2:])
    path = subject.folder / STRIP
    path.parent.mkdir(exist_ok=True)
    _files.replace(path, png(mosaic(rows, count)))
