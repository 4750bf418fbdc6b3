"""Instance noise: D sees all examples through noise, less and less of it."""

import dataclasses
import math
from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from advnets.batches import Batch
from advnets.draws import Draws
from advnets.objectives._examples import check_floats, example_of, with_example
from advnets.objectives.base import Applied, Costs, Objective


class InstanceNoise(Objective):
    r"""Another objective, whose D sees data and generated examples through normal noise.

    Its standard deviation falls from s to 0 in a straight line over T iterations:

    $$x + s \max(0, 1 - t / T)\, \epsilon, \qquad \epsilon \sim N(0, I)$$

    Two densities through the same noise overlap, so that the best D is no longer certain and its
    slope tells G where to go; they are equal just where the densities are. Conditions are left as
    they are, and so is what a stateful D keeps: that comes of examples without noise. The noise is
    the objective's own, from `draws.objective`.

    Attributes:
        objective: the other one.
        standard_deviation: s, in the units of the examples; at least 0.
        iterations: T, at least 1; from then on there is no noise.

    Raises:
        ValueError: for a setting out of range; where examples are no floats.

    Example:
        >>> import advnets
        >>> from advnets.objectives import GAN, InstanceNoise
        >>> objective = InstanceNoise(GAN(), 0.1, iterations=10_000)
        >>> algorithm = advnets.Algorithm1(objective=objective)

    References:
        Sønderby and others 2017, "Amortised MAP inference for image super-resolution"; Arjovsky and
        Bottou 2017, "Towards principled methods for training generative adversarial networks".
    """

    objective: Objective
    standard_deviation: float | Float[Array, ""]
    iterations: int = eqx.field(static=True)

    def __check_init__(self) -> None:
        sd = self.standard_deviation
        if not isinstance(sd, jax.core.Tracer) and not 0 <= sd < math.inf:
            raise ValueError(
                f"the noise's standard_deviation must be at least 0 and finite; got {sd}"
            )
        if self.iterations < 1:
            raise ValueError(f"the noise must last for at least 1 iteration; got {self.iterations}")

    @property
    def shown(self) -> Mapping[str, str]:  # type: ignore[override]  # that of the class elsewhere
        """What a progress line shows: what the other objective shows."""
        return self.objective.shown

    def costs(self, draws: Draws, D: Applied, real: Batch, fake: Batch, **others: Applied) -> Costs:
        """The other objective's costs; a ValueError if the draws don't know the iteration."""
        if draws.iteration is None:
            raise ValueError(
                "noise that decays needs the iteration's number; give draws.iteration, as "
                "Algorithm.differentiate does"
            )
        left = jnp.maximum(0, 1 - draws.iteration.astype(float) / self.iterations)
        sd = self.standard_deviation * left
        own, real_key, fake_key = jax.random.split(draws.objective, 3)
        return self.objective.costs(
            dataclasses.replace(draws, objective=own),
            D,
            _noisy(real_key, real, sd),
            _noisy(fake_key, fake, sd),
            **others,
        )


def _noisy(key: Key[Array, ""], batch: Batch, sd: Float[Array, ""]) -> Batch:
    check_floats(batch, "InstanceNoise")
    leaves, structure = jax.tree.flatten(example_of(batch))

    def noisy(key: Key[Array, ""], x: Array) -> Array:
        return x + sd.astype(x.dtype) * jax.random.normal(key, x.shape, x.dtype)

    keys = jax.random.split(key, len(leaves))
    moved = jax.tree.unflatten(structure, map(noisy, keys, leaves))
    return with_example(batch, moved)
