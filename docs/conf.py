"""Builds the documentation: `sphinx-build -W --keep-going -b html docs docs/_build/html`."""

import logging
import os
import re
import sys
import typing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

# Before anything imports jaxtyping: array types then print as they are written in the source.
typing.GENERATING_DOCUMENTATION = True
# The type checker's wrappers have nothing to add to a page.
os.environ["ADVNETS_TYPECHECK"] = "0"
# Of the notebooks' processes too.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # a debugger's warning, on some versions

import equinox as eqx  # noqa: E402
import generated  # noqa: E402
import optax  # noqa: E402
from sphinx.util.typing import stringify_annotation  # noqa: E402

import advnets  # noqa: E402
from advnets.algorithms import Fake, UpdateRule  # noqa: E402
from advnets.objectives import DiscriminatorCost, GeneratorCost  # noqa: E402
from advnets.training import Evaluate, EvaluateRun  # noqa: E402

project = "advnets"
author = "The advnets developers"
copyright = "the advnets developers"
version = release = advnets.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "code_links",
    "generated",
    "mathml",
]
exclude_patterns = ["_build", "_generated", "_ext", "inventories"]
myst_enable_extensions = ["attrs_inline", "colon_fence", "dollarmath"]
myst_heading_anchors = 3
# A pattern in a table of contents is a place that pages may take; it may be empty.
logging.getLogger("sphinx.sphinx.directives.other").addFilter(
    lambda record: "glob pattern" not in str(record.msg)
)

# Nothing is fetched, neither for the build nor by a page: inventories are lists of ours, formulas
# MathML, fonts files beside the pages or the reader's own.
intersphinx_mapping = generated.inventories()
html_math_renderer = "mathml"

# Tutorials run anew when their code changes; an error in one fails the build.
nb_execution_mode = "cache"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_execution_show_tb = True
nb_merge_streams = True
nb_output_stderr = "remove"  # progress bars
nb_render_image_options = {"alt": "What the code above draws"}

copybutton_exclude = ".linenos, .gp, .go"  # of a console the commands alone

smartquotes_action = "qe"  # options of commands keep their two dashes

html_theme = "furo"
pygments_dark_style = "monokai"
html_title = f"advnets {release}"
html_static_path = ["_static", generated.font()]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False

# A reference to a name of ours must lead somewhere; another library's leads to what `inventories`
# has of it, or nowhere.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(?!advnets\.).*"),
    (
        r"py:class",
        r"advnets\.(bench\.(cells\.found\.T|pages\.layers\.Choice|results\.Read)|chains\.S|"
        r"model_files\.T|players\.[DG]|training\.learning\.M)",
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
    text = re.sub(r":[\w:]+:`[^`]+`|(\S?)(?<![`:\w])`([^`]+)`(?!`)(?=(\w?))", inline_literal, text)
    lines[:] = text.split("\n")


def inline_literal(match):
    before, code, after = match.groups()
    if code is None:
        return match[0]
    # What touches it, as ± or a plural s, has to be set apart by an escaped space.
    left, right = "\\ " if before else "", "\\ " if after else ""
    return f"{before}{left}``{code}``{right}"


def math_block(match):
    indent, formula = match.groups()
    inner = [f"{indent}   {line.strip()}" for line in formula.strip().split("\n")]
    return "\n".join([f"{indent}.. math::", "", *inner, ""])


def to_the_page(app, pagename, templatename, context, doctree):
    """Links from a module's source back to its documentation: to the page alone.

    Sphinx makes their anchors of the names by which a module imports something, under which it may
    not be documented.
    """
    if pagename.startswith("_modules/"):
        context["body"] = re.sub(
            r'(class="viewcode-back" href="[^"#]*)#[^"]*', r"\1", context["body"]
        )


def setup(app):
    app.connect("html-page-context", to_the_page)
    app.connect("autodoc-process-docstring", markdown_to_rst, priority=100)
    app.connect("autodoc-process-signature", readable_signature)
