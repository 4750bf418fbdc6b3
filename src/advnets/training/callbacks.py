"""What is called while training goes on, and what it is told."""

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from advnets import _reprs
from advnets.algorithms import State
from advnets.model import Model, model_of
from advnets.players import Players
from advnets.training.journal import Metrics


class StopTraining(Exception):
    """Raised by a callback, or by `evaluate`, to end training early, as if it had been the last.

    The epoch's other callbacks are called; then there is a checkpoint, and
    [`advnets.train`][], [`advnets.train_many`][] and [`advnets.training.fit`][] return what there
    is: model, metrics, pictures. `resume=True` goes on from there. Of many runs, one stops all.

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
class Told:
    """What a callback is told of any run after an epoch. Nothing in it changes later.

    Attributes:
        run: the run's number among those of [`advnets.train_many`][], from 0 on.
        name: its name there; empty for a run of its own.
        epoch: the number of epochs that the run has behind it.
        updates: the number of updates that it has behind it, of a game the discriminator's.
        metrics: the epoch's row, with what `evaluate` returned; it is in `metrics.jsonl` already.
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
class Snapshot(Told):
    """A game after an epoch, as a callback is given it. Nothing in it changes later.

    Attributes:
        players: all players as they are, the generator among them.
        averaged: p_g with the average of the generator's parameters, if the algorithm keeps one.
        state: the state that training goes on from, with those of the update rules.

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
    averaged: Model | None
    state: State

    def __repr__(self) -> str:
        numbers = ", ".join(_reprs.numbers(self.metrics))
        return f"Snapshot(run={self.run}, name={self.name!r}, {numbers}, {self.players!r})"

    @property
    def model(self) -> Model:
        """The generator with its prior: p_g."""
        return model_of(self.players)


# Of a game it is given a Snapshot. What it returns is not looked at, but for a Measuring one.
Callback: TypeAlias = Callable[[Any], Any]


class Measuring(abc.ABC):
    """A callback that measures: its numbers join the epoch's row of metrics; subclass it.

    Beside `evaluate`, which is given a model, it is given all that a callback is: players and
    state. It is asked before the row is written, and called as any other callback afterwards.

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

    @abc.abstractmethod
    def measure(self, snapshot: Any, earlier: Sequence[Metrics]) -> Mapping[str, Any]:
        """Numbers for the row of an epoch.

        Of several processes, each asks for them, and they must be the same in all.

        Args:
            snapshot: the run; its `metrics` are what the row holds so far, and are not on disk yet.
            earlier: the rows of the epochs before, which are not to be changed. What is needed of
                the past is to be taken from them, as it is there when a run is resumed too.

        Returns:
            Numbers by names that no row has, or text, or containers of them.
        """

    def __call__(self, snapshot: Any) -> None:  # noqa: B027
        """Called once the row is on disk; does nothing unless told otherwise."""
