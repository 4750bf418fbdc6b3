r"""Stacked contractive autoencoders, and the walk that samples from them: Table 1's third row.

$$h = \sigma(x W + b), \qquad \hat x = \sigma(h W^\top + c), \qquad
  \text{cost} = -\sum_i \left[x_i \log \hat x_i + (1 - x_i) \log(1 - \hat x_i)\right]
  + \lambda \left\lVert \frac{\partial h}{\partial x} \right\rVert_F^2$$

All functions take batches, one row for each image, so that every product is a matrix product.
"""

import dataclasses
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from advnets.baselines._pixels import as_rows, check_pixels, check_rows, cross_entropies
from advnets.chains import Chain
from advnets.layers import uniform_range
from advnets.neighbours import nearest
from advnets.players import Frozen, thaw


class Layer(eqx.Module):
    """One contractive autoencoder: sigmoid encoder and decoder with tied weights.

    Attributes:
        weight: W, from inputs to units.
        bias: b, of the units.
        input_bias: c, of the reconstructed inputs.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from advnets.baselines import cae
        >>> layer = cae.new_layer(jax.random.key(0), 784, 1000)
        >>> layer.encode(jnp.zeros((5, 784))).shape
        (5, 1000)

    References:
        Rifai et al. 2011, "Contractive auto-encoders".
    """

    weight: Float[Array, " inputs units"]
    bias: Float[Array, " units"]
    input_bias: Float[Array, " inputs"]

    def encode(self, x: Float[Array, " batch inputs"]) -> Float[Array, " batch units"]:
        """The codes h of inputs, in (0, 1)."""
        return jax.nn.sigmoid(x @ self.weight + self.bias[None])

    def logits(self, code: Float[Array, " batch units"]) -> Float[Array, " batch inputs"]:
        """The log-odds of the inputs reconstructed from codes."""
        return code @ self.weight.T + self.input_bias[None]

    def decode(self, code: Float[Array, " batch units"]) -> Float[Array, " batch inputs"]:
        """The inputs reconstructed from codes, in (0, 1)."""
        return jax.nn.sigmoid(self.logits(code))

    def contraction(self, code: Float[Array, " batch units"]) -> Float[Array, " batch"]:
        r"""The squared Frobenius norm of the encoder's Jacobian at the inputs with these codes.

        $$\left\lVert \frac{\partial h}{\partial x} \right\rVert_F^2
          = \sum_j (h_j (1 - h_j))^2 \sum_i W_{ij}^2$$
        """
        return slope(code) ** 2 @ jnp.sum(self.weight**2, axis=0)

    def spread(
        self, code: Float[Array, " batch units"], noise: Float[Array, " batch units"]
    ) -> Float[Array, " batch units"]:
        r"""Noise shaped by the encoder's Jacobian J: $J J^\top \epsilon$, never forming $JJ^\top$.

        What remains of the noise lies along the data, the only directions in which codes change
        much.
        """
        s = slope(code)
        return s * (((s * noise) @ self.weight.T) @ self.weight)


