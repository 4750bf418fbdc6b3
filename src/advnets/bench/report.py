"""The outcome of a run as text."""

from collections.abc import Sequence
from pathlib import Path

from advnets import _documents, _terminal
from advnets._counts import counted
from advnets._progress import rate
from advnets.bench.catalogue import evaluations_of
from advnets.bench.results import (
    Distribution,
    Published,
    RateRow,
    Reference,
    Result,
    Score,
    SeedsResult,
    SweepResult,
)

QUICK = (
    "This was the quick preset, a smaller experiment than the benchmark: its score is not "
    "comparable with any published one."
)


def of(result: Result | SeedsResult | SweepResult, folder: Path, *, quick: bool = False) -> str:
    """The outcome of one run or many.

    Args:
        result: what `results.json` holds.
        folder: where it is.
        quick: whether it is that of the quick preset.

    Returns:
        The text, of several lines.
    """
    note = [QUICK] if quick else []
    if isinstance(result, Result):
        lines = _of_run(result, note)
    elif isinstance(result, SeedsResult):
        lines = _of_seeds(result, note)
    else:
        lines = _of_sweep(result, note)
    return "\n".join([*lines, f"everything is in {folder}"])


def scored(label: str, found: Score | Reference | Published) -> str:
    """A line of the report: a score of a run or of the paper, and its standard error."""
    test = found if isinstance(found, Published) else found.test
    line = f"  {label:<44} {test.mean:8.1f} ± {test.standard_error:.1f}"
    if isinstance(found, Published):
        return line
    if isinstance(found.bandwidth, float):
        line += f"   bandwidth {found.bandwidth:.3g}"
    if found.at_grid_end:
        line += f", the {found.at_grid_end} of the grid: a wider grid may score higher"
    return line


def show(text: str) -> None:
    """Prints a report, with bold headings where the terminal supports them.

    Args:
        text: the report; a heading is a line that ends with a colon.
    """
    for line in _documents.printable(text).split("\n"):
        heading = line.endswith(":") and not line.startswith(" ")
        print(_terminal.styled(line, "bold") if heading else line)


def _of_run(result: Result, note: list[str]) -> list[str]:
    parzen, references, best = result.parzen, result.references, result.best
    folds = f" (over {len(parzen.folds)} folds)" if parzen.folds else ""
    first = ", first fold" if parzen.folds and not best.parzen.folds else ""
    lines = [
        "",
        f"Parzen log-likelihood of the test set{folds}, nats:",
        scored(f"{counted(parzen.num_samples, 'sample')}, last epoch ({result.epochs})", parzen),
        scored(f"the same, best epoch on validation ({best.epoch}){first}", best.parzen),
        scored(
            f"{references.training_images.num_samples} real training images instead",
            references.training_images,
        ),
    ]
    if references.centroids is not None:
        count = references.centroids.num_samples
        lines += [scored(f"{count} k-means centroids (recorded)", references.centroids)]
    if references.paper is not None:
        lines += [scored("the paper", references.paper)]
    lines += [*note, result.caveat]
    found = {"memorisation": result.memorisation, **result.evaluations}
    every = evaluations_of(result.benchmark)
    lines += [evaluation.line(found[name]) for name, evaluation in every.items()]
    lines += [f"data: {result.data}"]
    if result.updates_per_second is not None:
        lines += [rate(result.updates_per_second)]
    return lines


def _of_seeds(result: SeedsResult, note: list[str]) -> list[str]:
    lines = ["", "Parzen log-likelihood of the test set, nats, over seeds:", *_tests(result)]
    if result.evaluations:
        lines += ["Evaluations of the last epoch, over seeds:"]
        lines += [_spread(name, found, ".3g") for name, found in result.evaluations.items()]
    if result.diverged:
        lines += [f"diverged, so not counted: seeds {', '.join(map(str, result.diverged))}"]
    return [*lines, *note, *_footer(result)]


def _of_sweep(result: SweepResult, note: list[str]) -> list[str]:
    what = "Parzen log-likelihood of validation rows, nats, best epoch of each run"
    if result.minimised:
        what = f"{result.minimised.capitalize()}, last epoch of each run"
    digits = ".3g" if result.minimised else ".1f"
    lines = ["", f"{what}:"]
    for row in result.learning_rates:
        label = f"learning rate {row.learning_rate:g}"
        found = row.validation
        lines += [f"  {label}" if found is None else _spread(label, found, digits)]
        if row.diverged:
            lines[-1] += f"   diverged: seeds {', '.join(map(str, row.diverged))}"
    chosen = result.chosen
    if chosen is None:
        lost = all(row.diverged for row in result.learning_rates)
        lines += [f"none is chosen: {'a seed diverged at each' if lost else 'none has a score'}"]
    else:
        lines += [f"chosen on validation: {chosen.learning_rate:g}"]
        if chosen.at_grid_end:
            lines[-1] += f", the {chosen.at_grid_end} given: one beyond may be better"
        lines += ["Parzen log-likelihood of the test set there, nats:"]
        (row,) = [r for r in result.learning_rates if r.learning_rate == chosen.learning_rate]
        lines += _tests(row)
        if row.evaluations:
            lines += ["Evaluations of the last epoch there:"]
            lines += [_spread(name, found, ".3g") for name, found in row.evaluations.items()]
    return [*lines, *note, *_footer(result)]


def _tests(result: SeedsResult | RateRow) -> Sequence[str]:
    """The test scores of many seeds."""
    labelled = (("last epoch", result.last), ("best epoch on validation", result.best))
    return [_spread(label, found) for label, found in labelled if found is not None]


def _spread(label: str, found: Distribution, digits: str = ".1f") -> str:
    """A line of the report: a distribution over seeds."""
    line = f"  {label:<26} mean {found.mean:{digits}}"
    if found.standard_deviation is not None:
        line += (
            f", standard deviation {found.standard_deviation:{digits}}, from "
            f"{found.min:{digits}} to {found.max:{digits}} ({found.n} seeds)"
        )
    return line


def _footer(result: SeedsResult | SweepResult) -> Sequence[str]:
    """The last lines of a report on many runs."""
    lines = [result.caveat, f"data: {result.data}"]
    if result.updates_per_second is not None:
        lines += [f"{rate(result.updates_per_second)}, of all runs together"]
    return lines
