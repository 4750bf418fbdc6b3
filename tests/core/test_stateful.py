"""Batch and spectral normalisation by Equinox: one update of a tiny game against NumPy."""

import dataclasses
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import drawn
from helpers.cases import long_but
from helpers.games import leaves
from helpers.numeric import assert_moved, float64, gradient, log_d

import advnets
from advnets import layers, priors
from advnets.draws import discriminator_draws, generator_draws
from advnets.players import Stateful, judge

RATE, N = 0.5, 6
KEY = jax.random.key(0)
REAL = np.random.default_rng(0).normal(1, 2, size=(N, 3))


@dataclasses.dataclass
class Side:
    """A player, and the same in NumPy.

    `out` is what it makes of a minibatch, given its memory after that call and its parameters;
    `after` is its memory after a call, given that before.
    """

    player: eqx.Module
    memory: list
    out: Callable
    after: Callable

    def __call__(self, memory, x, start, *moved):
        """At parameters that differentiation moves; power iterations do not see them move."""
        return self.out(self.after(memory, x, *start), x, *moved)


def linear(inputs, outputs, seed):
    return eqx.nn.Linear(inputs, outputs, key=jax.random.key(seed))


def plain(layer):
    return Side(layer, [], lambda _, x, w, b: x @ w.T + b, lambda memory, x, *_: memory)


def normalised(build, parts):
    """A sequence with batch normalisation; `parts` are what NumPy normalises and returns."""

    def sequence():
        norm = eqx.nn.BatchNorm(3, axis_name=layers.MINIBATCH, mode="batch")
        weight, bias = jnp.array([2.0, 3.0, 4.0]), jnp.array([-1.0, 0.0, 1.0])
        norm = eqx.tree_at(lambda n: (n.weight, n.bias), norm, (weight, bias))
        return eqx.nn.Sequential(build(norm))

    def out(_, x, *params):
        before, (weight, bias), result = parts(x, *params)
        normal = (before - before.mean(0)) / np.sqrt(before.var(0) + 1e-5)
        return result(normal * weight + bias)

    def after(memory, x, *params):
        count, mean, variance = memory
        before, *_ = parts(x, *params)
        mean, variance = 0.99 * mean + 0.01 * before.mean(0), 0.99 * variance + 0.01 * before.var(0)
        return [count + 1, mean, variance]

    player = Stateful(*eqx.nn.make_with_state(sequence)())
    return Side(player, [0, np.zeros(3), np.ones(3)], out, after)


def spectral(*linears, judges):
    """Spectrally normalised layers with rectifiers between, the outputs summed if it judges."""

    def build():
        normed = [eqx.nn.SpectralNorm(layer, "weight", key=KEY) for layer in linears]
        parts = [part for layer in normed for part in (layer, eqx.nn.Lambda(jax.nn.leaky_relu))]
        return eqx.nn.Sequential([*parts[:-1], *([eqx.nn.Lambda(jnp.sum)] if judges else [])])

    module, state = eqx.nn.make_with_state(build)()
    # Equinox begins close to the singular vectors, where one iteration more would not show.
    rng = np.random.default_rng(5)
    memory = []
    for part, layer in zip(module.layers[::2], linears, strict=True):
        vectors = [x / np.linalg.norm(x) for x in (rng.normal(size=n) for n in layer.weight.shape)]
        state = state.set(part.uv_index, tuple(jnp.asarray(x, jnp.float32) for x in vectors))
        memory += vectors

    def out(memory, x, *params):
        for place in range(0, len(params), 2):
            (u, v), (w, b) = memory[place : place + 2], params[place : place + 2]
            x = np.where(x > 0, x, 0.01 * x) if place else x
            x = x @ (w / (u @ w @ v)).T + b
        return x.sum(1, keepdims=True) if judges else x

    def after(memory, x, *params):
        found = []
        for w, v in zip(params[::2], memory[1::2], strict=True):
            u = w @ v / np.linalg.norm(w @ v)
            found += [u, w.T @ u / np.linalg.norm(w.T @ u)]
        return found

    return Side(Stateful(module, state), memory, out, after)


GAMES = {
    "batch norm in G, two spectral layers in D": lambda: (
        normalised(
            lambda norm: [linear(2, 3, 3), norm, eqx.nn.Lambda(jax.nn.relu), linear(3, 3, 3)],
            lambda z, w, b, weight, bias, v, c: (
                z @ w.T + b,
                (weight, bias),
                lambda y: np.maximum(y, 0) @ v.T + c,
            ),
        ),
        spectral(linear(3, 4, 3), linear(4, 1, 5), judges=True),
    ),
    "batch norm in D": lambda: (
        plain(linear(2, 3, 1)),
        normalised(
            lambda norm: [norm, linear(3, 1, 2)],
            lambda x, weight, bias, w, b: (x, (weight, bias), lambda y: y @ w.T + b),
        ),
    ),
    "spectral norm in both": lambda: (
        spectral(linear(2, 3, 1), judges=False),
        spectral(linear(3, 2, 2), judges=True),
    ),
}


