"""One update of a linear game under several objectives, in both orders, against NumPy."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import drawn
from helpers.games import leaves
from helpers.numeric import assert_moved, float64, gradient, log_d

import advnets
from advnets import game, priors
from advnets.draws import discriminator_draws, generator_draws
from advnets.objectives import GAN, Costs, Objective, OnLogits

RATE, N = 0.5, 6
KEY = jax.random.key(0)
PLAYERS = advnets.Players(
    eqx.nn.Linear(2, 3, key=jax.random.key(1)),
    eqx.nn.Linear(3, 1, key=jax.random.key(2)),
    priors.Uniform(2),
)
REAL = np.random.default_rng(0).normal(size=(N, 3))
G, D = (float64(leaves(player)) for player in (PLAYERS.generator, PLAYERS.discriminator))


class Penalised(Objective):
    """A relativistic pair, with a penalty on D's gradient at mixtures of data and samples."""

    def costs(self, draws, D, real, fake):
        margins = D(draws.real, real) - D(draws.fake, fake)
        mix = jax.random.uniform(draws.objective, (len(real), 1))
        slopes = jax.grad(lambda x: D(None, x).sum())(mix * real + (1 - mix) * fake)
        penalty = jnp.mean((jnp.linalg.norm(slopes, axis=1) - 1) ** 2)
        return Costs(
            discriminator=jnp.mean(jax.nn.softplus(-margins)) + 10 * penalty,
            generator=jnp.mean(jax.nn.softplus(margins)),
            seen={"margin": jnp.mean(margins)},
        )


def penalised(real, fake, w):
    # D is linear, so that its gradient is w wherever it is taken.
    return -log_d(real - fake) + 10 * (np.linalg.norm(w) - 1) ** 2


# An objective, and what each player descends: of D's logits on data and samples, and D's weights.
OBJECTIVES = {
    "Algorithm 1": (GAN(), lambda r, f, w: -log_d(r) - log_d(-f), lambda r, f: -log_d(f)),
    "released": (
        GAN(game.discriminator_cost, game.BlendedCost(1.0, 1.0)),
        lambda r, f, w: -(log_d(r) + log_d(-f)) / 2,
        lambda r, f: (-log_d(f) + log_d(-f) / 2) / 2,
    ),
    "least squares": (
        OnLogits(
            lambda r, f: jnp.mean((r - 1) ** 2) + jnp.mean(f**2), lambda f: jnp.mean((f - 1) ** 2)
        ),
        lambda r, f, w: np.mean((r - 1) ** 2) + np.mean(f**2),
        lambda r, f: np.mean((f - 1) ** 2),
    ),
    "relativistic": (
        Penalised(),
        penalised,
        lambda r, f: -log_d(f - r),
    ),
}


def logits(examples, w, b):
    return (examples @ w.T + b)[:, 0]


def generated(z, a, c):
    return z @ a.T + c


def changes_of_discriminator(cost, z, g, d):
    def of(w, b):
        return cost(logits(REAL, w, b), logits(generated(z, *g), w, b), w)

    return [-RATE * slope for slope in gradient(of, d)]


def changes_of_generator(cost, z, g, d):
    def of(a, c):
        return cost(logits(REAL, *d), logits(generated(z, a, c), *d))

    return [-RATE * slope for slope in gradient(of, g)]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_update_is_that_of_numpy_in_both_orders(name):
    objective, d_cost, g_cost = OBJECTIVES[name]
    rule = optax.sgd(RATE)
    settings = {
        "objective": objective, "generator_updates": rule, "discriminator_updates": rule
    }  # fmt: skip
    printed, released = advnets.Algorithm1(**settings), advnets.Simultaneous(**settings)
    real = jnp.asarray(REAL, jnp.float32)

    @jax.jit
    def both(state):
        (d_key,), g_key = printed.step_keys(KEY, 0)
        after_d, _ = printed.discriminator_step(d_key, PLAYERS, state, real)
        after_g, _ = printed.generator_step(g_key, PLAYERS, after_d, real)
        return after_d, after_g, released.step(KEY, PLAYERS, state, real)[0]

    after_d, after_g, together = both(printed.init(PLAYERS))
    (d_key,), g_key = printed.step_keys(KEY, 0)
    z = drawn.latents(discriminator_draws(d_key), PLAYERS.prior, N)
    assert_moved(leaves(after_d.discriminator), D, changes_of_discriminator(d_cost, z, G, D))
    z = drawn.latents(generator_draws(g_key), PLAYERS.prior, N)
    moved = float64(leaves(after_d.discriminator))
    assert_moved(leaves(after_g.generator), G, changes_of_generator(g_cost, z, G, moved))

    z = drawn.latents(discriminator_draws(jax.random.fold_in(KEY, 0)), PLAYERS.prior, N)
    assert_moved(leaves(together.discriminator), D, changes_of_discriminator(d_cost, z, G, D))
    assert_moved(leaves(together.generator), G, changes_of_generator(g_cost, z, G, D))


