"""The settings of every experiment: its data, and how often and on how many samples to score."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

import advnets

# The preprocessing of images before a model sees them.
PREPROCESSING: dict[str, Callable[..., Any]] = {
    "unit": advnets.preprocessing.to_unit_interval,
    "gcn": advnets.preprocessing.gcn,
}
Preprocessing = Literal["unit", "gcn"]
FLOAT32 = np.finfo(np.float32)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Data and protocol; each system adds settings of its own.

    Raises:
        ValueError: for a setting out of range.
    """

    dataset: str = "mnist"
    """digits, mnist, cifar10, tfd, imagefolder, or owner/name on the Hub."""
    image_size: int | None = None
    """imagefolder and owner/name: height and width to resize images to."""
    proper_folds: bool = False
    """tfd: validate on rows that no fold tests on (the standard folds overlap)."""
    preprocessing: Preprocessing = "unit"
    """unit: pixels in [0, 1]; gcn: global contrast normalisation to norm 55."""
    epochs: int = 250
    """Epochs to train."""
    evaluate_every: int = 10
    """Epochs between validation likelihoods, and between checkpoints."""
    num_samples: int = 10_000
    """Samples that the Parzen window is fitted to."""

    def __post_init__(self) -> None:
        _check_numbers("", dataclasses.asdict(self))
        check_counts(
            {
                "epochs": self.epochs,
                "the number of epochs between evaluations": self.evaluate_every,
                "the number of samples": self.num_samples,
                "the image size": 1 if self.image_size is None else self.image_size,
            }
        )
        check_choice("the preprocessing", self.preprocessing, PREPROCESSING)


@dataclasses.dataclass(frozen=True)
class GameSettings(Settings):
    """The settings of every game, besides its players.

    Raises:
        ValueError: for a setting out of range.
    """

    batch_size: int = 100
    """Examples in a minibatch."""

    def __post_init__(self) -> None:
        Settings.__post_init__(self)
        check_counts({"the batch size": self.batch_size})


def check_counts(counts: dict[str, int]) -> None:
    """Refuses counts below 1, by name."""
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1; got {value}")


def _check_numbers(name: str, value: Any) -> None:
    """Refuses numbers that float32 or int32 can't represent, by name."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{name} must be finite; got {value}")
        least, greatest = float(FLOAT32.tiny), float(FLOAT32.max)
        if value and not least <= abs(value) <= greatest:
            raise ValueError(
                f"{name} must be 0 or from {least:.2g} to {greatest:.2g} in size, to fit float32; "
                f"got {value}"
            )
    if isinstance(value, int) and not -(2**31) <= value < 2**31:
        raise ValueError(f"{name} must fit in int32; got {value}")
    if isinstance(value, list | tuple):
        for part in value:
            _check_numbers(name, part)
    for key, part in value.items() if isinstance(value, dict) else ():
        _check_numbers(f"{name}.{key}".lstrip("."), part)


def check_choice(name: str, chosen: str, allowed: Any) -> None:
    """Raises a ValueError for a value that is not one of the choices."""
    if chosen not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}; got {chosen!r}")
