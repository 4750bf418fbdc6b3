"""Examples along straight lines in z space: Figure 3."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from advnets.algorithm1 import Player, _apply
from advnets.priors import Prior


def interpolate(
    key: Key[Array, ""], generator: Player, prior: Prior, lines: int, steps: int
) -> Float[Array, " {lines} {steps} *data"]:
    """Examples along straight lines between pairs of latent vectors drawn from the prior.

    Only the ends of a line are draws from the prior. What lies between is in the support of a
    uniform or a normal prior, but shorter: half way, a component has half the variance. A
    spherical prior's line leaves the sphere.

    Args:
        key: a typed random key.
        generator: maps a latent vector to an example. Noise inside it, if it takes a key, is on,
            and the same all along a line.
        prior: the distribution of the latent vectors at the ends.
        lines: the number of lines, at least 1.
        steps: the number of points on a line, both ends included; at least 2.

    Returns:
        The examples, `steps` of them for each line, in order.

    Raises:
        ValueError: if there is no line, or a line has less than two points.

    Example:
        >>> import jax
        >>> import advnets
        >>> generator = advnets.mlp_generator(jax.random.key(0), 100, (28, 28))
        >>> prior = advnets.Uniform(100)
        >>> advnets.interpolate(jax.random.key(1), generator, prior, lines=2, steps=11).shape
        (2, 11, 28, 28)

    References:
        Figure 3.
    """
    if lines < 1:
        raise ValueError(f"the number of lines must be at least 1; got {lines}")
    ends_key, layers_key = jax.random.split(key)
    ends = prior(ends_key, 2 * lines)
    return interpolate_between(layers_key, generator, ends[:lines], ends[lines:], steps)


def interpolate_between(
    key: Key[Array, ""],
    generator: Player,
    starts: Float[Array, " lines size"],
    ends: Float[Array, " lines size"],
    steps: int,
) -> Float[Array, " lines {steps} *data"]:
    r"""Examples along straight lines between latent vectors of your own.

    $$G((1 - t)\, z_\mathrm{start} + t\, z_\mathrm{end}), \qquad t = 0, \ldots, 1$$

    Args:
        key: a typed random key; each line gets one of its own.
        generator: maps a latent vector to an example. Noise inside it, if it takes a key, is on,
            and the same all along a line.
        starts: the latent vector at which each line begins.
        ends: the latent vector at which it ends.
        steps: the number of points on a line, evenly spaced, both ends included; at least 2.

    Returns:
        The examples, `steps` of them for each line, in order.

    Raises:
        ValueError: if a line has less than two points.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> key, doubled = jax.random.key(0), lambda z: 2 * z
        >>> starts, ends = jnp.array([[0.0]]), jnp.array([[1.0]])
        >>> advnets.interpolate_between(key, doubled, starts, ends, steps=5).ravel().tolist()
        [0.0, 0.5, 1.0, 1.5, 2.0]

    References:
        Figure 3.
    """
    if steps < 2:
        raise ValueError(f"a line needs at least 2 points, its ends; got {steps} steps")
    t = jnp.linspace(0, 1, steps, dtype=starts.dtype)[None, :, None]
    latents = (1 - t) * starts[:, None] + t * ends[:, None]
    # The same key at every point of a line, so that what changes along it is z alone.
    keys = jnp.repeat(jax.random.split(key, len(starts)), steps)
    examples = _apply(generator, keys, latents.reshape(-1, latents.shape[-1]))
    return examples.reshape(*latents.shape[:2], *examples.shape[1:])
