"""What a traced program asks for, without compiling it."""

import jax
from jax import lax

HIGH, HIGHEST = (lax.Precision.HIGH,) * 2, (lax.Precision.HIGHEST,) * 2


def products(jaxpr):
    """The precision of every product and convolution, those of inner programs too."""
    found = []
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("dot_general", "conv_general_dilated"):
            found.append(equation.params["precision"])
        for inner in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")
        ):
            if hasattr(inner, "eqns"):
                found += products(inner)
    return found
