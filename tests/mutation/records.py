"""The records of mutants, and what to say of them."""

import collections
import json
from pathlib import Path

HERE = Path(__file__).parent


def read(file):
    """Rows of a record; of a mutant that was judged again, the last one counts.

    Each says in `at_first` what became of it before tests were written for it.
    """
    rows = {}
    for line in file.read_text().splitlines():
        row = json.loads(line)
        row["at_first"] = rows.get(row["mutant"], row | {"at_first": row["outcome"]})["at_first"]
        rows[row["mutant"]] = row
    return [rows[number] for number in sorted(rows)]


def explanations():
    """Why some mutants can't be killed, by module and change."""
    rows = json.loads((HERE / "explained.json").read_text())
    return {(row["module"], *row["change"]): row["why"] for row in rows}


def unexplained(rows):
    """The mutants that are alive, and not for a reason."""
    known = explanations()
    alive = [row for row in rows if row["outcome"] != "killed"]
    return [row for row in alive if (row["module"], *row["change"]) not in known]


def table(rows):
    """How many were killed, by module, in Markdown."""
    counts = collections.Counter()
    for row in rows:
        for module in (f"`{row['module']}.py`", "all"):
            counts[module, "mutants"] += 1
            counts[module, "at first"] += row["at_first"] == "killed"
            counts[module, "killed"] += row["outcome"] == "killed"
            counts[module, "alive"] += row["outcome"] != "killed"
    lines = ["| module | mutants | killed at first | killed now | alive |", "|---" * 5 + "|"]
    for module in [*sorted({name for name, _ in counts} - {"all"}), "all"]:
        found = [counts[module, what] for what in ("mutants", "at first", "killed", "alive")]
        lines.append(f"| {module} | {' | '.join(map(str, found))} |")
    return "\n".join(lines)


def survivors(rows):
    """Those that are alive, with what explains it, in Markdown."""
    known = explanations()
    lines = ["| in | was | became | why it makes no difference |", "|---|---|---|---|"]
    for row in rows:
        if row["outcome"] != "killed":
            was, became = (" ".join(line[1:].split()).replace("|", "\\|") for line in row["change"])
            why = known.get((row["module"], *row["change"]), "?")
            lines.append(f"| `{row['module']}.py` | `{was}` | `{became}` | {why} |")
    return "\n".join(lines)
