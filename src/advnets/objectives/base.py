"""What an objective is: what each player descends, given the discriminator as a function.

An objective maps D, a batch of data and a batch of generated examples to a cost for each player. It
may call D any number of times, on any inputs, and differentiate it; so costs on logits,
relativistic pairs and gradient penalties are all of one kind.
"""

import abc
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeAlias

import equinox as eqx
from jaxtyping import Array, Float

from advnets.batches import Batch
from advnets.draws import Draws

# A player on a batch: a function of a key (or None, for no noise) and the batch.
Applied: TypeAlias = Callable[..., Any]
GeneratorCost: TypeAlias = Callable[[Float[Array, " batch"]], Float[Array, ""]]
DiscriminatorCost: TypeAlias = Callable[
    [Float[Array, " batch"], Float[Array, " batch"]], Float[Array, ""]
]


class Costs(eqx.Module):
    """What each player descends on a minibatch.

    Attributes:
        discriminator: the discriminator's cost.
        generator: the generator's cost.
        seen: what to report of the discriminator, by name; its cost unless given.
        others: the costs of further players, by name.
    """

    discriminator: Float[Array, "..."]
    generator: Float[Array, "..."]
    seen: Mapping[str, Float[Array, ""]] | None = None
    others: Mapping[str, Float[Array, "..."]] = eqx.field(default_factory=dict)

    @property
    def reported(self) -> Mapping[str, Float[Array, ""]]:
        """What to report of the discriminator, by name."""
        return {"cost": self.discriminator} if self.seen is None else self.seen

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
        """The batches with which a stateful discriminator's memory is updated.

        Args:
            real: a batch of data.
            fake: a batch of generated examples.

        Returns:
            What D is called on for both; unless an objective overrides this, the batches unchanged.
        """
        return real, fake
