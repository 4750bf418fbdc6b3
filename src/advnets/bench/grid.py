"""The joint result of many runs: the distribution over seeds, for each learning rate of a sweep."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import advnets
from advnets.bench import results
from advnets.bench.evaluations import EVALUATIONS
from advnets.bench.folders import RESULTS
from advnets.bench.results import (
    CAVEAT,
    Chosen,
    Distribution,
    RateRow,
    Result,
    SeedsResult,
    SweepResult,
    distribution,
)
from advnets.bench.systems import Run, System
from advnets.training.devices import is_main_process

# Runs with their results; None for one that diverged.
Outcomes: TypeAlias = Sequence[tuple[Run, Result | None]]


def _rate(found: Sequence[Result]) -> float | None:
    """The updates per second of all runs together."""
    return sum(one.updates_per_second or 0 for one in found) or None


def seeds_result(folder: Path, outcomes: Outcomes) -> SeedsResult:
    """Computes, writes and draws the distribution over seeds.

    Args:
        folder: the parent of the runs' folders.
        outcomes: the runs with their results.

    Returns:
        The content of the folder's `results.json`.

    Raises:
        ValueError: if no run has a result.
    """
    found = [one for _, one in outcomes if one is not None]
    if not found:
        raise ValueError("no run has a result")
    first = outcomes[0][0]
    summary = SeedsResult(
        benchmark=first.name,
        seeds=tuple(run.seed for run, _ in outcomes),
        diverged=tuple(run.seed for run, one in outcomes if one is None),
        last=distribution([one.parzen.test.mean for one in found]),
        best=distribution([one.best.parzen.test.mean for one in found]),
        recipe=found[0].recipe,
        updates_per_second=_rate(found),
        references=found[0].references,
        caveat=CAVEAT,
        data=first.data.source,
        provenance=first.provenance,
        evaluations=_evaluated(first.system, found),
    )
    if is_main_process():
        results.write(folder / RESULTS, summary)
        paper = summary.references.paper
        advnets.figures.seeds(
            folder / "seeds.png",
            {"last epoch": summary.last.values, "best epoch": summary.best.values},
            published=None if paper is None else (paper.mean, paper.standard_error),
        )
    return summary


def _evaluated(system: System, found: Sequence[Result]) -> dict[str, Distribution]:
    """The numbers of the evaluations that all runs have, by name."""
    numbers = [
        {
            label: number
            for name, evaluation in {**EVALUATIONS, **system.evaluations}.items()
            if name in one.evaluations
            for label, number in evaluation.numbers(one.evaluations[name]).items()
        }
        for one in found
    ]
    common = [label for label in numbers[0] if all(label in one for one in numbers)]
    return {label: distribution([one[label] for one in numbers]) for label in common}


def sweep_result(folder: Path, learning_rates: Sequence[float], outcomes: Outcomes) -> SweepResult:
    """Computes, writes and draws a row for each learning rate, and the choice on validation rows.

    Args:
        folder: the parent of the runs' folders.
        learning_rates: the learning rates.
        outcomes: the runs with their results, the same number for each rate, in the rates' order.

    Returns:
        The content of the folder's `results.json`.

    Raises:
        ValueError: if there is no learning rate, or no run has a result.
    """
    if not learning_rates:
        raise ValueError("a sweep needs at least 1 learning rate; got none")
    seeds = len(outcomes) // len(learning_rates)
    first = outcomes[0][0]
    rows = tuple(
        _row(first.system, rate, outcomes[number * seeds : (number + 1) * seeds])
        for number, rate in enumerate(learning_rates)
    )
    found = [one for _, one in outcomes if one is not None]
    if not found:
        raise ValueError("no run has a result")
    minimised = first.system.minimised
    recipe = {name: value for name, value in found[0].recipe.items() if name != "learning_rate"}
    summary = SweepResult(
        benchmark=first.name,
        seeds=tuple(sorted({run.seed for run, _ in outcomes})),
        learning_rates=rows,
        chosen=choose(rows, minimise=bool(minimised)),
        recipe=recipe,  # each row has a learning rate of its own
        updates_per_second=_rate(found),
        references=found[0].references,
        caveat=CAVEAT,
        data=first.data.source,
        provenance=first.provenance,
        minimised=minimised,
    )
    if is_main_process():
        results.write(folder / RESULTS, summary)
        advnets.figures.learning_rates(
            folder / "learning-rates.png",
            {row.learning_rate: _values(row.validation) for row in rows},
            chosen=None if summary.chosen is None else summary.chosen.learning_rate,
            **({"label": minimised} if minimised else {}),
        )
    return summary


def _row(system: System, rate: float, outcomes: Outcomes) -> RateRow:
    scored = [one for _, one in outcomes if one is not None]
    evaluated = _evaluated(system, scored) if scored else {}

    def spread(values: list[float]) -> Distribution | None:
        return distribution(values) if values else None

    likelihood = spread([one.best.parzen.validation.mean for one in scored])
    return RateRow(
        learning_rate=rate,
        diverged=tuple(run.seed for run, one in outcomes if one is None),
        validation=evaluated.get(system.minimised) if system.minimised else likelihood,
        last=spread([one.parzen.test.mean for one in scored]),
        best=spread([one.best.parzen.test.mean for one in scored]),
        evaluations=evaluated,
    )


def _values(spread: Distribution | None) -> Sequence[float]:
    return () if spread is None else spread.values


def choose(rows: Sequence[RateRow], *, minimise: bool = False) -> Chosen | None:
    """The learning rate with the highest mean validation score at which no seed diverged.

    Args:
        rows: one for each learning rate.
        minimise: choose the lowest, for scores that are errors.

    Returns:
        The choice, and whether it is the lowest or highest of several rates, so that one beyond
        may be better. None if a seed diverged at each.

    Example:
        >>> from advnets.bench.grid import choose
        >>> from advnets.bench.results import RateRow, distribution
        >>> rows = [
        ...     RateRow(rate, (), distribution([nats]), None, None)
        ...     for rate, nats in ((0.1, 200.0), (0.3, 190.0))
        ... ]
        >>> choose(rows)
        Chosen(learning_rate=0.1, at_grid_end='lowest')
    """
    sound = [(row.validation.mean, row) for row in rows if row.validation and not row.diverged]
    if not sound:
        return None
    of_best = min if minimise else max
    best = of_best(sound, key=lambda pair: pair[0])[1].learning_rate
    rates = [row.learning_rate for row in rows]
    if len(rates) > 1 and best == min(rates):
        return Chosen(best, "lowest")
    return Chosen(best, "highest" if len(rates) > 1 and best == max(rates) else None)
