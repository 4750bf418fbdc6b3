"""The driver: Algorithm 1 over device-resident data, with progress, metrics and checkpoints.

Many updates are one compiled program, and the host only looks between programs. All randomness
is a function of the run's key and the iteration's number, so a resumed run continues exactly.
"""

import dataclasses
import functools
import operator
import os
import sys
import time
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, Key, Real
from tqdm import tqdm

from advnets._checkpoints import Checkpoints
from advnets._devices import leads, make_mesh, wait
from advnets._games import Games, Sweep
from advnets._records import Metrics, Record, claim
from advnets.algorithm1 import (
    Algorithm1,
    DiscriminatorCost,
    GeneratorCost,
    Info,
    Order,
    Player,
    generate,
    judge,
)
from advnets.game import non_saturating_cost
from advnets.preprocessing import Preprocess, to_unit_interval
from advnets.priors import Prior, Uniform
from advnets.updates import released_updates

# Iterations in one compiled program. Long enough to hide the host's part (a millisecond or two),
# short enough for a progress bar that moves.
ITERATIONS_PER_CALL = 100
# The gradients' norms are taken in one iteration of so many: each is a pass over memory.
NORMS_EVERY = 10
# Of many runs, the epochs that each has recorded; fewer than the others' if it diverged.
REACHED = "recorded epochs"

Evaluate = Callable[[int, Any], Mapping[str, Any]]
# An update rule, or what makes one of a learning rate.
UpdateRule: TypeAlias = (
    optax.GradientTransformation | Callable[[Float[Array, ""]], optax.GradientTransformation]
)
EvaluateSeed = Callable[[int, int, Any], Mapping[str, Any]]


class TrainingDiverged(ArithmeticError):
    """A cost, a gradient or a parameter stopped being finite."""


@dataclasses.dataclass(frozen=True)
class Trained:
    """What [`advnets.train`][] returns.

    Attributes:
        generator: the trained generator.
        discriminator: the trained discriminator.
        metrics: one row for each epoch, as in `metrics.jsonl`.
        updates: the discriminator's updates in all, those before a resumption included.
        updates_per_second: the median over this session's compiled calls; None if it had
            nothing left to do.
    """

    generator: Player
    discriminator: Player
    metrics: list[Metrics]
    updates: int
    updates_per_second: float | None


def epoch_order(
    key: Key[Array, ""], epoch: Int[Array, ""], n: int, batch_size: int
) -> Int[Array, " batches {batch_size}"]:
    """The rows of each minibatch of an epoch: every row at most once, in a fresh random order.

    The rows left over when the batch size does not divide n are dropped, others each epoch.

    Args:
        key: the run's key for the order of the data.
        epoch: the epoch's number, from 0.
        n: the number of rows.
        batch_size: the rows in a minibatch, at most n.

    Returns:
        Row numbers, `n // batch_size` minibatches of them.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from advnets.training import epoch_order
        >>> epoch_order(jax.random.key(0), jnp.array(0), 1050, 100).shape
        (10, 100)
    """
    batches = n // batch_size
    rows = jax.random.permutation(jax.random.fold_in(key, epoch), n)
    return rows[: batches * batch_size].reshape(batches, batch_size)


def _chunks(start: int, stops: list[int]) -> Iterator[tuple[int, int]]:
    """Ranges of iterations, none longer than a program, none across a stop."""
    for stop in stops:
        while start < stop:
            end = min(start + ITERATIONS_PER_CALL, stop)
            yield start, end
            start = end


