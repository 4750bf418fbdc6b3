"""Objectives whose costs are functions of D's logits alone."""

import abc
from collections.abc import Mapping
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from advnets.batches import Batch
from advnets.draws import Draws
from advnets.objectives.base import Applied, Costs, DiscriminatorCost, GeneratorCost, Objective

SHOWN = {"cost of D": "cost", "logit of x": "real_logit", "logit of G(z)": "fake_logit"}


def _costs(
    discriminator_cost: DiscriminatorCost,
    generator_cost: GeneratorCost,
    real_logits: Float[Array, " real"],
    fake_logits: Float[Array, " fake"],
) -> Costs:
    if 0 in (real_logits.size, fake_logits.size):
        raise ValueError("a cost is a mean over examples; pass at least 1 of each kind")
    cost = discriminator_cost(real_logits, fake_logits)
    seen = {
        "cost": cost,
        "real_logit": jnp.mean(real_logits),
        "fake_logit": jnp.mean(fake_logits),
    }
    return Costs(cost, generator_cost(fake_logits), seen)


class OfLogits(Objective):
    """Two costs of D's logits, as methods.

    It reports D's `cost`, and its mean logits, `real_logit` and `fake_logit`.
    """

    shown: ClassVar[Mapping[str, str]] = SHOWN

    @abc.abstractmethod
    def discriminator_cost(
        self, real_logits: Float[Array, " real"], fake_logits: Float[Array, " fake"]
    ) -> Float[Array, ""]:
        """What D descends.

        Args:
            real_logits: the discriminator's logits on data.
            fake_logits: the discriminator's logits on generated examples.

        Returns:
            The cost, a mean over examples of each kind; that there is one of each is not checked
            here, but in `costs`.
        """

    @abc.abstractmethod
    def generator_cost(self, fake_logits: Float[Array, " fake"]) -> Float[Array, ""]:
        """What G descends.

        Args:
            fake_logits: the discriminator's logits on generated examples.

        Returns:
            The cost, a mean over examples; that there is one is not checked here, but in `costs`.
        """

    def costs(self, draws: Draws, D: Applied, real: Batch, fake: Batch, **others: Applied) -> Costs:
        """Costs of logits; raises a ValueError if there are none."""
        on_real, on_fake = D(draws.real, real), D(draws.fake, fake)
        return _costs(self.discriminator_cost, self.generator_cost, on_real, on_fake)


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
    shown: ClassVar[Mapping[str, str]] = SHOWN

    def costs(self, draws: Draws, D: Applied, real: Batch, fake: Batch, **others: Applied) -> Costs:
        """Costs of logits; raises a ValueError if there are none."""
        on_real, on_fake = D(draws.real, real), D(draws.fake, fake)
        return _costs(self.discriminator_cost, self.generator_cost, on_real, on_fake)
