"""What happens between epochs: the best model is kept, and a row of the metrics written."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.runs import result_of, rows_of
from helpers.systems import PIXELS, Pixels

import advnets
from advnets import bench
from advnets.bench.cli import main
from advnets.bench.watching import Watch


@pytest.fixture
def watch(tmp_path):
    data = advnets.data.load("digits")
    return Watch(PIXELS.recipe, data, tmp_path, jax.random.key(0))


def pixels_off(watch, *, wrong):
    """Independent pixels whose means are off by so much."""
    return Pixels(jnp.asarray(watch.data.train.mean(0) / 255 + wrong, jnp.float32))


def kept(folder):
    """The models that are kept, by file."""
    found = sorted(folder.glob("generator-epoch-*"))
    return {p.name: float(advnets.load_model(p, known=[Pixels]).white[0, 0]) for p in found}


def test_the_best_model_is_kept_and_the_best_before_it(watch, tmp_path):
    for epoch, wrong in enumerate([0.5, 0.4, 0.1, 0.3, 0.0], start=1):
        watch.row(epoch, pixels_off(watch, wrong=wrong))
    expected = {"generator-epoch-3.safetensors": 0.1, "generator-epoch-5.safetensors": 0.0}
    assert kept(tmp_path) == pytest.approx(expected, abs=1e-6)


def test_a_row_holds_what_was_measured_and_more(watch, tmp_path):
    rows = [watch.row(1, loss=jnp.float32(2)), watch.row(2, pixels_off(watch, wrong=0), loss=1)]
    assert rows == rows_of(tmp_path)
    assert rows[0] == {"epoch": 1, "loss": 2.0}
    validation = watch.data.validation / np.float32(255)
    samples = watch.samples(2, pixels_off(watch, wrong=0))
    expected = advnets.parzen.evaluate(samples, validation, None)
    assert rows[1]["validation"]["mean"] == pytest.approx(expected.validation.mean, rel=1e-6)
    assert rows[1]["bandwidth"] == expected.bandwidth


def test_whoever_watches_is_told_when_the_row_is_on_disk(watch, tmp_path):
    seen = []
    watch = dataclasses.replace(watch, after_row=lambda: seen.append(len(rows_of(tmp_path))))
    watch.row(1)
    watch.row(2, pixels_off(watch, wrong=0))
    assert seen == [2]


def test_a_system_that_starts_over_goes_by_its_own_rows(watch, tmp_path):
    for epoch, wrong in enumerate([0.5, 0.0], start=1):
        watch.row(epoch, pixels_off(watch, wrong=wrong))
    for epoch, wrong in enumerate([0.1, 0.3], start=1):
        watch.row(epoch, pixels_off(watch, wrong=wrong))
    assert [row["epoch"] for row in rows_of(tmp_path)] == [1, 2]
    assert kept(tmp_path) == pytest.approx({"generator-epoch-1.safetensors": 0.1}, abs=1e-6)


@pytest.mark.usefixtures("pixels")
def test_the_best_model_is_scored_by_its_own_samples(tmp_path):
    folder = tmp_path / "run"
    # Further from the images' means with each epoch.
    assert main(["pixels", "--learning-rate", "2.2", "--out", str(folder)]) == 0
    result = result_of(folder)
    assert (result.best.epoch, result.epochs) == (1, 4)
    assert result.best.parzen.test.mean > result.parzen.test.mean + 1
    for best, scored in ((True, result.best.parzen), (False, result.parzen)):
        again = bench.rescore(folder, 256, best=best, progress=False)
        assert again.parzen == scored
