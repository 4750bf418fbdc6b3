"""An encoder as a third player, beside a `fake` of one's own: one update against NumPy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import drawn
from helpers.games import leaves, same
from helpers.numeric import assert_moved, float64, gradient, log_d

import advnets
from advnets import priors
from advnets.batches import length
from advnets.draws import discriminator_draws, generator_draws
from advnets.objectives import Costs, Objective

RATES = {"generator": 0.5, "discriminator": 0.3, "encoder": 0.7}
N, KEY = 6, jax.random.key(0)
PLAYERS = advnets.Players(
    eqx.nn.Linear(2, 3, key=jax.random.key(1)),
    eqx.nn.Linear(3, 1, key=jax.random.key(2)),
    priors.Uniform(2),
    others={"encoder": eqx.nn.Linear(3, 2, key=jax.random.key(3))},
)
REAL = np.random.default_rng(0).normal(size=(N, 3))


def with_latents(draws, generator, prior, real):
    """Generated examples, and the latent vectors that they are of."""
    z = prior(draws.latents, length(real))
    return {"example": generator(draws.generator, z), "latent": z}


class Inferring(Objective):
    """The encoder finds the latent vector again; the generator makes that easy."""

    def costs(self, draws, D, real, fake, *, encoder):
        on_data, on_fake = D(draws.real, real), D(draws.fake, fake["example"])
        found = encoder(draws.objective, fake["example"])
        missed = jnp.mean((found - fake["latent"]) ** 2)
        return Costs(
            discriminator=-jnp.mean(jax.nn.log_sigmoid(on_data))
            - jnp.mean(jax.nn.log_sigmoid(-on_fake)),
            generator=-jnp.mean(jax.nn.log_sigmoid(on_fake)) + 3 * missed,
            others={"encoder": missed},
        )


def dense(x, w, b):
    return x @ w.T + b


def changes(z, start):
    """Of all players by their costs at these parameters."""
    g, d, e = (start[name] for name in RATES)
    fake = dense(z, *g)
    costs = {
        "generator": lambda *g: (
            -log_d(dense(dense(z, *g), *d)) + 3 * np.mean((dense(dense(z, *g), *e) - z) ** 2)
        ),
        "discriminator": lambda *d: -log_d(dense(REAL, *d)) - log_d(-dense(fake, *d)),
        "encoder": lambda *e: np.mean((dense(fake, *e) - z) ** 2),
    }
    return {
        name: [-RATES[name] * slope for slope in gradient(cost, start[name])]
        for name, cost in costs.items()
    }


def algorithm_of(kind, **settings):
    given = {
        "objective": Inferring(),
        "generator_updates": optax.sgd(RATES["generator"]),
        "discriminator_updates": optax.sgd(RATES["discriminator"]),
        "other_updates": {"encoder": optax.sgd(RATES["encoder"])},
        "fake": with_latents,
    }
    return kind(**given | settings)


def parameters(state):
    return {name: float64(leaves(state.players[name])) for name in RATES}


def test_an_update_is_that_of_numpy_in_both_orders():
    printed, released = algorithm_of(advnets.Algorithm1), algorithm_of(advnets.Simultaneous)
    real = jnp.asarray(REAL, jnp.float32)

    @jax.jit
    def both(state):
        (d_key,), g_key = printed.step_keys(KEY, 0)
        after_d, _ = printed.discriminator_step(d_key, PLAYERS, state, real)
        after_g, info = printed.generator_step(g_key, PLAYERS, after_d, real)
        return after_d, after_g, info, *released.step(KEY, PLAYERS, state, real)

    state = printed.init(PLAYERS)
    after_d, after_g, info, together, info_together = both(state)
    start, between, end = (parameters(x) for x in (state, after_d, after_g))
    (d_key,), g_key = printed.step_keys(KEY, 0)

    expected = changes(drawn.latents(discriminator_draws(d_key), PLAYERS.prior, N), start)
    assert_moved(between["discriminator"], start["discriminator"], expected["discriminator"])
    for name in ("generator", "encoder"):  # which move together, after D
        assert same(after_d.players[name], state.players[name])
    expected = changes(drawn.latents(generator_draws(g_key), PLAYERS.prior, N), between)
    for name in ("generator", "encoder"):
        assert_moved(end[name], start[name], expected[name])
    assert info.keys() == {"generator", "encoder"}

    draws = discriminator_draws(jax.random.fold_in(KEY, 0))
    expected = changes(drawn.latents(draws, PLAYERS.prior, N), start)
    for name in RATES:
        assert_moved(parameters(together)[name], start[name], expected[name])
    assert info_together.keys() == set(RATES)
    assert info_together["encoder"].keys() == {"cost", "gradient_norm"}


@pytest.mark.long
def test_a_third_player_trains_and_comes_back_under_its_name():
    trained = advnets.train(
        KEY,
        PLAYERS,
        REAL.astype(np.float32),
        epochs=1,
        batch_size=3,
        algorithm=algorithm_of(advnets.Simultaneous),
        progress=False,
    )
    assert not same(trained.players.others["encoder"], PLAYERS.others["encoder"])
    assert trained.metrics[0]["encoder"]["cost"] > 0
    assert trained.model.sample(KEY, 5).shape == (5, 3)


class Forgetful(Inferring):
    def costs(self, draws, D, real, fake, *, encoder):
        found = Inferring.costs(self, draws, D, real, fake, encoder=encoder)
        return Costs(found.discriminator, found.generator)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"other_updates": {}}, "'encoder' has no update rule; .* must have the same names"),
        (
            {"other_updates": {"encoder": optax.sgd(0.1), "critic": optax.sgd(0.1)}},
            "'critic' has an update rule but no player",
        ),
        ({"objective": Forgetful()}, "no cost for 'encoder'; add it to Costs.others"),
    ],
)
def test_a_player_without_a_rule_or_a_cost_is_refused(settings, message):
    algorithm = algorithm_of(advnets.Algorithm1, **settings)
    with pytest.raises(ValueError, match=message):
        advnets.train(
            KEY, PLAYERS, REAL.astype(np.float32), epochs=1, batch_size=3, algorithm=algorithm
        )


@pytest.mark.parametrize("name", ["generator", "real", "epoch"])
def test_a_third_player_needs_a_name_of_its_own(name):
    with pytest.raises(ValueError, match=f"needs a name other than .*; got '{name}'"):
        advnets.Players(jnp.sin, jnp.sin, others={name: jnp.sin})
