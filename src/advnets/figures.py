"""The paper's figures from plain arrays, and a run's curves. Needs the `bench` extra."""

import functools
import io
import itertools
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Array, Float, Real

from advnets import _files, _style, _warnings
from advnets._distances import check_finite
from advnets._extras import needed_for
from advnets._style import BLUE, GREEN, GREY, INK
from advnets.memorisation import Memorisation

StrPath = str | os.PathLike[str]
# Grey of shape (height, width) or (height, width, 1), or coloured of shape (height, width, 3).
Images: TypeAlias = Real[Array | np.ndarray, " n *data"]
# How wide an image is drawn, rounded to a whole multiple of its own pixels.
CELL_PIXELS = 84
# The largest picture, and the longest chart: more is a mistake, and would fill the memory.
MOST_PIXELS = 100_000_000
MOST_ROWS = 500
# What is reported of D where D(x) is a probability.
GAME = {"value", "real_output", "fake_output", "real_error", "fake_error"}
# The label below the last column of Figure 2, which extends to the left if it is wider.
LABEL = "nearest training image ↑"
# The fraction of pixels that may lie outside of [0, 1], and be clipped, without a warning.
CLIPPED = 0.25

Group = Literal["published", "here", "reference"]
GROUPS = {"published": "published", "here": "advnets", "reference": "reference"}
GROUP_COLOURS = {"published": INK, "here": GREEN, "reference": BLUE}


@dataclass(frozen=True)
class Row:
    """A row of Table 1.

    Attributes:
        label: the model's name.
        mean: its mean log-likelihood, in nats.
        standard_error: the standard error of that mean, as it was reported; None if it was not.
        group: whether the number was published, was computed here, or is that of a reference row.
    """

    label: str
    mean: float
    standard_error: float | None
    group: Group


def samples_with_neighbours(
    path: StrPath | None,
    samples: Images,
    neighbours: Real[Array | np.ndarray, " rows *data"],
    *,
    columns: int = 5,
) -> Any:
    """Figure 2: a grid of samples; the last column holds training images.

    Each image of the last column is the training example nearest to the sample beside it, to show
    that the generator has not memorised the training set.

    Args:
        path: the PNG file to write; None for a figure that is only returned.
        samples: fair random draws, `rows * columns` of them, row by row, in [0, 1], or uint8 pixels
            in 0..255; each of shape (height, width), (height, width, 1) or (height, width, 3).
        neighbours: the training image nearest to the last sample of each row.
        columns: the number of samples in a row; 5 in the paper's MNIST figure, with 4 rows.

    Returns:
        The matplotlib figure, which a notebook displays.

    Raises:
        ValueError: if the number of samples is not rows times columns, or there are none; if an
            image has another shape or type, or a pixel that is not finite; for a picture of more
            than 100 million pixels.

    A `RuntimeWarning` is given if more than a quarter of the pixels lie outside of [0, 1], where
    they are clipped.

    Example:
        >>> import pathlib, tempfile
        >>> import numpy as np
        >>> import advnets
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     figure = advnets.figures.samples_with_neighbours(
        ...         pathlib.Path(folder) / "samples.png", np.zeros((20, 8, 8)), np.ones((4, 8, 8))
        ...     )

    References:
        Figure 2; released code, `show_samples_mnist_paper.py`.
    """
    rows = len(neighbours)
    if rows < 1 or columns < 1:
        raise ValueError(f"got {rows} rows of {columns} columns; draw at least 1 each")
    if len(samples) != rows * columns:
        raise ValueError(
            f"{rows} rows of {columns} samples need {rows * columns} samples; got {len(samples)}"
        )
    _check_picture(rows, columns + 1, samples.shape[1:])
    drawn, beside = _pixels("samples", samples), _pixels("neighbours", neighbours)
    picture = _mosaic(drawn.reshape(rows, columns, *drawn.shape[1:]), beside[:, None], label=LABEL)
    return _save_mosaic(path, picture)


