"""`python -m faults EXPERIMENT`: attacks runs, and counts what became of them.

Trials are drawn by their number, so that each can be repeated, and recorded as lines of JSON:
the same command goes on where it was stopped.
"""

import argparse
import collections
import concurrent.futures
import functools
import json
import re
import sys
import tempfile
from pathlib import Path

import msgspec
from tqdm import tqdm

from advnets.bench.results import Provenance
from faults import calls, commands, damage, kills, soak, stops
from faults.subjects import Place

# What may come of a trial; anything else is a fault.
GOOD = {
    *("same", "harmless", "refused in a sentence", "the checkpoint before was used"),
    *("the run was done before", "a result", "a documented exception"),
    "a NaN of what was not finite or overflows",
    *("one worked, the other was refused", "it had room"),
    *("flat", "done", "refused by the parser", "stopped in a sentence"),
}
EXPERIMENTS = {
    "kills": (kills.trial, "SIGKILL at random moments and at chosen file operations"),
    "flips": (damage.trial, "one flipped bit in any file of a run's folder"),
    **{
        harm: (functools.partial(damage.trial, harm=harm), f"a file of a run's folder {harm}")
        for harm in damage.HARMS
    },
    "signals": (stops.signalled, "SIGINT, SIGTERM and SIGHUP at random moments"),
    "pairs": (stops.paired, "two processes in one folder within two seconds"),
    "disk": (stops.full_disk, "a full disk at random sizes"),
    "soak": (soak.trial, "a run of a million updates, all logging and checkpoints on"),
    "calls": (calls.trial, "public functions called with extremes"),
    "commands": (commands.trial, "command lines with extremes of every option, and odd ones"),
}


def main():
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    listing = "; ".join(f"{name}: {what}" for name, (_, what) in EXPERIMENTS.items())
    parser.add_argument(
        "experiment", nargs="+", choices=[*EXPERIMENTS], metavar="EXPERIMENT", help=listing
    )
    parser.add_argument("--trials", type=int, default=20, help="of each experiment")
    parser.add_argument("--first", type=int, default=0, help="the number of the first trial")
    parser.add_argument("--workers", type=int, default=1, help="trials at once")
    parser.add_argument(
        "--out", type=Path, help="folder of EXPERIMENT.jsonl; a new one unless given"
    )
    options = parser.parse_args()
    out = options.out or Path(tempfile.mkdtemp(prefix="advnets-faults-"))
    out.mkdir(parents=True, exist_ok=True)
    out = out.resolve()  # as the processes name it, so that records are without it
    place = Place((out / "trials").absolute())
    place.prepare()
    with (out / "provenance.jsonl").open("a") as file:
        file.write(msgspec.json.encode(Provenance.here()).decode() + "\n")
    bad = 0
    for name in options.experiment:
        bad += attack(
            name, range(options.first, options.first + options.trials), place, out, options.workers
        )
    print(f"the records are in {out}", file=sys.stderr)
    return 1 if bad else 0


def attack(name, trials, place, out, workers):
    """Makes the trials that are not on record yet; the number of those that went wrong."""
    trial, what = EXPERIMENTS[name]
    record = out / f"{name}.jsonl"
    found = {}
    if record.exists():
        found = {row["trial"]: row for row in map(json.loads, record.read_text().splitlines())}
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        to_do = [number for number in trials if number not in found]
        if to_do:  # what all trials share is made once
            found[to_do[0]] = written(record, to_do[0], trial(place, to_do[0]))
        under_way = {pool.submit(trial, place, number): number for number in to_do[1:]}
        for done in tqdm(
            concurrent.futures.as_completed(under_way), total=len(under_way), desc=name
        ):
            number = under_way[done]
            found[number] = written(record, number, done.result())
    rows = [found[number] for number in trials]
    print(f"{name}: {what}")
    for outcome, count in collections.Counter(row["outcome"] for row in rows).most_common():
        print(f"  {count:>5}  {outcome}{'' if outcome in GOOD else '   <-- a fault'}")
    return sum(row["outcome"] not in GOOD for row in rows)


def written(record, number, found):
    """Records a trial, without the names of folders that are gone."""
    folder = re.escape(str(record.parent.absolute()))
    text = re.sub(rf"{folder}/trials/[^/ \"\\]+", "TRIAL", json.dumps(found))
    row = {"trial": number, **json.loads(text)}
    with record.open("a") as file:
        file.write(json.dumps(row) + "\n")
    return row


if __name__ == "__main__":
    sys.exit(main())
