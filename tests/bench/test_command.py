"""The command line: what it lists, what it refuses before any work, how it ends."""

import dataclasses
import signal
import subprocess
import sys

import pytest

from advnets import _options, bench
from advnets.bench import commands, inference, stabilisers, table2
from advnets.bench.cli import main


def test_without_arguments_it_lists_what_there_is(capsys):
    assert main([]) == 0
    text = capsys.readouterr().out
    for benchmark in bench.BENCHMARKS.values():
        assert benchmark.command == f"python -m advnets.bench {benchmark.name}"
        for part in (benchmark.name, benchmark.needs, benchmark.cost, benchmark.expected):
            assert part in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nosuch"], "unknown benchmark 'nosuch'; choose one of digits, mnist, tfd, cifar10"),
        (["cifar10-con"], "did you mean cifar10-conv?"),
        (["digits", "--nosuch", "3"], "--nosuch"),
        (["digits", "--order", "both"], "both"),
        (["digits", "--order", "simultaneous", "--k", "2"], "simultaneous order has k = 1; got 2"),
        (["digits", "--seed", "-1"], "seed must be at least 0"),
        (["digits", "--batch-size", "5000"], "1285 training rows, too few"),
        (["digits", "--resume"], "no run to resume in"),
        (["digits", "--first-stage", "x"], "digits has one stage; leave out --first-stage x"),
        (["digits", "--generator.output", "linear"], "a linear generator can't make unit images"),
        (["digits", "--preprocessing", "gcn"], "a sigmoid generator can't make gcn images"),
        (["digits", "--dataset", "nosuch"], "unknown data set 'nosuch'"),
        (["digits", "--dataset", "imagefolder"], "imagefolder"),
        (["digits", "--image-size", "16"], "leave out --image-size"),
        (["mnist", "--data-dir", "/nonexistent"], "there is no folder"),
        (["tfd", "--data-dir", "/nonexistent"], "not public"),
        (["table1", "--runs", "nosuch"], "nosuch holds no results.json"),
        (["speed"], "call this in the root of a clone"),
        # Of many runs at once.
        (["digits", "--seeds", "0"], "the number of seeds must be at least 1; got 0"),
        (["digits", "--seeds", "2", "--seed", "4294967295"], "below 2**32; got 4294967295 to"),
        (["tfd", "--seeds", "2", "--data-dir", "/nonexistent"], "tfd: the recipe has two stages"),
        (["digits", "--seeds", "2", "--first-stage", "x"], "leave out --first-stage x"),
        (["digits", "--seeds", "2", "--shard-layers"], "leave out --shard-layers"),
        (["digits", "--seeds", "2", "--resume"], "no run to resume in"),
        (
            ["digits", "--learning-rates", "0.1", "0.1"],
            "each learning rate must be given once; got [0.1",
        ),
        (["digits", "--learning-rates", "0.1", "0"], "must be above 0 and finite; got 0.0"),
        (
            ["digits", "--learning-rates", "0.1", "--learning-rate", "0.2"],
            "leave out --learning-rate 0.2",
        ),
        (
            ["digits", "--learning-rates", "0.1", "--devices", "2"],
            "number of seeds times learning rates must be a multiple of the 2 devices; got 1",
        ),
    ],
)
def test_bad_input_is_refused_in_a_sentence_before_any_work(
    arguments, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ADVNETS_DATA", raising=False)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    (sentence,) = captured.err.splitlines()
    assert message in sentence
    assert not list(tmp_path.iterdir())


@pytest.mark.long
def test_without_standard_streams_nothing_is_printed_into_files(tmp_path):
    """As `>&- 2>&-` starts it: what is opened next would take their numbers."""
    code = """
import os, sys
from advnets.bench.cli import main
assert sys.stdout is None and sys.stderr is None
assert main(["check", sys.argv[1]]) == 2
try:
    main(["check", "--help"])
except SystemExit as stopped:
    assert not stopped.code
assert os.open(sys.argv[1], os.O_RDONLY) > 2
"""
    closing = ["sh", "-c", 'exec "$@" >&- 2>&-', "sh"]
    assert subprocess.run([*closing, sys.executable, "-c", code, tmp_path]).returncode == 0


def test_rates_for_a_system_without_one_are_refused(pixels, tmp_path, monkeypatch, capsys):
    images = dataclasses.replace(
        pixels, recipe=bench.Settings("digits"), system=bench.systems.TrainingImages
    )
    monkeypatch.setitem(bench.BENCHMARKS, "pixels", images)
    out = ["--out", str(tmp_path / "run")]
    assert main(["pixels", "--learning-rates", "0.1", *out]) == 2
    assert "pixels has no learning rate; leave out --learning-rates" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_interrupt_says_how_to_continue(pixels, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pixels.system, "fit", lambda *_, **__: signal.raise_signal(signal.SIGINT))
    folder = tmp_path / "stopped"
    assert main(["pixels", "--out", str(folder)]) == 130
    stderr = capsys.readouterr().err
    assert f"pixels --out {folder} --resume continues it" in stderr


@pytest.mark.usefixtures("pixels")
def test_divergence_is_said_in_a_sentence(tmp_path, capsys):
    arguments = ["pixels", "--diverging-seed", "0", "--out", str(tmp_path / "run")]
    assert main(arguments) == 1
    assert "error: training diverged" in capsys.readouterr().err


def test_tensorboard_needs_its_extra_before_work(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    assert main(["digits", "--tensorboard", "--out", str(tmp_path / "run")]) == 2
    assert "pip install 'advnets[tensorboard]'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "name", "full", "quick"),
    [
        (commands.InferenceOptions, "steps", inference.FULL.steps, inference.QUICK.steps),
        (commands.StabilisersOptions, "seeds", stabilisers.FULL.seeds, stabilisers.QUICK.seeds),
        (commands.Table2Options, "num-samples", table2.FULL.samples, table2.QUICK.samples),
    ],
)
def test_help_says_what_the_presets_choose(options, name, full, quick):
    (option,) = (one for one in _options.options(options) if one.name == f"--{name}")
    assert f"by default {full:,}, or {quick:,} with quick" in option.text
