"""The recipes beyond MNIST from end to end, small and on made-up data; Table 1."""

import dataclasses
import json

import equinox as eqx
import jax
import matplotlib.image
import numpy as np
import pytest
import synthetic

import advnets
from advnets import bench
from advnets.bench import table1
from advnets.bench.__main__ import main
from advnets.bench.recorded import recorded
from advnets.bench.scoring import on_host, score

SMALL = ["--preset", "quick", "--epochs", "1", "--batch-size", "10", "--num-samples", "100"]
SMALL += ["--generator.hidden-sizes", "20"]
TFD = ["tfd", *SMALL, "--generator.output-nonzero", "5", "--discriminator.units", "8"]
TFD += ["--second-stage.hidden-size", "20"]


def results(folder):
    return json.loads((folder / "results.json").read_text())


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """A file in TFD's layout, and a finished run in two stages on it."""
    folder = tmp_path_factory.mktemp("tfd")
    synthetic.write_tfd(folder / "TFD_48x48.mat")
    assert main([*TFD, "--data-dir", str(folder), "--out", str(folder / "run")]) == 0
    return folder


def test_tfd_trains_two_stages_and_scores_five_folds(faces):
    result = results(faces / "run")
    assert result["updates"] == 4  # of the second stage: 40 unlabelled rows
    scored = result["parzen"]
    assert len(scored["folds"]) == len(scored["bandwidth"]) == 5
    means = [fold["test"]["mean"] for fold in scored["folds"]]
    assert scored["test"]["mean"] == pytest.approx(np.mean(means))
    assert scored["test"]["standard_error"] == pytest.approx(np.std(means, ddof=1) / 5**0.5)
    # Its validation rows are other folds' test rows.
    assert "folds" not in result["best"]["parzen"]
    assert (faces / "run" / "first-stage" / "generator.safetensors").exists()
    generator, prior = bench.load_generator(faces / "run")
    first = advnets.load_model(
        faces / "run" / "first-stage" / "generator.safetensors",
        like=eqx.nn.Sequential(generator.layers[4:]),
    )
    # The first stage's layers are in the second's generator, and have trained on.
    assert first.layers[0].weight.shape == generator.layers[4].weight.shape
    assert (first.layers[0].weight != generator.layers[4].weight).any()
    assert advnets.sample(jax.random.key(0), generator, 3, prior=prior).shape == (3, 48, 48)
    for best, was in ((False, scored), (True, result["best"]["parzen"])):
        again = bench.rescore(faces / "run", 100, best=best, data_dir=faces, progress=False)
        assert again["parzen"] == was


def test_each_fold_has_its_own_bandwidth_by_all_its_validation_rows(faces):
    data = advnets.data.load("tfd", faces)
    samples = np.random.default_rng(0).random((50, 48, 48)).astype(np.float32)
    scored = score(samples, data, on_host("unit"))
    for fold, seen in zip(data.folds, scored["folds"], strict=True):
        alone = advnets.parzen.evaluate(
            samples, fold.validation / np.float32(255), fold.test / np.float32(255)
        )
        assert seen["bandwidth"] == alone.bandwidth
        assert seen["test"]["mean"] == pytest.approx(alone.test.mean, rel=1e-6)
        assert seen["validation"]["n"] == len(fold.validation)


def test_a_second_stage_builds_on_a_finished_first_one(faces, tmp_path, capsys):
    first = faces / "run" / "first-stage"
    again = [*TFD, "--data-dir", str(faces), "--out", str(tmp_path / "run")]
    assert main([*again, "--first-stage", str(first)]) == 0
    assert not (tmp_path / "run" / "first-stage").exists()
    made = results(tmp_path / "run")
    assert made["parzen"] == results(faces / "run")["parzen"]
    assert made["first_stage"]["folder"] == str(first)
    # A continued run knows its first stage, and has no other.
    assert main([*again, "--resume"]) == 0
    assert not (tmp_path / "run" / "first-stage").exists()
    assert results(tmp_path / "run")["updates_per_second"] == made["updates_per_second"]
    other = tmp_path / "other"
    other.mkdir()
    generator, _ = bench.load_generator(faces / "run")
    advnets.save_model(other / "generator.safetensors", generator)
    assert main([*again, "--resume", "--first-stage", str(other)]) == 2
    assert "does not build on the first stage in" in capsys.readouterr().err
    assert main([*again, "--resume", "--second-stage.epochs", "0"]) == 2
    assert "holds a run in two stages, not a run in one stage" in capsys.readouterr().err


