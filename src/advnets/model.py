"""The model distribution p_g: a generator together with the prior of its latent vectors."""

import dataclasses
from typing import Any, Generic

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from advnets import _reprs
from advnets._counts import check_count
from advnets._distances import is_traced
from advnets.batches import length
from advnets.conditions import Condition, check_labels
from advnets.players import (
    D,
    G,
    Players,
    apply,
    classes_taken,
    for_sampling,
    inputs_taken,
)
from advnets.priors import Prior, Uniform

# Examples generated in one compiled program; it bounds memory. What `Model.sample` draws for a key
# depends on it.
SAMPLES_PER_CALL = 1000


class Model(eqx.Module, Generic[G]):
    """The distribution p_g of G(z), z drawn from p_z.

    Noise inside the generator (dropout, say) is part of the distribution, so it is on in samples.

    Attributes:
        generator: maps a latent vector, and a condition if there is one, to an example.
        prior: the distribution of the latent vectors; `Uniform(100)` unless given.
        condition: the distribution of the conditions, if the generator takes them and it is known.

    Example:
        >>> import jax
        >>> import advnets
        >>> generator = advnets.networks.mlp_generator(jax.random.key(0), 100, (28, 28))
        >>> model = advnets.Model(generator)
        >>> model.sample(jax.random.key(1), 3).shape
        (3, 28, 28)

    References:
        Section 3.
    """

    generator: G
    prior: Prior = Uniform()
    condition: Condition | None = None

    def __repr__(self) -> str:
        condition = "" if self.condition is None else f", condition={_reprs.short(self.condition)}"
        generator = _reprs.network(self.generator)
        return f"Model(generator={generator}, prior={self.prior!r}{condition})"

    def __call__(self, key: Key[Array, ""], n: int, *condition: PyTree) -> Float[Array, " {n} ..."]:
        """Independent examples, with fresh latent vectors; a pure function.

        Args:
            key: a typed random key.
            n: the number of examples.
            condition: what each example is conditioned on, if the generator takes a condition.

        Returns:
            The examples.
        """
        latents_key, noise_key = jax.random.split(key)
        inputs = (self.prior(latents_key, n), *condition)
        examples, _ = apply(for_sampling(self.generator), jax.random.split(noise_key, n), *inputs)
        return examples

    def sample(
        self, key: Key[Array, ""], n: int, *, condition: PyTree = None
    ) -> Float[np.ndarray, " n *data"]:
        """Draws independent examples from p_g, without a Markov chain.

        Args:
            key: a typed random key.
            n: the number of examples, at least 1.
            condition: what each example is conditioned on: n rows, or a scalar, such as a label,
                for all of them. Unless given, it is drawn from the model's own distribution, if
                there is one.

        Returns:
            The examples, as a NumPy array on the host.

        Raises:
            ValueError: if n is below 1, or 2**31 or more; for a condition of another length, or out
                of range; or if the generator needs a condition and there is none.

        Example:
            >>> import jax
            >>> import advnets
            >>> generator = advnets.networks.mlp_generator(jax.random.key(0), 100, (28, 28))
            >>> advnets.Model(generator).sample(jax.random.key(1), 3).shape
            (3, 28, 28)

        References:
            x = G(z), z drawn from p_z (section 3); Figure 2.
        """
        return self.blocks(key, n, condition=condition).first(n)

    def blocks(self, key: Key[Array, ""], n: int, *, condition: PyTree = None) -> "SampleBlocks":
        """Draws what `sample` draws, but in blocks, each drawn when it is indexed.

        Together, the blocks are what `sample` returns for the same key and n, bit for bit. Only one
        block needs to be in memory, and a block can be drawn again instead of being kept.

        Args:
            key: a typed random key.
            n: the number of examples, at least 1.
            condition: as for `sample`.

        Returns:
            The blocks, as [`advnets.parzen.evaluate_draws`][] takes them.

        Raises:
            ValueError: as `sample`.

        Example:
            >>> import jax
            >>> import advnets
            >>> generator = advnets.networks.mlp_generator(jax.random.key(0), 100, (28, 28))
            >>> blocks = advnets.Model(generator).blocks(jax.random.key(1), 2500)
            >>> [blocks[number].shape for number in range(len(blocks))]
            [(1000, 28, 28), (1000, 28, 28), (500, 28, 28)]

        References:
            x = G(z), z drawn from p_z (section 3).
        """
        check_count("the number of samples", n)
        rows = min(n, SAMPLES_PER_CALL)
        keys = jax.random.split(key, -(-n // rows))
        return SampleBlocks(keys, self, n, rows, self._conditions(key, n, condition))

    def interpolate(
        self, key: Key[Array, ""], lines: int, steps: int, *, condition: PyTree = None
    ) -> Float[Array, " {lines} {steps} *data"]:
        """Examples along straight lines between pairs of latent vectors drawn from the prior.

        Only the ends of a line are draws from the prior. The points between them are in the support
        of a uniform or a normal prior, but shorter: halfway, a component has half the variance.
        With a spherical prior, the line leaves the sphere.

        Args:
            key: a typed random key.
            lines: the number of lines, at least 1.
            steps: the number of points on a line, both ends included; at least 2.
            condition: what each line's examples are conditioned on, as for `sample`.

        Returns:
            The examples, `steps` of them for each line, in order. Noise inside the generator is the
            same along a whole line.

        Raises:
            ValueError: if there is no line, or a line has fewer than two points; if there are too
                many to count; and, for a condition, as `sample`.

        Example:
            >>> import jax
            >>> import advnets
            >>> generator = advnets.networks.mlp_generator(jax.random.key(0), 100, (28, 28))
            >>> model = advnets.Model(generator)
            >>> model.interpolate(jax.random.key(1), lines=2, steps=11).shape
            (2, 11, 28, 28)

        References:
            Figure 3.
        """
        if lines < 1:
            raise ValueError(f"the number of lines must be at least 1; got {lines}")
        if lines >= 2**30:
            raise ValueError(f"the number of lines must be below 2**30; got {lines}")
        ends_key, noise_key = jax.random.split(key)
        ends = self.prior(ends_key, 2 * lines)
        return self.interpolate_between(
            noise_key,
            ends[:lines],
            ends[lines:],
            steps,
            condition=self._conditions(key, lines, condition),
        )

    def interpolate_between(
        self,
        key: Key[Array, ""],
        starts: Float[Array, " lines size"],
        ends: Float[Array, " lines size"],
        steps: int,
        *,
        condition: tuple[PyTree, ...] = (),
    ) -> Float[Array, " lines {steps} *data"]:
        r"""Examples along straight lines between given latent vectors.

        $$G((1 - t)\, z_\mathrm{start} + t\, z_\mathrm{end}), \qquad t = 0, \ldots, 1$$

        Args:
            key: a typed random key; each line gets one of its own.
            starts: the latent vector at which each line begins.
            ends: the latent vector at which it ends.
            steps: the number of points on a line, evenly spaced, both ends included; at least 2.
            condition: the generator's arguments after the latent vector, a row for each line, or a
                scalar for all.

        Returns:
            The examples, `steps` of them for each line, in order. Noise inside the generator is the
            same along a whole line.

        Raises:
            ValueError: if a line has fewer than two points, or there are too many to count; if
                there is a condition and the generator takes none, or the other way round; for one
                that is not a row for each line, or labels that are not classes.

        Example:
            >>> import jax
            >>> import jax.numpy as jnp
            >>> import advnets
            >>> model = advnets.Model(lambda z: 2 * z, advnets.priors.Uniform(1))
            >>> starts, ends = jnp.array([[0.0]]), jnp.array([[1.0]])
            >>> points = model.interpolate_between(jax.random.key(0), starts, ends, steps=5)
            >>> points.ravel().tolist()
            [0.0, 0.5, 1.0, 1.5, 2.0]

        References:
            Figure 3.
        """
        if steps < 2:
            raise ValueError(f"a line needs at least 2 points, its ends; got {steps} steps")
        if len(starts) * steps >= 2**31:
            raise ValueError(
                f"lines must have fewer than 2**31 points in total; got {steps:.3g} on each"
            )
        if condition:
            condition = self._conditions(key, len(starts), condition, each="lines")
        elif not condition and inputs_taken(self.generator)[0] > 1:
            raise ValueError(
                "the generator takes a condition; give condition=(...,), one for each line"
            )
        t = jnp.linspace(0, 1, steps, dtype=starts.dtype)[None, :, None]
        latents = (1 - t) * starts[:, None] + t * ends[:, None]
        # The same key at every point of a line, so that only z changes along it.
        keys = jnp.repeat(jax.random.split(key, len(starts)), steps)
        along = jax.tree.map(lambda c: jnp.repeat(jnp.asarray(c), steps, axis=0), condition)
        examples, _ = apply(
            for_sampling(self.generator), keys, latents.reshape(-1, latents.shape[-1]), *along
        )
        shape = latents.shape[:2]
        # A generator may return anything; that this is an array is checked on return.
        return jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), examples)

    def _conditions(
        self, key: Key[Array, ""], n: int, condition: PyTree, each: str = "samples"
    ) -> tuple[PyTree, ...]:
        """The generator's arguments after the latent vector, n rows of each."""
        if condition is None:
            # Not one of the blocks' keys.
            if self.condition is not None:
                return self.condition(jax.random.fold_in(key, 2**31), n)
            if inputs_taken(self.generator)[0] > 1:
                raise ValueError(
                    "the generator takes a condition, and the model has no distribution of it; "
                    "give condition=..., a row for each example"
                )
            return ()
        given = condition if isinstance(condition, tuple) else (condition,)
        given = jax.tree.map(lambda c: c if is_traced(c) else np.asarray(c), given)
        if len(given) + 1 > inputs_taken(self.generator)[1]:
            raise ValueError(
                f"the generator takes fewer than {1 + len(given)} inputs, a latent vector and the "
                "condition; leave the condition out"
            )
        given = jax.tree.map(lambda c: c.reshape(1).repeat(n) if c.ndim == 0 else c, given)
        if length(given) != n:
            raise ValueError(
                f"there must be a condition for each of the {n} {each}, or a scalar for all; got "
                f"{length(given)} rows"
            )
        if is_traced(*jax.tree.leaves(given)):
            return given
        classes = classes_taken(self.generator)
        if classes is not None and len(given) == 1:
            check_labels(given[0], classes)
        if self.condition is not None:
            self.condition.check(given)
        return given


