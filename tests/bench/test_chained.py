"""A system that learns in two stages and samples by chains: its folder, resuming, its numbers."""

import dataclasses

import jax
import numpy as np
import pytest
from helpers.chained import BENCHMARK, RECIPE, NoisyMean
from helpers.runs import rows_of

import advnets
from advnets import bench
from advnets.bench.checking import check_run
from advnets.bench.cli import main
from advnets.bench.systems import chained as module
from advnets.chains import Protocol


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setitem(bench.BENCHMARKS, "noisy", BENCHMARK)
    monkeypatch.setattr(module, "LEAST", 600)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("noisy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(bench.BENCHMARKS, "noisy", BENCHMARK)
        patch.setattr(module, "LEAST", 600)
        result = bench.run(BENCHMARK, out=folder, progress=False)
    return folder, result


@pytest.mark.long
def test_both_stages_are_fitted(whole):
    folder, result = whole
    model = advnets.load_model(folder / "generator.safetensors", known=NoisyMean.model_types)
    mean = advnets.data.load("digits").train.mean(0) / 255
    assert abs(np.asarray(model.chain.mean) - mean).max() < 0.06
    first = rows_of(folder / "first-stage")
    assert [row["epoch"] for row in first] == [1]
    assert "validation" not in first[0]
    assert result.epochs == 3
    assert "validation" in rows_of(folder)[2]


@pytest.mark.long
def test_a_stopped_run_goes_on_to_the_same_numbers(whole, tmp_path):
    short = dataclasses.replace(BENCHMARK, recipe=dataclasses.replace(RECIPE, epochs=1))
    bench.run(short, out=tmp_path, progress=False)
    result = bench.run(BENCHMARK, out=tmp_path, resume=True, progress=False)
    assert result.parzen == whole[1].parzen
    assert result.evaluations == whole[1].evaluations
    for name in ("metrics.jsonl", "generator.safetensors", "samples/chains.png"):
        assert (tmp_path / name).read_bytes() == (whole[0] / name).read_bytes()
    assert check_run(tmp_path).whole


@pytest.mark.long
def test_the_row_is_scored_by_three_protocols(whole):
    folder, result = whole
    found = result.evaluations["chains"]
    own = Protocol(**found["protocol"])
    assert own == Protocol(6, 5, 2)
    assert [Protocol(**other["protocol"]) for other in found["others"]] == [
        Protocol(1, 5, 1),
        Protocol(60, 5, 1),
    ]
    model = advnets.load_model(folder / "generator.safetensors", known=NoisyMean.model_types)
    key = jax.random.fold_in(jax.random.split(jax.random.key(0), 3)[2], 0)
    samples = model.drawn(key, 60, Protocol(1, 5, 1), progress=False)[0]
    data = advnets.data.load("digits")
    expected = advnets.parzen.evaluate(samples, data.validation / 255, data.test / 255)
    assert found["others"][0]["score"]["test"]["mean"] == pytest.approx(expected.test.mean)


@pytest.mark.long
def test_the_time_is_that_of_its_samples_in_steps(whole):
    found = whole[1].evaluations["chains"]
    assert found["of_samples"] == 600  # 100 of each chain
    model = advnets.load_model(whole[0], known=NoisyMean.model_types)
    key = jax.random.fold_in(jax.random.split(jax.random.key(0), 3)[2], 0)
    samples = model.drawn(key, 600, Protocol(6, 5, 2), progress=False)
    expected = advnets.mixing.mixing(samples)
    assert found["autocorrelation_time"] == pytest.approx(2 * expected.time)
    assert found["effective_samples"] == pytest.approx(600 / expected.time)
    assert set(found["distinct_classes"]) == {"10", "20", "100"}


def test_classes_are_counted_in_a_row():
    classes = np.array([[1, 2, 1, 2, 3, 3, 4, 4, 5, 5, 4], [0] * 11])
    assert module.distinct_classes(classes) == {"10": (5 + 5 + 1 + 1) / 4}


def test_classes_are_those_of_the_nearest_images():
    images = np.eye(4, dtype=np.float32)
    found = module.classified(images[[2, 0]] * 0.9, images, np.array([7, 5, 3, 1]))
    assert found.tolist() == [3, 7]


@pytest.mark.long
def test_the_report_says_it(whole, capsys):
    assert main(["report", str(whole[0])]) == 0
    page = (whole[0] / "report.html").read_text()
    assert "Chains (6 chains, burn-in 5, every 2nd step, mean pixels): autocorrelation" in page
    assert "by 1 chain, burn-in 5, consecutive, mean pixels:" in page
    assert "each column is a chain; sample" in page
    assert page.count('"label": "60"') == 1  # a picture for each of 60 samples in a row


@pytest.mark.long
def test_samples_are_of_different_chains_first(whole):
    model = advnets.load_model(whole[0], known=NoisyMean.model_types)
    key = jax.random.key(3)
    drawn = model.drawn(key, 12, model.protocol, progress=False)
    np.testing.assert_array_equal(model.sample(key, 12)[:6], drawn[:, 0])
    assert model.sample(key, 4).shape == (4, 8, 8)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--num-chains", "0"], "the number of chains must be at least 1"),
        (["--num-chains", "61"], "61 chains can't share 60 samples; lower --num-chains"),
        (["--burn-in", "-1"], "the burn-in must be at least 0"),
        (["--preprocessing", "gcn"], "pixels must be in [0, 1], and those of gcn"),
        (["--batch-size", "0"], "the batch size must be at least 1 and at most the 1285"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(tmp_path, capsys, option, message):
    assert main(["noisy", *option, "--out", str(tmp_path / "run")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.long
def test_another_protocol_is_not_resumed(whole, capsys):
    assert main(["noisy", "--thin", "3", "--resume", "--out", str(whole[0])]) == 2
    assert "was run with thin = 2, not 3" in capsys.readouterr().err
