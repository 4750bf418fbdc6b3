"""Algorithms that coordinate the players: updates against NumPy, and what the driver asks."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import games
from scipy.special import expit

import advnets
from advnets.coordination import Consensus, Extragradient, Unrolled
from advnets.draws import discriminator_draws
from advnets.players import Stateful

RATE, INNER, WEIGHT, STEPS, N = 0.3, 0.2, 0.7, 3, 6
KEY = jax.random.key(4)
START = {"a": 0.7, "b": -0.4, "w": 0.9, "c": 0.3}
REAL = np.random.default_rng(0).normal(1, 2, (N, 1))
SGD = {"generator_updates": optax.sgd(RATE), "discriminator_updates": optax.sgd(RATE)}
ALGORITHMS = {
    "extragradient": lambda **given: Extragradient(**SGD, **given),
    "consensus": lambda **given: Consensus(weight=WEIGHT, **SGD, **given),
    "unrolled": lambda **given: Unrolled(steps=STEPS, rule=optax.sgd(INNER), **SGD, **given),
}


class Affine(eqx.Module):
    slope: jax.Array
    shift: jax.Array

    def __call__(self, x):
        return self.slope * x + self.shift


def field(at, z):
    """Each player's gradient of its own cost: D's of -V, G's of the non-saturating cost."""
    a, b, w, c = at
    g_z = a * z + b
    real, fake = expit(-(w * REAL + c)), expit(w * g_z + c)
    won = -expit(-(w * g_z + c)) * w
    of_d = [(fake * g_z - real * REAL).mean(), (fake - real).mean()]
    return np.array([(won * z).mean(), won.mean(), *of_d])


def slope(cost, at):
    """By central differences."""
    ways = 1e-6 * np.eye(len(at))
    return np.array([(cost(at + way) - cost(at - way)) / 2e-6 for way in ways])


def extragradient(at, z):
    return at - RATE * field(at - RATE * field(at, z), z)


def consensus(at, z):
    return at - RATE * (
        field(at, z) + WEIGHT * slope(lambda here: np.sum(field(here, z) ** 2) / 2, at)
    )


def unrolled(at, z):
    def against_a_later_d(generator):
        here = np.concatenate([generator, at[2:]])
        for _ in range(STEPS):
            here[2:] -= INNER * field(here, z)[2:]
        return np.log1p(np.exp(-(here[2] * (here[0] * z + here[1]) + here[3]))).mean()

    after = at - RATE * field(at, z)
    after[:2] = at[:2] - RATE * slope(against_a_later_d, at[:2])
    return after


EXPECTED = {"extragradient": extragradient, "consensus": consensus, "unrolled": unrolled}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_update_is_that_of_numpy(name):
    with jax.enable_x64(True):
        a, b, w, c = (jnp.array(value) for value in START.values())
        players = advnets.Players(Affine(a, b), Affine(w, c), advnets.priors.Normal(1))
        algorithm = ALGORITHMS[name]()
        state = algorithm.init(players)
        step = jax.jit(lambda state, real: algorithm.step(KEY, players, state, real))
        after, info = step(state, jnp.asarray(REAL))
        draws = discriminator_draws(jax.random.fold_in(KEY, 0))
        z = np.asarray(players.prior(draws.latents, N))
        g, d = after.generator, after.discriminator
        found = np.array([g.slope, g.shift, d.slope, d.shift])
    np.testing.assert_allclose(found, EXPECTED[name](np.array([*START.values()]), z), rtol=1e-7)
    assert int(after.iteration) == 1
    assert set(info) == {"generator", "discriminator"}
    assert np.isfinite(jax.tree.leaves(info)).all()


@pytest.mark.long
def test_without_a_rule_of_its_own_the_copy_moves_as_d_does():
    players = games.plain(KEY)
    real = jnp.asarray(games.images(8), jnp.float32) / 255
    rules = {
        "generator_updates": optax.sgd(0.1),
        "discriminator_updates": optax.sgd(0.1, momentum=0.9),
    }
    own, given = (
        Unrolled(steps=2, rule=rule, **rules) for rule in (None, rules["discriminator_updates"])
    )

    own_step, given_step = (
        jax.jit(lambda state, one=one: one.step(KEY, players, state, real)[0])
        for one in (own, given)
    )
    state = own.init(players)
    first, as_given = own_step(state), given_step(state)
    second, anew = own_step(first), given_step(first)
    assert games.same(first, as_given)  # D's rule is in its initial state
    assert not games.same(second.generator, anew.generator)  # and then it goes on from where it is
    assert games.same(second.discriminator, anew.discriminator)


