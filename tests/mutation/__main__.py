"""`python -m mutation`: changes the code at random places, and asks whether its tests notice.

cosmic-ray makes the mutants; a test run under coverage says which tests execute which line. Each
mutant is judged in a process of its own, on a copy of the project, first by the tests that execute
its line, then by all of the module's own tests. Records are lines of JSON: the same command goes on
where it was stopped.
"""

import argparse
import ast
import collections
import concurrent.futures
import contextlib
import difflib
import functools
import json
import multiprocessing
import os
import queue
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree
from pathlib import Path

import coverage
import msgspec
from cosmic_ray.commands.init import init
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import use_db
from tqdm import tqdm

from advnets.bench.results import Provenance
from mutation import preloaded, records

ROOT = Path(__file__).resolve().parents[2]
# What is changed, and the tests that are its own: all of them judge what others leave alive.
OWN = {
    "game": ["core/test_game.py"],
    "algorithms": ["core/test_algorithms.py", "core/test_average.py"],
    "conditional": ["core/test_conditional.py", "core/test_conditional_players.py"],
    "conditions": ["core/test_conditions.py"],
    "coordination": ["core/test_coordination.py"],
    "energy": ["evaluation/test_energy.py"],
    "few_labels": ["core/test_few_labels.py"],
    "inference": ["evaluation/test_inference.py"],
    "inpainting": ["core/test_inpainting.py"],
    "monitor/gap": ["monitor/test_gap.py"],
    "monitor/response": ["monitor/test_response.py"],
    "monitor/samples": ["monitor/test_samples.py"],
    "rejection": ["core/test_rejection.py"],
    "objectives/divergences": ["core/test_ready_objectives.py"],
    "objectives/f_gan": ["core/test_ready_objectives.py"],
    "objectives/gan": ["core/test_objectives.py"],
    "objectives/hinge": ["core/test_ready_objectives.py"],
    "objectives/instance_noise": ["core/test_ready_objectives.py"],
    "objectives/least_squares": ["core/test_ready_objectives.py"],
    "objectives/of_logits": ["core/test_objectives.py", "core/test_ready_objectives.py"],
    "objectives/penalties": ["core/test_ready_objectives.py"],
    "objectives/penalised": ["core/test_ready_objectives.py"],
    "objectives/relativistic": ["core/test_ready_objectives.py"],
    "objectives/wasserstein": ["core/test_ready_objectives.py"],
    "layers": ["core/test_layers.py"],
    "updates": ["core/test_updates.py"],
    "parzen": ["evaluation/test_parzen_protocol.py", "evaluation/test_parzen.py"],
    "players": ["core/test_players.py"],
    "priors": ["core/test_priors.py"],
    "preprocessing": ["core/test_preprocessing.py"],
    "batches": ["core/test_batches.py"],
    "draws": ["core/test_draws.py"],
    "_documents": ["core/test_documents.py"],
    "_files": ["core/test_files.py"],
    "_locks": ["training/test_locks.py"],
    "model_files": ["test_model_files.py"],
    "training/checkpoints": ["training/test_damage.py", "training/test_resume.py"],
    "training/identity": ["training/test_identity.py", "training/test_resume.py"],
    "training/journal": [
        *("training/test_run.py", "training/test_resume.py", "training/test_stopping.py"),
    ],
    "training/sources": ["training/test_sources.py", "training/test_streaming.py"],
}
ENOUGH = 40  # seconds of tests that execute a line, the fastest first
EXAMPLES = "tests/docs/test_docstrings.py"
# Changes that can't be seen, or that any test sees: `is` among small integers is `==`, None is
# equal to itself alone, and an order of things that have none is an error.
SENSELESS = re.compile(
    r"core/ReplaceComparisonOperator_(?!Is_IsNot$|IsNot_Is$)(.*_(Is|IsNot)|(Is|IsNot)_.*)$"
)


