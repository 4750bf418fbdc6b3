r"""The variational autoencoder: a generator trained with a bound on log p(x), no discriminator.

$$\log p(x) \ge \mathbb{E}_{q(z|x)}\left[\log p(x|z)\right] - \mathrm{KL}(q(z|x) \,\|\, p(z)),
  \qquad p(z) = N(0, I), \quad q(z|x) = N(\mu(x), \mathrm{diag}\,\sigma^2(x))$$

Its generator is an ordinary network, so a VAE is an [`advnets.Model`][] with an encoder. All
likelihoods are in nats.
"""

import dataclasses
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Array, Float, Key

from advnets import _reprs
from advnets._counts import check_count
from advnets.baselines._pixels import (
    as_rows,
    check_pixels,
    check_rows,
    check_units,
    cross_entropies,
)
from advnets.layers import linear
from advnets.model import Model
from advnets.networks import Reshape
from advnets.players import Player, apply
from advnets.priors import Normal

# The most latent vectors decoded at once when a bound draws many for each image; limits memory.
DECODED_AT_ONCE = 10_000


class BernoulliPixels(eqx.Module):
    """Draws black or white pixels with given probabilities; without a key, returns those.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from advnets.baselines import vae
        >>> drawn = vae.BernoulliPixels()(jnp.full(50, 0.5), key=jax.random.key(0))
        >>> sorted(set(drawn.tolist()))
        [0.0, 1.0]
    """

    def __call__(
        self, x: Float[Array, "*shape"], *, key: Key[Array, ""] | None = None
    ) -> Float[Array, "*shape"]:
        if key is None:
            return x
        return jax.random.bernoulli(key, x).astype(x.dtype)


class VAE(Model[eqx.nn.Sequential]):
    """A generator with its prior, like any [`advnets.Model`][], and an encoder.

    Attributes:
        generator: two parts: the decoder, which maps a latent vector to a vector with a number for
            each pixel, and a part that turns that vector into an image.
        prior: standard normal, as the bounds assume.
        condition: None.
        encoder: maps an image to the means and log-variances of q(z|x), concatenated.
        width: the standard deviation of Gaussian pixels, whose means the decoder returns; None for
            Bernoulli pixels, whose logits it returns.

    Raises:
        ValueError: if the prior is not normal, or the width is not above 0.

    Example:
        >>> import jax
        >>> from advnets.baselines import vae
        >>> model = vae.new_vae(jax.random.key(0), (28, 28))
        >>> model.sample(jax.random.key(1), 3).shape
        (3, 28, 28)

    References:
        Kingma and Welling 2014, "Auto-encoding variational Bayes".
    """

    encoder: Player = eqx.field(kw_only=True)
    width: float | None = eqx.field(kw_only=True, static=True, default=None)

    def __check_init__(self) -> None:
        if type(self.prior) is not Normal:
            raise ValueError(
                f"the bounds of a VAE need a standard normal prior; got {self.prior!r} (give "
                "advnets.priors.Normal)"
            )
        if self.width is not None and not 0 < self.width < math.inf:
            raise ValueError(
                f"the width of Gaussian pixels must be above 0 and finite; got {self.width}"
            )

    def __repr__(self) -> str:
        pixels = "Bernoulli" if self.width is None else f"Gaussian of width {self.width:g}"
        return (
            f"VAE(generator={_reprs.network(self.generator)}, "
            f"encoder={_reprs.network(self.encoder)}, prior={self.prior!r}, {pixels} pixels)"
        )

    @property
    def _shape(self) -> tuple[int, ...]:
        """The shape of an image."""
        latents = jax.ShapeDtypeStruct((1, self.prior.size), jnp.zeros(0).dtype)
        return eqx.filter_eval_shape(self.decode, latents).shape[1:]

    def encode(
        self, images: Float[Array, " batch *shape"]
    ) -> tuple[Float[Array, " batch size"], Float[Array, " batch size"]]:
        """The approximate posterior q(z|x) of images.

        Args:
            images: pixels in [0, 1].

        Returns:
            The means and log-variances of its components.

        Raises:
            ValueError: if the images do not have the model's number of pixels.
        """
        as_rows(images, self._shape)  # the encoder might accept it, or fail obscurely
        found, _ = apply(self.encoder, None, images)
        means, log_variances = jnp.split(found, 2, axis=1)
        return means, log_variances

    def decode(self, latents: Float[Array, " batch size"]) -> Float[Array, " batch *shape"]:
        """The mean pixels of latent vectors; nothing is drawn.

        Args:
            latents: a row for each image.

        Returns:
            The images, in (0, 1) if their pixels are Bernoulli.

        Raises:
            ValueError: if the latent vectors do not have the model's number of components.
        """
        check_units("latent vectors", latents.shape, self.prior.size)
        return apply(self.generator, None, latents)[0]

    def reconstruct(self, images: Float[Array, " batch *shape"]) -> Float[Array, " batch *shape"]:
        """Images decoded from the means of their latent vectors.

        Args:
            images: pixels in [0, 1].

        Returns:
            Mean pixels.

        Raises:
            ValueError: if the images do not have the model's number of pixels.
        """
        return self.decode(self.encode(images)[0])

    def log_likelihood(
        self, latents: Float[Array, " batch size"], images: Float[Array, " batch *shape"]
    ) -> Float[Array, " batch"]:
        """log p(x|z), summed over pixels, in nats.

        Args:
            latents: z.
            images: x, one for each latent vector.

        Returns:
            A number for each image.

        Raises:
            ValueError: if the numbers of components and pixels are not the model's.
        """
        check_units("latent vectors", latents.shape, self.prior.size)
        outputs, _ = apply(self.generator.layers[0], None, latents)
        x = as_rows(images, outputs.shape[1:])
        if self.width is None:
            return -cross_entropies(outputs, x)
        return _log_normal((x - outputs) / self.width) - x.shape[1] * math.log(self.width)


