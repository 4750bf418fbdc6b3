"""Output for people: in colour where a terminal shows it, and nowhere else."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, Literal

Style = Literal["bold", "red", "yellow"]
# Terminal codes. These few do not justify a library.
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
    """A text in a style, if the stream shows styles.

    Args:
        text: the text.
        styles: the styles.
        stream: where it goes; the standard output unless given.

    Returns:
        The text, with codes around it or unchanged.
    """
    if not styles or not coloured(sys.stdout if stream is None else stream):
        return text
    return f"\x1b[{';'.join(str(CODES[style]) for style in styles)}m{text}\x1b[0m"


@contextlib.contextmanager
def for_readers_who_leave() -> Iterator[None]:
    """A context for printing: a reader that stops early, such as `head`, is not an error.

    Output that is still buffered is dropped, so there is no error at exit either.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
