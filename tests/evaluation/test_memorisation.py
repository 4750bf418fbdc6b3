"""The report on memorisation against float64 brute force; planted copies, and none."""

import itertools

import jax
import matplotlib.image
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

import advnets
from advnets.memorisation import memorisation

quick = settings(deadline=None, max_examples=8)


def of_distances(samples, held_out):
    """A report on rows that are at these distances from a single training row, 0."""
    return memorisation(*(np.float32(rows)[:, None] for rows in (samples, [0], held_out)))


def nearest(rows, train):
    rows, train = np.float64(rows).reshape(len(rows), -1), np.float64(train).reshape(len(train), -1)
    return np.sort([np.linalg.norm(train - row, axis=1).min() for row in rows])


def brute_force_auc(ours, others):
    pairs = [(a, b) for a in ours for b in others]
    return sum(1.0 if a < b else 0.5 if a == b else 0.0 for a, b in pairs) / len(pairs)


def brute_force_ks(ours, others):
    return max(abs(np.mean(ours <= x) - np.mean(others <= x)) for x in [*ours, *others])


def test_distances_and_statistics_are_those_of_images():
    rng = np.random.default_rng(0)
    samples, train, held_out = (rng.random((n, 5, 4)).astype(np.float32) for n in (23, 40, 31))
    samples[:3] = train[[7, 0, 7]]
    report = memorisation(samples, train, held_out)
    ours, others = nearest(samples, train), nearest(held_out, train)
    np.testing.assert_allclose(report.sample_distances, ours, rtol=1e-5)
    np.testing.assert_allclose(report.held_out_distances, others, rtol=1e-5)
    np.testing.assert_allclose(report.auc, brute_force_auc(ours, others), rtol=1e-12)
    np.testing.assert_allclose(report.ks_statistic, brute_force_ks(ours, others), rtol=1e-12)
    np.testing.assert_allclose(report.sample_median, np.median(ours), rtol=1e-5)
    np.testing.assert_allclose(report.held_out_median, np.median(others), rtol=1e-5)
    assert report.below_held_out == sum(ours < others.min()) / 23
    assert report.copies == 3 / 23


def integers(n):
    return st.lists(st.integers(0, 9), min_size=n, max_size=n)


@quick
@given(integers(7), integers(11))
def test_ties_count_half(ours, others):
    report = of_distances(ours, others)
    np.testing.assert_allclose(report.auc, brute_force_auc(ours, others), rtol=1e-12)
    n, m = len(ours), len(others)
    # The normal approximation, its variance corrected for ties, and half a pair for continuity.
    _, ties = np.unique([*ours, *others], return_counts=True)
    variance = n * m / 12 * ((n + m + 1) - (ties**3 - ties).sum() / ((n + m) * (n + m - 1)))
    excess = n * m * (brute_force_auc(ours, others) - 0.5) - 0.5
    expected = norm.sf(excess / np.sqrt(variance)) if variance > 0 else 1.0
    np.testing.assert_allclose(report.p_value, expected, rtol=1e-9)


def test_the_kolmogorov_smirnov_test_is_exact():
    ours, others = np.array([1.0, 2, 3, 5, 8]), np.array([4.0, 6, 7, 9, 10])
    report = of_distances(ours, others)
    found = brute_force_ks(ours, others)
    splits = [set(split) for split in itertools.combinations(range(1, 11), 5)]
    every = [
        brute_force_ks(np.array(sorted(s)), np.array(sorted(set(range(1, 11)) - s))) for s in splits
    ]
    np.testing.assert_allclose(report.ks_statistic, found, rtol=1e-12)
    np.testing.assert_allclose(
        report.ks_p_value, np.mean(np.array(every) > found - 1e-9), rtol=1e-9
    )


@pytest.mark.parametrize("seed", range(3))
def test_independent_draws_are_as_near(seed):
    rows = jax.random.normal(jax.random.key(seed), (1100, 8))
    report = memorisation(rows[:400], rows[400:800], rows[800:])
    standard_error = np.sqrt((400 + 300 + 1) / (12 * 400 * 300))
    assert abs(report.auc - 0.5) < 3.5 * standard_error
    assert report.p_value > 1e-3
    assert report.ks_p_value > 1e-3
    assert report.below_held_out < 0.02
    assert report.copies == 0


def test_a_memoriser_is_found():
    images = advnets.data.load("digits")
    train, held_out = images.train / np.float32(255), images.validation / np.float32(255)
    noise = np.random.default_rng(0).normal(scale=0.01, size=(200, 8, 8)).astype(np.float32)
    report = memorisation(train[:200] + noise, train, held_out)
    assert report.auc > 0.999
    assert report.p_value < 1e-10
    assert report.ks_statistic > 0.99
    assert report.below_held_out > 0.99
    assert report.copies == 0
    assert memorisation(train[:200], train, held_out).copies == 1


def test_a_few_copies_among_poor_samples_are_counted():
    rows = jax.random.normal(jax.random.key(0), (300, 8))
    train, held_out = rows[:200], rows[200:]
    samples = np.concatenate([train[:5], 9 * np.ones((45, 8), np.float32)])
    report = memorisation(samples, train, held_out)
    assert report.auc < 0.2
    assert report.below_held_out == report.copies == 0.1
    assert of_distances([1, 2, 3, 4], [2, 5]).below_held_out == 0.25  # as near is not nearer


@pytest.mark.parametrize("sizes", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_refusals(sizes):
    message = "got {} samples, {} training images and {} held-out images".format(*sizes)
    with pytest.raises(ValueError, match=message):
        memorisation(*(np.zeros((n, 3), np.float32) for n in sizes))


def test_the_picture_shows_the_report(tmp_path):
    rng = np.random.default_rng(0)
    near, far = of_distances(rng.random(50), 1 + rng.random(40)), of_distances([1], [1])
    advnets.figures.memorisation(tmp_path / "near.png", near)
    advnets.figures.memorisation(tmp_path / "far.png", far)
    pictures = [matplotlib.image.imread(tmp_path / f"{n}.png") for n in ("near", "far")]
    assert not np.array_equal(*pictures)


def test_one_nan_hides_no_copies():
    rng = np.random.default_rng(0)
    rows = {"samples": rng.random((50, 64)), "train": rng.random((200, 64))}
    rows["held_out"] = rng.random((40, 64))
    rows["samples"][:] = rows["train"][100:150]
    assert memorisation(**rows).copies == 1
    for name, row in (("samples", 7), ("train", 3), ("held_out", 39)):
        bad = {other: array.copy() for other, array in rows.items()}
        bad[name][row, 5] = np.nan
        message = f"{name} has 1 value that is not finite, the first in row {row}"
        with pytest.raises(ValueError, match=message):
            memorisation(**bad)


def test_copies_are_equal_in_the_type_they_come_in():
    train, held_out = np.array([[100000000.0, 100000001.0]]), np.array([[0.0, 0.0]])
    near = np.array([[100000001.0, 100000000.0]])
    report = memorisation(near, train, held_out)
    assert report.copies == 0
    assert report.sample_median == pytest.approx(np.sqrt(2), rel=1e-6)
    assert memorisation(np.concatenate([near, train]), train, held_out).copies == 0.5
    # Beside samples of JAX's, too.
    assert memorisation(jax.numpy.float32(near), train, held_out).copies == 0
