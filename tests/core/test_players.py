"""Players: what of them is trained, and how they are applied to a minibatch."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers.games import Dense, assert_close, leaves, plain, same

import advnets
from advnets import layers, players, priors
from advnets.players import Frozen, Stateful

KEY = jax.random.key(0)


def pair(freeze):
    """A tiny game; `freeze` is done to both of its first layers."""
    g_key, d_key = jax.random.split(KEY)
    networks = (eqx.nn.MLP(2, 3, 4, 1, key=g_key), eqx.nn.MLP(3, 1, 4, 1, key=d_key))
    frozen = [eqx.tree_at(lambda net: net.layers[0], net, replace_fn=freeze) for net in networks]
    return advnets.Players(*frozen, priors.Uniform(2))


@pytest.mark.parametrize("kind", [advnets.Algorithm1, advnets.Simultaneous])
def test_frozen_arrays_stay_bit_for_bit_while_the_rest_trains(kind):
    """And the rest trains as it does beside plain arrays whose updates are dropped."""
    # Weight decay and the average would move them even where there is no gradient.
    rule = optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1, momentum=0.5))
    real = jnp.asarray(np.random.default_rng(0).normal(size=(5, 6, 3)), jnp.float32)

    def first_held(updates, params):
        """No change of the first layer."""
        return eqx.tree_at(
            lambda net: net.layers[0],
            updates,
            replace_fn=lambda layer: jax.tree.map(jnp.zeros_like, layer),
        )

    def trained(given, rule):
        """G, D and the average of G, after five steps."""
        algorithm = kind(generator_updates=rule, discriminator_updates=rule, average=0.5)

        @jax.jit
        def steps(state):
            return jax.lax.scan(lambda s, x: algorithm.step(KEY, given, s, x), state, real)[0]

        state = steps(algorithm.init(given))
        ended = advnets.algorithms.at(given, state)
        averaged = advnets.algorithms.averaged(given, state)
        return ended.generator, ended.discriminator, averaged.generator

    given = pair(Frozen)
    held = trained(pair(lambda layer: layer), optax.chain(rule, optax.stateless(first_held)))
    starts = given.generator, given.discriminator, given.generator
    for before, after, other in zip(starts, trained(given, rule), held, strict=True):
        assert isinstance(after.layers[0], Frozen)
        assert same(after.layers[0], before.layers[0])
        assert not same(after.layers[1], before.layers[1])
        assert_close(after.layers[1], other.layers[1])


def test_frozen_arrays_do_their_part():
    plain, frozen = pair(lambda layer: layer).generator, pair(Frozen).generator
    z = jax.random.normal(KEY, (5, 2))
    (expected, _), (found, after) = (players.apply(p, None, z) for p in (plain, frozen))
    assert (expected == found).all()
    assert after is frozen
    assert (advnets.Model(frozen, priors.Uniform(2))(KEY, 5) != 0).any()


def test_what_is_trained_is_neither_frozen_nor_state_nor_a_number():
    def build(key):
        norm = eqx.nn.BatchNorm(4, axis_name=layers.MINIBATCH, mode="batch")
        return eqx.nn.Sequential([eqx.nn.Linear(2, 4, key=key), norm, eqx.nn.Lambda(jax.nn.relu)])

    player = Stateful(*eqx.nn.make_with_state(build)(KEY))
    player = eqx.tree_at(lambda p: p.module.layers[0].bias, player, replace_fn=Frozen)
    trained, state, rest = players.partition(player)
    assert [x.shape for x in jax.tree.leaves(trained)] == [(4, 2), (4,), (4,)]
    assert [x.shape for x in jax.tree.leaves(state)] == [(), (4,), (4,)]
    assert [x.shape for x in jax.tree.leaves(eqx.filter(rest, eqx.is_array))] == [(4,)]
    assert same(eqx.combine(trained, state, rest), player)


def test_the_state_of_a_layer_is_not_descended_on():
    """A state that enters the output, and whose gradient is not 0."""

    class Shifted(eqx.Module):
        layer: eqx.nn.Linear
        shift: eqx.nn.StateIndex

        def __init__(self, key):
            self.layer = eqx.nn.Linear(2, 3, key=key)
            self.shift = eqx.nn.StateIndex(jnp.ones(3))

        def __call__(self, z, state):
            return self.layer(z) + state.get(self.shift), state

    generator = Stateful(*eqx.nn.make_with_state(Shifted)(KEY))
    given = advnets.Players(generator, Dense(eqx.nn.Linear(3, 1, key=KEY), ()), priors.Uniform(2))
    rule = optax.sgd(0.5)
    algorithm = advnets.Simultaneous(generator_updates=rule, discriminator_updates=rule)
    state = algorithm.init(given)
    after, _ = jax.jit(lambda s: algorithm.step(KEY, given, s, jnp.ones((6, 3))))(state)
    assert same(after.memory, state.memory)
    assert not same(after.generator, state.generator)
    assert len(leaves(state.updates["generator"])) == len(leaves(optax.sgd(0.5).init(jnp.ones(1))))


class Keyed(eqx.Module):
    def __call__(self, x, *, key=None):
        return x if key is None else x + jax.random.normal(key)


def test_a_player_gets_a_key_for_each_example_if_it_takes_one():
    x, keys = jnp.zeros(50), jax.random.split(KEY, 50)
    found, _ = players.apply(Keyed(), keys, x)
    np.testing.assert_allclose(found, [jax.random.normal(key) for key in keys], rtol=1e-6)
    assert (players.apply(Keyed(), None, x)[0] == x).all()
    assert (players.apply(lambda x: 2 * x, keys, x + 1)[0] == 2).all()
    anything = players.apply(lambda x, **settings: x + len(settings), keys, x)[0]
    assert (anything == 1).all()


@pytest.mark.parametrize(
    ("player", "taken"),
    [
        (lambda z: z, (1, 1)),
        (lambda z, *, key: z, (1, 1)),
        (lambda z, key=None: z, (1, 1)),
        (lambda z, label, *, key=None: z, (2, 2)),
        (lambda z, label=None: z, (1, 2)),
        (lambda *inputs: inputs, (0, float("inf"))),
        (layers.Labelled(eqx.nn.Identity(), 3), (2, 2)),
        (Stateful(lambda z, label, state: (z, state), eqx.nn.State(Keyed())), (2, 2)),
    ],
)
def test_inputs_are_counted_by_the_signature(player, taken):
    assert players.inputs_taken(player) == taken


@pytest.mark.parametrize("layer", [layers.Dropout(0.5), eqx.nn.Dropout(0.5)])
def test_without_a_key_a_discriminator_has_no_dropout(key, layer):
    discriminator = eqx.nn.Sequential([layer, eqx.nn.Lambda(jnp.sum)])
    x = jax.random.normal(key, (6, 50))
    assert (players.judge(key, discriminator, x) != x.sum(axis=1)).all()
    np.testing.assert_allclose(
        players.judge(None, discriminator, x), x.sum(axis=1), rtol=1e-5, atol=1e-5
    )


def test_players_are_replaced_all_together():
    ours = plain(jax.random.key(0))
    other = plain(jax.random.key(1))
    assert eqx.tree_equal(ours.replaced(other.named), other)
    with pytest.raises(ValueError, match="discriminator is missing"):
        ours.replaced({"generator": other.generator})


def test_a_discriminator_must_give_one_logit(key):
    with pytest.raises(ValueError, match="one logit for each example"):
        players.judge(key, eqx.nn.MLP(4, 2, 4, 1, key=key), jnp.zeros((8, 4)))
