"""Algorithm 1: minibatch stochastic gradient training of adversarial nets.

Pure functions `(key, state, ...) -> (state, info)` over a state that holds arrays only, so that
`jit`, `scan`, `vmap` and donation apply to them as they are. Nothing is compiled here.
"""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from advnets.game import discriminator_cost, non_saturating_cost, value_function
from advnets.layers import MINIBATCH
from advnets.priors import Prior, Uniform

# Any Equinox module that maps one example (and takes `key=`, if it likes).
Player = Callable[..., Any]
GeneratorCost = Callable[[Float[Array, " batch"]], Float[Array, ""]]
DiscriminatorCost = Callable[[Float[Array, " batch"], Float[Array, " batch"]], Float[Array, ""]]
Order = Literal["alternating", "simultaneous"]


class State(eqx.Module):
    """What changes in training: arrays only.

    Attributes:
        generator: the generator's floating-point arrays, the rest of its tree `None`.
        discriminator: the discriminator's, likewise.
        generator_updates: the state of the generator's Optax transformation.
        discriminator_updates: the state of the discriminator's.
        iteration: the number of iterations made.
    """

    generator: PyTree
    discriminator: PyTree
    generator_updates: PyTree
    discriminator_updates: PyTree
    iteration: Int[Array, ""]


class DiscriminatorInfo(eqx.Module):
    """What a discriminator step saw, before its update and with its dropout.

    Attributes:
        value: V(D, G) on the minibatch, in nats (Eq. 1).
        real_output: the mean of D(x), in [0, 1].
        fake_output: the mean of D(G(z)), in [0, 1].
        real_error: the fraction of data with D(x) < 1/2.
        fake_error: the fraction of generated examples with D(G(z)) ≥ 1/2.
        gradient_norm: the Euclidean norm of the gradient of the discriminator's cost, which is -V,
            or -V/2 in simultaneous order, unless another is given; NaN where it was not computed.
    """

    value: Float[Array, ""]
    real_output: Float[Array, ""]
    fake_output: Float[Array, ""]
    real_error: Float[Array, ""]
    fake_error: Float[Array, ""]
    gradient_norm: Float[Array, ""]


class GeneratorInfo(eqx.Module):
    """What a generator step saw, before its update.

    Attributes:
        cost: the generator's cost on the minibatch, in nats.
        gradient_norm: the Euclidean norm of its gradient; NaN where it was not computed.
    """

    cost: Float[Array, ""]
    gradient_norm: Float[Array, ""]


class Info(eqx.Module):
    """What an iteration saw of each player.

    Attributes:
        discriminator: the mean over the iteration's discriminator steps.
        generator: of its generator step.
    """

    discriminator: DiscriminatorInfo
    generator: GeneratorInfo


def _accepts_key(player: Player) -> bool:
    parameters = inspect.signature(player).parameters.values()
    return any(p.name == "key" or p.kind is p.VAR_KEYWORD for p in parameters)


def _apply(
    player: Player, keys: Key[Array, " batch"] | None, inputs: Float[Array, " batch *shape"]
) -> Float[Array, " batch *out"]:
    """A player, which is written for one example, on a batch: a key of its own for each, if any."""
    if keys is not None and _accepts_key(player):
        return jax.vmap(lambda key, x: player(x, key=key), axis_name=MINIBATCH)(keys, inputs)
    return jax.vmap(player, axis_name=MINIBATCH)(inputs)


def generate(
    key: Key[Array, ""], generator: Player, prior: Prior, n: int
) -> Float[Array, " {n} *data"]:
    """Independent examples from a generator, with fresh latent vectors; a pure function.

    Args:
        key: a typed random key.
        generator: maps a latent vector to an example; it gets a key of its own for each example,
            so noise inside it is on.
        prior: the distribution of the latent vectors.
        n: the number of examples.

    Returns:
        The examples.

    Example:
        >>> import jax
        >>> import advnets
        >>> generator = advnets.mlp_generator(jax.random.key(0), 2, (3,), hidden_sizes=[4])
        >>> advnets.generate(jax.random.key(1), generator, advnets.Uniform(2), 5).shape
        (5, 3)

    References:
        x = G(z), z drawn from p_z (section 3).
    """
    noise_key, layers_key = jax.random.split(key)
    return _apply(generator, jax.random.split(layers_key, n), prior(noise_key, n))


