"""Damaged files of a run: one sentence that names the file and the field, and no traceback."""

import json
import shutil

import equinox as eqx
import numpy as np
import pytest
from helpers.runs import SMALL, content

import advnets
from advnets import bench
from advnets.bench import classifier, results
from advnets.bench.cli import main
from advnets.bench.results import Measured

DEEP = '{"a":' * 500 + "1" + "}" * 500


@pytest.fixture
def run(finished, tmp_path):
    """A copy of a finished run, which takes damage."""
    return shutil.copytree(finished, tmp_path / "run")


@pytest.fixture
def refused(run, tmp_path, capsys):
    """What a command says when it is refused."""

    def of(command):
        arguments = {
            "resume": [*SMALL, "--out", str(run), "--resume"],
            "parzen": ["parzen", str(run), "--num-samples", "10"],
            "table1": ["table1", "--runs", str(run), "--out", str(tmp_path / "table")],
        }[command]
        capsys.readouterr()
        assert main(arguments) == 2
        stderr = capsys.readouterr().err
        assert "Traceback" not in stderr
        (sentence,) = [line for line in stderr.splitlines() if line.startswith("error: ")]
        assert not (tmp_path / "table").exists()
        return sentence

    return of


def changed(path, place, value):
    """Sets a field of a JSON file, named with dots, as if an earlier version had written it."""
    whole = inner = content(path)
    del whole["format"], whole["sha256"]
    *parents, last = place.split(".")
    for name in parents:
        inner = inner[name]
    inner[last] = value
    path.write_text(json.dumps(whole))


# Which commands read a file.
READERS = {
    "config.json": ["resume", "parzen"],
    "results.json": ["resume", "parzen", "table1"],
}


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole[: len(whole) // 2],
        lambda whole: b"",
        lambda whole: b"[]",
        lambda whole: b"{}",
        lambda whole: whole.replace(b"digits", b"\xff\xfe"),
        lambda whole: whole.replace(b"256", b"2" * 5000, 1),
        lambda whole: whole.replace(b"{", b'{"new": ' + DEEP.encode() + b",", 1),
    ],
    ids=["half", "empty", "a list", "no fields", "no UTF-8", "endless number", "deep"],
)
@pytest.mark.parametrize("name", READERS)
def test_a_file_that_is_not_json_of_its_kind_is_named(name, damage, run, refused):
    path = run / name
    path.write_bytes(damage(path.read_bytes()))
    for command in READERS[name]:
        sentence = refused(command)
        assert sentence.startswith(f"error: {path} ")
        assert "can't be read (" in sentence or "holds neither a run's results" in sentence


def test_results_that_are_damaged_may_be_removed(run, refused):
    path = run / "results.json"
    path.write_bytes(path.read_bytes()[:100])
    assert refused("resume").endswith("or remove it: the resumed run writes it again")
    assert refused("parzen").endswith("or remove it: resuming the run writes it again")
    path.unlink()
    assert main([*SMALL, "--out", str(run), "--resume"]) == 0
    assert path.exists()


def test_a_classifier_that_is_damaged_may_be_removed(tmp_path):
    path = tmp_path / classifier.CLASSIFIER
    advnets.save_model(path, eqx.nn.Identity())
    with pytest.raises(ValueError, match=r"holds a Identity, not a class.* or remove it: it is"):
        classifier._read(path)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(ValueError, match=r"or remove it: it is fitted again$"):
        classifier._read(path)


@pytest.mark.parametrize(
    ("name", "place", "value", "commands"),
    [
        ("config.json", "seed", "two", ["resume", "parzen"]),
        ("config.json", "image_shape", [8.5, 8], ["resume", "parzen"]),
        ("config.json", "recipe", [], ["resume", "parzen"]),
        ("config.json", "recipe.learning_rate", float("nan"), ["resume", "parzen"]),
        ("config.json", "recipe.generator.output_range", float("inf"), ["resume", "parzen"]),
        ("results.json", "epochs", None, ["resume", "parzen"]),
        ("results.json", "best.epoch", "last", ["resume", "parzen"]),
        ("results.json", "parzen.test.mean", "high", ["resume", "parzen", "table1"]),
        ("results.json", "parzen.test.mean", float("nan"), ["resume", "parzen", "table1"]),
        ("results.json", "parzen.test.mean", -float("inf"), ["resume", "parzen", "table1"]),
        ("results.json", "parzen.bandwidth", None, ["resume", "parzen"]),
        ("results.json", "parzen.at_grid_end", "middle", ["resume", "parzen"]),
        ("results.json", "provenance.device", "GPU", ["resume", "parzen"]),
        ("results.json", "recipe.epochs", "many", ["table1"]),
        ("results.json", "recipe.dataset", None, ["table1"]),
    ],
)
def test_a_field_of_another_type_is_named(name, place, value, commands, run, refused):
    changed(run / name, place, value)
    for command in commands:
        sentence = refused(command)
        assert str(run / name) in sentence
        assert f"$.{place}" in sentence


