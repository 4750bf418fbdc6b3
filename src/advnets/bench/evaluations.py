"""What is measured of a fitted system beside its likelihood: an entry here for each evaluation."""

import abc
import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Array, Float, Key

import advnets
from advnets.bench.protocol import Preprocess
from advnets.bench.results import Json
from advnets.paper_figures import Sampler
from advnets.training.devices import is_main_process

# Samples, and held-out images, whose nearest training images are looked up.
MEMORISATION_ROWS = 1000


@dataclasses.dataclass(frozen=True)
class Subject:
    """What there is to evaluate after the last epoch.

    Attributes:
        model: the fitted system's distribution.
        key: the key of the samples that are scored.
        first: gives the first n of those samples.
        data: the data; test rows are for final numbers only.
        preprocess: takes the data's pixels to where the samples are.
        folder: where a picture may go.
    """

    model: Sampler
    key: Key[Array, ""]
    first: Callable[[int], Float[np.ndarray, " n *shape"]]
    data: advnets.data.Dataset
    preprocess: Preprocess
    folder: Path


class Evaluation(abc.ABC):
    """Something to measure; subclass it, and add it to `EVALUATIONS` under a name."""

    @abc.abstractmethod
    def measure(self, subject: Subject) -> Json:
        """What `results.json` is to hold under the evaluation's name."""

    @abc.abstractmethod
    def line(self, found: Json) -> str:
        """A line of the report."""


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
        assert isinstance(found, dict)
        return (
            f"Memorisation: a sample is nearer to its nearest training image than a held-out image "
            f"to its own in {found['auc']:.0%} of pairs"
        )


EVALUATIONS: dict[str, Evaluation] = {"memorisation": Memorisation()}
