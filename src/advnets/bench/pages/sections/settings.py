"""The run's settings, starting with those that differ from the benchmark's."""

from typing import Any

from advnets.bench.pages.reading import Seen, settings_of
from advnets.bench.pages.sections.base import Section
from advnets.bench.results import Json

TEMPLATE = """
<p class="lead">{{ lead }}</p>
{% if differing %}<div class="scroll"><table>
<tr><th>setting</th><th>here</th><th>the benchmark's</th></tr>
{% for one in differing %}<tr><td><code>{{ one.name }}</code></td><td>{{ one.value }}</td>
<td>{{ one.usual }}</td></tr>
{% endfor %}</table></div>{% endif %}
{% if changes %}<h3>Changed when the run was resumed</h3>
<div class="scroll"><table><tr><th>setting</th><th>from</th><th>to</th><th>at iteration</th></tr>
{% for one in changes %}<tr><td><code>{{ one.name }}</code></td><td>{{ one.was }}</td>
<td>{{ one.now }}</td><td class="number">{{ "{:,}".format(one.iteration) }}</td></tr>
{% endfor %}</table></div>{% endif %}
<details><summary>All {{ count }} settings</summary><div class="scroll"><table>
{% for one in all %}<tr><td><code>{{ one.name }}</code></td><td>{{ one.value }}</td></tr>
{% endfor %}</table></div></details>
"""


def worded(value: Json) -> str:
    """A setting's value as text.

    Args:
        value: the value as JSON.

    Returns:
        The text, with lists without brackets.
    """
    if isinstance(value, list):
        return ", ".join(map(worded, value)) or "none"
    if isinstance(value, dict):
        return " ".join(f"{name}={worded(part)}" for name, part in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else f"{value}"


def _gather(seen: Seen) -> dict[str, Any]:
    found, preset = settings_of(seen)
    shown = [
        {"name": s.name, "value": worded(s.value), "usual": worded(s.usual), "differs": s.differs}
        for s in found
    ]
    differing = [one for one in shown if one["differs"]]
    of = f"{seen.config.benchmark}'s {preset} preset" if preset == "quick" else "the benchmark's"
    if not preset:
        lead = f"{seen.config.benchmark} is not a benchmark of the catalogue."
    elif differing:
        lead = f"Settings that differ from {of if preset == 'quick' else seen.config.benchmark}:"
    else:
        lead = f"All are {of}."
    changes = (seen.result or seen.config).changes
    all_ = [one for one in shown if not one["differs"]] + differing
    return {
        "lead": lead,
        "differing": differing,
        "changes": changes,
        "all": all_,
        "count": len(all_),
    }


SECTION = Section("settings", "Settings", TEMPLATE, _gather)
