"""A network that fills in images: it halves them, then doubles them, with skip connections."""

import itertools
import math
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from advnets._counts import check_count, counted
from advnets.convolutions import Convolution, Doubled, MaxoutConv2d
from advnets.layers import linear
from advnets.networks import Reshape

RELU, SIGMOID = eqx.nn.Lambda(jax.nn.relu), eqx.nn.Lambda(jax.nn.sigmoid)


class UNet(eqx.Module):
    """Halves an image and its mask, joins them with the latent vector, and doubles the result.

    Each level on the way up also sees the image of that size from the way down, so the layers
    between need not carry what is observed. It draws no noise.

    Attributes:
        down: each maps an image to one of half its size; the first takes the observed pixels and
            the mask as channels.
        dense: maps the latent vector and the smallest image to another smallest image.
        up: from the smallest: each maps two images of one size, joined along their channels, to one
            of twice the size.
        latent_size: the number of components of z.
        shape: the shape of an image, (height, width) or (height, width, channels).

    References:
        Ronneberger et al. 2015, "U-net: convolutional networks for biomedical image
        segmentation".
    """

    down: tuple[eqx.nn.Sequential, ...]
    dense: eqx.nn.Sequential
    up: tuple[eqx.nn.Sequential, ...]
    latent_size: int = eqx.field(static=True)
    shape: tuple[int, ...] = eqx.field(static=True)

    def __call__(
        self, x: Float[Array, " inputs"], *, key: Key[Array, ""] | None = None
    ) -> Float[Array, "*shape"]:
        """An image, from a vector of latents, observed pixels and mask.

        Raises a TypeError if the vector has another length.
        """
        z, pair = x[: self.latent_size], x[self.latent_size :].reshape(2, *_wide(self.shape))
        image = jnp.concatenate([*pair], axis=-1)
        seen = []
        for halve in self.down:
            image = halve(image)
            seen.append(image)
        image = self.dense(jnp.concatenate([z, image.ravel()]))
        for double, same in zip(self.up, reversed(seen), strict=True):
            image = double(jnp.concatenate([image, same], axis=-1))
        return image.reshape(self.shape)


def unet_generator(
    key: Key[Array, ""],
    latent_size: int,
    shape: tuple[int, ...],
    *,
    channels: Sequence[int] = (16, 32),
    hidden_sizes: Sequence[int] = (600,),
    output_bias: float | Float[Array, "*shape"] = 0.0,
) -> UNet:
    """A generator of what is missing in images, for [`advnets.inpainting.Filler`][].

    On the way down, 5×5 convolutions; on the way up, a 3×3 convolution of each level's two images
    and an [`advnets.convolutions.Doubled`][]. All layers are rectified linear, but for the last,
    whose pixels are sigmoid.

    Args:
        key: a typed random key.
        latent_size: the number of components of z.
        shape: the shape of an image, (height, width) or (height, width, channels).
        channels: the number of channels after each halving.
        hidden_sizes: the number of units of each dense layer between the halvings and the
            doublings.
        output_bias: the initial bias of the output, such as [`advnets.layers.marginal_bias`][] of
            the training images.

    Returns:
        The network. Weights start uniform with variance 2 / inputs, biases at 0.

    Raises:
        ValueError: if the shape is not that of an image, or can't be halved that many times; for
            no channels, or a size below 1.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from advnets import inpainting
        >>> from advnets.unet import unet_generator
        >>> inner = unet_generator(jax.random.key(0), 10, (8, 8), channels=(4, 8))
        >>> image = jnp.zeros((8, 8))
        >>> inpainting.Filler(inner)(jnp.zeros(10), image, image).shape
        (8, 8)

    References:
        He et al. 2015, "Delving deep into rectifiers" (the initial weights).
    """
    for count in (latent_size, *channels, *hidden_sizes):
        check_count("the size of a layer", count)
    if not channels:
        raise ValueError("a U-net needs at least one entry in channels; got none")
    times = 2 ** len(channels)
    if len(shape) not in (2, 3) or 0 in shape or shape[0] % times or shape[1] % times:
        raise ValueError(
            f"a U-net of {counted(len(channels), 'halving')} needs images whose height and width "
            f"are multiples of {times}; got shape {shape} (give other sizes, or fewer channels)"
        )
    height, width, image_channels = _wide(shape)
    bias = jnp.broadcast_to(jnp.asarray(output_bias), shape).reshape(_wide(shape))
    keys = iter(jax.random.split(key, 3 * len(channels) + len(hidden_sizes) + 1))
    sizes = [(height >> n, width >> n) for n in range(len(channels) + 1)]
    down, inputs = [], 2 * image_channels
    for size, outputs in zip(sizes[:-1], channels, strict=True):
        halve = Convolution(
            next(keys),
            (*size, inputs),
            channels=outputs,
            kernel_size=5,
            stride=2,
            padding=2,
            weight_range=math.sqrt(6 / (25 * inputs)),
        )
        down.append(eqx.nn.Sequential([halve, RELU]))
        inputs = outputs
    smallest = (*sizes[-1], inputs)
    pixels = math.prod(smallest)
    dense = [
        layer
        for below, above in itertools.pairwise([latent_size + pixels, *hidden_sizes, pixels])
        for layer in (linear(next(keys), below, above, math.sqrt(6 / below)), RELU)
    ]
    up = []
    made = (image_channels, *channels[:-1])
    for size, inputs, outputs in zip(sizes[:0:-1], channels[::-1], made[::-1], strict=True):
        mix = MaxoutConv2d(  # one piece makes it an ordinary convolution, which is fast on a CPU
            next(keys),
            (*size, 2 * inputs),
            channels=inputs,
            pieces=1,
            kernel_size=3,
            padding=1,
            pool_size=1,
            pool_stride=1,
            weight_range=math.sqrt(6 / (18 * inputs)),
        )
        last = size == sizes[1]
        double = Doubled(
            next(keys),
            (*size, inputs),
            channels=outputs,
            weight_range=math.sqrt(6 / (9 * inputs)),
            tied_bias=not last,
            output_bias=bias if last else 0.0,
        )
        up.append(eqx.nn.Sequential([mix, RELU, double, SIGMOID if last else RELU]))
    return UNet(
        tuple(down),
        eqx.nn.Sequential([*dense, Reshape(smallest)]),
        tuple(up),
        latent_size,
        shape,
    )


def _wide(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of an image with its channels, if there is only one."""
    return shape if len(shape) == 3 else (*shape, 1)
