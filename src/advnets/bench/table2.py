"""Table 2 measured on trained systems: numbers for each claim about four kinds of models."""

import dataclasses
import hashlib
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from advnets import _files, _locks, _progress, _signals
from advnets._counts import counted
from advnets.bench import results
from advnets.bench._parts import Part, identity_of, read_kept
from advnets.bench.cells import drawing, inference, likelihood, sampling, training
from advnets.bench.cells.found import (
    Cell,
    Column,
    Effort,
    Found,
    Measured,
    MissingError,
    Number,
    RowName,
    Trained,
    column_of,
    finite,
)
from advnets.bench.folders import LAST, RESULTS, check_writable, newest_checkpoint
from advnets.bench.rescoring import data_of, open_run
from advnets.bench.results import Provenance
from advnets.bench.systems import (
    Adversarial,
    Conditional,
    Inpainting,
    StackedCAE,
    VariationalAutoencoder,
)
from advnets.bench.systems.dbn import DeepBeliefNetwork
from advnets.bench.systems.gsn import DeepGSN

COLUMNS: dict[Column, str] = {
    "directed": "deep directed",
    "undirected": "deep undirected",
    "autoencoders": "generative autoencoders",
    "adversarial": "adversarial",
}
ROWS: dict[RowName, str] = {
    "training": "training",
    "inference": "inference",
    "sampling": "sampling",
    "likelihood": "evaluating p(x)",
    "design": "model design",
}
# The claims of the paper's table, in short.
CLAIMS: dict[RowName, dict[Column, str]] = {
    "training": {
        "directed": "needs inference",
        "undirected": "needs inference, and MCMC for the gradient of log Z",
        "autoencoders": "mixing against power of reconstruction",
        "adversarial": "D must keep step with G; Helvetica",
    },
    "inference": {
        "directed": "learned, approximate",
        "undirected": "variational",
        "autoencoders": "by MCMC",
        "adversarial": "learned, approximate",
    },
    "sampling": {
        "directed": "no difficulty",
        "undirected": "needs a Markov chain",
        "autoencoders": "needs a Markov chain",
        "adversarial": "no difficulty",
    },
    "likelihood": {
        "directed": "intractable, by AIS",
        "undirected": "intractable, by AIS",
        "autoencoders": "not explicit, by Parzen windows",
        "adversarial": "not explicit, by Parzen windows",
    },
    "design": {
        "directed": "hard: must fit the inference",
        "undirected": "hard: several properties at once",
        "autoencoders": "any differentiable function",
        "adversarial": "any differentiable function",
    },
}
DESIGN = "it takes training many variants of each system; no single trained system shows it"
FULL = Effort()
QUICK = Effort(samples=10_000, steps=1000, updates=60, limit=500, consecutive=250)
KEPT = "cells"
# Cells measured with another version of these definitions are measured again.
VERSION = 2
# The most numbers in an image, which is the size of the matrix for principal components.
LARGEST = 4096
Measure = Callable[[Trained, Effort], Found]
# The measures for each cell, and roughly how long each takes on MNIST with 2 cores, in seconds.
MEASURES: dict[Column, Sequence[tuple[RowName, Column, Measure, float]]] = {
    "directed": (
        ("training", "directed", training.directed, 3),
        ("inference", "directed", inference.directed, 1),
        ("sampling", "directed", sampling.independent, 10),
        ("likelihood", "directed", likelihood.likelihood, 40),
    ),
    "undirected": (
        ("training", "undirected", training.undirected, 120),
        ("training", "directed", training.lower_layer, 15),
        ("inference", "undirected", inference.undirected, 1),
        ("sampling", "undirected", sampling.chained, 5),
        ("likelihood", "undirected", likelihood.likelihood, 120),
    ),
    "autoencoders": (
        ("training", "autoencoders", training.autoencoders, 60),
        ("inference", "autoencoders", inference.autoencoders, 30),
        ("sampling", "autoencoders", sampling.chained, 5),
        ("likelihood", "autoencoders", likelihood.likelihood, 90),
    ),
    "adversarial": (
        ("training", "adversarial", training.adversarial, 40),
        ("inference", "adversarial", inference.adversarial, 40),
        ("sampling", "adversarial", sampling.independent, 10),
        ("likelihood", "adversarial", likelihood.likelihood, 40),
    ),
}
KNOWN = (VariationalAutoencoder, DeepBeliefNetwork, DeepGSN, StackedCAE, Adversarial)


