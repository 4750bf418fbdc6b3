"""Whether samples are too alike: their spread, their nearest neighbours, and how many repeat.

Each number is judged against the same comparison of two halves of real rows, which never agree
exactly either.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from advnets._counts import check_count
from advnets._distances import check_finite
from advnets.monitor.frozen import evenly

# Samples that are compared, and as many real rows.
SAMPLES = 2_000
# Halvings of real rows: real rows fall below the least ratio in about one of this many evaluations.
SPLITS = 200
# Samples count as collapsed if a ratio to real rows is below this, and below all halvings.
FRACTION = 0.25
# Batches of real rows that the closest pair is ranked among, and the most rows in one.
BATCHES, PER_BATCH = 99, 500
# The least p-value of the rank test with this many batches.
SURE = 0.01
# A row's nearest row in its own half is searched for among this many of its nearest rows.
NEAR = 32
# Columns multiplied at once, in float64.
COLUMNS = 1_024
# Rows nearer than this, relative to their size, are equal up to rounding.
ROUNDING = 1e-6
# A variance below this, relative to the squares it is computed from, is rounding.
EQUAL = 1e-12
RATIOS = ("spread", "effective_rank", "neighbours")


@dataclasses.dataclass(frozen=True, repr=False)
class RealRows:
    """Real rows, with statistics of halves and batches of them.

    Attributes:
        rows: held-out rows, twice as many as the samples compared.
        least: the least ratio between two halves of them over all halvings, by name.
        closest: the distance of the closest pair in each batch of training rows.
        per_batch: the number of rows in each batch.
    """

    rows: Float[np.ndarray, "rows columns"]
    least: Mapping[str, float]
    closest: Float[np.ndarray, " batches"]
    per_batch: int

    def __repr__(self) -> str:
        least = ", ".join(f"{name} {value:.3f}" for name, value in self.least.items())
        batches = f"{len(self.closest)} batches of {self.per_batch}"
        return f"RealRows({len(self.rows)} rows, least {least}, {batches})"

    @property
    def samples(self) -> int:
        """The number of samples compared."""
        return len(self.rows) // 2


@dataclasses.dataclass(frozen=True)
class Collapse:
    """How much samples vary, relative to as many real rows.

    Attributes:
        samples: the number of samples compared.
        spread: the standard deviation of samples over that of real rows, all columns together.
        effective_rank: (Σλ)² / Σλ² of the eigenvalues λ of the samples' covariance, over that of
            real rows.
        neighbours: the median distance of a sample to its nearest neighbour, over that of real
            rows.
        p_value: of the rank of the closest pair of samples among the closest pairs of the batches
            of real rows, if samples were real rows: at least 1 / (batches + 1). None without
            batches.
        support: an estimate of the number of distinct samples, 1 / Σ p_i², from pairs that are
            closer than any in the batches of real rows; None if there is no such pair.
        below: those of the three ratios that are below those of all halvings of real rows.
        collapsed: those of them that are also below one quarter; and `"duplicates"` if the p-value
            is at most 0.01 and the support smaller than the number of samples.
    """

    samples: int
    spread: float
    effective_rank: float
    neighbours: float
    p_value: float | None
    support: float | None
    below: tuple[str, ...]
    collapsed: tuple[str, ...]


def real_rows(
    key: Key[Array, ""],
    held_out: Any,
    training: Any = None,
    *,
    samples: int = SAMPLES,
    splits: int = SPLITS,
) -> RealRows:
    """What samples are compared with: real rows, in halves and in batches.

    Real rows are repeatedly halved at random, and the ratios that samples are judged by are
    computed for one half over the other: this is how much real rows differ among themselves.

    Args:
        key: a typed random key.
        held_out: real rows, each a vector with the same columns as samples: pixels, or your own
            features. Anything with a length that returns rows for an array of indices; at least 4.
        training: more real rows, whose closest pairs are found in disjoint batches; unless given,
            there is no test for repeats. With fewer than 990 the p-value stays above 0.01, so
            that repeats are estimated, but cause no alarm.
        samples: the number of samples to compare; half of the held-out rows, if that is fewer.
        splits: the number of halvings.

    Returns:
        The real rows, for [`advnets.monitor.collapse`][].

    Raises:
        ValueError: for too few rows or halvings, or rows that are not finite.

    Example:
        >>> import jax
        >>> import advnets
        >>> key = jax.random.key(0)
        >>> rows = jax.random.normal(key, (1000, 5))
        >>> real = advnets.monitor.real_rows(key, rows)
        >>> real.samples, real.least["spread"] > 0.8
        (500, True)
    """
    check_count("the number of samples", samples)
    check_count("the number of halvings", splits)
    if len(held_out) < 4:
        raise ValueError(f"halving needs at least 4 held-out rows; got {len(held_out)}")
    split_key, batch_key = jax.random.split(key)
    rows = _rows(held_out, evenly(len(held_out), 2 * min(samples, len(held_out) // 2)))
    closest, per_batch = _closest(batch_key, training, min(PER_BATCH, len(rows) // 2))
    return RealRows(rows, _least(split_key, rows, splits), closest, per_batch)


def collapse(
    key: Key[Array, ""], samples: Float[np.ndarray | Array, "samples columns"], real: RealRows
) -> Collapse:
    """Compares samples with as many real rows, drawn at random.

    Limits: in pixels, near-copies that are slightly shifted are far from each other, so compare
    features too if you have any; and a generator that covers half of the modes, each with the
    variety of the data, passes. In columns with tails so heavy that their variance is infinite, a
    few rows decide the spread and the effective rank, and fair draws of the data count as collapsed
    in up to a few percent of evaluations; bound such columns first, by a logarithm for example.

    Args:
        key: a typed random key, for the draw of real rows.
        samples: fair draws from the generator, each a vector; at least `real.samples` of them.
        real: what they are compared with.

    Returns:
        The comparison.

    Raises:
        ValueError: for too few samples, other columns than the real rows, or a value that is not
            finite.

    Example:
        >>> import jax
        >>> import advnets
        >>> key, other_key = jax.random.split(jax.random.key(0))
        >>> data, fair = jax.random.normal(key, (2, 2000, 5))
        >>> real = advnets.monitor.real_rows(key, data, data)
        >>> advnets.monitor.collapse(key, fair, real).collapsed
        ()
        >>> few = fair[jax.random.randint(other_key, (2000,), 0, 50)]
        >>> found = advnets.monitor.collapse(key, few, real)
        >>> found.collapsed, 40 < found.support < 60
        (('neighbours', 'duplicates'), True)

    References:
        Arora and Zhang 2017, "Do GANs actually learn the distribution?", the birthday test.
    """
    n, columns = real.samples, real.rows.shape[1]
    if len(samples) < n or samples.shape[1] != columns:
        raise ValueError(
            f"give at least {n} samples of {columns} columns, as the real rows have; got "
            f"{tuple(samples.shape)}"
        )
    rows = np.asarray(samples[:n], np.float32)
    check_finite("samples", rows)
    chosen = _generator(key).permutation(len(real.rows))[:n]
    gram = _gram(rows)
    squared = _squared_distances(gram)
    ours = _statistics(gram, squared)
    others_gram = _gram(real.rows[chosen])
    others = _statistics(others_gram, _squared_distances(others_gram))
    found = dict(zip(RATIOS, _ratios(ours, others), strict=True))
    p_value, support = _repeats(gram, squared, real)
    below = tuple(name for name in RATIOS if found[name] < real.least[name])
    collapsed = tuple(name for name in below if found[name] < FRACTION)
    if p_value is not None and p_value <= SURE and support is not None and support < n:
        collapsed += ("duplicates",)
    return Collapse(n, **found, p_value=p_value, support=support, below=below, collapsed=collapsed)


def _generator(key: Key[Array, ""]) -> np.random.Generator:
    return np.random.default_rng(np.asarray(jax.random.key_data(key)))


def _rows(rows: Any, numbers: Any) -> Float[np.ndarray, "rows columns"]:
    found = np.asarray(rows[numbers], np.float32)
    check_finite("real rows", found)
    return found


def _gram(rows: Float[np.ndarray, "n columns"]) -> Float[np.ndarray, "n n"]:
    """The inner products of all pairs of centred rows, in float64."""
    gram = np.zeros((len(rows), len(rows)))
    for start in range(0, rows.shape[1], COLUMNS):
        piece = rows[:, start : start + COLUMNS].astype(np.float64)
        piece -= piece.mean(0)
        gram += piece @ piece.T
    return gram


def _squared_distances(gram: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    """Squared distances of all pairs of rows; infinite on the diagonal."""
    sizes = np.diagonal(gram)
    squared = np.maximum(sizes[:, None] + sizes[None] - 2 * gram, 0)
    np.fill_diagonal(squared, np.inf)
    return squared


Statistics = tuple[Any, Any, Any]


def _statistics(gram: Float[np.ndarray, "n n"], squared: Float[np.ndarray, "n n"]) -> Statistics:
    """The variance, the effective rank, and the median distance to the nearest other row."""
    # The eigenvalues of the Gram matrix are those of the covariance, times n - 1.
    variance, of_squares = np.trace(gram), np.sum(gram**2)
    rank = variance**2 / of_squares if of_squares else 0.0
    return variance, rank, np.median(np.sqrt(squared.min(axis=1)))


def _ratios(ours: Statistics, others: Statistics) -> tuple[float, ...]:
    """The three ratios; 1 where real rows do not vary."""
    found = [a / b if b else 1.0 for a, b in zip(ours, others, strict=True)]
    return math.sqrt(found[0]), float(found[1]), float(found[2])


def _least(
    key: Key[Array, ""], rows: Float[np.ndarray, "rows columns"], splits: int
) -> dict[str, float]:
    """The least of each ratio between two halves of some rows, over `splits` halvings."""
    pool, half = len(rows), len(rows) // 2
    order = _generator(key).permuted(np.tile(np.arange(pool) < half, (splits, 1)), axis=1)
    gram = _gram(rows)
    squared = _squared_distances(gram)
    near = min(NEAR, pool - 1)
    nearest = np.argpartition(squared, near - 1, axis=1)[:, :near]
    distances = np.take_along_axis(squared, nearest, axis=1)
    ranked = np.argsort(distances, axis=1)
    nearest = np.take_along_axis(nearest, ranked, axis=1)
    distances = np.sqrt(np.take_along_axis(distances, ranked, axis=1))
    ours, others = (
        [*_of_halves(gram, chosen), _of_neighbours(nearest, distances, chosen)]
        for chosen in (order, ~order)
    )
    each = zip(np.transpose(ours), np.transpose(others), strict=True)
    ratios = np.array([_ratios(tuple(a), tuple(b)) for a, b in each])
    return dict(zip(RATIOS, ratios.min(axis=0).tolist(), strict=True))


def _of_halves(
    gram: Float[np.ndarray, "n n"], chosen: Bool[np.ndarray, "splits n"]
) -> tuple[Float[np.ndarray, " splits"], Float[np.ndarray, " splits"]]:
    """The variance and the effective rank of chosen rows, about their own mean.

    With H = 1 - 11ᵀ/m and K the products of the m rows, tr HK and |HKH|² from sums over K. Where
    the m rows are equal up to rounding, both are 0.
    """
    a = chosen.astype(np.float64)
    m = chosen.sum(axis=1)
    products = a @ gram
    total = np.sum(a * products, axis=1)
    size = a @ np.diagonal(gram)
    variance = size - total / m
    vary = variance > EQUAL * size
    variance = np.where(vary, variance, 0)
    squares = np.sum(a * (a @ gram**2), axis=1)
    of_squares = squares - 2 * np.sum(a * products**2, axis=1) / m + (total / m) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        rank = np.where(of_squares > 0, variance**2 / of_squares, 1)
    return variance, np.where(vary, np.clip(rank, 1, np.maximum(m - 1, 1)), 0)


def _of_neighbours(
    nearest: Float[np.ndarray, "n near"] | Any,
    distances: Float[np.ndarray, "n near"],
    chosen: Bool[np.ndarray, "splits n"],
) -> Float[np.ndarray, " splits"]:
    """The median distance of chosen rows to their nearest chosen neighbour."""
    found = []
    for one in chosen:
        own = one[nearest[one]]
        # One of the 32 nearest rows is in the same half, except with probability 2^-32.
        first = np.where(own.any(axis=1), own.argmax(axis=1), own.shape[1] - 1)
        found.append(np.median(distances[one, first]))
    return np.array(found)


def _closest(
    key: Key[Array, ""], training: Any, most: int
) -> tuple[Float[np.ndarray, " batches"], int]:
    """The distance of the closest pair in each of some disjoint batches of rows."""
    n = 0 if training is None else len(training)
    batches = min(BATCHES, n // 10)
    if batches == 0:
        return np.zeros(0), 0
    size = min(most, n // batches)
    order = _generator(key).permutation(n)
    found = []
    for number in range(batches):
        rows = _rows(training, order[number * size : (number + 1) * size])
        found.append(math.sqrt(_squared_distances(_gram(rows)).min()))
    return np.array(found), size


def _repeats(
    gram: Float[np.ndarray, "n n"], squared: Float[np.ndarray, "n n"], real: RealRows
) -> tuple[float | None, float | None]:
    """The p-value of the closest pair, and the support from pairs closer than any real one."""
    size = real.per_batch
    if size == 0:
        return None, None
    rounding = ROUNDING * math.sqrt(np.trace(gram) / len(gram))
    least = math.sqrt(squared[:size, :size].min())
    rank = 1 + int(np.sum(real.closest <= least + rounding))
    near = squared < max(real.closest.min(), rounding) ** 2
    pairs, close = len(gram) * (len(gram) - 1) / 2, np.count_nonzero(near) / 2
    return rank / (len(real.closest) + 1), float(pairs / close) if close else None