def judge(
    key: Key[Array, ""] | None, discriminator: Player, examples: Float[Array, " batch *data"]
) -> Float[Array, " batch"]:
    """A discriminator's logits on examples, with or without its dropout; a pure function.

    Args:
        key: a typed random key, of which each example gets one of its own. None gives no key to
            the discriminator, which switches its dropout off (Equinox's too).
        discriminator: maps an example to a logit, of shape `()` or `(1,)`.
        examples: data or generated examples.

    Returns:
        One logit for each example: the log-odds that it came from the data.

    Raises:
        ValueError: if the discriminator gives more than one number for an example.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> discriminator = advnets.maxout_discriminator(jax.random.key(0), (3,), units=[4])
        >>> advnets.judge(jax.random.key(1), discriminator, jnp.zeros((5, 3))).shape
        (5,)

    References:
        D(x) (section 3), as `sigmoid` of the logit.
    """
    if key is None:
        logits = _apply(eqx.nn.inference_mode(discriminator), None, examples)
    else:
        logits = _apply(discriminator, jax.random.split(key, len(examples)), examples)
    if logits.size != len(examples):
        raise ValueError(
            f"a discriminator must give one logit for each example; got an output of shape "
            f"{logits.shape[1:]} (end it with a layer of one unit)"
        )
    return logits.reshape(len(examples))


def _negative_value(
    real_logits: Float[Array, " batch"], fake_logits: Float[Array, " batch"]
) -> Float[Array, ""]:
    return -value_function(real_logits, fake_logits)


def _discriminator_info(
    real_logits: Float[Array, " batch"],
    fake_logits: Float[Array, " batch"],
    gradient_norm: Float[Array, ""],
) -> DiscriminatorInfo:
    dtype = real_logits.dtype
    return DiscriminatorInfo(
        value=value_function(real_logits, fake_logits),
        real_output=jnp.mean(jax.nn.sigmoid(real_logits)),
        fake_output=jnp.mean(jax.nn.sigmoid(fake_logits)),
        real_error=jnp.mean((real_logits < 0).astype(dtype)),
        fake_error=jnp.mean((fake_logits >= 0).astype(dtype)),
        gradient_norm=gradient_norm,
    )


def _descend(
    rule: optax.GradientTransformation, gradient: PyTree, rule_state: PyTree, params: PyTree
) -> tuple[PyTree, PyTree]:
    # All gradients before any update: then XLA updates the parameters in place, without copies.
    gradient, params = jax.lax.optimization_barrier((gradient, params))
    updates, rule_state = rule.update(gradient, rule_state, params)
    return optax.apply_updates(params, updates), rule_state