def interpolations(
    path: StrPath | None, images: Real[Array | np.ndarray, " lines steps *data"]
) -> Any:
    """Figure 3: examples along straight lines in z space, one row per line.

    Args:
        path: the PNG file to write; None for a figure that is only returned.
        images: the examples along each line, as from [`advnets.Model.interpolate`][], in [0, 1], or
            uint8 pixels in 0..255; each of shape (height, width), (height, width, 1) or (height,
            width, 3).

    Returns:
        The matplotlib figure, which a notebook displays.

    Raises:
        ValueError: if there is no image, or one has another shape or type, or a pixel that is not
            finite; for a picture of more than 100 million pixels.

    Example:
        >>> import pathlib, tempfile
        >>> import numpy as np
        >>> import advnets
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     figure = advnets.figures.interpolations(
        ...         pathlib.Path(folder) / "lines.png", np.zeros((2, 11, 8, 8))
        ...     )

    References:
        Figure 3.
    """
    lines, steps, *shape = images.shape
    if lines < 1 or steps < 1:
        raise ValueError(f"got {lines} lines of {steps} images; draw at least 1 each")
    _check_picture(lines, steps, tuple(shape))
    drawn = _pixels("images", images.reshape(lines * steps, *shape))
    return _save_mosaic(path, _mosaic(drawn.reshape(lines, steps, *drawn.shape[1:])))


def _check_count(rows: int, columns: int) -> None:
    """Refuses more images than a picture has room for, perhaps before they are made."""
    if rows * columns > MOST_PIXELS // CELL_PIXELS**2:
        raise ValueError(
            f"got {rows:,} rows of {columns:,} images; a picture has room for some "
            f"{MOST_PIXELS // CELL_PIXELS**2:,}"
        )


def _check_picture(rows: int, columns: int, shape: tuple[int, ...]) -> None:
    """Refuses a grid of images that can't be drawn."""
    _check_count(rows, columns)
    coloured_or_grey = len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3))
    if not coloured_or_grey or 0 in shape:
        raise ValueError(
            "an image must have the shape (height, width), (height, width, 1) or (height, width, "
            f"3); got {shape}"
        )
    height, width, *_ = shape
    pixels = rows * height * columns * width * _scale(width) ** 2
    if pixels > MOST_PIXELS:
        raise ValueError(
            f"{rows:,} rows of {columns:,} images of shape {shape} make a picture of {pixels:.2g} "
            f"pixels; draw at most {MOST_PIXELS:,}"
        )


def _pixels(name: str, images: Images) -> Real[np.ndarray, " n height width *channels"]:
    """Images as they are drawn: floats, without an axis of channels if grey."""
    check_finite(name, images)
    pixels = np.asarray(images)
    if pixels.dtype == np.uint8:
        pixels = pixels / np.float32(255)
    elif pixels.dtype.kind in "iu":
        raise ValueError(
            f"{name} are {pixels.dtype}; give floats in [0, 1], or uint8 pixels in 0..255"
        )
    elif pixels.dtype.kind != "f":  # a half-precision type that NumPy doesn't have
        pixels = pixels.astype(np.float32)
    outside = np.mean((pixels < 0) | (pixels > 1))
    if outside > CLIPPED:
        _warnings.warn(
            f"{outside:.0%} of the pixels of {name} lie outside of [0, 1], where they are clipped "
            f"(they go from {pixels.min():.3g} to {pixels.max():.3g})"
        )
    return pixels[..., 0] if pixels.ndim == 4 and pixels.shape[-1] == 1 else pixels


