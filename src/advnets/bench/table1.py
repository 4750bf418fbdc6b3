"""Table 1 from recorded runs: the published rows, ours, and the reference rows."""

import dataclasses
import json
import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import numpy as np

import advnets
from advnets import _files
from advnets._counts import counted
from advnets.bench.catalogue import BENCHMARKS
from advnets.bench.folders import RESULTS, check_writable, finished_runs_in, flat
from advnets.bench.recorded import entry_or_rows
from advnets.bench.results import CAVEAT, Entry, ReferenceRows, as_json, encode
from advnets.bench.systems.chained import CHAINS, chains_found
from advnets.chains import Protocol
from advnets.parzen import LogLikelihood

COLUMNS = ("mnist", "tfd")
# Means and standard errors in nats. Sources: the paper's Table 1; GMMN: Li et al. 2015; adversarial
# autoencoder (10,000 samples): Makhzani et al. 2015.
PUBLISHED: dict[str, dict[str, tuple[float, float | None]]] = {
    "DBN": {"mnist": (138.0, 2.0), "tfd": (1909.0, 66.0)},
    "Stacked CAE": {"mnist": (121.0, 1.6), "tfd": (2110.0, 50.0)},
    "Deep GSN": {"mnist": (214.0, 1.1), "tfd": (1890.0, 29.0)},
    "Adversarial nets": {"mnist": (225.0, 2.0), "tfd": (2057.0, 26.0)},
    "later: GMMN": {"mnist": (147.0, None), "tfd": (2085.0, None)},
    "later: GMMN + autoencoder": {"mnist": (282.0, None), "tfd": (2204.0, None)},
    "later: adversarial autoencoder": {"mnist": (340.0, None), "tfd": (2252.0, None)},
}
OURS = "adversarial nets"
# The paper's other rows, by the benchmarks that reproduce them.
OTHERS = {
    "dbn": "DBN",
    "cae": "stacked CAE",
    "gsn": "deep GSN",
    "gsn-500": "deep GSN of 500 units",
    "vae": "VAE",
}
# The settings of a protocol of chains, which a row states as a whole.
PROTOCOL = ("num_chains", "burn_in", "thin", "pixels")
NOT_RUN = {"mnist": "not recorded", "tfd": "needs TFD_48x48.mat, which is not public"}


@dataclasses.dataclass(frozen=True)
class Cell:
    """A number of the table, in nats.

    Attributes:
        mean: the mean log-likelihood of the test set; over several seeds, the mean of those.
        standard_error: over test rows (over folds for TFD), averaged over seeds; None if not
            published.
        seeds: the number of seeds; None for published numbers and reference rows.
        spread: the standard deviation over seeds; None for fewer than two.
        scores: the seeds' means, in the order of the seeds.
    """

    mean: float
    standard_error: float | None
    seeds: int | None = None
    spread: float | None = None
    scores: tuple[float, ...] = ()

    def __str__(self) -> str:
        text = f"{self.mean:.1f}" if self.seeds or self.mean % 1 else f"{self.mean:.0f}"
        if self.standard_error is not None:
            digits = 0 if self.standard_error >= 10 or self.standard_error % 1 == 0 else 1
            text += f" ± {self.standard_error:.{digits}f}"
        if self.seeds is not None:
            text += f" ({self.seeds} seed{'s' if self.seeds > 1 else ''}"
            text += f", spread {self.spread:.1f})" if self.spread is not None else ")"
        return text


@dataclasses.dataclass(frozen=True)
class TableRow:
    """A row of the table.

    Attributes:
        label: the model.
        group: `published`, `here` or `reference`.
        cells: the numbers, by column.
    """

    label: str
    group: advnets.figures.Group
    cells: Mapping[str, Cell]


