"""The examples of the how-to pages, as code."""

import ast
import re
from pathlib import Path

FOLDER = Path(__file__).parent.parent.parent / "docs" / "howto"
# Pages with an example; a page of cells is run when the site is built.
NAMES = sorted(
    page.stem
    for page in FOLDER.glob("*.md")
    if page.stem != "index" and "{code-cell}" not in page.read_text("utf-8")
)
# Scripts that read the command line, which tests/bench gives them.
SCRIPTS = {"own-evaluation", "own-system"}


def text(name):
    """A page."""
    return (FOLDER / f"{name}.md").read_text("utf-8")


def code(name):
    """A page's example."""
    (block,) = re.findall(r"^```python\n(.*?)^```", text(name), re.DOTALL | re.MULTILINE)
    return block


def definitions(name):
    """What an example defines before it trains."""
    kept = []
    for statement in ast.parse(code(name)).body:
        if any(getattr(node, "attr", "").startswith("train") for node in ast.walk(statement)):
            break
        kept.append(statement)
    namespace = {"__name__": name}
    exec(compile(ast.Module(kept, []), f"{name}.md", "exec"), namespace)
    return namespace
