"""Many seeds of a recipe: trained side by side in one program, each with a folder of its own.

A sweep ([`advnets.bench.run_sweep`][]) has them for each of several learning rates.
"""

import dataclasses
import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

import advnets
from advnets._devices import leads, make_mesh, wait
from advnets._provenance import provenance
from advnets.bench.folders import (
    CONFIG,
    METRICS,
    RESULTS,
    check_same,
    choose,
    config,
)
from advnets.bench.recipes import Benchmark, build_players, products_in, update_rule
from advnets.bench.runs import (
    Run,
    evaluator,
    finish,
    keep,
    load_data,
    score_training_images,
    training_settings,
)
from advnets.bench.scoring import CAVEAT, write_json


@dataclasses.dataclass(frozen=True)
class Seeds:
    """Runs that are ready to start side by side, which share all but seeds and learning rates."""

    folder: Path
    runs: tuple[Run, ...]
    learning_rates: tuple[float, ...] = ()


def prepare_seeds(
    benchmark: Benchmark,
    *,
    seeds: int,
    seed: int = 0,
    learning_rates: Sequence[float] = (),
    out: str | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    resume: bool = False,
    devices: int | None = None,
) -> Seeds:
    """Checks everything that can be checked before work starts, and claims the runs' folders.

    Args:
        benchmark: what to run, a recipe of one stage.
        seeds: how many seeds.
        seed: the first of them.
        learning_rates: of a sweep, which has all seeds for each; otherwise the recipe's alone.
        out: the folder of the runs' folders; a new one under `runs/` unless given.
        data_dir: where the data are, see [`advnets.data.load`][].
        resume: continue the runs in the folder.
        devices: how many devices to spread the runs over, see [`advnets.train_seeds`][].

    Returns:
        The runs, for [`advnets.bench.seeds.execute_seeds`][], or
        [`advnets.bench.sweeps.execute_sweep`][] where there are learning rates.

    Raises:
        ValueError: for a setting out of range, a recipe of two stages, data that can't be had, or
            resuming with other settings.
        OSError: if the folder holds other runs, or nothing to resume.
    """
    origin = provenance()  # before anything else: a checkout may move during a long run
    if seeds < 1:
        raise ValueError(f"the number of seeds must be at least 1; got {seeds}")
    if not 0 <= seed <= 2**32 - seeds:
        raise ValueError(
            f"seeds must be at least 0 and below 2**32; got {seed} to {seed + seeds - 1}"
        )
    if benchmark.recipe.second_stage.epochs:
        raise ValueError(
            f"{benchmark.name} has two stages, and many seeds are trained at once in one; run its "
            "seeds one by one, with --seed"
        )
    if len(set(learning_rates)) != len(learning_rates):
        raise ValueError(f"each learning rate must be given once; got {list(learning_rates)}")
    folder = choose(benchmark.name, out, resume)
    numbers = range(seed, seed + seeds)
    planned = [(benchmark, number, folder / f"seed-{number}") for number in numbers]
    if learning_rates:
        planned = [
            (_at(benchmark, rate), number, folder / f"learning-rate-{rate}-seed-{number}")
            for rate in learning_rates
            for number in numbers
        ]
    if resume:
        check_same(folder, benchmark, seed, seeds, learning_rates)
        for its_benchmark, number, own in planned:
            if (own / CONFIG).exists():  # it may have been stopped before
                check_same(own, its_benchmark, number)
    data = load_data(benchmark, data_dir)
    shape = data.train.shape[1:]
    eqx.filter_eval_shape(
        lambda key: build_players(key, benchmark.recipe, data.train[:1]), jax.random.key(0)
    )
    kind = "the number of seeds" + (" times learning rates" if learning_rates else "")
    make_mesh(devices, kind, len(planned))
    wait("every process has looked at the folder")
    if leads():
        for its_benchmark, number, own in planned:
            own.mkdir(parents=True, exist_ok=True)
            write_json(own / CONFIG, config(its_benchmark, number, shape, None))
        together = {"seeds": seeds, "learning_rates": list(learning_rates)}
        write_json(folder / CONFIG, config(benchmark, seed, shape, None) | together)
    return Seeds(
        folder,
        tuple(
            Run(its_benchmark, number, own, resume, data, None, origin, devices)
            for its_benchmark, number, own in planned
        ),
        tuple(learning_rates),
    )


def _at(benchmark: Benchmark, learning_rate: float) -> Benchmark:
    recipe = dataclasses.replace(benchmark.recipe, learning_rate=learning_rate)
    return dataclasses.replace(benchmark, recipe=recipe)


