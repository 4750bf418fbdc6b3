"""Reads what the pages show of a run from its folder."""

import dataclasses
import shlex
from pathlib import Path
from typing import Any

from advnets._counts import counted
from advnets.bench import frames, results
from advnets.bench.benchmark import Benchmark
from advnets.bench.catalogue import BENCHMARKS
from advnets.bench.folders import (
    CONFIG,
    METRICS,
    RESULTS,
    called,
    flat,
    newest_checkpoint,
    progress,
    read_config,
    read_rows,
)
from advnets.bench.results import Config, Json, Result

# The most points of a curve; longer runs are thinned.
MOST_POINTS = 500


@dataclasses.dataclass(frozen=True)
class Seen:
    """A run as it is on disk.

    Attributes:
        folder: its folder.
        config: its settings.
        result: its result, once it is done.
        rows: its metrics, a row for each epoch.
        epochs: the number of epochs trained so far.
        frames: the pictures of its samples, by epoch.
        benchmark: the benchmark with its name, if there is one.
        diverged: whether it ended because a number was not finite.
        live: whether the page is rewritten during training.
        explores: whether the page may have an explorer.
    """

    folder: Path
    config: Config
    result: Result | None
    rows: list[dict[str, Any]]
    epochs: int
    frames: dict[int, Path]
    benchmark: Benchmark | None
    diverged: bool = False
    live: bool = False
    explores: bool = True

    @property
    def finished(self) -> bool:
        """Whether the result covers all epochs."""
        return self.result is not None and self.epochs <= self.result.epochs

    @property
    def state(self) -> str:
        """The state of an unfinished run in words; empty for a finished one."""
        if self.finished:
            return ""
        text = f"Not done: {self.epochs:,} of {counted(self.wanted, 'epoch')}."
        if self.diverged:
            text = f"Diverged after {counted(self.epochs, 'epoch')}."
        elif self.epochs >= self.wanted:
            text = "Trained, but not scored yet."
        if self.result is not None:
            text += f" The likelihood is that of epoch {self.result.epochs:,}."
        return text

    @property
    def wanted(self) -> int:
        """The number of epochs that the run will have."""
        second = self.config.recipe.get("second_stage") or {}
        return int(second.get("epochs") or self.config.recipe.get("epochs") or 0)

    @property
    def name(self) -> str:
        """The run's display name, with its seed."""
        return f"{self.called}, seed {self.config.seed}"

    @property
    def called(self) -> str:
        """What the run is called: after its data if those are not the benchmark's."""
        name, dataset = self.config.benchmark, self.config.recipe.get("dataset", "")
        if self.config.called or self.benchmark is None:
            return self.config.called or name
        return called(name, self.benchmark.recipe.dataset, dataset, None)

    @property
    def data(self) -> str:
        """The data set's name, or that of the folder of images."""
        dataset = self.config.recipe.get("dataset", "")
        if dataset != "imagefolder" or not self.config.called:
            return f"{dataset}"
        return self.config.called.removesuffix(f" ({self.config.benchmark} recipe)")

    @property
    def has_own_data(self) -> bool:
        """Whether it is a run of a benchmark on the data that the benchmark is for."""
        known = self.benchmark
        return known is not None and known.recipe.dataset == self.config.recipe.get("dataset")

    def picture(self, name: str) -> bytes | None:
        """A picture from the run's folder, if it exists."""
        path = self.folder / name
        return path.read_bytes() if path.is_file() else None


def see(folder: Path, *, live: bool = False, explores: bool = True) -> Seen:
    """Reads a run's folder.

    Args:
        folder: the run's.
        live: whether the run is still training.
        explores: whether the page may have an explorer.

    Returns:
        The run as it is on disk.

    Raises:
        FileNotFoundError: if it holds no run.
        ValueError: if a file of the run is damaged.
    """
    _check_run(folder)
    config = read_config(folder)
    result = None
    if (folder / RESULTS).exists():
        result = results.read(folder / RESULTS, Result)
    log = folder / METRICS
    rows = read_rows(log, dict) if log.exists() else []
    newest = newest_checkpoint(folder)
    return Seen(
        folder=folder,
        config=config,
        result=result,
        rows=rows,
        epochs=max(progress(folder)[1], len(rows) if live else 0),
        frames=frames.frames(folder),
        benchmark=BENCHMARKS.get(config.benchmark),
        diverged=newest is not None and not newest.run.running,
        live=live,
        explores=explores,
    )


