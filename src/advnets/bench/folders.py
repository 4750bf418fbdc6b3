"""A run's folder: where it is, which settings it was run with, and whether it may be resumed."""

import contextlib
import hashlib
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import advnets
from advnets import _files, _locks
from advnets.bench import results
from advnets.bench.results import Config, FirstStage, Json, Measured, Read
from advnets.model_files import LAST as LAST
from advnets.model_files import METRICS as METRICS
from advnets.training.checkpoints import (
    CHECKPOINTS,
    Change,
    Manifest,
    Progressed,
    newest_whole,
    numbers,
    read_log,
    read_manifest,
    restore_part,
)

CONFIG, RESULTS = "config.json", "results.json"
# The first stage of a run in two stages; the second stage's files are in the run's own folder.
FIRST_STAGE = "first-stage"
# Pictures of the samples at each evaluation, and of training images.
SAMPLES = "samples"
# Pages that are generated from the other files.
REPORT, EXPLORER = "report.html", "explore.html"


def choose(name: str, out: str | os.PathLike[str] | None, resume: bool) -> Path:
    """The folder of a run, which is not created yet.

    Args:
        name: what the run is called.
        out: the folder, if the user names one; otherwise the next of `runs/NAME`, `runs/NAME-2` and
            so on, or the latest of them when resuming. Spaces and symbols in the name become
            hyphens.
        resume: whether to continue a run in the folder.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: if there is nothing to resume.
        FileExistsError: if the folder is not empty.
    """
    if out is not None:
        folder = Path(out)
    else:
        name, number = re.sub(r"[^\w.-]+", "-", name).strip("-"), 1
        while _default(name, number + resume).exists():
            number += 1
        folder = _default(name, number)
    if resume and not (folder / CONFIG).exists():
        raise FileNotFoundError(
            f"there is no run to resume in {folder}; name its folder with --out"
        )
    if not resume and folder.exists() and not _is_empty(folder):
        raise FileExistsError(
            f"{folder} is not empty; continue its run with --resume, or choose another with --out"
        )
    return folder


def called(
    benchmark: str, usual: str, dataset: str, data_dir: str | os.PathLike[str] | None
) -> str:
    """What a run is called: its benchmark's name, or its data and recipe if the data differ.

    Args:
        benchmark: the benchmark's name.
        usual: the benchmark's own data set.
        dataset: the data set of the run.
        data_dir: where that is.

    Returns:
        A name such as `"mnist"`, or `"flowers (mnist recipe)"` for a folder of images.

    Example:
        >>> from advnets.bench.folders import called
        >>> called("mnist", "mnist", "imagefolder", "photos/flowers")
        'flowers (mnist recipe)'
    """
    if dataset == usual:
        return benchmark
    folder = Path(data_dir).resolve().name if dataset == "imagefolder" and data_dir else ""
    return f"{(folder or dataset)[:60]} ({benchmark} recipe)"


def check_writable(path: Path) -> None:
    """Refuses a file that can't be written, before the work whose result it will hold.

    The file's folder is created; if the file can't be written, nothing is left behind.

    Args:
        path: the file.

    Raises:
        OSError: if it can't be written there.
    """
    missing = [folder for folder in path.parents if not folder.exists()]
    beside = path.with_name(f"{path.name}.partial")  # a longer name than the file's own
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.touch()
        beside.unlink()
    except OSError:
        for folder in missing:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


# Lock files of a folder, and what is left by a process that is killed before its run begins.
LEFT = frozenset({_locks.LOCK, _locks.NOTE, f"{_locks.NOTE}.partial", f"{CONFIG}.partial"})


def _is_empty(folder: Path, left: frozenset[str] = LEFT) -> bool:
    """Whether a folder holds neither a run nor anything else.

    A run has begun once its settings are written; several runs have begun once their common
    settings are written, which happens after each run's own.
    """
    return folder.is_dir() and all(
        path.name in left or (path.is_dir() and _is_empty(path, left | {CONFIG}))
        for path in folder.iterdir()
    )


