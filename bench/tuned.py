"""Time of `mnist-tuned` to 180, 200 and 225 nats, relative to 250 epochs of the released recipe.

    python bench/tuned.py --seeds 5 --out bench/results/tuned-mnist.jsonl

One line per seed: the training time and the validation likelihood after each epoch, the test
likelihood at the end, the share of samples in each class by a classifier fitted to the training
rows, and the duration of three epochs of the released recipe, run right afterwards. Compilation is
included for the tuned recipe and excluded for the released one; evaluation is excluded for both.
Seeds already in the file are not run again.
"""

import argparse
import dataclasses
import itertools
import json
import statistics
import time
from pathlib import Path

import jax
import msgspec
import numpy as np

import advnets
from advnets.bench import BENCHMARKS, protocol
from advnets.bench.classifier import fit_classifier, predict
from advnets.bench.recipes import algorithm_of, build_players
from advnets.bench.results import Provenance
from advnets.bench.systems.games import stage_keys

MARKS = (180.0, 200.0, 225.0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    data = advnets.data.load("mnist")
    classifier = fitted(data)
    found = {}
    if options.out.exists():
        lines = map(json.loads, options.out.read_text().splitlines())
        found = {line["seed"]: line for line in lines}
    for seed in range(options.seeds):
        if seed not in found:
            found[seed] = measured(seed, data, classifier)
            with options.out.open("a") as file:
                file.write(json.dumps(found[seed]) + "\n")
    summarise(list(found.values()))


def fitted(data):
    """A classifier of the training rows, with its accuracy on the test rows."""
    preprocess = protocol.on_host("unit")
    model = fit_classifier(jax.random.key(0), preprocess(data.train), data.train_labels)
    predicted = predict(model, preprocess(data.test))
    return model, float(np.mean(predicted == data.folds[0].test_labels))


def measured(seed, data, classifier):
    """One seed of the tuned recipe, then three epochs of the released one."""
    recipe = BENCHMARKS["mnist-tuned"].recipe
    preprocess = protocol.on_host("unit")
    _, _, sample_key = stage_keys(seed, second=False)

    def draw(model):
        return np.asarray(model.sample(sample_key, recipe.num_samples))

    def validation(model):
        return protocol.validate(draw(model), data, preprocess).validation.mean

    trained, rows = timed(recipe, seed, data, validation)
    samples = draw(trained.averaged)
    score = protocol.score(samples, data, preprocess)
    model, accuracy = classifier
    classes = np.bincount(predict(model, samples), minlength=10) / len(samples)
    released = dataclasses.replace(BENCHMARKS["mnist"].recipe, epochs=3)
    _, epochs = timed(released, seed, data, lambda _: 0.0)
    provenance = msgspec.to_builtins(Provenance.here())
    return {
        "seed": seed,
        "epochs": rows,
        "test": msgspec.to_builtins(score.test),
        "class_shares": classes.tolist(),
        "classifier_test_accuracy": accuracy,
        "released_seconds": [now - before for (before, _), (now, _) in itertools.pairwise(epochs)],
        "provenance": provenance,
    }


def timed(recipe, seed, data, likelihood):
    """The trained model, and after each epoch the training seconds and the likelihood."""
    keys = stage_keys(seed, second=False)
    players = build_players(keys[0], recipe, data.train)
    rows, paused, start = [], 0.0, time.perf_counter()

    def evaluate(_, model):
        nonlocal paused
        jax.block_until_ready(jax.tree.leaves(model))
        now = time.perf_counter()
        rows.append([now - start - paused, float(likelihood(model))])
        paused += time.perf_counter() - now
        return {}

    trained = advnets.train(
        keys[1],
        players,
        data.train,
        epochs=recipe.epochs,
        algorithm=algorithm_of(recipe),
        batch_size=recipe.batch_size,
        evaluate=evaluate,
        evaluate_every=1,
    )
    return trained, rows


def summarise(lines):
    """Prints medians, and each mark as a share of the released recipe's 250 epochs."""
    for line in lines:
        last, test = line["epochs"][-1], line["test"]
        print(
            f"seed {line['seed']}: {last[1]:.1f} nats on validation rows after {last[0]:.0f} s; "
            f"{test['mean']:.1f} ± {test['standard_error']:.1f} on test rows; "
            f"{min(line['class_shares']):.1%} to {max(line['class_shares']):.1%} of samples in "
            "each class"
        )
    for mark in MARKS:
        reached = [
            next((seconds for seconds, nats in line["epochs"] if nats >= mark), None)
            for line in lines
        ]
        if None in reached:
            print(f"{mark:.0f} nats: not reached by {reached.count(None)} of {len(lines)}")
            continue
        shares = [
            250 * statistics.median(line["released_seconds"]) / seconds
            for line, seconds in zip(lines, reached, strict=True)
        ]
        print(
            f"{mark:.0f} nats: {statistics.median(reached):.1f} s, which is "
            f"1/{statistics.median(shares):.0f} of 250 epochs of the released recipe (medians)"
        )


if __name__ == "__main__":
    main()
