"""Runs of the stacked contractive autoencoder: both layers, resuming, its own evaluations."""

import dataclasses
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from helpers.runs import rows_of, untimed

import advnets
from advnets import bench, training
from advnets.bench.cli import main
from advnets.bench.systems import Run, StackedCAE, chained
from advnets.bench.systems import cae as module
from advnets.bench.systems.cae import CAESettings, Lost
from advnets.bench.watching import Watch

RECIPE = CAESettings(
    "digits",
    epochs=2,
    lower_epochs=2,
    evaluate_every=1,
    num_samples=80,  # as many as are drawn for the picture
    hidden_sizes=(12, 7),
    contractions=(0.5, 0.25),
    num_chains=6,
    burn_in=3,
    thin=2,
)
TINY = dataclasses.replace(bench.BENCHMARKS["cae"], recipe=RECIPE)


@pytest.fixture(scope="module", autouse=True)
def small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chained, "LEAST", 600)
        yield


@pytest.mark.long
def test_the_second_layer_learns_on_the_first_as_it_was_left(whole):
    folder, result = whole
    first = advnets.load_model(folder / "first-stage")
    second = advnets.load_model(folder).chain.model
    assert [layer.weight.shape for layer in second.layers] == [(64, 12), (12, 7)]
    assert all(map(np.array_equal, jax.tree.leaves(first.top), jax.tree.leaves(second.below[0])))
    assert result.updates == 128  # of 20 rows each, in 2 epochs
    for rows in (rows_of(folder / "first-stage"), rows_of(folder)):
        costs = [row["model"]["cost"] for row in rows]
        assert costs[1] < costs[0]
    lambdas = [
        (row["model"]["cost"] - row["model"]["cross_entropy"]) / row["model"]["contraction"]
        for row in (rows_of(folder / "first-stage")[0], rows_of(folder)[0])
    ]
    assert lambdas == pytest.approx([0.5, 0.25], rel=1e-3)


@pytest.mark.long
def test_a_stopped_run_goes_on_to_the_same_numbers(whole, tmp_path, monkeypatch):
    draw = Watch.draw

    def stopping(self, model, epoch):
        if epoch == 2:
            raise KeyboardInterrupt
        draw(self, model, epoch)

    monkeypatch.setattr(Watch, "draw", stopping)
    with pytest.raises(KeyboardInterrupt):
        bench.run(TINY, out=tmp_path, progress=False)
    monkeypatch.undo()
    result = bench.run(TINY, out=tmp_path, resume=True, progress=False)
    assert untimed(result) == untimed(whole[1])
    for name in ("metrics.jsonl", "generator.safetensors", "first-stage/generator.safetensors"):
        assert (tmp_path / name).read_bytes() == (whole[0] / name).read_bytes()


@pytest.mark.long
def test_its_own_evaluations_are_of_the_last_samples_and_of_test_rows(whole):
    folder, result = whole
    stack, test = advnets.load_model(folder).chain.model, advnets.data.load("digits").test / 255
    again = np.asarray(stack.reconstruct(jnp.asarray(test, jnp.float32)), np.float64)
    costs = -(scipy.special.xlogy(test, again) + scipy.special.xlog1py(1 - test, -again))
    found = result.evaluations["reconstruction"]
    assert found["mean"] == pytest.approx(costs.sum(axis=(1, 2)).mean(), rel=1e-5)
    assert found["n"] == 256
    assert result.evaluations["lost_chains"] == {"chains": 6, "lost": 0, "faded": 0}
    page = (folder / "report.html").read_text("utf-8")
    assert "Lost chains: 0 of 6 end farther" in page
    assert "nats of cross-entropy for a test image" in page


def test_lost_chains_are_looked_for_among_last_samples(tmp_path):
    data = advnets.data.load("digits")
    ours = np.repeat(data.train[:1] / np.float32(255), 60, axis=0)
    ours[:54] = ours[57:59] = 0.5  # grey: 2 of the last 6
    ours[59] = 0.01  # and next to nothing
    subject = bench.evaluations.Subject(
        *(model_of(6), jax.random.key(0), lambda n: ours[:n], data),
        *(lambda images: images / np.float32(255), tmp_path),
    )
    assert Lost().measure(subject) == {"chains": 6, "lost": 3, "faded": 1}


def model_of(num_chains):
    walk = advnets.baselines.cae.Walk(
        advnets.baselines.cae.new_stack(jax.random.key(0), (8, 8), 3), scale=1.0
    )
    images = np.zeros((9, 8, 8), np.uint8)
    return chained.chained(walk, dataclasses.replace(RECIPE, num_chains=num_chains), 0, images)


def test_one_layer_is_one_stage_and_the_last(monkeypatch):
    stages = []

    def stage(run, watch, stack, learner, **kwargs):
        stages.append((len(stack.layers), learner.cost.weight, kwargs["stage"], kwargs.get("last")))
        return training.Learned(stack, None, [], 0, None)

    monkeypatch.setattr(module, "fit_stage", stage)
    recipe = dataclasses.replace(RECIPE, hidden_sizes=(5,), contractions=(0.1,))
    run = mock.Mock(spec=Run, seed=0, data=advnets.data.load("digits"))
    model = StackedCAE(recipe).fit(run, mock.Mock(spec=Watch), progress=False).model
    assert stages == [(1, 0.1, 1, None)]
    assert model.sample(jax.random.key(0), 6).shape == (6, 8, 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--hidden-sizes", "5", "5", "5"], "a stack has 1 or 2 layers; got 3"),
        (["--hidden-sizes", "5", "0"], "layer 2's units must be at least 1; got 0"),
        (["--hidden-sizes", "5"], "a contraction for each of the 1 layers; got 2"),
        (["--contractions", "5", "-1"], "must be at least 0 and finite; got -1"),
        (["--learning-rate", "0"], "must be above 0, and the final one at least 0; got 0.0"),
        (["--walk-scale", "0"], "the walk's noise must be above 0; got 0.0"),
        (["--hidden-sizes", "600000", "600000"], "the model's arrays need 4,0"),
        (["--preprocessing", "gcn"], "pixels must be in [0, 1], and those of gcn"),
        (["--batch-size", "0"], "the batch size must be at least 1"),
        (["--num-chains", "0"], "the number of chains must be at least 1"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(tmp_path, capsys, options, message):
    arguments = ["cae", "--dataset", "digits", *options, "--out", str(tmp_path / "run")]
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
