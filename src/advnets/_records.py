"""A run's metrics: a row for each epoch, in memory and in `metrics.jsonl`."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from advnets import _files
from advnets._checkpoints import CheckpointError
from advnets._devices import leads
from advnets.algorithm1 import Info

Metrics = dict[str, Any]


class Record:
    """The metrics of one run, made from what its iterations saw."""

    def __init__(self, folder: Path | None, epoch_length: int, k: int) -> None:
        self.metrics: list[Metrics] = []
        self.log = None if folder is None else folder / "metrics.jsonl"
        self._epoch_length = epoch_length
        self._k = k
        self._infos: list[Info] = []

    def restore(self, epochs: int) -> None:
        """Takes up the rows of so many epochs."""
        assert self.log is not None
        lines = self.log.read_text().splitlines()
        # A killed run may leave half a last line; it is past the checkpoint, so it is made again.
        rows = [json.loads(line) for line in lines[:epochs]]
        self.metrics = [row for row in rows if row["epoch"] <= epochs]
        if [row["epoch"] for row in self.metrics] != [*range(1, epochs + 1)]:
            raise CheckpointError(
                f"{self.log} does not hold the {epochs} epochs of the newest checkpoint; the run "
                "is damaged"
            )

    def rewrite(self) -> None:
        """Replaces the file by the rows that there are."""
        if self.log is not None and leads():
            _files.replace(self.log, "".join(map(_json_line, self.metrics)).encode())

    def see(self, info: Info, epochs: int) -> list[Metrics]:
        """Rows of the epochs that further iterations end, so many in all; not written yet."""
        self._infos.append(info)
        rows: list[Metrics] = []
        for epoch in range(len(self.metrics) + 1, epochs + 1):
            taken, self._infos = _split(self._infos, self._epoch_length)
            rows.append(_mean_row(epoch, epoch * self._epoch_length * self._k, taken))
        return rows

    def write(self, rows: list[Metrics]) -> None:
        """Adds rows."""
        self.metrics += rows
        if self.log is not None and rows and leads():
            with self.log.open("a") as file:
                file.write("".join(map(_json_line, rows)))


def claim(folder: Path, records: list[Record], resume: bool) -> None:
    """Makes the folder of runs and those of their records, unless others have it."""
    logs = [record.log for record in records if record.log is not None]
    held = any(log.exists() for log in logs)
    if held and not resume:
        raise FileExistsError(f"{folder} already holds a run; choose another folder, or resume it")
    if resume and not held:
        raise FileNotFoundError(f"{folder} holds no run to resume")
    for log in logs:
        log.parent.mkdir(parents=True, exist_ok=True)


def _mean_row(epoch: int, updates: int, infos: list[Info]) -> Metrics:
    """An epoch's means, in float64 on the host, so however its iterations were split up."""

    def mean(*parts: Float[np.ndarray, " n"]) -> float:
        # Gradient norms are there for some iterations only; nothing else may be NaN.
        return float(np.nanmean(np.concatenate(parts), dtype=np.float64))

    means = jax.tree.map(mean, *infos)
    return {
        "epoch": epoch,
        "updates": updates,
        "discriminator": dataclasses.asdict(means.discriminator),
        "generator": dataclasses.asdict(means.generator),
    }


def _split(infos: list[Info], n: int) -> tuple[list[Info], list[Info]]:
    """The first n iterations of what was seen, and the rest."""
    merged = jax.tree.map(lambda *parts: np.concatenate(parts), *infos)
    head, rest = jax.tree.map(lambda x: x[:n], merged), jax.tree.map(lambda x: x[n:], merged)
    return [head], [rest] if len(rest.generator.cost) else []


def _json_line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, default=float) + "\n"  # NumPy's and JAX's numbers as ours
