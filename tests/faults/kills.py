"""SIGKILL at random moments and at chosen file operations: resumed to the same bits."""

import contextlib
import functools
import json
import random
import shutil
import signal
import threading
import time

from advnets.training.checkpoints import CHECKPOINTS, numbers, read_manifest
from faults.subjects import INTERVAL, SUBJECTS, launch, numbers_of, resumed, run

making = threading.Lock()


def reference(place, subject):
    """The numbers of an uninterrupted run, its seconds and its file operations."""
    with making:
        return make_reference(place, subject)


@functools.cache
def make_reference(place, subject):
    folder = place.root / f"reference-{subject.replace(' ', '-')}"
    if not (folder.parent / f"{folder.name}.json").exists():
        shutil.rmtree(folder, ignore_errors=True)
        run(place.command(subject, folder), folder)  # compiles
        shutil.rmtree(folder)
        began, count = time.monotonic(), folder.parent / f"{folder.name}.count"
        done = run(place.command(subject, folder), folder, count=count)
        assert done.code == 0, done.stderr
        about = {"seconds": time.monotonic() - began, "operations": int(count.read_text())}
        (folder.parent / f"{folder.name}.json").write_text(json.dumps(about))
    about = json.loads((folder.parent / f"{folder.name}.json").read_text())
    return numbers_of(folder), about["seconds"], about["operations"]


def lost(folder):
    """Epochs that are on record and in no checkpoint, the most of any run in a folder."""
    most = 0
    for checkpoints in [folder / CHECKPOINTS, folder / "first-stage" / CHECKPOINTS]:
        runs = {}
        for number in numbers(checkpoints):
            with contextlib.suppress(ValueError, OSError):
                runs = read_manifest(checkpoints / f"{number}").runs
                break
        for log in checkpoints.parent.rglob("metrics.jsonl"):
            if CHECKPOINTS in log.parts or ("first-stage" in log.parts) != (
                checkpoints.parent.name == "first-stage"
            ):
                continue
            name = log.parent.relative_to(checkpoints.parent).as_posix()
            saved = runs.get("" if name == "." else name)
            rows = log.read_bytes().count(b"\n")
            most = max(most, rows - (saved.epochs if saved else 0))
    return most


def trial(place, seed):
    """A run that is killed, perhaps again when it is resumed, and then finished."""
    draw = random.Random(seed)
    subject = draw.choice([*SUBJECTS])
    expected, seconds, operations = reference(place, subject)
    folder, kills, by = place.new(), 0, []
    for attempt in range(draw.choice([1, 1, 2, 3])):
        resume = ["--resume"] if (folder / "config.json").exists() else []
        arguments = place.command(subject, folder, *resume)
        if draw.random() < 0.5:
            at = draw.randint(1, operations if attempt == 0 else operations // 2)
            done, what = run(arguments, folder, at=at), f"operation {at}"
        else:
            moment = draw.uniform(0.05, seconds if attempt == 0 else seconds / 2)
            started, what = launch(arguments, folder), f"{moment:.2f} s"
            done = started.wait(moment) or started.kill()
        if done.code == 0:
            break
        if done.code != -signal.SIGKILL:
            return {"outcome": "failed", "subject": subject, "by": by, "said": done.stderr[-2000:]}
        kills, by = kills + 1, [*by, what]
        if lost(folder) > INTERVAL:
            return {"outcome": "lost", "subject": subject, "by": by, "epochs": lost(folder)}
    if kills or not (folder / "results.json").exists():
        done = resumed(place, subject, folder)
        if done.code != 0 or done.traceback:
            return {
                "outcome": "not resumed",
                "subject": subject,
                "by": by,
                "code": done.code,
                "said": done.stderr[-2000:],
            }
    same = numbers_of(folder) == expected
    found = {"outcome": "same" if same else "other numbers", "subject": subject, "by": by}
    if same:
        shutil.rmtree(folder.parent)
    return found | {"kills": kills}
