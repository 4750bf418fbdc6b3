"""The objective of 2014."""

from collections.abc import Mapping
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from advnets.batches import Batch
from advnets.draws import Draws
from advnets.game import non_saturating_cost, value_function
from advnets.objectives.base import Applied, Costs, DiscriminatorCost, GeneratorCost, Objective


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

    For each minibatch it reports `value`, V(D, G) in nats (Eq. 1); `real_output` and
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
        generator_sees_dropout: whether G's cost is computed with D's dropout. If not, it takes a
            separate forward pass of D.

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
