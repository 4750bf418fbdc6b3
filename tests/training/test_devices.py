"""Several devices, simulated on the CPU, and several processes: the numbers of a single device."""

import json
import os
import socket
import subprocess
import sys

import pytest

from advnets.bench.__main__ import main

# The session's own devices are two; eight need an interpreter of their own.
PROGRAM = """
import functools, tempfile
import equinox as eqx, jax, jax.numpy as jnp, numpy as np
import advnets
from advnets import _games

assert jax.device_count() == 8
images = np.random.default_rng(0).integers(0, 256, (170, 2, 3), np.uint8)

def players(key):
    g_key, d_key = jax.random.split(key)
    return (
        advnets.networks.mlp_generator(g_key, 4, (2, 3), hidden_sizes=[5], weight_range=0.5),
        advnets.networks.maxout_discriminator(d_key, (2, 3), units=[4], pieces=2, weight_range=0.5),
    )

def leaves(trained):
    return jax.tree.leaves(eqx.filter((trained.generator, trained.discriminator), eqx.is_array))

def compare(one, other):
    for x, y in zip(leaves(one), leaves(other), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-7)
    (ours,), (theirs,) = one.metrics, other.metrics
    for player in ("discriminator", "generator"):
        for name, value in theirs[player].items():
            np.testing.assert_allclose(ours[player][name], value, rtol=1e-5)

settings = dict(epochs=1, batch_size=16, prior=advnets.priors.Uniform(4), progress=False)
"""

MINIBATCH = """
for chosen in ({"order": "simultaneous"}, {"k": 2}):
    runs = [
        advnets.train(
            jax.random.key(1), *players(jax.random.key(0)), images,
            **settings | chosen, devices=devices,
        )
        for devices in (8, 1)
    ]
    assert runs[0].updates == 10
    compare(*runs)
    assert all(len(x.devices()) == 1 for x in leaves(runs[0]))
"""

SEEDS = """
keys, player_keys = jax.random.split(jax.random.key(2), (2, 8))
runs = []
for devices, on_cpu in ((1, True), (8, True), (8, False)):
    _games._on_cpu = lambda: on_cpu
    runs.append(
        advnets.train_seeds(
            keys, *eqx.filter_vmap(players)(player_keys), images, **settings, devices=devices
        )
    )
for other in runs[1:]:
    for one, same in zip(runs[0], other, strict=True):
        compare(one, same)
"""

# A minibatch of 96 rows in parts of 12, one sum of gradients for both players, nothing gathered.
SPREAD = r"""
import re
from advnets import _devices

generator, discriminator = players(jax.random.key(0))
updates = advnets.updates.released_updates(0.1, 10)
algorithm = advnets.Algorithm1(
    generator, discriminator, advnets.priors.Uniform(4), order="simultaneous",
    generator_updates=updates, discriminator_updates=updates,
)
mesh = _devices.make_mesh(8, "the batch size", 96)
games = _games.Games(algorithm, advnets.preprocessing.to_unit_interval, None, mesh)
state, rows = games.init(generator, discriminator), jnp.zeros((4, 96), int)
inputs = jax.random.key(0), games._fixed, state, games.place(images), rows
program = games._compiled_advance.lower(*inputs).compile().as_text()
shapes = set(re.findall(r"f32\[(96|12),", program))
assert shapes == {"12"}, shapes
assert len(re.findall(r"all-reduce\(", program)) == 1
assert not re.findall(r"(all-gather|all-to-all|collective-permute)\(", program)
"""

# Large weights, and the velocities beside them, an eighth on each device; the numbers of one.
CUT = r"""
_devices.LARGE = 64

def wide(key):
    g_key, d_key = jax.random.split(key)
    return (
        advnets.networks.mlp_generator(g_key, 4, (2, 3), hidden_sizes=[16, 24], weight_range=0.5),
        advnets.networks.maxout_discriminator(d_key, (2, 3), units=[16], pieces=2, weight_range=0.5),
    )

with tempfile.TemporaryDirectory() as folder:
    train = functools.partial(
        advnets.train, jax.random.key(1), *wide(jax.random.key(0)), images,
        **settings, order="simultaneous",
    )
    one, cut = train(), train(devices=8, shard_layers=True, folder=folder)
    assert cut.updates == 10
    compare(cut, one)
    assert all(len(x.devices()) == 1 for x in leaves(cut))
    again = train(folder=folder, resume=True)  # a checkpoint knows nothing of it
for x, y in zip(leaves(again), leaves(cut), strict=True):
    np.testing.assert_array_equal(x, y)

generator, discriminator = wide(jax.random.key(0))
algorithm = advnets.Algorithm1(
    generator, discriminator, advnets.priors.Uniform(4), order="simultaneous",
    generator_updates=updates, discriminator_updates=updates,
)
games = _games.Games(
    algorithm, advnets.preprocessing.to_unit_interval, None, mesh, shard_layers=True
)
state = games.init(generator, discriminator)
before = jax.tree.map(lambda x: x.sharding, state)
state, _ = games.advance(jax.random.key(0), state, games.place(images), rows)
cut = []
for x, lay in zip(jax.tree.leaves(state), jax.tree.leaves(before), strict=True):
    parts = {part.data.size for part in x.addressable_shards}
    assert parts == {x.size // 8 if x.size >= 64 else x.size}, (x.shape, parts)
    assert x.sharding.is_equivalent_to(lay, x.ndim)
    cut += [x.shape] if x.size >= 64 else []
# Of the generator and the discriminator, with velocities.
assert sorted(cut) == sorted(2 * [(16, 4), (24, 16), (6, 24), (2, 16, 6)]), cut
"""


