"""`python -m faults.summary FOLDER`: what came of recorded trials, as a Markdown table."""

import collections
import gzip
import json
import sys
from pathlib import Path


def rows(path):
    """The records of an experiment."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in content.splitlines()]


def table(folder):
    """A row for each experiment: how many trials, and what came of them."""
    lines = ["| attack | trials | what came of them |", "|---|---|---|"]
    for path in sorted(folder.glob("*.jsonl*")):
        name = path.name.partition(".")[0]
        if "provenance" in name:
            continue
        found = collections.Counter(row["outcome"] for row in rows(path))
        outcomes = ", ".join(f"{count} {outcome}" for outcome, count in found.most_common())
        lines.append(f"| `{name}` | {found.total():,} | {outcomes} |")
    if not lines[2:]:
        sys.exit(f"{folder} has no records (*.jsonl)")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(Path(sys.argv[1])))
