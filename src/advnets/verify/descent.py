"""Proposition 2's descent: updates of the generator's density itself, with D at its optimum.

The gradient of the criterion with respect to the density p_g is log(1 - D*). There are two ways to
descend it: multiplicative updates (mirror descent), which keep p_g a density, and projected
gradient steps.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from advnets.verify.criterion import _excess, _pair
from advnets.verify.densities import Density, _real_number

Masses = Float[np.ndarray, "*batch cells"]


@dataclasses.dataclass(frozen=True)
class Descent:
    """The result of a descent.

    Attributes:
        density: the generator's density after the last step, in the shape and unit of the input.
        gaps: C + log 4 at the start and after each step, accurate to rounding however small.
    """

    density: Float[np.ndarray, "..."]
    gaps: Float[np.ndarray, " taken"]


def mirror_descent(
    p_data: Density,
    p_0: Density,
    cell_volume: float = 1.0,
    *,
    rate: float = 1.0,
    steps: int = 100,
) -> Descent:
    r"""Multiplies the generator's density in each cell according to the optimal discriminator.

    $$p_g \leftarrow p_g\,(1 - D^*_G)^{-\eta} / Z$$

    The gap C + log 4 never rises, and is at most KL(p_data || p_0) / (η t) after t steps. So p_g
    converges to p_data from every start that is positive wherever p_data is. An empty cell stays
    empty.

    Args:
        p_data: the data's density on a grid, or probabilities.
        p_0: the generator's initial density, on the same grid.
        cell_volume: the volume of a cell, above 0.
        rate: η, above 0 and at most 1.
        steps: the number of steps.

    Returns:
        The last density, and the gap at the start and after each step.

    Raises:
        TypeError: for a traced array.
        ValueError: if an argument is not a density, the shapes differ, the rate is outside (0, 1],
            or `steps` is not a whole number above 0.

    Example:
        >>> from advnets.verify.descent import mirror_descent
        >>> found = mirror_descent([0.5, 0.25, 0.25], [0.1, 0.1, 0.8], steps=40)
        >>> found.density.round(9).tolist()
        [0.5, 0.25, 0.25]
        >>> bool(found.gaps[-1] < 1e-20)
        True

    References:
        Proposition 2.
    """
    rate = _checked_rate(rate)
    _check_steps(steps)
    data, model = _pair(("p_data", "p_0"), p_data, p_0, cell_volume)
    shape = model.shape
    data, model = data.ravel(), model.ravel()
    gaps = [gap(data, model)]
    for _ in range(steps):
        model = mirror_step(data, model, rate)
        gaps.append(gap(data, model))
    return Descent(model.reshape(shape) / float(cell_volume), np.array(gaps))


def asymptotic_factor(rate: float, empty_cells: bool = False) -> float:
    r"""The asymptotic factor by which a step of mirror descent multiplies the gap.

    $$(1 - \eta / 2)^2, \quad \text{or } 2^{-\eta} \text{ where } p_{data} \text{ is 0 in some cell
    where } p_0 \text{ is not}$$

    Args:
        rate: η, above 0 and at most 1.
        empty_cells: whether the start has mass in a cell where the data have none.

    Returns:
        The factor, in (0, 1).

    Raises:
        ValueError: if the rate is outside (0, 1].
        TypeError: if `empty_cells` is neither true nor false.

    Example:
        >>> from advnets.verify.descent import asymptotic_factor
        >>> asymptotic_factor(1.0), asymptotic_factor(1.0, empty_cells=True)
        (0.25, 0.5)

    References:
        Proposition 2.
    """
    rate = _checked_rate(rate)
    return float(2.0**-rate if empty_cells else (1 - rate / 2) ** 2)


def projected_gradient(
    p_data: Density,
    p_0: Density,
    cell_volume: float = 1.0,
    *,
    steps: int = 200,
    floor: float = 1e-12,
) -> Descent:
    r"""Descends the gradient of the generator's density, projected onto the densities.

    $$p_g \leftarrow \Pi\left(p_g - s \log \max(1 - D^*_G, \text{floor})\right)$$

    Π is the Euclidean projection onto the masses that sum to 1. The step size s is doubled after
    each step, and halved until the gap falls by a quarter of the squared move divided by s. No rate
    of convergence is claimed, but mass can enter an empty cell. Cells with little data can stop the
    descent for good: once such a cell is empty, only steps of about its data mass lower the gap,
    and by too little to register. If data masses are 0 or at least 0.01, about 300 steps suffice.

    Args:
        p_data: the data's density on a grid, or probabilities.
        p_0: the generator's initial density, on the same grid.
        cell_volume: the volume of a cell, above 0.
        steps: the largest number of steps.
        floor: the lower limit of 1 - D* in the logarithm, in (0, 1).

    Returns:
        The last density, and the gap at the start and after each step. There are fewer steps than
        requested if no step size lowers the gap: at p_data, or stopped short of it as above.

    Raises:
        TypeError: for a traced array.
        ValueError: if an argument is not a density, the shapes differ, `steps` is not a whole
            number above 0, or the floor is outside (0, 1).

    Example:
        >>> from advnets.verify.descent import projected_gradient
        >>> found = projected_gradient([0.5, 0.25, 0.25], [0.0, 0.0, 1.0])
        >>> found.density.round(6).tolist()
        [0.5, 0.25, 0.25]

    References:
        Proposition 2.
    """
    _check_steps(steps)
    floor = _real_number("floor", floor)
    if not 0 < floor < 1:
        raise ValueError(f"floor must be above 0 and below 1; got {floor}")
    data, model = _pair(("p_data", "p_0"), p_data, p_0, cell_volume)
    shape = model.shape
    found, gaps = projected_steps(
        data.ravel(),
        model.ravel(),
        steps,
        lambda data, model: criterion_gradient(data, model, floor),
    )
    return Descent(found.reshape(shape) / float(cell_volume), np.array(gaps))


def _checked_rate(rate: float) -> float:
    rate = _real_number("rate", rate)
    if not 0 < rate <= 1:
        raise ValueError(f"rate must be above 0 and at most 1; got {rate}")
    return rate


def _check_steps(steps: int) -> None:
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer):
        raise ValueError(f"steps must be a whole number; got {steps!r}")
    if steps < 1:
        raise ValueError(f"steps must be at least 1; got {steps}")


def gap(data: Masses, model: Masses) -> Float[np.ndarray, "*batch"]:
    """C + log 4 along the last axis, for masses that are not checked.

    Args:
        data: the data's masses.
        model: the generator's masses.

    Returns:
        The gap of each pair, in nats; see [`advnets.verify.suboptimality`][].

    Example:
        >>> import numpy as np
        >>> from advnets.verify import descent
        >>> descent.gap(np.array([0.5, 0.5]), np.array([[0.5, 0.5], [0.5, 0.5]])).tolist()
        [0.0, 0.0]

    References:
        Theorem 1.
    """
    return _excess(data, model).sum(-1)


def mirror_step(data: Masses, model: Masses, rate: float | Masses) -> Masses:
    r"""One step of [`advnets.verify.mirror_descent`][] on masses, which are not checked.

    It is computed as $p_g^{1 - \eta} (p_{data} + p_g)^\eta / Z$, which small masses do not make
    overflow.

    Args:
        data: the data's masses, along the last axis.
        model: the generator's masses.
        rate: η, in (0, 1].

    Returns:
        The generator's masses after the step.

    Example:
        >>> import numpy as np
        >>> from advnets.verify import descent
        >>> descent.mirror_step(np.array([0.5, 0.5]), np.array([1.0, 0.0]), 1.0).tolist()
        [1.0, 0.0]

    References:
        Proposition 2.
    """
    moved = np.where(model > 0, model ** (1 - rate) * (data + model) ** rate, 0.0)
    return moved / moved.sum(-1, keepdims=True)


def criterion_gradient(
    data: Float[np.ndarray, " cells"], model: Float[np.ndarray, " cells"], floor: float
) -> Float[np.ndarray, " cells"]:
    """The gradient of C in the generator's masses, log(1 - D*), with a lower limit on 1 - D*.

    Args:
        data: the data's masses, which are not checked.
        model: the generator's masses.
        floor: the lower limit of 1 - D*, above 0.

    Returns:
        One entry for each cell; 0 in cells without data, where more mass changes nothing.

    Example:
        >>> import numpy as np
        >>> from advnets.verify import descent
        >>> descent.criterion_gradient(np.array([0.0, 1.0]), np.array([0.5, 0.5]), 1e-12).round(3)
        array([ 0.   , -1.099])

    References:
        Proposition 2.
    """
    fake = np.divide(model, data + model, out=np.ones_like(model), where=data > 0)
    return np.log(np.maximum(fake, floor))


def onto_simplex(values: Float[np.ndarray, " cells"]) -> Float[np.ndarray, " cells"]:
    """The nearest probability vector: max(value - level, 0), with the level that makes it sum to 1.

    Args:
        values: any vector of finite numbers.

    Returns:
        Probabilities.

    Raises:
        ValueError: if `values` is not a vector, or a number is not finite.
        TypeError: if NumPy can't convert it to an array.

    Example:
        >>> import numpy as np
        >>> from advnets.verify import descent
        >>> descent.onto_simplex(np.array([1.5, 0.5, 0.0])).tolist()
        [1.0, 0.0, 0.0]
    """
    values = np.asarray(values)
    vector = values.ndim == 1 and values.size > 0 and values.dtype.kind in "fiu"
    if not vector or not np.isfinite(values).all():
        raise ValueError(
            "values to project onto the simplex must be a vector of finite numbers; got "
            f"{values.dtype} of shape {values.shape}"
        )
    # A common shift does not change the projection, so the largest value may have any size.
    values = np.asarray(values, np.float64) - np.max(values)
    ordered = np.sort(values)[::-1]
    levels = (np.cumsum(ordered) - 1) / np.arange(1, len(values) + 1)
    return np.maximum(values - levels[ordered > levels][-1], 0.0)


def projected_steps(
    data: Float[np.ndarray, " cells"],
    model: Float[np.ndarray, " cells"],
    steps: int,
    gradient: Callable,
) -> tuple[Float[np.ndarray, " cells"], list[float]]:
    """The steps of [`advnets.verify.projected_gradient`][] on masses, which are not checked.

    Args:
        data: the data's masses.
        model: the generator's initial masses.
        steps: the largest number of steps.
        gradient: the gradient of C in the generator's masses, a function of both masses.

    Returns:
        The last masses, and the gap at the start and after each step.

    Example:
        >>> import numpy as np
        >>> from advnets.verify import descent
        >>> data, model = np.array([0.5, 0.5]), np.array([0.5, 0.5])
        >>> gradient = lambda data, model: descent.criterion_gradient(data, model, 1e-12)
        >>> descent.projected_steps(data, model, 10, gradient)[1]
        [0.0]

    References:
        Proposition 2.
    """
    size, gaps = 1.0, [float(gap(data, model))]
    for _ in range(steps):
        slope = gradient(data, model)
        for _ in range(100):
            moved = onto_simplex(model - size * slope)
            left = float(gap(data, moved))
            square = float(np.sum((moved - model) ** 2))
            if square > 0 and left <= gaps[-1] - square / (4 * size):
                break
            size /= 2
        else:
            break
        model, size = moved, 2 * size
        gaps.append(left)
    return model, gaps
