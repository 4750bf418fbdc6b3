"""Several devices, of one process or of several: the mesh, and how arrays lie on it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Key, PyTree

from advnets.priors import Prior

AXIS = "devices"
# Numbers in an array that is worth cutting: 4 MB of them.
LARGE = 2**20


def make_mesh(devices: int | None, name: str, count: int) -> Mesh | None:
    """The devices to spread so many of something over, as many on each; None for a single one."""
    there = jax.device_count()
    if devices is None:
        devices = 1 if jax.process_count() == 1 else there
    if not 1 <= devices <= there:
        more = " (JAX_NUM_CPU_DEVICES=N in the environment gives a CPU N)"
        raise ValueError(
            f"devices must be at least 1 and at most {there}, as many as JAX has; got {devices}"
            + (more if jax.default_backend() == "cpu" else "")
        )
    if jax.process_count() > 1 and devices != there:
        raise ValueError(
            f"{jax.process_count()} processes share all of their {there} devices; got "
            f"devices={devices} (leave it out)"
        )
    if count % devices:
        raise ValueError(f"{name} must be a multiple of the {devices} devices; got {count}")
    return None if devices == 1 else Mesh(np.array(jax.devices()[:devices]), (AXIS,))


def on_every(mesh: Mesh) -> NamedSharding:
    """Whole, on every device."""
    return NamedSharding(mesh, PartitionSpec())


def along(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Cut along an axis, a part for each device."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, AXIS))


def layers(mesh: Mesh, tree: PyTree) -> Any:
    """How each array lies when large ones are cut: along the first axis that divides evenly."""

    def lies(x: Array) -> NamedSharding:
        even = [axis for axis, length in enumerate(x.shape) if length % mesh.size == 0]
        return along(mesh, even[0]) if even and x.size >= LARGE else on_every(mesh)

    return jax.tree.map(lies, tree)


def place(tree: PyTree, shardings: PyTree) -> Any:
    """Arrays as they lie on a mesh, from arrays that every process has whole.

    The shardings are one for all, or a tree of them.
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
    """Copies on this process's first device of arrays that are whole on every device."""
    return jax.tree.map(lambda x: jnp.array(x.addressable_data(0)), tree)


class Spread(Prior):
    """A prior whose latent vectors are drawn where they are used; the draws are the same.

    Attributes:
        size: the number of components of z.
        inner: the prior.
        sharding: how a minibatch lies on the devices.
    """

    size: int
    inner: Prior
    sharding: NamedSharding

    def __call__(self, key: Key[Array, ""], n: int) -> Float[Array, " n size"]:
        return jax.lax.with_sharding_constraint(self.inner(key, n), self.sharding)


def leads() -> bool:
    """Whether this process is the one that writes files and shows progress."""
    return jax.process_index() == 0


def wait(reason: str) -> None:
    """Waits until every process is here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(f"advnets: {reason}")
