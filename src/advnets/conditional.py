"""Players of the conditional game, whose input c is a label or any vector of numbers.

Each is built from the players in [`advnets.networks`][], wrapped in [`advnets.layers.Labelled`][]
or [`advnets.layers.Conditioned`][], and called as `generator(z, c)` or `discriminator(x, c)`.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import equinox as eqx
import jax
from jaxtyping import Array, Float, Key

from advnets.layers import (
    Branches,
    Conditioned,
    Dropout,
    Labelled,
    Maxout,
    Projection,
    linear,
)
from advnets.networks import Output, Reshape, maxout_discriminator, mlp_generator

ConditionalPlayer: TypeAlias = Labelled | Conditioned


def conditional_mlp_generator(
    key: Key[Array, ""],
    latent_size: int,
    shape: tuple[int, ...],
    *,
    classes: int | None = None,
    condition_size: int | None = None,
    **settings: Any,
) -> ConditionalPlayer:
    """A fully connected generator whose condition joins z at its input.

    Args:
        key: a typed random key.
        latent_size: the number of components of z.
        shape: the shape of one example, such as `(28, 28)`.
        classes: the number of classes, if the condition is a label.
        condition_size: the size of the condition, if it is a vector; give one of the two.
        settings: the settings of [`advnets.networks.mlp_generator`][].

    Returns:
        A module that maps a latent vector `(latent_size,)` and a condition to an example.

    Raises:
        ValueError: for both classes and a condition's size, or neither; for a size out of range.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> generator = advnets.conditional.conditional_mlp_generator(
        ...     jax.random.key(0), 100, (28, 28), classes=10
        ... )
        >>> generator(jnp.zeros(100), jnp.array(7)).shape
        (28, 28)

    References:
        Section 7, "a conditional generative model p(x | c)".
    """
    size = _size(classes, condition_size)
    return _given(mlp_generator(key, latent_size + size, shape, **settings), classes, size)


def conditional_maxout_discriminator(
    key: Key[Array, ""],
    shape: tuple[int, ...],
    *,
    classes: int | None = None,
    condition_size: int | None = None,
    input_keep: float = 0.8,
    **settings: Any,
) -> ConditionalPlayer:
    """A maxout discriminator whose condition joins the pixels at its input.

    Args:
        key: a typed random key.
        shape: the shape of one example.
        classes: the number of classes, if the condition is a label.
        condition_size: the size of the condition, if it is a vector; give one of the two.
        input_keep: the probability that a pixel is kept in training, in (0, 1]; the condition
            is always kept.
        settings: the other settings of [`advnets.networks.maxout_discriminator`][], except
            convolutions.

    Returns:
        A module that maps an example and its condition to a logit.

    Raises:
        ValueError: for both classes and a condition's size, or neither; for a size or a keep rate
            out of range.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> discriminator = advnets.conditional.conditional_maxout_discriminator(
        ...     jax.random.key(0), (28, 28), condition_size=2
        ... )
        >>> discriminator(jnp.zeros((28, 28)), jnp.array([0.5, -1.0])).shape
        ()

    References:
        Section 7, "adding c as input to both G and D".
    """
    size, pixels = _size(classes, condition_size), math.prod(shape)
    inner = maxout_discriminator(key, (pixels + size,), input_keep=1.0, **settings)
    kept = Branches(Dropout(input_keep), eqx.nn.Identity(), pixels)
    return _given(eqx.nn.Sequential([kept, *inner.layers]), classes, size)


def mirza_osindero_generator(
    key: Key[Array, ""],
    latent_size: int,
    shape: tuple[int, ...],
    *,
    classes: int | None = None,
    condition_size: int | None = None,
    latent_units: int = 200,
    condition_units: int = 1000,
    hidden_sizes: Sequence[int] = (1200,),
    keep: float = 0.5,
    weight_range: float = 0.05,
    output: Output = "sigmoid",
    output_range: float | None = None,
    output_bias: float | Float[Array, "*shape"] = 0.0,
) -> ConditionalPlayer:
    """Mirza and Osindero's generator: hidden layers of z and of c, then a joint one of both.

    Their sizes are the defaults: z → 200, c → 1,000, both → 1,200, all rectified linear, then
    sigmoid pixels. Their paper gives no initial ranges; those here are the MNIST recipe's.

    Args:
        key: a typed random key.
        latent_size: the number of components of z; 100 in their paper.
        shape: the shape of one example; (28, 28) in their paper.
        classes: the number of classes, if the condition is a label.
        condition_size: the size of the condition, if it is a vector; give one of the two.
        latent_units: the number of hidden units that z is mapped to.
        condition_units: the number of hidden units that c is mapped to.
        hidden_sizes: the number of units of each joint layer.
        keep: the probability with which dropout keeps a hidden unit, in (0, 1]; z and c are always
            kept. For samples, use [`advnets.players.without_dropout`][].
        weight_range: weights start uniform in ± this.
        output: `"sigmoid"`, for examples in [0, 1], or `"linear"`.
        output_range: the weights of the output start uniform in ± this; `weight_range` unless
            given.
        output_bias: the initial bias of the output, such as
            [`advnets.layers.marginal_bias`][] of the training images.

    Returns:
        A module that maps a latent vector `(latent_size,)` and a condition to an example.

    Raises:
        ValueError: for both classes and a condition's size, or neither; for a size or a keep rate
            out of range.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> generator = advnets.conditional.mirza_osindero_generator(
        ...     jax.random.key(0), 100, (28, 28), classes=10
        ... )
        >>> generator(jnp.zeros(100), jnp.array(7)).shape
        (28, 28)

    References:
        Mirza and Osindero 2014, "Conditional generative adversarial nets", section 4.1.
    """
    size = _size(classes, condition_size)
    z_key, c_key, joint_key = jax.random.split(key, 3)

    def rectified(key: Key[Array, ""], inputs: int, units: int) -> eqx.nn.Sequential:
        return eqx.nn.Sequential(
            [linear(key, inputs, units, weight_range), eqx.nn.Lambda(jax.nn.relu)]
        )

    branches = Branches(
        rectified(z_key, latent_size, latent_units),
        rectified(c_key, size, condition_units),
        latent_size,
    )
    joint = mlp_generator(
        joint_key,
        latent_units + condition_units,
        shape,
        hidden_sizes=hidden_sizes,
        weight_range=weight_range,
        output=output,
        output_range=output_range,
        output_bias=output_bias,
    )
    parts: list[Callable[..., Any]] = [branches]
    for layer in joint.layers:
        parts += [Dropout(keep), layer] if isinstance(layer, eqx.nn.Linear) else [layer]
    return _given(eqx.nn.Sequential(parts), classes, size)


def mirza_osindero_discriminator(
    key: Key[Array, ""],
    shape: tuple[int, ...],
    *,
    classes: int | None = None,
    condition_size: int | None = None,
    units: int = 240,
    condition_units: int = 50,
    joint_units: Sequence[int] = (240,),
    pieces: int = 5,
    joint_pieces: int = 4,
    weight_range: float = 0.005,
    input_keep: float = 0.8,
    hidden_keep: float = 0.5,
) -> ConditionalPlayer:
    """Mirza and Osindero's discriminator: maxout layers of x and of c, then a joint one of both.

    Their sizes are the defaults: x → 240 units of 5 pieces, c → 50 of 5, both → 240 of 4, then the
    logit. Their paper gives no initial ranges; those here are the MNIST recipe's, as is the keep
    rate of pixels.

    Args:
        key: a typed random key.
        shape: the shape of one example; (28, 28) in their paper.
        classes: the number of classes, if the condition is a label.
        condition_size: the size of the condition, if it is a vector; give one of the two.
        units: the number of maxout units that x is mapped to.
        condition_units: the number of maxout units that c is mapped to.
        joint_units: the number of units of each joint layer.
        pieces: the number of linear pieces of each unit in the layers of x and c.
        joint_pieces: the number of linear pieces of each joint unit.
        weight_range: weights start uniform in ± this; biases start at 0.
        input_keep: the probability that a pixel is kept in training, in (0, 1]; c always is.
        hidden_keep: the same for the inputs of every later layer.

    Returns:
        A module that maps an example and its condition to a logit.

    Raises:
        ValueError: for both classes and a condition's size, or neither; for a size or a keep rate
            out of range.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> discriminator = advnets.conditional.mirza_osindero_discriminator(
        ...     jax.random.key(0), (28, 28), classes=10
        ... )
        >>> discriminator(jnp.zeros((28, 28)), jnp.array(7)).shape
        ()

    References:
        Mirza and Osindero 2014, "Conditional generative adversarial nets", section 4.1.
    """
    size, pixels = _size(classes, condition_size), math.prod(shape)
    x_key, c_key, joint_key = jax.random.split(key, 3)
    of_x = Maxout(x_key, pixels, units=units, pieces=pieces, weight_range=weight_range)
    of_c = Maxout(c_key, size, units=condition_units, pieces=pieces, weight_range=weight_range)
    branches = Branches(eqx.nn.Sequential([Dropout(input_keep), of_x]), of_c, pixels)
    joint = maxout_discriminator(
        joint_key,
        (units + condition_units,),
        units=joint_units,
        pieces=joint_pieces,
        weight_range=weight_range,
        input_keep=hidden_keep,
        hidden_keep=hidden_keep,
    )
    return _given(eqx.nn.Sequential([branches, *joint.layers]), classes, size)


def projection_discriminator(
    key: Key[Array, ""],
    shape: tuple[int, ...],
    *,
    classes: int | None = None,
    condition_size: int | None = None,
    units: Sequence[int] = (240, 240),
    weight_range: float = 0.005,
    **settings: Any,
) -> ConditionalPlayer:
    """A maxout discriminator of x whose logit weights the features by the condition.

    Args:
        key: a typed random key.
        shape: the shape of one example.
        classes: the number of classes, if the condition is a label.
        condition_size: the size of the condition, if it is a vector; give one of the two.
        units: the number of units of each maxout layer; the last one's are the features.
        weight_range: weights start uniform in ± this.
        settings: the other settings of [`advnets.networks.maxout_discriminator`][].

    Returns:
        A module that maps an example and its condition to a logit, see
        [`advnets.layers.Projection`][].

    Raises:
        ValueError: for both classes and a condition's size, or neither; if there is no unit; for a
            size or a keep rate out of range.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> discriminator = advnets.conditional.projection_discriminator(
        ...     jax.random.key(0), (28, 28), classes=10
        ... )
        >>> discriminator(jnp.zeros((28, 28)), jnp.array(7)).shape
        ()

    References:
        Miyato and Koyama 2018, "cGANs with projection discriminator".
    """
    if not units:
        raise ValueError("a projection needs features; give at least one layer of units")
    size = _size(classes, condition_size)
    body_key, logit_key = jax.random.split(key)
    body = maxout_discriminator(body_key, shape, units=units, weight_range=weight_range, **settings)
    features = eqx.nn.Sequential([Reshape(shape), *body.layers[:-2]])  # without its own logit
    logit = Projection(logit_key, units[-1], size, weight_range=weight_range)
    branches = Branches(features, eqx.nn.Identity(), math.prod(shape))
    return _given(eqx.nn.Sequential([branches, logit]), classes, size)


def _size(classes: int | None, condition_size: int | None) -> int:
    """The size of a condition as a vector."""
    given = [number for number in (classes, condition_size) if number is not None]
    if len(given) != 1 or given[0] < 1:
        raise ValueError(
            "a condition is a label or a vector: give classes=, the number of classes, or "
            f"condition_size=, the vector's size, at least 1; got classes={classes} and "
            f"condition_size={condition_size}"
        )
    return given[0]


def _given(player: eqx.nn.Sequential, classes: int | None, size: int) -> ConditionalPlayer:
    """The player of z or x and a condition."""
    return Conditioned(player, size) if classes is None else Labelled(player, classes)
