"""Command lines drawn at random: extremes of every numeric option, wrong words, odd paths."""

import dataclasses
import functools
import json
import math
import os
import random
import re
import shutil
import threading
import time
import typing

import numpy as np

from advnets.bench import cli, commands
from advnets.bench.catalogue import BENCHMARKS
from advnets.bench.failures import ExitCode
from advnets.bench.processes import Processes
from faults import workers
from faults.subjects import TINY

# Numbers as text: many that are refused, and many that some option takes.
INTEGERS = [
    *("0", "-1", "1", "2", "7", "-2147483648", "2147483647", "2147483648", "4294967295"),
    *("4294967296", "-2147483649", "9223372036854775807", "9223372036854775808"),
    *(f"1{'0' * 30}", f"-1{'0' * 30}", "9" * 5000, "nan", "inf", "1.0", "1e3", "", "ten", "0x10"),
    *("1_0", "٣", " 2", "+2", "-0", "None", "True", "1,2", "\n3", "½"),
]
FLOATS = [
    *("0", "-0.0", "1", "-1", "nan", "NaN", "-nan", "inf", "-inf", "Infinity", "1e-300", "1e300"),
    *("1e-45", "1e-39", "1.1754944e-38", "3.4028235e38", "3.41e38", "-3.4e38", "1e400", "1e-400"),
    *("2147483648", "9223372036854775808", f"1{'0' * 30}", "9" * 5000, "", "much", "1e", "0x1p3"),
    *("1_0.5", "٣.٥", " 0.5", "+.5", ".5", "5.", "None", "1,5", "0.1 0.2"),
]
# What options take, at least some of them.
TAKEN = {
    "int": ["0", "1", "2", "3", "7", "31", "100", "300"],
    "float": [
        *("0", "-0.0", "1e-37", "1e-20", "1e-6", "0.01", "0.3", "0.5", "0.9", "0.999999", "1"),
        *("1.000001", "1.5", "2", "10", "1e3", "1e6", "1e20", "3e38", "-1e-6", "-0.5", "-1"),
    ],
    "epochs": ["1", "2", "3"],
    "second-stage.epochs": ["0", "1", "2"],
    "evaluate-every": ["1", "2", "3", "2147483647"],
    "num-samples": ["1", "2", "5", "100", "1001", "20000"],
    "seed": ["0", "1", "2147483647", "2147483648", "4294967294", "4294967295"],
    "seeds": ["1", "2", "3"],
    "k": ["1", "2", "12", "13"],
    "batch-size": ["1", "2", "5", "99", "257", "1285", "1286"],
    "latent-size": ["1", "2", "500"],
    "momentum-saturates": ["0", "1", "2", "1000", "2147483647"],
    "hidden-sizes": ["1", "2", "100", "600"],
    "units": ["1", "2", "50", "300"],
    "pieces": ["1", "2", "11"],
    "output-nonzero": ["0", "1", "15", "16", "17"],
    "image-size": ["1", "2", "5", "8", "20", "4097"],
    "iterations": ["1", "2", "7"],
    "devices": ["1", "2"],
    **{name: ["1", "2", "3", "5", "8", "9", "20"] for name in ("kernel-size", "stride")},
    **{name: ["0", "1", "2", "4", "9"] for name in ("channels", "padding", "pool-stride")},
    "pool-size": ["1", "2", "3", "9"],
}
# More of these is more work, as much as is asked for: no fault. What is beyond 2**31 is refused.
LONG = (
    "epochs",
    "num-samples",
    "iterations",
    "image-size",
    "burn-in",
    "thin",
    "lower-epochs",
    "gibbs-steps",
    "steps",
    "draws",
)
MANY = (
    "hidden-sizes",
    "generator-sizes",
    "generator.channels",
    "discriminator.channels",
    "units",
    "learning-rates",
    "contractions",
    "labels",
)  # options of several numbers
PATHS = [
    *("run", "a file", "a folder", "empty", "dangling", "loop", "a file/run", "read-only/run"),
    *("read-only", "new/deeper/run", "/dev/null", "/dev/null/run", "/proc/run", "run [1]"),
    *("run{a}*?", "a\nb", "rün ✓", "x" * 250, "x" * 300, "/".join(["d" * 200] * 25), "", "."),
    *("back\\slash", "bad\udcff", "~", " ", "run/", "a::b", "\x1b[2J", "no/such", "link", "%s{}"),
]
COMMANDS = {name: one.options for name, one in commands.COMMANDS.items() if one.options}
# Options that are given without their names, before the others.
POSITIONAL = {
    **dict.fromkeys(["check", "explore", "features", "inference", "parzen"], ("--run",)),
    **dict.fromkeys(["report", "table2"], ("--runs",)),
}
CODES = {*ExitCode} - {ExitCode.BUG, ExitCode.DIFFERENT}
making = threading.Lock()