class TableRun(msgspec.Struct, frozen=True):
    """A run in the table.

    Attributes:
        benchmark: its benchmark.
        folder: its folder when it was measured.
        seed: its seed.
        epochs: its number of epochs.
        model_sha256: the SHA-256 of its last model's file.
        parzen: its Parzen score, in nats.
        protocol: how its chains are run, if it has chains.
    """

    benchmark: str
    folder: str
    seed: int
    epochs: int
    model_sha256: str
    parzen: float
    protocol: str | None = None


class Table(msgspec.Struct, frozen=True):
    """Table 2 of some runs.

    Attributes:
        data: the data that the runs were trained on.
        runs: the runs, by their labels in the table.
        cells: the cells, row by row.
        effort: how much was measured.
        provenance: that of the command that wrote the table. Each cell has the provenance of its
            own numbers, which may have been measured before.
    """

    data: str
    runs: dict[str, TableRun]
    cells: tuple[Cell, ...]
    effort: Effort
    provenance: Provenance

    @property
    def measured(self) -> int:
        """The number of its numbers that have a value."""
        return sum(number.value is not None for cell in self.cells for number in cell.numbers)

    def cell(self, row: RowName, column: Column) -> Cell:
        """The cell of a row and a column."""
        return next(cell for cell in self.cells if (cell.row, cell.column) == (row, column))


class _Kept(Part, frozen=True):
    """The measurements for a cell."""

    found: Found
    measured: Measured


@dataclasses.dataclass(frozen=True)
class _Task:
    row: RowName
    column: Column
    trained: Trained
    measure: Measure
    seconds: float
    files: str  # the SHA-256 of the files in the run's folder that it depends on

    @property
    def name(self) -> str:
        """The task's name, which does not depend on the other runs in the table."""
        return f"{self.row}-{self.column}-{self.trained.config.benchmark}-{self.files[:12]}"


def prepare(
    folders: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    effort: Effort = FULL,
    data_dir: str | os.PathLike[str] | None = None,
) -> Callable[[bool], Table]:
    """Checks all that can be checked before Table 2 is measured.

    Args:
        folders: the folders of finished runs on one data set: of adversarial recipes, gsn, gsn-500,
            dbn, cae and vae, one each. GSN and CAE may have several runs with different settings,
            which are points of a curve.
        out: the folder of the table; cells measured there before are not measured again.
        effort: how much is measured.
        data_dir: where the runs' data are, see [`advnets.data.load`][].

    Returns:
        A function that measures the table and writes it, given whether to show progress.

    Raises:
        ValueError: if there is no run, a run's system or pixels have no place in the table, two
            runs have different data or the same system, or a file is damaged; if images have more
            than 4,096 numbers.
        FileNotFoundError: if a folder holds no finished run.
        OSError: if the table can't be written.
    """
    origin, out = Provenance.here(), Path(out)
    runs = _opened([Path(folder) for folder in folders], data_dir)
    tasks = [
        _Task(row, column, trained, measure, seconds, files)
        for trained, files in zip(runs, map(_files_of, runs), strict=True)
        for row, column, measure, seconds in MEASURES[column_of(trained.system)]
    ]
    check_writable(out / "table2.json")
    return lambda progress: _measured(tasks, runs, out, effort, origin, progress=progress)


def _opened(folders: Sequence[Path], data_dir: str | os.PathLike[str] | None) -> list[Trained]:
    """The opened runs, after checking that they belong in one table."""
    if not folders:
        raise ValueError("name the folders of finished runs, of one data set")
    opened = [(folder, *open_run(folder)) for folder in folders]
    first, _, _, of_first, as_first = opened[0]
    for number, (folder, _, config, system, result) in enumerate(opened):
        if not isinstance(system, KNOWN) or isinstance(system, Conditional | Inpainting):
            raise ValueError(
                f"{folder} is a run of {config.benchmark}, which Table 2 has no column for"
            )
        if system.settings.preprocessing != "unit":
            raise ValueError(
                f"{folder} has the preprocessing {system.settings.preprocessing!r}; Table 2 needs "
                "pixels in [0, 1], which the preprocessing unit gives"
            )
        same = (result.data_sha256, system.settings.dataset)
        if same != (as_first.data_sha256, of_first.settings.dataset):
            raise ValueError(
                f"{folder} is of other data ({result.data}) than {first} ({as_first.data}); name "
                "runs of one data set"
            )
        for other, _, its, its_system, _ in opened[:number]:
            alike = its.benchmark == config.benchmark
            curve = column_of(system) == "autoencoders" and its.recipe != config.recipe
            adversarial = isinstance(system, Adversarial) and isinstance(its_system, Adversarial)
            if (alike and not curve) or adversarial:
                what = "adversarial" if adversarial else f"of {config.benchmark}"
                raise ValueError(
                    f"{other} and {folder} are both {what}; name one run of each system (gsn and "
                    "cae may have several with different settings)"
                )
    pixels = math.prod(opened[0][2].image_shape)
    if pixels > LARGEST:
        raise ValueError(
            f"{first} has images of {pixels:,} numbers, but principal components are computed for "
            f"at most {LARGEST:,}; name runs with a smaller --image-size"
        )
    data = data_of(first, of_first, as_first, data_dir)
    labels = _labels([(config.benchmark, folder) for folder, _, config, _, _ in opened])
    return [
        Trained(label, folder, model, config, system, result, system.adapted(data))
        for label, (folder, model, config, system, result) in zip(labels, opened, strict=True)
    ]