def read_runs(folders: Sequence[str | os.PathLike[str]]) -> list[Entry | ReferenceRows]:
    """The results of runs, and reference rows.

    Args:
        folders: folders of finished runs, each with a `results.json`, or of several trained
            together; or such files, or those that `python -m advnets.bench references` writes.

    Returns:
        The content of each.

    Raises:
        FileNotFoundError: if a folder holds no finished run.
        ValueError: if a file is damaged, or holds no result.
    """
    found = []
    each = [own for given in map(Path, folders) for own in finished_runs_in(given) or [given]]
    for folder in each:
        path = folder if folder.is_file() else folder / RESULTS
        if not path.is_file():
            raise FileNotFoundError(f"{folder} holds no results.json; name finished runs' folders")
        found.append(entry_or_rows(path.read_bytes(), path))
    return found


def rows(found: Sequence[Entry | ReferenceRows]) -> list[TableRow]:
    """The table's rows: published ones, one for each setting that was run, and reference rows.

    Runs of one benchmark share a row if only their seeds differ; the row's label names the settings
    that differ from the benchmark's recipe.

    Args:
        found: results of runs, and reference rows.

    Returns:
        The rows, in the table's order.

    References:
        Table 1.
    """
    table = [
        TableRow(label, "published", {name: Cell(*value) for name, value in cells.items()})
        for label, cells in PUBLISHED.items()
    ]
    settings: dict[tuple[str, str, str, str], list[Entry]] = {}
    for entry in found:
        if isinstance(entry, Entry) and column(entry) is not None:
            # How often a run was evaluated changes nothing in it; settings that were added to the
            # library later have their defaults.
            later = flat(as_json(type(BENCHMARKS[entry.benchmark].recipe)()))
            recipe = later | flat(entry.recipe) | {"evaluate_every": None}
            key = (
                str(column(entry)),
                entry.benchmark,
                _label(entry),
                json.dumps(recipe, sort_keys=True),
            )
            settings.setdefault(key, []).append(entry)
    for (name, _, label, _), runs in sorted(settings.items()):
        by_seed = {run.seed: run for run in runs}  # of two runs with the same seed, the last
        ordered = [by_seed[seed] for seed in sorted(by_seed)]
        tests = [run.parzen.test for run in ordered]
        table.append(TableRow(label, "here", {name: _over_seeds(tests)}))
        table += [
            TableRow(_label(runs[0], protocol), "here", {name: _over_seeds(scores)})
            for protocol, scores in _by_other_protocols(ordered).items()
        ]
    for one in found:
        if isinstance(one, ReferenceRows) and one.preprocessing == "unit":
            table += _reference_rows(one) if one.dataset in COLUMNS else []
    return table


def column(entry: Entry) -> str | None:
    """The column that a run belongs to: its data's, if its benchmark is for those data."""
    known = BENCHMARKS.get(entry.benchmark)
    dataset = entry.recipe.get("dataset")
    if known is None or known.recipe.dataset != dataset or dataset not in COLUMNS:
        return None  # runs on other data are not rows of this table
    return str(dataset)


def _reference_rows(found: ReferenceRows) -> list[TableRow]:
    labelled = (
        (found.training_images, "real training images"),
        (found.centroids, "k-means centroids of them"),
    )
    return [
        TableRow(
            f"{scored.num_samples:,} {label}",
            "reference",
            {found.dataset: Cell(scored.test.mean, scored.test.standard_error)},
        )
        for scored, label in labelled
    ]


def _label(entry: Entry, protocol: Protocol | None = None) -> str:
    """A run's label: the system or its update order, the epochs, and settings that differ.

    For a system that samples with chains also the protocol: by default the run's own.
    """
    known, recipe = BENCHMARKS[entry.benchmark], entry.recipe
    plain = flat(as_json(known.recipe))
    shown = ("order", "epochs")
    differing = [
        f"{key} = {value}"
        for key, value in flat(recipe).items()
        if key not in (*shown, "evaluate_every", *PROTOCOL) and value != plain.get(key)
    ]
    if entry.first_stage:
        differing.append("on a given first stage")
    if "lossy" in entry.data:
        differing.append("lossy data")
    what = [recipe["order"]] if "order" in recipe else []
    if CHAINS in entry.evaluations:
        own = chains_found(entry.evaluations[CHAINS], entry.benchmark).protocol
        differing.append(f"by {protocol or own}")
    how = ", ".join([*what, counted(recipe["epochs"], "epoch"), *differing])
    return f"{OURS if what else OTHERS.get(entry.benchmark, entry.benchmark)} (advnets, {how})"


