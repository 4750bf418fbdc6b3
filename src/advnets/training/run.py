"""`train` and `train_many`: data-resident or streamed training with progress and checkpoints.

One compiled call runs many updates; the host only looks between calls. All randomness is a function
of the run's key and the iteration's number, so a resumed run continues exactly.
"""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Literal, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree

from advnets import _reprs, _signals
from advnets._average import kept_average
from advnets._counts import counted
from advnets.algorithms import Algorithm, Algorithm1, State
from advnets.batches import Batch
from advnets.conditions import frequencies
from advnets.model import Model, model_of
from advnets.model_files import save_last
from advnets.players import D, G, Players, inputs_taken, partition
from advnets.training import devices as device
from advnets.training.callbacks import Callback
from advnets.training.check import check_callbacks, check_players
from advnets.training.checkpoints import CHECKPOINTS, Change
from advnets.training.devices import Devices, is_main_process
from advnets.training.drive import Drive
from advnets.training.identity import describe, numerics
from advnets.training.journal import Journal, Metrics
from advnets.training.pictures import draw
from advnets.training.plan import plan_of
from advnets.training.program import ManyGames, OneGame
from advnets.training.sources import Source, source_of

# Folded into a run's key to get the key of its final samples.
SAMPLES_KEY = 2**32 - 1

Evaluate: TypeAlias = Callable[[int, Model], Mapping[str, Any]]
EvaluateRun: TypeAlias = Callable[[int, int, Model], Mapping[str, Any]]


@dataclasses.dataclass(frozen=True, repr=False)
class Trained(Generic[G, D]):
    """What [`advnets.train`][] returns.

    Attributes:
        model: the trained generator with its prior: p_g.
        players: all players after training, including the generator.
        metrics: one row for each epoch, as in `metrics.jsonl`.
        updates: the number of discriminator updates, including those before a resumption.
        updates_per_second: the median over the compiled calls of this process; None if there was
            nothing left to train.
        changes: what changed when the run was resumed: settings or the environment.
    """

    model: Model[G]
    players: Players[G, D]
    metrics: list[Metrics]
    updates: int
    updates_per_second: float | None
    changes: tuple[Change, ...] = ()
    _averaged: Model[G] | None = None

    def __repr__(self) -> str:
        rate = self.updates_per_second
        speed = "" if rate is None else f", {rate:.3g} updates/s"
        last = ", ".join(_reprs.numbers(self.metrics[-1])) if self.metrics else "none"
        done = f"{counted(len(self.metrics), 'epoch')}, {counted(self.updates, 'update')}"
        return f"Trained({done}{speed}\n  last metrics: {last}\n  {self.players!r})"

    @property
    def averaged(self) -> Model[G]:
        """The p_g of the generator's averaged parameters.

        Raises an AttributeError if the algorithm keeps no average: only one with `average`, such
        as `Algorithm1(average=0.999)`, keeps it.
        """
        return kept_average(self._averaged)

    @property
    def generator(self) -> G:
        """The trained generator."""
        return self.players.generator

    @property
    def discriminator(self) -> D:
        """The trained discriminator."""
        return self.players.discriminator


