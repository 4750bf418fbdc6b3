"""The command line: `python -m advnets.bench`."""

import argparse
import dataclasses
import difflib
import io
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec

from advnets import _documents, _options, _provenance, _signals, _terminal
from advnets._extras import needed_for
from advnets.bench import (
    features,
    inference,
    pages,
    report,
    rescoring,
    stabilisers,
    table1,
    table2,
)
from advnets.bench.benchmark import Benchmark
from advnets.bench.catalogue import BENCHMARKS
from advnets.bench.checking import check_run
from advnets.bench.experiment import Grid, Request, execute, prepare
from advnets.bench.failures import Again, ExitCode, Refused, before_work, guarded
from advnets.bench.folders import REPORT as REPORT_PAGE
from advnets.bench.processes import Processes, join
from advnets.bench.recipes import Recipe as AdversarialRecipe
from advnets.bench.recorded import recorded
from advnets.bench.reference_rows import path_of, prepare_record
from advnets.bench.replay import verify_replay
from advnets.bench.results import Entry
from advnets.bench.settings import Preprocessing, Settings
from advnets.training import tensorboard
from advnets.training.devices import is_main_process

with needed_for("the command line"):
    import tyro

Recipe = TypeVar("Recipe", bound=Settings)


@dataclasses.dataclass(frozen=True)
class Options(Generic[Recipe]):
    """Options of a run, besides its recipe."""

    recipe: Annotated[Recipe, tyro.conf.arg(name="")]
    preset: Literal["full", "quick"] = "full"
    """quick: smaller players and fewer epochs, to try everything in a minute or two."""
    seed: int = 0
    """Seed of everything random."""
    seeds: int = 1
    """Number of seeds to train at once, starting at --seed, each in its own folder seed-N."""
    learning_rates: tuple[float, ...] = ()
    """Initial learning rates to train at in one program, each with all the seeds; the validation
    likelihood chooses one."""
    out: Path | None = None
    """Folder of the run; by default a new one under runs/."""
    data_dir: Path | None = None
    """Local mirror of the Hub's repositories, or a folder of images (or ADVNETS_DATA)."""
    first_stage: Path | None = None
    """tfd: a finished first stage to build on, instead of training it."""
    resume: bool = False
    """Continue the run in the folder, bit for bit, from its newest whole checkpoint."""
    devices: int | None = None
    """Number of devices to distribute the runs over, or to shard a single run's minibatches over;
    by default 1, or with several processes all their devices."""
    shard_layers: bool = False
    """Also shard a single run's large layers over the devices, if they do not fit on one."""
    accept_changes: bool = False
    """With --resume: accept a learning rate, momentum, norm limit or objective that differs from
    the one the run began with. Each change, and when it was made, is recorded with the results."""
    watch: bool = False
    """Also write report.html after each evaluation, to watch the run in a browser."""
    monitor: bool = False
    """Measure distance to equilibrium; warn of collapse."""
    tensorboard: bool = False
    """Write TensorBoard logs to tensorboard/ in each run's folder."""
    verify_replay: bool = False
    """Instead of a run, check that training repeats bit for bit on this machine: train a short run
    twice, and once more interrupted and resumed."""
    together: Annotated[Processes, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=Processes
    )


@dataclasses.dataclass(frozen=True)
class ReferenceOptions:
    """Options of the reference rows."""

    dataset: str = "mnist"
    """digits, mnist, cifar10, tfd, imagefolder, or owner/name on the Hub."""
    preprocessing: Preprocessing = "unit"
    """unit: pixels in [0, 1]; gcn: as in the CIFAR-10 recipes."""
    iterations: int = 20
    """Maximum number of k-means iterations (10 seconds each for MNIST on 2 cores)."""
    seed: int = 0
    """Seed of the centroids' initialisation."""
    out: Path | None = None
    """Result file; by default runs/references-DATASET.json."""
    data_dir: Path | None = None
    """Local mirror of the Hub's repositories (or ADVNETS_DATA)."""


@dataclasses.dataclass(frozen=True)
class TableOptions:
    """Options of Table 1."""

    runs: tuple[Path, ...] = ()
    """Folders of finished runs (or files of reference rows), besides those shipped with advnets."""
    out: Path = Path("runs/table1")
    """Folder for table1.md, table1.json and the pictures; existing ones are replaced."""


