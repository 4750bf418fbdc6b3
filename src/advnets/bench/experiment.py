"""An experiment: a system fitted to data, then scored and drawn by one protocol.

`prepare` checks everything that can be checked before work starts, and locks the folders; `execute`
does the work: fit, score, draw. Seeds and settings form a grid; a single run is a grid of one.
"""

import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from jaxtyping import Float

import advnets
from advnets import _progress, _signals, _warnings
from advnets.bench import pages, results
from advnets.bench.benchmark import Benchmark
from advnets.bench.catalogue import BENCHMARKS
from advnets.bench.evaluations import EVALUATIONS, Subject
from advnets.bench.folders import (
    CONFIG,
    LAST,
    RESULTS,
    best_name,
    best_row,
    called,
    can_be_remade,
    check_alone,
    check_best,
    check_checkpoints,
    check_data,
    check_model,
    check_same,
    choose,
    digests,
    identify_first_stage,
    read_config,
)
from advnets.bench.grid import seeds_result, sweep_result
from advnets.bench.protocol import Samples, first_fold, on_host, score
from advnets.bench.reference_rows import recorded_centroids
from advnets.bench.results import (
    CAVEAT,
    Best,
    Config,
    Measured,
    Provenance,
    Published,
    Reference,
    References,
    Result,
    Score,
    SeedsResult,
    SweepResult,
)
from advnets.bench.settings import Settings
from advnets.bench.systems import Fitted, Run
from advnets.bench.watching import Watch, pictured
from advnets.training.checkpoints import Change
from advnets.training.devices import barrier, is_main_process, make_mesh
from advnets.training.journal import lock_folder

# Figure 3: lines in z space, and points on each.
LINES, STEPS = 8, 11
# The most runs that can be trained at once; each has a folder.
MOST_RUNS = 10_000


@dataclasses.dataclass(frozen=True)
class Request:
    """The options of an experiment, besides its benchmark.

    Attributes:
        seed: the seed of everything random, or the first of several.
        seeds: the number of seeds that are fitted together; None for a single run.
        learning_rates: those of a sweep, which runs all seeds at each.
        out: the folder; by default a new one under `runs/`.
        data_dir: where the data are, see [`advnets.data.load`][].
        first_stage: for a benchmark in two stages: a finished first stage to build on.
        resume: continue the run in the folder.
        devices: how many devices to distribute it over, see [`advnets.train`][].
        shard_layers: also shard large layers over the devices, see [`advnets.train`][].
        accept_changes: resume with settings that differ from those the run began with, where that
            is possible.
        monitor: monitor the game at every evaluation, see [`advnets.monitor.Monitor`][].
        callbacks: functions called after every evaluation, see [`advnets.train`][].
    """

    seed: int = 0
    seeds: int | None = None
    learning_rates: tuple[float, ...] = ()
    out: str | os.PathLike[str] | None = None
    data_dir: str | os.PathLike[str] | None = None
    first_stage: str | os.PathLike[str] | None = None
    resume: bool = False
    devices: int | None = None
    shard_layers: bool = False
    accept_changes: bool = False
    monitor: bool = False
    callbacks: tuple[advnets.training.Callback, ...] = ()


@dataclasses.dataclass(frozen=True)
class Grid:
    """Runs that are ready to start, which differ only in their seeds and learning rates.

    Attributes:
        folder: the folder of a single run, or the parent of the folders of several.
        runs: the runs.
        together: whether there are several.
        learning_rates: for a sweep, those of its runs.
        locks: the locks that keep other processes out of the folder.
    """

    folder: Path
    runs: tuple[Run, ...]
    together: bool
    learning_rates: tuple[float, ...]
    locks: contextlib.ExitStack