@dataclasses.dataclass(frozen=True, eq=False)
class Algorithm1:
    """Algorithm 1 for a pair of players: what stays fixed while the state changes.

    Any Equinox module works as either player. A generator maps a latent vector to an example, a
    discriminator maps an example to a logit (of shape `()` or `(1,)`); both are written for one
    example, and are given `key=` if they take it. Floating-point arrays are trained; everything
    else in a module stays as it is.

    Attributes:
        generator: the generator; only its static part is kept, its arrays live in the state.
        discriminator: the discriminator, likewise.
        prior: the distribution of the latent vectors; `Uniform(100)` unless given.
        generator_updates: the generator's Optax transformation.
        discriminator_updates: the discriminator's.
        generator_cost: what the generator descends, a function of the logits on its examples:
            [`advnets.non_saturating_cost`][], [`advnets.minimax_cost`][], an
            [`advnets.BlendedCost`][] or your own.
        discriminator_cost: what the discriminator descends, a function of its logits on data and
            on generated examples; -V unless given, or -V/2 in simultaneous order.
        generator_sees_dropout: whether the generator's cost has the discriminator's dropout. If
            not, in simultaneous order it has a forward pass of its own.
        k: the number of discriminator steps in an iteration, at least 1.
        order: `"alternating"` is the paper's Algorithm 1: k ascents of V, each with fresh noise,
            then a generator step with fresh noise against the updated discriminator.
            `"simultaneous"` is what the released recipes run: one minibatch, noise and dropout
            masks shared by both players, both gradients at the same parameters, and D's cost
            halved.
        norms_every: the gradients' norms are computed in one iteration of so many, the others
            report NaN. They take a pass over every gradient, some 2 % of an update of the MNIST
            recipe on a CPU.

    Raises:
        ValueError: if k or `norms_every` is below 1, or k is not 1 in simultaneous order.

    Example:
        >>> import equinox as eqx
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import advnets
        >>> key, g_key, d_key = jax.random.split(jax.random.key(0), 3)
        >>> generator = eqx.nn.MLP(2, 3, 16, 1, key=g_key)
        >>> discriminator = eqx.nn.MLP(3, 1, 16, 1, key=d_key)
        >>> algorithm = advnets.Algorithm1(
        ...     generator,
        ...     discriminator,
        ...     prior=advnets.Uniform(2),
        ...     generator_updates=optax.sgd(0.1),
        ...     discriminator_updates=optax.sgd(0.1),
        ... )
        >>> state = algorithm.init(generator, discriminator)
        >>> state, info = jax.jit(algorithm.step)(key, state, jnp.zeros((8, 3)))
        >>> int(state.iteration)
        1

    References:
        Algorithm 1; for the simultaneous order, released code, `AdversaryCost2.get_gradients`
        under Pylearn2's stock SGD.
    """

    generator: Player
    discriminator: Player
    prior: Prior = dataclasses.field(default_factory=Uniform)
    generator_updates: optax.GradientTransformation = dataclasses.field(kw_only=True)
    discriminator_updates: optax.GradientTransformation = dataclasses.field(kw_only=True)
    generator_cost: GeneratorCost = dataclasses.field(kw_only=True, default=non_saturating_cost)
    discriminator_cost: DiscriminatorCost | None = dataclasses.field(kw_only=True, default=None)
    generator_sees_dropout: bool = dataclasses.field(kw_only=True, default=True)
    k: int = dataclasses.field(kw_only=True, default=1)
    order: Order = dataclasses.field(kw_only=True, default="alternating")
    norms_every: int = dataclasses.field(kw_only=True, default=1)

    def __post_init__(self) -> None:
        for name in ("k", "norms_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; got {getattr(self, name)}")
        if self.order == "simultaneous" and self.k != 1:
            raise ValueError(
                f"the simultaneous order has one discriminator step for each generator step; got "
                f"k={self.k} (use k=1, or the alternating order)"
            )
        for name in ("generator", "discriminator"):
            static = eqx.partition(getattr(self, name), eqx.is_inexact_array)[1]
            object.__setattr__(self, name, static)

    def init(self, generator: Player, discriminator: Player) -> State:
        """The state before the first iteration.

        Args:
            generator: a generator of the same structure as this algorithm's.
            discriminator: likewise.

        Returns:
            A state with copies of the players' floating-point arrays.
        """
        generator, discriminator = eqx.filter((generator, discriminator), eqx.is_inexact_array)
        state = State(
            generator=generator,
            discriminator=discriminator,
            generator_updates=self.generator_updates.init(generator),
            discriminator_updates=self.discriminator_updates.init(discriminator),
            iteration=jnp.zeros((), int),
        )
        # Some rules keep the parameters themselves; an array that is there twice can't be donated.
        return jax.tree.map(jnp.array, state)

    def players(self, state: State) -> tuple[Player, Player]:
        """The generator and the discriminator at a state, as modules that can be called.

        Args:
            state: a state of this algorithm.

        Returns:
            The generator and the discriminator.
        """
        return (
            eqx.combine(state.generator, self.generator),
            eqx.combine(state.discriminator, self.discriminator),
        )

    def _generate(
        self, key: Key[Array, ""], generator: PyTree, n: int
    ) -> Float[Array, " {n} *data"]:
        player: Player = eqx.combine(generator, self.generator)
        return generate(key, player, self.prior, n)

    def _judge(
        self,
        key: Key[Array, ""] | None,
        discriminator: PyTree,
        examples: Float[Array, " batch *data"],
    ) -> Float[Array, " batch"]:
        player: Player = eqx.combine(discriminator, self.discriminator)
        return judge(key, player, examples)

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

    def _cost_and_gradient_of_generator(
        self, fake_key: Key[Array, ""], masks_key: Key[Array, ""] | None, state: State, n: int
    ) -> tuple[Float[Array, ""], PyTree]:
        def cost(generator: PyTree) -> Float[Array, ""]:
            fake = self._generate(fake_key, generator, n)
            return self.generator_cost(self._judge(masks_key, state.discriminator, fake))

        return jax.value_and_grad(cost)(state.generator)

    def discriminator_step(
        self, key: Key[Array, ""], state: State, real: Float[Array, " batch *data"]
    ) -> tuple[State, DiscriminatorInfo]:
        """One ascent of V by the discriminator, with as many fresh latent vectors as data.

        It descends `discriminator_cost` instead, if one is given.

        Args:
            key: a key for this step alone.
            state: the state; only the discriminator's part of it changes.
            real: a minibatch of data.

        Returns:
            The new state, and what the step saw.

        References:
            Algorithm 1, the inner loop.
        """
        fake_key, real_masks_key, fake_masks_key = jax.random.split(key, 3)
        fake = self._generate(fake_key, state.generator, len(real))
        descended = self.discriminator_cost or _negative_value

        def cost(discriminator: PyTree) -> tuple[Float[Array, ""], tuple[Array, Array]]:
            real_logits = self._judge(real_masks_key, discriminator, real)
            fake_logits = self._judge(fake_masks_key, discriminator, fake)
            return descended(real_logits, fake_logits), (real_logits, fake_logits)

        gradient, (real_logits, fake_logits) = jax.grad(cost, has_aux=True)(state.discriminator)
        discriminator, rule_state = _descend(
            self.discriminator_updates, gradient, state.discriminator_updates, state.discriminator
        )
        state = dataclasses.replace(
            state, discriminator=discriminator, discriminator_updates=rule_state
        )
        norm = self._norm(gradient, state.iteration)
        return state, _discriminator_info(real_logits, fake_logits, norm)

    def generator_step(
        self, key: Key[Array, ""], state: State, n: int
    ) -> tuple[State, GeneratorInfo]:
        """One descent of the generator's cost by the generator, with fresh latent vectors.

        Args:
            key: a key for this step alone.
            state: the state; only the generator's part of it changes.
            n: the number of latent vectors, the m of Algorithm 1.

        Returns:
            The new state, and what the step saw.

        References:
            Algorithm 1, after the inner loop.
        """
        fake_key, masks_key = jax.random.split(key)
        value, gradient = self._cost_and_gradient_of_generator(
            fake_key, masks_key if self.generator_sees_dropout else None, state, n
        )
        generator, rule_state = _descend(
            self.generator_updates, gradient, state.generator_updates, state.generator
        )
        state = dataclasses.replace(state, generator=generator, generator_updates=rule_state)
        return state, GeneratorInfo(value, self._norm(gradient, state.iteration))

    def step(
        self, key: Key[Array, ""], state: State, real: Float[Array, "*batches"]
    ) -> tuple[State, Info]:
        """One training iteration, in the algorithm's order.

        Args:
            key: the run's key, the same at every iteration: the iteration's number is folded in.
            state: the state.
            real: a minibatch of data, `(batch, *data)`; for k > 1, k of them, stacked along a
                leading axis.

        Returns:
            The state after the iteration, and what it saw.

        Raises:
            ValueError: if k > 1 and the leading axis is not k long.

        References:
            Algorithm 1, one turn of the outer loop.
        """
        key = jax.random.fold_in(key, state.iteration)
        iterate = self._simultaneous if self.order == "simultaneous" else self._alternating
        state, info = iterate(key, state, real)
        return dataclasses.replace(state, iteration=state.iteration + 1), info

    def _alternating(
        self, key: Key[Array, ""], state: State, real: Float[Array, "*batches"]
    ) -> tuple[State, Info]:
        discriminator_key, generator_key = jax.random.split(key)
        if self.k == 1:
            real = real[None]
        if len(real) != self.k:
            raise ValueError(
                f"k={self.k} discriminator steps need that many minibatches along the leading "
                f"axis; got data of shape {real.shape}"
            )

        def discriminator_step(
            state: State, inputs: tuple[Key[Array, ""], Float[Array, "*batch"]]
        ) -> tuple[State, DiscriminatorInfo]:
            step_key, batch = inputs
            return self.discriminator_step(step_key, state, batch)

        keys = jax.random.split(discriminator_key, self.k)
        state, infos = jax.lax.scan(discriminator_step, state, (keys, real))
        state, generator_info = self.generator_step(generator_key, state, real.shape[1])
        return state, Info(jax.tree.map(lambda x: jnp.mean(x, axis=0), infos), generator_info)

    def _simultaneous(
        self, key: Key[Array, ""], state: State, real: Float[Array, " batch *data"]
    ) -> tuple[State, Info]:
        fake_key, real_masks_key, fake_masks_key = jax.random.split(key, 3)

        def logits(
            discriminator: PyTree, generator: PyTree
        ) -> tuple[Float[Array, " batch"], Float[Array, " batch"]]:
            fake = self._generate(fake_key, generator, len(real))
            return (
                self._judge(real_masks_key, discriminator, real),
                self._judge(fake_masks_key, discriminator, fake),
            )

        # One forward pass, pulled back twice: each player's cost to its own parameters. (What a
        # pullback computes for the other player is unused, and the compiler drops it.)
        (real_logits, fake_logits), pull_back = jax.vjp(
            logits, state.discriminator, state.generator
        )
        discriminator_gradient, _ = pull_back(
            jax.grad(self.discriminator_cost or discriminator_cost, argnums=(0, 1))(
                real_logits, fake_logits
            )
        )
        if self.generator_sees_dropout:
            cost, cost_gradient = jax.value_and_grad(self.generator_cost)(fake_logits)
            _, generator_gradient = pull_back((jnp.zeros_like(real_logits), cost_gradient))
        else:
            cost, generator_gradient = self._cost_and_gradient_of_generator(
                fake_key, None, state, len(real)
            )

        discriminator, discriminator_updates = _descend(
            self.discriminator_updates,
            discriminator_gradient,
            state.discriminator_updates,
            state.discriminator,
        )
        generator, generator_updates = _descend(
            self.generator_updates, generator_gradient, state.generator_updates, state.generator
        )
        state = State(
            generator=generator,
            discriminator=discriminator,
            generator_updates=generator_updates,
            discriminator_updates=discriminator_updates,
            iteration=state.iteration,
        )
        return state, Info(
            _discriminator_info(
                real_logits, fake_logits, self._norm(discriminator_gradient, state.iteration)
            ),
            GeneratorInfo(cost, self._norm(generator_gradient, state.iteration)),
        )
