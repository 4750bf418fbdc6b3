"""How far the game is from its equilibrium, and whether samples are alike: what a monitor found."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from advnets.bench.pages.reading import Seen, counted
from advnets.bench.pages.sections.base import Section

TEMPLATE = """
<p class="lead">At each evaluation a copy of D was trained alone, against G as it was; D* is that
copy at its best step. All numbers are of held-out rows, without dropout.</p>
{% for line in lines %}<p>{{ line }}</p>
{% endfor %}
{% for line in alarms %}<p class="bad">{{ line }}</p>
{% endfor %}
{{ parts.charts(panels) }}
<div class="scroll"><table>
<tr><th>samples, relative to as many held-out rows, epoch {{ epoch }}</th><th>ratio</th><th>least
between halves of the data</th></tr>
{% for one in table %}<tr><td>{{ one.name }}</td><td class="number">{{ one.ratio }}</td>
<td class="number">{{ one.least }}</td></tr>
{% endfor %}</table></div>
<p class="soft">{{ repeats }} Any D gives a lower bound: a small one may mean that D* was not found.
An alarm is of what is below all halvings and below one half, at two evaluations running.</p>
"""
RATIOS = {
    "spread": "spread (standard deviation)",
    "effective_rank": "effective rank of the covariance",
    "neighbours": "median distance to the nearest neighbour",
}
NAMES = {**RATIOS, "duplicates": "duplicates"}


def _gather(seen: Seen) -> dict[str, Any] | None:
    rows = [row for row in seen.rows if isinstance(row.get("monitor"), Mapping)]
    if not rows:
        return None
    last = rows[-1]["monitor"]
    alarmed = [row for row in rows if row["monitor"].get("alarms")]
    return {
        "lines": _lines(last, rows[-1]["epoch"]),
        "alarms": [_alarm(alarmed, name) for name in NAMES if _since(alarmed, name)],
        "panels": _panels(rows, [row["epoch"] for row in alarmed]),
        "epoch": rows[-1]["epoch"],
        "table": [
            {
                "name": label,
                "ratio": _number(last.get(name), 2),
                "least": _number((last.get("least") or {}).get(name), 2),
            }
            for name, label in RATIOS.items()
        ],
        "repeats": _repeats(last),
    }


def _number(value: Any, digits: int) -> str:
    if not isinstance(value, int | float):
        return "–"
    return f"{value:.{digits}f}".replace("-", "−")


def _mean(last: Mapping[str, Any], name: str) -> str:
    found = last.get(name) or {}
    return f"{_number(found.get('mean'), 3)} ± {_number(found.get('standard_error'), 3)}"


def _lines(last: Mapping[str, Any], epoch: int) -> list[str]:
    curve = last.get("curve") or [0]
    steps = (len(curve) - 1) * int(last.get("curve_every") or 0)
    overfitting = _mean(last, "overfitting")
    return [
        f"Epoch {epoch}: V(D, G) is {_mean(last, 'value')}, and {_mean(last, 'best_value')} after "
        f"{last.get('step')} of {counted(steps, 'step')} of D alone, so the regret of D is "
        f"{_mean(last, 'regret')} nats.",
        f"The Jensen-Shannon divergence of samples from data is at least "
        f"{_mean(last, 'divergence')} nats; at log 2 = 0.693 some D tells them apart without an "
        f"error. E log D* is {overfitting} higher on training rows than on held-out rows.",
    ]


def _since(alarmed: Sequence[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    return [row for row in alarmed if name in row["monitor"]["alarms"]]


def _alarm(alarmed: Sequence[Mapping[str, Any]], name: str) -> str:
    rows = _since(alarmed, name)
    epochs = ", ".join(f"{row['epoch']}" for row in rows)
    value = rows[-1]["monitor"].get("support" if name == "duplicates" else name)
    if name == "duplicates":
        found = f"some {_number(value, 0)} different samples"
    else:
        found = f"{_number(value, 3)} of held-out rows"
    return f"Alarm, {NAMES[name]}: {found}. Epochs: {epochs}. See docs/collapse.md."


def _repeats(last: Mapping[str, Any]) -> str:
    p_value, support = last.get("p_value"), last.get("support")
    if p_value is None:
        return "Too few training rows to test for repeats."
    if support is None:
        found = f"none is closer than any pair of training rows looked at (p = {p_value:.2f})"
    else:
        found = (
            f"pairs closer than any of training rows are as frequent as among {support:,.0f} "
            f"equally likely images (closest pair: p = {p_value:.2f})"
        )
    return f"Of pairs of {last.get('samples'):,} samples {found}."


def _panels(rows: Sequence[Mapping[str, Any]], marks: list[int]) -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = [
        {
            "title": "V, held-out rows",
            "unit": "nats",
            "series": [_estimates(rows, "V(D, G)", "value"),
                       _estimates(rows, "V(D*, G)", "best_value")],
            "guide": (-math.log(4), "−log 4"),
        },
        {
            "title": "Jensen-Shannon divergence, at least",
            "unit": "nats",
            "series": [_estimates(rows, "JSD", "divergence")],
            "guide": (math.log(2), "log 2"),
        },
        {
            "title": "Samples relative to held-out rows",
            "unit": "",
            "series": [_series(rows, label.split(" (")[0], name) for name, label in RATIOS.items()],
            "guide": (1.0, "1"),
        },
    ]  # fmt: skip
    last = rows[-1]["monitor"]
    if last.get("curve"):
        steps = [number * int(last.get("curve_every") or 1) for number in range(len(last["curve"]))]
        panels.append(
            {
                "title": f"V while D trains alone, epoch {rows[-1]['epoch']}",
                "unit": "nats",
                "series": [{"name": "V on rows that choose", "x": steps, "y": last["curve"]}],
                "guide": (-math.log(4), "−log 4"),
                "of": "step",
            }
        )
    for panel in panels:
        if "of" not in panel:
            panel["marks"] = marks
    return [panel for panel in panels if any(series["x"] for series in panel["series"])]


def _estimates(rows: Sequence[Mapping[str, Any]], label: str, name: str) -> dict[str, Any]:
    found = [row["monitor"].get(name) or {} for row in rows]
    return {
        "name": label,
        "x": [row["epoch"] for row in rows],
        "y": [one.get("mean") for one in found],
        "error": [one.get("standard_error") for one in found],
    }


def _series(rows: Sequence[Mapping[str, Any]], label: str, name: str) -> dict[str, Any]:
    return {
        "name": label,
        "x": [row["epoch"] for row in rows],
        "y": [row["monitor"].get(name) for row in rows],
    }


SECTION = Section("equilibrium", "Equilibrium and collapse", TEMPLATE, _gather)