def prepare(benchmark: Benchmark, request: Request) -> Grid:
    """Checks everything that can be checked before work starts, and locks the runs' folders.

    Args:
        benchmark: what to run.
        request: how to run it.

    Returns:
        The runs, for [`advnets.bench.experiment.execute`][].

    Raises:
        ValueError: for a setting out of range, data that can't be loaded, or resuming with
            different settings.
        OSError: if the folder holds another run, or nothing to resume, or there is no such first
            stage.
    """
    origin = Provenance.here()  # first of all: a checkout may change during a long run
    _check(benchmark, request)
    known = BENCHMARKS.get(benchmark.name, benchmark)
    name = called(benchmark.name, known.recipe.dataset, benchmark.recipe.dataset, request.data_dir)
    folder = choose(name, request.out, request.resume)
    with contextlib.ExitStack() as locks:
        if request.resume:
            lock_folder(locks, folder)
        runs, common = _checked(benchmark, name, request, folder, origin)
        if not request.resume:
            lock_folder(locks, folder)
            choose(name, folder, request.resume)  # again, now that the folder is locked
            barrier("every process has looked at the locked folder")  # before there are files
        if is_main_process():
            for run in runs:
                run.folder.mkdir(parents=True, exist_ok=True)
                config = _config(run.name, run.system.settings, run.seed)
                _write_config(config, run, run.folder, run.changes)
            if request.seeds is not None:
                _write_config(common, runs[0], folder, common.changes)
        return Grid(
            folder, runs, request.seeds is not None, request.learning_rates, locks.pop_all()
        )


def _checked(
    benchmark: Benchmark, called: str, request: Request, folder: Path, origin: Provenance
) -> tuple[tuple[Run, ...], Config]:
    """The runs, after all checks, and the settings that they have in common."""
    planned = _plan(benchmark, request, folder)
    system = benchmark.system(benchmark.recipe)
    common = _config(benchmark.name, benchmark.recipe, request.seed)
    if request.seeds is not None:
        common = msgspec.structs.replace(
            common, seeds=request.seeds, learning_rates=request.learning_rates
        )
    changes: dict[Path, tuple[Change, ...]] = {}
    if request.resume:
        if request.seeds is None:
            check_alone(folder)
        check_checkpoints(folder)
        same = functools.partial(
            check_same,
            changeable=system.changeable,
            accept=request.accept_changes,
            epochs_fixed=system.ends_at_its_epochs,
        )
        changes[folder] = same(folder, common)
        common = msgspec.structs.replace(common, changes=changes[folder])
        for recipe, seed, own in planned:
            if request.seeds is not None and (own / CONFIG).exists():  # or it was stopped before
                config = _config(benchmark.name, recipe, seed)
                changes[own] = same(own, config)
            check_best(own)
            _earlier_rate(own)  # it is needed at the end, and its file may be damaged
    first_stage = identify_first_stage(folder, request.first_stage, request.resume)
    recipe = benchmark.recipe
    data = advnets.data.load(
        recipe.dataset,
        request.data_dir,
        image_size=recipe.image_size,
        proper_folds=recipe.proper_folds,
    )
    digest = data.fingerprint()
    data = system.adapted(data)
    if request.resume:
        check_data(folder, read_config(folder), digest, data.source)
    system.check(data, first_stage)
    if request.seeds is not None:
        system.check_room(data, len(planned))
    _check_devices(request, recipe, len(planned))
    _signals.check()
    barrier("every process has looked at the folder")
    runs = tuple(
        Run(
            name=benchmark.name,
            system=benchmark.system(its_recipe),
            seed=seed,
            folder=own,
            resume=request.resume,
            data=data,
            provenance=origin,
            data_sha256=digest,
            first_stage=first_stage,
            devices=request.devices,
            shard_layers=request.shard_layers,
            published=benchmark.published,
            changes=changes.get(own, ()),
            monitor=request.monitor,
            callbacks=request.callbacks,
            called=called,
        )
        for its_recipe, seed, own in planned
    )
    if request.monitor:
        system.check_monitor(runs[0])
    return runs, common


def _write_config(config: Config, run: Run, folder: Path, changes: tuple[Change, ...]) -> None:
    """Writes the `config.json` of a run, or of the folder that it shares with others."""
    whole = msgspec.structs.replace(
        config,
        image_shape=run.data.train.shape[1:],
        first_stage=run.first_stage,
        data_sha256=run.data_sha256,
        changes=changes,
        called=run.called if run.called != run.name else "",
    )
    results.write(folder / CONFIG, whole)


