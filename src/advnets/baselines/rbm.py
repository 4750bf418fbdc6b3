"""Restricted Boltzmann machines of binary units, trained by persistent contrastive divergence.

A machine assigns a pair of binary vectors, visible v and hidden h, the energy
$E(v, h) = -v^T W h - c^T v - b^T h$ and the probability $e^{-E(v, h)} / Z$. All functions here
take batches, so that products stay matrix products, and are pure: use them under `jax.jit`.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Key, PyTree, Real

from advnets._counts import check_count
from advnets._precision import in_single
from advnets.baselines._pixels import as_rows, check_rows, check_units
from advnets.chains import Chain
from advnets.preprocessing import to_unit_interval

# The most units of the smaller side, hidden or visible, whose states are summed over.
MOST_SUMMED = 24
# The number of states summed at once.
BLOCK = 2**10


class RBM(eqx.Module):
    """A restricted Boltzmann machine of binary units.

    Attributes:
        weights: W.
        visible_bias: c.
        hidden_bias: b.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import numpy as np
        >>> from advnets.baselines import rbm
        >>> machine = rbm.start(jax.random.key(0), np.full(4, 0.5), hidden=3)
        >>> machine.hidden_means(jnp.ones((2, 4))).shape
        (2, 3)

    References:
        Smolensky 1986; Hinton 2002, "Training products of experts by minimizing contrastive
        divergence".
    """

    weights: Float[Array, "visible hidden"]
    visible_bias: Float[Array, " visible"]
    hidden_bias: Float[Array, " hidden"]

    def energy(
        self, visible: Float[Array, "batch visible"], hidden: Float[Array, "batch hidden"]
    ) -> Float[Array, " batch"]:
        """E(v, h) of pairs, in nats: the negative log of their unnormalised probability."""
        pairs = jnp.sum((visible @ self.weights) * hidden, axis=1)
        return -pairs - visible @ self.visible_bias - hidden @ self.hidden_bias

    def free_energy(self, visible: Float[Array, "batch visible"]) -> Float[Array, " batch"]:
        """F(v) in nats: the negative log of the sum of $e^{-E(v, h)}$ over all h."""
        inputs = self.hidden_inputs(visible)
        return -visible @ self.visible_bias - jnp.sum(softplus(inputs), axis=1)

    def hidden_means(self, visible: Float[Array, "batch visible"]) -> Float[Array, "batch hidden"]:
        """The probability that each hidden unit is 1, given the visible ones."""
        return jax.nn.sigmoid(self.hidden_inputs(visible))

    def visible_means(self, hidden: Float[Array, "batch hidden"]) -> Float[Array, "batch visible"]:
        """The probability that each visible unit is 1, given the hidden ones."""
        return jax.nn.sigmoid(self.visible_inputs(hidden))

    def hidden_inputs(self, visible: Float[Array, "batch visible"]) -> Float[Array, "batch hidden"]:
        """The log-odds of each hidden unit, given the visible ones."""
        return visible @ self.weights + self.hidden_bias[None, :]

    def visible_inputs(self, hidden: Float[Array, "batch hidden"]) -> Float[Array, "batch visible"]:
        """The log-odds of each visible unit, given the hidden ones."""
        return hidden @ self.weights.T + self.visible_bias[None, :]

    def sample_hidden(
        self, key: Key[Array, ""], visible: Float[Array, "batch visible"]
    ) -> Float[Array, "batch hidden"]:
        """Draws the hidden units, given the visible ones."""
        return binary(key, self.hidden_means(visible))

    def sample_visible(
        self, key: Key[Array, ""], hidden: Float[Array, "batch hidden"]
    ) -> Float[Array, "batch visible"]:
        """Draws the visible units, given the hidden ones."""
        return binary(key, self.visible_means(hidden))


def softplus(inputs: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """log(1 + e^x), the log of the sum over a unit's two states, with an absolute error of 1e-7.

    `jax.nn.softplus` is also accurate to the last digit for small values, which is lost in a sum
    over units; it costs a tenth of an update on a CPU.

    Args:
        inputs: the log-odds x of each unit.

    Returns:
        The logs, in nats.

    Example:
        >>> import jax.numpy as jnp
        >>> from advnets.baselines import rbm
        >>> rbm.softplus(jnp.array([-100.0, 100.0])).tolist()
        [0.0, 100.0]
    """
    return _softplus(inputs)


@jax.custom_jvp
def _softplus(inputs: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return jnp.maximum(inputs, 0) + jnp.log(1 + jnp.exp(-jnp.abs(inputs)))


@_softplus.defjvp
def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    # The same sigmoid is used to draw a machine's hidden units, so it is computed once.
    return _softplus(*primals), jax.nn.sigmoid(*primals) * tangents[0]


def binary(key: Key[Array, ""], means: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Independent draws of 0 and 1, from 16 random bits each.

    Probabilities are rounded to a multiple of 2^-16. This takes half the random bits of
    `jax.random.bernoulli`, whose cost is noticeable beside a layer's matrix product on a CPU.

    Args:
        key: a typed random key.
        means: the probabilities of 1; one below 2^-17 counts as 0.

    Returns:
        Zeros and ones, in the dtype of the probabilities.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from advnets.baselines import rbm
        >>> rbm.binary(jax.random.key(0), jnp.array([0.0, 1.0])).tolist()
        [0.0, 1.0]
    """
    half = -(-means.size // 2)
    words = jax.random.bits(key, (half,), jnp.uint32)
    bits = jnp.concatenate([words & 0xFFFF, words >> 16])[: means.size].reshape(means.shape)
    # The midpoint of an interval of 2^-16, so that probabilities are rounded to the nearest. A
    # type of 16 bits does not hold it.
    wide = in_single(means)
    return (bits.astype(wide.dtype) + 0.5 < wide * 2**16).astype(means.dtype)


def visible_of(
    key: Key[Array, ""], images: Real[Array, " batch *shape"]
) -> Float[Array, "batch n"]:
    """Binary images drawn from grey levels: each pixel is 1 with its level as the probability.

    Args:
        key: a typed random key.
        images: pixels in [0, 1], or uint8.

    Returns:
        Rows of zeros and ones.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from advnets.baselines import rbm
        >>> rbm.visible_of(jax.random.key(0), jnp.zeros((5, 2, 2))).shape
        (5, 4)
    """
    levels = to_unit_interval(images)
    return binary(key, levels.reshape(len(levels), math.prod(levels.shape[1:])))


def start(key: Key[Array, ""], means: Float[np.ndarray, " visible"], *, hidden: int) -> RBM:
    r"""A new machine: small weights, and visible biases that give the units their means.

    $$W_{ij} \sim N(0, 0.01^2), \qquad c_i = \log \frac{m_i}{1 - m_i}, \qquad b = 0$$

    Args:
        key: a typed random key.
        means: the means of the visible units in the training data, above 0 and below 1; see
            [`advnets.baselines.rbm.pixel_means`][].
        hidden: the number of hidden units.

    Returns:
        The machine.

    Raises:
        ValueError: if there is no hidden unit, or no visible one, or 2**31 or more; if a mean is
            not above 0 and below 1.

    Example:
        >>> import jax
        >>> import numpy as np
        >>> from advnets.baselines import rbm
        >>> rbm.start(jax.random.key(0), np.full(4, 0.5), hidden=3).visible_bias.tolist()
        [0.0, 0.0, 0.0, 0.0]

    References:
        Hinton 2012, "A practical guide to training restricted Boltzmann machines", section 8.
    """
    check_count("the number of hidden units", hidden)
    check_count("the number of visible units", means.size)
    weights = 0.01 * jax.random.normal(key, (means.size, hidden))
    return RBM(weights, log_odds(means), jnp.zeros(hidden, weights.dtype))


def log_odds(means: Float[np.ndarray, " units"]) -> Float[Array, " units"]:
    """The biases of independent binary units with given means.

    Args:
        means: the means, above 0 and below 1.

    Returns:
        The biases.

    Raises:
        ValueError: if a mean is not above 0 and below 1.

    Example:
        >>> import numpy as np
        >>> from advnets.baselines import rbm
        >>> rbm.log_odds(np.full(2, 0.5)).tolist()
        [0.0, 0.0]
    """
    if not ((means > 0) & (means < 1)).all():
        raise ValueError(
            f"means of binary units must be above 0 and below 1; got {means.min():g} to "
            f"{means.max():g}"
        )
    return jnp.asarray(np.log(means) - np.log1p(-means), float)


def pixel_means(images: Real[Array | np.ndarray, " rows *shape"]) -> Float[np.ndarray, " pixels"]:
    """The mean of each pixel over the images plus two more, a black one and a white one.

    Args:
        images: pixels in [0, 1], or uint8.

    Returns:
        The means, above 0 and below 1, in float64.

    Raises:
        ValueError: if there is no image, or a pixel is outside [0, 1].

    Example:
        >>> import numpy as np
        >>> from advnets.baselines import rbm
        >>> rbm.pixel_means(np.zeros((6, 2))).tolist()
        [0.125, 0.125]
    """
    pixels = np.asarray(images)
    rows = len(pixels)
    if not pixels.size:
        raise ValueError(f"binary units need images to learn; got an array of shape {pixels.shape}")
    top = 255.0 if pixels.dtype == np.uint8 else 1.0
    least, greatest = float(pixels.min()) / top, float(pixels.max()) / top
    if not (least >= 0 and greatest <= 1):
        raise ValueError(
            f"pixels of binary units are probabilities, from 0 to 1; got {least:g} to "
            f"{greatest:g} (scale the images, or use the preprocessing 'unit')"
        )
    total = pixels.reshape(rows, -1).sum(axis=0, dtype=np.float64) / top
    return (total + 1) / (rows + 2)


def fair_coins(key: Key[Array, ""], chains: int, units: int) -> Float[Array, "chains units"]:
    """Random hidden states to start persistent chains from.

    Args:
        key: a typed random key.
        chains: the number of chains.
        units: the number of hidden units.

    Returns:
        Zeros and ones, equally likely.

    Raises:
        ValueError: if there is no chain, or no unit; if a number is 2**31 or more.

    Example:
        >>> import jax
        >>> from advnets.baselines import rbm
        >>> rbm.fair_coins(jax.random.key(0), chains=100, units=3).shape
        (100, 3)
    """
    check_count("the number of persistent chains", chains)
    check_count("the number of hidden units", units)
    return binary(key, jnp.full((chains, units), 0.5))


class PCD(eqx.Module):
    r"""The cost of persistent contrastive divergence; call it with a minibatch of images.

    $$\tfrac1m \textstyle\sum_i F(v_i) - \tfrac1n \sum_j F(v^-_j) + \tfrac\lambda2 \|W\|^2$$

    Each time an image is used, a binary v is drawn from its grey levels. The v⁻ come from chains
    that continue from one update to the next, by `steps` Gibbs steps each time. Nothing is
    differentiated through them, so the gradient is that of the log-likelihood with the chains'
    states in place of exact samples. The value itself is not a measure of progress.

    Attributes:
        steps: the number of Gibbs steps in an update.
        decay: λ, the weight decay.

    Raises:
        ValueError: if there is no step, or 2**31 or more; if the decay is negative or not finite.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from advnets.baselines import rbm
        >>> key, images = jax.random.key(0), jnp.full((5, 4), 0.5)
        >>> machine = rbm.start(key, rbm.pixel_means(images), hidden=3)
        >>> chains = rbm.fair_coins(key, chains=100, units=3)
        >>> cost, chains, seen = rbm.PCD()(key, machine, chains, images)
        >>> chains.shape
        (100, 3)

    References:
        Tieleman 2008, "Training restricted Boltzmann machines using approximations to the
        likelihood gradient".
    """

    steps: int = eqx.field(static=True, default=1)
    decay: float = eqx.field(static=True, default=1e-4)

    def __check_init__(self) -> None:
        check_count("the number of Gibbs steps of an update", self.steps)
        if not 0 <= self.decay < math.inf:
            raise ValueError(f"the weight decay must be at least 0 and finite; got {self.decay}")

    def __call__(
        self,
        key: Key[Array, ""],
        model: RBM,
        memory: Float[Array, "chains hidden"],
        batch: Real[Array, " batch *shape"],
    ) -> tuple[Float[Array, ""], Float[Array, "chains hidden"], dict[str, Float[Array, ""]]]:
        """The cost, the new states of the chains, and the free energies.

        Args:
            key: a typed random key.
            model: the machine.
            memory: the hidden states of the chains.
            batch: images: pixels in [0, 1], or uint8.

        Returns:
            The cost in nats; the new hidden states; and the mean free energies of data and chains.

        Raises:
            ValueError: if there are no images or no chains; if their numbers of pixels and units
                are not the machine's.
        """
        drawn, chains = jax.random.split(key)
        rows = as_rows(batch, model.visible_bias.shape)
        return self.on_binary(chains, model, memory, visible_of(drawn, rows))

    def on_binary(
        self,
        key: Key[Array, ""],
        model: RBM,
        memory: Float[Array, "chains hidden"],
        visible: Float[Array, "batch visible"],
    ) -> tuple[Float[Array, ""], Float[Array, "chains hidden"], dict[str, Float[Array, ""]]]:
        """The same for visible units that are already binary.

        Args:
            key: a typed random key.
            model: the machine.
            memory: the hidden states of the chains.
            visible: zeros and ones.

        Returns:
            The cost in nats; the new hidden states; and the mean free energies of data and chains.

        Raises:
            ValueError: if there are no visible states or no chains; if their numbers of units are
                not the machine's.
        """
        for name, states, units in (
            ("the visible states", visible, model.visible_bias.size),
            ("the chains' states", memory, model.hidden_bias.size),
        ):
            check_rows(name, states)
            check_units(name, states.shape, units)
        still: RBM = lax.stop_gradient(model)
        keys = jax.random.split(key, self.steps)
        if self.steps > 1:  # only the last step's visible units are needed
            chain = Gibbs(still, (model.visible_bias.size,))
            memory, _ = lax.scan(lambda h, key: (chain.step(key, h), None), memory, keys[:-1])
        down, up = jax.random.split(keys[-1])
        fantasy = still.sample_visible(down, memory)
        memory = still.sample_hidden(up, fantasy)
        of_data = jnp.mean(model.free_energy(visible))
        of_chains = jnp.mean(model.free_energy(fantasy))
        decay = self.decay / 2 * jnp.sum(model.weights**2)
        seen = {"free_energy_data": of_data, "free_energy_chains": of_chains}
        return of_data - of_chains + decay, memory, seen


class Gibbs(Chain[Array]):
    """Gibbs sampling from a machine: a chain whose state is the hidden units.

    Attributes:
        model: the machine.
        shape: the shape of an image.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from advnets.baselines import rbm
        >>> key, images = jax.random.key(0), jnp.full((5, 2, 2), 0.5)
        >>> chain = rbm.Gibbs(rbm.start(key, rbm.pixel_means(images), hidden=3), (2, 2))
        >>> state = chain.step(key, chain.start(key, images))
        >>> chain.means(state).shape
        (5, 2, 2)
    """

    model: RBM
    shape: tuple[int, ...] = eqx.field(static=True)

    def start(
        self, key: Key[Array, ""], images: Float[Array, " chains *shape"]
    ) -> Float[Array, "chains hidden"]:
        """Hidden units drawn given binary images, which are drawn from grey levels.

        Raises a ValueError if the images have another number of pixels than the machine.
        """
        drawn, up = jax.random.split(key)
        rows = as_rows(images, self.model.visible_bias.shape)
        return self.model.sample_hidden(up, visible_of(drawn, rows))

    def step(
        self, key: Key[Array, ""], state: Float[Array, "chains hidden"]
    ) -> Float[Array, "chains hidden"]:
        """Draws visible units given the hidden ones, then hidden units given those."""
        down, up = jax.random.split(key)
        return self.model.sample_hidden(up, self.model.sample_visible(down, state))

    def means(self, state: Float[Array, "chains hidden"]) -> Float[Array, " chains *shape"]:
        """The pixels' probabilities, given the hidden units."""
        return self.model.visible_means(state).reshape(len(state), *self.shape)


def log_partition(model: RBM) -> Float[Array, ""]:
    """log Z by summing over all states of the smaller side, which may have at most 24 units.

    Args:
        model: the machine.

    Returns:
        log Z in nats.

    Raises:
        ValueError: if both sides have more units; estimate log Z with
            [`advnets.baselines.ais.log_partition`][] then.

    Example:
        >>> import jax.numpy as jnp
        >>> from advnets.baselines import rbm
        >>> free = rbm.RBM(jnp.zeros((4, 3)), jnp.zeros(4), jnp.zeros(3))
        >>> print(rbm.log_partition(free) / jnp.log(2))
        7.0
    """
    units = min(model.weights.shape)
    if units > MOST_SUMMED:
        raise ValueError(
            f"log Z is a sum over 2**{units} states, and at most 2**{MOST_SUMMED} are summed; "
            "estimate it with advnets.baselines.ais"
        )
    if units < model.weights.shape[0]:  # swapping the sides does not change Z
        model = RBM(model.weights.T, model.hidden_bias, model.visible_bias)
    block = min(BLOCK, 2**units)

    def add(total: Float[Array, ""], number: PyTree) -> tuple[Float[Array, ""], None]:
        states = number * block + jnp.arange(block)
        bits = (states[:, None] >> jnp.arange(units)[None, :]) & 1
        logs = -model.free_energy(bits.astype(model.weights.dtype))
        return jnp.logaddexp(total, jax.nn.logsumexp(logs)), None

    nothing = jnp.array(-jnp.inf, model.weights.dtype)
    total, _ = lax.scan(add, nothing, jnp.arange(2**units // block))
    return total
