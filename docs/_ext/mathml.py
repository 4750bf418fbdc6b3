"""Formulas as MathML, which browsers draw by themselves: no script, no network."""

import re

from docutils.nodes import SkipNode
from latex2mathml.converter import convert
from sphinx.util import logging

logger = logging.getLogger(__name__)


def mathml(latex, display, node):
    """A formula in MathML; a warning, which fails the build, where a command is not understood."""
    aligned = latex.replace("{aligned}", "{align*}")  # the only one of the two that it knows
    try:
        found = convert(aligned, display=display)
    except Exception as error:
        logger.warning("this formula is not understood (%s): %s", error, latex, location=node)
        return ""
    if "\\" in found or "<mi>&</mi>" in found:
        logger.warning("a command in this formula is not known: %s", latex, location=node)
    # Bars as high as a letter: each would stretch by itself, the two of a norm differently.
    return re.sub(r"<mo>(&#x02016;|&#x0007C;|\|)</mo>", r'<mo stretchy="false">\1</mo>', found)


def inline(translator, node):
    translator.body.append(mathml(node.astext(), "inline", node))
    raise SkipNode


def block(translator, node):
    formula = mathml(node.astext(), "block", node)
    translator.body.append(f'<div class="formula">{formula}</div>')
    raise SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