def _check(benchmark: Benchmark, request: Request) -> None:
    seed, seeds, rates = request.seed, request.seeds, request.learning_rates
    if request.monitor and not benchmark.system.monitored:
        raise ValueError(
            f"{benchmark.name} is not a game that can be monitored; leave out --monitor"
        )
    if seeds is None:
        if not 0 <= seed < 2**32:
            raise ValueError(f"the seed must be at least 0 and below 2**32; got {seed}")
        two_stages = getattr(benchmark.system(benchmark.recipe), "two_stages", False)
        if request.first_stage is not None and not two_stages:
            raise ValueError(
                f"{benchmark.name} has one stage; leave out --first-stage {request.first_stage}"
            )
        return
    if seeds < 1:
        raise ValueError(f"the number of seeds must be at least 1; got {seeds}")
    if seeds * max(1, len(rates)) > MOST_RUNS:
        each = f" for each of {len(rates)} learning rates" if rates else ""
        raise ValueError(
            f"at most {MOST_RUNS:,} runs can be trained at once; got {seeds} seeds{each}"
        )
    if not 0 <= seed <= 2**32 - seeds:
        raise ValueError(
            f"seeds must be at least 0 and below 2**32; got {seed} to {seed + seeds - 1}"
        )
    if request.shard_layers:
        raise ValueError("many runs at once have one device each; leave out --shard-layers")
    if request.first_stage is not None:
        raise ValueError(
            f"many runs at once have one stage; leave out --first-stage {request.first_stage}"
        )
    try:
        benchmark.system(benchmark.recipe).check_together()
    except ValueError as error:
        raise ValueError(f"{benchmark.name}: {error}") from None
    if len(set(rates)) != len(rates):
        raise ValueError(f"each learning rate must be given once; got {list(rates)}")


def _plan(benchmark: Benchmark, request: Request, folder: Path) -> list[tuple[Settings, int, Path]]:
    """The settings, seed and folder of each run."""
    recipe = benchmark.recipe
    if request.seeds is None:
        return [(recipe, request.seed, folder)]
    seeds = range(request.seed, request.seed + request.seeds)
    if not request.learning_rates:
        return [(recipe, seed, folder / f"seed-{seed}") for seed in seeds]
    if not hasattr(recipe, "learning_rate"):
        raise ValueError(f"{benchmark.name} has no learning rate; leave out --learning-rates")
    at_rate: Any = dataclasses.replace
    return [
        (
            at_rate(recipe, learning_rate=rate),
            seed,
            folder / f"learning-rate-{rate}-seed-{seed}",
        )
        for rate in request.learning_rates
        for seed in seeds
    ]


def _config(name: str, recipe: Settings, seed: int) -> Config:
    return Config(name, seed, (), None, results.as_json(recipe))


def _check_devices(request: Request, recipe: Settings, runs: int) -> None:
    if request.seeds is None:
        batch_size = getattr(recipe, "batch_size", request.devices or 1)
        make_mesh(request.devices, "the batch size", batch_size)
        return
    kind = "the number of seeds" + (" times learning rates" if request.learning_rates else "")
    make_mesh(request.devices, kind, runs)


