"""Whether samples are copies, or all alike; and any other evaluations."""

from typing import Any

from advnets import _pages
from advnets.bench.catalogue import evaluations_of
from advnets.bench.pages.reading import Seen
from advnets.bench.pages.sections.base import Section

TEMPLATE = """
{% for line in lines %}<p>{{ line }}.</p>
{% endfor %}
{% if picture %}<figure><img class="paper" src="{{ picture }}"
 alt="Distances of samples and held-out images to the nearest training image"></figure>{% endif %}
"""


def _gather(seen: Seen) -> dict[str, Any] | None:
    if seen.result is None:
        return None
    found = {"memorisation": seen.result.memorisation, **seen.result.evaluations}
    lines = []
    for name, evaluation in evaluations_of(seen.config.benchmark).items():
        if found.get(name) is not None:
            lines.append(evaluation.line(found[name]))
    picture = seen.picture("memorisation.png")
    if not lines and picture is None:
        return None
    return {"lines": lines, "picture": picture and _pages.picture(picture)}


SECTION = Section("memorisation", "Memorisation and spread", TEMPLATE, _gather)
