"""A finished run's generator scored anew, with another number of samples."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import jax

import advnets
from advnets._provenance import provenance
from advnets.bench.folders import RESULTS, read_config, recipe_from
from advnets.bench.recipes import products_in
from advnets.bench.runs import load_generator, samples_of, untouched
from advnets.bench.scoring import CAVEAT, on_host, score_draws, write_json


def rescore(
    folder: str | os.PathLike[str],
    num_samples: int,
    *,
    best: bool = False,
    devices: int = 1,
    data_dir: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Scores a finished run's generator by the run's own protocol, with more or fewer samples.

    The result goes to `parzen-NUM_SAMPLES.json` in the run's folder (`parzen-best-…` for the best
    epoch), never to `results.json`. Stopped, the same call goes on where it was.

    Args:
        folder: the run's.
        num_samples: how many samples to draw, at least 1. None is kept, so memory is no limit.
        best: score the generator of the best epoch by validation likelihood, not of the last one.
        devices: how many devices the samples are spread over, at least 1.
        data_dir: where the run's data are, see [`advnets.data.load`][].
        progress: show a progress bar with the time left.

    Returns:
        What the file holds: `parzen`, in the form that it has in `results.json`; `generator` and
        `epoch`; and where all of it comes from.

    Raises:
        ValueError: if `num_samples` or `devices` is out of range, the data can't be had or aren't
            the run's, or a file of the run is damaged.
        FileNotFoundError: if the folder holds no finished run.
        FileExistsError: if the result is there already.

    Example:
        >>> from advnets import bench
        >>> scored = bench.rescore("runs/digits", 1_000_000)  # doctest: +SKIP
        >>> scored["parzen"]["test"]["mean"]  # doctest: +SKIP
        -12.3

    References:
        Section 5, Table 1. How the likelihood moves with the number of samples: Theis et al. 2016,
        "A note on the evaluation of generative models".
    """
    origin = provenance()
    folder = Path(folder)
    if num_samples < 1:
        raise ValueError(f"the number of samples must be at least 1; got {num_samples}")
    if not 1 <= devices <= jax.local_device_count():
        raise ValueError(
            f"devices must be from 1 to {jax.local_device_count()}, as many as there are; got "
            f"{devices}"
        )
    generator, _ = load_generator(folder, best=best)
    out = folder / f"parzen-{'best-' if best else ''}{num_samples}.json"
    if out.exists():
        raise FileExistsError(f"{out} exists already; remove it to score the samples again")
    stored, results = read_config(folder), json.loads((folder / RESULTS).read_text())
    recipe, seed = recipe_from(stored["recipe"]), stored["seed"]
    data = advnets.data.load(
        recipe.dataset, data_dir, image_size=recipe.image_size, proper_folds=recipe.proper_folds
    )
    if data.source != results["data"]:
        raise ValueError(
            f"{folder} was scored on {results['data']}, and this is {data.source}; name the run's "
            "data with --data-dir"
        )
    epoch = results["best"]["epoch"] if best else results["epochs"]
    notes = folder / f"{out.stem}-unfinished"
    with products_in(recipe):
        scored = score_draws(
            samples_of(seed, recipe, generator, epoch, num_samples),
            untouched(data, recipe) if best else data,
            on_host(recipe.preprocessing),
            devices=jax.local_devices()[:devices],
            notes=notes,
            progress=progress,
        )
    result = {
        "benchmark": stored["benchmark"],
        "seed": seed,
        "generator": "best epoch on validation" if best else "last epoch",
        "epoch": epoch,
        "parzen": scored,
        "caveat": CAVEAT,
        "data": data.source,
        "run": results["provenance"],
        "provenance": origin,
    }
    write_json(out, result)
    shutil.rmtree(notes)
    return result