def train(
    key: Key[Array, ""],
    players: Players[G, D],
    data: Any,
    *,
    epochs: int,
    algorithm: Algorithm | None = None,
    batch_size: int = 100,
    evaluate: Evaluate | None = None,
    evaluate_every: int = 10,
    callbacks: Sequence[Callback] = (),
    checkpoint_every: int | None = None,
    folder: str | os.PathLike[str] | None = None,
    resume: bool | Literal["changed"] = False,
    devices: int | Devices | None = None,
    pictures: bool = True,
    progress: bool = True,
) -> Trained[G, D]:
    """Trains players on images, or on any pytree of arrays.

    An epoch is one pass over the data in a fresh random order, whatever k is; rows that do not fill
    an iteration's k minibatches are left out of that epoch.

    Args:
        key: the run's typed key; all randomness in training derives from it.
        players: a generator with its prior, a discriminator, and any further players.
        data: the training data: an array of examples; a tuple of examples and what they are
            conditioned on, such as labels; any other pytree of arrays with a common leading axis;
            or a source, [`advnets.training.Resident`][] or [`advnets.training.Streamed`][], which
            can also preprocess minibatches. Without a source, data stay on the device in their own
            dtype, and uint8 pixels become floats in [0, 1].
        epochs: how many epochs to train, including those before a resumption; at least 1.
        algorithm: how to train; [`advnets.Algorithm1`][] with k = 1 unless given.
        batch_size: examples in a minibatch, m in Algorithm 1.
        evaluate: called as `evaluate(epoch, model)` every `evaluate_every` epochs and after the
            last; the numbers that it returns join that epoch's metrics. If the algorithm keeps an
            average of the generator, `model` has the averaged parameters; callbacks see both.
            If it raises an exception, a checkpoint is written and the run ends with that
            exception; it resumes with this evaluation.
        evaluate_every: epochs between evaluations; the last epoch always ends with one.
        callbacks: each is called after every evaluation with a
            [`advnets.training.Snapshot`][] of the run, once the epoch's row, and a checkpoint if
            one is due, are on disk; with several processes, only in the main one. If a callback
            raises an exception, a checkpoint is written and the run ends with that exception; it
            resumes after that epoch. [`advnets.training.StopTraining`][] ends the run early, with
            results and files as after the last epoch.
        checkpoint_every: epochs between checkpoints; `evaluate_every` unless given. One is also
            written ten minutes after the previous one, and after the last epoch.
        folder: where to write `metrics.jsonl`, `checkpoints/`, pictures, and the model of the last
            epoch (the average, if the algorithm keeps one), which `advnets.load_model(folder)`
            loads; nothing is written unless given.
        resume: continue from the newest whole checkpoint in the folder, or from the start if the
            run was stopped before its first one; the run goes on as if it had not been interrupted.
            `"changed"` also accepts a different objective and different update rules; what changed,
            and when, is recorded in the result and in every later checkpoint.
        devices: how many devices to shard each minibatch over; rows, noise and dropout are the same
            on any number. One unless given; with several processes (`jax.distributed.initialize`),
            which must all make the same call, all of their devices. Only the main process writes
            files. [`advnets.training.Devices`][] can shard large layers too.
        pictures: after training, draw `curves.png` in the folder and, if examples are images,
            `samples.png`; skipped if Matplotlib (the `bench` extra) is not installed.
        progress: show a progress bar with updates per second and the time left.

    Returns:
        The trained players and the metrics of each epoch.

    Raises:
        ValueError: for a setting out of range; data of an unsupported type, too few for a
            minibatch, or that do not fit the players; a callback that can't measure them; or fewer
            epochs than the folder already holds.
        FileExistsError: if the folder holds another run and `resume` is false.
        FileNotFoundError: if there is nothing to resume.
        CheckpointError: if no checkpoint is whole, or the checkpoints are another run's. A damaged
            one is skipped, with a `RuntimeWarning`, in favour of the one before it.
        RunInUseError: if another process is using the folder.
        TrainingDiverged: if a cost, a gradient or a parameter stops being finite; checkpoints are
            kept.
        KeyboardInterrupt: on a signal to stop, once the running program has finished and a
            checkpoint is written (SIGINT; SIGTERM and SIGHUP then end the process as usual). A
            second signal stops the process at once.

    Example:
        >>> import jax
        >>> import advnets
        >>> images = advnets.data.load("digits").train
        >>> key, g_key, d_key, sample_key = jax.random.split(jax.random.key(0), 4)
        >>> players = advnets.Players(
        ...     advnets.networks.mlp_generator(g_key, 100, (8, 8), hidden_sizes=[32]),
        ...     advnets.networks.maxout_discriminator(d_key, (8, 8), units=[16]),
        ... )
        >>> trained = advnets.train(key, players, images, epochs=2, progress=False)
        >>> trained.model.sample(sample_key, 5).shape
        (5, 8, 8)

    References:
        Algorithm 1.
    """
    source = source_of(data)
    given = Algorithm1() if algorithm is None else algorithm
    plan = plan_of(
        source,
        given.minibatches,
        epochs=epochs,
        batch_size=batch_size,
        evaluate_every=evaluate_every,
        checkpoint_every=checkpoint_every,
    )
    spread = devices if isinstance(devices, Devices) else Devices(devices)
    mesh = device.make_mesh(spread.count, "the batch size", batch_size)
    players = _with_condition(players, source)
    settled = plan.settle(given)
    check_players(key, settled, players, source)
    check_callbacks(callbacks, players, source, players.named)
    program = OneGame(settled, players, source, batch_size, mesh, shard_layers=spread.shard_layers)

    def measure(_: int, epoch: int, now: Players, average: Players | None) -> Mapping[str, Any]:
        assert evaluate is not None
        return dict(evaluate(epoch, model_of(now if average is None else average)))

    drive = Drive(
        key,
        players,
        program,
        source,
        mesh,
        plan,
        journal=Journal(_path(folder), [""], plan.iterations, plan.k),
        identity={} if folder is None else _identity(key, given, players, source, batch_size),
        evaluate=evaluate and measure,
        callbacks=callbacks,
        resume=resume,
        shown=settled.objective.shown if progress else None,
    )
    (trained,) = _train(drive, pictures=pictures)
    assert isinstance(trained, Trained)  # one game raises when it diverges
    return trained


