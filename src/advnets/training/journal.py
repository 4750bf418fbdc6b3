"""What a run leaves in its folder: metrics, checkpoints, and what tells it from other runs."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import jax
import numpy as np
from jaxtyping import Array, Bool, Float

from advnets import _files
from advnets.algorithms import State
from advnets.training.devices import barrier, is_main_process

Metrics: TypeAlias = dict[str, Any]
# What a game's steps saw, by player and name, an entry for each iteration.
Seen: TypeAlias = dict[str, dict[str, Float[np.ndarray, " _"]]]
IDENTITY = "identity.json"
# Of many runs, the epochs that each has recorded; fewer than the others' if it diverged.
REACHED = "recorded epochs"


class CheckpointError(ValueError):
    """A checkpoint can't be restored: it is damaged, or another run's."""


class Record:
    """The metrics of one run, made from what its iterations saw: a row for each epoch."""

    def __init__(self, folder: Path | None, iterations: int, k: int) -> None:
        self.metrics: list[Metrics] = []
        self.log = None if folder is None else folder / "metrics.jsonl"
        self._iterations = iterations
        self._k = k
        self._seen: list[Seen] = []

    def restore(self, epochs: int) -> None:
        """Takes up the first rows of the file."""
        assert self.log is not None
        # A killed run may leave half a last line; it is past the checkpoint, so it is made again.
        lines = self.log.read_bytes().splitlines()[:epochs]
        try:
            self.metrics = [json.loads(line) for line in lines]
            found = [row["epoch"] for row in self.metrics]
        except (ValueError, KeyError, TypeError, RecursionError):
            found = []
        if found != [*range(1, epochs + 1)]:
            raise CheckpointError(
                f"{self.log} does not hold the {epochs} epochs of the newest checkpoint; the run "
                "is damaged"
            )

    def rewrite(self) -> None:
        """Replaces the file by the rows that there are."""
        if self.log is not None and is_main_process():
            _files.replace(self.log, "".join(map(_json_line, self.metrics)).encode())

    def see(self, seen: Seen, epochs: int) -> list[Metrics]:
        """Takes what further iterations saw; gives rows of the epochs that they end.

        Args:
            seen: what they saw.
            epochs: the number of epochs that are then complete.

        Returns:
            The rows, which are not written yet.
        """
        self._seen.append(seen)
        rows: list[Metrics] = []
        for epoch in range(len(self.metrics) + 1, epochs + 1):
            taken, self._seen = _split(self._seen, self._iterations)
            updates = epoch * self._iterations * self._k
            rows.append({"epoch": epoch, "updates": updates, **_means(taken)})
        return rows

    def write(self, rows: list[Metrics]) -> None:
        """Adds rows."""
        self.metrics += rows
        if self.log is not None and rows and is_main_process():
            with self.log.open("a") as file:
                file.write("".join(map(_json_line, rows)))


def _means(seen: Seen) -> Metrics:
    """An epoch's means, in float64 on the host, so however its iterations were split up."""
    # Gradient norms are there for some iterations only; nothing else may be NaN.
    return jax.tree.map(lambda x: float(np.nanmean(x, dtype=np.float64)), seen)


def _split(seen: list[Seen], n: int) -> tuple[Seen, list[Seen]]:
    """The first n iterations of what was seen, and the rest."""
    merged = jax.tree.map(lambda *parts: np.concatenate(parts), *seen)
    head, rest = jax.tree.map(lambda x: x[:n], merged), jax.tree.map(lambda x: x[n:], merged)
    return head, [rest] if jax.tree.leaves(rest)[0].size else []


def _json_line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, default=float) + "\n"  # NumPy's and JAX's numbers as ours


class Checkpoints:
    """A run's states, by epoch, kept by Orbax: atomic, and the newest two only."""

    def __init__(self, folder: Path) -> None:
        import orbax.checkpoint as ocp  # slow to import, and not needed without a folder

        self._args = ocp.args
        self._manager = ocp.CheckpointManager(
            folder.absolute(), options=ocp.CheckpointManagerOptions(max_to_keep=2)
        )

    @staticmethod
    def _arrays(state: State) -> dict[str, Array]:
        leaves = jax.tree_util.tree_leaves_with_path(state)
        return {jax.tree_util.keystr(path).lstrip("."): leaf for path, leaf in leaves}

    def save(self, epoch: int, state: State, beside: dict[str, np.ndarray]) -> None:
        """Writes a state, unless it is there."""
        if epoch != self.latest():
            content = self._arrays(state) | beside
            self._manager.save(epoch, args=self._args.StandardSave(content))

    def latest(self) -> int | None:
        """The newest checkpoint's epoch."""
        epoch = self._manager.latest_step()
        return None if epoch is None else int(epoch)

    def restore(
        self, epoch: int, like: State, beside: dict[str, np.ndarray]
    ) -> tuple[State, dict[str, np.ndarray]]:
        """Reads a state of the structure of another."""
        expected = self._arrays(like)
        abstract = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), expected
        ) | {name: np.zeros_like(value) for name, value in beside.items()}
        try:
            arrays = self._manager.restore(epoch, args=self._args.StandardRestore(abstract))
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"the checkpoint of epoch {epoch} can't be restored: it is damaged, or holds "
                "players or update rules of other shapes (resume with the settings that the run "
                "began with)"
            ) from error
        structure = jax.tree.structure(like)
        state: State = jax.tree.unflatten(structure, [arrays[name] for name in expected])
        return state, {name: arrays[name] for name in beside}

    def close(self) -> None:
        """Waits for a save under way."""
        self._manager.close()


