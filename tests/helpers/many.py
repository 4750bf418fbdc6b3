"""Three tiny games side by side, and one of them alone."""

import equinox as eqx
import jax
import jax.numpy as jnp

import advnets
from advnets import updates
from helpers.games import images, plain

RUNS = 3
KEYS, PLAYER_KEYS = jax.random.split(jax.random.key(1), (2, RUNS))
SHIFTS = jnp.array([False, True, False])
RATES = jnp.array([0.03, 0.1, 0.3])
COMMON = {"batch_size": 5, "evaluate_every": 2, "progress": False, "pictures": False}


class Shifted(eqx.Module):
    """A generator with an array that is not trained, another one for each run."""

    inner: eqx.Module
    shift: jax.Array

    def __call__(self, z):
        return jnp.where(self.shift, 0.5, 1.0) * self.inner(z)


def build(key, shift):
    players = plain(key)
    return eqx.tree_at(lambda p: p.generator, players, Shifted(players.generator, shift))


def many(epochs, players=build, **settings):
    stacked = eqx.filter_vmap(players)(PLAYER_KEYS, SHIFTS)
    return advnets.train_many(KEYS, stacked, images(), epochs=epochs, **(COMMON | settings))


def alone(run, epochs, players=build, **settings):
    one = players(PLAYER_KEYS[run], SHIFTS[run])
    return advnets.train(KEYS[run], one, images(), epochs=epochs, **(COMMON | settings))


def of_rate(rate):
    rule = updates.Released(rate)
    return advnets.Simultaneous(generator_updates=rule, discriminator_updates=rule)
