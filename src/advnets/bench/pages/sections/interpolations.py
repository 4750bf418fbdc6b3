"""Figure 3: lines in z space."""

from typing import Any

from advnets import _pages
from advnets.bench.pages.reading import Seen
from advnets.bench.pages.sections.base import Section

TEMPLATE = """
<p class="lead">As in Figure 3: each row runs along a straight line between two draws of z.</p>
<figure><img class="pixels" src="{{ picture }}" alt="Rows of samples along lines in z space">
</figure>
"""


def _gather(seen: Seen) -> dict[str, Any] | None:
    content = seen.picture("interpolations.png")
    return None if content is None else {"picture": _pages.picture(content)}


SECTION = Section("interpolations", "Interpolations", TEMPLATE, _gather)
