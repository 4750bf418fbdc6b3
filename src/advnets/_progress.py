"""One progress bar at a time: redrawn in a terminal, a notebook widget, a few lines in a log."""

import contextlib
import functools
import sys
from typing import Any

from advnets import _terminal

# Seconds between redraws, seconds between lines of a log, and the most lines of a log.
REDRAWN, LOGGED, LINES = 0.5, 30, 20


class _Log:
    """A stream that is not a terminal: redraws of a bar become lines."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.encoding = getattr(stream, "encoding", None)

    def write(self, text: str) -> None:
        for line in text.split("\r"):
            if line.strip():
                self._stream.write(line.rstrip() + "\n")

    def flush(self) -> None:
        self._stream.flush()


@functools.cache
def _kind() -> Any:
    """tqdm's bar for this environment, extended to show slow rates."""
    from tqdm.auto import tqdm  # takes a while, and most calls show no progress

    class Bar(tqdm):  # type: ignore[misc]
        passed_over: tuple[int, float] | None = None

        def pass_over(self, units: int) -> None:
            """Excludes the units just done, and the time so far, from the rate."""
            self.passed_over = units, self.format_dict["elapsed"]

        @property
        def format_dict(self) -> dict[str, Any]:
            found = super().format_dict
            done, elapsed = found["n"] - found["initial"], found["elapsed"]
            missing = (found["total"] or found["n"]) - found["n"]
            recent = found["rate"]
            if self.passed_over is not None and (missing or done > self.passed_over[0]):
                units, seconds = self.passed_over
                done, elapsed, recent = done - units, elapsed - seconds, None
            if done <= 0 or elapsed <= 0:
                return {**found, "time": ""}
            per_second = recent or done / elapsed
            left = self.format_interval(missing / per_second if missing else found["elapsed"])
            words = "left" if missing else "in total"
            return {**found, "time": f" {left} {words}, {rate(per_second, found['unit'])}"}

    return Bar


def _place() -> tuple[bool, Any]:
    """Whether bars can be redrawn, and the stream that they go to."""
    notebook = any(base.__module__ == "tqdm.notebook" for base in _kind().__mro__)
    live = notebook or _terminal.is_terminal(sys.stderr)
    return live, sys.stderr if live else _Log(sys.stderr)


def bar(
    total: int, what: str, *, unit: str, done: int = 0, enabled: bool = True, stays: bool = False
) -> Any:
    """A progress bar with a rate and the time left, on the standard error stream.

    Args:
        total: how many units there are.
        what: what is being done.
        unit: the name of a unit, such as `"update"`.
        done: how many were done before.
        enabled: whether to show anything.
        stays: whether the bar is left on the screen when it is closed.

    Returns:
        tqdm's bar, a context manager.
    """
    live, stream = _place()
    drawn = "|{bar}|" if live else ""
    return _kind()(
        total=total,
        desc=what,
        unit=unit,
        initial=done,
        disable=not enabled,
        leave=stays,
        file=stream,
        mininterval=REDRAWN if live else LOGGED,
        maxinterval=10 if live else float("inf"),
        miniters=None if live else max(1, (total - done) // LINES),
        dynamic_ncols=live,
        colour="green" if live and _terminal.coloured(sys.stderr) else None,
        bar_format="{desc} {percentage:3.0f}%" + drawn + "{time}{postfix}",
    )


def stage(what: str, *, enabled: bool = True) -> Any:
    """Shows what is being done, without a measure of progress.

    Args:
        what: what is being done.
        enabled: whether to show anything.

    Returns:
        A context manager.
    """
    if not enabled:  # without the import of tqdm, which takes a while
        return contextlib.nullcontext()
    live, stream = _place()
    return _kind()(
        desc=f"{what} ...",
        bar_format="{desc}",
        leave=False,
        file=stream,
        dynamic_ncols=live,
    )


def say(sentence: str) -> None:
    """Prints a sentence on the standard error stream, above the bar if there is one."""
    if "tqdm" in sys.modules:
        sys.modules["tqdm"].tqdm.write(sentence, file=sys.stderr)
    else:
        print(sentence, file=sys.stderr)


def rate(per_second: float, unit: str = "update") -> str:
    """A rate as text, whose digits are never all 0.

    Args:
        per_second: units in a second, above 0.
        unit: the unit, in the singular.

    Returns:
        A string such as `"95 updates/s"`, `"1.4 s/update"` or `"2.5 min/update"`.
    """
    if per_second >= 9.95:
        return f"{per_second:,.0f} {unit}s/s"
    if per_second >= 0.95:
        return f"{per_second:.1f} {unit}s/s"
    seconds = 1 / per_second
    return f"{seconds:.1f} s/{unit}" if seconds < 60 else f"{seconds / 60:.1f} min/{unit}"
