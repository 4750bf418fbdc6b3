"""The deep generative stochastic network of Table 1, as its authors released it.

A network of two layers of hidden units is trained to restore corrupted images over a few rounds of
its own sampling (walkback). The Markov chain that continues these rounds, corrupting what it has
restored, samples from the model.
"""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, Key

from advnets._counts import check_count
from advnets._precision import at_least_single
from advnets.baselines._pixels import as_rows, check_rows
from advnets.chains import Chain
from advnets.layers import uniform_range


class Noise(eqx.Module):
    """The noise drawn in the rounds of a training step; rounds are counted from 0.

    Attributes:
        pixels: uniform on (0, 1): decides the pixels that each round sees.
        before: standard normal: added to the top units before tanh, for the next round.
        after: standard normal: added to the top units after tanh.
    """

    pixels: Float[Array, "rounds batch pixels"]
    before: Float[Array, "passes batch top"]
    after: Float[Array, "passes batch top"]


class State(eqx.Module):
    """Chains of a [`advnets.baselines.gsn.GSN`][] side by side, after any number of steps.

    Attributes:
        pixels: the corrupted pixels that the next step sees.
        top: the units of the second layer, with their noise.
        means: the pixels' probabilities in the last step; before the first step, the images.
    """

    pixels: Float[Array, "chains pixels"]
    top: Float[Array, "chains top"]
    means: Float[Array, " chains *shape"]


