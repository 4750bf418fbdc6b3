"""The command line: `python -m advnets.bench`."""

import argparse
import dataclasses
import difflib
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

try:
    import tyro
except ModuleNotFoundError as missing:
    print(f"error: {missing.name} is missing; pip install 'advnets[bench]'", file=sys.stderr)
    sys.exit(2)

from advnets import CheckpointError, TrainingDiverged
from advnets._devices import leads
from advnets.bench import table1
from advnets.bench.processes import Processes, join
from advnets.bench.recipes import BENCHMARKS, Benchmark, Preprocessing, Recipe
from advnets.bench.recorded import recorded
from advnets.bench.reference_rows import record
from advnets.bench.rescoring import rescore
from advnets.bench.runs import Run, execute, prepare
from advnets.bench.scoring import CAVEAT
from advnets.bench.seeds import Seeds, execute_seeds, prepare_seeds
from advnets.bench.sweeps import execute_sweep


@dataclasses.dataclass(frozen=True)
class Options:
    """What a run is given beside its recipe."""

    recipe: Annotated[Recipe, tyro.conf.arg(name="")]
    preset: Literal["full", "quick"] = "full"
    """quick: smaller players and few epochs, to try everything in about a minute."""
    seed: int = 0
    """Seed of everything random."""
    seeds: int = 1
    """Seeds to train at once, from that one on, each in a folder seed-N of its own."""
    learning_rates: tuple[float, ...] = ()
    """Initial learning rates to train at, in the same program, each with all the seeds; the
    validation likelihood chooses one."""
    out: Path | None = None
    """Folder of the run; a new one under runs/ unless given."""
    data_dir: Path | None = None
    """Local mirror of the Hub's repositories, or a folder of images (or ADVNETS_DATA)."""
    first_stage: Path | None = None
    """tfd: a finished first stage to build on, instead of training it."""
    resume: bool = False
    """Continue the run in the folder, exactly."""
    devices: int | None = None
    """Devices to spread the runs over, or a single one's minibatches; 1 unless given, or all of
    several processes."""
    shard_layers: bool = False
    """Cut a single run's large layers over the devices too, where they do not fit on one."""
    together: Annotated[Processes, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=Processes
    )


@dataclasses.dataclass(frozen=True)
class ReferenceOptions:
    """What the reference rows are computed on."""

    dataset: str = "mnist"
    """digits, mnist, cifar10, tfd, imagefolder, or owner/name on the Hub."""
    preprocessing: Preprocessing = "unit"
    """unit: pixels in [0, 1]; gcn: as the CIFAR-10 recipes."""
    iterations: int = 20
    """Most rounds of k-means (10 seconds each for MNIST on 2 cores)."""
    seed: int = 0
    """Seed of the centroids' start."""
    out: Path | None = None
    """File of the result; runs/references-DATASET.json unless given."""
    data_dir: Path | None = None
    """Local mirror of the Hub's repositories (or ADVNETS_DATA)."""


@dataclasses.dataclass(frozen=True)
class TableOptions:
    """What Table 1 is made from."""

    runs: tuple[Path, ...] = ()
    """Folders of finished runs (or files of reference rows), beside what ships with the package."""
    out: Path = Path("runs/table1")
    """Folder of table1.md, table1.json and the pictures; what is there of them is replaced."""


@dataclasses.dataclass(frozen=True)
class ParzenOptions:
    """What a finished run is scored with."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of the run."""
    num_samples: int = 1_000_000
    """Samples drawn; none is kept."""
    best: bool = False
    """Score the best epoch on validation, not the last."""
    devices: int = 1
    """Devices that the samples are spread over."""
    data_dir: Path | None = None
    """Local mirror of the Hub's repositories, or the run's folder of images (or ADVNETS_DATA)."""


PARZEN = "a finished run scored anew, with more samples"
REFERENCES = "real training images, and k-means centroids of them, scored in the place of samples"
TABLE1 = "Table 1 from recorded runs: the published rows, ours, and the reference rows"

SPEED = "speed side by side: PyTorch, an Equinox loop, the products alone; cost curves; start-up"
SPEED_FOLDER = Path("bench/speed")


def listing() -> str:
    """What there is to run, for a call without arguments."""
    lines = [
        "python -m advnets.bench BENCHMARK [OPTIONS]    (--help after a name explains both)",
        "--preset quick: a small version of each benchmark, done in a minute or so.",
        "",
    ]
    for benchmark in BENCHMARKS.values():
        lines += [
            benchmark.name,
            f"    {benchmark.summary}: {benchmark.cost}",
            f"    needs {benchmark.needs}",
            f"    expect {benchmark.expected}",
        ]
    lines += ["references", f"    {REFERENCES}", "    needs the data set that it is given"]
    lines += ["parzen", f"    {PARZEN}", "    needs the run's folder and its data"]
    lines += [
        "table1",
        f"    {TABLE1}",
        "    needs nothing: the recorded runs come with the package",
        "speed",
        f"    {SPEED}",
        "    needs a clone of the repository, and some minutes",
    ]
    return "\n".join(lines)


