"""Eq. 2 and Eq. 4-6 on discretised densities, in float64 whatever the caller's precision.

The virtual training criterion is computed from the optimal discriminator, the Kullback-Leibler
divergence by SciPy's relative entropy, and the Jensen-Shannon divergence from entropies. They share
no code, so that an identity between them is a check.
"""

import math

import numpy as np
import scipy.special
from jaxtyping import Float

from advnets.verify.densities import Density, _real_array, masses


def optimal_discriminator(
    p_data: Density,
    p_g: Density,
    cell_volume: float = 1.0,
) -> Float[np.ndarray, "..."]:
    r"""The discriminator that maximises V for a fixed generator.

    $$D^*_G(x) = \frac{p_{data}(x)}{p_{data}(x) + p_g(x)}$$

    Where both densities are 0, its value does not matter; here it is 1/2.

    Args:
        p_data: the data's density on a grid, or probabilities.
        p_g: the generator's density, on the same grid.
        cell_volume: the volume of a cell, above 0.

    Returns:
        D* in each cell, in [0, 1].

    Raises:
        TypeError: for a traced array.
        ValueError: if an argument is not a density, or the shapes differ.

    Example:
        >>> from advnets import verify
        >>> verify.optimal_discriminator([0.5, 0.5, 0.0], [0.5, 0.25, 0.25]).round(3).tolist()
        [0.5, 0.667, 0.0]

    References:
        Eq. 2 (Proposition 1).
    """
    data, model = _pair(("p_data", "p_g"), p_data, p_g, cell_volume)
    total = data + model
    return np.divide(data, total, out=np.full(total.shape, 0.5), where=total > 0)


def virtual_criterion(
    p_data: Density,
    p_g: Density,
    cell_volume: float = 1.0,
) -> float:
    r"""The virtual training criterion: the value of the game at the optimal discriminator.

    $$C(G) = \max_D V(G, D) = E_{data}[\log D^*_G] + E_g[\log(1 - D^*_G)]$$

    Args:
        p_data: the data's density on a grid, or probabilities.
        p_g: the generator's density, on the same grid.
        cell_volume: the volume of a cell, above 0.

    Returns:
        C in nats, in [-log 4, 0]. Near -log 4, the difference C + log 4 loses digits to
        cancellation; [`advnets.verify.suboptimality`][] does not.

    Raises:
        TypeError: for a traced array.
        ValueError: if an argument is not a density, or the shapes differ.

    Example:
        >>> from advnets import verify
        >>> round(verify.virtual_criterion([0.5, 0.5], [0.5, 0.5]), 6)
        -1.386294
        >>> verify.virtual_criterion([1.0, 0.0], [0.0, 1.0])
        0.0

    References:
        Eq. 4.
    """
    data, model = _pair(("p_data", "p_g"), p_data, p_g, cell_volume)
    real = optimal_discriminator(data, model)
    fake = optimal_discriminator(model, data)  # 1 - D*, without the cancellation
    total = float(np.sum(scipy.special.xlogy(data, real) + scipy.special.xlogy(model, fake)))
    return max(total, -math.log(4))  # rounding may take it below


def suboptimality(
    p_data: Density,
    p_g: Density,
    cell_volume: float = 1.0,
) -> float:
    r"""How far the generator is from the global minimum of the criterion, without cancellation.

    $$C(G) + \log 4 = \textstyle\sum_x \frac{p_{data} + p_g}{2}
    [\log(1 - u^2) + 2 u\, \mathrm{artanh}\, u], \qquad
    u = \frac{p_{data} - p_g}{p_{data} + p_g}$$

    Args:
        p_data: the data's density on a grid, or probabilities.
        p_g: the generator's density, on the same grid.
        cell_volume: the volume of a cell, above 0.

    Returns:
        C + log 4 in nats, in [0, 2 log 2]. However small it is, its relative error is that of
        rounding, for the masses as rounded to float64.

    Raises:
        TypeError: for a traced array.
        ValueError: if an argument is not a density, or the shapes differ.

    Example:
        >>> from advnets import verify
        >>> verify.suboptimality([0.5, 0.5], [0.5, 0.5])
        0.0
        >>> f"{verify.suboptimality([0.5, 0.5], [0.5 + 1e-10, 0.5 - 1e-10]):.3g}"
        '1e-20'

    References:
        Theorem 1.
    """
    data, model = _pair(("p_data", "p_g"), p_data, p_g, cell_volume)
    return float(np.sum(_excess(data, model)))


