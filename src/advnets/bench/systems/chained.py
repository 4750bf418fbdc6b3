"""What systems share that draw samples by Markov chains: the protocol is part of the number."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt8

import advnets
from advnets import _files, chains
from advnets.bench.evaluations import Evaluation, Subject
from advnets.bench.folders import SAMPLES
from advnets.bench.frames import mosaic, png
from advnets.bench.protocol import score
from advnets.bench.results import Json, as_json
from advnets.bench.settings import Settings
from advnets.chains import Chained, Pixels, Protocol
from advnets.mixing import mixing
from advnets.training.devices import is_main_process

# Chains may start from so many training rows, chosen at random; a saved model has them with it.
STARTS = 1000
# The other protocols: as many chains as the paper takes samples, each for at most so many steps.
MANY, STEPS = 10_000, 200
# A picture of some chains, sample by sample; and from how many in a row classes are counted.
SHOWN, LENGTH = 10, 60
IN_A_ROW = (10, 20, 100)
# How they mix is measured of at most so many chains, and at least so many samples.
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
    """
    count = min(len(images), max(STARTS, settings.num_chains))
    rows = np.random.default_rng(seed).choice(len(images), count, replace=False)
    starts = jnp.asarray(images[np.sort(rows)])
    protocol = settings.chains
    return Chained(
        chain, starts, protocol.num_chains, protocol.burn_in, protocol.thin, protocol.pixels
    )


class Chains(Evaluation):
    """How the chains mix, and what the same model scores by other protocols.

    The integrated autocorrelation time, in steps of the chain, is of the samples that are scored:
    the median over their first ten principal components. Classes are those of the nearest training
    images, where the data have labels.
    """

    def measure(self, subject: Subject) -> Json:
        model = subject.model
        if not isinstance(model, Chained):
            raise TypeError(f"chains are measured of a Chained model; got {type(model).__name__}")
        protocol = model.protocol
        # Another epoch's key than any that is scored.
        key = jax.random.fold_in(subject.key, 0)
        few = dataclasses.replace(protocol, num_chains=min(protocol.num_chains, MEASURED))
        n = max(max(IN_A_ROW) * few.num_chains, LEAST)
        own = model.drawn(key, n, few, progress=subject.progress and "chains: how they mix")
        found: dict[str, Any] = {"protocol": as_json(protocol), **_mixed(own, protocol)}
        found["distinct_classes"] = _distinct(own, subject)
        if is_main_process():
            write_strip(subject, own)
        found["others"] = [_scored(model, other, subject, key) for other in others(protocol)]
        return found

    def line(self, found: Json) -> str:
        assert isinstance(found, dict)
        said: Any = found
        time = f"{said['autocorrelation_time']:.3g} steps"
        if not said["trusted"]:
            time = f"more than {time}"
        lines = f"Chains ({Protocol(**said['protocol'])}): autocorrelation time {time}"
        classes = said["distinct_classes"]
        if classes:
            longest = max(classes, key=int)
            lines += f", {classes[longest]:.1f} classes in {longest} samples in a row"
        for other in said["others"]:
            test = other["score"]["test"]
            lines += (
                f"; by {Protocol(**other['protocol'])}: {test['mean']:.1f} ± "
                f"{test['standard_error']:.1f} nats"
            )
        return lines


CHAIN_EVALUATIONS: dict[str, Evaluation] = {"chains": Chains()}


def others(protocol: Protocol) -> tuple[Protocol, Protocol]:
    """The two other protocols that a row is shown at: one chain, and a chain for each sample.

    Args:
        protocol: the row's own.

    Returns:
        One chain with consecutive samples after the same burn-in; and 10,000 chains, each of which
        gives one sample after its burn-in, or after 200 steps where that is longer.
    """
    few = dataclasses.replace(protocol, num_chains=1, thin=1)
    return few, Protocol(MANY, min(protocol.burn_in, STEPS), 1, protocol.pixels)


def _scored(model: Chained, protocol: Protocol, subject: Subject, key: Key[Array, ""]) -> Json:
    shown = subject.progress and f"chains: {protocol}"
    n = MANY
    if protocol.num_chains > 1:  # from rows of their own, as many as there are
        rows = np.random.default_rng(0).permutation(len(subject.data.train))[:n]
        model = dataclasses.replace(model, starts=jnp.asarray(subject.data.train[rows]))
    drawn = model.drawn(key, n, protocol, progress=shown)
    samples = np.concatenate(drawn.swapaxes(0, 1))[:n]
    return {
        "protocol": as_json(protocol),
        "score": as_json(score(samples, subject.data, subject.preprocess)),
    }


def _mixed(samples: Float[np.ndarray, "chains samples *shape"], protocol: Protocol) -> Any:
    found = mixing(samples)
    finite = np.isfinite(found.time)
    return {
        "autocorrelation_time": found.time * protocol.thin if finite else None,
        "effective_samples": found.effective_samples,
        "of_samples": int(np.prod(samples.shape[:2])),
        "trusted": found.trusted,
    }


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
    """
    rows, _ = advnets.neighbours.nearest(jnp.asarray(samples), jnp.asarray(images))
    return np.asarray(labels)[np.asarray(rows)]


def distinct_classes(classes: Int[np.ndarray, "chains samples"]) -> dict[str, float]:
    """How many classes there are among 10, 20 and 100 samples of a chain in a row, on average.

    Args:
        classes: the class of each sample of each chain, in order.

    Returns:
        The mean over all such stretches, by their length as text; of those that chains have.
    """
    found = {}
    for length in IN_A_ROW:
        if length <= classes.shape[1]:
            windows = np.lib.stride_tricks.sliding_window_view(classes, length, axis=1)
            ordered = np.sort(windows, axis=2)
            counts = 1 + (np.diff(ordered, axis=2) != 0).sum(2)
            found[f"{length}"] = float(counts.mean())
    return found


def write_strip(subject: Subject, samples: Float[np.ndarray, "chains samples *shape"]) -> None:
    """Writes consecutive samples of some chains as a picture, a row for each step."""
    count, length = min(SHOWN, len(samples)), min(LENGTH, samples.shape[1])
    rows = samples[:count, :length].swapaxes(0, 1).reshape(count * length, *samples.shape[2:])
    path = subject.folder / STRIP
    path.parent.mkdir(exist_ok=True)
    _files.replace(path, png(mosaic(rows, count)))