@dataclasses.dataclass(frozen=True)
class Table2Options:
    """Options of Table 2."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN")] = ()
    """Folders of finished runs on one data set: any of mnist (or another adversarial benchmark),
    vae, dbn, gsn, gsn-500 and cae."""
    out: Path = Path("results/table2")
    """Folder for table2.md, table2.json and the pictures; cells measured there before are not
    measured again."""
    preset: Literal["full", "quick"] = "full"
    """quick: fewer samples, steps and updates, to try everything in a minute or two."""
    num_samples: int | None = None
    """Maximum number of samples for the likelihoods; by default 100,000."""
    data_dir: Path | None = None
    """Local mirror of the Hub's repositories, or a folder of images (or ADVNETS_DATA)."""


@dataclasses.dataclass(frozen=True)
class StabilisersOptions:
    """Options of the comparison of stabilisers."""

    out: Path = Path("results/stabilisers")
    """Folder for stabilisers.md, stabilisers.json and the pictures; settings finished there before
    are not trained again."""
    preset: Literal["full", "quick"] = "full"
    """quick: only the ring, few seeds and updates, to try everything in a minute or two."""
    seeds: int | None = None
    """Number of games per setting; by default 20."""


@dataclasses.dataclass(frozen=True)
class ParzenOptions:
    """Options of scoring a finished run again."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of the run."""
    num_samples: int = 1_000_000
    """Number of samples to draw; none of them is stored."""
    best: bool = False
    """Score the best epoch on validation, not the last."""
    devices: int = 1
    """Number of devices to distribute the samples over."""
    data_dir: Path | None = None
    """Local mirror of the Hub's repositories, or the run's folder of images (or ADVNETS_DATA)."""


@dataclasses.dataclass(frozen=True)
class ReportOptions:
    """Options of a report."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN...")]
    """Folder of a run, or of many runs trained together; name several to compare them."""
    out: Path = Path("runs/comparison.html")
    """With several runs: the file of the comparison page."""


@dataclasses.dataclass(frozen=True)
class ExploreOptions:
    """Options of the explorer."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of the run."""


@dataclasses.dataclass(frozen=True)
class InferenceOptions:
    """Options of an inference network."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a finished run of an adversarial recipe."""
    out: Path | None = None
    """Folder for the results; by default inference/ in the run's folder."""
    preset: Literal["full", "quick"] = "full"
    """quick: a smaller network, fewer updates and images, to try everything in a minute."""
    steps: int | None = None
    """Number of updates of the network, a multiple of 100; by default 2500."""
    noise: float = 0.0
    """Standard deviation of the normal noise added to the samples that the network is fitted to."""
    data_dir: Path | None = None
    """Local mirror of the Hub's repositories, or a folder of images (or ADVNETS_DATA)."""


@dataclasses.dataclass(frozen=True)
class FeaturesOptions:
    """Options of linear classifiers on a run's features."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a finished run of an adversarial recipe, on data with labels."""
    labels: tuple[int, ...] = (100, 1000)
    """Numbers of labelled rows, balanced over classes; give the number of training rows for all."""
    draws: int = features.DRAWS
    """Number of random draws of the labelled rows, with seeds from 0."""
    out: Path | None = None
    """Folder for the results; by default features/ in the run's folder."""
    data_dir: Path | None = None
    """Local mirror of the Hub's repositories, or a folder of images (or ADVNETS_DATA)."""


@dataclasses.dataclass(frozen=True)
class CheckOptions:
    """Options of the check."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a run, or of many runs trained together."""


PROGRAM = "python -m advnets.bench"
CHECK = "verify every file in a run's folder against its SHA-256, and list its contents"
REPORT = "rewrite a run's report.html, even during training; or write a page comparing several runs"
EXPLORE = "write a page that runs the run's generator in the browser and redraws as z is moved"
PARZEN = "score a finished run again, with more samples"
REFERENCES = "real training images, and their k-means centroids, scored in place of samples"
TABLE1 = "Table 1 from recorded runs: the published rows, ours, and the reference rows"

