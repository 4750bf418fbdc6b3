"""A figure of the gap between a game and its equilibrium during training."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from advnets import _style
from advnets._style import BLUE, GREEN, GREY, INK, ORANGE

# The monitor's entry in a row of metrics.
NAME = "monitor"
RED = "#b3261e"
# The ratios of samples to real rows, as they are drawn.
RATIOS = {
    "spread": ("spread", BLUE),
    "effective_rank": ("effective rank", GREEN),
    "neighbours": ("distance of neighbours", ORANGE),
}


def figure(
    path: str | os.PathLike[str] | None, metrics: Sequence[Mapping[str, Any]], *, title: str = ""
) -> Any:
    """Draws what a monitor found during a run; evaluations with an alarm are marked in red.

    Args:
        path: the PNG file to write; None to only return the figure.
        metrics: one row for each epoch, as in `Trained.metrics`.
        title: a line above the panels.

    Returns:
        The Matplotlib figure, which a notebook displays.

    Raises:
        ValueError: if no row has a monitor's entry.

    Example:
        >>> import advnets
        >>> def about(mean):
        ...     return {"mean": mean, "standard_error": 0.01}
        >>> found = {
        ...     "value": about(-0.9), "best_value": about(-0.1), "divergence": about(0.64),
        ...     "spread": 0.9, "effective_rank": 0.8, "neighbours": 0.9, "alarms": [],
        ... }
        >>> rows = [{"epoch": 10, "monitor": found}, {"epoch": 20, "monitor": found}]
        >>> drawn = advnets.monitor.figure("monitor.png", rows)
    """
    rows = [row for row in metrics if row.get(NAME)]
    if not rows:
        raise ValueError(
            "no row of the metrics has a monitor's entry; train with "
            "callbacks=[advnets.monitor.Monitor(...)]"
        )
    epochs, found = [row["epoch"] for row in rows], [row[NAME] for row in rows]
    with _style.drawing(11, 3.6) as drawn:
        values, bound, ratios = drawn.subplots(1, 3)
        for name, label, colour in (
            ("value", "V(D, G)", BLUE),
            ("best_value", "V(D*, G)", INK),
        ):
            _line(values, epochs, [one[name] for one in found], label, colour)
        values.axhline(-math.log(4), color=GREY, lw=0.8, ls=":", label="−log 4")
        values.set_ylabel("nats, on held-out rows")
        _line(bound, epochs, [one["divergence"] for one in found], "JSD, at least", INK)
        for number, last in enumerate(found[-1].get("noise", [])):
            here = [
                (epoch, one["noise"][number]["divergence"])
                for epoch, one in zip(epochs, found, strict=True)
                if number < len(one.get("noise", []))
            ]
            label, colour = f"with noise of {last['scale']:.2g}", _style.CYCLE[number % 5]
            _line(bound, [epoch for epoch, _ in here], [one for _, one in here], label, colour)
        bound.axhline(math.log(2), color=GREY, lw=0.8, ls=":", label="log 2")
        bound.set(ylabel="nats", ylim=(-0.02, 0.75))
        for name, (label, colour) in RATIOS.items():
            numbers = [math.nan if one[name] is None else one[name] for one in found]
            ratios.plot(epochs, numbers, color=colour, marker="o", ms=3, lw=1.2, label=label)
        ratios.axhline(1, color=GREY, lw=0.8, ls=":")
        ratios.set(ylabel="samples / held-out rows")
        ratios.set_ylim(bottom=-0.03)
        alarmed = [epoch for epoch, one in zip(epochs, found, strict=True) if one.get("alarms")]
        for axis in (values, bound, ratios):
            if alarmed:
                place = {"transform": axis.get_xaxis_transform(), "clip_on": False}
                heights = [0.0] * len(alarmed)
                axis.plot(alarmed, heights, "^", color=RED, ms=7, ls="", label="alarm", **place)
            axis.set_xlabel("epoch")
            axis.xaxis.get_major_locator().set_params(integer=True)
            _style.legend(axis, above=True)
        drawn.suptitle(title, parse_math=False)
        return _style.save(path, drawn)


def _line(axis: Any, epochs: list[int], found: list[Any], label: str, colour: str) -> None:
    means, errors = (
        [math.nan if one[part] is None else one[part] for one in found]
        for part in ("mean", "standard_error")
    )
    axis.errorbar(
        epochs, means, errors, color=colour, marker="o", ms=3, lw=1.2, capsize=2, label=label
    )
