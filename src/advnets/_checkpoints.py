"""Checkpoints of a run: its states by epoch, and what tells it from other runs."""

from pathlib import Path

import jax
import numpy as np
from jaxtyping import Array

from advnets.algorithm1 import State


class CheckpointError(ValueError):
    """A checkpoint can't be restored: it is damaged, or another run's."""


class Checkpoints:
    """A run's states, by epoch, kept by Orbax: atomic, and the newest two only.

    With each goes what tells the run from others: its key, settings and data.
    """

    def __init__(self, folder: Path, identity: dict[str, np.ndarray]) -> None:
        import orbax.checkpoint as ocp  # slow to import, and not needed without a folder

        self._args = ocp.args
        self._identity = identity
        self._manager = ocp.CheckpointManager(
            folder.absolute(), options=ocp.CheckpointManagerOptions(max_to_keep=2)
        )

    @staticmethod
    def _arrays(state: State) -> dict[str, Array]:
        leaves = jax.tree_util.tree_leaves_with_path(state)
        return {jax.tree_util.keystr(path).lstrip("."): leaf for path, leaf in leaves}

    def save(self, epoch: int, state: State, beside: dict[str, np.ndarray]) -> None:
        if epoch != self.latest():
            content = self._arrays(state) | self._identity | beside
            self._manager.save(epoch, args=self._args.StandardSave(content))

    def latest(self) -> int | None:
        epoch = self._manager.latest_step()
        return None if epoch is None else int(epoch)

    def restore(
        self, epoch: int, like: State, beside: dict[str, np.ndarray]
    ) -> tuple[State, dict[str, np.ndarray]]:
        expected = self._arrays(like)
        abstract = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), expected
        ) | {name: np.zeros_like(value) for name, value in (self._identity | beside).items()}
        try:
            arrays = self._manager.restore(epoch, args=self._args.StandardRestore(abstract))
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"the checkpoint of epoch {epoch} can't be restored: it is damaged, or holds "
                "players or update rules of other shapes (resume with the settings that the run "
                "began with)"
            ) from error
        for name, value in self._identity.items():
            if not np.array_equal(arrays[name], value):
                raise CheckpointError(
                    f"the checkpoint of epoch {epoch} is of a run with another {name}; resume with "
                    "the settings that the run began with"
                )
        structure = jax.tree.structure(like)
        state: State = jax.tree.unflatten(structure, [arrays[name] for name in expected])
        return state, {name: arrays[name] for name in beside}

    def close(self) -> None:
        self._manager.close()  # waits for a save under way
