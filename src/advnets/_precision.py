"""Where half precision does not do: the type to compute in instead."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree


def at_least_single(dtype: Any) -> np.dtype:
    """A floating-point type; float32 instead of one of half precision."""
    return np.dtype(jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype)


def in_single(tree: PyTree) -> PyTree:
    """Arrays of half precision in float32, others as they are."""
    return jax.tree.map(lambda x: x.astype(at_least_single(x.dtype)), tree)
