"""Minibatch stochastic gradient training of adversarial nets: Algorithm 1, and the released order.

Pure functions `(key, players, state, real) -> (state, info)` over a state that holds arrays only,
so `jit`, `scan`, `vmap` and donation apply to them directly. Nothing is compiled here.
"""

import abc
import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from advnets import _reprs, game
from advnets._precision import in_single
from advnets.batches import Batch, length, parts
from advnets.draws import Draws, discriminator_draws, generator_draws
from advnets.objectives import GAN, Applied, Costs, Objective
from advnets.players import Judge, Player, Players, apply, partition
from advnets.priors import Prior
from advnets.updates import Released

# A step's info, by player and name; a player's `gradient_norm` is NaN where it was not computed.
Info: TypeAlias = dict[str, dict[str, Float[Array, "..."]]]
# An update rule; or what becomes one once the length of an epoch is known: the released rule, or a
# function from the player's number of updates in an epoch to a rule.
UpdateRule: TypeAlias = (
    optax.GradientTransformation | Released | Callable[[int], optax.GradientTransformation]
)
# The decay of an average as a function of the number of iterations made, like an Optax schedule.
Decay: TypeAlias = Callable[[Int[Array, ""]], Float[Array, ""]]
# Makes a batch of generated examples from the step's keys, G on a batch, the prior, and data.
Fake: TypeAlias = Callable[[Draws, Applied, Prior, Batch], Batch]


class State(eqx.Module):
    """What changes in training: arrays only.

    Attributes:
        players: each player's trained arrays, by name; the rest of its tree is `None`.
        memory: the arrays of each player's `eqx.nn.State`, in the same form.
        updates: the state of each player's Optax transformation.
        average: the exponential moving average of the generator's trained arrays, if there is one;
            in float32 for arrays of half precision.
        iteration: the number of iterations made.
    """

    players: dict[str, PyTree]
    memory: dict[str, PyTree]
    updates: dict[str, PyTree]
    average: PyTree
    iteration: Int[Array, ""]

    def __repr__(self) -> str:
        entries = [f"{name}={_reprs.network(player)}" for name, player in self.players.items()]
        return f"State(iteration={self.iteration}, {', '.join(entries)})"

    @property
    def generator(self) -> PyTree:
        """The generator's trained arrays."""
        return self.players["generator"]

    @property
    def discriminator(self) -> PyTree:
        """The discriminator's trained arrays."""
        return self.players["discriminator"]


def generated(draws: Draws, generator: Applied, prior: Prior, real: Batch) -> Batch:
    """A batch of generated examples to match a batch of data: G(z), or (G(z, c), c).

    If the data are a tuple, what follows the example is its condition c, which the generator takes
    after the latent vector: the conditional game is the unconditional one on pairs.

    Args:
        draws: the step's keys.
        generator: the generator as a function of a key and batches.
        prior: the distribution of the latent vectors.
        real: a batch of data.

    Returns:
        As many generated examples as there are data, with the data's conditions.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> from advnets.algorithms import generated
        >>> draws = advnets.draws.generator_draws(jax.random.key(0))
        >>> shift = lambda key, z, c: z + c[:, None]
        >>> real = (jnp.zeros((5, 2)), jnp.ones(5))
        >>> x, c = generated(draws, shift, advnets.priors.Uniform(2), real)
        >>> x.shape
        (5, 2)

    References:
        x = G(z), z drawn from p_z (section 3); p(x | c) (section 7).
    """
    latents = prior(draws.latents, length(real))
    if not isinstance(real, tuple):
        return generator(draws.generator, latents)
    _, *condition = real
    return generator(draws.generator, latents, *condition), *condition


def at(players: Players, state: State) -> Players:
    """The players at a state, as modules that can be called.

    Args:
        players: players of the state's structure; their own trained arrays are not used.
        state: a state.

    Returns:
        The players with the state's arrays.
    """
    return players.replaced(
        {
            name: eqx.combine(state.players[name], state.memory[name], partition(player)[2])
            for name, player in players.named.items()
        }
    )