def _default(name: str, number: int) -> Path:
    return Path("runs") / (name if number == 1 else f"{name}-{number}")


def identify_first_stage(
    folder: Path, given: str | os.PathLike[str] | None, resume: bool
) -> FirstStage | None:
    """The first stage that a run builds on, if it does not train its own.

    Args:
        folder: the run's.
        given: the first stage's folder; when resuming, by default the one that the run began with.
        resume: whether the run is being resumed.

    Returns:
        The first stage's `folder` and the `sha256` of its generator's file, or None.

    Raises:
        FileNotFoundError: if the first stage's folder holds no generator.
        ValueError: if a run is to be continued on another first stage than it began with.
    """
    stored = read_config(folder).first_stage if resume else None
    if given is None and stored is not None:
        given = stored.folder
    if given is None:
        return None
    path = Path(given) / LAST
    if not path.exists():
        raise FileNotFoundError(
            f"there is no first stage in {given}: it holds no {LAST}; name the folder of a "
            f"finished first stage (a run's {FIRST_STAGE}), or leave out --first-stage to train it"
        )
    found = FirstStage(str(given), hashlib.sha256(path.read_bytes()).hexdigest())
    if resume and (stored is None or stored.sha256 != found.sha256):
        raise ValueError(
            f"{folder} does not build on the first stage in {given}; resume with the one that it "
            "began with, or choose another folder with --out"
        )
    return found


def read_config(folder: Path) -> Config:
    """A run's `config.json`; a ValueError if it is damaged."""
    return results.read(folder / CONFIG, Config)


@contextlib.contextmanager
def can_be_remade(how: str) -> Iterator[None]:
    """Adds to a ValueError about a damaged file that it may be removed, and is made again.

    Args:
        how: what makes it again, a clause.
    """
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{error}, or remove it: {how}") from None


def finished_runs_in(folder: Path) -> list[Path]:
    """The folders of the finished runs that were trained together in a folder.

    Args:
        folder: any folder.

    Returns:
        Their folders, sorted by name; none if the folder is that of a single run.
    """
    try:
        together = read_config(folder).seeds is not None
    except ValueError:  # there is none, or it is damaged
        return []
    return sorted(path.parent for path in folder.glob(f"*/{RESULTS}")) if together else []


def flat(value: Json) -> dict[str, Json]:
    """A recipe's JSON without nesting: `generator.hidden_sizes` and so on."""
    return dict(_leaves(value, ""))


def _leaves(value: Json, name: str) -> Iterator[tuple[str, Json]]:
    if not isinstance(value, dict):
        yield name, value
        return
    for key, part in value.items():
        yield from _leaves(part, f"{name}.{key}".lstrip("."))


def check_alone(folder: Path) -> None:
    """Refuses to resume a single one of runs trained together, which share their checkpoints.

    Args:
        folder: the run's.

    Raises:
        ValueError: if the folder is that of one of several runs.
    """
    parent = folder.absolute().parent
    try:
        together = read_config(parent)
    except ValueError:  # there is none, or it belongs to something else
        return
    if together.seeds is not None:
        rates = " ".join(map(str, together.learning_rates))
        raise ValueError(
            f"{folder} was trained together with others; resume them all with --seeds "
            f"{together.seeds} "
            + (f"--learning-rates {rates} " if rates else "")
            + f"--out {parent}"
        )


