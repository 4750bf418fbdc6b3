"""Many games in one program: each is what it would be alone, and keeps a record of its own."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import seams
from helpers.games import (
    LATENT,
    SHAPE,
    assert_close,
    assert_same_run,
    images,
    leaves,
    noisy,
    plain,
    same,
)

import advnets
from advnets import layers, priors, updates
from advnets.players import Frozen, Stateful

RUNS = 3
KEYS, PLAYER_KEYS = jax.random.split(jax.random.key(1), (2, RUNS))
SHIFTS = jnp.array([False, True, False])
RATES, MOMENTA = jnp.array([0.03, 0.1, 0.3]), jnp.array([0.9, 0.0, 0.5])
COMMON = {"batch_size": 5, "evaluate_every": 2, "progress": False}


class Shifted(eqx.Module):
    """A generator with an array that is not trained, another one for each run."""

    inner: eqx.Module
    shift: jax.Array

    def __call__(self, z):
        return jnp.where(self.shift, 0.5, 1.0) * self.inner(z)


def build(key, shift):
    players = plain(key)
    return eqx.tree_at(lambda p: p.generator, players, Shifted(players.generator, shift))


def with_dropout(key, _):
    return noisy(key)


def many(epochs, players=build, **settings):
    stacked = eqx.filter_vmap(players)(PLAYER_KEYS, SHIFTS)
    return advnets.train_many(KEYS, stacked, images(), epochs=epochs, **(COMMON | settings))


def alone(run, epochs, players=build, **settings):
    one = players(PLAYER_KEYS[run], SHIFTS[run])
    return advnets.train(KEYS[run], one, images(), epochs=epochs, **(COMMON | settings))


def assert_alike(one, other):
    """By rounding alone, over an epoch."""
    assert_close(one.players, other.players)
    for ours, theirs in zip(one.metrics, other.metrics, strict=True):
        for player in ("discriminator", "generator"):
            for name, value in theirs[player].items():
                assert ours[player][name] == pytest.approx(value, rel=1e-5), name
    assert one.updates == other.updates


def evaluate(run, epoch, model):
    return {"run": run, "at": epoch, "mean": float(model.sample(jax.random.key(0), 3).mean())}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, many(4, folder=folder, evaluate=evaluate)


@pytest.mark.parametrize(
    ("algorithm", "players", "in_a_loop"),
    [(advnets.Algorithm1(), build, True), (advnets.Simultaneous(), with_dropout, False)],
    ids=["alternating-loop", "simultaneous-vmap"],
)
def test_each_run_is_what_it_would_be_alone(monkeypatch, algorithm, players, in_a_loop):
    """One after another and side by side."""
    seams.games_in_a_loop(monkeypatch, in_a_loop)
    programs = seams.programs_of_many_games(monkeypatch)
    together = many(1, players, algorithm=algorithm)
    assert_alike(together[1], alone(1, 1, players, algorithm=algorithm))
    assert not np.allclose(leaves(together[1].players)[0], leaves(together[2].players)[0])
    # The norms stay a branch: a select would compute them in every iteration.
    assert [program.count("cond[") for program in programs] == [2]


def of_setting(setting):
    rule = optax.sgd(setting["rate"], momentum=setting["momentum"])
    return advnets.Algorithm1(generator_updates=rule, discriminator_updates=optax.sgd(0.2))


def of_rate(rate):
    rule = updates.Released(rate)
    return advnets.Simultaneous(generator_updates=rule, discriminator_updates=rule)


@pytest.mark.parametrize(
    ("vary", "algorithm", "in_a_loop"),
    [({"rate": RATES, "momentum": MOMENTA}, of_setting, True), (RATES, of_rate, False)],
    ids=["rate-and-momentum-loop", "rates-vmap"],
)
def test_each_run_has_its_settings(monkeypatch, vary, algorithm, in_a_loop):
    seams.games_in_a_loop(monkeypatch, in_a_loop)
    together = many(1, vary=vary, algorithm=algorithm)
    assert len(together) == RUNS
    mine = jax.tree.map(lambda x: float(x[2]), vary)
    assert_alike(together[2], alone(2, 1, algorithm=algorithm(mine)))


def test_resumed_runs_are_the_uninterrupted_ones_bit_for_bit(whole, tmp_path):
    folder, uninterrupted = whole
    many(2, folder=tmp_path, evaluate=evaluate)
    resumed = many(4, folder=tmp_path, evaluate=evaluate, resume=True)
    for run, (one, other) in enumerate(zip(uninterrupted, resumed, strict=True)):
        assert_same_run(one, other)
        log = f"seed-{run}/metrics.jsonl"
        assert (folder / log).read_text() == (tmp_path / log).read_text()
    assert [row.get("at") for row in resumed[0].metrics] == [None, 2, None, 4]
    assert [one.metrics[1]["run"] for one in resumed] == [0, 1, 2]
    assert len({one.metrics[1]["mean"] for one in resumed}) == RUNS
    with pytest.raises(FileExistsError, match="already holds a run"):
        many(4, folder=folder)


def test_varied_runs_resume_bit_for_bit_and_with_the_same_settings_alone(tmp_path):
    whole = many(2, vary=RATES, algorithm=of_rate, evaluate_every=1)
    settings = {"folder": tmp_path, "evaluate_every": 1}
    many(1, vary=RATES, algorithm=of_rate, **settings)
    settings["resume"] = True
    with pytest.raises(advnets.CheckpointError, match="another list of settings"):
        many(2, vary=RATES.at[2].set(0.2), algorithm=of_rate, **settings)
    with pytest.raises(advnets.CheckpointError, match="resume with the settings"):
        many(2, **settings)
    resumed = many(2, vary=RATES, algorithm=of_rate, **settings)
    for one, other in zip(whole, resumed, strict=True):
        assert_same_run(one, other)


def test_a_run_that_diverges_is_named_and_the_others_go_on(whole, tmp_path):
    def with_nan(key, shift):
        # In the run whose shift is set, a generator that is not finite.
        players = build(key, shift)
        ruined = jax.tree.map(
            lambda x: jnp.where(shift, jnp.nan, x) if eqx.is_inexact_array(x) else x,
            players.generator,
        )
        return eqx.tree_at(lambda p: p.generator, players, ruined)

    _, untouched = whole
    settings = {"folder": tmp_path, "evaluate": evaluate}
    with pytest.warns(RuntimeWarning, match="training of seed-1 diverged .* the other 2 go on"):
        trained = many(2, with_nan, **settings)
    assert [one and len(one.metrics) for one in trained] == [2, None, 2]
    assert not (tmp_path / "seed-1" / "metrics.jsonl").read_text()
    # It stays out when the others go on.
    resumed = many(4, with_nan, **settings, resume=True)
    assert resumed[1] is None
    for run in (0, 2):
        assert resumed[run].metrics == untouched[run].metrics
        log = tmp_path / f"seed-{run}" / "metrics.jsonl"
        assert [json.loads(row) for row in log.read_text().splitlines()] == resumed[run].metrics


def stateful(key, shift):
    """Batch normalisation in G, whose bias is frozen; each run has its own."""

    def build(key):
        norm = eqx.nn.BatchNorm(6, axis_name=layers.MINIBATCH, mode="batch")
        reshape = advnets.networks.Reshape(SHAPE)
        return eqx.nn.Sequential([eqx.nn.Linear(LATENT, 6, key=key), norm, reshape])

    generator = Stateful(*eqx.nn.make_with_state(build)(key))
    frozen = Frozen(jnp.full(6, jnp.where(shift, 2.0, 1.0)))
    generator = eqx.tree_at(lambda g: g.module.layers[0].bias, generator, frozen)
    return advnets.Players(generator, plain(key).discriminator, priors.Uniform(LATENT))


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
        (KEYS, STACKED, {"names": ["a", "b"]}, "needs a name of its own; got 3 keys"),
        (KEYS, STACKED, {"names": ["a", "a", "b"]}, "needs a name of its own; got 3 keys"),
        (
            KEYS, STACKED, {"vary": RATES[:2], "algorithm": of_rate},
            "settings for each of the 3 runs; got 2",
        ),
        (
            KEYS, STACKED,
            {"vary": {"rate": RATES, "momentum": MOMENTA[:2]}, "algorithm": of_setting},
            "same number of rows",
        ),
        (
            KEYS, STACKED, {"vary": RATES.at[1].set(0.0), "algorithm": of_rate},
            "must be above 0 and finite; got",
        ),
        (
            KEYS, STACKED, {"vary": RATES.at[1].set(jnp.inf), "algorithm": of_rate},
            "must be above 0 and finite; got",
        ),
        (KEYS, STACKED, {"algorithm": of_rate}, "a function of settings, and none vary; give vary"),
        (KEYS, STACKED, {"vary": RATES}, "is no function of them; give a function"),
        (
            KEYS, STACKED, {"vary": RATES, "algorithm": advnets.Algorithm1()},
            "is no function of them; give a function",
        ),
        (
            KEYS, STACKED,
            {"vary": jnp.array([1, 2, 1]), "algorithm": lambda k: advnets.Algorithm1(k=int(k))},
            "all runs must have the same k",
        ),
    ],
)  # fmt: skip
def test_what_makes_no_set_of_runs_is_refused(keys, players, settings, message):
    with pytest.raises(ValueError, match=message):
        advnets.train_many(keys, players, images(), epochs=1, **COMMON | settings)
