"""What a run's folder promises: verified, compared with what it began with, changed on record."""

import re

import equinox as eqx
import pytest
from helpers.runs import SMALL, files_of, result_of, untimed

import advnets
from advnets.bench import results
from advnets.bench.cli import main
from advnets.bench.replay import Replayed
from advnets.bench.results import Config
from advnets.training.checkpoints import CHECKPOINTS, Change, numbers


def test_a_whole_run_is_said_to_be_whole(finished, capsys):
    before = files_of(finished)
    assert main(["check", str(finished)]) == 0
    stdout = capsys.readouterr().out
    assert "digits, seed 2; 4 epochs (48 iterations) saved" in stdout
    for name in ("config.json", "results.json", "generator.safetensors", "checkpoints/48"):
        assert re.search(rf"^  {name} +whole", stdout, re.M)
    assert re.search(r"^  report.html +unverified +nothing reads it", stdout, re.M)
    assert "all that has a SHA-256 matches it" in stdout
    assert files_of(finished) == before


def test_every_damaged_file_is_named(copied, capsys):
    checkpoint = f"{CHECKPOINTS}/48"
    array = max((copied / checkpoint).rglob("*"), key=lambda path: path.stat().st_size)
    for path in [*copied.glob("*.*"), *copied.glob("samples/*"), array]:
        if path.name.startswith(".") or path.suffix == ".html":  # nothing reads a page
            continue
        content = path.read_bytes()
        path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
        assert main(["check", str(copied)]) == 3
        name = checkpoint if path == array else str(path.relative_to(copied))
        assert re.search(rf"^  {re.escape(name)} +damaged", capsys.readouterr().out, re.M)
        path.write_bytes(content)
    assert main(["check", str(copied)]) == 0
    (copied / "samples.png").unlink()
    assert main(["check", str(copied)]) == 3
    assert "samples.png" in capsys.readouterr().out
    assert main(["check", str(copied / "nothing")]) == 2


def test_what_later_commands_wrote_is_verified_too(copied, capsys):
    place = copied / "inference"
    (place / "parts").mkdir(parents=True)
    written = [place / "inference.json", place / "parts" / "test.json"]
    for path in written:
        results.write(path, {"benchmark": "digits"})
    advnets.save_model(copied / "classifier.safetensors", eqx.nn.Identity())
    advnets.save_model(place / "network.safetensors", eqx.nn.Identity())
    written += [copied / "classifier.safetensors", place / "network.safetensors"]
    assert main(["check", str(copied)]) == 0
    stdout = capsys.readouterr().out
    for path in written:
        assert re.search(rf"^  {path.relative_to(copied)} +whole", stdout, re.M)
        whole = path.read_bytes()
        path.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
        assert main(["check", str(copied)]) == 3
        named = rf"^  {path.relative_to(copied)} +damaged"
        assert re.search(named, capsys.readouterr().out, re.M)
        path.write_bytes(whole)


@pytest.mark.long
def test_settings_are_changed_on_purpose_and_on_record(copied, capsys):
    more = [*SMALL, "--epochs", "6", "--learning-rate", "0.05", "--out", str(copied), "--resume"]
    assert main(more) == 2
    assert "accept the change with --accept-changes" in capsys.readouterr().err
    assert main([*more, "--accept-changes", "--prior", "normal"]) == 2
    assert "prior = 'uniform', not 'normal'; resume with the settings" in capsys.readouterr().err
    assert main([*more, "--accept-changes"]) == 0
    change = Change(48, "learning_rate", "0.1", "0.05")
    assert result_of(copied).changes == (change,)
    assert results.read(copied / "config.json", Config).changes == (change,)
    # What has been changed is what the run is from then on.
    assert main(more) == 0
    assert result_of(copied).changes == (change,)
    plain = [*SMALL, "--epochs", "6", "--out", str(copied), "--resume"]
    assert main(plain) == 2


@pytest.mark.long
def test_other_images_under_the_same_name_are_not_the_run_s(copied, monkeypatch, capsys):
    before = files_of(copied)
    with monkeypatch.context() as patch:
        patch.setattr(advnets.data.Dataset, "fingerprint", lambda self: "0" * 64)
        assert main([*SMALL, "--epochs", "6", "--out", str(copied), "--resume"]) == 2
        assert "was run on other data" in capsys.readouterr().err
        assert main(["parzen", str(copied), "--num-samples", "60"]) == 2
        assert "with other rows" in capsys.readouterr().err
    assert files_of(copied) == before
    assert main(["parzen", str(copied), "--num-samples", "60"]) == 0


@pytest.mark.long
def test_a_damaged_newest_checkpoint_is_passed_over_and_said(copied, finished, capsys):
    array = max((copied / CHECKPOINTS / "48").rglob("*"), key=lambda path: path.stat().st_size)
    array.write_bytes(array.read_bytes()[:-1] + b"x")
    assert main([*SMALL, "--out", str(copied), "--resume"]) == 0
    stderr = capsys.readouterr().err
    assert "warning: a checkpoint is damaged" in stderr
    assert "does not match its SHA-256" in stderr
    assert untimed(result_of(copied)) == untimed(result_of(finished))
    assert numbers(copied / CHECKPOINTS) == [48, 24]


def test_the_best_model_is_needed_and_checked_before_work(copied, tmp_path, capsys):
    other = tmp_path / "other.safetensors"
    advnets.save_model(other, advnets.priors.Normal(2))  # whole, and of something else
    best = copied / f"generator-epoch-{result_of(copied).best.epoch}.safetensors"
    whole = best.read_bytes()
    more = [*SMALL, "--epochs", "6", "--out", str(copied), "--resume"]
    for change, message in (
        (lambda: best.write_bytes(whole[:-1] + b"\x7f"), "SHA-256"),
        (lambda: best.write_bytes(other.read_bytes()), "is not the model that the run saved"),
        (best.unlink, "the best model so far, is missing"),
    ):
        change()
        assert main(more) == 2
        assert message in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.parametrize(
    "options",
    [
        ["--second-stage.epochs", "5", "--second-stage.hidden-size", "8"],
        ["--update-rule", "adam", "--final-rate", "0.1"],
    ],
)
def test_training_repeats_bit_for_bit(options, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*SMALL, *options, "--verify-replay"]) == 0
    stdout = capsys.readouterr().out
    assert "equal, bit for bit" in stdout
    assert len(set(re.findall(r"[0-9a-f]{64}", stdout))) == 1
    assert not list(tmp_path.iterdir())
    assert not Replayed("a", "a", "b").same
    assert not Replayed("a", "b", "a").same
