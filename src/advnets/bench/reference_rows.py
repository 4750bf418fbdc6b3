"""The reference rows of Table 1: what real images, and their centroids, score as samples."""

import os
from pathlib import Path
from typing import Any

import numpy as np

import advnets
from advnets._provenance import provenance
from advnets.bench.recipes import Preprocessing, Recipe
from advnets.bench.recorded import recorded
from advnets.bench.scoring import on_host, score, write_json

SAMPLES = 10_000


def references(
    dataset: advnets.data.Dataset,
    *,
    preprocessing: Preprocessing = "unit",
    iterations: int = 20,
    seed: int = 0,
    progress: bool = True,
) -> dict[str, Any]:
    """Scores training images, and k-means centroids of them, in the place of a model's samples.

    Real images are draws from the data's distribution, centroids are not; yet centroids score
    higher. Both rows say how far to trust the likelihood of Table 1.

    Args:
        dataset: the images.
        preprocessing: what the images go through first, as in the recipe to compare with.
        iterations: the most rounds of Lloyd's algorithm, at least 1.
        seed: the seed of the centroids' start, which is at random images.
        progress: print k-means' progress.

    Returns:
        `training_images`: the score of the first 10,000 training images, or of all where there are
        fewer. `centroids`: the score of 10,000 centroids, or of a fifth as many as images where
        there are fewer than 50,000. Each in nats, with its bandwidth.

    Raises:
        ValueError: if `iterations` is below 1.

    Example:
        >>> import advnets
        >>> from advnets import bench
        >>> rows = bench.references(advnets.data.load("digits"), iterations=2, progress=False)
        >>> rows["training_images"]["num_samples"], rows["centroids"]["num_samples"]
        (1285, 257)

    References:
        Theis, van den Oord and Bethge 2016, "A note on the evaluation of generative models", whose
        centroids score 313 nats on MNIST, and true images 243.
    """
    if iterations < 1:
        raise ValueError(f"k-means needs at least 1 iteration; got {iterations}")
    from sklearn.cluster import KMeans

    preprocess = on_host(preprocessing)
    train = preprocess(dataset.train)
    k_means = KMeans(
        n_clusters=min(SAMPLES, len(train) // 5),
        init="random",
        n_init=1,
        max_iter=iterations,
        random_state=seed,
        verbose=int(progress),
    )
    k_means.fit(train.reshape(len(train), -1))
    centroids = k_means.cluster_centers_.reshape(-1, *train.shape[1:]).astype(np.float32)
    return {
        "training_images": score(train[:SAMPLES], dataset, preprocess),
        "centroids": score(centroids, dataset, preprocess) | {"iterations": int(k_means.n_iter_)},
    }


def record(
    name: str,
    *,
    out: str | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    preprocessing: Preprocessing = "unit",
    iterations: int = 20,
    seed: int = 0,
) -> dict[str, Any]:
    """Scores the reference rows of a data set and writes them, with their provenance, as JSON."""
    path = Path(out or f"runs/references-{name.replace('/', '-')}.json")
    if path.exists():
        raise FileExistsError(f"{path} exists; choose another file with --out")
    if not 0 <= seed < 2**32:
        raise ValueError(f"the seed must be at least 0 and below 2**32; got {seed}")
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset = advnets.data.load(name, data_dir)
    rows = references(dataset, preprocessing=preprocessing, iterations=iterations, seed=seed)
    facts = {"dataset": name, "preprocessing": preprocessing, "seed": seed}
    result = {**facts, **rows, "data": dataset.source}
    write_json(path, result | {"provenance": provenance()})
    return result


def recorded_centroids(recipe: Recipe) -> dict[str, Any] | None:
    """The recorded score of k-means centroids for a recipe's data, in short form; None without."""
    for result in recorded():
        same = (result.get("dataset"), result.get("preprocessing"))
        if same == (recipe.dataset, recipe.preprocessing):
            return {**result["centroids"], **result["centroids"]["test"]}
    return None
