"""Signals that ask a process to stop: noted when they arrive, obeyed where nothing is lost.

Python would raise an exception wherever it happens to be, even in the middle of a compilation,
where that can crash the process. Here a handler only notes the signal, and the work checks for it
between two steps. A second signal stops the process at once.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

# Those that ask a process to stop: Ctrl-C; schedulers and containers; a terminal that is closed.
STOPPING = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
_received: int | None = None
_heeded = False


class Stopped(KeyboardInterrupt):
    """Work was stopped by a signal, at a point where nothing is lost.

    Attributes:
        signal: the signal's number.
        saved: where to resume from, if that is known.
    """

    def __init__(self, number: int, saved: str = "") -> None:
        global _heeded
        _heeded = True
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.signal = number
        self.saved = saved


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # the terminal may be gone
        os.write(2, text.encode())


def _note(number: int, _: FrameType | None) -> None:
    global _received
    if _received is not None:
        _say("\nstopped at once; the newest checkpoint is kept\n")
        os._exit(128 + number)
    _received = number
    _say("\nstopping at the next point where nothing is lost; repeat the signal to stop at once\n")


def install() -> None:
    """Notes signals from now on, for the whole process."""
    for number in STOPPING:
        # `nohup` makes the process ignore one of them, which is kept.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _note)


def ignore() -> None:
    """Ignores signals from now on: all work is done, and the process is ending."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def noted() -> Iterator[None]:
    """Notes signals within the context, if their handlers are the usual ones.

    A signal that has come has its usual effect at the end, unless `Stopped` was already raised.
    """
    global _received, _heeded
    usual = {signal.SIG_DFL, signal.default_int_handler}
    ours = [
        number
        for number in STOPPING
        if threading.current_thread() is threading.main_thread()
        and signal.getsignal(number) in usual
    ]
    before = {number: signal.signal(number, _note) for number in ours}
    came, heeded = None, False
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if before:
            came, heeded = _received, _heeded
            _received, _heeded = None, False
            if came is not None and before.get(came) is signal.SIG_DFL:
                signal.raise_signal(came)
    if came is not None and not heeded:
        raise KeyboardInterrupt


def received() -> int | None:
    """The signal that asks to stop, if one has come."""
    return _received


def check() -> None:
    """Raises `Stopped` if a signal has come; to be called where nothing would be lost."""
    if _received is not None:
        raise Stopped(_received)