def train(
    key: Key[Array, ""],
    generator: Player,
    discriminator: Player,
    images: Real[Array | np.ndarray, " n *data"],
    *,
    epochs: int,
    prior: Prior | None = None,
    generator_updates: optax.GradientTransformation | None = None,
    discriminator_updates: optax.GradientTransformation | None = None,
    generator_cost: GeneratorCost = non_saturating_cost,
    discriminator_cost: DiscriminatorCost | None = None,
    generator_sees_dropout: bool = True,
    k: int = 1,
    order: Order = "alternating",
    batch_size: int = 100,
    preprocess: Preprocess = to_unit_interval,
    evaluate: Evaluate | None = None,
    evaluate_every: int = 10,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    devices: int | None = None,
    shard_layers: bool = False,
    progress: bool = True,
) -> Trained:
    """Trains a pair of players by Algorithm 1 on images (or any array of examples).

    The images stay on the device in the type they come in; minibatches are preprocessed inside
    the compiled program. An epoch visits the data once, in a fresh random order, whatever k; rows
    that do not fill an iteration's k minibatches are left out of that epoch.

    Args:
        key: the run's typed key; everything random in training follows from it.
        generator: maps a latent vector to an example; any Equinox module.
        discriminator: maps an example to a logit; any Equinox module.
        images: the training data: uint8 in 0..255, or floats.
        epochs: how many epochs to train in all, those before a resumption included; at least 1.
        prior: the distribution of the latent vectors; `Uniform(100)` unless given.
        generator_updates: the generator's Optax transformation; the released recipes' rule with
            learning rate 0.1 unless given.
        discriminator_updates: the discriminator's, likewise.
        generator_cost: what the generator descends, a function of logits.
        discriminator_cost: what the discriminator descends, a function of its logits on data and
            on generated examples; the order's own unless given, see [`advnets.Algorithm1`][].
        generator_sees_dropout: whether the generator's cost has the discriminator's dropout.
        k: discriminator steps in an iteration.
        order: `"alternating"` (the paper's Algorithm 1) or `"simultaneous"` (the released
            recipes), see [`advnets.Algorithm1`][].
        batch_size: examples in a minibatch, the m of Algorithm 1.
        preprocess: what a minibatch of `images` goes through before the discriminator sees it; the
            result is to be in the generator's range. By default uint8 becomes floats in [0, 1],
            and floats stay as they are; see [`advnets.preprocessing.gcn`][] for another.
        evaluate: called as `evaluate(epoch, generator)` every `evaluate_every` epochs and after
            the last; the numbers that it returns join that epoch's metrics.
        evaluate_every: epochs between evaluations, and between checkpoints.
        folder: where `metrics.jsonl` and `checkpoints/` go; nothing is written unless given.
        resume: continue from the newest checkpoint in the folder, or from the start if the run
            was stopped before its first; what follows is what it would have been without the
            interruption.
        devices: how many devices to spread each minibatch over, which is cut evenly; the rows,
            noise and dropout are the same on any number. One unless given; of several processes
            (`jax.distributed.initialize`), which all make the same call, all of their devices. The
            first process alone writes files.
        shard_layers: cut large arrays of the players and of their update rules' states (from 2**20
            numbers) over the devices too, rather than have them whole on each; see "Many seeds,
            many devices" in the documentation.
        progress: show a progress bar with updates per second and the time left.

    Returns:
        The trained players and the metrics of each epoch.

    Raises:
        ValueError: for a setting out of range; data of another type, too few for a minibatch, or
            that the players do not fit; or fewer epochs than the folder already holds.
        FileExistsError: if the folder holds another run and `resume` is false.
        FileNotFoundError: if there is nothing to resume.
        CheckpointError: if the newest checkpoint is damaged, or another run's.
        TrainingDiverged: if a cost, a gradient or a parameter stops being finite; checkpoints stay.

    Example:
        >>> import jax
        >>> import advnets
        >>> images = advnets.data.load("digits").train
        >>> key, g_key, d_key, sample_key = jax.random.split(jax.random.key(0), 4)
        >>> generator = advnets.mlp_generator(g_key, 100, (8, 8), hidden_sizes=[32])
        >>> discriminator = advnets.maxout_discriminator(d_key, (8, 8), units=[16])
        >>> trained = advnets.train(
        ...     key, generator, discriminator, images, epochs=2, progress=False
        ... )
        >>> advnets.sample(sample_key, trained.generator, 5).shape
        (5, 8, 8)

    References:
        Algorithm 1.
    """
    (trained,) = _drive(
        key,
        generator,
        discriminator,
        images,
        names=[""],
        learning_rates=None,
        evaluate=evaluate and (lambda _, epoch, generator: evaluate(epoch, generator)),
        epochs=epochs,
        prior=prior,
        generator_updates=generator_updates,
        discriminator_updates=discriminator_updates,
        generator_cost=generator_cost,
        discriminator_cost=discriminator_cost,
        generator_sees_dropout=generator_sees_dropout,
        k=k,
        order=order,
        batch_size=batch_size,
        preprocess=preprocess,
        evaluate_every=evaluate_every,
        folder=folder,
        resume=resume,
        devices=devices,
        shard_layers=shard_layers,
        progress=progress,
    )
    assert trained is not None  # one game raises when it diverges
    return trained


