"""The command line: `python -m advnets.bench`."""

import argparse
import contextlib
import dataclasses
import difflib
import io
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

from advnets import _documents, _options, _provenance, _signals, _terminal
from advnets._extras import needed_for
from advnets.bench import report
from advnets.bench.benchmark import Benchmark
from advnets.bench.catalogue import BENCHMARKS
from advnets.bench.commands import COMMANDS, Command
from advnets.bench.experiment import Grid, Request, execute, prepare
from advnets.bench.failures import Again, ExitCode, Refused, before_work, guarded
from advnets.bench.folders import REPORT as REPORT_PAGE
from advnets.bench.processes import Processes, join
from advnets.bench.recipes import Recipe as AdversarialRecipe
from advnets.bench.replay import verify_replay
from advnets.bench.settings import Settings
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


PROGRAM = "python -m advnets.bench"
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
        name: (command.summary, f"needs {command.needs}") for name, command in COMMANDS.items()
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
        return _command(name, COMMANDS[name], rest, again)
    if name in BENCHMARKS:
        return _benchmark(BENCHMARKS[name], rest, again)
    known = [*BENCHMARKS, *COMMANDS]
    near = difflib.get_close_matches(name, known, 1)
    meant = f"; did you mean {near[0]}?" if near else ""
    raise Refused(f"unknown benchmark {name!r}; choose one of {', '.join(known)}{meant}")


def _command(name: str, command: Command, arguments: list[str], again: Again) -> int:
    """Runs another command: reads its options, does its work."""
    if command.options is None:
        return command.run(arguments)
    options = _read(command.options, arguments, name, command.summary, example=command.example)
    if command.continues:
        again.sentence = "the same command continues it"
    with _in_options(command.options, None, arguments):
        return command.run(options)


@contextlib.contextmanager
def _in_options(kind: Any, default: Any, arguments: Sequence[str]) -> Iterator[None]:
    """A context in which a refusal names settings as the options that they are."""
    try:
        yield
    except Refused as refused:
        known = list(_options.options(kind, default))
        raise Refused(_options.with_names(str(refused), known, arguments)) from refused


def _benchmark(benchmark: Benchmark, arguments: list[str], again: Again) -> int:
    """Runs a benchmark: reads its options, prepares, executes, reports."""
    defaults = _defaults(benchmark, arguments)
    kind: Any = Options[type(benchmark.recipe)]  # type: ignore[misc]
    with _in_options(kind, defaults, arguments):
        return _run(benchmark, kind, defaults, arguments, again)


def _run(benchmark: Benchmark, kind: Any, defaults: Any, arguments: list[str], again: Again) -> int:
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
        if options.accept_changes and not options.resume:
            raise ValueError("--accept-changes goes with --resume; add it, or leave it out")
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
        report.show(report.of(result, grid.folder, quick=quick))
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
        every = settings.evaluate_every
        when = "after each epoch" if every == 1 else f"every {every} epochs"
        each = "each run's samples.png" if grid.together else "samples.png there"
        message += f"; {each} is redrawn {when}"
    rows, run = len(grid.runs[0].data.train), grid.runs[0]
    released = getattr(settings, "update_rule", None) == "momentum"
    if released and run.called != run.name and rows < FEW_IMAGES:
        message += (
            f"\nnote: networks and rates of {run.name} are for tens of thousands of images and "
            f"may collapse on {rows:,}; the digits recipe is meant for few images"
        )
    return message


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