def check_same(
    folder: Path,
    config: Config,
    changeable: Sequence[str] = (),
    *,
    accept: bool = False,
    epochs_fixed: bool = False,
) -> tuple[Change, ...]:
    """Refuses to resume with settings other than the run's own, or fewer epochs than it has.

    Args:
        folder: the run's.
        config: the settings to resume with.
        changeable: the settings that may be changed.
        accept: whether to accept changes of those.
        epochs_fixed: whether the run can't have more epochs than it began with, as a schedule
            spans them.

    Returns:
        The changes made now, after those made when it was resumed before.

    Raises:
        ValueError: if a setting differs, fewer epochs are asked for than the run has, or a file
            of the run is damaged.
    """
    stored = read_config(folder)
    old, new = _compared(stored), _compared(config)
    one, two = "a run in one stage", "a run in two stages"
    if bool(old.get("second_stage.epochs")) != bool(new.get("second_stage.epochs")):
        was, is_now = (two, one) if old.get("second_stage.epochs") else (one, two)
        raise ValueError(f"{folder} holds {was}, not {is_now}; choose another folder with --out")
    # Only the last stage's epochs may grow; the first stage is what the second was built on.
    last = "second_stage.epochs" if new.get("second_stage.epochs") else "epochs"
    iteration, reached = progress(folder)
    wanted = new[last]
    assert isinstance(wanted, int)
    if wanted < reached:
        raise ValueError(
            f"{folder} already holds {reached} epochs; ask for as many or more, got "
            f"--{last.replace('_', '-')} {wanted}"
        )
    if epochs_fixed and wanted != old.get(last):
        raise ValueError(
            f"the learning rate of {folder} falls over its {old.get(last)} epochs, so it can't be "
            f"resumed with --{last.replace('_', '-')} {wanted}; resume with {old.get(last)}, or "
            "choose another folder with --out"
        )
    differing = [key for key in old | new if key != last and old.get(key) != new.get(key)]
    refused = [key for key in differing if not (accept and key in changeable)]
    if refused:
        key = refused[0]
        may = ", accept the change with --accept-changes" if key in changeable else ""
        raise ValueError(
            f"{folder} was run with {key} = {old.get(key)!r}, not {new.get(key)!r}; resume with "
            f"the settings that it began with{may}, or choose another folder with --out"
        )
    return stored.changes + tuple(
        Change(iteration, key, repr(old.get(key)), repr(new.get(key))) for key in differing
    )


def check_data(folder: Path, config: Config, data_sha256: str, source: str) -> None:
    """Refuses to resume on data that differ, in any split, from those the run began with.

    Args:
        folder: the run's.
        config: its `config.json`.
        data_sha256: the SHA-256 of the data given now.
        source: where those data came from.

    Raises:
        ValueError: if they differ.
    """
    if config.data_sha256 not in (None, data_sha256):
        raise ValueError(
            f"{folder} was run on other data than those of {source}: the SHA-256 of their "
            "training, validation and test rows differ; name the run's data with --data-dir"
        )