def ramped(decay: float, share: float) -> Decay:
    r"""A decay of the generator's average that starts small, while there is little to average.

    $$a_t = \min(a,\ 1 - 1 / (1 + s t))$$

    A constant decay a averages over the last 1 / (1 - a) updates, and until several times as many
    have been made, G's initial parameters dominate. With a share s, it averages over the last s t
    of t updates: until a is reached, the parameters after each update are weighted by that update's
    number to the power 1 / s - 1.

    Args:
        decay: the largest decay a, in [0, 1).
        share: s, in (0, 1].

    Returns:
        A schedule, for the `average` of [`advnets.algorithms.Algorithm`][].

    Raises:
        ValueError: if the decay or the share is out of range.

    Example:
        >>> import jax.numpy as jnp
        >>> from advnets.algorithms import ramped
        >>> decay = ramped(0.999, 0.5)
        >>> [round(float(decay(jnp.array(t))), 3) for t in (0, 10, 100, 100_000)]
        [0.0, 0.833, 0.98, 0.999]

    References:
        Karras et al. 2022, "Elucidating the design space of diffusion-based generative models"
        (the ramp-up of its average); Karras et al. 2024, "Analyzing and improving the training
        dynamics of diffusion models" (averages by a power of the time).
    """
    _check_decay(decay)
    if not 0 < share <= 1:
        raise ValueError(f"the share of the average must be above 0 and at most 1; got {share}")

    def at_iteration(iteration: Int[Array, ""]) -> Float[Array, ""]:
        reach = 1 + share * iteration.astype(float)
        return jnp.minimum(decay, 1 - 1 / reach)

    return at_iteration


def _check_decay(decay: float | Float[Array, ""]) -> None:
    if not 0 <= decay < 1:
        raise ValueError(
            f"the average's decay must be at least 0 and below 1; got {decay} (leave it out for no "
            "average)"
        )


def averaged(players: Players, state: State) -> Players | None:
    """The players at a state, with the average of the generator in its place.

    Args:
        players: players of the state's structure.
        state: a state.

    Returns:
        The players; None if the state holds no average. What the generator's layers keep in an
        `eqx.nn.State`, such as running statistics, is not averaged.
    """
    if state.average is None:
        return None
    now = state.players["generator"]
    average = jax.tree.map(lambda mean, x: mean.astype(x.dtype), state.average, now)
    at_average = {**state.players, "generator": average}
    return at(players, dataclasses.replace(state, players=at_average))


def _default(field: dataclasses.Field[Any]) -> str:
    factory = field.default_factory
    return repr(field.default if factory is dataclasses.MISSING else factory())


