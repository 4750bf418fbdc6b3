"""Runs of the version before models held their prior and results were typed."""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import msgspec
import numpy as np
import pytest
from helpers.runs import SMALL, content, files_of, result_of

import advnets
from advnets import _locks, bench
from advnets.bench import results
from advnets.bench.cli import main

OLDER = Path(__file__).parent / "older_run"


@pytest.fixture
def older(tmp_path):
    """A copy of a finished run that the older version left, without pictures and checkpoints."""
    return shutil.copytree(OLDER, tmp_path / "older")


def test_its_model_has_the_prior_that_its_recipe_says(older):
    model = bench.load_model(older)
    assert isinstance(model, advnets.Model)
    assert model.prior == advnets.priors.Uniform(100)
    config = content(older / "config.json")
    config["recipe"]["prior"] = "normal"
    (older / "config.json").write_text(json.dumps(config))
    assert bench.load_model(older).prior == advnets.priors.Normal(100)


def test_its_model_draws_what_was_scored(older):
    result = result_of(older)
    sample_key = jax.random.split(jax.random.key(result.seed), 3)[2]
    samples = bench.load_model(older).sample(jax.random.fold_in(sample_key, result.epochs), 256)
    test = advnets.data.load("digits").test.astype(np.float32) / 255
    again = advnets.parzen.log_likelihood(test, samples, result.parzen.bandwidth)
    assert again.mean == pytest.approx(result.parzen.test.mean, abs=1e-4)


@pytest.mark.parametrize("best", [False, True])
def test_it_is_scored_anew(older, best):
    result = result_of(older)
    was = result.best.parzen if best else result.parzen
    again = bench.rescore(older, 256, best=best, progress=False)
    assert again.run == result.provenance
    assert again.parzen.bandwidth == was.bandwidth
    assert again.parzen.test.mean == pytest.approx(was.test.mean, abs=1e-4)


def test_table_1_reads_it(older, tmp_path, capsys):
    # As if it had been a run of MNIST.
    found = content(older / "results.json")
    found = found | {"benchmark": "mnist", "recipe": found["recipe"] | {"dataset": "mnist"}}
    (older / "results.json").write_text(json.dumps(found))
    assert main(["table1", "--runs", str(older), "--out", str(tmp_path / "table")]) == 0
    assert f"| {found['parzen']['test']['mean']:.1f} ± " in capsys.readouterr().out


def test_it_is_not_resumed(older, capsys):
    # Checkpoints carry what tells a run from others, and their SHA-256, only since then.
    (older / "checkpoints" / "4" / "default").mkdir(parents=True)
    before = files_of(older)
    for epochs in ("4", "6"):
        assert main([*SMALL, "--epochs", epochs, "--out", str(older), "--resume"]) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert "an earlier version of advnets began this run" in error
    (older / _locks.LOCK).unlink()
    assert files_of(older) == before


def test_a_run_without_some_of_today_s_settings_is_not_resumed(older):
    config = content(older / "config.json")
    recipe = msgspec.convert(config["recipe"], bench.Recipe)
    del config["recipe"]["second_stage"], config["recipe"]["norm_limit"]
    (older / "config.json").write_text(json.dumps(config))
    digits = dataclasses.replace(bench.BENCHMARKS["digits"], recipe=recipe)
    with pytest.raises(ValueError, match="second_stage"):
        bench.run(digits, out=older, resume=True, seed=2, progress=False)


def test_a_second_stage_may_build_on_its_generator(older):
    digits, first = advnets.data.load("digits"), results.FirstStage(str(older), "any")
    recipe = msgspec.convert(content(older / "config.json")["recipe"], bench.Recipe)
    bench.systems.Adversarial(recipe).check(digits, first)
    wider = dataclasses.replace(recipe, latent_size=101)
    with pytest.raises(ValueError, match="holds another model"):
        bench.systems.Adversarial(wider).check(digits, first)
