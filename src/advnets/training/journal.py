"""What a run writes to its folder, metrics and checkpoints, and how it is resumed from them."""

import contextlib
import itertools
import json
import math
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import jax
import numpy as np
from jaxtyping import Bool, Float

from advnets import _documents, _files, _locks, _warnings
from advnets.algorithms import State
from advnets.model_files import LAST
from advnets.model_files import METRICS as METRICS
from advnets.training.checkpoints import (
    CHECKPOINTS,
    Change,
    CheckpointError,
    Manifest,
    Progressed,
    describe_arrays,
    newest_whole,
    numbers,
    read_log,
    read_unfinished,
    restore,
    save_checkpoint,
)
from advnets.training.devices import agree, barrier, is_main_process
from advnets.training.identity import changeable

Metrics: TypeAlias = dict[str, Any]
# A game's info, by player and name, with an entry for each iteration.
Seen: TypeAlias = dict[str, dict[str, Float[np.ndarray, " _"]]]
# Separates a player's name from a quantity's name in a file.
SEPARATOR = "/"


class Record:
    """The metrics of one run, a row for each epoch, computed from the info of its iterations."""

    def __init__(self, folder: Path | None, iterations: int, k: int) -> None:
        self.metrics: list[Metrics] = []
        self.folder = folder
        self.log = None if folder is None else folder / METRICS
        self._iterations = iterations
        self._k = k
        self._seen: list[Seen] = []
        self._lines: list[str] = []  # the metrics as they are written

    def restore(self, log: bytes, unfinished: Mapping[str, np.ndarray], source: object) -> None:
        """Restores the rows of a checkpoint, and the info of its unfinished epoch.

        Raises a ValueError if a row is damaged.
        """
        rows = log.splitlines()
        self.metrics = [
            _documents.decode(row, dict[str, Any], f"{source}, line {number},")
            for number, row in enumerate(rows, start=1)
        ]
        self._lines = [*map(_json_line, self.metrics)]
        seen: Seen = {}
        for name, values in unfinished.items():
            player, _, what = name.partition(SEPARATOR)
            seen.setdefault(player, {})[what] = values
        self._seen = [seen] if seen else []

    def unfinished(self) -> dict[str, np.ndarray]:
        """The info of the iterations since the last full epoch, by player and name."""
        if not self._seen:
            return {}
        return {
            f"{player}{SEPARATOR}{what}": values
            for player, seen in _merged(self._seen).items()
            for what, values in seen.items()
        }

    def content(self) -> bytes:
        """The rows as they are written."""
        return "".join(self._lines).encode()

    def rewrite(self) -> None:
        """Replaces the file's content with the current rows."""
        if self.log is not None and is_main_process():
            _files.replace(self.log, self.content())

    def see(self, seen: Seen) -> None:
        """Adds the info of further iterations (not checked here)."""
        self._seen.append(seen)

    def rows(self, epochs: int) -> list[Metrics]:
        """The rows, not written yet, of the epochs that have ended since.

        Args:
            epochs: the number of epochs completed.

        Returns:
            A row of means for each epoch.
        """
        rows: list[Metrics] = []
        rest = self._seen
        for epoch in range(len(self.metrics) + 1, epochs + 1):
            taken, rest = _split(rest, self._iterations)
            updates = epoch * self._iterations * self._k
            rows.append({"epoch": epoch, "updates": updates, **_means(taken)})
        return rows

    def write(self, rows: list[Metrics]) -> None:
        """Adds rows, to which measurements may have been added, to the record and its file."""
        lines = [*map(_json_line, rows)]
        if rows:
            self._seen = _split(self._seen, len(rows) * self._iterations)[1]
        self.metrics += rows
        self._lines += lines
        if self.log is not None and rows and is_main_process():
            with self.log.open("a") as file:
                file.write("".join(lines))


def _means(seen: Seen) -> Metrics:
    """An epoch's means, in float64 on the host: the same however its iterations were split up."""
    # Gradient norms are NaN in iterations that skip them; nothing else may be NaN.
    return jax.tree.map(lambda x: float(np.nanmean(x, dtype=np.float64)), seen)


def _merged(seen: list[Seen]) -> Seen:
    return jax.tree.map(lambda *parts: np.concatenate(parts), *seen)


def _split(seen: list[Seen], n: int) -> tuple[Seen, list[Seen]]:
    """The info of the first n iterations, and that of the rest."""
    merged = _merged(seen)
    head, rest = jax.tree.map(lambda x: x[:n], merged), jax.tree.map(lambda x: x[n:], merged)
    return head, [rest] if any(x.size for x in jax.tree.leaves(rest)) else []


def _json_line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, allow_nan=False) + "\n"


