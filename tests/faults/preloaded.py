"""The benchmark command in a process that kills itself at a chosen file operation, or goes on."""

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
# Whom the system lets read little and write nothing; and the code of an error that left `main`.
NOBODY, UNCAUGHT = 65534, 1000
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


def serve(connection):
    """Runs one command after another in this process; each comes with where its output goes."""
    jax.config.update("jax_disable_most_optimizations", True)  # each may need a new program
    while True:
        try:
            order = connection.recv()
        except EOFError:
            return
        os.chdir(order["folder"])
        os.environ.update(order["environment"])
        for number in (1, 2):
            opened = os.open(order["logs"][number], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(opened, number)
            os.close(opened)
        if order["unprivileged"]:
            os.seteuid(NOBODY)
        try:
            code = main(order["arguments"])
        except SystemExit as stopped:  # of the parser
            code = 0 if stopped.code is None else stopped.code
        except BaseException:
            traceback.print_exc()
            code = UNCAUGHT
        sys.stdout.flush()
        if order["unprivileged"]:
            os.seteuid(0)
        os.chdir("/")
        connection.send(code)
