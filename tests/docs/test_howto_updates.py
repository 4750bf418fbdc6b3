"""One update of each how-to page's own objective against NumPy in float64, derivatives by hand.

G is affine and D quadratic, D(x) = w·x + q·x²/2 + c, so that D's gradient in x, w + q x, differs
from example to example. Labels join both players' inputs as one-hot vectors.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import pages

import advnets
from advnets.draws import discriminator_draws, generator_draws

RATE, ROWS = 0.3, 8
KEY = jax.random.key(3)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


class Quadratic(eqx.Module):
    w: jax.Array
    q: jax.Array
    c: jax.Array

    def __call__(self, x):
        return self.w @ x + self.q @ x**2 / 2 + self.c


class Affine(eqx.Module):
    w: jax.Array
    b: jax.Array

    def __call__(self, x):
        return self.w @ x + self.b


@dataclasses.dataclass
class Game:
    """The two players in NumPy; `e` are one-hot labels, of no class where there are none."""

    d: list  # w, q, c
    g: list  # W, b

    def judged(self, x, e):
        w, q, c = self.d
        x = np.hstack([x, e])
        return x @ w + x**2 @ q / 2 + c

    def slopes(self, x):
        w, q, _ = self.d
        return w[:2] + q[:2] * x

    def generate(self, z, e):
        w, b = self.g
        return np.hstack([z, e]) @ w.T + b

    def d_gradient(self, weights, x, e):
        """Of the sum of D's outputs with these weights."""
        x = np.hstack([x, e])
        return [weights @ x, weights @ x**2 / 2, weights.sum()]

    def g_gradient(self, weights, z, e):
        pushed = weights[:, None] * self.slopes(self.generate(z, e))
        return [pushed.T @ np.hstack([z, e]), pushed.sum(0)]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def game_of(labels=0):
    rng = np.random.default_rng(5)
    d = [rng.normal(size=2 + labels), rng.normal(size=2 + labels), rng.normal()]
    g = [rng.normal(size=(2, 2 + labels)), rng.normal(size=2)]
    return Game(d, g)


def data(minibatches):
    return np.random.default_rng(1).normal(size=(minibatches, ROWS, 2))


# What each objective's costs have for derivatives: D's in its outputs on data and on generated
# examples and directly in w and q (of a penalty), G's in D's outputs on generated examples.


def none_of(game):
    return [np.zeros_like(p) for p in game.d]


def hinge(game, real, fake, x, fake_x, t):
    for margin in (1 - real, 1 + fake):  # examples on both sides of both kinks
        assert 0 < (margin > 0).sum() < ROWS
    return -1.0 * (real < 1), 1.0 * (fake > -1), none_of(game), -np.ones(ROWS)


def least_squares(game, real, fake, x, fake_x, t):
    return real - 1, fake, none_of(game), fake - 1


def gan(game, real, fake, x, fake_x, t):
    return sigmoid(real) - 1, sigmoid(fake), none_of(game), sigmoid(fake) - 1


def relativistic(game, real, fake, x, fake_x, t):
    gamma = 1.0
    penalty = none_of(game)
    for points in (x, fake_x):  # γ/2 |w + q x|²
        slopes = game.slopes(points)
        penalty[0] += gamma * slopes.mean(0)
        penalty[1] += gamma * (slopes * points).mean(0)
    won = sigmoid(real - fake)  # d softplus(real - fake)
    return won - 1, 1 - won, penalty, -won


def gan_with_r1(game, real, fake, x, fake_x, t):
    slopes = game.slopes(x)
    penalty = [0.5 * slopes.mean(0), 0.5 * (slopes * x).mean(0), np.zeros(())]
    return sigmoid(real) - 1, sigmoid(fake), penalty, sigmoid(fake) - 1


def wgan_gp(game, real, fake, x, fake_x, t):
    points = t * x + (1 - t) * fake_x
    slopes = game.slopes(points)
    norms = np.linalg.norm(slopes, axis=1, keepdims=True)
    pull = 10 * 2 * (norms - 1) * slopes / norms
    penalty = [pull.mean(0), (pull * points).mean(0), np.zeros(())]
    return -np.ones(ROWS), np.ones(ROWS), penalty, -np.ones(ROWS)


def moved(parameters, gradient, rate=RATE):
    return [p - rate * g for p, g in zip(parameters, gradient, strict=True)]


