"""What a run of the claims leaves behind: a table to read, JSON, pictures, one HTML page."""

import base64
import json
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from advnets import _files, _style
from advnets._extras import needed_for
from advnets.verify.registry import CLAIMS, Finding, Outcome

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>advnets.verify</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse } td, th { padding: .2rem .8rem .2rem 0; text-align: left }
section { border-top: 1px solid #bbb; margin-top: 2rem } img { max-width: 100% }
.holds { color: #06662b } .fails, .error { color: #b00020; font-weight: bold }
</style>
<h1>The paper's theory, claim by claim</h1>
<p>{{ summary }}. Residuals and tolerances are in the units of each claim's computation.</p>
<table><tr><th>claim</th><th>verdict</th><th>residual</th><th>tolerance</th></tr>
{% for row in rows %}<tr><td><a href="#{{ row.id }}">{{ row.id }}</a></td>
<td class="{{ row.verdict }}">{{ row.worded }}</td><td>{{ row.residual }}</td>
<td>{{ row.tolerance }}</td></tr>
{% endfor %}</table>
{% for row in rows %}<section id="{{ row.id }}"><h2>{{ row.id }}</h2>
<p>{{ row.statement }} <em>{{ row.source }}.</em></p>
<p><strong>Computed:</strong> {{ row.computes }}</p>
<p><strong>Verdict:</strong> <span class="{{ row.verdict }}">{{ row.worded }}</span>{% if row.why
%} ({{ row.why }}){% endif %}. Residual {{ row.residual }}, tolerance {{ row.tolerance }}:
{{ row.reason }}</p>
{% if row.measured %}<table>{% for name, value in row.measured.items() %}<tr><td>{{ name }}</td>
<td>{{ value }}</td></tr>{% endfor %}</table>{% endif %}
<p><strong>Planted faults that it catches:</strong> {{ row.faults | join("; ") }}.</p>
{% if row.picture %}<img alt="{{ row.id }}"
 src="data:image/png;base64,{{ row.picture }}">{% endif %}
</section>
{% endfor %}</html>
"""


def summary(outcomes: Sequence[Outcome]) -> str:
    """How many claims came to each verdict, in words.

    Args:
        outcomes: of the claims.

    Returns:
        Such as `44 claims: 43 hold, 1 not run`.

    Example:
        >>> from advnets import verify
        >>> from advnets.verify.report import summary
        >>> summary([verify.run_claim(verify.CLAIMS["thm1-disjoint"])])
        '1 claim: 1 holds'
    """
    counts: dict[str, int] = {}
    for outcome in outcomes:
        counts[outcome.verdict] = counts.get(outcome.verdict, 0) + 1
    plurals = {"holds": "hold", "fails": "fail", "error": "broke off"}
    said = [f"{n} {plurals.get(v, v) if n > 1 else v}" for v, n in counts.items()]
    plural = "" if len(outcomes) == 1 else "s"
    return f"{len(outcomes)} claim{plural}: " + ", ".join(said)


def line(outcome: Outcome) -> str:
    """An outcome as a line of the table in the terminal.

    Args:
        outcome: of a claim.

    Returns:
        Name, residual, tolerance, seconds and verdict.
    """
    claim = outcome.claim
    left = f"{claim.id:<28} {_number(outcome.finding):>9} ≤ {claim.tolerance:<8.3g}"
    verdict = outcome.worded + (f": {outcome.why}" if outcome.why else "")
    return f"{left} {outcome.seconds:5.1f} s  {textwrap.shorten(verdict, 60, placeholder=' ...')}"


def as_json(outcome: Outcome) -> dict[str, Any]:
    """An outcome in plain numbers, strings, lists and dictionaries.

    Args:
        outcome: of a claim.

    Returns:
        The claim's texts, verdict, residual, tolerance and figures; and, unless it holds, the case
        with which to replay it.
    """
    claim, finding = outcome.claim, outcome.finding
    row: dict[str, Any] = {
        "id": claim.id,
        "statement": claim.statement,
        "source": claim.source,
        "computes": claim.computes,
        "tolerance": claim.tolerance,
        "reason": claim.reason,
        "condition": claim.condition,
        "faults": [fault.description for fault in claim.faults],
        "verdict": outcome.verdict,
        "why": outcome.why,
        "seed": outcome.seed,
        "seconds": round(outcome.seconds, 3),
        "residual": None if finding is None else _plain(finding.residual),
        "measured": {} if finding is None else _plain(dict(finding.measured)),
    }
    if finding is not None and outcome.verdict == "fails":
        row["counterexample"] = _plain(dict(finding.worst))
    return row


def write(folder: Path, outcomes: Sequence[Outcome], facts: dict[str, Any]) -> None:
    """Writes `claims.json`, a picture for each claim that has one, and `report.html`.

    Args:
        folder: where; it is made, and what is there of these files is replaced.
        outcomes: of the claims.
        facts: what else `claims.json` is to say of the run, such as its provenance.
    """
    with needed_for("the claims' report", "verify"):
        import jinja2

    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for outcome in outcomes:
        row = as_json(outcome)
        picture = _picture(outcome)
        if picture is not None:
            _files.replace(folder / f"{outcome.claim.id}.png", picture)
        rows.append((row, picture))
    document = {**facts, "claims": [row for row, _ in rows]}
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    _files.replace(folder / "claims.json", (text + "\n").encode())
    shown = [
        {
            **row,
            "worded": outcome.worded,
            "residual": _number(outcome.finding),
            "picture": base64.b64encode(picture).decode() if picture is not None else "",
        }
        for outcome, (row, picture) in zip(outcomes, rows, strict=True)
    ]
    template = jinja2.Environment(autoescape=True).from_string(PAGE)
    page = template.render(summary=summary(outcomes), rows=shown)
    _files.replace(folder / "report.html", page.encode())


def _picture(outcome: Outcome) -> bytes | None:
    if outcome.finding is None or outcome.finding.draw is None:
        return None
    with _style.drawing(7, 4.5) as figure:
        outcome.finding.draw(figure)
        return _style.png(figure)


def _number(finding: Finding | None) -> str:
    return "-" if finding is None else f"{finding.residual:.2g}"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no infinity
    return value


def markdown_table() -> str:
    """All claims as a Markdown table, for the documentation.

    Returns:
        A row for each: name, statement with its source, tolerance, condition.
    """
    lines = ["| Claim | Statement | Source | Tolerance | Holds under |", "|---|---|---|---|---|"]
    for claim in CLAIMS.values():
        cells = (
            f"`{claim.id}`" + (" (long)" if claim.long else ""),
            claim.statement,
            claim.source,
            f"{claim.tolerance:.2g}",
            claim.condition or "–",
        )
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"
