"""Fuzzed calls of every public function: documented exceptions only, no silent NaN, no hang.

Calls that examples and small runs make are repeated with arguments replaced by extremes, values of
other types, and arrays that are empty, of other shapes or types, or not finite. One process makes
many calls: the harness writes the number of a trial to it and reads a line of JSON.
"""

import copy
import dataclasses
import gc
import inspect
import json
import math
import os
import random
import re
import resource
import selectors
import shutil
import signal
import subprocess
import sys
import threading
import traceback
import warnings
from pathlib import Path

MEMORY = 12 * 2**30
SECONDS = 300
SETTING_UP = 1800


def trial(place, seed):
    """A call, made by the process of this thread."""
    if not hasattr(workers, "one"):
        workers.one = Worker(place)
    found = workers.one.ask(seed)
    if workers.one.process.poll() is not None:
        workers.one = Worker(place)
    return found


workers = threading.local()


class Worker:
    """A process that makes calls."""

    def __init__(self, place):
        folder = place.new().parent
        errors = folder / "worker.err"
        with errors.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "faults.calls", str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=err,
                text=True,
                # Programs compile in half the time: how calls end is looked at, not what they cost.
                env=os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
            )
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.process.stdout, selectors.EVENT_READ)
        if self.line(SETTING_UP) != "ready\n":
            raise RuntimeError(f"a worker did not start: {errors.read_text()[-2000:]}")

    def line(self, seconds):
        return self.process.stdout.readline() if self.selector.select(seconds) else ""

    def ask(self, seed):
        try:
            self.process.stdin.write(f"{seed}\n")
            self.process.stdin.flush()
            answer = self.line(SECONDS)
        except BrokenPipeError:
            answer = ""
        if answer:
            return json.loads(answer)
        hangs = not self.selector.select(0)  # of one that has ended there is the end to read
        self.process.kill()
        ended = self.process.wait()
        return {"outcome": "HANG" if hangs else f"CRASH: return code {ended}"}


# The arguments.

WORDS = ["", "no such name", "\0", "é" * 300, "../../x", "-1", "nan", "a\nb", "[x]"]
WHOLE = [0, -1, 1, 2, 3, 7, 2**31, 2**63, 10**30, -(2**63)]
REAL = [0.0, -0.0, -1.0, 1.0, 0.5, 1.5, math.nan, math.inf, -math.inf, 1e-300, 1e300, 1e-45, 1e39]


def others(draw):
    """A value of some other type."""
    import jax
    import numpy as np

    kinds = [
        *(None, True, 3, 0.5, "word", [], [1, "x"], {}, {"a": None}, (), object(), int, len, b"x"),
        *(np.float32(1), np.zeros(0), np.array(["a"]), jax.random.key(0), jax.random.PRNGKey(0)),
        *(1 + 2j, range(3), Path("/nowhere"), np.array(None, object), lambda *a, **k: a),
    ]
    return draw.choice(kinds)


