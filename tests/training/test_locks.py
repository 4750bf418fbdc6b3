"""One process at a time in a run's folder."""

import json
import os
import subprocess
import sys
import textwrap
import threading

import jax
import pytest
from helpers.games import plain, train

from advnets import _locks


def refused(folder):
    """Whether another thread is kept out."""
    found = []

    def attempt():
        try:
            with _locks.locked(folder):
                found.append(None)
        except _locks.RunInUseError as error:
            found.append(str(error))

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    return found[0]


def test_a_folder_is_for_one_at_a_time(tmp_path):
    with _locks.locked(tmp_path), _locks.locked(tmp_path):  # again by the same thread
        assert f"is in use by process {os.getpid()} on " in refused(tmp_path)
    assert refused(tmp_path) is None
    assert not (tmp_path / _locks.NOTE).exists()


def test_a_note_that_someone_removed_is_not_missed(tmp_path):
    with _locks.locked(tmp_path):
        (tmp_path / _locks.NOTE).unlink()
    assert refused(tmp_path) is None


def test_a_note_that_is_removed_while_it_is_read_is_nobody_s(tmp_path, monkeypatch):
    note = tmp_path / _locks.NOTE
    note.write_text(json.dumps({"host": "elsewhere", "process": 7, "began": "today"}))
    look = type(note).stat
    looks = []

    def removed(path, **options):
        if path.name == _locks.NOTE:
            looks.append(path)
            if len(looks) == 2:  # the first reads it, the second asks for its age
                raise FileNotFoundError(path)
        return look(path, **options)

    monkeypatch.setattr(type(note), "stat", removed)
    assert refused(tmp_path) is None
    assert len(looks) >= 2


def test_training_keeps_others_out_and_is_kept_out(tmp_path):
    seen = []

    def evaluate(epoch, model):
        seen.append(refused(tmp_path))
        return {}

    train(2, plain(jax.random.key(0)), folder=tmp_path, evaluate=evaluate)
    assert all("choose another folder" in one for one in seen)
    with _locks.locked(tmp_path):
        thread_error = []

        def other():
            try:
                train(4, plain(jax.random.key(0)), folder=tmp_path, resume=True)
            except _locks.RunInUseError as error:
                thread_error.append(error)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(thread_error) == 1


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    script = f"""
        import os, pathlib, signal
        from advnets import _locks
        with _locks.locked(pathlib.Path({str(tmp_path)!r})):
            os.kill(os.getpid(), signal.SIGKILL)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)])
    assert (tmp_path / _locks.NOTE).exists()
    assert refused(tmp_path) is None


@pytest.mark.parametrize(("age", "free"), [(0, False), (_locks.DEAD + 60, True)])
def test_a_process_of_another_host_is_known_by_its_signs_of_life(tmp_path, age, free):
    note = tmp_path / _locks.NOTE
    note.write_text(json.dumps({"host": "elsewhere\x1b[2J", "process": 7, "began": "today"}))
    os.utime(note, (note.stat().st_mtime - age,) * 2)
    message = refused(tmp_path)
    assert (message is None) == free
    if not free:
        assert "process 7 on elsewhere\\x1b[2J, since today" in message


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"[" * 10**5, b'{"host": {}}'])
def test_a_damaged_note_is_nobody_s(tmp_path, content):
    (tmp_path / _locks.NOTE).write_bytes(content)
    assert refused(tmp_path) is None
