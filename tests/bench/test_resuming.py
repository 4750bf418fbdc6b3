"""Runs that were stopped, killed or are to be extended; and what is not resumed."""

import os
import signal
import subprocess
import sys

import jax
import pytest
from helpers.runs import SMALL, files_of, result_of, untimed
from helpers.systems import Pixels

import advnets
from advnets.bench import results
from advnets.bench.cli import main
from advnets.training.checkpoints import numbers

# Kills its own process in the last epoch, when the evaluation's files are written, and neither its
# row nor its checkpoint.
KILLED = """
import os, signal, sys
import advnets
from advnets.bench.cli import main
from advnets.bench.watching import Watch

draw = Watch.draw

def last(self, model, epoch):
    draw(self, model, epoch)
    if len((self.folder / "metrics.jsonl").read_text().splitlines()) == 2:
        os.kill(os.getpid(), signal.SIGKILL)

Watch.draw = last
main(sys.argv[1:])
"""


@pytest.mark.long
def test_a_killed_run_resumes_to_the_same_result(finished, tmp_path):
    folder = tmp_path / "killed"
    command = [sys.executable, "-c", KILLED, *SMALL, "--out", str(folder)]
    # With as many devices as here, its programs are those that have been compiled already.
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "2"}
    killed = subprocess.run(command, env=environment, stderr=subprocess.DEVNULL, timeout=300)
    assert killed.returncode == -signal.SIGKILL
    assert numbers(folder / "checkpoints") == [24]  # iterations: two epochs
    assert main([*SMALL, "--out", str(folder), "--resume"]) == 0
    assert untimed(result_of(folder)) == untimed(result_of(finished))
    logs = [(f / "metrics.jsonl").read_bytes() for f in (folder, finished)]
    assert logs[0] == logs[1]


@pytest.mark.long
def test_a_run_stopped_before_training_is_resumed_and_then_extended(finished, tmp_path):
    folder = tmp_path / "early"
    folder.mkdir()
    (folder / "config.json").write_bytes((finished / "config.json").read_bytes())
    assert main([*SMALL, "--epochs", "2", "--out", str(folder), "--resume"]) == 0
    assert result_of(folder).epochs == 2
    assert main([*SMALL, "--out", str(folder), "--resume"]) == 0
    assert untimed(result_of(folder)) == untimed(result_of(finished))


@pytest.mark.usefixtures("pixels")
def test_a_best_model_saved_just_before_a_kill_is_not_taken_for_an_earlier_one(tmp_path):
    folder, plain = tmp_path / "killed", tmp_path / "plain"
    run = ["pixels", "--learning-rate", "2.2"]  # the first epoch's model is the best
    assert main([*run, "--epochs", "2", "--out", str(folder)]) == 0
    later = Pixels(jax.numpy.full((8, 8), 0.1))
    advnets.save_model(folder / "generator-epoch-4.safetensors", later)
    assert main([*run, "--epochs", "3", "--out", str(folder), "--resume"]) == 0
    assert main([*run, "--epochs", "3", "--out", str(plain)]) == 0
    assert untimed(result_of(folder)) == untimed(result_of(plain))


def test_a_run_whose_rate_falls_to_its_end_has_no_more_epochs(finished, tmp_path, capsys):
    config = results.read(finished / "config.json", results.Config)
    config.recipe.update(update_rule="adam", final_rate=0.1)
    results.write(tmp_path / "config.json", config)
    before = (tmp_path / "config.json").read_bytes()
    falling = [*SMALL, "--update-rule", "adam", "--final-rate", "0.1", "--out", str(tmp_path)]
    assert main([*falling, "--epochs", "6", "--resume"]) == 2
    assert "falls over its 4 epochs, so it can't be resumed with --epochs 6" in (
        capsys.readouterr().err
    )
    assert (tmp_path / "config.json").read_bytes() == before


def test_a_run_with_nothing_left_to_do_keeps_its_rate(copied):
    before = result_of(copied)
    assert main([*SMALL, "--out", str(copied), "--resume"]) == 0
    assert result_of(copied).updates_per_second == before.updates_per_second
    assert untimed(result_of(copied)) == untimed(before)


def test_fewer_epochs_than_the_folder_holds_are_refused_and_nothing_changes(finished, capsys):
    before = files_of(finished)
    assert main([*SMALL, "--epochs", "3", "--out", str(finished), "--resume"]) == 2
    assert "already holds 4 epochs; ask for as many or more" in capsys.readouterr().err
    assert files_of(finished) == before


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["--order", "alternating"], "order = 'simultaneous', not 'alternating'"),
        (["--objective", "minimax"], "objective = 'non-saturating', not 'minimax'"),
        (["--prior", "normal"], "prior = 'uniform', not 'normal'"),
        (["--learning-rate", "0.2"], "learning_rate = 0.1, not 0.2"),
        (["--batch-size", "50"], "batch_size = 100, not 50"),
        (["--precision", "bfloat16"], "precision = 'float32', not 'bfloat16'"),
        (["--norm-limit", "2"], "norm_limit = None, not 2.0"),
        (["--evaluate-every", "1"], "evaluate_every = 2, not 1"),
        (["--num-samples", "100"], "num_samples = 256, not 100"),
        (["--seed", "1"], "seed = 2, not 1"),
        (["--generator.hidden-sizes", "17"], "generator.hidden_sizes = [16], not [17]"),
        (["--discriminator.hidden-keep", "1"], "discriminator.hidden_keep = 0.5, not 1.0"),
        (["--second-stage.epochs", "1"], "a run in one stage, not a run in two stages"),
    ],
)
def test_other_settings_than_the_run_s_are_refused_and_nothing_changes(
    finished, changed, message, capsys
):
    before = files_of(finished)
    assert main([*SMALL, "--out", str(finished), "--resume", *changed]) == 2
    assert message in capsys.readouterr().err
    assert files_of(finished) == before


def test_a_folder_with_another_run_is_left_alone(finished, capsys):
    before = files_of(finished)
    assert main([*SMALL, "--out", str(finished)]) == 2
    assert "is not empty; continue its run with --resume" in capsys.readouterr().err
    assert files_of(finished) == before


@pytest.mark.long
@pytest.mark.usefixtures("pixels")
def test_default_folders_are_numbered_and_resumed_latest_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert main(["pixels", "--epochs", "1"]) == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["pixels", "pixels-2"]
    assert main(["pixels", "--epochs", "2", "--resume"]) == 0
    assert result_of(tmp_path / "runs" / "pixels").epochs == 1
    assert result_of(tmp_path / "runs" / "pixels-2").epochs == 2


@pytest.mark.usefixtures("pixels")
def test_a_config_of_something_else_in_the_folder_above_is_no_obstacle(tmp_path):
    (tmp_path / "config.json").write_text('{"editor": "dark"}')
    run = ["pixels", "--epochs", "1", "--out", str(tmp_path / "run")]
    assert main(run) == 0
    assert main([*run, "--resume"]) == 0
