"""A run: its folder, its training, its evaluation and its pictures."""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from tqdm import tqdm

import advnets
from advnets._provenance import provenance
from advnets.algorithm1 import Player
from advnets.bench.recipes import (
    OBJECTIVES,
    Benchmark,
    DiscriminatorSpec,
    GeneratorSpec,
    Recipe,
    build_players,
    build_prior,
    update_rule,
)
from advnets.bench.scoring import SELECTION_ROWS, score, unit_interval, write_json

# Real images in the place of samples: the first ones, or all where there are fewer.
REFERENCE_ROWS = 10_000
# Figure 2 has 4 rows of 5 samples; a run shows more.
ROWS, COLUMNS = 8, 10
CONFIG, METRICS, RESULTS = "config.json", "metrics.jsonl", "results.json"
LAST = "generator.safetensors"


@dataclasses.dataclass(frozen=True)
class Run:
    """A run that is ready to start: settings checked, data loaded, folder claimed."""

    benchmark: Benchmark
    seed: int
    folder: Path
    resume: bool
    data: advnets.data.Dataset
    provenance: dict[str, Any]


def prepare(
    benchmark: Benchmark,
    *,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    resume: bool = False,
) -> Run:
    """Checks everything that can be checked before work starts, and claims the run's folder.

    Args:
        benchmark: what to run.
        seed: the seed of everything random, 0 to 2**32 - 1.
        out: the run's folder; a new one under `runs/` unless given.
        data_dir: a local mirror of the Hub, see [`advnets.data.load`][].
        resume: continue the run in the folder.

    Returns:
        The run, for [`advnets.bench.runs.execute`][].

    Raises:
        ValueError: for a setting out of range, data that can't be had, or resuming with other
            settings.
        OSError: if the folder holds another run, or nothing to resume.
    """
    origin = provenance()  # before anything else: a checkout may move during a long run
    if not 0 <= seed < 2**32:
        raise ValueError(f"the seed must be at least 0 and below 2**32; got {seed}")
    folder = _folder(benchmark.name, out, resume)
    if resume:
        _check_same(folder, benchmark, seed)
    recipe = benchmark.recipe
    data = advnets.data.load(recipe.dataset, data_dir)
    if len(data.train) < recipe.batch_size * recipe.k:
        raise ValueError(
            f"{recipe.dataset} has {len(data.train)} training rows, too few for {recipe.k} "
            f"minibatches of {recipe.batch_size}; lower the batch size or k"
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / CONFIG, _config(benchmark, seed, data))
    return Run(benchmark, seed, folder, resume, data, origin)