@pytest.mark.parametrize(
    ("place", "value"),
    [("generator.hidden_sizes", "wide"), ("k", 0), ("prior", "gauss"), ("generator", None)],
)
def test_settings_that_are_none_of_the_system_s_are_named(place, value, run, refused):
    changed(run / "config.json", f"recipe.{place}", value)
    sentence = refused("parzen")
    assert "the run's settings are not those of digits" in sentence
    assert place.split(".")[0] in sentence.replace("`$`", place)


@pytest.mark.parametrize("shape", [[], [0, 8], [-8, 8], [10**9, 10**9]])
def test_a_shape_that_no_image_has_is_refused(shape, run, refused):
    changed(run / "config.json", "image_shape", shape)
    sentence = refused("parzen")
    assert str(run) in sentence
    assert "image_shape" in sentence or "holds another model" in sentence


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        pytest.param(b"[]", marks=pytest.mark.long),
        pytest.param(b"\xff", marks=pytest.mark.long),
        pytest.param(b'{"epoch": "two"}', marks=pytest.mark.long),
        pytest.param(b"", marks=pytest.mark.long),
        pytest.param(DEEP.encode(), marks=pytest.mark.long),
        pytest.param(None, marks=pytest.mark.long),
    ],
    ids=["half", "a list", "no UTF-8", "another type", "blank", "deep", "none"],
)
def test_damaged_metrics_are_restored_from_the_checkpoint(line, run):
    path = run / "metrics.jsonl"
    before = path.read_bytes()
    lines = before.splitlines()
    path.write_bytes(b"\n".join([lines[0], *([] if line is None else [line]), *lines[2:], b""]))
    assert main([*SMALL, "--out", str(run), "--resume"]) == 0
    assert path.read_bytes() == before


def test_a_changed_bit_of_a_document_is_found(run, refused):
    for name, commands in READERS.items():
        path = run / name
        before = path.read_bytes()
        path.write_bytes(before.replace(b'"seed": 2', b'"seed": 3'))
        for command in commands:
            assert f"{path} was changed after it was written" in refused(command)
        path.write_bytes(before)


def test_half_a_last_row_is_made_again(run):
    """As a killed run may leave it."""
    path = run / "metrics.jsonl"
    before = path.read_bytes()
    path.write_bytes(before + before.splitlines()[-1][:40])
    assert main([*SMALL, "--out", str(run), "--resume"]) == 0
    assert path.read_bytes() == before


def test_a_model_that_is_damaged_or_missing_is_named(run, refused):
    path = run / "generator.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    assert f"{path} is not the model that results.json lists" in refused("parzen")
    path.unlink()
    assert str(path) in refused("parzen")


def test_what_is_written_can_be_read_whatever_was_measured(tmp_path):
    path = tmp_path / "some.json"
    found = {"a": float("nan"), "b": [np.float32(0.5), -np.inf], "c": np.arange(2), "d": (1, "é")}
    results.write(path, found)
    assert results.read(path, dict) == {"a": None, "b": [0.5, None], "c": [0, 1], "d": [1, "é"]}
    with pytest.raises(ValueError, match="of type object can't be kept as JSON"):
        results.write(path, {"a": object()})


def test_numbers_come_back_bit_for_bit(tmp_path):
    rng = np.random.default_rng(0)
    values = [*rng.normal(size=50), 1e-300, 5e-324, -0.0, 1.7976931348623157e308, 1e16, 0.1 + 0.2]
    path = tmp_path / "numbers.json"
    results.write(path, {"values": [float(value) for value in values]})
    again = results.read(path, dict)["values"]
    assert np.array(again).tobytes() == np.array(values, float).tobytes()


def test_a_row_without_a_likelihood_is_never_the_best():
    rows = [Measured(1), results.decode(b'{"epoch": 2, "other": [1]}', Measured, "a row")]
    assert bench.folders.best_row(rows) is None
