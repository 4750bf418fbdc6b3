"""`fit`: trains one model by descending a cost, with the same driver as the games.

The systems that the paper compares with, `advnets.baselines`, are trained this way.
"""

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Literal, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Key, PyTree
from typing_extensions import TypeVar

from advnets import _reprs, _signals
from advnets._counts import counted
from advnets.algorithms import Info, State
from advnets.batches import Batch
from advnets.model_files import save_last
from advnets.players import partition, thaw
from advnets.training import devices as device
from advnets.training.callbacks import Callback, EpochSummary
from advnets.training.check import check_callbacks, evaluated_shapes, preprocessed
from advnets.training.checkpoints import Change
from advnets.training.devices import is_main_process
from advnets.training.drive import Drive
from advnets.training.identity import describe, numerics
from advnets.training.journal import Journal, Metrics
from advnets.training.plan import plan_of
from advnets.training.program import Single, minibatch_of
from advnets.training.sources import Source, source_of

M = TypeVar("M", default=Any)
# The name of a model's numbers in a row of metrics, and of its arrays in a state.
MODEL = "model"

# cost(key, model, memory, batch): a scalar to descend, the new memory, and scalars to record.
Cost: TypeAlias = Callable[
    [Key[Array, ""], Any, PyTree, Batch], tuple[Array, PyTree, Mapping[str, Array]]
]
Updates: TypeAlias = optax.GradientTransformation | Callable[[int], optax.GradientTransformation]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Learner:
    """How a model is trained.

    Attributes:
        cost: called as `cost(key, model, memory, batch)`; returns a scalar, which is differentiated
            with respect to the model's floating-point arrays, the new memory, and a dictionary of
            further scalars to record. Arrays in [`advnets.players.Frozen`][] reach it unwrapped,
            and are not trained.
        updates: an Optax transformation; or, for schedules by epoch, a function from the number of
            iterations in an epoch to one.
        memory: what an iteration passes to the next besides parameters, a pytree of arrays, such as
            the persistent Markov chains of a Boltzmann machine.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> from advnets.training import Learner
        >>> def squared_distance(key, model, memory, batch):
        ...     return jnp.mean((batch - model[None]) ** 2), memory, {}
        >>> learner = Learner(cost=squared_distance, updates=optax.sgd(0.1))
    """

    cost: Cost
    updates: Updates
    memory: PyTree = None


@dataclasses.dataclass(frozen=True, repr=False)
class Learned(Generic[M]):
    """What [`advnets.training.fit`][] returns.

    Attributes:
        model: the trained model, including its frozen arrays.
        memory: the memory after the last iteration.
        metrics: one row for each epoch, as in `metrics.jsonl`.
        updates: the number of updates, including those before a resumption.
        updates_per_second: the median over the compiled calls of this process; None if there was
            nothing left to train.
        changes: what changed when the run was resumed.
    """

    model: M
    memory: PyTree
    metrics: list[Metrics]
    updates: int
    updates_per_second: float | None
    changes: tuple[Change, ...] = ()

    def __repr__(self) -> str:
        last = ", ".join(_reprs.numbers(self.metrics[-1])) if self.metrics else "none"
        return (
            f"Learned({counted(len(self.metrics), 'epoch')}, {counted(self.updates, 'update')}, "
            f"last metrics: {last})"
        )


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class ModelSnapshot(EpochSummary, Generic[M]):
    """A model after an epoch of [`advnets.training.fit`][], as passed to callbacks.

    Attributes:
        model: the model after that epoch.
    """

    model: M


