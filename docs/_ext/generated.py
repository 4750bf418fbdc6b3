"""What the site takes from the package and from recorded runs, written anew for every build."""

import json
import os
import shutil
import zlib
from pathlib import Path

DOCS = Path(__file__).parent.parent
ROOT = DOCS.parent
FOLDER = DOCS / "_generated"
RESULTS = ROOT / "bench" / "results"
# Pictures of a run, in this order, and what they show.
PICTURES = {
    "samples.png": "Samples; the last column holds the training images nearest to those beside it",
    "curves.png": "Curves of training",
    "seeds.png": "The score of each seed",
}


def inventories():
    """Where other libraries document names, for links to them, from the lists in `inventories`.

    Sphinx reads these files and asks no server. A line of a list is a name, its kind and its page.
    """
    FOLDER.mkdir(exist_ok=True)
    mapping = {}
    for listed in sorted((DOCS / "inventories").glob("*.txt")):
        address, *lines = listed.read_text("utf-8").splitlines()
        entries = "".join(
            f"{name} py:{kind} 1 {page} -\n" for name, kind, page in map(str.split, lines)
        )
        head = f"# Sphinx inventory version 2\n# Project: {listed.stem}\n# Version: \n"
        head += "# The remainder of this file is compressed using zlib.\n"
        made = FOLDER / f"{listed.stem}.inv"
        made.write_bytes(head.encode() + zlib.compress(entries.encode()))
        mapping[listed.stem] = (address, str(made))
    return mapping


def font():
    """The font of formulas, which the docs environment brings, beside the site's other files."""
    import ziamath

    (FOLDER / "static").mkdir(parents=True, exist_ok=True)
    shutil.copy(
        Path(ziamath.__file__).parent / "fonts" / "STIXTwoMath-Regular.ttf", FOLDER / "static"
    )
    return str(FOLDER / "static")


# The pages on the theory, and how the names of their claims begin.
PARTS = {
    "motivation": ("sigma", "only", "sharp", "independent", "nce"),
    "game": ("eq1", "saturation", "k-steps", "overfit", "helvetica", "figure"),
    "proposition-1": ("prop1",),
    "theorem-1": ("eq4", "eq5", "eq6", "thm1", "certified", "conditional"),
    "proposition-2": ("prop2", "caveat"),
    "likelihood": ("parzen",),
    "objectives": ("ls", "hinge", "wasserstein", "relativistic", "fgan", "penalty"),
    "coordination": ("dirac", "disconnected", "rejection"),
}


def theory(claims):
    """The claims as Markdown, for each page; those that belong to none are the last."""
    left, found = dict(claims), {}
    for page, beginnings in PARTS.items():
        here = {id: claim for id, claim in left.items() if id.startswith(beginnings)}
        left = {id: claim for id, claim in left.items() if id not in here}
        found[page] = here
    found["other"] = left
    return {
        page: "\n".join(line for id, claim in here.items() for line in claim_section(id, claim))
        for page, here in found.items()
    }


def claim_section(id, claim):
    picture = DOCS / "_static" / "claims" / f"{id}.png"
    lines = [f"## {id}", "", f"{claim.statement} *{claim.source}.*", ""]
    if claim.condition:
        lines += [f"**Holds under** {claim.condition}.", ""]
    if picture.exists():
        lines += [f"![The picture of {id}](/_static/claims/{id}.png)", ""]
    long = " It is one of the long claims." if claim.long else ""
    return [
        *lines,
        ":::{dropdown} How it is computed",
        f"{claim.computes}",
        "",
        f"**Tolerance** {claim.tolerance:.2g}. {claim.reason}",
        "",
        "**Planted faults that it notices:** "
        + "; ".join(fault.description for fault in claim.faults)
        + ".",
        "",
        f"`python -m advnets.verify --only {id}` computes it.{long}",
        ":::",
        "",
    ]


