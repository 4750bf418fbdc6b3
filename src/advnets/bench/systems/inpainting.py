"""Networks that fill in: the game on pairs (image, mask), and the quality of fillings.

The players are those of a recipe, with the observed pixels and the mask as further inputs; with
`channels`, the generator is an [`advnets.unet.UNet`][].
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Key, UInt8

import advnets
from advnets import _files, _progress, energy, inpainting
from advnets._counts import check_count
from advnets.algorithms import Algorithm
from advnets.baselines.fillers import (
    BaselineFiller,
    NearestImages,
    NormalConditional,
    RandomImages,
)
from advnets.bench import recipes
from advnets.bench.evaluations import Evaluation, Subject
from advnets.bench.folders import SAMPLES
from advnets.bench.frames import mosaic, png, write_sheet
from advnets.bench.protocol import on_host
from advnets.bench.recipes import Recipe, algorithm_of
from advnets.bench.results import FirstStage, Json
from advnets.bench.settings import Settings
from advnets.bench.systems.adversarial import Adversarial
from advnets.bench.systems.base import Fitted, Run
from advnets.bench.systems.rows import mean_of
from advnets.bench.watching import Watch
from advnets.players import Player
from advnets.training.devices import is_main_process
from advnets.unet import unet_generator

# Test images that are filled in, fillings of each, and validation images filled in during training.
ROWS, FILLINGS, VALIDATION_ROWS = 1000, 10, 200
# Images of each region in the picture, and fillings of each.
SHOWN, SHOWN_FILLINGS = 5, 5
PICTURE = "fillings.png"
# The minimum width of an image in the picture.
LEAST_PIXELS = 28
# Test images for the page, on which the reader paints masks.
TEST_SHEET, TEST_IMAGES, TEST_COLUMNS = f"{SAMPLES}/test.png", 60, 10
RIDGE = 0.01

Images: TypeAlias = Float[np.ndarray, " rows *shape"]
Region: TypeAlias = Callable[[np.random.Generator, int, tuple[int, ...]], np.ndarray]


@dataclasses.dataclass(frozen=True)
class InpaintingRecipe(Recipe):
    """A recipe whose players fill in the missing part of an image.

    Raises:
        ValueError: for a setting out of range.
    """

    reconstruction: float = 0.0
    """Weight λ of the mean squared error of the missing pixels in the generator's cost."""
    energy: float = 0.0
    """Weight μ of the energy score of two fillings in the generator's cost."""

    def __post_init__(self) -> None:
        Recipe.__post_init__(self)
        if self.preprocessing != "unit":
            raise ValueError(
                f"fillings need pixels in [0, 1]; use --preprocessing unit, got "
                f"{self.preprocessing}"
            )
        of_d = self.discriminator
        if of_d.convolutions or of_d.channels or self.second_stage.epochs:
            raise ValueError(
                "a network that fills in has one stage, and a discriminator with dense layers only"
            )
        inpainting.Inpainting(reconstruction=self.reconstruction, energy=self.energy)


def build_players(
    key: Key[Array, ""], recipe: InpaintingRecipe, images: UInt8[np.ndarray, " n *shape"]
) -> advnets.Players:
    """The players before training: a recipe's, with observed pixels and masks as further inputs.

    Args:
        key: a typed random key.
        recipe: the recipe.
        images: training images, whose shape and mean pixels are used.

    Returns:
        The players; without a mask, samples are those of the unconditional model.

    Raises:
        ValueError: if there is no image.

    Example:
        >>> import jax
        >>> import numpy as np
        >>> from advnets.bench.systems.inpainting import InpaintingRecipe, build_players
        >>> images = np.full((5, 8, 8), 100, np.uint8)
        >>> build_players(jax.random.key(0), InpaintingRecipe(latent_size=50), images).prior
        Uniform(size=50)
    """
    generator_key, discriminator_key = jax.random.split(key)
    shape = images.shape[1:]
    size = math.prod(shape)
    if recipe.generator.channels:
        generator: Player = unet_generator(
            generator_key,
            recipe.latent_size,
            shape,
            channels=recipe.generator.channels,
            hidden_sizes=recipe.generator.hidden_sizes,
            output_bias=advnets.layers.marginal_bias(images),
        )
    else:  # the recipe's, with a longer latent vector
        wide = dataclasses.replace(recipe, latent_size=recipe.latent_size + 2 * size)
        generator = recipes.build_players(generator_key, wide, images).generator
    pair = (2 * size,)
    discriminator = recipes.build_discriminator(discriminator_key, recipe.discriminator, pair)
    return advnets.Players(
        inpainting.Filler(generator),
        inpainting.MaskedDiscriminator(discriminator),
        recipes.PRIORS[recipe.prior](recipe.latent_size),
        inpainting.NothingObserved(shape),
    )


