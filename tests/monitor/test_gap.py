"""The duality gap: a step of G's copy by hand, its limits, and what it leaves alone."""

import dataclasses
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
from helpers import games
from helpers.few_numbers import Affine, InTurn, shifted_normal

import advnets
from advnets import monitor
from advnets.priors import Normal

KEY = jax.random.key(3)
ROWS = np.arange(8, dtype=np.float32)[:, None] / 4
SETTINGS = {"steps": 1, "every": 1, "batch_size": 9}


class Bowl(eqx.Module):
    """A logit that is lowest at 0, where it is flat, and flat in its parameter where that is 0."""

    root: jax.Array

    def __call__(self, x):
        return self.root[0] ** 2 * x[0] + x[0] ** 2


class One(eqx.Module):
    """Makes one example, whatever z is."""

    at: jax.Array

    def __call__(self, z):
        return 0 * z + self.at


def test_a_step_and_what_is_said_of_it_against_numpy():
    w, c, by, rate = 0.9, -0.2, 0.7, 2.0
    players = shifted_normal(by, w, c, InTurn())
    found = monitor.duality_gap(
        KEY, players, ROWS[:4], ROWS, generator_rule=optax.sgd(rate), **SETTINGS
    )
    # Descent of E log(1 - σ(l)), whose slope in a logit is -σ(l).
    z = np.linspace(-1, 2, 4)
    after = by + rate * np.mean(scipy.special.expit(w * (z + by) + c)) * w

    def each(by):
        return -np.logaddexp(0, w * (z + by) + c)

    response = found.generator
    assert response.generator.by[0] == pytest.approx(after, rel=1e-5)
    assert (response.step, response.every) == (1, 1)
    np.testing.assert_allclose(response.curve, [each(by).mean(), each(after).mean()], rtol=1e-5)
    for estimate, terms in (
        (response.value, each(by)),
        (response.best_value, each(after)),
        (response.regret, each(by) - each(after)),
    ):
        assert estimate.mean == pytest.approx(terms.mean(), rel=1e-4)
        assert estimate.standard_error == pytest.approx(terms.std(ddof=1) / 2, rel=1e-3)
    of_d = found.discriminator.regret
    assert found.gap.mean == pytest.approx(of_d.mean + response.regret.mean)
    assert found.gap.standard_error == pytest.approx(
        math.hypot(of_d.standard_error, response.regret.standard_error)
    )
    assert str(found).startswith(f"duality gap {found.gap}: D could gain {of_d}, G ")


def shifted(draws, generator, prior, real):
    """Another way of making examples."""
    return generator(draws.generator, prior(draws.latents, len(real))) + 0.5


def test_ds_half_is_its_best_response_with_the_same_settings():
    players = shifted_normal(1, 1, 0)
    settings = SETTINGS | {"rule": optax.sgd(0.3), "perturbation": 0.1, "fake": shifted}
    found = monitor.duality_gap(KEY, players, ROWS, ROWS, **settings).discriminator
    alone = monitor.best_response(jax.random.split(KEY)[0], players, ROWS, ROWS, **settings)
    assert (found.regret, found.curve) == (alone.regret, alone.curve)
    assert games.same(found.discriminator, alone.discriminator)


class Given(eqx.Module):
    """Makes its condition, and a shift of it."""

    by: jax.Array

    def __call__(self, z, condition):
        return condition + self.by + 0 * z


def test_g_s_copy_gets_conditions_of_the_rows_each_preprocessed_in_its_way():
    """D's logit is the example, so V is of the conditions themselves."""
    rows = np.arange(8, dtype=np.float32)[:, None] / 8
    data = advnets.training.Resident((rows[:4], rows[:4]), preprocess=doubled)
    held_out = advnets.training.Resident((rows, rows))
    players = advnets.Players(Given(jnp.zeros(1)), lambda x, condition: x[0], Normal(1))
    found = monitor.duality_gap(
        KEY, players, data, held_out, generator_rule=optax.sgd(1.0), **SETTINGS
    ).generator
    by = np.mean(scipy.special.expit(2.0 * rows[:4]))  # G's step, on the training rows
    assert found.generator.by[0] == pytest.approx(by, rel=1e-5)
    choosing, reporting = rows[::2], rows[1::2]
    for value, x in (
        (found.curve[0], choosing),
        (found.curve[1], choosing + by),
        (found.value.mean, reporting),
        (found.best_value.mean, reporting + by),
    ):
        assert value == pytest.approx(-np.logaddexp(0, x).mean(), rel=1e-5)


