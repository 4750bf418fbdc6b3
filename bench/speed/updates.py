"""Updates of a recipe: ours, PyTorch's, Equinox's, and the matrix products alone, in one run.

    python bench/speed/updates.py [--recipe mnist] [--rounds 9] [--updates 50] [--out FILE]

All have the same players, batch size, dropout, momentum and learning-rate decay, uint8 data in
memory, the same number of threads and the same precision of products. The peers use the paper's
alternating order; ours is timed in both. A turn makes several updates. Reported: how many times as
long each takes as ours in the alternating order, and the floor (the products alone, by the faster
of XLA and PyTorch) as a fraction of ours. For `mnist-tuned`, with Adam, R1, R2 and an average,
PyTorch is the only peer.
"""

import argparse
import dataclasses
import os
from pathlib import Path

# PyTorch shares the GPU.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import floor
import jax
import ours
import paired
import peers
import peers_equinox
import results

from advnets.bench import BENCHMARKS

OURS = "advnets, alternating"
# Updates in a turn on a CPU: about a second.
RECIPES = {"mnist": 50, "mnist-tuned": 50, "cifar10": 4, "cifar10-conv": 1}


def tiny(recipe):
    """The same kinds of layers, but narrow, for a trial run."""
    generator, discriminator = recipe.generator, recipe.discriminator
    sizes = (16, 16)
    if generator.output == "deconvolution":
        deconvolution = dataclasses.replace(generator.deconvolution, channels=2)
        generator = dataclasses.replace(generator, deconvolution=deconvolution)
        sizes = (16, 200)
    return dataclasses.replace(
        recipe,
        batch_size=10,
        generator=dataclasses.replace(generator, hidden_sizes=sizes),
        discriminator=dataclasses.replace(
            discriminator,
            units=(8,) * len(discriminator.units),
            convolutions=tuple(
                dataclasses.replace(c, channels=4) for c in discriminator.convolutions
            ),
        ),
    )


def contestants(recipe, updates, device, leave_out=()):
    """What is timed, each a call that makes `updates` updates."""
    alternating = dataclasses.replace(recipe, order="alternating")
    simultaneous = dataclasses.replace(recipe, order="simultaneous")
    images, rows = ours.some_images(recipe), ours.some_rows(recipe, updates)
    shape = images.shape[1:]
    calls = {OURS: lambda: ours.updates(alternating, images, rows)}
    released = recipe.update_rule == "momentum"
    if released:
        calls |= {
            "advnets, simultaneous": lambda: ours.updates(simultaneous, images, rows),
            "Equinox loop": lambda: peers_equinox.updates(alternating, images, rows),
            "products, XLA": lambda: floor.by_xla(floor.products(alternating, shape), updates),
        }
    if device is not None:
        import peers_torch

        variants = ["eager", "compiled"]
        if device == "cuda":
            variants += ["graph", "compiled graph"]
        for variant in variants:
            calls[f"PyTorch {variant}"] = lambda variant=variant: peers_torch.updates(
                alternating, images, rows, device, variant
            )
        if released:
            calls["products, PyTorch"] = lambda: floor.by_torch(
                floor.products(alternating, shape), updates, device
            )
    return {name: make() for name, make in calls.items() if name not in leave_out}


def compare(seconds, updates, recipe, shape):
    """The result: times, ratios and fractions."""
    ratios = paired.ratios(seconds, OURS)
    products = {name: r["median"] for name, r in ratios.items() if name.startswith("products")}
    peers = {name: r["median"] for name, r in ratios.items() if name.startswith("PyTorch")}
    result = {
        "milliseconds_per_update": {
            name: paired.spread([s / updates * 1e3 for s in times])
            for name, times in seconds.items()
        },
        "times_as_long_as_ours": ratios,
    }
    if products:
        fastest = min(products, key=products.get)
        work = floor.totals(dataclasses.replace(recipe, order="alternating"), shape)
        best = paired.spread(seconds[fastest])["median"] / updates
        result["floor"] = work | {
            "by": fastest,
            "gflop_per_second": work["gflop"] / best,
            "fraction_of_the_floor": ratios[fastest],
        }
    if peers:
        result["fastest_pytorch"] = min(peers, key=peers.get)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", choices=RECIPES, default="mnist")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--updates", type=int, help="updates in a turn; default: about a second")
    parser.add_argument("--tf32", action="store_true", help="TF32 products for all, on a GPU")
    parser.add_argument("--tiny", action="store_true", help="narrow players, for a trial run")
    parser.add_argument("--leave-out", nargs="*", default=[], metavar="NAME")
    parser.add_argument("--out", type=Path, help="a JSON file for the result")
    options = parser.parse_args()

    recipe = BENCHMARKS[options.recipe].recipe
    recipe = tiny(recipe) if options.tiny else recipe
    updates = options.updates or RECIPES[options.recipe] * (
        1 if jax.default_backend() == "cpu" else 20
    )
    device = peers.torch_device(options.tf32)
    precision = "tensorfloat32" if options.tf32 else "float32"
    with jax.default_matmul_precision(precision):
        calls = contestants(recipe, updates, device, options.leave_out)
        seconds = paired.paired(calls, options.rounds)
    shape = ours.SHAPES[recipe.dataset]
    result = {
        "recipe": options.recipe + (", tiny" if options.tiny else ""),
        "updates_in_a_turn": updates,
        "rounds": options.rounds,
        "threads": paired.cores(),
        "products_in": precision,
    } | compare(seconds, updates, recipe, shape)
    print(report(result))
    results.finish(result, options.out)


def report(result):
    lines = [f"{result['recipe']}: milliseconds per update"]
    lines += [paired.line(n, s) for n, s in result["milliseconds_per_update"].items()]
    lines += ["", f"times as long as {OURS}"]
    lines += [paired.line(n, s) for n, s in result["times_as_long_as_ours"].items()]
    if "floor" in result:
        floor = result["floor"]
        lines += [
            "",
            f"{floor['gflop']:.3g} GFLOP per update; {floor['by']}: "
            f"{floor['gflop_per_second']:.0f} GFLOP/s; "
            f"ours is at {floor['fraction_of_the_floor']['median']:.0%} of that floor",
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