def train_seeds(
    keys: Key[Array, " seeds"],
    generators: Player,
    discriminators: Player,
    images: Real[Array | np.ndarray, " n *data"],
    *,
    epochs: int,
    learning_rates: Float[Array | np.ndarray, " rates"] | None = None,
    prior: Prior | None = None,
    generator_updates: UpdateRule | None = None,
    discriminator_updates: UpdateRule | None = None,
    generator_cost: GeneratorCost = non_saturating_cost,
    discriminator_cost: DiscriminatorCost | None = None,
    generator_sees_dropout: bool = True,
    k: int = 1,
    order: Order = "alternating",
    batch_size: int = 100,
    preprocess: Preprocess = to_unit_interval,
    evaluate: EvaluateSeed | None = None,
    evaluate_every: int = 10,
    folder: str | os.PathLike[str] | None = None,
    names: Sequence[str] | None = None,
    resume: bool = False,
    devices: int | None = None,
    progress: bool = True,
) -> list[Trained | None]:
    """Trains many independent pairs of players at once, in one compiled program.

    Each pair is trained as [`advnets.train`][] would train it with the same key: it sees the same
    rows, noise and dropout, and its numbers differ by rounding alone (which training amplifies, as
    it does between two machines). All pairs are of one structure.

    Args:
        keys: a typed key for each run.
        generators: a generator whose arrays have a leading axis of runs, as `eqx.filter_vmap` of a
            function that builds one makes it.
        discriminators: a discriminator, likewise.
        images: the training data, which all share; as all that follows, see [`advnets.train`][].
        epochs: how many epochs to train in all.
        learning_rates: a learning rate for each run, which both of its players have.
        prior: the distribution of the latent vectors.
        generator_updates: the generators' Optax transformation. With learning rates, a function of
            one that gives a transformation, such as `optax.sgd`; the released recipes' rule unless
            given.
        discriminator_updates: the discriminators', likewise.
        generator_cost: what a generator descends.
        discriminator_cost: what a discriminator descends.
        generator_sees_dropout: whether the generator's cost has the discriminator's dropout.
        k: discriminator steps in an iteration.
        order: `"alternating"` or `"simultaneous"`.
        batch_size: examples in a minibatch of one run.
        preprocess: what a minibatch goes through.
        evaluate: called as `evaluate(run, epoch, generator)` for each run in turn; runs count
            from 0.
        evaluate_every: epochs between evaluations, and between checkpoints.
        folder: where `NAME/metrics.jsonl` of each run and their common `checkpoints/` go.
        names: each run's folder in the folder; `seed-0`, `seed-1` and so on unless given.
        resume: continue from the newest checkpoint in the folder.
        devices: how many devices to spread the runs over, as many on each; see
            [`advnets.train`][].
        progress: show a progress bar; its updates are those of all runs.

    Returns:
        For each run what [`advnets.train`][] returns, its rate being what this run had beside the
        others; None for a run that diverged.

    Raises:
        ValueError: as [`advnets.train`][]; if the players' arrays, the names or the learning rates
            are not as many as the keys; or for a learning rate that is not above 0 and finite, or
            that no rule is a function of.
        FileExistsError: if the folder holds other runs and `resume` is false.
        FileNotFoundError: if there is nothing to resume.
        CheckpointError: if the newest checkpoint is damaged, or of other runs.
        TrainingDiverged: if the last run that is left diverges. When others are left, a
            `RuntimeWarning` names the one that diverged; its rows end there.

    Example:
        >>> import equinox as eqx
        >>> import jax
        >>> import advnets
        >>> images = advnets.data.load("digits").train
        >>> keys, g_keys, d_keys = jax.random.split(jax.random.key(0), (3, 4))
        >>> generators = eqx.filter_vmap(
        ...     lambda key: advnets.mlp_generator(key, 100, (8, 8), hidden_sizes=[32])
        ... )(g_keys)
        >>> discriminators = eqx.filter_vmap(
        ...     lambda key: advnets.maxout_discriminator(key, (8, 8), units=[16])
        ... )(d_keys)
        >>> trained = advnets.train_seeds(
        ...     keys, generators, discriminators, images, epochs=2, progress=False
        ... )
        >>> [one.updates for one in trained]
        [24, 24, 24, 24]

    References:
        Algorithm 1.
    """
    names = [f"seed-{number}" for number in range(len(keys))] if names is None else names
    if len(set(names)) != len(keys) or len(names) != len(keys):
        raise ValueError(
            f"each run needs a name of its own; got {len(keys)} keys and names={list(names)}"
        )
    for player, arrays in (("generator", generators), ("discriminator", discriminators)):
        for array in jax.tree.leaves(eqx.filter(arrays, eqx.is_array)):
            if array.shape[:1] != (len(keys),):
                raise ValueError(
                    f"the {player}s' arrays must have a leading axis of {len(keys)} runs, as many "
                    f"as there are keys; got one of shape {array.shape} (build them with "
                    "eqx.filter_vmap over their keys)"
                )
    rules = generator_updates, discriminator_updates
    if learning_rates is not None:
        learning_rates = jnp.asarray(learning_rates, float)
        _check_learning_rates(learning_rates, len(keys), rules)
    elif any(map(callable, rules)):
        raise ValueError(
            "an update rule is a function of a learning rate; give learning_rates, one for each run"
        )
    return _drive(
        keys,
        generators,
        discriminators,
        images,
        names=names,
        learning_rates=learning_rates,
        evaluate=evaluate,
        epochs=epochs,
        prior=prior,
        generator_updates=generator_updates,
        discriminator_updates=discriminator_updates,
        generator_cost=generator_cost,
        discriminator_cost=discriminator_cost,
        generator_sees_dropout=generator_sees_dropout,
        k=k,
        order=order,
        batch_size=batch_size,
        preprocess=preprocess,
        evaluate_every=evaluate_every,
        folder=folder,
        resume=resume,
        devices=devices,
        shard_layers=False,  # each run is on one device
        progress=progress,
    )


