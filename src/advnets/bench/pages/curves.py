"""A run's metrics as panels that the page draws."""

from collections.abc import Mapping, Sequence
from typing import Any

from advnets.bench.pages.reading import thinned

Row = Mapping[str, Any]
# The panels of a game in which D(x) is a probability: their series by player and name.
GAME = (
    (
        "The game",
        "nats",
        {"V(D, G)": ("discriminator", "value"), "G's cost": ("generator", "cost")},
        (-1.3863, "−log 4"),
    ),
    (
        "D's mean output",
        "probability",
        {
            "on data": ("discriminator", "real_output"),
            "on samples": ("discriminator", "fake_output"),
        },
        (0.5, "½"),
    ),
    (
        "D's error rate",
        "",
        {
            "on data": ("discriminator", "real_error"),
            "on samples": ("discriminator", "fake_error"),
        },
        None,
    ),
)
NOT_CURVES = ("validation", "average", "monitor")


def panels(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The panels of one run.

    Args:
        rows: its metrics.

    Returns:
        A dictionary for each: `title`, `unit`, `series`, and a `guide` if there is one.
    """
    if not rows:
        return []
    found = [_likelihood([("validation rows", rows)])]
    parts = {name: part for row in reversed(rows) for name, part in row.items()}
    shown = {n: p for n, p in parts.items() if isinstance(p, Mapping) and n not in NOT_CURVES}
    game = "value" in rows[0].get("discriminator", {})
    if game:
        for title, unit, names, guide in GAME:
            series = [_series(rows, label, *path) for label, path in names.items()]
            found.append({"title": title, "unit": unit, "series": series, "guide": guide})
        shown = {n: p for n, p in shown.items() if n not in ("discriminator", "generator")}
    for name, part in shown.items():
        series = [
            _series(rows, label.replace("_", " "), name, label)
            for label, value in part.items()
            if isinstance(value, int | float)
        ]
        found.append({"title": name.capitalize(), "unit": "", "series": series, "guide": None})
    if not game:
        alone = [n for n, v in rows[0].items() if isinstance(v, int | float) and n != "epoch"]
        found += [
            {"title": name, "unit": "", "series": [_series(rows, name, name)], "guide": None}
            for name in alone
            if name not in ("bandwidth", "at_grid_end")
        ]
    return [panel for panel in found if any(series["x"] for series in panel["series"])]


def compared(runs: Sequence[tuple[str, Sequence[Row]]]) -> list[dict[str, Any]]:
    """The panels of several runs, overlaid.

    Args:
        runs: their names and metrics.

    Returns:
        Dictionaries as for one run.
    """
    found = [_likelihood(runs)]
    for title, unit, names, guide in GAME:
        for label, path in names.items():
            series = [_series(rows, name, *path) for name, rows in runs]
            heading = label if title == "The game" else f"{title} {label}"
            guided = None if label == "G's cost" else guide
            found.append({"title": heading, "unit": unit, "series": series, "guide": guided})
    return [panel for panel in found if any(series["x"] for series in panel["series"])]


def _likelihood(runs: Sequence[tuple[str, Sequence[Row]]]) -> dict[str, Any]:
    series = []
    for name, rows in runs:
        scored = thinned([row for row in rows if row.get("validation")])
        series.append(
            {
                "name": name,
                "x": [row["epoch"] for row in scored],
                "y": [row["validation"].get("mean") for row in scored],
                "error": [row["validation"].get("standard_error") for row in scored],
            }
        )
    title = "Parzen log-likelihood of validation rows"
    return {"title": title, "unit": "nats", "series": series, "guide": None}


def _series(rows: Sequence[Row], name: str, *path: str) -> dict[str, Any]:
    x, y = [], []
    for row in thinned(list(rows)):
        value: Any = row
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        if isinstance(value, int | float):
            x.append(row["epoch"])
            y.append(value)
    return {"name": name, "x": x, "y": y}
