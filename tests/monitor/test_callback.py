"""The monitor of a run: what it leaves in the rows, that it changes nothing else, and alarms."""

import dataclasses
import json
import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers.games import images, plain, same, train

import advnets
from advnets import monitor
from advnets.algorithms import State
from advnets.inpainting import Filled
from advnets.training import Measuring, Snapshot
from advnets.training.check import check_callbacks
from advnets.training.journal import with_evaluation
from advnets.training.sources import source_of

KEY = jax.random.key(8)
SETTINGS = {"steps": 2, "every": 1, "batch_size": 5}


def monitor_of(key=KEY, **settings):
    held_out = np.random.default_rng(1).integers(0, 256, (20, 2, 3), np.uint8)
    return monitor.Monitor(key, images(), held_out, **SETTINGS | settings)


def alike():
    """Players whose generator makes next to the same example of every z."""
    players = plain(jax.random.key(0))
    weight = players.generator.linear.weight
    return eqx.tree_at(lambda p: p.generator.linear.weight, players, 0.03 * weight)


SLOW = advnets.Algorithm1(generator_updates=optax.sgd(1e-4), discriminator_updates=optax.sgd(1e-2))


def play(epochs, **settings):
    return train(epochs, alike(), algorithm=SLOW, **settings)


class Counting(Measuring):
    """Counts the epochs before, and may stop at one."""

    def __init__(self, stops_at=0):
        self.stops_at, self.earlier = stops_at, []

    def measure(self, snapshot, earlier):
        self.earlier.append([row["epoch"] for row in earlier])
        assert "count" not in snapshot.metrics
        if snapshot.epoch == self.stops_at:
            raise advnets.training.StopTraining
        return {"count": len(earlier)}


@pytest.fixture(scope="module")
def monitored(tmp_path_factory):
    """A run, its folder, and what callbacks were told of it."""
    folder, metrics, counting = tmp_path_factory.mktemp("monitored"), [], Counting()
    callbacks = [monitor_of(), counting, lambda snapshot: metrics.append(snapshot.metrics)]
    return play(4, folder=folder, callbacks=callbacks), folder, metrics, counting


def test_its_numbers_are_in_the_rows_and_on_disk(monitored):
    trained, folder, metrics, _ = monitored
    rows = [*map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())]
    assert rows == trained.metrics
    assert metrics == [rows[1], rows[3]]
    assert [row["epoch"] for row in rows if "monitor" in row] == [2, 4]
    found = rows[3]["monitor"]
    for name in ("value", "best_value", "regret", "divergence", "overfitting"):
        assert found[name].keys() == {"mean", "standard_error"}
    assert len(found["curve"]) == 3
    assert found["samples"] == 10
    assert found["least"].keys() == {"spread", "effective_rank", "neighbours"}


def test_a_monitored_run_is_the_run_bit_for_bit(monitored):
    whole = play(4)
    assert same(whole.players, monitored[0].players)
    rows = [{name: row[name] for name in whole.metrics[0]} for row in monitored[0].metrics]
    assert rows == whole.metrics


def test_a_measuring_callback_is_told_of_the_epochs_before(monitored):
    trained, *_, counting = monitored
    assert counting.earlier == [[1], [1, 2, 3]]
    assert [row.get("count") for row in trained.metrics] == [None, 1, None, 3]


@pytest.mark.long
def test_a_run_that_is_stopped_and_resumed_has_the_numbers_and_alarms(tmp_path, monitored):
    settings = {"folder": tmp_path}
    stopped = play(9, callbacks=[monitor_of(), Counting(stops_at=2)], **settings)
    assert len(stopped.metrics) == 2
    resumed = play(4, callbacks=[monitor_of()], resume=True, **settings)
    assert same(resumed.players, monitored[0].players)
    for one, other in zip(resumed.metrics, monitored[0].metrics, strict=True):
        other.pop("count", None)
        assert one == other
    assert resumed.metrics[3]["monitor"]["alarms"]  # which takes the evaluation before


def test_a_name_that_is_taken_is_refused_with_who_took_it():
    with pytest.raises(ValueError, match="Monitor returned 'epoch', which each row"):
        with_evaluation({"epoch": 1}, {"epoch": 2}, who="Monitor")


