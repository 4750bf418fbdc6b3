"""The model itself, in the browser: z by sliders and on a plane, masks, a Markov chain's steps."""

from typing import Any

from advnets.bench.catalogue import system_of
from advnets.bench.frames import SHEET
from advnets.bench.pages.chain import chain
from advnets.bench.pages.explorer import LARGEST_OF_ALL, LARGEST_PAGE, Explorer, explorer
from advnets.bench.pages.inpainting import fills, painter
from advnets.bench.pages.layers import NotExported
from advnets.bench.pages.players import players
from advnets.bench.pages.reading import Seen
from advnets.bench.pages.sections.base import Section
from advnets.bench.pages.sections.samples import MOST_BYTES
from advnets.bench.systems.inpainting import PICTURE, TEST_SHEET
from advnets.chains import Chained

# The room for everything in a page besides weights and pictures, in characters.
TEXT = 200_000

TEMPLATE = """
{% if data %}
{% include "explorer.html" if data.generator is defined else
"inpainting.html" if data.filler is defined else "chain.html" %}
<p class="soft">{{ notes | join(". ") }}.</p>
{% else %}
<p class="soft">No explorer: {{ why_not }}.</p>
{% endif %}
"""


def of_run(seen: Seen, *, alone: bool = False) -> Explorer:
    """The explorer of a run: of a generator, of one that fills in, or of a deep GSN's Markov chain.

    Args:
        seen: the run.
        alone: whether the page has nothing else, and may be as large as a browser can open.

    Returns:
        The explorer.

    Raises:
        ValueError: if there can't be one, as the message explains.
    """
    system = system_of(seen.config)
    found = players(seen.folder, seen.config, system, finished=seen.finished)
    budget = LARGEST_PAGE - TEXT - 4 * _bytes_of_pictures(seen) // 3

    def explored(budget: int) -> Explorer:
        if isinstance(found.model, Chained):
            return chain(seen.folder, found.model, budget=budget)
        if fills(found.model):
            return painter(seen.folder, found.model, found.of_model, budget=budget)
        return explorer(seen.folder, found, system.settings, budget=budget)

    try:
        return explored(budget)
    except NotExported:
        if not alone:
            raise
        return explored(LARGEST_OF_ALL)


def _bytes_of_pictures(seen: Seen) -> int:
    """The approximate size of the page's pictures, in bytes."""
    names = (SHEET, "samples.png", "interpolations.png", "memorisation.png", PICTURE, TEST_SHEET)
    paths = [path for name in names if (path := seen.folder / name).is_file()]
    of_frames = sum(path.stat().st_size for path in seen.frames.values())
    return sum(path.stat().st_size for path in paths) + min(MOST_BYTES, of_frames)


def _gather(seen: Seen) -> dict[str, Any] | None:
    if not seen.explores:
        return {"data": None, "why_not": f"python -m advnets.bench explore {seen.folder} writes it"}
    try:
        return vars(of_run(seen))
    except (ValueError, OSError) as error:
        return {"data": None, "why_not": str(error)}


SECTION = Section("explorer", "Explorer", TEMPLATE, _gather)
