"""A frozen generator's examples, paired with rows of data, and rows flattened to vectors."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from advnets._counts import check_count
from advnets.algorithms import Fake
from advnets.batches import Batch, length, parts
from advnets.draws import generator_draws
from advnets.objectives import Applied
from advnets.players import Players, apply, for_sampling
from advnets.training.sources import Preprocess, Source

# Rows that one compiled call preprocesses, or generates examples for.
ROWS_PER_CALL = 500


def as_applied(players: Players) -> Applied:
    """The generator in sampling mode, as a function of a key and batches.

    Args:
        players: the players.

    Returns:
        The function, in the form that an algorithm's `fake` takes.
    """
    generator = for_sampling(players.generator)

    def applied(key: Key[Array, ""] | None, *inputs: Batch) -> Any:
        keys = None if key is None else jax.random.split(key, length(inputs))
        return apply(generator, keys, *inputs)[0]

    return applied


def evenly(n: int, most: int) -> Int[np.ndarray, " rows"]:
    """Some of n rows, evenly spaced: the same at every call.

    Args:
        n: the number of rows.
        most: the most rows to take, at least 1.

    Returns:
        Their indices, ascending.

    Raises:
        ValueError: if a number is below 1, or does not fit in 32 bits.

    Example:
        >>> from advnets.monitor.frozen import evenly
        >>> evenly(10, 5).tolist()
        [0, 2, 4, 6, 8]
    """
    check_count("the number of rows", n)
    check_count("the most that are taken", most)
    taken = min(n, most)
    return np.arange(taken) * n // taken


class Examples:
    """The rows of a source as players see them, as vectors: what samples are compared with.

    Attributes:
        source: the source.
    """

    def __init__(self, source: Source) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, rows: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n columns"]:
        found = []
        for start in range(0, len(rows), ROWS_PER_CALL):
            raw = jax.tree.map(jnp.asarray, self.source.gather(rows[start : start + ROWS_PER_CALL]))
            found.append(np.asarray(_flattened(raw, self.source.preprocess)))
        return np.concatenate(found)


@eqx.filter_jit
def _flattened(raw: Batch, preprocess: Preprocess) -> Array:
    return flat(preprocess(raw))


def flat(batch: Batch) -> Float[Array, "rows columns"]:
    """The examples of a batch as vectors, without their conditions.

    Args:
        batch: a batch.

    Returns:
        A row for each example.

    Raises:
        ValueError: if there is no array.

    Example:
        >>> import jax.numpy as jnp
        >>> from advnets.monitor.frozen import flat
        >>> flat((jnp.zeros((5, 2, 3)), jnp.zeros(5, int))).shape
        (5, 6)
    """
    n = length(batch)
    leaves = jax.tree.leaves(parts(batch)[0])
    return jnp.concatenate([jnp.reshape(x, (n, -1)).astype(float) for x in leaves], axis=1)


def draw(
    key: Key[Array, ""], players: Players, source: Source, n: int, fake: Fake
) -> Float[np.ndarray, "n columns"]:
    """Generated examples as vectors, each with the conditions of a row of data, evenly spaced.

    Args:
        key: a typed random key.
        players: the players.
        source: the rows of data.
        n: the number of examples.
        fake: how examples are generated.

    Returns:
        The examples.

    Raises:
        ValueError: if n is below 1.
    """
    if n < 1:
        raise ValueError(f"the number of examples must be at least 1; got {n}")
    block = min(n, ROWS_PER_CALL)
    rows = np.resize(evenly(len(source), n), -(-n // block) * block)
    found = []
    for start in range(0, n, block):
        raw = jax.tree.map(jnp.asarray, source.gather(rows[start : start + block]))
        now = jax.random.fold_in(key, start)
        found.append(np.asarray(_drawn(now, players, raw, source.preprocess, fake)))
    return np.concatenate(found)[:n]


@eqx.filter_jit
def _drawn(
    key: Key[Array, ""],
    players: Players,
    raw: Batch,
    preprocess: Callable[[Batch], Batch],
    fake: Fake,
) -> Array:
    batch = fake(generator_draws(key), as_applied(players), players.prior, preprocess(raw))
    return flat(batch)
