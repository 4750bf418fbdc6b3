"""Figure 2: the last samples, with the training images nearest to some of them."""

from typing import Any

from advnets import _pages
from advnets.bench.pages.reading import Seen
from advnets.bench.pages.sections.base import Section

TEMPLATE = """
<p class="lead">As in Figure 2: the last column shows the training image nearest, in Euclidean
distance, to the sample on its left.</p>
<figure><img class="pixels" src="{{ picture }}"
 alt="A grid of samples; the last column has training images"></figure>
"""


def _gather(seen: Seen) -> dict[str, Any] | None:
    content = seen.picture("samples.png")
    return None if content is None else {"picture": _pages.picture(content)}


SECTION = Section("nearest", "Nearest training images", TEMPLATE, _gather)
