"""Plots of Table 2: a panel for each cell, likelihoods by number of samples, and costs."""

import itertools
import os
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from advnets import _style
from advnets._style import BLUE, CYCLE, GREEN, GREY, INK, ORANGE
from advnets.bench.cells.found import Cell, Curve, Number

# Inches: the page's width, its left margin, a line of text, a plot in a panel, and gaps.
WIDTH, LEFT, LINE, PLOT, GAP = 11.6, 0.95, 0.152, 1.35, 0.1
LETTERS = 43
# Axes with a wider range are logarithmic.
RANGE = 20
SIZE = 7.5


def format_number(number: Number) -> str:
    """A number with its error and unit, as text; it must have a value."""
    assert number.value is not None
    value, error = number.value, number.standard_error
    if error:
        digits = max(0, min(4, 1 - int(f"{error:.0e}".partition("e")[2])))
        text = f"{value:,.{digits}f} ± {error:,.{digits}f}"
    elif abs(value) >= 100 or value == int(value):
        text = f"{value:,.0f}"
    else:
        text = f"{value:#.3g}".rstrip(".")
    least = "at least " if number.at_least else ""
    noise = "" if number.noise is None else f" (noise {number.noise:#.2g})"
    return f"{least}{text} {number.unit}".strip() + noise


def _lines(cell: Cell) -> list[tuple[str, str, str]]:
    """A panel's lines, each a text, a value and a style; several runs share a number's name."""
    lines = [(text, "", "claim") for text in textwrap.wrap(cell.claim, LETTERS)]
    if not cell.numbers:
        return [*lines, ("no run given", "", "missing")]
    several = len({one.run for one in cell.numbers}) > 1
    for name in dict.fromkeys(number.name for number in cell.numbers):
        measured = [one for one in cell.numbers if one.name == name and one.value is not None]
        values = [
            f"{one.run}  {format_number(one)}" if several else format_number(one)
            for one in measured
        ]
        if sum(map(len, values)) + 3 * len(values) <= LETTERS:
            values = ["   ".join(values)] if values else []
        if values:
            wrapped = textwrap.wrap(name, LETTERS)
            # Bold letters are wider.
            beside = len(values) == 1 and len(wrapped[-1]) + 1.15 * len(values[0]) <= LETTERS
            lines += [(part, "", "name") for part in (wrapped[:-1] if beside else wrapped)]
            lines += [(wrapped[-1] if beside else "", value, "name") for value in values]
        reasons: dict[str, list[str]] = {}
        for one in cell.numbers:
            if one.name == name and one.value is None:
                reasons.setdefault(one.reason, []).append(one.run)
        for reason, runs in reasons.items():
            whose = f", {' and '.join(runs)}" if several else ""
            message = f"{name}{whose}: not measured, {reason}"
            lines += [(part, "", "missing") for part in textwrap.wrap(message, LETTERS)]
    return lines


STYLES = {
    "claim": {"color": INK, "fontstyle": "italic"},
    "name": {"color": INK},
    "missing": {"color": GREY},
}


def table(
    path: str | os.PathLike[str] | None,
    *,
    rows: Mapping[Any, str],
    columns: Mapping[Any, str],
    cells: Mapping[Any, Cell],
) -> Any:
    """Table 2: a panel for each cell, with its numbers, and its curve if it has one.

    Args:
        path: the PNG file; None for a figure that is only returned.
        rows: the titles of the rows.
        columns: the titles of the columns.
        cells: the cells by row and column.

    Returns:
        The figure.
    """
    lines = {place: _lines(cell) for place, cell in cells.items()}
    plotted = {place for place, cell in cells.items() if cell.curves and cell.row == "training"}

    def height(place: Any) -> float:
        return LINE * (len(lines[place]) + 1) + (PLOT + 0.7 if place in plotted else 0)

    heights = [max(height((row, column)) for column in columns) for row in rows]
    total = sum(heights) + GAP * (len(rows) + 1) + 0.3
    wide = (WIDTH - LEFT - GAP * len(columns)) / len(columns)
    with _style.drawing(WIDTH, total, layout=None) as figure:

        def write(x: float, y: float, text: str, **settings: Any) -> None:
            figure.text(x / WIDTH, y / total, text, parse_math=False, va="top", **settings)

        top = total - 0.3
        for number, title in enumerate(columns.values()):
            x = LEFT + number * (wide + GAP)
            write(x + wide / 2, total - 0.08, title, ha="center", fontweight="bold", fontsize=10)
        for row, tall in zip(rows, heights, strict=True):
            write(0.08, top - 0.08, textwrap.fill(rows[row], 10), fontweight="bold", fontsize=10)
            for number, column in enumerate(columns):
                x, place = LEFT + number * (wide + GAP), (row, column)
                panel = figure.add_axes(
                    (x / WIDTH, (top - tall) / total, wide / WIDTH, tall / total)
                )
                panel.set(xticks=[], yticks=[], facecolor="#f7f7f5")
                panel.spines[:].set_visible(False)
                y = top - LINE / 2
                for text, value, style in lines[place]:
                    write(x + 0.07, y, text, fontsize=SIZE, **STYLES[style])
                    bold = {"fontsize": SIZE, "color": BLUE, "fontweight": "bold"}
                    write(x + wide - 0.07, y, value, ha="right", **bold)
                    y -= LINE
                if place in plotted:
                    below = (x + 0.5, top - tall + 0.42, wide - 0.65, PLOT - 0.2)
                    axis = figure.add_axes(
                        (below[0] / WIDTH, below[1] / total, below[2] / WIDTH, below[3] / total)
                    )
                    _small(axis, cells[place].curves)
            top -= tall + GAP
        return _style.save(path, figure)


