"""Time from the command line to the first update, each time in a fresh process.

    python bench/speed/startup.py [--benchmark mnist] [--rounds 3] [--data-dir DIR] [--out FILE]

Reported, in seconds: starting Python with all imports, reading the data, building the players, and
the first update, with tracing and compiling separately. The process does what the benchmark's
command does, but with one update instead of the first hundred.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STAGES = ("imports", "data", "players", "first update", "of that: trace", "of that: compile")


def child(name, data_dir, began):
    """Runs in the fresh process and prints the seconds of each stage."""
    marks = [began]

    import advnets.bench.__main__  # what `python -m advnets.bench` imports

    marks.append(time.time())
    import jax

    import advnets
    from advnets.bench.recipes import algorithm_of, build_players
    from advnets.bench.settings import PREPROCESSING

    recipe = advnets.bench.BENCHMARKS[name].recipe
    images = advnets.data.load(recipe.dataset, data_dir).train
    marks.append(time.time())

    players = build_players(jax.random.key(0), recipe, images)
    jax.block_until_ready(players.named)
    marks.append(time.time())

    parts = {"trace": 0.0, "compile": 0.0}

    def listen(event, seconds, **_):
        if event.endswith(("jaxpr_trace_duration", "jaxpr_to_mlir_module_duration")):
            parts["trace"] += seconds
        elif event.endswith("backend_compile_duration"):
            parts["compile"] += seconds

    jax.monitoring.register_event_duration_secs_listener(listen)
    with tempfile.TemporaryDirectory() as folder:
        advnets.train(
            jax.random.key(1),
            players,
            advnets.training.Resident(
                images[: recipe.batch_size],  # an epoch of one update
                PREPROCESSING[recipe.preprocessing],
            ),
            epochs=1,
            algorithm=algorithm_of(recipe),
            batch_size=recipe.batch_size,
            folder=folder,
            progress=False,
        )
        marks.append(time.time())
    lengths = [end - start for start, end in itertools.pairwise(marks)]
    print(json.dumps(dict(zip(STAGES, [*lengths, *parts.values()], strict=True))))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--benchmark", default="mnist")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data-dir", default=os.environ.get("ADVNETS_DATA"))
    parser.add_argument("--out", type=Path, help="a JSON file for the result")
    parser.add_argument("--child", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        return child(options.benchmark, options.data_dir, options.child)

    import paired
    import results

    rounds = []
    for _ in range(options.rounds + 1):  # the first reads the files from the disk
        command = [sys.executable, __file__, "--benchmark", options.benchmark]
        command += ["--data-dir", options.data_dir] if options.data_dir else []
        command += ["--child", str(time.time())]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rounds.append(json.loads(done.stdout.splitlines()[-1]))
    stages = {name: paired.spread([r[name] for r in rounds[1:]]) for name in STAGES}
    totals = [sum(r[name] for name in STAGES[:4]) for r in rounds]
    stages["in all"] = paired.spread(totals[1:])
    for name, spread in stages.items():
        print(paired.line(name, spread, " s"))
    results.finish(
        {"benchmark": options.benchmark, "rounds": options.rounds, "seconds": stages}
        | {"first_of_all": totals[0]},
        options.out,
    )


if __name__ == "__main__":
    main()