def fit(
    key: Key[Array, ""],
    model: M,
    data: Any,
    *,
    learner: Learner,
    epochs: int,
    batch_size: int = 100,
    evaluate: Callable[[int, M], Mapping[str, Any]] | None = None,
    evaluate_every: int = 10,
    callbacks: Sequence[Callback] = (),
    checkpoint_every: int | None = None,
    folder: str | os.PathLike[str] | None = None,
    resume: bool | Literal["changed"] = False,
    devices: int | None = None,
    progress: bool = True,
) -> Learned[M]:
    """Fits a model to data, with epochs, checkpoints and metrics as in [`advnets.train`][].

    Args:
        key: the run's typed key; all randomness derives from it.
        model: an Equinox module, or any pytree; its floating-point arrays are trained, unless they
            are in [`advnets.players.Frozen`][].
        data: an array of examples, any pytree of arrays with a common leading axis, or a source;
            see [`advnets.train`][].
        learner: the cost, the update rule and the initial memory.
        epochs: how many epochs, including those before a resumption.
        batch_size: examples in a minibatch.
        evaluate: called as `evaluate(epoch, model)` every `evaluate_every` epochs and after the
            last; what it returns joins that epoch's metrics.
        evaluate_every: epochs between evaluations.
        callbacks: each is called after every evaluation with a
            [`advnets.training.ModelSnapshot`][]. [`advnets.training.StopTraining`][] from any of
            them ends the run early.
        checkpoint_every: epochs between checkpoints; `evaluate_every` unless given.
        folder: where to write metrics, checkpoints and the model of the last epoch, if anywhere.
        resume: continue from the newest whole checkpoint in the folder; `"changed"` also accepts a
            different update rule.
        devices: how many devices to shard each minibatch over; one unless given.
        progress: show a progress bar.

    Returns:
        The model and the metrics of each epoch.

    Raises:
        ValueError: for a setting out of range, data of an unsupported type, or a cost or a callback
            that does not fit the model and the data.
        FileExistsError: if the folder holds another run and `resume` is false.
        FileNotFoundError: if there is nothing to resume.
        CheckpointError: if no checkpoint is whole, or the checkpoints are another run's.
        RunInUseError: if another process is using the folder.
        TrainingDiverged: if the cost, a recorded scalar or a parameter stops being finite.
        KeyboardInterrupt: on a signal to stop, after a checkpoint; see [`advnets.train`][].

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import optax
        >>> from advnets.training import Learner, fit
        >>> def squared_distance(key, model, memory, batch):
        ...     return jnp.mean((batch - model[None]) ** 2), memory, {}
        >>> learned = fit(
        ...     jax.random.key(0),
        ...     jnp.zeros(2),
        ...     jax.random.normal(jax.random.key(1), (500, 2)) + 3,
        ...     learner=Learner(cost=squared_distance, updates=optax.sgd(0.5)),
        ...     epochs=20,
        ...     progress=False,
        ... )
        >>> bool(jnp.all(jnp.abs(learned.model - 3) < 0.3))
        True
    """
    source = source_of(data)
    plan = plan_of(
        source,
        1,
        epochs=epochs,
        batch_size=batch_size,
        evaluate_every=evaluate_every,
        checkpoint_every=checkpoint_every,
    )
    mesh = device.make_mesh(devices, "the batch size", batch_size)
    given = learner.updates
    rule = given if isinstance(given, optax.GradientTransformation) else given(plan.iterations)
    _check_cost(key, learner, model, source)
    check_callbacks(callbacks, model, source, [MODEL])

    def measure(_: int, epoch: int, now: M) -> Mapping[str, Any]:
        assert evaluate is not None
        return dict(evaluate(epoch, now))

    drive = Drive(
        key,
        model,
        OneModel(learner.cost, rule, learner.memory, model, source, batch_size, mesh),
        source,
        mesh,
        plan,
        journal=Journal(None if folder is None else Path(folder), [""], plan.iterations, 1),
        identity=_identity(key, learner, rule, model, source, batch_size) if folder else {},
        evaluate=evaluate and measure,
        callbacks=callbacks,
        resume=resume,
        shown={"cost": "cost"} if progress else None,
    )
    with _signals.noted(), drive.journal.locked():
        state, rates = drive.advance()
        (fitted,) = drive.program.evaluated(state, 0)
        (record,) = drive.journal.records
        if record.folder is not None and is_main_process():
            save_last(record.folder, fitted)
    return Learned(
        fitted,
        drive.program.copied(state, 0).memory[MODEL],
        record.metrics,
        int(state.iteration),
        float(np.median(rates)) if rates else None,
        drive.journal.changes,
    )


