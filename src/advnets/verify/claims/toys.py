"""Games small enough to run many times: their players, and a sign test over 20 runs."""

import itertools
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats
from jaxtyping import Array, Bool, Float, Key

from advnets.priors import Prior

RUNS = 20
# The bound of uniform noise with variance 1.
BOUND = float(np.sqrt(3))


class Affine(eqx.Module):
    """G(z) = scale z + shift, component by component: with a normal prior, p_g is normal."""

    scale: Float[Array, " d"]
    shift: Float[Array, " d"]

    def __call__(self, z: Float[Array, " d"]) -> Float[Array, " d"]:
        return self.scale * z + self.shift


class Linear(eqx.Module):
    """G(z) = A z + b in the plane."""

    matrix: Float[Array, "2 2"]
    shift: Float[Array, "2"]

    def __call__(self, z: Float[Array, "2"]) -> Float[Array, "2"]:
        return self.matrix @ z + self.shift


class Increasing(eqx.Module):
    """A neural generator of one variable whose weights are positive, so that it increases."""

    slopes: Float[Array, " units"]
    offsets: Float[Array, " units"]
    heights: Float[Array, " units"]

    def __call__(self, z: Float[Array, "1"]) -> Float[Array, "1"]:
        return 0.3 * z + jnp.sum(self.heights * jnp.tanh(self.slopes * z + self.offsets))[None]


class TrainedIncreasing(eqx.Module):
    """A generator of one variable that stays increasing in training: it stores logarithms.

    It first stretches uniform noise to the whole line, so that p_g has tails.
    """

    shift: Float[Array, "1"]
    log_scale: Float[Array, "1"]
    log_heights: Float[Array, " units"]
    log_slopes: Float[Array, " units"]
    offsets: Float[Array, " units"]

    def __call__(self, z: Float[Array, "1"]) -> Float[Array, "1"]:
        below = jnp.clip((z / BOUND + 1) / 2, 1e-6, 1 - 1e-6)
        bends = jnp.exp(self.log_heights) * jnp.tanh(jnp.exp(self.log_slopes) * (z - self.offsets))
        stretched = jnp.exp(self.log_scale) * jax.scipy.special.ndtri(below)
        return self.shift + stretched + jnp.sum(bends, keepdims=True)


class Network(eqx.Module):
    """Rectified linear layers and a linear one, as weights and biases."""

    layers: list[tuple[Float[Array, "out in"], Float[Array, " out"]]]

    def __call__(self, x: Float[Array, " in"]) -> Float[Array, " out"]:
        *hidden, (weight, bias) = self.layers
        for matrix, offset in hidden:
            x = jax.nn.relu(matrix @ x + offset)
        return weight @ x + bias


class Bounded(eqx.Module):
    """A generator whose examples stay in a box, as pixels do."""

    network: Network

    def __call__(self, z: Float[Array, "2"]) -> Float[Array, "2"]:
        return 3 * jnp.tanh(self.network(z))


class QuadraticOnLine(eqx.Module):
    """A discriminator on the line with a quadratic logit, as D* for normal densities has."""

    weights: Float[Array, "3"]

    def __call__(self, x: Float[Array, "1"]) -> Float[Array, ""]:
        return self.weights[0] + self.weights[1] * x[0] + self.weights[2] * x[0] ** 2


class QuadraticInPlane(eqx.Module):
    """A discriminator in the plane with a quadratic logit."""

    matrix: Float[Array, "2 2"]
    linear: Float[Array, "2"]
    constant: Float[Array, ""]

    def __call__(self, x: Float[Array, "2"]) -> Float[Array, ""]:
        return x @ self.matrix @ x + self.linear @ x + self.constant


class Quantiles(Prior):
    """Not random: the standard normal's quantiles at the midpoints of n equal intervals."""

    size: int = eqx.field(static=True, default=1)

    def __call__(self, key: Key[Array, ""], n: int) -> Float[Array, " n size"]:
        return jax.scipy.special.ndtri((jnp.arange(n).astype(float) + 0.5) / n)[:, None]


def networks(rng: np.random.Generator, sizes: Sequence[int]) -> Any:
    """A random network for each run, stacked; weights are uniform in ±1/√inputs, as in Equinox.

    NumPy draws them, because JAX takes seconds to compile so many small draws.
    """

    def drawn(inputs: int, *shape: int) -> Float[Array, "..."]:
        bound = inputs**-0.5
        return jnp.asarray(rng.uniform(-bound, bound, (RUNS, *shape)), float)

    pairs = itertools.pairwise(sizes)
    layers = [(drawn(inputs, units, inputs), drawn(inputs, units)) for inputs, units in pairs]
    # The stack is not a network itself: its arrays have a leading axis, and vmap skips the checks.
    return jax.vmap(Network)(layers)


def run_keys(seed: int) -> Key[Array, " runs"]:
    """A key for each run."""
    return jax.random.split(jax.random.key(seed), RUNS)


def sign_test(wins: Bool[np.ndarray, " runs"]) -> float:
    """The probability of at least as many wins with a fair coin; ties do not count as wins."""
    return float(scipy.stats.binomtest(int(wins.sum()), wins.size, alternative="greater").pvalue)
