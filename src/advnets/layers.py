"""Layers of the paper's players, beyond Equinox's own.

A layer is an Equinox module that maps one example. With a `key` its noise is on, as in training;
without one it is deterministic.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer, Key, Real

from advnets._precision import in_single
from advnets._signatures import accepts_key

# The name of the axis along which a player is mapped over a minibatch (`jax.vmap`'s axis_name).
MINIBATCH = "minibatch"


def uniform_range(
    key: Key[Array, ""], shape: tuple[int, ...], weight_range: float
) -> Float[Array, "..."]:
    """Weights drawn independently and uniformly from ±`weight_range`.

    Args:
        key: a typed random key.
        shape: the shape of the weights.
        weight_range: half the width of the interval; at least 0.

    Returns:
        An array of that shape.

    Raises:
        ValueError: if the range is negative or not finite in float32, or a size is not positive.

    Example:
        >>> import jax
        >>> import advnets
        >>> weights = advnets.layers.uniform_range(jax.random.key(0), (1200, 100), 0.05)
        >>> bool(abs(weights).max() <= 0.05)
        True

    References:
        `irange` in the released recipes.
    """
    bound = float(weight_range)
    if not 0 <= 2 * bound <= float(jnp.finfo(jnp.float32).max):
        raise ValueError(
            f"the weights' range must be at least 0 and finite in float32; got {weight_range}"
        )
    _check_sizes(shape)
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound)


def _check_sizes(shape: tuple[int, ...]) -> None:
    if not all(1 <= size < 2**31 for size in shape):
        raise ValueError(f"a layer's sizes must be at least 1 and below 2**31; got {shape}")


def linear(
    key: Key[Array, ""],
    in_size: int,
    out_size: int,
    weight_range: float,
    bias: float | Float[Array, " out_size"] = 0.0,
) -> eqx.nn.Linear:
    """An Equinox linear layer with weights uniform in ±`weight_range`.

    Args:
        key: a typed random key.
        in_size: the number of inputs.
        out_size: the number of outputs.
        weight_range: half the width of the interval of the weights.
        bias: the initial bias: a number for all outputs, or an array with one for each.

    Returns:
        An `eqx.nn.Linear`, weights of shape `(out_size, in_size)`.

    Raises:
        ValueError: if the range is negative or not finite in float32, or a size is not positive.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> layer = advnets.layers.linear(jax.random.key(0), 100, 1200, 0.05)
        >>> layer(jnp.zeros(100)).shape
        (1200,)

    References:
        `irange` and `init_bias` in the released recipes.
    """
    return _linear(uniform_range(key, (out_size, in_size), weight_range), bias)


def sparse_normal(
    key: Key[Array, ""], shape: tuple[int, int], nonzero: int = 100
) -> Float[Array, "outputs inputs"]:
    """Weights from N(0, 1) for a few inputs of each output, and 0 for the others.

    Each output draws its inputs independently, without replacement.

    Args:
        key: a typed random key.
        shape: the numbers of outputs and inputs.
        nonzero: the number of inputs that each output draws, from 1 to all of them.

    Returns:
        An array of that shape.

    Raises:
        ValueError: if `nonzero` is below 1 or above the number of inputs, or a size is not
            positive.

    Example:
        >>> import jax
        >>> import advnets
        >>> weights = advnets.layers.sparse_normal(jax.random.key(0), (230, 800))
        >>> set((weights != 0).sum(axis=1).tolist())
        {100}

    References:
        `sparse_init` in the released TFD recipe.
    """
    _check_sizes(shape)
    inputs = shape[1]
    if not 1 <= nonzero <= inputs:
        raise ValueError(
            f"the number of nonzero weights of an output must be from 1 to its {inputs} inputs; "
            f"got {nonzero}"
        )
    place_key, value_key = jax.random.split(key)
    # The indices of the largest of some random numbers, without sorting the others.
    _, places = jax.lax.top_k(jax.random.uniform(place_key, shape), nonzero)
    values = jax.random.normal(value_key, places.shape)
    return jnp.put_along_axis(jnp.zeros(shape), places, values, axis=1, inplace=False)


def sparse_linear(
    key: Key[Array, ""],
    in_size: int,
    out_size: int,
    nonzero: int = 100,
    bias: float | Float[Array, " out_size"] = 0.0,
) -> eqx.nn.Linear:
    """An Equinox linear layer with [`advnets.layers.sparse_normal`][] weights.

    Args:
        key: a typed random key.
        in_size: the number of inputs.
        out_size: the number of outputs.
        nonzero: the number of inputs with nonzero initial weights for each output.
        bias: the initial bias: a number for all outputs, or an array with one for each.

    Returns:
        An `eqx.nn.Linear`, weights of shape `(out_size, in_size)`; all of them are trained.

    Raises:
        ValueError: if `nonzero` is below 1 or above the number of inputs, or a size is not
            positive.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> layer = advnets.layers.sparse_linear(jax.random.key(0), 800, 230)
        >>> layer(jnp.zeros(800)).shape
        (230,)

    References:
        `sparse_init` and `init_bias` in the released TFD recipe.
    """
    return _linear(sparse_normal(key, (out_size, in_size), nonzero), bias)


def _linear(
    weight: Float[Array, "outputs inputs"], bias: float | Float[Array, " outputs"]
) -> eqx.nn.Linear:
    outputs, inputs = weight.shape
    # Equinox's layer without its initialisation (or the time that takes).
    layer = eqx.filter_eval_shape(eqx.nn.Linear, inputs, outputs, key=jax.random.key(0))
    new_bias = jnp.broadcast_to(jnp.asarray(bias, weight.dtype), (outputs,))
    return eqx.tree_at(lambda layer: (layer.weight, layer.bias), layer, (weight, new_bias))


class Maxout(eqx.Module):
    """A maxout layer: each unit is the largest of several linear pieces.

    `h_u(x) = max_p (w_pu · x + b_pu)`

    Attributes:
        weight: the weights of every piece of every unit.
        bias: their biases, initially 0.

    Raises:
        ValueError: for sizes or a `weight_range` that are out of range.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> key = jax.random.key(0)
        >>> layer = advnets.layers.Maxout(key, 784, units=240, pieces=5, weight_range=0.005)
        >>> layer(jnp.ones(784)).shape
        (240,)

    References:
        Released recipes, discriminator (`Maxout`); Goodfellow et al. 2013, "Maxout networks".
    """

    weight: Float[Array, " pieces units inputs"]
    bias: Float[Array, " pieces units"]

    def __init__(
        self, key: Key[Array, ""], in_size: int, *, units: int, pieces: int, weight_range: float
    ) -> None:
        self.weight = uniform_range(key, (pieces, units, in_size), weight_range)
        self.bias = jnp.zeros((pieces, units), self.weight.dtype)

    def __call__(
        self, x: Float[Array, " inputs"], *, key: Key[Array, ""] | None = None
    ) -> Float[Array, " units"]:
        # One matrix: on a CPU, XLA transposes the result of a product with a stack of matrices.
        matrix = self.weight.reshape(-1, self.weight.shape[-1])
        return jnp.max((matrix @ x).reshape(self.bias.shape) + self.bias, axis=0)


class Dropout(eqx.Module):
    """Dropout that multiplies kept inputs by `1 / keep`; the identity without a key.

    Attributes:
        keep: the probability that an input is kept, in (0, 1].

    Raises:
        ValueError: if `keep` is not in (0, 1].

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> layer = advnets.layers.Dropout(0.8)
        >>> sorted(set(layer(jnp.ones(50), key=jax.random.key(0)).tolist()))
        [0.0, 1.25]
        >>> set(layer(jnp.ones(50)).tolist())
        {1.0}

    References:
        `discriminator_input_include_probs` and `discriminator_input_scales` in the released
        recipes.
    """

    keep: float = eqx.field(static=True)

    def __check_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise ValueError(
                f"dropout's keep rate must be above 0 and at most 1; got {self.keep} (use 1 for "
                "no dropout)"
            )

    def __call__(
        self, x: Float[Array, "*shape"], *, key: Key[Array, ""] | None = None
    ) -> Float[Array, "*shape"]:
        if key is None or self.keep == 1:
            return x
        kept = jax.random.bernoulli(key, self.keep, x.shape)
        return jnp.where(kept, x / self.keep, 0)


class GaussianNoise(eqx.Module):
    """Adds independent normal noise; the identity without a key.

    Attributes:
        scale: the standard deviation of the noise; at least 0.

    Raises:
        ValueError: if `scale` is negative or not finite.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> layer = advnets.layers.GaussianNoise(0.1)
        >>> bool((layer(jnp.zeros(5), key=jax.random.key(0)) != 0).all())
        True

    References:
        Section 3: the framework permits noise at the generator's intermediate layers, though the
        paper's experiments put it at the bottom only.
    """

    scale: float = eqx.field(static=True)

    def __check_init__(self) -> None:
        if not 0 <= self.scale < math.inf:
            raise ValueError(f"the noise's scale must be at least 0 and finite; got {self.scale}")

    def __call__(
        self, x: Float[Array, "*shape"], *, key: Key[Array, ""] | None = None
    ) -> Float[Array, "*shape"]:
        if key is None:
            return x
        return x + self.scale * jax.random.normal(key, x.shape, x.dtype)


def marginal_bias(images: Real[Array | np.ndarray, " n *data"]) -> Float[Array, "*data"]:
    """The output bias at which a sigmoid generator starts from the data's mean image.

    `log(p / (1 - p))`, with p the mean of each pixel, clipped to [1e-7, 1 - 1e-7].

    Args:
        images: uint8 images in 0..255, or floats in [0, 1].

    Returns:
        One bias for each pixel.

    Raises:
        ValueError: if a float pixel is outside [0, 1] or not a number.

    Example:
        >>> import numpy as np
        >>> import advnets
        >>> advnets.layers.marginal_bias(np.full((3, 2), 0.5)).tolist()
        [0.0, 0.0]

    References:
        `init_sigmoid_bias_from_marginals` in the released recipes.
    """
    # In float64 on the host: in float32, 1 - (1 - 1e-7) is 19 % off.
    images = np.asarray(images)
    largest = 255 if images.dtype == np.uint8 else 1
    if not (images.min() >= 0 and images.max() <= largest):
        raise ValueError(
            f"a sigmoid's marginals need pixels in [0, 1]; got {images.min():.3g} to "
            f"{images.max():.3g} (give uint8 images, or scale them)"
        )
    mean = (images.mean(axis=0, dtype=np.float64) / largest).clip(1e-7, 1 - 1e-7)
    return jnp.asarray(np.log(mean) - np.log1p(-mean), dtype=float)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _floored(target: float, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return x


def _keep_nothing(target: float, x: Float[Array, "*shape"]) -> tuple[Float[Array, "*shape"], None]:
    return x, None


def _lift(
    target: float, _: None, gradient: Float[Array, "*shape"]
) -> tuple[Float[Array, "*shape"]]:
    # Divided by its largest entry, the gradient has squares that don't underflow, as they do in
    # float32 below 1e-22; the result does not depend on the divisor, so no derivative goes there.
    # In half precision, the sum of a minibatch's squares would overflow.
    wide = in_single(gradient)
    largest = jax.lax.pmax(jnp.max(jnp.abs(jax.lax.stop_gradient(wide)), initial=0), MINIBATCH)
    unit = wide / jnp.where(largest > 0, largest, 1)
    squares = jax.lax.psum(jnp.sum(unit**2), MINIBATCH)
    length = jnp.sqrt(jnp.where(squares > 0, squares, 1))
    lifted = jnp.where(largest * length < target, unit * (target / length), wide)
    return (lifted.astype(gradient.dtype),)


_floored.defvjp(_keep_nothing, _lift)


class GradientFloor(eqx.Module):
    r"""A generator's last layer: the identity, but it scales short gradients up to a given norm.

    $$\frac{\partial g}{\partial \theta} \leftarrow \frac{\partial g}{\partial \theta}
      \max\left(1, \frac{\text{target}}{\lVert \partial g / \partial G(z) \rVert_F}\right)$$

    The norm is over the minibatch of generated examples; a longer gradient is never shortened, and
    one of 0 stays 0. The scale is applied to the gradient at the examples, in which the rest of the
    generator's gradient is linear. The discriminator's gradient is not affected.

    The gradient can be taken under [`advnets.players.apply`][] and in training, which name the
    minibatch's axis; elsewhere, map with `jax.vmap(..., axis_name=advnets.layers.MINIBATCH)`.

    Attributes:
        target: the smallest norm, above 0.

    Raises:
        ValueError: if the target is not above 0 and finite.

    Example:
        >>> import equinox as eqx
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> generator = advnets.networks.mlp_generator(jax.random.key(0), 2, (3,), hidden_sizes=[4])
        >>> lifted = eqx.nn.Sequential([generator, advnets.layers.GradientFloor(0.1)])
        >>> bool((lifted(jnp.ones(2)) == generator(jnp.ones(2))).all())
        True

    References:
        Released code, `AdversaryCost2.get_gradients` (`scale_grads`, `target_scale`).
    """

    target: float = eqx.field(static=True)

    def __check_init__(self) -> None:
        if not 0 < self.target < math.inf:
            raise ValueError(
                f"the gradient's target norm must be above 0 and finite; got {self.target}"
            )

    def __call__(
        self, x: Float[Array, "*shape"], *, key: Key[Array, ""] | None = None
    ) -> Float[Array, "*shape"]:
        return _floored(self.target, x)


class MinibatchDeviation(eqx.Module):
    r"""Minibatch standard deviation: appends to the features how much the minibatch varies.

    $$s = \frac1n \sum_{j=1}^n \sqrt{\operatorname{Var}_i(x_{ij}) + 10^{-8}}$$

    The variance is over the examples i of the minibatch, with their number as the divisor; the mean
    is over the features j. All examples of a minibatch get the same number, so a discriminator can
    see when generated examples are more alike than data are. Data and generated examples are
    separate minibatches.

    It works under [`advnets.players.apply`][] and in training, which name the minibatch's axis;
    elsewhere, map with `jax.vmap(..., axis_name=advnets.layers.MINIBATCH)`. Put it before one of
    the last layers, which then needs one more input.

    Example:
        >>> import equinox as eqx
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from advnets import layers, players
        >>> last = eqx.nn.Linear(2 + 1, 1, key=jax.random.key(0))
        >>> discriminator = eqx.nn.Sequential([layers.MinibatchDeviation(), last])
        >>> seen, _ = players.apply(
        ...     layers.MinibatchDeviation(), None, jnp.array([[1.0, 0.0], [3.0, 4.0]])
        ... )
        >>> seen[:, -1].tolist()  # the mean of 1 and 2
        [1.5, 1.5]

    References:
        Karras et al. 2018, "Progressive growing of GANs", section 3 (there of groups of four
        examples); Salimans et al. 2016, "Improved techniques for training GANs", section 3.2.
    """

    def __call__(
        self, x: Float[Array, " n"], *, key: Key[Array, ""] | None = None
    ) -> Float[Array, " n+1"]:
        """The features and their deviation; raises a NameError if no axis is named MINIBATCH."""
        # Float16 rounds 1e-8 to 0, whose root has no slope.
        wide = in_single(x)
        away = wide - jax.lax.pmean(wide, MINIBATCH)
        deviation = jnp.sqrt(jax.lax.pmean(away**2, MINIBATCH) + 1e-8)
        return jnp.append(x, jnp.mean(deviation).astype(x.dtype))


class Labelled(eqx.Module):
    """A player that also takes a class label, which is appended to its input as a one-hot vector.

    Attributes:
        player: maps a vector (the flattened input, then the label's entries) to an output.
        classes: the number of classes, at least 1; labels go from 0 to `classes` - 1.

    Raises:
        ValueError: if there is no class.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from advnets import layers, networks
        >>> inner = networks.mlp_generator(jax.random.key(0), 100 + 10, (8, 8), hidden_sizes=[32])
        >>> layers.Labelled(inner, 10)(jnp.zeros(100), jnp.array(3)).shape
        (8, 8)

    References:
        Section 7, the conditional model; Mirza and Osindero 2014, "Conditional generative
        adversarial nets".
    """

    player: Callable[..., Any]
    classes: int = eqx.field(static=True)

    def __check_init__(self) -> None:
        if self.classes < 1:
            raise ValueError(f"there must be at least 1 class; got {self.classes}")

    def __call__(
        self,
        x: Float[Array, "*shape"],
        label: Integer[Array, ""],
        *,
        key: Key[Array, ""] | None = None,
    ) -> Any:
        one_hot = jax.nn.one_hot(label, self.classes, dtype=x.dtype)
        return _called(self.player, jnp.concatenate([x.ravel(), one_hot]), key)


class Conditioned(eqx.Module):
    """A player that also takes a condition of numbers, which is appended to its input unchanged.

    Attributes:
        player: maps a vector (the flattened input, then the condition's numbers) to an output.
        size: the number of components of a condition, at least 1.

    Raises:
        ValueError: if the size is below 1; when called, for a condition of another size.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from advnets import layers, networks
        >>> inner = networks.mlp_generator(jax.random.key(0), 100 + 2, (8, 8), hidden_sizes=[32])
        >>> layers.Conditioned(inner, 2)(jnp.zeros(100), jnp.array([0.5, -1.0])).shape
        (8, 8)

    References:
        Section 7, the conditional model.
    """

    player: Callable[..., Any]
    size: int = eqx.field(static=True)

    def __check_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"a condition must have at least 1 number; got {self.size}")

    def __call__(
        self,
        x: Float[Array, "*shape"],
        condition: Real[Array, "..."],
        *,
        key: Key[Array, ""] | None = None,
    ) -> Any:
        if condition.size != self.size:
            raise ValueError(
                f"a condition must have {self.size} numbers; got one of shape {condition.shape}"
            )
        joined = jnp.concatenate([x.ravel(), condition.ravel().astype(x.dtype)])
        return _called(self.player, joined, key)


class Branches(eqx.Module):
    """Two networks side by side: each maps its own part of a vector, and their outputs are joined.

    Attributes:
        first: maps the vector's first components.
        second: maps the others, such as a condition.
        split: the number of components that `first` maps.

    Raises:
        ValueError: when called, for a vector that leaves one of them without an input.

    Example:
        >>> import equinox as eqx
        >>> import jax.numpy as jnp
        >>> from advnets import layers
        >>> branches = layers.Branches(eqx.nn.Lambda(jnp.exp), eqx.nn.Identity(), 2)
        >>> branches(jnp.zeros(3)).tolist()
        [1.0, 1.0, 0.0]

    References:
        Mirza and Osindero 2014, "Conditional generative adversarial nets", section 4.1.
    """

    first: Callable[..., Any]
    second: Callable[..., Any]
    split: int = eqx.field(static=True)

    def __call__(
        self, x: Float[Array, " inputs"], *, key: Key[Array, ""] | None = None
    ) -> Float[Array, " outputs"]:
        if not 0 < self.split < len(x):
            raise ValueError(
                f"both branches need an input; a vector of {len(x)} numbers can't be split after "
                f"{self.split}"
            )
        keys = (None, None) if key is None else jax.random.split(key)
        outputs = [
            _called(branch, part, own).ravel()
            for branch, part, own in zip(
                (self.first, self.second), (x[: self.split], x[self.split :]), keys, strict=True
            )
        ]
        return jnp.concatenate(outputs)


class Projection(eqx.Module):
    r"""A logit that weights features by the condition: their inner product with an embedding of c.

    $$l(h, c) = \langle w + V c, h \rangle + b$$

    Attributes:
        weight: w, one weight for each feature.
        embedding: V, a row for each component of the condition (for a label, each class).
        bias: b, initially 0.

    Raises:
        ValueError: for sizes or a `weight_range` that are out of range.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from advnets import layers
        >>> logit = layers.Projection(jax.random.key(0), 240, 10, weight_range=0.005)
        >>> logit(jnp.ones(250)).shape
        ()

    References:
        Miyato and Koyama 2018, "cGANs with projection discriminator", eq. 4.
    """

    weight: Float[Array, " features"]
    embedding: Float[Array, " conditions features"]
    bias: Float[Array, ""]

    def __init__(
        self, key: Key[Array, ""], features: int, conditions: int, *, weight_range: float
    ) -> None:
        own, of_condition = jax.random.split(key)
        self.weight = uniform_range(own, (features,), weight_range)
        self.embedding = uniform_range(of_condition, (conditions, features), weight_range)
        self.bias = jnp.zeros((), self.weight.dtype)

    def __call__(
        self, x: Float[Array, " inputs"], *, key: Key[Array, ""] | None = None
    ) -> Float[Array, ""]:
        """The logit of the features and, after them, the condition's components."""
        features, condition = jnp.split(x, [len(self.weight)])
        return (self.weight + condition @ self.embedding) @ features + self.bias


def _called(player: Callable[..., Any], x: Float[Array, "..."], key: Any) -> Any:
    """Calls a player on its input, with the key if it takes one."""
    if key is None or not accepts_key(player):
        return player(x)
    return player(x, key=key)