@dataclasses.dataclass
class Line:
    """A command line.

    Attributes:
        name: of the benchmark or command.
        options: values of each option; none of a flag.
        more: what follows them.
        first: what comes before them.
    """

    name: str
    options: dict[str, list[str]]
    more: list[str] = dataclasses.field(default_factory=list)
    first: list[str] = dataclasses.field(default_factory=list)

    def arguments(self):
        found = [self.name, *self.first]
        for option, values in self.options.items():
            if len(values) == 1 and values[0].startswith("-"):
                found.append(f"{option}={values[0]}")
            else:
                found += [option, *values]
        return [*found, *self.more]


def options_of(kind, value=None, prefix="--"):
    """The type hints of a dataclass's options by name, of those within it too."""
    found = {}
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        own = getattr(value, field.name, None)
        name = prefix + field.name.replace("_", "-")
        if dataclasses.is_dataclass(own):
            found |= options_of(type(own), own, f"{name}.")
        elif isinstance(own, tuple) and own and dataclasses.is_dataclass(own[0]):
            for number, part in enumerate(own):
                found |= options_of(type(part), part, f"{name}.{number}.")
        else:
            found[name] = hints[field.name]
    return found


@functools.cache
def options(name):
    """The options of a benchmark or a command, with their types."""
    if name in COMMANDS:
        return options_of(COMMANDS[name])
    beside = options_of(cli.Options)
    for own in ("--recipe", "--together"):
        del beside[own]
    recipe = BENCHMARKS[name].recipe
    return beside | options_of(Processes) | options_of(type(recipe), recipe)


def plain(hint):
    """The types that a hint is made of."""
    parts = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal or not parts:
        return {hint}
    return set().union(*map(plain, parts))


def numeric(name):
    """The numeric options of a benchmark or a command: `"int"` or `"float"` for each."""
    found = {}
    for option, hint in options(name).items():
        for kind in (int, float):
            if kind in plain(hint):
                found[option] = kind.__name__
    return found


def choices(name):
    """The options that take one of some words, with the words."""
    return {
        option: typing.get_args(hint)
        for option, hint in options(name).items()
        if typing.get_origin(hint) is typing.Literal
    }


def flags(name):
    return [option for option, hint in options(name).items() if hint is bool]


def paths(name):
    return [option for option, hint in options(name).items() if "Path" in f"{hint}"]


def number(draw, option, kind):
    """Text in the place of a number: often one that the option takes."""
    full, last = option.removeprefix("--"), option.removeprefix("--").rpartition(".")[2]
    if draw.random() < 0.6:
        return draw.choice(TAKEN.get(full) or TAKEN.get(last) or TAKEN[kind])
    wild = INTEGERS if kind == "int" else FLOATS
    return draw.choice([text for text in wild if not (last in LONG and text == "2147483647")])


def start(draw):
    """What a line starts from."""
    tiny = as_options(TINY)
    digits = Line("digits", tiny | {"--epochs": ["1"], "--out": ["run"]})
    kind = draw.choices(*zip(*STARTS.items(), strict=True))[0]
    line = STARTED[kind](digits) if kind in STARTED else digits
    return kind, line


def as_options(given):
    """`--name value value …` by name."""
    found = {}
    for text in given:
        if text.startswith("--"):
            found[text] = []
        else:
            found[next(reversed(found))].append(text)
    return found


def on(name, given, *, leave=()):
    """Makes a line of the digits one of another benchmark, or with other options."""

    def changed(line):
        kept = {option: values for option, values in line.options.items() if option not in leave}
        return Line(name, kept | as_options(given))

    return changed


def on_run(name, given):
    """Makes a line that is about the finished run."""
    return lambda _: Line(name, as_options(given), first=["run"])