def test_each_of_many_runs_may_have_a_key():
    keys = jax.random.split(KEY, 2)
    assert (monitor_of(keys)._key_of(1) == keys[1]).all()
    assert (monitor_of(KEY)._key_of(1) == KEY).all()
    with pytest.raises(ValueError, match="there must be a key for each run, or one; got 2"):
        monitor_of(keys)._key_of(2)


class FromFew(eqx.Module):
    """A generator that takes one of a few latent vectors in the place of each."""

    inner: eqx.Module
    few: jax.Array

    def __call__(self, z):
        number = jnp.floor(1e4 * jnp.abs(z[0])).astype(int) % len(self.few)
        return self.inner(self.few[number])


def collapses():
    """G's last weights times 0.1, and one of 50 values in the place of z."""
    players = plain(jax.random.key(0))
    generator = players.generator
    grown = eqx.tree_at(lambda g: g.linear.weight, generator, 3 * generator.linear.weight)
    small = eqx.tree_at(lambda g: g.linear.weight, grown, 0.1 * grown.linear.weight)
    few = FromFew(grown, players.prior(jax.random.key(1), 50))
    return {
        name: dataclasses.replace(players, generator=one)
        for name, one in (("fair", grown), ("small", small), ("few", few))
    }


@pytest.mark.parametrize(("kind", "expected"), [
    ("fair", set()), ("small", {"spread", "neighbours"}), ("few", {"neighbours", "duplicates"}),
])  # fmt: skip
def test_alarms_are_of_two_evaluations_running_and_warned_of_once(kind, expected, monkeypatch):
    """Data are the fair generator's."""
    fair = advnets.model.model_of(collapses()["fair"])
    data, held_out = np.split(fair.sample(jax.random.key(2), 2400), [2000])
    nothing = monitor.Estimate(0.0, 0.0)
    canned = monitor.BestResponse(*[nothing] * 5, 0, (0.0,), 1, (1.0, 0.0), lambda x: x)
    monkeypatch.setattr(monitor.callback, "best_response", lambda *_, **__: canned)
    watching, rows = monitor.Monitor(KEY, data, held_out, noise_scales=(0.5,)), []
    state = State({}, {}, {}, None, jnp.zeros((), int))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for epoch in range(1, 5):
            row = {"epoch": epoch, "updates": epoch}
            snapshot = Snapshot(0, "", epoch, epoch, row, None, collapses()[kind], state)
            row |= watching.measure(snapshot, rows)
            watching(snapshot)
            rows.append(row)
    found = [row["monitor"] for row in rows]
    assert set(found[0]["collapsed"]) >= expected
    assert found[0]["alarms"] == []
    assert found[0]["noise"] == [{"scale": 0.5, "divergence": {"mean": 0, "standard_error": 0}}]
    assert set(found[1]["alarms"]) >= expected
    messages = [str(one.message) for one in caught]
    if not expected:
        assert not any(row["alarms"] for row in found)
        assert not messages
    else:
        assert "at epoch 2" in messages[0]
        assert "docs/collapse.md" in messages[0]
        assert len(messages) == 1


def test_an_alarm_is_warned_of_once_in_a_run_that_is_resumed_and_again_in_another(monkeypatch):
    """What was warned of before is in the rows."""
    nothing = monitor.Estimate(0.0, 0.0)
    canned = monitor.BestResponse(*[nothing] * 5, 0, (0.0,), 1, (1.0, 0.0), lambda x: x)
    monkeypatch.setattr(monitor.callback, "best_response", lambda *_, **__: canned)
    players = collapses()["small"]
    fair = advnets.model.model_of(collapses()["fair"])
    data, held_out = np.split(fair.sample(jax.random.key(2), 600), [400])
    state = State({}, {}, {}, None, jnp.zeros((), int))

    def warned(watching, rows):
        """How many warnings there are at the next evaluation of a run with these rows."""
        epoch = len(rows) + 1
        row = {"epoch": epoch, "updates": epoch}
        snapshot = Snapshot(0, "", epoch, epoch, row, None, players, state)
        row |= watching.measure(snapshot, rows)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            watching(snapshot)
        rows.append(row)
        return len(caught)

    watching, rows = monitor.Monitor(KEY, data, held_out), []
    assert [warned(watching, rows) for _ in range(3)] == [0, 1, 0]
    assert warned(monitor.Monitor(KEY, data, held_out), rows) == 0  # as after resuming
    again = []
    assert [warned(watching, again) for _ in range(2)] == [0, 1]  # another run, the same monitor