def stepped(players, algorithm):
    """A state, and that after a step."""
    real, state = jnp.asarray(games.images(8), jnp.float32) / 255, algorithm.init(players)
    step = jax.jit(lambda state: algorithm.step(KEY, players, state, real)[0])
    return state, jax.device_get(step(state))


@pytest.fixture(scope="module")
def with_memory():
    """Players with batch normalisation and dropout, and their state after a simultaneous step."""
    generator = Stateful(*games.with_batch_norm(KEY))
    players = dataclasses.replace(games.noisy(KEY), generator=generator)
    return players, stepped(players, advnets.Simultaneous(**SGD))[1]


@pytest.mark.long
@pytest.mark.parametrize("name", ALGORITHMS)
def test_players_with_memory_noise_and_averages_move_once(name, with_memory):
    """Memory moves on by G's examples of this step: of its own parameters, or those ahead."""
    players, simultaneous = with_memory
    state, after = stepped(players, ALGORITHMS[name](average=0.9))
    counts = [x for x in jax.tree.leaves(after.memory) if np.issubdtype(x.dtype, np.integer)]
    assert [int(count) for count in counts] == [1]
    alike = games.same(after.memory, simultaneous.memory)
    assert alike == (name != "extragradient")
    assert not games.same(after.generator, state.generator)
    for average, before, now in zip(
        *map(games.leaves, (after.average, state.generator, after.generator)), strict=True
    ):
        np.testing.assert_allclose(average, 0.9 * before + 0.1 * now, rtol=1e-4, atol=1e-6)


def test_every_unrolled_step_starts_from_the_same_memory():
    def build(key):
        norm = eqx.nn.SpectralNorm(eqx.nn.Linear(6, 1, key=key), "weight", key=key)
        return eqx.nn.Sequential([advnets.networks.Reshape((6,)), norm])

    discriminator = Stateful(*eqx.nn.make_with_state(build)(KEY))
    players = dataclasses.replace(games.plain(KEY), discriminator=discriminator)
    algorithm = ALGORITHMS["unrolled"]()
    real, draws = jnp.asarray(games.images(8), jnp.float32) / 255, discriminator_draws(KEY)
    unrolled = jax.jit(lambda state: algorithm.unrolled(draws, players, state, real))
    state = algorithm.init(players)
    ahead = unrolled(state)
    assert games.same(ahead.memory, state.memory)
    assert not games.same(ahead.discriminator, state.discriminator)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_state_is_of_arrays_alone_and_keeps_its_shape(name):
    """What checkpoints, `scan` and `vmap` over seeds ask of an algorithm."""
    players, algorithm = games.plain(KEY), ALGORITHMS[name](average=0.9)
    real = jnp.zeros((4, *games.SHAPE))
    state = algorithm.init(players)
    after, _ = jax.eval_shape(lambda state: algorithm.step(KEY, players, state, real), state)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(
        lambda x: (x.shape, x.dtype), state
    )


def test_many_games_may_differ_in_their_weight():
    players, real = games.plain(KEY), jnp.zeros((4, *games.SHAPE))

    def game(key, weight):
        algorithm = Consensus(weight=weight, **SGD)
        return algorithm.step(key, players, algorithm.init(players), real)[0]

    keys, weights = jax.random.split(KEY, 2), jnp.array([0.0, 2.0])
    assert jax.eval_shape(jax.vmap(game), keys, weights).iteration.shape == (2,)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Consensus(weight=-1.0), "must be at least 0 and finite; got -1"),
        (lambda: Consensus(weight=float("nan")), "at least 0 and finite; got nan"),
        (lambda: Consensus(weight=float("inf")), "at least 0 and finite; got inf"),
        (lambda: Unrolled(steps=0), r"at least 1 step; got 0 .*advnets\.Simultaneous"),
        (lambda: Extragradient(norms_every=0), "norms_every must be at least 1; got 0"),
        (lambda: Unrolled(steps=1, average=1.0), "average's decay"),
        (lambda: Consensus(weight=1.0, average=1.0), "average's decay"),
    ],
)
def test_settings_out_of_range_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_a_gradient_floor_is_refused_where_the_gradient_has_many_parts():
    players = games.plain(KEY)
    floor = advnets.layers.GradientFloor(0.1)
    generator = eqx.nn.Sequential([players.generator, floor])
    players = dataclasses.replace(players, generator=generator)
    state, real = ALGORITHMS["unrolled"]().init(players), jnp.zeros((4, *games.images(1).shape[1:]))
    with pytest.raises(ValueError, match="drop the GradientFloor"):
        ALGORITHMS["unrolled"]().step(KEY, players, state, real)
