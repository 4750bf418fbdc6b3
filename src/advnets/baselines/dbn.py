"""Deep belief networks of two hidden layers: an RBM, and another on top of its hidden units.

$p(x, h_1) = p(x | h_1) p(h_1)$: the upper machine is the prior of the lower one's hidden units, and
only the downward direction of the lower machine remains. Training is greedy, the lower one first.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Key, Real

from advnets._counts import check_count
from advnets.baselines import rbm
from advnets.baselines._pixels import as_rows, check_units
from advnets.baselines.rbm import PCD, RBM, binary, softplus, visible_of
from advnets.chains import Chain
from advnets.players import Frozen

# The most images over which units of the first hidden layer are averaged.
MEANS_OF = 10_000


class DBN(eqx.Module):
    """A deep belief network of two hidden layers.

    Attributes:
        lower: the machine of pixels and first hidden layer; in [`advnets.players.Frozen`][] while
            the upper one is trained.
        upper: the machine of first and second hidden layer.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from advnets.baselines import dbn, rbm
        >>> key, images = jax.random.key(0), jnp.full((5, 4), 0.5)
        >>> machine = rbm.start(key, rbm.pixel_means(images), hidden=3)
        >>> net = dbn.stack(key, machine, images, hidden=2)
        >>> net.upper.weights.shape
        (3, 2)

    References:
        Hinton, Osindero and Teh 2006, "A fast learning algorithm for deep belief nets".
    """

    lower: RBM | Frozen
    upper: RBM

    @property
    def first(self) -> RBM:
        """The lower machine, frozen or not."""
        return self.lower.tree if isinstance(self.lower, Frozen) else self.lower


def stack(
    key: Key[Array, ""],
    lower: RBM,
    images: Real[Array | np.ndarray, " rows *shape"],
    *,
    hidden: int,
) -> DBN:
    """A network with a new machine on top of a trained one, which is frozen.

    Args:
        key: a typed random key.
        lower: the trained machine.
        images: its training data: pixels in [0, 1], or uint8. The upper machine's visible biases
            give the lower one's hidden units their means over the first 10,000 images.
        hidden: the number of units of the second hidden layer.

    Returns:
        The network.

    Raises:
        ValueError: if there is no hidden unit, or no image; if the images do not have the machine's
            number of pixels, or a pixel is outside [0, 1].

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from advnets.baselines import dbn, rbm
        >>> key, images = jax.random.key(0), jnp.full((5, 4), 0.5)
        >>> machine = rbm.start(key, rbm.pixel_means(images), hidden=3)
        >>> net = dbn.stack(key, machine, images, hidden=2)
        >>> net.lower.tree.weights.shape
        (4, 3)
    """
    of_upper, of_means = jax.random.split(key)
    means = first_means(of_means, lower, images)
    return DBN(Frozen(lower), rbm.start(of_upper, means, hidden=hidden))


def first_means(
    key: Key[Array, ""], lower: RBM, images: Real[Array | np.ndarray, " rows *shape"]
) -> Float[np.ndarray, " first"]:
    """The mean of each unit of the first hidden layer over at most 10,000 images.

    Args:
        key: a typed random key, for drawing binary images.
        lower: the lower machine.
        images: pixels in [0, 1], or uint8.

    Returns:
        The means, computed as by [`advnets.baselines.rbm.pixel_means`][].

    Raises:
        ValueError: if there is no image; if the images do not have the machine's number of pixels,
            or a pixel is outside [0, 1].

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from advnets.baselines import dbn, rbm
        >>> key, images = jax.random.key(0), jnp.full((5, 4), 0.5)
        >>> machine = rbm.start(key, rbm.pixel_means(images), hidden=3)
        >>> dbn.first_means(key, machine, images).shape
        (3,)
    """
    rows = images[:MEANS_OF]
    rbm.pixel_means(rows)  # refuses pixels that are not probabilities
    rows = as_rows(jnp.asarray(rows), lower.visible_bias.shape)
    up = jax.jit(lambda lower, rows: lower.hidden_means(visible_of(key, rows)))
    return rbm.pixel_means(up(lower, rows))


class UpperPCD(eqx.Module):
    """The cost of the upper machine, by [`advnets.baselines.rbm.PCD`][], with the lower one frozen.

    Each time an image is used, a binary image is drawn from its grey levels, and the lower
    machine's hidden units are drawn given that.

    Attributes:
        pcd: the cost applied to the upper machine.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from advnets.baselines import dbn, rbm
        >>> key, images = jax.random.key(0), jnp.full((5, 4), 0.5)
        >>> machine = rbm.start(key, rbm.pixel_means(images), hidden=3)
        >>> net = dbn.stack(key, machine, images, hidden=2)
        >>> chains = rbm.fair_coins(key, chains=100, units=2)
        >>> cost, chains, seen = dbn.UpperPCD()(key, net, chains, images)
        >>> chains.shape
        (100, 2)
    """

    pcd: PCD = PCD()

    def __call__(
        self,
        key: Key[Array, ""],
        model: DBN,
        memory: Float[Array, "chains hidden"],
        batch: Real[Array, " batch *shape"],
    ) -> tuple[Float[Array, ""], Float[Array, "chains hidden"], dict[str, Float[Array, ""]]]:
        """The cost, the new states of the chains, and the free energies.

        Args:
            key: a typed random key.
            model: the network.
            memory: the chains' states of the second hidden layer.
            batch: images: pixels in [0, 1], or uint8.

        Returns:
            The cost in nats; the new states; and the mean free energies of data and chains.

        Raises:
            ValueError: if there are no images or no chains; if their numbers of pixels and units
                are not the network's.
        """
        drawn, up, chains = jax.random.split(key, 3)
        rows = as_rows(batch, model.first.visible_bias.shape)
        first = lax.stop_gradient(model.first.sample_hidden(up, visible_of(drawn, rows)))
        return self.pcd.on_binary(chains, model.upper, memory, first)


class Layers(eqx.Module):
    """The state of a network's chain: both hidden layers, of zeros and ones.

    Attributes:
        first: the first hidden layer.
        second: the second.
    """

    first: Float[Array, "chains first"]
    second: Float[Array, "chains second"]


class TopGibbs(Chain[Layers]):
    """Gibbs sampling from a network: in the upper machine, with a downward pass to the pixels.

    The first hidden layer is drawn in both directions, never replaced by its means: with means the
    chain would not sample from this model.

    Attributes:
        model: the network.
        shape: the shape of an image.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from advnets.baselines import dbn, rbm
        >>> key, images = jax.random.key(0), jnp.full((5, 2, 2), 0.5)
        >>> machine = rbm.start(key, rbm.pixel_means(images), hidden=3)
        >>> net = dbn.stack(key, machine, images, hidden=2)
        >>> chain = dbn.TopGibbs(net, (2, 2))
        >>> state = chain.step(key, chain.start(key, images))
        >>> chain.means(state).shape
        (5, 2, 2)
    """

    model: DBN
    shape: tuple[int, ...] = eqx.field(static=True)

    def start(self, key: Key[Array, ""], images: Float[Array, " chains *shape"]) -> Layers:
        """Both layers drawn upward from binary images, which are drawn from grey levels.

        Raises a ValueError if the images do not have the network's number of pixels.
        """
        drawn, up, further_up = jax.random.split(key, 3)
        rows = as_rows(images, self.model.first.visible_bias.shape)
        first = self.model.first.sample_hidden(up, visible_of(drawn, rows))
        return Layers(first, self.model.upper.sample_hidden(further_up, first))

    def step(self, key: Key[Array, ""], state: Layers) -> Layers:
        """Draws the first layer given the second, then the second given the first."""
        down, up = jax.random.split(key)
        first = self.model.upper.sample_visible(down, state.second)
        return Layers(first, self.model.upper.sample_hidden(up, first))

    def means(self, state: Layers) -> Float[Array, " chains *shape"]:
        """The pixels' probabilities, given the first layer."""
        pixels = self.model.first.visible_means(state.first)
        return pixels.reshape(len(pixels), *self.shape)