def _labels(runs: Sequence[tuple[str, Path]]) -> list[str]:
    """The labels of runs: their benchmark, with as much of their path as makes them unique."""
    found = []
    for benchmark, folder in runs:
        same = [other.absolute().parts for name, other in runs if name == benchmark]
        own = folder.absolute().parts
        depths = range(1, len(own) + 1)
        # The last part of its path, or the last two, and so on.
        depth = next(n for n in depths if sum(one[-n:] == own[-n:] for one in same) == 1)
        found.append(benchmark if len(same) == 1 else f"{benchmark} in {'/'.join(own[-depth:])}")
    return found


def _files_of(trained: Trained) -> str:
    """The SHA-256 of what a run's numbers depend on: its model, result and newest checkpoint."""
    paths = [trained.folder / LAST, trained.folder / RESULTS]
    newest = newest_checkpoint(trained.folder)
    if newest is not None:
        paths += sorted(path for path in newest.place.iterdir() if path.is_file())
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.name} {_files.sha256(path)} ".encode())
    return digest.hexdigest()


def _measured(
    tasks: Sequence[_Task],
    runs: Sequence[Trained],
    out: Path,
    effort: Effort,
    origin: Provenance,
    *,
    progress: bool,
) -> Table:
    """Measures missing cells, keeps each as soon as it is measured, and writes the table."""
    kept = out / KEPT
    kept.mkdir(exist_ok=True)
    found: dict[tuple[RowName, Column], list[tuple[str, Found, Measured | None]]] = {}
    with _locks.locked(kept):
        known = {task.name: _read(task, effort, kept) for task in tasks}
        done = sum(task.seconds for task in tasks if known[task.name] is not None)
        whole = round(sum(task.seconds for task in tasks))
        bar = _progress.bar(whole, "table 2", unit="part", done=round(done), enabled=progress)
        with bar as shown:
            for task in tasks:
                shown.set_postfix_str(f"{ROWS[task.row]}: {task.trained.label}")
                one = known[task.name] or _measure(task, effort, kept, origin)
                if known[task.name] is None:
                    shown.update(round(task.seconds))
                label = task.trained.label
                found.setdefault((task.row, task.column), []).append(
                    (label, _called(one[0], label), one[1])
                )
                _signals.check()
    table = Table(
        data=runs[0].result.data,
        runs={trained.label: _run(trained) for trained in runs},
        cells=tuple(_cells(found)),
        effort=effort,
        provenance=origin,
    )
    write(out, table)
    return table


def _identity(task: _Task, effort: Effort) -> str:
    """The SHA-256 of everything that a cell's numbers depend on."""
    parts = [VERSION, task.row, task.column, dataclasses.asdict(effort), task.files]
    return identity_of(parts)


def _read(task: _Task, effort: Effort, kept: Path) -> tuple[Found, Measured] | None:
    """The kept measurements of a cell, if they are whole and have the same identity."""
    read = read_kept(kept / f"{task.name}.json", _Kept, _identity(task, effort))
    return None if read is None else (read.found, read.measured)


def _measure(
    task: _Task, effort: Effort, kept: Path, origin: Provenance
) -> tuple[Found, Measured | None]:
    began = time.monotonic()
    try:
        with task.trained.system.context():
            found = finite(task.trained, task.measure(task.trained, effort))
    except MissingError as error:  # affects this cell only; it is tried again next time
        title = ROWS[task.row]
        return Found((task.trained.number(title, f"{title}.", reason=str(error)),)), None
    measured = Measured(time.monotonic() - began, origin)
    kept_now = _Kept(_identity(task, effort), found, measured)
    results.write(kept / f"{task.name}.json", kept_now)
    return found, measured


def _called(found: Found, label: str) -> Found:
    """The findings with the run's label in this table."""
    return Found(
        tuple(msgspec.structs.replace(one, run=label) for one in found.numbers),
        tuple(msgspec.structs.replace(one, run=label) for one in found.curves),
    )