def test_a_missing_or_unfit_first_stage_is_refused_before_any_work(faces, tmp_path, capsys):
    arguments = [*TFD, "--data-dir", str(faces), "--out", str(tmp_path / "run")]
    assert main([*arguments, "--first-stage", str(tmp_path)]) == 2
    assert "there is no first stage in" in capsys.readouterr().err
    first = str(faces / "run" / "first-stage")
    assert main([*arguments, "--first-stage", first, "--generator.hidden-sizes", "21"]) == 2
    assert "holds another model" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_of_two_stages_resumes(faces, tmp_path):
    folder = tmp_path / "run"
    arguments = [*TFD, "--data-dir", str(faces), "--out", str(folder)]
    assert main(arguments) == 0
    whole = results(folder)["parzen"]
    # As if it had been stopped between the stages.
    (folder / "results.json").unlink()
    (folder / "metrics.jsonl").unlink()
    for path in sorted((folder / "checkpoints").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert main([*arguments, "--resume"]) == 0
    assert results(folder)["parzen"] == whole


@pytest.fixture(scope="module")
def colour_mirror(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mirror")
    images = np.random.default_rng(0).integers(0, 256, (60, 32, 32, 3), np.uint8)
    synthetic.write_mirror(
        folder / "someone" / "colours", {"train": images[:40], "test": images[40:]}
    )
    return folder


@pytest.mark.parametrize("name", ["cifar10", "cifar10-conv"])
def test_the_cifar_recipes_run_on_any_colour_images(name, colour_mirror, tmp_path):
    sizes = {"cifar10": "30", "cifar10-conv": "800"}[name]
    arguments = [
        name,
        *SMALL[:-1],
        sizes,
        "--dataset",
        "someone/colours",
        "--out",
        str(tmp_path / "r"),
    ]
    arguments += ["--discriminator.units", "8", "--data-dir", str(colour_mirror)]
    assert main(arguments) == 0
    result = results(tmp_path / "r")
    assert result["parzen"]["num_samples"] == 100
    assert result["references"]["paper"] is None
    for picture in ("samples.png", "interpolations.png"):
        pixels = matplotlib.image.imread(tmp_path / "r" / picture)
        assert pixels.ndim == 3
        assert pixels.std() > 0


def test_images_that_do_not_fit_the_recipe_are_refused(colour_mirror, tmp_path, capsys):
    arguments = ["cifar10-conv", *SMALL[:-1], "700", "--dataset", "someone/colours"]
    arguments += ["--data-dir", str(colour_mirror), "--out", str(tmp_path / "r")]
    assert main(arguments) == 2
    assert "700" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def run_result(seed, mean, *, lossy=False, **recipe):
    base = json.loads(json.dumps(dataclasses.asdict(bench.BENCHMARKS["mnist"].recipe)))
    return {
        "benchmark": "mnist",
        "seed": seed,
        "recipe": base | recipe,
        "parzen": {"test": {"mean": mean, "standard_error": 2.0, "n": 10}},
        "data": "made up" + ", lossy copy" * lossy,
    }


def test_table_1_has_a_row_for_each_setting_with_its_seeds():
    runs = [run_result(0, 100.0), run_result(1, 110.0), run_result(0, 90.0, order="alternating")]
    runs += [run_result(0, 50.0, batch_size=50), run_result(1, 111.0)]
    runs += [run_result(0, 1.0, dataset="imagefolder"), run_result(2, 7.0, lossy=True)]
    runs += [run_result(1, 92.0, order="alternating", evaluate_every=5)]
    table = {row.label: row.cells["mnist"] for row in table1.rows(runs) if row.group == "here"}
    both = table["here: simultaneous, 250 epochs"]
    assert (both.mean, both.seeds, both.scores) == (105.5, 2, (100.0, 111.0))
    assert both.spread == pytest.approx(np.std([100, 111], ddof=1))
    assert table["here: alternating, 250 epochs"].scores == (90.0, 92.0)
    assert table["here: simultaneous, 250 epochs, lossy data"].spread is None
    assert table["here: simultaneous, 250 epochs, batch_size = 50"].mean == 50.0
    assert len(table) == 4
    nested = run_result(0, 8.0)
    nested["recipe"]["generator"]["hidden_sizes"] = [600, 600]
    assert table1.rows([nested])[-1].label == (
        "here: simultaneous, 250 epochs, generator.hidden_sizes = [600, 600]"
    )
    text = table1.markdown(table1.rows(runs))
    assert "105.5 ± 2 (2 seeds, spread 7.8)" in text
    assert "| here | – | needs TFD_48x48.mat, which is not public |" in text


def test_table_1_from_the_package_alone(tmp_path, capsys):
    assert main(["table1", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "| Adversarial nets | 225 ± 2 | 2057 ± 26 |" in printed
    assert (tmp_path / "table1.md").read_text() == printed
    assert json.loads((tmp_path / "table1.json").read_text())[0]["label"] == "DBN"
    for picture in ("mnist.png", "tfd.png", "mnist-seeds.png"):
        assert matplotlib.image.imread(tmp_path / picture).std() > 0


def test_recorded_runs_say_where_they_come_from():
    for result in recorded():
        assert set(result["provenance"]) >= {"command", "commit", "versions", "device", "date"}
        assert result["data"]
        if "benchmark" in result:
            assert set(result["recipe"]) == set(
                dataclasses.asdict(bench.BENCHMARKS[result["benchmark"]].recipe)
            )


@pytest.mark.parametrize("content", ["[]", "{}", '{"benchmark": "mnist"}', "{"])
def test_what_is_no_result_is_refused_by_table_1(content, tmp_path, capsys):
    (tmp_path / "results.json").write_text(content)
    assert main(["table1", "--runs", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert str(tmp_path / "results.json") in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_table_1_says_what_it_leaves_out(faces, tmp_path, capsys):
    digits = tmp_path / "digits"
    digits.mkdir()
    result = results(faces / "run") | {"benchmark": "digits"}
    (digits / "results.json").write_text(json.dumps(result))
    arguments = ["table1", "--runs", str(digits), str(faces / "run"), "--out", str(tmp_path / "t")]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert "no column for it: digits" in captured.err
    assert "| here: simultaneous, 1 epochs" in captured.out


@pytest.mark.parametrize(
    "wrong",
    [
        {"preprocessing": "zca"},
        {"objective": "wgan"},
        {"prior": "gauss"},
        {"order": "both"},
        {"generator": bench.GeneratorSpec(last_hidden="tanh")},
        {"generator": bench.GeneratorSpec(output="tanh")},
        {"generator": bench.GeneratorSpec(sigmoid_bias=float("nan"))},
        {"generator": bench.GeneratorSpec(output_nonzero=-1)},
        {
            "preprocessing": "gcn",
            "generator": bench.GeneratorSpec(output="deconvolution", output_nonzero=3),
        },
    ],
)
def test_a_wrong_recipe_in_python_is_refused_when_it_is_made(wrong):
    with pytest.raises(ValueError, match="got"):
        bench.Recipe(**wrong)


def test_a_deconvolution_takes_all_of_the_recipe_s_fields():
    quick = bench.BENCHMARKS["cifar10-conv"].quick
    spec = dataclasses.replace(quick.generator, sigmoid_bias=-2.0, output_range=0.001)
    recipe = dataclasses.replace(quick, generator=spec)
    images = np.zeros((1, 32, 32, 3), np.uint8)
    generator, _ = bench.recipes.build_players(jax.random.key(0), recipe, images)
    assert (generator.layers[2].bias == -2).all()
    assert 0 < abs(generator.layers[-1].kernel).max() <= 0.001