def _gap(width: int) -> int:
    """The width of the white between images, in their pixels."""
    return max(1, width // 14)


def _scale(width: int) -> int:
    """The factor by which an image is enlarged."""
    return max(1, round(CELL_PIXELS / width))


def _mosaic(
    *blocks: Real[np.ndarray, " rows _ *data"], label: str = ""
) -> Real[np.ndarray, " y x *channels"]:
    """Blocks of images side by side, each rows by columns, with white between and a label below."""
    shape = blocks[0].shape[2:]
    height, width, *channels = shape
    gap = _gap(width)

    def tiles(block: Real[np.ndarray, " rows columns *data"]) -> Real[np.ndarray, " y x *channels"]:
        margins = [(0, 0), (0, 0), (0, gap), (0, gap), *[(0, 0)] * len(channels)]
        cells = np.pad(block, margins, constant_values=1).swapaxes(1, 2)
        rows, _, columns, *_ = cells.shape
        tiled = cells.reshape(rows * (height + gap), columns * (width + gap), *channels)
        return np.pad(tiled, [(0, 0), (gap, 0), *[(0, 0)] * len(channels)], constant_values=1)

    mosaic = np.concatenate([tiles(block) for block in blocks], axis=1)
    mosaic = np.pad(mosaic, [(gap, 0), (0, 0), *[(0, 0)] * len(channels)], constant_values=1)
    scale = _scale(width)
    picture = mosaic.repeat(scale, axis=0).repeat(scale, axis=1).clip(0, 1)
    if not label:
        return picture
    written = _written(label)
    if written.shape[1] > picture.shape[1]:
        words = label.split()
        written = _written(f"{' '.join(words[:-2])}\n{' '.join(words[-2:])}")
    below = np.ones((len(written), *picture.shape[1:]), picture.dtype)
    space = min(picture.shape[1], written.shape[1])
    below[:, -space:] = written[:, -space:].reshape(-1, space, *[1] * len(channels))
    return np.concatenate([picture, below])


@functools.cache
def _written(text: str) -> Float[np.ndarray, " y x"]:
    """A text as pixels, its last letter at the right."""
    with needed_for("pictures"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg

    height = 16 * (1 + text.count("\n"))
    with _style.drawing(2.4, height / 100, dpi=100, layout=None) as figure:
        figure.text(0.995, 0.5, text, ha="right", va="center", fontsize=8, linespacing=1.0)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())[..., 0] / 255
    (inked,) = np.nonzero((pixels < 1).any(axis=0))
    return pixels[:, max(inked[0] - 2, 0) :]


def _save_mosaic(path: StrPath | None, picture: Real[np.ndarray, " y x *channels"]) -> Any:
    """Writes a mosaic pixel by pixel, atomically, and returns it as a figure."""
    with needed_for("pictures"):
        import matplotlib.image

    grey: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 1}
    if path is not None:
        content, place = io.BytesIO(), Path(path)
        kind = place.suffix[1:] or "png"
        matplotlib.image.imsave(content, picture, format=kind, **grey)
        _files.replace(place, content.getvalue())
    height, width = (pixels / _style.DPI for pixels in picture.shape[:2])
    with _style.drawing(width, height, dpi=_style.DPI, layout=None) as figure:
        axis = figure.add_axes((0, 0, 1, 1))
        axis.axis("off")
        axis.imshow(picture, aspect="auto", interpolation="nearest", **grey)
    return figure


def memorisation(path: StrPath | None, report: Memorisation) -> Any:
    """The distributions of samples' and held-out images' distances to the training images.

    If a model copies, the green line is to the left of the black one. See
    [`advnets.memorisation.memorisation`][] for other possible reasons.

    Args:
        path: the PNG file to write; None for a figure that is only returned.
        report: the distances, and the statistics for the title.

    Returns:
        The matplotlib figure, which a notebook displays.

    Raises:
        ValueError: if there are no distances, or one is not finite.

    Example:
        >>> import jax
        >>> import advnets
        >>> samples, train, held_out = jax.random.normal(jax.random.key(0), (3, 100, 5))
        >>> report = advnets.memorisation.memorisation(samples, train, held_out)
        >>> figure = advnets.figures.memorisation("memorisation.png", report)

    References:
        Section 5 and Figure 2, whose last column serves the same purpose.
    """
    for name, distances in (
        ("samples", report.sample_distances),
        ("held-out images", report.held_out_distances),
    ):
        if len(distances) == 0:
            raise ValueError(f"the report has no distances of {name}; measure at least 1")
        check_finite(f"the distances of {name}", distances)
    with _style.drawing(7, 4.2) as figure:
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
            ylabel="fraction within this distance",
            title=f"AUC = P(sample nearer) = {report.auc:.3f},  p = {report.p_value:.2g}\n"
            f"{report.below_held_out:.1%} of samples nearer than every held-out image, "
            f"{report.copies:.1%} copies",
        )
        _style.legend(axis)
        return _style.save(path, figure)