def with_evaluation(row: Metrics, found: Mapping[str, Any], *, who: str = "evaluate") -> Metrics:
    """A row of metrics with an evaluation's results, as JSON values.

    Args:
        row: the row.
        found: numbers by name; those of NumPy and JAX become Python numbers.
        who: what returned them, for messages.

    Returns:
        The row with the results. A number that is not finite becomes None, with a `RuntimeWarning`
        that names it.

    Raises:
        ValueError: if a name is taken, or a value is not a number, text or a container of them.
    """
    taken = sorted(row.keys() & found.keys())
    if taken:
        raise ValueError(
            f"{who} returned {taken[0]!r}, which each row of metrics already has; choose another "
            "name"
        )
    return row | {f"{name}": _plain(value, f"{name}", who) for name, value in found.items()}


def _plain(value: Any, name: str, who: str) -> Any:
    if isinstance(value, Mapping):
        return {f"{key}": _plain(part, f"{name}.{key}", who) for key, part in value.items()}
    if hasattr(value, "__array__"):
        value = np.asarray(value).tolist()
    if isinstance(value, list | tuple):
        return [_plain(part, f"{name}[{number}]", who) for number, part in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        _warnings.warn(
            f"{who} returned {name} = {value}, which is not finite; it is recorded as null"
        )
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(
        f"{who} returned {name} of type {type(value).__name__}, which metrics can't hold; return "
        "numbers and text"
    )


def holds_run(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder holds a run that can be resumed, from a checkpoint or from its start."""
    return (Path(folder) / METRICS).exists() or bool(numbers(Path(folder) / CHECKPOINTS))


def lock_folder(locks: contextlib.ExitStack, folder: Path) -> None:
    """Makes a folder and locks it; with several processes, the main one does.

    Args:
        locks: the stack that releases the lock.
        folder: the folder.

    Raises:
        RunInUseError: in every process, if a process of another run is using the folder.
    """
    refused = None
    if is_main_process():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            locks.enter_context(_locks.locked(folder))
        except _locks.RunInUseError as error:
            refused = error
    if agree(refused is not None):
        raise refused or _locks.RunInUseError(f"{folder} is in use by another process")


class Journal:
    """The records of one run or several, and their common checkpoints.

    Attributes:
        folder: where the runs' files go, if they are kept.
        names: the runs' names, or one empty name.
        records: a record for each run.
        running: whether each run has not diverged; the rows of one that has end there.
        changes: what changed when the run was resumed.
    """

    def __init__(self, folder: Path | None, names: Sequence[str], iterations: int, k: int) -> None:
        self.folder = folder
        self.names = names
        self._iterations = iterations
        self.records = [Record(folder and folder / name, iterations, k) for name in names]
        self.running: Bool[np.ndarray, " runs"] = np.ones(len(names), bool)
        self.changes: tuple[Change, ...] = ()
        self._identity: dict[str, str] = {}
        self._environment: dict[str, str] = {}
        self._saved = -1, 0  # the newest checkpoint's iteration, and the number of its rows
        self._saved_at = time.monotonic()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Makes the folder and locks it against other processes."""
        with contextlib.ExitStack() as locks:
            if self.folder is not None:
                lock_folder(locks, self.folder)
            yield

    def open(
        self,
        state: State,
        identity: Mapping[str, str],
        environment: Mapping[str, str],
        epochs: int,
        *,
        resume: bool | str,
    ) -> tuple[State, int]:
        """Starts a run in the folder, or resumes one from its newest checkpoint.

        Args:
            state: the state before the first iteration.
            identity: what distinguishes the run from others, by name.
            environment: what it is computed with, which may differ from before.
            epochs: the number of epochs to train.
            resume: whether to resume a run; `"changed"` also accepts changed settings.

        Returns:
            The state to continue from, and the number of iterations completed.

        Raises:
            FileExistsError: if the folder holds another run and `resume` is false.
            FileNotFoundError: if there is nothing to resume, or only a model without checkpoints.
            CheckpointError: if the run is damaged, or is another run.
            ValueError: if it already has more epochs than `epochs`, or there is no folder to
                resume.
        """
        self._identity, self._environment = dict(identity), dict(environment)
        if self.folder is None:
            if resume:
                raise ValueError("resume needs folder=, the folder of the run")
            return state, 0
        self._make_folders(bool(resume))
        found = newest_whole(self.folder / CHECKPOINTS)
        models = [self.folder / name / LAST for name in self.names]
        if resume and found is None and any(model.exists() for model in models):
            raise FileNotFoundError(
                f"{self.folder} holds a trained model but no {CHECKPOINTS}/ to resume from; "
                "restore them from a copy, or train anew in another folder"
            )
        iteration = 0
        if found is not None:
            place, manifest = found
            self._compare(manifest, changed=resume == "changed")
            reached = -(-manifest.iteration // self._iterations)
            if reached > epochs:
                raise ValueError(
                    f"{self.folder} already holds {reached} epochs; ask for more than that, got "
                    f"epochs={epochs}"
                )
            state = restore(place, manifest, state)
            iteration = manifest.iteration
            for run, (name, record) in enumerate(zip(self.names, self.records, strict=True)):
                record.restore(read_log(place, name), read_unfinished(place, name), place)
                self.running[run] = manifest.runs[name].running
            self._saved = iteration, self._rows()
        barrier("every process has read the folder")
        for record in self.records:
            record.rewrite()
        return state, iteration

    def is_behind(self, epochs: int) -> bool:
        """Whether a row of these epochs is missing, because it could not be measured."""
        return any(
            len(record.metrics) < epochs
            for record, running in zip(self.records, self.running, strict=True)
            if running
        )

    def _make_folders(self, resume: bool) -> None:
        """Makes the runs' folders, unless they hold another run."""
        assert self.folder is not None
        logs = [record.log for record in self.records if record.log is not None]
        checkpoints = self.folder / CHECKPOINTS
        held = bool(numbers(checkpoints)) or any(log.exists() for log in logs)
        if held and not resume:
            raise FileExistsError(
                f"{self.folder} already holds a run; choose another folder, or resume it"
            )
        if resume and not held:
            raise FileNotFoundError(f"{self.folder} holds no run to resume")
        for log in logs:
            log.parent.mkdir(parents=True, exist_ok=True)

    def _compare(self, manifest: Manifest, *, changed: bool) -> None:
        """Refuses another run, and records the differences that are allowed."""
        stored, given = manifest.identity, self._identity
        if manifest.runs.keys() != set(self.names):
            raise CheckpointError(
                f"{self.folder} holds the runs {', '.join(manifest.runs)}; resume them all"
            )
        differing = sorted(
            name for name in stored.keys() | given.keys() if stored.get(name) != given.get(name)
        )
        refused = [name for name in differing if not (changed and changeable(name))]
        if refused:
            name = "order" if "order" in refused else refused[0]
            may = (
                ', or accept the change with resume="changed"'
                if all(map(changeable, refused))
                else ""
            )
            other = "different" if name == "data" or name.endswith("updates") else "another"
            had, has = _differing_excerpts(stored.get(name), given.get(name))
            raise CheckpointError(
                f"{self.folder} holds a run with {other} {name}; resume with the settings that "
                f"the run began with (it had {had}, this has {has}){may}"
            )
        before, now = manifest.environment, self._environment
        elsewhere = [
            name for name in before.keys() | now.keys() if before.get(name) != now.get(name)
        ]
        if elsewhere:
            diffs = "; ".join(
                f"{name} was {before.get(name)}, is {now.get(name)}" for name in sorted(elsewhere)
            )
            _warnings.warn(
                f"the run in {self.folder} resumes in another environment ({diffs}): its numbers "
                "may differ by rounding from those of an uninterrupted run"
            )
        pairs = [(name, stored, given) for name in differing]
        pairs += [(name, before, now) for name in sorted(elsewhere)]
        self.changes = manifest.changes + tuple(
            Change(manifest.iteration, name, *_differing_excerpts(old.get(name), new.get(name)))
            for name, old, new in pairs
        )

    def save(self, iteration: int, state: State) -> None:
        """Writes a checkpoint, unless it is already written, with as many rows."""
        if self.folder is None or (iteration, self._rows()) == self._saved:
            return
        before = self._saved[0]
        if before == iteration:  # which had no row yet, as an evaluation failed
            earlier = (n for n in numbers(self.folder / CHECKPOINTS) if n < iteration)
            before = next(earlier, -1)
        runs = {
            name: Progressed(len(record.metrics), bool(running))
            for name, record, running in zip(self.names, self.records, self.running, strict=True)
        }
        save_checkpoint(
            self.folder / CHECKPOINTS,
            Manifest(
                iteration,
                runs,
                describe_arrays(state),
                self._identity,
                self._environment,
                self.changes,
            ),
            state,
            {n: r.content() for n, r in zip(self.names, self.records, strict=True)},
            {n: r.unfinished() for n, r in zip(self.names, self.records, strict=True)},
            before,
        )
        self._saved, self._saved_at = (iteration, self._rows()), time.monotonic()

    def _rows(self) -> int:
        """The number of rows of all runs."""
        return sum(len(record.metrics) for record in self.records)

    def seconds_since_save(self) -> float:
        """How long ago the newest checkpoint was written, or the run began."""
        return time.monotonic() - self._saved_at


# The most characters of a description in a message, and a pattern of characters never split.
LONGEST, OF_A_WORD = 120, re.compile(r"[\w.=+-]*")


def _differing_excerpts(old: str | None, new: str | None) -> tuple[str, str]:
    """Two descriptions for a message; long ones are cut to where they differ, in whole words."""
    texts = "nothing" if old is None else old, "nothing" if new is None else new
    if max(map(len, texts)) <= LONGEST:
        return texts
    first = _alike(*texts)
    first -= len(_word(texts[0][:first][::-1]))
    rests = [text[first:][::-1] for text in texts]
    last = _alike(*rests)
    last -= len(_word(rests[0][:last][::-1]))
    before = "..." if first else ""
    one, two = (
        before + _shortened(text[first : len(text) - last] + ("..." if last else ""))
        for text in texts
    )
    return one, two


def _alike(one: str, two: str) -> int:
    """The length of the common prefix of two texts."""
    return sum(
        1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, two, strict=False))
    )


def _word(text: str) -> str:
    """The part of a word that a text begins with."""
    found = OF_A_WORD.match(text)
    return "" if found is None else found.group()


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