TFD = [
    *("--preset", "quick", "--batch-size", "10", "--num-samples", "40", "--data-dir", "DATA"),
    *("--generator.output-nonzero", "5", "--second-stage.hidden-size", "20"),
]
COLOUR = [
    *("--preset", "quick", "--batch-size", "10", "--num-samples", "40", "--dataset"),
    *("imagefolder", "--data-dir", "DATA/pictures"),
]
DECONVOLUTION = [
    *("--generator.hidden-sizes", "36", "--generator.deconvolution.channels", "4"),
    *("--generator.deconvolution.stride", "2", "--generator.deconvolution.kernel-size", "4"),
]
CONVOLUTIONS = [
    f"--discriminator.convolutions.{number}.{name}={value}"
    for number in range(3)
    for name, value in {
        **{"channels": 2, "pieces": 2, "kernel-size": 3, "padding": 1},
        **{"pool-size": 2, "pool-stride": 1},
    }.items()
]
GSN = [
    *("--preset", "quick", "--dataset", "digits", "--epochs", "1", "--out", "run"),
    *("--num-samples", "40", "--num-chains", "4", "--hidden-sizes", "6", "5"),
]
INPAINTING = [
    *("--preset", "quick", "--dataset", "digits", "--epochs", "1", "--out", "run"),
    *("--num-samples", "40", "--generator.hidden-sizes", "6", "--discriminator.units", "4"),
    *("--reconstruction", "0.5", "--energy", "0.5"),
]
CONDITIONAL = [
    *("--preset", "quick", "--dataset", "digits", "--epochs", "1", "--out", "run"),
    *("--num-samples", "40", "--generator.hidden-sizes", "6", "--discriminator.units", "5", "4"),
]
VAE = [
    *("--preset", "quick", "--dataset", "digits", "--epochs", "1", "--out", "run"),
    *("--num-samples", "40", "--hidden-size", "6", "--latent-size", "3"),
]
TUNED = [
    *("--preset", "quick", "--dataset", "digits", "--epochs", "1", "--out", "run"),
    *("--num-samples", "40", "--generator.hidden-sizes", "6", "--discriminator.units", "5", "4"),
]
FEW_LABELS = [
    *("--preset", "quick", "--dataset", "digits", "--epochs", "1", "--out", "run"),
    *("--num-samples", "40", "--hidden-sizes", "6", "5", "--generator-sizes", "4"),
]
TUNED_COLOUR = [
    *COLOUR,
    *("--epochs", "1", "--out", "run", "--generator.channels", "4", "3"),
    *("--discriminator.channels", "3", "5"),
]
# What a line starts from, and how often.
STARTS = {
    **{"digits": 50, "alternating": 6, "seeds": 4, "sweep": 4, "replay": 0.5, "resume": 7},
    **{"accept": 4, "two stages": 3, "one stage": 1, "given stage": 2, "gcn": 3, "folder": 2},
    **{"mirror": 2, "convolutions": 2, "grey convolutions": 2, "no data": 2, "resume seeds": 2},
    **{"check": 4, "parzen": 6, "references": 5, "table1": 2, "words": 4, "processes": 0.5},
    **{"cae": 6, "vae": 4, "conditional": 12, "few labels": 4, "inpainting": 4},
    **{"gsn": 4, "dbn": 6, "tuned": 2, "tuned colour": 4},
    **{"table2": 2, "stabilisers": 2, "inference": 5, "features": 3, "report": 2, "explore": 1},
}
STARTED = {
    "alternating": on("digits", ["--order", "alternating", "--k", "2"]),
    "seeds": on("digits", ["--seeds", "2"]),
    "sweep": on("digits", ["--learning-rates", "0.05", "0.1"]),
    "replay": on("digits", ["--verify-replay"], leave=["--out"]),
    "resume": on("digits", ["--resume", "--epochs", "2"]),
    "accept": on(
        "digits", ["--resume", "--epochs", "2", "--accept-changes", "--learning-rate", "0.2"]
    ),
    "resume seeds": on("digits", ["--resume", "--epochs", "2", "--seeds", "2"]),
    "two stages": on("tfd", [*TFD, "--second-stage.epochs", "1"]),
    "given stage": on("tfd", [*TFD, "--second-stage.epochs", "1", "--first-stage", "FIRST"]),
    "one stage": on("tfd", [*TFD, "--second-stage.epochs", "0"]),
    "gcn": on("cifar10", ["--preset", "quick", "--dataset", "digits"]),
    "folder": on(
        "mnist",
        ["--dataset", "imagefolder", "--data-dir", "DATA/pictures", "--batch-size", "9"],
    ),
    "mirror": on("mnist", ["--dataset", "someone/tiny", "--data-dir", "DATA", "--batch-size", "9"]),
    "convolutions": on("cifar10-conv", [*COLOUR, *DECONVOLUTION]),
    "grey convolutions": on(
        "digits",
        [
            *("--preprocessing", "gcn", "--generator.output", "deconvolution"),
            *("--prior", "normal", *DECONVOLUTION),
        ],
    ),
    "no data": on("mnist", []),
    "cae": lambda _: Line("cae", as_options(GSN)),
    "vae": lambda _: Line("vae", as_options(VAE)),
    "inpainting": lambda _: Line("mnist-inpainting", as_options(INPAINTING)),
    "conditional": lambda _: Line("mnist-conditional", as_options(CONDITIONAL)),
    "few labels": lambda _: Line("mnist-few-labels", as_options(FEW_LABELS)),
    "gsn": lambda _: Line("gsn", as_options(GSN)),
    "dbn": lambda _: Line("dbn", as_options([*GSN, "--lower-epochs", "1"])),
    "processes": on(
        "digits", ["--coordinator", "127.0.0.1:PORT", "--processes", "1", "--process", "0"]
    ),
    "check": lambda _: Line("check", {}, first=["run"]),
    "parzen": lambda _: Line("parzen", {"--num-samples": ["300"]}, first=["run"]),
    "references": lambda _: Line(
        "references", {"--dataset": ["digits"], "--iterations": ["1"], "--out": ["rows.json"]}
    ),
    "table1": lambda _: Line("table1", {"--runs": ["run"], "--out": ["table"]}),
    "tuned": lambda _: Line("mnist-tuned", as_options(TUNED)),
    "tuned colour": lambda _: Line("cifar10-tuned", as_options(TUNED_COLOUR)),
    "table2": on_run("table2", ["--preset", "quick", "--num-samples", "40", "--out", "table"]),
    "stabilisers": lambda _: Line(
        "stabilisers", as_options(["--preset", "quick", "--seeds", "1", "--out", "found"])
    ),
    "inference": on_run("inference", ["--preset", "quick", "--steps", "2", "--out", "found"]),
    "features": on_run("features", ["--labels", "10", "--draws", "1", "--out", "found"]),
    "report": on_run("report", ["--out", "page.html"]),
    "explore": on_run("explore", []),
}
# Which finished run is in the folder `run`.
HELD = {
    **dict.fromkeys(["resume", "accept", "check", "parzen", "table1", "table2"], "digits"),
    **dict.fromkeys(["inference", "features", "report", "explore"], "digits"),
    "resume seeds": "seeds",
}
WORDS = [
    "",
    "-h",
    "--help",
    "digit",
    "Digits",
    "speed",
    "DIGITS",
    "--version",
    "--epochs",
    "\x1b[0m",
]


