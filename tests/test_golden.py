"""Numbers that must not move: two epochs of the digits, recorded before the code was rearranged.

Where jaxlib, the processor and its vector instructions are those of the record, metrics and
parameters are the recorded ones bit for bit; elsewhere a compiler may round otherwise, and they are
close. To record anew, with a reason that the change log gives: `python tests/test_golden.py`.
"""

import json
import os
import sys
from pathlib import Path

import equinox as eqx
import jax
import jaxlib
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import advnets
from advnets._provenance import _processor

RECORD = Path(__file__).parent / "golden"
RATES = np.array([0.05, 0.05, 0.2, 0.2])


def vectors():
    """The processor's vector instructions: one name stands for processors that differ in them."""
    info = Path("/proc/cpuinfo")
    words = info.read_text().split() if info.exists() else []
    return sorted({word for word in words if word.startswith(("avx", "fma"))})


def environment():
    return {
        "jaxlib": jaxlib.__version__,
        "processor": _processor(),
        "vectors": vectors(),
        "optimised": os.environ.get("JAX_DISABLE_MOST_OPTIMIZATIONS") != "1",
    }


def players(key):
    g_key, d_key = jax.random.split(key)
    return advnets.Players(
        advnets.networks.mlp_generator(g_key, 100, (8, 8), hidden_sizes=[16, 16]),
        advnets.networks.maxout_discriminator(d_key, (8, 8), units=[8, 8]),
    )


def at_rate(rate):
    rule = advnets.updates.Released(rate)
    return advnets.Simultaneous(generator_updates=rule, discriminator_updates=rule)


def one(algorithm, **settings):
    key = jax.random.key(1)
    return [advnets.train(key, players(jax.random.key(0)), algorithm=algorithm, **settings)]


def many(keys, **settings):
    return advnets.train_many(keys, eqx.filter_vmap(players)(keys), **settings)


def rates(algorithm, **settings):
    keys = jax.random.split(jax.random.key(2))[np.array([0, 1, 0, 1])]
    return many(keys, vary=jax.numpy.asarray(RATES, float), algorithm=algorithm, **settings)


CASES = {
    "alternating": (one, advnets.Algorithm1()),
    "three-steps-of-d": (one, advnets.Algorithm1(k=3)),
    "learning-rates": (rates, at_rate),
}


def arrays(trained):
    leaves = jax.tree.leaves(
        eqx.filter((trained.generator, trained.discriminator), eqx.is_inexact_array)
    )
    return {f"{number:02}": np.asarray(leaf) for number, leaf in enumerate(leaves)}


def numbers_of(results):
    found = {f"{run}/{name}": x for run, t in enumerate(results) for name, x in arrays(t).items()}
    return found, [trained.metrics for trained in results]


def play(name, folder, *, stop=None):
    """The parameters and metrics of a case, perhaps stopped after some epochs and resumed."""
    run, algorithm = CASES[name]
    settings = {
        "data": advnets.data.load("digits").train,
        "evaluate_every": 1,
        "folder": folder,
        "progress": False,
    }
    if stop is not None:
        run(algorithm, epochs=stop, **settings)
    return numbers_of(run(algorithm, epochs=2, resume=stop is not None, **settings))


COMMAND = [
    "digits", "--epochs", "2", "--evaluate-every", "1", "--num-samples", "100", "--seed", "3",
    "--generator.hidden-sizes", "16", "16", "--discriminator.units", "8", "8",
    *("--order", "simultaneous", "--update-rule", "momentum", "--learning-rate", "0.1"),
    *("--average", "None"),
    *("--discriminator.weight-range", "0.005", "--discriminator.input-keep", "0.8"),
]  # fmt: skip


def play_command(folder):
    """The last generator, the metrics and the scores of a run from the command line."""
    from advnets.bench.__main__ import main

    assert main([*COMMAND, "--out", str(folder)]) == 0
    results = json.loads((folder / "results.json").read_text())
    kept = ("parzen", "best", "memorisation", "epochs", "updates", "order", "recipe")
    weights = load_file(folder / "generator.safetensors")
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for row in metrics:
        row.pop("model_sha256", None)  # of a file, which has its own form
    numbered = {f"{number:02}": weights[name] for number, name in enumerate(sorted(weights))}
    for name in ("update_rule", "average", "penalty", "penalty_every", "final_rate"):  # newer
        del results["recipe"][name]
    del results["recipe"]["discriminator"]["layers"]  # likewise
    return numbered, {"metrics": metrics, "results": {name: results[name] for name in kept}}


def close(ours, theirs, path=""):
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys(), path
        for name in theirs:
            close(ours[name], theirs[name], f"{path}.{name}")
    elif isinstance(theirs, list):
        assert len(ours) == len(theirs), path
        for number, (x, y) in enumerate(zip(ours, theirs, strict=True)):
            close(x, y, f"{path}[{number}]")
    elif isinstance(theirs, float):
        assert ours == pytest.approx(theirs, rel=2e-3, abs=2e-3), path
    else:
        assert ours == theirs, path


def check(name, found):
    weights, rest = found
    recorded = load_file(RECORD / f"{name}.safetensors")
    expected = json.loads((RECORD / f"{name}.json").read_text())
    assert weights.keys() == recorded.keys()
    here = json.loads(json.dumps(rest))
    if json.loads((RECORD / "environment.json").read_text()) == environment():
        assert here == expected
        for key, array in recorded.items():
            np.testing.assert_array_equal(weights[key], array)
    else:
        close(here, expected)
        for key, array in recorded.items():
            np.testing.assert_allclose(weights[key], array, rtol=1e-3, atol=1e-4)


@pytest.mark.long
@pytest.mark.usefixtures("all_passes")
@pytest.mark.parametrize("name", CASES)
def test_numbers_are_those_recorded(name, tmp_path):
    """One of them stopped and resumed on the way."""
    check(name, play(name, tmp_path, stop=1 if name == "three-steps-of-d" else None))


def test_a_command_leaves_the_numbers_recorded(tmp_path):
    check("command", play_command(tmp_path / "run"))


def record(name, found):
    weights, rest = found
    save_file(weights, RECORD / f"{name}.safetensors")
    (RECORD / f"{name}.json").write_text(json.dumps(rest, indent=1) + "\n")


if __name__ == "__main__":
    import tempfile

    if jax.default_backend() != "cpu":
        sys.exit("record on a CPU: JAX_PLATFORMS=cpu")
    (RECORD / "environment.json").write_text(json.dumps(environment(), indent=1) + "\n")
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            record(case, play(case, Path(folder)))
    with tempfile.TemporaryDirectory() as folder:
        record("command", play_command(Path(folder) / "run"))
