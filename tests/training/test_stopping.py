"""Signals: heeded after a checkpoint, wherever in an epoch, and resumed to the same bits."""

import os
import signal
import subprocess
import sys
import textwrap

import jax
import pytest
from helpers import seams
from helpers.games import assert_same_run, plain, train

from advnets import _locks, _signals
from advnets.training.checkpoints import CHECKPOINTS, newest_whole, numbers

KEY = jax.random.key(0)


def run(epochs, folder, **settings):
    return train(epochs, plain(KEY), folder=folder, **{"resume": True} | settings)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, run(6, folder, resume=False)


@pytest.mark.parametrize("ten", [pytest.param(10, marks=pytest.mark.long), 7])
def test_ctrl_c_saves_where_it_comes_and_resumes_to_the_same_bits(
    whole, tmp_path, monkeypatch, ten
):
    """After programs of 10 iterations, an epoch, or of 7 at most, in the middle of one."""
    seams.iterations_per_call(monkeypatch, ten)

    def once_interrupted(epoch, model):
        if epoch == 2:
            signal.raise_signal(signal.SIGINT)
        return {}

    with pytest.raises(KeyboardInterrupt) as stopped:
        run(6, tmp_path, resume=False, evaluate=once_interrupted)
    assert stopped.value.saved == "2 epochs"
    assert newest_whole(tmp_path / CHECKPOINTS)[0].name == "20"
    # The handlers that were there are there again.
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    folder, uninterrupted = whole
    assert_same_run(uninterrupted, run(6, tmp_path))
    assert (tmp_path / "metrics.jsonl").read_bytes() == (folder / "metrics.jsonl").read_bytes()


def test_a_signal_within_an_epoch_saves_its_unfinished_part(whole, tmp_path, monkeypatch):
    seams.iterations_per_call(monkeypatch, 7)
    seams.after_programs(monkeypatch, {1: lambda: signal.raise_signal(signal.SIGINT)})
    with pytest.raises(KeyboardInterrupt) as stopped:
        run(6, tmp_path, resume=False)
    assert stopped.value.saved == "1 epoch and 4 iterations"
    place, manifest = newest_whole(tmp_path / CHECKPOINTS)
    assert manifest.iteration == 14
    assert (place / "runs" / "unfinished-epoch.safetensors").exists()
    assert_same_run(whole[1], run(6, tmp_path))


@pytest.mark.long
def test_a_checkpoint_is_due_after_some_time(whole, tmp_path, monkeypatch):
    seams.seconds_between_checkpoints(monkeypatch, 0)
    seams.iterations_per_call(monkeypatch, 7)
    assert_same_run(whole[1], run(6, tmp_path, resume=False, evaluate_every=6))
    # The last two programs end at 56 and at 60 of 60 iterations.
    assert numbers(tmp_path / CHECKPOINTS) == [60, 56]


SCRIPT = """
    import os, signal, sys
    import jax
    sys.path.insert(0, {tests!r})
    from helpers.games import plain, train
    def evaluate(epoch, model):
        os.kill(os.getpid(), {number})
        return {{}}
    train(4, plain(jax.random.key(0)), folder={folder!r}, evaluate=evaluate)
"""


@pytest.mark.long
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_scheduler_s_signal_ends_the_process_as_usual_once_it_has_saved(whole, tmp_path, name):
    number = getattr(signal, name)
    tests = os.path.dirname(os.path.dirname(__file__))
    script = SCRIPT.format(tests=tests, number=int(number), folder=str(tmp_path / "run"))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True
    )
    assert done.returncode == -number
    assert "stopping at the next point where nothing is lost" in done.stderr
    assert "Traceback" not in done.stderr
    assert newest_whole(tmp_path / "run" / CHECKPOINTS)[1].iteration == 20
    assert not (tmp_path / "run" / _locks.NOTE).exists()


def test_a_second_signal_stops_at_once():
    script = """
        import os, signal
        from advnets import _locks, _signals
        _signals.install()
        os.kill(os.getpid(), signal.SIGINT)
        assert _signals.received() == signal.SIGINT
        os.kill(os.getpid(), signal.SIGTERM)
        raise SystemExit(0)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 128 + signal.SIGTERM
    assert "stopped at once" in done.stderr


def test_handlers_of_the_user_stay(tmp_path):
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with _signals.noted():
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_signal_at_the_very_end_is_not_swallowed():
    with pytest.raises(KeyboardInterrupt), _signals.noted():
        signal.raise_signal(signal.SIGINT)
    assert _signals.received() is None
