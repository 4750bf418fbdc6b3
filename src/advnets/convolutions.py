"""The convolutional layers of the CIFAR-10 recipes, on one example (height, width, channels).

The released code puts channels first. Here they come last, as in the images; this only relabels
random weights.
"""

import dataclasses
import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float, Key

from advnets.layers import uniform_range

# lax's names for (height, width, channels) order, of a batch of one, its kernel and the output.
LAYOUT = ("NHWC", "HWIO", "NHWC")


@dataclasses.dataclass(frozen=True)
class ConvolutionSpec:
    """The settings of one [`advnets.convolutions.MaxoutConv2d`][] in a discriminator.

    Attributes:
        channels: the number of maxout channels.
        pieces: the number of linear pieces of each channel.
        kernel_size: the height and width of the kernels.
        padding: the rows and columns of zeros put around the input.
        pool_size: the height and width of a pooled window.
        pool_stride: the step from one window to the next.

    Example:
        >>> import advnets
        >>> from advnets.convolutions import ConvolutionSpec
        >>> ConvolutionSpec(32, 2, kernel_size=8, padding=4, pool_size=4, pool_stride=2).padding
        4

    References:
        Released code, `cifar10_convolutional.yaml`, `discriminator`.
    """

    channels: int
    pieces: int
    kernel_size: int
    padding: int
    pool_size: int
    pool_stride: int


