"""A whole run of the benchmark command at two commits of this repository, interleaved.

    python bench/speed/runs.py BEFORE [AFTER] [--rounds 5] [--out FILE] [-- mnist --epochs 10 ...]

It includes what `commits.py` leaves out: checkpoints, evaluations, metrics files and start-up.
Reported are the wall-clock and processor seconds of the command, and those of `--help`, which is
start-up alone. `ADVNETS_DATA` names the data's folder, unless it is the cache of the Hub.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import commits
import paired
import results
from tqdm import tqdm

COMMAND = ["mnist", "--epochs", "10", "--evaluate-every", "10"]
MEASURED = ("seconds", "processor_seconds", "start_up_seconds", "start_up_processor_seconds")


def timed(package, arguments):
    """Wall-clock and processor seconds of a command with the given package."""
    path = [str(package / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path)}
    command = [sys.executable, "-m", "advnets.bench", *arguments]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def one(package, arguments):
    with tempfile.TemporaryDirectory(prefix="advnets-") as folder:
        run = timed(package, [*arguments, "--out", str(Path(folder) / "run")])
    return dict(zip(MEASURED, (*run, *timed(package, ["--help"])), strict=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", help="a commit")
    parser.add_argument("after", nargs="?", default="HEAD", help="another commit; default: HEAD")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="a JSON file for the result")
    mine, command = sys.argv[1:], COMMAND
    if "--" in mine:
        mine, command = mine[: mine.index("--")], mine[mine.index("--") + 1 :]
    options = parser.parse_args(mine)
    names = {name: commits.git("rev-parse", getattr(options, name)) for name in ("before", "after")}
    found = {name: [] for name in names}
    with (
        commits.checked_out(names["before"]) as before,
        commits.checked_out(names["after"]) as after,
    ):
        folders = {"before": before, "after": after}
        for turn in tqdm(range(options.rounds), desc="rounds"):
            for name in list(folders)[:: 1 if turn % 2 == 0 else -1]:
                found[name].append(one(folders[name], command))
    result = {
        "run": command,
        "commits": names,
        "subjects": {name: commits.git("log", "-1", "--format=%s", c) for name, c in names.items()},
        "rounds": options.rounds,
        "threads": paired.cores(),
    }
    for what in MEASURED:
        times = {name: [turn[what] for turn in turns] for name, turns in found.items()}
        more = [b - a for a, b in zip(times["before"], times["after"], strict=True)]
        result[what] = {name: paired.spread(values) for name, values in times.items()}
        result[what]["after_over_before"] = paired.ratios(times, "before")["after"]
        result[what]["after_minus_before"] = paired.spread(more)
        print(what)
        for name, commit in names.items():
            print(paired.line(f"  {name}, {commit[:7]}", result[what][name], " s"))
        print(paired.line("  after / before", result[what]["after_over_before"]))
        print(paired.line("  after - before", result[what]["after_minus_before"], " s"))
    results.finish(result, options.out)


if __name__ == "__main__":
    main()
