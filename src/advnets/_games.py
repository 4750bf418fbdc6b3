"""The compiled program of the driver: one game, or many side by side, on one device or more.

Many games are a state whose arrays have a leading axis of seeds, all but the iteration's number.
On several devices each has its part of the seeds. A single game's minibatches are cut instead, and
its state is whole on each, or but for large layers, which are cut too; which device draws what does
not change what is drawn.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, Key, PyTree, Real

from advnets import _devices
from advnets.algorithm1 import Algorithm1, Info, Player, State
from advnets.preprocessing import Preprocess


def _with_iteration(state: State, iteration: Int[Array, ""] | None) -> State:
    return eqx.tree_at(lambda s: s.iteration, state, iteration, is_leaf=lambda x: x is None)


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What differs between games beside their seeds.

    Attributes:
        learning_rates: one for each game.
        rules: the players' update rules at a learning rate, under their names in the algorithm.
    """

    learning_rates: Float[Array, " seeds"]
    rules: Callable[[Float[Array, ""]], dict[str, optax.GradientTransformation]]


class Games:
    """What many games share, or all of one game, beside its state.

    All seeds are at the same iteration, so its number has no axis of seeds: what depends on it
    alone is computed once, and a branch on it stays a branch.
    """

    def __init__(
        self,
        algorithm: Algorithm1,
        preprocess: Preprocess,
        seeds: int | None,
        mesh: Mesh | None,
        *,
        sweep: Sweep | None = None,
        shard_layers: bool = False,
    ) -> None:
        self.seeds = seeds
        self._preprocess = preprocess
        self._algorithm = algorithm
        # Arrays that are not trained belong to a seed too, and so does its learning rate.
        players = algorithm.generator, algorithm.discriminator
        of_players, self._static = eqx.partition(players, eqx.is_array)
        self._fixed = of_players, sweep and sweep.learning_rates
        self._sweep = sweep
        self._mesh = mesh
        self._placed = self.place_seeds(self._fixed)
        # A single game's minibatches are cut; nothing else is spread within a step.
        self._cut_for = mesh if seeds is None else None
        whole = None if mesh is None else _devices.on_every(mesh)
        self._shard_layers = shard_layers
        self._whole = jax.jit(lambda x: x, out_shardings=whole)
        self._compiled_advance = jax.jit(self._advance_all, donate_argnames="state")
        self._compiled_sound = jax.jit(self.over_seeds(_sound), out_shardings=whole)
        self._of_seed = jax.jit(
            lambda tree, seed: jax.tree.map(lambda x: x[seed], tree), out_shardings=whole
        )

    def over_seeds(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function of one game as a function of them all."""
        return function if self.seeds is None else jax.vmap(function)

    def init(self, generator: Player, discriminator: Player) -> State:
        """The state before the first iteration."""
        if self.seeds is None:
            single = self._algorithm.init(generator, discriminator)
            if self._mesh is None:
                return single
            placed_single: State = _devices.place(single, self._lies(single))
            return placed_single
        state: State = eqx.filter_vmap(
            lambda fixed, *players: self._algorithm_of(fixed).init(*players)
        )(self._fixed, generator, discriminator)
        placed = self.place_seeds(_with_iteration(state, None))
        return _with_iteration(placed, self.place(jnp.zeros((), int)))

    def place(self, tree: PyTree) -> Any:
        """Arrays as each device needs them whole."""
        if self._mesh is None:
            return jax.tree.map(jnp.asarray, tree)
        return _devices.place(tree, _devices.on_every(self._mesh))

    def place_seeds(self, tree: PyTree) -> Any:
        """Arrays of all seeds, each where its seed is."""
        if self._mesh is None or self.seeds is None:
            return self.place(tree)
        return _devices.place(tree, _devices.along(self._mesh))

    def algorithm(self, seed: int) -> Algorithm1:
        """A seed's algorithm, which knows its players' static parts."""
        if self.seeds is None:
            return self._algorithm
        return self._algorithm_of(jax.tree.map(lambda x: x[seed], self._fixed))

    def players(self, state: State, seed: int) -> tuple[Player, Player]:
        """Copies of a seed's players: the state's own arrays are given away to the next program."""
        parts = state.generator, state.discriminator
        if self.seeds is not None:
            parts = self._of_seed(parts, seed)

        def copied(x: Array) -> Array:
            if self._mesh is None:
                return jnp.array(x)
            copy: Array = _devices.local(x if x.is_fully_replicated else self._whole(x))
            return copy

        generator, discriminator = jax.tree.map(copied, parts)
        algorithm = self.algorithm(seed)
        return eqx.combine(generator, algorithm.generator), eqx.combine(
            discriminator, algorithm.discriminator
        )

    def advance(
        self,
        keys: Key[Array, "*seeds"],
        state: State,
        images: Real[Array, " n *data"],
        rows: Int[Array, "*iterations_batch"],
    ) -> tuple[State, Info]:
        """Some iterations: a state, which is given away, the data, and the rows to use of it."""
        return self._compiled_advance(keys, self._placed, state, images, rows)

    def sound(self, state: State) -> Bool[Array, "*seeds"]:
        """Whether all of each game's parameters are finite."""
        return self._compiled_sound((state.generator, state.discriminator))

    def _algorithm_of(self, fixed: PyTree) -> Algorithm1:
        of_players, learning_rate = fixed
        generator, discriminator = eqx.combine(of_players, self._static)
        changes = self._sweep.rules(learning_rate) if self._sweep else {}
        return dataclasses.replace(
            self._algorithm, generator=generator, discriminator=discriminator, **changes
        )

    def _spread(self, algorithm: Algorithm1) -> Algorithm1:
        if self._cut_for is None:
            return algorithm
        prior = algorithm.prior
        spread = _devices.Spread(prior.size, prior, _devices.along(self._cut_for))
        return dataclasses.replace(algorithm, prior=spread)

    def _cut(self, real: Real[Array, "*batches"], axis: int) -> Real[Array, "*batches"]:
        if self._cut_for is None:
            return real
        return jax.lax.with_sharding_constraint(real, _devices.along(self._cut_for, axis))

    def _join(self, state: State, info: Info) -> tuple[State, Info]:
        if self._cut_for is None:
            return state, info
        whole = _devices.on_every(self._cut_for)
        return (
            jax.lax.with_sharding_constraint(state, self._lies(state)),
            jax.lax.with_sharding_constraint(info, whole),
        )

    def _lies(self, state: State) -> PyTree:
        """How a single game's state lies on the devices."""
        assert self._mesh is not None
        return (
            _devices.layers(self._mesh, state)
            if self._shard_layers
            else _devices.on_every(self._mesh)
        )

    def _advance_one(
        self,
        images: Real[Array, " n *data"],
        iteration: Int[Array, ""],
        key: Key[Array, ""],
        fixed: PyTree,
        state: State,
        rows: Int[Array, " iterations *batch"],
    ) -> tuple[State, Info]:
        algorithm = self._spread(self._algorithm_of(fixed))

        def step(state: State, rows: Int[Array, "*batch"]) -> tuple[State, Info]:
            # Flat, because k minibatches may come at once.
            real = self._preprocess(images[rows.ravel()])
            real = self._cut(real.reshape(*rows.shape, *real.shape[1:]), rows.ndim - 1)
            return self._join(*algorithm.step(key, state, real))

        state, info = jax.lax.scan(step, _with_iteration(state, iteration), rows)
        return _with_iteration(state, None), info

    def _advance_all(
        self,
        keys: Key[Array, "*seeds"],
        fixed: PyTree,
        state: State,
        images: Real[Array, " n *data"],
        rows: Int[Array, "*iterations_batch"],
    ) -> tuple[State, Info]:
        start, many = state.iteration, self.seeds is not None

        def advance(
            images: Real[Array, " n *data"], start: Int[Array, ""], *of_seeds: PyTree
        ) -> tuple[State, Info]:
            one = functools.partial(self._advance_one, images, start)
            return side_by_side(one)(*of_seeds) if many else one(*of_seeds)

        if many and self._mesh is not None:
            whole, part = PartitionSpec(), PartitionSpec(_devices.AXIS)
            advance = jax.shard_map(
                advance,
                mesh=self._mesh,
                in_specs=(whole, whole, part, part, part, part),
                out_specs=part,
                check_vma=False,  # it would want both branches of a condition marked
            )
        state, info = advance(images, start, keys, fixed, _with_iteration(state, None), rows)
        if self._mesh is not None:
            # For the host, which looks at every seed.
            info = jax.lax.with_sharding_constraint(info, _devices.on_every(self._mesh))
        return _with_iteration(state, start + rows.shape[many]), info


def _on_cpu() -> bool:
    return jax.default_backend() == "cpu"


def side_by_side(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of one seed as one of many, in one program."""
    if _on_cpu():  # in a loop: it is slower at batches of small products
        return lambda *inputs: jax.lax.map(lambda of_one: function(*of_one), inputs)
    return jax.vmap(function)


def _sound(players: PyTree) -> Bool[Array, ""]:
    return jnp.isfinite(optax.tree.norm(players))
