"""The compiled programs of the driver: one game, or many side by side.

Both advance a state by some iterations in one call, and donate it to that call. A single game's
minibatches are sharded over the devices; its state is replicated, or its large layers are sharded
too. Many games are divided among the devices. What is drawn does not depend on the device.
"""

import abc
import dataclasses
import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Int, Key, PyTree

from advnets.algorithms import Algorithm, Info, State, at, averaged
from advnets.batches import Batch
from advnets.model import model_of
from advnets.players import Players, partition
from advnets.training import devices
from advnets.training.callbacks import EpochSummary, Snapshot
from advnets.training.sources import Source

# An algorithm's step.
Step: TypeAlias = Callable[[Key[Array, ""], Players, State, Batch], tuple[State, Info]]


def _with_iteration(state: State, iteration: Int[Array, ""] | None) -> State:
    """A state with another iteration number; None where that is passed as a separate argument."""
    return eqx.tree_at(lambda s: s.iteration, state, iteration, is_leaf=lambda x: x is None)


def _untrained(players: Players) -> Players:
    """Players without the parts that a state holds."""
    return players.replaced({name: partition(p)[2] for name, p in players.named.items()})


def finite(players: PyTree) -> Bool[Array, ""]:
    """Whether all of the players' numbers are finite.

    Args:
        players: the players, or any pytree of arrays.

    Returns:
        A truth value.
    """
    return jnp.isfinite(optax.tree.norm(eqx.filter(players, eqx.is_inexact_array)))


def _iterate(
    step: Step,
    players: Players,
    minibatch: Callable[[PyTree], Batch],
    key: Key[Array, ""],
    state: State,
    chunk: PyTree,
) -> tuple[State, Info]:
    """Some iterations of one game, one for each row of the chunk."""

    def once(state: State, part: PyTree) -> tuple[State, Info]:
        return step(key, players, state, minibatch(part))

    return jax.lax.scan(once, state, chunk)


class Program(abc.ABC):
    """What the driver needs from what it trains: one game, many, or one model."""

    @abc.abstractmethod
    def init(self, initial: Any) -> State:
        """The state before the first iteration, placed on the program's devices."""

    @abc.abstractmethod
    def advance(
        self, keys: Key[Array, "*runs"], state: State, placed: Batch, chunk: PyTree
    ) -> tuple[State, Info]:
        """Some iterations in one compiled call, to which the state is donated.

        Raises a ValueError if there is not a key for each run.
        """

    @abc.abstractmethod
    def finite(self, state: State) -> Bool[Array, "*runs"]:
        """Whether all parameters of each run are finite."""

    @abc.abstractmethod
    def copied(self, state: State, run: int) -> State:
        """A copy of a run's state, as the state's own arrays are donated to the next call.

        Raises an IndexError for a run that does not exist.
        """

    @abc.abstractmethod
    def place_keys(self, keys: Key[Array, "*runs"]) -> Key[Array, "*runs"]:
        """The keys of the runs, placed on the program's devices."""

    @abc.abstractmethod
    def evaluated(self, state: State, run: int) -> tuple[Any, ...]:
        """Copies of the parts of a run that are evaluated.

        Raises an IndexError for a run that does not exist.
        """

    @abc.abstractmethod
    def snapshot(self, state: State, summary: EpochSummary) -> Any:
        """What callbacks are given for a run.

        Raises an IndexError for a run that does not exist.
        """


class Games(Program):
    """What one game and many have in common."""

    @abc.abstractmethod
    def untrained(self, run: int) -> Players:
        """A game's players without the parts that a state holds."""

    def evaluated(self, state: State, run: int) -> tuple[Any, ...]:
        return self.players(state, run)

    def snapshot(self, state: State, summary: EpochSummary) -> Any:
        players, averaged = self.players(state, summary.run)
        average = None if averaged is None else model_of(averaged)
        return Snapshot(
            **vars(summary),
            players=players,
            state=self.copied(state, summary.run),
            _averaged=average,
        )

    def players(self, state: State, run: int) -> tuple[Players, Players | None]:
        """Copies of a game's players, and of them with the averaged generator, if there is one.

        Raises an IndexError for a game that does not exist.
        """
        mine = self.copied(dataclasses.replace(state, updates={}), run)
        players = self.untrained(run)
        return at(players, mine), averaged(players, mine)


def minibatch_of(source: Source, placed: Batch, shape: tuple[int, ...], chunk: PyTree) -> Batch:
    """A preprocessed minibatch, or k of them along a leading axis.

    Raises a TypeError, as JAX does, unless the shape has as many examples as the chunk has rows.
    """
    # Preprocessed along one axis, because there may be k minibatches.
    flat = source.preprocess(source.minibatch(placed, chunk, len(shape)))
    return jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), flat)