def _log_normal(x: Float[Array, " batch size"]) -> Float[Array, " batch"]:
    """The log-density of a standard normal vector."""
    return -0.5 * (jnp.sum(x**2, axis=1) + x.shape[1] * math.log(2 * math.pi))


def new_vae(
    key: Key[Array, ""],
    shape: tuple[int, ...],
    *,
    hidden_size: int = 500,
    latent_size: int = 50,
    bernoulli: bool = False,
) -> VAE:
    """An untrained VAE: encoder and decoder with one hidden layer of tanh units, Bernoulli pixels.

    Weights are uniform in ±√(6 / (inputs + outputs)), biases 0.

    Args:
        key: a typed random key.
        shape: the shape of an image.
        hidden_size: the number of units of each hidden layer.
        latent_size: the number of components of z.
        bernoulli: whether samples have drawn pixels, instead of the pixels' means.

    Returns:
        The model.

    Raises:
        ValueError: if a size is below 1.

    Example:
        >>> import jax
        >>> from advnets.baselines import vae
        >>> vae.new_vae(jax.random.key(0), (8, 8), hidden_size=20, latent_size=3).prior
        Normal(size=3)

    References:
        Kingma and Welling 2014, appendix C.
    """
    pixels = math.prod(shape)
    if min(pixels, hidden_size, latent_size) < 1:
        raise ValueError(
            f"a VAE needs at least 1 pixel, 1 hidden unit and 1 latent component; got {pixels}, "
            f"{hidden_size} and {latent_size}"
        )
    up, posterior, down, out = jax.random.split(key, 4)
    encoder = eqx.nn.Sequential(
        [
            Reshape((pixels,)),
            _linear(up, pixels, hidden_size),
            eqx.nn.Lambda(jnp.tanh),
            _linear(posterior, hidden_size, 2 * latent_size),
        ]
    )
    decoder = eqx.nn.Sequential(
        [
            _linear(down, latent_size, hidden_size),
            eqx.nn.Lambda(jnp.tanh),
            _linear(out, hidden_size, pixels),
        ]
    )
    drawn = [BernoulliPixels()] if bernoulli else []
    image = eqx.nn.Sequential([eqx.nn.Lambda(jax.nn.sigmoid), Reshape(shape), *drawn])
    return VAE(eqx.nn.Sequential([decoder, image]), Normal(latent_size), encoder=encoder)


