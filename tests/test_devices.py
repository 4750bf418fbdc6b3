"""Several devices, simulated on the CPU, and several processes: the numbers of a single device."""

import os
import subprocess
import sys

import pytest

# The session's own devices are two; eight need an interpreter of their own.
PROGRAM = """
import equinox as eqx, jax, jax.numpy as jnp, numpy as np
import advnets
from advnets import _games

assert jax.device_count() == 8
images = np.random.default_rng(0).integers(0, 256, (170, 2, 3), np.uint8)

def players(key):
    g_key, d_key = jax.random.split(key)
    return (
        advnets.mlp_generator(g_key, 4, (2, 3), hidden_sizes=[5], weight_range=0.5),
        advnets.maxout_discriminator(d_key, (2, 3), units=[4], pieces=2, weight_range=0.5),
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

settings = dict(epochs=1, batch_size=16, prior=advnets.Uniform(4), progress=False)
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
for on_cpu in (True, False):
    _games._on_cpu = lambda: on_cpu
    runs = [
        advnets.train_seeds(
            keys, *eqx.filter_vmap(players)(player_keys), images, **settings, devices=devices
        )
        for devices in (8, 1)
    ]
    for one, other in zip(*runs, strict=True):
        compare(one, other)
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


@pytest.mark.parametrize("program", [MINIBATCH, SEEDS], ids=["minibatch", "seeds"])
def test_eight_devices_compute_what_one_does(program):
    """Over 10 updates."""
    run(program)
