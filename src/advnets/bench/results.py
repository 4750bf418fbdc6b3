"""The JSON files of runs as types: one reader, one writer, errors that name file and field."""

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

# Kept as plain JSON, because their types belong to their system.
Settings: TypeAlias = dict[str, Any]
Read = TypeVar("Read")

# The most pixels in a row or a column, so that a damaged file can't give an absurd image shape.
LARGEST = 2**14

CAVEAT = (
    "A Parzen log-likelihood compares samples that were scored alike: it moves by tens of nats "
    "with the number of samples, k-means centroids beat real images at it, and it says little of "
    "how samples look."
)


class Score(msgspec.Struct, frozen=True, omit_defaults=True):
    """A Parzen log-likelihood by the paper's protocol, in nats.

    Attributes:
        num_samples: the number of samples that the window was fitted to.
        bandwidth: the chosen bandwidth; with several folds, each fold's.
        at_grid_end: `"lowest"` or `"highest"` if the bandwidth is an end of the grid.
        validation: the mean over validation rows and its standard error, over rows or, where there
            are several, over folds.
        test: the same for the test rows.
        folds: with several folds, each fold's score.
        iterations: for k-means centroids, the iterations of k-means.
    """

    num_samples: int
    bandwidth: float | tuple[float, ...]
    at_grid_end: GridEnd | None
    validation: LogLikelihood
    test: LogLikelihood
    folds: "tuple[Score, ...]" = ()
    iterations: int | None = None


class Reference(msgspec.Struct, frozen=True, omit_defaults=True):
    """The score of a reference row, with its test score repeated at the top level.

    Attributes:
        num_samples: as in [`advnets.bench.results.Score`][].
        bandwidth: as in a score.
        at_grid_end: as in a score.
        validation: as in a score.
        test: as in a score.
        mean: that of `test`.
        standard_error: that of `test`.
        n: that of `test`.
        folds: as in a score.
        iterations: as in a score.
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
        """A score with its test score repeated at the top level."""
        test = score.test
        return Reference(
            **msgspec.structs.asdict(score),
            mean=test.mean,
            standard_error=test.standard_error,
            n=test.n,
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
    """The scores that a run's score is compared with.

    Attributes:
        training_images: that of real training images in place of samples.
        centroids: that of their k-means centroids, if it is recorded.
        paper: the paper's, if it has one for these data.
    """

    training_images: Reference
    centroids: Reference | None
    paper: Published | None


class Best(msgspec.Struct, frozen=True):
    """The best epoch by validation likelihood.

    Attributes:
        epoch: the epoch's number.
        parzen: its score.
    """

    epoch: int
    parzen: Score


class Measured(msgspec.Struct, frozen=True):
    """The part of a row of `metrics.jsonl` by which the best epoch is chosen.

    Attributes:
        epoch: the epoch's number.
        validation: its likelihood on validation rows, if it was measured.
        model_sha256: the SHA-256 of its model's file, if that was kept as the best so far.
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
        folder: the first stage's folder.
        sha256: the SHA-256 of its generator's file.
    """

    folder: str
    sha256: str


class Device(msgspec.Struct, frozen=True):
    """The hardware of a run.

    Attributes:
        kind: the name of the processor or accelerator.
        platform: JAX's name of its platform.
        count: the number of devices that JAX had.
        cpu_cores: the number of CPU cores of the host.
    """

    kind: str
    platform: str
    count: int
    cpu_cores: int | None


class Provenance(msgspec.Struct, frozen=True):
    """Where a number comes from.

    Attributes:
        command: the command that was run.
        commit: the commit of the checkout, if there was one.
        versions: those of Python and the packages.
        device: the device that it ran on.
        date: when it began, in UTC.
    """

    command: str
    commit: str | None
    versions: dict[str, str]
    device: Device
    date: str

    @staticmethod
    def here() -> "Provenance":
        """The provenance of what this process computes."""
        return msgspec.convert(provenance(), Provenance)

    def line(self, took: str) -> str:
        """When and where it was computed, for a report: date, time taken, device and commit.

        Args:
            took: the time taken, such as `"12 s"`.

        Returns:
            The text, without a full stop.
        """
        commit = f", commit {self.commit[:12]}" if self.commit else ""
        return f"{self.date}, {took} on {self.device.kind}{commit}"


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """What `results.json` of a run holds.

    Attributes:
        benchmark: its name.
        seed: the seed of everything random.
        recipe: the settings.
        epochs: the epochs trained.
        updates: the number of discriminator updates.
        updates_per_second: their rate.
        first_stage: the given first stage that it was built on, if any.
        order: the order of updates of an adversarial recipe.
        parzen: the score after the last epoch.
        best: the score of the best epoch on validation.
        references: the scores to compare them with.
        caveat: how to read the scores.
        memorisation: whether samples are nearer to training images than held-out images are.
        data: where the data came from.
        provenance: the provenance of the run.
        evaluations: further evaluations, by name.
        data_sha256: the SHA-256 of the data, all splits; None in results of earlier versions.
        changes: the settings that were changed when the run was resumed.
        files: the SHA-256 of the run's files, by name.
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
        standard_deviation: the sample standard deviation; None for one value.
        min: the smallest.
        max: the largest.
        n: the number of values.
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
        updates_per_second: the rate of all runs together.
        references: the scores to compare them with.
        caveat: how to read the scores.
        data: where the data came from.
        provenance: the provenance of the runs.
        evaluations: the numbers of the runs' evaluations, by name.
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
    evaluations: dict[str, Distribution] = {}


