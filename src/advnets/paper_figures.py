"""Figures 2 and 3 of any model: draw samples, look up neighbours, write the picture."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, Real

from advnets import figures
from advnets.model import Model
from advnets.neighbours import nearest
from advnets.preprocessing import Preprocess, to_unit_interval

# Maps what the generator makes to what is shown, in [0, 1].
Picture = Callable[[Float[Array, " n *data"]], Float[Array, " n *data"]]


@runtime_checkable
class Sampler(Protocol):
    """What examples are drawn from: an [`advnets.Model`][], or a model of your own."""

    def sample(self, key: Key[Array, ""], n: int, /) -> Float[np.ndarray, " n *data"]:
        """Draws independent examples.

        Args:
            key: a typed random key.
            n: the number of examples.

        Returns:
            The examples.
        """
        ...


def as_it_is(images: Float[Array, " n *data"]) -> Float[Array, " n *data"]:
    """The picture of images that are already in [0, 1]: themselves."""
    return images


def figure_2(
    path: figures.StrPath | None,
    key: Key[Array, ""],
    model: Sampler,
    images: Real[Array | np.ndarray, " n *data"],
    *,
    rows: int = 4,
    columns: int = 5,
    preprocess: Preprocess = to_unit_interval,
    picture: Picture = as_it_is,
) -> Any:
    """Figure 2 of a model: fair random draws, and the training images nearest to the last ones.

    Neighbours are looked up among the preprocessed images, the kind that the generator makes. The
    draws are the key's first and only ones: to choose among keys would be to choose among pictures.

    Args:
        path: the PNG file to write; None for a figure that is only returned.
        key: a typed random key.
        model: p_g, of images of shape (height, width), (height, width, 1) or (height, width, 3), or
            any other model that draws such images.
        images: the training images, as in the data set.
        rows: the number of rows; 4 in the paper's MNIST figure.
        columns: the number of samples in a row, to which a column of neighbours is added; 5 in the
            paper's.
        preprocess: maps training images to what the generator was trained on; unless given, divides
            uint8 pixels by 255.
        picture: maps samples and neighbours, all of them at once, to what is shown, in [0, 1];
            unless given, nothing is changed.

    Returns:
        The matplotlib figure, which a notebook displays.

    Raises:
        ValueError: if there are no rows or columns, or too many to draw; if the generator's images
            do not have the shape of the data's, or a value is not finite; if `picture` does not
            give as many images as it gets.

    Example:
        >>> import jax
        >>> import advnets
        >>> images = advnets.data.load("digits").train
        >>> model = advnets.Model(advnets.networks.mlp_generator(jax.random.key(0), 100, (8, 8)))
        >>> key = jax.random.key(1)
        >>> figure = advnets.paper_figures.figure_2("figure-2.png", key, model, images)

    References:
        Figure 2; released code, `show_samples_mnist_paper.py`.
    """
    if rows < 1 or columns < 1:
        raise ValueError(f"got {rows} rows of {columns} columns; ask for at least 1 each")
    figures._check_count(rows, columns + 1)  # before that many are made
    samples = model.sample(key, rows * columns)
    train = jax.jit(preprocess)(jnp.asarray(images))  # in one pass over the data, not several
    if samples.shape[1:] != train.shape[1:]:
        raise ValueError(
            f"the generator's images have shape {samples.shape[1:]} and the training images "
            f"{train.shape[1:]}; give the images that it was trained on, and their preprocess"
        )
    indices, _ = nearest(samples[columns - 1 :: columns], train)
    # Together, so that one scale serves all.
    shown = _shown(picture, jnp.concatenate([jnp.asarray(samples), train[indices]]))
    return figures.samples_with_neighbours(
        path, shown[: len(samples)], shown[len(samples) :], columns=columns
    )


def figure_3(
    path: figures.StrPath | None,
    key: Key[Array, ""],
    model: Model,
    *,
    lines: int = 5,
    steps: int = 11,
    picture: Picture = as_it_is,
) -> Any:
    """Figure 3 of a model: examples along straight lines in z space, one row per line.

    Args:
        path: the PNG file to write; None for a figure that is only returned.
        key: a typed random key.
        model: p_g, of images of shape (height, width), (height, width, 1) or (height, width, 3).
        lines: the number of lines, at least 1.
        steps: the number of images on a line, both ends included; at least 2.
        picture: maps all images to what is shown, in [0, 1]; unless given, nothing is changed.

    Returns:
        The matplotlib figure, which a notebook displays.

    Raises:
        ValueError: if there is no line, or a line has fewer than two points; if there are too many
            to draw, or a value is not finite; if `picture` does not give as many images as it gets.

    Example:
        >>> import jax
        >>> import advnets
        >>> model = advnets.Model(advnets.networks.mlp_generator(jax.random.key(0), 100, (8, 8)))
        >>> figure = advnets.paper_figures.figure_3("figure-3.png", jax.random.key(1), model)

    References:
        Figure 3.
    """

    figures._check_count(lines, steps)  # before that many are made
    found = eqx.filter_jit(lambda model, key: model.interpolate(key, lines, steps))(model, key)
    shown = _shown(picture, found.reshape(-1, *found.shape[2:]))
    return figures.interpolations(path, shown.reshape(lines, steps, *shown.shape[1:]))


def _shown(picture: Picture, images: Float[Array, " n *data"]) -> Real[np.ndarray, " n *data"]:
    shown = np.asarray(picture(images))
    if shown.shape[:1] != images.shape[:1]:
        raise ValueError(
            f"picture must give as many images as it gets; of {len(images)} it made an array of "
            f"shape {shown.shape}"
        )
    return shown
