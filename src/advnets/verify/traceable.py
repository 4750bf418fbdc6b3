"""Eq. 2 and Eq. 4-6 for `jit`, `grad` and `vmap`: the criterion's functions in JAX.

They take probability vectors (or masses on a grid) of one floating-point dtype, check nothing, and
compute in that dtype. Values and gradients are also right where a density is 0: the derivative of C
with respect to p_g is -∞ where p_g = 0 < p_data. In a cell that is empty in both densities, where
D* is 1/2 by convention, it is log 1/2, and the derivative of the divergences is 0.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Masses = Float[Array, "*cells"]


def optimal_discriminator(p_data: Masses, p_g: Masses) -> Float[Array, "..."]:
    r"""The discriminator that maximises V for a fixed generator.

    $$D^*_G(x) = \frac{p_{data}(x)}{p_{data}(x) + p_g(x)}$$

    Where both densities are 0, its value does not matter; here it is 1/2.

    Args:
        p_data: the data's probabilities.
        p_g: the generator's, of the same shape and dtype.

    Returns:
        D* in each cell, in [0, 1].

    Example:
        >>> import jax.numpy as jnp
        >>> from advnets.verify import traceable
        >>> p, q = jnp.array([0.5, 0.5, 0.0]), jnp.array([0.5, 0.0, 0.5])
        >>> traceable.optimal_discriminator(p, q).tolist()
        [0.5, 1.0, 0.0]

    References:
        Eq. 2 (Proposition 1).
    """
    data, model = _occupied(p_data, p_g)
    return data / (data + model)


def virtual_criterion(p_data: Masses, p_g: Masses) -> Float[Array, ""]:
    r"""The virtual training criterion: the value of the game at the optimal discriminator.

    $$C(G) = \max_D V(G, D) = E_{data}[\log D^*_G] + E_g[\log(1 - D^*_G)]$$

    Args:
        p_data: the data's probabilities.
        p_g: the generator's, of the same shape and dtype.

    Returns:
        C in nats.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from advnets.verify import traceable
        >>> p, q = jnp.array([0.5, 0.5]), jnp.array([1.0, 0.0])
        >>> slopes = jax.grad(traceable.virtual_criterion, argnums=1)(p, q)
        >>> [round(float(slope), 4) for slope in slopes]
        [-0.4055, -inf]

    References:
        Eq. 4.
    """
    real = optimal_discriminator(p_data, p_g)
    fake = optimal_discriminator(p_g, p_data)  # 1 - D*, without the cancellation
    return jnp.sum(_xlogy(p_data, real) + _xlogy(p_g, fake))


def suboptimality(p_data: Masses, p_g: Masses) -> Float[Array, ""]:
    r"""How far the generator is from the global minimum of the criterion, without cancellation.

    $$C(G) + \log 4 = \textstyle\sum_x \frac{p_{data} + p_g}{2}
    [\log(1 - u^2) + 2 u\, \mathrm{artanh}\, u], \qquad
    u = \frac{p_{data} - p_g}{p_{data} + p_g}$$

    Its gradient is that of the sum: the gradient of C plus log 2 in each cell, which makes no
    difference for densities, whose changes sum to 0.

    Args:
        p_data: the data's probabilities.
        p_g: the generator's, of the same shape and dtype.

    Returns:
        C + log 4 in nats.

    Example:
        >>> import jax.numpy as jnp
        >>> from advnets.verify import traceable
        >>> p, q = jnp.array([0.5, 0.5]), jnp.array([0.5001, 0.4999])
        >>> f"{traceable.suboptimality(p, q):.2g}"
        '1e-08'

    References:
        Theorem 1.
    """
    data, model = _occupied(p_data, p_g)
    total = data + model
    u = (data - model) / total
    near = jnp.abs(u) < 0.5
    v = jnp.where(near, u, 0.0)
    small = total / 2 * (jnp.log1p(-(v**2)) + 2 * v * jnp.arctanh(v))
    # For larger |u|, 1 - u² would lose digits; there the divergences of Eq. 5 do not cancel.
    large = _xlogy(data, 2 * data / total) + _xlogy(model, 2 * model / total)
    return jnp.sum(jnp.where(near, small, large))


def value_on_grid(p_data: Masses, p_g: Masses, logits: Masses) -> Float[Array, ""]:
    r"""The value of the game for any discriminator, as a sum over the grid.

    $$V(D, G) = \textstyle\sum_x p_{data} \log D + p_g \log(1 - D)$$

    Args:
        p_data: the data's probabilities.
        p_g: the generator's, of the same shape and dtype.
        logits: the discriminator's logit in each cell; infinite where D is 0 or 1.

    Returns:
        V in nats.

    Example:
        >>> import jax.numpy as jnp
        >>> from advnets.verify import traceable
        >>> p, q = jnp.array([0.5, 0.5]), jnp.array([0.25, 0.75])
        >>> round(float(traceable.value_on_grid(p, q, jnp.zeros(2))), 4)
        -1.3863

    References:
        Eq. 1 and Eq. 3.
    """
    real = _weighted(p_data, jax.nn.log_sigmoid(logits))
    return jnp.sum(real + _weighted(p_g, jax.nn.log_sigmoid(-logits)))


def kullback_leibler(p: Masses, q: Masses) -> Float[Array, ""]:
    r"""The Kullback-Leibler divergence KL(p || q).

    $$KL(p \| q) = \textstyle\sum_x p \log(p / q)$$

    with 0 log 0 = 0, and infinite if p has mass where q has none.

    Args:
        p: probabilities.
        q: the other, of the same shape and dtype.

    Returns:
        The divergence in nats. For densities close to each other, rounding may take it below 0.

    Example:
        >>> import jax.numpy as jnp
        >>> from advnets.verify import traceable
        >>> p, q = jnp.array([1.0, 0.0]), jnp.array([0.5, 0.5])
        >>> round(float(traceable.kullback_leibler(p, q)), 4)
        0.6931

    References:
        Eq. 5.
    """
    first, second = _occupied(p, q)
    # A cell that is empty in both is 1 log 1 - 1 log 1 here: no value and no gradient.
    return jnp.sum(_xlogy(first, first) - _xlogy(first, second))


def jensen_shannon(p: Masses, q: Masses) -> Float[Array, ""]:
    r"""The Jensen-Shannon divergence between p and q, from entropies.

    $$JSD(p \| q) = H(m) - \tfrac12 H(p) - \tfrac12 H(q), \qquad m = (p + q) / 2$$

    Args:
        p: probabilities.
        q: the other, of the same shape and dtype.

    Returns:
        The divergence in nats, never below 0, with an absolute error of a few roundings of 1: 1e-7
        in float32. For densities so close that this matters, use half of
        [`advnets.verify.traceable.suboptimality`][]: the same number, accurate to its last digits.

    Example:
        >>> import jax.numpy as jnp
        >>> from advnets.verify import traceable
        >>> p, q = jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0])
        >>> round(float(traceable.jensen_shannon(p, q)), 4)
        0.6931

    References:
        Eq. 6.
    """
    first, second = _occupied(p, q)
    mean = (first + second) / 2
    halves = _xlogy(first, first) / 2 + _xlogy(second, second) / 2
    found = jnp.sum(halves - _xlogy(mean, mean))
    # Rounding may take it below 0. The correction is a constant, so it has no gradient.
    return found + jax.lax.stop_gradient(jnp.maximum(-found, 0))


def _occupied(p: Masses, q: Masses) -> tuple[Masses, Masses]:
    """Both, with the constant 1, which has no gradient, in cells that are empty in both."""
    empty = (p == 0) & (q == 0)
    return jnp.where(empty, 1.0, p), jnp.where(empty, 1.0, q)


@jax.custom_jvp
def _xlogy(x: Masses, y: Masses) -> Masses:
    """The product x log y, 0 for x = 0. The gradient of JAX's own is NaN at x = y = 0."""
    return jnp.where(x == 0, 0.0, x * jnp.log(jnp.where(x == 0, 1.0, y)))


@_xlogy.defjvp
def _xlogy_jvp(
    primals: tuple[Masses, Masses], tangents: tuple[Masses, Masses]
) -> tuple[Masses, Masses]:
    (x, y), (dx, dy) = primals, tangents
    ratio = jnp.where(x == 0, 0.0, x / jnp.where(x == 0, 1.0, y))
    return _xlogy(x, y), dx * jnp.log(y) + dy * ratio


@jax.custom_jvp
def _weighted(weight: Masses, log: Masses) -> Masses:
    """The product, and 0 where the weight is 0, even if the logarithm is -∞."""
    return jnp.where(weight == 0, 0.0, weight * log)


@_weighted.defjvp
def _weighted_jvp(
    primals: tuple[Masses, Masses], tangents: tuple[Masses, Masses]
) -> tuple[Masses, Masses]:
    (weight, log), (dweight, dlog) = primals, tangents
    return _weighted(weight, log), dweight * log + weight * dlog