def discriminator_changes(g, d, z, g_memory, d_memory, g_start, d_start, weight):
    """Of the parameters, and the memory after data and samples."""
    fake = g(g_memory, z, g_start, *g_start)

    def cost(*moved):
        real_logits, fake_logits = (d(d_memory, x, d_start, *moved) for x in (REAL, fake))
        return -weight * (log_d(real_logits) + log_d(-fake_logits))

    memory = d.after(d.after(d_memory, REAL, *d_start), fake, *d_start)
    return [-RATE * slope for slope in gradient(cost, d_start)], memory


def generator_changes(g, d, z, g_memory, d_memory, g_start, d_start):
    fake = g(g_memory, z, g_start, *g_start)
    seen = d.after(d_memory, fake, *d_start)

    def cost(*moved):
        return -log_d(d.out(seen, g(g_memory, z, g_start, *moved), *d_start))

    memory = g.after(g_memory, z, *g_start)
    return [-RATE * slope for slope in gradient(cost, g_start)], memory


def assert_memory(state, name, expected):
    found = jax.tree.leaves(state.memory[name])
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", long_but("batch norm in G, two spectral layers in D", cases=GAMES))
def test_an_update_and_the_memory_after_it_are_those_of_numpy(name):
    g, d = GAMES[name]()
    players = advnets.Players(g.player, d.player, priors.Uniform(2))
    rule = optax.sgd(RATE)
    printed, released = (
        kind(generator_updates=rule, discriminator_updates=rule)
        for kind in (advnets.Algorithm1, advnets.Simultaneous)
    )
    real = jnp.asarray(REAL, jnp.float32)

    @jax.jit
    def both(state):
        (d_key,), g_key = printed.step_keys(KEY, 0)
        after_d, _ = printed.discriminator_step(d_key, players, state, real)
        after_g, _ = printed.generator_step(g_key, players, after_d, real)
        return after_d, after_g, released.step(KEY, players, state, real)[0]

    start = printed.init(players)
    after_d, after_g, together = both(start)
    g_start, d_start = float64(leaves(start.generator)), float64(leaves(start.discriminator))
    (d_key,), g_key = printed.step_keys(KEY, 0)

    z = drawn.latents(discriminator_draws(d_key), players.prior, N)
    changes, memory = discriminator_changes(g, d, z, g.memory, d.memory, g_start, d_start, 1)
    assert_moved(leaves(after_d.discriminator), d_start, changes)
    assert_memory(after_d, "discriminator", memory)
    assert_memory(after_d, "generator", g.memory)

    z = drawn.latents(generator_draws(g_key), players.prior, N)
    moved = float64(leaves(after_d.discriminator))
    changes, g_memory = generator_changes(g, d, z, g.memory, memory, g_start, moved)
    assert_moved(leaves(after_g.generator), g_start, changes)
    assert_memory(after_g, "generator", g_memory)
    assert_memory(after_g, "discriminator", memory)

    z = drawn.latents(discriminator_draws(jax.random.fold_in(KEY, 0)), players.prior, N)
    changes, memory = discriminator_changes(g, d, z, g.memory, d.memory, g_start, d_start, 0.5)
    assert_moved(leaves(together.discriminator), d_start, changes)
    assert_memory(together, "discriminator", memory)
    changes, memory = generator_changes(g, d, z, g.memory, d.memory, g_start, d_start)
    assert_moved(leaves(together.generator), g_start, changes)
    assert_memory(together, "generator", memory)


def test_samples_do_not_depend_on_each_other_and_keep_their_noise():
    """Running statistics in place of the minibatch's; dropout stays on."""

    def build(key):
        norm = eqx.nn.BatchNorm(3, axis_name=layers.MINIBATCH, mode="batch")
        return eqx.nn.Sequential([eqx.nn.Linear(2, 3, key=key), norm, eqx.nn.Dropout(0.5)])

    generator = Stateful(*eqx.nn.make_with_state(build)(KEY))
    model = advnets.Model(generator, priors.Uniform(2))
    (one,), many = model.sample(KEY, 1), model.sample(KEY, 1000)
    assert 0.4 < (many == 0).mean() < 0.6
    # What is not dropped is the layer's output by the running statistics, 0 and 1 so far.
    z = model.prior(jax.random.split(jax.random.split(KEY, 1)[0])[0], 1000)
    weight, bias = (np.asarray(x, np.float64) for x in leaves(generator.module.layers[0]))
    kept = 2 * (np.asarray(z, np.float64) @ weight.T + bias) / np.sqrt(1 + 1e-5)
    np.testing.assert_allclose(many, np.where(many == 0, 0, kept), rtol=1e-5, atol=1e-6)
    assert np.isfinite(one).all()


def test_without_noise_a_discriminator_judges_each_example_alone():
    _, d = GAMES["batch norm in D"]()
    x = jnp.asarray(REAL, jnp.float32)
    alone = jnp.concatenate([judge(None, d.player, x[i : i + 1]) for i in range(N)])
    np.testing.assert_allclose(judge(None, d.player, x), alone, rtol=1e-6)
    assert abs(judge(KEY, d.player, x) - alone).max() > 0.1
