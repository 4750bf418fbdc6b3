"""What systems share that draw samples by Markov chains: the protocol is part of the number."""

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

# Chains may start from so many training rows, chosen at random; a saved model has them with it.
STARTS = 1000
# The other protocols: at most as many chains as the paper takes samples, for at most so many steps.
MANY, STEPS = 10_000, 200
# A picture of some chains, sample by sample; and from how many in a row classes are counted.
SHOWN, LENGTH = 10, 60
IN_A_ROW = (10, 20, 100)
# How they mix is measured of at most so many chains, each with as many samples as classes are
# counted in; of fewer where a run scores few samples, and at least so many in all.
MEASURED, LEAST = 100, 2000
STRIP = f"{SAMPLES}/chains.png"


@dataclasses.dataclass(frozen=True)
class ChainSettings(Settings):
    """The protocol of a system's Markov chains, beside data and protocol of the score.

    Raises:
        ValueError: for a setting out of range.
    """

    num_chains: int = 100
    """Markov chains side by side, from random training rows, each for its share of the samples."""
    burn_in: int = 0
    """Steps of each chain before its first sample."""
    thin: int = 1
    """Steps from one sample of a chain to its next; 1 for consecutive ones."""
    pixels: Pixels = "mean"
    """A sample is the means of its pixels (mean), or is drawn by them (bernoulli)."""

    def __post_init__(self) -> None:
        Settings.__post_init__(self)
        if self.num_chains > self.num_samples:
            raise ValueError(
                f"{self.num_chains} chains can't share {self.num_samples} samples; lower "
                "--num-chains"
            )
        Protocol(self.num_chains, self.burn_in, self.thin, self.pixels)

    @property
    def chains(self) -> Protocol:
        """The protocol by which samples are drawn."""
        return Protocol(self.num_chains, self.burn_in, self.thin, self.pixels)


def chained(
    chain: chains.Chain[Any], settings: ChainSettings, seed: int, images: UInt8[np.ndarray, "..."]
) -> Chained:
    """The sampler of a fitted chain.

    Args:
        chain: the chain.
        settings: its protocol.
        seed: the run's, which chooses what chains may start from.
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
    """What a model scores by a protocol.

    Attributes:
        protocol: how its chains are run.
        score: the score.
    """

    protocol: Protocol
    score: Score


class ChainsFound(msgspec.Struct, frozen=True):
    """What is measured of a model's chains.

    Attributes:
        protocol: the run's own.
        autocorrelation_time: in steps of the chain, a lower bound unless it is trusted; None if a
            chain does not move at all.
        effective_samples: the independent samples whose mean would be as precise.
        of_samples: as that of so many samples.
        trusted: see [`advnets.mixing.Mixing`][].
        distinct_classes: how many there are in 10, 20 and 100 samples of a chain in a row; empty
            for data without labels.
        others: the scores by two other protocols.
    """

    protocol: Protocol
    autocorrelation_time: float | None
    effective_samples: float
    of_samples: int
    trusted: bool
    distinct_classes: dict[str, float]
    others: tuple[ByProtocol, ...]


class Chains(Evaluation):
    """How the chains mix, and what the same model scores by other protocols.

    The integrated autocorrelation time is of samples by the run's own protocol: the median over
    their first ten principal components. Classes are those of the nearest training images.
    """

    def measure(self, subject: Subject) -> Json:
        model = subject.model
        if not isinstance(model, Chained):
            raise TypeError(f"chains are measured of a Chained model; got {type(model).__name__}")
        protocol = model.protocol
        # Another epoch's key than any that is scored.
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
        said = f"Chains ({read.protocol}): autocorrelation time "
        if read.autocorrelation_time is None:
            said += "without end, as they do not move"
        else:
            said += "" if read.trusted else "more than "
            said += f"{read.autocorrelation_time:.3g} steps"
        for length, classes in read.distinct_classes.items():
            said += f"; {classes:.1f} classes in {length} samples in a row"
        for one in read.others:
            test = one.score.test
            said += f"; by {one.protocol}: {test.mean:.1f} ± {test.standard_error:.1f} nats"
        return said


def chains_found(found: Json, source: object) -> ChainsFound:
    """What was measured of chains, from JSON; a ValueError that names `source` if it is damaged."""
    read: ChainsFound = _documents.convert(found, ChainsFound, source)
    return read


# The name that what is measured of chains has in a result.
CHAINS = "chains"
CHAIN_EVALUATIONS: dict[str, Evaluation] = {CHAINS: Chains()}


def others(protocol: Protocol, samples: int) -> tuple[Protocol, Protocol]:
    """The two other protocols that a row is shown at: one chain, and a chain for each sample.

    Args:
        protocol: the row's own.
        samples: how many are scored.

    Returns:
        One chain with consecutive samples after the same burn-in; and as many chains as samples,
        each of which gives one after its burn-in, or after 200 steps where that is longer.

    Raises:
        ValueError: if there are no samples.
    """
    few = dataclasses.replace(protocol, num_chains=1, thin=1)
    return few, Protocol(samples, min(protocol.burn_in, STEPS), 1, protocol.pixels)


def _scored(
    model: Chained, protocol: Protocol, count: int, subject: Subject, key: Key[Array, ""]
) -> ByProtocol:
    if protocol.num_chains > len(model.starts):  # from rows of their own, as many as there are
        rows = np.random.default_rng(0).permutation(len(subject.data.train))[:count]
        model = dataclasses.replace(model, starts=jnp.asarray(subject.data.train[rows]))
    shown = subject.progress and f"chains: {protocol}"
    samples = np.concatenate(model.drawn(key, count, protocol, progress=shown).swapaxes(0, 1))
    return ByProtocol(protocol, score(samples[:count], subject.data, subject.preprocess))


def _distinct(
    samples: Float[np.ndarray, "chains samples *shape"], subject: Subject
) -> dict[str, float]:
    """The mean number of classes among so many samples of a chain in a row."""
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
        samples: samples.
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
    """How many classes there are among 10, 20 and 100 samples of a chain in a row, on average.

    Args:
        classes: the class of each sample of each chain, in order.

    Returns:
        The mean over all such stretches, by their length as text; of those that chains have.

    Raises:
        ValueError: if there is no chain.
    """
    if len(classes) == 0:
        raise ValueError(f"classes are of at least 1 chain; got an array of shape {classes.shape}")
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

    Raises a ValueError if there are no samples, or they are no images.
    """
    count, length = min(SHOWN, len(samples)), min(LENGTH, samples.shape[1])
    rows = samples[:count, :length].swapaxes(0, 1).reshape(count * length, *samples.shape[2:])
    path = subject.folder / STRIP
    path.parent.mkdir(exist_ok=True)
    _files.replace(path, png(mosaic(rows, count)))