def on_pairs(algorithm: Algorithm, reconstruction: float, energy: float) -> Algorithm:
    """An algorithm for pairs of image and mask.

    Args:
        algorithm: the algorithm for images alone.
        reconstruction: the weight λ in G's cost.
        energy: the weight μ in G's cost.

    Returns:
        The algorithm, with masks drawn in each step.

    Raises:
        ValueError: if a weight is negative or not finite.

    Example:
        >>> import advnets
        >>> from advnets.bench.systems.inpainting import on_pairs
        >>> on_pairs(advnets.Algorithm1(), 0.0, 1.0).fake.twice
        True
    """
    return dataclasses.replace(
        algorithm,
        objective=inpainting.Inpainting(algorithm.objective, reconstruction, energy),
        fake=inpainting.Filled(twice=energy > 0),
    )


def _right_half(rng: np.random.Generator, n: int, shape: tuple[int, ...]) -> np.ndarray:
    masks = np.ones((n, *shape), bool)
    masks[:, :, shape[1] // 2 :] = False
    return masks


def _centre(rng: np.random.Generator, n: int, shape: tuple[int, ...]) -> np.ndarray:
    masks = np.ones((n, *shape), bool)
    rows, columns = (slice(length // 4, length // 4 + length // 2) for length in shape[:2])
    masks[:, rows, columns] = False
    return masks


def _random_half(rng: np.random.Generator, n: int, shape: tuple[int, ...]) -> np.ndarray:
    pixels = math.prod(shape[:2])
    order = rng.permuted(np.tile(np.arange(pixels), (n, 1)), axis=1)
    masks = (order >= pixels // 2).reshape(n, *shape[:2], *[1] * (len(shape) - 2))
    return np.broadcast_to(masks, (n, *shape))


# What is missing, by name: the right half; a central square of half the image's height and width;
# half of the pixels, different ones for each image.
REGIONS: dict[str, Region] = {
    "right half": _right_half,
    "centre": _centre,
    "random half": _random_half,
}


def masks_of(region: str, n: int, shape: tuple[int, ...]) -> Bool[np.ndarray, " n *shape"]:
    """Masks of a region, the same in every call.

    Args:
        region: one of `REGIONS`: `right half`, `centre`, `random half`.
        n: the number of masks.
        shape: the shape of an image.

    Returns:
        The masks, true where observed.

    Raises:
        KeyError: for another region.
        ValueError: for a number below 0, or beyond 32 bits.

    Example:
        >>> from advnets.bench.systems.inpainting import masks_of
        >>> int((~masks_of("centre", 1, (28, 28))).sum())
        196
    """
    check_count("the number of masks", n, least=0)
    return REGIONS[region](np.random.default_rng(0), n, shape)


def scores(
    fillings: Float[np.ndarray, " rows n *shape"], images: Images
) -> dict[str, dict[str, Any]]:
    """Scores of fillings: means over images, with standard errors.

    Args:
        fillings: at least 2 of each image.
        images: the true images.

    Returns:
        `energy`, the energy score; `squared_error`, of the mean filling; `spread`, the sum of the
        pixels' variances over fillings.

    Raises:
        ValueError: for fewer than 2 fillings, or no image.

    Example:
        >>> import numpy as np
        >>> from advnets.bench.systems.inpainting import scores
        >>> found = scores(np.array([[[0.0], [2.0]]]), np.array([[1.0]]))
        >>> found["energy"]["mean"], found["spread"]["mean"]
        (0.0, 2.0)
    """
    return {
        "energy": mean_of(energy.energy_score(fillings, images)),
        "squared_error": mean_of(energy.squared_error_of_mean(fillings, images)),
        "spread": mean_of(energy.spread(fillings)),
    }


def baselines(train: Float[np.ndarray, " train *shape"]) -> dict[str, BaselineFiller]:
    """The baselines that fillings are compared with, fitted to training images.

    Args:
        train: the images, preprocessed.

    Returns:
        `normal`, the conditionals of one normal distribution; `nearest`, the training images
        nearest in the observed pixels; `random`, random training images.

    Raises:
        ValueError: for no training images, or one that is not finite.
    """
    return {
        "normal": NormalConditional(train, RIDGE),
        "nearest": NearestImages(train),
        "random": RandomImages(train),
    }


def baseline_scores(
    train: Float[np.ndarray, " train *shape"], images: Images, *, progress: bool = False
) -> dict[str, Any]:
    """The scores of the baselines' fillings, for each region.

    Args:
        train: training images, preprocessed.
        images: other images.
        progress: show progress.

    Returns:
        The [`advnets.bench.systems.inpainting.scores`][], by region and baseline.

    Raises:
        ValueError: if there is no image, or too few training images.
    """
    fillers = baselines(train)
    found: dict[str, Any] = {}
    for region in REGIONS:
        masks = masks_of(region, len(images), images.shape[1:])
        found[region] = {}
        for name, filler in fillers.items():
            what = f"{region} missing, {name}" if progress else ""
            fillings = filler.fill(np.random.default_rng(1), images, masks, FILLINGS, progress=what)
            found[region][name] = scores(fillings, images)
    return found


class Fillings(Evaluation):
    """Scores of fillings of three regions of 1,000 test images, compared with three baselines."""

    def measure(self, subject: Subject) -> Json:
        model = subject.model
        if not isinstance(model, advnets.Model):
            raise TypeError(f"fillings are of a generator; got {type(model).__name__}")
        images = subject.preprocess(subject.data.test[:ROWS])
        # Not the key of any epoch that is scored.
        key = jax.random.fold_in(subject.key, 0)
        regions: dict[str, Any] = {}
        shown = []
        for number, region in enumerate(REGIONS):
            masks = masks_of(region, len(images), images.shape[1:])
            with _progress.stage(f"filling in: {region}", enabled=subject.progress):
                its_key = jax.random.fold_in(key, number)
                fillings = inpainting.fill(its_key, model, images, masks, FILLINGS)
            regions[region] = {"model": scores(fillings, images)}
            shown.append((images[:SHOWN], masks[:SHOWN], fillings[:SHOWN]))
        if is_main_process():
            write_picture(subject.folder, shown)
        others = baseline_scores(
            subject.preprocess(subject.data.train), images, progress=subject.progress
        )
        for region, found in others.items():
            regions[region] |= found
        return {"rows": len(images), "fillings": FILLINGS, "regions": regions}

    def numbers(self, found: Json) -> Mapping[str, float]:
        return {
            f"energy score, {region}": of_region["model"]["energy"]["mean"]
            for region, of_region in read_regions(found).items()
        }

    def line(self, found: Json) -> str:
        parts = []
        for region, of_region in read_regions(found).items():
            best = min(("normal", "nearest"), key=lambda name: of_region[name]["energy"]["mean"])
            ours, other = (format_energy(of_region[name]) for name in ("model", best))
            parts.append(f"{region} {ours} (best baseline, {NAMES[best]}: {other})")
        return f"Energy score of fillings, lower is better: {'; '.join(parts)}"


# Display names of what is compared.
NAMES = {
    "model": "G's fillings",
    "normal": "normal conditional",
    "nearest": "nearest training images",
    "random": "random training images",
}


def format_energy(found: Mapping[str, Any]) -> str:
    """An energy score as text, such as `2.50 ± 0.02`.

    Args:
        found: what [`advnets.bench.systems.inpainting.scores`][] returned.

    Returns:
        The score with its standard error.
    """
    mean, error = found["energy"]["mean"], found["energy"]["standard_error"]
    return f"{mean:.2f}" + ("" if error is None else f" ± {error:.2f}")


def read_regions(found: Json) -> dict[str, dict[str, dict[str, dict[str, Any]]]]:
    """The scores of fillings, from JSON.

    Args:
        found: what `results.json` has under `fillings`.

    Returns:
        Scores by region and filler.

    Raises:
        ValueError: if a score is missing.
    """
    regions: Any = found.get("regions") if isinstance(found, dict) else None
    try:
        whole = all(
            isinstance(regions[region][name][score]["mean"], int | float)
            and "standard_error" in regions[region][name][score]
            for region in REGIONS
            for name in NAMES
            for score in ("energy", "squared_error", "spread")
        )
    except (KeyError, TypeError):
        whole = False
    if not whole:
        raise ValueError(f"fillings have scores for each region and filler; got {found!r:.200}")
    return regions


def write_picture(folder: Path, shown: Sequence[tuple[Images, np.ndarray, np.ndarray]]) -> None:
    """Writes a picture of fillings: columns observed (grey where missing), fillings, the image.

    Images smaller than those of MNIST are enlarged.

    Args:
        folder: the folder of the file, `fillings.png`.
        shown: images, masks and fillings of each region; the regions are side by side.

    Raises:
        ValueError: as [`advnets.bench.frames.mosaic`][], for arrays that are not images.
    """
    parts: list[np.ndarray] = []
    for images, masks, fillings in shown:
        observed = np.where(masks, images, 0.5)[:, None]
        row = np.concatenate([observed, fillings[:, :SHOWN_FILLINGS], images[:, None]], axis=1)
        gap = max(1, images.shape[1] // 14)
        part = mosaic(row.reshape(-1, *images.shape[1:]), row.shape[1], gap)
        parts += [np.full_like(part[:, : 4 * gap], 255)] if parts else []
        parts.append(part)
    scale = max(1, round(LEAST_PIXELS / shown[0][0].shape[2]))
    picture = np.concatenate(parts, axis=1).repeat(scale, axis=0).repeat(scale, axis=1)
    _files.replace(folder / PICTURE, png(picture))


@dataclasses.dataclass(frozen=True)
class FillingWatch(Watch):
    """A watch that also measures the energy score of validation images' fillings, by region."""

    def __call__(self, epoch: int, model: Any) -> Mapping[str, Any]:
        """The measurements of a model; a ValueError as [`advnets.bench.watching.Watch`][]."""
        found = Watch.__call__(self, epoch, model)
        if not self.measures:
            return found
        images = on_host(self.settings.preprocessing)(self.data.validation[:VALIDATION_ROWS])
        key = jax.random.fold_in(jax.random.fold_in(self.key, epoch), 1)
        energies = {}
        for number, region in enumerate(REGIONS):
            masks = masks_of(region, len(images), images.shape[1:])
            its_key = jax.random.fold_in(key, number)
            fillings = inpainting.fill(its_key, model, images, masks, FILLINGS)
            energies[region] = float(energy.energy_score(fillings, images).mean())
        return {**found, "fillings": energies}


class Inpainting(Adversarial):
    """A network that fills in, trained against a discriminator on pairs of image and mask."""

    settings: InpaintingRecipe
    settings_type: ClassVar[type[Settings]] = InpaintingRecipe
    evaluations: ClassVar[Mapping[str, Evaluation]] = {"fillings": Fillings()}
    monitored: ClassVar[bool] = False  # a monitor's D sees images without masks

    def build(self, key: Key[Array, ""], images: UInt8[np.ndarray, " n *shape"]) -> advnets.Players:
        return build_players(key, self.settings, images)

    def algorithm(self) -> Algorithm:
        return on_pairs(
            algorithm_of(self.settings), self.settings.reconstruction, self.settings.energy
        )

    def adapted(self, data: advnets.data.Dataset) -> advnets.data.Dataset:
        return data  # a U-net takes grey images as they are

    def check(self, data: advnets.data.Dataset, first_stage: FirstStage | None) -> None:
        Adversarial.check(self, data, first_stage)
        if len(data.train) < FILLINGS:
            raise ValueError(
                f"fillings are compared with those from the {FILLINGS} nearest training images; "
                f"{self.settings.dataset} has {len(data.train)} (give more images)"
            )

    def varied(
        self, runs: Sequence[Run]
    ) -> tuple[Algorithm | Callable[[Any], Algorithm], Array | None]:
        algorithm, vary = Adversarial.varied(self, runs)
        if isinstance(algorithm, Algorithm):
            return algorithm, vary
        weights = self.settings.reconstruction, self.settings.energy
        return functools.partial(_at_rate, algorithm, weights), vary

    def fit(self, run: Run, watch: Watch, *, progress: bool) -> Fitted:
        return Adversarial.fit(self, run, _prepared(run, watch), progress=progress)

    def fit_together(
        self, runs: Sequence[Run], watches: Sequence[Watch], folder: Path, *, progress: bool
    ) -> list[Fitted | None]:
        filling = [_prepared(run, watch) for run, watch in zip(runs, watches, strict=True)]
        return Adversarial.fit_together(self, runs, filling, folder, progress=progress)


def _at_rate(
    algorithm: Callable[[Any], Algorithm], weights: tuple[float, float], rate: Any
) -> Algorithm:
    return on_pairs(algorithm(rate), *weights)


def _prepared(run: Run, watch: Watch) -> FillingWatch:
    if is_main_process():
        write_sheet(
            run.folder, run.data.test, name=TEST_SHEET, columns=TEST_COLUMNS, most=TEST_IMAGES
        )
    return FillingWatch(**vars(watch))
