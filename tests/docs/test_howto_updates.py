"""One update of each how-to page's own objective against NumPy in float64, derivatives by hand.

G is affine and D quadratic, D(x) = w·x + q·x²/2 + c, so that D's gradient in x, w + q x, differs
from example to example.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import pages
from helpers.few_numbers import Affine, Quadratic
from scipy.special import expit

import advnets
from advnets.draws import discriminator_draws, generator_draws

RATE, ROWS = 0.3, 8
KEY = jax.random.key(3)
pytestmark = pytest.mark.usefixtures("double_precision")


@dataclasses.dataclass
class Game:
    """The two players in NumPy."""

    d: list  # w, q, c
    g: list  # W, b

    def judged(self, x):
        w, q, c = self.d
        return x @ w + x**2 @ q / 2 + c

    def slopes(self, x):
        w, q, _ = self.d
        return w + q * x

    def generate(self, z):
        w, b = self.g
        return z @ w.T + b

    def d_gradient(self, weights, x):
        """Of the sum of D's outputs with these weights."""
        return [weights @ x, weights @ x**2 / 2, weights.sum()]

    def g_gradient(self, weights, z):
        pushed = weights[:, None] * self.slopes(self.generate(z))
        return [pushed.T @ z, pushed.sum(0)]


def new_game():
    rng = np.random.default_rng(5)
    d = [rng.normal(size=2), rng.normal(size=2), rng.normal()]
    g = [rng.normal(size=(2, 2)), rng.normal(size=2)]
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
    return expit(real) - 1, expit(fake), none_of(game), expit(fake) - 1


def relativistic(game, real, fake, x, fake_x, t):
    gamma = 1.0
    penalty = none_of(game)
    for points in (x, fake_x):  # γ/2 |w + q x|²
        slopes = game.slopes(points)
        penalty[0] += gamma * slopes.mean(0)
        penalty[1] += gamma * (slopes * points).mean(0)
    won = expit(real - fake)  # d softplus(real - fake)
    return won - 1, 1 - won, penalty, -won


def gan_with_r1(game, real, fake, x, fake_x, t):
    slopes = game.slopes(x)
    penalty = [0.5 * slopes.mean(0), 0.5 * (slopes * x).mean(0), np.zeros(())]
    return expit(real) - 1, expit(fake), penalty, expit(fake) - 1


def wgan_gp(game, real, fake, x, fake_x, t):
    points = t * x + (1 - t) * fake_x
    slopes = game.slopes(points)
    norms = np.linalg.norm(slopes, axis=1, keepdims=True)
    pull = 10 * 2 * (norms - 1) * slopes / norms
    penalty = [pull.mean(0), (pull * points).mean(0), np.zeros(())]
    return -np.ones(ROWS), np.ones(ROWS), penalty, -np.ones(ROWS)


def moved(parameters, gradient):
    return [p - RATE * g for p, g in zip(parameters, gradient, strict=True)]


def gradients(costs, game, draws, real):
    z = np.asarray(advnets.priors.Normal(2)(draws.latents, ROWS))
    t = np.asarray(jax.random.uniform(draws.objective, (ROWS, 1)))
    fake_x = game.generate(z)
    on_real, on_fake = game.judged(real), game.judged(fake_x)
    d_real, d_fake, penalty, g_fake = costs(game, on_real, on_fake, real, fake_x, t)
    parts = game.d_gradient(d_real / ROWS, real), game.d_gradient(d_fake / ROWS, fake_x)
    d = [a + b + p for a, b, p in zip(*parts, penalty, strict=True)]
    return d, game.g_gradient(g_fake / ROWS, z)


def played(costs, game, algorithm, batches):
    """The game after an iteration of Algorithm 1."""
    d_keys, g_key = algorithm.step_keys(KEY, 0)
    for step_key, real in zip(d_keys, batches, strict=True):
        d, _ = gradients(costs, game, discriminator_draws(step_key), real)
        game = Game(moved(game.d, d), game.g)
    _, g = gradients(costs, game, generator_draws(g_key), batches[-1])
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


def step(algorithm, players, real):
    compiled = jax.jit(lambda state, real: algorithm.step(KEY, players, state, real))
    return compiled(algorithm.init(players), jnp.asarray(real))


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
    game, batches = new_game(), data(algorithm.k)
    real = batches if algorithm.k > 1 else batches[0]
    state, _ = step(algorithm, players_of(game), real)
    assert_at(state, played(costs, game, algorithm, batches))


def test_a_third_player_regresses_latents_and_leaves_the_game_alone():
    algorithm = with_plain_descent(pages.definitions("third-player")["algorithm"])
    game, batches = new_game(), data(1)
    rng = np.random.default_rng(2)
    w, b = rng.normal(size=(2, 2)), rng.normal(size=2)
    players = players_of(game, others={"inference": Affine(jnp.asarray(w), jnp.asarray(b))})
    state, info = step(algorithm, players, batches[0])
    assert_at(state, played(gan, game, algorithm, batches))

    latents = generator_draws(algorithm.step_keys(KEY, 0)[1]).latents
    z = np.asarray(players.prior(latents, ROWS))
    fake_x = game.generate(z)
    error = fake_x @ w.T + b - z
    np.testing.assert_allclose(info["inference"]["cost"], (error**2).mean(), rtol=1e-12)
    pulled = 2 * error / error.size
    got = jax.tree.leaves(state.players["inference"])
    for x, y in zip(got, moved([w, b], [pulled.T @ fake_x, pulled.sum(0)]), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-10)


def test_extragradient_steps_by_the_gradients_ahead():
    algorithm = with_plain_descent(pages.definitions("algorithm")["algorithm"])
    game, (real,) = new_game(), data(1)
    players = players_of(game)
    state, info = algorithm.step(KEY, players, algorithm.init(players), jnp.asarray(real))
    draws = discriminator_draws(jax.random.fold_in(KEY, 0))
    d, g = gradients(gan, game, draws, real)
    ahead = Game(moved(game.d, d), moved(game.g, g))
    d, g = gradients(gan, ahead, draws, real)
    assert_at(state, Game(moved(game.d, d), moved(game.g, g)))
    assert state.iteration == 1
    norm = np.sqrt(sum((x**2).sum() for x in g))
    np.testing.assert_allclose(info["generator"]["gradient_norm"], norm, rtol=1e-12)
