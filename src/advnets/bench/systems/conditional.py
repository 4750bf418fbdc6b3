"""Conditional recipes: the game on pairs (image, label), with Mirza and Osindero's players."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import jax
import numpy as np
from jaxtyping import Array, Key, UInt8

import advnets
from advnets import conditional
from advnets.batches import Batch
from advnets.bench.evaluations import Evaluation
from advnets.bench.recipes import PRIORS, GeneratorSpec, Recipe
from advnets.bench.results import FirstStage
from advnets.bench.settings import PREPROCESSING, Settings, check_choice, check_counts
from advnets.bench.systems.adversarial import Adversarial
from advnets.bench.systems.base import Run
from advnets.bench.systems.by_class import BY_CLASS, PARZEN, ClassAgreement, ConditionalParzen
from advnets.conditions import check_labels
from advnets.layers import Dropout, marginal_bias
from advnets.paper_figures import Sampler
from advnets.players import without_dropout
from advnets.training.sources import scale_pixels

Architecture = Literal["mirza-osindero", "concatenated", "projection"]
# The generator's joint layer as printed. The initial ranges are not printed: with the released
# ±0.05, z in the unit cube and dropout leave so little variation that D wins before G has learned a
# class or a shape.
JOINT = GeneratorSpec(hidden_sizes=(1200,), weight_range=0.1, output_range=0.1)


@dataclasses.dataclass(frozen=True)
class BranchSpec:
    """The branches of Mirza and Osindero's players, and other settings that only they have.

    The joint layers of G are `generator.hidden_sizes`. The first of `discriminator.units` sees only
    the pixels; the others are joint.
    """

    latent_units: int = 200
    """G: rectified linear units that see only z."""
    condition_units: int = 1000
    """G: rectified linear units that see only the label."""
    generator_keep: float = 0.5
    """G: probability that dropout keeps a hidden unit in training; samples have no dropout."""
    discriminator_units: int = 50
    """D: maxout units that see only the label."""
    joint_pieces: int = 4
    """D: linear pieces of a joint unit."""


@dataclasses.dataclass(frozen=True)
class ConditionalRecipe(Recipe):
    """The settings of a conditional experiment. The defaults are Mirza and Osindero's.

    Raises:
        ValueError: for a setting out of range.

    References:
        Mirza and Osindero 2014, "Conditional generative adversarial nets", section 4.1.
    """

    # Printed: "uniform distribution within the unit hypercube", with which samples hardly vary
    # within a class (docs/conditional.md), so the default has unit variance, as released for MNIST;
    # batch 100; rate .1, "exponentially decreased down to .000001 with decay factor of 1.00004";
    # momentum .5, "increased up to 0.7"; "Dropout with probability of 0.5 was applied to both the
    # generator and discriminator", here to hidden units, not to z or the label. Not printed, and so
    # taken from the released mnist.yaml: D's initial ranges, when momentum stops rising, the order,
    # dropout of the pixels. Nor is the number of epochs printed: "best estimate of log-likelihood
    # on the validation set was used as stopping point". After 100 epochs, six sevenths of the sum
    # of all learning rates are spent.
    epochs: int = 100
    """Epochs to train."""
    learning_rate_divisor: float = 1.00004
    """What the learning rate is divided by after every discriminator update."""
    generator: GeneratorSpec = JOINT
    classes: int = 10
    """Number of classes; labels start at 0."""
    architecture: Architecture = "mirza-osindero"
    """How the label enters. mirza-osindero: through hidden units of its own, in both players;
    concatenated: with z and with the pixels; projection: with z, and in D by an inner product with
    the last hidden layer (Miyato and Koyama)."""
    branches: BranchSpec = BranchSpec()

    def __post_init__(self) -> None:
        Recipe.__post_init__(self)
        branches, generator, discriminator = self.branches, self.generator, self.discriminator
        check_counts(
            {
                "the number of classes": self.classes,
                "the number of units of a branch": min(
                    branches.latent_units, branches.condition_units, branches.discriminator_units
                ),
                "the number of pieces of a joint unit": branches.joint_pieces,
                "the number of hidden layers of the discriminator": len(self.discriminator.units),
            }
        )
        check_choice("the architecture", self.architecture, get_args(Architecture))
        Dropout(branches.generator_keep)
        plain = (
            not discriminator.convolutions
            and not discriminator.channels
            and discriminator.layers == "maxout"
            and not generator.channels
            and generator.output != "deconvolution"
            and not generator.output_nonzero
            and generator.last_hidden == "relu"
            and not self.second_stage.epochs
        )
        if not plain:
            raise ValueError(
                "conditional players are a rectified linear generator and a maxout discriminator, "
                "fully connected, with one stage; leave out convolutions, channels, "
                "deconvolutions, sigmoid layers, leaky layers, sparse weights and second stages"
            )


def build_conditional(
    key: Key[Array, ""], recipe: ConditionalRecipe, images: UInt8[np.ndarray, " n *shape"]
) -> advnets.Players:
    """The recipe's players before training.

    Args:
        key: a typed random key.
        recipe: the recipe.
        images: training images, whose shape and mean pixels are used.

    Returns:
        The generator with its prior, and the discriminator; both take a label.

    Raises:
        ValueError: if there is no image.

    Example:
        >>> import jax
        >>> import numpy as np
        >>> from advnets.bench.systems.conditional import ConditionalRecipe, build_conditional
        >>> images = np.full((5, 28, 28), 100, np.uint8)
        >>> recipe = ConditionalRecipe(latent_size=50)
        >>> build_conditional(jax.random.key(0), recipe, images).prior
        Uniform(size=50)
    """
    if 0 in images.shape:
        raise ValueError(f"players need at least one training image; got shape {images.shape}")
    g_key, d_key = jax.random.split(key)
    shape, of_g, of_d, branches = (
        images.shape[1:],
        recipe.generator,
        recipe.discriminator,
        recipe.branches,
    )
    common: dict[str, Any] = {
        "classes": recipe.classes,
        "hidden_sizes": of_g.hidden_sizes,
        "weight_range": of_g.weight_range,
        "output": of_g.output,
        "output_range": of_g.output_range,
        "output_bias": marginal_bias(images) if of_g.output == "sigmoid" else 0.0,
    }
    keeps: dict[str, Any] = {
        "classes": recipe.classes,
        "weight_range": of_d.weight_range,
        "input_keep": of_d.input_keep,
        "hidden_keep": of_d.hidden_keep,
        "pieces": of_d.pieces,
    }
    if recipe.architecture == "mirza-osindero":
        generator = conditional.mirza_osindero_generator(
            g_key,
            recipe.latent_size,
            shape,
            latent_units=branches.latent_units,
            condition_units=branches.condition_units,
            keep=branches.generator_keep,
            **common,
        )
        discriminator = conditional.mirza_osindero_discriminator(
            d_key,
            shape,
            units=of_d.units[0],
            condition_units=branches.discriminator_units,
            joint_units=of_d.units[1:],
            joint_pieces=branches.joint_pieces,
            **keeps,
        )
    else:
        projects = recipe.architecture == "projection"
        build: Callable[..., conditional.ConditionalPlayer] = (
            conditional.projection_discriminator
            if projects
            else conditional.conditional_maxout_discriminator
        )
        generator = conditional.conditional_mlp_generator(
            g_key, recipe.latent_size, shape, **common
        )
        discriminator = build(d_key, shape, units=of_d.units, **keeps)
    return advnets.Players(generator, discriminator, PRIORS[recipe.prior](recipe.latent_size))


@dataclasses.dataclass(frozen=True)
class Preprocessed:
    """Preprocesses the images of pairs (images, labels), and leaves the labels unchanged.

    Attributes:
        preprocessing: the name of the preprocessing.
    """

    preprocessing: str

    def __call__(self, batch: Batch) -> Batch:
        """The batch with preprocessed images."""
        images, labels = batch
        return PREPROCESSING[self.preprocessing](images), labels


class Conditional(Adversarial):
    """Conditional players, trained on pairs of an image and its label."""

    settings: ConditionalRecipe
    settings_type: ClassVar[type[Settings]] = ConditionalRecipe
    evaluations: ClassVar[Mapping[str, Evaluation]] = {
        BY_CLASS: ClassAgreement(),
        PARZEN: ConditionalParzen(),
    }

    def check(self, data: advnets.data.Dataset, first_stage: FirstStage | None) -> None:
        check_classes(data, self.settings.classes)
        Adversarial.check(self, data, first_stage)

    def title(self) -> str:
        return f"{self.settings.architecture}, {Adversarial.title(self)}"

    def build(self, key: Key[Array, ""], images: UInt8[np.ndarray, " n *shape"]) -> advnets.Players:
        return build_conditional(key, self.settings, images)

    def source(self, run: Run, *, held_out: bool = False) -> advnets.training.Resident:
        data, fold = run.data, run.data.folds[0]
        images, labels = (data.train, data.train_labels)
        if held_out:
            images, labels = fold.validation, fold.validation_labels
        assert labels is not None  # as checked
        name = self.settings.preprocessing
        return advnets.training.Resident(
            (images, labels.astype(np.int32)),
            scale_pixels if name == "unit" else Preprocessed(name),
        )

    def sampled(self, model: advnets.Model) -> advnets.Model:
        """The model without the generator's dropout, which is for training only."""
        return dataclasses.replace(model, generator=without_dropout(model.generator))

    def players(self, image_shape: tuple[int, ...]) -> advnets.Players:
        players = Adversarial.players(self, image_shape)
        return dataclasses.replace(players, generator=without_dropout(players.generator))

    def load(self, path: Path, image_shape: tuple[int, ...]) -> Sampler:
        # From the file's own structure, as that built from a recipe has no label frequencies.
        return advnets.load_model(path)


def check_classes(data: advnets.data.Dataset, classes: int) -> None:
    """Refuses data whose labels do not fit a number of classes.

    Args:
        data: the data.
        classes: the number of classes.

    Raises:
        ValueError: if a split has no labels, a label out of range, or fewer than 2 of a class.
    """
    fold = data.folds[0]
    for name, labels in (
        ("training", data.train_labels),
        ("validation", fold.validation_labels),
        ("test", fold.test_labels),
    ):
        if labels is None:
            raise ValueError(
                f"the {name} images of {data.name} have no labels, and a conditional game needs "
                "pairs of both; choose a --dataset with labels, such as mnist or digits"
            )
        try:
            check_labels(labels, classes)
        except ValueError as error:
            raise ValueError(f"{data.name}, {name} rows: {error}; change --classes") from None
        # One more bin than labels is enough to find an empty class, however many classes there are.
        counts = np.bincount(labels, minlength=min(classes, len(labels) + 1))
        if counts.min() < 2:
            raise ValueError(
                f"{data.name} has {counts.min()} {name} rows of class {counts.argmin()}, but each "
                f"of the {classes} classes needs 2; lower --classes"
            )
