"""Where the numbers come from, and how to have them again."""

from typing import Any

from advnets.bench.pages.reading import Seen, command_of
from advnets.bench.pages.sections.base import Section

TEMPLATE = """
{% if command %}<p class="lead">This command makes the run again, bit for bit on the same kind of
machine with the same versions:</p><pre>{{ command }}</pre>{% endif %}
{% if facts %}<div class="scroll"><table>
{% for name, value in facts %}<tr><th>{{ name }}</th><td>{{ value }}</td></tr>
{% endfor %}</table></div>{% endif %}
<p class="lead">Verify the files, and go on from the model:</p>
<pre>python -m advnets.bench check {{ folder }}</pre>
<pre>from advnets import bench
model = bench.load_model({{ quoted }})</pre>
"""


def _gather(seen: Seen) -> dict[str, Any]:
    facts: list[tuple[str, str]] = []
    result = seen.result
    if result is not None:
        origin = result.provenance
        device = origin.device
        cores = f", {device.cpu_cores} cores" if device.cpu_cores else ""
        rate = result.updates_per_second
        facts = [
            ("run as", origin.command),
            ("begun", origin.date),
            ("commit", origin.commit or "not known"),
            ("on", f"{device.count} × {device.kind} ({device.platform}){cores}"),
            ("versions", ", ".join(f"{name} {v}" for name, v in origin.versions.items())),
            ("data", result.data),
            ("updates", f"{result.updates:,}" + (f", {rate:,.0f} a second" if rate else "")),
        ]
    if seen.config.data_sha256:
        facts.append(("SHA-256 of the data", seen.config.data_sha256))
    return {
        "command": command_of(seen),
        "facts": facts,
        "folder": seen.folder,
        "quoted": repr(str(seen.folder)),
    }


SECTION = Section("reproduce", "Provenance, and how to reproduce it", TEMPLATE, _gather)
