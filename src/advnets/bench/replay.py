"""A check on the user's machine that training repeats bit for bit, even if interrupted."""

import contextlib
import dataclasses
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from advnets.bench.benchmark import Benchmark
from advnets.bench.experiment import Request, prepare
from advnets.bench.failures import before_work
from advnets.bench.settings import Settings
from advnets.bench.watching import Watch
from advnets.training.callbacks import EpochSummary
from advnets.training.checkpoints import CHECKPOINTS, check_whole, numbers

# The epochs of the runs that are compared; one is interrupted after the first.
EPOCHS = 2


@dataclasses.dataclass(frozen=True)
class Replayed:
    """The SHA-256 of the final states and metrics of short runs of one recipe.

    Attributes:
        once: that of a run.
        again: that of the same run with twice as many checkpoints.
        resumed: that of a run stopped after its first epoch and resumed.
    """

    once: str
    again: str
    resumed: str

    @property
    def same(self) -> bool:
        """Whether all are equal."""
        return self.once == self.again == self.resumed

    def lines(self) -> Iterator[str]:
        """The comparison as text."""
        yield f"SHA-256 of the state and the metrics after {EPOCHS} epochs:"
        yield f"  uninterrupted          {self.once}"
        yield f"  with more checkpoints  {self.again}"
        yield f"  stopped and resumed    {self.resumed}"
        yield "equal, bit for bit" if self.same else "NOT equal: training does not repeat here"


class _Interrupted(Exception):
    """Ends a run after its last stage's first epoch."""


def verify_replay(benchmark: Benchmark, request: Request) -> Replayed:
    """Trains a benchmark for two epochs three times, in folders that are removed afterwards.

    Args:
        benchmark: what to train.
        request: how to train it; its folder is not used.

    Returns:
        Digests of the outcome of each training.

    Raises:
        Refused: for settings out of range, or data that can't be loaded.
        TrainingDiverged: if a cost or a gradient stops being finite.

    Example:
        >>> from advnets import bench
        >>> from advnets.bench.experiment import Request
        >>> from advnets.bench.replay import verify_replay
        >>> verify_replay(bench.BENCHMARKS["digits"], Request()).same  # doctest: +SKIP
        True
    """
    with tempfile.TemporaryDirectory(prefix="advnets-replay-") as name:
        folders = [Path(name) / part for part in ("once", "again", "resumed")]
        _train(benchmark, request, folders[0], every=EPOCHS)
        _train(benchmark, request, folders[1], every=1)
        with contextlib.suppress(_Interrupted):
            _train(benchmark, request, folders[2], every=1, interrupt=True)
        _train(benchmark, request, folders[2], every=1, resume=True)
        return Replayed(*map(_digest, folders))


def _train(
    benchmark: Benchmark,
    request: Request,
    folder: Path,
    *,
    every: int,
    interrupt: bool = False,
    resume: bool = False,
) -> None:
    def stop(snapshot: EpochSummary) -> None:
        if snapshot.folder == folder:  # not in an earlier stage
            raise _Interrupted

    recipe = _shortened(dataclasses.replace(benchmark.recipe, evaluate_every=every))
    with before_work():
        grid = prepare(
            dataclasses.replace(benchmark, recipe=recipe),
            dataclasses.replace(
                request,
                seeds=None,
                learning_rates=(),
                out=folder,
                resume=resume,
                monitor=False,
                callbacks=(stop,) if interrupt else (),
            ),
        )
    (run,) = grid.runs
    key = run.system.sample_key(run.seed)
    watch = Watch(run.system.settings, run.data, folder, key, measures=False)
    with grid.locks, run.system.context():
        run.system.fit(run, watch, progress=True)


def _shortened(recipe: Settings) -> Settings:
    """Settings whose last stage has two epochs, and an earlier one has one."""
    changed: Any = dataclasses.replace
    second = getattr(recipe, "second_stage", None)
    if second is not None and second.epochs:
        return changed(recipe, epochs=1, second_stage=changed(second, epochs=EPOCHS))
    lower = {"lower_epochs": 1} if hasattr(recipe, "lower_epochs") else {}
    return changed(recipe, epochs=EPOCHS, **lower)


def _digest(folder: Path) -> str:
    """The SHA-256 of the newest checkpoint's arrays and metrics."""
    newest = folder / CHECKPOINTS / f"{numbers(folder / CHECKPOINTS)[0]}"
    return hashlib.sha256(repr(sorted(check_whole(newest).files.items())).encode()).hexdigest()
