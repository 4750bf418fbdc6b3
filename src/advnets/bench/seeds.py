"""Many seeds of a recipe: trained side by side in one program, each with a folder of its own."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

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
from advnets.bench.recipes import Benchmark, build_players
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
    """Runs that are ready to start side by side: one recipe and data, a seed for each."""

    folder: Path
    runs: tuple[Run, ...]


def prepare_seeds(
    benchmark: Benchmark,
    *,
    seeds: int,
    seed: int = 0,
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
        out: the folder of the runs' folders; a new one under `runs/` unless given.
        data_dir: where the data are, see [`advnets.data.load`][].
        resume: continue the runs in the folder.
        devices: how many devices to spread the seeds over, see [`advnets.train_seeds`][].

    Returns:
        The runs, for [`advnets.bench.seeds.execute_seeds`][].

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
    folder = choose(benchmark.name, out, resume)
    folders = {number: folder / f"seed-{number}" for number in range(seed, seed + seeds)}
    if resume:
        check_same(folder, benchmark, seed, seeds)
        for number, own in folders.items():
            if (own / CONFIG).exists():  # it may have been stopped before
                check_same(own, benchmark, number)
    data = load_data(benchmark, data_dir)
    shape = data.train.shape[1:]
    eqx.filter_eval_shape(
        lambda key: build_players(key, benchmark.recipe, data.train[:1]), jax.random.key(0)
    )
    make_mesh(devices, "the number of seeds", seeds)
    wait("every process has looked at the folder")
    if leads():
        for number, own in folders.items():
            own.mkdir(parents=True, exist_ok=True)
            write_json(own / CONFIG, config(benchmark, number, shape, None))
        write_json(folder / CONFIG, config(benchmark, seed, shape, None) | {"seeds": seeds})
    return Seeds(
        folder,
        tuple(
            Run(benchmark, number, own, resume, data, None, origin, devices)
            for number, own in folders.items()
        ),
    )


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
    first = runs[0]
    benchmark, recipe, data = first.benchmark, first.benchmark.recipe, first.data
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
        **training_settings(first),
    )
    training_images = score_training_images(first)
    results = []
    for run, own_keys, one in zip(runs, keys, trained, strict=True):
        if one is not None:
            keep(run, one, run.folder)
            like = one.generator
            results.append(
                finish(
                    run,
                    own_keys,
                    one,
                    like=like,
                    training_images=training_images,
                    progress=progress,
                )
            )
    summary = {
        "benchmark": benchmark.name,
        "seeds": [run.seed for run in runs],
        "diverged": [run.seed for run, one in zip(runs, trained, strict=True) if one is None],
        "recipe": dataclasses.asdict(recipe),
        # Of the mean log-likelihood of the test set, in nats.
        "last": distribution([one["parzen"]["test"]["mean"] for one in results]),
        "best": distribution([one["best"]["parzen"]["test"]["mean"] for one in results]),
        # Of all seeds together.
        "updates_per_second": sum(one["updates_per_second"] or 0 for one in results) or None,
        "references": results[0]["references"],
        "caveat": CAVEAT,
        "data": data.source,
        "provenance": first.provenance,
    }
    if not leads():
        return summary
    write_json(folder / RESULTS, summary)
    scores = {"last epoch": summary["last"], "best epoch": summary["best"]}
    paper = results[0]["references"]["paper"]
    advnets.figures.seeds(
        folder / "seeds.png",
        {name: spread["values"] for name, spread in scores.items()},
        published=paper and (paper["mean"], paper["standard_error"]),
    )
    return summary


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
