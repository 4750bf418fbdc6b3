"""The paper's players, as sequences of Equinox layers.

They are `eqx.nn.Sequential`s like any other: index them, take them apart, insert layers, or use
another Equinox module in their place.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from advnets.convolutions import (
    Convolution,
    ConvolutionSpec,
    Deconvolution,
    Doubled,
    MaxoutConv2d,
)
from advnets.layers import Dropout, Maxout, linear, sparse_linear

Activation = Literal["relu", "sigmoid"]
Output = Literal["sigmoid", "linear"]
Layers = list[Callable[..., Any]]


def mlp_generator(
    key: Key[Array, ""],
    latent_size: int,
    shape: tuple[int, ...],
    *,
    hidden_sizes: Sequence[int] = (1200, 1200),
    activations: Sequence[Activation] | None = None,
    weight_range: float = 0.05,
    sigmoid_bias: float = 0.0,
    output: Output = "sigmoid",
    output_range: float | None = None,
    output_nonzero: int | None = None,
    output_bias: float | Float[Array, "*shape"] = 0.0,
) -> eqx.nn.Sequential:
    """A fully connected generator; by default, that of the MNIST recipe.

    The TFD recipe has `activations=("relu", "sigmoid")`, `sigmoid_bias=-2` and
    `output_nonzero=100`; the CIFAR-10 recipe has the same activations, `output="linear"` and
    `output_range=0.5`.

    Args:
        key: a typed random key.
        latent_size: the number of components of z.
        shape: the shape of one example, such as `(28, 28)`.
        hidden_sizes: the number of units of each hidden layer.
        activations: the kind of each hidden layer, `"relu"` (rectified linear) or `"sigmoid"`; all
            are rectified linear unless given.
        weight_range: weights start uniform in ± this.
        sigmoid_bias: the initial bias of the sigmoid hidden layers; that of the others is 0.
        output: `"sigmoid"`, for examples in [0, 1], or `"linear"`.
        output_range: the weights of the output start uniform in ± this; `weight_range` unless
            given.
        output_nonzero: the weights of the output start sparse instead, from
            [`advnets.layers.sparse_normal`][], with this many inputs for each pixel.
        output_bias: the initial bias of the output, such as
            [`advnets.layers.marginal_bias`][] of the training images.

    Returns:
        A module that maps a latent vector `(latent_size,)` to an example of the given shape.

    Raises:
        ValueError: if there are not as many activations as hidden layers, the output is to start
            both uniform and sparse, or has fewer inputs than nonzero weights.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> generator = advnets.networks.mlp_generator(jax.random.key(0), 100, (28, 28))
        >>> generator(jnp.zeros(100)).shape
        (28, 28)

    References:
        Released code, `generator` in `mnist.yaml`, `tfd_pretrain/pretrain.yaml` and
        `cifar10_fully_connected.yaml`.
    """
    if output_range is not None and output_nonzero is not None:
        raise ValueError(
            f"the output's weights start either uniform or sparse; got output_range={output_range} "
            f"and output_nonzero={output_nonzero} (give one of them)"
        )
    *hidden_keys, output_key = jax.random.split(key, len(hidden_sizes) + 1)
    layers = _hidden_layers(
        hidden_keys, latent_size, hidden_sizes, activations, weight_range, sigmoid_bias
    )
    in_size, out_size = [latent_size, *hidden_sizes][-1], math.prod(shape)
    bias = jnp.broadcast_to(jnp.asarray(output_bias, dtype=float), shape).ravel()
    if output_nonzero is not None:
        layers.append(sparse_linear(output_key, in_size, out_size, output_nonzero, bias))
    else:
        if output_range is None:
            output_range = weight_range
        layers.append(linear(output_key, in_size, out_size, output_range, bias))
    if output == "sigmoid":
        layers.append(eqx.nn.Lambda(jax.nn.sigmoid))
    return eqx.nn.Sequential([*layers, Reshape(shape)])


def deconvolutional_generator(
    key: Key[Array, ""],
    latent_size: int,
    shape: tuple[int, ...],
    *,
    hidden_sizes: Sequence[int] = (8000, 8000),
    activations: Sequence[Activation] | None = ("relu", "sigmoid"),
    channels: int = 80,
    kernel_size: int = 5,
    stride: int = 3,
    weight_range: float = 0.05,
    sigmoid_bias: float = 0.0,
    output_range: float | None = None,
    output_bias: float | Float[Array, "*shape"] = 0.0,
) -> eqx.nn.Sequential:
    """The convolutional CIFAR-10 recipe's generator: dense layers, then a deconvolution.

    The last hidden layer is reshaped to an image of `channels` channels. Its deconvolution, which
    is linear with a bias for every pixel and channel, has the shape of an example.

    Args:
        key: a typed random key.
        latent_size: the number of components of z.
        shape: the shape of one example, (height, width, channels), such as `(32, 32, 3)`.
        hidden_sizes: the number of units of each hidden layer.
        activations: the kind of each hidden layer, `"relu"` (rectified linear) or `"sigmoid"`; all
            are rectified linear if None.
        channels: the number of channels that the last hidden layer is reshaped to.
        kernel_size: the height and width of the deconvolution's patches.
        stride: the step from one patch to the next.
        weight_range: weights start uniform in ± this.
        sigmoid_bias: the initial bias of the sigmoid hidden layers; that of the others is 0.
        output_range: the deconvolution's weights start uniform in ± this; `weight_range` unless
            given.
        output_bias: the initial bias of the output.

    Returns:
        A module that maps a latent vector `(latent_size,)` to an example of the given shape.

    Raises:
        ValueError: if there are not as many activations as hidden layers, no deconvolution gives
            that shape, or the last hidden layer has the wrong size.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> generator = advnets.networks.deconvolutional_generator(
        ...     jax.random.key(0), 100, (32, 32, 3), hidden_sizes=(50, 800), channels=8
        ... )
        >>> generator(jnp.zeros(100)).shape
        (32, 32, 3)

    References:
        Released code, `cifar10_convolutional.yaml`, `generator`.
    """
    if len(shape) != 3:
        raise ValueError(
            f"a deconvolution makes examples of shape (height, width, channels); got {shape}"
        )
    height, width, image_channels = shape
    sizes = (height, width)
    if stride < 1 or any(size < kernel_size or (size - kernel_size) % stride for size in sizes):
        raise ValueError(
            f"no deconvolution with kernel_size={kernel_size} and stride={stride} gives {height} "
            f"by {width} pixels; sizes must be kernel_size plus a multiple of stride"
        )
    rows, columns = (1 + (size - kernel_size) // stride for size in sizes)
    if [latent_size, *hidden_sizes][-1] != rows * columns * channels:
        raise ValueError(
            f"the last hidden layer must have {rows * columns * channels} units, {rows} by "
            f"{columns} in {channels} channels, for examples of shape {shape}; got "
            f"hidden_sizes={tuple(hidden_sizes)}"
        )
    *hidden_keys, output_key = jax.random.split(key, len(hidden_sizes) + 1)
    layers = _hidden_layers(
        hidden_keys, latent_size, hidden_sizes, activations, weight_range, sigmoid_bias
    )
    deconvolution = Deconvolution(
        output_key,
        (rows, columns, channels),
        channels=image_channels,
        kernel_size=kernel_size,
        stride=stride,
        weight_range=weight_range if output_range is None else output_range,
        output_bias=output_bias,
    )
    return eqx.nn.Sequential([*layers, Reshape((rows, columns, channels)), deconvolution])


def convolutional_generator(
    key: Key[Array, ""],
    latent_size: int,
    shape: tuple[int, ...],
    *,
    channels: Sequence[int] = (128, 64, 32),
    output: Output = "sigmoid",
    output_bias: float | Float[Array, "*shape"] = 0.0,
) -> eqx.nn.Sequential:
    """A dense layer, then 3×3 convolutions, each of which doubles the image's height and width.

    Each turns one pixel into four ([`advnets.convolutions.Doubled`][]), which start out equal. All
    layers but the last are rectified linear. For 32×32 pixels and three entries of `channels`, the
    images are 4×4, 8×8, 16×16 and 32×32.

    Args:
        key: a typed random key.
        latent_size: the number of components of z.
        shape: the shape of one example, (height, width, channels), such as `(32, 32, 3)`.
        channels: the number of channels of each image before the example.
        output: `"sigmoid"`, for examples in [0, 1], or `"linear"`.
        output_bias: the initial bias of the output, such as
            [`advnets.layers.marginal_bias`][] of the training images.

    Returns:
        A module that maps a latent vector `(latent_size,)` to an example of the given shape.
        Weights start uniform with variance 2 / inputs, biases at 0.

    Raises:
        ValueError: if there are no channels, or the shape can't be halved that many times.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> generator = advnets.networks.convolutional_generator(
        ...     jax.random.key(0), 100, (32, 32, 3), channels=(16, 8)
        ... )
        >>> generator(jnp.zeros(100)).shape
        (32, 32, 3)

    References:
        Shi et al. 2016, "Real-time single image and video super-resolution using an efficient
        sub-pixel convolutional neural network"; Aitken et al. 2017, "Checkerboard artifact free
        sub-pixel convolution" (equal initial kernels); He et al. 2015, "Delving deep into
        rectifiers" (the initial weights).
    """
    if len(shape) != 3:
        raise ValueError(
            f"convolutions make examples of shape (height, width, channels); got {shape}"
        )
    if not channels:
        raise ValueError("a convolutional generator needs at least one entry in channels; got none")
    height, width, image_channels = shape
    times = 2 ** len(channels)
    if height % times or width % times or not height * width:
        raise ValueError(
            f"{len(channels)} doublings make sizes that are multiples of {times}; got {height} by "
            f"{width} pixels (give other sizes, or fewer channels)"
        )
    first = (height // times, width // times, channels[0])
    keys = jax.random.split(key, len(channels) + 1)
    layers: Layers = [
        linear(keys[0], latent_size, math.prod(first), math.sqrt(6 / latent_size)),
        eqx.nn.Lambda(jax.nn.relu),
        Reshape(first),
    ]
    height, width, inputs = first
    for number, one in enumerate(keys[1:]):
        last = number + 1 == len(channels)
        doubled = Doubled(
            one,
            (height, width, inputs),
            channels=image_channels if last else channels[number + 1],
            weight_range=math.sqrt(6 / (9 * inputs)),
            tied_bias=not last,
            output_bias=output_bias if last else 0.0,
        )
        layers.append(doubled)
        if not last:
            layers.append(eqx.nn.Lambda(jax.nn.relu))
        height, width, inputs = doubled.out_shape
    if output == "sigmoid":
        layers.append(eqx.nn.Lambda(jax.nn.sigmoid))
    return eqx.nn.Sequential(layers)


def stacked_generator(
    key: Key[Array, ""],
    latent_size: int,
    top: eqx.nn.Sequential,
    *,
    hidden_size: int = 8000,
    weight_range: float = 0.05,
    sigmoid_bias: float = -2.0,
) -> eqx.nn.Sequential:
    """The generator of TFD's second stage: new layers below all those of a trained generator.

    They are a rectified linear layer and a sigmoid layer, whose output replaces the latent vector
    of `top`. All layers are trained further.

    Args:
        key: a typed random key.
        latent_size: the number of components of z.
        top: the first stage's generator, such as one from [`advnets.networks.mlp_generator`][].
        hidden_size: the number of rectified linear units.
        weight_range: the weights of the new layers start uniform in ± this.
        sigmoid_bias: the initial bias of the sigmoid layer.

    Returns:
        A module that maps a latent vector `(latent_size,)` to an example like those of `top`.

    Raises:
        ValueError: if the first layer of `top` is not linear.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> top_key, key = jax.random.split(jax.random.key(0))
        >>> top = advnets.networks.mlp_generator(top_key, 100, (48, 48), hidden_sizes=[50])
        >>> advnets.networks.stacked_generator(key, 100, top, hidden_size=50)(jnp.zeros(100)).shape
        (48, 48)

    References:
        Released code, `tfd_pretrain/train.yaml`, `add_layers`.
    """
    first = top.layers[0]
    if not isinstance(first, eqx.nn.Linear):
        raise ValueError(
            f"to add layers below it, a generator must begin with an eqx.nn.Linear; got "
            f"{type(first).__name__}"
        )
    sizes = (hidden_size, int(first.in_features))
    keys = jax.random.split(key)
    layers = _hidden_layers(
        [*keys], latent_size, sizes, ("relu", "sigmoid"), weight_range, sigmoid_bias
    )
    return eqx.nn.Sequential([*layers, *top.layers])


def _hidden_layers(
    keys: Sequence[Key[Array, ""]],
    in_size: int,
    sizes: Sequence[int],
    activations: Sequence[Activation] | None,
    weight_range: float,
    sigmoid_bias: float = 0.0,
) -> Layers:
    if activations is None:
        activations = ["relu"] * len(sizes)
    if len(activations) != len(sizes):
        raise ValueError(
            f"there must be one activation for each hidden layer; got {len(activations)} for "
            f"{len(sizes)} layers"
        )
    layers: Layers = []
    for key, activation, size in zip(keys, activations, sizes, strict=True):
        bias = sigmoid_bias if activation == "sigmoid" else 0.0
        function = jax.nn.sigmoid if activation == "sigmoid" else jax.nn.relu
        layers += [linear(key, in_size, size, weight_range, bias), eqx.nn.Lambda(function)]
        in_size = size
    return layers


def maxout_discriminator(
    key: Key[Array, ""],
    shape: tuple[int, ...],
    *,
    convolutions: Sequence[ConvolutionSpec] = (),
    units: Sequence[int] = (240, 240),
    pieces: int = 5,
    weight_range: float = 0.005,
    input_keep: float = 0.8,
    hidden_keep: float = 0.5,
) -> eqx.nn.Sequential:
    """The recipes' discriminator: maxout layers with dropout, and one logit.

    Args:
        key: a typed random key.
        shape: the shape of one example; (height, width, channels) if there are convolutions.
        convolutions: the settings of the convolutional maxout layers, which come first.
        units: the number of units of each dense maxout layer.
        pieces: the number of linear pieces of each of those units.
        weight_range: weights start uniform in ± this; biases start at 0.
        input_keep: the probability that a pixel is kept in training, in (0, 1].
        hidden_keep: the same for the inputs of every later layer.

    Returns:
        A module that maps an example to its logit, the log-odds that it came from the data.

    Raises:
        ValueError: for a keep rate outside (0, 1], or a convolution that does not fit its input.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> discriminator = advnets.networks.maxout_discriminator(jax.random.key(0), (28, 28))
        >>> discriminator(jnp.zeros((28, 28))).shape
        ()

    References:
        Released code, `discriminator` and the dropout rates of its cost in `mnist.yaml` and
        `cifar10_convolutional.yaml`.
    """
    keys = iter(jax.random.split(key, len(convolutions) + len(units) + 1))
    keep = input_keep
    layers: Layers = []
    for settings in convolutions:
        convolution = MaxoutConv2d(next(keys), shape, **vars(settings), weight_range=weight_range)
        layers += [Dropout(keep), convolution]
        shape, keep = convolution.out_shape, hidden_keep
    in_size = math.prod(shape)
    layers.append(Reshape((in_size,)))
    for size in units:
        dense = Maxout(next(keys), in_size, units=size, pieces=pieces, weight_range=weight_range)
        layers += [Dropout(keep), dense]
        in_size, keep = size, hidden_keep
    layers += [Dropout(keep), linear(next(keys), in_size, 1, weight_range), Reshape(())]
    return eqx.nn.Sequential(layers)


def leaky_discriminator(
    key: Key[Array, ""],
    shape: tuple[int, ...],
    *,
    channels: Sequence[int] = (),
    units: Sequence[int] = (1024, 512),
    input_keep: float = 1.0,
    hidden_keep: float = 1.0,
) -> eqx.nn.Sequential:
    """A discriminator of leaky rectified linear layers, and one logit.

    It costs half as much as the recipes' maxout layers with as many units, as it has no pieces.

    Args:
        key: a typed random key.
        shape: the shape of one example; (height, width, channels) if there are convolutions.
        channels: the number of channels of each convolution before the dense layers: 4×4, with a
            stride of 2 and a padding of 1, so that each halves the image.
        units: the number of units of each dense layer, with `jax.nn.leaky_relu`.
        input_keep: the probability that dropout keeps a pixel in training, in (0, 1].
        hidden_keep: the same for the inputs of every later layer.

    Returns:
        A module that maps an example to its logit. Weights start uniform with variance 2 / inputs,
        biases at 0.

    Raises:
        ValueError: for a keep rate outside (0, 1], or a convolution that does not fit its input.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> discriminator = advnets.networks.leaky_discriminator(jax.random.key(0), (28, 28))
        >>> discriminator(jnp.zeros((28, 28))).shape
        ()

    References:
        He et al. 2015, "Delving deep into rectifiers" (the initial weights).
    """
    keys = iter(jax.random.split(key, len(channels) + len(units) + 1))
    keep = input_keep
    layers: Layers = []
    for size in channels:
        convolution = Convolution(
            next(keys),
            shape,
            channels=size,
            kernel_size=4,
            stride=2,
            padding=1,
            weight_range=math.sqrt(6 / (16 * shape[-1])),
        )
        layers += [Dropout(keep), convolution, eqx.nn.Lambda(jax.nn.leaky_relu)]
        shape, keep = convolution.out_shape, hidden_keep
    in_size = math.prod(shape)
    layers.append(Reshape((in_size,)))
    for size in units:
        dense = linear(next(keys), in_size, size, math.sqrt(6 / in_size))
        layers += [Dropout(keep), dense, eqx.nn.Lambda(jax.nn.leaky_relu)]
        in_size, keep = size, hidden_keep
    last = linear(next(keys), in_size, 1, math.sqrt(6 / in_size))
    return eqx.nn.Sequential([*layers, Dropout(keep), last, Reshape(())])


class Reshape(eqx.Module):
    """Reshapes one example.

    Attributes:
        shape: the new shape, with as many elements as the old one.

    Example:
        >>> import jax.numpy as jnp
        >>> from advnets.networks import Reshape
        >>> Reshape((28, 28))(jnp.zeros(784)).shape
        (28, 28)
    """

    shape: tuple[int, ...] = eqx.field(static=True)

    def __call__(
        self, x: Float[Array, "*shape"], *, key: Key[Array, ""] | None = None
    ) -> Float[Array, "..."]:
        """The reshaped example.

        Raises a TypeError if it has another number of elements.
        """
        return x.reshape(self.shape)
