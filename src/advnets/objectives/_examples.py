"""The examples of a batch, without their conditions."""

from typing import Any

import jax
import jax.numpy as jnp

from advnets.batches import Batch, parts


def example_of(batch: Batch) -> Any:
    """A batch's examples: a tuple's first element, anything else as it is."""
    return parts(batch)[0]


def with_example(batch: Batch, example: Any) -> Batch:
    """A batch with other examples, under the same conditions."""
    return (example, *batch[1:]) if isinstance(batch, tuple) else example


def check_floats(batch: Batch, wanted: str) -> None:
    """Raises a ValueError if an array of the examples does not hold floats."""
    for leaf in jax.tree.leaves(example_of(batch)):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ValueError(f"{wanted} needs examples of floats; got {leaf.dtype} (convert them)")
