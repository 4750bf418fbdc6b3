"""The commands on a finished run: inference of z, and features where labels are few."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import matplotlib.image
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import advnets
from advnets import inference as core
from advnets.bench import features, inference, results
from advnets.bench.cli import main
from advnets.bench.features import FeaturesFound, few, hidden_layers
from advnets.bench.inference import Effort
from advnets.bench.pages.players import players
from advnets.bench.recipes import build_players
from advnets.bench.rescoring import open_run
from advnets.bench.systems.games import stage_keys

EFFORT = Effort(steps=20, batch_size=20, units=8, rows=12, search=3, neighbours=50)


@pytest.fixture(scope="module")
def run(tmp_path_factory, finished):
    """A finished run, which the commands add their folders to."""
    return shutil.copytree(finished, tmp_path_factory.mktemp("with") / "run")


@pytest.fixture(scope="module")
def inferred(run):
    """What it comes to after an interruption, from which nothing is done again."""
    part, steps, asked = inference._part, [], []

    def stopped(subject, found, name, *rest, **more):
        asked.append(name)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return part(subject, found, name, *rest, **more)

    def counted(*given, **more):
        steps.append(one(*given, **more))
        return steps[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inference, "PAIRS", 200)
        patch.setattr(inference, "BLOCK", 6)
        one = inference._reconstructed
        patch.setattr(inference, "_reconstructed", counted)
        patch.setattr(inference, "_part", stopped)
        with pytest.raises(KeyboardInterrupt):
            inference.prepare(run, effort=EFFORT)(False)
        assert (run / "inference" / "parts" / "samples.json").is_file()
        found = inference.prepare(run, effort=EFFORT)(False)
        assert asked == ["samples", "test", "samples", "test"]
        assert len(steps) == 4  # two blocks of each
    return found


@pytest.fixture(scope="module")
def measured(run, inferred):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "GRID", (0.01, 1.0))
        assert main(["features", str(run), "--labels", "20", "1285", "--draws", "2"]) == 0
    return results.read(run / "features" / "features.json", FeaturesFound)


@pytest.mark.long
def test_errors_are_those_of_the_images(run, inferred):
    model, *_ = open_run(run)
    data = advnets.data.load("digits")
    test, train = data.test[:12] / np.float32(255), data.train / 255.0
    found, network = inference.read(run)
    assert found == inferred
    means, _ = network(jnp.asarray(test))
    decoded = np.asarray(core.decode(model, means))
    squared = ((decoded - test) ** 2).reshape(12, -1).sum(axis=1)
    assert found.test.network.mean == pytest.approx(squared.mean(), rel=1e-4)
    assert found.test.network.standard_error == pytest.approx(
        squared.std(ddof=1) / 12**0.5, rel=1e-4
    )
    away = ((test - train.mean(axis=0)) ** 2).reshape(12, -1).sum(axis=1)
    assert found.test.mean_image.mean == pytest.approx(away.mean(), rel=1e-4)
    apart = ((test[:, None] - train[None, :50]) ** 2).reshape(12, 50, -1).sum(axis=2)
    assert found.test.nearest.mean == pytest.approx(apart.min(axis=1).mean(), rel=1e-4)
    searched = core.search(lambda u: core.decode(model, u), jnp.asarray(test), means, steps=3)
    after = ((np.asarray(core.decode(model, searched)) - test) ** 2).reshape(12, -1).sum(axis=1)
    assert found.test.searched.mean == pytest.approx(after.mean(), rel=1e-4)
    assert after.mean() < squared.mean()
    assert len(found.r_squared) == 100
    assert 0.5 < found.deviation < 1.5
    assert len(found.curve) == 1


@pytest.mark.long
def test_what_is_left_can_be_looked_at(run, inferred):
    folder = run / "inference"
    assert {path.name for path in folder.iterdir()} - {".running.lock"} == {
        "inference.json", "inference.md", "inference.png", "network.safetensors", "settings.json",
        "walk.png",
    }  # fmt: skip
    text = (folder / "inference.md").read_text()
    assert "| 12 fresh samples | 12 test images |" in text
    assert "the nearest of 50 training images" in text
    assert matplotlib.image.imread(folder / "walk.png").shape[1] > 11 * 64
    assert inference.summary(inferred).count("\n") == 6


@pytest.mark.long
def test_what_is_done_is_not_done_again(run, inferred, monkeypatch):
    monkeypatch.setattr(core, "fit_inference", None)
    assert inference.prepare(run, effort=EFFORT)(False) == inferred
    # Of another model there is nothing.
    monkeypatch.setattr(inference, "LAST", "config.json")
    assert inference.read(run) is None


@pytest.mark.long
def test_with_other_settings_nothing_is_taken(run, inferred, tmp_path):
    out = shutil.copytree(run / "inference", tmp_path / "out")
    (out / "parts").mkdir()
    assert inference._begun(out, "another") is None
    assert {path.name for path in out.iterdir()} & {"inference.json", "parts"} == set()
    damaged = shutil.copytree(run / "inference", tmp_path / "damaged")
    (damaged / "settings.json").write_text("{")
    assert inference._begun(damaged, "another") is None


@pytest.mark.long
def test_rows_of_the_table(run, measured):
    names = [row.name for row in measured.rows]
    assert names == [
        "pixels", "PCA 50", "D, layer 1", "untrained D, layer 1", "inference network, layer 1",
        "inference network, layer 2", "inference network, u",
    ]  # fmt: skip
    assert [row.size for row in measured.rows] == [64, 50, 8, 8, 8, 8, 100]
    for row in measured.rows:
        assert [len(one.test) for one in row.found] == [2, 1]  # all labels are one draw
        assert [one.labels for one in row.found] == [20, 1285]
    pixels = measured.rows[0]
    assert pixels.found[1].mean < 0.1 < pixels.found[0].mean < 0.5
    text = (run / "features" / "features.md").read_text()
    assert "| pixels | 64 |" in text
    assert matplotlib.image.imread(run / "features" / "features.png").size


@pytest.mark.long
def test_pixels_are_scored_as_scikit_learn_does(measured):
    """All of it once more, by other code."""
    data = advnets.data.load("digits")
    train, test = (rows.reshape(len(rows), -1) / 255.0 for rows in (data.train, data.test))
    centre, scale = train.mean(axis=0), train.std(axis=0)
    scale[scale == 0] = 1
    errors, one = [], measured.rows[0].found[0]
    for seed in range(2):
        rng = np.random.default_rng(seed)
        rows = np.concatenate([
            rng.choice(np.flatnonzero(data.train_labels == label), 2, replace=False)
            for label in range(10)
        ])  # fmt: skip
        model = LogisticRegression(C=one.c, max_iter=1000)
        model.fit((train[rows] - centre) / scale, data.train_labels[rows])
        guessed = model.predict((test - centre) / scale)
        errors.append(np.mean(guessed != data.folds[0].test_labels))
    assert one.test == pytest.approx(errors, abs=0.004)


@pytest.mark.long
def test_layers_are_those_of_the_runs_players(run, measured):
    _, config, system, _ = open_run(run)
    data = advnets.data.load("digits")
    kinds = {
        kind.name: kind.make
        for kind in features._kinds(run, config, system, data, lambda x: x / np.float32(255))
    }
    images = data.test[:5] / np.float32(255)
    trained = players(run, config, system, finished=True).discriminator
    key = stage_keys(config.seed, second=False)[0]
    fresh = build_players(key, system.settings, data.train).discriminator
    for name, player in (("D", trained), ("untrained D", fresh)):
        (maxout,) = [one for one in player.layers if isinstance(one, advnets.layers.Maxout)]
        weight, bias = np.asarray(maxout.weight, np.float64), np.asarray(maxout.bias)
        exact = (np.einsum("pui,ni->npu", weight, images.reshape(5, -1)) + bias).max(axis=1)
        found = kinds[f"{name}, layer 1"](images)
        np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-6)
    _, network = inference.read(run)
    np.testing.assert_allclose(
        kinds["inference network, u"](images), network(jnp.asarray(images))[0], rtol=1e-4, atol=1e-6
    )


def test_hidden_layers_end_where_the_next_begins(key):
    net = core.inference_network(key, (2, 3), 4, hidden_sizes=[5, 7])
    x = jax.random.normal(key, (3, 2, 3))
    one, two = hidden_layers(net, x)
    first, second = net.layers[1], net.layers[3]
    np.testing.assert_allclose(one, jax.nn.relu(jax.vmap(first)(x.reshape(3, 6))), rtol=1e-5)
    np.testing.assert_allclose(two, jax.nn.relu(jax.vmap(second)(one)), rtol=1e-5)
    with pytest.raises(ValueError, match=r"from an eqx\.nn\.Sequential"):
        hidden_layers(first, x)


def test_validation_rows_choose_not_test_rows():
    """At C = 1e-6 all is class 1, the more frequent one; that is right on these test rows only."""
    rows = np.linspace(-1, 1, 9)[:, None]
    labelled = rows, (rows[:, 0] > -0.3).astype(int)
    nothing = np.array([[-1.0], [-0.9]]), np.array([1, 1])
    assert few([labelled], labelled, nothing, [1e-6, 100.0]).c == 100.0
    assert few([labelled], labelled, nothing, [1e-6, 100.0]).test == (1.0,)
    assert few([labelled], nothing, labelled, [1e-6, 100.0]).c == 1e-6
    both = few([labelled, labelled], labelled, labelled, [100.0])
    assert (both.test, both.mean, both.deviation) == ((0.0, 0.0), 0.0, 0.0)
    with pytest.raises(ValueError, match="at least 1 draw"):
        few([], labelled, labelled)


@pytest.mark.long
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inference", "nosuch"], "nosuch holds no results.json"),
        (["inference", "RUN", "--steps", "150"], "below 100 or a multiple of it; got 150"),
        (["inference", "RUN", "--noise", "-1"], "must be at least 0 and finite; got -1"),
        (["features", "nosuch"], "nosuch holds no results.json"),
        (["features", "RUN", "--labels", "15"], "a multiple of the 10 classes, at most"),
        (["features", "RUN", "--draws", "0"], "number of draws must be at least 1"),
    ],
)
def test_bad_input_is_refused(arguments, message, run, capsys):
    assert main([str(run) if one == "RUN" else one for one in arguments]) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert message in sentence


@pytest.mark.long
def test_data_without_labels_are_refused(run, monkeypatch):
    data = dataclasses.replace(advnets.data.load("digits"), train_labels=None)
    monkeypatch.setattr(features, "data_of", lambda *_: data)
    with pytest.raises(ValueError, match="the images of digits have no labels"):
        features.prepare(run)


@pytest.mark.long
def test_a_run_without_checkpoints_says_so(run, measured, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(run, bare, ignore=shutil.ignore_patterns("checkpoints", "inference"))
    _, config, system, _ = open_run(bare)
    data = advnets.data.load("digits")
    kinds = list(features._kinds(bare, config, system, data, lambda x: x / np.float32(255)))
    reasons = {kind.name: kind.reason for kind in kinds if kind.make is None}
    assert reasons["D"] == "its checkpoints are not here"
    assert "python -m advnets.bench inference" in reasons["inference network"]
    assert json.loads((bare / "features" / "features.json").read_text())
