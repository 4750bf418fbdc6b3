"""Evaluations of conditional models by class: is c obeyed, and how varied are samples?"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import msgspec
import numpy as np
import scipy.special
from jaxtyping import Array, Float, Integer, Key

import advnets
from advnets import _documents, _progress, parzen
from advnets.bench import results
from advnets.bench.classifier import judge_of, predict
from advnets.bench.evaluations import Evaluation, Subject
from advnets.bench.protocol import SELECTION_ROWS
from advnets.bench.results import Json
from advnets.parzen import GridEnd, LogLikelihood
from advnets.players import classes_taken

# The names of these evaluations in a result.
BY_CLASS, PARZEN = "classes", "conditional_parzen"
# Samples of each class: "1000 samples were drawn from each 10 class".
PER_CLASS = 1000
# Mirza and Osindero 2014, Table 1, on MNIST.
PUBLISHED = LogLikelihood(132.0, 1.8, 10_000)


class ClassesFound(msgspec.Struct, frozen=True):
    """Whether a model's samples are of the class asked for, and how much they vary within it.

    Attributes:
        samples: the number of samples of each class.
        agreement: for each class, the share of samples that the classifier gives the class asked
            for.
        test_accuracy: the classifier's accuracy on test rows.
        test_rows: the number of test rows.
        classifier: the SHA-256 of the classifier's file.
        spread: for each class, the standard deviation of samples divided by that of held-out
            images; None if those do not vary.
        nearest: for each class, the median distance of a sample to the nearest other one, divided
            by that of equally many held-out images; None if those are all alike.
    """

    samples: int
    agreement: tuple[float, ...]
    test_accuracy: float
    test_rows: int
    classifier: str
    spread: tuple[float | None, ...]
    nearest: tuple[float | None, ...]

    @property
    def mean(self) -> float:
        """The agreement over all classes."""
        return float(np.mean(self.agreement))

    @property
    def standard_error(self) -> float:
        """Its standard error over samples."""
        rates = np.asarray(self.agreement)
        return float(np.sqrt((rates * (1 - rates)).mean() / (self.samples * len(rates))))


class WindowFound(msgspec.Struct, frozen=True):
    """The score of Parzen windows on the samples of each class, in nats.

    Attributes:
        bandwidth: the bandwidth, chosen on validation rows.
        at_grid_end: which end of the grid it is, if it is one.
        validation: the score of those rows.
        test: the score of all test rows.
    """

    bandwidth: float
    at_grid_end: GridEnd | None
    validation: LogLikelihood
    test: LogLikelihood


class Scores(msgspec.Struct, frozen=True):
    """Parzen log-likelihoods with windows on images of each class, in nats.

    Attributes:
        samples: the number of images of each class.
        conditional: the mean of log p(x|c), with the window on images of each row's own class.
        per_class: the same for the test rows of each class.
        marginal: the mean of log p(x), with one window on the images of all classes.
        accuracy: the share of test rows whose class has the highest log p(x|c).
    """

    samples: int
    conditional: WindowFound
    per_class: tuple[float, ...]
    marginal: WindowFound
    accuracy: float


class ParzenFound(msgspec.Struct, frozen=True):
    """The scores of a conditional model, and of real images in place of its samples.

    Attributes:
        model: the scores of the model's samples.
        images: the scores of training images, as many per class as samples if there are enough.
        published: Mirza and Osindero's number for `marginal`, if the data are MNIST.
    """

    model: Scores
    images: Scores
    published: LogLikelihood | None = None


def samples_by_class(
    key: Key[Array, ""], model: Any, per_class: int
) -> Float[np.ndarray, " classes {per_class} *shape"]:
    """The same number of samples of each class of a conditional model.

    Args:
        key: a typed random key.
        model: an [`advnets.Model`][] whose generator takes labels.
        per_class: the number of samples of each class.

    Returns:
        The samples by class.

    Raises:
        ValueError: for a model without classes, or for no samples.
    """
    classes = classes_taken(model.generator) if isinstance(model, advnets.Model) else None
    if classes is None:
        raise ValueError(f"samples by class need a model that takes labels; got {model!r:.200}")
    labels = np.repeat(np.arange(classes), per_class)
    samples = model.sample(key, len(labels), condition=labels)
    return samples.reshape(classes, per_class, *samples.shape[1:])


class ClassAgreement(Evaluation):
    """Whether a classifier finds samples to be of the class asked for; and how much they vary.

    The classifier is fitted to training rows only ([`advnets.bench.classifier.judge_of`][]).
    """

    def measure(self, subject: Subject) -> Json:
        samples = _samples(subject)
        judge = judge_of(subject)
        agreement = [
            float(np.mean(predict(judge.model, rows) == label))
            for label, rows in enumerate(samples)
        ]
        held_out, labels = _held_out(subject)
        varied = [variety(rows, held_out[labels == label]) for label, rows in enumerate(samples)]
        return results.as_json(
            ClassesFound(
                samples=samples.shape[1],
                agreement=tuple(agreement),
                test_accuracy=judge.test_accuracy,
                test_rows=judge.test_rows,
                classifier=judge.sha256,
                spread=tuple(spread for spread, _ in varied),
                nearest=tuple(nearest for _, nearest in varied),
            )
        )

    def numbers(self, found: Json) -> Mapping[str, float]:
        read = classes_found(found, "a result of classes")
        return {"samples of their class, %": 100 * read.mean}

    def line(self, found: Json) -> str:
        read = classes_found(found, "a result of classes")
        least = int(np.argmin(read.agreement))
        text = (
            f"Classes: {read.mean:.1%} ± {read.standard_error:.1%} of samples are of the class "
            f"asked for, by a classifier that is right on {read.test_accuracy:.1%} of "
            f"{read.test_rows:,} test images; lowest for class {least}, {read.agreement[least]:.1%}"
        )
        for name, ratios in (("vary", read.spread), ("differ from each other", read.nearest)):
            known = [(ratio, label) for label, ratio in enumerate(ratios) if ratio is not None]
            if known:
                ratio, label = min(known)
                text += (
                    f"; within class {label} they {name} least, {ratio:.2f} times as much as "
                    "held-out images"
                )
        return text


def classes_found(found: Json, source: object) -> ClassesFound:
    """The measurements of classes, from JSON; a ValueError that names `source` if damaged."""
    read = _documents.convert(found, ClassesFound, source)
    if not len(read.agreement) == len(read.spread) == len(read.nearest) > 0:
        raise ValueError(f"{source} lacks a number for some class; it is damaged")
    return read


def variety(
    samples: Float[np.ndarray, " samples *shape"], images: Float[np.ndarray, " images *shape"]
) -> tuple[float | None, float | None]:
    """How much samples vary, relative to images: overall, and in the distance to the nearest one.

    Args:
        samples: samples of one class, at least 2.
        images: held-out images of the class, at least 2. The same number of both is used.

    Returns:
        The ratio of the standard deviations (of all pixels together), and that of the median
        distances to the nearest other one; None in place of a ratio to 0.

    Raises:
        ValueError: for fewer than 2 of either.

    Example:
        >>> import numpy as np
        >>> from advnets.bench.systems.by_class import variety
        >>> images = np.arange(6.0)[:, None]
        >>> variety(images / 2, images)
        (0.5, 0.5)

    References:
        A collapse within a class shows here and not in the agreement.
    """
    n = min(len(samples), len(images))
    if n < 2:
        raise ValueError(f"variety needs at least 2 samples and 2 images; got {n}")
    spreads, distances = zip(
        *(_spread_and_nearest(rows[:n]) for rows in (samples, images)), strict=True
    )
    return tuple(  # type: ignore[return-value]
        float(one / other) if other > 0 else None for one, other in (spreads, distances)
    )


def _spread_and_nearest(rows: Float[np.ndarray, " n *shape"]) -> tuple[float, float]:
    flat = rows.reshape(len(rows), -1).astype(np.float64)
    flat = flat - flat.mean(axis=0)  # for numerical precision below
    norms = (flat**2).sum(axis=1)
    squared = norms[:, None] + norms[None] - 2 * flat @ flat.T
    np.fill_diagonal(squared, np.inf)
    nearest = np.sqrt(np.maximum(squared.min(axis=1), 0))
    return float(np.sqrt(norms.mean())), float(np.median(nearest))


class ConditionalParzen(Evaluation):
    """The Parzen log-likelihood given the class, and that of Mirza and Osindero's protocol.

    Windows are on 1,000 samples of each class. The first number scores a row with the window of its
    own class only, p(x|c); the second with all 10,000 samples, p(x), as they did. Each has its own
    bandwidth, chosen on the validation rows that the bandwidth of the run's own score is chosen on.
    The third number is the accuracy of p(x|c) as a classifier of test rows.
    """

    def measure(self, subject: Subject) -> Json:
        samples = _samples(subject)
        with _progress.stage("scoring each class", enabled=subject.progress):
            found = ParzenFound(
                model=_scores(samples, subject),
                images=_scores(_training_images(subject, *samples.shape[:2]), subject),
                published=PUBLISHED if subject.data.name == "mnist" else None,
            )
        return results.as_json(found)

    def numbers(self, found: Json) -> Mapping[str, float]:
        read = parzen_found(found, "a result of conditional_parzen").model
        return {
            "Parzen, own class, nats": read.conditional.test.mean,
            "Parzen, all classes, nats": read.marginal.test.mean,
        }

    def line(self, found: Json) -> str:
        read = parzen_found(found, "a result of conditional_parzen")
        model, images = read.model, read.images
        test = model.conditional.test
        published = ""
        if read.published is not None:
            mean, error = read.published.mean, read.published.standard_error
            published = f", where Mirza and Osindero 2014 have {mean:.0f} ± {error:.1f}"
        error = (model.accuracy * (1 - model.accuracy) / test.n) ** 0.5
        return (
            f"Parzen log-likelihood given the class: {_as_text(model.conditional)} nats, with "
            f"{model.samples:,} samples of each; with those of all classes together "
            f"{_as_text(model.marginal)}{published}. The class with the highest likelihood is the "
            f"right one for {model.accuracy:.1%} ± {error:.1%} of test images. {images.samples:,} "
            f"training images of each class in place of samples: {_as_text(images.conditional)}, "
            f"{_as_text(images.marginal)} and {images.accuracy:.1%}"
        )


def _as_text(window: WindowFound) -> str:
    return f"{window.test.mean:.1f} ± {window.test.standard_error:.1f}"


def _scores(samples: Float[np.ndarray, " classes samples *shape"], subject: Subject) -> Scores:
    """The scores of windows on samples of each class."""
    held_out, labels = _held_out(subject)
    held_out, labels = held_out[:SELECTION_ROWS], labels[:SELECTION_ROWS]
    test_labels = subject.data.folds[0].test_labels
    assert test_labels is not None  # as checked
    test = subject.preprocess(subject.data.test)
    grid = parzen.bandwidth_grid()
    of_validation = log_densities(held_out, samples, grid)
    own, every = _own(of_validation, labels), _mixed(of_validation)
    best = [int(np.argmax(each.mean(axis=1))) for each in (own, every)]
    of_test = log_densities(test, samples, grid[best])
    test_own, test_every = _own(of_test, test_labels)[0], _mixed(of_test)[1]
    right = np.argmax(of_test[:, 0], axis=0) == test_labels
    return Scores(
        samples=samples.shape[1],
        conditional=_window(grid, best[0], own, test_own),
        per_class=tuple(
            float(test_own[test_labels == label].mean()) for label in range(len(samples))
        ),
        marginal=_window(grid, best[1], every, test_every),
        accuracy=float(right.mean()),
    )


def _training_images(
    subject: Subject, classes: int, per_class: int
) -> Float[np.ndarray, " classes images *shape"]:
    """The first training images of each class, the same number of each."""
    labels = subject.data.train_labels
    assert labels is not None  # as checked
    most = min(per_class, int(np.bincount(labels, minlength=classes).min()))
    rows = [np.flatnonzero(labels == label)[:most] for label in range(classes)]
    return np.stack([subject.preprocess(subject.data.train[own]) for own in rows])


def parzen_found(found: Json, source: object) -> ParzenFound:
    """The conditional Parzen scores, from JSON; a ValueError that names `source` if damaged."""
    return _documents.convert(found, ParzenFound, source)


def log_densities(
    points: Float[np.ndarray, " points *shape"],
    samples: Float[np.ndarray, " classes samples *shape"],
    bandwidths: Float[np.ndarray, " bandwidths"],
) -> Float[np.ndarray, " classes bandwidths points"]:
    """The log density of points under a Parzen window on the samples of each class.

    Args:
        points: where to evaluate.
        samples: the windows' centres, by class.
        bandwidths: the windows' standard deviations.

    Returns:
        log p(x|c), in nats, float64.

    Raises:
        ValueError: as [`advnets.parzen.log_density`][].

    Example:
        >>> import numpy as np
        >>> from advnets.bench.systems.by_class import log_densities
        >>> log_densities(np.zeros((1, 2)), np.zeros((3, 5, 2)), np.ones(1)).shape
        (3, 1, 1)
    """
    at = jnp.asarray(points, jnp.float32)
    widths = jnp.asarray(bandwidths, jnp.float32)
    found = [parzen.log_density(at, jnp.asarray(own, jnp.float32), widths) for own in samples]
    return np.stack([np.asarray(one, np.float64) for one in found])


def _own(
    log_p: Float[np.ndarray, " classes bandwidths points"], labels: Integer[np.ndarray, " points"]
) -> Float[np.ndarray, " bandwidths points"]:
    """Each point's log density under its own class's window."""
    return log_p[labels, :, np.arange(len(labels))].T


def _mixed(
    log_p: Float[np.ndarray, " classes bandwidths points"],
) -> Float[np.ndarray, " bandwidths points"]:
    """Each point's log density under one window on all samples, equally many of each class."""
    return scipy.special.logsumexp(log_p, axis=0) - np.log(len(log_p))


def _window(
    grid: Float[np.ndarray, " bandwidths"],
    best: int,
    validation: Float[np.ndarray, " bandwidths points"],
    test: Float[np.ndarray, " rows"],
) -> WindowFound:
    ends: dict[int, GridEnd] = {0: "lowest", len(grid) - 1: "highest"}
    return WindowFound(float(grid[best]), ends.get(best), _mean(validation[best]), _mean(test))


def _mean(rows: Float[np.ndarray, " n"]) -> LogLikelihood:
    n = len(rows)
    return LogLikelihood(float(rows.mean()), float(rows.std() / n**0.5), n)


def _samples(subject: Subject) -> Float[np.ndarray, " classes samples *shape"]:
    """The samples that are measured; their key is not that of any epoch that is scored."""
    key = jax.random.fold_in(subject.key, 0)
    return samples_by_class(key, subject.model, PER_CLASS)


def _held_out(
    subject: Subject,
) -> tuple[Float[np.ndarray, " n *shape"], Integer[np.ndarray, " n"]]:
    labels = subject.data.folds[0].validation_labels
    if labels is None:
        raise ValueError(f"the images of {subject.data.name} have no labels; choose other data")
    return subject.preprocess(subject.data.validation), labels
