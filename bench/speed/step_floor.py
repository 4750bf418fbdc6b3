"""How long one MNIST update takes against its matrix products alone, measured in one run.

    python bench/speed/step_floor.py [--order simultaneous] [--rounds 9] [--out FILE]

Rounds alternate: 50 updates, the same update's products 50 times, 50 updates, and so on, each as
one compiled program. Reported: the median over rounds of each, and of their ratio.
"""

import argparse
import dataclasses
import functools
import itertools
import json
import time

import jax
import jax.numpy as jnp
import numpy as np

import advnets
from advnets._provenance import provenance
from advnets.bench.recipes import BENCHMARKS, build_players, build_prior, update_rule

REPEATS = 50


def products(batch, latent, hidden, pixels, units, pieces, order):
    """The (rows, inner, columns) of every matrix product of one update."""
    sizes = [latent, *hidden, pixels]
    generator = list(itertools.pairwise(sizes))
    wide = [(a, b * pieces) for a, b in zip([pixels, *units[:-1]], units, strict=True)]
    wide.append((units[-1], 1))
    forward = [(batch, a, b) for a, b in generator]
    backward = [(b, batch, a) for a, b in generator] + [(batch, b, a) for a, b in generator[1:]]
    d_forward = [(batch, a, b) for a, b in wide]
    d_weights = [(b, batch, a) for a, b in wide]
    d_inputs = [(batch, b, a) for a, b in wide]
    # The discriminator sees data and samples, and stops at its own input; the generator's
    # gradient passes through to the pixels.
    update = forward + 2 * (d_forward + d_weights + d_inputs[1:]) + d_inputs + backward
    if order == "alternating":
        update += forward + d_forward  # fresh noise against the updated discriminator
    return update


def products_program(shapes):
    """All products, repeatedly; each repetition's operands depend on the one before."""
    key = jax.random.key(0)
    left = [jax.random.uniform(key, (m, k)) for m, k, _ in shapes]
    right = [jax.random.uniform(key, (k, n)) for _, k, n in shapes]

    @jax.jit
    def run(left, right):
        def once(left, _):
            outputs = [a @ b for a, b in zip(left, right, strict=True)]
            return [
                a.at[0, 0].set(c[0, 0] * 1e-6) for a, c in zip(left, outputs, strict=True)
            ], None

        return jax.lax.scan(once, left, length=REPEATS)[0]

    return lambda: jax.block_until_ready(run(left, right))


def updates_program(recipe):
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.integers(0, 256, (50_000, 28, 28)), jnp.uint8)
    key = jax.random.key(0)
    generator, discriminator = build_players(key, recipe, np.asarray(images[:100]))
    generator_updates, discriminator_updates = update_rule(recipe, 500)
    algorithm = advnets.Algorithm1(
        generator,
        discriminator,
        build_prior(recipe),
        generator_updates=generator_updates,
        discriminator_updates=discriminator_updates,
        order=recipe.order,
    )
    rows = jnp.asarray(rng.permutation(50_000)[: REPEATS * 100].reshape(REPEATS, 100))
    state = [algorithm.init(generator, discriminator)]

    @functools.partial(jax.jit, donate_argnums=0)
    def run(state, rows):
        def once(state, rows):
            return algorithm.step(key, state, images[rows].astype(float) / 255)

        return jax.lax.scan(once, state, rows)

    def call():
        state[0], info = run(state[0], rows)
        jax.block_until_ready(info)

    return call


def milliseconds(call):
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) / REPEATS * 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--order", choices=["simultaneous", "alternating"], default="simultaneous")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", help="a JSON file for the result")
    options = parser.parse_args()

    recipe = dataclasses.replace(BENCHMARKS["mnist"].recipe, order=options.order)
    shapes = products(
        recipe.batch_size,
        recipe.latent_size,
        recipe.generator.hidden_sizes,
        784,
        recipe.discriminator.units,
        recipe.discriminator.pieces,
        options.order,
    )
    update, floor = updates_program(recipe), products_program(shapes)
    for call in (update, floor, update, floor):  # compiles, warms up
        call()
    times = np.array([(milliseconds(update), milliseconds(floor)) for _ in range(options.rounds)])
    ratios = times[:, 0] / times[:, 1]
    flops = sum(2 * m * k * n for m, k, n in shapes)
    result = {
        "order": options.order,
        "update_ms": float(np.median(times[:, 0])),
        "products_ms": float(np.median(times[:, 1])),
        "ratio": {
            "median": float(np.median(ratios)),
            "min": float(ratios.min()),
            "max": float(ratios.max()),
        },
        "gflop_per_update": flops / 1e9,
        "rounds": options.rounds,
        "provenance": provenance()
        | {"command": f"python bench/speed/step_floor.py --order {options.order}"},
    }
    print(json.dumps(result, indent=2))
    if options.out:
        with open(options.out, "w") as file:
            json.dump(result, file, indent=2)


if __name__ == "__main__":
    main()
