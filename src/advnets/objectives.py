"""Objectives: what each player descends, given the discriminator as a function.

An objective maps D, a batch of data and a batch of generated examples to a cost for each player. It
may call D as often as it likes, on what it likes, and differentiate it; so costs on logits,
relativistic pairs and gradient penalties are all of one kind.
"""

import abc
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from advnets.batches import Batch
from advnets.draws import Draws
from advnets.game import non_saturating_cost, value_function

# A player on a batch: of a key (or None, for no noise) and the batch.
Applied: TypeAlias = Callable[..., Any]
GeneratorCost: TypeAlias = Callable[[Float[Array, " batch"]], Float[Array, ""]]
DiscriminatorCost: TypeAlias = Callable[
    [Float[Array, " batch"], Float[Array, " batch"]], Float[Array, ""]
]


class Costs(eqx.Module):
    """What each player descends on a minibatch.

    Attributes:
        discriminator: the discriminator's cost.
        generator: the generator's.
        seen: what to report of the discriminator, by name; its cost unless given.
        others: the costs of further players, by name.
    """

    discriminator: Float[Array, "..."]
    generator: Float[Array, "..."]
    seen: Mapping[str, Float[Array, ""]] | None = None
    others: Mapping[str, Float[Array, "..."]] = eqx.field(default_factory=dict)

    @property
    def named(self) -> dict[str, Float[Array, "..."]]:
        """All costs by player."""
        return {
            "discriminator": self.discriminator,
            "generator": self.generator,
            **self.others,
        }


class Objective(eqx.Module):
    """What the players descend; subclass it to bring your own.

    Attributes:
        shown: what a progress line shows of the discriminator: labels, and the names under which
            `costs` reports them.

    Example:
        >>> import jax
        >>> import advnets
        >>> from advnets.objectives import Costs, Objective
        >>> class Hinge(Objective):
        ...     def costs(self, draws, D, real, fake):
        ...         on_data, on_fake = D(draws.real, real), D(draws.fake, fake)
        ...         margins = jax.nn.relu(1 - on_data) + jax.nn.relu(1 + on_fake)
        ...         return Costs(discriminator=margins.mean(), generator=-on_fake.mean())
        >>> algorithm = advnets.Algorithm1(objective=Hinge())
    """

    shown: ClassVar[Mapping[str, str]] = {"cost of D": "cost"}

    @abc.abstractmethod
    def costs(self, draws: Draws, D: Applied, real: Batch, fake: Batch, **others: Applied) -> Costs:
        """The costs on a minibatch; a pure function.

        Args:
            draws: the step's keys: `draws.real` and `draws.fake` for D's noise on the two batches,
                `draws.objective` for what the objective draws itself.
            D: the discriminator as a function of a key and a batch, `D(key, batch)`, that gives a
                logit for each example; without noise if the key is None.
            real: a batch of data.
            fake: a batch of generated examples; gradients pass through it into the generator.
            others: further players by name, each as a function of a key and a batch.

        Returns:
            The costs, scalars.
        """

    def judged(self, real: Batch, fake: Batch) -> tuple[Batch, Batch]:
        """The batches by which a stateful discriminator's memory moves on.

        Args:
            real: a batch of data.
            fake: a batch of generated examples.

        Returns:
            What D is called on of both; the batches as they are unless an objective says otherwise.
        """
        return real, fake


def negative_value(
    real_logits: Float[Array, " batch"], fake_logits: Float[Array, " batch"]
) -> Float[Array, ""]:
    """-V: what the discriminator of Algorithm 1 descends.

    Args:
        real_logits: the discriminator's logits on data.
        fake_logits: the discriminator's logits on generated examples.

    Returns:
        The cost, in nats; never below 0.

    Example:
        >>> import jax.numpy as jnp
        >>> from advnets import objectives
        >>> print(round(float(objectives.negative_value(jnp.zeros(8), jnp.zeros(8))), 4))
        1.3863

    References:
        Algorithm 1, the discriminator's ascent of Eq. 1.
    """
    return -value_function(real_logits, fake_logits)