def slope(code: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The derivative of a sigmoid, as a function of its value: h (1 - h).

    Args:
        code: the sigmoid's values h, in [0, 1].

    Returns:
        Numbers from 0 to 1/4.

    Example:
        >>> import jax.numpy as jnp
        >>> from advnets.baselines import cae
        >>> cae.slope(jnp.array([0.0, 0.5, 1.0])).tolist()
        [0.0, 0.25, 0.0]
    """
    return code * (1 - code)


def new_layer(key: Key[Array, ""], inputs: int, units: int) -> Layer:
    """An untrained layer: weights uniform in ±√(6 / (inputs + units)), biases 0.

    Args:
        key: a typed random key.
        inputs: the number of inputs, at least 1.
        units: the number of units, at least 1.

    Returns:
        The layer.

    Raises:
        ValueError: if a number is below 1.

    Example:
        >>> import jax
        >>> from advnets.baselines import cae
        >>> layer = cae.new_layer(jax.random.key(0), 784, 1000)
        >>> bool(abs(layer.weight).max() <= (6 / 1784) ** 0.5)
        True
    """
    if min(inputs, units) < 1:
        raise ValueError(
            f"a layer needs at least 1 input and 1 unit; got {inputs} inputs and {units} units"
        )
    weight = uniform_range(key, (inputs, units), math.sqrt(6 / (inputs + units)))
    return Layer(weight, jnp.zeros(units, weight.dtype), jnp.zeros(inputs, weight.dtype))


class Stack(eqx.Module):
    """Contractive autoencoders on top of each other, each trained on the codes of the one below.

    Attributes:
        layers: the layers, from the pixels up; at least one.
        shape: the shape of an image.

    Raises:
        ValueError: if there is no layer, or the layers do not fit each other or the images.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from advnets.baselines import cae
        >>> stack = cae.new_stack(jax.random.key(0), (28, 28), 1000)
        >>> stack.reconstruct(jnp.zeros((5, 28, 28))).shape
        (5, 28, 28)

    References:
        Table 1, "Stacked CAE"; Bengio et al. 2013, "Better mixing via deep representations".
    """

    layers: tuple[Layer, ...]
    shape: tuple[int, ...] = eqx.field(static=True)

    def __check_init__(self) -> None:
        layers = thaw(self.layers)
        if not layers:
            raise ValueError("a stack needs at least one layer; got none")
        sizes = [math.prod(self.shape), *(layer.weight.shape[1] for layer in layers)]
        for number, (layer, size) in enumerate(zip(layers, sizes, strict=False), 1):
            if layer.weight.shape[0] != size:
                raise ValueError(
                    f"layer {number} must take the {size} numbers below it; it takes "
                    f"{layer.weight.shape[0]}"
                )

    @property
    def top(self) -> Layer:
        """The top layer: the one that is trained, and whose Jacobian the walk uses."""
        return thaw(self.layers[-1])

    @property
    def below(self) -> tuple[Layer, ...]:
        """The layers below the top one."""
        return thaw(self.layers[:-1])

    def inputs(self, images: Float[Array, " batch *shape"]) -> Float[Array, " batch inputs"]:
        """The top layer's inputs for images: their pixels, or the codes of the layer below.

        Args:
            images: pixels in [0, 1].

        Returns:
            A row for each image.

        Raises:
            ValueError: if the images do not have the stack's number of pixels.
        """
        x = as_rows(images, self.shape)
        for layer in self.below:
            x = layer.encode(x)
        return x

    def pictures(self, inputs: Float[Array, " batch inputs"]) -> Float[Array, " batch *shape"]:
        """The images reconstructed from inputs of the top layer.

        Args:
            inputs: a row for each image: its pixels, or a code of the layer below the top.

        Returns:
            Their mean-field pixels, in [0, 1].
        """
        for layer in reversed(self.below):
            inputs = layer.decode(inputs)
        return inputs.reshape(len(inputs), *self.shape)

    def logits(self, images: Float[Array, " batch *shape"]) -> Float[Array, " batch pixels"]:
        """The log-odds of the pixels of images reconstructed through all layers, up and down.

        Args:
            images: pixels in [0, 1].

        Returns:
            A row for each image.

        Raises:
            ValueError: if the images do not have the stack's number of pixels.
        """
        code = self.top.encode(self.inputs(images))
        lowest, *others = *self.below, self.top
        for layer in reversed(others):
            code = layer.decode(code)
        return lowest.logits(code)

    def cross_entropies(self, images: Float[Array, " batch *shape"]) -> Float[Array, " batch"]:
        """The cross-entropy of images with their reconstructions, summed over pixels, in nats.

        Args:
            images: pixels in [0, 1].

        Returns:
            One number for each image.

        Raises:
            ValueError: if the images do not have the stack's number of pixels.
        """
        return cross_entropies(self.logits(images), as_rows(images, self.shape))

    def reconstruct(self, images: Float[Array, " batch *shape"]) -> Float[Array, " batch *shape"]:
        """Images reconstructed through all layers, up and down.

        Args:
            images: pixels in [0, 1].

        Returns:
            Their mean-field pixels, in (0, 1).

        Raises:
            ValueError: if the images do not have the stack's number of pixels.
        """
        return jax.nn.sigmoid(self.logits(images)).reshape(images.shape)


def new_stack(key: Key[Array, ""], shape: tuple[int, ...], units: int) -> Stack:
    """An untrained stack of one layer.

    Args:
        key: a typed random key.
        shape: the shape of an image.
        units: the number of units.

    Returns:
        The stack.

    Raises:
        ValueError: if the number of units, or of pixels, is below 1.

    Example:
        >>> import jax
        >>> from advnets.baselines import cae
        >>> len(cae.new_stack(jax.random.key(0), (28, 28), 1000).layers)
        1
    """
    return Stack((new_layer(key, math.prod(shape), units),), shape)


def grow(key: Key[Array, ""], stack: Stack, units: int) -> Stack:
    """A trained stack with an untrained layer on top; the layers below it are frozen.

    Args:
        key: a typed random key.
        stack: the trained stack.
        units: the number of units of the new layer.

    Returns:
        The larger stack, with the arrays of all but its top layer in [`advnets.players.Frozen`][].

    Raises:
        ValueError: if the number of units is below 1.

    Example:
        >>> import jax
        >>> from advnets.baselines import cae
        >>> stack = cae.grow(jax.random.key(1), cae.new_stack(jax.random.key(0), (28, 28), 9), 7)
        >>> stack.top.weight.shape
        (9, 7)
    """
    layers: tuple[Layer, ...] = thaw(stack.layers)
    added = new_layer(key, layers[-1].weight.shape[1], units)
    return Stack((*jax.tree.map(Frozen, layers), added), stack.shape)


@dataclasses.dataclass(frozen=True)
class Cost:
    """The cost that trains the top layer of a stack, in nats: a mean over images.

    The cross-entropy is of the layer's inputs, whether pixels or codes of the layer below, and is
    summed over them; the contraction is summed over all of the Jacobian.

    Attributes:
        weight: λ, the weight of the contraction; at least 0.

    Raises:
        ValueError: if it is negative or not finite.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from advnets.baselines import cae
        >>> stack = cae.new_stack(jax.random.key(0), (28, 28), 1000)
        >>> cost, _, seen = cae.Cost(5.0)(jax.random.key(1), stack, None, jnp.zeros((5, 28, 28)))
        >>> sorted(seen)
        ['contraction', 'cross_entropy']

    References:
        Rifai et al. 2011, equation (4), with the sigmoid layer's norm in closed form.
    """

    weight: float

    def __post_init__(self) -> None:
        if not 0 <= self.weight < math.inf:
            raise ValueError(
                f"the weight of the contraction must be at least 0 and finite; got {self.weight}"
            )

    def __call__(
        self, key: Key[Array, ""], model: Stack, memory: Any, batch: Float[Array, " batch *shape"]
    ) -> tuple[Float[Array, ""], Any, dict[str, Float[Array, ""]]]:
        """The cost of a minibatch.

        Args:
            key: not used: nothing is drawn.
            model: the stack.
            memory: returned unchanged; not used.
            batch: images, pixels in [0, 1].

        Returns:
            The cost, the memory, and both terms, each a mean over images.

        Raises:
            ValueError: if there are no images, or they do not have the stack's number of pixels.
        """
        check_rows("a minibatch", batch)
        x, layer = model.inputs(batch), model.top
        code = layer.encode(x)
        cross_entropy = jnp.mean(cross_entropies(layer.logits(code), x))
        contraction = jnp.mean(layer.contraction(code))
        seen = {"cross_entropy": cross_entropy, "contraction": contraction}
        return cross_entropy + self.weight * contraction, memory, seen


class Walk(Chain[Array]):
    r"""The chain that samples from a stack: encode, add noise along the data, decode.

    Its state is the top layer's input: pixels, or the codes of the layer below.

    $$h = \text{encode}(u), \qquad h \leftarrow h + J J^\top \epsilon, \quad
      \epsilon \sim N(0, s^2 I), \qquad u \leftarrow \text{decode}(h)$$

    J is the top layer's Jacobian at u. Nothing is accepted or rejected, and h is not clipped.

    Attributes:
        model: the trained stack.
        scale: s, the standard deviation of the noise; above 0.

    Raises:
        ValueError: if the scale is not above 0 and finite.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from advnets import chains
        >>> from advnets.baselines import cae
        >>> walk = cae.Walk(cae.new_stack(jax.random.key(0), (8, 8), 20), scale=1.0)
        >>> images = jnp.full((3, 8, 8), 0.5)
        >>> chains.run(jax.random.key(1), walk, images, 6, chains.Protocol(num_chains=3)).shape
        (3, 2, 8, 8)

    References:
        Rifai et al. 2012, "A generative process for sampling contractive auto-encoders".
    """

    model: Stack
    scale: float = eqx.field(static=True)

    def __check_init__(self) -> None:
        if not 0 < self.scale < math.inf:
            raise ValueError(
                f"the standard deviation of the walk's noise must be above 0 and finite; got "
                f"{self.scale}"
            )

    def start(
        self, key: Key[Array, ""], images: Float[Array, " chains *shape"]
    ) -> Float[Array, " chains inputs"]:
        """The top layer's inputs for the images; nothing is drawn.

        Raises a ValueError if the images do not have the stack's number of pixels.
        """
        return self.model.inputs(images)

    def step(
        self, key: Key[Array, ""], state: Float[Array, " chains inputs"]
    ) -> Float[Array, " chains inputs"]:
        layer = self.model.top
        code = layer.encode(state)
        noise = self.scale * jax.random.normal(key, code.shape, code.dtype)
        return layer.decode(code + layer.spread(code, noise))

    def means(self, state: Float[Array, " chains inputs"]) -> Float[Array, " chains *shape"]:
        return self.model.pictures(state)


def lost(
    pictures: Float[Array | np.ndarray, " chains *shape"],
    training: Float[Array | np.ndarray, " n *shape"],
    held_out: Float[Array | np.ndarray, " m *shape"],
) -> int:
    """The number of chains that have left the data for good, judged by where they are now.

    A chain is lost if its picture is farther from its nearest training image than any held-out real
    image is from its own.

    Args:
        pictures: the last picture of each chain.
        training: the training images.
        held_out: real images that are not among the training images.

    Returns:
        The number of lost chains.

    Raises:
        ValueError: if any of these are empty, or a pixel is outside [0, 1].

    Example:
        >>> import jax.numpy as jnp
        >>> from advnets.baselines import cae
        >>> training = jnp.array([[0.0, 0.0], [1.0, 1.0]])
        >>> cae.lost(jnp.array([[0.9, 1.0], [0.5, 0.5]]), training, jnp.array([[0.1, 0.2]]))
        1
    """
    for name, images in (
        ("the chains' pictures", pictures),
        ("the training images", training),
        ("the held-out images", held_out),
    ):
        check_pixels(name, images)
    _, distances = nearest(pictures, training)
    _, of_real = nearest(held_out, training)
    return int((np.asarray(distances) > np.max(np.asarray(of_real))).sum())


def faded(
    pictures: Float[Array | np.ndarray, " chains *shape"],
    training: Float[Array | np.ndarray, " n *shape"],
) -> int:
    """The number of chains that are almost black, judged by where they are now.

    A picture has faded if its pixels sum to less than those of any training image. The chain need
    not be lost: black is nearer to thin digits than many real images are to their nearest ones.

    Args:
        pictures: the last picture of each chain.
        training: the training images.

    Returns:
        The number of faded pictures.

    Raises:
        ValueError: if either is empty, or a pixel is outside [0, 1].

    Example:
        >>> import jax.numpy as jnp
        >>> from advnets.baselines import cae
        >>> training = jnp.array([[0.0, 1.0], [1.0, 1.0]])
        >>> cae.faded(jnp.array([[0.9, 1.0], [0.3, 0.5]]), training)
        1
    """
    check_pixels("the chains' pictures", pictures)
    check_pixels("the training images", training)
    axes = tuple(range(1, pictures.ndim))
    ink, least = np.asarray(pictures).sum(axis=axes), np.asarray(training).sum(axis=axes).min()
    return int((ink < least).sum())
