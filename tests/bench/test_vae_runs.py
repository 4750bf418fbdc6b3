"""Runs of the VAE: resuming, its bounds, and that it is a generator like any other."""

import dataclasses

import jax
import numpy as np
import pytest
from helpers.runs import rows_of, untimed

import advnets
from advnets import bench
from advnets.baselines import vae
from advnets.bench.cli import main
from advnets.bench.pages import layers
from advnets.bench.systems import vae as module

RECIPE = module.VAESettings(
    "digits", epochs=2, evaluate_every=1, num_samples=60, hidden_size=12, latent_size=3
)
TINY = dataclasses.replace(bench.BENCHMARKS["vae"], recipe=RECIPE)


@pytest.fixture(scope="module", autouse=True)
def small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "IMPORTANCE_ROWS", 50)
        patch.setattr(module, "IMPORTANCE_DRAWS", 20)
        yield


@pytest.mark.long
def test_a_run_of_fewer_epochs_goes_on_to_the_same_numbers(whole, tmp_path):
    short = dataclasses.replace(TINY, recipe=dataclasses.replace(RECIPE, epochs=1))
    bench.run(short, out=tmp_path, progress=False)
    result = bench.run(TINY, out=tmp_path, resume=True, progress=False)
    assert untimed(result) == untimed(whole[1])
    for name in ("metrics.jsonl", "generator.safetensors"):
        assert (tmp_path / name).read_bytes() == (whole[0] / name).read_bytes()


@pytest.mark.long
def test_it_descends_the_bound(whole):
    rows = [row["model"] for row in rows_of(whole[0])]
    assert rows[1]["cost"] < rows[0]["cost"]
    for row in rows:
        assert row["cost"] == pytest.approx(row["cross_entropy"] + row["divergence"], rel=1e-5)


@pytest.mark.long
def test_bounds_are_of_binary_test_rows(whole):
    folder, result = whole
    model, data = advnets.load_model(folder), advnets.data.load("digits")
    grey = data.test / np.float32(255)
    images = np.float32(np.random.default_rng(0).random(grey.shape) < grey)
    found = result.evaluations["bounds"]
    # By other draws of z: equal up to their noise.
    bound = vae.log_bound(jax.random.key(5), model, images, draws=50).mean()
    assert found["bound"]["mean"] == pytest.approx(bound, abs=0.5)
    assert found["bound"]["n"] == 256
    above, below, gap = (found["importance"][k] for k in ("bound", "plain_bound", "gap"))
    assert above["n"] == 50
    assert gap["mean"] == pytest.approx(above["mean"] - below["mean"])
    assert gap["mean"] > 4 * gap["standard_error"] > 0
    page = (folder / "report.html").read_text("utf-8")
    assert "Bound on log p(x) of a binary test image: -" in page


@pytest.mark.long
def test_figure_3_and_the_explorer_take_its_generator(whole):
    folder = whole[0]
    assert (folder / "interpolations.png").stat().st_size > 1000
    model = advnets.load_model(folder)
    kinds = [layer.kind for layer in layers.export(model.generator, (3,), noise=True)]
    assert kinds == ["dense", "activation", "dense", "activation"]
    assert main(["explore", str(folder)]) == 0
    assert (folder / "explore.html").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--hidden-size", "0"], "the number of hidden units must be at least 1; got 0"),
        (["--latent-size", "0"], "the number of latent components must be at least 1; got 0"),
        (["--learning-rate", "0"], "the learning rate must be above 0; got 0.0"),
        (["--hidden-size", "2147483647"], "the model's arrays need"),
        (["--latent-size", "2147483647"], "a layer's sizes must be at least 1"),
        (["--preprocessing", "gcn"], "pixels must be in [0, 1], and those of gcn"),
        (["--batch-size", "9999"], "at most the 1285 training rows of digits; got 9999"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(tmp_path, capsys, options, message):
    arguments = ["vae", "--dataset", "digits", *options, "--out", str(tmp_path / "run")]
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
