"""A long run, all logging and checkpoints on: memory, open files, threads and speed are flat."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import scipy.stats

from faults.subjects import TINY

# 642 updates in an epoch of the digits, as many as MNIST has in batches of 90.
BATCH_SIZE, ROWS = 2, 1285
UPDATES = 1_000_000
EVERY = 4
# What is made once, such as programs and the first pictures, is made by then.
WARM = 0.15
# The most that a whole run may gain or lose, as a share, and still be called flat.
FLAT = 0.03


def trial(place, seed):
    """A run of many updates, looked at from outside every half second."""
    folder, epochs = place.new(), UPDATES // (ROWS // BATCH_SIZE) + 1
    arguments = ["digits", *TINY[2:], "--evaluate-every", str(EVERY), "--seed", str(seed)]
    arguments += ["--batch-size", str(BATCH_SIZE), "--epochs", str(epochs), "--out", str(folder)]
    command = [sys.executable, "-m", "advnets.bench", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    began, looks = time.monotonic(), []
    while process.poll() is None:
        time.sleep(0.5)
        seen = look(process.pid, folder)
        if seen is not None:
            looks.append((time.monotonic() - began, *seen))
    seconds, epochs_done, memory, files, threads, busy = np.array(looks).T
    warm = (epochs_done > WARM * epochs) & (epochs_done < epochs)
    updates = epochs_done[warm] * (ROWS // BATCH_SIZE)
    # In seconds of the processor, which other processes have their share of; over a dozen parts.
    part = max(1, len(updates) // 12)
    speed = np.diff(updates[::part]) / np.diff(busy[warm][::part])
    found = {
        "updates": epochs * (ROWS // BATCH_SIZE),
        "seconds": round(seconds[-1]),
        "looks": int(warm.sum()),
        "memory_bytes": growth(updates, memory[warm]),
        "open_files": growth(updates, files[warm]),
        "threads": growth(updates, threads[warm]),
        "updates_per_processor_second": growth(updates[::part][1:], speed),
        "code": process.returncode,
    }
    quantities = ("memory_bytes", "open_files", "threads", "updates_per_processor_second")
    flat = all(may_be_flat(found[name]) for name in quantities)
    if process.returncode != 0 or len(looks) < 50:
        return found | {"outcome": "not finished"}
    shutil.rmtree(folder.parent)
    return found | {"outcome": "flat" if flat else "NOT FLAT"}


def look(pid, folder):
    """Epochs done, bytes of memory, open files, threads, seconds of processor; None at first."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        files = len(os.listdir(f"/proc/{pid}/fd"))
        epochs = (folder / "metrics.jsonl").read_bytes().count(b"\n")
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    if "VmRSS" not in fields:
        return None
    memory, threads = 1024 * int(fields["VmRSS"].split()[0]), int(fields["Threads"])
    return epochs, memory, files, threads, sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def growth(updates, values):
    """The mean, and how much a straight line gains over the run: its 95% interval."""
    if np.ptp(values) == 0:
        return {"mean": float(values.mean()), "gain": [0.0, 0.0]}
    line = scipy.stats.linregress(updates, values)
    length = updates[-1] - updates[0]
    margin = 1.96 * line.stderr * length
    gain = line.slope * length
    return {"mean": float(values.mean()), "gain": [float(gain - margin), float(gain + margin)]}


def may_be_flat(found):
    """Whether the interval holds no gain, or none that is more than a small share."""
    low, high = found["gain"]
    return low <= 0 <= high or max(abs(low), abs(high)) <= FLAT * found["mean"]
