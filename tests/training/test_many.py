"""Many games in one program: each is what it would be alone, and keeps a record of its own."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import seams
from helpers.games import (
    LATENT,
    assert_close,
    images,
    leaves,
    noisy,
    plain,
    same,
    with_batch_norm,
)
from helpers.many import COMMON, KEYS, PLAYER_KEYS, RATES, RUNS, SHIFTS, alone, build, many, of_rate

import advnets
from advnets import priors
from advnets.players import Frozen, Stateful

MOMENTA = jnp.array([0.9, 0.0, 0.5])


def with_dropout(key, _):
    return noisy(key)


def assert_alike(one, other):
    """The same up to rounding."""
    assert_close(one.players, other.players)
    for ours, theirs in zip(one.metrics, other.metrics, strict=True):
        for player in ("discriminator", "generator"):
            for name, value in theirs[player].items():
                assert ours[player][name] == pytest.approx(value, rel=1e-5), name
    assert one.updates == other.updates


@pytest.mark.parametrize(
    ("algorithm", "players", "in_a_loop"),
    [
        pytest.param(advnets.Algorithm1(), build, True, marks=pytest.mark.long),
        (advnets.Simultaneous(), with_dropout, False),
    ],
    ids=["alternating-loop", "simultaneous-vmap"],
)
def test_each_run_is_what_it_would_be_alone(monkeypatch, algorithm, players, in_a_loop):
    """One after another and side by side."""
    seams.games_in_a_loop(monkeypatch, in_a_loop)
    programs = seams.programs_of_many_games(monkeypatch)
    together = many(1, players, algorithm=algorithm)
    assert_alike(together[2], alone(2, 1, players, algorithm=algorithm))
    assert not np.allclose(leaves(together[0].players)[0], leaves(together[2].players)[0])
    # The norms stay a branch: a select would compute them in every iteration.
    assert [program.count("cond[") for program in programs] == [2]


def of_setting(setting):
    rule = optax.sgd(setting["rate"], momentum=setting["momentum"])
    return advnets.Algorithm1(generator_updates=rule, discriminator_updates=optax.sgd(0.2))


@pytest.mark.parametrize(
    ("vary", "algorithm", "in_a_loop"),
    [
        ({"rate": RATES, "momentum": MOMENTA}, of_setting, True),
        pytest.param(RATES, of_rate, False, marks=pytest.mark.long),
    ],
    ids=["rate-and-momentum-loop", "rates-vmap"],
)
def test_each_run_has_its_settings(monkeypatch, vary, algorithm, in_a_loop):
    seams.games_in_a_loop(monkeypatch, in_a_loop)
    together = many(1, vary=vary, algorithm=algorithm)
    assert len(together) == RUNS
    mine = jax.tree.map(lambda x: float(x[2]), vary)
    assert_alike(together[2], alone(2, 1, algorithm=algorithm(mine)))


def stateful(key, shift):
    """Batch normalisation in G, and a frozen bias; each run has its own."""
    generator = Stateful(*with_batch_norm(key))
    frozen = Frozen(jnp.full(6, jnp.where(shift, 2.0, 1.0)))
    generator = eqx.tree_at(lambda g: g.module.layers[0].bias, generator, frozen)
    return advnets.Players(generator, plain(key).discriminator, priors.Uniform(LATENT))


@pytest.mark.long
def test_states_averages_and_frozen_arrays_are_each_runs_own():
    rule = optax.sgd(0.1)
    algorithm = advnets.Algorithm1(generator_updates=rule, discriminator_updates=rule, average=0.9)
    together = many(1, stateful, algorithm=algorithm)
    one = alone(1, 1, stateful, algorithm=algorithm)
    assert_alike(together[1], one)
    assert_close(together[1].averaged, one.averaged)
    for run, value in enumerate((1.0, 2.0, 1.0)):
        frozen = together[run].generator.module.layers[0].bias
        assert same(frozen, Frozen(jnp.full(6, value)))
    memories = [jax.tree.leaves(t.generator.state) for t in together]
    assert not same(memories[0], memories[1])


STACKED = eqx.filter_vmap(build)(PLAYER_KEYS, SHIFTS)


@pytest.mark.parametrize(
    ("keys", "players", "settings", "message"),
    [
        (KEYS, build(PLAYER_KEYS[0], SHIFTS[0]), {}, "arrays must have a leading axis of 3 runs"),
        (KEYS[:2], STACKED, {}, "leading axis of 2 runs"),
        (KEYS, STACKED, {"names": ["a", "b", "c", "c"]}, "needs a name of its own; got 3 keys"),
        (KEYS, STACKED, {"names": ["a", "a", "b"]}, "needs a name of its own; got 3 keys"),
        (
            KEYS, STACKED, {"vary": RATES[:2], "algorithm": of_rate},
            "settings for each of the 3 runs; got 2",
        ),
        (
            KEYS, STACKED,
            {"vary": {"rate": RATES, "momentum": MOMENTA[:2]}, "algorithm": of_setting},
            r"settings for each of the 3 runs; got 2 in vary\['momentum'\]",
        ),
        (
            KEYS, STACKED, {"vary": RATES.at[1].set(0.0), "algorithm": of_rate},
            "must be above 0 and finite; got",
        ),
        (
            KEYS, STACKED, {"vary": RATES.at[1].set(jnp.inf), "algorithm": of_rate},
            "must be above 0 and finite; got",
        ),
        (KEYS, STACKED, {"algorithm": of_rate}, "settings, but no settings vary; give vary"),
        (KEYS, STACKED, {"vary": RATES}, "is not a function of them; give a function"),
        (
            KEYS, STACKED, {"vary": RATES, "algorithm": advnets.Algorithm1()},
            "is not a function of them; give a function",
        ),
        (
            KEYS, STACKED,
            {"vary": jnp.array([1, 2, 1]), "algorithm": lambda k: advnets.Algorithm1(k=int(k))},
            "all runs must have the same k",
        ),
    ],
)  # fmt: skip
def test_runs_that_do_not_fit_together_are_refused(keys, players, settings, message):
    with pytest.raises(ValueError, match=message):
        advnets.train_many(keys, players, images(), epochs=1, **COMMON | settings)
