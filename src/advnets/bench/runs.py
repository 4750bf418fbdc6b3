"""A run: its training, in one stage or two, its evaluation and its pictures."""

import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, Key
from tqdm import tqdm

import advnets
from advnets._devices import leads, make_mesh, wait
from advnets._provenance import provenance
from advnets.algorithm1 import Player
from advnets.bench.folders import (
    CONFIG,
    FIRST_STAGE,
    LAST,
    METRICS,
    RESULTS,
    best_name,
    best_row,
    check_alone,
    check_same,
    choose,
    config,
    identify_first_stage,
    read_config,
    read_rows,
    recipe_from,
)
from advnets.bench.recipes import (
    BENCHMARKS,
    OBJECTIVES,
    PREPROCESSING,
    Benchmark,
    Recipe,
    build_players,
    build_prior,
    products_in,
    stack,
    update_rule,
)
from advnets.bench.reference_rows import recorded_centroids
from advnets.bench.scoring import (
    CAVEAT,
    SELECTION_ROWS,
    on_host,
    score,
    score_draws,
    write_json,
)
from advnets.training import Evaluate

# Figure 2 has 4 rows of 5 samples; a run shows more.
ROWS, COLUMNS = 8, 10
# Figure 3: lines in z space, and points on each.
LINES, STEPS = 8, 11
# Samples, and held-out images, whose nearest training images are looked up.
MEMORISATION_ROWS = 1000


@dataclasses.dataclass(frozen=True)
class Run:
    """A run that is ready to start: settings checked, data loaded, folder claimed."""

    benchmark: Benchmark
    seed: int
    folder: Path
    resume: bool
    data: advnets.data.Dataset
    first_stage: dict[str, str] | None
    provenance: dict[str, Any]
    devices: int | None = None
    shard_layers: bool = False


def load_data(
    benchmark: Benchmark, data_dir: str | os.PathLike[str] | None
) -> advnets.data.Dataset:
    """A benchmark's data, which are enough for a minibatch.

    Args:
        benchmark: what to load for.
        data_dir: where the data are, see [`advnets.data.load`][].

    Returns:
        The data.

    Raises:
        ValueError: if they can't be had, or are too few.
    """
    recipe = benchmark.recipe
    data = advnets.data.load(
        recipe.dataset, data_dir, image_size=recipe.image_size, proper_folds=recipe.proper_folds
    )
    if len(data.train) < recipe.batch_size * recipe.k:
        raise ValueError(
            f"{recipe.dataset} has {len(data.train)} training rows, too few for {recipe.k} "
            f"minibatches of {recipe.batch_size}; lower the batch size or k"
        )
    return data


def prepare(
    benchmark: Benchmark,
    *,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    first_stage: str | os.PathLike[str] | None = None,
    resume: bool = False,
    devices: int | None = None,
    shard_layers: bool = False,
) -> Run:
    """Checks everything that can be checked before work starts, and claims the run's folder.

    Args:
        benchmark: what to run.
        seed: the seed of everything random, 0 to 2**32 - 1.
        out: the run's folder; a new one under `runs/` unless given.
        data_dir: where the data are, see [`advnets.data.load`][].
        first_stage: of a benchmark in two stages: a finished run of the first one to build on;
            trained first, in the run's folder, unless given.
        resume: continue the run in the folder.
        devices: how many devices to spread each minibatch over, see [`advnets.train`][].
        shard_layers: cut large layers over the devices too, likewise.

    Returns:
        The run, for [`advnets.bench.runs.execute`][].

    Raises:
        ValueError: for a setting out of range, data that can't be had, or resuming with other
            settings.
        OSError: if the folder holds another run, or nothing to resume, or there is no such first
            stage.
    """
    origin = provenance()  # before anything else: a checkout may move during a long run
    recipe = benchmark.recipe
    if not 0 <= seed < 2**32:
        raise ValueError(f"the seed must be at least 0 and below 2**32; got {seed}")
    if first_stage is not None and not recipe.second_stage.epochs:
        raise ValueError(f"{benchmark.name} has one stage; leave out --first-stage {first_stage}")
    folder = choose(benchmark.name, out, resume)
    if resume:
        check_alone(folder)
        check_same(folder, benchmark, seed)
    found = identify_first_stage(folder, first_stage, resume)
    data = load_data(benchmark, data_dir)
    # A recipe may not fit the images, nor a first stage the recipe: before any work.
    shape = data.train.shape[1:]
    like = _like(recipe, shape)
    if found is not None:
        advnets.load_model(Path(found["folder"]) / LAST, like=like)
    make_mesh(devices, "the batch size", recipe.batch_size)
    wait("every process has looked at the folder")
    if leads():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / CONFIG, config(benchmark, seed, shape, found))
    return Run(benchmark, seed, folder, resume, data, found, origin, devices, shard_layers)


