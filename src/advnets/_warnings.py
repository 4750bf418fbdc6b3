"""Warnings that point at the user's line."""

import sys
import warnings
from types import FrameType

# Packages whose frames may lie between the user's line and the warning.
PASSED_OVER = frozenset(
    ["advnets", "beartype", "contextlib", "equinox", "functools", "jax", "jaxtyping", "numpy"]
)


def is_passed_over(frame: FrameType) -> bool:
    """Whether a frame is of one of these packages."""
    return frame.f_globals.get("__name__", "").partition(".")[0] in PASSED_OVER


def warn(message: str) -> None:
    """Gives a `RuntimeWarning` that points at the first line outside of advnets and what it uses.

    Args:
        message: what the user should know.
    """
    frame, level = sys._getframe(1), 2
    while frame.f_back and is_passed_over(frame):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, RuntimeWarning, stacklevel=level)
