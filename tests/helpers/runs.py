"""A small run of the digits, and what is read of the folder that it leaves."""

import json

import msgspec

from advnets.bench import results

# Few updates of tiny players. Tests that train use these settings, so that they share programs.
SMALL = [
    "digits", "--epochs", "4", "--evaluate-every", "2", "--num-samples", "256", "--seed", "2",
    "--generator.hidden-sizes", "16", "--discriminator.units", "8",
    # The released game, whose numbers are on record.
    "--order", "simultaneous", "--update-rule", "momentum", "--average", "None",
    "--discriminator.weight-range", "0.005", "--discriminator.input-keep", "0.8",
    "--learning-rate", "0.1",
]  # fmt: skip
SWEPT = SMALL[:-2]  # at learning rates of its own


def result_of(folder, kind=results.Result):
    """What a folder's `results.json` holds, as a type."""
    return results.read(folder / "results.json", kind)


def content(path):
    """What a JSON file holds, as dictionaries and lists."""
    return json.loads(path.read_text())


def rows_of(folder):
    """The rows of `metrics.jsonl`."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def untimed(result):
    """A result without what tells one run from another with the same numbers."""
    return msgspec.structs.replace(result, provenance=None, updates_per_second=None)


def files_of(folder):
    """The bytes of the files of a folder, and when each was written."""
    return {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }
