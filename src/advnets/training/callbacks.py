"""Callbacks: what is called during training, and what is passed to it."""

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

from advnets import _reprs
from advnets._average import kept_average
from advnets.algorithms import State
from advnets.model import Model, model_of
from advnets.players import Players
from advnets.training.journal import Metrics
from advnets.training.sources import Source


class StopTraining(Exception):
    """Raised by a callback or by `evaluate` to end training early, as if this epoch were the last.

    The epoch's other callbacks are still called; then a checkpoint is written, and
    [`advnets.train`][], [`advnets.train_many`][] and [`advnets.training.fit`][] finish as usual,
    with model, metrics and pictures. `resume=True` continues from there. Raised for one of many
    runs, it stops them all.

    Example:
        >>> import jax
        >>> import advnets
        >>> def stop_early(snapshot):
        ...     if snapshot.metrics["discriminator"]["fake_output"] < 0.9:
        ...         raise advnets.training.StopTraining
        >>> images = advnets.data.load("digits").train
        >>> key, g_key, d_key = jax.random.split(jax.random.key(0), 3)
        >>> players = advnets.Players(
        ...     advnets.networks.mlp_generator(g_key, 100, (8, 8), hidden_sizes=[32]),
        ...     advnets.networks.maxout_discriminator(d_key, (8, 8), units=[16]),
        ... )
        >>> trained = advnets.train(
        ...     key, players, images, epochs=9, evaluate_every=2, callbacks=[stop_early],
        ...     progress=False,
        ... )
        >>> len(trained.metrics)
        2
    """


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class EpochSummary:
    """What every callback is given after an epoch, whatever is trained. It never changes later.

    Attributes:
        run: the run's number in [`advnets.train_many`][], from 0.
        name: the run's name there; empty for a single run.
        epoch: the number of epochs completed.
        updates: the number of updates made so far; for a game, the discriminator's.
        metrics: the epoch's row, with what `evaluate` returned; it is already in `metrics.jsonl`.
        folder: where the run's files go, if anywhere.
    """

    run: int
    name: str
    epoch: int
    updates: int
    metrics: Metrics
    folder: Path | None

    def __repr__(self) -> str:
        numbers = ", ".join(_reprs.numbers(self.metrics))
        return f"{type(self).__name__}(run={self.run}, name={self.name!r}, {numbers})"


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Snapshot(EpochSummary):
    """A game after an epoch, as passed to callbacks. It never changes later.

    Attributes:
        players: all players after that epoch, including the generator.
        state: the state that training continues from, including the update rules' states.

    Example:
        >>> import jax
        >>> import advnets
        >>> def report(snapshot):
        ...     print(snapshot.epoch, snapshot.updates, sorted(snapshot.metrics))
        >>> images = advnets.data.load("digits").train
        >>> key, g_key, d_key = jax.random.split(jax.random.key(0), 3)
        >>> players = advnets.Players(
        ...     advnets.networks.mlp_generator(g_key, 100, (8, 8), hidden_sizes=[32]),
        ...     advnets.networks.maxout_discriminator(d_key, (8, 8), units=[16]),
        ... )
        >>> trained = advnets.train(
        ...     key, players, images, epochs=2, evaluate_every=1, callbacks=[report], progress=False
        ... )
        1 12 ['discriminator', 'epoch', 'generator', 'updates']
        2 24 ['discriminator', 'epoch', 'generator', 'updates']
    """

    players: Players
    state: State
    _averaged: Model | None = None

    def __repr__(self) -> str:
        numbers = ", ".join(_reprs.numbers(self.metrics))
        return f"Snapshot(run={self.run}, name={self.name!r}, {numbers}, {self.players!r})"

    @property
    def model(self) -> Model:
        """The generator with its prior: p_g."""
        return model_of(self.players)

    @property
    def averaged(self) -> Model:
        """The p_g of the generator's averaged parameters.

        Raises an AttributeError if the algorithm keeps no average: only one with `average`, such
        as `Algorithm1(average=0.999)`, keeps it.
        """
        return kept_average(self._averaged)


# For a game, the argument is a Snapshot. The return value is ignored.
Callback: TypeAlias = Callable[[Any], Any]


class Measuring(abc.ABC):
    """A callback that measures: its numbers join the epoch's row of metrics; subclass it.

    Unlike `evaluate`, which is given a model, it is given what every callback is given, including
    players and state. `measure` is called before the row is written; after that, the object itself
    is called like any other callback. If `measure` raises an exception, a checkpoint is written and
    the run ends with that exception; it resumes with this measurement. `check` is called once,
    before any training.

    Attributes:
        names: the names of its numbers in a row, if they are known in advance: training is refused
            if another callback or a player has one of them.

    Example:
        >>> import jax
        >>> import advnets
        >>> class Weights(advnets.training.Measuring):
        ...     def measure(self, snapshot, earlier):
        ...         arrays = jax.tree.leaves(snapshot.state.discriminator)
        ...         return {"largest weight of D": max(float(abs(x).max()) for x in arrays)}
        >>> images = advnets.data.load("digits").train
        >>> key, g_key, d_key = jax.random.split(jax.random.key(0), 3)
        >>> players = advnets.Players(
        ...     advnets.networks.mlp_generator(g_key, 100, (8, 8), hidden_sizes=[32]),
        ...     advnets.networks.maxout_discriminator(d_key, (8, 8), units=[16]),
        ... )
        >>> trained = advnets.train(
        ...     key, players, images, epochs=2, callbacks=[Weights()], progress=False
        ... )
        >>> trained.metrics[-1]["largest weight of D"] > 0
        True
    """

    names: ClassVar[tuple[str, ...]] = ()

    def check(self, initial: Any, source: Source, runs: int) -> None:  # noqa: B027
        """Refuses, before any training, what can't be measured; does nothing unless overridden.

        Raise a ValueError that says what does not fit, and what to do.

        Args:
            initial: what will be trained: players, those of the first run if there are several; or
                the model of [`advnets.training.fit`][].
            source: the training data.
            runs: the number of runs.
        """

    @abc.abstractmethod
    def measure(self, snapshot: Any, earlier: Sequence[Metrics]) -> Mapping[str, Any]:
        """Numbers for the row of an epoch.

        With several processes, each calls this, and all must return the same.

        Args:
            snapshot: the run; its `metrics` are the row so far, which is not on disk yet.
            earlier: the rows of the epochs before, which must not be changed. Take anything you
                need from the past from these rows: they are there after a resumption too.

        Returns:
            Numbers, text or containers of them, by names that no row has yet.
        """

    def __call__(self, snapshot: Any) -> None:  # noqa: B027
        """Called once the row is on disk; does nothing unless overridden."""
