"""What is written for people: in colour where a terminal shows it, and nowhere else."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, Literal

Style = Literal["bold", "red", "yellow"]
# Codes of terminals. So few are not worth a library.
CODES: dict[Style, int] = {"bold": 1, "red": 31, "yellow": 33}


def is_terminal(stream: Any) -> bool:
    """Whether a person may see what is written to a stream as it is written."""
    with contextlib.suppress(AttributeError, ValueError):  # none, or a closed one
        return bool(stream.isatty())
    return False


def coloured(stream: Any) -> bool:
    """Whether a stream shows colours: a terminal, unless NO_COLOR or TERM says otherwise."""
    unwanted = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return is_terminal(stream) and not unwanted


def styled(text: str, *styles: Style, stream: Any = None) -> str:
    """A text in a style, where the stream shows it.

    Args:
        text: the text.
        styles: how it is to look.
        stream: where it goes; the standard output unless given.

    Returns:
        The text, with codes around it or as it is.
    """
    if not styles or not coloured(sys.stdout if stream is None else stream):
        return text
    return f"\x1b[{';'.join(str(CODES[style]) for style in styles)}m{text}\x1b[0m"


@contextlib.contextmanager
def for_readers_who_leave() -> Iterator[None]:
    """Around what prints: a reader that has seen enough, such as `head`, is no failure.

    What Python still has for it goes nowhere, so that nothing is said of it at exit either.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
