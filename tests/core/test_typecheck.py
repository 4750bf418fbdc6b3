"""The type-check hook: on unless switched off, and no part of the compiled program either way."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import jax, jax.numpy as jnp, advnets
key = jax.random.key(0)
players = advnets.Players(
    advnets.networks.mlp_generator(key, 3, (4,), hidden_sizes=[5]),
    advnets.networks.maxout_discriminator(key, (4,), units=[6]),
    advnets.priors.Uniform(3),
)
rule = advnets.updates.Released(norm_limit=1.0)
for kind in (advnets.Algorithm1, advnets.Simultaneous):
    algorithm = kind(discriminator_updates=rule).for_epochs_of(5)
    state = algorithm.init(players)
    step = lambda key, state, real: algorithm.step(key, players, state, real)
    print(jax.make_jaxpr(step)(key, state, jnp.zeros((8, 4))))
points = jnp.zeros((5, 4))
print(jax.make_jaxpr(advnets.parzen.log_density)(points, points, jnp.ones(2)))
try:
    advnets.game.value_function("no array", jnp.zeros(3))
except Exception as error:
    print("REFUSED", type(error).__name__)
"""


def run(switch):
    environment = {**os.environ, "ADVNETS_TYPECHECK": switch}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    program, _, verdict = done.stdout.rpartition("REFUSED")
    return program, verdict.strip()


def test_the_hook_can_be_switched_off_and_leaves_the_program_unchanged():
    (checked, on), (unchecked, off) = run("1"), run("0")
    assert on == "TypeCheckError"
    assert off != "TypeCheckError"
    assert len(checked) > 1000
    assert checked == unchecked


def test_the_package_is_checked_here():
    if os.environ.get("ADVNETS_TYPECHECK") == "0":
        pytest.skip("switched off in this environment")
    import jaxtyping

    import advnets

    with pytest.raises(jaxtyping.TypeCheckError):
        advnets.game.value_function("no array", "no array")
