"""The K-logit game with few labels: a classifier trained together with a generator."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree, UInt8

import advnets
from advnets import _progress, few_labels
from advnets.algorithms import Algorithm
from advnets.bench.evaluations import Evaluation, Subject
from advnets.bench.folders import newest_checkpoint
from advnets.bench.results import FirstStage, Json
from advnets.bench.settings import PREPROCESSING, GameSettings, Settings, check_counts
from advnets.bench.systems.base import Fitted, Run
from advnets.bench.systems.games import Game
from advnets.bench.systems.learned import check_pixels
from advnets.bench.systems.rows import mean_of
from advnets.few_labels import SemiSupervised
from advnets.model_files import save_last
from advnets.paper_figures import Sampler
from advnets.players import Player, partition
from advnets.training import Measuring, Snapshot
from advnets.training.checkpoints import check_whole
from advnets.training.devices import is_main_process
from advnets.training.journal import Metrics

# Training images that the classifier's initial scales depend on; images classified at once.
FIRST, BLOCK = 500, 1000


@dataclasses.dataclass(frozen=True)
class FewLabelsSettings(GameSettings):
    """The settings of the K-logit game: the networks of Salimans et al. for MNIST.

    Their code trains for 300 epochs of 600 updates at a rate of 0.003 with a decay of 0.9999, which
    `epochs=360, learning_rate=0.003, decay=0.9999` repeats on the 50,000 training rows. The
    defaults take a ninth of these updates.

    Raises:
        ValueError: for a setting out of range.
    """

    epochs: int = 40
    """Epochs to train."""
    evaluate_every: int = 10
    """Epochs between validation likelihoods, and between checkpoints."""
    labels: int = 100
    """Number of labelled rows, balanced over classes."""
    classes: int = 10
    """K, the number of classes of the data."""
    draw: int | None = None
    """Seed of the draw of labelled rows; by default the run's seed."""
    latent_size: int = 100
    """Number of components of z, which is uniform."""
    hidden_sizes: tuple[int, ...] = (1000, 500, 250, 250, 250)
    """Rectified linear units of the classifier's hidden layers; the last layer's are the
    features."""
    generator_sizes: tuple[int, ...] = (500, 500)
    """Softplus units of the generator's hidden layers."""
    learning_rate: float = 1e-3
    """Learning rate of Adam for both players, constant throughout."""
    decay: float = 0.999
    """Decay of the moving average of the classifier's parameters, per update."""
    weight: float = 1.0
    """Weight of the part of the cost that needs no labels."""
    batch_size: int = 100
    """Number of labelled, of unlabelled and of generated images in an update."""

    def __post_init__(self) -> None:
        GameSettings.__post_init__(self)
        check_counts(
            {
                "the number of latent components": self.latent_size,
                "the number of classes": self.classes,
                "the number of hidden units": min(self.hidden_sizes, default=0),
                "the number of the generator's units": min(self.generator_sizes, default=0),
            }
        )
        if not self.learning_rate > 0:
            raise ValueError(f"the learning rate must be above 0; got {self.learning_rate}")
        if not 0 <= self.decay < 1:
            raise ValueError(f"the average's decay must be in [0, 1); got {self.decay}")
        if not self.weight >= 0:
            raise ValueError(f"the weight of unlabelled rows must be at least 0; got {self.weight}")
        if self.draw is not None and self.draw < 0:
            raise ValueError(f"the seed of the draw must be at least 0; got {self.draw}")


class Errors(Evaluation):
    """The errors of the classifier, with the average of its parameters and without noise.

    They are measured on validation rows and, once at the end, on test rows.
    """

    def measure(self, subject: Subject) -> Json:
        model, fold = subject.model, subject.data.folds[0]
        if not isinstance(model, SemiSupervised):
            raise TypeError(f"errors are measured of a classifier; got {type(model).__name__}")
        found: dict[str, Any] = {}
        for name, images, labels in (
            ("validation", fold.validation, fold.validation_labels),
            ("test", fold.test, fold.test_labels),
        ):
            assert labels is not None  # the settings were checked
            wrong = classified(model, subject.preprocess(images)) != labels
            found[name] = mean_of(wrong.astype(np.float64)) | {"wrong": int(wrong.sum())}
        return found

    def numbers(self, found: Json) -> Mapping[str, float]:
        rows: Any = found
        return {
            f"wrong {name} rows, %": 100 * rows[name]["mean"] for name in ("validation", "test")
        }

    def line(self, found: Json) -> str:
        test = found.get("test") if isinstance(found, dict) else None
        if not (isinstance(test, dict) and isinstance(test.get("mean"), int | float)):
            raise ValueError(f"errors have a number 'mean' under 'test'; got {found!r:.200}")
        return f"Classifier: {test['mean']:.2%} of {test['n']:,} test rows wrong"


