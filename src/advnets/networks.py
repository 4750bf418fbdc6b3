"""The paper's fully connected players, as sequences of Equinox layers.

They are `eqx.nn.Sequential`s like any other: index them, take them apart, put layers between, or
write another Equinox module in their place.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from advnets.layers import Dropout, Maxout, linear


def mlp_generator(
    key: Key[Array, ""],
    latent_size: int,
    shape: tuple[int, ...],
    *,
    hidden_sizes: Sequence[int] = (1200, 1200),
    weight_range: float = 0.05,
    output_bias: float | Float[Array, "*shape"] = 0.0,
) -> eqx.nn.Sequential:
    """The MNIST recipe's generator: rectified linear layers and a sigmoid output.

    Args:
        key: a typed random key.
        latent_size: the number of components of z.
        shape: the shape of one example, such as `(28, 28)`.
        hidden_sizes: the number of units of each rectified linear layer.
        weight_range: weights start uniform in ± this.
        output_bias: the initial bias of the output, such as
            [`advnets.marginal_bias`][] of the training images.

    Returns:
        A module that maps a latent vector `(latent_size,)` to an example in [0, 1] of the given
        shape.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> generator = advnets.mlp_generator(jax.random.key(0), 100, (28, 28))
        >>> generator(jnp.zeros(100)).shape
        (28, 28)

    References:
        Released code, `mnist.yaml`, `generator`.
    """
    sizes = [latent_size, *hidden_sizes]
    *hidden_keys, output_key = jax.random.split(key, len(sizes))
    layers: list[Callable[..., Any]] = []
    for layer_key, in_size, out_size in zip(hidden_keys, sizes[:-1], sizes[1:], strict=True):
        layers += [linear(layer_key, in_size, out_size, weight_range), eqx.nn.Lambda(jax.nn.relu)]
    bias = jnp.broadcast_to(jnp.asarray(output_bias, dtype=float), shape).ravel()
    layers += [
        linear(output_key, sizes[-1], math.prod(shape), weight_range, bias),
        eqx.nn.Lambda(jax.nn.sigmoid),
        Reshape(shape),
    ]
    return eqx.nn.Sequential(layers)


def maxout_discriminator(
    key: Key[Array, ""],
    shape: tuple[int, ...],
    *,
    units: Sequence[int] = (240, 240),
    pieces: int = 5,
    weight_range: float = 0.005,
    input_keep: float = 0.8,
    hidden_keep: float = 0.5,
) -> eqx.nn.Sequential:
    """The fully connected recipes' discriminator: maxout layers with dropout, and one logit.

    Args:
        key: a typed random key.
        shape: the shape of one example.
        units: the number of units of each maxout layer.
        pieces: the number of linear pieces of each unit.
        weight_range: weights start uniform in ± this; biases start at 0.
        input_keep: the probability that a pixel is kept in training, in (0, 1].
        hidden_keep: the same for the inputs of every later layer.

    Returns:
        A module that maps an example to its logit, the log-odds that it came from the data.

    Raises:
        ValueError: for a keep rate outside (0, 1].

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> discriminator = advnets.maxout_discriminator(jax.random.key(0), (28, 28))
        >>> discriminator(jnp.zeros((28, 28))).shape
        ()

    References:
        Released code, `mnist.yaml`, `discriminator` and the dropout rates of its cost.
    """
    sizes = [math.prod(shape), *units]
    keeps = [input_keep, *[hidden_keep] * len(units)]
    *hidden_keys, output_key = jax.random.split(key, len(sizes))
    layers: list[Callable[..., Any]] = [Reshape((sizes[0],))]
    for layer_key, keep, in_size, out_size in zip(
        hidden_keys, keeps[:-1], sizes[:-1], sizes[1:], strict=True
    ):
        layers += [
            Dropout(keep),
            Maxout(layer_key, in_size, units=out_size, pieces=pieces, weight_range=weight_range),
        ]
    layers += [
        Dropout(keeps[-1]),
        linear(output_key, sizes[-1], 1, weight_range),
        Reshape(()),
    ]
    return eqx.nn.Sequential(layers)


class Reshape(eqx.Module):
    """Gives one example another shape.

    Attributes:
        shape: the new shape, of as many elements as the old one.

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
        return x.reshape(self.shape)