def run(
    benchmark: Benchmark,
    *,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    first_stage: str | os.PathLike[str] | None = None,
    resume: bool = False,
    devices: int | None = None,
    shard_layers: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Trains, evaluates and draws a benchmark, as the command line does.

    The folder then holds `config.json`, `metrics.jsonl`, `results.json`, `samples.png` (Figure 2),
    `interpolations.png` (Figure 3), `memorisation.png`, `curves.png`, `checkpoints/`, and the
    generators of the last epoch and of the best one by validation likelihood
    (`generator-epoch-N.safetensors`); for a benchmark in two stages, also `first-stage/`.

    Args:
        benchmark: what to run: one of [`advnets.bench.BENCHMARKS`][], or your own.
        seed: the seed of everything random, 0 to 2**32 - 1.
        out: the run's folder; a new one under `runs/` unless given.
        data_dir: where the data are, see [`advnets.data.load`][].
        first_stage: of a benchmark in two stages: a finished run of the first one to build on.
        resume: continue the run in the folder.
        devices: how many devices to spread each minibatch over, see [`advnets.train`][].
        shard_layers: cut large layers over the devices too, likewise.
        progress: show progress.

    Returns:
        What `results.json` holds.

    Raises:
        ValueError: for a setting out of range, data that can't be had, or resuming with other
            settings.
        OSError: if the folder holds another run, or nothing to resume, or there is no such first
            stage.
        TrainingDiverged: if a cost or a gradient stops being finite.

    Example:
        >>> import dataclasses, tempfile
        >>> from advnets import bench
        >>> digits = bench.BENCHMARKS["digits"]
        >>> short = dataclasses.replace(digits.recipe, epochs=2, num_samples=100)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     results = bench.run(
        ...         dataclasses.replace(digits, recipe=short), out=folder, progress=False
        ...     )
        >>> results["updates"]
        24

    References:
        Section 5 and Table 1.
    """
    prepared = prepare(
        benchmark,
        seed=seed,
        out=out,
        data_dir=data_dir,
        first_stage=first_stage,
        resume=resume,
        devices=devices,
        shard_layers=shard_layers,
    )
    return execute(prepared, progress=progress)


def execute(run: Run, *, progress: bool = True) -> dict[str, Any]:
    """Does the work of a prepared run; see [`advnets.bench.run`][]."""
    recipe, folder, data = run.benchmark.recipe, run.folder, run.data
    with products_in(recipe):
        keys = _stage_keys(run.seed, second=False)
        players, epochs = build_players(keys[0], recipe, data.train), recipe.epochs
        if recipe.second_stage.epochs:
            if run.first_stage is None:
                top = _train(run, keys, folder / FIRST_STAGE, *players, epochs, progress).generator
            else:
                top = advnets.load_model(Path(run.first_stage["folder"]) / LAST, like=players[0])
            keys = _stage_keys(run.seed, second=True)
            assert isinstance(top, eqx.nn.Sequential)  # as the recipe builds it
            _, discriminator = build_players(keys[0], recipe, data.train)
            players = stack(keys[3], recipe, top), discriminator
            epochs = recipe.second_stage.epochs
        trained = _train(run, keys, folder, *players, epochs, progress)
        return finish(run, keys, trained, like=players[0], progress=progress)


def score_training_images(run: Run) -> dict[str, Any]:
    """The reference row that every result is shown beside: real images in the place of samples.

    Args:
        run: a prepared run.

    Returns:
        As [`advnets.bench.scoring.score`][] does.
    """
    recipe, preprocess = run.benchmark.recipe, on_host(run.benchmark.recipe.preprocessing)
    return score(preprocess(run.data.train[: recipe.num_samples]), run.data, preprocess)


def finish(
    run: Run,
    keys: Key[Array, " keys"],
    trained: advnets.Trained,
    *,
    like: Player,
    training_images: dict[str, Any] | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Evaluates and draws a trained run, and writes its `results.json`.

    Args:
        run: the run.
        keys: its last stage's keys; the third one is the samples'.
        trained: its last stage.
        like: a generator of that stage's structure.
        training_images: what [`advnets.bench.runs.score_training_images`][] gives, if it is known.
        progress: show progress.

    Returns:
        What `results.json` holds.
    """
    recipe, folder, data = run.benchmark.recipe, run.folder, run.data
    prior, preprocess = build_prior(recipe), on_host(recipe.preprocessing)
    progress = progress and leads()
    epochs = len(trained.metrics)
    _, _, samples_key = keys[:3]
    wait("the best generator is written")
    if leads():
        _pictures(samples_key, folder, trained.generator, recipe, data)
        advnets.figure_3(
            folder / "interpolations.png",
            samples_key,
            trained.generator,
            prior,
            lines=LINES,
            steps=STEPS,
            picture=_shown(recipe, LINES * STEPS),
        )
    best = best_row(trained.metrics)
    assert best is not None  # the last epoch is always evaluated
    best_generator = advnets.load_model(folder / best_name(best["epoch"]), like=like)
    samples = _samples(samples_key, trained.generator, epochs, recipe)
    best_samples = _samples(samples_key, best_generator, best["epoch"], recipe)
    rows: dict[str, Callable[[], dict[str, Any]]] = {
        "last": lambda: score_draws(samples, data, preprocess, progress=progress),
        "best": lambda: score_draws(
            best_samples, untouched(data, recipe), preprocess, progress=progress
        ),
        "training_images": lambda: training_images or score_training_images(run),
    }
    bar = tqdm(rows.items(), desc="scoring", unit=" rows of the table", disable=not progress)
    scores = {name: scored() for name, scored in bar}
    memorisation = advnets.memorisation.memorisation(
        samples.first(MEMORISATION_ROWS),
        preprocess(data.train),
        preprocess(data.validation[:MEMORISATION_ROWS]),
    )
    if leads():
        advnets.figures.memorisation(folder / "memorisation.png", memorisation)

    usual = BENCHMARKS.get(run.benchmark.name, run.benchmark).recipe.dataset == recipe.dataset
    published = run.benchmark.published if usual else None
    results = {
        "benchmark": run.benchmark.name,
        "seed": run.seed,
        "recipe": dataclasses.asdict(recipe),
        "epochs": epochs,
        "updates": trained.updates,
        # A run that had nothing left to do keeps the rate that it had.
        "updates_per_second": trained.updates_per_second or _earlier_rate(folder),
        "first_stage": run.first_stage,
        "order": recipe.order,
        "parzen": scores["last"],
        "best": {"epoch": best["epoch"], "parzen": scores["best"]},
        "references": {
            # In short form: the score of the test set.
            "training_images": {**scores["training_images"], **scores["training_images"]["test"]},
            "centroids": recorded_centroids(recipe),
            "paper": published and dict(zip(("mean", "standard_error"), published, strict=True)),
        },
        "caveat": CAVEAT,
        "memorisation": {
            name: value
            for name, value in dataclasses.asdict(memorisation).items()
            if np.ndim(value) == 0
        },
        "data": data.source,
        "provenance": run.provenance,
    }
    if leads():
        write_json(folder / RESULTS, results)
    return results


def _train(
    run: Run,
    keys: Key[Array, " 3"],
    folder: Path,
    generator: Player,
    discriminator: Player,
    epochs: int,
    progress: bool,
) -> advnets.Trained:
    """A stage: trains a pair of players in a folder, and evaluates and keeps them on the way."""
    _, train_key, samples_key = keys[:3]
    trained = advnets.train(
        train_key,
        generator,
        discriminator,
        run.data.train,
        epochs=epochs,
        evaluate=evaluator(run, samples_key, folder),
        folder=folder,
        # A run may have been stopped before its training began.
        resume=run.resume and (folder / METRICS).exists(),
        shard_layers=run.shard_layers,
        progress=progress,
        **training_settings(run),
    )
    keep(run, trained, folder)
    return trained


def training_settings(run: Run) -> dict[str, Any]:
    """What a run's recipe says of training, as arguments of [`advnets.train`][].

    Args:
        run: a prepared run.

    Returns:
        Arguments by name; not the number of epochs, which is a stage's own.
    """
    recipe = run.benchmark.recipe
    iterations_per_epoch = len(run.data.train) // (recipe.batch_size * recipe.k)
    generator_updates, discriminator_updates = update_rule(recipe, iterations_per_epoch)
    return {
        "prior": build_prior(recipe),
        "generator_updates": generator_updates,
        "discriminator_updates": discriminator_updates,
        "generator_cost": OBJECTIVES[recipe.objective],
        "k": recipe.k,
        "order": recipe.order,
        "batch_size": recipe.batch_size,
        "preprocess": PREPROCESSING[recipe.preprocessing],
        "evaluate_every": recipe.evaluate_every,
        "devices": run.devices,
    }


def evaluator(run: Run, samples_key: Key[Array, ""], folder: Path) -> Evaluate:
    """What a run does every few epochs: the validation likelihood, the best generator, a picture.

    Args:
        run: a prepared run.
        samples_key: the key of its samples.
        folder: the folder of the stage.

    Returns:
        A function of the epoch and the generator, for [`advnets.train`][].
    """
    recipe, data = run.benchmark.recipe, run.data
    preprocess = on_host(recipe.preprocessing)

    def keep_best(epoch: int, generator: Player, likelihood: float) -> None:
        best = best_row(read_rows(folder / METRICS))  # of the epochs before this one
        if best is None or likelihood > best["validation"]["mean"]:
            # A file for each, and the best before it kept: a run may be resumed from there.
            advnets.save_model(folder / best_name(epoch), generator)
            kept = {best_name(epoch)} | ({best_name(best["epoch"])} if best else set())
            for path in folder.glob(best_name("*")):
                if path.name not in kept:
                    path.unlink()
        _pictures(samples_key, folder, generator, recipe, data)

    def evaluate(epoch: int, generator: Player) -> Mapping[str, Any]:
        samples = _samples(samples_key, generator, epoch, recipe)
        estimate = advnets.parzen.evaluate_draws(
            samples, preprocess(data.validation[:SELECTION_ROWS]), None
        )
        if leads():
            keep_best(epoch, generator, estimate.validation.mean)
        return {
            "validation": dataclasses.asdict(estimate.validation),
            "bandwidth": estimate.bandwidth,
            "at_grid_end": estimate.at_grid_end,
        }

    return evaluate


def keep(run: Run, trained: advnets.Trained, folder: Path) -> None:
    """Writes a trained stage's last generator and draws its curves.

    Args:
        run: the run.
        trained: the stage.
        folder: the folder of the stage.
    """
    if not leads():
        return
    advnets.save_model(folder / LAST, trained.generator)
    recipe = run.benchmark.recipe
    title = (
        f"{run.benchmark.name}, {recipe.order} order, learning rate {recipe.learning_rate:g}, "
        f"seed {run.seed}"
    )
    advnets.figures.curves(folder / "curves.png", trained.metrics, title=title)


def load_generator(
    folder: str | os.PathLike[str], *, best: bool = False
) -> tuple[Player, advnets.Prior]:
    """Opens the generator that a run has left.

    Args:
        folder: the run's folder.
        best: the generator of the best epoch by validation likelihood, not of the last epoch.

    Returns:
        The generator, and the prior of its latent vectors.

    Raises:
        FileNotFoundError: if the folder holds no finished run.
        ValueError: if its files are damaged.

    Example:
        >>> import jax
        >>> import advnets
        >>> from advnets import bench
        >>> generator, prior = bench.load_generator("runs/digits")  # doctest: +SKIP
        >>> advnets.sample(jax.random.key(0), generator, 5, prior=prior).shape  # doctest: +SKIP
        (5, 8, 8)
    """
    folder = Path(folder)
    if not (folder / RESULTS).exists():
        raise FileNotFoundError(f"{folder} holds no {RESULTS}; name the folder of a finished run")
    results = json.loads((folder / RESULTS).read_text())
    path = folder / (best_name(results["best"]["epoch"]) if best else LAST)
    stored = read_config(folder)
    recipe = recipe_from(stored["recipe"])
    like = _like(recipe, tuple(stored["image_shape"]))
    if recipe.second_stage.epochs:
        like = eqx.filter_eval_shape(stack, jax.random.key(0), recipe, like)
    return advnets.load_model(path, like=like), build_prior(recipe)


def samples_of(
    seed: int, recipe: Recipe, generator: Player, epoch: int, num_samples: int
) -> advnets.SampleBlocks:
    """The samples that a run's generator is scored by.

    Args:
        seed: the run's.
        recipe: the run's.
        generator: of the last epoch, or of the best one.
        epoch: which epoch that is.
        num_samples: how many; as many as the recipe says are those of `results.json`.

    Returns:
        The samples in blocks, each drawn when it is asked for.
    """
    _, _, key, *_ = _stage_keys(seed, second=bool(recipe.second_stage.epochs))
    return _samples(key, generator, epoch, dataclasses.replace(recipe, num_samples=num_samples))


def untouched(data: advnets.data.Dataset, recipe: Recipe) -> advnets.data.Dataset:
    """The folds on which a best epoch may be tested.

    It was chosen on the first fold's validation rows; unless the folds are proper, others test on
    them.

    Args:
        data: the run's.
        recipe: the run's.

    Returns:
        The data, with the first fold alone unless all are proper.
    """
    return data if recipe.proper_folds else dataclasses.replace(data, folds=data.folds[:1])


def _stage_keys(seed: int, *, second: bool) -> Key[Array, " keys"]:
    """A stage's keys: for players, training and samples; the second's also for what it adds."""
    key = jax.random.key(seed)
    return jax.random.split(jax.random.fold_in(key, 2), 4) if second else jax.random.split(key, 3)


def _like(recipe: Recipe, shape: tuple[int, ...]) -> Player:
    """The structure of a recipe's generator, of the first stage where it has two."""
    blank = np.zeros((1, *shape), np.uint8)
    like, _ = eqx.filter_eval_shape(
        lambda key: build_players(key, recipe, blank), jax.random.key(0)
    )
    return like


def _earlier_rate(folder: Path) -> float | None:
    path = folder / RESULTS
    return json.loads(path.read_text())["updates_per_second"] if path.exists() else None


def _samples(
    key: Key[Array, ""], generator: Player, epoch: int, recipe: Recipe
) -> advnets.SampleBlocks:
    key = jax.random.fold_in(key, epoch)
    return advnets.sample_blocks(key, generator, recipe.num_samples, prior=build_prior(recipe))


def _shown(recipe: Recipe, samples: int) -> Any:
    """How images become pictures in [0, 1]: by the scale of the samples, which come first."""
    if recipe.preprocessing == "unit":
        return np.asarray

    def picture(images: Float[Array, " n *shape"]) -> Float[np.ndarray, " n *shape"]:
        shown = np.asarray(images)
        return advnets.preprocessing.gcn_picture(shown, float(abs(shown[:samples]).max()) or None)

    return picture


def _pictures(
    key: Key[Array, ""], folder: Path, generator: Player, recipe: Recipe, data: advnets.data.Dataset
) -> None:
    advnets.figure_2(
        folder / "samples.png",
        key,
        generator,
        build_prior(recipe),
        data.train,
        rows=ROWS,
        columns=COLUMNS,
        preprocess=PREPROCESSING[recipe.preprocessing],
        picture=_shown(recipe, ROWS * COLUMNS),
    )
