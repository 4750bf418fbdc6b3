"""One process at a time in a folder.

The system releases a lock when its process ends, however it ends. Where several hosts share a
folder whose file system keeps locks local to each host, a note in the folder says which process
works in it; its modification time is renewed while that process lives, so an old note means that
the process is dead.
"""

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import filelock

from advnets import _documents, _files

LOCK, NOTE = ".running.lock", ".running.json"
# Seconds between two signs of life, and seconds without one until a process counts as dead.
RENEWED, DEAD = 20, 120

_held: set[tuple[Path, int]] = set()


class RunInUseError(OSError):
    """Another process, or another thread, is at work in a run's folder."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other processes out of a folder, which must exist.

    Args:
        folder: the folder. A thread that holds it may lock it again.

    Raises:
        RunInUseError: if another process or thread holds it.
    """
    place = folder.resolve(), threading.get_ident()
    if place in _held:
        yield
        return
    lock = filelock.FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise _in_use(folder, _owner(folder)) from None
    except NotImplementedError:  # a file system without locks: the note alone must do
        pass
    ended = threading.Event()
    try:
        owner = _owner(folder)
        if owner is not None and _may_live(folder, owner):
            raise _in_use(folder, owner)
        note = {"host": socket.gethostname(), "process": os.getpid(), "began": _now()}
        _files.replace(folder / NOTE, (json.dumps(note) + "\n").encode())
        thread = threading.Thread(target=_renew, args=(folder / NOTE, ended), daemon=True)
        thread.start()
        _held.add(place)
        try:
            yield
        finally:
            _held.discard(place)
            ended.set()
            thread.join()
            (folder / NOTE).unlink(missing_ok=True)
    finally:
        lock.release()


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _renew(note: Path, ended: threading.Event) -> None:
    while not ended.wait(RENEWED):
        with contextlib.suppress(OSError):
            os.utime(note)


def _owner(folder: Path) -> dict[str, str | int] | None:
    """The process that works in the folder, or did until it was killed; None without a note."""
    try:
        content = _documents.read_bytes(folder / NOTE)
        return _documents.decode(content, dict[str, str | int], folder / NOTE)
    except ValueError:
        return None


def _may_live(folder: Path, owner: dict[str, str | int]) -> bool:
    """Whether the process of a note may be running although the lock is free."""
    if owner.get("host") == socket.gethostname():
        return False  # this host would still hold its lock
    with contextlib.suppress(OSError):
        return time.time() - (folder / NOTE).stat().st_mtime < DEAD
    return False


def _in_use(folder: Path, owner: dict[str, str | int] | None) -> RunInUseError:
    who = "another process"
    if owner is not None:
        who = _documents.printable(
            f"process {owner.get('process')} on {owner.get('host')}, since {owner.get('began')}"
        )
    return RunInUseError(
        f"{folder} is in use by {who}; wait until it has ended, or choose another folder"
    )
