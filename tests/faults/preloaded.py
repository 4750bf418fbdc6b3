"""The benchmark command in a process that kills itself at a chosen file operation, or goes on."""

import ctypes
import os
import signal
import sys
import traceback
from pathlib import Path

import jax
import matplotlib.pyplot
import scipy.stats
import sklearn.datasets

from advnets.bench.cli import main

# Imported here, once for all.
_ = matplotlib.pyplot, scipy.stats, sklearn.datasets
# The code of an error that left `main`; and of Linux's capabilities: their version, and the one by
# which root writes where nobody may.
UNCAUGHT = 1000
CAPABILITIES, OVERRIDE = 0x20080522, 1 << 1
WATCHED = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.utime"}


def command(arguments, folder, log, *, at=0, count=None):
    """Runs the command in this process, which ends with its exit code.

    Args:
        arguments: its arguments.
        folder: the run's folder.
        log: where its standard error goes.
        at: the file operation within the folder, from 1 on, at which to die by SIGKILL.
        count: a file that is given the number of operations in the end.
    """
    opened = os.open(log, os.O_WRONLY | os.O_TRUNC)
    os.dup2(opened, 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    done = 0

    def watch(event, given):
        nonlocal done
        if event not in WATCHED or not given:
            return
        path = os.fsdecode(given[0]) if isinstance(given[0], bytes) else given[0]
        if isinstance(path, str | os.PathLike) and os.fspath(path).startswith(folder):
            done += 1
            if done == at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    code = main(arguments)
    if count is not None:
        Path(count).write_text(f"{done}")
    sys.exit(code)


def override(allowed):
    """Whether root may write into folders that are read-only, in this process."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, held = (ctypes.c_uint32 * 2)(CAPABILITIES, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, held) == 0
    held[0] = held[0] | OVERRIDE if allowed else held[0] & ~OVERRIDE
    assert libc.capset(header, held) == 0, os.strerror(ctypes.get_errno())


def serve(connection):
    """Runs one command after another in this process; each comes with where its output goes."""
    while True:
        try:
            order = connection.recv()
        except EOFError:
            return
        # Each may need a new program. Those of `stabilisers` run for longer than they compile.
        quick_to_compile = order["arguments"][:1] != ["stabilisers"]
        jax.config.update("jax_disable_most_optimizations", quick_to_compile)
        os.chdir(order["folder"])
        os.environ.update(order["environment"])
        for number in (1, 2):
            opened = os.open(order["logs"][number], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(opened, number)
            os.close(opened)
        if order["unprivileged"]:
            override(False)
        try:
            code = main(order["arguments"])
        except SystemExit as stopped:  # of the parser
            code = 0 if stopped.code is None else stopped.code
        except BaseException:
            traceback.print_exc()
            code = UNCAUGHT
        sys.stdout.flush()
        if order["unprivileged"]:
            override(True)
        os.chdir("/")
        connection.send(code)