def _check_learning_rates(
    rates: Float[Array, " rates"], runs: int, rules: tuple[UpdateRule | None, UpdateRule | None]
) -> None:
    if len(rates) != runs:
        raise ValueError(
            f"there must be a learning rate for each of the {runs} runs; got {len(rates)}"
        )
    if not (jnp.isfinite(rates) & (rates > 0)).all():
        raise ValueError(f"learning rates must be above 0 and finite; got {rates.tolist()}")
    if None not in rules and not any(map(callable, rules)):
        raise ValueError(
            "neither update rule is a function of a learning rate; give functions of one, or leave "
            "out learning_rates"
        )


def _row_source(
    keys: Key[Array, "*seeds"], n: int, per_epoch: int, k: int, batch_size: int
) -> Callable[[int, int], Int[Array, "*iterations_batch"]]:
    """The rows of iterations start to end, from the orders of the epochs that they lie in."""

    def in_minibatches(key: Key[Array, ""], epoch: Int[Array, ""]) -> Int[Array, "*batches"]:
        batches = epoch_order(key, epoch, n, batch_size)[: per_epoch * k]
        return batches if k == 1 else batches.reshape(per_epoch, k, batch_size)

    seeds = keys.ndim
    order = jax.jit(jax.vmap(in_minibatches, in_axes=(0, None)) if seeds else in_minibatches)
    orders: dict[int, Array] = {}

    def rows(start: int, end: int) -> Int[Array, "*iterations_batch"]:
        first_epoch, last_epoch = start // per_epoch, (end - 1) // per_epoch
        for epoch in list(orders):
            if epoch < first_epoch:
                del orders[epoch]
        parts = []
        for epoch in range(first_epoch, last_epoch + 1):
            if epoch not in orders:
                orders[epoch] = order(keys, epoch)
            low = max(start - epoch * per_epoch, 0)
            high = min(end - epoch * per_epoch, per_epoch)
            parts.append(jax.lax.slice_in_dim(orders[epoch], low, high, axis=seeds))
        return jnp.concatenate(parts, axis=seeds)

    return rows


