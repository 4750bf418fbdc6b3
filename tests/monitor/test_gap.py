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

import advnets
from advnets import monitor
from advnets.priors import Normal, Prior

KEY = jax.random.key(3)
ROWS = np.arange(8, dtype=np.float32)[:, None] / 4
SETTINGS = {"steps": 1, "every": 1, "batch_size": 9}


class Shift(eqx.Module):
    by: jax.Array

    def __call__(self, z):
        return z + self.by


class Line(eqx.Module):
    w: jax.Array
    c: jax.Array

    def __call__(self, x):
        return self.w @ x + self.c


class Bowl(eqx.Module):
    """A logit that is lowest at 0, where it is flat."""

    curvature: jax.Array

    def __call__(self, x):
        return self.curvature * x[0] ** 2


class One(eqx.Module):
    """Makes one example, whatever z is."""

    at: jax.Array

    def __call__(self, z):
        return 0 * z + self.at


class InTurn(Prior):
    """The same latent vectors whatever the key."""

    size: int = eqx.field(static=True, default=1)

    def __call__(self, key, n):
        return jnp.linspace(-1.0, 2.0, n)[:, None]


def test_a_step_and_what_is_said_of_it_against_numpy():
    w, c, by, rate = 0.9, -0.2, 0.7, 2.0
    line = Line(jnp.full(1, w), jnp.asarray(c))
    players = advnets.Players(Shift(jnp.full(1, by)), line, InTurn())
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


def test_ds_half_is_its_best_response():
    players = advnets.Players(Shift(jnp.ones(1)), Line(jnp.ones(1), jnp.zeros(())), Normal(1))
    found = monitor.duality_gap(KEY, players, ROWS, ROWS, **SETTINGS).discriminator
    alone = monitor.best_response(jax.random.split(KEY)[0], players, ROWS, ROWS, **SETTINGS)
    assert (found.regret, found.curve) == (alone.regret, alone.curve)


def test_a_copy_that_gets_worse_is_not_kept():
    """An ascent instead of a descent: the best of the looks is the first."""
    players = advnets.Players(Shift(jnp.ones(1)), Line(jnp.ones(1), jnp.zeros(())), Normal(1))
    found = monitor.duality_gap(
        KEY, players, ROWS, ROWS, generator_rule=optax.sgd(-1.0), **SETTINGS
    ).generator
    assert found.curve[1] > found.curve[0]
    assert (found.step, found.regret.mean) == (0, 0)
    assert games.same(found.generator, players.generator)


def test_a_perturbation_leaves_a_stationary_point():
    """G makes the example on which D is surest that it is no data, and D is flat there."""
    players = advnets.Players(One(jnp.zeros(1)), Bowl(jnp.asarray(1.0)), Normal(1))
    settings = {"steps": 50, "every": 50, "generator_rule": optax.sgd(0.5)}
    still = monitor.duality_gap(KEY, players, ROWS, ROWS, **settings).generator
    assert (still.regret.mean, still.value.mean) == (0, pytest.approx(-math.log(2)))
    moved = monitor.duality_gap(KEY, players, ROWS, ROWS, perturbation=0.1, **settings)
    assert moved.generator.regret.mean > 1
    assert moved.generator.curve[0] == still.curve[0]  # the first look is at G as it is


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
    ):
        with pytest.raises(ValueError, match=message):
            monitor.duality_gap(KEY, players, ROWS, ROWS, **settings)
