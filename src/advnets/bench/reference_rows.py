"""The reference rows of Table 1: real images, and their centroids, scored as samples."""

import os
from collections.abc import Callable
from pathlib import Path

import msgspec

import advnets
from advnets.bench import results
from advnets.bench.folders import check_writable
from advnets.bench.protocol import on_host, score
from advnets.bench.recorded import recorded
from advnets.bench.results import Provenance, Reference, ReferenceRows, Score
from advnets.bench.settings import Preprocessing, Settings
from advnets.bench.systems import Centroids, Run, System, TrainingImages
from advnets.bench.systems.images import SAMPLES, CentroidSettings
from advnets.bench.watching import Watch


def references(
    dataset: advnets.data.Dataset,
    *,
    preprocessing: Preprocessing = "unit",
    iterations: int = 20,
    seed: int = 0,
    progress: bool = True,
) -> dict[str, Score]:
    """Scores training images, and their k-means centroids, in place of a model's samples.

    Real images are draws from the data's distribution, centroids are not; yet centroids score
    higher. Both rows show how far to trust the likelihood of Table 1.

    Args:
        dataset: the images.
        preprocessing: the preprocessing of the images, as in the recipe to compare with.
        iterations: the maximum number of iterations of Lloyd's algorithm, at least 1.
        seed: the seed of the centroids' initialisation, at random images.
        progress: print k-means' progress.

    Returns:
        `training_images`: the score of the first 10,000 training images, or of all if there are
        fewer. `centroids`: the score of 10,000 centroids, or of a fifth of the number of images if
        that is below 50,000. Each in nats, with its bandwidth.

    Raises:
        ValueError: if `iterations` is below 1.
        OverflowError: for a seed beyond 64 bits.

    Example:
        >>> import advnets
        >>> from advnets import bench
        >>> rows = bench.references(advnets.data.load("digits"), iterations=2, progress=False)
        >>> rows["training_images"].num_samples, rows["centroids"].num_samples
        (1285, 257)

    References:
        Theis, van den Oord and Bethge 2016, "A note on the evaluation of generative models", whose
        centroids score 313 nats on MNIST, and true images 243.
    """
    common = Settings(dataset=dataset.name, preprocessing=preprocessing)
    k_means = CentroidSettings(
        dataset=dataset.name, preprocessing=preprocessing, iterations=iterations
    )
    systems: dict[str, System] = {
        "training_images": TrainingImages(common),
        "centroids": Centroids(k_means),
    }
    found = {}
    for name, system in systems.items():
        run = Run(name, system, seed, Path(), False, dataset, Provenance.here())
        key = system.sample_key(seed)
        watch = Watch(system.settings, dataset, run.folder, key, measures=False)
        fitted = system.fit(run, watch, progress=progress)
        samples = fitted.model.sample(key, SAMPLES)
        found[name] = score(samples, dataset, on_host(preprocessing))
        if name == "centroids":
            found[name] = msgspec.structs.replace(found[name], iterations=fitted.updates)
    return found


def path_of(name: str, out: str | os.PathLike[str] | None) -> Path:
    """The file for the rows of a data set: the given one, or the default."""
    return Path(out or f"runs/references-{name.replace('/', '-')}.json")


def prepare(
    name: str,
    *,
    out: str | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    preprocessing: Preprocessing = "unit",
    iterations: int = 20,
    seed: int = 0,
    image_size: int | None = None,
) -> Callable[[], ReferenceRows]:
    """Checks all that can be checked before the reference rows of a data set are scored.

    Args:
        name: the data set's name, see [`advnets.data.load`][].
        out: the file; by default `runs/references-NAME.json`.
        data_dir: where the data are, see [`advnets.data.load`][].
        preprocessing: the preprocessing of the images.
        iterations: the maximum number of k-means iterations.
        seed: the seed of the centroids' initialisation.
        image_size: the height and width of an image, see [`advnets.data.load`][].

    Returns:
        A function that scores the rows, and writes them with their provenance as JSON.

    Raises:
        OSError: if the file exists, or can't be written.
        ValueError: for a setting out of range, or data that can't be loaded.
    """
    path = path_of(name, out)
    if path.exists():
        raise FileExistsError(f"{path} exists; choose another file with --out")
    if not 0 <= seed < 2**32:
        raise ValueError(f"the seed must be at least 0 and below 2**32; got {seed}")
    CentroidSettings(iterations=iterations)
    origin = Provenance.here()
    dataset = advnets.data.load(name, data_dir, image_size=image_size)
    check_writable(path)

    def work() -> ReferenceRows:
        rows = references(dataset, preprocessing=preprocessing, iterations=iterations, seed=seed)
        result = ReferenceRows(
            dataset=name,
            preprocessing=preprocessing,
            seed=seed,
            training_images=rows["training_images"],
            centroids=rows["centroids"],
            data=dataset.source,
            provenance=origin,
        )
        results.write(path, result)
        return result

    return work


def recorded_centroids(settings: Settings) -> Reference | None:
    """The recorded score of k-means centroids for the settings' data; None if there is none."""
    for result in recorded():
        if isinstance(result, ReferenceRows):
            same = (result.dataset, result.preprocessing)
            if same == (settings.dataset, settings.preprocessing):
                return Reference.of(result.centroids)
    return None