def table_1(path: StrPath | None, rows: Sequence[Row]) -> Any:
    """Table 1 as a chart: a dot for each row, with its standard error.

    Args:
        path: the PNG file to write; None for a figure that is only returned.
        rows: what to show, from top to bottom; all on the same data.

    Returns:
        The matplotlib figure, which a notebook displays.

    Raises:
        ValueError: if there is no row or more than 500, or a number is not finite.

    Example:
        >>> import advnets
        >>> rows = [
        ...     advnets.figures.Row("DBN", 138, 2, "published"),
        ...     advnets.figures.Row("adversarial nets", 225, 2, "published"),
        ...     advnets.figures.Row("real images", 243, None, "reference"),
        ... ]
        >>> figure = advnets.figures.table_1("table-1.png", rows)

    References:
        Table 1.
    """
    if not 1 <= len(rows) <= MOST_ROWS:
        raise ValueError(f"a table needs at least 1 row and at most {MOST_ROWS}; got {len(rows)}")
    for row in rows:
        errors = [] if row.standard_error is None else [row.standard_error]
        _check_numbers(f"row {row.label!r}", [row.mean, *errors])
        if errors and errors[0] < 0:
            raise ValueError(f"row {row.label!r} has a standard error of {errors[0]}, below 0")
    heights = _heights([row.label for row in rows])
    with _style.drawing(7.5, 1.5 - 0.34 * heights[-1]) as figure:
        axis = figure.subplots()
        shown = set()
        for height, row in zip(heights, rows, strict=True):
            colour = GROUP_COLOURS[row.group]
            axis.errorbar(
                row.mean,
                height,
                xerr=row.standard_error,
                color=colour,
                fmt="o",
                ms=5,
                lw=1.4,
                capsize=3,
                label=None if row.group in shown else GROUPS[row.group],
            )
            shown.add(row.group)
            _beside(axis, height, _with_error(row.mean, row.standard_error), colour)
        axis.set(
            xlabel="Parzen log-likelihood, nats, ± standard error",
            ylim=(heights[-1] - 0.6, 0.6),
        )
        _rows_of_dots(axis, [row.label for row in rows], heights)
        _style.legend(axis)
        return _style.save(path, figure)


def seeds(
    path: StrPath | None,
    scores: Mapping[str, Sequence[float]],
    *,
    published: tuple[float, float] | None = (225.0, 2.0),
) -> Any:
    """The test scores of many seeds, one dot each, with the published value.

    The line through the dots is their mean. The published ± is over test examples, for one model;
    the spread of the dots is over seeds, so the two widths are not comparable.

    Args:
        path: the PNG file to write; None for a figure that is only returned.
        scores: the scores in nats of each training method, such as each update order, by name.
        published: the published mean and its standard error; unless given, the paper's for MNIST.
            None for data without one.

    Returns:
        The matplotlib figure, which a notebook displays.

    Raises:
        ValueError: if there are no scores or none under a name, more than 500 names, or a number is
            not finite.

    Example:
        >>> import advnets
        >>> scores = {"alternating": [176.0, 173.5, 180.1], "simultaneous": [160.2, 158.8]}
        >>> figure = advnets.figures.seeds("seeds.png", scores)

    References:
        Table 1, adversarial nets.
    """
    if not scores or not all(scores.values()):
        raise ValueError(f"each row needs at least 1 score; got {dict(scores)}")
    if len(scores) > MOST_ROWS:
        raise ValueError(f"a chart has at most {MOST_ROWS} rows; got {len(scores)}")
    for name, values in scores.items():
        _check_numbers(repr(name), values)
    if published is not None:
        _check_numbers("published", published)
    with _style.drawing(7.5, 1.3 + 0.8 * len(scores)) as figure:
        axis = figure.subplots()
        if published is not None:
            centre, error = published
            label = f"published, {_with_error(centre, error)}"
            axis.axvspan(centre - error, centre + error, color=INK, alpha=0.15, lw=0)
            axis.axvline(centre, color=INK, lw=1, ls=":", label=label)
        for number, values in enumerate(scores.values()):
            # In the order of the seeds, so that dots of one score lie apart.
            apart = np.linspace(-0.18, 0.18, len(values)) if len(values) > 1 else np.zeros(1)
            axis.plot(values, apart - number, "o", color=GREEN, ms=4, alpha=0.7)
            mean = np.mean(values)
            axis.plot([mean, mean], [-number - 0.3, -number + 0.3], color=GREEN, lw=2)
            text = f"mean {mean:.1f}\n{len(values)} seed"
            if len(values) > 1:
                text += f"s, s.d. {np.std(values, ddof=1):.1f}"
            _beside(axis, -number, text, GREEN)
        axis.set(
            xlabel="Parzen log-likelihood of the test set, nats",
            ylim=(0.5 - len(scores), 0.5),
        )
        _rows_of_dots(axis, list(scores), [-float(number) for number in range(len(scores))])
        if published is not None:
            _style.legend(axis)
        return _style.save(path, figure)


