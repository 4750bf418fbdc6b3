"""Small runs to attack, of each kind: one run, seeds, a sweep, two stages; and how they are compared."""

import dataclasses
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from advnets.training.checkpoints import CHECKPOINTS, check_whole, numbers

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


@dataclasses.dataclass(frozen=True)
class Place:
    """Where trials are made.

    Attributes:
        root: a folder for all of them.
    """

    root: Path

    @property
    def environment(self):
        """That of every process: programs are compiled once, of small players on one core."""
        return os.environ | {
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(self.root / "programs"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
            "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
            "OMP_NUM_THREADS": "1",
            "HF_DATASETS_OFFLINE": "1",
        }

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
        said: its standard error.
    """

    code: int
    said: str

    @property
    def traceback(self):
        """Whether it showed a traceback, or the interpreter's own report of a crash."""
        return bool(
            re.search(r"Traceback \(most recent|Fatal Python error|Segmentation", self.said)
        )

    @property
    def sentences(self):
        """The errors that it printed."""
        lines = re.split(r"[\r\n]", self.said)
        return [line for line in lines if line.startswith("error: ")]


def launch(place, arguments, folder, **settings):
    """Starts the benchmark command; settings go to the launcher."""
    environment = place.environment | {"FAULTS_FOLDER": str(folder)}
    environment |= {f"FAULTS_{name.upper()}": str(value) for name, value in settings.items()}
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("launcher.py")), *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )


def ended(process, timeout=600):
    """Waits for a process."""
    _, said = process.communicate(timeout=timeout)
    return Ended(process.returncode, said)


def run(place, arguments, folder, **settings):
    """Runs the benchmark command."""
    return ended(launch(place, arguments, folder, **settings))


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
        files = check_whole(newest).files
        found[checkpoints.relative_to(folder).as_posix()] = {
            name: digest
            for name, digest in files.items()
            if name.startswith("runs/") or re.match(r"arrays/\d+/\d", name)
        }
    return found


def resumed(place, subject, folder, *more):
    """Brings a run to its end, from whatever is in its folder."""
    began = (folder / "config.json").exists()
    arguments = place.command(subject, folder, *(["--resume"] if began else []), *more)
    return run(place, arguments, folder)
