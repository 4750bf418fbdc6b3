"""The energy score: a strictly proper score of a distribution, computed from draws.

In expectation, only draws from the true distribution have the lowest score. A model that always
predicts the mean gets no credit for spread; one that predicts anything at all gets it, but is far
from the outcome.
"""

from typing import TypeAlias

import numpy as np
from jaxtyping import Array, Float

Numbers: TypeAlias = np.ndarray | Array


def energy_score(
    draws: Float[Numbers, " rows n *data"], outcomes: Float[Numbers, " rows *data"]
) -> Float[np.ndarray, " rows"]:
    r"""The energy score of each row's draws; the lower, the better.

    $$\frac{1}{n} \sum_i \lVert X_i - x \rVert
      - \frac{1}{2 n (n - 1)} \sum_{i \ne j} \lVert X_i - X_j \rVert$$

    The second sum leaves out i = j, so the score's mean does not depend on n: it is that of the
    distribution, $E\lVert X - x \rVert - \frac12 E\lVert X - X' \rVert$. Components in which all
    draws equal the outcome do not count.

    Args:
        draws: n independent draws for each row, at least 2.
        outcomes: the outcomes, such as the true images.

    Returns:
        The scores, in the data's units, in float64.

    Raises:
        ValueError: for fewer than 2 draws, or numbers that are not finite.

    Example:
        >>> import numpy as np
        >>> from advnets.energy import energy_score
        >>> draws, outcomes = np.array([[[0.0], [2.0]]]), np.array([[1.0]])
        >>> energy_score(draws, outcomes)
        array([0.])

    References:
        Gneiting and Raftery 2007, "Strictly proper scoring rules, prediction, and estimation".
    """
    drawn, came = _rows(draws, outcomes)
    count = drawn.shape[1]
    if count < 2:
        raise ValueError(
            f"the energy score needs at least 2 draws for each row, as their distances count; got "
            f"{count}"
        )
    to_outcome = np.linalg.norm(drawn - came[:, None], axis=2).mean(axis=1)
    apart = np.zeros(len(drawn))
    for later in range(1, count):
        apart += np.linalg.norm(drawn[:, later:] - drawn[:, :-later], axis=2).sum(axis=1)
    return to_outcome - apart / (count * (count - 1))


def squared_error_of_mean(
    draws: Float[Numbers, " rows n *data"], outcomes: Float[Numbers, " rows *data"]
) -> Float[np.ndarray, " rows"]:
    """The squared distance of the mean of each row's draws from the outcome.

    Args:
        draws: draws for each row, at least 1.
        outcomes: the outcomes.

    Returns:
        The squared errors, in the square of the data's units, in float64.

    Raises:
        ValueError: for no draws, or numbers that are not finite.

    Example:
        >>> import numpy as np
        >>> from advnets.energy import squared_error_of_mean
        >>> squared_error_of_mean(np.array([[[0.0], [2.0]]]), np.array([[3.0]]))
        array([4.])
    """
    drawn, came = _rows(draws, outcomes)
    return ((drawn.mean(axis=1) - came) ** 2).sum(axis=1)


def spread(draws: Float[Numbers, " rows n *data"]) -> Float[np.ndarray, " rows"]:
    """How much each row's draws vary: the sum of their components' variances.

    For draws from the true distribution, the squared error of their mean is 1 + 1/n times as much,
    in expectation.

    Args:
        draws: n draws for each row, at least 2.

    Returns:
        The unbiased variances, in the square of the data's units, in float64.

    Raises:
        ValueError: for fewer than 2 draws, or numbers that are not finite.

    Example:
        >>> import numpy as np
        >>> from advnets.energy import spread
        >>> spread(np.array([[[0.0], [2.0]]]))
        array([2.])
    """
    shape = np.shape(draws)
    if len(shape) < 2 or shape[1] < 2:
        raise ValueError(f"a spread needs at least 2 draws for each row; got an array of {shape}")
    drawn, _ = _rows(draws, np.asarray(draws)[:, 0])
    return drawn.var(axis=1, ddof=1).sum(axis=1)


def _rows(
    draws: Float[Numbers, " rows n *data"], outcomes: Float[Numbers, " rows *data"]
) -> tuple[Float[np.ndarray, "rows n size"], Float[np.ndarray, "rows size"]]:
    """Draws and outcomes as rows of float64."""
    drawn, came = (np.asarray(part, np.float64) for part in (draws, outcomes))
    if drawn.ndim < 2 or drawn.shape[1] < 1:
        raise ValueError(f"there must be at least 1 draw for each row; got {drawn.shape}")
    for name, part in (("draws", drawn), ("outcomes", came)):
        if not np.isfinite(part).all():
            raise ValueError(f"{name} must be finite; {(~np.isfinite(part)).sum()} numbers are not")
    size = int(np.prod(drawn.shape[2:]))
    return drawn.reshape(*drawn.shape[:2], size), came.reshape(len(came), size)