def gradients(costs, game, draws, real, e):
    z = np.asarray(advnets.priors.Normal(2)(draws.latents, ROWS))
    t = np.asarray(jax.random.uniform(draws.objective, (ROWS, 1)))
    fake_x = game.generate(z, e)
    on_real, on_fake = game.judged(real, e), game.judged(fake_x, e)
    d_real, d_fake, penalty, g_fake = costs(game, on_real, on_fake, real, fake_x, t)
    parts = game.d_gradient(d_real / ROWS, real, e), game.d_gradient(d_fake / ROWS, fake_x, e)
    d = [a + b + p for a, b, p in zip(*parts, penalty, strict=True)]
    return d, game.g_gradient(g_fake / ROWS, z, e)


def played(costs, game, algorithm, batches, e, iteration=0):
    """The game after an iteration of Algorithm 1."""
    d_keys, g_key = algorithm.step_keys(KEY, iteration)
    for step_key, real in zip(d_keys, batches, strict=True):
        d, _ = gradients(costs, game, discriminator_draws(step_key), real, e)
        game = Game(moved(game.d, d), game.g)
    _, g = gradients(costs, game, generator_draws(g_key), batches[-1], e)
    return Game(game.d, moved(game.g, g))


def players_of(game, **further):
    return advnets.Players(
        Affine(*map(jnp.asarray, game.g)),
        Quadratic(*map(jnp.asarray, game.d)),
        advnets.priors.Normal(2),
        **further,
    )


def with_plain_descent(algorithm):
    rule = optax.sgd(RATE)
    others = dict.fromkeys(algorithm.other_updates, rule)
    return dataclasses.replace(
        algorithm, generator_updates=rule, discriminator_updates=rule, other_updates=others
    )


def step(algorithm, players, state, real):
    compiled = jax.jit(lambda state, real: algorithm.step(KEY, players, state, real))
    return compiled(state, jax.tree.map(jnp.asarray, real))


def assert_at(state, game):
    got = jax.tree.leaves((state.discriminator, state.generator))
    for x, y in zip(got, [*game.d, *game.g], strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-12)


ON_A_PAGE = {
    "hinge": ("objectives", hinge),
    "least_squares": ("objectives", least_squares),
    "relativistic": ("relativistic", relativistic),
    "gradient-penalty": ("gradient-penalty", wgan_gp),
    "many-runs": ("many-runs", gan_with_r1),
}
NO_LABELS = np.zeros((ROWS, 0))


@pytest.mark.parametrize("name", ON_A_PAGE)
def test_an_objective_moves_both_players_as_by_hand(name):
    page, costs = ON_A_PAGE[name]
    found = pages.definitions(page)
    if page == "objectives":  # which makes its algorithms where it trains
        algorithm = advnets.Algorithm1(objective=found[name])
    elif page == "many-runs":
        algorithm = found["algorithm_of"]({"rate": 1e-3, "gamma": 0.5})
    else:
        algorithm = found["algorithm"]
    algorithm = with_plain_descent(algorithm)
    assert algorithm.k == (5 if page == "gradient-penalty" else 1)
    game, batches = game_of(), data(algorithm.k)
    real = batches if algorithm.k > 1 else batches[0]
    players = players_of(game)
    state, _ = step(algorithm, players, algorithm.init(players), real)
    assert_at(state, played(costs, game, algorithm, batches, NO_LABELS))


def test_a_game_of_labels_moves_both_players_as_by_hand():
    algorithm = with_plain_descent(pages.definitions("labels")["algorithm"])
    game, batches = game_of(labels=3), data(1)
    labels = np.arange(ROWS) % 3
    players = players_of(game)
    players = advnets.Players(
        advnets.layers.Labelled(players.generator, 3),
        advnets.layers.Labelled(players.discriminator, 3),
        players.prior,
    )
    real = batches[0], labels
    state, _ = step(algorithm, players, algorithm.init(players), real)
    assert_at(state, played(gan, game, algorithm, batches, np.eye(3)[labels]))


