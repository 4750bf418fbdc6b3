"""Densities on grids and finite sets.

A discretised density is an array of nonnegative values and a cell volume; its masses are their
products, and sum to 1. A probability vector is the case of cell volume 1.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Real

# Anything that NumPy makes numbers of: lists, NumPy and JAX arrays.
Density = Real[Array | np.ndarray, "..."] | Sequence[Any]
# How far from 1 a total mass may be: more than rounding, less than a mistake.
MASS_TOLERANCE = 1e-6


def masses(name: str, density: Density, cell_volume: float = 1.0) -> Float[np.ndarray, "..."]:
    """A density's masses in float64, or one sentence on why it is none.

    Args:
        name: what to call the density in an error.
        density: values on the cells of a grid of any rank, or probabilities; not below 0.
        cell_volume: the volume of a cell, above 0; 1 for probabilities.

    Returns:
        Value times volume for each cell, divided by their sum (which is 1 up to 1e-6).

    Raises:
        TypeError: for a traced array.
        ValueError: if the density is empty, holds a negative value or NaN or infinity, or does not
            sum to 1; or if the volume is not above 0.

    Example:
        >>> from advnets import verify
        >>> verify.masses("p", [1.0, 3.0], cell_volume=0.25).tolist()
        [0.25, 0.75]
    """
    if isinstance(density, jax.core.Tracer):
        raise TypeError(
            f"{name} is a traced array, and this function computes in NumPy; inside jit, vmap or "
            "grad use the function of the same name in advnets.verify.traceable"
        )
    values = np.asarray(density, np.float64)
    if values.size == 0:
        raise ValueError(f"{name} is empty; give it at least one cell")
    if not np.isfinite(values).all():
        bad = values[~np.isfinite(values)][0]
        raise ValueError(f"{name} holds {bad}; a density on a grid is finite everywhere")
    if values.min() < 0:
        raise ValueError(f"{name} holds {values.min():.6g}; a density is never below 0")
    if not cell_volume > 0:
        raise ValueError(f"cell_volume must be above 0; got {cell_volume}")
    total = values.sum() * cell_volume
    if abs(total - 1) > MASS_TOLERANCE:
        raise ValueError(
            f"{name} has a total mass of {total:.9g}, not 1; divide it by that (with cell_volume="
            f"{cell_volume:.6g})"
        )
    return values * (cell_volume / total)