def _by_other_protocols(runs: Sequence[Entry]) -> dict[Protocol, list[LogLikelihood]]:
    """The test scores of each run with the other protocols of its chains, if it has chains."""
    found: dict[Protocol, list[LogLikelihood]] = {}
    for run in runs:
        if CHAINS in run.evaluations:
            source = f"{run.benchmark}, seed {run.seed}"
            for one in chains_found(run.evaluations[CHAINS], source).others:
                found.setdefault(one.protocol, []).append(one.score.test)
    return found


def _over_seeds(tests: Sequence[LogLikelihood]) -> Cell:
    scores = tuple(test.mean for test in tests)
    return Cell(
        mean=float(np.mean(scores)),
        standard_error=float(np.mean([test.standard_error for test in tests])),
        seeds=len(scores),
        spread=float(np.std(scores, ddof=1)) if len(scores) > 1 else None,
        scores=scores,
    )


def markdown(table: Sequence[TableRow]) -> str:
    """The table as Markdown.

    Args:
        table: its rows.

    Returns:
        A line for each row, and below them what the numbers are.
    """
    lines = ["| model, nats | MNIST | TFD |", "|---|---|---|"]
    ours = {name for row in table if row.group == "here" for name in row.cells}
    missing = {name: reason for name, reason in NOT_RUN.items() if name not in ours}
    entries: list[tuple[str, str, Mapping[str, Cell | str]]] = [
        *((row.group, row.label, row.cells) for row in table),
        *(("here", f"{OURS} (advnets)", {name: reason}) for name, reason in missing.items()),
    ]
    for group in get_args(advnets.figures.Group):
        for _, label, cells in (entry for entry in entries if entry[0] == group):
            texts = [str(cells.get(name, "–")) for name in COLUMNS]
            lines.append(f"| {label} | {' | '.join(texts)} |")
    lines += [
        "",
        "Parzen log-likelihood of the test set after the last epoch, ± standard error over test "
        "rows (over folds for TFD); of several seeds the mean, with their standard deviation as "
        "the spread.",
        CAVEAT,
    ]
    return "\n".join(lines) + "\n"


def check_folder(folder: str | os.PathLike[str]) -> None:
    """Creates the table's folder, and refuses one that files can't be written to.

    Args:
        folder: the folder.

    Raises:
        OSError: if files can't be written there.
    """
    check_writable(Path(folder) / "table1.json")


def write(folder: str | os.PathLike[str], table: Sequence[TableRow]) -> None:
    """Writes the table as `table1.md` and `table1.json`, its columns and the seeds as pictures.

    `mnist.png` and `tfd.png` are the columns; `mnist-seeds.png` and `tfd-seeds.png` show each seed
    of our adversarial nets, if there is one.

    Args:
        folder: where to; created if it does not exist. Existing files of these names are replaced.
        table: its rows.

    Raises:
        ValueError: if there is no row.
        OSError: if something can't be written there.
    """
    folder = Path(folder)
    check_folder(folder)
    _files.replace(folder / "table1.md", markdown(table).encode())
    _files.replace(folder / "table1.json", encode(list(table)))
    for name in COLUMNS:
        column = [row for row in table if name in row.cells]
        shown = [
            advnets.figures.Row(_wrapped(row.label), cell.mean, cell.standard_error, row.group)
            for row in column
            for cell in [row.cells[name]]
        ]
        advnets.figures.table_1(folder / f"{name}.png", shown)
        scores = {
            _wrapped(_brief(row.label)): row.cells[name].scores
            for row in column
            if row.group == "here" and row.label.startswith(OURS)
        }
        if scores:
            published = BENCHMARKS[name].published
            advnets.figures.seeds(folder / f"{name}-seeds.png", scores, published=published)


def _brief(label: str) -> str:
    """The part of a label in which our rows differ."""
    return label.removeprefix(f"{OURS} (advnets, ").removesuffix(")")


def _wrapped(label: str) -> str:
    """A label wrapped into lines that leave room for the plot."""
    return textwrap.fill(label, 40)