INFERENCE = "infer z of real images: a network fitted to the run's generator, compared with search"
FEATURES = "few labels: linear classifiers on D's features, compared with pixels and an untrained D"
TABLE2 = "Table 2 measured on finished runs: a number for each of its claims, and its cost"
STABILISERS = "compare stabilisers: how many modes of a ring and a grid each finds, over 20 seeds"
SPEED = "compare speed with PyTorch, an Equinox loop and the products alone; cost curves; startup"
SPEED_FOLDER = Path("bench/speed")
# On fewer images the released recipes collapse.
FEW_IMAGES = 10_000


# The options that most people need; `--help-all` lists the rest.
COMMON = {
    "Data": ("--dataset", "--data-dir", "--image-size"),
    "Training": ("--preset", "--epochs", "--batch-size", "--learning-rate", "--order"),
    "The run": ("--out", "--resume", "--watch", "--seed", "--seeds", "--devices"),
    "Scores": ("--evaluate-every", "--num-samples", "--monitor"),
}


def listing() -> str:
    """The list of benchmarks and commands, for a call without arguments."""
    entries: dict[str, tuple[str, ...]] = {
        one.name: (f"{one.summary}: {one.cost}", f"needs {one.needs}", f"result: {one.expected}")
        for one in BENCHMARKS.values()
    }
    entries |= {
        "references": (REFERENCES, "needs the chosen data set"),
        "report": (REPORT, "needs the folders of the runs"),
        "explore": (EXPLORE, "needs the run's folder"),
        "inference": (INFERENCE, "needs the run's folder and its data"),
        "features": (FEATURES, "needs the run's folder and its data, with labels"),
        "check": (CHECK, "needs the run's folder"),
        "parzen": (PARZEN, "needs the run's folder and its data"),
        "table1": (TABLE1, "needs nothing: the recorded runs come with the package"),
        "table2": (TABLE2, "needs the folders of the runs and their data"),
        "stabilisers": (STABILISERS, "needs nothing: it generates its data"),
        "speed": (SPEED, "needs a clone of the repository, and a few minutes"),
    }
    lines = [
        f"Example: {_terminal.styled(f'{PROGRAM} digits --preset quick', 'bold')}",
        "",
        f"{PROGRAM} NAME [OPTIONS]    (NAME --help explains both)",
        "--preset quick: a small version of each benchmark, done in a minute or two.",
        "--list: this list; --version: the versions of advnets and JAX, and JAX's device.",
        "",
    ]
    for name, description in entries.items():
        lines += [_terminal.styled(name, "bold"), *(f"    {line}" for line in description)]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns its exit code, see [`advnets.bench.failures.ExitCode`][]."""
    given = sys.argv[1:] if arguments is None else arguments
    _open_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal may lack ±
    return guarded(lambda again: _dispatch(given, again))


def _open_streams() -> None:
    """Opens the standard streams that the process was started without, on the null device.

    Otherwise the next file opened would get their descriptor, and with it the printed output.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free descriptor
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def _dispatch(arguments: list[str], again: Again) -> int:
    _signals.check()
    if not arguments or arguments[0] in (*_options.HELP, _options.HELP_ALL, "--list"):
        print(listing())
        return ExitCode.DONE
    if arguments[0] == "--version":
        print(_provenance.version())
        return ExitCode.DONE
    name, *rest = arguments
    if name in COMMANDS:
        return COMMANDS[name](rest, again)
    if name in BENCHMARKS:
        return _benchmark(BENCHMARKS[name], rest, again)
    known = [*BENCHMARKS, *COMMANDS]
    near = difflib.get_close_matches(name, known, 1)
    meant = f"; did you mean {near[0]}?" if near else ""
    raise Refused(f"unknown benchmark {name!r}; choose one of {', '.join(known)}{meant}")