def drawn(draw):
    """A line: what it started from, itself, and what to run it in."""
    kind, line = start(draw)
    if kind == "words":
        if draw.random() < 0.4:
            return kind, Line(draw.choice([*BENCHMARKS, *COMMANDS]), {}, ["--help"])
        return kind, Line(draw.choice(WORDS), {}, draw.choice([[], ["1"], ["--help"]]))
    if kind == "convolutions" and draw.random() < 0.8:
        line.more += CONVOLUTIONS
    for _ in range(draw.choices([0, 1, 2, 3], [1, 10, 6, 3])[0]):
        change = draw.choices(*zip(*CHANGES.items(), strict=True))[0]
        change(draw, kind, line)
    return kind, line


def change_number(draw, kind, line):
    here = numeric(line.name)
    if not here:
        return
    option = draw.choice([*here])
    count = draw.choices([0, 1, 2, 3], [1, 6, 2, 1])[0] if option[2:].endswith(MANY) else 1
    values = [number(draw, option, here[option]) for _ in range(count)]
    line.more = [text for text in line.more if not text.startswith(f"{option}=")]
    line.options[option] = values


def change_choice(draw, kind, line):
    here = choices(line.name)
    if here:
        option = draw.choice([*here])
        word = draw.choice(here[option])
        if draw.random() < 0.5:
            word = draw.choice([word.upper(), word[:-1], "", "None", f"{word} ", "nan", "-1"])
        line.options[option] = [word]


def change_path(draw, kind, line):
    odd = draw.choice(PATHS)
    if line.first and draw.random() < 0.7:
        line.first = [odd]
    elif here := [o for o in paths(line.name) if o not in POSITIONAL.get(line.name, ())]:
        line.options[draw.choice(here)] = [odd]


