"""How fast Markov chains mix: autocorrelation times of their samples, and their agreement."""

import dataclasses
import math

import numpy as np
from jaxtyping import Float

# The sum of autocorrelations ends at the first lag that is this many times the sum so far.
WINDOW = 5
# A time is trusted if the chains have at least this many times as many samples.
TRUSTED = 50
# Components whose variance is a smaller share of the first one's are rounding errors.
ROUNDING = 1e-12


@dataclasses.dataclass(frozen=True)
class Mixing:
    """How fast chains mix, measured in samples.

    Attributes:
        time: the integrated autocorrelation time, in samples: the median over components. A lower
            bound if it is not trusted.
        times: the time of each component.
        effective_samples: the number of independent samples that would have an equally precise
            mean: all samples of all chains, divided by the time.
        trusted: whether all chains together have at least 50 samples, and at least 50 times as many
            as `time`, and the window of each component ends within a chain.
    """

    time: float
    times: tuple[float, ...]
    effective_samples: float
    trusted: bool


def autocorrelation_time(series: Float[np.ndarray, "chains samples"]) -> tuple[float, bool]:
    """The integrated autocorrelation time of a stationary series, from several chains.

    τ = 1 + 2 Σ ρ_t, the sum ending at the first lag that is at least 5τ (Sokal's window), and at
    least 5 (1 + 2 Σ ρ_t²), as correlations of alternating signs cancel in τ long before they are
    small. Autocovariances are about the mean of all chains, so chains that stay apart count as
    slow.

    Args:
        series: a number at each sample of each chain, at least 2 of each.

    Returns:
        τ, in samples: 1 for independent samples, less where successive samples are anticorrelated,
        infinite for a constant series. It is at least 1 / log10(N), or 1 if that is less, for all N
        samples together: smaller times are not told from noise, which could even make them
        negative. And whether the window ends within the chains, which alone is no reason to trust
        τ: chains must also be many times as long, as [`advnets.mixing.mixing`][] checks.

    Raises:
        ValueError: for chains of fewer than 2 samples.

    Example:
        >>> import numpy as np
        >>> from advnets.mixing import autocorrelation_time
        >>> independent = np.random.default_rng(0).standard_normal((10, 1000))
        >>> round(autocorrelation_time(independent)[0], 1)
        1.0

    References:
        A. Sokal, "Monte Carlo methods in statistical mechanics" (1997), section 3. Vehtari et al.
        2021, "Rank-normalization, folding, and localization: an improved R̂", for the least time.
    """
    n = series.shape[1]
    if n < 2:
        raise ValueError(f"an autocorrelation time needs chains of at least 2 samples; got {n}")
    if series.max() == series.min():  # their mean may round, and so differ from them
        return float("inf"), False
    centred = np.asarray(series, np.float64) - np.mean(series, dtype=np.float64)
    size = 1 << (2 * n - 1).bit_length()
    spectrum = np.fft.rfft(centred, size, axis=1)
    covariances = np.fft.irfft(np.abs(spectrum) ** 2, size, axis=1)[:, :n].sum(0)
    # For each lag, the mean over its number of products: chains are short, but there are many.
    correlations = covariances / np.arange(n, 0, -1) / (covariances[0] / n)
    times = 2 * np.cumsum(correlations) - 1
    spans = np.maximum(times, 2 * np.cumsum(correlations**2) - 1)
    ends = np.flatnonzero(np.arange(n) >= WINDOW * spans)
    if ends.size:
        return max(float(times[ends[0]]), 1 / math.log10(max(series.size, 10))), True
    return float(times.max()), False


def mixing(samples: Float[np.ndarray, "chains samples *shape"], *, components: int = 10) -> Mixing:
    """How fast chains mix, by the first principal components of all their samples.

    Args:
        samples: the samples of each chain in order, at least 2.
        components: the number of principal components; fewer if samples have fewer numbers, or
            vary in fewer directions.

    Returns:
        The median time, and what follows from it, in samples; in a chain's own steps it is `thin`
        times as long. If all samples are equal, one infinite time.

    Raises:
        ValueError: for chains of fewer than 2 samples, or samples that are not finite.

    Example:
        >>> import numpy as np
        >>> from advnets.mixing import mixing
        >>> found = mixing(np.random.default_rng(0).standard_normal((4, 500, 3)))
        >>> found.trusted, round(found.time, 1)
        (True, 1.0)
    """
    chains, n = samples.shape[:2]
    centred = np.array(samples, np.float64).reshape(chains * n, -1)
    if not np.isfinite(centred).all():
        raise ValueError("samples must be finite; some are not")
    equal = centred.max(0) == centred.min(0)
    centred -= centred.mean(0)  # in place: samples are many
    centred[:, equal] = 0  # whatever the rounding of their mean
    variances, vectors = np.linalg.eigh(centred.T @ centred)
    varied = max(1, np.count_nonzero(variances > ROUNDING * variances[-1]))
    projected = centred @ vectors[:, ::-1][:, : min(components, varied)]
    found = [autocorrelation_time(one.reshape(chains, n)) for one in projected.T]
    times = tuple(time for time, _ in found)
    time = float(np.median(times))
    trusted = all(ended for _, ended in found) and chains * n >= TRUSTED * max(time, 1)
    return Mixing(time, times, chains * n / time, trusted)


def r_hat(series: Float[np.ndarray, "chains samples"]) -> float:
    r"""How far chains are from agreement on a number: 1 where they agree.

    $$\hat R = \sqrt{\frac{n-1}{n} + \frac{B}{W}}$$

    B is the variance of the chains' means, W the mean of the variances within chains, each of n
    samples. Chains from different starts, with the first half of each left out, are usually taken
    to have forgotten their starts if it is below 1.05.

    Args:
        series: a number at each sample of each chain, at least 2 of each.

    Returns:
        The ratio; 1 if all numbers are equal, and infinite for constants that differ.

    Raises:
        ValueError: for fewer than 2 chains, or chains of fewer than 2 samples.

    Example:
        >>> import numpy as np
        >>> from advnets.mixing import r_hat
        >>> print(round(r_hat(np.array([[0.0, 1.0], [1.0, 2.0]])), 4))
        1.2247

    References:
        Gelman et al. 2013, "Bayesian Data Analysis", third edition, section 11.4, without its
        splitting of chains. The ratio of Gelman and Rubin 1992 has further factors.
    """
    chains, n = series.shape
    if min(chains, n) < 2:
        raise ValueError(
            f"agreement needs at least 2 chains of at least 2 samples; got {chains} of {n}"
        )
    held = np.asarray(series, np.float64)
    if (held.max(axis=1) == held.min(axis=1)).all():  # their means may round
        return 1.0 if held.max() == held.min() else float("inf")
    between = float(held.mean(axis=1).var(ddof=1))
    within = float(held.var(axis=1, ddof=1).mean())
    return float(np.sqrt((n - 1) / n + between / within))
