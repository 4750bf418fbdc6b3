"""The velocities of update rules with momentum, wherever they are in the rules' states."""

import dataclasses

import jax
import numpy as np


def _has_velocity(node):
    return hasattr(node, "velocity")


def with_velocity(updates, key, size, **changes):
    """A rule's state as in the middle of training: velocities of that size, and other changes."""

    def drawn(node):
        if not _has_velocity(node):
            return node
        leaves, structure = jax.tree.flatten(node.velocity)
        keys = jax.random.split(key, len(leaves))
        fresh = [size * jax.random.normal(k, v.shape) for k, v in zip(keys, leaves, strict=True)]
        return dataclasses.replace(node, velocity=structure.unflatten(fresh), **changes)

    return jax.tree.map(drawn, updates, is_leaf=_has_velocity)


def velocity_arrays(updates):
    """The arrays of a rule's velocity, on the host."""
    nodes = jax.tree.leaves(updates, is_leaf=_has_velocity)
    (found,) = (node for node in nodes if _has_velocity(node))
    return [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(found.velocity)]
