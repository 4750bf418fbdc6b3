"""The driver: Algorithm 1 over device-resident data, with progress, metrics and checkpoints.

Many updates are one compiled program, and the host only looks between programs. All randomness
is a function of the run's key and the iteration's number, so a resumed run continues exactly.
"""

import dataclasses
import functools
import json
import os
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, Real
from tqdm import tqdm

from advnets import _files
from advnets.algorithm1 import (
    Algorithm1,
    DiscriminatorCost,
    GeneratorCost,
    Info,
    Order,
    Player,
    State,
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
# Examples generated in one compiled program by `sample_blocks`; it bounds memory. What `sample`
# draws for a key depends on it.
SAMPLES_PER_CALL = 1000

Evaluate = Callable[[int, Any], Mapping[str, Any]]
Metrics = dict[str, Any]


class TrainingDiverged(ArithmeticError):
    """A cost, a gradient or a parameter stopped being finite."""


class CheckpointError(ValueError):
    """A checkpoint can't be restored: it is damaged, or another run's."""


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


def _program(algorithm: Algorithm1, preprocess: Preprocess) -> Callable[..., tuple[State, Info]]:
    """Some iterations as one compiled program: a state, the data, and the rows to use of it."""

    @functools.partial(jax.jit, donate_argnames="state")
    def run(
        key: Key[Array, ""],
        state: State,
        images: Real[Array, " n *data"],
        rows: Int[Array, " iterations *batch"],
    ) -> tuple[State, Info]:
        def iteration(state: State, rows: Int[Array, "*batch"]) -> tuple[State, Info]:
            # Flat, because k minibatches may come at once.
            real = preprocess(images[rows.ravel()])
            return algorithm.step(key, state, real.reshape(*rows.shape, *real.shape[1:]))

        return jax.lax.scan(iteration, state, rows)

    return run


def _chunks(start: int, stops: list[int]) -> Iterator[tuple[int, int]]:
    """Ranges of iterations, none longer than a program, none across a stop."""
    for stop in stops:
        while start < stop:
            end = min(start + ITERATIONS_PER_CALL, stop)
            yield start, end
            start = end


def _mean_row(epoch: int, updates: int, infos: list[Info]) -> Metrics:
    """An epoch's means, in float64 on the host, so however its iterations were split up."""

    def mean(*parts: Float[np.ndarray, " n"]) -> float:
        # Gradient norms are there for some iterations only; nothing else may be NaN.
        return float(np.nanmean(np.concatenate(parts), dtype=np.float64))

    means = jax.tree.map(mean, *infos)
    return {
        "epoch": epoch,
        "updates": updates,
        "discriminator": dataclasses.asdict(means.discriminator),
        "generator": dataclasses.asdict(means.generator),
    }


class _Checkpoints:
    """A run's states, by epoch, kept by Orbax: atomic, and the newest two only.

    With each goes what tells the run from others: its key, settings and data.
    """

    def __init__(self, folder: Path, identity: dict[str, np.ndarray]) -> None:
        import orbax.checkpoint as ocp  # slow to import, and not needed without a folder

        self._args = ocp.args
        self._identity = identity
        self._manager = ocp.CheckpointManager(
            folder.absolute(), options=ocp.CheckpointManagerOptions(max_to_keep=2)
        )

    @staticmethod
    def _arrays(state: State) -> dict[str, Array]:
        leaves = jax.tree_util.tree_leaves_with_path(state)
        return {jax.tree_util.keystr(path).lstrip("."): leaf for path, leaf in leaves}

    def save(self, epoch: int, state: State) -> None:
        if epoch != self.latest():
            content = self._arrays(state) | self._identity
            self._manager.save(epoch, args=self._args.StandardSave(content))

    def latest(self) -> int | None:
        epoch = self._manager.latest_step()
        return None if epoch is None else int(epoch)

    def restore(self, epoch: int, like: State) -> State:
        expected = self._arrays(like)
        abstract = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), expected
        ) | {name: np.zeros_like(value) for name, value in self._identity.items()}
        try:
            arrays = self._manager.restore(epoch, args=self._args.StandardRestore(abstract))
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"the checkpoint of epoch {epoch} can't be restored: it is damaged, or holds "
                "players or update rules of other shapes (resume with the settings that the run "
                "began with)"
            ) from error
        for name, value in self._identity.items():
            if not np.array_equal(arrays[name], value):
                raise CheckpointError(
                    f"the checkpoint of epoch {epoch} is of a run with another {name}; resume with "
                    "the settings that the run began with"
                )
        structure = jax.tree.structure(like)
        return jax.tree.unflatten(structure, [arrays[name] for name in expected])

    def close(self) -> None:
        self._manager.close()  # waits for a save under way