def learning_rates(
    path: StrPath | None,
    scores: Mapping[float, Sequence[float]],
    *,
    chosen: float | None = None,
    label: str = "Parzen log-likelihood of validation, nats",
) -> Any:
    """The validation scores of a sweep against the learning rate, a dot for each seed.

    The line runs through the means over seeds.

    Args:
        path: the PNG file to write; None for a figure that is only returned.
        scores: the validation scores at each learning rate, one for each seed; none where all
            seeds diverged.
        chosen: the learning rate to mark, if any.
        label: what the scores are, with their unit.

    Returns:
        The matplotlib figure, which a notebook displays.

    Raises:
        ValueError: if there are no scores at all, a learning rate is not above 0, or a number is
            not finite.

    Example:
        >>> import advnets
        >>> scores = {0.03: [150.0, 148.5], 0.1: [176.0, 173.5], 0.3: [120.3, 131.0]}
        >>> figure = advnets.figures.learning_rates("learning-rates.png", scores, chosen=0.1)
    """
    drawn = {rate: values for rate, values in sorted(scores.items()) if len(values) > 0}
    if not drawn:
        raise ValueError(f"a sweep needs at least 1 score; got {dict(scores)}")
    _check_numbers("the learning rates", [*scores, *([] if chosen is None else [chosen])])
    if min(scores) <= 0:
        raise ValueError(f"learning rates must be above 0; got {min(scores)}")
    for rate, values in drawn.items():
        _check_numbers(f"learning rate {rate:g}", values)
    with _style.drawing(7.5, 4.2) as figure:
        axis = figure.subplots()
        if chosen is not None:
            axis.axvline(chosen, color=INK, lw=1, ls=":", label=f"chosen, {chosen:g}")
        rates = [rate for rate, values in drawn.items() for _ in values]
        values = [value for values in drawn.values() for value in values]
        axis.plot(rates, values, "o", color=GREEN, ms=4, alpha=0.7, label="a seed")
        means = [np.mean(values) for values in drawn.values()]
        axis.plot([*drawn], means, color=GREEN, lw=2, label="mean over seeds")
        axis.set_xscale("log")
        # Ticks at the learning rates themselves, also where nothing is drawn.
        axis.set_xticks(sorted(scores), [f"{rate:g}" for rate in sorted(scores)])
        axis.set_xticks([], minor=True)
        axis.set(xlabel="initial learning rate", ylabel=label)
        axis.grid(axis="y", color=GREY, alpha=0.2, lw=0.8)
        axis.set_axisbelow(True)
        _style.legend(axis)
        return _style.save(path, figure)


def _check_numbers(name: str, numbers: Iterable[float]) -> None:
    for number in numbers:
        if not math.isfinite(number):
            raise ValueError(f"{name} holds {number}; leave out values that are not finite")


def _with_error(mean: float, error: float | None) -> str:
    if error is None:
        return f"{mean:,.4g}"
    whole = error >= 10 or error % 1 == 0
    digits = 0 if whole else max(1, -math.floor(math.log10(error)))
    return f"{mean:,.{digits if mean % 1 else 0}f} ± {error:.{digits}f}"


def _heights(labels: Sequence[str]) -> list[float]:
    """The heights of rows, from 0 down: 1 apart, or more where labels have several lines."""
    lines = [label.count("\n") + 1 for label in labels]
    apart = [max(1.0, 0.27 * (one + other) + 0.25) for one, other in itertools.pairwise(lines)]
    return [-sum(apart[:number], 0.0) for number in range(len(labels))]


def _beside(axis: Any, height: float, text: str, colour: str) -> None:
    place = axis.get_yaxis_transform()  # x in fractions of the panel
    axis.text(1.02, height, text, color=colour, fontsize=9, va="center", transform=place)


def _rows_of_dots(axis: Any, labels: Sequence[str], heights: Sequence[float]) -> None:
    axis.set_yticks(heights, labels, parse_math=False)  # a $ in a name is literal
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x", color=GREY, alpha=0.2, lw=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right", "left"]].set_visible(False)


