"""Plots of the comparison of stabilisers: samples with the modes, and shares over seeds."""

import math
import os
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from advnets import _style
from advnets._counts import check_count
from advnets.bench.modes.gaussians import TRUE_SHARE, Gaussians
from advnets.bench.modes.scores import Scores, Setting

PANEL = 2.3


Column = Literal["found", "covered", "share", "divergence"]


def format_score(scores: Scores | None, column: Column) -> str:
    """A score as text: mean and standard deviation over seeds.

    Args:
        scores: the scores; None if all seeds diverged.
        column: which of them.

    Returns:
        The text.
    """
    if scores is None:
        return "–"
    found = getattr(scores, column)
    digits = 1 if column in ("found", "covered") else 2
    spread = found.standard_deviation
    return f"{found.mean:.{digits}f}" + ("" if spread is None else f" ± {spread:.{digits}f}")


def samples(
    path: str | os.PathLike[str] | None, data: Gaussians, settings: Sequence[Setting]
) -> Any:
    """A panel for each method: samples of the seed with the median share, and the modes.

    Args:
        path: the PNG file; None for a figure that is only returned.
        data: the distribution.
        settings: one for each method.

    Returns:
        The figure.

    Raises:
        ValueError: for no setting.
    """
    check_count("the number of settings", len(settings))
    columns = math.ceil(math.sqrt(len(settings)))
    rows = math.ceil(len(settings) / columns)
    reach = 1.3 * float(np.abs(data.centres).max())
    with _style.drawing(PANEL * columns, (PANEL + 0.4) * rows) as figure:
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for panel in panels:
            panel.set_axis_off()
        for panel, one in zip(panels, settings, strict=False):
            panel.plot(*data.centres.T, "+", color=_style.GREY, markersize=5)
            if one.shown:
                panel.plot(*np.array(one.shown).T, ".", color=_style.BLUE, markersize=2, alpha=0.5)
            covered, share = (format_score(one.last, column) for column in ("covered", "share"))
            caption = f"{covered} of {one.modes}; share {share}"
            panel.set_title(f"{one.method}\n{caption}", fontsize=_style.SMALL)
            panel.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        return _style.save(path, figure)


def shares(path: str | os.PathLike[str] | None, settings: Sequence[Setting]) -> Any:
    """Modes covered and share of good samples of each seed, by method; two panels per data set.

    Args:
        path: the PNG file; None for a figure that is only returned.
        settings: the settings on all data.

    Returns:
        The figure.

    Raises:
        ValueError: for no setting.
    """
    check_count("the number of settings", len(settings))
    names = list(dict.fromkeys(one.data for one in settings))
    methods = list(dict.fromkeys(one.method for one in settings))
    with _style.drawing(1.5 + 4.4 * len(names), 1.4 + 0.5 * len(methods)) as figure:
        panels = figure.subplots(1, 2 * len(names), sharey=True, squeeze=False)[0]
        for pair, name in zip(panels.reshape(-1, 2), names, strict=True):
            for panel, column in zip(pair, ("covered", "share"), strict=True):
                for one in (one for one in settings if one.data == name):
                    place = methods.index(one.method)
                    for scores, away, colour in (
                        (one.last, -0.15, _style.BLUE),
                        (one.averaged, 0.15, _style.GREEN),
                    ):
                        if scores is not None:
                            _strip(panel, getattr(scores, column), place + away, colour)
                truth = TRUE_SHARE if column == "share" else _modes_of(settings, name)
                panel.axvline(truth, color=_style.INK, linewidth=0.8, linestyle=":")
                label = "share within 3 sd" if column == "share" else "modes covered"
                panel.set(xlabel=f"{name}: {label}", xlim=(-0.04 * truth, 1.06 * truth))
                panel.set_xticks([0, 0.5, 1] if column == "share" else [0, truth // 2, truth])
        panels[0].set_yticks(range(len(methods)), methods)
        panels[0].invert_yaxis()
        for label, colour in (("G", _style.BLUE), ("average of G", _style.GREEN)):
            panels[0].plot([], [], ".", color=colour, label=label)
        panels[0].plot([], [], ":", color=_style.INK, label="data")
        _style.legend(panels[0])
        return _style.save(path, figure)


def _modes_of(settings: Sequence[Setting], data: str) -> int:
    return next(one.modes for one in settings if one.data == data)


def _strip(panel: Any, found: Any, height: float, colour: str) -> None:
    """A dot for each seed, and a bar at their mean."""
    spread = np.linspace(-0.1, 0.1, found.n) if found.n > 1 else [0.0]
    panel.plot(found.values, height + np.array(spread), ".", color=colour, markersize=4, alpha=0.6)
    panel.plot([found.mean] * 2, [height - 0.14, height + 0.14], color=colour, linewidth=2)
