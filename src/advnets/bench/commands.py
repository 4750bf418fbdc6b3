"""The commands other than the benchmarks: on finished runs, tables, comparisons."""

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from advnets import _documents, _terminal
from advnets._counts import counted
from advnets._extras import needed_for
from advnets.bench import (
    features,
    inference,
    pages,
    reference_rows,
    report,
    rescoring,
    stabilisers,
    table1,
    table2,
)
from advnets.bench.checking import check_run
from advnets.bench.failures import ExitCode, Refused, before_work
from advnets.bench.recorded import recorded
from advnets.bench.results import Entry
from advnets.bench.settings import Preprocessing

with needed_for("the command line"):
    import tyro

RunFolder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
SPEED_FOLDER = Path("bench/speed")
COMPARISON = Path("runs/comparison.html")


@dataclasses.dataclass(frozen=True)
class Command:
    """A command.

    Attributes:
        summary: what it does.
        needs: what it works on.
        run: does it, for its options (for the arguments as given, if it has no options here), and
            returns an exit code.
        options: the type of its options.
        example: arguments, for the help page.
        continues: whether the same command continues it after an interruption.
    """

    summary: str
    needs: str
    run: Callable[[Any], int]
    options: type | None = None
    example: str = ""
    continues: bool = False


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
    """Local mirror of the Hub's repositories, or a folder of images (or ADVNETS_DATA)."""
    image_size: int | None = None
    """Height and width to crop and resize images to; their own unless given."""


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
    """Maximum number of samples for the likelihoods; by default 100,000, or 10,000 with
    quick."""
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
    """Number of games per setting; by default 20, or 2 with quick."""


@dataclasses.dataclass(frozen=True)
class ParzenOptions:
    """Options of scoring a finished run again."""

    run: RunFolder
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
    out: Path | None = None
    """With several runs: the file of the comparison page; by default runs/comparison.html."""


@dataclasses.dataclass(frozen=True)
class ExploreOptions:
    """Options of the explorer."""

    run: RunFolder
    """Folder of the run."""


@dataclasses.dataclass(frozen=True)
class InferenceOptions:
    """Options of an inference network."""

    run: RunFolder
    """Folder of a finished run of an adversarial recipe."""
    out: Path | None = None
    """Folder for the results; by default inference/ in the run's folder."""
    preset: Literal["full", "quick"] = "full"
    """quick: a smaller network, fewer updates and images, to try everything in a minute."""
    steps: int | None = None
    """Number of updates of the network, a multiple of 100; by default 2,500, or 500 with quick."""
    noise: float = 0.0
    """Standard deviation of the normal noise added to the samples that the network is fitted to."""
    data_dir: Path | None = None
    """Local mirror of the Hub's repositories, or a folder of images (or ADVNETS_DATA)."""


@dataclasses.dataclass(frozen=True)
class FeaturesOptions:
    """Options of linear classifiers on a run's features."""

    run: RunFolder
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

    run: RunFolder
    """Folder of a run, or of many runs trained together."""


def _parzen(options: ParzenOptions) -> int:
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
    label = f"{counted(options.num_samples, 'sample')}, {result.generator} ({result.epoch})"
    print(report.scored(label, result.parzen))
    print(result.caveat)
    path = rescoring.path_of(options.run, options.num_samples, best=options.best)
    print(_documents.printable(f"the result is in {path}"))
    return ExitCode.DONE


def _references(options: ReferenceOptions) -> int:
    with before_work():
        score = reference_rows.prepare(
            options.dataset,
            out=options.out,
            data_dir=options.data_dir,
            preprocessing=options.preprocessing,
            iterations=options.iterations,
            seed=options.seed,
            image_size=options.image_size,
        )
    result = score()
    title = f"Parzen log-likelihood of {options.dataset}'s test set, nats:"
    print(_terminal.styled(title, "bold"))
    for label, found in (
        ("training images", result.training_images),
        ("centroids", result.centroids),
    ):
        print(report.scored(f"{found.num_samples} {label}", found))
    path = reference_rows.path_of(options.dataset, options.out)
    print(_documents.printable(f"the results are in {path}"))
    return ExitCode.DONE


def _table1(options: TableOptions) -> int:
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


def _table2(options: Table2Options) -> int:
    with before_work():
        effort = table2.QUICK if options.preset == "quick" else table2.FULL
        if options.num_samples is not None:
            effort = dataclasses.replace(effort, samples=options.num_samples)
        measure = table2.prepare(
            options.runs, options.out, effort=effort, data_dir=options.data_dir
        )
    table = measure(True)
    report.show(table2.summary(table))
    message = f"table2.md, table2.json and the pictures are in {options.out}"
    if not table.measured:
        message += "; nothing could be measured, for the reasons given in the cells"
    print(_documents.printable(message), file=sys.stderr)
    return ExitCode.DONE if table.measured else ExitCode.DAMAGED


