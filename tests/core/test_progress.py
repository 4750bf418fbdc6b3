"""What a person sees meanwhile: one bar that says how a game stands, few lines in a log."""

import io
import sys

import numpy as np
import pytest

from advnets import _progress, _terminal
from advnets.training.watch import Progress, _few


class Terminal(io.StringIO):
    """A stream that a person looks at."""

    def isatty(self):
        return True


KINDS = pytest.mark.parametrize("kind", [Terminal, io.StringIO], ids=["terminal", "log"])


def opened(kind, monkeypatch):
    """The standard error stream, of a kind."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stderr", kind())
    return sys.stderr


def trained(epochs=40, shown=("value",), **more):
    """A game of thirty updates an epoch, evaluated after the fourth epoch."""
    given = {"games": 1, "epochs": epochs, "rows": 300, "left_out": 0, "enabled": True} | more
    bar = Progress(30 * epochs, 0, {"V": "value", "D(x)": "real_output"}, **given)
    for epoch in range(1, epochs + 1):
        seen = {"discriminator": {name: np.full((1, 3), -1.386) for name in shown}}
        bar.advance(30, seen, np.array([True]))
        if epoch == 4:
            rows = [{"epoch": 3}, {"epoch": 4, "validation": {"mean": 19.34}}]
            bar.evaluated([rows, [{"epoch": 4, "validation": {"mean": 3.0}}]])
    bar.close()


@KINDS
def test_a_bar_says_what_is_done_and_how_the_game_stands(kind, monkeypatch):
    stream = opened(kind, monkeypatch)
    trained()
    output = stream.getvalue()
    assert output.lstrip("\r").startswith("compiling ...   0%")
    assert "epoch 1/40   2%" in output
    *_, last = output.strip().replace("\r", "\n").splitlines()
    assert last.startswith("epoch 40/40 100%")
    assert "updates/s, best 19.3 nats, V=-1.39" in last
    assert "D(x)" not in output  # which this game does not have


def test_time_left_is_shown_from_the_second_program_on(monkeypatch):
    """The first one's includes that of compiling."""
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    clock = [0.0]
    with _progress.bar(1000, "", unit="update") as bar:
        bar._time, bar.start_t = lambda: clock[0], 0.0
        clock[0] = 90.0
        bar.pass_over(100)
        bar.update(100)
        assert not bar.format_dict["time"]
        clock[0] = 91.0
        bar.update(100)
        assert bar.format_dict["time"] == " 00:08 left, 100 updates/s"
        clock[0] = 100.0
        bar.update(800)
        assert bar.format_dict["time"] == " 01:40 in total, 90 updates/s"


@KINDS
def test_a_log_has_few_lines_and_no_codes(kind, monkeypatch):
    stream = opened(kind, monkeypatch)
    trained()
    output = stream.getvalue()
    if isinstance(stream, Terminal):
        assert "\x1b[32m" in output
    else:
        assert len(output.splitlines()) < 5
        assert not set("\r\x1b") & set(output)


def test_many_short_steps_are_few_lines(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(_progress, "LOGGED", 0)
    with _progress.bar(10_000, "scoring", unit="block") as bar:
        for _ in range(10_000):
            bar.update()
    assert 15 < len(sys.stderr.getvalue().splitlines()) < 25


@KINDS
def test_no_bar_where_none_is_asked_for(kind, monkeypatch):
    stream = opened(kind, monkeypatch)
    trained(enabled=False)
    with _progress.bar(3, "scoring", unit="block", enabled=False) as bar:
        bar.update()
    with _progress.stage("drawing", enabled=False):
        pass
    assert not stream.getvalue()


@KINDS
def test_few_updates_and_rows_that_are_left_out_are_pointed_out(kind, monkeypatch):
    stream = opened(kind, monkeypatch)
    trained(epochs=1, rows=160, left_out=60)
    assert _few(999, 100, 0) == (
        "note: 999 updates in total, but most models need thousands (train for more epochs)"
    )
    assert _few(1, 100, 0).startswith("note: 1 update in total,")
    assert _few(1000, 160, 60) == (
        "note: 1,000 updates in total; 60 of 160 rows left out of each epoch (no full "
        "minibatch) (a smaller batch size uses more)"
    )
    assert "note: 30 updates in total, " in stream.getvalue()
    # Of ten games, each has as many.
    more = {"games": 10, "epochs": 40, "rows": 1285, "left_out": 85, "enabled": True}
    Progress(12_000, 0, {}, **more).close()
    assert stream.getvalue().count("note:") == 1


@pytest.mark.parametrize(
    ("per_second", "expected"),
    [
        (1234.5, "1,234 updates/s"),
        (9.96, "10 updates/s"),
        (1.26, "1.3 updates/s"),
        (0.5, "2.0 s/update"),
        (0.001, "16.7 min/update"),
    ],
)
def test_no_rate_is_zero(per_second, expected):
    assert _progress.rate(per_second) == expected


def test_colour_is_for_terminals_that_want_it(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert _terminal.styled("no", "red", "bold", stream=Terminal()) == "\x1b[31;1mno\x1b[0m"
    assert _terminal.styled("no", "red", stream=io.StringIO()) == "no"
    assert _terminal.styled("no", "red", stream=None) == "no"
    monkeypatch.setenv("TERM", "dumb")
    assert _terminal.styled("no", "red", stream=Terminal()) == "no"
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert _terminal.styled("no", "red", stream=Terminal()) == "no"