def curves(path: StrPath | None, metrics: Sequence[Mapping[str, Any]], *, title: str = "") -> Any:
    """A run at a glance: its players, and the validation likelihood.

    Where D(x) is a probability: V(D, G), the outputs and the errors; for other objectives and
    systems, what the metrics hold.

    Args:
        path: the PNG file to write; None for a figure that is only returned.
        metrics: one row for each epoch, as in `Trained.metrics`.
        title: a line above the panels.

    Returns:
        The matplotlib figure, which a notebook displays.

    Raises:
        ValueError: if there is no row, or an entry of the first row is not a number in every row.

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
        ...     figure = advnets.figures.curves(pathlib.Path(folder) / "curves.png", [row])
    """
    if not metrics:
        raise ValueError("curves need the metrics of at least 1 epoch; got none")
    _series(metrics, "epoch")
    game = metrics[0].get("discriminator", {}).keys() >= GAME
    named = [name for row in metrics for name, part in row.items() if isinstance(part, Mapping)]
    parts = [
        name for name in dict.fromkeys(named) if name not in ("validation", "average", "monitor")
    ]
    rows = 2 if game or len(parts) > 1 else 1
    with _style.drawing(10, 3.2 * rows) as figure:
        axes = figure.subplots(rows, 2, sharex=True, squeeze=False)
        if game:
            _game_panels(axes, metrics)
        else:
            _player_panels(axes, metrics, parts)
        likelihood = axes[-1, 1]
        scored = [row for row in metrics if "validation" in row]
        if scored:
            likelihood.errorbar(
                _series(scored, "epoch"),
                _series(scored, "validation", "mean"),
                _series(scored, "validation", "standard_error"),
                color=BLUE,
                marker="o",
                ms=3,
                lw=1.2,
                label="validation, ± standard error",
            )
        likelihood.set_ylabel("Parzen log-likelihood, nats")
        for axis in axes.flat:
            _style.legend(axis, above=True)
        for axis in axes[-1]:
            axis.set_xlabel("epoch")
            axis.xaxis.get_major_locator().set_params(integer=True)
        figure.suptitle(title, parse_math=False)
        return _style.save(path, figure)


def _series(metrics: Sequence[Mapping[str, Any]], *names: str) -> Float[np.ndarray, " epochs"]:
    """One number for each epoch."""
    found = np.zeros(len(metrics))
    for number, row in enumerate(metrics):
        try:
            value: Any = row
            for name in names:
                value = value[name]
            found[number] = value
        except (KeyError, TypeError, ValueError):
            raise ValueError(
                f"row {number} of the metrics has no number {'.'.join(names)}; draw rows of one run"
            ) from None
    return found


def _game_panels(axes: Any, metrics: Sequence[Mapping[str, Any]]) -> None:
    """The panels of a game in which D(x) is a probability: V and G's cost, outputs, errors."""
    epochs, series = _series(metrics, "epoch"), functools.partial(_series, metrics)
    (objectives, outputs), (errors, _) = axes
    objectives.plot(epochs, series("discriminator", "value"), color=BLUE, label="V(D, G)")
    objectives.plot(epochs, series("generator", "cost"), color=GREEN, label="G's cost")
    objectives.axhline(-np.log(4), color=GREY, lw=0.8, ls=":", label="−log 4")
    objectives.set_ylabel("nats")
    outputs.plot(epochs, series("discriminator", "real_output"), color=INK, label="D(x)")
    outputs.plot(epochs, series("discriminator", "fake_output"), color=GREEN, label="D(G(z))")
    outputs.axhline(0.5, color=GREY, lw=0.8, ls=":")
    outputs.set(ylabel="mean output", ylim=(-0.02, 1.02))
    errors.plot(epochs, series("discriminator", "real_error"), color=INK, label="on data")
    errors.plot(epochs, series("discriminator", "fake_error"), color=GREEN, label="on samples")
    errors.set_ylabel("D's error rate")


def _player_panels(axes: Any, metrics: Sequence[Mapping[str, Any]], parts: Sequence[str]) -> None:
    """The panels of any other system: what is recorded of each of the first three parts."""
    panels = axes.flat[:-1]  # the last one is the likelihood's
    for axis, part in zip(panels, parts, strict=False):
        rows = metrics if part in metrics[0] else [row for row in metrics if part in row]
        for name in rows[0][part]:
            axis.plot(_series(rows, "epoch"), _series(rows, part, name))
            axis.lines[-1].set_label(name.replace("_", " ").replace("$", r"\$"))
        axis.set_ylabel(part, parse_math=False)
    for axis in panels[len(parts) :]:
        axis.set_visible(False)
