"""A small classifier of a benchmark's images, which decides the class of a sample.

It is fitted to training rows only, by [`advnets.training.fit`][]; its error on test rows is
reported with every result that it is used for.
"""

import dataclasses
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Integer, Key, PyTree, Real

import advnets
from advnets import _files, _progress
from advnets.bench.evaluations import Subject
from advnets.bench.folders import can_be_remade
from advnets.conditions import check_labels
from advnets.layers import Dropout
from advnets.networks import Reshape
from advnets.preprocessing import to_unit_interval
from advnets.training import Learner, fit
from advnets.training.devices import is_main_process

# The classifier of a run, in its folder.
CLASSIFIER = "classifier.safetensors"
# Hidden units, and the probability that dropout keeps a pixel, or a unit, in training.
UNITS, INPUT_KEEP, HIDDEN_KEEP = 500, 0.9, 0.5
# The initial learning rate.
LEARNING_RATE = 3e-3
# Images that are classified at once.
BLOCK = 10_000
# On small data such as the digits an epoch has few updates, so there is a minimum in total.
EPOCHS, LEAST_UPDATES, BATCH = 8, 2_000, 100


def new_classifier(
    key: Key[Array, ""],
    shape: tuple[int, ...],
    classes: int,
) -> eqx.nn.Sequential:
    """A classifier before it is fitted: a rectified linear layer with dropout, then logits.

    Args:
        key: a typed random key.
        shape: the shape of an image.
        classes: the number of classes.

    Returns:
        A module that maps an image to a logit for each class. Weights are initialised uniformly in
        ±√(6 / inputs), those of the logits at 0.

    Raises:
        ValueError: for a size out of range.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from advnets.bench.classifier import new_classifier
        >>> new_classifier(jax.random.key(0), (8, 8), 10)(jnp.zeros((8, 8))).tolist() == [0.0] * 10
        True
    """
    pixels = int(np.prod(shape))
    hidden, logits = jax.random.split(key)
    return eqx.nn.Sequential(
        [
            Reshape((pixels,)),
            Dropout(INPUT_KEEP),
            advnets.layers.linear(hidden, pixels, UNITS, (6 / pixels) ** 0.5),
            eqx.nn.Lambda(jax.nn.relu),
            Dropout(HIDDEN_KEEP),
            advnets.layers.linear(logits, UNITS, classes, 0.0),
        ]
    )


def cross_entropy(
    key: Key[Array, ""], model: eqx.nn.Sequential, memory: PyTree, batch: tuple[Array, Array]
) -> tuple[Float[Array, ""], PyTree, dict[str, Float[Array, ""]]]:
    """A classifier's cost, with the signature that [`advnets.training.fit`][] expects.

    Args:
        key: the key of dropout.
        model: the classifier.
        memory: unused; it is returned unchanged.
        batch: images and their labels.

    Returns:
        The mean negative log probability of the labels, in nats; the memory; an empty dictionary.
    """
    images, labels = batch
    keys = jax.random.split(key, len(images))
    logits = jax.vmap(lambda image, key: model(image, key=key))(images, keys)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return jnp.mean(losses), memory, {}


