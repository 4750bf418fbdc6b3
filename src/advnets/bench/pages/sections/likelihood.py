"""The score, with the reference rows to compare it with."""

from typing import Any

from advnets.bench.pages.reading import Seen, settings_of
from advnets.bench.pages.sections.base import Section
from advnets.bench.results import CAVEAT, Published, Reference, Score

TEMPLATE = """
{% if rows %}
<p class="lead">Parzen log-likelihood of the test set{{ over }}, nats, ± standard error.</p>
{{ parts.scores(rows) }}
{% if quick %}<p class="note">This is the quick preset: compare its score only with those of other
quick runs.</p>{% endif %}
<p class="soft">{{ caveat }}</p>
{% else %}
<p class="soft">The test set is scored when the run is done.</p>
{% endif %}
"""


def row(label: str, found: Score | Reference | Published, kind: str) -> dict[str, Any]:
    """A line of the table.

    Args:
        label: what was scored.
        found: the score.
        kind: `here`, `reference` or `published`.

    Returns:
        The values that the table shows.
    """
    test = found if isinstance(found, Published) else found.test
    notes = []
    if not isinstance(found, Published):
        if isinstance(found.bandwidth, float):
            notes.append(f"bandwidth {found.bandwidth:.3g}")
        if found.at_grid_end:
            notes.append(f"the {found.at_grid_end} of the grid: a wider grid may score higher")
    return {
        "label": label,
        "mean": test.mean,
        "error": test.standard_error,
        "note": ", ".join(notes),
        "kind": kind,
    }


def _gather(seen: Seen) -> dict[str, Any]:
    result = seen.result
    if result is None:
        return {"rows": [], "over": "", "caveat": CAVEAT, "quick": False}
    of, parzen = result.references, result.parzen
    first = ", first fold" if parzen.folds and not result.best.parzen.folds else ""
    rows = [
        row(f"{parzen.num_samples:,} samples, last epoch ({result.epochs})", parzen, "here"),
        row(f"the same, best epoch on validation ({result.best.epoch}){first}",
            result.best.parzen, "here"),
        row(f"{of.training_images.num_samples:,} training images in their place",
            of.training_images, "reference"),
    ]  # fmt: skip
    if of.centroids is not None:
        label = f"{of.centroids.num_samples:,} k-means centroids (recorded)"
        rows.append(row(label, of.centroids, "reference"))
    if of.paper is not None:
        rows.append(row("the paper", of.paper, "published"))
    return {
        "rows": rows,
        "over": f", over {len(parzen.folds)} folds" if parzen.folds else "",
        "caveat": result.caveat,
        "quick": settings_of(seen)[1] == "quick",
    }


SECTION = Section("likelihood", "Likelihood", TEMPLATE, _gather)