def _linear(key: Key[Array, ""], in_size: int, out_size: int) -> eqx.nn.Linear:
    return linear(key, in_size, out_size, math.sqrt(6 / (in_size + out_size)))


def divergence(
    means: Float[Array, " batch size"], log_variances: Float[Array, " batch size"]
) -> Float[Array, " batch"]:
    r"""The Kullback-Leibler divergence of q(z|x) from the prior, in nats.

    $$\mathrm{KL} = \tfrac12 \sum_j \left(\mu_j^2 + \sigma_j^2 - \log \sigma_j^2 - 1\right)$$

    Args:
        means: the means of q's components.
        log_variances: the log-variances of q's components.

    Returns:
        A number for each image.

    Example:
        >>> import jax.numpy as jnp
        >>> from advnets.baselines import vae
        >>> vae.divergence(jnp.ones((1, 4)), jnp.zeros((1, 4))).tolist()
        [2.0]

    References:
        Kingma and Welling 2014, appendix B.
    """
    # Not exp(x) - x - 1, which near 0 is all rounding.
    return 0.5 * jnp.sum(means**2 + (jnp.expm1(log_variances) - log_variances), axis=1)


@dataclasses.dataclass(frozen=True)
class Cost:
    """The cost of a VAE: the negative bound, estimated with one latent vector for each image.

    Attributes:
        binary: whether to draw black or white pixels each time an image is used, with grey levels
            as probabilities; the bound is then on the probability of binary images. Otherwise, the
            grey levels themselves are both input and target.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from advnets.baselines import vae
        >>> model, images = vae.new_vae(jax.random.key(0), (8, 8)), jnp.full((5, 8, 8), 0.5)
        >>> value, _, seen = vae.Cost()(jax.random.key(1), model, None, images)
        >>> sorted(seen)
        ['cross_entropy', 'divergence']

    References:
        Kingma and Welling 2014, equations (7) and (10), with one draw.
    """

    binary: bool = False

    def __call__(
        self, key: Key[Array, ""], model: VAE, memory: Any, batch: Float[Array, " batch *shape"]
    ) -> tuple[Float[Array, ""], Any, dict[str, Float[Array, ""]]]:
        """The cost of a minibatch.

        Args:
            key: a typed random key.
            model: the VAE.
            memory: returned unchanged; not used.
            batch: images, pixels in [0, 1].

        Returns:
            The cost, the memory, and the bound's two terms, each a mean over images, in nats.

        Raises:
            ValueError: if there are no images, or they do not have the model's number of pixels.
        """
        check_rows("a minibatch", batch)
        latents_key, pixels_key = jax.random.split(key)
        if self.binary:
            batch = jax.random.bernoulli(pixels_key, batch).astype(batch.dtype)
        means, log_variances = model.encode(batch)
        latents, _ = _drawn(latents_key, means, log_variances)
        cross_entropy = -jnp.mean(model.log_likelihood(latents, batch))
        apart = jnp.mean(divergence(means, log_variances))
        return cross_entropy + apart, memory, {"cross_entropy": cross_entropy, "divergence": apart}


def _drawn(
    key: Key[Array, ""],
    means: Float[Array, " batch size"],
    log_variances: Float[Array, " batch size"],
) -> tuple[Float[Array, " batch size"], Float[Array, " batch size"]]:
    """Latent vectors from q(z|x), and the standard normal noise they were made from."""
    noise = jax.random.normal(key, means.shape, means.dtype)
    return means + jnp.exp(log_variances / 2) * noise, noise