def _drive(
    keys: Key[Array, "*seeds"],
    generator: Player,
    discriminator: Player,
    images: Real[Array | np.ndarray, " n *data"],
    *,
    names: Sequence[str],
    learning_rates: Float[Array, " seeds"] | None,
    epochs: int,
    prior: Prior | None,
    generator_updates: UpdateRule | None,
    discriminator_updates: UpdateRule | None,
    generator_cost: GeneratorCost,
    discriminator_cost: DiscriminatorCost | None,
    generator_sees_dropout: bool,
    k: int,
    order: Order,
    batch_size: int,
    preprocess: Preprocess,
    evaluate: EvaluateSeed | None,
    evaluate_every: int,
    folder: str | os.PathLike[str] | None,
    resume: bool,
    devices: int | None,
    shard_layers: bool,
    progress: bool,
) -> list[Trained | None]:
    """One game, or as many as there are keys; `names` are their folders in the run's folder."""
    for name, value in (
        ("epochs", epochs),
        ("batch_size", batch_size),
        ("evaluate_every", evaluate_every),
        ("k", k),
    ):
        if value < 1:
            raise ValueError(f"{name} must be at least 1; got {value}")
    n = len(images)
    per_epoch = n // (batch_size * k)
    if per_epoch == 0:
        raise ValueError(
            f"an iteration needs {batch_size * k} examples (k={k} minibatches of {batch_size}); "
            f"got {n} (lower batch_size or k)"
        )
    if not (images.dtype == np.uint8 or np.issubdtype(images.dtype, np.floating)):
        raise ValueError(
            f"images must be uint8 in 0..255 or floats; got {images.dtype} (convert them)"
        )

    def rules(learning_rate: Any) -> dict[str, optax.GradientTransformation]:
        chosen = {
            "generator_updates": generator_updates
            or functools.partial(released_updates, updates_per_epoch=per_epoch, stride=k),
            "discriminator_updates": discriminator_updates
            or functools.partial(released_updates, updates_per_epoch=per_epoch * k),
        }
        return {
            name: rule(learning_rate) if callable(rule) else rule for name, rule in chosen.items()
        }

    algorithm = Algorithm1(
        generator,
        discriminator,
        Uniform() if prior is None else prior,
        **rules(0.1 if learning_rates is None else learning_rates[0]),
        generator_cost=generator_cost,
        discriminator_cost=discriminator_cost,
        generator_sees_dropout=generator_sees_dropout,
        k=k,
        order=order,
        norms_every=min(NORMS_EVERY, per_epoch),  # so every epoch has some
    )
    many = keys.ndim == 1
    if many:
        mesh = make_mesh(devices, "the number of seeds", len(names))
    else:
        mesh = make_mesh(devices, "the batch size", batch_size)
    sweep = None if learning_rates is None else Sweep(learning_rates, rules)
    games = Games(
        algorithm,
        preprocess,
        len(names) if many else None,
        mesh,
        sweep=sweep,
        shard_layers=shard_layers,
    )
    state = games.init(generator, discriminator)
    step_keys, order_keys = jnp.moveaxis(games.over_seeds(jax.random.split)(keys), -1, 0)
    fingerprint = zlib.crc32(np.ascontiguousarray(images).data)
    data = games.place(images)
    _check_players(
        keys.ravel()[0],
        games.algorithm(0),
        *games.players(state, 0),
        _preprocessed_shape(data, preprocess),
    )

    folder = None if folder is None else Path(folder)
    records = [Record(folder and folder / name, per_epoch, k) for name in names]

    def reached() -> dict[str, np.ndarray]:
        """The epochs that each of many has recorded."""
        return {REACHED: np.array([len(r.metrics) for r in records])} if many else {}

    checkpoints: Checkpoints | None = None
    first = 0
    # Of many, those that have not diverged; the others' rows end where they did.
    alive = np.ones(len(names), bool)
    if folder is not None:
        claim(folder, records, resume)
        identity = {
            "key": np.asarray(jax.random.key_data(keys)),
            "batch size": np.array(batch_size),
            "k": np.array(k),
            "order": np.array(order == "simultaneous"),
            "data": np.array(fingerprint),
        }
        if learning_rates is not None:
            identity["list of learning rates"] = np.asarray(learning_rates)
        checkpoints = Checkpoints(folder / "checkpoints", identity)
        latest = checkpoints.latest()
        if latest is not None and not resume:
            raise FileExistsError(
                f"{folder} already holds checkpoints; choose another folder, or resume the run"
            )
        if latest is not None:
            first = latest
            if first > epochs:
                raise ValueError(
                    f"{folder} already holds {first} epochs; ask for more than that, got "
                    f"epochs={epochs}"
                )
            state, beside = checkpoints.restore(first, state, reached())
            for seed, record in enumerate(records):
                epochs_of_seed = int(beside[REACHED][seed]) if beside else first
                record.restore(epochs_of_seed)
                alive[seed] = epochs_of_seed == first
        wait("every process has read the folder")
        for record in records:
            record.rewrite()

    step_keys = games.place_seeds(step_keys)
    rows = _row_source(games.place(order_keys), n, per_epoch, k, batch_size)
    stops = [e for e in range(first + 1, epochs + 1) if e % evaluate_every == 0 or e == epochs]
    rates: list[float] = []
    bar = tqdm(
        total=epochs * per_epoch * k * len(names),
        initial=first * per_epoch * k * len(names),
        unit=" updates",
        disable=not (progress and leads()),
        mininterval=0.5 if sys.stderr.isatty() else 30,
        dynamic_ncols=True,
    )
    try:
        for start, end in _chunks(first * per_epoch, [e * per_epoch for e in stops]):
            began = time.perf_counter()
            state, info = games.advance(step_keys, state, data, rows(start, end))
            info = jax.tree.map(np.asarray, info)
            if not many:
                info = jax.tree.map(lambda x: x[None], info)
            rates.append((end - start) * k / (time.perf_counter() - began))
            done = end // per_epoch
            stopped = done in stops and end == done * per_epoch
            fine = _finite(info, start, algorithm.norms_every)
            if stopped:
                # Before anything is kept of a state: an update may overflow after finite costs.
                fine &= np.asarray(games.sound(state)).reshape(len(names))
            _report_divergence(names, alive, fine, start, end)
            alive &= fine
            bar.update((end - start) * k * len(names))
            seen = info.discriminator
            bar.set_postfix(
                {
                    "V": f"{seen.value[alive].mean():.3f}",
                    "D(x)": f"{seen.real_output[alive].mean():.3f}",
                    "D(G(z))": f"{seen.fake_output[alive].mean():.3f}",
                },
                refresh=False,
            )
            for seed in np.flatnonzero(alive).tolist():
                record = records[seed]
                new_rows = record.see(jax.tree.map(operator.itemgetter(seed), info), done)
                if stopped and evaluate is not None:
                    new_rows[-1] |= evaluate(seed, done, games.players(state, seed)[0])
                record.write(new_rows)
            if stopped and checkpoints is not None:
                checkpoints.save(done, state, reached())
    finally:
        bar.close()
        if checkpoints is not None:
            checkpoints.close()
    trained: list[Trained | None] = []
    for seed, record in enumerate(records):
        players = games.players(state, seed)
        rate = float(np.median(rates)) if rates else None
        one = Trained(*players, record.metrics, int(state.iteration) * k, rate)
        trained.append(one if alive[seed] else None)
    return trained


