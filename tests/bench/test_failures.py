"""The boundary of the command line: each kind of failure is a sentence and an exit code."""

import errno
import io
import os
import signal
import sys

import jax
import pytest

import advnets
from advnets import _signals
from advnets.bench.failures import Again, ExitCode, before_work, guarded


def out_of_memory():
    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 80 bytes\nmore")


CASES = {
    "a setting": (lambda: raised(ValueError("k must be 1; got 2"), early=True), 2, "k must be 1"),
    "no folder": (
        lambda: raised(FileNotFoundError(errno.ENOENT, "No such file", "runs/x"), early=True),
        2,
        "runs/x: No such file",
    ),
    "no permission": (
        lambda: raised(PermissionError(errno.EACCES, "Permission denied", "runs"), early=True),
        2,
        f"{os.path.abspath('runs')}: Permission denied",
    ),
    "divergence": (lambda: raised(advnets.TrainingDiverged("training diverged")), 1, "diverged"),
    "a checkpoint": (lambda: raised(advnets.CheckpointError("none is whole")), 3, "none is whole"),
    "damage": (lambda: raised(ValueError("results.json is damaged")), 3, "is damaged"),
    "a full disk": (
        lambda: raised(OSError(errno.ENOSPC, "No space left on device", "run/x")),
        3,
        "run/x: No space left on device; once that is fixed, GO ON",
    ),
    "memory": (lambda: raised(MemoryError("80 GiB")), 4, "not enough memory (80 GiB)"),
    "a device's memory": (out_of_memory, 4, "Out of memory allocating 80 bytes"),
    "Ctrl-C": (lambda: raised(_signals.Stopped(signal.SIGINT, "3 epochs")), 130, "after 3 epochs"),
    "SIGTERM": (lambda: raised(_signals.Stopped(signal.SIGTERM)), 143, "stopped; GO ON"),
    "SIGHUP": (lambda: raised(_signals.Stopped(signal.SIGHUP)), 129, "stopped; GO ON"),
}


def raised(error, early=False):
    if not early:
        raise error
    with before_work():
        raise error


@pytest.mark.parametrize("name", CASES)
def test_each_is_a_sentence_and_a_code(name, capsys):
    failing, code, message = CASES[name]

    def work(again):
        again.sentence = "GO ON"
        return failing()

    assert guarded(work) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_a_fault_of_ours_shows_its_traceback(capsys):
    assert guarded(lambda _: 1 // 0) == ExitCode.BUG
    stderr = capsys.readouterr().err
    assert "ZeroDivisionError" in stderr
    assert "a bug in advnets; please report it" in stderr


def test_control_characters_do_not_reach_the_terminal(capsys):
    assert guarded(lambda _: raised(ValueError("bad\x1b[2Jname\r"), early=True)) == 2
    assert capsys.readouterr().err == "error: bad\\x1b[2Jname\\r\n"


@pytest.mark.parametrize("terminal", [False, True])
def test_a_terminal_shows_that_data_are_read_and_a_log_is_not_told(terminal, monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    stream.isatty = lambda: terminal
    with before_work():
        assert ("reading data and settings" in stream.getvalue()) == terminal
    assert stream.getvalue().rpartition("\r")[2].strip() == ""  # wiped off again


@pytest.mark.parametrize("early", [False, True])
def test_a_reader_that_has_seen_enough_is_no_failure(early, capfd):
    assert guarded(lambda _: raised(BrokenPipeError(), early=early)) == 0
    assert Again().sentence
