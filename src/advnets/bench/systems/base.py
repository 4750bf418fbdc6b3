"""What every system is to an experiment: something that is fitted to data and then drawn from."""

import abc
import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import jax
from jaxtyping import Array, Key

import advnets
from advnets.bench.evaluations import Evaluation
from advnets.bench.results import FirstStage, Provenance
from advnets.bench.settings import Settings
from advnets.bench.watching import Watch
from advnets.paper_figures import Sampler
from advnets.training import Callback, Learned
from advnets.training.checkpoints import Change
from advnets.training.identity import changeable
from advnets.training.journal import Metrics


@dataclasses.dataclass(frozen=True)
class Run:
    """A run that is ready to start: settings checked, data loaded, folder made.

    Attributes:
        name: the benchmark's.
        system: what is fitted.
        seed: the seed of everything random.
        folder: where its files go.
        resume: whether it is continued.
        data: the data.
        provenance: where its numbers will come from.
        first_stage: what it builds on, if on a given first stage.
        devices: how many devices to spread it over.
        shard_layers: whether large layers are sharded over them.
        published: the paper's number for it and its standard error, in nats.
        data_sha256: of the data, all splits.
        changes: which settings were changed when it was resumed.
        callbacks: what a system that is trained calls after every evaluation.
        monitor: whether a game is monitored at every evaluation.
        called: what people call it, see [`advnets.bench.folders.called`][]; its name unless given.
    """

    name: str
    system: "System"
    seed: int
    folder: Path
    resume: bool
    data: advnets.data.Dataset
    provenance: Provenance
    first_stage: FirstStage | None = None
    devices: int | None = None
    shard_layers: bool = False
    published: tuple[float, float] | None = None
    data_sha256: str | None = None
    changes: tuple[Change, ...] = ()
    callbacks: tuple[Callback, ...] = ()
    monitor: bool = False
    called: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "called", self.called or self.name)

    def resumes(self, held: bool) -> bool | Literal["changed"]:
        """How [`advnets.train`][] is to resume, where a folder holds the run already."""
        if not (self.resume and held):
            return False
        return "changed" if self.changes else True


@dataclasses.dataclass(frozen=True)
class Fitted:
    """What a system has become.

    Attributes:
        model: what samples are drawn from.
        metrics: a row for each epoch, with what was measured between epochs.
        updates: the number of updates made.
        updates_per_second: their rate; None if there was nothing left to do.
        changes: what was changed when it was resumed.
    """

    model: Sampler
    metrics: Sequence[Metrics]
    updates: int = 0
    updates_per_second: float | None = None
    changes: tuple[Change, ...] = ()

    @staticmethod
    def of(model: Sampler, trained: advnets.Trained | Learned[Any]) -> "Fitted":
        """What training or fitting came to, but for changes of settings, which the run has itself.

        Args:
            model: what samples are drawn from.
            trained: what [`advnets.train`][] or [`advnets.training.fit`][] returned.

        Returns:
            It, for an experiment.
        """
        return Fitted(
            model,
            trained.metrics,
            trained.updates,
            trained.updates_per_second,
            tuple(change for change in trained.changes if not changeable(change.name)),
        )


class System(abc.ABC):
    """Something that is fitted to data; subclass it, and give a benchmark its class.

    Attributes:
        settings: what it is told.
        settings_type: the type of its settings.
        model_types: your own classes and functions in what it becomes, by which
            [`advnets.load_model`][] opens that again.
        changeable: the names of settings that may be changed when a run is resumed.
        evaluations: what is measured of this kind of system beside what is of all, by name.
        monitored: whether it is a game that can be monitored, as its runs are told by `monitor`.
    """

    settings_type: ClassVar[type[Settings]] = Settings
    model_types: ClassVar[tuple[Callable[..., Any], ...]] = ()
    changeable: ClassVar[tuple[str, ...]] = ()
    evaluations: ClassVar[Mapping[str, Evaluation]] = {}
    monitored: ClassVar[bool] = False

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @abc.abstractmethod
    def fit(self, run: Run, watch: Watch, *, progress: bool) -> Fitted:
        """Fits the system to a run's data, from its folder's checkpoints on if it is continued.

        Args:
            run: the run.
            watch: to be called with the epoch's number and the model every
                `settings.evaluate_every` epochs and after the last. Where [`advnets.train`][] does
                not write `metrics.jsonl`, its `row` does both.
            progress: show progress.

        Returns:
            What it has become.
        """

    def fit_together(
        self, runs: Sequence[Run], watches: Sequence[Watch], folder: Path, *, progress: bool
    ) -> list[Fitted | None]:
        """Fits several runs: one after another, unless a system can do better.

        Args:
            runs: runs of this class of systems.
            watches: one for each.
            folder: the folder of their folders.
            progress: show progress.

        Returns:
            What each has become; None for one that diverged.

        Raises:
            TrainingDiverged: if no run is left.
            ValueError: if there is not one watch for each run, or two runs have one name.
        """
        found: list[Fitted | None] = []
        for run, watch in zip(runs, watches, strict=True):
            try:
                found.append(run.system.fit(run, watch, progress=progress))
            except advnets.TrainingDiverged as error:
                warnings.warn(f"{run.folder.name}: {error}", RuntimeWarning, stacklevel=2)
                found.append(None)
        if not any(found):
            raise advnets.TrainingDiverged("training diverged in each run")
        return found

    def adapted(self, data: advnets.data.Dataset) -> advnets.data.Dataset:
        """The data in the shape that the system takes them in; as they are unless it says so."""
        return data

    def check(self, data: advnets.data.Dataset, first_stage: FirstStage | None) -> None:
        """Raises a ValueError, before any work, if the settings do not fit the data."""
        return  # any data, unless a system says otherwise

    def check_together(self) -> None:
        """Raises a ValueError if several runs of it can't be fitted at once."""
        return  # one after another, unless a system says otherwise

    def check_room(self, data: advnets.data.Dataset, runs: int) -> None:
        """Raises a ValueError, before any work, if several runs are too many for the machine."""
        return  # one after another, unless a system says otherwise

    def context(self) -> contextlib.AbstractContextManager[None]:
        """What fitting and sampling run in, such as a precision of matrix products."""
        return contextlib.nullcontext()

    def sample_key(self, seed: int) -> Key[Array, ""]:
        """The key of a run's samples, to fold the epoch's number into.

        Raises an OverflowError for a seed beyond 64 bits.
        """
        return jax.random.split(jax.random.key(seed), 3)[2]

    def title(self) -> str:
        """What a picture of a run says of its settings."""
        return f"{self.settings.epochs} epochs"

    def order(self) -> str | None:
        """The order of updates, of systems that have one."""
        return None

    def players(self, image_shape: tuple[int, ...]) -> advnets.Players | None:
        """The shapes of the players whose state a checkpoint holds, of systems that have players.

        Args:
            image_shape: that of the training images.

        Returns:
            Players whose arrays are shapes, as `eqx.filter_eval_shape` gives them; or None.
        """
        return None

    def load(self, path: Path, image_shape: tuple[int, ...]) -> Sampler:
        """Opens a model that a run has left.

        Args:
            path: the file.
            image_shape: that of the training images.

        Returns:
            The model.

        Raises:
            ValueError: if the file is damaged, or another system's.
        """
        model: Sampler = advnets.load_model(path, known=self.model_types)
        return model