class Single(Program):
    """What programs for one game and for one model have in common."""

    def __init__(self, untrained: PyTree, mesh: Mesh | None) -> None:
        self._mesh = mesh
        # Arrays that are not trained are an argument of the program, not constants in it.
        fixed, self._static = eqx.partition(untrained, eqx.is_array)
        self._fixed = self._place(fixed)
        replicated = None if mesh is None else devices.replicated(mesh)
        self._replicate = jax.jit(lambda x: x, out_shardings=replicated)
        self._advance = jax.jit(self.advance_fixed, donate_argnames="state")
        self._finite = jax.jit(finite, out_shardings=replicated)

    @abc.abstractmethod
    def advance_fixed(
        self, key: Key[Array, ""], fixed: PyTree, state: State, placed: Batch, chunk: PyTree
    ) -> tuple[State, Info]:
        """The program before it is compiled."""

    def _place(self, tree: PyTree) -> Any:
        if self._mesh is None:
            return jax.tree.map(jnp.asarray, tree)
        return devices.place(tree, devices.replicated(self._mesh))

    def place_keys(self, keys: Key[Array, "*runs"]) -> Key[Array, "*runs"]:
        return self._place(keys)

    def advance(
        self, keys: Key[Array, "*runs"], state: State, placed: Batch, chunk: PyTree
    ) -> tuple[State, Info]:
        return self._advance(keys, self._fixed, state, placed, chunk)

    def finite(self, state: State) -> Bool[Array, "*runs"]:
        return self._finite(state.players)

    def copied(self, state: State, run: int) -> State:
        if run != 0:
            raise IndexError(f"run must be 0, as there is one; got {run}")

        def copy(x: Array) -> Array:
            if self._mesh is None:
                return jnp.array(x)
            return devices.local(x if x.is_fully_replicated else self._replicate(x))

        return jax.tree.map(copy, state)


class OneGame(Single, Games):
    """One game, on one device or with its minibatches sharded over several."""

    def __init__(
        self,
        algorithm: Algorithm,
        players: Players,
        source: Source,
        batch_size: int,
        mesh: Mesh | None,
        *,
        shard_layers: bool,
    ) -> None:
        k = algorithm.minibatches
        self._algorithm, self._source = algorithm, source
        self._shape = (batch_size,) if k == 1 else (k, batch_size)
        self._shard_layers = shard_layers
        super().__init__(_untrained(players), mesh)

    def _shardings(self, state: State) -> PyTree:
        assert self._mesh is not None
        if self._shard_layers:
            return devices.shardings_of_layers(self._mesh, state)
        return devices.replicated(self._mesh)

    def init(self, players: Players) -> State:
        state = self._algorithm.init(players)
        if self._mesh is None:
            return state
        return devices.place(state, self._shardings(state))

    def advance_fixed(
        self, key: Key[Array, ""], fixed: PyTree, state: State, placed: Batch, chunk: PyTree
    ) -> tuple[State, Info]:
        """The program before it is compiled."""
        players: Players = eqx.combine(fixed, self._static)
        minibatch: Callable[[PyTree], Batch] = functools.partial(
            minibatch_of, self._source, placed, self._shape
        )
        step: Step = self._algorithm.step
        if self._mesh is not None:
            players, step = self._sharded_prior(players), self._sharded_step
            minibatch = self._sharded(minibatch)
        state, info = _iterate(step, players, minibatch, key, state, chunk)
        if self._mesh is not None:
            # Keep the sharding, or the next call would be compiled again,
            state = jax.lax.with_sharding_constraint(state, self._shardings(state))
            # and replicate the info for the host, which reads every iteration.
            info = jax.lax.with_sharding_constraint(info, devices.replicated(self._mesh))
        return state, info

    def _sharded_prior(self, players: Players) -> Players:
        assert self._mesh is not None
        prior = players.prior
        sharded = devices.ShardedPrior(prior.size, prior, devices.sharded(self._mesh))
        return dataclasses.replace(players, prior=sharded)

    def _sharded_step(
        self, key: Key[Array, ""], players: Players, state: State, real: Batch
    ) -> tuple[State, Info]:
        """A step whose state and info keep their shardings from iteration to iteration."""
        assert self._mesh is not None
        state, info = self._algorithm.step(key, players, state, real)
        return (
            jax.lax.with_sharding_constraint(state, self._shardings(state)),
            jax.lax.with_sharding_constraint(info, devices.replicated(self._mesh)),
        )

    def _sharded(self, minibatch: Callable[[PyTree], Batch]) -> Callable[[PyTree], Batch]:
        assert self._mesh is not None
        sharding = devices.sharded(self._mesh, len(self._shape) - 1)
        return lambda chunk: jax.lax.with_sharding_constraint(minibatch(chunk), sharding)

    def untrained(self, run: int) -> Players:
        fixed = self._fixed if self._mesh is None else devices.local(self._fixed)
        return eqx.combine(fixed, self._static)


