"""The sections of a run's report, in order; to add one, add a module and an entry in the list.

A section gets a run read from its folder, and returns the values for its template, or None if it
has nothing to show.
"""

from advnets.bench.pages.sections import (
    chains,
    classes,
    curves,
    equilibrium,
    explorer,
    fillings,
    likelihood,
    memorisation,
    pictures,
    provenance,
    samples,
    settings,
)
from advnets.bench.pages.sections.base import Section

SECTIONS: list[Section] = [
    fillings.SECTION,
    samples.SECTION,
    chains.SECTION,
    explorer.SECTION,
    classes.SECTION,
    likelihood.SECTION,
    curves.SECTION,
    equilibrium.SECTION,
    pictures.NEAREST,
    pictures.INTERPOLATIONS,
    pictures.FILTERS,
    memorisation.SECTION,
    settings.SECTION,
    provenance.SECTION,
]
