"""The command line: `python -m advnets.bench`."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any

import tyro

from advnets import TrainingDiverged
from advnets.bench.recipes import BENCHMARKS, Recipe
from advnets.bench.runs import execute, prepare


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
    return "\n".join(lines)


def report(results: dict[str, Any], folder: Path) -> str:
    """A run's outcome, to read."""

    def row(label: str, score: dict[str, Any]) -> str:
        return f"  {label:<34} {score['mean']:8.1f} ± {score['standard_error']:.1f}"

    parzen, references = results["parzen"], results["references"]
    lines = ["", "Parzen log-likelihood of the test set, nats:"]
    lines += [row(f"last epoch ({results['epochs']})", parzen["test"])]
    best = results["best"]
    lines += [row(f"best epoch on validation ({best['epoch']})", best["parzen"]["test"])]
    lines += [row("real training images as samples", references["training_images"])]
    if references["paper"] is not None:
        lines += [row("the paper", references["paper"])]
    lines += [f"bandwidth {parzen['bandwidth']:.3g}, chosen on validation rows"]
    if parzen["at_grid_end"]:
        lines += ["NOTE: that bandwidth is at an end of the grid; a wider grid may score higher"]
    lines += [f"{results['updates_per_second']:.0f} updates/s; everything is in {folder}"]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(listing())
        return 0
    name, *rest = arguments
    if name not in BENCHMARKS:
        return _refuse(f"unknown benchmark {name!r}; choose one of {', '.join(BENCHMARKS)}")
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
    try:
        results = execute(run)
    except TrainingDiverged as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"stopped; --resume --out {run.folder} continues it", file=sys.stderr)
        return 130
    print(report(results, run.folder))
    return 0


def _refuse(reason: str) -> int:
    print(f"error: {reason}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
