"""The benchmark command in a process that kills itself at a chosen file operation.

FAULTS_FOLDER names the run's folder, and FAULTS_AT the operation within it (counted from 1) at which
to die by SIGKILL. FAULTS_COUNT names a file that is given the number of operations in the end.
"""

import atexit
import os
import runpy
import signal
import sys
from pathlib import Path

WATCHED = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.utime"}
folder, at = os.environ["FAULTS_FOLDER"], int(os.environ.get("FAULTS_AT", "0"))
count = 0


def watch(event, arguments):
    global count
    if event not in WATCHED or not arguments:
        return
    path = arguments[0]
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    if isinstance(path, str | os.PathLike) and os.fspath(path).startswith(folder):
        count += 1
        if count == at:
            os.kill(os.getpid(), signal.SIGKILL)


sys.addaudithook(watch)
if "FAULTS_COUNT" in os.environ:
    atexit.register(lambda: Path(os.environ["FAULTS_COUNT"]).write_text(f"{count}"))
sys.argv[0] = "-m"  # as Python has it while it looks for the module: signals are noted early
sys.orig_argv.append("advnets.bench")
runpy.run_module("advnets.bench", run_name="__main__", alter_sys=True)
