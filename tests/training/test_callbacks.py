"""Callbacks: when they are called, with what, and what becomes of a run when one fails."""

import json
import signal

import jax
import pytest
from helpers.games import assert_same_run, leaves, same, train
from helpers.many import many

import advnets
from advnets.algorithms import at
from advnets.training.checkpoints import CHECKPOINTS, numbers

AVERAGING = advnets.Algorithm1(average=0.9)


@pytest.fixture(scope="module")
def whole():
    return train(4, algorithm=AVERAGING)


def test_a_callback_sees_the_run_once_its_row_and_its_checkpoint_are_on_disk(whole, tmp_path):
    seen = []

    def look(snapshot):
        rows = [*map(json.loads, (snapshot.folder / "metrics.jsonl").read_text().splitlines())]
        seen.append((snapshot, rows, numbers(snapshot.folder / CHECKPOINTS)[0]))

    called = []
    trained = train(
        4,
        algorithm=AVERAGING,
        folder=tmp_path,
        evaluate=lambda epoch, model: {"found": epoch},
        callbacks=[look, lambda snapshot: called.append(snapshot.epoch)],
    )
    assert called == [2, 4]
    for (snapshot, rows, saved), epoch in zip(seen, called, strict=True):
        assert (snapshot.run, snapshot.name, snapshot.folder) == (0, "", tmp_path)
        assert (snapshot.epoch, snapshot.updates, saved) == (epoch, 10 * epoch, 10 * epoch)
        assert snapshot.metrics == rows[-1] == trained.metrics[epoch - 1]
        assert snapshot.metrics["found"] == epoch
        assert snapshot.model.generator is snapshot.players.generator
        # Kept while the run went on, which is given the state's own arrays.
        assert int(snapshot.state.iteration) == 10 * epoch
        assert same(at(snapshot.players, snapshot.state), snapshot.players)
        assert leaves(snapshot.state.updates)
    assert not same(seen[0][0].players, seen[1][0].players)
    assert same(seen[1][0].players, whole.players)
    assert same(seen[1][0].averaged, whole.averaged)
    # The run is what it is without anyone looking.
    assert same(trained.players, whole.players)


def test_what_a_callback_does_to_its_row_is_not_the_runs(whole):
    trained = train(4, algorithm=AVERAGING, callbacks=[lambda s: s.metrics["generator"].clear()])
    assert_same_run(trained, whole)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("the disk of the log is full"),
        pytest.param(SystemExit(3), marks=pytest.mark.long),
    ],
)
def test_a_run_whose_callback_fails_goes_on_from_there(whole, tmp_path, error):
    settings = {
        "algorithm": AVERAGING, "folder": tmp_path, "evaluate_every": 1, "checkpoint_every": 3,
    }  # fmt: skip

    def fail(snapshot):
        raise error

    with pytest.raises(type(error)) as caught:
        train(4, callbacks=[fail], **settings)
    assert caught.value is error
    assert numbers(tmp_path / CHECKPOINTS) == [10]
    epochs = []
    resumed = train(4, callbacks=[lambda s: epochs.append(s.epoch)], resume=True, **settings)
    assert epochs == [2, 3, 4]
    assert_same_run(resumed, whole)


class Failing(advnets.training.Measuring):
    """Fails at one epoch, and otherwise counts the rows before."""

    def __init__(self, at):
        self.at = at

    def measure(self, snapshot, earlier):
        if snapshot.epoch == self.at:
            raise ZeroDivisionError
        return {"earlier": len(earlier)}


