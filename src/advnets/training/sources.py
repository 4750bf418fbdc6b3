"""Where minibatches come from: data on the device, or data gathered on the host as they are needed.

Both give the same rows in the same order, hence the same numbers. An epoch visits every row at most
once, in a fresh random order; rows that do not fill an iteration are left out, different ones in
each epoch.
"""

import abc
import hashlib
from collections.abc import Callable
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Int, Key, PyTree, Shaped

from advnets import _reprs, batches
from advnets._counts import check_count
from advnets.batches import Batch
from advnets.preprocessing import to_unit_interval
from advnets.training import devices

# Applied to a minibatch, in the compiled program, before the discriminator sees it.
Preprocess: TypeAlias = Callable[[Batch], Batch]
# Bytes of streamed data in one chunk; two chunks are held at a time.
BYTES_PER_CHUNK = 2**26
# Bytes that a fingerprint reads at a time.
BYTES_PER_LOOK = 2**24


def scale_pixels(batch: Batch) -> Batch:
    """The default preprocessing: [`advnets.preprocessing.to_unit_interval`][] of the examples.

    Args:
        batch: a JAX array; a tuple, whose first element is one; or another pytree, which is left
            unchanged.

    Returns:
        The batch, in which the array is of JAX's default floating-point type: uint8 pixels scaled
        to [0, 1], or the values that it has. A tuple's other elements are left unchanged.

    Example:
        >>> import jax.numpy as jnp
        >>> from advnets.training import sources
        >>> images, labels = sources.scale_pixels((jnp.array([255], jnp.uint8), jnp.array([7])))
        >>> images.tolist(), labels.tolist()
        ([1.0], [7])
    """
    if isinstance(batch, tuple):
        first, *rest = batch
        return to_unit_interval(first), *rest
    return to_unit_interval(batch) if eqx.is_array(batch) else batch


def check_finite(batch: Batch, rows: Int[np.ndarray, " n"]) -> None:
    """Refuses data that are not finite, before or after the cast to the dtype used in training.

    Args:
        batch: rows of data.
        rows: their numbers, for the error message.

    Raises:
        ValueError: if a value is not finite; the message names rows.

    Example:
        >>> import numpy as np
        >>> from advnets.training import sources
        >>> sources.check_finite(np.zeros((2, 3)), np.array([5, 6]))
    """
    for leaf in jax.tree.leaves(batch):
        held = np.asarray(leaf)
        if not jnp.issubdtype(held.dtype, jnp.floating):
            continue
        worked_in = jax.dtypes.canonicalize_dtype(held.dtype)
        with np.errstate(over="ignore"):
            sound = np.isfinite(held.astype(worked_in, copy=False))
        if sound.all():
            continue
        bad = rows[~sound.reshape(len(held), -1).all(axis=1)]
        several = len(bad) > 1
        shown = ", ".join(map(str, bad[:5])) + (", ..." if len(bad) > 5 else "")
        raise ValueError(
            f"the data hold {int((~sound).sum())} values that are not finite as {worked_in}, in "
            f"row{'s' * several} {shown}; leave {'them' if several else 'it'} out or fix "
            f"{'them' if several else 'it'}"
        )


