"""The pages: their contents, and where they are written."""

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from advnets import _files, _pages, _warnings
from advnets._counts import counted
from advnets._extras import needed_for
from advnets.bench import results
from advnets.bench.folders import EXPLORER, REPORT, RESULTS, read_config
from advnets.bench.pages import curves
from advnets.bench.pages.layers import NotExported
from advnets.bench.pages.reading import Seen, runs_in, see, settings_of
from advnets.bench.pages.sections import SECTIONS
from advnets.bench.pages.sections import explorer as exploring
from advnets.bench.pages.sections.base import Section
from advnets.bench.pages.sections.likelihood import row
from advnets.bench.pages.sections.samples import frames_of
from advnets.bench.pages.sections.settings import worded
from advnets.bench.results import SeedsResult, SweepResult

with needed_for("a run's report"):
    import jinja2
    import markupsafe

HERE = Path(__file__).parent
# The most bytes of one run's pictures in a comparison.
COMPARED_BYTES = 500_000
# The most runs that one page compares.
MOST_RUNS = 24
SCORES, SIDE = "{% include 'scores.html' %}", "{% include 'side.html' %}"
CURVES = "{{ parts.charts(panels) }}"
StrPath = str | os.PathLike[str]


def write_report(folder: StrPath, *, live: bool = False, explores: bool = True) -> Path:
    """Writes `report.html` of a run, or of many runs trained together.

    With many runs, each has a report of its own, and the page of their distribution links to them.
    The report of an unfinished run shows what there is so far.

    Args:
        folder: the folder of a run, or of many runs.
        live: whether the run is still training, so that the page reloads every few seconds.
        explores: whether a single run's page has an explorer.

    Returns:
        The file.

    Raises:
        FileNotFoundError: if the folder holds no run.
        ValueError: if a file of the run is damaged.

    Example:
        >>> from advnets import bench
        >>> bench.write_report("runs/digits")  # doctest: +SKIP
        PosixPath('runs/digits/report.html')
    """
    folder = Path(folder)
    runs = runs_in(folder)
    if runs:
        seen = []
        for own in runs:
            seen.append(see(own, live=live, explores=False))
            _files.replace(own / REPORT, _of_run(seen[-1]).encode())
        page = _of_many(folder, seen, live=live)
    else:
        page = _of_run(see(folder, live=live, explores=explores))
    _files.replace(folder / REPORT, page.encode())
    return folder / REPORT


def write_explorer(folder: StrPath) -> Path:
    """Writes `explore.html` of a run: a page with only its explorer.

    It is as large as the weights need, so it can hold weights for which a report has no room.

    Args:
        folder: the run's.

    Returns:
        The file.

    Raises:
        FileNotFoundError: if the folder holds no run.
        ValueError: if a page can't compute the run's generator, as the message explains; or if a
            file of the run is damaged.
    """
    folder = Path(folder)
    if runs := runs_in(folder):
        raise ValueError(f"{folder} holds {len(runs)} runs; name the folder of one, as {runs[0]}")
    seen = see(folder)
    try:
        explorer = exploring.of_run(seen, alone=True)
    except NotExported as error:
        raise ValueError(f"{folder} can't be explored: {error}") from None
    section = Section("explorer", "Explorer", exploring.TEMPLATE, lambda _: vars(explorer))
    page = _page(seen.name, _lead(seen), "", [_shown(section, seen)])
    _files.replace(folder / EXPLORER, page.encode())
    return folder / EXPLORER


def write_comparison(folders: Sequence[StrPath], out: StrPath) -> Path:
    """Writes a page comparing several runs: scores and samples side by side, curves overlaid.

    Args:
        folders: the runs' folders; the folder of many runs stands for all of them.
        out: the file.

    Returns:
        The file.

    Raises:
        FileNotFoundError: if a folder holds no run.
        ValueError: if there are more than 24 runs, or a file of a run is damaged.
    """
    each = [own for given in map(Path, folders) for own in (runs_in(given) or [given])]
    if len(each) > MOST_RUNS:
        raise ValueError(f"a page compares at most {MOST_RUNS} runs; got {len(each)}")
    runs = [see(own) for own in each]
    short = [one.folder.absolute().name for one in runs]
    names = short if len(set(short)) == len(short) else [f"{one.folder}" for one in runs]
    place = Path(out)
    links = [_link(place.parent, one.folder) for one in runs]
    shown = [
        _filled("scores", "Likelihood", SCORES, **_scores(runs, names, links)),
        _filled("samples", "Samples", SIDE, runs=_side(runs, names, links)),
        _filled("curves", "Curves", CURVES,
                panels=curves.compared(list(zip(names, (one.rows for one in runs), strict=True)))),
        _filled("settings", "Settings that differ", "{% include 'differing.html' %}",
                names=names, rows=_differing(runs)),
    ]  # fmt: skip
    page = _page(f"{len(runs)} runs compared", ", ".join(names), "", shown)
    place.parent.mkdir(parents=True, exist_ok=True)
    _files.replace(place, page.encode())
    return place


def _of_run(seen: Seen) -> str:
    shown = [section for one in SECTIONS if (section := _shown(one, seen)) is not None]
    return _page(seen.name, _lead(seen), seen.state, shown, live=seen.live)


def _lead(seen: Seen) -> str:
    epochs = counted(seen.epochs, "epoch")
    of_own = seen.benchmark if seen.has_own_data else None
    summary = "" if of_own is None else f"{of_own.summary}; "
    shape = " × ".join(map(str, seen.config.image_shape))
    return f"{summary}data {seen.data} ({shape}), {epochs}, in {seen.folder}"


