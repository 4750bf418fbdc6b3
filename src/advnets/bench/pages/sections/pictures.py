"""Sections that show one picture file from the run's folder."""

from typing import Any

from advnets import _pages
from advnets.bench import frames
from advnets.bench.pages.reading import Seen
from advnets.bench.pages.sections.base import Section

TEMPLATE = """
<p class="lead">{{ lead }}</p>
<figure><img class="pixels" src="{{ picture }}" alt="{{ alt }}"></figure>
"""


def _section(name: str, title: str, file: str, lead: str, alt: str) -> Section:
    def gather(seen: Seen) -> dict[str, Any] | None:
        content = seen.picture(file)
        if content is None:
            return None
        return {"lead": lead, "picture": _pages.picture(content), "alt": alt}

    return Section(name, title, TEMPLATE, gather)


# Figure 2: the last samples, with the training images nearest to some of them.
NEAREST = _section(
    "nearest",
    "Nearest training images",
    "samples.png",
    "As in Figure 2: the last column shows the training image nearest, in Euclidean distance, to "
    "the sample on its left.",
    "A grid of samples; the last column has training images",
)

# Figure 3: lines in z space.
INTERPOLATIONS = _section(
    "interpolations",
    "Interpolations",
    "interpolations.png",
    "As in Figure 3: each row runs along a straight line between two draws of z.",
    "Rows of samples along lines in z space",
)

# What the first hidden units respond to.
FILTERS = _section(
    "filters",
    "Filters",
    frames.FILTERS,
    "The weights between the pixels and each of the first hidden units: white is positive, black "
    "negative, grey 0.",
    "Weights of hidden units as images",
)
