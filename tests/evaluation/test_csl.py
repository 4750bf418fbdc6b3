"""The conservative likelihood: exact where it can be, and by brute force in float64."""

import itertools

import numpy as np
import pytest
import scipy.special

from advnets import csl


def brute_force(images, means):
    """log of the mean over samples of p(x | m), in float64."""
    x, m = images.reshape(len(images), 1, -1), means.astype(np.float64).reshape(1, len(means), -1)
    logs = np.where(x == 1, np.log(m), np.log1p(-m)).sum(axis=2)
    return scipy.special.logsumexp(logs, axis=1) - np.log(len(means))


def test_it_is_the_mixture_that_brute_force_gives_for_each_number_of_samples():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 2, (5, 6, 5)).astype(np.float32)
    means = scipy.special.expit(2 * rng.standard_normal((2300, 6, 5))).astype(np.float32)
    blocks = iter([means[:7], means[7:1500], means[1500:], None])  # the last is not asked for
    found = csl.curve(images, blocks, [3, 7, 1000, 2300])
    for n, logs in zip((3, 7, 1000, 2300), found, strict=True):
        np.testing.assert_allclose(logs, brute_force(images, means[:n]), rtol=1e-5)
    np.testing.assert_allclose(csl.log_likelihood(images, means), found[-1], rtol=1e-6)


def test_of_a_model_whose_hidden_states_are_equally_likely_it_is_exact():
    hidden = np.array(list(itertools.product((0.0, 1.0), repeat=3)))
    means = scipy.special.expit(hidden @ np.array([[1.0, -2.0], [0.5, 3.0], [-1.0, 0.2]]))
    images = np.array(list(itertools.product((0.0, 1.0), repeat=2)))
    total = np.exp(csl.log_likelihood(images, means)).sum()
    assert total == pytest.approx(1, abs=1e-6)  # a distribution over all images


def test_sharp_means_of_many_pixels_do_not_cancel():
    images = np.random.default_rng(0).integers(0, 2, (3, 784)).astype(np.float32)
    means = np.abs(images - 1e-4)  # nearly the images themselves
    found = csl.log_likelihood(images, means)
    np.testing.assert_allclose(found, brute_force(images, means), rtol=1e-5, atol=1e-5)
    far = csl.log_likelihood(images, means[:1])
    np.testing.assert_allclose(far, brute_force(images, means[:1]), rtol=1e-5, atol=1e-5)


def test_a_mean_of_0_or_1_rules_nothing_out():
    found = csl.log_likelihood(np.ones((1, 2)), np.array([[1.0, 0.0]]))
    assert found[0] == pytest.approx(np.log(csl.CLIPPED), rel=1e-5)


@pytest.mark.parametrize(
    ("images", "blocks", "counts", "match"),
    [
        (np.full((1, 2), 0.5), [np.ones((1, 2))], [1], "binary images.* from 0.5 to 0.5"),
        (np.ones((0, 2)), [np.ones((1, 2))], [1], "no image"),
        (np.ones((1, 2)), [np.full((1, 2), 1.5)], [1], "from 1.5 to 1.5"),
        (np.ones((1, 2)), [np.ones((1, 3))], [1], r"shape \(1, 3\)"),
        (np.ones((1, 2)), [np.full((1, 2), np.nan)], [1], "nan"),
        (np.ones((1, 2)), [np.ones((1, 2))], [2], "2 samples were requested, but there are only 1"),
        (np.ones((1, 2)), [np.ones((1, 2))], [1, 1], r"must increase.* got \[1, 1\]"),
        (np.ones((1, 2)), [np.ones((1, 2))], [], "must increase"),
    ],
)
def test_what_is_no_binary_image_or_no_mean_is_refused(images, blocks, counts, match):
    with pytest.raises(ValueError, match=match):
        csl.curve(images, iter(blocks), counts)
