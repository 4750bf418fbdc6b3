"""Whether lower precision of the players' products lowers the likelihood.

    python bench/precision.py --out runs/precision [--benchmark mnist] [--seeds 8] [--epochs 250]
    python bench/precision.py --out /tmp/precision --benchmark digits --seeds 2 --epochs 2  # to try

Trains the same seeds in each precision and compares their log-likelihoods (last epoch, Parzen
windows in float32) with those of float32: the difference of the means over seeds, also in standard
errors computed from the spread over seeds. Runs of one seed in two precisions drift apart like runs
of two seeds, so they aren't paired. Each precision has its own folder, which is resumed if it
exists; `precision.json` holds the comparison. A CPU always computes in float32, so every difference
is 0.
"""

import argparse
import dataclasses
import json
import math
from pathlib import Path

import msgspec

from advnets import bench
from advnets._provenance import provenance
from advnets.bench import results
from advnets.bench.recipes import PRECISIONS

REFERENCE = "float32"
ROWS = ("validation", "test")


def train(precision, options):
    """The likelihoods of all seeds, and their rate."""
    benchmark = bench.BENCHMARKS[options.benchmark]
    changes = {"precision": precision}
    if options.epochs is not None:
        changes |= {"epochs": options.epochs, "evaluate_every": min(10, options.epochs)}
    folder = Path(options.out) / precision
    found = bench.run_grid(
        dataclasses.replace(benchmark, recipe=dataclasses.replace(benchmark.recipe, **changes)),
        seeds=options.seeds,
        out=folder,
        data_dir=options.data_dir,
        resume=(folder / "config.json").exists(),
    )
    scores = [
        results.read(folder / f"seed-{seed}" / "results.json", results.Result).parzen
        for seed in found.seeds
        if seed not in found.diverged
    ]
    distributions = {
        "validation": results.distribution([score.validation.mean for score in scores]),
        "test": results.distribution([score.test.mean for score in scores]),
    }
    return {
        "diverged": found.diverged,
        "updates_per_second": found.updates_per_second,
        "data": found.data,
        **msgspec.to_builtins(distributions),
    }


def difference(one, other):
    """The difference of two distributions' means, in nats and in its standard errors."""
    nats = one["mean"] - other["mean"]
    variance = sum(d["standard_deviation"] ** 2 / d["n"] for d in (one, other) if d["n"] > 1)
    known = min(one["n"], other["n"]) > 1 and variance > 0
    error = math.sqrt(variance) if known else None
    return {"nats": nats, "standard_error": error, "in_standard_errors": error and nats / error}


def table(compared):
    """The comparison as a Markdown table."""
    lines = [
        "| | test, nats (spread over seeds) | against float32 | standard errors | updates/s |",
        "|---|---|---|---|---|",
    ]
    for precision, found in compared.items():
        test, rate = found["test"], found["updates_per_second"]
        cells = [precision, f"{test['mean']:.1f}", "", "", f"{rate:.0f}" if rate else ""]
        if test["standard_deviation"] is not None:
            cells[1] += f" ({test['standard_deviation']:.1f})"
        if precision != REFERENCE:
            against = found["against_float32"]["test"]
            cells[2] = f"{against['nats']:+.1f}"
            if against["in_standard_errors"] is not None:
                cells[3] = f"{against['in_standard_errors']:+.1f}"
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--benchmark", default="mnist", choices=bench.BENCHMARKS)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--epochs", type=int, help="default: the recipe's")
    parser.add_argument("--data-dir")
    parser.add_argument("--out", required=True, help="a folder")
    options = parser.parse_args(argv)
    origin = provenance()
    found = {precision: train(precision, options) for precision in PRECISIONS}
    for precision, one in found.items():
        if precision != REFERENCE:
            one["against_float32"] = {
                rows: difference(one[rows], found[REFERENCE][rows]) for rows in ROWS
            }
    print(table(found))
    result = {
        "benchmark": options.benchmark,
        "seeds": options.seeds,
        "epochs": options.epochs or bench.BENCHMARKS[options.benchmark].recipe.epochs,
        "precisions": found,
        "provenance": origin,
    }
    path = Path(options.out) / "precision.json"
    path.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
