"""For computations in which half precision is not enough: the type to use instead."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree


def at_least_single(dtype: Any) -> np.dtype:
    """A floating-point type; float32 instead of one of half precision."""
    return np.dtype(jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype)


def in_single(tree: PyTree) -> PyTree:
    """A tree with its arrays of half precision in float32, and all else as it is."""
    return jax.tree.map(
        lambda x: x.astype(at_least_single(x.dtype)) if eqx.is_inexact_array(x) else x, tree
    )
