"""The how-to page's system of one's own: a benchmark like the others."""

import json
import runpy
import sys
from unittest import mock

import jax
import numpy as np
import pytest
import scipy.special
from helpers import pages
from helpers.runs import content, files_of, result_of, untimed

import advnets
from advnets import bench

ARGUMENTS = ["normal", "--dataset", "digits", "--noise", "0.2", "--num-samples", "256"]


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """Runs the page's script with arguments; gives its exit code."""
    path = tmp_path_factory.mktemp("script") / "normal.py"
    path.write_text(pages.code("own-system"))

    def run(*arguments):
        given = mock.patch.object(sys, "argv", [path.name, *map(str, arguments)])
        with given, pytest.raises(SystemExit) as stopped:
            runpy.run_path(str(path), run_name="__main__")
        return stopped.value.code

    with mock.patch.dict(bench.BENCHMARKS):
        yield run


@pytest.fixture(scope="module")
def run(command, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "normal"
    assert command(*ARGUMENTS, "--out", folder) == 0
    return folder


def test_its_options_are_explained(command, capsys):
    assert command("normal", "--help") == 0
    page = " ".join(capsys.readouterr().out.split())
    assert "--noise FLOAT Standard deviation of the noise in each pixel. (default: 0.1)" in page
    assert "--num-samples INT" in page


def test_a_run_leaves_the_files_of_any_run(run, finished):
    best = {"generator-epoch-1.safetensors", "generator-epoch-2.safetensors"}
    trained = {"interpolations.png", "checkpoints", "identity.json"}
    ours, theirs = ({path.name for path in folder.iterdir()} - best for folder in (run, finished))
    assert ours == theirs - trained
    ours, theirs = (content(folder / "results.json") for folder in (run, finished))
    assert list(ours) == list(theirs)
    assert ours["recipe"]["noise"] == 0.2


def draws(noise, seed, epoch):
    """The samples of an epoch, from the moments of the images in float64."""
    train = (advnets.data.load("digits").train / 255).reshape(-1, 64)
    root = np.linalg.cholesky(np.cov(train, rowvar=False) + noise**2 * np.eye(64))
    samples_key = jax.random.split(jax.random.key(seed), 3)[2]
    z = jax.random.normal(jax.random.fold_in(samples_key, epoch), (256, 64))
    return train.mean(0) + np.asarray(z, np.float64) @ root.T


def test_its_score_is_that_of_its_samples(run):
    scored, rows = result_of(run).parzen, draws(0.2, seed=0, epoch=1)
    test = (advnets.data.load("digits").test / 255).reshape(-1, 64)
    squared = ((test[:, None] - rows[None]) ** 2).sum(-1)
    sigma = scored.bandwidth
    log_p = scipy.special.logsumexp(-squared / (2 * sigma**2), axis=1) - np.log(len(rows))
    log_p -= 64 * np.log(sigma * np.sqrt(2 * np.pi))
    assert scored.test.mean == pytest.approx(log_p.mean(), abs=2e-3)
    assert result_of(run).best.parzen == scored


def test_its_model_is_opened_and_scored_anew(run, command, capsys):
    model = bench.load_model(run)
    assert model.sample(jax.random.key(0), 3).shape == (3, 8, 8)
    assert command("parzen", run, "--num-samples", 100) == 0
    assert "100 samples, last epoch (1)" in capsys.readouterr().out


def test_a_run_is_resumed_as_it_began_or_refused(run, command, capsys):
    before = result_of(run)
    assert command(*ARGUMENTS, "--out", run, "--resume") == 0
    assert untimed(result_of(run)) == untimed(before)
    left = files_of(run)
    for changed, message in (
        (["--noise", "0.3", "--resume"], "noise = 0.2, not 0.3"),
        (["--seed", "1", "--resume"], "seed = 0, not 1"),
        ([], "is not empty; continue its run with --resume"),
        (["--noise", "nan", "--resume"], "noise must be finite; got nan"),
    ):
        assert command(*ARGUMENTS, "--out", run, *changed) == 2
        assert message in capsys.readouterr().err
    assert files_of(run) == left


def test_it_is_a_row_of_table_1(run, command, tmp_path, capsys):
    # As if the digits had been MNIST, which is the benchmark's own data set.
    table, copy = tmp_path / "table", tmp_path / "results.json"
    found = json.loads((run / "results.json").read_text())
    found["recipe"]["dataset"] = "mnist"
    bench.results.write(copy, found)
    assert command("table1", "--runs", copy, "--out", table) == 0
    mean = result_of(run).parzen.test.mean
    row = f"| normal (advnets, 1 epoch, num_samples = 256, noise = 0.2) | {mean:.1f} ± "
    assert row in capsys.readouterr().out


@pytest.mark.long
def test_many_seeds_of_it_are_run(run, command, tmp_path):
    folder = tmp_path / "seeds"
    assert command(*ARGUMENTS, "--out", folder, "--seeds", 2) == 0
    first = result_of(folder / "seed-0")
    assert first.parzen == result_of(run).parzen
    assert result_of(folder, bench.results.SeedsResult).last.n == 2
