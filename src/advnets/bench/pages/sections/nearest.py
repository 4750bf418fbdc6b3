"""Figure 2: the last samples beside the training images nearest to them."""

from typing import Any

from advnets import _pages
from advnets.bench.pages.reading import Seen
from advnets.bench.pages.sections.base import Section

TEMPLATE = """
<p class="lead">As Figure 2: the last column has, for the sample to its left, the nearest of all
training images in Euclidean distance.</p>
<figure><img class="pixels" src="{{ picture }}"
 alt="A grid of samples; the last column has training images"></figure>
"""


def _gather(seen: Seen) -> dict[str, Any] | None:
    content = seen.picture("samples.png")
    return None if content is None else {"picture": _pages.picture(content)}


SECTION = Section("nearest", "Nearest training images", TEMPLATE, _gather)