def test_a_frozen_array_stays_while_the_others_move_as_by_hand():
    found = pages.definitions("frozen")
    algorithm = with_plain_descent(found["algorithm"])
    game, batches = game_of(), data(1)
    players = players_of(game)
    frozen = eqx.tree_at(lambda d: d.q, players.discriminator, replace_fn=found["Frozen"])
    players = dataclasses.replace(players, discriminator=frozen)
    state, _ = step(algorithm, players, algorithm.init(players), batches[0])
    kept = Game(played(gan, game, algorithm, batches, NO_LABELS).d, game.g)
    kept.d[1] = game.d[1]
    _, g = gradients(
        gan, kept, generator_draws(algorithm.step_keys(KEY, 0)[1]), batches[0], NO_LABELS
    )
    after = advnets.algorithms.at(players, state).discriminator
    assert (after.q.tree == players.discriminator.q.tree).all()
    got = [after.w, after.c, *jax.tree.leaves(state.generator)]
    for x, y in zip(got, [kept.d[0], kept.d[2], *moved(game.g, g)], strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-10)


def test_the_average_follows_the_generator():
    algorithm = with_plain_descent(pages.definitions("average")["algorithm"])
    game, batches = game_of(), data(1)
    players = players_of(game)
    state, average = algorithm.init(players), game.g
    for iteration in range(3):
        state, _ = step(algorithm, players, state, batches[0])
        game = played(gan, game, algorithm, batches, NO_LABELS, iteration)
        average = [0.999 * a + 0.001 * p for a, p in zip(average, game.g, strict=True)]
        assert_at(state, game)
        for x, y in zip(jax.tree.leaves(state.average), average, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-12)


def test_a_third_player_regresses_latents_and_leaves_the_game_alone():
    algorithm = with_plain_descent(pages.definitions("third-player")["algorithm"])
    game, batches = game_of(), data(1)
    rng = np.random.default_rng(2)
    w, b = rng.normal(size=(2, 2)), rng.normal(size=2)
    players = players_of(game, others={"inference": Affine(jnp.asarray(w), jnp.asarray(b))})
    state = algorithm.init(players)
    state, info = step(algorithm, players, state, batches[0])
    assert_at(state, played(gan, game, algorithm, batches, NO_LABELS))

    latents = generator_draws(algorithm.step_keys(KEY, 0)[1]).latents
    z = np.asarray(players.prior(latents, ROWS))
    fake_x = game.generate(z, NO_LABELS)
    error = fake_x @ w.T + b - z
    np.testing.assert_allclose(info["inference"]["cost"], (error**2).mean(), rtol=1e-12)
    pulled = 2 * error / error.size
    got = jax.tree.leaves(state.players["inference"])
    for x, y in zip(got, moved([w, b], [pulled.T @ fake_x, pulled.sum(0)]), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-10)


def test_extragradient_steps_by_the_gradients_ahead():
    algorithm = with_plain_descent(pages.definitions("algorithm")["algorithm"])
    game, (real,) = game_of(), data(1)
    players = players_of(game)
    state, info = algorithm.step(KEY, players, algorithm.init(players), jnp.asarray(real))
    draws = discriminator_draws(jax.random.fold_in(KEY, 0))
    d, g = gradients(gan, game, draws, real, NO_LABELS)
    ahead = Game(moved(game.d, d), moved(game.g, g))
    d, g = gradients(gan, ahead, draws, real, NO_LABELS)
    assert_at(state, Game(moved(game.d, d), moved(game.g, g)))
    assert state.iteration == 1
    norm = np.sqrt(sum((x**2).sum() for x in g))
    np.testing.assert_allclose(info["generator"]["gradient_norm"], norm, rtol=1e-12)


class Normed:
    """G of the page on normalisation in NumPy: affine, batch norm, ReLU, affine."""

    def __init__(self, parameters):
        self.parameters = parameters

    def forward(self, z):
        w, b, scale, shift, v, c = self.parameters
        h = z @ w.T + b
        self.mean, self.var = h.mean(0), h.var(0)
        self.sd = np.sqrt(self.var + 1e-5)
        self.normed = (h - self.mean) / self.sd
        self.pre, self.z = self.normed * scale + shift, z
        return np.maximum(self.pre, 0) @ v.T + c

    def backward(self, pushed):
        _, _, scale, _, v, _ = self.parameters
        d_pre = (pushed @ v) * (self.pre > 0)
        d_normed = d_pre * scale
        d_h = (
            d_normed - d_normed.mean(0) - self.normed * (d_normed * self.normed).mean(0)
        ) / self.sd
        return [
            d_h.T @ self.z,
            d_h.sum(0),
            (d_pre * self.normed).sum(0),
            d_pre.sum(0),
            pushed.T @ np.maximum(self.pre, 0),
            pushed.sum(0),
        ]


