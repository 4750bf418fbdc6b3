"""The energy score against loops, and that draws from the true distribution have the least."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from advnets import energy

NUMBERS = st.floats(-100, 100, width=32)


@given(
    npst.arrays(np.float64, (2, 4, 3), elements=NUMBERS),
    npst.arrays(np.float64, (2, 3), elements=NUMBERS),
)
def test_scores_are_those_of_loops(draws, outcomes):
    found = energy.energy_score(draws, outcomes)
    for row in range(2):
        x, n = draws[row], 4
        far = sum(np.sqrt(((x[i] - outcomes[row]) ** 2).sum()) for i in range(n)) / n
        apart = sum(
            np.sqrt(((x[i] - x[j]) ** 2).sum()) for i in range(n) for j in range(n) if i != j
        )
        assert found[row] == pytest.approx(far - apart / (2 * n * (n - 1)), abs=1e-9)
        mean = [sum(x[i][k] for i in range(n)) / n for k in range(3)]
        error = sum((mean[k] - outcomes[row][k]) ** 2 for k in range(3))
        assert energy.squared_error_of_mean(draws, outcomes)[row] == pytest.approx(error)
        variance = sum((x[i][k] - mean[k]) ** 2 for i in range(n) for k in range(3)) / (n - 1)
        assert energy.spread(draws)[row] == pytest.approx(variance, abs=1e-9)


def test_examples_may_be_numbers():
    rng = np.random.default_rng(0)
    draws, outcomes = rng.normal(size=(2, 4)), rng.normal(size=2)
    for score in (energy.energy_score, energy.squared_error_of_mean):
        alike = score(draws[..., None], outcomes[:, None])
        np.testing.assert_array_equal(score(draws, outcomes), alike)


def test_draws_from_the_true_conditional_score_least():
    """x₂ and x₃ given x₁, normal: the exact conditional among 20 that are off, with one noise."""
    rng = np.random.default_rng(0)
    rows, n = 4000, 10
    given = rng.normal(size=(rows, 1))
    mean = given * [0.8, -0.5]
    scale = np.array([[0.6, 0.0], [0.3, 0.7]])
    outcomes = mean + rng.normal(size=(rows, 2)) @ scale.T
    noise = rng.normal(size=(rows, n, 2))

    def score(shift=0.0, size=1.0, scale=scale, mean=mean):
        draws = mean[:, None] + shift + size * noise @ scale.T
        return energy.energy_score(draws, outcomes)

    exact = score()
    directions = np.stack([np.cos(a) * np.eye(2)[0] + np.sin(a) * np.eye(2)[1]
                           for a in np.linspace(0, 2 * np.pi, 8, endpoint=False)])  # fmt: skip
    perturbed = [score(shift=0.35 * direction) for direction in directions]
    perturbed += [score(size=size) for size in (0.0, 0.4, 0.55, 0.7, 1.4, 1.6, 2.0, 3.0)]
    perturbed += [
        score(mean=0 * mean),  # the unconditional mean
        score(mean=-mean),
        score(mean=0.5 * mean),
        score(scale=scale * [[1.0, 1.0], [-1.0, 1.0]], size=1.3),  # the other correlation
    ]
    assert len(perturbed) == 20
    for other in perturbed:
        difference = other - exact
        assert difference.mean() > 3 * difference.std() / rows**0.5


def test_its_mean_does_not_depend_on_the_number_of_draws():
    rng = np.random.default_rng(1)
    outcomes = rng.normal(size=(40_000, 1))
    few, many = (energy.energy_score(rng.normal(size=(40_000, n, 1)), outcomes) for n in (2, 10))
    # E|X - x| of two standard normals is 2/√π, and half of it is left.
    for found in (few, many):
        assert abs(found.mean() - 1 / np.pi**0.5) < 4 * found.std() / 200


def test_spread_and_error_of_true_draws():
    rng = np.random.default_rng(2)
    draws, outcomes = rng.normal(size=(5000, 10, 3)), rng.normal(size=(5000, 3))
    ratio = energy.squared_error_of_mean(draws, outcomes).mean() / energy.spread(draws).mean()
    assert ratio == pytest.approx(1.1, rel=0.05)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: energy.energy_score(np.zeros((3, 1, 2)), np.zeros((3, 2))), "at least 2 draws"),
        (lambda: energy.spread(np.zeros((3, 1, 2))), "at least 2 draws"),
        (
            lambda: energy.squared_error_of_mean(np.zeros((3, 0, 2)), np.zeros((3, 2))),
            "at least 1 draw",
        ),
        (
            lambda: energy.energy_score(np.full((3, 2, 2), np.nan), np.zeros((3, 2))),
            "draws must be finite; 12 numbers are not",
        ),
    ],
)
def test_what_can_not_be_scored_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