def train_many(
    keys: Key[Array, " runs"],
    players: Players[G, D],
    data: Any,
    *,
    epochs: int,
    algorithm: Algorithm | Callable[[Any], Algorithm] | None = None,
    vary: PyTree = None,
    batch_size: int = 100,
    evaluate: EvaluateRun | None = None,
    evaluate_every: int = 10,
    callbacks: Sequence[Callback] = (),
    checkpoint_every: int | None = None,
    folder: str | os.PathLike[str] | None = None,
    names: Sequence[str] | None = None,
    resume: bool | Literal["changed"] = False,
    devices: int | None = None,
    pictures: bool = True,
    progress: bool = True,
) -> list[Trained[G, D] | None]:
    """Trains many independent games in one compiled program, with different seeds or settings.

    Each is trained as [`advnets.train`][] would train it with the same key: it sees the same rows,
    noise and dropout, and its numbers differ only by rounding (which training amplifies, as between
    two machines). All games have the same structure.

    Args:
        keys: a typed key for each run.
        players: players whose arrays have a leading axis of runs, such as `eqx.filter_vmap` of a
            function that builds one run's players.
        data: the training data, shared by all runs; for this and all that follows, see
            [`advnets.train`][].
        epochs: how many epochs to train.
        algorithm: how to train; if settings vary, a function from one run's settings to its
            algorithm.
        vary: what differs between runs besides their keys: a pytree of arrays with a leading axis
            of runs, such as learning rates, or a dictionary of several settings.
        batch_size: examples in a minibatch of one run.
        evaluate: called as `evaluate(run, epoch, model)` for each run in turn; runs count from 0.
        evaluate_every: epochs between evaluations.
        callbacks: each is called after every evaluation, in turn for each run that has not
            diverged. [`advnets.training.StopTraining`][] from any of them stops all runs.
        checkpoint_every: epochs between checkpoints; `evaluate_every` unless given.
        folder: where each run's folder and their common `checkpoints/` go.
        names: the name of each run's folder within `folder`; `seed-0`, `seed-1` and so on unless
            given.
        resume: continue from the newest whole checkpoint in the folder; see [`advnets.train`][].
        devices: how many devices to spread the runs over, the same number on each; see
            [`advnets.train`][].
        pictures: draw each run's `samples.png` and `curves.png`.
        progress: show a progress bar, which counts the updates of all runs.

    Returns:
        For each run what [`advnets.train`][] returns, `updates_per_second` being one run's rate
        with the others alongside; None for a run that diverged.

    Raises:
        ValueError: as [`advnets.train`][]; if the players' arrays, the names or the settings are
            not for as many runs as there are keys; or if settings vary and `algorithm` is not a
            function of them.
        FileExistsError: if the folder holds other runs and `resume` is false.
        FileNotFoundError: if there is nothing to resume.
        CheckpointError: if no checkpoint is whole, or the checkpoints are of other runs.
        RunInUseError: if another process is using the folder.
        TrainingDiverged: if the last remaining run diverges. While others remain, a
            `RuntimeWarning` names the one that diverged; its rows end there.

    Example:
        >>> import equinox as eqx
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> def build(key):
        ...     g_key, d_key = jax.random.split(key)
        ...     return advnets.Players(
        ...         advnets.networks.mlp_generator(g_key, 100, (8, 8), hidden_sizes=[32]),
        ...         advnets.networks.maxout_discriminator(d_key, (8, 8), units=[16]),
        ...     )
        >>> def algorithm(rate):
        ...     rule = advnets.updates.Released(rate)
        ...     return advnets.Algorithm1(generator_updates=rule, discriminator_updates=rule)
        >>> keys = jax.random.split(jax.random.key(0), 2)
        >>> trained = advnets.train_many(
        ...     keys,
        ...     eqx.filter_vmap(build)(keys),
        ...     advnets.data.load("digits").train,
        ...     epochs=2,
        ...     vary=jnp.array([0.05, 0.1]),
        ...     algorithm=algorithm,
        ...     progress=False,
        ... )
        >>> [one.updates for one in trained]
        [24, 24]

    References:
        Algorithm 1.
    """
    runs = len(keys)
    names = [f"seed-{number}" for number in range(runs)] if names is None else list(names)
    if len(set(names)) != runs or len(names) != runs:
        raise ValueError(f"each run needs a name of its own; got {runs} keys and names={names}")
    for name in names:
        if Path(name).name != name or name in ("", "..", CHECKPOINTS):
            raise ValueError(f"a run's name must name a folder directly in `folder`; got {name!r}")
    vary = jax.tree.map(jnp.asarray, vary, is_leaf=lambda x: isinstance(x, list))
    _check_leading_axes(players, vary, runs)
    of_run, every = _algorithms(algorithm, vary, runs)
    source = source_of(data)
    plan = plan_of(
        source,
        every[0].minibatches,
        epochs=epochs,
        batch_size=batch_size,
        evaluate_every=evaluate_every,
        checkpoint_every=checkpoint_every,
    )
    if any(one.minibatches != plan.k for one in every):
        raise ValueError("all runs must have the same k; it can't vary between them")
    mesh = device.make_mesh(devices, "the number of runs", runs)
    players = _with_condition(players, source)
    first = jax.tree.map(lambda x: x[0] if eqx.is_array(x) else x, players)
    check_players(keys[0], plan.settle(every[0]), first, source)
    check_callbacks(callbacks, first, source, first.named, runs)
    program = ManyGames(
        lambda settings: plan.settle(of_run(settings)),
        vary,
        players,
        source,
        batch_size,
        mesh,
        runs,
    )

    def measure(run: int, epoch: int, now: Players, average: Players | None) -> Mapping[str, Any]:
        assert evaluate is not None
        return dict(evaluate(run, epoch, model_of(now if average is None else average)))

    # A fingerprint costs a pass over the data.
    identity = {} if folder is None else _identity(keys, every[0], players, source, batch_size)
    if folder is not None and vary is not None:
        identity |= {"list of settings": describe(vary), "algorithm": describe(algorithm)}
    drive = Drive(
        keys,
        players,
        program,
        source,
        mesh,
        plan,
        journal=Journal(_path(folder), names, plan.iterations, plan.k),
        identity=identity,
        evaluate=evaluate and measure,
        callbacks=callbacks,
        resume=resume,
        shown=every[0].objective.shown if progress else None,
    )
    return _train(drive, pictures=pictures)


