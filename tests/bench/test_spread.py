"""A collapse of samples is said, with its figure."""

from pathlib import Path

import jax
import numpy as np
import pytest

import advnets
from advnets.bench import systems
from advnets.bench.evaluations import EVALUATIONS, Subject


def subject(samples):
    data = advnets.data.load("digits")
    return Subject(
        model=systems.images.Images(samples),
        key=jax.random.key(0),
        first=lambda n: samples[:n],
        data=data,
        preprocess=lambda images: images / np.float32(255),
        folder=Path(),
    )


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("factor", [1.0, 0.5, 0.2])
def test_it_is_the_ratio_of_standard_deviations(factor):
    images = advnets.data.load("digits").validation / np.float32(255)
    found = EVALUATIONS["spread"].measure(subject(0.3 + factor * images))
    assert found["standard_deviation_ratio"] == pytest.approx(factor, rel=1e-5)


def test_samples_that_are_all_alike_are_warned_of():
    one = np.random.default_rng(0).random((1, 8, 8), np.float32)
    with pytest.warns(RuntimeWarning, match="nearly all alike: they vary 0 times as much"):
        found = EVALUATIONS["spread"].measure(subject(np.repeat(one, 300, axis=0)))
    assert found["standard_deviation_ratio"] == 0
    assert "nearly all are alike" in EVALUATIONS["spread"].line(found)


@pytest.mark.parametrize(("ratio", "found"), [(0.05, "nearly all"), (0.3, "many"), (0.6, None)])
def test_samples_that_are_alike_are_pointed_to_remedies(ratio, found):
    line = EVALUATIONS["spread"].line({"standard_deviation_ratio": ratio})
    assert f"{ratio:.2f} times as much as held-out images" in line
    assert (f"{found} are alike" in line and "remedies" in line) or found is None
    assert ("alike" in line) == (found is not None)