def run_seeds(
    benchmark: Benchmark,
    *,
    seeds: int,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    resume: bool = False,
    devices: int | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Trains, evaluates and draws many seeds of a benchmark, as the command line does.

    The folder then holds `seed-N/` for each seed, with all that [`advnets.bench.run`][] leaves but
    for the checkpoints, which are common; `results.json`, with the scores' distribution over
    seeds; `seeds.png`, which shows it; and `config.json`.

    Args:
        benchmark: what to run, a recipe of one stage.
        seeds: how many seeds.
        seed: the first of them.
        out: the folder of the runs' folders; a new one under `runs/` unless given.
        data_dir: where the data are, see [`advnets.data.load`][].
        resume: continue the runs in the folder.
        devices: how many devices to spread the seeds over, see [`advnets.train_seeds`][].
        progress: show progress.

    Returns:
        What `results.json` holds.

    Raises:
        ValueError: for a setting out of range, a recipe of two stages, data that can't be had, or
            resuming with other settings.
        OSError: if the folder holds other runs, or nothing to resume.
        TrainingDiverged: if no seed is left. One that diverges while others are left is named in a
            warning and under `diverged`, and has no score.

    Example:
        >>> import dataclasses, tempfile
        >>> from advnets import bench
        >>> digits = bench.BENCHMARKS["digits"]
        >>> short = dataclasses.replace(digits.recipe, epochs=2, num_samples=100)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     results = bench.run_seeds(
        ...         dataclasses.replace(digits, recipe=short), seeds=2, out=folder, progress=False
        ...     )
        >>> results["last"]["n"]
        2

    References:
        Section 5 and Table 1.
    """
    prepared = prepare_seeds(
        benchmark,
        seeds=seeds,
        seed=seed,
        out=out,
        data_dir=data_dir,
        resume=resume,
        devices=devices,
    )
    return execute_seeds(prepared, progress=progress)


def execute_seeds(prepared: Seeds, *, progress: bool = True) -> dict[str, Any]:
    """Does the work of prepared runs; see [`advnets.bench.run_seeds`][]."""
    folder, runs = prepared.folder, prepared.runs
    outcomes = train_together(prepared, progress=progress)
    results = [one for one in outcomes if one is not None]
    summary = {
        "benchmark": runs[0].benchmark.name,
        "seeds": [run.seed for run in runs],
        "diverged": [run.seed for run, one in zip(runs, outcomes, strict=True) if one is None],
        # Of the mean log-likelihood of the test set, in nats.
        "last": distribution([one["parzen"]["test"]["mean"] for one in results]),
        "best": distribution([one["best"]["parzen"]["test"]["mean"] for one in results]),
        **in_common(runs[0], results),
    }
    if not leads():
        return summary
    write_json(folder / RESULTS, summary)
    scores = {"last epoch": summary["last"], "best epoch": summary["best"]}
    paper = summary["references"]["paper"]
    advnets.figures.seeds(
        folder / "seeds.png",
        {name: spread["values"] for name, spread in scores.items()},
        published=paper and (paper["mean"], paper["standard_error"]),
    )
    return summary


def in_common(first: Run, results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What `results.json` of runs that were trained together says of them all.

    Args:
        first: one of the runs.
        results: of those that did not diverge.

    Returns:
        A part of `results.json`.
    """
    return {
        "recipe": dataclasses.asdict(first.benchmark.recipe),
        # Of all runs together.
        "updates_per_second": sum(one["updates_per_second"] or 0 for one in results) or None,
        "references": results[0]["references"],
        "caveat": CAVEAT,
        "data": first.data.source,
        "provenance": first.provenance,
    }


def train_together(prepared: Seeds, *, progress: bool = True) -> list[dict[str, Any] | None]:
    """Trains prepared runs in one program, and evaluates and draws each.

    Args:
        prepared: the runs.
        progress: show progress.

    Returns:
        What each run's `results.json` holds; None for one that diverged.
    """
    folder, runs = prepared.folder, prepared.runs
    first = runs[0]
    recipe, data = first.benchmark.recipe, first.data
    with products_in(recipe):
        keys = jnp.stack([jax.random.split(jax.random.key(run.seed), 3) for run in runs])
        build = eqx.filter_vmap(lambda key: build_players(key, recipe, data.train))
        generators, discriminators = build(keys[:, 0])
        evaluators = [
            evaluator(run, key, run.folder) for run, key in zip(runs, keys[:, 2], strict=True)
        ]
        trained = advnets.train_seeds(
            keys[:, 1],
            generators,
            discriminators,
            data.train,
            epochs=recipe.epochs,
            evaluate=lambda number, epoch, generator: evaluators[number](epoch, generator),
            folder=folder,
            names=[run.folder.name for run in runs],
            # They may have been stopped before their training began.
            resume=first.resume and any((run.folder / METRICS).exists() for run in runs),
            progress=progress,
            **training_settings(first) | _sweep(prepared),
        )
        training_images = score_training_images(first)
        results: list[dict[str, Any] | None] = [None] * len(runs)
        for number, (run, own_keys, one) in enumerate(zip(runs, keys, trained, strict=True)):
            if one is not None:
                keep(run, one, run.folder)
                results[number] = finish(
                    run,
                    own_keys,
                    one,
                    like=one.generator,
                    training_images=training_images,
                    progress=progress,
                )
    return results


def _sweep(prepared: Seeds) -> dict[str, Any]:
    """Arguments of [`advnets.train_seeds`][] for runs that differ in their learning rates."""
    if not prepared.learning_rates:
        return {}
    recipe, data = prepared.runs[0].benchmark.recipe, prepared.runs[0].data
    iterations_per_epoch = len(data.train) // (recipe.batch_size * recipe.k)

    def rule(player: int, learning_rate: Float[Array, ""]) -> optax.GradientTransformation:
        return update_rule(recipe, iterations_per_epoch, learning_rate)[player]

    return {
        "learning_rates": np.array([run.benchmark.recipe.learning_rate for run in prepared.runs]),
        "generator_updates": functools.partial(rule, 0),
        "discriminator_updates": functools.partial(rule, 1),
    }


def distribution(values: list[float]) -> dict[str, Any]:
    """How values spread over seeds.

    Args:
        values: one for each seed, at least one.

    Returns:
        `mean`, `standard_deviation` (the sample's; None for one value), `min`, `max`, `n` and the
        `values`.

    Example:
        >>> from advnets.bench.seeds import distribution
        >>> distribution([1.0, 3.0])["mean"]
        2.0
    """
    return {
        "mean": float(np.mean(values)),
        "standard_deviation": float(np.std(values, ddof=1)) if len(values) > 1 else None,
        "min": min(values),
        "max": max(values),
        "n": len(values),
        "values": values,
    }
