"""Which rows a copy is trained, chosen and reported on, and means over them."""

import dataclasses
import itertools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from advnets.algorithms import Fake
from advnets.batches import Batch
from advnets.monitor.frozen import evenly
from advnets.training.sources import Preprocess, Source, epoch_order

# The maximum numbers of choosing and of reporting rows among the held-out ones.
SELECT, REPORT = 1_000, 2_000
# Generated examples for each reporting row.
FAKES = 4
# Rows that D judges at once, with as many generated examples.
BLOCK = 500


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean over rows.

    Attributes:
        mean: the mean, in nats.
        standard_error: its standard error.
    """

    mean: float
    standard_error: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} ± {self.standard_error:.3f}"


class Setup(eqx.Module):
    """What a program is compiled for, besides the players."""

    rule: optax.GradientTransformation
    fake: Fake
    of_data: Preprocess
    of_held_out: Preprocess


def orders(
    key: Key[Array, ""], n: int, steps: int, batch_size: int
) -> Int[np.ndarray, "steps batch"]:
    """The rows of each step, from the orders of as many epochs as needed."""
    epochs = -(-steps // (n // batch_size))
    orders = [epoch_order(key, jnp.asarray(epoch), n, batch_size) for epoch in range(epochs)]
    return np.concatenate([np.asarray(order) for order in orders])[:steps]


def choosing(held: Source) -> Int[np.ndarray, " rows"]:
    """The held-out rows that choose the step: every other row, evenly spaced."""
    return 2 * evenly((len(held) + 1) // 2, SELECT)


def reporting(held: Source) -> Int[np.ndarray, " rows"]:
    """The held-out rows that estimates are of: those between, evenly spaced."""
    return 2 * evenly(len(held) // 2, REPORT) + 1


def in_blocks(rows: Int[np.ndarray, " n"]) -> Int[np.ndarray, "blocks block"]:
    """Rows in the fewest blocks of equal length; the few that do not fill a block are dropped."""
    blocks = -(-len(rows) // BLOCK)
    block = len(rows) // blocks
    return rows[: blocks * block].reshape(blocks, block)


def raw_rows(source: Source, rows: Int[np.ndarray, "*shape"]) -> Batch:
    """Rows of a source on the device, not preprocessed."""
    return jax.tree.map(jnp.asarray, source.gather(rows))


def with_noise(key: Key[Array, ""], arrays: PyTree, scale: Float[Array, ""] | None) -> PyTree:
    """Arrays with normal noise of a standard deviation added to those of floats, or none."""
    if scale is None:
        return arrays

    def noisy(number: int, x: Array) -> Array:
        if not jnp.issubdtype(x.dtype, jnp.floating):
            return x
        noise = jax.random.normal(jax.random.fold_in(key, number), x.shape, x.dtype)
        return x + scale.astype(x.dtype) * noise

    leaves, structure = jax.tree.flatten(arrays)
    return jax.tree.unflatten(structure, itertools.starmap(noisy, enumerate(leaves)))


def log_sigmoid(logits: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """log D from logits, exact for any."""
    return -np.logaddexp(0, -logits)


def estimate(rows: Float[np.ndarray, " rows"]) -> Estimate:
    """The mean over rows, and its standard error."""
    error = rows.std(ddof=1) / math.sqrt(len(rows)) if len(rows) > 1 else math.nan
    return Estimate(float(rows.mean()), float(error))