class GSN(Chain[State]):
    r"""A deep generative stochastic network: its weights, and the Markov chain they define.

    A round takes pixels x and the units $h_2$ of the second layer to

    $$h_1 = \tanh(x W_1 + h_2 W_2^\top + b_1), \quad
      p = \mathrm{sigmoid}(h_1 W_1^\top + b_0), \quad
      h_2' = \tanh(h_1 W_2 + b_2 + s \varepsilon) + s \varepsilon',$$

    with standard normal ε and ε′. The next x is drawn from Bernoulli(p), and then each of its
    pixels is replaced by a fair coin's 0 or 1 with some probability (salt and pepper).

    All methods take batches of independent examples.

    Args:
        key: a typed random key, for the weights: uniform in ±√(6 / (inputs + outputs)). Biases
            start at 0.
        image_shape: the shape of an image.
        hidden_sizes: the numbers of units of the two hidden layers.
        salt_and_pepper: the probability that a pixel is replaced.
        noise: s, the standard deviation of both noises of the second layer.

    Attributes:
        weight1: W₁, used upward and, transposed, downward.
        weight2: W₂, likewise.
        bias0: b₀, of the pixels.
        bias1: b₁.
        bias2: b₂.

    Raises:
        ValueError: for a size below 1, a probability outside [0, 1], or a negative noise.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from advnets.baselines import gsn
        >>> model = gsn.GSN(jax.random.key(0), (28, 28), hidden_sizes=(50, 50))
        >>> state = model.start(jax.random.key(1), jnp.zeros((3, 28, 28)))
        >>> state = model.step(jax.random.key(2), state)
        >>> model.means(state).shape
        (3, 28, 28)

    References:
        Table 1, row "Deep GSN"; Bengio, Thibodeau-Laufer, Alain and Yosinski 2014, "Deep generative
        stochastic networks trainable by backprop", and its authors' code.
    """

    weight1: Float[Array, "pixels lower"]
    weight2: Float[Array, "lower top"]
    bias0: Float[Array, " pixels"]
    bias1: Float[Array, " lower"]
    bias2: Float[Array, " top"]
    image_shape: tuple[int, ...] = eqx.field(static=True)
    salt_and_pepper: float = eqx.field(static=True)
    noise: float = eqx.field(static=True)

    def __init__(
        self,
        key: Key[Array, ""],
        image_shape: tuple[int, ...],
        *,
        hidden_sizes: tuple[int, int] = (1500, 1500),
        salt_and_pepper: float = 0.4,
        noise: float = 2.0,
    ) -> None:
        pixels, (lower, top) = math.prod(image_shape), hidden_sizes
        key1, key2 = jax.random.split(key)
        self.weight1 = uniform_range(key1, (pixels, lower), (6 / max(pixels + lower, 1)) ** 0.5)
        self.weight2 = uniform_range(key2, (lower, top), (6 / max(lower + top, 1)) ** 0.5)
        self.bias0, self.bias1, self.bias2 = (
            jnp.zeros(size, self.weight1.dtype) for size in (pixels, lower, top)
        )
        self.image_shape = tuple(image_shape)
        self.salt_and_pepper = salt_and_pepper
        self.noise = noise

    def __check_init__(self) -> None:
        if not 0 <= self.salt_and_pepper <= 1:
            raise ValueError(
                "the probability of salt and pepper must be from 0 to 1; got "
                f"{self.salt_and_pepper}"
            )
        if not 0 <= self.noise < math.inf:
            raise ValueError(
                "the standard deviation of the hidden noise must be at least 0 and finite; got "
                f"{self.noise}"
            )

    def lower(
        self, x: Float[Array, "batch pixels"], top: Float[Array, "batch top"] | None = None
    ) -> Float[Array, "batch lower"]:
        """The units of the first layer, h₁.

        Args:
            x: corrupted pixels.
            top: h₂; None means 0, and saves a product.

        Returns:
            Numbers in (-1, 1).
        """
        above = 0 if top is None else top @ self.weight2.T
        return jnp.tanh(x @ self.weight1 + _rows(self.bias1) + above)

    def pixel_logits(self, lower: Float[Array, "batch lower"]) -> Float[Array, "batch pixels"]:
        """The pixels' log-odds of being 1, whose sigmoid is p.

        Args:
            lower: h₁.

        Returns:
            Unbounded numbers.
        """
        return lower @ self.weight1.T + _rows(self.bias0)

    def top(
        self,
        lower: Float[Array, "batch lower"],
        before: Float[Array, "batch top"],
        after: Float[Array, "batch top"],
    ) -> Float[Array, "batch top"]:
        """The units of the second layer, h₂.

        Args:
            lower: h₁.
            before: ε, standard normal.
            after: ε′, standard normal.

        Returns:
            Unbounded numbers, as noise is added after tanh.
        """
        activation = lower @ self.weight2 + _rows(self.bias2)
        return jnp.tanh(activation + self.noise * before) + self.noise * after

    def corrupted(
        self, images: Float[Array, "batch pixels"], uniform: Float[Array, "batch pixels"]
    ) -> Float[Array, "batch pixels"]:
        """Images with salt and pepper.

        Args:
            images: pixels in [0, 1].
            uniform: uniform on (0, 1). The lowest become 1, those above them 0.

        Returns:
            The images; pixels that are not replaced are unchanged.
        """
        rate = self.salt_and_pepper
        return jnp.where(uniform < rate, (uniform < rate / 2).astype(images.dtype), images)

    def drawn(
        self, logits: Float[Array, "batch pixels"], uniform: Float[Array, "batch pixels"]
    ) -> Float[Array, "batch pixels"]:
        """Pixels drawn from Bernoulli(p), with salt and pepper.

        Args:
            logits: the log-odds of p.
            uniform: uniform on (0, 1). One number serves both purposes: a pixel becomes 1 with
                probability (1 - r) p + r / 2, where r is the probability of salt and pepper.

        Returns:
            Zeros and ones, without a gradient.
        """
        rate = self.salt_and_pepper
        on = (1 - rate) * jax.nn.sigmoid(logits.astype(uniform.dtype)) + rate / 2
        return lax.stop_gradient((uniform < on).astype(logits.dtype))

    def start(self, key: Key[Array, ""], images: Float[Array, " chains *shape"]) -> State:
        """Chains that start from images with salt and pepper, and second-layer units of 0.

        Args:
            key: a typed random key.
            images: pixels in [0, 1], one image for each chain.

        Returns:
            The chains' state.

        Raises:
            ValueError: if the images do not have the network's number of pixels.
        """
        images = images.astype(self.bias0.dtype)
        x = as_rows(images, self.image_shape)
        pixels = self.corrupted(x, _uniforms(key, x.shape, x.dtype))
        return State(pixels, jnp.zeros((len(x), len(self.bias2)), x.dtype), images)

    def step(self, key: Key[Array, ""], state: State) -> State:
        """One round of every chain, with all noise on.

        Args:
            key: a typed random key.
            state: the chains' state.

        Returns:
            Their state after the round.
        """
        pixel_key, before_key, after_key = jax.random.split(key, 3)
        lower = self.lower(state.pixels, state.top)
        logits = self.pixel_logits(lower)
        shape, dtype = state.top.shape, logits.dtype
        before = jax.random.normal(before_key, shape, dtype)
        after = jax.random.normal(after_key, shape, dtype)
        return State(
            self.drawn(logits, _uniforms(pixel_key, logits.shape, dtype)),
            self.top(lower, before, after),
            jax.nn.sigmoid(logits).reshape(state.means.shape),
        )

    def means(self, state: State) -> Float[Array, " chains *shape"]:
        """The pixel probabilities p of every chain.

        Args:
            state: the chains' state.

        Returns:
            Images, in [0, 1].
        """
        return state.means


