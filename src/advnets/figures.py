"""The paper's figures from plain arrays, and a run's curves. Needs the `bench` extra."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Real

from advnets.memorisation import Memorisation

StrPath = str | os.PathLike[str]
INK, GREEN, BLUE, GREY = "#222222", "#2a7f3f", "#2457a6", "#777777"
# How wide an image is drawn, to a whole multiple of its own pixels.
CELL_PIXELS = 84


def samples_with_neighbours(
    path: StrPath,
    samples: Real[np.ndarray, " n *data"],
    neighbours: Real[np.ndarray, " rows *data"],
    *,
    columns: int = 5,
) -> None:
    """Figure 2: a grid of samples; the last column holds training images.

    Each image of the last column is the training example nearest to the sample beside it, to show
    that the generator has not memorised the training set.

    Args:
        path: the PNG file to write.
        samples: fair random draws, `rows * columns` of them, row by row, in [0, 1]; each of shape
            (height, width) or (height, width, 3).
        neighbours: the training image nearest to the last sample of each row.
        columns: the number of samples in a row; 5 in the paper's MNIST figure, with 4 rows.

    Raises:
        ValueError: if the number of samples is not rows times columns, or an image has another
            shape.

    Example:
        >>> import pathlib, tempfile
        >>> import numpy as np
        >>> import advnets
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     advnets.figures.samples_with_neighbours(
        ...         pathlib.Path(folder) / "samples.png", np.zeros((20, 8, 8)), np.ones((4, 8, 8))
        ...     )

    References:
        Figure 2; released code, `show_samples_mnist_paper.py`.
    """
    rows = len(neighbours)
    if len(samples) != rows * columns:
        raise ValueError(
            f"{rows} rows of {columns} samples need {rows * columns} samples; got {len(samples)}"
        )
    _save_mosaic(
        path, samples.reshape(rows, columns, *samples.shape[1:]), np.expand_dims(neighbours, 1)
    )


def interpolations(path: StrPath, images: Real[np.ndarray, " lines steps *data"]) -> None:
    """Figure 3: examples along straight lines in z space, one row per line.

    Args:
        path: the PNG file to write.
        images: the examples along each line, as from [`advnets.interpolate`][], in [0, 1]; each of
            shape (height, width) or (height, width, 3).

    Raises:
        ValueError: if an image has another shape.

    Example:
        >>> import pathlib, tempfile
        >>> import numpy as np
        >>> import advnets
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     advnets.figures.interpolations(
        ...         pathlib.Path(folder) / "lines.png", np.zeros((2, 11, 8, 8))
        ...     )

    References:
        Figure 3.
    """
    _save_mosaic(path, images)


def _save_mosaic(path: StrPath, *blocks: Real[np.ndarray, " rows _ *data"]) -> None:
    """Writes blocks of images side by side, each rows by columns, with white between them."""
    shape = blocks[0].shape[2:]
    if len(shape) != 2 and not (len(shape) == 3 and shape[2] == 3):
        raise ValueError(
            f"an image must have the shape (height, width) or (height, width, 3); got {shape}"
        )
    height, width, *channels = shape
    gap = max(1, width // 14)

    def tiles(block: Real[np.ndarray, " rows columns *data"]) -> Real[np.ndarray, " y x *channels"]:
        margins = [(0, 0), (0, 0), (0, gap), (0, gap), *[(0, 0)] * len(channels)]
        cells = np.pad(block, margins, constant_values=1).swapaxes(1, 2)
        rows, _, columns, *_ = cells.shape
        tiled = cells.reshape(rows * (height + gap), columns * (width + gap), *channels)
        return np.pad(tiled, [(0, 0), (gap, 0), *[(0, 0)] * len(channels)], constant_values=1)

    import matplotlib.image

    mosaic = np.concatenate([tiles(block) for block in blocks], axis=1)
    mosaic = np.pad(mosaic, [(gap, 0), (0, 0), *[(0, 0)] * len(channels)], constant_values=1)
    scale = max(1, round(CELL_PIXELS / width))
    picture = mosaic.repeat(scale, axis=0).repeat(scale, axis=1).clip(0, 1)
    matplotlib.image.imsave(path, picture, cmap="gray", vmin=0, vmax=1)


def memorisation(path: StrPath, report: Memorisation) -> None:
    """How near samples and held-out real images are to the training images: both distributions.

    A model that copies has a green line to the left of the black one. See
    [`advnets.memorisation.memorisation`][] for what else may put it there.

    Args:
        path: the PNG file to write.
        report: the distances, and the statistics for the title.

    Example:
        >>> import jax
        >>> import advnets
        >>> samples, train, held_out = jax.random.normal(jax.random.key(0), (3, 100, 5))
        >>> report = advnets.memorisation.memorisation(samples, train, held_out)
        >>> advnets.figures.memorisation("memorisation.png", report)

    References:
        Section 5 and Figure 2, whose last column is to show the same.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axis = figure.subplots()
    for name, distances, colour in (
        ("held-out images", report.held_out_distances, INK),
        ("samples", report.sample_distances, GREEN),
    ):
        median = np.median(distances)
        label = f"{len(distances):,} {name}, median {median:.3g}"
        axis.ecdf(distances, color=colour, lw=1.6, label=label)
    nearest = report.held_out_distances[0]
    axis.axvline(nearest, color=GREY, lw=0.8, ls=":", label="nearest held-out image")
    axis.set(
        xlabel="distance to the nearest training image",
        ylabel="fraction at most as far",
        title=f"AUC = P(sample nearer) = {report.auc:.3f},  p = {report.p_value:.2g}\n"
        f"{report.below_held_out:.1%} of samples nearer than every held-out image, "
        f"{report.copies:.1%} copies",
    )
    axis.title.set_fontsize(10)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=9)
    figure.savefig(path, dpi=110)