def _json_line(row: Metrics) -> str:
    return json.dumps(row, default=float) + "\n"  # NumPy's and JAX's numbers as ours


def _read_metrics(path: Path, up_to: int) -> list[Metrics]:
    if not path.exists():
        return []
    lines = path.read_text().splitlines()
    # A killed run may leave half a last line; it is past the checkpoint, so it is made again.
    rows = [json.loads(line) for line in lines[:up_to]]
    return [row for row in rows if row["epoch"] <= up_to]


def _write_metrics(path: Path, rows: list[Metrics]) -> None:
    _files.replace(path, "".join(_json_line(row) for row in rows).encode())


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
    algorithm = Algorithm1(
        generator,
        discriminator,
        Uniform() if prior is None else prior,
        generator_updates=generator_updates or released_updates(0.1, per_epoch, stride=k),
        discriminator_updates=discriminator_updates or released_updates(0.1, per_epoch * k),
        generator_cost=generator_cost,
        discriminator_cost=discriminator_cost,
        generator_sees_dropout=generator_sees_dropout,
        k=k,
        order=order,
        norms_every=min(NORMS_EVERY, per_epoch),  # so every epoch has some
    )
    state = algorithm.init(generator, discriminator)
    if not (images.dtype == np.uint8 or np.issubdtype(images.dtype, np.floating)):
        raise ValueError(
            f"images must be uint8 in 0..255 or floats; got {images.dtype} (convert them)"
        )
    images = jnp.asarray(images)
    step_key, order_key = jax.random.split(key)
    _check_players(key, algorithm, state, _preprocessed_shape(images, preprocess))

    metrics: list[Metrics] = []
    checkpoints: _Checkpoints | None = None
    first = 0
    if folder is not None:
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        log = folder / "metrics.jsonl"
        if log.exists() and not resume:
            raise FileExistsError(
                f"{folder} already holds a run; choose another folder, or resume it"
            )
        if resume and not log.exists():
            raise FileNotFoundError(f"{folder} holds no run to resume")
        identity = {
            "key": np.asarray(jax.random.key_data(key)),
            "batch size": np.array(batch_size),
            "k": np.array(k),
            "order": np.array(order == "simultaneous"),
            "data": np.array(zlib.crc32(np.ascontiguousarray(images).data)),
        }
        checkpoints = _Checkpoints(folder / "checkpoints", identity)
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
            state = checkpoints.restore(first, state)
            metrics = _read_metrics(log, up_to=first)
            if [row["epoch"] for row in metrics] != [*range(1, first + 1)]:
                raise CheckpointError(
                    f"{log} does not hold the {first} epochs of the newest checkpoint; the run is "
                    "damaged"
                )
        _write_metrics(log, metrics)

    run = _program(algorithm, preprocess)
    # Once before anything is kept of a state: an update may overflow after finite costs.
    sound = jax.jit(
        lambda state: jnp.isfinite(optax.tree.norm((state.generator, state.discriminator)))
    )
    minibatches = jax.jit(lambda epoch: epoch_order(order_key, epoch, n, batch_size))
    orders: dict[int, Array] = {}

    def rows(start: int, end: int) -> Array:
        """The rows of iterations start to end, from the orders of the epochs they lie in."""
        first_epoch, last_epoch = start // per_epoch, (end - 1) // per_epoch
        for epoch in list(orders):
            if epoch < first_epoch:
                del orders[epoch]
        parts = []
        for epoch in range(first_epoch, last_epoch + 1):
            if epoch not in orders:
                batches = minibatches(epoch)
                shape = (per_epoch, batch_size) if k == 1 else (per_epoch, k, batch_size)
                orders[epoch] = batches[: per_epoch * k].reshape(shape)
            low = max(start - epoch * per_epoch, 0)
            high = min(end - epoch * per_epoch, per_epoch)
            parts.append(orders[epoch][low:high])
        return jnp.concatenate(parts)

    stops = [e for e in range(first + 1, epochs + 1) if e % evaluate_every == 0 or e == epochs]
    infos: list[Info] = []
    rates: list[float] = []
    bar = tqdm(
        total=epochs * per_epoch * k,
        initial=first * per_epoch * k,
        unit=" updates",
        disable=not progress,
        mininterval=0.5 if sys.stderr.isatty() else 30,
        dynamic_ncols=True,
    )
    try:
        for start, end in _chunks(first * per_epoch, [e * per_epoch for e in stops]):
            began = time.perf_counter()
            state, info = run(step_key, state, images, rows(start, end))
            info = jax.tree.map(np.asarray, info)
            rates.append((end - start) * k / (time.perf_counter() - began))
            done = end // per_epoch
            stopped = done in stops and end == done * per_epoch
            if not (_finite(info, start, algorithm.norms_every) and (not stopped or sound(state))):
                raise TrainingDiverged(
                    f"training diverged between iterations {start} and {end}: a cost, a gradient "
                    "or a parameter is not finite (lower the learning rate)"
                )
            infos.append(info)
            bar.update((end - start) * k)
            bar.set_postfix(
                {
                    "V": f"{info.discriminator.value.mean():.3f}",
                    "D(x)": f"{info.discriminator.real_output.mean():.3f}",
                    "D(G(z))": f"{info.discriminator.fake_output.mean():.3f}",
                },
                refresh=False,
            )
            new_rows: list[Metrics] = []
            while len(metrics) + len(new_rows) < done:
                epoch = len(metrics) + len(new_rows) + 1
                taken, infos = _split(infos, per_epoch)
                new_rows.append(_mean_row(epoch, epoch * per_epoch * k, taken))
            if stopped and evaluate is not None:
                # A copy: the state's own arrays are given away to the next program.
                copied = jax.tree.map(jnp.array, state.generator)
                new_rows[-1] |= evaluate(done, eqx.combine(copied, algorithm.generator))
            metrics += new_rows
            if folder is not None and new_rows:
                with log.open("a") as file:
                    file.write("".join(_json_line(row) for row in new_rows))
            if stopped and checkpoints is not None:
                checkpoints.save(done, state)
    finally:
        bar.close()
        if checkpoints is not None:
            checkpoints.close()
    trained_generator, trained_discriminator = algorithm.players(state)
    return Trained(
        trained_generator,
        trained_discriminator,
        metrics,
        updates=int(state.iteration) * k,
        updates_per_second=float(np.median(rates)) if rates else None,
    )


