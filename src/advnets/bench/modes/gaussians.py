"""Narrow normal distributions in the plane, on a ring or a grid; and counting the modes found."""

import dataclasses
import math

import numpy as np
from jaxtyping import Float

from advnets._counts import check_count

# A sample is of high quality within this many standard deviations of a centre.
NEAR = 3.0


@dataclasses.dataclass(frozen=True, eq=False)
class Gaussians:
    """A mixture of isotropic normal distributions with equal weights and standard deviations.

    Attributes:
        name: the name of the data.
        centres: the means of the modes.
        deviation: their standard deviation.
    """

    name: str
    centres: Float[np.ndarray, " modes 2"]
    deviation: float

    @property
    def modes(self) -> int:
        """The number of modes."""
        return len(self.centres)

    def draw(self, seed: int, n: int) -> Float[np.ndarray, " {n} 2"]:
        """Independent draws, in float32.

        Args:
            seed: the seed of the draws.
            n: the number of draws.

        Returns:
            The examples.

        Raises:
            ValueError: for a seed or a number below 0, or a number beyond 32 bits.
        """
        check_count("the number of examples", n, least=0)
        rng = np.random.default_rng(seed)
        which = rng.integers(self.modes, size=n)
        noise = rng.normal(size=(n, 2))
        return (self.centres[which] + self.deviation * noise).astype(np.float32)


def ring(modes: int = 8, radius: float = 2.0, deviation: float = 0.02) -> Gaussians:
    """Modes evenly spaced on a circle.

    Args:
        modes: the number of modes.
        radius: the radius of the circle.
        deviation: the standard deviation of each mode.

    Returns:
        The distribution.

    Raises:
        ValueError: for fewer than 1 mode, or a number beyond 32 bits.

    Example:
        >>> from advnets.bench.modes.gaussians import ring
        >>> len(ring().centres)
        8
    """
    check_count("the number of modes", modes)
    angles = 2 * np.pi * np.arange(modes) / modes  # a linspace to 2π would repeat the first
    centres = radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return Gaussians("ring", centres, deviation)


def grid(side: int = 5, spacing: float = 2.0, deviation: float = 0.05) -> Gaussians:
    """Modes on a square grid around the origin.

    Args:
        side: the number of modes in a row; there are side² modes.
        spacing: the distance between neighbours.
        deviation: the standard deviation of each mode.

    Returns:
        The distribution.

    Raises:
        ValueError: for fewer than 1 mode, or a number beyond 32 bits.

    Example:
        >>> from advnets.bench.modes.gaussians import grid
        >>> len(grid().centres)
        25
    """
    check_count("the number of modes", side * abs(side))
    line = spacing * (np.arange(side) - (side - 1) / 2)
    centres = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)
    return Gaussians("grid", centres, deviation)


# The share that `count` gives for the data themselves, in the limit of many: 1 - exp(-9/2).
TRUE_SHARE = 1 - math.exp(-(NEAR**2) / 2)


@dataclasses.dataclass(frozen=True)
class Counted:
    """The modes that samples cover.

    Attributes:
        found: the number of modes with at least one sample within three standard deviations.
        covered: the number of modes with at least n / (10 · modes) of the n samples within three
            standard deviations: a tenth of what the data have.
        share: the share of samples within three standard deviations of some mode, in [0, 1]; for
            the data it is 0.989.
        divergence: the Kullback-Leibler divergence of the samples' histogram over modes (each
            sample counts for its nearest mode) from the uniform one, in nats; from 0 to the
            logarithm of the number of modes.
    """

    found: int
    covered: int
    share: float
    divergence: float


def count(samples: Float[np.ndarray, " n 2"], data: Gaussians) -> Counted:
    """Counts the modes that samples cover.

    Args:
        samples: the samples, at least one.
        data: the distribution.

    Returns:
        The numbers.

    Raises:
        ValueError: if there is no sample.

    Example:
        >>> from advnets.bench.modes.gaussians import count, ring
        >>> count(ring().draw(0, 2500), ring()).covered
        8

    References:
        Modes and high-quality samples: Srivastava et al. 2017, "VEEGAN", section 4; the
        histogram's divergence: Lin et al. 2018, "PacGAN", section 4.
    """
    n = len(samples)
    if n == 0:
        raise ValueError("counting modes needs at least 1 sample; got none")
    distances = np.linalg.norm(samples[:, None] - data.centres[None], axis=-1)
    nearest = distances.argmin(axis=1)
    near = distances[np.arange(n), nearest] <= NEAR * data.deviation
    good = np.bincount(nearest[near], minlength=data.modes)
    histogram = np.bincount(nearest, minlength=data.modes) / n
    some = histogram[histogram > 0]
    return Counted(
        found=int((good > 0).sum()),
        covered=int((good >= n / (10 * data.modes)).sum()),
        share=float(near.mean()),
        divergence=max(0.0, float(np.sum(some * np.log(some * data.modes)))),
    )