def change_flag(draw, kind, line):
    here = [flag for flag in flags(line.name) if flag != "--distributed"]
    if here:
        flag = draw.choice(here)
        line.options[draw.choice([flag, flag, f"--no-{flag[2:]}"])] = []


def change_name(draw, kind, line):
    """An option unknown, misspelt, of another benchmark, twice, without its value, with two."""
    option = draw.choice([*options(line.name)])
    other = draw.choice([*options(draw.choice(["tfd", "cifar10-conv", "parzen", "references"]))])
    line.more += draw.choice(
        [
            ["--no-such-option", "1"],
            [option[:-1], "1"],
            [option.upper(), "1"],
            [option.replace("-", "_").replace("__", "--"), "1"],
            [other, "1"],
            [option],
            [option, "1", "2"],
            [option, "1", option, "2"],
            ["stray"],
            ["--"],
            ["-x"],
            [f"{option}="],
            [
                "--coordinator",
                draw.choice(
                    ["", "x", "::", ":1", "127.0.0.1:0", "127.0.0.1:99999", "[::1", "a b:1"]
                ),
                *("--processes", "1", "--process", "0"),
            ],
            ["--dataset", draw.choice(["", "Digits", "a/b/c", "../x", "no/such", "/", "owner/\n"])],
        ]
    )


CHANGES = {change_number: 66, change_choice: 7, change_path: 10, change_flag: 7, change_name: 10}


def data(place):
    """A folder of all made-up data: faces, a mirror, pictures."""
    from helpers import synthetic
    from PIL import Image

    folder = place.root / "data"
    if not folder.exists():
        drawing = np.random.default_rng(0)
        partial = place.root / "data-unfinished"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        synthetic.write_tfd(partial / "TFD_48x48.mat")
        grey = drawing.integers(0, 256, (90, 8, 8), np.uint8)
        splits = {"train": grey[:50], "validation": grey[50:70], "test": grey[70:]}
        synthetic.write_mirror(partial / "someone" / "tiny", splits)
        (partial / "pictures").mkdir()
        for row, image in enumerate(drawing.integers(0, 256, (60, 8, 8, 3), np.uint8)):
            Image.fromarray(image).save(partial / "pictures" / f"{row}.png")
        partial.rename(folder)
    return folder


@functools.cache
def make_bases(place):
    """Finished runs, of whose folders lines get copies."""
    folder = place.root / "bases"
    folder.mkdir(exist_ok=True)
    starts = {"digits": "digits", "seeds": "seeds", "faces": "two stages"}
    for name, kind in starts.items():
        if (folder / name / "results.json").exists():
            continue
        shutil.rmtree(folder / name, ignore_errors=True)
        tiny = Line("digits", as_options(TINY) | {"--epochs": ["1"]})
        line = STARTED[kind](tiny) if kind in STARTED else tiny
        line.options["--out"] = [name]
        done, _ = workers.run(settled(line, place), folder, environment(place))
        assert done.code == 0, done.stderr
    return folder


def bases(place):
    with making:
        data(place)
        return make_bases(place)


def environment(place):
    return {"ADVNETS_DATA": str(data(place))}


def settled(line, place):
    """A line's arguments, with the folders of this place."""
    found = {"DATA": str(data(place)), "FIRST": str(place.root / "bases" / "faces" / "first-stage")}
    return [re.sub("^(DATA|FIRST)", lambda m: found[m[1]], text) for text in line.arguments()]


def furnish(folder, held):
    """Puts into a folder what paths of lines name."""
    folder.mkdir()
    (folder / "a file").write_text("a line\n")
    for name in ("a folder", "empty", "read-only"):
        (folder / name).mkdir()
    (folder / "a folder" / "file").write_text("a line\n")
    (folder / "dangling").symlink_to("nowhere/at/all")
    (folder / "loop").symlink_to("loop")
    (folder / "link").symlink_to("empty")
    if held is not None:
        shutil.copytree(held, folder / "run")
    (folder / "read-only").chmod(0o555)


def seen(folder):
    """What there is in a folder: links, and files with their sizes and times."""
    found = {}
    for above, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = os.path.join(above, name)
            about = os.lstat(path)
            is_file = name in files
            key = os.path.relpath(path, folder)
            found[key] = (about.st_mode, *((about.st_size, about.st_mtime_ns) if is_file else ()))
    return found