@dataclasses.dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Algorithm(abc.ABC):
    """How players are trained; subclass it to bring your own.

    Attributes:
        objective: what the players descend.
        generator_updates: the generator's update rule: any Optax transformation;
            [`advnets.updates.Released`][]; or, for a schedule by epoch, a function from the
            player's number of updates in an epoch to a transformation.
        discriminator_updates: the discriminator's update rule.
        other_updates: the update rules of further players, by name.
        average: the decay of an exponential moving average of the generator's parameters over its
            updates, in [0, 1), or a schedule of it such as [`advnets.algorithms.ramped`][]; none is
            kept unless given. A schedule, or an array inside a compiled program, is not checked.
        fake: how generated examples are made.
        norms_every: gradient norms are computed in one of every `norms_every` iterations, and are
            NaN in the others: they take a pass over every gradient, some 2 % of an update of the
            MNIST recipe on a CPU. [`advnets.train`][] sets it.
    """

    objective: Objective = dataclasses.field(default_factory=GAN)
    generator_updates: UpdateRule = dataclasses.field(default_factory=Released)
    discriminator_updates: UpdateRule = dataclasses.field(default_factory=Released)
    other_updates: Mapping[str, UpdateRule] = dataclasses.field(default_factory=dict)
    average: float | Float[Array, ""] | Decay | None = None
    fake: Fake = generated
    norms_every: int = 1

    def __post_init__(self) -> None:
        if self.norms_every < 1:
            raise ValueError(f"norms_every must be at least 1; got {self.norms_every}")
        for name, rule in self.rules.items():
            if inspect.isfunction(rule) and rule.__module__.startswith("optax."):
                called = f"{rule.__module__.split('._')[0]}.{rule.__name__}"
                raise ValueError(
                    f"the {name}'s update rule is the function {called}, not its result; call it, "
                    f"such as {called}(1e-3)"
                )
        average = self.average
        if not (average is None or callable(average) or isinstance(average, jax.core.Tracer)):
            _check_decay(average)

    def __repr__(self) -> str:
        entries = [
            f"{field.name}={_reprs.short(getattr(self, field.name))}"
            for field in dataclasses.fields(self)
            if repr(getattr(self, field.name)) != _default(field)
        ]
        return f"{type(self).__name__}({', '.join(entries)})"

    @property
    def minibatches(self) -> int:
        """The number of minibatches of data that an iteration takes: one unless overridden."""
        return 1

    @abc.abstractmethod
    def step(
        self, key: Key[Array, ""], players: Players, state: State, real: Batch
    ) -> tuple[State, Info]:
        """One training iteration: the state after it, and its info."""

    @property
    def rules(self) -> dict[str, UpdateRule]:
        """The update rules by player."""
        return {
            "generator": self.generator_updates,
            "discriminator": self.discriminator_updates,
            **self.other_updates,
        }

    def for_epochs_of(self, iterations: int) -> "Algorithm":
        """This algorithm, with its update rules resolved for a given length of an epoch.

        Args:
            iterations: the number of iterations in an epoch, at least 1.

        Returns:
            The algorithm, with an Optax transformation for every player.

        Raises:
            ValueError: if an epoch has no iteration.
        """
        if iterations < 1:
            raise ValueError(f"an epoch must have at least 1 iteration; got {iterations}")
        k = self.minibatches

        def settled(name: str, rule: UpdateRule) -> optax.GradientTransformation:
            updates = iterations * k if name == "discriminator" else iterations
            if isinstance(rule, optax.GradientTransformation):
                return rule
            if isinstance(rule, Released):
                return rule.transformation(updates, stride=1 if name == "discriminator" else k)
            return rule(updates)

        rules = {name: settled(name, rule) for name, rule in self.rules.items()}
        return dataclasses.replace(
            self,
            generator_updates=rules.pop("generator"),
            discriminator_updates=rules.pop("discriminator"),
            other_updates=rules,
        )

    def init(self, players: Players) -> State:
        """The state before the first iteration.

        Args:
            players: the players.

        Returns:
            A state with copies of the players' arrays.

        Raises:
            ValueError: if there is a further player without an update rule, or a rule without a
                player, or a rule needs to know the length of an epoch.
        """
        named = players.named
        if named.keys() != self.rules.keys():
            (name, *_) = sorted(named.keys() ^ self.rules.keys())
            has = "an update rule but no player" if name in self.rules else "no update rule"
            raise ValueError(
                f"{name!r} has {has}; Players.others and other_updates must have the same names"
            )
        parts = {name: partition(player) for name, player in named.items()}
        trained = {name: part[0] for name, part in parts.items()}
        state = State(
            players=trained,
            memory={name: part[1] for name, part in parts.items()},
            updates={name: self._rule(name).init(params) for name, params in trained.items()},
            average=None if self.average is None else in_single(trained["generator"]),
            iteration=jnp.zeros((), int),
        )
        # Copies: some rules keep the parameters, and an array that occurs twice can't be donated.
        return jax.tree.map(jnp.array, state)

    def _rule(self, name: str) -> optax.GradientTransformation:
        rule = self.rules[name]
        if not isinstance(rule, optax.GradientTransformation):
            raise ValueError(
                f"the {name}'s update rule needs to know how many iterations an epoch has; call "
                "algorithm.for_epochs_of(iterations) first, as advnets.train does"
            )
        return rule

    def differentiate(
        self, names: tuple[str, ...], draws: Draws, players: Players, state: State, real: Batch
    ) -> tuple[dict[str, Array], dict[str, PyTree], dict[str, Any], State]:
        """Costs of some players, and the gradient of each in that player's own parameters.

        A custom step starts with this, and continues with `descend` and `info`.

        Args:
            names: the players to update.
            draws: the step's keys.
            players: the players; their trained arrays are taken from the state.
            state: a state.
            real: a minibatch of data.

        Returns:
            The players' costs and gradients, the discriminator's part of the info, and the state
            with the new memory of these players.

        Raises:
            ValueError: if the objective has no cost for one of them, or one that is not a scalar.
        """
        draws = dataclasses.replace(draws, iteration=state.iteration)

        def costs(moving: dict[str, PyTree]) -> tuple[dict[str, Array], Any]:
            now = at(players, dataclasses.replace(state, players={**state.players, **moving}))
            generator = _Threaded(now.generator)
            fake = self.fake(draws, generator, now.prior, real)

            def of(name: str) -> Applied:
                return lambda key, *inputs: _apply_keyed(now.named[name], key, *inputs)[0]

            found = self.objective.costs(
                draws,
                Judge(now.discriminator),
                real,
                fake,
                **{name: of(name) for name in players.others},
            )
            if not isinstance(found, Costs):
                raise ValueError(
                    "an objective's costs must return advnets.objectives.Costs; got "
                    f"{type(found).__name__}"
                )
            _check_costs(found.named, names)
            return {name: found.named[name] for name in names}, (
                dict(found.reported),
                fake,
                partition(generator.player)[1],
            )

        moving = {name: state.players[name] for name in names}
        values, pull_back, (seen, fake, generator_memory) = jax.vjp(costs, moving, has_aux=True)
        # One forward pass, then one pullback for each player, from its cost to its own parameters.
        # (The pullback's gradients for other players are unused, and the compiler drops them.)
        gradients = {}
        for name in names:
            cotangents = {
                other: jnp.ones_like(value) if other == name else jnp.zeros_like(value)
                for other, value in values.items()
            }
            gradients[name] = pull_back(cotangents)[0][name]
        memory = dict(state.memory)
        if "generator" in names:
            memory["generator"] = generator_memory
        if "discriminator" in names and jax.tree.leaves(memory["discriminator"]):
            judged = self.objective.judged(real, fake)
            memory["discriminator"] = _memory_after(draws, at(players, state), *judged)
        return values, gradients, seen, dataclasses.replace(state, memory=memory)

    def descend(self, state: State, gradients: dict[str, PyTree]) -> State:
        """Applies the players' update rules, and updates the average along with the generator.

        Args:
            state: a state.
            gradients: the gradients of the players to update, by name.

        Returns:
            The state after the update; the number of iterations is not changed.

        Raises:
            ValueError: if a rule needs to know the length of an epoch.
        """
        moved, updates = dict(state.players), dict(state.updates)
        for name, gradient in gradients.items():
            moved[name], updates[name] = _descend(
                self._rule(name), gradient, state.updates[name], state.players[name]
            )
        average = state.average
        if self.average is not None and "generator" in gradients:
            decay = self.average(state.iteration) if callable(self.average) else self.average
            now = in_single(moved["generator"])  # half precision would round changes away
            average = optax.incremental_update(now, average, 1 - decay)
        return dataclasses.replace(state, players=moved, updates=updates, average=average)

    def _norm(self, gradient: PyTree, iteration: Int[Array, ""]) -> Float[Array, ""]:
        if self.norms_every == 1:
            return optax.tree.norm(gradient)
        like = jax.eval_shape(optax.tree.norm, gradient)
        return jax.lax.cond(
            iteration % self.norms_every == 0,
            optax.tree.norm,
            lambda _: jnp.full(like.shape, jnp.nan, like.dtype),
            gradient,
        )

    def info(
        self,
        values: dict[str, Array],
        gradients: dict[str, PyTree],
        seen: dict[str, Array],
        state: State,
    ) -> Info:
        """The info of a step: the objective's report on D, other players' costs, gradient norms.

        Args:
            values: the costs of the players that were updated, by name.
            gradients: their gradients, by the same names.
            seen: what the objective reports of the discriminator.
            state: the state, for the iteration's number.

        Returns:
            The info of each of those players.

        Raises:
            KeyError: if a player has gradients and no cost.
        """
        info = {}
        for name, gradient in gradients.items():
            norm = {"gradient_norm": self._norm(gradient, state.iteration)}
            info[name] = (seen if name == "discriminator" else {"cost": values[name]}) | norm
        return info