def check_best(folder: Path) -> None:
    """Checks the best model so far, which is needed at the end, before a run continues.

    Args:
        folder: the run's.

    Raises:
        ValueError: if it is missing or damaged.
    """
    own = bool(numbers(folder / CHECKPOINTS))
    above, name = (folder, "") if own else (folder.parent, folder.name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are issued when the run continues
        found = newest_whole(above / CHECKPOINTS)
    if found is None or name not in found[1].runs:
        return
    best = best_row(_rows(read_log(found[0], name), found[0], Measured))
    if best is not None:
        check_model(folder, best)


def check_model(folder: Path, best: Measured) -> None:
    """Checks that the file of the best model is whole and belongs to this run.

    Args:
        folder: the run's.
        best: the best row of its metrics.

    Raises:
        ValueError: if it is missing, damaged, or another run's.
    """
    path = folder / best_name(best.epoch)
    if not path.exists():
        raise ValueError(
            f"{path}, the best model so far, is missing; restore it from a copy, or start again in "
            "another folder with --out"
        )
    advnets.model_files.digest_of(path)
    if best.model_sha256 not in (None, _files.sha256(path)):
        raise ValueError(
            f"{path} is not the model that the run saved: its SHA-256 is not the recorded one; "
            "restore it from a copy, or start again in another folder with --out"
        )


class Saved(NamedTuple):
    """A checkpoint, as that of one run.

    Attributes:
        place: its folder.
        name: the run's name in it.
        manifest: its manifest.
    """

    place: Path
    name: str
    manifest: Manifest

    @property
    def run(self) -> Progressed:
        """How far the run is."""
        return self.manifest.runs[self.name]

    def restore(self, part: str, like: Any) -> Any:
        """A part of the run's state, see [`advnets.training.checkpoints.restore_part`][]."""
        return restore_part(self.place, self.manifest, self.name, part, like)


def newest_checkpoint(folder: Path) -> Saved | None:
    """The newest checkpoint of a run that has a whole manifest; None if there is none.

    The checkpoints of runs trained together are in the parent folder.
    """
    for above, name in ((folder, ""), (folder.parent, folder.name)):
        for number in numbers(above / CHECKPOINTS):
            place = above / CHECKPOINTS / f"{number}"
            try:
                manifest = read_manifest(place)
            except (ValueError, OSError):
                continue
            if name in manifest.runs:
                return Saved(place, name, manifest)
    return None


def progress(folder: Path) -> tuple[int, int]:
    """How far a run is, in iterations and epochs; without checkpoints, according to its metrics."""
    found = newest_checkpoint(folder)
    if found is not None:
        return found.manifest.iteration, found.run.epochs
    log = folder / METRICS
    return 0, len(read_rows(log, Measured)) if log.exists() else 0


def _compared(config: Config) -> dict[str, Json]:
    """The settings that must stay the same in a resumed run, by name."""
    return flat(
        {
            "benchmark": config.benchmark,
            "seed": config.seed,
            "seeds": config.seeds or 1,
            "learning_rates": list(config.learning_rates),
            **config.recipe,
        }
    )


def read_rows(path: Path, kind: type[Read], *, having: str = "") -> list[Read]:
    """The whole rows of a `metrics.jsonl`, of those that have the name `having` if it is given.

    A ValueError if the file is damaged.
    """
    return _rows(whole_lines(path), path, kind, f'"{having}"'.encode() if having else b"")


def whole_lines(log: Path) -> bytes:
    """The lines of a log, without an incomplete last one.

    Args:
        log: the file.

    Returns:
        Its content up to the last newline.

    Raises:
        ValueError: if it is not a regular file; opening a pipe would wait for its writer.
        OSError: if it can't be read.
    """
    if log.exists() and not log.is_file():
        raise ValueError(f"{log} is not a file; the run is damaged")
    return log.read_bytes().rpartition(b"\n")[0]


def _rows(content: bytes, source: Path, kind: type[Read], having: bytes = b"") -> list[Read]:
    return [
        results.decode(line, kind, f"{source}, line {number},")
        for number, line in enumerate(content.splitlines(), start=1)
        if having in line
    ]


def digests(folder: Path, best_epoch: int) -> dict[str, str]:
    """The SHA-256 of each file that a finished run has written, except those that carry their own.

    Args:
        folder: the run's.
        best_epoch: its best epoch.

    Returns:
        The digests of the models, the metrics and the pictures, those of a first stage included.
    """
    models = {LAST, best_name(best_epoch)}
    return {
        path.relative_to(folder).as_posix(): _files.sha256(path)
        for above in (
            folder,
            folder / FIRST_STAGE,
            folder / SAMPLES,
            folder / FIRST_STAGE / SAMPLES,
        )
        for path in sorted(above.glob("*"))
        if path.name in models or path.suffix in (".jsonl", ".png")
    }


def check_checkpoints(folder: Path) -> None:
    """Refuses a run without a whole checkpoint before anything in its folder is changed.

    Args:
        folder: that of a run, or of many runs.

    Raises:
        CheckpointError: if there are checkpoints, and none is whole.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are issued when the run continues
        for above in (folder, folder / FIRST_STAGE):
            newest_whole(above / CHECKPOINTS)


def best_name(epoch: int | str) -> str:
    """The file name of the best generator on validation rows, which is that of this epoch."""
    return f"generator-epoch-{epoch}.safetensors"


def best_row(rows: Sequence[Measured]) -> Measured | None:
    """The row of the epoch with the highest validation likelihood; None if none has one."""
    scored = [row for row in rows if row.validation is not None]
    return max(scored, key=lambda row: row.mean, default=None)
