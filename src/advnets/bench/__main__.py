"""The command line: `python -m advnets.bench`."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any

try:
    import tyro
except ModuleNotFoundError as missing:
    print(f"error: {missing.name} is missing; pip install 'advnets[bench]'", file=sys.stderr)
    sys.exit(2)

from advnets import CheckpointError, TrainingDiverged
from advnets.bench.recipes import BENCHMARKS, Recipe
from advnets.bench.reference_rows import record
from advnets.bench.runs import execute, prepare
from advnets.data import Name


@dataclasses.dataclass(frozen=True)
class Options:
    """What a run is given beside its recipe."""

    recipe: Annotated[Recipe, tyro.conf.arg(name="")]
    seed: int = 0
    """Seed of everything random."""
    out: Path | None = None
    """Folder of the run; a new one under runs/ unless given."""
    data_dir: Path | None = None
    """Local mirror of the Hub's repositories (or ADVNETS_DATA)."""
    resume: bool = False
    """Continue the run in the folder, exactly."""


@dataclasses.dataclass(frozen=True)
class ReferenceOptions:
    """What the reference rows are computed on."""

    dataset: Name = "mnist"
    """The data set."""
    iterations: int = 20
    """Most rounds of k-means (10 seconds each for MNIST on 2 cores)."""
    seed: int = 0
    """Seed of the centroids' start."""
    out: Path | None = None
    """File of the result; runs/references-DATASET.json unless given."""
    data_dir: Path | None = None
    """Local mirror of the Hub's repositories (or ADVNETS_DATA)."""


REFERENCES = "real training images, and k-means centroids of them, scored in the place of samples"


def listing() -> str:
    """What there is to run, for a call without arguments."""
    lines = [
        "python -m advnets.bench BENCHMARK [OPTIONS]    (--help after a name explains both)",
        "",
    ]
    for benchmark in BENCHMARKS.values():
        lines += [f"{benchmark.name}", f"    {benchmark.summary}", f"    needs {benchmark.needs}"]
        if benchmark.published is not None:
            mean, error = benchmark.published
            lines += [f"    the paper reports {mean:g} ± {error:g} nats"]
    lines += ["references", f"    {REFERENCES}", "    needs the data set that it is given"]
    return "\n".join(lines)


def row(label: str, scored: dict[str, Any]) -> str:
    """A line of a report: a score, as a whole or of the paper, and its standard error."""
    test = scored.get("test", scored)
    line = f"  {label:<44} {test['mean']:8.1f} ± {test['standard_error']:.1f}"
    if "bandwidth" in scored:
        line += f"   bandwidth {scored['bandwidth']:.3g}"
    if scored.get("at_grid_end"):
        line += f", the {scored['at_grid_end']} of the grid: a wider grid may score higher"
    return line


def report(results: dict[str, Any], folder: Path) -> str:
    """A run's outcome, to read."""

    parzen, references = results["parzen"], results["references"]
    lines = ["", "Parzen log-likelihood of the test set, nats:"]
    lines += [row(f"{parzen['num_samples']} samples, last epoch ({results['epochs']})", parzen)]
    best = results["best"]
    lines += [row(f"the same, best epoch on validation ({best['epoch']})", best["parzen"])]
    real = references["training_images"]
    lines += [row(f"{real['num_samples']} real training images instead", real)]
    if references["paper"] is not None:
        lines += [row("the paper", references["paper"])]
    if results["updates_per_second"] is not None:
        lines += [f"{results['updates_per_second']:.0f} updates/s"]
    lines += [f"everything is in {folder}"]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(listing())
        return 0
    name, *rest = arguments
    if name == "references":
        return _references(rest)
    if name not in BENCHMARKS:
        known = ", ".join([*BENCHMARKS, "references"])
        return _refuse(f"unknown benchmark {name!r}; choose one of {known}")
    benchmark = BENCHMARKS[name]
    try:
        options = tyro.cli(
            Options,
            default=Options(benchmark.recipe),
            args=rest,
            prog=f"python -m advnets.bench {name}",
            description=f"{benchmark.summary}; needs {benchmark.needs}.",
        )
        run = prepare(
            dataclasses.replace(benchmark, recipe=options.recipe),
            seed=options.seed,
            out=options.out,
            data_dir=options.data_dir,
            resume=options.resume,
        )
    except (ValueError, OSError) as error:
        return _refuse(str(error))
    print(f"{name}: everything goes to {run.folder}", file=sys.stderr)
    try:
        results = execute(run)
    except CheckpointError as error:
        return _refuse(str(error))
    except TrainingDiverged as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            f"stopped; the same command with --resume --out {run.folder} continues it",
            file=sys.stderr,
        )
        return 130
    print(report(results, run.folder))
    return 0


def _references(arguments: list[str]) -> int:
    options = tyro.cli(
        ReferenceOptions,
        args=arguments,
        prog="python -m advnets.bench references",
        description=f"The reference rows of Table 1: {REFERENCES}.",
    )
    try:
        result = record(
            options.dataset,
            out=options.out,
            data_dir=options.data_dir,
            iterations=options.iterations,
            seed=options.seed,
        )
    except (ValueError, OSError) as error:
        return _refuse(str(error))
    print(f"Parzen log-likelihood of {options.dataset}'s test set, nats:")
    for label in ("training_images", "centroids"):
        scored = result[label]
        print(row(f"{scored['num_samples']} {label.replace('_', ' ')}", scored))
    return 0


def _refuse(reason: str) -> int:
    print(f"error: {reason}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
