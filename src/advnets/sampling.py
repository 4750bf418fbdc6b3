"""Sampling from a generator: p_g, a compiled block at a time."""

import dataclasses

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, Key

from advnets.algorithm1 import Player, generate
from advnets.priors import Prior, Uniform

# Examples generated in one compiled program by `sample_blocks`; it bounds memory. What `sample`
# draws for a key depends on it.
SAMPLES_PER_CALL = 1000


def sample(
    key: Key[Array, ""], generator: Player, n: int, *, prior: Prior | None = None
) -> Float[np.ndarray, " n *data"]:
    """Draws independent examples from a generator: p_g, without a Markov chain.

    Args:
        key: a typed random key.
        generator: maps a latent vector to an example. Noise inside it (dropout, say) is part of
            the distribution and stays on.
        n: the number of examples, at least 1.
        prior: the distribution of the latent vectors; `Uniform(100)` unless given.

    Returns:
        The examples, as a NumPy array on the host.

    Raises:
        ValueError: if n is below 1.

    Example:
        >>> import jax
        >>> import advnets
        >>> generator = advnets.mlp_generator(jax.random.key(0), 100, (28, 28))
        >>> advnets.sample(jax.random.key(1), generator, 3).shape
        (3, 28, 28)

    References:
        x = G(z), z drawn from p_z (section 3); Figure 2.
    """
    return sample_blocks(key, generator, n, prior=prior).first(n)


def sample_blocks(
    key: Key[Array, ""], generator: Player, n: int, *, prior: Prior | None = None
) -> "SampleBlocks":
    """Draws what `sample` draws, but in blocks, each when it is asked for.

    Together the blocks are what [`advnets.sample`][] gives for the same key and n, bit for bit. So
    they take the memory of one block, and the same block can be had again instead of being kept.

    Args:
        key: a typed random key.
        generator: maps a latent vector to an example. Noise inside it (dropout, say) is part of
            the distribution and stays on.
        n: the number of examples in all, at least 1.
        prior: the distribution of the latent vectors; `Uniform(100)` unless given.

    Returns:
        The blocks, fit for [`advnets.parzen.evaluate_draws`][].

    Raises:
        ValueError: if n is below 1.

    Example:
        >>> import jax
        >>> import advnets
        >>> generator = advnets.mlp_generator(jax.random.key(0), 100, (28, 28))
        >>> blocks = advnets.sample_blocks(jax.random.key(1), generator, 2500)
        >>> [blocks[number].shape for number in range(len(blocks))]
        [(1000, 28, 28), (1000, 28, 28), (500, 28, 28)]

    References:
        x = G(z), z drawn from p_z (section 3).
    """
    if n < 1:
        raise ValueError(f"the number of samples must be at least 1; got {n}")
    block_rows = min(n, SAMPLES_PER_CALL)
    keys = jax.random.split(key, -(-n // block_rows))
    return SampleBlocks(keys, generator, Uniform() if prior is None else prior, n, block_rows)


@dataclasses.dataclass(frozen=True)
class SampleBlocks:
    """A generator's examples in blocks: `blocks[i]` draws one, anew each time, and keeps nothing.

    Attributes:
        keys: the key of each block.
        generator: maps a latent vector to an example.
        prior: the distribution of the latent vectors.
        n: the number of examples in all.
        block_rows: the number of examples in a block; the last one may have fewer.
    """

    keys: Key[Array, " blocks"]
    generator: Player
    prior: Prior
    n: int
    block_rows: int

    def __len__(self) -> int:
        return self.keys.shape[0]

    def __getitem__(self, number: int) -> Float[Array, " block *data"]:
        if not 0 <= number < len(self):
            raise IndexError(f"there is no block {number}; the {len(self)} blocks count from 0")
        block = _compiled_generate(self.keys[number], self.generator, self.prior, self.block_rows)
        return block[: self.n - number * self.block_rows]

    def first(self, rows: int) -> Float[np.ndarray, " rows *data"]:
        """The first of the examples, or all where there are fewer, as an array on the host.

        Args:
            rows: how many, at least 1.

        Returns:
            The examples. Only the blocks that hold them are drawn.
        """
        blocks = -(-min(rows, self.n) // self.block_rows)
        return np.concatenate([np.asarray(self[number]) for number in range(blocks)])[:rows]


_compiled_generate = eqx.filter_jit(generate)
