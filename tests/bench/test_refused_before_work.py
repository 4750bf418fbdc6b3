"""What can't be done is refused before any work, and leaves nothing behind."""

import os

import pytest
from helpers.runs import SWEPT
from helpers.synthetic import encoded, pictures

from advnets.bench.cli import main
from advnets.bench.folders import check_writable

# The file itself could be made, but not the one beside it that is moved to its place.
LONG = "x" * 250


def refused(arguments, capsys):
    """The sentence that a command is refused with."""
    assert main([str(argument) for argument in arguments]) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    return sentence


def test_more_runs_than_can_have_folders(tmp_path, capsys):
    many = [*SWEPT, "--out", tmp_path / "runs", "--seeds", 2**31 - 1]
    assert "at most 10,000 runs can be trained at once; got 2147483647" in refused(many, capsys)
    many = [*SWEPT, "--out", tmp_path / "runs", "--seeds", 5001, "--learning-rates", 0.1, 0.2]
    assert "got 5001 seeds for each of 2 learning rates" in refused(many, capsys)
    assert not os.listdir(tmp_path)


def test_more_runs_than_fit_into_memory(tmp_path, capsys):
    many = [*SWEPT, "--out", tmp_path / "runs", "--seeds", 10_000]
    sentence = refused([*many, "--generator.hidden-sizes", 200_000], capsys)
    assert "the players of 10,000 runs need" in sentence
    assert "train fewer at once" in sentence
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("command", "rows", "message"),
    [
        (["digits", "--batch-size", "2", "--monitor"], 3, "at least 4 held-out rows"),
        (["mnist-inpainting", "--batch-size", "2"], 9, "from the 10 nearest training images"),
    ],
)
def test_too_few_images_for_what_is_measured(command, rows, message, tmp_path, capsys):
    for split in ("train", "validation", "test"):
        (tmp_path / split).mkdir()
        for row, image in enumerate(pictures(rows, shape=(8, 8))):
            (tmp_path / split / f"{row}.png").write_bytes(encoded(image))
    from_folder = ["--dataset", "imagefolder", "--data-dir", tmp_path]
    out = tmp_path / "run"
    assert message in refused([*command, *from_folder, "--out", out], capsys)
    assert not out.exists()


@pytest.mark.parametrize("samples", [2**31, 2**63, 10**30])
def test_more_samples_than_can_be_counted(samples, tmp_path, capsys):
    sentence = refused(["parzen", tmp_path, "--num-samples", samples], capsys)
    assert f"must be below 2**31; got {samples}" in sentence


def test_reference_rows_that_have_no_data(tmp_path, capsys):
    out = tmp_path / "new" / "rows.json"
    given = ["references", "--dataset", "no/such", "--data-dir", tmp_path, "--out", out]
    assert "there is no folder" in refused(given, capsys)
    assert not os.listdir(tmp_path)


def test_results_that_can_not_be_written(tmp_path, capsys):
    out = tmp_path / "new" / LONG
    given = ["references", "--dataset", "digits", "--out", out]
    assert "File name too long" in refused(given, capsys)
    assert "File name too long" in refused(["table1", "--out", f"{out}{LONG}"], capsys)
    assert not os.listdir(tmp_path)


def test_a_file_that_can_be_written_is_not_made_yet(tmp_path):
    check_writable(tmp_path / "new" / "file")
    assert os.listdir(tmp_path / "new") == []
