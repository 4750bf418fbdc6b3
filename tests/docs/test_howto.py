"""The how-to pages' examples are short, complete, and run."""

import fnmatch
import re
import subprocess
import sys
import textwrap
import types

import jax
import pytest
from helpers import pages
from helpers.games import SHAPE, train


@pytest.mark.parametrize("name", [name for name in pages.NAMES if name not in pages.SCRIPTS])
def test_an_example_runs_and_shows_something(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    short = re.sub(r"\bepochs=\d+", "epochs=2", pages.code(name))
    with jax.numpy_dtype_promotion("standard"):  # as a reader has it; Optax's Adam needs it
        exec(compile(short, f"{name}.md", "exec"), {"__name__": name})
    assert capsys.readouterr().out or list(tmp_path.glob("*.png"))


@pytest.mark.parametrize("name", pages.NAMES)
def test_an_example_is_short(name):
    lines = [line for line in pages.code(name).splitlines() if line.strip()]
    assert len([line for line in lines if not line.startswith(("import ", "from "))]) <= 25
    assert max(map(len, lines)) <= 100


def test_the_index_has_every_page():
    index = (pages.FOLDER / "index.md").read_text("utf-8")
    listed = re.findall(r"^[a-z-]+\*?$", index, re.MULTILINE)
    names = [page.stem for page in pages.FOLDER.glob("*.md") if page.stem != "index"]
    missing = [n for n in names if not any(fnmatch.fnmatch(n, pattern) for pattern in listed)]
    assert not missing


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="limits a process as Linux does")
def test_a_memory_map_larger_than_the_memory_allowed(tmp_path):
    """1 GiB trains under a limit of 3/4 GiB, and does not fit on the device under it."""
    script = """
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (3 * 2**28, 3 * 2**28))

        import equinox as eqx
        import jax
        import numpy as np
        import optax

        import advnets
        from advnets.training import Streamed

        # A file with a hole: it takes no disk.
        np.lib.format.open_memmap("rows.npy", "w+", np.float32, (2**13, 2**15)).flush()
        rows = np.load("rows.npy", mmap_mode="r")
        key, g_key, d_key = jax.random.split(jax.random.key(0), 3)
        players = advnets.Players(
            eqx.nn.Linear(2, 2**15, key=g_key),
            eqx.nn.Linear(2**15, 1, key=d_key),
            advnets.priors.Normal(2),
        )
        rule = optax.sgd(1e-3)
        algorithm = advnets.Algorithm1(generator_updates=rule, discriminator_updates=rule)
        trained = advnets.train(key, players, Streamed(rows), epochs=1, algorithm=algorithm)
        print(trained.updates)
        try:
            jax.numpy.asarray(rows)
        except jax.errors.JaxRuntimeError as error:
            print(str(error).split(":")[0])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout.splitlines() == ["81", "RESOURCE_EXHAUSTED"], done.stderr


@pytest.mark.long
def test_weights_and_biases_are_given_numbers_and_images(monkeypatch):
    """The page's snippet, with a stub in the place of the package."""
    (snippet,) = re.findall(r"^```py\n(.*?)^```", pages.text("callbacks"), re.DOTALL | re.MULTILINE)
    logged = []
    run = types.SimpleNamespace(log=lambda row, step: logged.append((row, step)))
    stub = types.SimpleNamespace(init=lambda **_: run, Image=lambda image: ("image", image.shape))
    monkeypatch.setitem(sys.modules, "wandb", stub)
    namespace = {"sample_key": jax.random.key(0)}
    exec(snippet, namespace)
    train(2, callbacks=[namespace["log"]])
    ((row, step),) = logged
    assert step == 2
    assert row["generator"]["cost"] > 0
    assert row["samples"] == [("image", SHAPE)] * 64