def curves(path: StrPath, metrics: Sequence[Mapping[str, Any]], *, title: str = "") -> None:
    """A run at a glance: both players, D's outputs and errors, and the validation likelihood.

    Args:
        path: the PNG file to write.
        metrics: one row for each epoch, as in `Trained.metrics`.
        title: a line above the panels.

    Example:
        >>> import pathlib, tempfile
        >>> import advnets
        >>> row = {
        ...     "epoch": 1,
        ...     "discriminator": {
        ...         "value": -1.0, "real_output": 0.6, "fake_output": 0.4, "real_error": 0.3,
        ...         "fake_error": 0.3, "gradient_norm": 0.1,
        ...     },
        ...     "generator": {"cost": 1.0, "gradient_norm": 0.1},
        ... }
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     advnets.figures.curves(pathlib.Path(folder) / "curves.png", [row])
    """
    from matplotlib.figure import Figure

    epochs = np.array([row["epoch"] for row in metrics])

    def series(player: str, name: str) -> Float[np.ndarray, " epochs"]:
        return np.array([row[player][name] for row in metrics])

    figure = Figure(figsize=(10, 6.4), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True)
    (objectives, outputs), (errors, likelihood) = axes
    objectives.plot(epochs, series("discriminator", "value"), color=BLUE, label="V(D, G)")
    objectives.plot(epochs, series("generator", "cost"), color=GREEN, label="G's cost")
    objectives.axhline(-np.log(4), color=GREY, lw=0.8, ls=":", label="−log 4")
    objectives.set_ylabel("nats")
    outputs.plot(epochs, series("discriminator", "real_output"), color=INK, label="D(x)")
    outputs.plot(epochs, series("discriminator", "fake_output"), color=GREEN, label="D(G(z))")
    outputs.axhline(0.5, color=GREY, lw=0.8, ls=":")
    outputs.set_ylabel("mean output")
    errors.plot(epochs, series("discriminator", "real_error"), color=INK, label="on data")
    errors.plot(epochs, series("discriminator", "fake_error"), color=GREEN, label="on samples")
    errors.set_ylabel("D's error rate")
    scored = [row for row in metrics if "validation" in row]
    if scored:
        likelihood.errorbar(
            [row["epoch"] for row in scored],
            [row["validation"]["mean"] for row in scored],
            [row["validation"]["standard_error"] for row in scored],
            color=BLUE,
            marker="o",
            ms=3,
            lw=1.2,
            label="validation, ± standard error",
        )
    likelihood.set_ylabel("Parzen log-likelihood, nats")
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(frameon=False, fontsize=9)
    for axis in axes[1]:
        axis.set_xlabel("epoch")
    figure.suptitle(title)
    figure.savefig(path, dpi=110)
