"""The random keys of a training step: its key, split once into named keys."""

import equinox as eqx
import jax
from jaxtyping import Array, Int, Key


class Draws(eqx.Module):
    """The keys of everything random in one step.

    Attributes:
        latents: the key of the prior.
        generator: the key of noise inside the generator.
        real: the key of the discriminator's noise, such as dropout, on data.
        fake: the key of its noise on generated examples.
        objective: the key of what an objective draws itself, such as mixing weights.
        iteration: the iteration's number, for an objective with a schedule; None outside of
            training.
    """

    latents: Key[Array, ""]
    generator: Key[Array, ""]
    real: Key[Array, ""]
    fake: Key[Array, ""]
    objective: Key[Array, ""]
    iteration: Int[Array, ""] | None = None


def discriminator_draws(key: Key[Array, ""]) -> Draws:
    """The keys of a discriminator step, or of a step of the simultaneous order.

    Args:
        key: the step's key.

    Returns:
        The named keys.

    Example:
        >>> import jax
        >>> from advnets import draws
        >>> keys = draws.discriminator_draws(jax.random.key(0))
        >>> jax.random.uniform(keys.latents, (2,)).shape
        (2,)
    """
    fake_key, real_noise, fake_noise = jax.random.split(key, 3)
    latents, generator = jax.random.split(fake_key)
    return Draws(latents, generator, real_noise, fake_noise, jax.random.fold_in(key, 3))


def generator_draws(key: Key[Array, ""]) -> Draws:
    """The keys of a generator step.

    Args:
        key: the step's key.

    Returns:
        The named keys.

    Example:
        >>> import jax
        >>> from advnets import draws
        >>> keys = draws.generator_draws(jax.random.key(0))
        >>> jax.random.uniform(keys.latents, (2,)).shape
        (2,)
    """
    fake_key, fake_noise = jax.random.split(key)
    latents, generator = jax.random.split(fake_key)
    real_noise, objective = (jax.random.fold_in(key, number) for number in (2, 3))
    return Draws(latents, generator, real_noise, fake_noise, objective)