class _Threaded:
    """A generator on batches; `player` has its memory after the most recent call."""

    def __init__(self, player: Player) -> None:
        self.player = player

    def __call__(self, key: Key[Array, ""] | None, *inputs: Batch) -> Any:
        outputs, self.player = _apply_keyed(self.player, key, *inputs)
        return outputs


def _apply_keyed(player: Player, key: Key[Array, ""] | None, *inputs: Batch) -> tuple[Any, Player]:
    keys = None if key is None else jax.random.split(key, length(inputs))
    return apply(player, keys, *inputs)


def _memory_after(draws: Draws, players: Players, real: Batch, fake: Batch) -> PyTree:
    """The discriminator's memory after data and generated examples.

    The compiler merges these forward passes with those of the costs.
    """
    discriminator = players.discriminator
    for key, batch in ((draws.real, real), (draws.fake, fake)):
        _, discriminator = _apply_keyed(discriminator, key, *parts(batch))
    return partition(discriminator)[1]


def _check_costs(costs: Mapping[str, Array], names: tuple[str, ...]) -> None:
    for name in names:
        if name not in costs:
            raise ValueError(f"the objective gives no cost for {name!r}; add it to Costs.others")
        if costs[name].shape != ():
            raise ValueError(
                f"the objective's cost of the {name} must be a scalar; got shape "
                f"{costs[name].shape} (take its mean over the minibatch)"
            )


