"""A monitor's findings: how far the game is from equilibrium, and whether samples are alike."""

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from advnets import _documents
from advnets._counts import counted
from advnets.bench.folders import METRICS
from advnets.bench.pages.reading import Seen
from advnets.bench.pages.sections.base import Section

TEMPLATE = """
<p class="lead">At each evaluation a copy of D was trained alone, against G held fixed; D* is that
copy at its best step. All numbers are measured on held-out rows, without dropout.</p>
{% for line in lines %}<p>{{ line }}</p>
{% endfor %}
{% for line in alarms %}<p class="bad">{{ line }}</p>
{% endfor %}
{% if alarms %}<p>For remedies see "When a game collapses", docs/collapse.md.</p>{% endif %}
{{ parts.charts(panels) }}
<div class="scroll"><table>
<tr><th>samples, relative to the same number of held-out rows, epoch {{ epoch }}</th><th>ratio</th>
<th>lowest between halves of the data</th></tr>
{% for one in table %}<tr><td>{{ one.name }}</td><td class="number">{{ one.ratio }}</td>
<td class="number">{{ one.least }}</td></tr>
{% endfor %}</table></div>
<p class="soft">{{ repeats }} Any D gives a lower bound: a small one may mean that D* was not found.
There is an alarm when a ratio is below those of all halvings and below one quarter, or when samples
repeat far more than data (p at most 0.01, and fewer distinct samples than were drawn), at two
evaluations in a row; marks below the curves are alarms.</p>
"""
RATIOS = {
    "spread": "spread (standard deviation)",
    "effective_rank": "effective rank of the covariance",
    "neighbours": "median distance to the nearest neighbour",
}
NAMES = {**RATIOS, "duplicates": "duplicates"}
LABELS = {"spread": "spread", "effective_rank": "effective rank", "neighbours": "neighbours"}


class _About(msgspec.Struct, frozen=True):
    """A mean in a row of metrics, and its standard error."""

    mean: float | None
    standard_error: float | None

    def __str__(self) -> str:
        return f"{_number(self.mean, 3)} ± {_number(self.standard_error, 3)}"


class _Noise(msgspec.Struct, frozen=True):
    """The divergence with noise added to data and samples."""

    scale: float
    divergence: _About


class _Found(msgspec.Struct, frozen=True):
    """A monitor's entry in a row of metrics, see [`advnets.monitor.Monitor`][]."""

    value: _About
    best_value: _About
    regret: _About
    divergence: _About
    overfitting: _About
    step: int
    curve: list[float | None]
    curve_every: int
    samples: int
    spread: float | None
    effective_rank: float | None
    neighbours: float | None
    least: dict[str, float | None]
    alarms: list[str]
    p_value: float | None = None
    support: float | None = None
    noise: list[_Noise] = []

    def number(self, name: str) -> float | None:
        """The number that an alarm of this name is about."""
        return getattr(self, "support" if name == "duplicates" else name)


_Rows = Sequence[tuple[int, _Found]]


def _gather(seen: Seen) -> dict[str, Any] | None:
    log = seen.folder / METRICS
    rows = [
        (row["epoch"], _documents.convert(row["monitor"], _Found, log))
        for row in seen.rows
        if row.get("monitor")
    ]
    if not rows:
        return None
    epoch, last = rows[-1]
    return {
        "lines": _lines(last, epoch),
        "alarms": [line for name in NAMES if (line := _alarm(rows, name))],
        "panels": _panels(rows),
        "epoch": epoch,
        "table": [
            {
                "name": label,
                "ratio": _number(last.number(name), 2),
                "least": _number(last.least.get(name), 2),
            }
            for name, label in RATIOS.items()
        ],
        "repeats": _repeats(last),
    }


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def _lines(last: _Found, epoch: int) -> list[str]:
    noise = "".join(
        f", and {one.divergence} with normal noise of {one.scale:.2g} on both" for one in last.noise
    )
    steps = counted((len(last.curve) - 1) * last.curve_every, "step")
    return [
        f"Epoch {epoch}: V(D, G) is {last.value}, and {last.best_value} after training D alone "
        f"for {last.step} of {steps}, so the regret of D is {last.regret} nats.",
        f"The Jensen-Shannon divergence of samples from data is at least {last.divergence} nats"
        f"{noise}; at log 2 = 0.693 some D tells them apart without error. E log D* is "
        f"{last.overfitting} higher on training rows than on held-out rows.",
    ]


def _alarm(rows: _Rows, name: str) -> str:
    alarmed = [(epoch, found) for epoch, found in rows if name in found.alarms]
    if not alarmed:
        return ""
    number = alarmed[-1][1].number(name)
    if name == "duplicates":
        text = f"as draws from {_number(number, 0)} different samples"
    else:
        text = f"{_number(number, 3)} of held-out rows"
    epochs = ", ".join(f"{epoch}" for epoch, _ in alarmed)
    return f"Alarm, {NAMES[name]}: {text}. Epochs: {epochs}."


def _repeats(last: _Found) -> str:
    if last.p_value is None:
        return "Too few training rows to test for repeats."
    if last.support is None:
        text = "none is closer than all compared pairs of training rows"
    else:
        text = (
            "those closer than any pair of training rows are as frequent as in draws from "
            f"{last.support:,.0f} different samples"
        )
    return f"Of all pairs of {last.samples:,} samples, {text} (p = {last.p_value:.2f})."


def _noisy(rows: _Rows) -> list[dict[str, Any]]:
    """The bounds at each noise scale of the last row."""
    found = []
    for number, last in enumerate(rows[-1][1].noise):
        here = [
            (epoch, one.noise[number].divergence) for epoch, one in rows if number < len(one.noise)
        ]
        found.append(
            {
                "name": f"with noise of {last.scale:.2g}",
                "x": [epoch for epoch, _ in here],
                "y": [one.mean for _, one in here],
                "error": [one.standard_error for _, one in here],
            }
        )
    return found


def _panels(rows: _Rows) -> list[dict[str, Any]]:
    epochs = [epoch for epoch, _ in rows]

    def estimates(label: str, name: str) -> dict[str, Any]:
        about = [getattr(found, name) for _, found in rows]
        means, errors = [one.mean for one in about], [one.standard_error for one in about]
        return {"name": label, "x": epochs, "y": means, "error": errors}

    found = [
        {
            "title": "V, held-out rows",
            "unit": "nats",
            "series": [estimates("V(D, G)", "value"), estimates("V(D*, G)", "best_value")],
            "guide": (-math.log(4), "−log 4"),
        },
        {
            "title": "Jensen-Shannon divergence, at least",
            "unit": "nats",
            "series": [estimates("as they are", "divergence"), *_noisy(rows)],
            "guide": (math.log(2), "log 2"),
            "range": (0.0, math.log(2)),
        },
        {
            "title": "Samples relative to held-out rows",
            "unit": "",
            "series": [
                {"name": label, "x": epochs, "y": [found.number(name) for _, found in rows]}
                for name, label in LABELS.items()
            ],
            "guide": (1.0, "1"),
        },
    ]
    marks = [epoch for epoch, found in rows if found.alarms]
    epoch, last = rows[-1]
    steps = [number * last.curve_every for number in range(len(last.curve))]
    alone = {
        "title": f"V while D trains alone, epoch {epoch}",
        "unit": "nats",
        "series": [{"name": "V on the rows that choose a step", "x": steps, "y": last.curve}],
        "guide": (-math.log(4), "−log 4"),
        "of": "step",
    }
    return [*(panel | {"marks": marks} for panel in found), alone]


SECTION = Section("equilibrium", "Equilibrium and collapse", TEMPLATE, _gather)
