"""Resumption of many games: bit for bit, and what becomes of one that diverged."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from helpers.games import assert_same_run
from helpers.many import RATES, RUNS, build, many, of_rate

import advnets


def evaluate(run, epoch, model):
    return {"run": run, "at": epoch, "mean": float(model.sample(jax.random.key(0), 3).mean())}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, many(4, folder=folder, evaluate=evaluate)


@pytest.mark.long
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


@pytest.mark.long
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


@pytest.mark.long
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
    with pytest.warns(RuntimeWarning, match="training of seed-1 diverged .* the other 2 continue"):
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
