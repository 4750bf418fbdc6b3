"""The interface of a system: it is fitted to data, then samples are drawn from it."""

import abc
import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import jax
from jaxtyping import Array, Key

import advnets
from advnets import _warnings
from advnets._counts import counted
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
    """A run that is ready to start: settings checked, data loaded, folder created.

    Attributes:
        name: the benchmark's name.
        system: the system to fit.
        seed: the seed of everything random.
        folder: where its files go.
        resume: whether it is being resumed.
        data: the data.
        provenance: the provenance of its numbers.
        first_stage: the given first stage that it builds on, if any.
        devices: how many devices to distribute it over.
        shard_layers: whether large layers are sharded over them.
        published: the paper's number for it and its standard error, in nats.
        data_sha256: the SHA-256 of the data, all splits.
        changes: the settings that were changed when it was resumed.
        callbacks: functions that a trained system calls after every evaluation.
        monitor: whether a game is monitored at every evaluation.
        called: its display name, see [`advnets.bench.folders.called`][]; by default `name`.
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
        """The `resume` argument for [`advnets.train`][], if the folder already holds the run."""
        if not (self.resume and held):
            return False
        return "changed" if self.changes else True


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A fitted system.

    Attributes:
        model: the model that samples are drawn from.
        metrics: a row for each epoch, with the measurements made between epochs.
        updates: the number of updates made.
        updates_per_second: their rate; None if there was nothing left to do.
        changes: the changes made when it was resumed.
    """

    model: Sampler
    metrics: Sequence[Metrics]
    updates: int = 0
    updates_per_second: float | None = None
    changes: tuple[Change, ...] = ()

    @staticmethod
    def of(model: Sampler, trained: advnets.Trained | Learned[Any]) -> "Fitted":
        """The outcome of training, without changes of settings, which the run records itself.

        Args:
            model: the model that samples are drawn from.
            trained: what [`advnets.train`][] or [`advnets.training.fit`][] returned.

        Returns:
            The fitted system, for an experiment.
        """
        return Fitted(
            model,
            trained.metrics,
            trained.updates,
            trained.updates_per_second,
            tuple(change for change in trained.changes if not changeable(change.name)),
        )


class System(abc.ABC):
    """Something that is fitted to data; subclass it, and give a benchmark the subclass.

    Attributes:
        settings: its settings.
        settings_type: the type of its settings.
        model_types: your own classes and functions in its fitted model, which
            [`advnets.load_model`][] needs to open it.
        changeable: the names of settings that may be changed when a run is resumed.
        evaluations: evaluations of this kind of system, besides those of all systems, by name.
        minimised: the evaluations' number by which a sweep chooses a learning rate, the lowest;
            unless given, it chooses the highest validation likelihood.
        monitored: whether it is a game that can be monitored, which a run's `monitor` asks for.
    """

    settings_type: ClassVar[type[Settings]] = Settings
    model_types: ClassVar[tuple[Callable[..., Any], ...]] = ()
    changeable: ClassVar[tuple[str, ...]] = ()
    evaluations: ClassVar[Mapping[str, Evaluation]] = {}
    minimised: ClassVar[str] = ""
    monitored: ClassVar[bool] = False

    def __init__(self, settings: Settings) -> None:
        assert isinstance(settings, self.settings_type)
        self.settings = settings

    @property
    def ends_at_its_epochs(self) -> bool:
        """Whether a schedule spans the run's epochs, so that it can't be resumed with more."""
        return False

    @abc.abstractmethod
    def fit(self, run: Run, watch: Watch, *, progress: bool) -> Fitted:
        """Fits the system to a run's data, from its folder's checkpoints if it is resumed.

        Args:
            run: the run.
            watch: call it with the epoch's number and the model every `settings.evaluate_every`
                epochs and after the last one. If [`advnets.train`][] does not write
                `metrics.jsonl`, call its `row` instead, which does both.
            progress: show progress.

        Returns:
            The fitted system.
        """

    def fit_together(
        self, runs: Sequence[Run], watches: Sequence[Watch], folder: Path, *, progress: bool
    ) -> list[Fitted | None]:
        """Fits several runs: one after another, unless a subclass overrides it.

        Args:
            runs: runs of this class of systems.
            watches: one for each.
            folder: the parent of their folders.
            progress: show progress.

        Returns:
            The fitted system of each run; None for one that diverged.

        Raises:
            TrainingDiverged: if every run diverged.
            ValueError: if there is not one watch for each run, or two runs have one name.
        """
        found: list[Fitted | None] = []
        for run, watch in zip(runs, watches, strict=True):
            try:
                found.append(run.system.fit(run, watch, progress=progress))
            except advnets.TrainingDiverged as error:
                _warnings.warn(f"{run.folder.name}: {error}")
                found.append(None)
        if not any(found):
            raise advnets.TrainingDiverged("training diverged in each run")
        return found

    def adapted(self, data: advnets.data.Dataset) -> advnets.data.Dataset:
        """The data in the shape that the system takes; unchanged unless overridden."""
        return data

    def check(self, data: advnets.data.Dataset, first_stage: FirstStage | None) -> None:
        """Raises a ValueError, before any work, if the settings do not fit the data."""
        return  # any data do, unless overridden

    def check_together(self) -> None:
        """Raises a ValueError if several runs of it can't be fitted together."""
        return  # runs are fitted one after another, unless overridden

    def check_room(self, data: advnets.data.Dataset, runs: int) -> None:
        """Raises a ValueError, before any work, if several runs exceed the machine's memory."""
        return  # runs are fitted one after another, unless overridden

    def check_monitor(self, run: Run) -> None:
        """Raises a ValueError, before any work, if the data are too few to monitor the run."""
        return  # only games are monitored

    def context(self) -> contextlib.AbstractContextManager[None]:
        """The context for fitting and sampling, such as a precision of matrix products."""
        return contextlib.nullcontext()

    def sample_key(self, seed: int) -> Key[Array, ""]:
        """The key of a run's samples, to fold the epoch's number into.

        Raises an OverflowError for a seed beyond 64 bits.
        """
        return jax.random.split(jax.random.key(seed), 3)[2]

    def title(self) -> str:
        """The settings as the titles of a run's pictures show them."""
        return counted(self.settings.epochs, "epoch")

    def order(self) -> str | None:
        """The order of updates, for systems that have one."""
        return None

    def players(self, image_shape: tuple[int, ...]) -> advnets.Players | None:
        """The shapes of the players whose state a checkpoint holds, for systems with players.

        Args:
            image_shape: the shape of a training image.

        Returns:
            Players whose arrays are shapes, as from `eqx.filter_eval_shape`; or None.
        """
        return None

    def load(self, path: Path, image_shape: tuple[int, ...]) -> Sampler:
        """Opens a model that a run has saved.

        Args:
            path: the file.
            image_shape: the shape of a training image.

        Returns:
            The model.

        Raises:
            ValueError: if the file is damaged, or belongs to another system.
        """
        return advnets.load_model(path, known=self.model_types)
