"""What runs leave as JSON, as types: one reader, one writer, errors that name file and field."""

import contextlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import msgspec
import numpy as np

from advnets import _documents
from advnets._documents import Json as Json
from advnets._documents import decode as decode
from advnets._provenance import provenance
from advnets.parzen import GridEnd, LogLikelihood
from advnets.training.checkpoints import Change

# Kept as JSON holds them: their types are their system's.
Settings: TypeAlias = dict[str, Any]
Read = TypeVar("Read")

# The most pixels in a row or a column: no image's shape comes from a damaged file.
LARGEST = 2**14

CAVEAT = (
    "A Parzen log-likelihood compares samples that were scored alike: it moves by tens of nats "
    "with the number of samples, k-means centroids beat real images at it, and it says little of "
    "how samples look."
)


class Score(msgspec.Struct, frozen=True, omit_defaults=True):
    """A Parzen log-likelihood by the paper's protocol, in nats.

    Attributes:
        num_samples: the samples that the window was fitted to.
        bandwidth: the chosen one; of several folds, each fold's.
        at_grid_end: `"lowest"` or `"highest"` if it is an end of the grid.
        validation: of the validation rows: the mean and its standard error over rows, or over
            folds where there are several.
        test: of the test rows, likewise.
        folds: of several folds, each fold's score.
        iterations: of k-means centroids, the rounds that made them.
    """

    num_samples: int
    bandwidth: float | tuple[float, ...]
    at_grid_end: GridEnd | None
    validation: LogLikelihood
    test: LogLikelihood
    folds: "tuple[Score, ...]" = ()
    iterations: int | None = None


class Reference(msgspec.Struct, frozen=True, omit_defaults=True):
    """The score of something in the place of samples, with that of the test set in short form.

    Attributes:
        num_samples: as for [`advnets.bench.results.Score`][], like all that follow.
        bandwidth: likewise.
        at_grid_end: likewise.
        validation: likewise.
        test: likewise.
        mean: the test set's.
        standard_error: the test set's.
        n: the test set's.
        folds: as for a score.
        iterations: likewise.
    """

    num_samples: int
    bandwidth: float | tuple[float, ...]
    at_grid_end: GridEnd | None
    validation: LogLikelihood
    test: LogLikelihood
    mean: float
    standard_error: float
    n: int
    folds: tuple[Score, ...] = ()
    iterations: int | None = None

    @staticmethod
    def of(score: Score) -> "Reference":
        """A score with its test score in short form."""
        test = score.test
        return Reference(
            num_samples=score.num_samples,
            bandwidth=score.bandwidth,
            at_grid_end=score.at_grid_end,
            validation=score.validation,
            test=test,
            mean=test.mean,
            standard_error=test.standard_error,
            n=test.n,
            folds=score.folds,
            iterations=score.iterations,
        )


class Published(msgspec.Struct, frozen=True):
    """The paper's number, in nats.

    Attributes:
        mean: the log-likelihood of the test set.
        standard_error: its standard error.
    """

    mean: float
    standard_error: float


class References(msgspec.Struct, frozen=True):
    """What a run's score is shown beside.

    Attributes:
        training_images: real training images in the place of samples.
        centroids: k-means centroids of them, where they are recorded.
        paper: the paper's number, where it has one for these data.
    """

    training_images: Reference
    centroids: Reference | None
    paper: Published | None


class Best(msgspec.Struct, frozen=True):
    """The best epoch by validation likelihood.

    Attributes:
        epoch: which one.
        parzen: its score.
    """

    epoch: int
    parzen: Score


class Measured(msgspec.Struct, frozen=True):
    """The part of a row of `metrics.jsonl` by which the best epoch is chosen.

    Attributes:
        epoch: which one.
        validation: its likelihood on validation rows, if it was measured.
        model_sha256: of the file of its model, if that was kept as the best so far.
    """

    epoch: int
    validation: LogLikelihood | None = None
    model_sha256: str | None = None

    @property
    def mean(self) -> float:
        """The mean log-likelihood of validation rows, in nats; -inf if it was not measured."""
        return -math.inf if self.validation is None else self.validation.mean


class FirstStage(msgspec.Struct, frozen=True):
    """The finished first stage that a run builds on.

    Attributes:
        folder: where it is.
        sha256: of its generator's file.
    """

    folder: str
    sha256: str


class Device(msgspec.Struct, frozen=True):
    """What a run ran on.

    Attributes:
        kind: the name of the processor or accelerator.
        platform: JAX's name of its platform.
        count: how many JAX had.
        cpu_cores: the cores of the host.
    """

    kind: str
    platform: str
    count: int
    cpu_cores: int | None


