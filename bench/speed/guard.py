"""A guard against large slowdowns: updates of the MNIST recipe against the Equinox loop.

    python bench/speed/guard.py [--rounds 5] [--record]

Takes seconds, once compiled. It prints how many times as long the loop takes (the median of paired
rounds) and fails if that is below half of the ratio recorded in guard.json. A busy or different
machine changes the ratio too, but not that much.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

import ours
import paired
import peers_equinox
import results

from advnets.bench import BENCHMARKS

RECORDED = Path(__file__).with_suffix(".json")
UPDATES = 20


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--record", action="store_true", help="record this ratio in guard.json")
    options = parser.parse_args()

    recipe = dataclasses.replace(BENCHMARKS["mnist"].recipe, order="alternating")
    images, rows = ours.some_images(recipe, n=1000), ours.some_rows(recipe, UPDATES, n=1000)
    calls = {
        "advnets": ours.updates(recipe, images, rows),
        "Equinox loop": peers_equinox.updates(recipe, images, rows),
    }
    seconds = paired.paired(calls, options.rounds, warm_up=1)
    ratio = paired.ratios(seconds, "advnets")["Equinox loop"]
    if options.record:
        times = {name: paired.spread(taken) for name, taken in seconds.items()}
        results.finish({"ratio": ratio, "seconds": times, "updates": UPDATES}, RECORDED)
    recorded = json.loads(RECORDED.read_text())["ratio"]["median"]
    print(f"the Equinox loop takes {ratio['median']:.2f} times as long (recorded: {recorded:.2f})")
    return verdict(ratio["median"], recorded)


def verdict(ratio, recorded):
    """The exit code: 1 for a large slowdown."""
    if ratio >= recorded / 2:
        return 0
    print(
        f"error: that is below half of the recorded ratio of {recorded:.2f}; find what slowed "
        "updates down, or record the new ratio with --record",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
