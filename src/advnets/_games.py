"""The compiled program of the driver: one game, or many side by side.

Many games are a state whose arrays have a leading axis of seeds, all but the iteration's number.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Int, Key, PyTree, Real

from advnets.algorithm1 import Algorithm1, Info, Player, State
from advnets.preprocessing import Preprocess


def _with_iteration(state: State, iteration: Int[Array, ""] | None) -> State:
    return eqx.tree_at(lambda s: s.iteration, state, iteration, is_leaf=lambda x: x is None)


class Games:
    """What many games share, or all of one game, beside its state.

    All seeds are at the same iteration, so its number has no axis of seeds: what depends on it
    alone is computed once, and a branch on it stays a branch.
    """

    def __init__(self, algorithm: Algorithm1, preprocess: Preprocess, seeds: int | None) -> None:
        self.seeds = seeds
        self._preprocess = preprocess
        self._algorithm = algorithm
        # Arrays that are not trained belong to a seed too.
        players = algorithm.generator, algorithm.discriminator
        self._fixed, self._static = eqx.partition(players, eqx.is_array)
        self._of_seed = jax.jit(lambda tree, seed: jax.tree.map(lambda x: x[seed], tree))
        self._compiled_advance = jax.jit(self._advance_all, donate_argnames="state")
        self._compiled_sound = jax.jit(self.over_seeds(_sound))

    def over_seeds(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function of one game as a function of them all."""
        return function if self.seeds is None else jax.vmap(function)

    def init(self, generator: Player, discriminator: Player) -> State:
        """The state before the first iteration."""
        if self.seeds is None:
            return self._algorithm.init(generator, discriminator)
        state: State = eqx.filter_vmap(self._algorithm.init)(generator, discriminator)
        return _with_iteration(state, jnp.zeros((), int))

    def algorithm(self, seed: int) -> Algorithm1:
        """A seed's algorithm, which knows its players' static parts."""
        if self.seeds is None:
            return self._algorithm
        return self._algorithm_of(self._of_seed(self._fixed, seed))

    def state(self, state: State, seed: int) -> State:
        """A copy of a seed's state: the state's own arrays are given away to the next program."""
        if self.seeds is None:
            return jax.tree.map(jnp.array, state)
        one = self._of_seed(_with_iteration(state, None), seed)
        return _with_iteration(one, jnp.array(state.iteration))

    def advance(
        self,
        keys: Key[Array, "*seeds"],
        state: State,
        images: Real[Array, " n *data"],
        rows: Int[Array, "*iterations_batch"],
    ) -> tuple[State, Info]:
        """Some iterations: a state, which is given away, the data, and the rows to use of it."""
        return self._compiled_advance(keys, self._fixed, state, images, rows)

    def sound(self, state: State) -> Bool[Array, "*seeds"]:
        """Whether all of each game's parameters are finite."""
        return self._compiled_sound((state.generator, state.discriminator))

    def _algorithm_of(self, fixed: PyTree) -> Algorithm1:
        generator, discriminator = eqx.combine(fixed, self._static)
        return dataclasses.replace(
            self._algorithm, generator=generator, discriminator=discriminator
        )

    def _side_by_side(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return _one_after_another(function) if _on_cpu() else jax.vmap(function)

    def _advance_one(
        self,
        images: Real[Array, " n *data"],
        iteration: Int[Array, ""],
        key: Key[Array, ""],
        fixed: PyTree,
        state: State,
        rows: Int[Array, " iterations *batch"],
    ) -> tuple[State, Info]:
        algorithm = self._algorithm_of(fixed)

        def step(state: State, rows: Int[Array, "*batch"]) -> tuple[State, Info]:
            # Flat, because k minibatches may come at once.
            real = self._preprocess(images[rows.ravel()])
            return algorithm.step(key, state, real.reshape(*rows.shape, *real.shape[1:]))

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
        one = functools.partial(self._advance_one, images, start)
        advance = self._side_by_side(one) if many else one
        state, info = advance(keys, fixed, _with_iteration(state, None), rows)
        return _with_iteration(state, start + rows.shape[many]), info


def _on_cpu() -> bool:
    return jax.default_backend() == "cpu"


def _one_after_another(function: Callable[..., Any]) -> Callable[..., Any]:
    """What `vmap` computes, in a compiled loop: a CPU is slower at batches of small products."""
    return lambda *inputs: jax.lax.map(lambda of_one: function(*of_one), inputs)


def _sound(players: PyTree) -> Bool[Array, ""]:
    return jnp.isfinite(optax.tree.norm(players))
