"""Instance noise: D sees all examples through noise that decays."""

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
    r"""Another objective, in which D sees data and generated examples through normal noise.

    The noise's standard deviation falls linearly from s to 0 over T iterations:

    $$x + s \max(0, 1 - t / T)\, \epsilon, \qquad \epsilon \sim N(0, I)$$

    With the same noise, two densities overlap, so the best D is no longer certain and its slope
    tells G where to go; and they are equal only if they are without noise. Conditions get no noise,
    and a stateful D's memory is updated with examples without noise. The noise is the objective's
    own, from `draws.objective`.

    Attributes:
        objective: the other objective. One that changes what D judges (`judged`), such as
            [`advnets.inpainting.Inpainting`][], goes outside: `Inpainting(InstanceNoise(...))`.
        standard_deviation: s, in the units of the examples; at least 0.
        iterations: T, at least 1; after that there is no noise.

    Raises:
        ValueError: for a setting out of range; for examples that are not floats; around an
            objective that changes what D judges.

    Example:
        >>> import advnets
        >>> from advnets.objectives import GAN, InstanceNoise
        >>> objective = InstanceNoise(GAN(), 0.1, iterations=10_000)
        >>> algorithm = advnets.Algorithm1(objective=objective)

    References:
        Sønderby et al. 2017, "Amortised MAP inference for image super-resolution"; Arjovsky and
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
        """The objective's costs.

        Raises a ValueError if the draws don't know the iteration, or if the other objective changes
        what D judges.
        """
        judged = self.objective.judged(real, fake)
        if judged[0] is not real or judged[1] is not fake:
            raise ValueError(
                f"InstanceNoise can't be around an objective that changes what D judges; got "
                f"{type(self.objective).__name__} (put the noise inside, as in "
                "Inpainting(InstanceNoise(...)))"
            )
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