def experiments(benchmarks, entries):
    """The benchmarks as Markdown: command, cost, needs, what is recorded, pictures."""
    folders = sorted(path for path in RESULTS.glob("*") if path.is_dir())
    lines = []
    for name, benchmark in benchmarks.items():
        # The longest name that a folder begins with is its benchmark: cifar10-conv, not cifar10.
        own = [
            path
            for path in folders
            if max((n for n in benchmarks if path.name.startswith(n)), key=len, default="") == name
        ]
        lines += [f"## {name}", "", f"{sentence(benchmark.summary)}", ""]
        lines += ["```console", f"$ {benchmark.command}", "```", ""]
        lines += ["| | |", "|---|---|"]
        lines += [f"| takes | {benchmark.cost} |", f"| needs | {benchmark.needs} |"]
        lines += [f"| to expect | {benchmark.expected} |"]
        if benchmark.published:
            mean, error = benchmark.published
            lines += [f"| the paper | {mean:g} ± {error:g} nats |"]
        lines += [""]
        lines += recorded_rows([entry for entry in entries if entry["benchmark"] == name])
        for path in own:
            for picture, caption in PICTURES.items():
                if (path / picture).exists():
                    shown = os.path.relpath(path / picture, DOCS)
                    lines += [f":::{{figure}} {shown}", f":alt: {caption}", ""]
                    lines += [f"{caption}: `bench/results/{path.name}`.", ":::", ""]
    return "\n".join(lines)


def sentence(text):
    return text[:1].upper() + text[1:] + "."


def recorded_rows(entries):
    """A table of a benchmark's recorded runs, and where each comes from."""
    if not entries:
        return ["No run is recorded.", ""]
    lines = [
        "| order | epochs | seed | test, nats | best epoch on validation | real training images |",
        "|---|---|---|---|---|---|",
    ]
    for entry in entries:
        best, real = entry["best"], entry["references"]["training_images"]
        lines.append(
            f"| {entry.get('order') or '–'} | {entry['epochs']} | {entry['seed']} "
            f"| {score(entry['parzen'])} | {score(best['parzen'])} (epoch {best['epoch']}) "
            f"| {score(real)} |"
        )
    lines += ["", ":::{dropdown} Command, commit, versions and hardware"]
    for entry in entries:
        found, device = entry["provenance"], entry["provenance"]["device"]
        versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
        lines += [
            f"- `{found['command']}` (seed {entry['seed']}): {entry['updates']:,} updates, "
            f"commit `{str(found['commit'])[:12]}`, {found['date'][:10]}, {device['kind']} with "
            f"{device['cpu_cores']} cores, {versions}."
        ]
    return [*lines, ":::", ""]


def score(found):
    """A test score; older files have it in short form."""
    test = found.get("test", found)
    return f"{test['mean']:.1f} ± {test['standard_error']:.1f}"


def stabilisers():
    """The recorded comparison of stabilisers: its pictures, then its table."""
    folder = RESULTS / "stabilisers"
    table = folder / "stabilisers.md"
    if not table.exists():
        return "None is recorded yet; the command above makes one.\n"
    lines = []
    for name, caption in {
        "shares": "Modes covered and the share of samples near a mode, a dot for each seed",
        "ring": "The ring: samples of the seed with the median share",
        "grid": "The grid: samples of the seed with the median share",
    }.items():
        if (folder / f"{name}.png").exists():
            shown = os.path.relpath(folder / f"{name}.png", DOCS)
            lines += [f":::{{figure}} {shown}", f":alt: {caption}", "", f"{caption}.", ":::", ""]
    below = table.read_text("utf-8").replace("## ", "### ")  # this page's sections
    return "\n".join([*lines, below])


def write(app):
    from advnets.bench import recorded
    from advnets.bench.catalogue import BENCHMARKS
    from advnets.verify.registry import CLAIMS
    from advnets.verify.report import markdown_table

    files = sorted(Path(recorded.__file__).parent.glob("*.json"))
    found = [json.loads(file.read_text("utf-8")) for file in files]
    entries = [one for one in found if "benchmark" in one]  # the others are reference rows
    pages = {f"theory-{page}": text for page, text in theory(CLAIMS).items()}
    pages["theory-table"] = markdown_table()
    pages["experiments"] = experiments(BENCHMARKS, entries)
    pages["stabilisers"] = stabilisers()
    for name, text in pages.items():
        path = FOLDER / f"{name}.md"
        if not path.exists() or path.read_text("utf-8") != text:  # Sphinx looks at times
            path.write_text(text, "utf-8")


def setup(app):
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
