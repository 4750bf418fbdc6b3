"""Batches: pytrees of arrays that share a leading axis, one row for each example.

A batch may be one array, a tuple (an example, then its condition), or any other pytree.
"""

from typing import Any, TypeAlias

import jax
from jaxtyping import PyTree

Batch: TypeAlias = PyTree


def length(batch: Batch) -> int:
    """The number of examples in a batch.

    Args:
        batch: a pytree of arrays with a common leading axis.

    Returns:
        The length of that axis.

    Raises:
        ValueError: if the batch holds no array, a scalar, or arrays of different lengths.

    Example:
        >>> import jax.numpy as jnp
        >>> from advnets import batches
        >>> batches.length((jnp.zeros((5, 8, 8)), jnp.zeros(5)))
        5
    """
    leaves = jax.tree_util.tree_leaves_with_path(batch)
    if not leaves:
        raise ValueError("a batch needs at least one array; got none")
    lengths: dict[int, str] = {}
    for path, leaf in leaves:
        name = jax.tree_util.keystr(path) or "the array"
        if hasattr(leaf, "train") and hasattr(leaf, "folds"):
            raise ValueError(
                "a Dataset is not a batch, as it also holds validation and test rows; pass "
                "to train on, data.train"
            )
        if not hasattr(leaf, "ndim"):
            raise ValueError(
                f"a batch must hold arrays; {name} is a {type(leaf).__name__} (anything else that "
                "gives rows can be streamed with advnets.training.Streamed)"
            )
        if leaf.ndim == 0:
            raise ValueError(f"every array of a batch needs a leading axis; {name} is a scalar")
        lengths.setdefault(len(leaf), name)
    if len(lengths) > 1:
        (first, a), (second, b), *_ = lengths.items()
        raise ValueError(
            f"all arrays of a batch must have the same number of rows; {a} has {first} and {b} "
            f"has {second}"
        )
    return next(iter(lengths))


def parts(batch: Batch) -> tuple[Any, ...]:
    """A batch as the arguments of a player: a tuple's elements, anything else as it is.

    Args:
        batch: a batch.

    Returns:
        The positional arguments.

    Example:
        >>> import jax.numpy as jnp
        >>> from advnets import batches
        >>> len(batches.parts((jnp.zeros((5, 8, 8)), jnp.zeros(5))))
        2
    """
    return batch if isinstance(batch, tuple) else (batch,)
