"""What is kept of a method on some data."""

import msgspec

from advnets.bench.results import Distribution, Provenance


class Scores(msgspec.Struct, frozen=True):
    """The counts of modes over seeds; see [`advnets.bench.modes.gaussians.Counted`][].

    Attributes:
        found: modes with a sample.
        covered: modes with a tenth of their due.
        share: samples near a mode.
        divergence: of the histogram over modes from the uniform one, in nats.
    """

    found: Distribution
    covered: Distribution
    share: Distribution
    divergence: Distribution


class Setting(msgspec.Struct, frozen=True):
    """One method on some data.

    Attributes:
        data: the data's name.
        method: the method's.
        definition: what it is.
        modes: how many modes the data have.
        diverged: how many seeds diverged, which are not counted.
        last: of the generators after the last update; None if all diverged.
        averaged: of the averages of their parameters.
        shown: samples of the seed with the median share.
        seconds: how long it took.
        provenance: where it comes from.
    """

    data: str
    method: str
    definition: str
    modes: int
    diverged: int
    last: Scores | None
    averaged: Scores | None
    shown: list[tuple[float, float]]
    seconds: float
    provenance: Provenance
