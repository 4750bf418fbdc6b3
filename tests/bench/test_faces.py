"""The recipe of two stages, on made-up faces: five folds, a first stage built on, resuming."""

import shutil

import equinox as eqx
import jax
import numpy as np
import pytest
from helpers import synthetic
from helpers.runs import result_of

import advnets
from advnets import bench
from advnets.bench import cli
from advnets.bench.cli import main
from advnets.bench.protocol import on_host, score

pytestmark = pytest.mark.long

TFD = [
    "tfd", "--preset", "quick", "--epochs", "1", "--batch-size", "10", "--num-samples", "40",
    "--generator.hidden-sizes", "20", "--generator.output-nonzero", "5",
    "--discriminator.units", "8", "--second-stage.hidden-size", "20",
]  # fmt: skip


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """A file in TFD's layout, and a finished run in two stages on it."""
    folder = tmp_path_factory.mktemp("tfd")
    synthetic.write_tfd(folder / "TFD_48x48.mat")
    assert main([*TFD, "--data-dir", str(folder), "--out", str(folder / "run")]) == 0
    return folder


def test_two_stages_are_trained_and_five_folds_scored(faces):
    result = result_of(faces / "run")
    assert result.updates == 4  # of the second stage: 40 unlabelled rows
    scored = result.parzen
    assert len(scored.folds) == len(scored.bandwidth) == 5
    means = [fold.test.mean for fold in scored.folds]
    assert scored.test.mean == pytest.approx(np.mean(means))
    assert scored.test.standard_error == pytest.approx(np.std(means, ddof=1) / 5**0.5)
    # Its validation rows are other folds' test rows.
    assert result.best.parzen.folds == ()
    for best, was in ((False, scored), (True, result.best.parzen)):
        again = bench.rescore(faces / "run", 40, best=best, data_dir=faces, progress=False)
        assert again.parzen == was


def test_the_second_stage_trains_on_with_the_first_one_s_layers(faces):
    model = bench.load_model(faces / "run")
    first = advnets.load_model(faces / "run" / "first-stage" / "generator.safetensors")
    above = eqx.nn.Sequential(model.generator.layers[4:])
    arrays = [jax.tree.leaves(eqx.filter(g, eqx.is_array)) for g in (first.generator, above)]
    for before, after in zip(*arrays, strict=True):
        moved = np.linalg.norm(after - before)
        assert moved > 0
        if before.ndim == 2:  # biases start from almost nothing
            assert moved < 0.1 * np.linalg.norm(before)
    assert model.sample(jax.random.key(0), 3).shape == (3, 48, 48)


def test_each_fold_has_its_own_bandwidth_by_all_its_validation_rows(faces):
    data = advnets.data.load("tfd", faces)
    samples = np.random.default_rng(0).random((40, 48, 48)).astype(np.float32)
    scored = score(samples, data, on_host("unit"))
    for fold, seen in zip(data.folds, scored.folds, strict=True):
        alone = advnets.parzen.evaluate(
            samples, fold.validation / np.float32(255), fold.test / np.float32(255)
        )
        assert seen.bandwidth == alone.bandwidth
        assert seen.test.mean == pytest.approx(alone.test.mean, rel=1e-6)
        assert seen.validation.n == len(fold.validation)


def test_a_second_stage_builds_on_a_finished_first_one(faces, tmp_path, capsys, monkeypatch):
    first, folder = faces / "run" / "first-stage", tmp_path / "run"
    again = [*TFD, "--data-dir", str(faces), "--out", str(folder)]

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cli, "execute", stop)
        assert main([*again, "--first-stage", str(first)]) == 130
    # A continued run knows its first stage, and has no other.
    assert main([*again, "--resume"]) == 0
    assert not (folder / "first-stage").exists()
    result = result_of(folder)
    assert result.parzen == result_of(faces / "run").parzen
    assert result.first_stage.folder == str(first)
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(faces / "run" / "generator.safetensors", other)
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


def test_damaged_metrics_of_the_first_stage_are_restored(faces, tmp_path):
    folder = shutil.copytree(faces / "run", tmp_path / "run")
    path = folder / "first-stage" / "metrics.jsonl"
    before = path.read_bytes()
    path.write_text('{"epoch": 1, "validation": {"mean": "high"}}\n')
    assert main([*TFD, "--data-dir", str(faces), "--out", str(folder), "--resume"]) == 0
    assert path.read_bytes() == before


def test_a_run_stopped_between_its_stages_is_resumed(faces, tmp_path):
    folder = shutil.copytree(faces / "run", tmp_path / "run")
    whole = result_of(folder).parzen
    (folder / "results.json").unlink()
    (folder / "metrics.jsonl").unlink()
    shutil.rmtree(folder / "checkpoints")
    assert main([*TFD, "--data-dir", str(faces), "--out", str(folder), "--resume"]) == 0
    assert result_of(folder).parzen == whole