def run(
    benchmark: Benchmark,
    *,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Trains, evaluates and draws a benchmark, as the command line does.

    The folder then holds `config.json`, `metrics.jsonl`, `results.json`, `samples.png`,
    `curves.png`, `checkpoints/`, and the generators of the last epoch and of the best one by
    validation likelihood (`generator-epoch-N.safetensors`).

    Args:
        benchmark: what to run: one of [`advnets.bench.BENCHMARKS`][], or your own.
        seed: the seed of everything random, 0 to 2**32 - 1.
        out: the run's folder; a new one under `runs/` unless given.
        data_dir: a local mirror of the Hub, see [`advnets.data.load`][].
        resume: continue the run in the folder.
        progress: show progress.

    Returns:
        What `results.json` holds.

    Raises:
        ValueError: for a setting out of range, data that can't be had, or resuming with other
            settings.
        OSError: if the folder holds another run, or nothing to resume.
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
    prepared = prepare(benchmark, seed=seed, out=out, data_dir=data_dir, resume=resume)
    return execute(prepared, progress=progress)


def execute(run: Run, *, progress: bool = True) -> dict[str, Any]:
    """Does the work of a prepared run; see [`advnets.bench.run`][]."""
    recipe, folder, data = run.benchmark.recipe, run.folder, run.data
    players_key, train_key, samples_key = jax.random.split(jax.random.key(run.seed), 3)
    prior = build_prior(recipe)
    generator, discriminator = build_players(players_key, recipe, data.train)
    iterations_per_epoch = len(data.train) // (recipe.batch_size * recipe.k)
    generator_updates, discriminator_updates = update_rule(recipe, iterations_per_epoch)

    def evaluate(epoch: int, generator: Player) -> Mapping[str, Any]:
        samples = _draw(samples_key, generator, prior, epoch, recipe)
        estimate = advnets.parzen.evaluate(
            samples, unit_interval(data.validation[:SELECTION_ROWS]), None
        )
        best = _best(_read_rows(folder / METRICS))  # of the epochs before this one
        if best is None or estimate.validation.mean > best["validation"]["mean"]:
            # A file for each, and the best before it kept: a run may be resumed from there.
            advnets.save_model(folder / _best_name(epoch), generator)
            kept = {_best_name(epoch)} | ({_best_name(best["epoch"])} if best else set())
            for path in folder.glob(_best_name("*")):
                if path.name not in kept:
                    path.unlink()
        _picture(folder, samples, data)
        return {
            "validation": dataclasses.asdict(estimate.validation),
            "bandwidth": estimate.bandwidth,
            "at_grid_end": estimate.at_grid_end,
        }

    trained = advnets.train(
        train_key,
        generator,
        discriminator,
        data.train,
        epochs=recipe.epochs,
        prior=prior,
        generator_updates=generator_updates,
        discriminator_updates=discriminator_updates,
        generator_cost=OBJECTIVES[recipe.objective],
        k=recipe.k,
        order=recipe.order,
        batch_size=recipe.batch_size,
        evaluate=evaluate,
        evaluate_every=recipe.evaluate_every,
        folder=folder,
        # A run may have been stopped before its training began.
        resume=run.resume and (folder / METRICS).exists(),
        progress=progress,
    )
    advnets.save_model(folder / LAST, trained.generator)
    title = f"{run.benchmark.name}, {recipe.order} order, seed {run.seed}"
    advnets.figures.curves(folder / "curves.png", trained.metrics, title=title)

    published = run.benchmark.published
    best = _best(trained.metrics)
    assert best is not None  # the last epoch is always evaluated
    best_generator = advnets.load_model(folder / _best_name(best["epoch"]), like=generator)
    drawn = {
        "last": lambda: _draw(samples_key, trained.generator, prior, recipe.epochs, recipe),
        "best": lambda: _draw(samples_key, best_generator, prior, best["epoch"], recipe),
        "training_images": lambda: unit_interval(data.train[:REFERENCE_ROWS]),
    }
    bar = tqdm(drawn.items(), desc="scoring", unit=" rows of the table", disable=not progress)
    scores = {name: score(draw(), data) for name, draw in bar}
    results = {
        "benchmark": run.benchmark.name,
        "seed": run.seed,
        "epochs": recipe.epochs,
        "updates": trained.updates,
        "updates_per_second": trained.updates_per_second,
        "order": recipe.order,
        "parzen": scores["last"],
        "best": {"epoch": best["epoch"], "parzen": scores["best"]},
        "references": {
            # In short form: the score of the test set.
            "training_images": {**scores["training_images"], **scores["training_images"]["test"]},
            "paper": published and dict(zip(("mean", "standard_error"), published, strict=True)),
        },
        "data": data.source,
        "provenance": run.provenance,
    }
    write_json(folder / RESULTS, results)
    return results


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
    path = folder / (_best_name(results["best"]["epoch"]) if best else LAST)
    config = _read_config(folder)
    recipe = _recipe(config["recipe"])
    shape = tuple(config["image_shape"])
    blank = np.zeros((1, *shape), np.uint8)
    like, _ = eqx.filter_eval_shape(
        lambda key: build_players(key, recipe, blank), jax.random.key(0)
    )
    return advnets.load_model(path, like=like), build_prior(recipe)


def _folder(name: str, out: str | os.PathLike[str] | None, resume: bool) -> Path:
    if out is not None:
        folder = Path(out)
    else:
        # runs/mnist, then runs/mnist-2 and so on; resuming takes the latest of them.
        number = 1
        while _default_folder(name, number + resume).exists():
            number += 1
        folder = _default_folder(name, number)
    if resume and not (folder / CONFIG).exists():
        raise FileNotFoundError(
            f"there is no run to resume in {folder}; name its folder with --out"
        )
    if not resume and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(
            f"{folder} is not empty; continue its run with --resume, or choose another with --out"
        )
    return folder


def _default_folder(name: str, number: int) -> Path:
    return Path("runs") / (name if number == 1 else f"{name}-{number}")


def _config(benchmark: Benchmark, seed: int, data: advnets.data.Dataset) -> dict[str, Any]:
    return {
        "benchmark": benchmark.name,
        "seed": seed,
        "image_shape": list(data.train.shape[1:]),
        "recipe": dataclasses.asdict(benchmark.recipe),
    }


def _recipe(stored: dict[str, Any]) -> Recipe:
    """A recipe from its JSON, which has lists for tuples."""

    def build(kind: type, fields: Mapping[str, Any]) -> Any:
        return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()})

    specs = {"generator": GeneratorSpec, "discriminator": DiscriminatorSpec}
    nested = {name: build(kind, stored[name]) for name, kind in specs.items()}
    recipe: Recipe = build(Recipe, stored | nested)
    return recipe


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((folder / CONFIG).read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(f"{folder / CONFIG} can't be read ({error}); the run is damaged") from None
    return config


def _check_same(folder: Path, benchmark: Benchmark, seed: int) -> None:
    """Refuses to resume with settings other than the run's own; only epochs may differ."""

    def flat(value: Any, name: str = "") -> dict[str, Any]:
        if not isinstance(value, dict):
            return {name: value}
        return {
            inner: leaf
            for key, part in value.items()
            for inner, leaf in flat(part, f"{name}.{key}".lstrip(".")).items()
        }

    stored = _read_config(folder)
    wanted = json.loads(json.dumps(dataclasses.asdict(benchmark.recipe)))
    old = flat({"benchmark": stored["benchmark"], "seed": stored["seed"], **stored["recipe"]})
    new = flat({"benchmark": benchmark.name, "seed": seed, **wanted})
    differing = [key for key in old | new if key != "epochs" and old.get(key) != new.get(key)]
    reached = len((folder / METRICS).read_text().splitlines()) if (folder / METRICS).exists() else 0
    if benchmark.recipe.epochs < reached:
        raise ValueError(
            f"{folder} already holds {reached} epochs; ask for as many or more, got --epochs "
            f"{benchmark.recipe.epochs}"
        )
    if differing:
        key = differing[0]
        raise ValueError(
            f"{folder} was run with {key} = {old.get(key)!r}, not {new.get(key)!r}; resume with "
            "the settings that it began with, or choose another folder with --out"
        )


def _read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _best_name(epoch: int | str) -> str:
    return f"generator-epoch-{epoch}.safetensors"


def _best(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    scored = [row for row in rows if "validation" in row]
    return max(scored, key=lambda row: row["validation"]["mean"], default=None)


def _draw(
    key: Key[Array, ""], generator: Player, prior: advnets.Prior, epoch: int, recipe: Recipe
) -> Float[np.ndarray, " n *shape"]:
    key = jax.random.fold_in(key, epoch)
    return advnets.sample(key, generator, recipe.num_samples, prior=prior)


def _picture(
    folder: Path, samples: Float[np.ndarray, " n *shape"], data: advnets.data.Dataset
) -> None:
    shown = samples[: ROWS * COLUMNS]
    rows = max(1, len(shown) // COLUMNS)
    columns = len(shown) // rows
    shown = shown[: rows * columns]
    train = unit_interval(data.train)
    last_column = jnp.asarray(shown[columns - 1 :: columns])
    nearest, _ = advnets.neighbours.nearest(last_column, jnp.asarray(train))
    advnets.figures.samples_with_neighbours(
        folder / "samples.png", shown, train[np.asarray(nearest)], columns=columns
    )
