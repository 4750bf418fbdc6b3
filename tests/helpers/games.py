"""Tiny games, their data, and how two of them are compared."""

import dataclasses

import equinox as eqx
import jax
import numpy as np

import advnets

LATENT, SHAPE = 4, (2, 3)


def images(n=53):
    return np.random.default_rng(0).integers(0, 256, (n, *SHAPE), np.uint8)


class Dense(eqx.Module):
    """A layer on an example of any shape, to one of another; it takes no key."""

    linear: eqx.nn.Linear
    shape: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, x):
        return self.linear(x.ravel()).reshape(self.shape)


def plain(key):
    """A layer each, without noise inside: a step compiles in less than half the time."""
    g_key, d_key = jax.random.split(key)
    return advnets.Players(
        Dense(eqx.nn.Linear(LATENT, 6, key=g_key), SHAPE),
        Dense(eqx.nn.Linear(6, 1, key=d_key), ()),
        advnets.priors.Uniform(LATENT),
    )


def noisy(key):
    """The same with dropout in the discriminator."""
    players = plain(key)
    parts = [advnets.layers.Dropout(0.5), advnets.networks.Reshape((6,))]
    discriminator = eqx.nn.Sequential([*parts, players.discriminator.linear])
    return dataclasses.replace(players, discriminator=discriminator)


def with_batch_norm(key, axis_name=advnets.layers.MINIBATCH):
    """A generator with batch normalisation, for examples of SHAPE: a module and its state."""

    def build(key):
        norm = eqx.nn.BatchNorm(6, axis_name=axis_name, mode="batch")
        reshape = advnets.networks.Reshape(SHAPE)
        return eqx.nn.Sequential([eqx.nn.Linear(LATENT, 6, key=key), norm, reshape])

    return eqx.nn.make_with_state(build)(key)


def wide(key):
    """Layers with axes that two devices divide, and one whose first axis they do not."""
    keys = jax.random.split(key, 3)
    layers = [eqx.nn.Linear(LATENT, 16, key=keys[0]), eqx.nn.Linear(16, 9, key=keys[1])]
    last = Dense(eqx.nn.Linear(9, 6, key=keys[2]), SHAPE)
    generator = eqx.nn.Sequential([*layers, eqx.nn.Lambda(last)])
    return advnets.Players(generator, noisy(key).discriminator, advnets.priors.Uniform(LATENT))


def leaves(tree):
    """The floating-point arrays of players or of a state, on the host."""
    return jax.device_get(jax.tree.leaves(eqx.filter(tree, eqx.is_inexact_array)))


def same(a, b):
    """Whether two trees hold the same arrays, bit for bit."""
    pairs = zip(leaves(a), leaves(b), strict=True)
    return all(np.array_equal(x, y) for x, y in pairs)


def differs_everywhere(a, b):
    return all((x != y).any() for x, y in zip(leaves(a), leaves(b), strict=True))


def assert_close(a, b, rtol=1e-5, atol=1e-7):
    for x, y in zip(leaves(a), leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=atol)


def assert_same_run(a, b):
    """Two results of training, bit for bit."""
    assert a.metrics == b.metrics
    assert same(a.players, b.players)


class Own:
    """Data of one's own kind, which remember how many rows they were asked for at once."""

    def __init__(self, array):
        self.array, self.asked = array, []

    def __len__(self):
        return len(self.array)

    def __getitem__(self, rows):
        self.asked.append(len(rows))
        return self.array[rows]


def train(epochs, players=None, data=None, **settings):
    """A short run of a tiny game: 10 iterations an epoch, unless told otherwise."""
    given = {"batch_size": 5, "evaluate_every": 2, "progress": False, "pictures": False}
    return advnets.train(
        jax.random.key(1),
        plain(jax.random.key(0)) if players is None else players,
        images() if data is None else data,
        epochs=epochs,
        **given | settings,
    )
