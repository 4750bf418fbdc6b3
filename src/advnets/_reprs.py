"""Short descriptions for `repr`: a line or a few, never arrays."""

import types
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

MOST = 100  # the maximum length of a value's own repr


def network(player: Any) -> str:
    """A player's kind and size."""
    if isinstance(player, types.FunctionType | types.BuiltinFunctionType):
        return f"<{player.__name__}>"
    leaves = [x for x in jax.tree.leaves(player) if _is_inexact(x)]
    return f"<{type(player).__name__}, {sum(x.size for x in leaves):,} parameters>"


def _is_inexact(leaf: Any) -> bool:
    dtype = getattr(leaf, "dtype", None)
    return dtype is not None and jax.numpy.issubdtype(dtype, np.inexact)


def arrays(tree: Any) -> str:
    """Arrays' types and shapes, in their containers."""
    if isinstance(tree, Mapping):
        return "{" + ", ".join(f"{name!r}: {arrays(x)}" for name, x in tree.items()) + "}"
    if isinstance(tree, tuple | list):
        return "(" + ", ".join(map(arrays, tree)) + ")"
    if hasattr(tree, "dtype") and hasattr(tree, "shape"):
        return f"{tree.dtype}{list(tree.shape)}"
    return f"<{type(tree).__name__} of {len(tree):,}>" if hasattr(tree, "__len__") else short(tree)


def short(value: Any) -> str:
    """A setting: functions by name, and long values by their type."""
    if isinstance(value, types.FunctionType | types.BuiltinFunctionType):
        return value.__name__
    if isinstance(value, tuple) and type(value) is not tuple:  # Optax's, of functions
        return f"<{type(value).__name__}>"
    text = repr(value)
    return text if len(text) <= MOST and "\n" not in text else f"<{type(value).__name__}>"


def entries(row: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a row of metrics by name; those of a nested mapping as `outer/inner`."""
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from entries(value, f"{before}{name}/")
        else:
            yield f"{before}{name}", value


def numbers(row: Mapping[str, Any]) -> Iterator[str]:
    """The numbers of a row of metrics by name, with four digits."""
    for name, value in entries(row):
        yield f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={short(value)}"