def main():
    parser = argparse.ArgumentParser(prog="python -m mutation", description=__doc__)
    parser.add_argument("--mutants", type=int, default=320, help="how many mutants to draw")
    parser.add_argument(
        "--only",
        nargs="+",
        default=list(OWN),
        choices=OWN,
        metavar="MODULE",
        help="modules to draw them from (default: all of " + ", ".join(OWN) + ")",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--workers", type=int, default=1, help="mutants at once")
    parser.add_argument("--out", type=Path, help="folder of the records; a new one unless given")
    parser.add_argument(
        "--again",
        action="store_true",
        help="judge those alive without explanation by their modules' own tests once more",
    )
    options = parser.parse_args()
    out = (options.out or Path(tempfile.mkdtemp(prefix="advnets-mutation-"))).absolute()
    out.mkdir(parents=True, exist_ok=True)
    with (out / "provenance.jsonl").open("a") as file:
        file.write(msgspec.json.encode(Provenance.here()).decode() + "\n")
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # programs compile in half the time
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"  # no mutant leaves any
    # The tests from which those that execute a line are taken.
    judges = sorted({f"tests/{name}" for module in options.only for name in OWN[module]})
    judges.append(EXAMPLES)
    copies = queue.SimpleQueue()
    for number in range(options.workers):
        copies.put(copied(out / f"copy-{number}", judges))
    if not (out / "coverage").exists():
        measure(out, judges)
    seconds, covering = measured(out)
    if options.again:
        covering = {}  # they were judged by those tests
    judge = functools.partial(judged, out, copies, (seconds, covering))
    record = out / "mutants.jsonl"
    found = {row["mutant"]: row for row in records.read(record)} if record.exists() else {}
    to_do = [
        (number, mutant)
        for number, mutant in enumerate(drawn(options.only, options.mutants, options.seed))
        if number not in found or (options.again and records.unexplained([found[number]]))
    ]
    with concurrent.futures.ThreadPoolExecutor(options.workers) as pool:
        under_way = [pool.submit(judge, number, mutant) for number, mutant in to_do]
        for done in tqdm(concurrent.futures.as_completed(under_way), total=len(under_way)):
            row = done.result()
            found[row["mutant"]] = row
            with record.open("a") as file:
                file.write(json.dumps(row) + "\n")
    innocent = sorted({row["by"] for row in found.values() if row["by"]})
    outcome, by = tested(copies.get(), innocent, out / "compiled-0", 3600)
    if outcome != "survived":
        sys.exit(f"without a mutant too, tests fail ({by}): those can't judge any")
    print(records.table(records.read(record)))
    print(f"the records are in {out}", file=sys.stderr)
    left = records.unexplained(records.read(record))
    if left:
        sys.exit("\n".join(["survived, without an explanation:", *map(json.dumps, left)]))


def copied(folder, judges):
    """A fresh copy of the project, with its bytecode."""
    shutil.rmtree(folder, ignore_errors=True)
    unneeded = shutil.ignore_patterns(".git", ".tox", ".venv", "__pycache__", "_build", "runs")
    shutil.copytree(ROOT, folder, ignore=unneeded)
    writing = environment(folder) | {"PYTHONDONTWRITEBYTECODE": ""}
    collect = [sys.executable, "-m", "pytest", "--collect-only", "-qq", *judges]
    subprocess.run(collect, env=writing, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return folder


def environment(copy):
    return os.environ | {"PYTHONPATH": f"{copy}/src"}


def measure(out, judges):
    """Runs all judges under coverage: they must pass."""
    options = ["--cov=advnets", "--cov-context=test", "--cov-report="]
    options += [f"--junitxml={out}/durations.xml", "-q", "-p", "no:cacheprovider"]
    subprocess.run(
        [sys.executable, "-m", "pytest", *options, *judges],
        env=environment(out / "copy-0") | {"COVERAGE_FILE": f"{out}/coverage.part"},
        cwd=out / "copy-0",
        check=True,
    )
    (out / "coverage.part").rename(out / "coverage")


def measured(out):
    """The seconds of each test, and the tests that execute each line of each module."""
    cases = xml.etree.ElementTree.parse(out / "durations.xml").iter("testcase")
    seconds = {
        f"{case.get('classname').replace('.', '/')}.py::{case.get('name')}": float(case.get("time"))
        for case in cases
    }
    data = coverage.CoverageData(out / "coverage")
    data.read()
    tests = {}
    for file in data.measured_files():
        module = file.rpartition("/src/advnets/")[2].removesuffix(".py")
        tests[module] = {
            line: sorted({name.partition("|")[0] for name in contexts} & seconds.keys())
            for line, contexts in data.contexts_by_lineno(file).items()
        }
    return seconds, tests


def drawn(modules, count, seed):
    """Mutants at places drawn at random: at each, one of those that cosmic-ray can make there."""
    with tempfile.TemporaryDirectory() as folder, use_db(f"{folder}/session.sqlite") as session:
        init([ROOT / f"src/advnets/{module}.py" for module in modules], session, {})
        items = [item.mutations[0] for item in session.work_items]
    places = collections.defaultdict(list)
    for item in items:
        if not SENSELESS.match(item.operator_name):
            places[f"{item.module_path.relative_to(ROOT)}", item.start_pos].append(item)
    order = sorted(places)
    random.Random(seed).shuffle(order)
    mutants = []
    for path, start in order:
        source = (ROOT / path).read_text()
        options = sorted(places[path, start], key=lambda m: (m.operator_name, m.occurrence))
        chosen = random.Random(f"{seed} {path} {start}").choice(options)
        mutated = mutate_code(source, get_operator(chosen.operator_name)(), chosen.occurrence)
        if not typed_only(source, start) and compiles(mutated):
            mutants.append((path, start, chosen.operator_name, mutated))
        if len(mutants) == count:
            break
    return mutants


def compiles(source):
    with contextlib.suppress(SyntaxError):
        compile(source, "mutant", "exec")
        return True
    return False


def typed_only(source, start):
    """Whether a place is part of an annotation, or of an alias of types."""
    row, column = start
    place = row, len(source.splitlines()[row - 1][:column].encode())
    return any(first <= place < last for first, last in of_types(source))


@functools.cache
def of_types(source):
    nodes = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.AnnAssign):
            alias = isinstance(node.annotation, ast.Name) and node.annotation.id == "TypeAlias"
            nodes.append(node if alias else node.annotation)
        elif isinstance(node, ast.arg):
            nodes.append(node.annotation)
        elif isinstance(node, ast.FunctionDef):
            nodes.append(node.returns)
    return [
        ((node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset))
        for node in nodes
        if node
    ]


def judged(out, copies, measures, number, mutant):
    """Runs the tests of a mutant: those that execute its line, then the module's own."""
    path, (line, column), operator, mutated = mutant
    seconds, covering = measures
    module = path.removeprefix("src/advnets/").removesuffix(".py")
    chosen, total = [], 0
    for name in sorted(covering.get(module, {}).get(line, ()), key=seconds.get):
        total += seconds[name]
        if total <= ENOUGH:
            chosen.append(name)
    first = {name.partition("::")[0]: place for place, name in reversed([*enumerate(chosen)])}
    chosen.sort(key=lambda name: first[name.partition("::")[0]])  # files share fixtures
    copy = copies.get()
    compiled = out / f"compiled-{copy.name.rpartition('-')[2]}"
    file = copy / path
    original, times = file.read_text(), file.stat()
    began = time.perf_counter()
    by, outcome, tests = None, "survived", len(chosen)
    try:
        file.write_text(mutated)
        for names in (chosen, own(module, seconds)):
            if names and outcome == "survived":
                limit = 120 + 5 * sum(seconds.get(name, 20) for name in names)
                outcome, by = tested(copy, names, compiled, limit)
    finally:
        file.write_text(original)
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
        copies.put(copy)
    lines = difflib.unified_diff(original.splitlines(), mutated.splitlines(), n=0, lineterm="")
    return {
        **{"mutant": number, "module": module, "line": line, "column": column},
        **{"operator": operator.removeprefix("core/"), "change": [*lines][3:]},
        **{"outcome": outcome, "by": by, "tests": tests},
        "seconds": round(time.perf_counter() - began, 1),
    }


def own(module, seconds):
    """A module's own tests, and the examples of its docstrings."""
    examples = f"{EXAMPLES}::test_example[advnets.{module.replace('/', '.')}."
    found = [f"tests/{name}" for name in OWN[module]]
    return found + [name for name in seconds if name.startswith(examples)]


def tested(copy, names, compiled, limit):
    """Runs tests of a copy in a process of their own: what became of it, and what failed first."""
    receiving, sending = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(
        target=preloaded.run, args=(str(copy), names, str(compiled), sending), daemon=True
    )
    process.start()
    sending.close()
    answered = receiving.poll(limit)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.join()
    if not answered:
        return "timed out", None
    try:
        code, failed = receiving.recv()
    except EOFError:  # the process died
        return "crashed", None
    if code == 0:
        return "survived", None
    return ("killed", failed[0]) if failed else (f"pytest's exit code {code}", None)


CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["mutation.preloaded"])

if __name__ == "__main__":
    main()