def classified(
    model: SemiSupervised, images: Float[np.ndarray, " n *shape"]
) -> Int[np.ndarray, " n"]:
    """The class of each image, in blocks.

    Args:
        model: the classifier.
        images: preprocessed images; at least 1.

    Returns:
        The classes.

    Raises:
        ValueError: if there is no image.
    """
    blocks = [images[first : first + BLOCK] for first in range(0, len(images), BLOCK)]
    if not blocks:
        raise ValueError("there must be at least 1 image to classify; got none")
    return np.concatenate([np.asarray(_classified(model, jnp.asarray(one))) for one in blocks])


class ValidationErrors(Measuring):
    """Measures the averaged classifier's errors on validation rows at every evaluation of a run.

    Each row of metrics gets them as `classifier`, a dictionary of `validation_error`.

    Attributes:
        images: the preprocessed validation images.
        labels: their classes.
        says: whether to print a line for each evaluation.
    """

    def __init__(
        self, images: Float[np.ndarray, " n *shape"], labels: Int[np.ndarray, " n"], says: bool
    ) -> None:
        self.images, self.labels, self.says = images, labels, says

    def measure(self, snapshot: Snapshot, earlier: Sequence[Metrics]) -> Mapping[str, Any]:
        _, *rest = partition(snapshot.players.discriminator)
        average = eqx.combine(snapshot.state.updates["discriminator"].average, *rest)
        model = SemiSupervised(
            snapshot.players.generator, snapshot.players.prior, classifier=average
        )
        error = float(np.mean(classified(model, self.images) != self.labels))
        return {"classifier": {"validation_error": error}}

    def __call__(self, snapshot: Snapshot) -> None:
        error = snapshot.metrics["classifier"]["validation_error"]
        if self.says:
            _progress.say(
                f"epoch {snapshot.epoch}: {error:.2%} of {len(self.labels):,} validation rows wrong"
            )


@eqx.filter_jit
def _classified(model: SemiSupervised, images: Array) -> Array:
    return model.classify(images)


