"""A sweep over learning rates: all runs in one program, the choice by validation likelihood."""

import os
from collections.abc import Sequence
from typing import Any

import advnets
from advnets._devices import leads
from advnets.bench.folders import RESULTS
from advnets.bench.recipes import Benchmark
from advnets.bench.scoring import write_json
from advnets.bench.seeds import Seeds, distribution, in_common, prepare_seeds, train_together


def run_sweep(
    benchmark: Benchmark,
    *,
    learning_rates: Sequence[float],
    seeds: int = 1,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    resume: bool = False,
    devices: int | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Trains, evaluates and draws a benchmark at several learning rates, as the command line does.

    Every learning rate has the same seeds, so that two of them differ in nothing else. The folder
    then holds `learning-rate-R-seed-N/` for each run, with all that [`advnets.bench.run`][] leaves
    but for the checkpoints, which are common; `results.json`, with a row for each learning rate;
    `learning-rates.png`, which shows them; and `config.json`.

    The learning rate is chosen by the mean over seeds of the validation likelihood at each run's
    best epoch; test rows have no part in it. One at which a seed diverged is not chosen.

    Args:
        benchmark: what to run, a recipe of one stage.
        learning_rates: the initial learning rates, at least one.
        seeds: how many seeds for each.
        seed: the first of them.
        out: the folder of the runs' folders; a new one under `runs/` unless given.
        data_dir: where the data are, see [`advnets.data.load`][].
        resume: continue the runs in the folder.
        devices: how many devices to spread the runs over, see [`advnets.train_seeds`][].
        progress: show progress.

    Returns:
        What `results.json` holds.

    Raises:
        ValueError: for a setting out of range, a recipe of two stages, data that can't be had, or
            resuming with other settings.
        OSError: if the folder holds other runs, or nothing to resume.
        TrainingDiverged: if no run is left.

    Example:
        >>> import dataclasses, tempfile
        >>> from advnets import bench
        >>> digits = bench.BENCHMARKS["digits"]
        >>> short = dataclasses.replace(digits.recipe, epochs=2, num_samples=100)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     results = bench.run_sweep(
        ...         dataclasses.replace(digits, recipe=short),
        ...         learning_rates=[0.05, 0.1],
        ...         out=folder,
        ...         progress=False,
        ...     )
        >>> [row["learning_rate"] for row in results["learning_rates"]]
        [0.05, 0.1]

    References:
        Section 5, which chooses the Parzen window's bandwidth in the same way.
    """
    if not learning_rates:
        raise ValueError("a sweep needs at least 1 learning rate; got none")
    prepared = prepare_seeds(
        benchmark,
        seeds=seeds,
        seed=seed,
        learning_rates=learning_rates,
        out=out,
        data_dir=data_dir,
        resume=resume,
        devices=devices,
    )
    return execute_sweep(prepared, progress=progress)


def execute_sweep(prepared: Seeds, *, progress: bool = True) -> dict[str, Any]:
    """Does the work of a prepared sweep; see [`advnets.bench.run_sweep`][]."""
    folder, runs = prepared.folder, prepared.runs
    outcomes = train_together(prepared, progress=progress)
    rows = []
    for rate in prepared.learning_rates:
        of_rate = [
            (run.seed, one)
            for run, one in zip(runs, outcomes, strict=True)
            if run.benchmark.recipe.learning_rate == rate
        ]
        rows.append(_row(rate, dict(of_rate)))
    summary = {
        "benchmark": runs[0].benchmark.name,
        "seeds": sorted({run.seed for run in runs}),
        "learning_rates": rows,
        "chosen": choose(rows),
        **in_common(runs[0], [one for one in outcomes if one is not None]),
    }
    # Each row has a learning rate of its own.
    summary["recipe"] = {k: v for k, v in summary["recipe"].items() if k != "learning_rate"}
    if leads():
        write_json(folder / RESULTS, summary)
        advnets.figures.learning_rates(
            folder / "learning-rates.png",
            {row["learning_rate"]: _values(row["validation"]) for row in rows},
            chosen=summary["chosen"] and summary["chosen"]["learning_rate"],
        )
    return summary


def _row(learning_rate: float, results: dict[int, dict[str, Any] | None]) -> dict[str, Any]:
    """The scores at a learning rate over seeds, each of which has its run's results or None."""
    scored = [one for one in results.values() if one is not None]

    def spread(values: list[float]) -> dict[str, Any] | None:
        return distribution(values) if values else None

    return {
        "learning_rate": learning_rate,
        "diverged": [seed for seed, one in results.items() if one is None],
        # Of mean log-likelihoods in nats: of the validation rows, which the choice is made by, and
        # of the test set.
        "validation": spread([one["best"]["parzen"]["validation"]["mean"] for one in scored]),
        "last": spread([one["parzen"]["test"]["mean"] for one in scored]),
        "best": spread([one["best"]["parzen"]["test"]["mean"] for one in scored]),
    }


def _values(spread: dict[str, Any] | None) -> list[float]:
    return [] if spread is None else spread["values"]


def choose(rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The learning rate with the greatest mean validation likelihood, where no seed diverged.

    Args:
        rows: one for each learning rate, with its `learning_rate`, the seeds that `diverged`, and
            the distribution of `validation` likelihoods.

    Returns:
        `learning_rate`, and `at_grid_end`: `"lowest"` or `"highest"` if it is the least or the
        greatest of several, so that one beyond may be better, or None. None if a seed diverged at
        each.

    Example:
        >>> from advnets.bench.sweeps import choose
        >>> choose([
        ...     {"learning_rate": 0.1, "diverged": [], "validation": {"mean": 200.0}},
        ...     {"learning_rate": 0.3, "diverged": [], "validation": {"mean": 190.0}},
        ... ])
        {'learning_rate': 0.1, 'at_grid_end': 'lowest'}
    """
    sound = [row for row in rows if not row["diverged"]]
    if not sound:
        return None
    best = max(sound, key=lambda row: row["validation"]["mean"])["learning_rate"]
    rates = [row["learning_rate"] for row in rows]
    ends = {min(rates): "lowest", max(rates): "highest"} if len(rates) > 1 else {}
    return {"learning_rate": best, "at_grid_end": ends.get(best)}
