"""Builds the documentation: `sphinx-build -W --keep-going -b html docs docs/_build/html`."""

import os
import re
import typing
from pathlib import Path

# Before anything imports jaxtyping: array types then print as they are written in the source.
typing.GENERATING_DOCUMENTATION = True
# The type checker's wrappers have nothing to add to a page.
os.environ["ADVNETS_TYPECHECK"] = "0"
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import equinox as eqx  # noqa: E402
import optax  # noqa: E402
from sphinx.util.typing import stringify_annotation  # noqa: E402

import advnets  # noqa: E402
from advnets.algorithms import Fake, UpdateRule  # noqa: E402
from advnets.objectives import DiscriminatorCost, GeneratorCost  # noqa: E402
from advnets.training import Evaluate, EvaluateRun  # noqa: E402
from advnets.verify.report import markdown_table  # noqa: E402

project = "advnets"
author = "The advnets developers"
copyright = "the advnets developers"
version = release = advnets.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build", "_claims.md"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"advnets {release}"
html_static_path = ["_static"]
html_css_files = ["tables.css"]

# A reference to a name of ours must lead somewhere; other libraries' names are not looked up.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(?!advnets\.).*"),
    (
        r"py:class",
        r"advnets\.(bench\.results\.Read|model_files\.T|players\.[DG])",
    ),  # type variables
]

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
autodoc_typehints = "signature"
python_maximum_signature_line_length = 80
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Attributes", "params_style")]

# Annotations with a shorter name of their own, as Sphinx spells them, longest first.
ALIASES = {
    stringify_annotation(annotation, "smart"): name
    for annotation, name in (
        (optax.ScalarOrSchedule, "~optax.ScalarOrSchedule"),
        (optax.Schedule, "~optax.Schedule"),
        (DiscriminatorCost, "DiscriminatorCost"),
        (GeneratorCost, "GeneratorCost"),
        (EvaluateRun, "EvaluateRun"),
        (Evaluate, "Evaluate"),
        (Fake, "Fake"),
        (UpdateRule, "UpdateRule"),
        (optax.GradientTransformation, "~optax.GradientTransformation"),
        (eqx.nn.Sequential, "~equinox.nn.Sequential"),
        (eqx.nn.Linear, "~equinox.nn.Linear"),
    )
}
# An array type of either library, `Float[Array, 'n'] | Float[ndarray, 'n']`.
EITHER_ARRAY = re.compile(r"(\w+)\[Array, ('[^']*')\] \| \1\[ndarray, \2\]")


def readable_signature(app, what, name, obj, options, signature, returns):
    """Names where Python prints an alias in full or an object's address."""

    def readable(text):
        if text is None:
            return None
        for long, short in ALIASES.items():
            text = text.replace(long, short)
        text = EITHER_ARRAY.sub(r"\1[Array | ndarray, \2]", text)
        text = re.sub(r"<function (\w+)(?: at 0x\w+)?>", r"\1", text)
        return text.replace("<factory>", "...")

    return readable(signature), readable(returns)


def markdown_to_rst(app, what, name, obj, options, lines):
    """The little Markdown that the docstrings use, before Napoleon reads their sections."""
    # A value's docstring is its type's, and that of a bare __call__ is Python's: neither is ours.
    if what == "data" or lines[:1] == ["Call self as a function."]:
        lines.clear()
    text = "\n".join(lines)
    text = re.sub(r"^( *)\$\$(.+?)\$\$ *$", math_block, text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"\\\((.+?)\\\)", r":math:`\1`", text, flags=re.DOTALL)
    text = re.sub(r"\[`([\w.]+)`\]\[\]", r":py:obj:`\1`", text)
    # Single backticks, except those of a role or of an inline literal.
    text = re.sub(r"(\S?)(?<![`:\w])`([^`]+)`(?!`)(?=(\w?))", inline_literal, text)
    lines[:] = text.split("\n")


def inline_literal(match):
    before, code, after = match.groups()
    # What touches it, as ± or a plural s, has to be set apart by an escaped space.
    left, right = "\\ " if before else "", "\\ " if after else ""
    return f"{before}{left}``{code}``{right}"


def math_block(match):
    indent, formula = match.groups()
    inner = [f"{indent}   {line.strip()}" for line in formula.strip().split("\n")]
    return "\n".join([f"{indent}.. math::", "", *inner, ""])


def write_claims(app):
    """The table of claims that theory.md includes, from the registry."""
    Path(app.srcdir, "_claims.md").write_text(markdown_table(), "utf-8")


def setup(app):
    app.connect("builder-inited", write_claims)
    app.connect("autodoc-process-docstring", markdown_to_rst, priority=100)
    app.connect("autodoc-process-signature", readable_signature)
