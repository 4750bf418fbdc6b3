"""The recorded results of a method on some data."""

import msgspec

from advnets.bench.results import Distribution, Provenance


class Scores(msgspec.Struct, frozen=True):
    """The counts of modes over seeds; see [`advnets.bench.modes.gaussians.Counted`][].

    Attributes:
        found: the number of modes with a sample.
        covered: the number of modes with a tenth of the data's share of samples.
        share: the share of samples near a mode.
        divergence: that of the histogram over modes from the uniform one, in nats.
    """

    found: Distribution
    covered: Distribution
    share: Distribution
    divergence: Distribution


class Setting(msgspec.Struct, frozen=True):
    """One method on some data.

    Attributes:
        data: the data's name.
        method: the method's name.
        definition: what the method is.
        modes: the number of modes of the data.
        diverged: the number of seeds that diverged, which are not counted.
        last: the scores of the generators after the last update; None if all diverged.
        averaged: the scores of the averages of their parameters.
        shown: samples of the seed with the median share.
        seconds: how long it took.
        provenance: the provenance of the scores.
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
