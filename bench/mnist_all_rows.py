"""MNIST in alternating order on all 60,000 training images, the validation rows among them.

    python bench/mnist_all_rows.py --epochs 100 --out runs/mnist-60000
    python bench/mnist_all_rows.py --epochs 150 --out runs/mnist-60000 --resume

An epoch then has 600 updates instead of 500. This is no run of the recipe: its validation
likelihood is of images that it was trained on, so only the test likelihood says something. It
asks whether a run that was known by its epochs alone may have had more rows.
"""

import argparse
import dataclasses

import numpy as np

from advnets.bench import BENCHMARKS, report
from advnets.bench.experiment import Request, execute, prepare


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", required=True)
    parser.add_argument("--resume", action="store_true")
    options = parser.parse_args()
    mnist = BENCHMARKS["mnist"]
    recipe = dataclasses.replace(mnist.recipe, order="alternating", epochs=options.epochs)
    grid = prepare(
        dataclasses.replace(mnist, recipe=recipe),
        Request(seed=options.seed, out=options.out, resume=options.resume),
    )
    (run,) = grid.runs
    images = np.concatenate([run.data.train, run.data.validation])
    print(f"{len(images)} training images")
    run = dataclasses.replace(run, data=dataclasses.replace(run.data, train=images))
    result = execute(dataclasses.replace(grid, runs=(run,)))
    print(report.of(result, grid.folder))


if __name__ == "__main__":
    main()
