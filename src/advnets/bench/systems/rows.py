"""A number per row, as `results.json` keeps it: the mean and its standard error."""

from typing import Any

import numpy as np
from jaxtyping import Float

from advnets.bench.results import Json


def mean_of(rows: Float[np.ndarray, " rows"]) -> dict[str, Any]:
    """The mean of numbers, one per row.

    Args:
        rows: the numbers, at least 1.

    Returns:
        Their `mean`, its `standard_error` (None for one row) and `n`.

    Raises:
        ValueError: if there are none.

    Example:
        >>> import numpy as np
        >>> from advnets.bench.systems.rows import mean_of
        >>> mean_of(np.array([1.0, 3.0]))
        {'mean': 2.0, 'standard_error': 1.0, 'n': 2}
    """
    n = len(rows)
    if n == 0:
        raise ValueError("a mean needs at least 1 row; got none")
    numbers = rows.astype(np.float64)
    error = float(numbers.std(ddof=1) / n**0.5) if n > 1 else None
    return {"mean": float(numbers.mean()), "standard_error": error, "n": n}


def format_mean(mean: Json) -> str:
    """A mean as text.

    Args:
        mean: what [`advnets.bench.systems.rows.mean_of`][] returned.

    Returns:
        The mean with its standard error.

    Example:
        >>> from advnets.bench.systems.rows import format_mean
        >>> format_mean({"mean": 2.0, "standard_error": 1.0, "n": 2})
        '2.0 ± 1.0'
    """
    if not (isinstance(mean, dict) and isinstance(mean.get("mean"), int | float)):
        raise ValueError(f"a mean is a dictionary with a number 'mean'; got {mean!r:.200}")
    number, error = mean["mean"], mean.get("standard_error")
    return f"{number:.1f} ± {error:.1f}" if isinstance(error, int | float) else f"{number:.1f}"