def replaced(value, draw):
    """Another value in the place of an argument, and what was done to it."""
    import equinox as eqx
    import jax
    import numpy as np

    if draw.random() < 0.15:
        other = others(draw)
        return other, f"{type(other).__name__} {other!r:.30}"
    if isinstance(value, bool):
        return not value, f"{not value}"
    if isinstance(value, int):
        other = draw.choice(WHOLE + REAL)
        return other, f"{other}"
    if isinstance(value, float):
        other = draw.choice(REAL + WHOLE)
        return other, f"{other}"
    if isinstance(value, str):
        other = draw.choice(WORDS)
        return other, f"{other!r:.30}"
    if isinstance(value, os.PathLike):
        # None is outside of the folder that the calls write into: they may be the superuser's.
        other = Path(draw.choice([*WORDS[1:4], *WORDS[5:], "pipe", "file/below", "x" * 5000]))
        return other, f"{other!r:.30}"
    if isinstance(value, np.ndarray | jax.Array):
        return of_array(value, draw)
    if isinstance(value, list | tuple) and value and draw.random() < 0.8:
        number = draw.randrange(len(value))
        if draw.random() < 0.3:
            kind = draw.choice(["emptied", "twice", "shorter"])
            other = {"emptied": value[:0], "twice": value + value, "shorter": value[:-1]}[kind]
            return other, kind
        one, what = replaced(value[number], draw)
        other = [*value[:number], one, *value[number + 1 :]]
        items = other if isinstance(value, list) else tuple(other)
        return (type(value)(*items) if hasattr(value, "_fields") else items), f"[{number}]: {what}"
    if isinstance(value, dict) and value and draw.random() < 0.8:
        key = draw.choice(sorted(value, key=str))
        if draw.random() < 0.3:
            return {k: v for k, v in value.items() if k != key}, f"without {key!r}"
        one, what = replaced(value[key], draw)
        return value | {key: one}, f"[{key!r}]: {what}"
    if isinstance(value, eqx.Module) and draw.random() < 0.5:
        return of_module(value, draw)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [f.name for f in dataclasses.fields(value) if f.init]
        if fields:
            name = draw.choice(fields)
            one, what = replaced(getattr(value, name), draw)
            other = copy.copy(value)
            try:
                other = dataclasses.replace(value, **{name: one})
                return other, f".{name}: {what}"
            except Exception:  # it refuses that itself
                pass
    other = others(draw)
    return other, f"{type(other).__name__} {other!r:.30}"


def of_module(value, draw):
    """A module with another array in it."""
    import jax
    import numpy as np

    leaves, structure = jax.tree.flatten(value)
    arrays = [n for n, x in enumerate(leaves) if isinstance(x, np.ndarray | jax.Array)]
    if not arrays:
        return value, "as it is"
    number = draw.choice(arrays)
    leaves[number], what = of_array(leaves[number], draw)
    return jax.tree.unflatten(structure, leaves), f"leaf {number}: {what}"