def _benchmark(benchmark: Benchmark, arguments: list[str], again: Again) -> int:
    """Runs a benchmark: reads its options, prepares, executes, reports."""
    defaults = _defaults(benchmark, arguments)
    kind: Any = Options[type(benchmark.recipe)]  # type: ignore[misc]
    options: Options[Any] = _read(
        kind,
        arguments,
        benchmark.name,
        f"{benchmark.summary}: {benchmark.cost}; needs {benchmark.needs}; result: "
        f"{benchmark.expected}.",
        example="--preset quick" if benchmark.quick else "",
        default=defaults,
        groups=COMMON | {"Settings of its own": _own(benchmark.recipe)},
    )
    _signals.check()
    quick = options.preset == "quick" and benchmark.quick is not None
    with before_work():
        join(options.together)
        chosen = dataclasses.replace(
            benchmark,
            recipe=options.recipe,
            published=None if quick else benchmark.published,
        )
        request = _request(options, defaults)
    if options.verify_replay:
        return _replay(chosen, request)
    with before_work():
        grid = prepare(chosen, request)
    again.sentence = _continuing(benchmark, arguments, grid.folder)
    if is_main_process():
        print(_documents.printable(_announced(grid)), file=sys.stderr)
        if options.watch:
            page = (grid.folder / REPORT_PAGE).absolute().as_uri()
            print(f"watch it in a browser, from the first evaluation on: {page}", file=sys.stderr)
    _signals.check()
    result = execute(grid, watch=options.watch)
    if is_main_process():
        _show(report.of(result, grid.folder, quick=quick))
    return ExitCode.DONE


def _read(
    kind: Any,
    arguments: list[str],
    name: str,
    text: str,
    *,
    example: str,
    default: Any = None,
    groups: Mapping[str, Sequence[str]] | None = None,
) -> Any:
    """Parses a command's options, or prints its help page and exits."""
    prog = f"{PROGRAM} {name}"
    if _options.asks_for_help(arguments):
        known = list(_options.options(kind, default))
        example = f"{prog} {example}".strip()
        text = f"{text[0].upper()}{text[1:].rstrip('.')}."
        shown = groups or {}
        page = _options.page(known, arguments, prog=prog, example=example, text=text, groups=shown)
        print(page)
        sys.exit(ExitCode.DONE)
    with before_work():
        return _options.parsed(kind, arguments, prog=prog, default=default)


def _own(recipe: Settings) -> list[str]:
    """The options of settings that only this system has."""
    common = {field.name for field in dataclasses.fields(AdversarialRecipe)}
    names = [field.name for field in dataclasses.fields(recipe) if field.name not in common]
    return [f"--{name.replace('_', '-')}" for name in names]


def _announced(grid: Grid) -> str:
    """The message about where a run's files go, and what to look at during training."""
    settings = grid.runs[0].system.settings
    message = f"{grid.runs[0].called}: everything goes to {grid.folder}"
    if settings.epochs > settings.evaluate_every:
        each = "each run's samples.png" if grid.together else "samples.png there"
        message += f"; {each} is redrawn every {settings.evaluate_every} epochs"
    rows, run = len(grid.runs[0].data.train), grid.runs[0]
    released = getattr(settings, "update_rule", None) == "momentum"
    if released and run.called != run.name and rows < FEW_IMAGES:
        message += (
            f"\nnote: networks and rates of {run.name} are for tens of thousands of images and "
            f"may collapse on {rows:,}; the digits recipe is meant for few images"
        )
    return message


def _show(text: str) -> None:
    """Prints a report, with bold headings where the terminal supports them."""
    for line in _documents.printable(text).split("\n"):
        heading = line.endswith(":") and not line.startswith(" ")
        print(_terminal.styled(line, "bold") if heading else line)


def _continuing(benchmark: Benchmark, arguments: list[str], folder: Path) -> str:
    """The message on how to continue an interrupted run: the same command with `--resume`."""
    more = [] if "--resume" in arguments else ["--resume"]
    more += [] if "--out" in arguments else ["--out", str(folder)]
    return f"{benchmark.command} {shlex.join([*arguments, *more])} continues it"


def _replay(benchmark: Benchmark, request: Request) -> int:
    found = verify_replay(benchmark, request)
    for line in found.lines():
        print(line)
    return ExitCode.DONE if found.same else ExitCode.DIFFERENT