class Provenance(msgspec.Struct, frozen=True):
    """Where a number comes from.

    Attributes:
        command: what was run.
        commit: of the checkout, if there was one.
        versions: of Python and the packages.
        device: what it ran on.
        date: when it began, UTC.
    """

    command: str
    commit: str | None
    versions: dict[str, str]
    device: Device
    date: str

    @staticmethod
    def here() -> "Provenance":
        """That of this process."""
        return msgspec.convert(provenance(), Provenance)


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """What `results.json` of a run holds.

    Attributes:
        benchmark: its name.
        seed: the seed of everything random.
        recipe: the settings.
        epochs: the epochs trained.
        updates: the discriminator's updates.
        updates_per_second: their rate.
        first_stage: what it was built on, if on a given first stage.
        order: the order of updates, of an adversarial recipe.
        parzen: the score after the last epoch.
        best: that of the best epoch on validation.
        references: what to read them beside.
        caveat: how to read them.
        memorisation: whether samples are nearer to training images than held-out images are.
        data: where the data came from.
        provenance: where all of it comes from.
        evaluations: further evaluations, by name.
        data_sha256: of the data, all splits; None in results of earlier versions.
        changes: what was changed when the run was resumed.
        files: the SHA-256 of the files that the run has left, by name.
    """

    benchmark: str
    seed: int
    recipe: Settings
    epochs: int
    updates: int
    updates_per_second: float | None
    first_stage: FirstStage | None
    order: str | None
    parzen: Score
    best: Best
    references: References
    caveat: str
    memorisation: Json
    data: str
    provenance: Provenance
    evaluations: dict[str, Json] = {}
    data_sha256: str | None = None
    changes: tuple[Change, ...] = ()
    files: dict[str, str] = {}


class Distribution(msgspec.Struct, frozen=True):
    """How values spread over seeds.

    Attributes:
        mean: their mean.
        standard_deviation: the sample's; None for one value.
        min: the least.
        max: the greatest.
        n: how many there are.
        values: the values, one for each seed.
    """

    mean: float
    standard_deviation: float | None
    min: float
    max: float
    n: int
    values: tuple[float, ...]


class SeedsResult(msgspec.Struct, frozen=True):
    """What `results.json` of many seeds holds.

    Attributes:
        benchmark: its name.
        seeds: the seeds.
        diverged: those that diverged, which are not counted.
        last: the test scores after the last epoch, in nats.
        best: those of the best epochs on validation.
        recipe: the settings.
        updates_per_second: of all runs together.
        references: what to read them beside.
        caveat: how to read them.
        data: where the data came from.
        provenance: where all of it comes from.
    """

    benchmark: str
    seeds: tuple[int, ...]
    diverged: tuple[int, ...]
    last: Distribution
    best: Distribution
    recipe: Settings
    updates_per_second: float | None
    references: References
    caveat: str
    data: str
    provenance: Provenance


class RateRow(msgspec.Struct, frozen=True):
    """What a learning rate came to.

    Attributes:
        learning_rate: the initial learning rate.
        diverged: the seeds that diverged.
        validation: the validation likelihoods of the best epochs, by which a rate is chosen.
        last: the test scores after the last epoch.
        best: the test scores of the best epochs on validation.
    """

    learning_rate: float
    diverged: tuple[int, ...]
    validation: Distribution | None
    last: Distribution | None
    best: Distribution | None


class Chosen(msgspec.Struct, frozen=True):
    """The learning rate that validation chooses.

    Attributes:
        learning_rate: the initial learning rate.
        at_grid_end: `"lowest"` or `"highest"` if one beyond those given may be better.
    """

    learning_rate: float
    at_grid_end: GridEnd | None


class SweepResult(msgspec.Struct, frozen=True):
    """What `results.json` of a sweep holds.

    Attributes:
        benchmark: its name.
        seeds: the seeds of each learning rate.
        learning_rates: a row for each.
        chosen: the best on validation; None if a seed diverged at each.
        recipe: the settings, without the learning rate.
        updates_per_second: of all runs together.
        references: what to read the rows beside.
        caveat: how to read them.
        data: where the data came from.
        provenance: where all of it comes from.
    """

    benchmark: str
    seeds: tuple[int, ...]
    learning_rates: tuple[RateRow, ...]
    chosen: Chosen | None
    recipe: Settings
    updates_per_second: float | None
    references: References
    caveat: str
    data: str
    provenance: Provenance


class Rescored(msgspec.Struct, frozen=True):
    """What `parzen-N.json` holds: a finished run scored with another number of samples.

    Attributes:
        benchmark: the run's.
        seed: the run's.
        generator: which of its generators.
        epoch: of which epoch that is.
        parzen: the score.
        caveat: how to read it.
        data: where the data came from.
        run: the provenance of the run.
        provenance: that of the score.
    """

    benchmark: str
    seed: int
    generator: str
    epoch: int
    parzen: Score
    caveat: str
    data: str
    run: Provenance
    provenance: Provenance


class ReferenceRows(msgspec.Struct, frozen=True):
    """What a file of reference rows holds.

    Attributes:
        dataset: the data set's name.
        preprocessing: what its images went through.
        seed: the seed of the centroids' start.
        training_images: the score of real training images in the place of samples.
        centroids: that of k-means centroids of them.
        data: where the data came from.
        provenance: where all of it comes from.
    """

    dataset: str
    preprocessing: str
    seed: int
    training_images: Score
    centroids: Score
    data: str
    provenance: Provenance