def _train(drive: Drive, *, pictures: bool) -> list[Any]:
    """Opens the journal, trains to the last epoch, and gathers the results.

    For each run, a `Trained` of the players' types, or None if it diverged.
    """
    with _signals.noted(), drive.journal.locked():
        trained = _gathered(drive, *drive.advance())
        if is_main_process():
            _leave(drive, trained, pictures=pictures)
    return trained


def _gathered(drive: Drive, state: State, rates: Sequence[float]) -> list[Trained | None]:
    """The result of each run; None for one that diverged."""
    journal = drive.journal
    rate = float(np.median(rates)) if rates else None
    trained: list[Trained | None] = []
    for run, record in enumerate(journal.records):
        if not journal.running[run]:
            trained.append(None)
            continue
        now, average = drive.program.evaluated(state, run)
        trained.append(
            Trained(
                model=model_of(now),
                players=now,
                metrics=record.metrics,
                updates=int(state.iteration) * drive.plan.k,
                updates_per_second=rate,
                changes=journal.changes,
                _averaged=None if average is None else model_of(average),
            )
        )
    return trained


def _leave(drive: Drive, trained: Sequence[Trained | None], *, pictures: bool) -> None:
    """Writes each run's model and pictures."""
    keys = drive.keys if drive.keys.ndim else drive.keys[None]
    for one, record, key in zip(trained, drive.journal.records, keys, strict=True):
        if one is None or record.folder is None:
            continue
        model = getattr(one, "averaged", one.model)
        save_last(record.folder, model)
        if pictures:
            title = f"{record.folder.name}, {counted(len(one.metrics), 'epoch')}"
            key = jax.random.fold_in(key, SAMPLES_KEY)
            draw(record.folder, key, model, one.metrics, drive.source, title)


