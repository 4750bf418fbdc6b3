"""Flipped bits, and files cut, emptied, deleted or of another run: detected, or harmless."""

import functools
import json
import random
import shutil

from advnets.training.checkpoints import CHECKPOINTS
from faults.kills import reference
from faults.subjects import EPOCHS, numbers_of, run

HARMS = ("cut", "emptied", "deleted", "swapped")


@functools.cache
def bases(place):
    """A finished run of fewer epochs, to be damaged; another run, to swap files with; a score."""
    folder, other = place.root / "base", place.root / "other"
    for one, more in ((folder, []), (other, ["--seed", "1"])):
        if not (one / "results.json").exists():
            shutil.rmtree(one, ignore_errors=True)
            assert run(place.command("one run", one, *more, epochs=4), one).code == 0
    scored = place.root / "scored"
    if not scored.exists():
        shutil.copytree(folder, scored)
        assert run(["parzen", str(scored), "--num-samples", "300"], scored).code == 0
    return folder, other, (scored / "parzen-300.json").read_bytes()


def score(content):
    """The numbers of a second scoring."""
    return json.loads(content)["parzen"]


def files(folder):
    return sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())


def trial(place, seed, harm=None):
    """A file of a finished run is damaged; then the run is extended, or scored anew."""
    draw = random.Random(seed)
    base, other, scored = bases(place)
    expected, *_ = reference(place, "one run")
    folder = place.new()
    shutil.copytree(base, folder)
    name = draw.choice(files(base))
    path, content = folder / name, bytearray((base / name).read_bytes())
    what = harm or "flipped"
    if what == "flipped":
        if not content:
            shutil.rmtree(folder.parent)
            return {"outcome": "harmless", "file": str(name), "harm": "nothing to flip"}
        place_of_bit = draw.randrange(8 * len(content))
        content[place_of_bit // 8] ^= 1 << place_of_bit % 8
        path.write_bytes(content)
        what = f"bit {place_of_bit}"
    elif what == "cut":
        path.write_bytes(content[: draw.randrange(max(1, len(content)))])
    elif what == "emptied":
        path.write_bytes(b"")
    elif what == "deleted":
        path.unlink()
    elif (other / name).exists():
        path.write_bytes((other / name).read_bytes())
    action = draw.choice(["resume", "resume", "parzen"])
    if action == "resume":
        command = place.command("one run", folder, "--resume", epochs=EPOCHS)
    else:
        command = ["parzen", str(folder), "--num-samples", "300"]
    done = run(command, folder)
    found = {"file": str(name), "harm": what, "action": action, "code": done.code}
    newest = name.parts[0] == CHECKPOINTS and name.parts[1] == newest_of(base)
    if done.traceback:
        return found | {"outcome": "traceback", "said": done.stderr[-2000:]}
    if done.code == 0:
        if action == "resume":
            same = numbers_of(folder) == expected
        else:
            same = score((folder / "parzen-300.json").read_bytes()) == score(scored)
        if not same:
            return found | {"outcome": "SILENT", "said": done.stderr[-2000:]}
        warned = "damaged" in done.stderr
        outcome = "the checkpoint before was used" if warned else "harmless"
    elif done.code in (2, 3) and len(done.sentences) == 1:
        outcome = "refused in a sentence"
        if newest and action == "resume":
            return found | {"outcome": "no fallback", "said": done.stderr[-2000:]}
    else:
        return found | {"outcome": "no sentence", "said": done.stderr[-2000:]}
    shutil.rmtree(folder.parent)
    return found | {"outcome": outcome, "said": " ".join(done.sentences)[:300]}


def newest_of(folder):
    return str(max(int(path.name) for path in (folder / CHECKPOINTS).iterdir()))