def _small(axis: Any, curves: Sequence[Curve]) -> None:
    """A cell's curves, small."""
    several = len({curve.run for curve in curves}) > 1
    for curve, colour in zip(curves, itertools.cycle(CYCLE)):
        xs, ys = [point[0] for point in curve.points], [point[1] for point in curve.points]
        label = curve.run if several else curve.name
        axis.plot(xs, ys, "o-", color=colour, ms=2.5, lw=1, label=label)
        # Above and below in turn, as neighbours may be close.
        offsets = itertools.cycle([(3, 2), (3, -6)])
        for (x, y, _), text, offset in zip(curve.points, curve.labels, offsets, strict=False):
            axis.annotate(text, (x, y), fontsize=5.5, xytext=offset, textcoords="offset points")
    for scale, values in (
        (axis.set_xscale, [x for curve in curves for x, _, _ in curve.points]),
        (axis.set_yscale, [y for curve in curves for _, y, _ in curve.points]),
    ):
        if values and min(values) > 0 and max(values) > RANGE * min(values):
            scale("log")
    axis.margins(0.12)
    axis.set_facecolor("none")
    axis.tick_params(labelsize=6, which="both")
    axis.set_xlabel(curves[0].x, fontsize=6.5, labelpad=1)
    axis.set_ylabel(curves[0].y, fontsize=6.5, labelpad=1)
    above = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": 2, "borderaxespad": 0.2}
    axis.legend(fontsize=5.5, **above)


def likelihood(path: str | os.PathLike[str] | None, cells: Iterable[Cell]) -> Any:
    """Likelihoods of test rows by the number of samples: a panel for each measure.

    Args:
        path: the PNG file; None for a figure that is only returned.
        cells: the table's.

    Returns:
        The figure; None if there is no such curve.
    """
    held = [cell for cell in cells if cell.row == "likelihood"]
    curves = [curve for cell in held for curve in cell.curves]
    if not curves:
        return None
    names = list(dict.fromkeys(curve.name for curve in curves))
    colours = dict(zip(dict.fromkeys(curve.run for curve in curves), itertools.cycle(_MANY)))
    with _style.drawing(4.6 * len(names) + 0.4, 4.2) as figure:
        axes = figure.subplots(1, len(names), squeeze=False)[0]
        for axis, name in zip(axes, names, strict=True):
            for curve in curves:
                if curve.name == name:
                    xs, ys, errors = zip(*curve.points, strict=True)
                    axis.errorbar(
                        xs,
                        ys,
                        yerr=errors,
                        fmt="o-",
                        ms=4,
                        lw=1.4,
                        capsize=3,
                        color=colours[curve.run],
                        label=curve.run if axis is axes[0] else None,
                    )
                    for (x, y, _), text in zip(curve.points, curve.labels, strict=False):
                        axis.annotate(
                            text, (x, y), fontsize=6, xytext=(4, -8), textcoords="offset points"
                        )
            axis.set(xscale="log", xlabel="samples", ylabel="nats", title=_TITLES.get(name, name))
            axis.grid(color=GREY, alpha=0.2, lw=0.8)
        for cell in held:
            for number in cell.numbers:
                if number.name in _BOUNDS and number.value is not None:
                    colour = colours[number.run]
                    axes[0].axhline(number.value, color=colour, lw=1, ls=":")
                    axes[0].annotate(
                        f"{number.run}: {number.name}",
                        (0.02, number.value),
                        xycoords=("axes fraction", "data"),
                        fontsize=7,
                        color=colour,
                        va="bottom",
                    )
        _style.legend(axes[0])
        return _style.save(path, figure)


_MANY = (BLUE, GREEN, ORANGE, CYCLE[3], INK, GREY)
_TITLES = {
    "CSL": "conservative likelihood, binary test rows",
    "Parzen": "Parzen likelihood, grey test rows",
}
_BOUNDS = ("importance-weighted bound", "importance-weighted bound by AIS")


def cost(path: str | os.PathLike[str] | None, cells: Iterable[Cell]) -> Any:
    """The cost of an effective sample: a panel for each kind of cost, a dot for each run.

    Args:
        path: the PNG file; None for a figure that is only returned.
        cells: the table's.

    Returns:
        The figure; None if no cost was measured.
    """
    numbers = [
        number
        for cell in cells
        if cell.row == "sampling"
        for number in cell.numbers
        if "per effective sample" in number.name and number.value is not None
    ]
    if not numbers:
        return None
    names = list(dict.fromkeys(number.name for number in numbers))
    runs = list(dict.fromkeys(number.run for number in numbers))
    with _style.drawing(3.4 * len(names) + 1, 1.3 + 0.4 * len(runs)) as figure:
        axes = figure.subplots(1, len(names), squeeze=False, sharey=True)[0]
        for axis, name in zip(axes, names, strict=True):
            for number in numbers:
                if number.name == name:
                    height = -runs.index(number.run)
                    marker = ">" if number.at_least else "o"
                    axis.plot(number.value, height, marker, color=BLUE, ms=6)
                    axis.annotate(
                        format_number(number),
                        (number.value, height),
                        xytext=(0, 6),
                        textcoords="offset points",
                        ha="center",
                        fontsize=8,
                    )
            axis.set(xscale="log", ylim=(0.6 - len(runs), 0.8))
            axis.xaxis.set_minor_formatter("")
            axis.set_title(name.replace(" per effective", "\nper effective"))
            axis.margins(x=0.3)
            axis.grid(axis="x", color=GREY, alpha=0.2, lw=0.8)
            axis.tick_params(axis="y", length=0)
        axes[0].set_yticks([-number for number in range(len(runs))], runs, parse_math=False)
        return _style.save(path, figure)