def _run(trained: Trained) -> TableRun:
    protocol = getattr(trained.model, "protocol", None)
    return TableRun(
        benchmark=trained.config.benchmark,
        folder=str(trained.folder),
        seed=trained.config.seed,
        epochs=trained.result.epochs,
        model_sha256=_files.sha256(trained.folder / LAST),
        parzen=trained.result.parzen.test.mean,
        protocol=None if protocol is None else str(protocol),
    )


def _cells(
    found: Mapping[tuple[RowName, Column], Sequence[tuple[str, Found, Measured | None]]],
) -> Iterator[Cell]:
    design = Number("design", "The share of fixed variants that train.", "", "all", reason=DESIGN)
    for row in ROWS:
        for column in COLUMNS:
            here = found.get((row, column), ())
            numbers = tuple(number for _, one, _ in here for number in one.numbers)
            yield Cell(
                row,
                column,
                CLAIMS[row][column],
                numbers or (design,) * (row == "design"),
                tuple(curve for _, one, _ in here for curve in one.curves),
                {label: measured for label, _, measured in here if measured is not None},
            )


def markdown(table: Table) -> str:
    """The table as Markdown, with the definition of each number below.

    Args:
        table: the table.

    Returns:
        The table, and below it the definition of each number and the runs.
    """
    lines = [f"| | {' | '.join(COLUMNS.values())} |", "|---|---|---|---|---|"]
    for row, title in ROWS.items():
        cells = []
        for column in COLUMNS:
            cell = table.cell(row, column)
            cell_lines = [f"*{cell.claim}*", *(_line(number) for number in cell.numbers)]
            cells.append("<br>".join(cell_lines if cell.numbers else [*cell_lines, "no run given"]))
        lines.append(f"| {title} | {' | '.join(cells)} |")
    lines += ["", "In italics: the paper's claims, in short. Definitions of the numbers:", ""]
    runs_of: dict[tuple[str, str], list[str]] = {}
    for cell in table.cells:
        for number in cell.numbers:
            runs_of.setdefault((number.name, number.definition), []).append(number.run)
        for curve in cell.curves:
            if cell.row != "likelihood":  # there the numbers' definitions cover the curves
                runs_of.setdefault((f"curve {curve.name}", curve.definition), []).append(curve.run)
    for (name, definition), runs in runs_of.items():
        lines.append(f"- {name} ({', '.join(dict.fromkeys(runs))}): {definition}")
    lines += ["", f"Data: {table.data}. Runs:", ""]
    for label, run in table.runs.items():
        by = f", samples by {run.protocol}" if run.protocol else ""
        lines.append(
            f"- {label}: seed {run.seed}, {counted(run.epochs, 'epoch')}{by}; Parzen score "
            f"{run.parzen:.1f} nats"
        )
    lines += ["", "When and where the cells were measured:", ""]
    for cell in table.cells:
        for label, one in cell.measured.items():
            origin = one.provenance.line(f"in {one.seconds:.0f} s")
            lines.append(f"- {ROWS[cell.row]}, {COLUMNS[cell.column]} ({label}): {origin}")
    return "\n".join(line.replace("\n", " ") for line in lines) + "\n"


def _line(number: Number) -> str:
    name = f"{number.name} ({number.run})" if number.run != "all" else number.name
    if number.value is None:
        return f"{name}: not measured: {number.reason}".replace("|", "\\|")
    return f"{name}: {drawing.format_number(number)}".replace("|", "\\|")


def summary(table: Table) -> str:
    """The table for a terminal, a line for each number.

    Args:
        table: the table.

    Returns:
        Its cells one after another.
    """
    lines = []
    for cell in table.cells:
        lines.append(f"{ROWS[cell.row]}, {COLUMNS[cell.column]} ({cell.claim}):")
        lines += [f"  {_line(number)}" for number in cell.numbers] or ["  no run given"]
    return "\n".join(lines)


def write(out: str | os.PathLike[str], table: Table) -> None:
    """Writes `table2.json`, `table2.md`, `table2.png`, `likelihood.png` and `cost.png`.

    The last two are written only if there is something to show; those of another table are removed.

    Args:
        out: the folder.
        table: the table.

    Raises:
        OSError: if something can't be written there.
    """
    out = Path(out)
    check_writable(out / "table2.json")
    results.write(out / "table2.json", table)
    _files.replace(out / "table2.md", markdown(table).encode())
    drawing.table(
        out / "table2.png",
        rows=ROWS,
        columns=COLUMNS,
        cells={(cell.row, cell.column): cell for cell in table.cells},
    )
    for name, drawn in (("likelihood.png", drawing.likelihood), ("cost.png", drawing.cost)):
        if drawn(out / name, table.cells) is None:
            (out / name).unlink(missing_ok=True)  # another table's
