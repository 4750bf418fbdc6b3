"""The how-to page's evaluation of one's own: in the results and the report of every run."""

import json
import runpy
import sys
from unittest import mock

import jax
import numpy as np
import pytest
from helpers import pages
from helpers.runs import SMALL, content, result_of

import advnets
from advnets import bench
from advnets.bench.evaluations import EVALUATIONS, Evaluation


@pytest.fixture
def command(tmp_path):
    """Runs the page's script with arguments; gives its exit code."""
    path = tmp_path / "directions.py"
    path.write_text(pages.code("own-evaluation"))

    def run(*arguments):
        given = mock.patch.object(sys, "argv", [path.name, *map(str, arguments)])
        with given, pytest.raises(SystemExit) as stopped:
            runpy.run_path(str(path), run_name="__main__")
        return stopped.value.code

    with mock.patch.dict(EVALUATIONS):
        yield run


def ratio(images):
    """The participation ratio by traces: (tr C)² / tr C²."""
    centred = images.reshape(len(images), -1).astype(np.float64)
    centred -= centred.mean(0)
    covariance = centred.T @ centred
    return np.trace(covariance) ** 2 / (covariance**2).sum()


@pytest.mark.long
def test_it_is_in_the_results_and_in_the_report(copied, command, capsys):
    (copied / "results.json").unlink()
    assert command(*SMALL, "--out", copied, "--resume") == 0
    samples_key = jax.random.split(jax.random.key(2), 3)[2]
    samples = bench.load_model(copied).sample(jax.random.fold_in(samples_key, 4), 256)
    held_out = advnets.data.load("digits").validation / 255
    expected = {"samples": ratio(samples), "held out": ratio(held_out)}
    found = content(copied / "results.json")["evaluations"]
    assert found["directions"] == pytest.approx(expected, rel=1e-4)
    assert result_of(copied).evaluations == found
    stdout = capsys.readouterr().out
    line = "Directions: {samples:.1f} in samples, {held out:.1f} in held-out images"
    assert line.format_map(expected) in stdout
    assert "Memorisation: a sample is nearer" in stdout


class Numbers(Evaluation):
    """What is measured may be NumPy's and JAX's numbers, and not a number at all."""

    def measure(self, subject):
        first = subject.first(3)
        assert first.shape == (3, 8, 8)
        assert subject.model.sample(subject.key, 2).shape == (2, 8, 8)
        shown = {"shape": first.shape, "one": np.float32(0.5), "two": jax.numpy.arange(2)}
        return shown | {"none": float("nan")}

    def line(self, found):
        return f"Numbers: {found['one']}, {found['none']}"


@pytest.mark.usefixtures("pixels")
def test_a_run_of_any_system_has_it(tmp_path, capsys):
    with mock.patch.dict(EVALUATIONS, {"numbers": Numbers()}, clear=True):
        assert bench.cli.main(["pixels", "--epochs", "1", "--out", str(tmp_path / "run")]) == 0
    assert "Numbers: 0.5, nan" in capsys.readouterr().out
    text = (tmp_path / "run" / "results.json").read_text()
    found = json.loads(text, parse_constant=pytest.fail)  # NaN is no JSON
    expected = {"shape": [3, 8, 8], "one": 0.5, "two": [0, 1], "none": None}
    assert found["evaluations"] == {"numbers": expected}
    assert found["memorisation"] is None  # it was taken out
    assert result_of(tmp_path / "run").evaluations == {"numbers": expected}
