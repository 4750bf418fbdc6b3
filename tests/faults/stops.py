"""Signals at random moments, from the first import on; two processes in one folder; a full disk."""

import contextlib
import functools
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from advnets.training.checkpoints import CHECKPOINTS, numbers
from faults.kills import reference
from faults.subjects import Ended, numbers_of, resumed, run

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def start(arguments):
    """Starts the command as a user does."""
    return subprocess.Popen(
        [sys.executable, "-m", "advnets.bench", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )


def catches(pid, number):
    """Whether a process has a handler for a signal."""
    with contextlib.suppress(OSError):
        caught = re.search(r"^SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text(), re.M)
        return caught is not None and bool(int(caught[1], 16) >> (number - 1) & 1)
    return True  # it has ended


@functools.cache
def whole_seconds(place):
    """How long an uninterrupted run takes from its start, imports included."""
    began = time.monotonic()
    process = start(place.command("one run", place.new()))
    process.communicate(timeout=600)
    assert process.returncode == 0
    return time.monotonic() - began


def signalled(place, seed):
    """A run that a signal stops; what it said, and that it resumes to the same bits."""
    draw = random.Random(seed)
    subject = "one run"
    expected, *_ = reference(place, subject)
    folder, number = place.new(), draw.choice(SIGNALS)
    moment = draw.uniform(0, whole_seconds(place))
    process = start(place.command(subject, folder))
    while process.poll() is None and not catches(process.pid, signal.SIGTERM):
        time.sleep(0.001)  # until the package's first lines: before, no program of ours runs
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(moment)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=600)
    done = Ended(process.returncode, stderr)
    found = {"signal": number.name, "moment": round(moment, 2), "code": done.code}
    if done.code != 0:
        last = [line for line in re.split(r"[\r\n]", stderr) if line.strip()][-1:]
        found |= {"said": last}
        if done.code != 128 + number or done.traceback or not last[0].startswith("stopped"):
            return found | {"outcome": "not stopped well", "said": stderr[-2000:]}
        trained = "updates/s" in stderr
        if trained and not numbers(folder / CHECKPOINTS):
            return found | {"outcome": "nothing saved", "said": stderr[-2000:]}
        again = resumed(place, subject, folder)
        if again.code != 0 or again.traceback:
            return found | {"outcome": "not resumed", "said": again.stderr[-2000:]}
    same = numbers_of(folder) == expected
    shutil.rmtree(folder.parent)
    outcome = "same" if done.code else "the run was done before"
    return found | {"outcome": outcome if same else "other numbers"}


def paired(place, seed):
    """Two processes that start in one folder within two seconds."""
    draw = random.Random(seed)
    expected, *_ = reference(place, "one run")
    folder, gap = place.new(), draw.uniform(0, 2)
    arguments = place.command("one run", folder)
    first = start(arguments)
    time.sleep(gap)
    second = start(arguments)
    both = [Ended(p.wait(600), p.stderr.read()) for p in (first, second)]
    found = {"gap": round(gap, 2), "codes": [one.code for one in both]}
    refused = [one for one in both if one.code == 2]
    if sorted(one.code for one in both) != [0, 2] or any(one.traceback for one in both):
        return found | {"outcome": "not one", "said": [one.stderr[-800:] for one in both]}
    whole = run(["check", str(folder)], folder)
    same = numbers_of(folder) == expected and whole.code == 0
    shutil.rmtree(folder.parent)
    return found | {
        "outcome": "one worked, the other was refused" if same else "other numbers",
        "said": refused[0].sentences,
    }


@functools.cache
def left_by_a_run(place):
    """The bytes of a disk that an uninterrupted run takes, in pages."""
    run(place.command("one run", place.root / "whole"), place.root / "whole")
    files = [path for path in (place.root / "whole").rglob("*") if path.is_file()]
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in files)


def full_disk(place, seed):
    """A run on a disk of fewer bytes than it leaves, resumed when there is room."""
    draw = random.Random(seed)
    expected, *_ = reference(place, "one run")
    size = 1024 * draw.randrange(4, left_by_a_run(place) // 1024)
    disk = place.new().parent / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        return {"outcome": "mounts are not allowed here"}
    try:
        folder = disk / "run"
        done = run(place.command("one run", folder), folder)
        found = {"bytes": size, "code": done.code, "said": " ".join(done.sentences)[:300]}
        if done.code == 0:
            return found | {"outcome": "it had room"}
        if done.code not in (2, 3) or done.traceback or len(done.sentences) != 1:
            return found | {"outcome": "no sentence", "said": done.stderr[-2000:]}
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        again = resumed(place, "one run", folder)
        if again.code != 0:
            return found | {"outcome": "not resumed", "said": again.stderr[-2000:]}
        same = numbers_of(folder) == expected
        return found | {"outcome": "same" if same else "other numbers"}
    finally:
        subprocess.run(["umount", str(disk)], check=False)
        shutil.rmtree(disk.parent, ignore_errors=True)
