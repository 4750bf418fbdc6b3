"""Coordination of the players: steps that take into account how the other player will move.

Both players' gradients together are a vector field v, and the field of a game rotates: near a
solution, simultaneous gradient descent spirals outwards. Each algorithm here changes the step so
that it spirals inwards, with the same objective.

All of them support players with an `eqx.nn.State` and players with noise: within an iteration,
every gradient is taken on the same minibatch, with the same draws and from the same memory.

Two more methods need no algorithm of their own. Optimistic steps are an update rule,
`optax.optimistic_gradient_descent` or `optax.optimistic_adam_v2` for both players of
[`advnets.Simultaneous`][]; two time scales are two update rules with different rates.
"""

import dataclasses
import math
from typing import Any

import jax
import optax
from jaxtyping import Array, Float, Key, PyTree

from advnets.algorithms import Algorithm, Info, State
from advnets.batches import Batch
from advnets.draws import Draws, discriminator_draws
from advnets.layers import GradientFloor
from advnets.players import Players


@dataclasses.dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Extragradient(Algorithm):
    r"""Extragradient: look one step ahead, then step from here with the gradients found there.

    $$w' = w - h\, v(w - h\, v(w))$$

    Here w are all players' parameters and v their gradients, each of the player's own cost. The
    update rules make both steps. Their states, and the players' memory, are updated once, at the
    looked-ahead parameters. An iteration costs two passes.

    Attributes:
        objective: what the players descend; -V for the discriminator (Eq. 1) and the
            non-saturating cost for the generator unless given.
        generator_updates: the generator's update rule.
        discriminator_updates: the discriminator's update rule.
        other_updates: the update rules of further players.
        average: the decay of an average of the generator, see [`advnets.algorithms.Algorithm`][].
        fake: how generated examples are made.
        norms_every: how often gradient norms are computed, see there; they are those of the
            looked-ahead gradients.

    Raises:
        ValueError: for a setting out of range.

    Example:
        >>> import optax
        >>> from advnets.coordination import Extragradient
        >>> rule = optax.sgd(0.1)
        >>> algorithm = Extragradient(generator_updates=rule, discriminator_updates=rule)
        >>> algorithm.minibatches
        1

    References:
        Section 7 (coordinating G and D); Korpelevich 1976; Gidel et al. 2019, "A variational
        inequality perspective on generative adversarial networks", section 3.
    """

    def step(
        self, key: Key[Array, ""], players: Players, state: State, real: Batch
    ) -> tuple[State, Info]:
        """One iteration.

        Args:
            key: the run's key, the same at every iteration: the iteration's number is folded in.
            players: the players; their trained arrays are taken from the state.
            state: the state.
            real: a minibatch of data, for the look ahead and for the step.

        Returns:
            The state after the iteration, and the info of each player at the looked-ahead
            parameters.
        """
        draws = discriminator_draws(jax.random.fold_in(key, state.iteration))
        names = tuple(players.named)
        _, gradients, _, _ = self.differentiate(names, draws, players, state, real)
        ahead = self.descend(state, gradients)
        values, gradients, seen, ahead = self.differentiate(names, draws, players, ahead, real)
        state = self.descend(dataclasses.replace(state, memory=ahead.memory), gradients)
        info = self.info(values, gradients, seen, state)
        return dataclasses.replace(state, iteration=state.iteration + 1), info


@dataclasses.dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Consensus(Algorithm):
    r"""Consensus optimisation: simultaneous descent that also shrinks both players' gradients.

    $$w' = w - h \left(v(w) + \gamma\, \nabla \tfrac12 \lVert v(w) \rVert^2\right)$$

    The second term is $\gamma J^\top v$, with J the Jacobian of the gradients v of all players; it
    is one pullback of v through v itself. (Jv, a pushforward, would turn the field the other way.)
    An iteration takes two to three times as long as one of [`advnets.Simultaneous`][].

    Attributes:
        weight: γ, at least 0 and finite. An array inside a compiled program is not checked.
        objective: what the players descend; -V for the discriminator (Eq. 1) and the
            non-saturating cost for the generator unless given. It is differentiated twice.
        generator_updates: the generator's update rule, which gets the sum.
        discriminator_updates: the discriminator's update rule, which gets it too.
        other_updates: the update rules of further players.
        average: the decay of an average of the generator, see [`advnets.algorithms.Algorithm`][].
        fake: how generated examples are made.
        norms_every: how often gradient norms are computed, see there; they are those of v.

    Raises:
        ValueError: for a setting out of range.

    Example:
        >>> import optax
        >>> from advnets.coordination import Consensus
        >>> rule = optax.sgd(0.1)
        >>> algorithm = Consensus(weight=1.0, generator_updates=rule, discriminator_updates=rule)

    References:
        Section 7 (coordinating G and D); Mescheder, Nowozin and Geiger 2017, "The numerics of
        GANs", Algorithm 2.
    """

    weight: float | Float[Array, ""]

    def __post_init__(self) -> None:
        Algorithm.__post_init__(self)
        weight = 0 if isinstance(self.weight, jax.core.Tracer) else self.weight
        if not 0 <= weight < math.inf:
            raise ValueError(
                f"the weight of consensus must be at least 0 and finite; got {self.weight} (0 is "
                "simultaneous descent)"
            )

    def step(
        self, key: Key[Array, ""], players: Players, state: State, real: Batch
    ) -> tuple[State, Info]:
        """One iteration.

        Args:
            key: the run's key, the same at every iteration: the iteration's number is folded in.
            players: the players; their trained arrays are taken from the state.
            state: the state.
            real: a minibatch of data.

        Returns:
            The state after the iteration, and the info of each player.
        """
        draws = discriminator_draws(jax.random.fold_in(key, state.iteration))
        names = tuple(players.named)

        def field(moving: dict[str, PyTree]) -> tuple[dict[str, PyTree], tuple]:
            here = dataclasses.replace(state, players=moving)
            values, gradients, seen, after = self.differentiate(names, draws, players, here, real)
            return gradients, (values, seen, after.memory)

        gradients, pull_back, (values, seen, memory) = jax.vjp(field, state.players, has_aux=True)
        (shorter,) = pull_back(gradients)
        sums = jax.tree.map(lambda v, pulled: v + self.weight * pulled, gradients, shorter)
        state = self.descend(dataclasses.replace(state, memory=memory), sums)
        info = self.info(values, gradients, seen, state)
        return dataclasses.replace(state, iteration=state.iteration + 1), info