class GAN(Objective):
    """The game of 2014: two costs of logits that stand for probabilities, D(x) = sigmoid(logit).

    It reports, of each minibatch, `value`, V(D, G) in nats (Eq. 1); `real_output` and
    `fake_output`, the means of D(x) and D(G(z)), in [0, 1]; `real_error` and `fake_error`, the
    fractions of data with D(x) < 1/2 and of generated examples with D(G(z)) ≥ 1/2. All are taken
    before the update, and with D's dropout.

    Attributes:
        discriminator_cost: what D descends, a function of its logits on data and on generated
            examples: -V unless given, as in Algorithm 1; [`advnets.game.discriminator_cost`][] is
            the released code's -V/2.
        generator_cost: what G descends, a function of the logits on its examples:
            [`advnets.game.non_saturating_cost`][] unless given,
            [`advnets.game.minimax_cost`][], an [`advnets.game.BlendedCost`][] or your own.
        generator_sees_dropout: whether G's cost has D's dropout. If not, D has a forward pass of
            its own for it.

    Example:
        >>> import advnets
        >>> printed = advnets.objectives.GAN(generator_cost=advnets.game.minimax_cost)
        >>> algorithm = advnets.Algorithm1(objective=printed)

    References:
        Eq. 1; section 3; released code, `AdversaryCost2`, with `no_drop_in_d_for_g`.
    """

    discriminator_cost: DiscriminatorCost = negative_value
    generator_cost: GeneratorCost = non_saturating_cost
    generator_sees_dropout: bool = eqx.field(static=True, default=True)
    shown: ClassVar[Mapping[str, str]] = {
        "V": "value",
        "D(x)": "real_output",
        "D(G(z))": "fake_output",
    }

    def costs(self, draws: Draws, D: Applied, real: Batch, fake: Batch, **others: Applied) -> Costs:
        real_logits, fake_logits = D(draws.real, real), D(draws.fake, fake)
        won = fake_logits if self.generator_sees_dropout else D(None, fake)
        dtype = real_logits.dtype
        seen = {
            "value": value_function(real_logits, fake_logits),
            "real_output": jnp.mean(jax.nn.sigmoid(real_logits)),
            "fake_output": jnp.mean(jax.nn.sigmoid(fake_logits)),
            "real_error": jnp.mean((real_logits < 0).astype(dtype)),
            "fake_error": jnp.mean((fake_logits >= 0).astype(dtype)),
        }
        return Costs(
            self.discriminator_cost(real_logits, fake_logits), self.generator_cost(won), seen
        )


class OnLogits(Objective):
    """Any two costs of logits that stand for scores rather than probabilities.

    It reports D's `cost`, and its mean logits, `real_logit` and `fake_logit`.

    Attributes:
        discriminator_cost: what D descends, a function of its logits on data and on generated
            examples.
        generator_cost: what G descends, a function of the logits on its examples.

    Example:
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> least_squares = advnets.objectives.OnLogits(
        ...     lambda real, fake: jnp.mean((real - 1) ** 2) + jnp.mean(fake**2),
        ...     lambda fake: jnp.mean((fake - 1) ** 2),
        ... )
        >>> algorithm = advnets.Algorithm1(objective=least_squares)
    """

    discriminator_cost: DiscriminatorCost
    generator_cost: GeneratorCost
    shown: ClassVar[Mapping[str, str]] = {
        "cost of D": "cost",
        "logit of x": "real_logit",
        "logit of G(z)": "fake_logit",
    }

    def costs(self, draws: Draws, D: Applied, real: Batch, fake: Batch, **others: Applied) -> Costs:
        """Costs of logits; a ValueError where there are none."""
        real_logits, fake_logits = D(draws.real, real), D(draws.fake, fake)
        if 0 in (real_logits.size, fake_logits.size):
            raise ValueError("a cost is a mean over examples; pass at least 1 of each kind")
        cost = self.discriminator_cost(real_logits, fake_logits)
        seen = {
            "cost": cost,
            "real_logit": jnp.mean(real_logits),
            "fake_logit": jnp.mean(fake_logits),
        }
        return Costs(cost, self.generator_cost(fake_logits), seen)