class Source(abc.ABC):
    """Data to train on, and how minibatches of them are preprocessed.

    Attributes:
        preprocess: applied to each minibatch in the compiled program.
    """

    preprocess: Preprocess

    @abc.abstractmethod
    def __len__(self) -> int:
        """The number of rows."""

    @abc.abstractmethod
    def gather(self, rows: Int[np.ndarray, "*shape"]) -> Batch:
        """Rows as host arrays, of shape `rows.shape` followed by that of an example."""

    def labels(self) -> Shaped[np.ndarray, "n ..."]:
        """The first condition of every row, as players see it, where batches are tuples."""
        # Compiled, so that preprocessing of the examples, which is unused, is eliminated.
        condition = jax.jit(lambda batch: self.preprocess(batch)[1])
        step = 1_000
        blocks = [
            condition(self.gather(np.arange(start, min(start + step, len(self)))))
            for start in range(0, len(self), step)
        ]
        return np.concatenate([np.asarray(block) for block in blocks])

    @abc.abstractmethod
    def fingerprint(self) -> str:
        """The SHA-256 of the data."""

    @abc.abstractmethod
    def check_finite(self) -> None:
        """Raises a ValueError that names the rows that are not finite, if the data are in memory;
        other sources do so when they gather rows."""

    @abc.abstractmethod
    def place(self, mesh: Mesh | None) -> Batch:
        """An argument of every call of the compiled program; may be None."""

    @abc.abstractmethod
    def chunk(self, rows: Int[Array, "*shape"], mesh: Mesh | None, axis: int) -> PyTree:
        """What the compiled program is given for some rows; `axis` is the minibatch axis."""

    @abc.abstractmethod
    def minibatch(self, placed: Batch, chunk: PyTree, ndim: int) -> Batch:
        """A chunk's rows along one axis, in the compiled program; `ndim` is that of `rows`."""

    @abc.abstractmethod
    def iterations_per_chunk(self, rows_per_iteration: int) -> int | None:
        """The most iterations in a chunk; None for no limit.

        Raises a ValueError for iterations without rows, if there is a limit.
        """


class Resident(Source):
    """Data on the device, in their own dtype: the fastest source, if they fit.

    Attributes:
        data: a batch of all rows.
        preprocess: applied to each minibatch; unless given, uint8 pixels become floats in [0, 1].

    Raises:
        ValueError: for a list; if arrays have different lengths.

    Example:
        >>> import numpy as np
        >>> from advnets.training import Resident
        >>> len(Resident(np.zeros((50, 8, 8), np.uint8)))
        50
    """

    def __init__(self, data: Batch, preprocess: Preprocess = scale_pixels) -> None:
        for part in batches.parts(data):
            if isinstance(part, list):  # a pytree with as many arrays
                raise ValueError(
                    f"data must be an array, not a list of {len(part)} (use np.stack for images, "
                    "np.asarray for numbers)"
                )
        self.data = data
        self.preprocess = preprocess
        self._length = batches.length(data)

    def __repr__(self) -> str:
        return _described(self)

    def __len__(self) -> int:
        return self._length

    def gather(self, rows: Int[np.ndarray, "*shape"]) -> Batch:
        return jax.tree.map(lambda x: np.asarray(x)[rows], self.data)

    def labels(self) -> Shaped[np.ndarray, "n ..."]:
        if self.preprocess is scale_pixels:  # which leaves labels unchanged
            return np.asarray(self.data[1])
        return super().labels()

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for path, leaf in jax.tree_util.tree_leaves_with_path(self.data):
            held = np.ascontiguousarray(leaf)
            digest.update(f"{jax.tree_util.keystr(path)} {held.dtype} {held.shape}".encode())
            digest.update(held.data)
        return digest.hexdigest()

    def check_finite(self) -> None:
        step = 1_000
        for start in range(0, len(self), step):
            rows = np.arange(start, min(start + step, len(self)))
            check_finite(
                jax.tree.map(lambda x, rows=rows: x[rows[0] : rows[-1] + 1], self.data), rows
            )

    def place(self, mesh: Mesh | None) -> Batch:
        if mesh is None:
            return jax.tree.map(jnp.asarray, self.data)
        return devices.place(self.data, devices.replicated(mesh))

    def chunk(self, rows: Int[Array, "*shape"], mesh: Mesh | None, axis: int) -> PyTree:
        return rows

    def minibatch(self, placed: Batch, chunk: PyTree, ndim: int) -> Batch:
        return jax.tree.map(lambda x: x[chunk.ravel()], placed)

    def iterations_per_chunk(self, rows_per_iteration: int) -> int | None:
        return None


