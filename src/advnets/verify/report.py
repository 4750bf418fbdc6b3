"""The output of a run of the claims: lines in the terminal, JSON, pictures, an HTML page."""

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

HERE = Path(__file__).parent


def summary(outcomes: Sequence[Outcome]) -> str:
    """The number of claims with each verdict, in words.

    Args:
        outcomes: the outcomes of the claims.

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
    plurals = {"holds": "hold", "fails": "fail", "error": "raised errors"}
    parts = [f"{n} {plurals.get(v, v) if n > 1 else v}" for v, n in counts.items()]
    plural = "" if len(outcomes) == 1 else "s"
    return f"{len(outcomes)} claim{plural}: " + ", ".join(parts)


def line(outcome: Outcome) -> str:
    """An outcome as a line of the table in the terminal.

    Args:
        outcome: the outcome of a claim.

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
        outcome: the outcome of a claim.

    Returns:
        The claim's texts, verdict, residual, tolerance and figures; and, if it fails, the case with
        which to replay it.
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
        folder: the output folder; it is created if missing, and these files are replaced.
        outcomes: the outcomes of the claims.
        facts: further entries of `claims.json` about the run, such as its provenance.
    """
    with needed_for("the claims' report", "verify"):
        from advnets import _pages

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
            "picture": _pages.picture(picture) if picture is not None else "",
        }
        for outcome, (row, picture) in zip(outcomes, rows, strict=True)
    ]
    template = _pages.environment(HERE).get_template("report.html")
    page = template.render(
        title="The paper's theory, claim by claim",
        summary=summary(outcomes),
        rows=shown,
        verdicts=list(dict.fromkeys(row["verdict"] for row in shown)),
    )
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
        A row for each: name, statement, source, tolerance, condition.
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