class Noisy(eqx.Module):
    """A discriminator whose logit is its noise; 0 without."""

    weight: jax.Array

    def __call__(self, x, *, key=None):
        return self.weight * (0.0 if key is None else jax.random.normal(key))


class Telling(Objective):
    """Reports what it was given."""

    def costs(self, draws, D, real, fake):
        seen = {
            "on data": D(draws.real, real),
            "on samples": D(draws.fake, fake),
            "without noise": D(None, fake),
            "own": jax.random.normal(draws.objective, (N,)),
        }
        cost = sum(x.mean() for x in seen.values())
        return Costs(
            cost, cost, {f"{name} {i}": x[i] for name, x in seen.items() for i in range(N)}
        )


def test_an_objective_gets_ds_noise_by_the_draws_keys():
    players = advnets.Players(PLAYERS.generator, Noisy(jnp.ones(())), PLAYERS.prior)
    rule = optax.sgd(RATE)
    algorithm = functools.partial(
        advnets.Algorithm1, generator_updates=rule, discriminator_updates=rule
    )(objective=Telling())
    state = algorithm.init(players)
    step = jax.jit(algorithm.discriminator_step)
    _, info = step(KEY, players, state, jnp.asarray(REAL, jnp.float32))
    draws = discriminator_draws(KEY)

    def normals(key):
        return np.asarray(jax.vmap(jax.random.normal)(jax.random.split(key, N)))

    expected = {
        "on data": normals(draws.real),
        "on samples": normals(draws.fake),
        "without noise": np.zeros(N),
        "own": np.asarray(jax.random.normal(draws.objective, (N,))),
    }
    for name, values in expected.items():
        found = [info[f"{name} {i}"] for i in range(N)]
        np.testing.assert_allclose(found, values, rtol=1e-6, err_msg=name)


def test_an_objective_reports_its_cost_unless_it_says_what():
    class Silent(Objective):
        def costs(self, draws, D, real, fake):
            return Costs(D(None, real).mean(), D(None, fake).mean())

    rule = optax.sgd(RATE)
    algorithm = advnets.Algorithm1(
        objective=Silent(), generator_updates=rule, discriminator_updates=rule
    )
    _, info = jax.eval_shape(
        lambda: algorithm.step(KEY, PLAYERS, algorithm.init(PLAYERS), jnp.zeros((N, 3)))
    )
    assert info["discriminator"].keys() == info["generator"].keys() == {"cost", "gradient_norm"}
    assert Silent().shown == {"cost of D": "cost"}


def test_a_cost_of_a_whole_minibatch_is_refused():
    class Whole(Objective):
        def costs(self, draws, D, real, fake):
            return Costs(D(None, real).mean(), D(None, fake))

    rule = optax.sgd(RATE)
    algorithm = advnets.Algorithm1(
        objective=Whole(), generator_updates=rule, discriminator_updates=rule
    )
    with pytest.raises(
        ValueError, match=r"cost of the generator must be a scalar; got shape \(6,\)"
    ):
        algorithm.step(KEY, PLAYERS, algorithm.init(PLAYERS), jnp.zeros((N, 3)))


def test_an_option_is_no_parameter():
    assert all(map(callable, jax.tree.leaves(GAN())))


def test_errors_are_counted_at_a_probability_of_one_half():
    real = jnp.array([-2.0, -0.5, 0.0, 0.5, 2.0])
    fake = jnp.array([-2.0, -1.0, -0.5, 0.0, 0.5])
    seen = GAN().costs(discriminator_draws(KEY), lambda key, logits: logits, real, fake).seen
    assert seen["real_error"] == pytest.approx(2 / 5)  # D(x) < 1/2
    assert seen["fake_error"] == pytest.approx(2 / 5)  # D(G(z)) >= 1/2
