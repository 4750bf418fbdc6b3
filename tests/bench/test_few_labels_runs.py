"""The benchmark of few labels, on the digits: what a run leaves, and what is refused."""

import copy
import dataclasses
import json
import shutil
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import msgspec
import numpy as np
import pytest
from helpers.runs import result_of

import advnets
from advnets.bench import report, results
from advnets.bench.catalogue import system_of
from advnets.bench.cli import main
from advnets.bench.folders import newest_checkpoint
from advnets.bench.grid import sweep_result
from advnets.bench.rescoring import open_run
from advnets.bench.results import Provenance
from advnets.bench.systems import Run
from advnets.bench.systems.few_labels import FewLabelsGame, FewLabelsSettings, ValidationErrors
from advnets.bench.systems.games import stage_keys
from advnets.few_labels import (
    NormedLinear,
    SemiSupervised,
    draw_labelled,
    few_labels_algorithm,
    few_labels_classifier,
    few_labels_generator,
    outputs_of,
)
from advnets.players import Frozen, partition
from advnets.training import Snapshot

SMALL = [
    "mnist-few-labels", "--dataset", "digits", "--epochs", "4", "--evaluate-every", "4",
    "--num-samples", "100", "--labels", "100", "--hidden-sizes", "32",
    "--generator-sizes", "16", "--latent-size", "5", "--decay", "0.9",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "few"
    assert main([*SMALL, "--out", str(folder)]) == 0
    return folder


def test_validation_errors_are_the_averages_not_the_last_weights(capsys):
    """Labels are the average's predictions but for 3 of 40; the last weights predict others."""
    images = np.asarray(jax.random.uniform(jax.random.key(1), (40, 4, 4)))
    keys = jax.random.split(jax.random.key(0))
    nets = [few_labels_classifier(key, jnp.asarray(images), 5, hidden_sizes=[8]) for key in keys]
    average, last = ([partition(net)[0], net] for net in nets)
    generator = few_labels_generator(keys[0], 3, (4, 4), hidden_sizes=[6])
    players = advnets.Players(generator, last[1], advnets.priors.Uniform(3))
    algorithm = few_labels_algorithm(images[:5], np.arange(5), decay=0.9)
    state = algorithm.init(players)
    updates = state.updates["discriminator"]._replace(average=average[0])
    state = dataclasses.replace(state, updates={**state.updates, "discriminator": updates})
    # Frozen scales are no parameters, so the averaged classifier has those of the last weights.
    mixed = eqx.combine(average[0], *partition(last[1])[1:])
    labels = np.argmax(np.asarray(outputs_of(None, mixed, images)[0]), axis=1)
    assert np.mean(np.argmax(np.asarray(outputs_of(None, last[1], images)[0]), 1) == labels) < 0.9
    labels[:3] = (labels[:3] + 1) % 5
    measuring = ValidationErrors(images, labels, says=True)
    row = {"epoch": 2, "updates": 10}
    found = measuring.measure(Snapshot(0, "", 2, 10, row, None, players, state), [])
    assert found == {"classifier": {"validation_error": 3 / 40}}
    measuring(Snapshot(0, "", 2, 10, row | found, None, players, state))
    assert "epoch 2: 7.50% of 40 validation rows wrong" in capsys.readouterr().err


@pytest.mark.long
def test_rows_of_metrics_have_the_validation_error(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows if "classifier" in row] == [4]
    errors = result_of(run).evaluations["errors"]["validation"]["mean"]
    assert rows[-1]["classifier"] == {"validation_error": pytest.approx(errors)}
    assert '"title": "Classifier"' in (run / "report.html").read_text()


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """Two seeds in one program, monitored; each has labels of its own."""
    folder = tmp_path_factory.mktemp("runs") / "together"
    assert main([*SMALL, "--seeds", "2", "--monitor", "--out", str(folder)]) == 0
    return folder


@pytest.mark.long
def test_each_of_many_seeds_is_what_it_would_be_alone(run, together):
    alone, *_ = open_run(run)
    for seed in (0, 1):
        model, *_ = open_run(together / f"seed-{seed}")
        own = [jax.tree.leaves(partition(one.classifier)[0]) for one in (model, alone)]
        apart = max(float(abs(a - b).max()) for a, b in zip(*own, strict=True))
        assert (apart < 1e-3) == (seed == 0)
        row = json.loads((together / f"seed-{seed}/metrics.jsonl").read_text().splitlines()[-1])
        errors = result_of(together / f"seed-{seed}").evaluations["errors"]
        assert row["classifier"]["validation_error"] == errors["validation"]["mean"]
        assert row["monitor"]["regret"]["mean"] >= 0


@pytest.mark.long
def test_the_spread_over_seeds_is_reported(together):
    result = results.read(together / "results.json", results.SeedsResult)
    each = [result_of(together / f"seed-{seed}").evaluations["errors"] for seed in (0, 1)]
    for split in ("validation", "test"):
        found = result.evaluations[f"wrong {split} rows, %"]
        assert found.values == pytest.approx([100 * one[split]["mean"] for one in each])
    mean, deviation = found.mean, found.standard_deviation
    line = (
        f"  wrong test rows, %         mean {mean:.3g}, standard deviation {deviation:.3g}, from "
    )
    assert f"\n{line}" in report.of(result, together)


def test_runs_together_differ_in_labels_and_rates():
    data, origin = advnets.data.load("digits"), Provenance.here()
    given = ((0, FewLabelsSettings()), (3, FewLabelsSettings(learning_rate=0.002)))
    runs = [
        Run("few", FewLabelsGame(settings), seed, Path(), False, data, origin)
        for seed, settings in given
    ]
    of_settings, (images, labels, rates) = runs[0].system.varied(runs)
    assert rates.tolist() == pytest.approx([0.001, 0.002])
    for number, seed in enumerate((0, 3)):
        rows = draw_labelled(data.train_labels, 100, seed)
        np.testing.assert_array_equal(labels[number], data.train_labels[rows])
        np.testing.assert_allclose(images[number], data.train[rows] / 255, rtol=1e-6)
    objective = of_settings((images[1], labels[1], rates[1])).objective
    np.testing.assert_array_equal(objective.labels, labels[1])
    assert (objective.batch_size, objective.weight) == (100, 1.0)


@pytest.mark.long
def test_errors_are_the_averaged_classifiers(run):
    found, (model, *_) = result_of(run).evaluations["errors"], open_run(run)
    assert isinstance(model, SemiSupervised)
    data = advnets.data.load("digits")
    fold = data.folds[0]
    for name, images, labels in (
        ("validation", fold.validation, fold.validation_labels),
        ("test", fold.test, fold.test_labels),
    ):
        wrong = np.asarray(model.classify(images / np.float32(255))) != labels
        assert found[name]["mean"] == pytest.approx(wrong.mean())
        assert found[name]["wrong"] == wrong.sum()
    assert found["test"]["mean"] < 0.5  # chance is 0.9
    page = (run / "report.html").read_text()
    assert "of 256 test rows wrong" in page
    assert "a row for each class" not in page
    assert model.sample(jax.random.key(0), 3).shape == (3, 8, 8)


@pytest.mark.long
def test_the_average_lags_behind_the_last_weights(run):
    model, *_ = open_run(run)
    newest = newest_checkpoint(run)
    trained, *_ = partition(model.classifier)
    last = newest.restore("players['discriminator']", trained)
    leaves = [jax.tree.leaves(one) for one in (trained, last)]
    ours, theirs = (np.concatenate([np.ravel(x) for x in one]) for one in leaves)
    apart = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
    assert 1e-4 < apart < 0.2


@pytest.mark.long
def test_scales_of_hidden_layers_stay(run):
    """The last one's moves, and all directions do."""
    model, config, system, _ = open_run(run)
    images = jnp.asarray(advnets.data.load("digits").train[:500] / np.float32(255))
    key = stage_keys(config.seed, second=False)[0]
    first = eqx.filter_jit(system._built)(key, images).discriminator
    layers = [
        [one for one in (*net.hidden.layers, *net.head.layers) if isinstance(one, NormedLinear)]
        for net in (first, model.classifier)
    ]
    for before, after in zip(*layers, strict=True):
        frozen = isinstance(before.scale, Frozen)
        scales = [one.scale.tree if frozen else one.scale for one in (before, after)]
        assert np.allclose(*scales, rtol=1e-3) == frozen
        assert not np.allclose(before.weight, after.weight, rtol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--labels", "15"], "a multiple of the 10 classes"),
        (["--classes", "9"], "digits has 10 classes and the classifier 9; give --classes 10"),
        (["--weight", "-1"], "the weight of unlabelled rows must be at least 0"),
        (["--decay", "1"], "the average's decay must be in [0, 1)"),
        (["--draw", "-1"], "the seed of the draw must be at least 0"),
        (["--learning-rate", "0"], "the learning rate must be above 0"),
        (["--preprocessing", "gcn"], "pixels must be in [0, 1], and those of gcn"),
    ],
)
def test_bad_settings_are_refused(arguments, message, tmp_path, capsys):
    assert main([*SMALL, *arguments, "--out", str(tmp_path / "run")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("finished", "reason"), [(True, "batch norm"), (False, "no model yet")])
def test_the_explorer_says_what_it_can_not_compute(run, tmp_path, finished, reason, capsys):
    copied = shutil.copytree(run, tmp_path / "run")
    if not finished:
        (copied / "results.json").unlink()
    assert main(["explore", str(copied)]) == 2
    assert reason in capsys.readouterr().err


def test_a_sweep_chooses_the_rate_with_the_fewest_validation_errors(run, tmp_path):
    one = result_of(run)
    config = results.read(run / "config.json", results.Config)
    system = system_of(config)
    better = copy.deepcopy(one.evaluations)
    better["errors"]["validation"]["mean"] /= 2
    score = one.best.parzen
    worse = dataclasses.replace(score.validation, mean=-1e9)
    score = msgspec.structs.replace(score, validation=worse)
    best = msgspec.structs.replace(one.best, parzen=score)
    other = msgspec.structs.replace(one, evaluations=better, best=best)
    data = advnets.data.load("digits")
    made = Run("mnist-few-labels", system, 0, run, False, data, one.provenance)
    found = sweep_result(tmp_path, [0.1, 0.2], [(made, one), (made, other)])
    assert found.minimised == "wrong validation rows, %"
    assert found.chosen == results.Chosen(0.2, "highest")
    errors = [100 * r["errors"]["validation"]["mean"] for r in (one.evaluations, better)]
    assert [row.validation.mean for row in found.learning_rates] == pytest.approx(errors)
    text = report.of(found, tmp_path)
    assert "Wrong validation rows, %, last epoch of each run:" in text
    assert "wrong test rows, %" in text
    assert results.read(tmp_path / "results.json", results.SweepResult) == found
