"""Evaluations of a fitted system besides its likelihood, each an entry of `EVALUATIONS`."""

import abc
import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Array, Float, Key

import advnets
from advnets import _warnings
from advnets.bench.protocol import Preprocess
from advnets.bench.results import Json
from advnets.paper_figures import Sampler
from advnets.training.devices import is_main_process

# The number of samples, and of held-out images, whose nearest training images are looked up.
MEMORISATION_ROWS = 1000
# Below the first ratio of their spread to the data's, many samples are alike; below the second,
# nearly all.
ALIKE, COLLAPSED = 0.5, 0.1


@dataclasses.dataclass(frozen=True)
class Subject:
    """What an evaluation gets after the last epoch.

    Attributes:
        model: the fitted system's distribution.
        key: the key of the samples that are scored.
        first: returns the first n of those samples.
        data: the data; test rows are for final numbers only.
        preprocess: maps the data's pixels to the range of the samples.
        folder: where a picture may be written.
        progress: whether to show progress.
    """

    model: Sampler
    key: Key[Array, ""]
    first: Callable[[int], Float[np.ndarray, " n *shape"]]
    data: advnets.data.Dataset
    preprocess: Preprocess
    folder: Path
    progress: bool = False


class Evaluation(abc.ABC):
    """A measurement; subclass it, and add an instance to `EVALUATIONS` under a name."""

    @abc.abstractmethod
    def measure(self, subject: Subject) -> Json:
        """The value that `results.json` will hold under the evaluation's name."""

    @abc.abstractmethod
    def line(self, found: Json) -> str:
        """A line of the report."""

    def numbers(self, found: Json) -> Mapping[str, float]:
        """Numbers whose spread over seeds is reported, by name; none unless overridden."""
        return {}


class Memorisation(Evaluation):
    """Whether samples are nearer to the training images than held-out images are."""

    def measure(self, subject: Subject) -> Json:
        found = advnets.memorisation.memorisation(
            subject.first(MEMORISATION_ROWS),
            subject.preprocess(subject.data.train),
            subject.preprocess(subject.data.validation[:MEMORISATION_ROWS]),
        )
        if is_main_process():
            advnets.figures.memorisation(subject.folder / "memorisation.png", found)
        fields = dataclasses.asdict(found)
        return {name: float(value) for name, value in fields.items() if np.ndim(value) == 0}

    def line(self, found: Json) -> str:
        return (
            f"Memorisation: a sample is nearer to its nearest training image than a held-out image "
            f"is to its own in {_number(found, 'auc'):.0%} of pairs"
        )


class Spread(Evaluation):
    """How much samples vary, relative to held-out images: hardly at all after a collapse."""

    def measure(self, subject: Subject) -> Json:
        samples = subject.first(MEMORISATION_ROWS)
        images = subject.preprocess(subject.data.validation[:MEMORISATION_ROWS])
        of_samples, of_images = (
            float(np.var(rows, axis=0, dtype=np.float64).sum()) for rows in (samples, images)
        )
        spread = math.sqrt(of_samples / of_images) if of_images else None
        if spread is not None and spread < COLLAPSED and is_main_process():
            _warnings.warn(
                f"the samples are nearly all alike: they vary {spread:.2g} times as much as the "
                "data; the generator has collapsed, or has hardly been trained (for remedies, see "
                'the page "When a game collapses" of the documentation)'
            )
        return {"standard_deviation_ratio": spread}

    def line(self, found: Json) -> str:
        if found == {"standard_deviation_ratio": None}:
            return "Spread: the data do not vary"
        ratio = _number(found, "standard_deviation_ratio")
        alike = ""
        if ratio < ALIKE:
            degree = "nearly all are alike" if ratio < COLLAPSED else "many are alike"
            alike = f': {degree}; the page "When a game collapses" has remedies'
        return f"Spread: samples vary {ratio:.2f} times as much as held-out images{alike}"


def _number(found: Json, name: str) -> float:
    number = found.get(name) if isinstance(found, dict) else None
    if not isinstance(number, int | float):
        raise ValueError(f"a result of this evaluation needs a number {name!r}; got {found!r:.200}")
    return number


EVALUATIONS: dict[str, Evaluation] = {"memorisation": Memorisation(), "spread": Spread()}
