"""Fillings: their scores, compared with the baselines', and a picture."""

from typing import Any

from advnets import _pages
from advnets.bench.pages.reading import Seen
from advnets.bench.pages.sections.base import Section
from advnets.bench.systems.inpainting import NAMES, PICTURE, format_energy, read_regions

# The name of this evaluation in a result.
FILLINGS = "fillings"

TEMPLATE = """
<p class="lead">Energy score of the missing pixels, {{ fillings }} fillings of each of {{
"{:,}".format(rows) }} test images, ± standard error: lower is better, and only draws from the true
conditional reach the minimum. In brackets, the squared error of the mean filling, and the spread:
the variance of fillings, summed over pixels. For true draws the error is {{ ratio }} times the
spread.</p>
<div class="scroll"><table>
<tr><th>missing</th>{% for name in names %}<th>{{ name }}</th>{% endfor %}</tr>
{% for region in table %}<tr><td>{{ region.name }}</td>{% for cell in region.cells %}<td
 class="number{{ ' here' if loop.first }}">{{ cell.energy }}<br><span class="soft">({{ cell.error
}}; {{ cell.spread }})</span></td>{% endfor %}</tr>
{% endfor %}</table></div>
{% if picture %}<figure><img class="pixels" src="{{ picture }}"
 alt="Rows of images: what is observed, five fillings, the image"><figcaption>The first test
images without their {{ regions }}: the observed pixels (grey is missing), five fillings, and the
image itself.</figcaption></figure>
{% endif %}
"""


def _gather(seen: Seen) -> dict[str, Any] | None:
    if seen.result is None or FILLINGS not in seen.result.evaluations:
        return None
    found: Any = seen.result.evaluations[FILLINGS]
    table: list[dict[str, Any]] = [
        {"name": region, "cells": [_cell(scores[name]) for name in NAMES]}
        for region, scores in read_regions(found).items()
    ]
    picture = seen.picture(PICTURE)
    n = found["fillings"]
    return {
        "rows": found["rows"],
        "fillings": n,
        "ratio": f"{1 + 1 / n:.2g}",
        "names": list(NAMES.values()),
        "table": table,
        "regions": ", ".join(region["name"] for region in table),
        "picture": picture and _pages.picture(picture),
    }


def _cell(scores: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {
        "energy": format_energy(scores),
        "error": f"{scores['squared_error']['mean']:.3g}",
        "spread": f"{scores['spread']['mean']:.3g}",
    }


SECTION = Section("fillings", "Fillings", TEMPLATE, _gather)
