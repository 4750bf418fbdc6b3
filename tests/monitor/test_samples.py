"""Whether samples are alike: against brute force, exact probabilities, and planted collapses."""

import jax
import numpy as np
import pytest
import scipy.spatial.distance

from advnets import monitor
from advnets.monitor import samples as of_samples

KEY = jax.random.key(5)


def by_hand(rows):
    """Variance, effective rank and median nearest distance, from the definitions."""
    eigenvalues = np.linalg.eigvalsh(np.cov(rows.T))
    distances = scipy.spatial.distance.squareform(scipy.spatial.distance.pdist(rows))
    np.fill_diagonal(distances, np.inf)
    rank = eigenvalues.sum() ** 2 / (eigenvalues**2).sum()
    return eigenvalues.sum(), rank, np.median(distances.min(axis=0))


def ratios(ours, others):
    variance, rank, neighbours = (a / b for a, b in zip(ours, others, strict=True))
    return {"spread": variance**0.5, "effective_rank": rank, "neighbours": neighbours}


def normal(n, columns=6, seed=0, scale=1.0):
    scales = np.linspace(1, 2, columns) * scale
    return (3 + scales * np.random.default_rng(seed).normal(size=(n, columns))).astype(np.float32)


def test_the_ratios_are_those_of_the_definitions():
    fakes, real = normal(100, scale=0.7, seed=1), monitor.real_rows(KEY, normal(200), splits=20)
    found = monitor.collapse(KEY, fakes, real)
    chosen = of_samples._generator(KEY).permutation(200)[:100]
    expected = ratios(by_hand(fakes.astype(float)), by_hand(real.rows[chosen].astype(float)))
    for name, value in expected.items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-6)
    assert (found.samples, found.p_value, found.support) == (100, None, None)


def test_the_least_of_the_halvings_is_that_of_each_on_its_own(monkeypatch):
    drawn = []

    class Remembering:
        def permuted(self, tiled, axis):
            drawn.append(np.random.default_rng(2).permuted(tiled, axis=axis))
            return drawn[0]

    monkeypatch.setattr(of_samples, "_generator", lambda key: Remembering())
    rows = normal(120)
    real = monitor.real_rows(KEY, rows, splits=15)
    rows = rows.astype(float)
    each = [ratios(by_hand(rows[half]), by_hand(rows[~half])) for half in drawn[0]]
    assert len(each) == 15
    for name, least in real.least.items():
        assert least == pytest.approx(min(one[name] for one in each), rel=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1])
def test_halves_of_equal_rows_do_not_vary(value):
    """Where nearly all rows are equal, a half may hold nothing else: rounding is no variance."""
    for seed in range(20):
        rows = np.full((60, 64), value, np.float32)
        rows[:3] = np.random.default_rng(seed).random((3, 64))
        least = monitor.real_rows(jax.random.key(seed), rows).least
        assert least["spread"] == least["effective_rank"] == 0


def test_the_support_is_that_of_draws_from_so_many():
    """1,000 draws from 600 equally likely rows repeat as the birthday test says."""
    rng = np.random.default_rng(0)
    pool = normal(600, columns=8, seed=9)
    real = monitor.real_rows(KEY, normal(2000, columns=8), normal(3000, columns=8, seed=3))
    found = monitor.collapse(KEY, pool[rng.integers(600, size=1000)], real)
    # Some 832 pairs are expected, so the estimate is within 3/√832 of it in all but 0.3 %.
    assert found.support == pytest.approx(600, rel=0.11)
    assert found.p_value == 0.01
    assert set(found.collapsed) == {"neighbours", "duplicates"}  # most samples are there twice


def test_the_rank_test_is_exact():
    """Of fair samples the closest pair is among the closest of 20 once in 20 times."""
    rng = np.random.default_rng(1)
    hits = 0
    for number in range(120):
        real = monitor.real_rows(
            jax.random.key(number), rng.normal(size=(40, 3)), rng.normal(size=(190, 3)), splits=1
        )
        assert len(real.closest) == 19
        found = monitor.collapse(KEY, rng.normal(size=(20, 3)), real)
        hits += found.p_value == 0.05
    assert 1 <= hits <= 13  # 6 ± 3 standard deviations


def test_only_pairs_closer_than_any_real_one_count_as_repeats():
    held_out, training = np.zeros((40, 1)), 0.5 * np.arange(4000.0)[:, None]
    real = monitor.real_rows(KEY, held_out, training)
    assert real.closest.min() == 0.5
    assert real.per_batch == 20  # as many as there are samples to compare
    for distance, support in ((0.6, None), (0.4, 190 / 10)):
        pairs = 5.0 * np.arange(10)[:, None, None] + np.array([[0], [distance]])
        assert monitor.collapse(KEY, pairs.reshape(20, 1), real).support == support


def test_data_with_repeats_of_their_own_give_no_alarm():
    rows = np.repeat(normal(500), 2, axis=0)
    real = monitor.real_rows(KEY, rows, rows)
    assert real.closest.min() < 1e-5
    found = monitor.collapse(KEY, rows, real)
    assert found.p_value > 0.01  # some batches of data have a repeat too
    assert "duplicates" not in found.collapsed


def test_resampled_data_are_silent_and_planted_collapses_are_not():
    """Blobs in 20 columns; samples are resampled data, or fewer, or narrower."""
    rng = np.random.default_rng(0)
    centres = 3 * rng.normal(size=(10, 20))

    def blobs(n):
        return (centres[rng.integers(10, size=n)] + rng.normal(size=(n, 20))).astype(np.float32)

    train, held_out = blobs(4000), blobs(800)
    real = monitor.real_rows(KEY, held_out, train)
    beyond = 0
    for number in range(30):
        found = monitor.collapse(jax.random.key(number), train[rng.integers(4000, size=400)], real)
        assert found.collapsed == ()
        beyond += bool(found.below)
    assert beyond <= 4
    few = train[:50][rng.integers(50, size=400)]
    assert set(monitor.collapse(KEY, few, real).collapsed) >= {"neighbours", "duplicates"}
    narrow = train[:400].mean(0) + 0.1 * (train[:400] - train[:400].mean(0))
    assert set(monitor.collapse(KEY, narrow, real).collapsed) >= {"spread", "neighbours"}
    one = np.tile(train[:1], (400, 1))
    assert set(monitor.collapse(KEY, one, real).collapsed) >= set(of_samples.RATIOS)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: monitor.real_rows(KEY, normal(3)), "at least 4 held-out rows; got 3"),
        (lambda: monitor.real_rows(KEY, normal(9), splits=0), "the number of halvings"),
        (lambda: monitor.real_rows(KEY, normal(9) * np.nan), "not finite"),
        (
            lambda: monitor.collapse(KEY, normal(9), monitor.real_rows(KEY, normal(20))),
            r"at least 10 samples of 6 columns, as the real rows have; got \(9, 6\)",
        ),
    ],
)
def test_what_can_t_be_compared_is_refused_in_a_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()
