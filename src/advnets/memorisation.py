"""Whether samples are nearer to the training images than unseen real images are.

Figure 2 shows a few neighbours; this compares the distances of many.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Array, Float

from advnets._distances import check_finite
from advnets.neighbours import nearest


@dataclass(frozen=True)
class Memorisation:
    """The distances of samples and of held-out images to their nearest training images.

    Attributes:
        sample_distances: each sample's distance to its nearest training image, ascending, in the
            data's units.
        held_out_distances: the same for each held-out image.
        auc: the probability that a sample is nearer than a held-out image, with ties as one half:
            0.5 if both are equally near, 1 if each sample is nearer than each held-out image.
        p_value: the probability of an AUC this high if both came from one distribution; one-sided
            Mann-Whitney test, normal approximation.
        ks_statistic: the largest difference between the two distribution functions, either way.
        ks_p_value: the probability of a difference this large; two-sided Kolmogorov-Smirnov test,
            exact for up to 10,000 rows without ties.
        sample_median: the median of the samples' distances.
        held_out_median: the median of the held-out images' distances.
        below_held_out: the fraction of samples nearer than the nearest held-out image.
        copies: the fraction of samples that equal a training image.
    """

    sample_distances: Float[np.ndarray, " samples"]
    held_out_distances: Float[np.ndarray, " held_out"]
    auc: float
    p_value: float
    ks_statistic: float
    ks_p_value: float
    sample_median: float
    held_out_median: float
    below_held_out: float
    copies: float


def memorisation(
    samples: Float[Array | np.ndarray, " samples *data"],
    train: Float[Array | np.ndarray, " train *data"],
    held_out: Float[Array | np.ndarray, " held_out *data"],
) -> Memorisation:
    """Compares samples with unseen real images by their distances to the training images.

    A model that has memorised makes samples nearer to training images than new real images are.
    The converse does not hold, so read the AUC with care:

    - Above 0.5 need not be memorisation. A blurred sample, or one near the mean image, is near to
      everything. Look at the samples, and at `below_held_out`.
    - At or below 0.5 is no proof of novelty. Poor samples are far from everything, and can hide a
      few copies among them; `below_held_out` and `copies` count those.
    - Distances are between pixels. A training image moved by one pixel counts as far.
    - The held-out images must come from the training images' distribution, and not be among them.
      A duplicate has distance 0 and makes `below_held_out` 0.

    Beyond the arrays themselves, it takes memory for blocks of distances only. Distances are those
    of [`advnets.neighbours.nearest`][], so `copies` counts rows that are equal in their own type,
    float64 included.

    Args:
        samples: fair random draws from the generator; at least one.
        train: the images that the generator was trained on.
        held_out: real images that it was not trained on; at least one. All are in the same units.

    Returns:
        The distances and their statistics.

    Raises:
        ValueError: if there are no samples, training images or held-out images, or one holds a
            value that is not finite; and as [`advnets.neighbours.nearest`][].

    Example:
        >>> import jax
        >>> from advnets.memorisation import memorisation
        >>> train, held_out = jax.random.normal(jax.random.key(0), (2, 100, 5))
        >>> report = memorisation(train[:50] + 1e-3, train, held_out)
        >>> report.auc, report.below_held_out, report.copies
        (1.0, 1.0, 0.0)

    References:
        Figure 2, whose last column serves the same purpose; Theis et al. 2016, "A note on the
        evaluation of generative models", on what nearest neighbours can't show.
    """
    if len(samples) == 0 or len(train) == 0 or len(held_out) == 0:
        raise ValueError(
            f"got {len(samples)} samples, {len(train)} training images and {len(held_out)} "
            "held-out images; pass at least one each"
        )
    for name, rows in (("samples", samples), ("train", train), ("held_out", held_out)):
        check_finite(name, rows)
    import scipy.stats

    # Both at once: one search. On the host, where float64 stays float64.
    queries = np.concatenate([np.asarray(samples), np.asarray(held_out)])
    # SciPy computes in its input's precision.
    distances = np.asarray(nearest(queries, train)[1], np.float64)
    ours, others = np.sort(distances[: len(samples)]), np.sort(distances[len(samples) :])
    nearer = scipy.stats.mannwhitneyu(others, ours, alternative="greater", method="asymptotic")
    apart = scipy.stats.ks_2samp(ours, others)
    return Memorisation(
        sample_distances=ours,
        held_out_distances=others,
        auc=float(nearer.statistic) / (len(ours) * len(others)),
        p_value=float(nearer.pvalue),
        ks_statistic=float(apart.statistic),
        ks_p_value=float(apart.pvalue),
        sample_median=float(np.median(ours)),
        held_out_median=float(np.median(others)),
        below_held_out=float(np.mean(ours < others[0])),
        copies=float(np.mean(ours == 0)),
    )