def trial(place, seed):
    """A drawn command line is executed, and all that it left is looked at."""
    draw = random.Random(seed)
    kind, line = drawn(draw)
    held = HELD.get(kind)
    above = bases(place)
    folder = place.new()
    furnish(folder, held and above / held)
    port = f"{20000 + seed % 20000}"
    arguments = [text.replace("PORT", port) for text in settled(line, place)]
    odd = draw.random()
    how = "as usual"
    given = {text.partition("=")[0] for text in arguments}
    if "--distributed" in given or given >= {"--coordinator", "--processes", "--process"}:
        how = "kept"  # JAX must not have begun
    elif odd < 0.02 and kind in ("words", "check", "table1", "parzen", "references", "digits"):
        how = draw.choice(["closed", "no reader", "full"])
    elif odd < 0.04 or any(text.startswith("read-only") for text in arguments):
        how = "unprivileged"
    before, began = seen(folder), time.monotonic()
    found = {"start": kind, "arguments": list(map(shortened, arguments)), "how": how}
    try:
        if how in ("as usual", "unprivileged"):
            unprivileged = how == "unprivileged"
            done, printed = workers.run(
                arguments, folder, environment(place), unprivileged=unprivileged
            )
        else:
            done, printed = workers.run_afresh(arguments, folder, environment(place), stdout=how)
    except workers.Killed as killed:
        return found | {"outcome": str(killed)}
    found |= {"code": done.code, "seconds": round(time.monotonic() - began, 1)}
    wrong = fault(done, printed, before, seen(folder), folder)
    if wrong is None and done.code in (ExitCode.DONE, ExitCode.DIVERGED):
        wrong = damaged(folder, place)
    if wrong is not None:
        return found | {"outcome": wrong, "said": done.stderr[-2000:], "folder": str(folder)}
    shutil.rmtree(folder.parent)
    outcome = outcome_of(done)
    return found | {"outcome": outcome, "said": " ".join(done.sentences)[:160]}


def shortened(text):
    return text if len(text) <= 60 else f"{text[:40]}… ({len(text)} characters)"


def outcome_of(done):
    if done.code == ExitCode.DONE:
        return "done"
    return "refused in a sentence" if done.code == ExitCode.REFUSED else "stopped in a sentence"


def fault(done, printed, before, after, folder):
    """What is wrong with how a command ended, if anything is."""
    if done.traceback or re.search(r"Exception ignored|^F\d{4} ", done.stderr):
        return "traceback"
    if done.code not in CODES:
        return f"code {done.code}"
    sentences = len(done.sentences)
    if sentences != (done.code != ExitCode.DONE):
        return f"{sentences} sentences"
    if done.code == ExitCode.REFUSED and after != before:
        return "refused, and yet changed"
    if any(before.get(name) != about for name, about in after.items() if of_before(name, before)):
        return "changed what was there"
    # Notes from which a scoring goes on stay until it is done.
    partial = r"\.partial$|running\.json" + ("|-unfinished" if done.code == ExitCode.DONE else "")
    if left := [name for name in after if re.search(partial, name)]:
        return f"half-written: {left[0]}"
    for name, about in after.items():
        if name.endswith((".json", ".jsonl")) and before.get(name) != about:
            text = (folder / name).read_text()
            if (wrong := not_finite(text, lines=name.endswith("l"))) is not None:
                return f"{name.rpartition('/')[2]} holds {wrong}"
    if done.code == ExitCode.DONE and re.search(r"(?i)(?<![\w/.-])-?(nan|inf)\b", printed):
        return "prints a number that is not finite"
    return None


def of_before(name, before):
    """Whether a path is of what no command may change."""
    return name in before and name.split("/")[0] not in ("run", "empty", "link", "read-only")


def not_finite(text, *, lines):
    """What is no finite number, or no JSON, in a document."""
    wrong = []

    def number_of(digits):
        if not math.isfinite(float(digits)):
            wrong.append(digits)
        return float(digits)

    try:
        for part in text.splitlines() if lines else [text]:
            json.loads(part, parse_constant=wrong.append, parse_float=number_of)
    except ValueError as error:
        return str(error)
    return wrong[0] if wrong else None


def damaged(folder, place):
    """Checks the folders of all runs that are there."""
    configs = [path.parent for path in sorted(folder.rglob("config.json"))]
    for run in configs:
        if run.parent in configs:
            continue
        done, printed = workers.run(["check", str(run)], folder, environment(place))
        if done.code != ExitCode.DONE:
            return f"check: code {done.code}, {printed.strip()[-200:]}"
    return None
