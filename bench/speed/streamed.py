"""Streamed against resident training of the MNIST recipe: what does gathering cost?

    python bench/speed/streamed.py [--rounds 15] [--rows 20000] [--out FILE]

Two runs of `advnets.train` take turns in one process: after each epoch, one hands over to the
other. They differ only in where the images are: on the device, or streamed from a memory map in a
temporary folder. Reported: the updates per second of each, and the ratio of streamed to resident
training, round by round; the target is at least 0.9. The first two epochs, which include
compilation, are excluded.
"""

import argparse
import tempfile
import threading
import time
from pathlib import Path

import jax
import numpy as np
import ours
import paired
import results

import advnets
from advnets.bench import BENCHMARKS
from advnets.bench.recipes import algorithm_of, build_players
from advnets.training import Resident, Streamed

WARM_UP = 2


def in_turn(sources, train, rounds):
    """Seconds of each epoch of training from two sources, in two threads that take turns."""
    names = list(sources)
    seconds = {name: [] for name in names}
    turns = {name: threading.Semaphore(0) for name in names}
    other, over = dict(zip(names, names[::-1], strict=True)), set()

    def run(name):
        turns[name].acquire()
        began = [time.perf_counter()]

        def hand_over(*_):
            seconds[name].append(time.perf_counter() - began[0])
            turns[other[name]].release()
            if other[name] not in over:
                turns[name].acquire()
            began[0] = time.perf_counter()
            return {}

        try:
            train(sources[name], epochs=WARM_UP + rounds, evaluate=hand_over, evaluate_every=1)
        finally:
            over.add(name)
            turns[other[name]].release()

    threads = [threading.Thread(target=run, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    turns[names[0]].release()
    for thread in threads:
        thread.join()
    return {name: times[WARM_UP:] for name, times in seconds.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="epochs that are timed")
    parser.add_argument("--rows", type=int, default=20_000, help="training images")
    parser.add_argument("--out", type=Path, help="a JSON file for the result")
    options = parser.parse_args()

    recipe = BENCHMARKS["mnist"].recipe
    images = ours.some_images(recipe, n=options.rows)
    players = build_players(jax.random.key(0), recipe, images)
    updates = options.rows // recipe.batch_size

    def train(source, **how):
        advnets.train(
            jax.random.key(1),
            players,
            source,
            algorithm=algorithm_of(recipe),
            batch_size=recipe.batch_size,
            progress=False,
            **how,
        )

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        np.save(path, images)
        sources = {
            "resident": Resident(images),
            "streamed": Streamed(np.load(path, mmap_mode="r")),
        }
        seconds = in_turn(sources, train, options.rounds)
    rates = {name: np.divide(updates, times).tolist() for name, times in seconds.items()}
    result = {
        "recipe": "mnist",
        "rounds": options.rounds,
        "updates_in_a_turn": updates,
        "threads": paired.cores(),
        "updates_per_second": {name: paired.spread(values) for name, values in rates.items()},
        "streamed_over_resident": paired.ratios(rates, "resident")["streamed"],
    }
    for name, spread in result["updates_per_second"].items():
        print(paired.line(name, spread, " updates/s"))
    print(paired.line("streamed / resident", result["streamed_over_resident"]))
    results.finish(result, options.out)


if __name__ == "__main__":
    main()