def run(
    benchmark: Benchmark,
    *,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    first_stage: str | os.PathLike[str] | None = None,
    resume: bool = False,
    accept_changes: bool = False,
    devices: int | None = None,
    shard_layers: bool = False,
    monitor: bool = False,
    progress: bool = True,
) -> Result:
    """Fits, evaluates and draws a benchmark, as the command line does.

    The folder then holds `report.html` (see [`advnets.bench.write_report`][]), `config.json`,
    `metrics.jsonl`, `results.json`, `samples.png` (Figure 2), `interpolations.png` (Figure 3),
    `memorisation.png`, `curves.png`, `samples/` (small pictures of the samples at each evaluation,
    and of training images), `checkpoints/`, and the models of the last epoch
    (`generator.safetensors`) and of the best one by validation likelihood
    (`generator-epoch-N.safetensors`); for a benchmark in two stages, also `first-stage/`.

    Args:
        benchmark: what to run: one of [`advnets.bench.BENCHMARKS`][], or your own.
        seed: the seed of everything random, 0 to 2**32 - 1.
        out: the run's folder; by default a new one under `runs/`.
        data_dir: where the data are, see [`advnets.data.load`][].
        first_stage: for a benchmark in two stages: a finished run of the first one to build on.
        resume: continue the run in the folder.
        accept_changes: resume with a learning rate, momentum, norm limit or objective that differs
            from the one the run began with; each change, and when it was made, is in the result.
        devices: how many devices to shard each minibatch over, see [`advnets.train`][].
        shard_layers: also shard large layers over the devices, see [`advnets.train`][].
        monitor: monitor the game at every evaluation, see [`advnets.monitor.Monitor`][]; the folder
            then also holds `monitor.png`.
        progress: show progress.

    Returns:
        The content of `results.json`.

    Raises:
        ValueError: for a setting out of range, data that can't be loaded, or resuming with
            different settings.
        OSError: if the folder holds another run, or nothing to resume, or there is no such first
            stage.
        TrainingDiverged: if a cost or a gradient stops being finite.

    Example:
        >>> import dataclasses, tempfile
        >>> from advnets import bench
        >>> digits = bench.BENCHMARKS["digits"]
        >>> short = dataclasses.replace(digits.recipe, epochs=2, num_samples=100)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     result = bench.run(
        ...         dataclasses.replace(digits, recipe=short), out=folder, progress=False
        ...     )
        >>> result.updates
        24

    References:
        Section 5 and Table 1.
    """
    request = Request(
        seed=seed,
        out=out,
        data_dir=data_dir,
        first_stage=first_stage,
        resume=resume,
        accept_changes=accept_changes,
        devices=devices,
        shard_layers=shard_layers,
        monitor=monitor,
    )
    result = execute(prepare(benchmark, request), progress=progress)
    assert isinstance(result, Result)
    return result


def run_grid(
    benchmark: Benchmark,
    *,
    seeds: int = 1,
    seed: int = 0,
    learning_rates: Sequence[float] = (),
    out: str | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    resume: bool = False,
    devices: int | None = None,
    monitor: bool = False,
    progress: bool = True,
) -> SeedsResult | SweepResult:
    """Fits, evaluates and draws many seeds of a benchmark, optionally at several learning rates.

    The folder then holds `seed-N/` for each seed, or `learning-rate-R-seed-N/` for each run of a
    sweep, with the files that [`advnets.bench.run`][] writes, except for the checkpoints, which the
    runs share; `results.json`, with the distribution of scores over seeds for each learning rate;
    `seeds.png` or `learning-rates.png`, which shows it; and `config.json`.

    Every learning rate has the same seeds, so that runs differ in nothing else. The learning rate
    is chosen by the mean over seeds of the validation likelihood at each run's best epoch; test
    rows play no part. A rate at which a seed diverged is not chosen.

    Args:
        benchmark: what to run, a recipe with one stage.
        seeds: how many seeds.
        seed: the first of them.
        learning_rates: the initial learning rates of a sweep; by default only the recipe's.
        out: the parent of the runs' folders; by default a new one under `runs/`.
        data_dir: where the data are, see [`advnets.data.load`][].
        resume: continue the runs in the folder.
        devices: how many devices to distribute the runs over, see [`advnets.train_many`][].
        monitor: monitor each game at every evaluation, see [`advnets.monitor.Monitor`][].
        progress: show progress.

    Returns:
        The content of `results.json`.

    Raises:
        ValueError: for a setting out of range, a recipe with two stages, data that can't be loaded,
            or resuming with different settings.
        OSError: if the folder holds other runs, or nothing to resume.
        TrainingDiverged: if every run diverged. A run that diverges while others are left is named
            in a warning and under `diverged`, and has no score.

    Example:
        >>> import dataclasses, tempfile
        >>> from advnets import bench
        >>> digits = bench.BENCHMARKS["digits"]
        >>> short = dataclasses.replace(digits.recipe, epochs=2, num_samples=100)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     result = bench.run_grid(
        ...         dataclasses.replace(digits, recipe=short), seeds=2, out=folder, progress=False
        ...     )
        >>> result.last.n
        2

    References:
        Section 5, which chooses the Parzen window's bandwidth in the same way; Table 1.
    """
    request = Request(
        seed=seed,
        seeds=seeds,
        learning_rates=tuple(learning_rates),
        out=out,
        data_dir=data_dir,
        resume=resume,
        devices=devices,
        monitor=monitor,
    )
    result = execute(prepare(benchmark, request), progress=progress)
    assert not isinstance(result, Result)
    return result