def _report_divergence(
    names: Sequence[str],
    alive: Bool[np.ndarray, " n"],
    fine: Bool[np.ndarray, " n"],
    start: int,
    end: int,
) -> None:
    """Names the games that have just diverged; an error if none is left."""
    lost = [name for name, was, still in zip(names, alive, fine, strict=True) if was and not still]
    if not lost:
        return
    left = int((alive & fine).sum())
    who = f" of {', '.join(lost)}" if any(names) else ""
    message = (
        f"training{who} diverged between iterations {start} and {end}: a cost, a gradient or a "
        "parameter is not finite (lower the learning rate)"
    )
    if not left:
        raise TrainingDiverged(message)
    warnings.warn(f"{message}; the other {left} go on", RuntimeWarning, stacklevel=4)


def _finite(info: Info, start: int, norms_every: int) -> Bool[np.ndarray, " games"]:
    """Whether all that each game computed in the iterations from `start` on is finite."""
    fine = np.ones(len(info.generator.cost), bool)
    for player in (info.discriminator, info.generator):
        for name, values in vars(player).items():
            computed = values[:, -start % norms_every :: norms_every]
            fine &= np.isfinite(computed if name == "gradient_norm" else values).all(axis=1)
    return fine


def _preprocessed_shape(images: Real[Array, " n *data"], preprocess: Preprocess) -> tuple[int, ...]:
    """The shape of an example as the discriminator sees it."""
    try:
        examples = eqx.filter_eval_shape(preprocess, images)
    except Exception as error:  # whatever it raises
        raise ValueError(
            f"preprocess fails on images of shape {images.shape[1:]} ({_first_line(error)})"
        ) from error
    if examples.shape[:1] != images.shape[:1] or not jnp.issubdtype(examples.dtype, jnp.floating):
        raise ValueError(
            f"preprocess must give floats, as many examples as it gets; of {len(images)} it made "
            f"{examples.dtype} of shape {examples.shape}"
        )
    return tuple(examples.shape[1:])


def _check_players(
    key: Key[Array, ""],
    algorithm: Algorithm1,
    generator: Player,
    discriminator: Player,
    data: tuple[int, ...],
) -> None:
    """Checks, without computing anything, that players, prior and data fit together."""
    prior = algorithm.prior
    try:
        made = eqx.filter_eval_shape(generate, key, generator, prior, 1)
    except Exception as error:  # whatever a player raises
        raise ValueError(
            f"the generator fails on a latent vector of size {prior.size}, which is the prior's "
            f"({_first_line(error)})"
        ) from error
    if made.shape[1:] != data:
        raise ValueError(
            f"the generator's examples have shape {made.shape[1:]} and the data's {data}; build "
            "it with the data's shape"
        )
    try:
        eqx.filter_eval_shape(judge, key, discriminator, made)
        if not algorithm.generator_sees_dropout:
            eqx.filter_eval_shape(judge, None, discriminator, made)
    except Exception as error:
        raise ValueError(
            f"the discriminator gives no logit for an example of shape {data} "
            f"({_first_line(error)})"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
