"""Links from names in the text to where they are documented: `advnets.train` suffices."""

import re

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.transforms import SphinxTransform

NAME = re.compile(r"(advnets|jax|optax|equinox)(\.[A-Za-z_]\w*)+")


class CodeLinks(SphinxTransform):
    """Makes a reference of each dotted name that is set as code, except in headings and links."""

    default_priority = 400

    def apply(self):
        for literal in list(self.document.findall(nodes.literal)):
            name = literal.astext().removesuffix("()")
            outer = (nodes.title, nodes.reference, pending_xref)
            if NAME.fullmatch(name) and not any(isinstance(node, outer) for node in above(literal)):
                reference = pending_xref(
                    "", refdomain="py", reftype="obj", reftarget=name, refexplicit=True,
                    refdoc=self.env.docname, refwarn=True,
                )  # fmt: skip
                literal.replace_self(reference)
                reference += literal


def above(node):
    """The nodes that contain a node."""
    while node := node.parent:
        yield node


def setup(app):
    app.add_transform(CodeLinks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