def fit_classifier(
    key: Key[Array, ""],
    images: Real[np.ndarray, " n *shape"],
    labels: Integer[np.ndarray, " labels"],
    *,
    classes: int | None = None,
    epochs: int | None = None,
) -> eqx.nn.Sequential:
    """Fits a classifier to images: Adam, minibatches of 100, cosine decay of the rate to 0.

    Args:
        key: a typed random key; the same one gives the same classifier.
        images: training images, uint8 or preprocessed floats.
        labels: their classes, from 0 on.
        classes: the number of classes; by default one more than the largest label.
        epochs: the number of epochs; by default 8, or as many as make 2,000 updates if that is
            more.

    Returns:
        The classifier.

    Raises:
        ValueError: for labels of another length or out of range, fewer than 100 images, or a
            setting out of range.
        TrainingDiverged: if a number stops being finite.

    Example:
        >>> import jax
        >>> import numpy as np
        >>> from advnets.bench.classifier import fit_classifier, predict
        >>> labels = np.arange(400) % 2
        >>> images = np.zeros((400, 3, 3), np.float32) + labels[:, None, None]
        >>> model = fit_classifier(jax.random.key(0), images, labels, epochs=5)
        >>> bool((predict(model, images) == labels).all())
        True
    """
    if len(images) != len(labels):
        raise ValueError(
            f"each image needs a label; got {len(images)} images, {len(labels)} labels"
        )
    count = int(labels.max(initial=0)) + 1 if classes is None else classes
    check_labels(labels, count)
    iterations = max(1, len(images) // BATCH)
    if epochs is None:
        epochs = max(EPOCHS, -(-LEAST_UPDATES // iterations))
    build_key, fit_key = jax.random.split(key)
    model = eqx.filter_jit(new_classifier)(build_key, images.shape[1:], count)
    schedule = optax.cosine_decay_schedule(LEARNING_RATE, epochs * iterations)
    learned = fit(
        fit_key,
        model,
        (images, np.asarray(labels, np.int32)),
        learner=Learner(cost=cross_entropy, updates=optax.adam(schedule)),
        epochs=epochs,
        batch_size=BATCH,
        evaluate_every=epochs,
        progress=False,
    )
    return learned.model


@eqx.filter_jit
def _classes(model: eqx.nn.Sequential, images: Real[Array, " n *shape"]) -> Int[Array, " n"]:
    return jnp.argmax(jax.vmap(model)(to_unit_interval(images)), axis=1)


def predict(
    model: eqx.nn.Sequential, images: Real[np.ndarray, " n *shape"]
) -> Int[np.ndarray, " n"]:
    """The most probable class of each image.

    Args:
        model: a fitted classifier.
        images: images like those that it was fitted to.

    Returns:
        The classes.
    """
    blocks = [
        np.asarray(_classes(model, jnp.asarray(images[start : start + BLOCK])))
        for start in range(0, len(images), BLOCK)
    ]
    return np.concatenate(blocks) if blocks else np.zeros(0, np.int32)


@dataclasses.dataclass(frozen=True)
class Judge:
    """The classifier of a run, and its accuracy.

    Attributes:
        model: the classifier.
        sha256: the SHA-256 of its file in the run's folder; empty if this process writes none.
        test_accuracy: the share of test rows that it classifies correctly, in [0, 1].
        test_rows: the number of test rows.
    """

    model: eqx.nn.Sequential
    sha256: str
    test_accuracy: float
    test_rows: int


def judge_of(subject: Subject) -> Judge:
    """The classifier of a run: from its folder if it is there, or else fitted now and saved there.

    It is fitted to the preprocessed training rows, with the same key for every run.

    Args:
        subject: what is evaluated.

    Returns:
        The classifier, with its accuracy on test rows.

    Raises:
        ValueError: if the data have no labels, or the file is damaged.
    """
    data, path = subject.data, subject.folder / CLASSIFIER
    fold = data.folds[0]
    if data.train_labels is None or fold.test_labels is None:
        raise ValueError(
            f"the images of {data.name} have no labels to fit a classifier to; choose other data"
        )
    model = _read(path)
    if model is None:
        with _progress.stage("fitting a classifier", enabled=subject.progress):
            images = subject.preprocess(data.train)
            model = fit_classifier(jax.random.key(0), images, data.train_labels)
        if is_main_process():
            advnets.save_model(path, model)
    found = predict(model, subject.preprocess(data.test))
    return Judge(
        model,
        _files.sha256(path) if path.exists() else "",
        float(np.mean(found == fold.test_labels)),
        len(found),
    )


def _read(path: Path) -> eqx.nn.Sequential | None:
    """The classifier in a file, if there is one."""
    if not path.exists():
        return None
    with can_be_remade("it is fitted again"):
        model = advnets.load_model(path)
        if not isinstance(model, eqx.nn.Sequential):
            kind = type(model).__name__
            raise ValueError(f"{path} holds a {kind}, not a classifier; restore it from a copy")
    return model
