"""Several devices, in one process or several: the mesh, and how arrays are sharded over it."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Key, PyTree

from advnets.priors import Prior

AXIS = "devices"
# Elements of the smallest array worth sharding: 4 MB of floats.
LARGE = 2**20


@dataclasses.dataclass(frozen=True)
class Devices:
    """The devices that training is spread over.

    Attributes:
        count: the number of devices; unless given, one, or with several processes all of theirs.
        shard_layers: also shard large arrays (2**20 numbers or more) of a single run's players and
            of their update rules' states over the devices, instead of replicating them.

    Example:
        >>> from advnets.training import Devices
        >>> Devices(8, shard_layers=True)
        Devices(count=8, shard_layers=True)
    """

    count: int | None = None
    shard_layers: bool = False


def make_mesh(count: int | None, name: str, length: int) -> Mesh | None:
    """A mesh of devices to shard an axis over evenly; None for a single device.

    Args:
        count: the number of devices; unless given, one, or with several processes all of theirs.
        name: what is sharded, for the error message.
        length: the axis's length, which the number of devices must divide.

    Returns:
        The mesh.

    Raises:
        ValueError: if there are not that many devices, they do not divide the length, or several
            processes are to use only some of their devices.

    Example:
        >>> from advnets.training.devices import make_mesh
        >>> make_mesh(1, "the batch size", 100) is None
        True
    """
    there = jax.device_count()
    if count is None:
        count = 1 if jax.process_count() == 1 else there
    if not 1 <= count <= there:
        more = " (set JAX_NUM_CPU_DEVICES=N in the environment for N devices on a CPU)"
        raise ValueError(
            f"devices must be at least 1 and at most {there}, as many as JAX has; got {count}"
            + (more if jax.default_backend() == "cpu" else "")
        )
    if jax.process_count() > 1 and count != there:
        raise ValueError(
            f"{jax.process_count()} processes share all of their {there} devices; got "
            f"devices={count} (leave it out)"
        )
    if length % count:
        raise ValueError(f"{name} must be a multiple of the {count} devices; got {length}")
    return None if count == 1 else Mesh(np.array(jax.devices()[:count]), (AXIS,))


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of arrays that every device has a copy of."""
    return NamedSharding(mesh, PartitionSpec())


def sharded(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """The sharding of arrays along an axis, a shard for each device.

    Raises a ValueError for an axis that no array has.
    """
    if not 0 <= axis < 64:
        raise ValueError(f"arrays have axes from 0 to 63; got axis {axis}")
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, AXIS))


def shardings_of_layers(mesh: Mesh, tree: PyTree) -> Any:
    """Shardings of a state's arrays: large ones along the first evenly divisible axis."""

    def sharding(x: Array) -> NamedSharding:
        even = [axis for axis, length in enumerate(x.shape) if length % mesh.size == 0]
        return sharded(mesh, even[0]) if even and x.size >= LARGE else replicated(mesh)

    return jax.tree.map(sharding, tree)


def place(tree: PyTree, shardings: PyTree) -> Any:
    """Puts arrays on a mesh, from copies that every process has.

    Args:
        tree: the arrays.
        shardings: one sharding for all arrays, or a tree of them.

    Returns:
        The arrays on the mesh.
    """

    def placed(sharding: NamedSharding, x: Array | np.ndarray) -> Array:
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            data = placed(sharding, jax.random.key_data(x))
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))
        held = np.asarray(x)
        return jax.make_array_from_callback(held.shape, sharding, lambda index: held[index])

    def placed_alike(sharding: NamedSharding, part: PyTree) -> Any:
        return jax.tree.map(lambda x: placed(sharding, x), part)

    return jax.tree.map(placed_alike, shardings, tree)


def local(tree: PyTree) -> Any:
    """Copies of replicated arrays on this process's first device."""
    return jax.tree.map(lambda x: jnp.array(x.addressable_data(0)), tree)


class ShardedPrior(Prior):
    """A prior whose latent vectors are drawn on the device that uses them; the draws are the same.

    Attributes:
        size: the number of components of z.
        inner: the prior.
        sharding: the sharding of a minibatch.

    Raises:
        ValueError: if the size is below 1.
    """

    size: int
    inner: Prior
    sharding: NamedSharding

    def __call__(self, key: Key[Array, ""], n: int) -> Float[Array, " n size"]:
        return jax.lax.with_sharding_constraint(self.inner(key, n), self.sharding)


def is_main_process() -> bool:
    """Whether this is the process that writes files and shows progress."""
    return jax.process_index() == 0


def barrier(reason: str) -> None:
    """Waits until every process has reached the same call."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(f"advnets: {reason}")


def agree(code: int) -> int:
    """The maximum over processes of their numbers; every process must make the same call."""
    if jax.process_count() == 1:
        return code
    return int(multihost_utils.process_allgather(np.array(code)).max())
