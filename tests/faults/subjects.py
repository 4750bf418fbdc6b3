"""Small runs to attack: one run, seeds, a sweep, two stages; and how two of a kind are compared."""

import dataclasses
import hashlib
import json
import multiprocessing
import os
import re
import signal
import tempfile
from pathlib import Path

from advnets.training.checkpoints import CHECKPOINTS, check_whole, numbers
from faults import preloaded

TINY = [
    "--evaluate-every", "2", "--num-samples", "100", "--generator.hidden-sizes", "16",
    "--discriminator.units", "8",
]  # fmt: skip
DIGITS = ["digits", *TINY]
EPOCHS, INTERVAL = 6, 2
SUBJECTS = {
    "one run": DIGITS,
    "seeds": [*DIGITS, "--seeds", "2"],
    "a sweep": [*DIGITS, "--learning-rates", "0.05", "0.1"],
    "two stages": [
        "tfd", "--preset", "quick", *TINY, "--batch-size", "10", "--num-samples", "40",
        "--generator.output-nonzero", "5", "--second-stage.hidden-size", "20",
        "--second-stage.epochs", "4",
    ],
}  # fmt: skip
# What differs between two runs with the same numbers.
OF_THE_OCCASION = ("provenance", "updates_per_second", "files", "format", "sha256", "data")


# Of every process: programs are compiled once, and small players need one core.
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "OMP_NUM_THREADS": "1",
    "HF_DATASETS_OFFLINE": "1",
}
# Processes are forked from one that has imported the package and begun nothing.
forks = multiprocessing.get_context("forkserver")
forks.set_forkserver_preload(["faults.preloaded"])


@dataclasses.dataclass(frozen=True)
class Place:
    """Where trials are made.

    Attributes:
        root: a folder for all of them.
    """

    root: Path

    def prepare(self):
        """Makes the folder, and the environment of all processes."""
        self.root.mkdir(exist_ok=True)
        # A shell has a job in the background ignore Ctrl-C, and what it starts with it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        os.environ.update(ENVIRONMENT, JAX_COMPILATION_CACHE_DIR=str(self.root / "programs"))

    @property
    def data(self):
        """The folder of made-up faces in TFD's layout."""
        from helpers import synthetic

        folder = self.root / "tfd"
        if not folder.exists():
            folder.mkdir(parents=True)
            synthetic.write_tfd(folder / "TFD_48x48.mat")
        return folder

    def command(self, subject, folder, *more, epochs=EPOCHS):
        """The arguments of a subject's run in a folder."""
        given = [*SUBJECTS[subject], "--out", str(folder), "--epochs", f"{epochs}", *more]
        return [*given, "--data-dir", str(self.data)] if subject == "two stages" else given

    def new(self):
        """A folder that a run may be made in."""
        return Path(tempfile.mkdtemp(dir=self.root, prefix="trial-")) / "run"


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        code: its return code.
        stderr: its standard error.
    """

    code: int
    stderr: str

    @property
    def traceback(self):
        """Whether it showed a traceback, or the interpreter's own report of a crash."""
        return bool(
            re.search(r"Traceback \(most recent|Fatal Python error|Segmentation", self.stderr)
        )

    @property
    def sentences(self):
        """The errors that it printed."""
        lines = re.split(r"[\r\n]", self.stderr)
        return [line for line in lines if line.startswith("error: ")]


@dataclasses.dataclass(frozen=True)
class Started:
    """A process at work.

    Attributes:
        process: it.
        log: where its standard error goes.
    """

    process: multiprocessing.Process
    log: Path

    def wait(self, seconds=600):
        """Waits until it has ended, at most that long; what came of it, if it has."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            return None
        return Ended(self.process.exitcode, self.log.read_text(errors="replace"))

    def kill(self):
        """Kills it; what came of it."""
        self.process.kill()
        return self.wait()


def launch(arguments, folder, **settings):
    """Starts the benchmark command on a run's folder; settings go to the process."""
    descriptor, log = tempfile.mkstemp(dir=folder.parent, suffix=".log")
    os.close(descriptor)
    process = forks.Process(
        target=preloaded.command, args=(arguments, str(folder), log), kwargs=settings
    )
    process.start()
    return Started(process, Path(log))


def run(arguments, folder, **settings):
    """Runs the benchmark command to its end."""
    done = launch(arguments, folder, **settings).wait()
    assert done is not None, f"{arguments} takes too long"
    return done


def numbers_of(folder):
    """The numbers that a run has come to, by file: metrics, models, arrays of states, results."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if CHECKPOINTS in path.parts or not path.is_file():
            continue
        if path.name == "generator.safetensors" or path.suffix == ".jsonl":
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        if path.name == "results.json":
            content = json.loads(path.read_text())
            found[name] = {k: v for k, v in content.items() if k not in OF_THE_OCCASION}
    for checkpoints in folder.rglob(CHECKPOINTS):
        newest = checkpoints / f"{numbers(checkpoints)[0]}"
        found[checkpoints.relative_to(folder).as_posix()] = check_whole(newest).files
    return found


def resumed(place, subject, folder, *more):
    """Brings a run to its end, from whatever is in its folder."""
    began = (folder / "config.json").exists()
    arguments = place.command(subject, folder, *(["--resume"] if began else []), *more)
    return run(arguments, folder)