def log_weights(
    key: Key[Array, ""], model: DBN, visible: Float[Array, "batch visible"], draws: int
) -> Float[Array, "draws batch"]:
    r"""The terms of bounds on a network's log-likelihood, except log Z of the upper machine.

    $$\log p(x \mid h_1) + \log p^*(h_1) - \log q(h_1 \mid x), \qquad h_1 \sim q$$

    q is the lower machine's conditional of its hidden units, and p* the upper machine's
    unnormalised probability of its visible units. The mean over draws, minus log Z, is the
    variational bound; the log of their mean exponential, minus log Z, is in expectation a tighter
    one.

    Args:
        key: a typed random key.
        model: the network.
        visible: binary images.
        draws: the number of draws of h₁ for each image.

    Returns:
        The logs, in nats.

    Raises:
        ValueError: if there is no draw, or 2**31 or more; if images do not have the network's
            number of pixels.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from advnets.baselines import dbn, rbm
        >>> key, images = jax.random.key(0), jnp.zeros((5, 4))
        >>> machine = rbm.start(key, rbm.pixel_means(images), hidden=3)
        >>> net = dbn.stack(key, machine, images, hidden=2)
        >>> dbn.log_weights(key, net, images, draws=10).shape
        (10, 5)

    References:
        Salakhutdinov and Murray 2008, "On the quantitative analysis of deep belief networks",
        section 5; Burda et al. 2016, "Importance weighted autoencoders".
    """
    check_count("the number of draws", draws)
    check_units("images", visible.shape, model.first.visible_bias.size)
    means = model.first.hidden_means(visible)

    def of_draw(key: Key[Array, ""]) -> Float[Array, " batch"]:
        first = binary(key, means)
        down = _log_bernoulli(visible, model.first.visible_inputs(first))
        up = _log_bernoulli(first, model.first.hidden_inputs(visible))
        return down - model.upper.free_energy(first) - up

    return lax.map(of_draw, jax.random.split(key, draws))


def _log_bernoulli(
    states: Float[Array, "batch units"], inputs: Float[Array, "batch units"]
) -> Float[Array, " batch"]:
    """The log-probability of binary states, given their log-odds."""
    return jnp.sum(states * inputs - softplus(inputs), axis=1)
