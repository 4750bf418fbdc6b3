"""What the first hidden units respond to."""

from typing import Any

from advnets import _pages
from advnets.bench.frames import FILTERS
from advnets.bench.pages.reading import Seen
from advnets.bench.pages.sections.base import Section

TEMPLATE = """
<p class="lead">The weights between the pixels and each of the first hidden units: white is
positive, black negative, grey 0.</p>
<figure><img class="pixels" src="{{ picture }}" alt="Weights of hidden units as images"></figure>
"""


def _gather(seen: Seen) -> dict[str, Any] | None:
    content = seen.picture(FILTERS)
    return None if content is None else {"picture": _pages.picture(content)}


SECTION = Section("filters", "Filters", TEMPLATE, _gather)