@pytest.mark.parametrize("at", [1, pytest.param(4, marks=pytest.mark.long)])
@pytest.mark.parametrize("how", ["callbacks", "evaluate"])
def test_what_could_not_be_measured_is_measured_when_the_run_is_resumed(tmp_path, how, at):
    def run(at, **given):
        measured = {
            "callbacks": {"callbacks": [Failing(at)]},
            "evaluate": {"evaluate": lambda epoch, model: {"nothing": 0 // (epoch - at)}},
        }[how]
        settings = {"algorithm": AVERAGING, "evaluate_every": 1, "checkpoint_every": 9}
        return train(4, **settings, **measured, **given)

    with pytest.raises(ZeroDivisionError):
        run(at, folder=tmp_path)
    assert numbers(tmp_path / CHECKPOINTS) == [10 * at]
    with pytest.raises(ZeroDivisionError):  # again, and nothing is lost
        run(at, folder=tmp_path, resume=True)
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == at - 1
    resumed = run(9, folder=tmp_path, resume=True)
    assert_same_run(resumed, run(9))
    # The row is in the checkpoint now: another evaluation of it would fail.
    assert_same_run(run(at, folder=tmp_path, resume=True), resumed)


def test_the_checkpoint_before_a_failed_evaluation_is_kept(tmp_path):
    settings = {"evaluate_every": 1, "folder": tmp_path}
    with pytest.raises(ZeroDivisionError):
        train(2, callbacks=[Failing(2)], **settings)
    train(2, callbacks=[Failing(9)], resume=True, **settings)
    assert numbers(tmp_path / CHECKPOINTS) == [20, 10]


def test_a_signal_that_comes_while_a_callback_works_is_heeded(tmp_path):
    settings = {"folder": tmp_path, "evaluate_every": 1, "checkpoint_every": 3}
    with pytest.raises(KeyboardInterrupt) as stopped:
        train(4, callbacks=[lambda _: signal.raise_signal(signal.SIGINT)], **settings)
    assert stopped.value.saved == "1 epoch"
    assert numbers(tmp_path / CHECKPOINTS) == [10]


@pytest.mark.parametrize(
    ("evaluate_every", "checkpoint_every", "evaluated", "saved"),
    [(1, 3, [1, 2, 3, 4], [40, 30]), (3, 1, [3, 4], [40, 30]), (2, 9, [2, 4], [40])],
)
def test_checkpoints_have_an_interval_of_their_own(
    whole, tmp_path, evaluate_every, checkpoint_every, evaluated, saved
):
    epochs = []
    trained = train(
        4,
        algorithm=AVERAGING,
        folder=tmp_path,
        callbacks=[lambda snapshot: epochs.append(snapshot.epoch)],
        evaluate_every=evaluate_every,
        checkpoint_every=checkpoint_every,
    )
    assert epochs == evaluated
    assert numbers(tmp_path / CHECKPOINTS) == saved
    assert_same_run(trained, whole)


def stop(*_):
    raise advnets.training.StopTraining


@pytest.mark.parametrize("how", ["callbacks", pytest.param("evaluate", marks=pytest.mark.long)])
def test_a_run_that_is_stopped_early_ends_as_any_other_and_goes_on_from_there(whole, tmp_path, how):
    snapshots = []
    stopping = {
        "callbacks": {"callbacks": [stop, snapshots.append]},
        "evaluate": {"callbacks": [snapshots.append], "evaluate": stop},
    }
    settings = {"algorithm": AVERAGING, "folder": tmp_path, "checkpoint_every": 9}
    stopped = train(4, **stopping[how], **settings)
    assert [s.epoch for s in snapshots] == [len(stopped.metrics)] == [2]
    assert stopped.updates == 20
    assert numbers(tmp_path / CHECKPOINTS) == [20]
    assert (tmp_path / "generator.safetensors").is_file()
    assert_same_run(train(4, resume=True, **settings), whole)


@pytest.mark.long
def test_a_stop_ends_all_of_many_runs():
    def stop_second(snapshot):
        if snapshot.run == 1:
            stop()

    trained = many(2, evaluate_every=1, callbacks=[stop_second])
    assert [len(one.metrics) for one in trained] == [1, 1, 1]


def test_an_interval_below_one_is_refused():
    with pytest.raises(ValueError, match="checkpoint_every must be at least 1; got 0"):
        train(1, checkpoint_every=0)


@pytest.mark.long
def test_many_runs_resume_where_one_could_not_be_measured(tmp_path):
    def fail(run, epoch, model):
        if run == 1:
            raise ZeroDivisionError
        return {"of": run}

    given = {"folder": tmp_path, "names": ["a", "b", "c"]}
    with pytest.raises(ZeroDivisionError):
        many(2, evaluate=fail, **given)
    evaluated = []

    def of(run, epoch, model):
        evaluated.append(run)
        return {"of": run}

    resumed = many(2, evaluate=of, resume=True, **given)
    assert evaluated == [0, 1, 2]  # also that which was evaluated before the failure
    for one, again in zip(many(2), resumed, strict=True):
        assert same(one.players, again.players)
    assert [[row.get("of") for row in one.metrics] for one in resumed] == [
        [None, 0], [None, 1], [None, 2],
    ]  # fmt: skip


@pytest.mark.long
def test_many_runs_are_seen_one_by_one(tmp_path):
    seen = []
    trained = many(1, folder=tmp_path, names=["a", "b", "c"], callbacks=[seen.append])
    assert [(s.run, s.name, s.folder) for s in seen] == [
        (0, "a", tmp_path / "a"), (1, "b", tmp_path / "b"), (2, "c", tmp_path / "c"),
    ]  # fmt: skip
    for snapshot, one in zip(seen, trained, strict=True):
        assert snapshot.metrics == one.metrics[-1]
        assert same(snapshot.players, one.players)
        assert same(at(snapshot.players, snapshot.state), one.players)
        assert int(snapshot.state.iteration) == 10
        assert jax.tree.structure(snapshot.state) == jax.tree.structure(seen[0].state)


def test_only_the_main_process_calls_back(monkeypatch):
    monkeypatch.setattr(jax, "process_index", lambda: 1)

    def fail(snapshot):
        raise AssertionError("called")

    train(1, callbacks=[fail])
