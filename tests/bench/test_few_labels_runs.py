"""The benchmark of few labels, on the digits: what a run leaves, and what is refused."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.runs import result_of

import advnets
from advnets.bench.cli import main
from advnets.bench.folders import newest_manifest
from advnets.bench.rescoring import open_run
from advnets.bench.systems.games import stage_keys
from advnets.few_labels import NormedLinear, SemiSupervised
from advnets.players import Frozen, partition
from advnets.training.checkpoints import restore_part

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
    place, name, manifest = newest_manifest(run)
    trained, *_ = partition(model.classifier)
    last = restore_part(place, manifest, name, "players['discriminator']", trained)
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
        (["--preprocessing", "gcn"], "Bernoulli pixels must be in [0, 1]"),
    ],
)
def test_bad_settings_are_refused(arguments, message, tmp_path, capsys):
    assert main([*SMALL, *arguments, "--out", str(tmp_path / "run")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
