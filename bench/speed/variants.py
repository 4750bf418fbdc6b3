"""Variants of a recipe's update: how much could each of them save at most?

    python bench/speed/variants.py [--recipe mnist] [--rounds 9] [--updates 50] [--out FILE]
    python bench/speed/variants.py --flags [--rounds 3]

The order is alternating. Each variant changes one part of the update or leaves it out, which bounds
what a cheaper form of that part could save. `--flags` tries options of XLA's CPU compiler instead,
each in fresh processes, interleaved with processes without any option.
"""

import argparse
import dataclasses
import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
import ours
import paired
import results
from tqdm import tqdm

from advnets.bench import BENCHMARKS
from advnets.model import model_of

AS_IT_IS = "as it is"
FLAGS = {
    AS_IT_IS: "",
    "vectors of 512 bits": "--xla_cpu_prefer_vector_width=512",
    "fast runtime preset": "--xla_cpu_opt_preset=CPU_OPT_PRESET_FAST_RUNTIME",
    "fast maths": "--xla_cpu_enable_fast_math=true",
    "oneDNN's products": "--xla_cpu_use_onednn=true",
    "without XNNPACK": "--xla_cpu_use_xnnpack=false",
    "Eigen on one thread": "--xla_cpu_multi_thread_eigen=false",
}


def variants(recipe, updates):
    """Calls that make `updates` updates each."""
    images, rows = ours.some_images(recipe), ours.some_rows(recipe, updates)
    preprocess, key = ours.PREPROCESS[recipe.preprocessing], jax.random.key(1)
    in_memory, numbers = jnp.asarray(images), jnp.asarray(rows)

    def program(algorithm, players, batch, donate=True):
        @functools.partial(jax.jit, donate_argnums=(0,) if donate else ())
        def run(state, data, rows):
            return jax.lax.scan(
                lambda state, row: algorithm.step(key, players, state, batch(data, row)),
                state,
                rows,
            )

        return run

    def gathered(data, row):
        return preprocess(data[row])

    def in_order(data, start):
        return preprocess(jax.lax.dynamic_slice_in_dim(data, start, recipe.batch_size))

    def call(
        algorithm,
        players,
        batch=gathered,
        donate=True,
        data=in_memory,
        rows=numbers,
        at_once=updates,
    ):
        run, states = program(algorithm, players, batch, donate), [algorithm.init(players)]

        def run_all():
            for first in range(0, updates, at_once):
                states[0], info = run(states[0], data, rows[first : first + at_once])
            jax.block_until_ready((states[0], info))

        return run_all

    def build(recipe=recipe):
        return ours.build(recipe, images)

    def plain(*batch, **options):
        return call(*build(), *batch, **options)

    def without_dropout():
        keep = dataclasses.replace(recipe.discriminator, input_keep=1.0, hidden_keep=1.0)
        return call(*build(dataclasses.replace(recipe, discriminator=keep)))

    def without_update_rule():
        algorithm, players = build()
        # Raw gradients are added, so values grow, which does not affect the time.
        rules = {f"{player}_updates": optax.identity() for player in ("generator", "discriminator")}
        return call(dataclasses.replace(algorithm, **rules), players)

    def generator(n, times):
        _, players = build()
        model = model_of(players)

        @jax.jit
        def run(key):
            def once(total, key):
                made = (model(k, n) for k in jax.random.split(key, times))
                return total + sum(jnp.sum(rows) for rows in made), None

            return jax.lax.scan(once, 0.0, jax.random.split(key, updates))[0]

        return lambda: jax.block_until_ready(run(key))

    made = {AS_IT_IS: plain}
    made |= {
        f"{n} of {updates} updates in a program": functools.partial(plain, at_once=n)
        for n in (1, 10)
        if updates % n == 0 and n < updates
    }
    starts = jnp.arange(updates) * recipe.batch_size
    made |= {
        "without donation": functools.partial(plain, donate=False),
        "minibatches in order": functools.partial(plain, in_order, rows=starts),
        "without dropout": without_dropout,
        "without momentum and norm limits": without_update_rule,
        "only G, on two minibatches of noise": functools.partial(generator, recipe.batch_size, 2),
        "only G, on both at once": functools.partial(generator, 2 * recipe.batch_size, 1),
    }
    return {name: make() for name, make in made.items()}


def with_flags(options):
    """Seconds of the update in fresh processes, interleaving the sets of flags."""
    command = [sys.executable, __file__, "--one", "--recipe", options.recipe]
    command += ["--updates", str(options.updates)]
    seconds, refused = {name: [] for name in FLAGS}, {}
    for _ in tqdm(range(options.rounds), desc="rounds"):
        for name in [name for name in FLAGS if name not in refused]:
            flags = f"{os.environ.get('XLA_FLAGS', '')} {FLAGS[name]}".strip()
            done = subprocess.run(
                command, env=os.environ | {"XLA_FLAGS": flags}, capture_output=True, text=True
            )
            if done.returncode:
                refused[name] = done.stderr.strip().splitlines()[-1]
                continue
            seconds[name].append(json.loads(done.stdout))
    return {name: times for name, times in seconds.items() if name not in refused}, refused


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", choices=["mnist", "cifar10", "cifar10-conv"], default="mnist")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--updates", type=int, default=50, help="updates in a turn")
    parser.add_argument("--flags", action="store_true", help="try options of XLA's compiler")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)  # one such process
    parser.add_argument("--out", type=Path, help="a JSON file for the result")
    options = parser.parse_args()
    recipe = dataclasses.replace(BENCHMARKS[options.recipe].recipe, order="alternating")
    if options.one:
        images, rows = ours.some_images(recipe), ours.some_rows(recipe, options.updates)
        print(paired.median_seconds(ours.updates(recipe, images, rows)))
        return
    refused = {}
    if options.flags:
        seconds, refused = with_flags(options)
    else:
        seconds = paired.paired(variants(recipe, options.updates), options.rounds)
    milliseconds = {
        name: paired.spread([s / options.updates * 1e3 for s in times])
        for name, times in seconds.items()
    }
    result = {
        "recipe": options.recipe,
        "updates_in_a_turn": options.updates,
        "rounds": options.rounds,
        "threads": paired.cores(),
        "milliseconds_per_update": milliseconds,
        "times_as_long": paired.ratios(seconds, AS_IT_IS),
    }
    if options.flags:
        result |= {"flags": FLAGS, "refused": refused}
    print("milliseconds per update")
    for name, spread in milliseconds.items():
        print(paired.line(name, spread))
    print(f"\ntimes as long as {AS_IT_IS}")
    for name, spread in result["times_as_long"].items():
        print(paired.line(name, spread))
    for name, why in refused.items():
        print(f"{name}: refused: {why}")
    results.finish(result, options.out)


if __name__ == "__main__":
    main()