class RateRow(msgspec.Struct, frozen=True):
    """The scores at a learning rate.

    Attributes:
        learning_rate: the initial learning rate.
        diverged: the seeds that diverged.
        validation: what a rate is chosen by: the validation likelihoods of the best epochs, or the
            number that the sweep minimises, after the last epoch.
        last: the test scores after the last epoch.
        best: the test scores of the best epochs on validation.
        evaluations: the numbers of the evaluations of the last epochs, by name.
    """

    learning_rate: float
    diverged: tuple[int, ...]
    validation: Distribution | None
    last: Distribution | None
    best: Distribution | None
    evaluations: dict[str, Distribution] = {}


class Chosen(msgspec.Struct, frozen=True):
    """The learning rate chosen on validation rows.

    Attributes:
        learning_rate: the initial learning rate.
        at_grid_end: `"lowest"` or `"highest"` if it is an end of the given ones, so that one beyond
            may be better.
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
        updates_per_second: the rate of all runs together.
        references: the scores to compare the rows with.
        caveat: how to read the scores.
        data: where the data came from.
        provenance: the provenance of the runs.
        minimised: the name of the evaluations' number whose lowest mean is chosen; empty for the
            highest validation likelihood.
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
    minimised: str = ""


class Rescored(msgspec.Struct, frozen=True):
    """What `parzen-N.json` holds: a finished run scored with another number of samples.

    Attributes:
        benchmark: the run's.
        seed: the run's.
        generator: which of its generators was scored.
        epoch: that generator's epoch.
        parzen: the score.
        caveat: how to read the score.
        data: where the data came from.
        run: the provenance of the run.
        provenance: the provenance of the score.
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
        preprocessing: the preprocessing of its images.
        seed: the seed of the centroids' initialisation.
        training_images: the score of real training images in place of samples.
        centroids: the score of their k-means centroids.
        data: where the data came from.
        provenance: the provenance of the scores.
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
        test: the score of the test rows.
    """

    test: LogLikelihood


class Entry(msgspec.Struct, frozen=True):
    """The part of a run's result that a table shows, so that tables also read older runs.

    Attributes:
        benchmark: the run's.
        seed: the run's.
        recipe: its settings.
        parzen: its score after the last epoch.
        data: where the data came from.
        first_stage: the given first stage that it was built on, if any.
        evaluations: further evaluations, by name.
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
    """What `config.json` holds: everything that a run depends on, besides data and versions.

    Attributes:
        benchmark: the benchmark's name.
        seed: the seed, or the first of several.
        image_shape: the shape of a training image.
        first_stage: the given first stage that it is built on, if any.
        recipe: the settings.
        seeds: for runs trained together, the number of seeds.
        learning_rates: for a sweep, its learning rates.
        data_sha256: the SHA-256 of the data, all splits; None in runs of earlier versions.
        changes: the settings that were changed when the run was resumed.
        called: what the run is called, if its data are not the benchmark's.
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
    """Reads a JSON file as a type.

    Args:
        path: the file.
        kind: the type. Fields of the file that it does not have are ignored.

    Returns:
        A value of the type.

    Raises:
        ValueError: if the file can't be read, was changed after it was written, or is not of the
            type; the message names file and field.
    """
    return _documents.read_sealed(path, kind)


def encode(content: object) -> bytes:
    """A value of any of these types as indented JSON.

    Args:
        content: a structure, a dataclass, or JSON values; numbers and arrays of NumPy and JAX
            become Python's.

    Returns:
        The JSON. A number that JSON lacks, such as NaN, becomes null.

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
    """A value as JSON types (dictionaries, lists, numbers, text); a ValueError if it has none."""
    return msgspec.json.decode(msgspec.json.encode(content, enc_hook=_plain))


def _plain(value: Any) -> Any:
    if hasattr(value, "__array__"):
        with contextlib.suppress(TypeError):  # a random key is not an array of numbers
            return np.asarray(value).tolist()
    kind = type(value).__name__
    raise ValueError(f"a value of type {kind} can't be kept as JSON; make it numbers and text")


def write(path: Path, content: object) -> None:
    """Writes a structure as JSON, with its own SHA-256, to a file, atomically.

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
        ValueError: if there are none, or their spread overflows a float.

    Example:
        >>> from advnets.bench.results import distribution
        >>> distribution([1.0, 3.0]).mean
        2.0
    """
    n = len(values)
    if n == 0:
        raise ValueError("there must be at least one value")
    mean = sum(values) / n
    try:
        squares = sum((value - mean) ** 2 for value in values)
    except OverflowError:
        raise ValueError(f"the spread of {list(values)} overflows a float") from None
    deviation = (squares / (n - 1)) ** 0.5 if n > 1 else None
    return Distribution(mean, deviation, min(values), max(values), n, tuple(values))
