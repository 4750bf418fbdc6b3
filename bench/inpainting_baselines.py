"""Scores of fillings without a net: the baselines of `mnist-inpainting`, and a mean image.

    python bench/inpainting_baselines.py [--dataset mnist] [--out FILE]

Prints Markdown, and writes JSON with command, commit, versions and hardware. It scores 10 fillings
of each of the first 1,000 test images; the training images are those of the benchmark. Expected on
MNIST: nearest neighbours 2.50 and 2.74 for the right half and the centre; for a random half of the
pixels the normal conditional is better, 1.54.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from advnets import _provenance, data
from advnets.bench.systems import inpainting


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    provenance = _provenance.provenance()
    loaded = data.load(options.dataset)
    train, images = (
        pixels / np.float32(255) for pixels in (loaded.train, loaded.test[: inpainting.ROWS])
    )
    found = inpainting.baseline_scores(train, images, progress=True)
    print("| missing | filler | energy score | squared error of the mean | spread |")
    print("|---|---|---|---|---|")
    for region, scores in found.items():
        masks = inpainting.masks_of(region, len(images), images.shape[1:])
        errors = (((train.mean(0) - images) ** 2) * ~masks).sum(axis=(1, 2))
        scores["mean image"] = {"squared_error": inpainting.mean_of(errors)}
        for name, of_filler in scores.items():
            numbers = [
                "–" if key not in of_filler else told(of_filler[key])
                for key in ("energy", "squared_error", "spread")
            ]
            print(f"| {region} | {name} | {' | '.join(numbers)} |")
    if options.out:
        result = {"dataset": options.dataset, "data": loaded.source, "rows": len(images)}
        result |= {"fillings": inpainting.FILLINGS, "regions": found, "provenance": provenance}
        options.out.write_text(json.dumps(result, indent=1) + "\n")


def told(mean):
    return f"{mean['mean']:.2f} ± {mean['standard_error']:.2f}"


if __name__ == "__main__":
    main()
