"""The metrics of each epoch."""

from typing import Any

from advnets.bench.pages.curves import panels
from advnets.bench.pages.reading import Seen
from advnets.bench.pages.sections.base import Section

TEMPLATE = """{{ parts.charts(panels) }}"""


def _gather(seen: Seen) -> dict[str, Any] | None:
    found = panels(seen.rows)
    return {"panels": found} if found else None


SECTION = Section("curves", "Curves", TEMPLATE, _gather)