def _finite(info: Info, start: int, norms_every: int) -> bool:
    """Whether everything that was computed in the iterations from `start` on is finite."""
    for player in (info.discriminator, info.generator):
        for name, values in vars(player).items():
            computed = values[-start % norms_every :: norms_every]
            if not np.isfinite(computed if name == "gradient_norm" else values).all():
                return False
    return True


def _split(infos: list[Info], n: int) -> tuple[list[Info], list[Info]]:
    """The first n iterations of what was seen, and the rest."""
    merged = jax.tree.map(lambda *parts: np.concatenate(parts), *infos)
    head, rest = jax.tree.map(lambda x: x[:n], merged), jax.tree.map(lambda x: x[n:], merged)
    return [head], [rest] if len(rest.generator.cost) else []


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
    key: Key[Array, ""], algorithm: Algorithm1, state: State, data: tuple[int, ...]
) -> None:
    """Checks, without computing anything, that players, prior and data fit together."""
    generator, discriminator = algorithm.players(state)
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


def sample(
    key: Key[Array, ""], generator: Player, n: int, *, prior: Prior | None = None
) -> Float[np.ndarray, " n *data"]:
    """Draws independent examples from a generator: p_g, without a Markov chain.

    Args:
        key: a typed random key.
        generator: maps a latent vector to an example. Noise inside it (dropout, say) is part of
            the distribution and stays on.
        n: the number of examples, at least 1.
        prior: the distribution of the latent vectors; `Uniform(100)` unless given.

    Returns:
        The examples, as a NumPy array on the host.

    Raises:
        ValueError: if n is below 1.

    Example:
        >>> import jax
        >>> import advnets
        >>> generator = advnets.mlp_generator(jax.random.key(0), 100, (28, 28))
        >>> advnets.sample(jax.random.key(1), generator, 3).shape
        (3, 28, 28)

    References:
        x = G(z), z drawn from p_z (section 3); Figure 2.
    """
    return sample_blocks(key, generator, n, prior=prior).first(n)


