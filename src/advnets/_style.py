"""The style of all pictures, of runs and of claims: colours, sizes and legends."""

import contextlib
import functools
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from advnets import _files
from advnets._extras import needed_for

INK, GREEN, BLUE, GREY = "#222222", "#2a7f3f", "#2457a6", "#777777"
ORANGE, PURPLE = "#c8641e", "#7a3b8f"
# The colours of lines, in turn.
CYCLE = (BLUE, GREEN, ORANGE, PURPLE, GREY)
DPI = 110
SMALL = 9
# The width of a legend's entry without its text, and of a letter, in inches.
HANDLE, LETTER = 0.65, 0.075


@functools.cache
def _settings() -> dict[str, Any]:
    """Matplotlib's settings, under which a picture does not depend on the user's own."""
    with needed_for("pictures"):
        from matplotlib.rcsetup import cycler

    return {
        "axes.edgecolor": INK,
        "axes.facecolor": "white",
        "axes.labelcolor": INK,
        "axes.prop_cycle": cycler(color=CYCLE),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlesize": 10,
        "figure.facecolor": "white",
        "font.family": "DejaVu Sans",
        "font.size": 10,
        "legend.fontsize": SMALL,
        "legend.frameon": False,
        "legend.title_fontsize": SMALL,
        "text.color": INK,
        "text.usetex": False,
        "xtick.color": INK,
        "ytick.color": INK,
    }


@functools.cache
def _kind() -> Any:
    with needed_for("pictures"):
        from matplotlib.figure import Figure

    class Drawn(Figure):
        """A figure that a notebook shows, whether or not pyplot was imported."""

        def _repr_png_(self) -> bytes:
            return png(self)

    return Drawn


@contextlib.contextmanager
def drawing(width: float, height: float, **settings: Any) -> Iterator[Any]:
    """A context for drawing a figure: an empty one, in this style.

    Args:
        width: the figure's width, in inches.
        height: its height, in inches.
        settings: further settings of matplotlib's figure.

    Yields:
        The figure.
    """
    with needed_for("pictures"):
        import matplotlib
    style: Any = _settings()
    with matplotlib.rc_context(style):
        yield _kind()(figsize=(width, height), **({"layout": "constrained"} | settings))


def png(figure: Any) -> bytes:
    """A figure as a PNG file."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DPI)
    return content.getvalue()


def save(path: str | os.PathLike[str] | None, figure: Any) -> Any:
    """Writes a figure atomically; without a path, only returns it."""
    if path is not None:
        place, content = Path(path), io.BytesIO()
        figure.savefig(content, format=place.suffix[1:] or "png", dpi=DPI)
        _files.replace(place, content.getvalue())
    return figure


def legend(axis: Any, title: str = "", *, above: bool = False) -> None:
    """A legend of a panel's lines that covers none of them, at any size.

    Args:
        axis: the panel.
        title: the legend's title.
        above: put it right above its own panel, which then has no title, not above all panels.
    """
    handles, labels = axis.get_legend_handles_labels()
    if not labels:
        return
    figure = axis.figure
    panels = len({a.get_position().x0 for a in figure.axes}) if above else 1
    room = figure.get_figwidth() / panels
    columns = max(1, int(room / (HANDLE + LETTER * max(map(len, labels)))))
    settings = {"ncols": min(len(labels), columns), "title": title or None, "alignment": "left"}
    if above:
        place = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2}
        axis.legend(handles, labels, **settings, **place)
    else:
        figure.legend(handles, labels, loc="outside upper left", **settings)
