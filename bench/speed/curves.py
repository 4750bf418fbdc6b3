"""Cost curves: updates per second against batch size, width, seeds and devices.

    python bench/speed/curves.py [--only seeds] [--rounds 5] [--updates 20] [--out DIR]

The MNIST recipe, with one size changed at a time; the seeds run as in `train_many`. Writes
curves.json and curves.png. For each curve the exponent a of cost ∝ size^a is fitted by least
squares on logarithms, over all sizes: 0 means free, 1 proportional. For seeds, the ratio of the
time for all at once to the time for one after another is reported too. On a CPU the devices share
the machine's cores, so their curve shows the overhead of sharding, not a gain.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import ours
import paired
import results

from advnets.bench import BENCHMARKS
from advnets.training import Resident
from advnets.training.devices import make_mesh
from advnets.training.program import ManyGames, OneGame

SIZES = {
    "batch size": (10, 30, 100, 300, 1000),
    "width": (150, 300, 600, 1200, 2400),
    "seeds": (1, 2, 4, 8, 16, 32),
    "devices": (1, 2, 4, 8),
}
TINY = {"batch size": (5, 10), "width": (16, 32), "seeds": (1, 2), "devices": (1, 2)}
LABELS = {"batch size": "examples in a minibatch", "width": "hidden units of the generator"}


def wider(recipe, width):
    """The recipe with another number of hidden units, in the recipe's proportions."""
    units = (max(1, width // 5),) * len(recipe.discriminator.units)
    return dataclasses.replace(
        recipe,
        generator=dataclasses.replace(recipe.generator, hidden_sizes=(width, width)),
        discriminator=dataclasses.replace(recipe.discriminator, units=units),
    )


def program(recipe, updates, seeds=None, devices=1):
    """A call that makes `updates` updates of each seed in the driver's program, and waits.

    The seeds start from the same players, which does not affect speed.
    """
    images, rows = ours.some_images(recipe), ours.some_rows(recipe, updates)
    source = Resident(images, ours.PREPROCESS[recipe.preprocessing])
    mesh = make_mesh(devices, "the batch size", recipe.batch_size)
    algorithm, players = ours.build(recipe, images)
    key = jax.random.key(1)
    if seeds is None:
        game = OneGame(algorithm, players, source, recipe.batch_size, mesh, shard_layers=False)
    else:
        key, rows = jax.random.split(key, seeds), np.stack([rows] * seeds)
        stacked = jax.tree.map(lambda x: jnp.stack([x] * seeds) if eqx.is_array(x) else x, players)
        game = ManyGames(lambda _: algorithm, None, stacked, source, recipe.batch_size, mesh, seeds)
        players = stacked
    chunk = source.chunk(jnp.asarray(rows), mesh, 1)
    key, placed, states = game.place_keys(key), source.place(mesh), [game.init(players)]

    def call():
        states[0], info = game.advance(key, states[0], placed, chunk)
        jax.block_until_ready((states[0], info))

    return call


def exponent(sizes, costs):
    """The exponent a of cost ∝ size^a, by least squares on logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def curve(name, recipe, sizes, updates, rounds):
    """Updates per second at each size, with interleaved rounds, and the exponent of the cost."""
    make = {
        "batch size": lambda n: program(dataclasses.replace(recipe, batch_size=n), updates),
        "width": lambda n: program(wider(recipe, n), updates),
        "seeds": lambda n: program(recipe, updates, seeds=n),
        "devices": lambda n: program(recipe, updates, devices=n),
    }[name]
    seconds = paired.paired({str(n): make(n) for n in sizes}, rounds)
    each = [n if name == "seeds" else 1 for n in sizes]
    found = {
        "sizes": list(sizes),
        # Of all seeds together.
        "updates_per_second": [
            paired.spread(np.multiply(updates * n, np.reciprocal(seconds[str(size)])))
            for size, n in zip(sizes, each, strict=True)
        ],
        "exponent": exponent(sizes, [np.median(seconds[str(n)]) for n in sizes]),
    }
    if name == "seeds":
        found["together_over_one_after_another"] = [
            paired.spread(np.divide(seconds[str(n)], seconds["1"]) / n) for n in sizes
        ]
    return found


def table(curves):
    """The curves as text."""
    lines = []
    for name, found in curves.items():
        lines += [f"{LABELS.get(name, name)}: cost ∝ size^{found['exponent']:.2f}"]
        for place, (size, rate) in enumerate(
            zip(found["sizes"], found["updates_per_second"], strict=True)
        ):
            line = paired.line(f"{size:>8}", rate, " updates/s")
            if name == "seeds":
                together = found["together_over_one_after_another"][place]
                line += f"; {together['median']:.2f} of one after another"
            lines.append(line)
    return "\n".join(lines)


def draw(path, curves):
    """One panel for each curve, on logarithmic axes, with the fit."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(curves), 3.6), layout="constrained")
    for axes, (name, found) in zip(
        np.atleast_1d(figure.subplots(1, len(curves))), curves.items(), strict=True
    ):
        sizes = np.array(found["sizes"])
        rates = [[r["min"], r["median"], r["max"]] for r in found["updates_per_second"]]
        low, middle, high = np.array(rates).T
        axes.errorbar(sizes, middle, [middle - low, high - middle], fmt="o", capsize=3)
        slope = (name == "seeds") - found["exponent"]
        fit = np.exp(np.mean(np.log(middle)) + slope * (np.log(sizes) - np.log(sizes).mean()))
        axes.plot(sizes, fit, "--", label=f"cost ∝ size^{found['exponent']:.2f}")
        axes.set(xscale="log", yscale="log", xlabel=LABELS.get(name, name), ylabel="updates/s")
        axes.set_xticks(sizes, [str(n) for n in sizes])
        ends = [middle.min(), middle.max()]
        axes.set_yticks(ends, [f"{rate:.3g}" for rate in ends])
        axes.minorticks_off()
        axes.legend()
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=[*SIZES], help="one curve")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--updates", type=int, default=20, help="updates in a turn")
    parser.add_argument("--tiny", action="store_true", help="narrow players, for a trial run")
    parser.add_argument("--out", type=Path, help="a folder for curves.json and curves.png")
    options = parser.parse_args()

    recipe, sizes = BENCHMARKS["mnist"].recipe, TINY if options.tiny else SIZES
    if options.tiny:
        recipe = dataclasses.replace(wider(recipe, 16), batch_size=8)
    curves = {}
    for name in [options.only] if options.only else SIZES:
        there = sizes[name]
        if name == "devices":
            # A batch of 100 divides by 1, 2 and 4 only.
            usual = 8 * (recipe.batch_size // 8)
            there = [n for n in there if n <= jax.device_count()]
            recipe = dataclasses.replace(recipe, batch_size=usual)
            if len(there) < 2:
                print("devices: there is only one, so that curve is left out", file=sys.stderr)
                continue
        curves[name] = curve(name, recipe, there, options.updates, options.rounds)
    print(table(curves))
    if options.out and curves:
        options.out.mkdir(parents=True, exist_ok=True)
        draw(options.out / "curves.png", curves)
        results.finish(
            {"rounds": options.rounds, "updates_in_a_turn": options.updates, "curves": curves}
            | {"threads": paired.cores(), "tiny": options.tiny},
            options.out / "curves.json",
        )


if __name__ == "__main__":
    main()