def value_on_grid(
    p_data: Density,
    p_g: Density,
    logits: Density,
    cell_volume: float = 1.0,
) -> float:
    r"""The value of the game for any discriminator, as a sum over the grid.

    $$V(D, G) = \textstyle\sum_x p_{data} \log D + p_g \log(1 - D)$$

    Args:
        p_data: the data's density on a grid, or probabilities.
        p_g: the generator's density, on the same grid.
        logits: the discriminator's logit in each cell; infinite where D is 0 or 1.
        cell_volume: the volume of a cell, above 0.

    Returns:
        V in nats, at most 0; minus infinity if D is 0 where p_data has mass, or 1 where p_g has.

    Raises:
        TypeError: for a traced array.
        ValueError: if p_data or p_g is not a density, the shapes differ, or a logit is NaN.

    Example:
        >>> import numpy as np
        >>> from advnets import verify
        >>> round(verify.value_on_grid([0.5, 0.5], [0.25, 0.75], np.zeros(2)), 6)
        -1.386294

    References:
        Eq. 1 and Eq. 3.
    """
    data, model = _pair(("p_data", "p_g"), p_data, p_g, cell_volume)
    given = _real_array("logits", logits)
    if given.shape != data.shape:
        raise ValueError(
            f"logits has shape {given.shape} and the densities {data.shape}; give one for each cell"
        )
    if np.isnan(given).any():
        raise ValueError("logits holds nan; give a number, or infinity where D is 0 or 1")
    return float(_expectation(data, given) + _expectation(model, -given))


def kullback_leibler(
    p: Density,
    q: Density,
    cell_volume: float = 1.0,
) -> float:
    r"""The Kullback-Leibler divergence KL(p || q).

    $$KL(p \| q) = \textstyle\sum_x p \log(p / q)$$

    with 0 log 0 = 0, and infinite if p has mass where q has none.

    Args:
        p: a density on a grid, or probabilities.
        q: the other, on the same grid.
        cell_volume: the volume of a cell, above 0.

    Returns:
        The divergence in nats, in [0, ∞], with an absolute error of about 1e-16.

    Raises:
        TypeError: for a traced array.
        ValueError: if an argument is not a density, or the shapes differ.

    Example:
        >>> from advnets import verify
        >>> round(verify.kullback_leibler([1.0, 0.0], [0.5, 0.5]), 6)
        0.693147
        >>> verify.kullback_leibler([0.5, 0.5], [1.0, 0.0])
        inf

    References:
        Eq. 5.
    """
    first, second = _pair(("p", "q"), p, q, cell_volume)
    # Rounding may take the sum below 0, where a square root is NaN.
    return max(float(np.sum(scipy.special.rel_entr(first, second))), 0.0)


def jensen_shannon(
    p: Density,
    q: Density,
    cell_volume: float = 1.0,
) -> float:
    r"""The Jensen-Shannon divergence between p and q, from entropies.

    $$JSD(p \| q) = H(m) - \tfrac12 H(p) - \tfrac12 H(q), \qquad m = (p + q) / 2$$

    Args:
        p: a density on a grid, or probabilities.
        q: the other, on the same grid.
        cell_volume: the volume of a cell, above 0.

    Returns:
        The divergence in nats, in [0, log 2], with an absolute error of about 1e-16. For densities
        so close that this matters, use half of [`advnets.verify.suboptimality`][]: the same number,
        accurate to its last digits.

    Raises:
        TypeError: for a traced array.
        ValueError: if an argument is not a density, or the shapes differ.

    Example:
        >>> from advnets import verify
        >>> round(verify.jensen_shannon([1.0, 0.0], [0.0, 1.0]), 6)
        0.693147

    References:
        Eq. 6.
    """
    first, second = _pair(("p", "q"), p, q, cell_volume)
    terms = (
        scipy.special.entr((first + second) / 2)
        - scipy.special.entr(first) / 2
        - scipy.special.entr(second) / 2
    )
    return min(max(float(np.sum(terms)), 0.0), math.log(2))  # rounding may take it outside


def _pair(
    names: tuple[str, str],
    p: Density,
    q: Density,
    cell_volume: float,
) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    first, second = masses(names[0], p, cell_volume), masses(names[1], q, cell_volume)
    if first.shape != second.shape:
        raise ValueError(
            f"{names[0]} has shape {first.shape} and {names[1]} {second.shape}; put both on one "
            "grid"
        )
    return first, second


def _expectation(
    weights: Float[np.ndarray, "*cells"], logits: Float[np.ndarray, "*cells"]
) -> np.float64:
    """The expectation of log sigmoid, with 0 · (-∞) = 0."""
    logs = scipy.special.log_expit(logits)
    return np.sum(np.multiply(weights, logs, out=np.zeros_like(weights), where=weights > 0))


def _excess(
    data: Float[np.ndarray, "*cells"], model: Float[np.ndarray, "*cells"]
) -> Float[np.ndarray, "*cells"]:
    """Each cell's contribution to C + log 4, from masses."""
    total = data + model
    u = np.divide(data - model, total, out=np.zeros(total.shape), where=total > 0)
    near = np.abs(u) < 0.5
    v = np.where(near, u, 0.0)
    small = total / 2 * (np.log1p(-(v**2)) + 2 * v * np.arctanh(v))
    # For larger |u|, 1 - u² would lose digits; there the divergences of Eq. 5 do not cancel.
    # (Twice the ratio to the total, because half of the smallest positive float would be 0.)
    real = np.divide(data, total, out=np.ones(total.shape), where=total > 0)
    fake = np.divide(model, total, out=np.ones(total.shape), where=total > 0)
    large = scipy.special.xlogy(data, 2 * real) + scipy.special.xlogy(model, 2 * fake)
    return np.where(near, small, large)
