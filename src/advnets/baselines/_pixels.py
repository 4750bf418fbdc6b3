"""Shared by models of pixels in [0, 1]: checks of images, and the cross-entropy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Real


def check_pixels(name: str, images: Float[Array | np.ndarray, " n *shape"]) -> None:
    """Refuses pixels that are not probabilities; in a traced program, values are not checked.

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
    if not (least >= 0 and most <= 1):  # also refuses NaN
        raise ValueError(
            f"{name} must have pixels in [0, 1], which are probabilities here; got {least:.3g} to "
            f"{most:.3g} (divide uint8 images by 255)"
        )


def as_rows(
    images: Real[Array, " batch *shape"], shape: tuple[int, ...]
) -> Real[Array, " batch pixels"]:
    """Images as rows of pixels, if they have as many pixels as the model's.

    Args:
        images: the images; there may be none.
        shape: the shape of one of the model's images.

    Returns:
        A row for each image.

    Raises:
        ValueError: if they have another number of pixels.
    """
    pixels = math.prod(shape)
    if math.prod(images.shape[1:]) != pixels:
        expected = ", ".join(map(str, ("rows", *shape)))
        raise ValueError(
            f"the model's images have {pixels} pixels, in an array of shape ({expected}); got one "
            f"of shape {images.shape}"
        )
    return images.reshape(len(images), pixels)


def check_rows(name: str, rows: Real[Array | np.ndarray, " n *shape"]) -> None:
    """Refuses empty rows, which have no mean.

    Args:
        name: what they are, for the message.
        rows: the rows.

    Raises:
        ValueError: if there are none.
    """
    if len(rows) == 0:
        raise ValueError(f"{name} must hold at least 1 row; got an array of shape {rows.shape}")


def check_units(name: str, units: tuple[int, ...], expected: int) -> None:
    """Refuses states or means with another number of units than the model's.

    Args:
        name: what they are, for the message.
        units: their shape.
        expected: the model's number of units.

    Raises:
        ValueError: if the last axis has another length.
    """
    if units[-1] != expected:
        raise ValueError(f"{name} must be {expected} numbers, as the model has; got shape {units}")


def cross_entropies(
    logits: Float[Array, " batch pixels"], x: Float[Array, " batch pixels"]
) -> Float[Array, " batch"]:
    r"""The cross-entropy of Bernoulli units, summed over them, in nats.

    $$-\sum_i \left[x_i \log \hat x_i + (1 - x_i) \log(1 - \hat x_i)\right]
      = \sum_i \left[\mathrm{softplus}(l_i) - x_i l_i\right]$$

    Args:
        logits: l, the log-odds of the units.
        x: their targets, in [0, 1].

    Returns:
        One number for each row.
    """
    return jnp.sum(jax.nn.softplus(logits) - x * logits, axis=1)
