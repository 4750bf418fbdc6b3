"""Markov chains: their samples in order, how they mix, and the scores with other protocols."""

import io
from typing import Any

import numpy as np

from advnets import _pages
from advnets._extras import needed_for
from advnets.bench.folders import RESULTS
from advnets.bench.frames import png
from advnets.bench.pages.reading import Seen
from advnets.bench.pages.sections.base import Section
from advnets.bench.pages.sections.likelihood import row
from advnets.bench.systems.chained import CHAINS, STRIP, chains_found

# The most bytes of pictures in a page.
MOST_BYTES = 1_000_000

TEMPLATE = """
<p class="lead">{{ lead }}</p>
{% if frames %}{{ parts.slider(frames, "each column is a chain; sample") }}{% endif %}
{% if rows %}<p>The same model with its own protocol and with two others, nats:</p>
{{ parts.scores(rows) }}
<p class="soft">The protocol is part of the score: the same model's scores depend on how its chains
are started, run and thinned.</p>{% endif %}
"""


def frames_of(strip: bytes, height: int, most: int = MOST_BYTES) -> list[dict[str, str]]:
    """The rows of a strip of samples, each a picture for the slider.

    Args:
        strip: a PNG file with the samples of some chains, a row for each step.
        height: the height of a sample.
        most: the most bytes of pictures; only the first ones of a longer strip are used.

    Returns:
        A `label` and a `picture` for each.
    """
    with needed_for("pictures"):
        from PIL import Image

    with Image.open(io.BytesIO(strip)) as opened:
        pixels = np.asarray(opened)
    found, size = [], 0
    for number in range(len(pixels) // height):
        picture = png(pixels[number * height : (number + 1) * height])
        size += len(picture)
        if size > most:
            break
        found.append({"label": f"{number + 1}", "picture": _pages.picture(picture)})
    return found


def _gather(seen: Seen) -> dict[str, Any] | None:
    if seen.result is None or CHAINS not in seen.result.evaluations:
        return None
    found = chains_found(seen.result.evaluations[CHAINS], seen.folder / RESULTS)
    lead = f"Samples are drawn by {found.protocol}."
    if found.autocorrelation_time is not None:
        least = "" if found.trusted else "more than "
        lead += (
            f" The autocorrelation time is {least}{found.autocorrelation_time:.3g} steps: "
            f"{found.of_samples:,} samples say as much about a mean as "
            f"{found.effective_samples:,.0f} independent ones."
        )
    for length, classes in found.distinct_classes.items():
        lead += f" {length} samples in a row are of {classes:.1f} classes on average."
    rows = [row(f"{found.protocol}", seen.result.parzen, "here")]
    rows += [row(f"{one.protocol}", one.score, "here") for one in found.others]
    strip = seen.picture(STRIP)
    frames = [] if strip is None else frames_of(strip, seen.config.image_shape[0])
    return {"lead": lead, "frames": frames, "rows": rows}


SECTION = Section("chains", "Markov chains", TEMPLATE, _gather)