def sample_blocks(
    key: Key[Array, ""], generator: Player, n: int, *, prior: Prior | None = None
) -> "SampleBlocks":
    """Draws what `sample` draws, but in blocks, each when it is asked for.

    Together the blocks are what [`advnets.sample`][] gives for the same key and n, bit for bit. So
    they take the memory of one block, and the same block can be had again instead of being kept.

    Args:
        key: a typed random key.
        generator: maps a latent vector to an example. Noise inside it (dropout, say) is part of
            the distribution and stays on.
        n: the number of examples in all, at least 1.
        prior: the distribution of the latent vectors; `Uniform(100)` unless given.

    Returns:
        The blocks, fit for [`advnets.parzen.evaluate_draws`][].

    Raises:
        ValueError: if n is below 1.

    Example:
        >>> import jax
        >>> import advnets
        >>> generator = advnets.mlp_generator(jax.random.key(0), 100, (28, 28))
        >>> blocks = advnets.sample_blocks(jax.random.key(1), generator, 2500)
        >>> [blocks[number].shape for number in range(len(blocks))]
        [(1000, 28, 28), (1000, 28, 28), (500, 28, 28)]

    References:
        x = G(z), z drawn from p_z (section 3).
    """
    if n < 1:
        raise ValueError(f"the number of samples must be at least 1; got {n}")
    block_rows = min(n, SAMPLES_PER_CALL)
    keys = jax.random.split(key, -(-n // block_rows))
    return SampleBlocks(keys, generator, Uniform() if prior is None else prior, n, block_rows)


@dataclasses.dataclass(frozen=True)
class SampleBlocks:
    """A generator's examples in blocks: `blocks[i]` draws one, anew each time, and keeps nothing.

    Attributes:
        keys: the key of each block.
        generator: maps a latent vector to an example.
        prior: the distribution of the latent vectors.
        n: the number of examples in all.
        block_rows: the number of examples in a block; the last one may have fewer.
    """

    keys: Key[Array, " blocks"]
    generator: Player
    prior: Prior
    n: int
    block_rows: int

    def __len__(self) -> int:
        return self.keys.shape[0]

    def __getitem__(self, number: int) -> Float[Array, " block *data"]:
        if not 0 <= number < len(self):
            raise IndexError(f"there is no block {number}; the {len(self)} blocks count from 0")
        block = _compiled_generate(self.keys[number], self.generator, self.prior, self.block_rows)
        return block[: self.n - number * self.block_rows]

    def first(self, rows: int) -> Float[np.ndarray, " rows *data"]:
        """The first of the examples, or all where there are fewer, as an array on the host.

        Args:
            rows: how many, at least 1.

        Returns:
            The examples. Only the blocks that hold them are drawn.
        """
        blocks = -(-min(rows, self.n) // self.block_rows)
        return np.concatenate([np.asarray(self[number]) for number in range(blocks)])[:rows]


_compiled_generate = eqx.filter_jit(generate)
