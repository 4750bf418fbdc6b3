"""The released code's options where they meet a step or a run, against NumPy or by hand.

The costs are in test_game.py, the layers in test_layers.py, `shrink` in test_updates.py, and whole
updates with them in test_algorithms_reference.py.
"""

import re
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special

import advnets
from advnets import layers, networks, objectives, priors, updates
from advnets.draws import discriminator_draws

LATENT, PIXELS = 2, 3


class Linear(eqx.Module):
    weight: jax.Array

    def __call__(self, x):
        return jnp.dot(self.weight, x)


class Constant(eqx.Module):
    value: jax.Array

    def __call__(self, z):
        return self.value


def test_noise_before_the_discriminator_falls_on_data_and_samples_alike(key):
    """One update of D, its noise drawn again here: a draw of its own for every example."""
    scale, rate, n = 0.3, 0.5, 500
    weight, real_at, fake_at = np.array([1.0, -2.0, 0.5]), 1.0, np.array([0.2, 0.4, 0.6])
    discriminator = eqx.nn.Sequential(
        [layers.GaussianNoise(scale), eqx.nn.Lambda(Linear(jnp.asarray(weight, jnp.float32)))]
    )
    generator = Constant(jnp.asarray(fake_at, jnp.float32))
    players = advnets.Players(generator, discriminator, priors.Uniform(LATENT))
    algorithm = advnets.Algorithm1(
        generator_updates=optax.sgd(rate), discriminator_updates=optax.sgd(rate)
    )
    step = jax.jit(lambda s, real: algorithm.discriminator_step(key, players, s, real))
    state, info = step(algorithm.init(players), jnp.full((n, PIXELS), real_at))

    @jax.jit
    def noise(side):
        def one(key):
            return jax.random.normal(jax.random.split(key, 2)[0], (PIXELS,))

        return jax.vmap(one)(jax.random.split(side, n))

    draws = discriminator_draws(key)
    noises = [np.asarray(noise(side), np.float64) for side in (draws.real, draws.fake)]
    real, fake = real_at + scale * noises[0], fake_at + scale * noises[1]
    d_real, d_fake = (scipy.special.expit(x @ weight) for x in (real, fake))
    ascent = ((1 - d_real) @ real - d_fake @ fake) / n
    change = np.asarray(jax.tree.leaves(state.discriminator)[0], np.float64) - weight
    assert np.linalg.norm(change - rate * ascent) <= 1e-4 * np.linalg.norm(rate * ascent)
    np.testing.assert_allclose(info["real_output"], d_real.mean(), rtol=1e-5)
    np.testing.assert_allclose(info["fake_output"], d_fake.mean(), rtol=1e-5)
    # Independent between sides and between examples: correlations of 0 within 4 standard errors.
    for a, b in [(noises[0], noises[1]), *((x[1:], x[:-1]) for x in noises)]:
        assert abs(np.mean(a * b)) < 4 / np.sqrt(a.size)


def pair(generator_updates, discriminator_updates):
    """One parameter each; the gradient of the generator's is -1 throughout."""
    players = advnets.Players(Constant(jnp.zeros(1)), Linear(jnp.ones(1)), priors.Uniform(LATENT))
    objective = objectives.GAN(generator_cost=lambda logits: -jnp.mean(logits))
    algorithm = advnets.Algorithm1(
        objective=objective,
        generator_updates=generator_updates,
        discriminator_updates=discriminator_updates,
    )
    return players, algorithm


def generators(updates, iterations):
    """The generator's one parameter after each iteration."""
    players, algorithm = pair(updates, optax.set_to_zero())

    def iterate(state, real):
        state, _ = algorithm.step(jax.random.key(0), players, state, real)
        return state, state.generator.value[0]

    state = algorithm.init(players)
    _, values = jax.jit(lambda s: jax.lax.scan(iterate, s, jnp.ones((iterations, 4, 1))))(state)
    return np.asarray(values)


def moved(turns, gradients, rate=0.1, mu=0.5):
    """Momentum by hand: velocity moves only at its turns, with these gradients."""
    value, velocity, values = 0.0, 0.0, []
    for turn, gradient in zip(turns, gradients, strict=True):
        if turn:
            velocity = mu * velocity - rate * gradient
            value += velocity
        values.append(value)
    return values


