"""Conditions: frequencies of labels, and draws by them."""

import jax
import numpy as np
import pytest

from advnets import conditions


def test_labels_are_drawn_by_their_frequencies(key):
    frequencies = np.array([0.5, 0.2, 0.0, 0.3])
    n = 20_000
    (labels,) = conditions.Labels(tuple(frequencies.tolist()))(key, n)
    counts = np.bincount(np.asarray(labels), minlength=4)
    assert counts[2] == 0
    # Each count within 4 of its standard errors, and all together as chi-square (3 - 1 degrees).
    expected = n * frequencies
    assert (abs(counts - expected) <= 4 * np.sqrt(expected * (1 - frequencies))).all()
    drawn = expected > 0
    statistic = ((counts - expected)[drawn] ** 2 / expected[drawn]).sum()
    assert statistic < 2 + 4 * np.sqrt(2 * 2)
    # Successive draws know nothing of each other.
    pairs = np.bincount(4 * np.asarray(labels)[:-1] + np.asarray(labels)[1:], minlength=16)
    expected = (n - 1) * np.outer(frequencies, frequencies).ravel()
    drawn = expected > 0
    statistic = ((pairs - expected)[drawn] ** 2 / expected[drawn]).sum()
    assert statistic < 8 + 4 * np.sqrt(2 * 8)


def test_frequencies_are_those_of_the_data():
    labels = np.array([3, 0, 0, 1, 3, 3, 0, 0], np.uint8)
    assert conditions.frequencies(labels).frequencies == (4 / 8, 1 / 8, 0, 3 / 8)


def test_a_key_draws_the_same_labels_again(key):
    labels = conditions.Labels((0.5, 0.5))
    assert (labels(key, 50)[0] == labels(key, 50)[0]).all()
    assert (labels(key, 50)[0] != labels(jax.random.key(1), 50)[0]).any()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0, 10]), "labels must be from 0 to 9; got 0 to 10"),
        (np.array([-1, 2]), "labels must be from 0 to 9; got -1 to 2"),
        (np.array([0.0, 1.0]), "labels must be integers; got float64"),
    ],
)
def test_labels_that_are_none_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        conditions.check_labels(labels, 10)
    with pytest.raises(ValueError, match=message):
        conditions.Labels((0.1,) * 10).check((labels,))


@pytest.mark.parametrize("frequencies", [(), (0.5, 0.4), (1.5, -0.5), (float("nan"), 1.0)])
def test_frequencies_that_are_none_are_refused(frequencies):
    with pytest.raises(ValueError, match="must be at least 0 and sum to 1"):
        conditions.Labels(frequencies)
    with pytest.raises(ValueError, match="labels must be from 0"):
        conditions.frequencies(np.array([-1, 2]))


def test_a_negative_number_of_labels_is_refused(key):
    with pytest.raises(ValueError, match="got -1"):
        conditions.Labels((0.5, 0.5))(key, -1)
