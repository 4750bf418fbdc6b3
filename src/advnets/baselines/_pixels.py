"""What models of pixels in [0, 1] share: what they ask of images, and their cross-entropy."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def check_pixels(name: str, images: Float[Array | np.ndarray, " n *shape"]) -> None:
    """Refuses pixels that are no probabilities. Values can't be looked at within a program.

    Args:
        name: what the images are, for the message.
        images: the images.

    Raises:
        ValueError: if there are none, or a pixel is outside [0, 1] or not a number.
    """
    if images.size == 0:
        raise ValueError(f"{name} must hold at least one image with pixels; got {images.shape}")
    if isinstance(images, jax.core.Tracer):
        return
    least, most = float(images.min()), float(images.max())
    if not (least >= 0 and most <= 1):  # a pixel that is not a number too
        raise ValueError(
            f"{name} must have pixels in [0, 1], which are probabilities here; got {least:.3g} to "
            f"{most:.3g} (divide uint8 images by 255)"
        )


def cross_entropies(
    logits: Float[Array, " batch pixels"], x: Float[Array, " batch pixels"]
) -> Float[Array, " batch"]:
    r"""The cross-entropy of Bernoulli units, summed over them, in nats.

    $$-\sum_i \left[x_i \log \hat x_i + (1 - x_i) \log(1 - \hat x_i)\right]
      = \sum_i \left[\mathrm{softplus}(l_i) - x_i l_i\right]$$

    Args:
        logits: l, the log-odds of the units.
        x: what they stand for, in [0, 1].

    Returns:
        One number for each row.
    """
    return jnp.sum(jax.nn.softplus(logits) - x * logits, axis=1)
