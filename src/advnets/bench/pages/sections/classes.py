"""A conditional model class by class: is the class obeyed, and how varied are its samples?"""

from typing import Any

from advnets.bench.folders import RESULTS
from advnets.bench.pages.reading import Seen
from advnets.bench.pages.sections.base import Section
from advnets.bench.systems.by_class import BY_CLASS, PARZEN, classes_found, parzen_found

TEMPLATE = """
<p class="lead">{{ lead }}</p>
<div class="scroll by-class"><table>
<tr><th>class</th><th class="number">agrees, %</th><th class="number">spread</th>
<th class="number">nearest</th>{% if nats %}<th class="number">log p</th>{% endif %}</tr>
{% for one in rows %}<tr><td>{{ one.name }}</td>
<td class="number">{{ "%.1f" | format(100 * one.agreement) }}</td>
{% for ratio in one.ratios %}<td class="number">{{
"–" if ratio is none else "%.2f" | format(ratio) }}</td>{% endfor %}
{% if nats %}<td class="number">{{ "%.1f" | format(one.nats) }}</td>{% endif %}</tr>
{% endfor %}</table></div>
<p class="soft">Agrees: the share of {{ samples }} samples of each class that the classifier gives
the class asked for. Spread: their standard deviation; nearest: their median distance to the nearest
other one; both relative to the same number of held-out images of the class, so 1 means as varied as
they are.{% if nats %} log p: log p(x|c) of the class's test images, with the window on its samples,
nats.{% endif %}</p>
"""


def _gather(seen: Seen) -> dict[str, Any] | None:
    found = {} if seen.result is None else seen.result.evaluations
    if BY_CLASS not in found:
        return None
    source = seen.folder / RESULTS
    read = classes_found(found[BY_CLASS], source)
    scored = parzen_found(found[PARZEN], source) if PARZEN in found else None
    nats = () if scored is None else scored.model.per_class
    rows: list[dict[str, Any]] = [
        {"name": label, "agreement": agreement, "ratios": ratios}
        for label, (agreement, *ratios) in enumerate(
            zip(read.agreement, read.spread, read.nearest, strict=True)
        )
    ]
    if len(nats) == len(rows):
        rows = [{**one, "nats": each} for one, each in zip(rows, nats, strict=True)]
    lead = (
        f"{read.mean:.1%} of samples are of the class asked for, by a classifier that is right on "
        f"{read.test_accuracy:.1%} of {read.test_rows:,} test images."
    )
    return {
        "lead": lead,
        "rows": rows,
        "samples": f"{read.samples:,}",
        "nats": len(nats) == len(rows),
    }


SECTION = Section("classes", "Class by class", TEMPLATE, _gather)