def doubled(batch):
    return jax.tree.map(lambda x: 2 * x, batch)


def test_a_copy_that_gets_worse_is_not_kept():
    """An ascent instead of a descent: the best of the looks is the first."""
    players = shifted_normal(1, 1, 0)
    found = monitor.duality_gap(
        KEY, players, ROWS, ROWS, generator_rule=optax.sgd(-1.0), **SETTINGS
    ).generator
    assert found.curve[1] > found.curve[0]
    assert (found.step, found.regret.mean) == (0, 0)
    assert games.same(found.generator, players.generator)


def test_a_perturbation_leaves_a_stationary_point():
    """G makes the example that D is surest to be no data, where V is flat in both players."""
    players = advnets.Players(One(jnp.zeros(1)), Bowl(jnp.zeros(1)), Normal(1))
    rule = optax.sgd(0.5)
    settings = {"steps": 50, "every": 50, "rule": rule, "generator_rule": rule}
    still = monitor.duality_gap(KEY, players, ROWS, ROWS, **settings)
    moved = monitor.duality_gap(KEY, players, ROWS, ROWS, perturbation=0.1, **settings)
    assert still.generator.regret.mean == 0
    assert still.discriminator.step == 0
    assert moved.generator.regret.mean > 1
    assert moved.discriminator.step == 50
    for name in ("generator", "discriminator"):  # the first look is at the player as it is
        assert getattr(moved, name).curve[0] == getattr(still, name).curve[0]
        assert still.discriminator.curve[1] == still.discriminator.curve[0]


@pytest.mark.long
def test_half_precision_stays_half_precision():
    dtype = jnp.bfloat16
    line = Affine(jnp.ones(1, dtype), jnp.zeros((), dtype))
    players = advnets.Players(One(jnp.zeros(1, dtype)), line, Normal(1))

    def half(draws, generator, prior, real):
        return generator(draws.generator, prior(draws.latents, len(real)).astype(dtype))

    data = advnets.training.Resident(ROWS, preprocess=lambda rows: rows.astype(dtype))
    found = monitor.best_response(
        KEY, players, data, data, perturbation=0.1, noise_scale=0.1, fake=half, **SETTINGS
    )
    assert found.discriminator.w.dtype == dtype


def test_players_with_memory_and_noise_are_left_as_they_are():
    generator = advnets.players.Stateful(*games.with_batch_norm(KEY))
    players = dataclasses.replace(games.noisy(KEY), generator=generator)
    before = jax.tree.map(np.array, games.leaves(players))
    data = games.images(20)
    found = [
        monitor.duality_gap(KEY, players, data, data, steps=4, every=2, batch_size=5)
        for _ in range(2)
    ]
    assert found[0].gap == found[1].gap
    assert found[0].generator.regret.mean > 0
    for one, other in zip(before, games.leaves(players), strict=True):
        np.testing.assert_array_equal(one, other)
    copy = found[0].generator.generator
    assert games.same(copy.state, generator.state)
    assert not games.same(copy.module, generator.module)


def test_what_can_t_be_asked_is_refused_in_a_sentence():
    players = games.plain(KEY)
    for settings, message in (
        ({"perturbation": -0.1}, "perturbation must be at least 0 and finite; got -0.1"),
        ({"every": 3}, "divide the 500 steps; got 3"),
        ({"held_out": ROWS[:3]}, "at least 4 held-out rows"),
    ):
        with pytest.raises(ValueError, match=message):
            monitor.duality_gap(KEY, players, **{"data": ROWS, "held_out": ROWS} | settings)
