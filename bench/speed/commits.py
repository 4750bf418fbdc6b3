"""Updates of a recipe at two commits of this repository, interleaved: did a change speed them up?

    python bench/speed/commits.py BEFORE [AFTER] [--recipe mnist] [--rounds 7] [--out FILE]

The order is alternating. Each turn is a fresh process that imports the package from that commit. It
reports the median of 5 calls; how much longer the first call took, which traces and compiles the
update, and XLA's part of that; and the peak memory of the process. This script and `ours.py` are
those of the working tree; `ours.start` supports the interface of earlier commits.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import memory
import ours
import paired
import results
from tqdm import tqdm

import advnets
from advnets.bench import BENCHMARKS

HERE = Path(__file__).resolve().parent
# What a process reports, and the units.
MEASURED = {
    "milliseconds_per_update": "ms",
    "trace_and_compile_seconds": "s",
    "compile_seconds": "s",
    "peak_mib": "MiB",
}


def git(*arguments):
    done = subprocess.run(
        ["git", *arguments], cwd=HERE, check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout.strip()


@contextlib.contextmanager
def checked_out(commit):
    """A folder with the repository at a commit."""
    with tempfile.TemporaryDirectory(prefix="advnets-") as folder:
        git("worktree", "add", "--quiet", "--detach", folder, commit)
        try:
            yield Path(folder).resolve()
        finally:
            git("worktree", "remove", "--force", folder)


def in_process(folder, options):
    """The measurements of a fresh process that imports the package from a folder."""
    command = [sys.executable, __file__, "--one", "--recipe", options.recipe]
    command += ["--updates", str(options.updates)]
    path = [str(folder / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path)}
    done = subprocess.run(
        command, env=environment, cwd=folder, check=True, stdout=subprocess.PIPE, text=True
    )
    found = json.loads(done.stdout)
    if Path(found["package"]) != folder / "src" / "advnets":
        raise RuntimeError(f"the package came from {found['package']}, not from {folder}")
    return found


def first_call(call):
    """Seconds of a first call, and how many of them XLA spends compiling."""
    compiling = []

    def listen(event, seconds, **_):
        if event.endswith("backend_compile_duration"):
            compiling.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(listen)
    began = time.perf_counter()
    call()
    return time.perf_counter() - began, sum(compiling)


def one(options):
    recipe = dataclasses.replace(BENCHMARKS[options.recipe].recipe, order="alternating")
    images, rows = ours.some_images(recipe), ours.some_rows(recipe, options.updates)
    call = ours.updates(recipe, images, rows)
    first, compiling = first_call(call)
    seconds = paired.median_seconds(call)
    found = {
        "trace_and_compile_seconds": first - seconds,
        "compile_seconds": compiling,
        "milliseconds_per_update": seconds / options.updates * 1e3,
        "peak_mib": memory.peak_mib(),
        "package": str(Path(advnets.__file__).resolve().parent),
    }
    print(json.dumps(found))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", nargs="?", help="a commit")
    parser.add_argument("after", nargs="?", default="HEAD", help="another commit; default: HEAD")
    parser.add_argument("--recipe", choices=["mnist", "cifar10", "cifar10-conv"], default="mnist")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--updates", type=int, default=50, help="updates in a call")
    parser.add_argument("--out", type=Path, help="a JSON file for the result")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)  # one such process
    options = parser.parse_args()
    if options.one:
        one(options)
        return
    if options.before is None:
        parser.error("name the commit to compare with")
    commits = {name: git("rev-parse", getattr(options, name)) for name in ("before", "after")}
    found = {name: [] for name in commits}
    with checked_out(commits["before"]) as before, checked_out(commits["after"]) as after:
        folders = {"before": before, "after": after}
        for turn in tqdm(range(options.rounds), desc="rounds"):
            for name in list(folders)[:: 1 if turn % 2 == 0 else -1]:
                found[name].append(in_process(folders[name], options))
    measured = {
        what: {name: [turn[what] for turn in turns] for name, turns in found.items()}
        for what in MEASURED
    }
    result = {
        "recipe": options.recipe,
        "commits": commits,
        "subjects": {name: git("log", "-1", "--format=%s", c) for name, c in commits.items()},
        "updates_in_a_call": options.updates,
        "rounds": options.rounds,
        "threads": paired.cores(),
    } | {
        what: {name: paired.spread(values) for name, values in of_commits.items()}
        | {"before_over_after": paired.ratios(of_commits, "after")["before"]}
        for what, of_commits in measured.items()
    }
    for what, unit in MEASURED.items():
        print(what)
        for name, commit in commits.items():
            print(paired.line(f"  {name}, {commit[:7]}", result[what][name], f" {unit}"))
        print(paired.line("  before / after", result[what]["before_over_after"]))
    results.finish(result, options.out)


if __name__ == "__main__":
    main()