class MaxoutConv2d(eqx.Module):
    """A convolution of maxout channels, then spatial max pooling.

    Each channel is the largest of its linear pieces. The pooling takes the largest value in windows
    of `pool_size`, with enough windows to reach the last row and column: an output size that is not
    a whole number is rounded up, and the bottom and right are padded with -inf.

    Args:
        key: a typed random key.
        in_shape: the shape of an input, (height, width, channels).
        channels: the number of maxout channels.
        pieces: the number of linear pieces of each channel.
        kernel_size: the height and width of the kernels.
        padding: the rows and columns of zeros put around the input.
        pool_size: the height and width of a pooled window.
        pool_stride: the step from one window to the next.
        weight_range: weights start uniform in ± this; biases start at 0.
        tied_bias: one bias for each piece of a channel, rather than one for each of its positions.

    Attributes:
        kernel: the weights; the last axis has one piece of every channel after another.
        bias: the biases, in the same order.
        out_shape: the shape of an output, (height, width, channels).

    Raises:
        ValueError: if the input's shape is not that of an image with channels, a size is below 1
            or the padding below 0, the kernel is larger than the padded input or a window than
            what it pools, or the pooling's stride leaves gaps between windows.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> layer = advnets.convolutions.MaxoutConv2d(
        ...     jax.random.key(0), (32, 32, 3), channels=32, pieces=2, kernel_size=8, padding=4,
        ...     pool_size=4, pool_stride=2, weight_range=0.005,
        ... )
        >>> layer(jnp.ones((32, 32, 3))).shape
        (16, 16, 32)

    References:
        `MaxoutConvC01B` in the released `cifar10_convolutional.yaml`; Goodfellow et al. 2013,
        "Maxout networks".
    """

    kernel: Float[Array, " size size inputs filters"]
    bias: Float[Array, "*positions filters"]
    out_shape: tuple[int, ...] = eqx.field(static=True)
    pieces: int = eqx.field(static=True)
    padding: int = eqx.field(static=True)
    pool_size: int = eqx.field(static=True)
    pool_stride: int = eqx.field(static=True)

    def __init__(
        self,
        key: Key[Array, ""],
        in_shape: tuple[int, ...],
        *,
        channels: int,
        pieces: int,
        kernel_size: int,
        padding: int,
        pool_size: int,
        pool_stride: int,
        weight_range: float,
        tied_bias: bool = True,
    ) -> None:
        _check_sizes(
            in_shape,
            channels=channels,
            pieces=pieces,
            kernel_size=kernel_size,
            pool_size=pool_size,
            pool_stride=pool_stride,
        )
        height, width, inputs = in_shape
        _check_fit(in_shape, kernel_size, padding)
        rows, columns = (size + 2 * padding - kernel_size + 1 for size in (height, width))
        if pool_size > min(rows, columns):
            raise ValueError(
                f"a pooled window of size {pool_size} does not fit the convolution's {rows} by "
                f"{columns} positions; lower pool_size"
            )
        if pool_stride > pool_size:
            raise ValueError(
                f"the pooling's stride must be at most the window's size, {pool_size}, or "
                f"positions are skipped; got {pool_stride}"
            )
        filters = pieces * channels
        self.kernel = uniform_range(key, (kernel_size, kernel_size, inputs, filters), weight_range)
        positions = () if tied_bias else (rows, columns)
        self.bias = jnp.zeros((*positions, filters), self.kernel.dtype)
        self.out_shape = (
            *(1 + -(-(size - pool_size) // pool_stride) for size in (rows, columns)),
            channels,
        )
        self.pieces = pieces
        self.padding = padding
        self.pool_size = pool_size
        self.pool_stride = pool_stride

    def __call__(
        self, x: Float[Array, "height width inputs"], *, key: Key[Array, ""] | None = None
    ) -> Float[Array, "rows columns channels"]:
        filtered = _convolve(x, self.kernel, self.padding)
        filtered += jnp.broadcast_to(self.bias, filtered.shape)
        *positions, filters = filtered.shape
        units = filtered.reshape(*positions, self.pieces, filters // self.pieces).max(axis=2)
        return self._pool(units)

    def _pool(
        self, units: Float[Array, "height width channels"]
    ) -> Float[Array, "rows columns channels"]:
        # Rows, then columns, each as the largest of shifted slices: on a CPU, the gradient of XLA's
        # own windows takes several times as long. (Entries that are equal share the gradient.)
        for axis in (0, 1):
            missing = (self.pool_size - units.shape[axis]) % self.pool_stride
            reach = units.shape[axis] + missing - self.pool_size + 1
            around = [(0, missing if a == axis else 0) for a in range(3)]
            padded = jnp.pad(units, around, constant_values=-jnp.inf)
            units = functools.reduce(
                jnp.maximum,
                (
                    lax.slice_in_dim(padded, first, first + reach, self.pool_stride, axis)
                    for first in range(self.pool_size)
                ),
            )
        return units


class Convolution(eqx.Module):
    """A strided convolution whose derivatives of every order are matrix products.

    Args:
        key: a typed random key.
        in_shape: the shape of an input, (height, width, channels).
        channels: the number of channels of the output.
        kernel_size: the height and width of the kernels.
        stride: the step from one position of the kernels to the next.
        padding: the rows and columns of zeros put around the input.
        weight_range: weights start uniform in ± this; biases start at 0.

    Attributes:
        kernel: the weights.
        bias: one for each channel.
        out_shape: the shape of an output, (height, width, channels).

    Raises:
        ValueError: if the input's shape is not that of an image with channels, a size is below 1
            or the padding below 0, or the kernel is larger than the padded input.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> layer = advnets.convolutions.Convolution(
        ...     jax.random.key(0), (32, 32, 3), channels=8, kernel_size=4, stride=2, padding=1,
        ...     weight_range=0.3,
        ... )
        >>> layer(jnp.ones((32, 32, 3))).shape
        (16, 16, 8)

    References:
        Radford et al. 2016, "Unsupervised representation learning with deep convolutional
        generative adversarial networks" (strided convolutions in place of pooling).
    """

    kernel: Float[Array, " size size inputs channels"]
    bias: Float[Array, " channels"]
    out_shape: tuple[int, ...] = eqx.field(static=True)
    stride: int = eqx.field(static=True)
    padding: int = eqx.field(static=True)

    def __init__(
        self,
        key: Key[Array, ""],
        in_shape: tuple[int, ...],
        *,
        channels: int,
        kernel_size: int,
        stride: int,
        padding: int,
        weight_range: float,
    ) -> None:
        _check_sizes(in_shape, channels=channels, kernel_size=kernel_size, stride=stride)
        height, width, inputs = in_shape
        _check_fit(in_shape, kernel_size, padding)
        self.kernel = uniform_range(key, (kernel_size, kernel_size, inputs, channels), weight_range)
        self.bias = jnp.zeros(channels, self.kernel.dtype)
        self.out_shape = (
            *(1 + (size + 2 * padding - kernel_size) // stride for size in (height, width)),
            channels,
        )
        self.stride = stride
        self.padding = padding

    def __call__(
        self, x: Float[Array, "height width inputs"], *, key: Key[Array, ""] | None = None
    ) -> Float[Array, "rows columns channels"]:
        products = _of_patches(x, self.kernel, self.out_shape[:2], self.stride, self.padding)
        return products + jnp.broadcast_to(self.bias, products.shape)


class Doubled(eqx.Module):
    """A 3×3 convolution that turns each pixel into four, which doubles an image's height and width.

    The four start with the same kernel, and so equal: with separate initial kernels, samples start
    as a chequerboard.

    Args:
        key: a typed random key.
        in_shape: the shape of an input, (height, width, channels).
        channels: the number of channels of the output.
        weight_range: weights start uniform in ± this.
        tied_bias: one bias for each channel, rather than one for each output position too.
        output_bias: the initial bias: a number, or an array with one for each.

    Attributes:
        kernel: the weights; the last axis runs over the four pixels, row by row, and for each over
            its channels.
        bias: the biases.
        out_shape: the shape of an output, (height, width, channels).

    Raises:
        ValueError: if the input's shape is not that of an image with channels, or `channels` is
            below 1.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> layer = advnets.convolutions.Doubled(
        ...     jax.random.key(0), (4, 4, 8), channels=3, weight_range=0.1
        ... )
        >>> layer(jnp.ones((4, 4, 8))).shape
        (8, 8, 3)

    References:
        Shi et al. 2016, "Real-time single image and video super-resolution using an efficient
        sub-pixel convolutional neural network"; Aitken et al. 2017, "Checkerboard artifact free
        sub-pixel convolution".
    """

    kernel: Float[Array, "3 3 inputs four_times_channels"]
    bias: Float[Array, "*positions channels"]
    out_shape: tuple[int, ...] = eqx.field(static=True)

    def __init__(
        self,
        key: Key[Array, ""],
        in_shape: tuple[int, ...],
        *,
        channels: int,
        weight_range: float,
        tied_bias: bool = True,
        output_bias: float | Float[Array, "*shape"] = 0.0,
    ) -> None:
        _check_sizes(in_shape, channels=channels)
        height, width, inputs = in_shape
        self.kernel = jnp.tile(uniform_range(key, (3, 3, inputs, channels), weight_range), 4)
        self.out_shape = (2 * height, 2 * width, channels)
        shape = self.out_shape[2:] if tied_bias else self.out_shape
        self.bias = jnp.broadcast_to(jnp.asarray(output_bias, self.kernel.dtype), shape)

    def __call__(
        self, x: Float[Array, "height width inputs"], *, key: Key[Array, ""] | None = None
    ) -> Float[Array, "rows columns channels"]:
        height, width, _ = x.shape
        products = _of_patches(x, self.kernel, (height, width), stride=1, padding=1)
        blocks = products.reshape(height, width, 2, 2, -1).swapaxes(1, 2)
        doubled = blocks.reshape(2 * height, 2 * width, -1)
        return doubled + jnp.broadcast_to(self.bias, doubled.shape)


class Deconvolution(eqx.Module):
    """A transposed convolution: each input position paints its patch of the output.

    Patches lie `stride` apart and add up where they overlap, so n positions in a row give an
    output of `(n - 1) * stride + kernel_size`. It is the adjoint of the convolution with the same
    kernel, stride and no padding.

    Args:
        key: a typed random key.
        in_shape: the shape of an input, (height, width, channels).
        channels: the number of channels of the output.
        kernel_size: the height and width of a patch.
        stride: the step from one patch to the next.
        weight_range: weights start uniform in ± this.
        tied_bias: one bias for each channel, rather than one for each output position too.
        output_bias: the initial bias: a number, or an array with one for each.

    Attributes:
        kernel: the kernel of the convolution that this transposes. Its last axis runs over the
            channels of this layer's *input*: `kernel[..., i]` is the patch that channel i paints.
        bias: the biases.
        out_shape: the shape of an output, (height, width, channels).

    Raises:
        ValueError: if the input's shape is not that of an image with channels, or a size is
            below 1.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> layer = advnets.convolutions.Deconvolution(
        ...     jax.random.key(0), (10, 10, 80), channels=3, kernel_size=5, stride=3,
        ...     weight_range=0.05,
        ... )
        >>> layer(jnp.ones((10, 10, 80))).shape
        (32, 32, 3)

    References:
        Released code, `deconv.py` and the generator of `cifar10_convolutional.yaml`.
    """

    kernel: Float[Array, " size size channels inputs"]
    bias: Float[Array, "*positions channels"]
    out_shape: tuple[int, ...] = eqx.field(static=True)
    stride: int = eqx.field(static=True)

    def __init__(
        self,
        key: Key[Array, ""],
        in_shape: tuple[int, ...],
        *,
        channels: int,
        kernel_size: int,
        stride: int,
        weight_range: float,
        tied_bias: bool = False,
        output_bias: float | Float[Array, "*shape"] = 0.0,
    ) -> None:
        _check_sizes(in_shape, channels=channels, kernel_size=kernel_size, stride=stride)
        height, width, inputs = in_shape
        self.kernel = uniform_range(key, (kernel_size, kernel_size, channels, inputs), weight_range)
        self.out_shape = (
            *((size - 1) * stride + kernel_size for size in (height, width)),
            channels,
        )
        shape = self.out_shape[2:] if tied_bias else self.out_shape
        self.bias = jnp.broadcast_to(jnp.asarray(output_bias, self.kernel.dtype), shape)
        self.stride = stride

    def __call__(
        self, x: Float[Array, "height width inputs"], *, key: Key[Array, ""] | None = None
    ) -> Float[Array, "rows columns channels"]:
        # The patch of each position, then the sum where patches overlap, rows first. On a CPU in a
        # loop, the gradients of XLA's own transposed convolution take up to 100 times as long.
        patches = jnp.einsum("pqi,abci->abpqc", x, self.kernel)
        strips = [_overlapped(list(patches[:, b]), self.stride, 0) for b in range(len(self.kernel))]
        painted = _overlapped(strips, self.stride, 1)
        return painted + jnp.broadcast_to(self.bias, painted.shape)


def _of_patches(
    x: Float[Array, "height width inputs"],
    kernel: Float[Array, " size size inputs filters"],
    positions: tuple[int, ...],
    stride: int,
    padding: int,
) -> Float[Array, "rows columns filters"]:
    """A convolution as the product of all patches and the kernels.

    On a CPU, XLA's own convolutions with a stride are slow in a loop, and their gradients'
    gradients, which R1 needs, far slower.
    """
    size, inputs = len(kernel), x.shape[2]
    padded = jnp.pad(x, ((padding, padding), (padding, padding), (0, 0)))
    reach = tuple(1 + (n - 1) * stride for n in positions)
    patches = [
        lax.slice(padded, (a, b, 0), (a + reach[0], b + reach[1], inputs), (stride, stride, 1))
        for a in range(size)
        for b in range(size)
    ]
    return jnp.concatenate(patches, axis=-1) @ kernel.reshape(-1, kernel.shape[3])


def _overlapped(parts: list[Float[Array, "..."]], stride: int, axis: int) -> Float[Array, "..."]:
    """The sum of parts whose entries lie `stride` apart along an axis, where part n starts at n."""

    def spread(n: int) -> Float[Array, "..."]:
        around = [(0, 0, 0)] * parts[n].ndim
        around[axis] = (n, len(parts) - 1 - n, stride - 1)
        return lax.pad(parts[n], jnp.zeros((), parts[n].dtype), around)

    return functools.reduce(jnp.add, map(spread, range(len(parts))))


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _convolve(
    x: Float[Array, "height width inputs"],
    kernel: Float[Array, "size size inputs filters"],
    padding: int,
) -> Float[Array, "rows columns filters"]:
    """A convolution whose gradients are fast on a CPU, even in a loop."""
    return _filtered(x[None], kernel, padding, LAYOUT)[0]


def _filtered(
    x: Float[Array, "..."],
    kernel: Float[Array, "..."],
    padding: int,
    layout: tuple[str, str, str],
    grown: int = 0,
) -> Float[Array, "..."]:
    """A convolution of an input that is already padded by `grown` zeros along each spatial axis."""
    before, after = grown // 2, grown - grown // 2
    around = [(padding - before, padding - after)] * 2
    return lax.conv_general_dilated(x, kernel, (1, 1), around, dimension_numbers=layout)


@functools.partial(_convolve.defjvp, symbolic_zeros=True)
def _tangent(
    padding: int, primals: tuple[Array, Array], tangents: tuple[Any, Any]
) -> tuple[Array, Array]:
    # The same convolution, once for each argument, with its axes in another order, so that the
    # transposes of these, which are the gradients, are in LAYOUT. On a CPU, XLA is fast in no other
    # layout and, in a loop, does not change a convolution's: the gradients that JAX derives take up
    # to 100 times as long.
    x, kernel = primals
    x_tangent, kernel_tangent = tangents
    out = _convolve(x, kernel, padding)
    tangent = jnp.zeros_like(out)
    if not isinstance(x_tangent, SymbolicZero):
        layout = ("NHWC", "HWOI", "NHWC")
        tangent += _filtered(x_tangent[None], kernel.swapaxes(2, 3), padding, layout)[0]
    if not isinstance(kernel_tangent, SymbolicZero):
        # Where the output is larger than the input, the input is padded to that size first, which
        # is faster by another factor of some thirty.
        grown = max(0, 2 * padding - len(kernel) + 1)
        around = (grown // 2, grown - grown // 2)
        channels_first = jnp.pad(x, (around, around, (0, 0))).transpose(2, 0, 1)[..., None]
        turned = kernel_tangent.transpose(2, 0, 1, 3)
        layout = ("CHWN", "IHWO", "HWNC")
        tangent += _filtered(channels_first, turned, padding, layout, grown)[:, :, 0]
    return out, tangent


def _check_sizes(in_shape: tuple[int, ...], **sizes: int) -> None:
    if len(in_shape) != 3:
        raise ValueError(
            f"a convolution needs inputs of shape (height, width, channels); got {in_shape} (give "
            "grey images a last axis of one channel)"
        )
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1; got {value}")


def _check_fit(in_shape: tuple[int, ...], kernel_size: int, padding: int) -> None:
    if padding < 0:
        raise ValueError(f"the padding must be at least 0; got {padding}")
    if min(in_shape[:2]) + 2 * padding < kernel_size:
        raise ValueError(
            f"a kernel of size {kernel_size} does not fit an input of shape {in_shape} with a "
            f"padding of {padding}; pad more, or lower kernel_size"
        )