class ManyGames(Games):
    """Many games of the same structure, on one device or divided among several.

    Their states are one state, whose arrays have a leading axis of games. All games are at the same
    iteration, so its number has no such axis: what depends only on it is computed once, and a
    branch on it stays a branch.
    """

    def __init__(
        self,
        algorithm: Callable[[PyTree], Algorithm],
        vary: PyTree,
        players: Players,
        source: Source,
        batch_size: int,
        mesh: Mesh | None,
        games: int,
    ) -> None:
        self._algorithm, self._source, self._mesh = algorithm, source, mesh
        self._batch_size = batch_size
        fixed, self._static = eqx.partition(_untrained(players), eqx.is_array)
        # Arrays that are not trained also differ by game, as do the settings that vary.
        self._fixed = fixed, vary
        self._placed_fixed = self.place_keys(self._fixed)
        replicated = None if mesh is None else devices.replicated(mesh)
        self._advance = jax.jit(self.advance_fixed, donate_argnames="state")
        self._finite = jax.jit(jax.vmap(finite), out_shardings=replicated)
        self._of_game = jax.jit(
            lambda tree, game: jax.tree.map(lambda x: x[game], tree), out_shardings=replicated
        )
        self._games = games

    def place_keys(self, keys: PyTree) -> Any:
        if self._mesh is None:
            return jax.tree.map(jnp.asarray, keys)
        return devices.place(keys, devices.sharded(self._mesh))

    def init(self, players: Players) -> State:
        arrays, static = eqx.partition(players, eqx.is_array)

        def one(arrays: PyTree, vary: PyTree) -> State:
            return self._algorithm(vary).init(eqx.combine(arrays, static))

        state = jax.vmap(one, axis_size=self._games)(arrays, self._fixed[1])
        placed = self.place_keys(_with_iteration(state, None))
        zero = jnp.zeros((), int)
        if self._mesh is not None:
            zero = devices.place(zero, devices.replicated(self._mesh))
        return _with_iteration(placed, zero)

    def advance(
        self, keys: Key[Array, "*runs"], state: State, placed: Batch, chunk: PyTree
    ) -> tuple[State, Info]:
        if keys.shape != (self._games,):
            raise ValueError(f"each of {self._games} runs needs a key; got keys {keys.shape}")
        return self._advance(keys, self._placed_fixed, state, placed, chunk)

    def advance_fixed(
        self, keys: Key[Array, " runs"], fixed: PyTree, state: State, placed: Batch, chunk: PyTree
    ) -> tuple[State, Info]:
        """The program before it is compiled; it does not check that every game has a key."""
        start = state.iteration
        iterations = jax.tree.leaves(chunk)[0].shape[1]

        def one(
            placed: Batch,
            start: Int[Array, ""],
            key: Key[Array, ""],
            fixed: PyTree,
            state: State,
            chunk: PyTree,
        ) -> tuple[State, Info]:
            arrays, vary = fixed
            algorithm = self._algorithm(vary)
            k = algorithm.minibatches
            shape = (self._batch_size,) if k == 1 else (k, self._batch_size)
            minibatch = functools.partial(minibatch_of, self._source, placed, shape)
            players: Players = eqx.combine(arrays, self._static)
            state, info = _iterate(
                algorithm.step, players, minibatch, key, _with_iteration(state, start), chunk
            )
            return _with_iteration(state, None), info

        def advance(placed: Batch, start: Int[Array, ""], *of_games: PyTree) -> tuple[State, Info]:
            return side_by_side(functools.partial(one, placed, start))(*of_games)

        if self._mesh is not None:
            whole, part = PartitionSpec(), PartitionSpec(devices.AXIS)
            advance = jax.shard_map(
                advance,
                mesh=self._mesh,
                in_specs=(whole, whole, part, part, part, part),
                out_specs=part,
                check_vma=False,  # it would need both branches of a condition marked
            )
        state, info = advance(placed, start, keys, fixed, _with_iteration(state, None), chunk)
        if self._mesh is not None:
            # For the host, which reads every game.
            info = jax.lax.with_sharding_constraint(info, devices.replicated(self._mesh))
        return _with_iteration(state, start + iterations), info

    def finite(self, state: State) -> Bool[Array, "*runs"]:
        return self._finite(state.players)

    def copied(self, state: State, run: int) -> State:
        if not 0 <= run < self._games:  # JAX would clamp it
            raise IndexError(f"run must be from 0 to {self._games - 1}; got {run}")
        mine = self._of_game(_with_iteration(state, None), run)
        iteration = jnp.array(state.iteration)
        if self._mesh is not None:
            mine, iteration = devices.local((mine, iteration))
        return _with_iteration(mine, iteration)

    def untrained(self, run: int) -> Players:
        fixed = jax.tree.map(lambda x: x[run], self._fixed[0])
        return eqx.combine(fixed, self._static)


def on_cpu() -> bool:
    """Whether programs run on a CPU."""
    return jax.default_backend() == "cpu"


def side_by_side(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of one game, mapped over many in one program."""
    if on_cpu():  # in a loop: a CPU is slower at batches of small products
        return lambda *inputs: jax.lax.map(lambda of_one: function(*of_one), inputs)
    return jax.vmap(function)