def _descend(
    rule: optax.GradientTransformation, gradient: PyTree, rule_state: PyTree, params: PyTree
) -> tuple[PyTree, PyTree]:
    # All gradients before any update, so that XLA updates the parameters in place, without copies.
    gradient, params = jax.lax.optimization_barrier((gradient, params))
    with jax.numpy_dtype_promotion("standard"):  # Optax's rules need it, whatever the user set
        updates, rule_state = rule.update(gradient, rule_state, params)
    return optax.apply_updates(params, updates), rule_state


@dataclasses.dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Algorithm1(Algorithm):
    """Algorithm 1 as printed: k steps of the discriminator, then one of the generator.

    Every step draws its own noise, and the generator's step is against the updated discriminator.
    Any Equinox module works as either player. A generator maps a latent vector to an example, a
    discriminator maps an example to a logit (of shape `()` or `(1,)`); both are written for one
    example, and receive `key=` if they take it. Further players are updated with the generator.

    Attributes:
        k: the number of discriminator steps in an iteration, at least 1.
        objective: what the players descend; -V for the discriminator (Eq. 1) and the
            non-saturating cost for the generator unless given.
        generator_updates: the generator's update rule. The default is the released code's,
            [`advnets.updates.Released`][]: momentum with a rate of 0.1, for the paper's networks.
        discriminator_updates: the discriminator's update rule, with the same default.
        other_updates: the update rules of further players.
        average: the decay of an average of the generator, see [`advnets.algorithms.Algorithm`][].
        fake: how generated examples are made.
        norms_every: how often gradient norms are computed, see there.

    Raises:
        ValueError: for a setting out of range, or an Optax function that was not called.

    Example:
        >>> import equinox as eqx
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import advnets
        >>> key, g_key, d_key = jax.random.split(jax.random.key(0), 3)
        >>> players = advnets.Players(
        ...     eqx.nn.MLP(2, 3, 16, 1, key=g_key),
        ...     eqx.nn.MLP(3, 1, 16, 1, key=d_key),
        ...     prior=advnets.priors.Uniform(2),
        ... )
        >>> algorithm = advnets.Algorithm1(
        ...     generator_updates=optax.sgd(0.1), discriminator_updates=optax.sgd(0.1)
        ... )
        >>> state = algorithm.init(players)
        >>> step = jax.jit(lambda state, real: algorithm.step(key, players, state, real))
        >>> state, info = step(state, jnp.zeros((8, 3)))
        >>> int(state.iteration)
        1

    References:
        Algorithm 1.
    """

    k: int = 1

    def __post_init__(self) -> None:
        Algorithm.__post_init__(self)
        if self.k < 1:
            raise ValueError(f"k must be at least 1; got {self.k}")

    @property
    def minibatches(self) -> int:
        return self.k

    def step_keys(
        self, key: Key[Array, ""], iteration: Int[Array, ""] | int
    ) -> tuple[Key[Array, " k"], Key[Array, ""]]:
        """The keys of an iteration's steps.

        Args:
            key: the run's key.
            iteration: the iteration's number.

        Returns:
            One key for each discriminator step, for [`advnets.draws.discriminator_draws`][], and
            one for the generator step, for [`advnets.draws.generator_draws`][].
        """
        discriminator, generator = jax.random.split(jax.random.fold_in(key, iteration))
        return jax.random.split(discriminator, self.k), generator

    def discriminator_step(
        self, key: Key[Array, ""], players: Players, state: State, real: Batch
    ) -> tuple[State, dict[str, Array]]:
        """One discriminator step, with as many fresh latent vectors as there are data.

        Args:
            key: a key for this step alone.
            players: the players; their trained arrays are taken from the state.
            state: the state; only the discriminator's part of it changes.
            real: a minibatch of data.

        Returns:
            The new state, and the info.

        References:
            Algorithm 1, the inner loop.
        """
        values, gradients, seen, state = self.differentiate(
            ("discriminator",), discriminator_draws(key), players, state, real
        )
        state = self.descend(state, gradients)
        return state, self.info(values, gradients, seen, state)["discriminator"]

    def generator_step(
        self, key: Key[Array, ""], players: Players, state: State, real: Batch
    ) -> tuple[State, Info]:
        """One step of the generator and of any further players, with fresh latent vectors.

        Args:
            key: a key for this step alone.
            players: the players; their trained arrays are taken from the state.
            state: the state; the discriminator's part of it does not change.
            real: a minibatch of data: it sets the number of latent vectors and the conditions, and
                an objective may use it.

        Returns:
            The new state, and the info of each player that was updated.

        References:
            Algorithm 1, after the inner loop.
        """
        names = ("generator", *players.others)
        values, gradients, seen, state = self.differentiate(
            names, generator_draws(key), players, state, real
        )
        state = self.descend(state, gradients)
        return state, self.info(values, gradients, seen, state)

    def step(
        self, key: Key[Array, ""], players: Players, state: State, real: Batch
    ) -> tuple[State, Info]:
        """One iteration.

        Args:
            key: the run's key, the same at every iteration: the iteration's number is folded in.
            players: the players; their trained arrays are taken from the state.
            state: the state.
            real: a minibatch of data; for k > 1, k of them, stacked along a leading axis.

        Returns:
            The state after the iteration, and its info: the mean over the discriminator's steps,
            and that of the generator's step.

        Raises:
            ValueError: if k > 1 and the leading axis is not k long.

        References:
            Algorithm 1, one iteration of the outer loop.
        """
        discriminator_keys, generator_key = self.step_keys(key, state.iteration)
        if self.k == 1:
            real = jax.tree.map(lambda x: x[None], real)
        if length(real) != self.k:
            shape = jax.tree.leaves(real)[0].shape
            raise ValueError(
                f"k={self.k} discriminator steps need that many minibatches along the leading "
                f"axis; got data of shape {shape}"
            )

        def once(
            state: State, inputs: tuple[Key[Array, ""], Batch]
        ) -> tuple[State, dict[str, Array]]:
            step_key, batch = inputs
            return self.discriminator_step(step_key, players, state, batch)

        state, infos = jax.lax.scan(once, state, (discriminator_keys, real))
        last = jax.tree.map(lambda x: x[-1], real)
        state, info = self.generator_step(generator_key, players, state, last)
        info["discriminator"] = jax.tree.map(lambda x: jnp.mean(x, axis=0), infos)
        return dataclasses.replace(state, iteration=state.iteration + 1), info