def _request(options: Options[Any], defaults: Options[Any]) -> Request:
    """What the options ask for, besides the recipe."""
    rates = options.learning_rates
    rate = getattr(options.recipe, "learning_rate", None)
    if rates and rate != getattr(defaults.recipe, "learning_rate", None):
        raise ValueError(f"--learning-rates trains at each rate; leave out --learning-rate {rate}")
    many = options.seeds != 1 or bool(rates)
    return Request(
        seed=options.seed,
        seeds=options.seeds if many else None,
        learning_rates=rates,
        out=options.out,
        data_dir=options.data_dir,
        first_stage=options.first_stage,
        resume=options.resume,
        devices=options.devices,
        shard_layers=options.shard_layers,
        accept_changes=options.accept_changes,
        monitor=options.monitor,
        callbacks=(tensorboard(),) if options.tensorboard else (),
    )


def _defaults(benchmark: Benchmark, arguments: list[str]) -> Options[Any]:
    """The default options of a command line, which depend on its preset."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--preset", nargs="?")
    quick = parser.parse_known_args(arguments)[0].preset == "quick"
    return Options(benchmark.quick if quick and benchmark.quick else benchmark.recipe)


def _parzen(arguments: list[str], again: Again) -> int:
    options = _read(
        ParzenOptions, arguments, "parzen", PARZEN, example="runs/digits --num-samples 100000"
    )
    again.sentence = "the same command continues it"
    with before_work():
        score = rescoring.prepare(
            options.run,
            options.num_samples,
            best=options.best,
            devices=options.devices,
            data_dir=options.data_dir,
        )
    result = score(True)
    print(_terminal.styled("Parzen log-likelihood of the test set, nats:", "bold"))
    label = f"{options.num_samples} samples, {result.generator} ({result.epoch})"
    print(report.scored(label, result.parzen))
    print(result.caveat)
    path = rescoring.path_of(options.run, options.num_samples, best=options.best)
    print(_documents.printable(f"the result is in {path}"))
    return ExitCode.DONE


def _references(arguments: list[str], _: Again) -> int:
    options = _read(
        ReferenceOptions,
        arguments,
        "references",
        f"the reference rows of Table 1: {REFERENCES}",
        example="--dataset digits",
    )
    with before_work():
        score = prepare_record(
            options.dataset,
            out=options.out,
            data_dir=options.data_dir,
            preprocessing=options.preprocessing,
            iterations=options.iterations,
            seed=options.seed,
        )
    result = score()
    title = f"Parzen log-likelihood of {options.dataset}'s test set, nats:"
    print(_terminal.styled(title, "bold"))
    for label, found in (
        ("training images", result.training_images),
        ("centroids", result.centroids),
    ):
        print(report.scored(f"{found.num_samples} {label}", found))
    print(_documents.printable(f"the results are in {path_of(options.dataset, options.out)}"))
    return ExitCode.DONE


def _table1(arguments: list[str], _: Again) -> int:
    options = _read(TableOptions, arguments, "table1", TABLE1, example="--runs runs/mnist")
    with before_work():
        given = table1.read_runs(options.runs)
        rows = table1.rows([*recorded(), *given])
        table1.check_folder(options.out)
    table1.write(options.out, rows)
    print(_documents.printable(table1.markdown(rows)), end="")
    others = sorted(
        {
            one.benchmark if isinstance(one, Entry) else one.dataset
            for one in given
            if (table1.column(one) if isinstance(one, Entry) else one.dataset) not in table1.COLUMNS
        }
    )
    if others:
        text = f"left out, as Table 1 has no column for their data: {', '.join(others)}"
        print(text, file=sys.stderr)
    print(f"table1.md, table1.json and the pictures are in {options.out}", file=sys.stderr)
    return ExitCode.DONE


def _table2(arguments: list[str], again: Again) -> int:
    options = _read(
        Table2Options, arguments, "table2", TABLE2, example="runs/mnist runs/vae runs/dbn runs/cae"
    )
    again.sentence = "the same command continues it"
    with before_work():
        effort = table2.QUICK if options.preset == "quick" else table2.FULL
        if options.num_samples is not None:
            effort = dataclasses.replace(effort, samples=options.num_samples)
        measure = table2.prepare(
            options.runs, options.out, effort=effort, data_dir=options.data_dir
        )
    table = measure(True)
    _show(table2.summary(table))
    message = f"table2.md, table2.json and the pictures are in {options.out}"
    if not table.measured:
        message += "; nothing could be measured, for the reasons given in the cells"
    print(_documents.printable(message), file=sys.stderr)
    return ExitCode.DONE if table.measured else ExitCode.DAMAGED


def _stabilisers(arguments: list[str], again: Again) -> int:
    options = _read(
        StabilisersOptions, arguments, "stabilisers", STABILISERS, example="--preset quick"
    )
    again.sentence = "the same command continues it"
    with before_work():
        effort = stabilisers.QUICK if options.preset == "quick" else stabilisers.FULL
        if options.seeds is not None:
            effort = msgspec.structs.replace(effort, seeds=options.seeds)
        play = stabilisers.prepare(options.out, effort=effort)
    comparison = play(True)
    _show(stabilisers.summary(comparison))
    message = f"stabilisers.md, stabilisers.json and the pictures are in {options.out}"
    print(_documents.printable(message), file=sys.stderr)
    return ExitCode.DONE


def _report(arguments: list[str], _: Again) -> int:
    options = _read(ReportOptions, arguments, "report", REPORT, example="runs/digits runs/digits-2")
    with before_work():
        if not options.runs:
            raise ValueError("name the folder of a run, or several folders to compare their runs")
        if len(options.runs) == 1:
            print(pages.write_report(options.runs[0]))
        else:
            print(pages.write_comparison(options.runs, options.out))
    return ExitCode.DONE


def _explore(arguments: list[str], _: Again) -> int:
    options = _read(ExploreOptions, arguments, "explore", EXPLORE, example="runs/digits")
    with before_work():
        print(pages.write_explorer(options.run))
    return ExitCode.DONE


def _inference(arguments: list[str], again: Again) -> int:
    options = _read(InferenceOptions, arguments, "inference", INFERENCE, example="runs/mnist")
    again.sentence = "the same command continues it"
    with before_work():
        quick = options.preset == "quick"
        effort = dataclasses.replace(
            inference.QUICK if quick else inference.FULL, noise=options.noise
        )
        if options.steps is not None:
            effort = dataclasses.replace(effort, steps=options.steps)
        work = inference.prepare(options.run, options.out, effort=effort, data_dir=options.data_dir)
    _show(inference.summary(work(True)))
    place = options.run / inference.FOLDER if options.out is None else options.out
    message = f"{inference.FOUND}, inference.md, the network and the pictures are in {place}"
    print(_documents.printable(message), file=sys.stderr)
    return ExitCode.DONE


def _features(arguments: list[str], again: Again) -> int:
    example = "runs/mnist --labels 100 1000"
    options = _read(FeaturesOptions, arguments, "features", FEATURES, example=example)
    again.sentence = "the same command continues it"
    with before_work():
        work = features.prepare(
            options.run,
            options.labels,
            options.out,
            draws=options.draws,
            data_dir=options.data_dir,
        )
    _show(features.summary(work(True)))
    place = options.run / features.FOLDER if options.out is None else options.out
    message = f"{features.FOUND}, features.md and features.png are in {place}"
    print(_documents.printable(message), file=sys.stderr)
    return ExitCode.DONE


def _check(arguments: list[str], _: Again) -> int:
    options = _read(CheckOptions, arguments, "check", CHECK, example="runs/digits")
    with before_work():
        found = check_run(options.run)
    for line in found.lines():
        print(_documents.printable(line))
    return ExitCode.DONE if found.whole else ExitCode.DAMAGED


def _speed(arguments: list[str], _: Again) -> int:
    if not SPEED_FOLDER.is_dir():
        raise Refused(
            "the speed comparisons are not installed with the package; call this in the root of a "
            f"clone, where {SPEED_FOLDER} is"
        )
    return subprocess.run([sys.executable, str(SPEED_FOLDER), *arguments]).returncode


COMMANDS: dict[str, Callable[[list[str], Again], int]] = {
    "check": _check,
    "report": _report,
    "explore": _explore,
    "inference": _inference,
    "features": _features,
    "parzen": _parzen,
    "references": _references,
    "table1": _table1,
    "table2": _table2,
    "stabilisers": _stabilisers,
    "speed": _speed,
}
