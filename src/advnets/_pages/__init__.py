"""HTML pages that need nothing but themselves: one style for what the bench and the claims write.

A page loads nothing, from the network or from files beside it: its own policy forbids it. Text goes
into it escaped.
"""

import base64
from pathlib import Path

from advnets._extras import needed_for

with needed_for("reports"):
    import jinja2

HERE = Path(__file__).parent


def environment(folder: Path) -> jinja2.Environment:
    """Where the templates of pages are looked up, and what text in them goes through.

    Args:
        folder: of the templates; those that are shared, such as `base.html`, are found too.

    Returns:
        The environment. Its `style` is that of every page.
    """
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, HERE]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.globals["style"] = source(HERE / "style.css")
    return env


def source(path: Path) -> str:
    """A style sheet or a script of ours, which goes into a page as it is."""
    return path.read_text("utf-8")


def picture(content: bytes) -> str:
    """A PNG picture as the address of an image."""
    return "data:image/png;base64," + base64.b64encode(content).decode()