def _of_many(folder: Path, runs: Sequence[Seen], *, live: bool) -> str:
    config = read_config(folder)
    names = [one.folder.name for one in runs]
    links = [f"{name}/{REPORT}" for name in names]
    done = [one for one in runs if one.finished]
    goes_on = live and len(done) + sum(one.diverged for one in runs) < len(runs)
    state = "" if len(done) == len(runs) else f"{len(done)} of {len(runs)} runs are done."
    shown = []
    kind = SweepResult if config.learning_rates else SeedsResult
    if (folder / RESULTS).exists():
        result = results.read(folder / RESULTS, kind)
        drawn = "learning-rates.png" if config.learning_rates else "seeds.png"
        picture = (folder / drawn).read_bytes() if (folder / drawn).is_file() else None
        shown.append(
            _filled("distribution", "Distribution over seeds", "{% include 'spread.html' %}",
                    result=result, rates=getattr(result, "learning_rates", None),
                    picture=picture and _pages.picture(picture))
        )  # fmt: skip
    first = runs[:MOST_RUNS]
    shown += [
        _filled("scores", "Runs", SCORES, **_scores(runs, names, links)),
        _filled("samples", "Samples", SIDE, runs=_side(first, names, links)),
        _filled("curves", "Curves", CURVES,
                panels=curves.compared([(one.folder.name, one.rows) for one in first])),
    ]  # fmt: skip
    rates = f" at {len(config.learning_rates)} learning rates" if config.learning_rates else ""
    title = f"{runs[0].called}, {config.seeds} seeds{rates}"
    return _page(title, f"in {folder}", state, shown, live=goes_on)


def _scores(runs: Sequence[Seen], names: Sequence[str], links: Sequence[str]) -> dict[str, Any]:
    """Tables of scores, one for each data set and preprocessing: scores compare only within one."""
    tables: dict[str, dict[str, Any]] = {}
    caveat, missing = "", []
    for one, name, link in zip(runs, names, links, strict=True):
        if one.result is None:
            missing.append((f"{name}: {one.state}", link))
            continue
        caveat, parzen, of = one.result.caveat, one.result.parzen, one.result.references
        shape = " × ".join(map(str, one.config.image_shape))
        recipe = one.config.recipe
        rows = tables.setdefault(f"{one.data} ({shape}), {recipe['preprocessing']}", {})
        label = f"{name}, {parzen.num_samples:,} samples"
        rows[name] = {**row(label, parzen, "here"), "link": link}
        label = f"{of.training_images.num_samples:,} training images in place of samples"
        rows[label] = row(label, of.training_images, "reference")
        if of.paper is not None:
            rows["the paper"] = row("the paper", of.paper, "published")
    return {
        "tables": {
            title: sorted(rows.values(), key=lambda one: one["kind"] != "here")
            for title, rows in tables.items()
        },
        "missing": missing,
        "caveat": caveat,
    }


def _side(runs: Sequence[Seen], names: Sequence[str], links: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {"name": name, "link": link, "frames": frames_of(one, COMPARED_BYTES)}
        for one, name, link in zip(runs, names, links, strict=False)
        if one.frames
    ]


def _differing(runs: Sequence[Seen]) -> list[tuple[str, list[str]]]:
    each = [{one.name: worded(one.value) for one in settings_of(seen)[0]} for seen in runs]
    for one, seen in zip(each, runs, strict=True):
        one |= {"benchmark": seen.config.benchmark, "seed": f"{seen.config.seed}"}
    keys = list(dict.fromkeys(key for one in each for key in one))
    rows = [(key, [one.get(key, "–") for one in each]) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]


def _link(above: Path, folder: Path) -> str:
    """The relative link from a page in a folder to a run's report, if that exists."""
    if not (folder / REPORT).is_file():
        return ""
    return os.path.relpath(folder / REPORT, above).replace(os.sep, "/")


def _shown(section: Section, seen: Seen) -> dict[str, Any] | None:
    try:
        found = section.gather(seen)
    except ValueError as error:  # a damaged file affects only its section
        _warnings.warn(f"{seen.folder}: {section.title}: {error}")
        found, section = {"error": str(error)}, _damaged(section)
    return (
        None if found is None else _filled(section.name, section.title, section.template, **found)
    )


def _damaged(section: Section) -> Section:
    return Section(section.name, section.title, "<p class='bad'>{{ error }}</p>", section.gather)


def _filled(name: str, title: str, template: str, **values: Any) -> dict[str, Any]:
    """A section of a page, with its template filled in."""
    content = _template(template).render(values)
    return {"name": name, "title": title, "content": markupsafe.Markup(content)}


PARTS = '{% import "parts.html" as parts %}'


@functools.cache
def _environment() -> jinja2.Environment:
    return _pages.environment(HERE / "templates")


@functools.cache
def _template(text: str) -> jinja2.Template:
    return _environment().from_string(PARTS + text)


def _page(title: str, lead: str, state: str, sections: Sequence[Any], *, live: bool = False) -> str:
    explores = any(section["name"] == "explorer" for section in sections)
    own = ["explorers.js", "layers.js", "explorer.js", "chain.js", "inpainting.js"]
    scripts = ["page.js", *(own if explores else [])]
    return (
        _environment()
        .get_template("report.html")
        .render(
            title=title,
            lead=lead,
            state=state,
            live=live,
            sections=sections,
            own_style=_pages.source(HERE / "page.css"),
            scripts=[_pages.source(HERE / name) for name in scripts],
        )
    )