def _stabilisers(options: StabilisersOptions) -> int:
    with before_work():
        effort = stabilisers.QUICK if options.preset == "quick" else stabilisers.FULL
        if options.seeds is not None:
            effort = msgspec.structs.replace(effort, seeds=options.seeds)
        play = stabilisers.prepare(options.out, effort=effort)
    comparison = play(True)
    report.show(stabilisers.summary(comparison))
    message = f"stabilisers.md, stabilisers.json and the pictures are in {options.out}"
    print(_documents.printable(message), file=sys.stderr)
    return ExitCode.DONE


def _report(options: ReportOptions) -> int:
    with before_work():
        if not options.runs:
            raise ValueError("name the folder of a run, or several folders to compare their runs")
        if len(options.runs) == 1 and options.out is not None:
            raise ValueError(
                f"the report of one run is its folder's report.html; leave out --out {options.out}"
            )
        if len(options.runs) == 1:
            print(pages.write_report(options.runs[0]))
        else:
            print(pages.write_comparison(options.runs, options.out or COMPARISON))
    return ExitCode.DONE


def _explore(options: ExploreOptions) -> int:
    with before_work():
        print(pages.write_explorer(options.run))
    return ExitCode.DONE


def _inference(options: InferenceOptions) -> int:
    with before_work():
        quick = options.preset == "quick"
        effort = dataclasses.replace(
            inference.QUICK if quick else inference.FULL, noise=options.noise
        )
        if options.steps is not None:
            effort = dataclasses.replace(effort, steps=options.steps)
        work = inference.prepare(options.run, options.out, effort=effort, data_dir=options.data_dir)
    report.show(inference.summary(work(True)))
    place = options.run / inference.FOLDER if options.out is None else options.out
    message = f"{inference.FOUND}, inference.md, the network and the pictures are in {place}"
    print(_documents.printable(message), file=sys.stderr)
    return ExitCode.DONE


def _features(options: FeaturesOptions) -> int:
    with before_work():
        work = features.prepare(
            options.run,
            options.labels,
            options.out,
            draws=options.draws,
            data_dir=options.data_dir,
        )
    report.show(features.summary(work(True)))
    place = options.run / features.FOLDER if options.out is None else options.out
    message = f"{features.FOUND}, features.md and features.png are in {place}"
    print(_documents.printable(message), file=sys.stderr)
    return ExitCode.DONE


def _check(options: CheckOptions) -> int:
    with before_work():
        found = check_run(options.run)
    for line in found.lines():
        print(_documents.printable(line))
    return ExitCode.DONE if found.whole else ExitCode.DAMAGED


def _speed(arguments: list[str]) -> int:
    if not SPEED_FOLDER.is_dir():
        raise Refused(
            "the speed comparisons are not installed with the package; call this in the root of a "
            f"clone, where {SPEED_FOLDER} is"
        )
    return subprocess.run([sys.executable, str(SPEED_FOLDER), *arguments]).returncode


COMMANDS = {
    "references": Command(
        "real training images, and their k-means centroids, scored in place of samples: the "
        "reference rows of Table 1",
        "the chosen data set",
        _references,
        ReferenceOptions,
        "--dataset digits",
    ),
    "report": Command(
        "rewrite a run's report.html, even during training; or write a page comparing several runs",
        "the folders of the runs",
        _report,
        ReportOptions,
        "runs/digits runs/digits-2",
    ),
    "explore": Command(
        "write a page that runs the run's generator in the browser and redraws as z is moved",
        "the run's folder",
        _explore,
        ExploreOptions,
        "runs/digits",
    ),
    "inference": Command(
        "infer z of real images: a network fitted to the run's generator, compared with search",
        "the run's folder and its data",
        _inference,
        InferenceOptions,
        "runs/mnist",
        continues=True,
    ),
    "features": Command(
        "few labels: linear classifiers on D's features, compared with pixels and an untrained D",
        "the run's folder and its data, with labels",
        _features,
        FeaturesOptions,
        "runs/mnist --labels 100 1000",
        continues=True,
    ),
    "check": Command(
        "verify every file in a run's folder against its SHA-256, and list its contents",
        "the run's folder",
        _check,
        CheckOptions,
        "runs/digits",
    ),
    "parzen": Command(
        "score a finished run again, with more samples",
        "the run's folder and its data",
        _parzen,
        ParzenOptions,
        "runs/digits --num-samples 100000",
        continues=True,
    ),
    "table1": Command(
        "Table 1 from recorded runs: the published rows, ours, and the reference rows",
        "nothing: the recorded runs come with the package",
        _table1,
        TableOptions,
        "--runs runs/mnist",
    ),
    "table2": Command(
        "Table 2 measured on finished runs: a number for each of its claims, and its cost",
        "the folders of the runs and their data",
        _table2,
        Table2Options,
        "runs/mnist runs/vae runs/dbn runs/cae",
        continues=True,
    ),
    "stabilisers": Command(
        "compare stabilisers: how many modes of a ring and a grid each finds, over 20 seeds",
        "nothing: it generates its data",
        _stabilisers,
        StabilisersOptions,
        "--preset quick",
        continues=True,
    ),
    "speed": Command(
        "compare speed with PyTorch, an Equinox loop and the products alone; cost curves; startup",
        "a clone of the repository, and a few minutes",
        _speed,
    ),
}
