"""What a program over several devices computes where."""

import re

import equinox as eqx
import jax
import optax
import pytest
from helpers import seams
from helpers.games import SHAPE, images, noisy, plain, wide

import advnets
from advnets.training import Resident
from advnets.training.devices import make_mesh
from advnets.training.program import ManyGames

KEY = jax.random.key(0)
RULE = optax.sgd(0.1, momentum=0.5)
ALGORITHM = advnets.Simultaneous(generator_updates=RULE, discriminator_updates=RULE)


@pytest.mark.long
def test_each_device_has_its_rows_and_nothing_is_gathered():
    """A minibatch of 96 rows in parts of 48, and one sum of gradients for both players."""
    mesh = make_mesh(2, "the batch size", 96)
    program, inputs = seams.one_game(ALGORITHM, noisy(KEY), images(), 96, mesh)
    text = program.compiled_text(*inputs)
    assert set(re.findall(r"f32\[(96|48),", text)) == {"48"}
    assert len(re.findall(r"all-reduce\(", text)) == 1
    assert not re.findall(r"(all-gather|all-to-all|collective-permute)\(", text)


@pytest.mark.long
def test_weights_and_velocities_are_sharded_along_an_axis_that_divides(monkeypatch):
    seams.large(monkeypatch, 60)
    mesh = make_mesh(2, "the batch size", 4)
    program, inputs = seams.one_game(ALGORITHM, wide(KEY), images(), 4, mesh, shard_layers=True)
    key, state, *rest = inputs
    before = jax.tree.map(lambda x: x.sharding, state)
    for _ in range(2):
        state, _ = program.advance(key, state, *rest)
    assert program.compilations == 1  # the second call finds everything where the first did
    sharded = []
    for x, sharding in zip(jax.tree.leaves(state), jax.tree.leaves(before), strict=True):
        parts = {part.data.size for part in x.addressable_shards}
        assert parts == {x.size // 2 if x.size >= 60 else x.size}, (x.shape, parts)
        assert x.sharding.is_equivalent_to(sharding, x.ndim)
        sharded += [x.shape] if x.size >= 60 else []
    # The generator's, (9, 16) along the second axis; and their velocities.
    assert sorted(sharded) == sorted(2 * [(16, 4), (9, 16)])


def test_a_game_that_there_is_not_is_refused():
    """JAX would take the nearest one."""
    one, (_, state, *_) = seams.one_game(ALGORITHM, noisy(KEY), images(), 5, None)
    players = eqx.filter_vmap(plain)(jax.random.split(KEY, 2))
    source = Resident(images())
    many = ManyGames(lambda _: ALGORITHM, None, players, source, 5, None, 2)
    states = many.init(players)
    assert [many.players(states, run)[0].generator.shape for run in (0, 1)] == [SHAPE, SHAPE]
    for run in (-1, 2):
        with pytest.raises(IndexError, match=f"run must be from 0 to 1; got {run}"):
            many.players(states, run)
        with pytest.raises(IndexError, match=f"run must be 0, as there is one; got {run}"):
            one.players(state, run)
