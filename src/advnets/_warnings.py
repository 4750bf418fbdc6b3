"""Warnings that point at the user's line."""

import sys
import warnings
from types import FrameType

# Packages whose frames are between the user's line and what is warned of.
PASSED_OVER = frozenset(
    ["advnets", "beartype", "contextlib", "equinox", "functools", "jax", "jaxtyping", "numpy"]
)


def is_passed_over(frame: FrameType) -> bool:
    """Whether it is a frame of such a package."""
    return frame.f_globals.get("__name__", "").partition(".")[0] in PASSED_OVER


def warn(message: str) -> None:
    """Gives a `RuntimeWarning` of the first line outside of this package and those that it uses.

    Args:
        message: what the user should know.
    """
    frame, level = sys._getframe(1), 2
    while frame.f_back and is_passed_over(frame):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, RuntimeWarning, stacklevel=level)