def row(label: str, scored: dict[str, Any]) -> str:
    """A line of a report: a score, as a whole or of the paper, and its standard error."""
    test = scored.get("test", scored)
    line = f"  {label:<44} {test['mean']:8.1f} ± {test['standard_error']:.1f}"
    if isinstance(scored.get("bandwidth"), float):
        line += f"   bandwidth {scored['bandwidth']:.3g}"
    if scored.get("at_grid_end"):
        line += f", the {scored['at_grid_end']} of the grid: a wider grid may score higher"
    return line


def report(results: dict[str, Any], folder: Path) -> str:
    """A run's outcome, to read."""

    parzen, references = results["parzen"], results["references"]
    folds = f" (over {len(parzen['folds'])} folds)" if "folds" in parzen else ""
    lines = ["", f"Parzen log-likelihood of the test set{folds}, nats:"]
    lines += [row(f"{parzen['num_samples']} samples, last epoch ({results['epochs']})", parzen)]
    best = results["best"]
    fold = ", first fold" if folds and "folds" not in best["parzen"] else ""
    lines += [row(f"the same, best epoch on validation ({best['epoch']}){fold}", best["parzen"])]
    real = references["training_images"]
    lines += [row(f"{real['num_samples']} real training images instead", real)]
    if references["centroids"] is not None:
        centroids = references["centroids"]
        lines += [row(f"{centroids['num_samples']} k-means centroids (recorded)", centroids)]
    if references["paper"] is not None:
        lines += [row("the paper", references["paper"])]
    lines += [CAVEAT]
    auc = results["memorisation"]["auc"]
    lines += [
        f"Memorisation: a sample is nearer to its nearest training image than a held-out image to "
        f"its own in {auc:.0%} of pairs"
    ]
    lines += [f"data: {results['data']}"]
    if results["updates_per_second"] is not None:
        lines += [f"{results['updates_per_second']:.0f} updates/s"]
    lines += [f"everything is in {folder}"]
    return "\n".join(lines)


def report_seeds(results: dict[str, Any], folder: Path) -> str:
    """The outcome of many seeds, to read."""
    lines = ["", "Parzen log-likelihood of the test set, nats, over seeds:", *test_scores(results)]
    if results["diverged"]:
        lines += [f"diverged, so not counted: seeds {', '.join(map(str, results['diverged']))}"]
    return "\n".join([*lines, *footer(results, folder)])


def report_sweep(results: dict[str, Any], folder: Path) -> str:
    """The outcome of a sweep, to read."""
    lines = ["", "Parzen log-likelihood of validation rows, nats, best epoch of each run:"]
    rows = {found["learning_rate"]: found for found in results["learning_rates"]}
    for rate, found in rows.items():
        label = f"learning rate {rate:g}"
        lines += (
            [f"  {label}"]
            if found["validation"] is None
            else [spread_row(label, found["validation"])]
        )
        if found["diverged"]:
            lines[-1] += f"   diverged: seeds {', '.join(map(str, found['diverged']))}"
    chosen = results["chosen"]
    if chosen is None:
        lines += ["none is chosen: at each a seed diverged"]
    else:
        lines += [f"chosen by it: {chosen['learning_rate']:g}"]
        if chosen["at_grid_end"]:
            lines[-1] += f", the {chosen['at_grid_end']} given: one beyond may score higher"
        lines += ["Parzen log-likelihood of the test set there, nats:"]
        lines += test_scores(rows[chosen["learning_rate"]])
    return "\n".join([*lines, *footer(results, folder)])


def test_scores(results: dict[str, Any]) -> list[str]:
    """The test scores of many seeds."""
    labels = {"last": "last epoch", "best": "best epoch on validation"}
    return [spread_row(label, results[name]) for name, label in labels.items()]


def spread_row(label: str, spread: dict[str, Any]) -> str:
    """A line of a report: a distribution over seeds."""
    line = f"  {label:<26} mean {spread['mean']:.1f}"
    if spread["standard_deviation"] is not None:
        line += (
            f", standard deviation {spread['standard_deviation']:.1f}, from "
            f"{spread['min']:.1f} to {spread['max']:.1f} ({spread['n']} seeds)"
        )
    return line


