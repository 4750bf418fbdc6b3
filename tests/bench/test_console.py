"""What a person meets at the command line: help, slips, names, and reports."""

import dataclasses
import io
import os
import sys
from types import SimpleNamespace

import pytest
from helpers.runs import SMALL, result_of

from advnets import bench
from advnets._options import nearest, options
from advnets.bench import report
from advnets.bench.catalogue import BENCHMARKS
from advnets.bench.cli import COMMANDS, Options, _announced, main
from advnets.bench.folders import called, choose
from advnets.verify.__main__ import main as verify


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def stdout_of(arguments, capsys, command=main):
    assert command(arguments) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", ["digits", "cifar10-conv", "parzen", "check"])
def test_help_is_short_and_begins_with_an_example(name, capsys):
    page = stdout_of([name, "--help"], capsys)
    assert page.startswith(f"Example: python -m advnets.bench {name}")
    assert len(page.splitlines()) < 50
    for text in ("(default: )", "None", "VALUE"):
        assert text not in page
    assert stdout_of([name, "-h"], capsys) == page


def test_help_has_what_most_people_need_in_groups(capsys):
    page = stdout_of(["digits", "--help", "--preset", "quick"], capsys)
    for title in ("Data", "Training", "The run", "Scores"):
        assert f"\n{title}\n" in page
    assert f"(default: {bench.BENCHMARKS['digits'].quick.epochs})" in page
    assert "--generator" not in page
    assert "more options: python -m advnets.bench digits --help-all" in page


def test_all_options_are_explained(capsys):
    page = stdout_of(["cifar10-conv", "--help-all"], capsys)
    defaults = Options(bench.BENCHMARKS["cifar10-conv"].recipe)
    known = list(options(Options, defaults))
    assert len(known) > 60
    for option in known:
        assert f"  {option.given}" in page
        assert option.text, option.name


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        *(("--lr", "--learning-rate"), ("--bs", "--batch-size"), ("--epoch", "--epochs")),
        *(("--learning_rat", "--learning-rate"), ("--hidden-sizes", "--generator.hidden-sizes")),
        *(("--num-epochs", "--epochs"), ("-seed", "--seed"), ("--zzz", None)),
    ],
)
def test_a_slip_is_answered(given, meant, capsys):
    known = list(options(Options, Options(bench.BENCHMARKS["digits"].recipe)))
    assert nearest(given, [option.name for option in known]) == meant
    assert main(["digits", given, "1"]) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    wanted = f"did you mean {meant}?" if meant else "--help-all lists them"
    assert sentence == f"error: there is no option {given}; {wanted}" or meant is None
    assert wanted in sentence


def test_a_value_that_is_not_taken_comes_with_the_options_text(capsys):
    assert main(["digits", "--seed", "x"]) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert "--seed" in sentence
    assert sentence.endswith("(--seed INT: Seed of everything random.)")


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--epochs", "x"], "error: --epochs takes a whole number; got 'x' (--epochs INT: "),
        (["--devices", "x"], "error: --devices takes a whole number; got 'x' (--devices INT: "),
        (["--learning-rate", "x"], "error: --learning-rate takes a number; got 'x' ("),
        (["--learning-rates", "x"], "error: --learning-rates takes numbers; got 'x' ("),
        (["--epochs"], "error: --epochs needs a value ("),
        (["--preset", "turbo"], "error: --preset takes one of full, quick; got 'turbo' ("),
        (["--learning-rates"], "error: --learning-rates needs at least one value, or leave it out"),
        (["--accept-changes"], "error: --accept-changes goes with --resume; add it, or leave it"),
        (["--num-samples", f"{2**40}"], "error: --num-samples must fit in int32"),
    ],
)
def test_a_wrong_value_is_answered_in_plain_words(given, message, encoding, monkeypatch, capsys):
    """Whatever the characters that the output can show."""
    stdout = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stdout)
    assert main(["digits", *given]) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence.startswith(message)
    assert "---" not in sentence


def test_a_report_of_one_run_has_its_place(finished, capsys):
    assert main(["report", str(finished), "--out", "page.html"]) == 2
    assert "folder's report.html; leave out --out page.html" in capsys.readouterr().err


def test_the_claims_command_is_like_it(capsys):
    page = stdout_of(["--help"], capsys, verify)
    assert page.startswith("Example: python -m advnets.verify --only thm1-range")
    assert "(default: )" not in page
    assert stdout_of(["--version"], capsys, verify) == stdout_of(["--version"], capsys)
    assert verify(["--ful"]) == 2
    assert "did you mean --full?" in capsys.readouterr().err


def test_list_and_version(capsys):
    assert stdout_of(["--list"], capsys) == stdout_of([], capsys)
    version = stdout_of(["--version"], capsys)
    assert all(part in version for part in ("advnets ", "jax ", "cpu"))


@pytest.mark.parametrize(
    ("command", "arguments"),
    [(main, ["--list"]), (main, ["digits", "--help-all"]), (verify, ["--list"])],
)
def test_a_reader_may_leave(command, arguments, monkeypatch):
    """As `| head -1` does: nothing is said of it, at exit neither."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert command(arguments) == 0
        stream.flush()
        monkeypatch.undo()


def test_a_run_is_called_after_its_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert called("mnist", "mnist", "mnist", None) == "mnist"
    name = called("mnist", "mnist", "imagefolder", "photos/my flowers/")
    assert name == "my flowers (mnist recipe)"
    assert str(choose(name, None, False)) == "runs/my-flowers-mnist-recipe"
    assert called("digits", "digits", "someone/cats", None) == "someone/cats (digits recipe)"


def test_the_quick_preset_compares_with_nothing(finished):
    result = result_of(finished)
    quick, full = (report.of(result, finished, quick=quick) for quick in (True, False))
    assert "not comparable with any published one" in quick
    assert "not comparable with" not in full


def test_a_run_says_where_to_look(tmp_path, capsys):
    folder = tmp_path / "run"
    assert main([*SMALL, "--preset", "quick", "--out", str(folder)]) == 0
    printed = capsys.readouterr()
    every = result_of(folder).recipe["evaluate_every"]
    assert f"samples.png there is redrawn every {every} epochs" in printed.err
    assert "48 updates in total, but most" in printed.err
    assert "This was the quick preset" in printed.out
    assert len(printed.err.splitlines()) < 15
    assert set(COMMANDS) > {"check", "parzen"}


@pytest.mark.parametrize(
    ("rule", "called", "rows", "noted"),
    [
        ("momentum", "cats (mnist recipe)", 300, True),
        ("adam", "cats (mnist recipe)", 300, False),
        ("momentum", "mnist", 300, False),
        ("momentum", "cats (mnist recipe)", 10_000, False),
    ],
)
def test_released_recipes_on_few_images_are_pointed_out(rule, called, rows, noted):
    settings = dataclasses.replace(BENCHMARKS["mnist"].recipe, update_rule=rule)
    run = SimpleNamespace(
        system=SimpleNamespace(settings=settings),
        data=SimpleNamespace(train=range(rows)),
        name="mnist",
        called=called,
    )
    grid = object.__new__(bench.experiment.Grid)
    vars(grid).update(runs=[run], folder="run", together=False)
    message = _announced(grid)
    assert ("note: networks and rates of mnist are for tens of thousands" in message) == noted


def test_a_user_s_own_words_are_not_taken_for_settings(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "image_size").write_text("")
    assert main(["digits", "--out", "image_size"]) == 2
    assert "--image-size" not in capsys.readouterr().err