class TestScore(msgspec.Struct, frozen=True):
    """The part of a score that a table shows.

    Attributes:
        test: of the test rows.
    """

    test: LogLikelihood


class Entry(msgspec.Struct, frozen=True):
    """The part of a run's result that a table shows, so that a table reads older runs too.

    Attributes:
        benchmark: the run's.
        seed: the run's.
        recipe: its settings.
        parzen: its score after the last epoch.
        data: where the data came from.
        first_stage: what it was built on, if on a given first stage.
        evaluations: what else was measured, by name.
    """

    benchmark: str
    seed: int
    recipe: Settings
    parzen: TestScore
    data: str
    first_stage: FirstStage | None = None
    evaluations: dict[str, Json] = {}

    def __post_init__(self) -> None:
        for name, kind in (("dataset", str), ("epochs", int)):
            if not isinstance(self.recipe.get(name), kind):
                raise ValueError(f"Expected `{kind.__name__}` - at `$.recipe.{name}`")


class Config(msgspec.Struct, frozen=True, omit_defaults=True):
    """What `config.json` holds: all that a run depends on beside data and versions.

    Attributes:
        benchmark: the benchmark's name.
        seed: the seed, or the first of several.
        image_shape: that of the training images.
        first_stage: what it is built on, if on a given first stage.
        recipe: the settings.
        seeds: of runs that were trained together, the number of seeds.
        learning_rates: their learning rates, of a sweep.
        data_sha256: of the data, all splits; None in runs of earlier versions.
        changes: which settings were changed when the run was resumed.
        called: what the run is called, where its data are not the benchmark's.
    """

    benchmark: str
    seed: int
    image_shape: tuple[int, ...]
    first_stage: FirstStage | None
    recipe: Settings
    seeds: int | None = None
    learning_rates: tuple[float, ...] = ()
    data_sha256: str | None = None
    changes: tuple[Change, ...] = ()
    called: str = ""

    def __post_init__(self) -> None:
        if not all(1 <= size <= LARGEST for size in self.image_shape):
            raise ValueError(f"Expected sizes from 1 to {LARGEST} - at `$.image_shape`")


def read(path: Path, kind: type[Read]) -> Read:
    """A JSON file as a type.

    Args:
        path: the file.
        kind: the type. Fields that it does not have are ignored.

    Returns:
        A value of the type.

    Raises:
        ValueError: if the file can't be read, was changed after it was written, or is not of the
            type; the message names file and field.
    """
    found: Read = _documents.read_sealed(path, kind)
    return found


def encode(content: object) -> bytes:
    """A value of any of these types as indented JSON.

    Args:
        content: a structure, a dataclass, or what JSON holds; NumPy's and JAX's numbers and arrays
            become Python's.

    Returns:
        The JSON. What JSON has no number for, such as NaN, is null.

    Raises:
        ValueError, TypeError: for what JSON can't hold.

    Example:
        >>> from advnets.bench.results import Published, encode
        >>> print(encode(Published(225.0, 2.0)).decode(), end="")
        {
          "mean": 225.0,
          "standard_error": 2.0
        }
    """
    return (json.dumps(as_json(content), indent=2) + "\n").encode()


def as_json(content: object) -> Any:
    """What JSON makes of a value: dictionaries, lists, numbers, text; a ValueError if nothing."""
    return msgspec.json.decode(msgspec.json.encode(content, enc_hook=_plain))


def _plain(value: Any) -> Any:
    if hasattr(value, "__array__"):
        with contextlib.suppress(TypeError):  # of a random key, which is no array of numbers
            return np.asarray(value).tolist()
    kind = type(value).__name__
    raise ValueError(f"a value of type {kind} can't be kept as JSON; make it numbers and text")


def write(path: Path, content: object) -> None:
    """Writes a structure as JSON, with its own SHA-256, to a file that appears whole or not at all.

    Args:
        path: the file.
        content: a structure, a dataclass or a dictionary.

    Raises:
        ValueError, TypeError: for what JSON can't hold.
        OSError: if it can't be written.
    """
    _documents.write_sealed(path, as_json(content))


def distribution(values: Sequence[float]) -> Distribution:
    """How values spread over seeds.

    Args:
        values: one for each seed, at least one.

    Returns:
        Their distribution.

    Raises:
        ValueError: if there is none, or they are too large for their spread to be a number.

    Example:
        >>> from advnets.bench.results import distribution
        >>> distribution([1.0, 3.0]).mean
        2.0
    """
    n = len(values)
    if n == 0:
        raise ValueError("there must be a value at least")
    mean = sum(values) / n
    try:
        squares = sum((value - mean) ** 2 for value in values)
    except OverflowError:
        raise ValueError(f"the spread of {list(values)} is beyond what a float holds") from None
    deviation = (squares / (n - 1)) ** 0.5 if n > 1 else None
    return Distribution(mean, deviation, min(values), max(values), n, tuple(values))