class FewLabelsGame(Game):
    """A discriminator of K logits on few labels, and a generator that matches its features."""

    settings: FewLabelsSettings
    settings_type: ClassVar[type[Settings]] = FewLabelsSettings
    evaluations: ClassVar[Mapping[str, Evaluation]] = {"errors": Errors()}
    minimised: ClassVar[str] = "wrong validation rows, %"
    monitored: ClassVar[bool] = True

    def check(self, data: advnets.data.Dataset, first_stage: FirstStage | None) -> None:
        check_pixels(self.settings)
        fold, labels = data.folds[0], data.train_labels
        if labels is None or fold.validation_labels is None or fold.test_labels is None:
            raise ValueError(
                f"the images of {data.name} have no labels; name a data set that has them"
            )
        classes = int(labels.max()) + 1
        if classes != self.settings.classes:
            raise ValueError(
                f"{data.name} has {classes} classes and the classifier {self.settings.classes}; "
                f"give --classes {classes}"
            )
        few_labels.draw_labelled(labels, self.settings.labels, self.settings.draw or 0)
        Game.check(self, data, first_stage)

    def title(self) -> str:
        drawn = "" if self.settings.draw is None else f", draw {self.settings.draw}"
        return f"{self.settings.labels} labels{drawn}"

    def build(self, key: Key[Array, ""], images: UInt8[np.ndarray, " n *shape"]) -> advnets.Players:
        """Players whose classifier's initial scales depend on the first 500 images."""
        first = PREPROCESSING[self.settings.preprocessing](jnp.asarray(images[:FIRST]))
        return eqx.filter_jit(self._built)(key, first)

    def _built(self, key: Key[Array, ""], images: Float[Array, " n *shape"]) -> advnets.Players:
        recipe = self.settings
        g_key, d_key = jax.random.split(key)
        return advnets.Players(
            few_labels.few_labels_generator(
                g_key, recipe.latent_size, images.shape[1:], hidden_sizes=recipe.generator_sizes
            ),
            few_labels.few_labels_classifier(
                d_key, images, recipe.classes, hidden_sizes=recipe.hidden_sizes
            ),
            advnets.priors.Uniform(recipe.latent_size),
        )

    def _shapes(self, shape: tuple[int, ...]) -> advnets.Players:
        return eqx.filter_eval_shape(self._built, jax.random.key(0), jnp.zeros((2, *shape)))

    def algorithm(self) -> Algorithm:
        """The algorithm on a blank image of each class, instead of a run's labelled rows."""
        classes = self.settings.classes
        return self._on()(
            (jnp.zeros((classes, 1)), jnp.arange(classes), self.settings.learning_rate)
        )

    def algorithm_of(self, run: Run) -> Algorithm:
        return self._on()((*self._labelled(run), self.settings.learning_rate))

    def varied(self, runs: Sequence[Run]) -> tuple[Algorithm | Callable[[Any], Algorithm], PyTree]:
        images, labels = zip(*map(self._labelled, runs), strict=True)
        rates = [_recipe_of(run).learning_rate for run in runs]
        return self._on(), (jnp.stack(images), jnp.stack(labels), jnp.asarray(rates, float))

    def _on(self) -> Callable[[Any], Algorithm]:
        """The algorithm as a function of labelled images, their labels, and the learning rate."""
        recipe = self.settings
        return functools.partial(
            _algorithm_on, decay=recipe.decay, batch_size=recipe.batch_size, weight=recipe.weight
        )

    def _labelled(self, run: Run) -> tuple[Float[Array, " n *shape"], Int[Array, " n"]]:
        """The labelled images of a run, preprocessed, and their labels."""
        data, recipe = run.data, self.settings
        assert data.train_labels is not None  # as checked
        draw = run.seed if recipe.draw is None else recipe.draw
        rows = few_labels.draw_labelled(data.train_labels, recipe.labels, draw)
        images = PREPROCESSING[recipe.preprocessing](jnp.asarray(data.train[rows]))
        return images, jnp.asarray(data.train_labels[rows], int)

    def monitors(
        self, run: Run, keys: Key[Array, "*runs"], *, progress: bool
    ) -> tuple[advnets.training.Callback, ...]:
        fold = run.data.folds[0]
        assert fold.validation_labels is not None  # as checked
        images = PREPROCESSING[self.settings.preprocessing](jnp.asarray(fold.validation))
        errors = ValidationErrors(np.asarray(images), fold.validation_labels, progress)
        return (errors, *Game.monitors(self, run, keys, progress=progress))

    def fitted(self, run: Run, trained: advnets.Trained) -> Fitted:
        classifier = _averaged(run.folder, trained.players.discriminator)
        model = SemiSupervised(trained.generator, trained.players.prior, classifier=classifier)
        if is_main_process():
            save_last(run.folder, model)
        return Fitted.of(model, trained)

    def load(self, path: Path, image_shape: tuple[int, ...]) -> Sampler:
        players = self.players(image_shape)
        plain = advnets.model.model_of(players)
        like = SemiSupervised(plain.generator, plain.prior, classifier=players.discriminator)
        try:
            return advnets.load_model(path, like=like)
        except ValueError as error:  # the best epoch's file holds only a generator
            try:
                return advnets.load_model(path, like=plain)
            except ValueError:
                raise error from None


def _algorithm_on(labelled: tuple[Array, Array, float | Array], **settings: Any) -> Algorithm:
    images, labels, learning_rate = labelled
    return few_labels.few_labels_algorithm(images, labels, learning_rate=learning_rate, **settings)


def _recipe_of(run: Run) -> FewLabelsSettings:
    assert isinstance(run.system, FewLabelsGame)
    return run.system.settings


def _averaged(folder: Path, classifier: Player) -> Player:
    """A classifier with the average of its parameters, which is in the newest checkpoint."""
    newest = newest_checkpoint(folder)
    assert newest is not None  # there is one after the last epoch
    check_whole(newest.place)
    trained, *rest = partition(classifier)
    average = newest.restore("updates['discriminator'].average", trained)
    return eqx.combine(average, *rest)