def execute(
    grid: Grid, *, progress: bool = True, watch: bool = False
) -> Result | SeedsResult | SweepResult:
    """Does the work of prepared runs; see [`advnets.bench.run`][] and [`advnets.bench.run_grid`][].

    Args:
        grid: the runs.
        progress: show progress.
        watch: also write `report.html` after each evaluation.

    Returns:
        The content of `results.json` in the grid's folder.
    """
    with grid.locks:
        try:
            found = _execute(grid, progress=progress, live=watch)
        except BaseException:
            if is_main_process():
                with contextlib.suppress(Exception):  # report what stopped the run, not this
                    pages.write_report(grid.folder)
            raise
        if is_main_process():
            pages.write_report(grid.folder)
        return found


def _execute(grid: Grid, *, progress: bool, live: bool) -> Result | SeedsResult | SweepResult:
    runs, write = grid.runs, _live(grid) if live else None
    if write is not None:
        runs = tuple(dataclasses.replace(run, callbacks=(*run.callbacks, write)) for run in runs)
    system = runs[0].system
    with system.context():
        watches = [
            Watch(run.system.settings, run.data, run.folder, run.system.sample_key(run.seed), write)
            for run in runs
        ]
        if not grid.together:
            fitted = system.fit(runs[0], watches[0], progress=progress)
            _signals.check()
            return finish(runs[0], watches[0], fitted, None, progress=progress)
        outcomes = system.fit_together(runs, watches, grid.folder, progress=progress)
        _signals.check()
        real = score_training_images(runs[0])
        found = [
            None if one is None else finish(run, watch, one, real, progress=progress)
            for run, watch, one in zip(runs, watches, outcomes, strict=True)
        ]
    if not any(found):
        raise advnets.TrainingDiverged("training diverged in each run")
    pairs = list(zip(runs, found, strict=True))
    if grid.learning_rates:
        return sweep_result(grid.folder, grid.learning_rates, pairs)
    return seeds_result(grid.folder, pairs)


def _live(grid: Grid) -> Callable[..., None]:
    """A function that writes the report during training, once per epoch for all runs."""
    last_epoch = [0]

    def tell(snapshot: advnets.training.Snapshot | None = None) -> None:
        if grid.together and snapshot is not None:
            if snapshot.epoch == last_epoch[0]:
                return
            last_epoch[0] = snapshot.epoch
        try:
            pages.write_report(grid.folder, live=True)
        except (ValueError, OSError) as error:  # a failing report does not stop a run
            _warnings.warn(f"no report was written ({error})")

    return tell


def score_training_images(run: Run) -> Score:
    """The reference row of every result: real training images scored in place of samples.

    Args:
        run: a prepared run.

    Returns:
        Their score.
    """
    settings = run.system.settings
    preprocess = on_host(settings.preprocessing)
    return score(preprocess(run.data.train[: settings.num_samples]), run.data, preprocess)


