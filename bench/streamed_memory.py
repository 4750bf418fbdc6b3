"""Trains on 3 GiB of numbers under a limit of 1.5 GiB on the process's own memory.

    python bench/streamed_memory.py [--gib 3] [--limit-gib 1.5] [--epochs 1]
    python bench/streamed_memory.py --source resident     # copies the data, so it must fail

The data are a float32 memory map in a temporary folder, and the game is small. The limit is
`RLIMIT_DATA`, which Linux sets on private writable memory: heap, anonymous mappings and the stacks
of threads. So it counts every copy of the data, but not the pages of a file that is mapped
read-only, which the system may drop at any time. (`RLIMIT_AS` would count the map itself, and
`RLIMIT_RSS` has no effect.) A process that asks for more memory does not get it and fails.

Printed: the peak of the process during training, including libraries, of anonymous memory
(`RssAnon`: resident and not backed by a file) and of the limited memory (`VmData`). Expected: some
0.45 GiB of either on 2 cores, whatever the size of the data.
"""

import argparse
import json
import resource
import sys
import tempfile
import threading
from pathlib import Path

import equinox as eqx
import jax
import numpy as np

import advnets

GIB = 2**30
FEATURES = 1024
BATCH = 128


def memory_map(path, gib):
    """Random rows in a file, written block by block and mapped read-only."""
    rows = int(gib * GIB / (4 * FEATURES))
    data = np.lib.format.open_memmap(path, "w+", np.float32, (rows, FEATURES))
    rng = np.random.default_rng(0)
    for start in range(0, rows, 4096):
        block = data[start : start + 4096]
        block[:] = rng.standard_normal(block.shape, np.float32)
    data.flush()
    del data
    return np.load(path, mmap_mode="r")


def counted(field):
    """A field of /proc/self/status, in GiB."""
    (line,) = (
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith(f"{field}:")
    )
    return int(line.split()[1]) * 1024 / GIB


class Peak:
    """The peak of a field while the context is open, polled a hundred times a second."""

    def __init__(self, field):
        self._field, self._done = field, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.gib = 0.0

    def _watch(self):
        while not self._done.wait(0.01):
            self.gib = max(self.gib, counted(self._field))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()


def players(key):
    g_key, d_key = jax.random.split(key)
    return advnets.Players(
        eqx.nn.MLP(16, FEATURES, 64, 1, key=g_key),
        eqx.nn.MLP(FEATURES, 1, 64, 1, key=d_key),
        prior=advnets.priors.Normal(16),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", choices=["streamed", "resident"], default="streamed")
    parser.add_argument("--gib", type=float, default=3.0, help="size of the data")
    parser.add_argument(
        "--limit-gib", type=float, default=1.5, help="limit on the process's memory"
    )
    parser.add_argument("--epochs", type=int, default=1)
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        data = memory_map(Path(folder) / "data.npy", options.gib)
        made = players(jax.random.key(0))
        sources = {"streamed": advnets.training.Streamed, "resident": advnets.training.Resident}
        rule = advnets.updates.Released(0.01)
        limit = int(options.limit_gib * GIB)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        with Peak("RssAnon") as anonymous, Peak("VmData") as limited:
            trained = advnets.train(
                jax.random.key(1),
                made,
                sources[options.source](data),
                epochs=options.epochs,
                algorithm=advnets.Algorithm1(generator_updates=rule, discriminator_updates=rule),
                batch_size=BATCH,
                progress=sys.stderr.isatty(),
            )
    found = {
        "source": options.source,
        "data_gib": data.nbytes / GIB,
        "limit_gib": options.limit_gib,
        "updates": trained.updates,
        "peak_anonymous_gib": anonymous.gib,
        "peak_limited_gib": limited.gib,
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