def footer(results: dict[str, Any], folder: Path) -> list[str]:
    """The last lines of a report on many runs."""
    lines = [CAVEAT, f"data: {results['data']}"]
    if results["updates_per_second"] is not None:
        lines += [f"{results['updates_per_second']:.0f} updates/s, of all runs together"]
    return [*lines, f"everything is in {folder}"]


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(listing())
        return 0
    name, *rest = arguments
    if name == "parzen":
        return _parzen(rest)
    if name == "references":
        return _references(rest)
    if name == "table1":
        return _table1(rest)
    if name == "speed":
        return _speed(rest)
    if name not in BENCHMARKS:
        known = [*BENCHMARKS, "parzen", "references", "table1", "speed"]
        near = difflib.get_close_matches(name, known, 1)
        meant = f"; did you mean {near[0]}?" if near else ""
        return _refuse(f"unknown benchmark {name!r}; choose one of {', '.join(known)}{meant}")
    benchmark = BENCHMARKS[name]
    defaults = _defaults(benchmark, rest)
    try:
        options = tyro.cli(
            Options,
            default=defaults,
            args=rest,
            prog=benchmark.command,
            description=f"{benchmark.summary}: {benchmark.cost}; needs {benchmark.needs}; "
            f"expect {benchmark.expected}.",
        )
        join(options.together)
        given: dict[str, Any] = {
            "seed": options.seed,
            "out": options.out,
            "data_dir": options.data_dir,
            "resume": options.resume,
            "devices": options.devices,
        }
        benchmark = dataclasses.replace(benchmark, recipe=options.recipe)
        run: Run | Seeds
        rates = options.learning_rates
        if rates and options.recipe.learning_rate != defaults.recipe.learning_rate:
            raise ValueError(
                f"--learning-rates has a run at each; leave out --learning-rate "
                f"{options.recipe.learning_rate}"
            )
        if options.seeds == 1 and not rates:
            run = prepare(
                benchmark,
                first_stage=options.first_stage,
                shard_layers=options.shard_layers,
                **given,
            )
        elif options.shard_layers:
            raise ValueError(
                "many runs at once are whole on a device each; leave out --shard-layers"
            )
        elif options.first_stage is not None:
            raise ValueError(
                f"many runs at once have one stage; leave out --first-stage {options.first_stage}"
            )
        else:
            run = prepare_seeds(benchmark, seeds=options.seeds, learning_rates=rates, **given)
    except (ValueError, OSError) as error:
        return _refuse(str(error))
    if leads():
        print(f"{name}: everything goes to {run.folder}", file=sys.stderr)
    try:
        if isinstance(run, Run):
            outcome = report(execute(run), run.folder)
        elif run.learning_rates:
            outcome = report_sweep(execute_sweep(run), run.folder)
        else:
            outcome = report_seeds(execute_seeds(run), run.folder)
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
    if leads():
        print(outcome)
    return 0


def _defaults(benchmark: Benchmark, arguments: list[str]) -> Options:
    """The settings that a command line starts from, which its preset decides."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--preset")
    quick = parser.parse_known_args(arguments)[0].preset == "quick"
    return Options(benchmark.quick if quick and benchmark.quick else benchmark.recipe)


def _parzen(arguments: list[str]) -> int:
    options = tyro.cli(
        ParzenOptions,
        args=arguments,
        prog="python -m advnets.bench parzen",
        description=f"{PARZEN[0].upper()}{PARZEN[1:]}.",
    )
    try:
        result = rescore(
            options.run,
            options.num_samples,
            best=options.best,
            devices=options.devices,
            data_dir=options.data_dir,
        )
    except (ValueError, OSError) as error:
        return _refuse(str(error))
    except KeyboardInterrupt:
        print("stopped; the same command goes on where it was", file=sys.stderr)
        return 130
    print("Parzen log-likelihood of the test set, nats:")
    label = f"{options.num_samples} samples, {result['generator']} ({result['epoch']})"
    print(row(label, result["parzen"]))
    print(CAVEAT)
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
            preprocessing=options.preprocessing,
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


def _table1(arguments: list[str]) -> int:
    options = tyro.cli(
        TableOptions,
        args=arguments,
        prog="python -m advnets.bench table1",
        description=f"{TABLE1}.",
    )
    try:
        given = table1.read_runs(options.runs)
        rows = table1.rows([*recorded(), *given])
        table1.write(options.out, rows)
    except (ValueError, OSError) as error:
        return _refuse(str(error))
    print(table1.markdown(rows), end="")
    names = {result.get("benchmark") or result["dataset"] for result in given}
    if others := sorted(names - set(table1.COLUMNS)):
        print(f"left out, as Table 1 has no column for it: {', '.join(others)}", file=sys.stderr)
    print(f"table1.md, table1.json and the pictures are in {options.out}", file=sys.stderr)
    return 0


def _speed(arguments: list[str]) -> int:
    if not SPEED_FOLDER.is_dir():
        return _refuse(
            "the speed comparisons are not installed with the package; call this in the root of a "
            f"clone, where {SPEED_FOLDER} is"
        )
    return subprocess.run([sys.executable, str(SPEED_FOLDER), *arguments]).returncode


def _refuse(reason: str) -> int:
    print(f"error: {reason}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