def power_iteration(w, v):
    u = w @ v
    u = u / np.linalg.norm(u)
    v = w.T @ u
    return u, v / np.linalg.norm(v)


class Spectral:
    """D of the page: affine, leaky ReLU, affine, each matrix divided by u·W v; u and v given."""

    def __init__(self, parameters, vectors):
        (self.w, self.b, self.v, self.c), self.vectors = parameters, vectors
        self.sizes = [u @ w @ v for w, (u, v) in zip((self.w, self.v), vectors, strict=True)]

    def forward(self, x):
        self.x, self.pre = x, x @ self.w.T / self.sizes[0] + self.b
        self.slope = np.where(self.pre > 0, 1, 0.01)
        self.h = self.pre * self.slope
        return (self.h @ self.v.T / self.sizes[1] + self.c)[:, 0]

    def backward(self, weights):
        d_pre = weights[:, None] * self.v / self.sizes[1] * self.slope
        by_size = d_pre.T @ self.x, weights[None] @ self.h
        (d_w, d_v) = (
            d / size - (d * w).sum() / size**2 * np.outer(u, v)
            for d, w, size, (u, v) in zip(
                by_size, (self.w, self.v), self.sizes, self.vectors, strict=True
            )
        )
        gradient = [d_w, d_pre.sum(0), d_v, weights.sum(keepdims=True)]
        return gradient, d_pre @ self.w / self.sizes[0]


def test_normalised_players_move_as_by_hand_and_so_do_their_states():
    found = pages.definitions("normalisation")
    algorithm = with_plain_descent(found["algorithm"])
    generator, discriminator = (
        found["Stateful"](*eqx.nn.make_with_state(found[build])(key))  # in float64
        for build, key in zip(
            ("build_generator", "build_discriminator"), jax.random.split(KEY), strict=True
        )
    )
    players = advnets.Players(generator, discriminator, advnets.priors.Normal(2))
    (real,) = data(1)
    state = algorithm.init(players)
    state, _ = step(algorithm, players, state, real)
    after = advnets.algorithms.at(players, state)

    first, norm, _, last = generator.module.layers
    g = Normed([*map(np.asarray, (first.weight, first.bias, norm.weight, norm.bias))])
    g.parameters += [np.asarray(last.weight), np.asarray(last.bias)]
    one, _, two = discriminator.module.layers
    d = [np.asarray(x) for layer in (one.layer, two.layer) for x in (layer.weight, layer.bias)]
    before = [map(np.asarray, discriminator.state.get(layer.uv_index)) for layer in (one, two)]

    def vectors(d, before):
        return [power_iteration(w, v) for w, (_, v) in zip((d[0], d[2]), before, strict=True)]

    def latents(draws):
        return np.asarray(players.prior(draws.latents, ROWS))

    # D: both batches from the state before; then the state moves on by one after the other.
    (d_key,), g_key = algorithm.step_keys(KEY, 0)
    fake = g.forward(latents(discriminator_draws(d_key)))
    once = vectors(d, before)
    net = Spectral(d, once)
    on_real, _ = net.backward((sigmoid(net.forward(real)) - 1) / ROWS)
    on_fake, _ = net.backward(sigmoid(net.forward(fake)) / ROWS)
    twice = vectors(d, once)
    d = moved(d, [a + b for a, b in zip(on_real, on_fake, strict=True)])

    # G, against the new D, whose state its step does not keep.
    fake_x = g.forward(latents(generator_draws(g_key)))
    net = Spectral(d, vectors(d, twice))
    _, pushed = net.backward((sigmoid(net.forward(fake_x)) - 1) / ROWS)
    g.parameters = moved(g.parameters, g.backward(pushed))

    got = jax.tree.leaves((state.discriminator, state.generator))
    for x, y in zip(got, [*d, *g.parameters], strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-12)
    for layer, (u, v) in zip(after.discriminator.module.layers[::2], twice, strict=True):
        for x, y in zip(after.discriminator.state.get(layer.uv_index), (u, v), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-12)
    mean, var = after.generator.state.get(norm.batch_state_index)
    np.testing.assert_allclose(mean, 0.01 * g.mean, rtol=1e-9)
    np.testing.assert_allclose(var, 0.99 + 0.01 * g.var, rtol=1e-9)