def log_bound(
    key: Key[Array, ""],
    model: VAE,
    images: Float[Array | np.ndarray, " rows *shape"],
    *,
    draws: int = 1,
    importance: bool = False,
) -> Float[np.ndarray, " rows"]:
    r"""A lower bound on log p(x) of each image, in nats, estimated with draws from q(z|x).

    $$\frac1K \sum_k \log w_k \quad\text{or, with importance,}\quad
      \log \frac1K \sum_k w_k, \qquad w_k = \frac{p(x|z_k)\, p(z_k)}{q(z_k|x)}$$

    Both are unbiased estimates of bounds. The first bound does not depend on K. The second is above
    it, and rises to log p(x) as K grows, if q's tails are heavy enough.

    Args:
        key: a typed random key.
        model: the VAE.
        images: pixels in [0, 1]; with Bernoulli pixels, this is a likelihood only for black and
            white images.
        draws: K, at least 1.
        importance: whether to use the importance-weighted bound.

    Returns:
        A number for each image.

    Raises:
        ValueError: if there are no images or no draws; if the images do not have the model's number
            of pixels; for Bernoulli pixels, if one is outside [0, 1].

    Example:
        >>> import jax
        >>> import numpy as np
        >>> from advnets.baselines import vae
        >>> model = vae.new_vae(jax.random.key(0), (8, 8), hidden_size=20, latent_size=3)
        >>> images = np.zeros((5, 8, 8), np.float32)
        >>> vae.log_bound(jax.random.key(1), model, images, draws=100, importance=True).shape
        (5,)

    References:
        Kingma and Welling 2014, equation (2); Burda, Grosse and Salakhutdinov 2016, "Importance
        weighted autoencoders", equation (8).
    """
    weights = log_weights(key, model, images, draws=draws)
    if not importance:
        return weights.mean(axis=1)
    return scipy.special.logsumexp(weights, axis=1) - math.log(draws)


def log_weights(
    key: Key[Array, ""],
    model: VAE,
    images: Float[Array | np.ndarray, " rows *shape"],
    *,
    draws: int,
) -> Float[np.ndarray, " rows {draws}"]:
    """The log w_k that [`advnets.baselines.vae.log_bound`][] averages, for both bounds at once.

    Args:
        key: a typed random key.
        model: the VAE.
        images: as for [`advnets.baselines.vae.log_bound`][].
        draws: the number of draws for each image, at least 1.

    Returns:
        A row for each image, in nats, float64.

    Raises:
        ValueError: as [`advnets.baselines.vae.log_bound`][].

    Example:
        >>> import jax
        >>> import numpy as np
        >>> from advnets.baselines import vae
        >>> model = vae.new_vae(jax.random.key(0), (8, 8), hidden_size=20, latent_size=3)
        >>> images = np.zeros((5, 8, 8), np.float32)
        >>> vae.log_weights(jax.random.key(1), model, images, draws=7).shape
        (5, 7)
    """
    check_count("the number of draws of each image", draws)
    check_rows("images", images)
    if model.width is None:
        check_pixels("images", images)
    at_once = min(draws, DECODED_AT_ONCE)
    rows = min(len(images), DECODED_AT_ONCE // at_once)
    found = np.empty((len(images), draws))
    for start in range(0, len(images), rows):
        block = np.asarray(images[start : start + rows], np.float32)
        padded = np.pad(block, [(0, rows - len(block)), *[(0, 0)] * (block.ndim - 1)])
        for first in range(0, draws, at_once):
            now = jax.random.fold_in(jax.random.fold_in(key, start), first)
            part = np.asarray(_log_weights(now, model, padded, at_once))[: len(block)]
            found[start : start + rows, first : first + at_once] = part[:, : draws - first]
    return found


@eqx.filter_jit
def _log_weights(
    key: Key[Array, ""], model: VAE, images: Float[Array | np.ndarray, " rows *shape"], draws: int
) -> Float[Array, " rows {draws}"]:
    """log w of `draws` draws from q(z|x) for each image."""
    images = jnp.asarray(images)
    means, log_variances = (jnp.repeat(x, draws, axis=0) for x in model.encode(images))
    latents, noise = _drawn(key, means, log_variances)
    log_q = _log_normal(noise) - jnp.sum(log_variances, axis=1) / 2
    log_p = model.log_likelihood(latents, jnp.repeat(images, draws, axis=0))
    return (log_p + _log_normal(latents) - log_q).reshape(len(images), draws)