@dataclasses.dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Simultaneous(Algorithm):
    """What the released recipes run: all players are updated at once.

    The players share one minibatch, its noise and its dropout masks, and all gradients are taken at
    the same parameters. The discriminator's cost is halved.

    Attributes:
        objective: what the players descend; -V/2 for the discriminator and the non-saturating cost
            for the generator unless given.
        generator_updates: the generator's update rule.
        discriminator_updates: the discriminator's update rule.
        other_updates: the update rules of further players.
        average: the decay of an average of the generator, see [`advnets.algorithms.Algorithm`][].
        fake: how generated examples are made.
        norms_every: how often gradient norms are computed, see there.

    Raises:
        ValueError: for a setting out of range, or an Optax function that was not called.

    Example:
        >>> import advnets
        >>> algorithm = advnets.Simultaneous(average=0.999)
        >>> algorithm.minibatches
        1

    References:
        Released code, `AdversaryCost2.get_gradients` under Pylearn2's stock SGD.
    """

    objective: Objective = dataclasses.field(
        default_factory=functools.partial(GAN, game.discriminator_cost)
    )

    def step(
        self, key: Key[Array, ""], players: Players, state: State, real: Batch
    ) -> tuple[State, Info]:
        """One iteration.

        Args:
            key: the run's key, the same at every iteration: the iteration's number is folded in,
                and gives the iteration's [`advnets.draws.discriminator_draws`][].
            players: the players; their trained arrays are taken from the state.
            state: the state.
            real: a minibatch of data.

        Returns:
            The state after the iteration, and the info of each player.
        """
        draws = discriminator_draws(jax.random.fold_in(key, state.iteration))
        values, gradients, seen, state = self.differentiate(
            tuple(players.named), draws, players, state, real
        )
        state = self.descend(state, gradients)
        info = self.info(values, gradients, seen, state)
        return dataclasses.replace(state, iteration=state.iteration + 1), info