def finish(
    run: Run,
    watch: Watch,
    fitted: Fitted,
    training_images: Score | None,
    *,
    progress: bool = True,
) -> Result:
    """Scores and draws a fitted run, and writes its `results.json`.

    Args:
        run: the run.
        watch: its watch, which draws its samples.
        fitted: its fitted system.
        training_images: the result of [`advnets.bench.experiment.score_training_images`][], if it
            is known.
        progress: show progress.

    Returns:
        The content of `results.json`.
    """
    system, data, folder = run.system, run.data, run.folder
    settings, preprocess = system.settings, on_host(system.settings.preprocessing)
    progress = progress and is_main_process()
    epochs = len(fitted.metrics)
    best = best_row(msgspec.convert(fitted.metrics, list[Measured]))
    if best is None:
        raise ValueError(
            f"{run.name}: no epoch has a validation likelihood; its system's fit must call its "
            "watch with the model after the last epoch, and return the rows of metrics"
        )
    barrier("the best model is written")
    if is_main_process():
        with _progress.stage("drawing", enabled=progress):
            _draw(run, watch, fitted)
    _signals.check()
    check_model(folder, best)
    best_model = system.load(folder / best_name(best.epoch), data.train.shape[1:])
    samples = watch.samples(epochs, fitted.model)
    last = score(samples, data, preprocess, progress=progress and "scoring the last epoch")
    _signals.check()
    of_best = score(
        watch.samples(best.epoch, best_model),
        first_fold(data, proper_folds=settings.proper_folds),
        preprocess,
        progress=progress and "scoring the best epoch",
    )
    _signals.check()
    with _progress.stage("scoring real training images", enabled=progress):
        real = training_images or score_training_images(run)
    _signals.check()
    subject = Subject(
        fitted.model,
        watch.key,
        lambda rows: _first(samples, rows),
        data,
        preprocess,
        folder,
        progress,
    )
    every = {**EVALUATIONS, **system.evaluations}
    found = {name: evaluation.measure(subject) for name, evaluation in every.items()}
    result = Result(
        benchmark=run.name,
        seed=run.seed,
        recipe=results.as_json(settings),
        epochs=epochs,
        updates=fitted.updates,
        # A run with nothing left to do keeps its recorded rate.
        updates_per_second=fitted.updates_per_second or _earlier_rate(folder),
        first_stage=run.first_stage,
        order=system.order(),
        parzen=last,
        best=Best(best.epoch, of_best),
        references=References(Reference.of(real), recorded_centroids(settings), _published(run)),
        caveat=CAVEAT,
        memorisation=found.pop("memorisation", None),
        data=data.source,
        provenance=run.provenance,
        evaluations=found,
        data_sha256=run.data_sha256,
        changes=(*run.changes, *fitted.changes),
        files=digests(folder, best.epoch) if is_main_process() else {},
    )
    if is_main_process():
        results.write(folder / RESULTS, result)
    return result


def _first(samples: Samples, rows: int) -> Float[np.ndarray, " n *shape"]:
    if isinstance(samples, np.ndarray):
        return samples[:rows]
    blocks: list[np.ndarray] = []
    for number in range(len(samples)):
        blocks.append(np.asarray(samples[number]))
        if sum(map(len, blocks)) >= rows:
            break
    return np.concatenate(blocks)[:rows]


def _draw(run: Run, watch: Watch, fitted: Fitted) -> None:
    """Saves the last model, and draws Figures 2 and 3 and the curves."""
    settings, model = run.system.settings, fitted.model
    watch.draw(model, len(fitted.metrics))
    if isinstance(model, advnets.Model):
        advnets.paper_figures.figure_3(
            run.folder / "interpolations.png",
            watch.key,
            model,
            lines=LINES,
            steps=STEPS,
            picture=pictured(settings, LINES * STEPS),
        )
    advnets.save_model(run.folder / LAST, model)
    title = f"{run.called}, {run.system.title()}, seed {run.seed}"
    advnets.figures.curves(run.folder / "curves.png", fitted.metrics, title=title)
    if any(row.get("monitor") for row in fitted.metrics):
        advnets.monitor.figure(run.folder / "monitor.png", fitted.metrics, title=title)


def _published(run: Run) -> Published | None:
    known = BENCHMARKS.get(run.name)
    usual = known is None or known.recipe.dataset == run.system.settings.dataset
    return Published(*run.published) if run.published and usual else None


def _earlier_rate(folder: Path) -> float | None:
    path = folder / RESULTS
    if not path.exists():
        return None
    with can_be_remade("the resumed run writes it again"):
        return results.read(path, Result).updates_per_second