def of_array(value, draw):
    """An array in the place of another."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    if jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
        kind = draw.choice(["raw", "more", "int", "shape (0,)"])
        variants = {
            "raw": lambda: jax.random.PRNGKey(0),
            "more": lambda: jax.random.split(jax.random.key(1), 3),
            "int": lambda: 7,
            "shape (0,)": lambda: jax.random.split(jax.random.key(1), 0),
        }
        return variants[kind](), f"key: {kind}"
    host = np.array(value)
    floats = host.dtype.kind == "f"
    kinds = [
        "empty",
        "axis more",
        "axis less",
        "one row",
        "zeros",
        "constant",
        "list",
        "other kind",
    ]
    kinds += [
        "int64",
        "float64",
        "float16",
        "bool",
        "uint8",
        "complex",
        "object",
        "longer",
        "negative",
    ]
    kinds += ["nan", "inf", "-inf", "all nan", "huge", "tiny"] * (2 if floats else 0)
    kind = draw.choice(kinds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == "empty":
            host = host[:0] if host.ndim else np.zeros(0, host.dtype)
        elif kind == "axis more":
            host = host[None]
        elif kind == "axis less":
            host = host[0] if host.ndim and len(host) else np.zeros(3, host.dtype)
        elif kind == "one row":
            host = host[:1] if host.ndim else host
        elif kind == "longer":
            host = np.concatenate([host, host]) if host.ndim else host
        elif kind == "zeros":
            host = np.zeros_like(host)
        elif kind == "constant":
            host = np.full_like(host, 3)
        elif kind == "negative":
            host = -host if host.dtype != bool else host
        elif kind == "list":
            return host.tolist(), kind
        elif kind == "other kind":
            return (jnp.asarray(host) if isinstance(value, np.ndarray) else host), kind
        elif kind in ("int64", "float64", "float16", "bool", "uint8", "complex", "object"):
            host = host.astype(kind)
            if kind == "object":
                return host, kind
        elif kind.endswith("nan") or kind.endswith("inf") or kind in ("huge", "tiny"):
            number = {"huge": 3e38, "tiny": 1e-45}.get(kind) or float(kind.removeprefix("all "))
            if not host.size or kind == "all nan":
                host = np.full_like(host, number)
            else:
                host.flat[draw.randrange(host.size)] = number
        array = host if isinstance(value, np.ndarray) else jnp.asarray(host)
    return array, kind


# What is made of a call.


# What any function may raise (docs/errors.md): what its docstring names; where an argument is of a
# wrong type or shape, a TypeCheckError; of a file, an OSError; of memory, a MemoryError or JAX's
# RESOURCE_EXHAUSTED; of a pytree or a function that it is given, what JAX or that function raises.
OPEN = r"PyTree|Any|Callable|Applied|Players|Module|State|Struct|Draws|Blocks|Sequence|Iterable"


APPLIED = "__call__", "apply", "judge"
MODULES_OF_LAYERS = "layers", "convolutions", "players", "model", "few_labels", "inference"


def allowed(function, error, changed):
    """Whether an exception is one that a function documents."""
    from advnets import _checking

    if isinstance(error, _checking.TypeCheckError | MemoryError | OSError):
        return True
    if "RESOURCE_EXHAUSTED" in str(error) or "Out of memory" in str(error):
        return True
    if "embedded null" in str(error):  # what Python says of such a path
        return True
    if isinstance(error, TypeError) and re.search(
        r"unexpected keyword|missing .* required|positional arguments?|multiple values", str(error)
    ):
        return True
    doc = inspect.getdoc(function) or ""
    if any(kind.__name__ in doc for kind in type(error).__mro__[:-2]):
        return True
    if not isinstance(error, TypeError | ValueError | AttributeError | LookupError):
        return False
    if any(re.match(r"\[|\.|leaf", what) for what in changed.values()):  # inside of an argument
        return True
    layer = function.__module__.rpartition(".")[2] in MODULES_OF_LAYERS
    if layer and function.__name__ in APPLIED:  # inputs of another shape
        return True
    if "not checked" in doc:
        return True
    parameters = inspect.signature(function).parameters
    given = [str(parameters[name].annotation) for name in changed if name in parameters]
    return any(re.search(OPEN, annotation) for annotation in given)


def unchecked(function):
    """Whether what a function takes is not checked, by its documentation or its module's."""
    doc = f"{inspect.getdoc(function)} {sys.modules[function.__module__].__doc__}"
    return "not checked" in doc or "check nothing" in doc


def non_finite(tree):
    """Whether a NaN, or an infinity, is anywhere in a result."""
    import jax
    import numpy as np

    nan = infinite = False
    for path, leaf in jax.tree.leaves_with_path(tree):
        if "gradient_norm" in str(path[-1:]):  # NaN where it was not computed, by definition
            continue
        if isinstance(leaf, float | np.floating | np.ndarray | jax.Array):
            try:
                array = np.asarray(leaf)
            except Exception:
                continue
            if array.dtype.kind in "fc":
                nan |= bool(np.isnan(array).any())
                infinite |= bool(np.isinf(array).any() or (np.abs(array) > 1e18).any())
    return nan, infinite


