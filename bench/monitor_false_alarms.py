"""How often a monitor raises false alarms: its "samples" are rows of the data, drawn again.

    python bench/monitor_false_alarms.py --samples 500

Each of 200 runs has its own real rows, drawn from the held-out rows, and ten evaluations of fresh
draws from the training rows, without replacement. (The batches of training rows that are searched
for closest pairs are the same for all runs.) Besides false alarms, the script counts how often each
ratio is below those of all halvings, and how often the p-value of repeats is at most 0.01. It also
checks that planted collapses are found: draws from 50 rows only, and rows whose deviations from
their mean are scaled by 0.1.
"""

import argparse
import collections
import dataclasses
import json

import jax
import numpy as np

import advnets
from advnets import monitor


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--evaluations", type=int, default=10)
    parser.add_argument("--samples", type=int, default=2000)
    options = parser.parse_args()
    data = advnets.data.load(options.dataset)
    train, held_out = (
        (part.reshape(len(part), -1) / 255).astype(np.float32)
        for part in (data.train, data.validation)
    )
    counts = collections.Counter()
    batches = monitor.real_rows(jax.random.key(0), held_out, train, samples=options.samples)
    for number in range(options.runs):
        rng, key = np.random.default_rng(number), jax.random.key(number)
        pool = held_out[rng.permutation(len(held_out))[: 2 * options.samples]]
        real = monitor.real_rows(key, pool, samples=options.samples)
        real = dataclasses.replace(real, closest=batches.closest, per_batch=batches.per_batch)
        counts["samples"] = real.samples
        before, alarmed = set(), False
        for evaluation in range(options.evaluations):
            drawn = train[rng.choice(len(train), real.samples, replace=False)]
            found = monitor.collapse(jax.random.fold_in(key, evaluation), drawn, real)
            counts["evaluations"] += 1
            counts.update(f"below: {name}" for name in found.below)
            counts["p of repeats at most 0.01"] += (
                found.p_value is not None and found.p_value <= 0.01
            )
            counts["collapsed"] += bool(found.collapsed)
            alarmed |= bool(before & set(found.collapsed))
            before = set(found.collapsed)
        counts["runs"] += 1
        counts["runs with a false alarm"] += alarmed
        few = train[rng.integers(len(train), size=50)][rng.integers(50, size=real.samples)]
        narrow = train[rng.integers(len(train), size=real.samples)]
        narrow = narrow.mean(0) + 0.1 * (narrow - narrow.mean(0))
        counts["found: 50 rows"] += bool(monitor.collapse(key, few, real).collapsed)
        counts["found: 0.1 of the spread"] += bool(monitor.collapse(key, narrow, real).collapsed)
    print(json.dumps({"dataset": options.dataset, **counts}, indent=1))


if __name__ == "__main__":
    main()
