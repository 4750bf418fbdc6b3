"""The model with the averaged parameters of G, or an error that says how to get one."""

from advnets.model import Model
from advnets.players import G


def kept_average(averaged: Model[G] | None) -> Model[G]:
    """The model; an AttributeError if there is none."""
    if averaged is None:
        raise AttributeError(
            "the algorithm kept no average of G's parameters: pass average=0.999 to the algorithm, "
            "or use .model, which has G's current parameters"
        )
    return averaged
