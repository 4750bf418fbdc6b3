"""Streamed training beside resident training of the MNIST recipe: what does gathering cost?

    python bench/speed/streamed.py [--rounds 7] [--epochs 2] [--out FILE]

The same run of `advnets.train` twice in each round, in turn: with the images on the device, and
streamed from a memory map in a temporary folder. Each gives its updates per second, the median over
its compiled calls of 100 iterations, which leaves compilation out. Reported: the two rates, and the
ratio of streamed to resident training, round by round; the aim is at least 0.9.
"""

import argparse
import tempfile
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--epochs", type=int, default=2, help="epochs of 500 updates in a turn")
    parser.add_argument("--rows", type=int, default=50_000, help="training images")
    parser.add_argument("--out", type=Path, help="a JSON file for the result")
    options = parser.parse_args()

    recipe = BENCHMARKS["mnist"].recipe
    images = ours.some_images(recipe, n=options.rows)
    players = build_players(jax.random.key(0), recipe, images)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        np.save(path, images)
        sources = {
            "resident": Resident(images),
            "streamed": Streamed(np.load(path, mmap_mode="r")),
        }
        rates = {name: [] for name in sources}
        for turn in range(options.rounds):
            for name in list(sources)[:: 1 if turn % 2 == 0 else -1]:
                trained = advnets.train(
                    jax.random.key(1),
                    players,
                    sources[name],
                    epochs=options.epochs,
                    algorithm=algorithm_of(recipe),
                    batch_size=recipe.batch_size,
                    progress=False,
                )
                rates[name].append(trained.updates_per_second)
    result = {
        "recipe": "mnist",
        "rounds": options.rounds,
        "epochs_in_a_turn": options.epochs,
        "rows": options.rows,
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
