"""The sections of a run's report, in order; a system with more to show adds a file and a line.

A section is given what a run's folder holds, and gives what its template is to show, or nothing
where it has nothing to say.
"""

from advnets.bench.pages.sections import (
    chains,
    classes,
    curves,
    equilibrium,
    explorer,
    fillings,
    filters,
    interpolations,
    likelihood,
    memorisation,
    nearest,
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
    nearest.SECTION,
    interpolations.SECTION,
    filters.SECTION,
    memorisation.SECTION,
    settings.SECTION,
    provenance.SECTION,
]
