"""The driver's overhead over its compiled steps: progress, metrics, shuffling and checkpoints.

    python bench/speed/driver_overhead.py [--checkpoints] [--rounds 5] [--out FILE]

One run of `advnets.train` on MNIST-sized data, with a progress bar and metrics; `--checkpoints`
adds a folder and a checkpoint in every round, five times as often as in the recipe. Between
evaluations there are 1,000 updates. At each evaluation, outside the measured time, the same 1,000
updates run bare: the same step in a scan, with nothing returned and no progress shown. Reported:
the ratio of the two, round by round, and the peak memory of the whole process.
"""

import argparse
import functools
import json
import resource
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np

import advnets
from advnets._provenance import provenance
from advnets.bench import BENCHMARKS
from advnets.bench.recipes import algorithm_of, build_players

EPOCHS_PER_ROUND, UPDATES_PER_EPOCH = 2, 500


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoints", action="store_true", help="write one in every round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", help="a JSON file for the result")
    options = parser.parse_args()

    recipe = BENCHMARKS["mnist"].recipe
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (UPDATES_PER_EPOCH * recipe.batch_size, 28, 28), np.uint8)
    players = build_players(jax.random.key(0), recipe, images)
    algorithm = algorithm_of(recipe)
    settled = algorithm.for_epochs_of(UPDATES_PER_EPOCH)

    @functools.partial(jax.jit, donate_argnums=0)
    def bare(state, images, rows):
        def once(state, rows):
            pixels = images[rows].astype(float) / 255
            return settled.step(jax.random.key(1), players, state, pixels)[0], None

        return jax.lax.scan(once, state, rows)[0]

    on_device = jnp.asarray(images)
    updates = EPOCHS_PER_ROUND * UPDATES_PER_EPOCH
    rows = jnp.asarray(rng.integers(0, len(images), (updates, recipe.batch_size)))
    start = settled.init(players)
    states = [jax.block_until_ready(bare(start, on_device, rows))]
    pairs, began = [], [time.perf_counter()]

    def evaluate(epoch, _):
        driven = time.perf_counter() - began[0]
        start = time.perf_counter()
        states[0] = jax.block_until_ready(bare(states[0], on_device, rows))
        if epoch > EPOCHS_PER_ROUND:  # the first round compiles
            pairs.append((driven, time.perf_counter() - start))
        began[0] = time.perf_counter()
        return {}

    with tempfile.TemporaryDirectory() as folder:
        advnets.train(
            jax.random.key(0),
            players,
            images,
            epochs=EPOCHS_PER_ROUND * (options.rounds + 1),
            algorithm=algorithm,
            evaluate=evaluate,
            evaluate_every=EPOCHS_PER_ROUND,
            folder=folder if options.checkpoints else None,
        )
    ratios = np.array([driven / alone for driven, alone in pairs])
    result = {
        "updates_per_round": updates,
        "checkpoints": options.checkpoints,
        "driven_seconds": [round(driven, 3) for driven, _ in pairs],
        "bare_seconds": [round(alone, 3) for _, alone in pairs],
        "ratio": {
            "median": float(np.median(ratios)),
            "min": float(ratios.min()),
            "max": float(ratios.max()),
        },
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "provenance": provenance(),
    }
    print(json.dumps(result, indent=2))
    if options.out:
        with open(options.out, "w") as file:
            file.write(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