ALWAYS = [1] * 8
EVERY_THIRD = [0, 0, 1, 0, 0, 1, 0, 0]


def momentum():
    return updates.momentum(0.1, 0.5)


def masked(rule, condition):
    return optax.transforms.conditionally_mask(rule, condition)


@pytest.mark.parametrize(
    ("updates", "turns", "gradients"),
    [
        # Really skipped: neither the parameters nor the velocity move between turns.
        (masked(momentum(), lambda step: step % 3 == 2), EVERY_THIRD, [-1] * 8),
        # The gradient is zeroed, and the velocity moves the parameters on.
        (
            optax.chain(masked(optax.identity(), lambda step: step % 3 == 2), momentum()),
            ALWAYS,
            [-turn for turn in EVERY_THIRD],
        ),
        # On after 2 epochs of 2.
        (
            optax.chain(masked(optax.identity(), lambda step: step >= 2 * 2), momentum()),
            ALWAYS,
            [0, 0, 0, 0, -1, -1, -1, -1],
        ),
        # Epochs of 2: D alone, both, D alone, both.
        (masked(momentum(), lambda step: step // 2 % 2 == 1), [0, 0, 1, 1] * 2, [-1] * 8),
    ],
)
def test_optax_lets_the_generator_move_at_its_turns(updates, turns, gradients):
    np.testing.assert_allclose(generators(updates, 8), moved(turns, gradients), rtol=1e-5)


def test_players_can_take_turns_by_minibatch(key):
    """The order of `sgd_alt.py`: in every other epoch, each third minibatch is for G alone."""
    per_epoch, k = 5, 2

    def generators_turn(step):
        return (step // per_epoch % 2 == 1) & (step % per_epoch % (k + 1) == k)

    players, algorithm = pair(
        masked(optax.sgd(0.1), generators_turn),
        masked(optax.sgd(0.1), lambda step: ~generators_turn(step)),
    )
    state = algorithm.init(players)
    step = jax.jit(lambda state, real: algorithm.step(key, players, state, real))
    seen = ""
    for _ in range(2 * per_epoch):
        after, _ = step(state, jnp.ones((4, 1)))
        g_moved = (after.generator.value != state.generator.value).item()
        d_moved = (after.discriminator.weight != state.discriminator.weight).item()
        seen += {(True, False): "G", (False, True): "D"}[g_moved, d_moved]
        state = after
    assert seen == "DDDDD" + "DDGDD"


def test_train_refuses_a_discriminator_that_needs_its_key(key):
    class Needy(eqx.Module):
        weight: jax.Array

        def __call__(self, x, *, key):
            return self.weight * jnp.sum(x)

    generator = networks.mlp_generator(key, LATENT, (PIXELS,), hidden_sizes=[4])
    objective = objectives.GAN(generator_sees_dropout=False)
    with pytest.raises(ValueError, match="the discriminator gives no logit, without its noise"):
        advnets.train(
            key,
            advnets.Players(generator, Needy(jnp.ones(())), priors.Uniform(LATENT)),
            np.zeros((8, PIXELS), np.float32),
            epochs=1,
            algorithm=advnets.Algorithm1(objective=objective),
            batch_size=4,
            progress=False,
        )


@pytest.mark.long
def test_the_code_on_the_page_runs(key):
    page = Path(__file__).parents[2] / "docs" / "released-options.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 6
    generator = eqx.nn.Linear(100, PIXELS, key=key)
    discriminator = eqx.nn.Linear(PIXELS, 1, key=key)
    names = {
        "advnets": advnets,
        "eqx": eqx,
        "optax": optax,
        "key": key,
        "generator": generator,
        "discriminator": discriminator,
        "players": advnets.Players(generator, discriminator),
        "images": np.random.default_rng(0).random((300, PIXELS)).astype(np.float32),
        "updates_per_epoch": 3,
    }
    for block in blocks:
        exec(block, names)
    params = {"weight": jnp.ones((2, 3))}
    for rule in ("discriminator_updates", "every_third_time", "after_five_epochs"):
        names[rule].update(params, names[rule].init(params), params)
