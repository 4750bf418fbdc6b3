"""How images are preprocessed before the discriminator sees them, and shown as pictures again.

Minibatches are preprocessed inside the compiled program, so the data can stay uint8 on the device.
"""

import math
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Real

# Maps a whole minibatch, in the data's own type, to as many examples in floats.
Preprocess = Callable[[Real[Array, " n *data"]], Float[Array, " n *example"]]


def to_unit_interval(images: Real[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Pixels as floats of JAX's default type: uint8 divided by 255, all others with their values.

    Args:
        images: pixels of any shape.

    Returns:
        Float32, or float64 with `jax_enable_x64`, whatever the type of the pixels; in [0, 1] for
        uint8.

    Example:
        >>> import jax.numpy as jnp
        >>> from advnets.preprocessing import to_unit_interval
        >>> to_unit_interval(jnp.array([0, 255], jnp.uint8)).tolist()
        [0.0, 1.0]
    """
    if images.dtype == jnp.uint8:
        return images.astype(float) / 255
    return images.astype(float)


def gcn(
    images: Real[Array | np.ndarray, " n *data"], scale: float = 55.0
) -> Float[Array, " n *data"]:
    r"""Global contrast normalisation: every image gets mean 0 and the same Euclidean norm.

    $$x \leftarrow s \cdot \frac{x - \bar x}{\lVert x - \bar x \rVert}$$

    The mean and the norm are over all pixels and channels of one image. A constant image has no
    contrast to normalise, and becomes 0.

    Args:
        images: uint8 images, or floats in any range: brightness and contrast drop out.
        scale: s, the norm of the result; above 0.

    Returns:
        Floats of JAX's default type.

    Raises:
        ValueError: if the scale is not above 0, or not finite in float32.

    Example:
        >>> import jax.numpy as jnp
        >>> from advnets.preprocessing import gcn
        >>> images = jnp.array([[0, 255], [100, 102], [7, 7]], jnp.uint8)
        >>> gcn(images, scale=2**0.5).round(3).tolist()
        [[-1.0, 1.0], [-1.0, 1.0], [0.0, 0.0]]

    References:
        `gcn: 55.` in the released CIFAR-10 recipes.
    """
    scale = float(scale)
    if not 0 < scale <= float(jnp.finfo(jnp.float32).max):
        raise ValueError(f"the scale of the contrast must be above 0 and finite; got {scale}")
    pixels = jnp.asarray(images).astype(float).reshape(len(images), math.prod(images.shape[1:]))
    # Each by a power of 2, which rounds nothing: squares then neither overflow nor become 0.
    _, exponents = jnp.frexp(jnp.max(jnp.abs(pixels), axis=1, keepdims=True, initial=0))
    pixels = jnp.ldexp(pixels, -exponents)
    # A constant image is then exactly 0, whatever the rounding of its mean.
    pixels -= pixels[:, :1]
    pixels -= pixels.mean(axis=1, keepdims=True)
    norm = jnp.linalg.norm(pixels, axis=1, keepdims=True)
    return (scale * pixels / jnp.where(norm == 0, 1, norm)).reshape(images.shape)


def gcn_picture(
    images: Float[np.ndarray, " n *data"], largest: float | np.floating | None = None
) -> Float[np.ndarray, " n *data"]:
    """Images after [`advnets.preprocessing.gcn`][], as pictures to show: 0 is mid-grey.

    All images are divided by the same number. Each image's own brightness and contrast are lost,
    but a sample of the generator never had any.

    Args:
        images: the images that are shown together.
        largest: the absolute value that is shown as black or white, as is all beyond it; the
            largest among the images unless given. For neighbours of samples, pass the samples'.

    Returns:
        Floats in [0, 1].

    Raises:
        ValueError: if `largest` is not above 0 and finite, or the images' own is not.

    Example:
        >>> import numpy as np
        >>> from advnets.preprocessing import gcn_picture
        >>> gcn_picture(np.array([[-1.0, 0.0], [2.0, 1.0]])).tolist()
        [[0.25, 0.5], [1.0, 0.75]]

    References:
        Released code, `show_samples_cifar_full_paper.py`.
    """
    if largest is None:
        # An image of zeros is mid-grey whatever it is divided by.
        largest = float(abs(images).max()) or 1.0
    if not 0 < largest < float("inf"):
        raise ValueError(
            f"the largest value of a picture must be above 0 and finite; got {largest}"
        )
    return (0.5 + 0.5 * images / largest).clip(0, 1)
