"""The conditional game on pairs (example, label): one update against NumPy, and its samples."""

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
from advnets import conditions, priors
from advnets.draws import discriminator_draws, generator_draws
from advnets.layers import Labelled

RATE, N, CLASSES = 0.5, 6, 3
KEY = jax.random.key(0)
PLAYERS = advnets.Players(
    Labelled(eqx.nn.Linear(2 + CLASSES, 4, key=jax.random.key(1)), CLASSES),
    Labelled(eqx.nn.Linear(4 + CLASSES, 1, key=jax.random.key(2)), CLASSES),
    priors.Uniform(2),
    conditions.Labels((0.2, 0.0, 0.8)),
)
REAL, LABELS = np.random.default_rng(0).normal(size=(N, 4)), np.array([0, 2, 2, 1, 0, 2])
ONE_HOT = np.eye(CLASSES)[LABELS]


def generated(z, a, c):
    return np.concatenate([z, ONE_HOT], axis=1) @ a.T + c


def logits(x, w, b):
    return np.concatenate([x, ONE_HOT], axis=1) @ w.T + b


def changes(z, g, d, weight):
    """Of both players by their costs at these parameters."""

    def d_cost(*moved):
        return -weight * (log_d(logits(REAL, *moved)) + log_d(-logits(generated(z, *g), *moved)))

    def g_cost(*moved):
        return -log_d(logits(generated(z, *moved), *d))

    return [
        [-RATE * slope for slope in gradient(cost, x)] for cost, x in ((g_cost, g), (d_cost, d))
    ]


def test_an_update_is_that_of_numpy_in_both_orders():
    rule = optax.sgd(RATE)
    printed, released = (
        kind(generator_updates=rule, discriminator_updates=rule)
        for kind in (advnets.Algorithm1, advnets.Simultaneous)
    )
    real = jnp.asarray(REAL, jnp.float32), jnp.asarray(LABELS)

    @jax.jit
    def both(state):
        return printed.step(KEY, PLAYERS, state, real)[0], released.step(KEY, PLAYERS, state, real)[
            0
        ]

    alternated, together = both(printed.init(PLAYERS))
    g, d = (float64(leaves(player)) for player in (PLAYERS.generator, PLAYERS.discriminator))
    (d_key,), g_key = printed.step_keys(KEY, 0)
    _, of_d = changes(drawn.latents(discriminator_draws(d_key), PLAYERS.prior, N), g, d, 1)
    assert_moved(leaves(alternated.discriminator), d, of_d)
    moved = float64(leaves(alternated.discriminator))
    of_g, _ = changes(drawn.latents(generator_draws(g_key), PLAYERS.prior, N), g, moved, 1)
    assert_moved(leaves(alternated.generator), g, of_g)
    draws = discriminator_draws(jax.random.fold_in(KEY, 0))
    of_g, of_d = changes(drawn.latents(draws, PLAYERS.prior, N), g, d, 0.5)
    assert_moved(leaves(together.discriminator), d, of_d)
    assert_moved(leaves(together.generator), g, of_g)


MODEL = advnets.model.model_of(PLAYERS)


def expected(labels):
    """The samples that have these labels, by NumPy."""
    n = len(labels)
    z = MODEL.prior(jax.random.split(jax.random.split(KEY, 1)[0])[0], n)
    joined = np.concatenate([np.asarray(z, np.float64), np.eye(CLASSES)[labels]], axis=1)
    a, c = float64(leaves(MODEL.generator))
    return joined @ a.T + c


@pytest.mark.parametrize(
    ("condition", "labels"), [([0, 1, 2, 2], [0, 1, 2, 2]), (1, [1] * 4), (np.int32(2), [2] * 4)]
)
def test_samples_have_the_condition_that_is_asked_for(condition, labels):
    found = MODEL.sample(KEY, 4, condition=np.asarray(condition))
    np.testing.assert_allclose(found, expected(labels), rtol=1e-5)
    unknown = advnets.Model(MODEL.generator, MODEL.prior)  # of no distribution of labels
    np.testing.assert_array_equal(unknown.sample(KEY, 4, condition=np.asarray(condition)), found)


def test_samples_have_conditions_of_the_models_own_unless_asked():
    n = 500
    found = MODEL.sample(KEY, n)
    errors = np.stack([abs(found - expected([label] * n)).max(axis=1) for label in range(CLASSES)])
    labels = errors.argmin(axis=0)
    assert (errors.min(axis=0) < 1e-5).all()
    counts = np.bincount(labels, minlength=CLASSES)
    assert counts[1] == 0
    assert abs(counts[0] - 0.2 * n) <= 4 * np.sqrt(n * 0.2 * 0.8)
    np.testing.assert_array_equal(MODEL.sample(KEY, n), found)


def test_a_line_has_one_condition():
    found = MODEL.interpolate(KEY, 2, 3, condition=np.array([0, 2]))
    a, c = float64(leaves(MODEL.generator))
    # What is left without the line's label is the latent vector's part.
    rest = np.asarray(found, np.float64) - c - a[:, 2:].T[[0, 2]][:, None]
    z = np.linalg.lstsq(a[:, :2], rest.reshape(6, 4).T)[0]
    assert abs(a[:, :2] @ z - rest.reshape(6, 4).T).max() < 1e-5
    z = z.T.reshape(2, 3, 2)
    np.testing.assert_allclose(z[:, 1], (z[:, 0] + z[:, 2]) / 2, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "condition", "message"),
    [
        (MODEL, np.array([0, 1, 3]), "labels must be from 0 to 2; got 0 to 3"),
        (MODEL, -1, "labels must be from 0 to 2; got -1 to -1"),
        (MODEL, np.array([0.0, 1.0, 2.0]), "labels must be integers; got float64"),
        (
            MODEL,
            np.array([0, 1]),
            "a condition for each of the 3 samples, or a scalar for all; got 2",
        ),
        (advnets.Model(MODEL.generator, MODEL.prior), None, "give condition=..., a row for each"),
        (advnets.Model(MODEL.generator, MODEL.prior), np.array([0, 1, 3]), "from 0 to 2"),
        (
            advnets.Model(lambda z: z, MODEL.prior),
            1,
            "takes fewer than 2 inputs, a latent vector and the condition",
        ),
    ],
)
def test_conditions_that_do_not_fit_are_refused_in_a_sentence(model, condition, message):
    with pytest.raises(ValueError, match=message):
        model.sample(KEY, 3, condition=condition)
