"""Densities on grids and finite sets.

A discretised density is an array of nonnegative values and a cell volume; its masses, value times
volume, sum to 1. A probability vector is the case of cell volume 1.
"""

import reprlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Real

# Anything that NumPy converts to numbers: lists, NumPy and JAX arrays.
Density = Real[Array | np.ndarray, "..."] | Sequence[Any]
# How far from 1 a total mass may be: more than rounding, less than a mistake.
MASS_TOLERANCE = 1e-6


def masses(name: str, density: Density, cell_volume: float = 1.0) -> Float[np.ndarray, "..."]:
    """A density's masses in float64; an error if it is not a density.

    Args:
        name: what to call the density in an error.
        density: values on the cells of a grid of any rank, or probabilities; not below 0.
        cell_volume: the volume of a cell, above 0; 1 for probabilities.

    Returns:
        Value times volume for each cell, divided by their sum (which is 1 up to 1e-6).

    Raises:
        TypeError: for a traced array.
        ValueError: if the density is not an array of real numbers, is empty, contains a negative
            value, NaN or infinity, or does not sum to 1; or if the volume is not a number above 0.

    Example:
        >>> from advnets import verify
        >>> verify.masses("p", [1.0, 3.0], cell_volume=0.25).tolist()
        [0.25, 0.75]
    """
    values, volume = _real_array(name, density), _real_number("cell_volume", cell_volume)
    if values.ndim == 0:
        raise ValueError(f"{name} is the single number {values}; give an array, one value per cell")
    if values.size == 0:
        raise ValueError(f"{name} is empty; give it at least one cell")
    if not np.isfinite(values).all():
        bad = values[~np.isfinite(values)][0]
        raise ValueError(f"{name} holds {bad}; a density on a grid is finite everywhere")
    if values.min() < 0:
        raise ValueError(f"{name} holds {values.min():.6g}; a density is never below 0")
    if not 0 < volume < np.inf:
        raise ValueError(f"cell_volume must be above 0 and finite; got {volume}")
    with np.errstate(over="ignore"):
        total = values.sum() * volume
    if abs(total - 1) > MASS_TOLERANCE:
        remedy = "divide by that mass" if 0 < total < np.inf else "give a density that sums to 1"
        raise ValueError(
            f"{name} has a total mass of {total:.9g}, not 1; {remedy} (with cell_volume="
            f"{volume:.6g})"
        )
    return values * (volume / total)


def _real_array(name: str, values: Any) -> Float[np.ndarray, "..."]:
    """Converts to an array in float64, or raises an error in one sentence."""
    _refuse_tracers(name, values)
    try:
        given = np.asarray(values)
        if (
            values is None or given.dtype.kind in "cSU"
        ):  # NumPy would drop imaginary parts or parse text
            raise TypeError
        return given.astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError(
            f"{name} must be an array of real numbers, in rows of equal length; got "
            f"{reprlib.repr(values)}"
        ) from None


def _real_number(name: str, value: Any) -> float:
    """Converts to a float, or raises an error in one sentence."""
    _refuse_tracers(name, value)
    try:
        if isinstance(value, str | bytes) or np.ndim(value):
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a real number; got {reprlib.repr(value)}") from None


def _refuse_tracers(name: str, values: Any) -> None:
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(values)):
        raise TypeError(
            f"{name} is a traced array, and this function computes in NumPy; inside jit, vmap or "
            "grad use the functions of advnets.verify.traceable, which has Eq. 1-6 but no descent"
        )