def _path(folder: str | os.PathLike[str] | None) -> Path | None:
    return None if folder is None else Path(folder)


def _identity(
    keys: Key[Array, "*runs"],
    algorithm: Algorithm,
    players: Players,
    source: Source,
    batch_size: int,
) -> dict[str, str]:
    """What distinguishes a run from others, by the names used in error messages."""
    settings = {
        field.name.replace("_", " "): describe(getattr(algorithm, field.name))
        for field in dataclasses.fields(algorithm)
        if field.name != "norms_every"
    }
    return settings | {
        "key": describe(jax.random.key_data(keys)),
        "batch size": str(batch_size),
        "order": type(algorithm).__qualname__,
        # Everything but the arrays in a checkpoint: layers, their settings, frozen arrays.
        "kind of players": describe({n: partition(p)[2] for n, p in players.named.items()}),
        "prior": describe(players.prior),
        "preprocessing": describe(source.preprocess),
        "data": source.fingerprint(),
        **numerics(keys),
    }


def _with_condition(players: Players[G, D], source: Source) -> Players[G, D]:
    """Players with the distribution of integer labels, if those are their condition."""
    try:
        raw = jax.tree.map(jnp.asarray, source.gather(np.arange(1)))
        sample: Batch = eqx.filter_eval_shape(source.preprocess, raw)
    except Exception:  # whatever preprocess raises; `check_players` says what is wrong
        return players
    if players.condition is not None or not (isinstance(sample, tuple) and len(sample) == 2):
        return players
    if inputs_taken(players.generator)[1] < 2:
        return players
    (label,) = sample[1:]
    if not isinstance(label, jax.ShapeDtypeStruct):
        return players
    if label.ndim != 1 or not np.issubdtype(label.dtype, np.integer):
        return players
    labels = np.asarray(source.labels())
    return dataclasses.replace(players, condition=frequencies(labels))


def _check_leading_axes(players: Players, vary: PyTree, runs: int) -> None:
    for name, player in players.named.items():
        for array in jax.tree.leaves(eqx.filter(player, eqx.is_array)):
            if array.shape[:1] != (runs,):
                raise ValueError(
                    f"the {name}s' arrays must have a leading axis of {runs} runs, one for each "
                    f"key; got one of shape {array.shape} (build them with eqx.filter_vmap over "
                    "the keys)"
                )
    for path, array in jax.tree_util.tree_leaves_with_path(vary):
        if array.shape[:1] != (runs,):
            got = f"{len(array)}" if array.ndim else "a single one"
            raise ValueError(
                f"vary must have settings for each of the {runs} runs; got {got} in "
                f"vary{jax.tree_util.keystr(path)}"
            )


def _algorithms(
    algorithm: Algorithm | Callable[[Any], Algorithm] | None, vary: PyTree, runs: int
) -> tuple[Callable[[Any], Algorithm], list[Algorithm]]:
    """The algorithm as a function of a run's settings, and each run's algorithm."""
    if vary is None:
        if algorithm is not None and not isinstance(algorithm, Algorithm):
            raise ValueError(
                "the algorithm is a function of settings, but no settings vary; give vary, a row "
                "of settings for each run"
            )
        one = Algorithm1() if algorithm is None else algorithm
        return lambda _: one, [one]
    if algorithm is None or isinstance(algorithm, Algorithm):
        raise ValueError(
            "settings vary between runs, but the algorithm is not a function of them; give a "
            "function of one run's settings that returns its algorithm, or leave out vary"
        )
    rows = [jax.tree.map(lambda x, run=run: x[run], vary) for run in range(runs)]
    return algorithm, [algorithm(row) for row in rows]
