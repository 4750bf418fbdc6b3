"""The error boundary of the command line: what stops work becomes a sentence and an exit code."""

import contextlib
import dataclasses
import enum
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import TextIO

from advnets import TrainingDiverged, _documents, _progress, _signals, _terminal
from advnets._extras import MissingExtraError


class ExitCode(enum.IntEnum):
    """The command's exit codes. After a signal it is 128 plus the signal's number, as in a shell.

    Attributes:
        DONE: everything asked for is done.
        DIVERGED: training diverged: a cost, a gradient or a parameter is not finite.
        REFUSED: a setting, a data set or a folder was refused; no work was begun.
        DAMAGED: a file is damaged, or can't be read or written; what was saved before is kept.
        MEMORY: there is not enough memory on the host or on a device.
        DIFFERENT: with `--verify-replay`: training did not repeat bit for bit.
        BUG: a bug in the library, shown with its traceback.
    """

    DONE = 0
    DIVERGED = 1
    REFUSED = 2
    DAMAGED = 3
    MEMORY = 4
    DIFFERENT = 5
    BUG = 70


class Refused(Exception):
    """A setting, a data set or a folder was refused before any work."""


@dataclasses.dataclass
class Again:
    """How to continue after an interruption; set once work has begun.

    Attributes:
        sentence: the instruction.
    """

    sentence: str = "the same command starts it again"


@contextlib.contextmanager
def before_work() -> Iterator[None]:
    """A context for what comes before work: errors in it are refusals, and nothing has changed.

    Meanwhile a terminal shows that something is being done, since reading MNIST takes seconds.

    Raises:
        Refused: for a ValueError, an OSError or a missing library, but not for a broken
            output pipe.
    """
    shown = _terminal.is_terminal(sys.stderr)
    try:
        with _progress.stage("reading data and settings", enabled=shown):
            yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Refused(_of_os(error)) from error
    except (ValueError, ModuleNotFoundError) as error:
        raise Refused(str(error)) from error


def guarded(work: Callable[[Again], int]) -> int:
    """Does work, and reports in a sentence what stopped it.

    Args:
        work: the work; its own exit code is kept. It gets an [`advnets.bench.failures.Again`][] in
            which to set how to continue after an interruption.

    Returns:
        The exit code, an [`advnets.bench.failures.ExitCode`][] or 128 plus a signal's number.
    """
    again = Again()
    with _signals.noted(), warnings.catch_warnings():
        warnings.showwarning = _warned
        return _sentence_of(work, again)


def _warned(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Prints a warning as a sentence, without the source line that it came from."""
    with contextlib.suppress(OSError):
        word = _terminal.styled("warning:", "yellow", stream=sys.stderr)
        _progress.say(f"{word} {_documents.printable(str(message))}")


def _sentence_of(work: Callable[[Again], int], again: Again) -> int:
    try:
        with _terminal.for_readers_who_leave():
            return work(again)
        return ExitCode.DONE  # the reader closed the pipe
    except (Refused, MissingExtraError) as error:
        return _report(ExitCode.REFUSED, str(error))
    except TrainingDiverged as error:
        return _report(ExitCode.DIVERGED, str(error))
    except OSError as error:
        return _report(ExitCode.DAMAGED, f"{_of_os(error)}; once that is fixed, {again.sentence}")
    except MemoryError as error:
        return _report(ExitCode.MEMORY, f"not enough memory ({error}); {SMALLER}")
    except SystemExit as ended:  # from the option parser, which has printed why
        return ended.code if isinstance(ended.code, int) else ExitCode.REFUSED
    except KeyboardInterrupt as stopped:
        return _stopped(stopped, again.sentence)
    except ValueError as error:
        return _report(ExitCode.DAMAGED, str(error))
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        if "RESOURCE_EXHAUSTED" in first or "Out of memory" in first:
            return _report(ExitCode.MEMORY, f"not enough memory ({first}); {SMALLER}")
        traceback.print_exc()
        return _report(ExitCode.BUG, f"{first}: a bug in advnets; please report it")


SMALLER = "use smaller players, a smaller batch size, or more devices"


def _report(code: ExitCode, sentence: str) -> int:
    with contextlib.suppress(OSError):  # the terminal may be gone
        word = _terminal.styled("error:", "red", "bold", stream=sys.stderr)
        print(f"{word} {_documents.printable(sentence)}", file=sys.stderr)
    return code


def _of_os(error: OSError) -> str:
    """The operating system's message about a file, without its error number."""
    if error.strerror is None:
        return str(error)
    # A relative path would not say in which folder permission is missing.
    if isinstance(error, PermissionError) and isinstance(error.filename, str):
        return f"{os.path.abspath(error.filename)}: {error.strerror}"
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror


def _stopped(stopped: KeyboardInterrupt, again: str) -> int:
    number = stopped.signal if isinstance(stopped, _signals.Stopped) else 2
    saved = getattr(stopped, "saved", "")
    what = f"stopped after {saved} (saved)" if saved else "stopped"
    with contextlib.suppress(OSError):
        print(f"{what}; {again}", file=sys.stderr)
    return 128 + number