class Streamed(Source):
    """Data gathered on the host while the device works; they may be larger than memory.

    Attributes:
        data: anything with a length whose `data[rows]` returns the rows for an integer array: a
            memory map, a `datasets.Dataset` in NumPy format, your own class; or a tuple or
            dictionary of these.
        preprocess: applied to each minibatch; unless given, uint8 pixels become floats in [0, 1].

    Raises:
        ValueError: if parts of the data have different lengths, or do not return arrays of rows.

    Example:
        >>> import numpy as np
        >>> from advnets.training import Streamed
        >>> len(Streamed(np.zeros((50, 8, 8), np.uint8)))
        50
    """

    def __init__(self, data: Any, preprocess: Preprocess = scale_pixels) -> None:
        self.data = data
        self.preprocess = preprocess
        lengths = {len(part) for part in self._parts()}
        if len(lengths) != 1:
            raise ValueError(
                f"all parts of the data must have the same number of rows; got {sorted(lengths)}"
            )
        (self._length,) = lengths
        if self._length:
            self._bytes_per_row = sum(x.nbytes for x in jax.tree.leaves(self._rows(np.arange(1))))

    def __repr__(self) -> str:
        return _described(self)

    def _parts(self) -> list[Any]:
        return jax.tree.leaves(self.data, is_leaf=_gathers)

    def __len__(self) -> int:
        return self._length

    def _rows(self, rows: Int[np.ndarray, " n"]) -> Batch:
        try:
            found = jax.tree.map(lambda part: part[rows], self.data, is_leaf=_gathers)
        except TypeError as error:
            raise ValueError(
                f"streamed data must return arrays of numbers for data[rows], where rows is an "
                f"array; got {error}"
            ) from error
        found = jax.tree.map(np.asarray, found, is_leaf=lambda x: isinstance(x, list))
        for leaf in jax.tree.leaves(found):
            if len(leaf) != len(rows) or leaf.dtype.kind not in "biuf":
                raise ValueError(
                    f"streamed data must return arrays of numbers, a row for each index; got "
                    f"{leaf.dtype} of shape {leaf.shape} for {len(rows)} rows (stream a "
                    'datasets.Dataset as dataset.with_format("numpy"))'
                )
        return found

    def gather(self, rows: Int[np.ndarray, "*shape"]) -> Batch:
        found = self._rows(rows.ravel())
        return jax.tree.map(lambda x: x.reshape(*rows.shape, *x.shape[1:]), found)

    def labels(self) -> Shaped[np.ndarray, "n ..."]:
        if self.preprocess is scale_pixels and isinstance(self.data, tuple):
            return np.asarray(self.data[1][np.arange(len(self))])  # without reading the examples
        return super().labels()

    def fingerprint(self) -> str:
        digests: dict[str, Any] = {}  # one per leaf, whatever the number of rows read at once
        step = max(1, BYTES_PER_LOOK // max(1, self._bytes_per_row))
        for start in range(0, self._length, step):
            rows = np.arange(start, min(start + step, self._length))
            for path, leaf in jax.tree_util.tree_leaves_with_path(self._rows(rows)):
                name = f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape[1:]}"
                digests.setdefault(name, hashlib.sha256()).update(np.ascontiguousarray(leaf).data)
        found = [f"{name} {digest.hexdigest()}" for name, digest in digests.items()]
        return hashlib.sha256("\n".join([*found, f"{self._length}"]).encode()).hexdigest()

    def check_finite(self) -> None:
        return  # rows are checked when they are gathered: a pass over the data may be slow

    def place(self, mesh: Mesh | None) -> Batch:
        return None

    def chunk(self, rows: Int[Array, "*shape"], mesh: Mesh | None, axis: int) -> PyTree:
        numbers = np.asarray(rows)
        found = self.gather(numbers)
        check_finite(
            jax.tree.map(lambda x: x.reshape(-1, *x.shape[numbers.ndim :]), found), numbers.ravel()
        )
        if mesh is None:
            return jax.tree.map(jnp.asarray, found)
        return devices.place(found, devices.sharded(mesh, axis))

    def minibatch(self, placed: Batch, chunk: PyTree, ndim: int) -> Batch:
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[ndim:]), chunk)

    def iterations_per_chunk(self, rows_per_iteration: int) -> int | None:
        check_count("the number of rows of an iteration", rows_per_iteration)
        return max(1, BYTES_PER_CHUNK // max(1, rows_per_iteration * self._bytes_per_row))


def _described(source: Resident | Streamed) -> str:
    through = source.preprocess
    more = "" if through is scale_pixels else f", preprocess={_reprs.short(through)}"
    return f"{type(source).__name__}({_reprs.arrays(source.data)}{more})"


def _gathers(data: Any) -> bool:
    """Whether data are gathered by `data[rows]`, rather than a container of such data."""
    return not isinstance(data, tuple | list | dict) and hasattr(data, "__getitem__")


def source_of(data: Any) -> Source:
    """The source for what training is given: a source itself, or data on the device.

    Args:
        data: a source, or a batch.

    Returns:
        The source.

    Example:
        >>> import numpy as np
        >>> from advnets.training import sources
        >>> type(sources.source_of(np.zeros((5, 2)))).__name__
        'Resident'
    """
    return data if isinstance(data, Source) else Resident(data)


def epoch_order(
    key: Key[Array, ""], epoch: Int[Array, ""], n: int, batch_size: int
) -> Int[Array, " batches {batch_size}"]:
    """The rows of each minibatch of an epoch: every row at most once, in a fresh random order.

    The rows left over when the batch size does not divide n are dropped, different ones in each
    epoch.

    Args:
        key: the run's key for the order of the data.
        epoch: the epoch's number, from 0.
        n: the number of rows.
        batch_size: the rows in a minibatch, at most n.

    Returns:
        Row numbers, `n // batch_size` minibatches of them.

    Raises:
        ValueError: if n or the batch size is below 1, or does not fit in 32 bits.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from advnets.training.sources import epoch_order
        >>> epoch_order(jax.random.key(0), jnp.array(0), 1050, 100).shape
        (10, 100)
    """
    for name, value in (("n", n), ("the batch size", batch_size)):
        check_count(name, value)
    batches = n // batch_size
    rows = jax.random.permutation(jax.random.fold_in(key, epoch), n)
    return rows[: batches * batch_size].reshape(batches, batch_size)


class Rows:
    """The rows of iterations, from the orders of the epochs that they belong to."""

    def __init__(
        self, keys: Key[Array, "*runs"], n: int, iterations: int, k: int, batch_size: int
    ) -> None:
        def in_minibatches(key: Key[Array, ""], epoch: Int[Array, ""]) -> Int[Array, "*batches"]:
            found = epoch_order(key, epoch, n, batch_size)[: iterations * k]
            return found if k == 1 else found.reshape(iterations, k, batch_size)

        self._keys = keys
        self._rows_each = k * batch_size
        self._iterations = iterations
        self._axis = keys.ndim
        self._order = jax.jit(
            jax.vmap(in_minibatches, in_axes=(0, None)) if keys.ndim else in_minibatches
        )
        self._orders: dict[int, Array] = {}

    def __call__(self, start: int, end: int) -> Int[Array, "*iterations_batch"]:
        """The rows of iterations from `start` up to, but not including, `end`.

        Raises a ValueError if there are no iterations, or 2**31 rows or more.
        """
        if not 0 <= start < end:
            raise ValueError(f"start must be at least 0, and end after it; got {start} and {end}")
        check_count("the number of rows", (end - start) * self._rows_each)
        check_count("the last iteration", end)
        first, last = start // self._iterations, (end - 1) // self._iterations
        for epoch in list(self._orders):
            if epoch < first:
                del self._orders[epoch]
        found = []
        for epoch in range(first, last + 1):
            if epoch not in self._orders:
                self._orders[epoch] = self._order(self._keys, jnp.asarray(epoch))
            low = max(start - epoch * self._iterations, 0)
            high = min(end - epoch * self._iterations, self._iterations)
            found.append(jax.lax.slice_in_dim(self._orders[epoch], low, high, axis=self._axis))
        return jnp.concatenate(found, axis=self._axis)
