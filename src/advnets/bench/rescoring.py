"""A finished run's model: loaded, and scored again with another number of samples."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

import advnets
from advnets import _files, _locks
from advnets.bench import results
from advnets.bench.catalogue import system_of
from advnets.bench.folders import (
    CONFIG,
    LAST,
    RESULTS,
    best_name,
    can_be_remade,
    check_writable,
    finished_runs_in,
    read_config,
)
from advnets.bench.protocol import first_fold, on_host, score
from advnets.bench.results import CAVEAT, Config, Provenance, Rescored, Result
from advnets.bench.systems import System
from advnets.bench.watching import Watch
from advnets.paper_figures import Sampler


def load_model(folder: str | os.PathLike[str], *, best: bool = False) -> Any:
    """Opens the model of a finished run.

    Args:
        folder: the run's folder.
        best: open the model of the best epoch by validation likelihood, not of the last epoch.

    Returns:
        The model; for an adversarial recipe, an [`advnets.Model`][].

    Raises:
        FileNotFoundError: if the folder holds no finished run.
        ValueError: if its files are damaged.

    Example:
        >>> import jax
        >>> from advnets import bench
        >>> model = bench.load_model("runs/digits")  # doctest: +SKIP
        >>> model.sample(jax.random.key(0), 5).shape  # doctest: +SKIP
        (5, 8, 8)
    """
    model, *_ = open_run(Path(folder), best=best)
    return model


def open_run(folder: Path, *, best: bool = False) -> tuple[Sampler, Config, System, Result]:
    """Opens a finished run, or raises an error if any of it is damaged.

    Args:
        folder: the run's folder.
        best: open the model of the best epoch by validation likelihood, not of the last epoch.

    Returns:
        The model, the settings, the system and the result.

    Raises:
        FileNotFoundError: if the folder holds no finished run.
        ValueError: if its files are damaged.
    """
    if runs := finished_runs_in(folder):
        raise ValueError(
            f"{folder} holds {len(runs)} runs; name the folder of one, such as {runs[0]}"
        )
    if not (folder / RESULTS).exists():
        raise FileNotFoundError(f"{folder} holds no {RESULTS}; name the folder of a finished run")
    with can_be_remade("resuming the run writes it again"):
        result = results.read(folder / RESULTS, Result)
    config = read_config(folder)
    if (config.benchmark, config.seed) != (result.benchmark, result.seed):
        raise ValueError(
            f"{folder / CONFIG} and {folder / RESULTS} are of different runs ({config.benchmark}, "
            f"seed {config.seed}, and {result.benchmark}, seed {result.seed})"
        )
    system = system_of(config)
    path = folder / (best_name(result.best.epoch) if best else LAST)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; resume the run to write it again")
    digest = result.files.get(path.name)
    if digest is not None and _files.sha256(path) != digest:
        raise ValueError(
            f"{path} is not the model that {RESULTS} lists: its SHA-256 differs; it is damaged, or "
            "the run continued and was stopped while it wrote (then resume it)"
        )
    return system.load(path, config.image_shape), config, system, result


def rescore(
    folder: str | os.PathLike[str],
    num_samples: int,
    *,
    best: bool = False,
    devices: int = 1,
    data_dir: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Rescored:
    """Scores a finished run's model with the run's own protocol and another number of samples.

    The result goes to `parzen-NUM_SAMPLES.json` in the run's folder (`parzen-best-…` for the best
    epoch), never to `results.json`. If it is interrupted, the same call continues.

    Args:
        folder: the run's.
        num_samples: how many samples to draw, from 1 to 2**31 - 1. None of them is stored, so
            memory does not limit their number.
        best: score the model of the best epoch by validation likelihood, not of the last one.
        devices: how many devices to distribute the samples over, at least 1.
        data_dir: where the run's data are, see [`advnets.data.load`][].
        progress: show a progress bar with the time left.

    Returns:
        The content of the file.

    Raises:
        ValueError: if `num_samples` or `devices` is out of range, the data can't be loaded or
            aren't the run's, or a file of the run is damaged.
        FileNotFoundError: if the folder holds no finished run.
        FileExistsError: if the result exists already.

    Example:
        >>> from advnets import bench
        >>> scored = bench.rescore("runs/digits", 1_000_000)  # doctest: +SKIP
        >>> scored.parzen.test.mean  # doctest: +SKIP
        -12.3

    References:
        Section 5, Table 1. How the likelihood moves with the number of samples: Theis et al. 2016,
        "A note on the evaluation of generative models".
    """
    work = prepare(folder, num_samples, best=best, devices=devices, data_dir=data_dir)
    return work(progress)


def path_of(folder: str | os.PathLike[str], num_samples: int, *, best: bool) -> Path:
    """The file for the score of this many samples of a run."""
    return Path(folder) / f"parzen-{'best-' if best else ''}{num_samples}.json"


def data_of(
    folder: Path, system: System, result: Result, data_dir: str | os.PathLike[str] | None
) -> advnets.data.Dataset:
    """The data of a finished run; other data are refused.

    Args:
        folder: the run's folder.
        system: its system.
        result: its result.
        data_dir: where the data are, see [`advnets.data.load`][].

    Returns:
        The data as loaded, not yet adapted to the system.

    Raises:
        ValueError: if they can't be loaded, or aren't the run's.
    """
    settings = system.settings
    data = advnets.data.load(
        settings.dataset,
        data_dir,
        image_size=settings.image_size,
        proper_folds=settings.proper_folds,
    )
    if result.data_sha256 not in (None, data.fingerprint()) or (
        result.data_sha256 is None and data.source != result.data
    ):
        raise ValueError(
            f"{folder} was scored on {result.data}, but this is {data.source} with other rows; "
            "name the run's data with --data-dir"
        )
    return data


def prepare(
    folder: str | os.PathLike[str],
    num_samples: int,
    *,
    best: bool = False,
    devices: int = 1,
    data_dir: str | os.PathLike[str] | None = None,
) -> Callable[[bool], Rescored]:
    """The checks of [`advnets.bench.rescore`][], all made before any work.

    Args:
        folder: as in [`advnets.bench.rescore`][].
        num_samples: likewise.
        best: likewise.
        devices: likewise.
        data_dir: likewise.

    Returns:
        A function that scores the samples, given whether to show progress.

    Raises:
        ValueError: as [`advnets.bench.rescore`][].
        FileNotFoundError: likewise.
        FileExistsError: likewise.
    """
    origin = Provenance.here()
    folder = Path(folder)
    if num_samples < 1:
        raise ValueError(f"the number of samples must be at least 1; got {num_samples}")
    if num_samples >= 2**31:
        raise ValueError(f"the number of samples must be below 2**31; got {num_samples}")
    if not 1 <= devices <= jax.local_device_count():
        raise ValueError(
            f"devices must be from 1 to {jax.local_device_count()}, as many as there are; got "
            f"{devices}"
        )
    model, config, system, result = open_run(folder, best=best)
    out = path_of(folder, num_samples, best=best)
    if out.exists():
        raise FileExistsError(f"{out} exists already; remove it to score the samples again")
    settings = system.settings
    data = data_of(folder, system, result, data_dir)
    check_writable(out)
    data = system.adapted(data)
    epoch = result.best.epoch if best else result.epochs
    watch = Watch(settings, data, folder, system.sample_key(config.seed))
    notes = folder / f"{out.stem}-unfinished"

    def work(progress: bool) -> Rescored:
        notes.mkdir(exist_ok=True)
        with _locks.locked(notes), system.context():
            scored = score(
                watch.samples(epoch, model, num_samples),
                first_fold(data, proper_folds=settings.proper_folds) if best else data,
                on_host(settings.preprocessing),
                devices=jax.local_devices()[:devices],
                notes=notes,
                progress=progress,
            )
        rescored = Rescored(
            benchmark=config.benchmark,
            seed=config.seed,
            generator="best epoch on validation" if best else "last epoch",
            epoch=epoch,
            parzen=scored,
            caveat=CAVEAT,
            data=data.source,
            run=result.provenance,
            provenance=origin,
        )
        results.write(out, rescored)
        shutil.rmtree(notes, ignore_errors=True)
        return rescored

    return work
