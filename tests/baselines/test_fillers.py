"""What fills in without a net: against the textbook's formulas, and brute force."""

import numpy as np
import pytest

from advnets.baselines import fillers

RNG = np.random.default_rng(0)
TRAIN = RNG.normal(size=(200, 2, 3)) @ RNG.normal(size=(3, 3))
IMAGES = RNG.normal(size=(4, 2, 3))
MASKS = RNG.random((4, 2, 3)) < 0.5
MASKS[3] = MASKS[0]  # a mask that two images share


def fill(filler, n=5):
    return filler.fill(np.random.default_rng(1), IMAGES, MASKS, n)


@pytest.mark.parametrize(
    "kind", [fillers.RandomImages, fillers.NearestImages, fillers.NormalConditional]
)
def test_what_is_observed_is_left_as_it_is(kind):
    found = fill(kind(TRAIN))
    assert found.shape == (4, 5, 2, 3)
    for filling in found.swapaxes(0, 1):
        assert (filling[MASKS] == IMAGES[MASKS]).all()
        assert (filling[~MASKS] != IMAGES[~MASKS]).all()
    np.testing.assert_array_equal(found, fill(kind(TRAIN)))


def test_normal_draws_have_the_conditional_mean_and_covariance():
    ridge, n = 0.05, 40_000
    found = fill(fillers.NormalConditional(TRAIN, ridge), n)
    flat = TRAIN.reshape(200, -1)
    mean, covariance = flat.mean(0), np.cov(flat.T, bias=True) + ridge * np.eye(6)
    for row in range(4):
        seen = MASKS[row].ravel()
        of, o, s = covariance[np.ix_(~seen, seen)], covariance[np.ix_(seen, seen)], ~seen
        weights = of @ np.linalg.inv(o) if seen.any() else np.zeros((6, 0))
        wanted = mean[s] + weights @ (IMAGES[row].ravel()[seen] - mean[seen])
        spread = covariance[np.ix_(s, s)] - weights @ of.T
        drawn = found[row].reshape(n, 6)[:, s]
        errors = np.sqrt(np.diag(spread) / n)
        assert (abs(drawn.mean(0) - wanted) < 5 * errors).all()
        np.testing.assert_allclose(np.cov(drawn.T), spread, atol=0.04 * np.diag(spread).max())
    assert (found[0] != found[3]).any()  # images of one mask have noise of their own


@pytest.mark.parametrize(("away", "kind"), [(0, np.float64), (1e4, np.float32), (1e9, np.float64)])
def test_nearest_are_those_of_brute_force(monkeypatch, away, kind):
    monkeypatch.setattr(fillers, "BLOCK", 3)
    train, images = ((rows + away).astype(kind) for rows in (TRAIN, IMAGES))
    found = fillers.NearestImages(train).fill(np.random.default_rng(1), images, MASKS, 5)
    assert found.dtype == kind
    for row in range(4):
        off = train.astype(np.float64) - images[row]
        distances = (np.where(MASKS[row], off, 0) ** 2).sum((1, 2))
        for place, number in enumerate(np.argsort(distances)[:5]):
            expected = np.where(MASKS[row], images[row], train[number])
            np.testing.assert_array_equal(found[row, place], expected)


@pytest.mark.parametrize(
    "kind", [fillers.RandomImages, fillers.NearestImages, fillers.NormalConditional]
)
def test_what_is_at_missing_components_does_not_matter(kind):
    unknown = np.where(MASKS, IMAGES, np.nan)
    found = kind(TRAIN).fill(np.random.default_rng(1), unknown, MASKS, 5)
    np.testing.assert_array_equal(found, fill(kind(TRAIN)))


def test_random_images_are_any():
    found = fill(fillers.RandomImages(np.arange(6.0).reshape(3, 2, 1) * np.ones((1, 1, 3))), 200)
    missing = found[0][:, ~MASKS[0]]
    assert {tuple(values) for values in missing} == {
        tuple(np.repeat([[2 * k], [2 * k + 1]], 3, 1)[~MASKS[0]]) for k in range(3)
    }


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fillers.NormalConditional(TRAIN, 0.0), "ridge must be above 0 and finite; got 0"),
        (lambda: fillers.NormalConditional(TRAIN, np.inf), "above 0 and finite; got inf"),
        (lambda: fill(fillers.NearestImages(TRAIN), 201), "200 training images; got 201"),
        (lambda: fill(fillers.RandomImages(TRAIN), 0), "fillings must be at least 1"),
        (lambda: fill(fillers.NormalConditional(TRAIN), 0), "fillings must be at least 1"),
    ],
)
def test_what_can_not_be_filled_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    "kind", [fillers.RandomImages, fillers.NearestImages, fillers.NormalConditional]
)
def test_other_images_than_the_training_images_are_refused(kind):
    filler, rng = kind(TRAIN), np.random.default_rng(0)
    assert filler.fill(rng, IMAGES[:0], MASKS[:0], 5).shape == (0, 5, 2, 3)
    with pytest.raises(ValueError, match=r"the training images, \(2, 3\); got \(3, 2\)"):
        filler.fill(rng, IMAGES.reshape(4, 3, 2), MASKS.reshape(4, 3, 2), 5)
    with pytest.raises(ValueError, match=r"observed part of images has .* not finite"):
        filler.fill(rng, np.full((4, 2, 3), np.nan), MASKS, 5)
    with pytest.raises(ValueError, match="training images has 1 value that is not finite"):
        kind(np.array([[1.0, 2.0], [np.inf, 3.0]]))
    with pytest.raises(ValueError, match="at least one training image"):
        kind(TRAIN[:0])