@dataclasses.dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Unrolled(Algorithm):
    r"""An unrolled discriminator: G descends its cost against D as it would be a few steps later.

    $$\theta' = \theta - h\, \frac{d}{d\theta}\, c_G(\theta, \psi_K(\theta)), \qquad
      \psi_{k+1} = \psi_k - \eta\, \partial_\psi c_D(\theta, \psi_k)$$

    G's cost is differentiated through the K updates of a copy of D, which is then dropped. D itself
    and any further players take one ordinary step, at the same parameters as G. The K updates use
    the iteration's minibatch and draws, and the memory from before it. Each costs one forward pass
    and two backward passes.

    An update rule that divides by a square root, such as Adam, has no derivative where a gradient
    is 0: give it `eps_root` above 0. A generator with a [`advnets.layers.GradientFloor`][] is
    refused: it would lift each of the gradients on the way, not their sum.

    Attributes:
        steps: K, at least 1.
        rule: the update rule of the copy of D, from its initial state; unless given, the
            discriminator's own rule, from its current state.
        objective: what the players descend; -V for the discriminator (Eq. 1) and the
            non-saturating cost for the generator unless given. D's cost is differentiated twice.
        generator_updates: the generator's update rule.
        discriminator_updates: the discriminator's update rule.
        other_updates: the update rules of further players.
        average: the decay of an average of the generator, see [`advnets.algorithms.Algorithm`][].
        fake: how generated examples are made.
        norms_every: how often gradient norms are computed, see there.

    Raises:
        ValueError: for a setting out of range.

    Example:
        >>> import optax
        >>> from advnets.coordination import Unrolled
        >>> rule = optax.sgd(0.1)
        >>> algorithm = Unrolled(steps=5, generator_updates=rule, discriminator_updates=rule)

    References:
        Section 7 (coordinating G and D); Metz et al. 2017, "Unrolled generative adversarial
        networks", section 2.
    """

    steps: int
    rule: optax.GradientTransformation | None = None

    def __post_init__(self) -> None:
        Algorithm.__post_init__(self)
        if self.steps < 1:
            raise ValueError(
                f"the copy of D must be unrolled for at least 1 step; got {self.steps} (for none, "
                "use advnets.Simultaneous)"
            )

    def step(
        self, key: Key[Array, ""], players: Players, state: State, real: Batch
    ) -> tuple[State, Info]:
        """One iteration.

        Args:
            key: the run's key, the same at every iteration: the iteration's number is folded in.
            players: the players; their trained arrays are taken from the state.
            state: the state.
            real: a minibatch of data.

        Returns:
            The state after the iteration, and its info: of the discriminator before its step, and
            the generator's cost against the unrolled copy.

        Raises:
            ValueError: if the generator has a `GradientFloor`, or a rule needs to know the length
                of an epoch.
        """
        if _has_floor(players.generator):
            raise ValueError(
                "the generator's gradient goes through the unrolled steps, where a GradientFloor "
                "would lift each part of it; drop the GradientFloor, or use advnets.Alternating"
            )
        draws = discriminator_draws(jax.random.fold_in(key, state.iteration))
        names = tuple(players.named)
        values, gradients, seen, after = self.differentiate(names, draws, players, state, real)

        def cost(generator: PyTree) -> Float[Array, ""]:
            moved = dataclasses.replace(state, players={**state.players, "generator": generator})
            ahead = self.unrolled(draws, players, moved, real)
            return self.differentiate(("generator",), draws, players, ahead, real)[0]["generator"]

        values["generator"], gradients["generator"] = jax.value_and_grad(cost)(state.generator)
        state = self.descend(after, gradients)
        info = self.info(values, gradients, seen, state)
        return dataclasses.replace(state, iteration=state.iteration + 1), info

    def unrolled(self, draws: Draws, players: Players, state: State, real: Batch) -> State:
        """The state after the steps of the copy of D against a fixed generator.

        Args:
            draws: the step's keys.
            players: the players.
            state: a state; the result is differentiable in the generator's parameters.
            real: a minibatch of data.

        Returns:
            The state with the unrolled discriminator.

        Raises:
            ValueError: if a rule needs to know the length of an epoch.
        """
        mover: Algorithm = self
        if self.rule is not None:
            mover = dataclasses.replace(self, discriminator_updates=self.rule)
            begun = {**state.updates, "discriminator": self.rule.init(state.discriminator)}
            state = dataclasses.replace(state, updates=begun)

        def once(state: State, _: None) -> tuple[State, None]:
            names = ("discriminator",)
            gradients = self.differentiate(names, draws, players, state, real)[1]
            return mover.descend(state, gradients), None

        return jax.lax.scan(once, state, length=self.steps)[0]


def _has_floor(player: PyTree) -> bool:
    def is_floor(node: Any) -> bool:
        return isinstance(node, GradientFloor)

    return any(map(is_floor, jax.tree.leaves(player, is_leaf=is_floor)))