class Journal:
    """The records of one run or several, and their common checkpoints.

    Attributes:
        records: a record for each run.
        running: the runs that have not diverged; the others' rows end where they did.
    """

    def __init__(self, folder: Path | None, names: Sequence[str], iterations: int, k: int) -> None:
        self._folder = folder
        self._many = names != [""]
        self.records = [Record(folder and folder / name, iterations, k) for name in names]
        self.running: Bool[np.ndarray, " runs"] = np.ones(len(names), bool)
        self._checkpoints: Checkpoints | None = None

    def open(
        self, state: State, identity: Mapping[str, str], epochs: int, *, resume: bool
    ) -> tuple[State, int]:
        """Makes the folder the run's own, or takes a run up where its newest checkpoint left it.

        Args:
            state: the state before the first iteration.
            identity: what tells the run from others, by name.
            epochs: how many epochs it is to have.
            resume: whether to take up a run.

        Returns:
            The state to go on from, and the epochs that it has.

        Raises:
            FileExistsError: if the folder holds another run and `resume` is false.
            FileNotFoundError: if there is nothing to resume.
            CheckpointError: if the run is damaged, or another one.
            ValueError: if it has more epochs than it is to have.
        """
        if self._folder is None:
            return state, 0
        self._make_folders(resume)
        self._checkpoints = Checkpoints(self._folder / "checkpoints")
        first = self._checkpoints.latest()
        if first is not None and not resume:
            raise FileExistsError(
                f"{self._folder} already holds checkpoints; choose another folder, or resume the "
                "run"
            )
        if first is not None:
            self._check_identity(identity)
            if first > epochs:
                raise ValueError(
                    f"{self._folder} already holds {first} epochs; ask for more than that, got "
                    f"epochs={epochs}"
                )
            state, beside = self._checkpoints.restore(first, state, self._reached())
            for run, record in enumerate(self.records):
                epochs_of_run = int(beside[REACHED][run]) if beside else first
                record.restore(epochs_of_run)
                self.running[run] = epochs_of_run == first
        barrier("every process has read the folder")
        if is_main_process():
            content = json.dumps(dict(identity), indent=2) + "\n"
            _files.replace(self._folder / IDENTITY, content.encode())
        for record in self.records:
            record.rewrite()
        return state, first or 0

    def _make_folders(self, resume: bool) -> None:
        """Makes the folders, unless another run has them."""
        logs = [record.log for record in self.records if record.log is not None]
        held = any(log.exists() for log in logs)
        if held and not resume:
            raise FileExistsError(
                f"{self._folder} already holds a run; choose another folder, or resume it"
            )
        if resume and not held:
            raise FileNotFoundError(f"{self._folder} holds no run to resume")
        for log in logs:
            log.parent.mkdir(parents=True, exist_ok=True)

    def _check_identity(self, identity: Mapping[str, str]) -> None:
        assert self._folder is not None
        path = self._folder / IDENTITY
        if not path.exists():
            raise CheckpointError(
                f"{self._folder} holds no {IDENTITY}: an earlier version of advnets began this "
                "run; finish it with that version, or start again in another folder"
            )
        try:
            stored = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} can't be read ({error}); the run is damaged") from None
        differing = sorted(
            name for name in stored | dict(identity) if stored.get(name) != identity.get(name)
        )
        if differing:
            name = "order" if "order" in differing else differing[0]
            raise CheckpointError(
                f"{self._folder} holds a run with another {name}; resume with the settings that "
                f"the run began with (it had {_shortened(stored.get(name))}, this is "
                f"{_shortened(identity.get(name))})"
            )

    def _reached(self) -> dict[str, np.ndarray]:
        if not self._many:
            return {}
        return {REACHED: np.array([len(record.metrics) for record in self.records])}

    def save(self, epoch: int, state: State) -> None:
        """Writes a checkpoint."""
        if self._checkpoints is not None:
            self._checkpoints.save(epoch, state, self._reached())

    def close(self) -> None:
        """Waits for a checkpoint under way."""
        if self._checkpoints is not None:
            self._checkpoints.close()


def _shortened(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