def _rows(bias: Float[Array, " units"]) -> Float[Array, "1 units"]:
    return bias[None]


def _uniforms(key: Key[Array, ""], shape: tuple[int, ...], dtype: Any) -> Float[Array, "..."]:
    """Uniform numbers of 16 bits, two per word drawn; probabilities are accurate to 2⁻¹⁷.

    They are of the given type, or in float32 where that does not hold 17 bits.
    """
    dtype = at_least_single(dtype)
    size = math.prod(shape)
    words = jax.random.bits(key, (-(-size // 2),), jnp.uint32)
    halves = lax.bitcast_convert_type(words, jnp.uint16).ravel()[:size]
    return ((halves.astype(dtype) + 0.5) / 2**16).reshape(shape)


def draw_noise(key: Key[Array, ""], model: GSN, batch: int, rounds: int = 4) -> Noise:
    """Draws all the noise of a training step.

    Args:
        key: a typed random key.
        model: the network.
        batch: the number of images, at least 1.
        rounds: the number of rounds, at least 1.

    Returns:
        The noise of all rounds.

    Raises:
        ValueError: if there is no round, or no image; if either number, or their product, is 2**31
            or more.

    Example:
        >>> import jax
        >>> from advnets.baselines import gsn
        >>> model = gsn.GSN(jax.random.key(0), (8, 8), hidden_sizes=(20, 30))
        >>> noise = gsn.draw_noise(jax.random.key(1), model, batch=5)
        >>> noise.pixels.shape, noise.before.shape
        ((4, 5, 64), (3, 5, 30))
    """
    check_count("the number of rounds of walkback", rounds)
    check_count("the number of images", batch)
    check_count("the number of images of all rounds", rounds * batch)
    pixel_key, before_key, after_key = jax.random.split(key, 3)
    dtype = model.bias0.dtype
    hidden = (rounds - 1, batch, len(model.bias2))
    return Noise(
        _uniforms(pixel_key, (rounds, batch, len(model.bias0)), dtype),
        jax.random.normal(before_key, hidden, dtype),
        jax.random.normal(after_key, hidden, dtype),
    )


def walkback(
    model: GSN, images: Float[Array, " batch *shape"], noise: Noise
) -> Float[Array, "rounds batch pixels"]:
    """Rounds that start from corrupted images; deterministic given the noise.

    Gradients flow from a round to the previous one through the second layer, and never through the
    pixels drawn between them.

    Args:
        model: the network.
        images: pixels in [0, 1].
        noise: the noise of the rounds, from [`advnets.baselines.gsn.draw_noise`][]; its length is
            the number of rounds.

    Returns:
        The pixels' log-odds of being 1 in each round.

    Raises:
        ValueError: if the images do not have the network's number of pixels, or the noise is for
            another number of images.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from advnets.baselines import gsn
        >>> model = gsn.GSN(jax.random.key(0), (8, 8), hidden_sizes=(20, 30))
        >>> noise = gsn.draw_noise(jax.random.key(1), model, batch=5)
        >>> gsn.walkback(model, jnp.zeros((5, 8, 8)), noise).shape
        (4, 5, 64)
    """
    clean = as_rows(images, model.image_shape)
    if noise.pixels.shape[1:] != clean.shape:
        raise ValueError(
            f"the noise must be for the {len(images)} images of {clean.shape[1]} pixels; got noise "
            f"of shape {noise.pixels.shape}"
        )
    first, *others = noise.pixels
    lower = model.lower(model.corrupted(clean, first))
    logits = [model.pixel_logits(lower)]
    for uniform, before, after in zip(others, noise.before, noise.after, strict=True):
        top = model.top(lower, before, after)
        lower = model.lower(model.drawn(logits[-1], uniform), top)
        logits.append(model.pixel_logits(lower))
    return jnp.stack(logits)


def cost(
    key: Key[Array, ""], model: GSN, images: Float[Array, " batch *shape"], rounds: int = 4
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    r"""The training cost: the cross-entropy of the clean images, summed over the rounds.

    $$\sum_{t=1}^{T} -\frac{1}{n d} \sum_{i,j} \left[ x_{ij} \log p^t_{ij}
      + (1 - x_{ij}) \log (1 - p^t_{ij}) \right]$$

    over n images of d pixels.

    Args:
        key: a typed random key.
        model: the network.
        images: pixels in [0, 1].
        rounds: T, at least 1.

    Returns:
        The cost, in nats per pixel, and the value monitored in training: the last round's
        `cross_entropy`, the number that the authors published for the first epochs.

    Raises:
        ValueError: if there is no round, or no image; if the images do not have the network's
            number of pixels.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from advnets.baselines import gsn
        >>> model = gsn.GSN(jax.random.key(0), (8, 8), hidden_sizes=(20, 30))
        >>> cost, seen = gsn.cost(jax.random.key(1), model, jnp.zeros((5, 8, 8)))
        >>> bool(cost > seen["cross_entropy"])
        True
    """
    check_rows("images", images)
    logits = walkback(model, images, draw_noise(key, model, len(images), rounds))
    targets = as_rows(images, model.image_shape)[None]
    each = (jax.nn.softplus(logits) - targets * logits).mean(axis=(1, 2))
    return each.sum(), {"cross_entropy": each[-1]}


def updates(
    iterations_per_epoch: int,
    *,
    learning_rate: float = 0.25,
    annealing: float = 0.995,
    momentum: float = 0.5,
) -> optax.GradientTransformation:
    r"""The released update rule: descent along a moving average of gradients.

    $$v \leftarrow \mu v + (1 - \mu) g, \qquad \theta \leftarrow \theta - \lambda c^e v$$

    in epoch e, counted from 0. Unlike the momentum of other recipes, a larger μ does not make the
    steps longer.

    Args:
        iterations_per_epoch: the number of updates in an epoch.
        learning_rate: λ.
        annealing: c, the factor by which the rate is multiplied after each epoch.
        momentum: μ.

    Returns:
        An Optax gradient transformation.

    Example:
        >>> import jax.numpy as jnp
        >>> from advnets.baselines import gsn
        >>> rule = gsn.updates(600)
        >>> update, _ = rule.update(jnp.ones(1), rule.init(jnp.zeros(1)))
        >>> update.tolist()
        [-0.125]
    """
    rate = optax.exponential_decay(learning_rate, iterations_per_epoch, annealing, staircase=True)
    return optax.chain(optax.ema(momentum, debias=False), optax.scale_by_learning_rate(rate))
