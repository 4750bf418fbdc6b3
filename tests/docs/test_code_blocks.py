"""Every block of Python on a page is run, here or when the site is built, or says why it is not."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^((?:% Not run: .+\n)?)```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
CELL = re.compile(r"^```\{code-cell\} ipython3\n(?::.*\n|\n)*(.*?)^```", re.DOTALL | re.MULTILINE)
# Pages whose blocks are run: by this module, by tests/core/test_released_options.py, and by modules
# of tests/baselines.
RUN = {"index", "theory", "released-options", "systems/cae", "systems/dbn", "systems/vae"}
PAGES = [page for page in sorted(DOCS.rglob("*.md")) if "_" not in page.relative_to(DOCS).parts[0]]


def text_of(name):
    return (DOCS / f"{name}.md").read_text("utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix()[:-3])
def test_blocks_are_run_or_say_why_not(page):
    name = page.relative_to(DOCS).as_posix()[:-3]
    if name in RUN or page.parent.name == "howto":  # tests/docs/test_howto.py
        return
    silent = [code for reason, code in BLOCK.findall(page.read_text("utf-8")) if not reason]
    assert not silent, silent[0]


def test_the_landing_pages_lines_are_run_in_get_started():
    ((_, lines),) = BLOCK.findall(text_of("index"))
    assert lines in CELL.findall(text_of("get-started"))
    assert len(lines.splitlines()) == 3


def test_the_criterion_of_densities_of_ones_own():
    ((_, code),) = BLOCK.findall(text_of("theory"))
    namespace = {}
    exec(compile(code, "theory.md", "exec"), namespace)
    verify, p_data, p_g = (namespace[name] for name in ("verify", "p_data", "p_g"))
    gaps = verify.mirror_descent(p_data, p_g, rate=0.5, steps=20).gaps
    assert gaps[-1] < gaps[0] / 100


def test_notebooks_are_notebooks():
    """A page with cells says so in its head, or else they are shown and not run."""
    pages = [page for page in PAGES if "```{code-cell}" in page.read_text("utf-8")]
    assert len(pages) > 7
    for page in pages:
        assert page.read_text("utf-8").startswith("---\nfile_format: mystnb\n"), page.name
