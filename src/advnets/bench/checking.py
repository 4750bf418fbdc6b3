"""The contents of a run's folder, and whether they are unchanged since they were written."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from advnets import _documents, _files, _locks, model_files
from advnets._counts import counted
from advnets.bench import features, inference, results
from advnets.bench.folders import (
    CONFIG,
    EXPLORER,
    FIRST_STAGE,
    METRICS,
    REPORT,
    RESULTS,
    SAMPLES,
    progress,
    read_rows,
)
from advnets.bench.results import Config, Measured, Rescored, Result
from advnets.training.checkpoints import CHECKPOINTS, check_whole, numbers


@dataclasses.dataclass(frozen=True)
class Finding:
    """The finding about one file, or one checkpoint.

    Attributes:
        name: its path within the folder.
        state: `"whole"` if it matches its SHA-256, `"unverified"` if none is known, `"damaged"` or
            `"missing"`.
        note: what it is, or what is wrong with it.
    """

    name: str
    state: str
    note: str


@dataclasses.dataclass(frozen=True)
class Checked:
    """What a check of a run's folder found.

    Attributes:
        folder: the folder.
        summary: what the run is, in one line.
        findings: one for each file and checkpoint.
    """

    folder: Path
    summary: str
    findings: tuple[Finding, ...]

    @property
    def whole(self) -> bool:
        """Whether nothing is damaged or missing."""
        return all(finding.state in ("whole", "unverified") for finding in self.findings)

    def lines(self) -> Iterator[str]:
        """The findings as text."""
        yield self.summary
        width = max((len(finding.name) for finding in self.findings), default=0)
        for finding in self.findings:
            yield f"  {finding.name:<{width}}  {finding.state:<10}  {finding.note}".rstrip()
        bad = sum(finding.state in ("damaged", "missing") for finding in self.findings)
        yield f"{bad} damaged or missing" if bad else "all that has a SHA-256 matches it"


def check_run(folder: Path) -> Checked:
    """Verifies every file of a run's folder against its SHA-256.

    Args:
        folder: the folder of a run, or of many runs trained together.

    Returns:
        The findings.

    Raises:
        FileNotFoundError: if it holds no run.

    Example:
        >>> from pathlib import Path
        >>> from advnets.bench.checking import check_run
        >>> check_run(Path("runs/digits")).whole  # doctest: +SKIP
        True
    """
    if not (folder / CONFIG).exists() and not (folder / CHECKPOINTS).is_dir():
        raise FileNotFoundError(f"{folder} holds no run; name the folder of one")
    findings = list(_of_run(folder, ""))
    for own in sorted(path.parent for path in folder.glob(f"*/{CONFIG}")):
        findings += _of_run(own, f"{own.name}/")
    return Checked(folder, _summary(folder), tuple(findings))


def _summary(folder: Path) -> str:
    try:
        config = results.read(folder / CONFIG, Config)
    except ValueError:
        return f"{folder}: a run"
    iteration, epochs = progress(folder)
    seeds = (
        f"{counted(config.seeds, 'seed')} from {config.seed}"
        if config.seeds
        else f"seed {config.seed}"
    )
    reached = (
        f"{counted(epochs, 'epoch')} ({counted(iteration, 'iteration')}) saved"
        if iteration
        else "no checkpoint"
    )
    return f"{folder}: {config.benchmark}, {seeds}; {reached}"


def _of_run(folder: Path, prefix: str) -> Iterator[Finding]:
    """Findings of one run's folder, without those of other runs' folders in it."""
    listed: dict[str, str] = {}
    epochs = None
    for path in sorted(folder.glob("*.json")):
        if path.name == _locks.NOTE:
            continue
        finding = _of_document(path, prefix)
        if path.name == RESULTS and finding.state == "whole":
            listed, epochs = _listed(path)
        yield finding
    yield from _of_checkpoints(folder, prefix)
    yield from _of_checkpoints(folder / FIRST_STAGE, f"{prefix}{FIRST_STAGE}/")
    # A run continued after its results were written has newer files than they list.
    went_on = epochs is not None and progress(folder)[1] > epochs
    for name, digest in listed.items():
        yield _of_listed(folder / name, f"{prefix}{name}", digest, went_on=went_on)
    for path in sorted(folder.glob("*.safetensors")):
        if path.name not in listed:
            yield _of_model(path, f"{prefix}{path.name}")
    log = folder / METRICS
    if METRICS not in listed and log.exists():
        yield _of_metrics(log, f"{prefix}{METRICS}")
    for path in sorted(folder.glob(f"{SAMPLES}/*.png")):
        if f"{SAMPLES}/{path.name}" not in listed:
            note = "a picture that results.json does not list yet"
            yield Finding(f"{prefix}{SAMPLES}/{path.name}", "unverified", note)
    for name in (inference.FOLDER, features.FOLDER):
        for part in ("", inference.FIT, inference.PARTS):
            yield from _of_measurement(folder / name / part, f"{prefix}{Path(name) / part}/")
    for page, command in ((REPORT, "report"), (EXPLORER, "explore")):
        if (folder / page).exists():
            note = f"nothing reads it; advnets.bench {command} writes it again"
            yield Finding(f"{prefix}{page}", "unverified", note)


def _of_measurement(folder: Path, prefix: str) -> Iterator[Finding]:
    """Findings of a folder that a later command wrote its results to."""
    for path in sorted(folder.glob("*.json")):
        if path.name != _locks.NOTE:
            yield _of_document(path, prefix)
    for path in sorted(folder.glob("*.safetensors")):
        yield _of_model(path, f"{prefix}{path.name}")
    yield from _of_checkpoints(folder, prefix)


def _of_document(path: Path, prefix: str) -> Finding:
    name = f"{prefix}{path.name}"
    try:
        content, sealed = _documents.unseal(_documents.read_bytes(path), path)
        kind = {CONFIG: Config}.get(path.name)
        if kind is not None:
            _documents.convert(content, kind, path)
        elif path.name.startswith("parzen-"):
            _documents.convert(content, Rescored, path)
    except ValueError as error:
        return Finding(name, "damaged", str(error))
    return Finding(name, "whole" if sealed else "unverified", "")


def _listed(path: Path) -> tuple[dict[str, str], int | None]:
    try:
        result = results.read(path, Result)
    except ValueError:  # the results of many runs, which list no files
        return {}, None
    return dict(result.files), result.epochs


def _of_checkpoints(folder: Path, prefix: str) -> Iterator[Finding]:
    for number in numbers(folder / CHECKPOINTS):
        name = f"{prefix}{CHECKPOINTS}/{number}"
        try:
            manifest = check_whole(folder / CHECKPOINTS / f"{number}")
        except (ValueError, OSError) as error:
            yield Finding(name, "damaged", str(error))
            continue
        epochs = max((run.epochs for run in manifest.runs.values()), default=0)
        note = f"{counted(epochs, 'epoch')}, {counted(len(manifest.files), 'file')}"
        if manifest.changes:
            note += f", {counted(len(manifest.changes), 'change')} on resuming"
        yield Finding(name, "whole", note)


def _of_listed(path: Path, name: str, digest: str, *, went_on: bool) -> Finding:
    if not path.is_file():
        state = "unverified" if went_on else "missing"
        return Finding(name, state, "older than the run" if went_on else "results.json lists it")
    if _files.sha256(path) == digest:
        return Finding(name, "whole", "")
    if went_on and path.suffix != ".safetensors":
        return Finding(name, "unverified", "the run continued after its results were written")
    return Finding(name, "damaged", "it does not match the SHA-256 in results.json")


def _of_model(path: Path, name: str) -> Finding:
    try:
        verified = model_files.digest_of(path) is not None
    except (ValueError, OSError) as error:
        return Finding(name, "damaged", str(error))
    return Finding(name, "whole" if verified else "unverified", "")


def _of_metrics(log: Path, name: str) -> Finding:
    try:
        read_rows(log, Measured)
    except (ValueError, OSError) as error:
        return Finding(name, "damaged", str(error))
    return Finding(name, "unverified", "checkpoints hold a copy of their own")
