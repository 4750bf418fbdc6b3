"""Processes that take one command after another, and are watched: their time, their memory."""

import contextlib
import os
import queue
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from faults import preloaded
from faults.subjects import Ended, forks

# Seconds of a processor's time, as other work may keep it busy; and until one that sleeps hangs.
SECONDS, ASLEEP, BYTES = 300, 1200, 4 * 2**30
TICKS = os.sysconf("SC_CLK_TCK")
# After these many commands a process has gathered so many programs that it is replaced.
LIFE = 60
idle = queue.LifoQueue()


class Killed(Exception):
    """A command took too long, or too much memory."""


class Worker:
    """A process that runs the benchmark command, again and again."""

    def __init__(self):
        self.connection, theirs = forks.Pipe()
        self.process = forks.Process(target=preloaded.serve, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()
        self.left = LIFE

    def run(self, order):
        """The exit code of a command."""
        self.left -= 1
        self.connection.send(order)
        watch(self.process.pid, self.connection.poll)
        try:
            return self.connection.recv()
        except EOFError:  # it has crashed
            self.process.join()
            self.left = 0
            return self.process.exitcode


def watch(pid, ended):
    """Waits for the end of a command, which `ended(seconds)` waits for; kills it at its limits."""
    began, worked = time.monotonic(), busy(pid)
    while not ended(0.05):
        late = busy(pid) - worked > SECONDS or time.monotonic() - began > ASLEEP
        if late or memory(pid) > BYTES:
            raise Killed("hang" if late else "too much memory")


def busy(pid):
    """The seconds that a process has worked."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS
    return 0


def memory(pid):
    """The bytes of a process."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def run(arguments, folder, environment, *, unprivileged=False):
    """Runs a command in a folder, in a process that has run others.

    Args:
        arguments: the command's.
        folder: where it is run.
        environment: variables to set before it.
        unprivileged: whether it may write nothing, where the user is root.

    Returns:
        How it ended, and what it printed.

    Raises:
        Killed: if it took too long or too much memory.
    """
    try:
        worker = idle.get_nowait()
    except queue.Empty:
        worker = Worker()
    with tempfile.TemporaryDirectory() as logs:
        order = {
            "arguments": arguments,
            "folder": str(folder),
            "environment": environment,
            "logs": {1: f"{logs}/out", 2: f"{logs}/err"},
            "unprivileged": unprivileged and os.geteuid() == 0,
        }
        try:
            code = worker.run(order)
        except Killed:
            worker.process.kill()
            raise
        texts = [Path(log).read_text(errors="replace") for log in order["logs"].values()]
    if worker.left > 0:
        idle.put(worker)
    else:
        worker.process.kill()
    return Ended(code, texts[1]), texts[0]


def run_afresh(arguments, folder, environment, *, stdout="kept"):
    """Runs a command as a user does, its output kept, or to a reader or a disk that takes none.

    Args:
        arguments: the command's.
        folder: where it is run.
        environment: variables to set before it.
        stdout: `"kept"`, `"closed"`, `"no reader"` or `"full"`.

    Returns:
        How it ended, and what it printed.

    Raises:
        Killed: if it took too long or too much memory.
    """
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as files:
        out, err = Path(name) / "out", Path(name) / "err"
        if stdout == "no reader":
            reader, writer = os.pipe()
            os.close(reader)
            opened = files.enter_context(os.fdopen(writer, "wb"))
        else:
            opened = files.enter_context(open("/dev/full" if stdout == "full" else out, "wb"))
        closing = ["sh", "-c", 'exec "$@" >&-', "sh"] if stdout == "closed" else []
        process = subprocess.Popen(
            [*closing, sys.executable, "-m", "advnets.bench", *arguments],
            cwd=folder,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=opened,
            stderr=files.enter_context(err.open("wb")),
        )

        def ended(seconds):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
            return process.returncode is not None

        try:
            watch(process.pid, ended)
        except Killed:
            process.kill()
            process.wait()
            raise
        printed = out.read_text(errors="replace") if out.exists() else ""
        return Ended(process.returncode, err.read_text(errors="replace")), printed