def run(program):
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "8", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM + program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr


def test_eight_devices_compute_what_one_does_and_each_a_part():
    """Over 10 updates."""
    run(MINIBATCH + SEEDS + SPREAD + CUT)


COMMAND = [
    sys.executable, "-m", "advnets.bench", "digits", "--epochs", "1", "--evaluate-every", "1",
    "--num-samples", "50", "--generator.hidden-sizes", "16", "--discriminator.units", "8",
]  # fmt: skip


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def run_together(arguments, slurm):
    """The command in two processes that find each other on the loopback address."""
    port = free_port()
    started = []
    for number in ("0", "1"):
        environment = os.environ | {"JAX_NUM_CPU_DEVICES": "1", "JAX_PLATFORMS": "cpu"}
        if slurm:  # what srun tells its tasks; JAX makes a port of the job's number
            where = ["--distributed"]
            environment |= {
                "SLURM_JOB_ID": str(port % 4096),
                "SLURM_STEP_NODELIST": "localhost",
                "SLURM_NTASKS": "2",
                "SLURM_PROCID": number,
                "SLURM_LOCALID": number,
            }
        else:
            where = ["--coordinator", f"127.0.0.1:{port}", "--processes", "2", "--process", number]
        started.append(
            subprocess.Popen(
                [*COMMAND, *arguments, *where],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    try:
        said = [process.communicate(timeout=600) for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 0], said
    return [out for out, _ in said]


def content(folder):
    result = json.loads((folder / "results.json").read_text())
    return {k: v for k, v in result.items() if k not in ("provenance", "updates_per_second")}


def close(ours, theirs):
    """Equal, but for the rounding of floats."""
    if isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(close(ours[k], theirs[k]) for k in theirs)
    if isinstance(theirs, float):
        return ours == pytest.approx(theirs, rel=1e-5, abs=1e-6)
    return ours == theirs


@pytest.mark.parametrize(("seeds", "slurm"), [("1", False), ("2", True)])
def test_two_processes_leave_one_result_which_is_that_of_one(seeds, slurm, tmp_path):
    arguments = ["--seeds", seeds, "--out"]
    first, second = run_together([*arguments, str(tmp_path / "two")], slurm)
    assert "Parzen log-likelihood" in first
    assert "Parzen" not in second
    assert main([*COMMAND[3:], *arguments, str(tmp_path / "one")]) == 0
    names = [
        {str(path.relative_to(tmp_path / part)) for path in (tmp_path / part).rglob("*.*")}
        for part in ("two", "one")
    ]
    assert {n for n in names[0] if "checkpoints" not in n} == {
        n for n in names[1] if "checkpoints" not in n
    }
    assert close(content(tmp_path / "two"), content(tmp_path / "one"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--devices", "0"], "devices must be at least 1 and at most 2"),
        (["--devices", "3"], "got 3 (JAX_NUM_CPU_DEVICES=N in the environment gives a CPU N)"),
        (
            ["--devices", "2", "--batch-size", "25"],
            "batch size must be a multiple of the 2 devices",
        ),
        (["--devices", "2", "--seeds", "3"], "number of seeds must be a multiple of the 2 devices"),
        (["--processes", "2", "--process", "0"], "need --coordinator HOST:PORT"),
        (["--coordinator", "localhost:1", "--distributed"], "no --distributed"),
        (
            ["--coordinator", "localhost:1", "--processes", "2", "--process", "2"],
            "below --processes 2; got 2",
        ),
    ],
)
def test_what_does_not_divide_or_lacks_is_refused(arguments, message, tmp_path, capsys):
    assert main([*COMMAND[3:], *arguments, "--out", str(tmp_path / "run")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