def test_conditions_are_those_of_rows_of_all_the_data():
    """Held-out rows may be sorted by class."""
    rows = np.arange(40.0, dtype=np.float32)[:, None]
    players = advnets.Players(lambda z, c: c, lambda x, c: x[0], advnets.priors.Normal(1))
    source = advnets.training.Resident((rows, rows))
    for n, expected in ((4, [0, 10, 20, 30]), (50, [*range(40), *range(10)])):
        drawn = monitor.frozen.draw(KEY, players, source, n, advnets.algorithms.generated)
        assert drawn[:, 0].tolist() == expected


def test_features_take_the_place_of_pixels():
    watching = monitor_of(features=lambda rows: rows[:, :2])
    assert watching._real_rows().rows.shape == (20, 2)
    assert watching._seen(np.zeros((3, 6), np.float32)).shape == (3, 2)


def with_nan():
    rows = np.ones((20, 2, 3), np.float32)
    rows[3, 0, 0] = np.nan
    return rows


PAIRS = {
    "data": (images(), np.zeros(53, int)),
    "held_out": (np.ones((20, 2, 3), np.uint8), np.zeros(20, int)),
}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"held_out": np.ones((20, 2, 2), np.uint8)},
         r"held_out must be rows like .*\(2, 3\); got float32 of shape \(2, 2\)"),
        ({"held_out": with_nan()}, "Monitor's held_out can't be used: .* not finite .* in row 3"),
        (PAIRS, "Monitor's data must be rows like .* with the condition int32 of shape"),
        ({"fake": Filled()}, "isn't given the algorithm's fake= can't generate examples"),
        ({"features": lambda rows: rows[0]}, r"from 2 rows they made \(6,\)"),
        ({"features": lambda rows: rows / 0}, "from 2 rows they made NaN or infinity"),
        ({"features": lambda rows: rows.nothing}, "features fail on 2 rows of 6 pixels"),
    ],
)  # fmt: skip
def test_a_game_that_can_t_be_monitored_is_refused_before_training(settings, message):
    held_out = np.ones((20, 2, 3), np.uint8)
    watching = monitor.Monitor(KEY, **{"data": images(), "held_out": held_out} | settings)
    with pytest.raises(ValueError, match=message):
        watching.check(plain(KEY), source_of(images()), 1)


def test_conditions_may_be_of_any_type():
    source = source_of((images(), np.zeros(53, np.int32)))
    pairs = {
        "data": (images(), np.zeros(53, np.uint8)),
        "held_out": (np.ones((20, 2, 3), np.uint8), np.zeros(20, np.float32)),
    }
    players = advnets.Players(
        lambda z, c: jnp.ones((2, 3)), lambda x, c: x.sum(), advnets.priors.Normal(1)
    )
    monitor.Monitor(KEY, **pairs).check(players, source, 1)


def test_a_game_of_fillings_or_a_model_is_not_monitored():
    source = source_of(images())
    fills = advnets.Players(lambda z, x, m: x, lambda x, m: x.sum(), advnets.priors.Normal(1))
    with pytest.raises(ValueError, match="can't let D judge real examples without noise"):
        monitor_of(fake=Filled()).check(fills, source, 1)
    with pytest.raises(ValueError, match="measures games, but what is trained here is a Linear"):
        monitor_of().check(eqx.nn.Linear(1, 1, key=KEY), source, 1)
    with pytest.raises(ValueError, match="a key for each run, or one; got 2"):
        monitor_of(jax.random.split(KEY, 2)).check(plain(KEY), source, 3)


def test_two_monitors_and_a_player_of_its_name_are_refused_before_training():
    with pytest.raises(ValueError, match="'monitor', but another callback, Monitor, measures it"):
        play(1, callbacks=[monitor_of(), monitor_of()])
    with pytest.raises(ValueError, match="'monitor', but what is trained has that name"):
        check_callbacks([monitor_of()], plain(KEY), source_of(images()), ["monitor"])


def test_a_monitor_that_can_t_work_is_refused_before_training():
    with pytest.raises(ValueError, match="divide the 2 steps; got 3"):
        monitor_of(every=3)
    with pytest.raises(ValueError, match="at least 2 samples must be compared; got 1"):
        monitor_of(samples=1)
