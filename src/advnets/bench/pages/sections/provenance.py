"""Where the numbers come from, and how to reproduce them."""

from collections.abc import Iterable
from typing import Any

from advnets.bench.pages.reading import Seen, command_of
from advnets.bench.pages.sections.base import Section

TEMPLATE = """
{% if command %}<p class="lead">This command reproduces the run, bit for bit on the same kind of
machine with the same versions{{ elsewhere }}:</p><pre>{{ command }}</pre>{% endif %}
{% if changed %}<p class="lead">No single command reproduces it: settings were changed at iteration
{{ changed }} (see Settings).</p>{% endif %}
{% if facts %}<div class="scroll"><table>
{% for name, value in facts %}<tr><th>{{ name }}</th><td>{{ value }}</td></tr>
{% endfor %}</table></div>{% endif %}
<p class="lead">Verify the files, and load the model:</p>
<pre>python -m advnets.bench check {{ folder }}</pre>
<pre>from advnets import bench
model = bench.load_model({{ quoted }})</pre>
"""


def _listed(iterations: Iterable[int]) -> str:
    return " and ".join(f"{iteration:,}" for iteration in sorted(iterations))


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
    of_settings = {change.iteration: None for change in seen.config.changes}
    # Changes of the environment, such as versions, except where settings changed too.
    others = {
        one.iteration: None for one in (result.changes if result else ())
    }.keys() - of_settings.keys()
    return {
        "command": command_of(seen),
        "changed": _listed(of_settings),
        "elsewhere": f" (which changed at iteration {_listed(others)})" if others else "",
        "facts": facts,
        "folder": seen.folder,
        "quoted": repr(str(seen.folder)),
    }


SECTION = Section("reproduce", "Provenance, and how to reproduce it", TEMPLATE, _gather)