class OneModel(Single):
    """The compiled program for one model; its minibatches may be sharded over devices."""

    def __init__(
        self,
        cost: Cost,
        rule: optax.GradientTransformation,
        memory: PyTree,
        model: PyTree,
        source: Source,
        batch_size: int,
        mesh: Mesh | None,
    ) -> None:
        self._cost, self._rule, self._memory = cost, rule, memory
        self._source, self._batch_size = source, batch_size
        super().__init__(eqx.combine(*partition(model)[1:]), mesh)

    def init(self, initial: Any) -> State:
        trained = partition(initial)[0]
        state = State(
            players={MODEL: trained},
            memory={MODEL: self._memory},
            updates={MODEL: self._rule.init(trained)},
            average=None,
            iteration=jnp.zeros((), int),
        )
        # An array that occurs twice can't be donated.
        return self._place(jax.tree.map(jnp.array, state))

    def advance_fixed(
        self, key: Key[Array, ""], fixed: PyTree, state: State, placed: Batch, chunk: PyTree
    ) -> tuple[State, Info]:
        """The program before it is compiled."""
        rest = eqx.combine(fixed, self._static)

        def once(state: State, part: PyTree) -> tuple[State, Info]:
            batch = minibatch_of(self._source, placed, (self._batch_size,), part)
            if self._mesh is not None:
                batch = jax.lax.with_sharding_constraint(batch, device.sharded(self._mesh))
            state, info = _step(self._cost, self._rule, key, rest, state, batch)
            if self._mesh is not None:
                whole = device.replicated(self._mesh)
                state, info = jax.lax.with_sharding_constraint((state, info), whole)
            return state, info

        return jax.lax.scan(once, state, chunk)

    def evaluated(self, state: State, run: int) -> tuple[Any, ...]:
        mine = self.copied(dataclasses.replace(state, updates={}, memory={}), run)
        fixed = self._fixed if self._mesh is None else device.local(self._fixed)
        return (thaw(eqx.combine(mine.players[MODEL], fixed, self._static)),)

    def snapshot(self, state: State, summary: EpochSummary) -> Any:
        return ModelSnapshot(**vars(summary), model=self.evaluated(state, summary.run)[0])


def _step(
    cost: Cost,
    rule: optax.GradientTransformation,
    key: Key[Array, ""],
    rest: PyTree,
    state: State,
    batch: Batch,
) -> tuple[State, Info]:
    """One update."""
    trained, memory = state.players[MODEL], state.memory[MODEL]
    now = jax.random.fold_in(key, state.iteration)

    def descended(trained: PyTree) -> tuple[Array, tuple[PyTree, Mapping[str, Array]]]:
        value, memory_after, seen = cost(now, thaw(eqx.combine(trained, rest)), memory, batch)
        return value, (memory_after, seen)

    (value, (memory, seen)), gradients = jax.value_and_grad(descended, has_aux=True)(trained)
    with jax.numpy_dtype_promotion("standard"):  # Optax's rules need it, whatever the user set
        updates, rule_state = rule.update(gradients, state.updates[MODEL], trained)
    state = State(
        players={MODEL: optax.apply_updates(trained, updates)},
        memory={MODEL: memory},
        updates={MODEL: rule_state},
        average=None,
        iteration=state.iteration + 1,
    )
    return state, {MODEL: {"cost": value, **seen}}


def _check_cost(key: Key[Array, ""], learner: Learner, model: Any, source: Source) -> None:
    """Refuses, before any work, a cost that does not fit the model and the data."""
    raw = jax.tree.map(jnp.asarray, source.gather(np.zeros(2, int)))
    batch = preprocessed(source, raw)
    called = functools.partial(learner.cost, key)
    result = evaluated_shapes(
        lambda: called(thaw(model), learner.memory, batch), "the cost can't be computed"
    )
    if not (isinstance(result, tuple) and len(result) == 3 and isinstance(result[2], dict)):
        raise ValueError(
            "a cost must return a scalar, the memory and a dictionary of scalars; got "
            f"{_reprs.short(result)}"
        )
    value, memory, seen = result
    if "cost" in seen:
        raise ValueError("'cost' is always recorded; choose another name for the recorded scalar")
    for name, scalar in {"cost": value, **seen}.items():
        shape = getattr(scalar, "shape", np.shape(scalar))
        if shape != ():
            raise ValueError(f"the cost's {name!r} must be a scalar; got shape {shape}")
    before = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, learner.memory))
    if jax.tree.map(_shape, before) != jax.tree.map(_shape, memory):
        raise ValueError(
            f"a cost must return memory of the shapes it was given, {_reprs.short(before)}; got "
            f"{_reprs.short(memory)}"
        )


def _shape(x: Any) -> tuple[Any, Any]:
    return x.shape, x.dtype


def _identity(
    key: Key[Array, ""],
    learner: Learner,
    rule: optax.GradientTransformation,
    model: Any,
    source: Source,
    batch_size: int,
) -> dict[str, str]:
    """What distinguishes a run from others, by the names used in error messages."""
    return {
        "key": describe(jax.random.key_data(key)),
        "batch size": str(batch_size),
        "cost": describe(learner.cost),
        "updates": describe(rule),
        "memory": describe(learner.memory),
        "kind of model": describe(eqx.combine(*partition(model)[1:])),
        "preprocessing": describe(source.preprocess),
        "data": source.fingerprint(),
        **numerics(key),
    }
