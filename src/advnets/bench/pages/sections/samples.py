"""Samples over training, from the same random numbers at every evaluation."""

from typing import Any

from advnets import _pages
from advnets._counts import counted
from advnets.bench.catalogue import system_of
from advnets.bench.pages.reading import Seen
from advnets.bench.pages.sections.base import Section
from advnets.bench.systems.conditional import Conditional

# The most bytes of pictures in a page.
MOST_BYTES = 1_000_000

TEMPLATE = """
<p class="lead">Random samples, not selected, from the same random numbers at every epoch{{
", a row for each class" if by_class else "" }}.</p>
{{ parts.slider(frames, "samples after") }}
"""


def frames_of(seen: Seen, most: int = MOST_BYTES) -> list[dict[str, str]]:
    """The pictures of a run's samples for a page, thinned if there are too many.

    Args:
        seen: the run.
        most: the most bytes of pictures.

    Returns:
        A `label` and a `picture` for each.
    """
    epochs = list(seen.frames)
    while len(epochs) > 1 and sum(seen.frames[e].stat().st_size for e in epochs) > most:
        epochs = epochs[::-1][::2][::-1]  # every second one, keeping the last
    return [
        {
            "label": counted(epoch, "epoch"),
            "picture": _pages.picture(seen.frames[epoch].read_bytes()),
        }
        for epoch in epochs
    ]


def _gather(seen: Seen) -> dict[str, Any] | None:
    if not seen.frames:
        return None
    return {
        "frames": frames_of(seen),
        "by_class": isinstance(system_of(seen.config), Conditional),
    }


SECTION = Section("samples", "Samples over training", TEMPLATE, _gather)