def model_of(players: Players[G, D]) -> Model[G]:
    """The model p_g of some players.

    Args:
        players: the players.

    Returns:
        Their generator with its prior and condition.

    Example:
        >>> import jax
        >>> import advnets
        >>> g_key, d_key = jax.random.split(jax.random.key(0))
        >>> players = advnets.Players(
        ...     advnets.networks.mlp_generator(g_key, 2, (3,), hidden_sizes=[4]),
        ...     advnets.networks.maxout_discriminator(d_key, (3,), units=[4]),
        ...     prior=advnets.priors.Normal(2),
        ... )
        >>> advnets.model.model_of(players).prior
        Normal(size=2)
    """
    return Model(players.generator, players.prior, players.condition)


@dataclasses.dataclass(frozen=True, repr=False)
class SampleBlocks:
    """A model's examples in blocks: `blocks[i]` draws a block at each access, and keeps nothing.

    Attributes:
        keys: the key of each block.
        model: the model that they are drawn from.
        n: the number of examples in all blocks together.
        block_rows: the number of examples in a block; the last one may have fewer.
        condition: what each example is conditioned on; empty if nothing.
    """

    keys: Key[Array, " blocks"]
    model: Model
    n: int
    block_rows: int
    condition: tuple[PyTree, ...] = ()

    def __repr__(self) -> str:
        rows = f"{self.n:,} examples, {self.block_rows:,} in a block"
        return f"SampleBlocks({rows}, of {self.model!r})"

    def __len__(self) -> int:
        return self.keys.shape[0]

    def __getitem__(self, number: int) -> Float[Array, " block *data"]:
        if not 0 <= number < len(self):
            raise IndexError(f"there is no block {number}; there are {len(self)}, numbered from 0")
        if not (len(self) - 1) * self.block_rows < self.n <= len(self) * self.block_rows:
            raise ValueError(
                f"{self.n} examples do not fill {len(self)} blocks of {self.block_rows} rows"
            )
        start = number * self.block_rows
        rows = np.minimum(np.arange(start, start + self.block_rows), self.n - 1)
        condition = jax.tree.map(lambda c: jnp.asarray(c[rows]), self.condition)
        block = _compiled(self.keys[number], self.model, self.block_rows, *condition)
        return block[: self.n - start]

    def first(self, rows: int) -> Float[np.ndarray, " rows *data"]:
        """The first examples, or all if there are fewer, as an array on the host.

        Args:
            rows: how many examples, at least 1.

        Returns:
            The examples. Only the blocks that hold them are drawn.

        Raises:
            ValueError: if `rows` is below 1.
        """
        if rows < 1:
            raise ValueError(f"the number of rows must be at least 1; got {rows}")
        blocks = -(-min(rows, self.n) // self.block_rows)
        return np.concatenate([np.asarray(self[number]) for number in range(blocks)])[:rows]


@eqx.filter_jit
def _compiled(key: Key[Array, ""], model: Model, n: int, *condition: Any) -> Array:
    return model(key, n, *condition)
