"""MNIST in alternating order on all 60,000 training images, including the validation rows.

    python bench/mnist_all_rows.py --epochs 100 --out runs/mnist-60000
    python bench/mnist_all_rows.py --epochs 150 --out runs/mnist-60000 --resume

An epoch then has 600 updates instead of 500. This is not a run of the recipe: its validation
likelihood is that of training images, so only the test likelihood is meaningful. The question is
whether an earlier run, of which only the number of epochs is known, may have had more rows.
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