class Caller:
    """Functions, calls of each, and the folder that the calls write into."""

    def __init__(self, root):
        from faults import harvest

        self.root = root
        (root / "now").mkdir()
        os.chdir(root / "now")
        os.mkfifo("pipe")
        Path("file").touch()
        self.calls = {}
        harvest.gather(self.calls, root / "now")
        self.functions = harvest.functions()
        self.names = sorted(self.functions)
        left_out = [name for name in self.names if not self.calls.get(name)]
        assert not left_out, f"nothing calls {', '.join(left_out)}; see harvest.py"
        self.copy("now", "before")
        self.before = self.listing()

    def copy(self, one, other):
        """A copy of a folder, with its pipes."""
        subprocess.run(["cp", "-a", self.root / one, self.root / other], check=True)

    def listing(self):
        found = {}
        for path in (self.root / "now").rglob("*"):
            at = path.lstat()
            found[path] = (at.st_size, at.st_mtime_ns) if path.is_file() else None
        return found

    def restored(self):
        """Makes the folder what it was; the names of files that were half written."""
        now = self.listing()
        partial = [path.name for path in now if "partial" in path.name]
        if now != self.before:
            os.chdir("/")
            shutil.rmtree(self.root / "now")
            self.copy("before", "now")
            os.chdir(self.root / "now")
            self.before = self.listing()
        return partial

    def call(self, seed):
        """The call of a number, and what became of it."""
        import equinox as eqx
        import jax

        from faults import harvest

        draw = random.Random(seed)
        name = self.names[seed % len(self.names)]
        function = self.functions[name]
        given = {k: harvest.fresh(v) for k, v in draw.choice(self.calls[name]).items()}
        changed = []
        can = sorted(given.keys() - {"self"})
        if not can and isinstance(given.get("self"), eqx.Module):
            can = ["self"]
        for key in draw.sample(can, min(len(can), draw.choice([1, 1, 1, 2, 3]))):
            given[key], what = (of_module if key == "self" else replaced)(given[key], draw)
            changed.append(f"{key}: {what}")
        found = {"function": name, "with": ", ".join(changed)}
        nan_in, infinite_in = non_finite(list(given.values()))
        huge = infinite_in or any(re.search("nan|inf|1e[+]?3|2147|9223|10{9}", c) for c in changed)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result = call_by_name(function, given)
                if inspect.isgenerator(result):
                    result = [one for one, _ in zip(result, range(3), strict=False)]
                jax.block_until_ready([x for x in jax.tree.leaves(result) if hasattr(x, "dtype")])
                nan, _ = non_finite(result)
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            documented = allowed(function, error, dict(c.split(": ", 1) for c in changed))
            found |= {"outcome": "a documented exception" if documented else "UNDOCUMENTED"}
            if not documented:
                last = traceback.extract_tb(error.__traceback__)[-1]
                where = f"{Path(last.filename).name}:{last.lineno}"
                found |= {"said": f"{type(error).__name__}: {error}"[:300], "where": where}
        else:
            if nan and not (nan_in or huge or unchecked(function)):
                found |= {"outcome": "SILENT NaN"}
            elif nan:
                found |= {"outcome": "a NaN of what was not finite or overflows"}
            else:
                found |= {"outcome": "a result"}
        partial = self.restored()
        if partial:
            found |= {"outcome": "HALF WRITTEN", "said": str(partial)}
        return found


def call_by_name(function, given):
    """Calls a function with its parameters by name."""
    parameters = inspect.signature(function).parameters
    args, kwargs = [], {}
    for name, value in given.items():
        kind = parameters[name].kind if name in parameters else inspect.Parameter.KEYWORD_ONLY
        if kind is inspect.Parameter.VAR_KEYWORD and isinstance(value, dict):
            kwargs |= value
        elif kind is inspect.Parameter.VAR_POSITIONAL and isinstance(value, list | tuple):
            args += value
        elif kind in (
            inspect.Parameter.POSITIONAL_ONLY,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
        ):
            args.append(value)
        else:
            kwargs[name] = value
    return function(*args, **kwargs)


def serve(root):
    """Reads numbers of trials, and answers each with a line of JSON."""
    answers = os.fdopen(os.dup(1), "w")
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    warnings.simplefilter("ignore")
    caller = Caller(root)
    os.dup2(silent, 2)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    answers.write("ready\n")
    answers.flush()
    for number, line in enumerate(sys.stdin):
        found = caller.call(int(line))
        answers.write(json.dumps(found) + "\n")
        answers.flush()
        if number % 200 == 0:
            gc.collect()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    serve(Path(sys.argv[1]))