def _check_run(folder: Path) -> None:
    """Refuses a folder that holds no run of a benchmark, with a FileNotFoundError."""
    if (folder / CONFIG).is_file():
        return
    if (folder / METRICS).is_file():
        raise FileNotFoundError(
            f"{folder} was written by advnets.train, whose runs have no report: look at "
            "samples.png and curves.png there, and load it by advnets.load_model(folder); only "
            'runs of python -m advnets.bench have reports (the page "The report of a run" of the '
            "documentation)"
        )
    raise FileNotFoundError(f"{folder} holds no run; name the folder of one")


def runs_in(folder: Path) -> list[Path]:
    """The folders of runs trained together in a folder; empty for a single run.

    Args:
        folder: the folder.

    Returns:
        The runs' folders, in order of learning rate and seed.

    Raises:
        FileNotFoundError: if it holds no run.
        ValueError: if its `config.json` is damaged.
    """
    _check_run(folder)
    if read_config(folder).seeds is None:
        return []
    found = [path.parent for path in folder.glob(f"*/{CONFIG}")]

    def order(own: Path) -> tuple[float, int]:
        config = read_config(own)
        return float(config.recipe.get("learning_rate") or 0), config.seed

    return sorted(found, key=order)


@dataclasses.dataclass(frozen=True)
class Setting:
    """A setting of a run, compared with that of its benchmark.

    Attributes:
        name: its name, such as `generator.hidden_sizes`.
        value: the run's value.
        usual: the benchmark's value; None if there is no such benchmark.
        differs: whether they differ.
    """

    name: str
    value: Json
    usual: Json
    differs: bool


def settings_of(seen: Seen) -> tuple[list[Setting], str]:
    """A run's settings, compared with the nearest of its benchmark's presets.

    Args:
        seen: the run.

    Returns:
        The settings, in the recipe's order, and the preset: `full`, `quick`, or empty if there is
        no such benchmark.
    """
    own = flat(seen.config.recipe)
    if seen.benchmark is None:
        return [Setting(name, value, None, False) for name, value in own.items()], ""
    presets = {"full": seen.benchmark.recipe, "quick": seen.benchmark.quick}
    usual = {name: flat(results.as_json(one)) for name, one in presets.items() if one is not None}

    def differing(preset: str) -> int:
        return sum(own.get(key) != value for key, value in usual[preset].items())

    preset = min(usual, key=differing)
    found = [
        Setting(name, value, usual[preset].get(name), value != usual[preset].get(name))
        for name, value in own.items()
    ]
    return found, preset


def command_of(seen: Seen) -> str | None:
    """The command that reproduces a run.

    Args:
        seen: the run.

    Returns:
        The command, with FOLDER in place of a folder of images; None if its benchmark is unknown,
        a setting has no option, or settings were changed when it was resumed.
    """
    settings, preset = settings_of(seen)
    if seen.benchmark is None or seen.config.changes:
        return None
    words = [seen.benchmark.command]
    if preset == "quick":
        words += ["--preset quick"]
    if seen.config.recipe.get("dataset") == "imagefolder":
        words += ["--data-dir FOLDER"]
    words += [f"--seed {seen.config.seed}"] if seen.config.seed else []
    words += ["--monitor"] if any(row.get("monitor") for row in seen.rows) else []
    for setting in settings:
        if not setting.differs:
            continue
        option, value = setting.name.replace("_", "-"), setting.value
        if isinstance(value, bool):
            words += [f"--{option}" if value else f"--no-{option}"]
        elif isinstance(value, list) and value and all(isinstance(v, int | float) for v in value):
            words += [f"--{option} {' '.join(map(str, value))}"]
        elif isinstance(value, int | float | str) or value is None:
            words += [f"--{option} {shlex.quote(str(value))}"]
        else:
            return None
    if seen.config.first_stage is not None:
        words += [f"--first-stage {shlex.quote(seen.config.first_stage.folder)}"]
    return " ".join(words)


def thinned(items: list[Any]) -> list[Any]:
    """Evenly spaced items out of many, including the last."""
    step = -(-len(items) // MOST_POINTS)
    return items[::-1][:: max(1, step)][::-1]
