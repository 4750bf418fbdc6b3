"""Damaged runs: no bit of a checkpoint is taken on trust, and the one before is taken up."""

import errno
import os
import shutil
import warnings

import jax
import pytest
from helpers.games import assert_same_run, plain, train

import advnets
from advnets.training.checkpoints import (
    CHECKPOINTS,
    MANIFEST,
    check_whole,
    newest_whole,
    numbers,
    restore,
    save_checkpoint,
)

KEY = jax.random.key(0)
OLDER, NEWER = "20", "40"  # iterations: ten in each epoch


def run(epochs, folder, **settings):
    return train(epochs, plain(KEY), folder=folder, **{"resume": True} | settings)


@pytest.fixture(scope="module")
def four_epochs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    run(4, folder, resume=False)
    return folder


@pytest.fixture
def copied(four_epochs, tmp_path):
    return shutil.copytree(four_epochs, tmp_path / "copy")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run(6, tmp_path_factory.mktemp("whole"), resume=False)


def files(place):
    return sorted(path for path in place.rglob("*") if path.is_file())


def test_every_flipped_bit_is_found(copied):
    checkpoints = copied / CHECKPOINTS
    _, manifest = newest_whole(checkpoints)
    flips = silent = 0
    for path in files(checkpoints / NEWER):
        content = path.read_bytes()
        for place in range(0, len(content), 1 + len(content) // 250):
            changed = bytearray(content)
            changed[place] ^= 1 << place % 8
            path.write_bytes(changed)
            flips += 1
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                found, found_manifest = newest_whole(checkpoints)
            if found.name == OLDER:
                assert "a checkpoint is damaged" in str(caught[0].message)
            else:  # white space of the manifest, say
                silent += 1
                assert path.name == MANIFEST
                assert found_manifest == manifest
        path.write_bytes(content)
    assert newest_whole(checkpoints)[0].name == NEWER
    assert flips > 500
    assert silent < flips / 20


@pytest.mark.parametrize("harm", ["cut", "emptied", "deleted", "swapped", "linked", "added"])
def test_every_harmed_file_is_found(copied, tmp_path, harm):
    place = copied / CHECKPOINTS / NEWER
    other = copied / CHECKPOINTS / OLDER
    for path in files(place):
        content = path.read_bytes()
        twin = other / path.relative_to(place)
        if harm == "swapped" and (not twin.exists() or twin.read_bytes() == content):
            continue
        if harm == "cut":
            path.write_bytes(content[: len(content) // 2] or b"x")
        elif harm == "emptied":
            path.write_bytes(b"" if content else b"x")
        elif harm == "deleted":
            path.unlink()
        elif harm == "swapped":
            path.write_bytes(twin.read_bytes())
        elif harm == "linked":
            path.unlink()
            (tmp_path / "elsewhere").write_bytes(content)
            path.symlink_to(tmp_path / "elsewhere")
        else:
            path.with_name("more").write_bytes(b"")
        if harm == "linked" and path.name == MANIFEST:
            check_whole(place)  # it proves itself
        else:
            with pytest.raises(ValueError, match=r"checkpoint|SHA-256|missing|not a file|read"):
                check_whole(place)
        path.unlink(missing_ok=True)
        path.with_name("more").unlink(missing_ok=True)
        path.write_bytes(content)
    check_whole(place)


def test_the_checkpoint_before_a_damaged_one_is_resumed_to_the_same_bits(copied, whole):
    array = copied / CHECKPOINTS / NEWER / "arrays-0.safetensors"
    content = bytearray(array.read_bytes())
    content[len(content) // 2] ^= 4
    array.write_bytes(content)
    with pytest.warns(RuntimeWarning, match="does not match its SHA-256.* of iteration 20"):
        resumed = run(6, copied)
    assert_same_run(whole, resumed)
    assert newest_whole(copied / CHECKPOINTS)[0].name == "60"


def test_no_checkpoint_that_is_whole_is_refused(copied):
    for number in (OLDER, NEWER):
        (copied / CHECKPOINTS / number / MANIFEST).write_text("{}")
    with pytest.raises(advnets.CheckpointError, match=r"no checkpoint in .* is whole"):
        run(6, copied)
    for number in (OLDER, NEWER):  # as an earlier version left it, without arrays of ours
        (copied / CHECKPOINTS / number / "arrays-0.safetensors").unlink()
    with pytest.raises(
        advnets.CheckpointError, match="an earlier version of advnets began this run"
    ):
        run(6, copied)


def test_a_checkpoint_under_another_number_is_not_taken_for_it(copied):
    (copied / CHECKPOINTS / NEWER).rename(copied / CHECKPOINTS / "50")
    with pytest.warns(RuntimeWarning, match="holds the checkpoint of iteration 40"):
        assert newest_whole(copied / CHECKPOINTS)[0].name == OLDER


@pytest.mark.parametrize(
    "content", [b"", b'{"epoch": 1', b"[]\n", b"\xff\n", b'{"epoch": NaN}\n', None]
)
def test_metrics_are_restored_from_the_checkpoint(four_epochs, copied, content):
    log = copied / "metrics.jsonl"
    if content is None:
        log.unlink()
    else:
        log.write_bytes(content)
    run(4, copied)
    assert log.read_bytes() == (four_epochs / "metrics.jsonl").read_bytes()


def test_what_is_left_of_a_killed_save_is_no_checkpoint(copied):
    shutil.copytree(copied / CHECKPOINTS / NEWER, copied / CHECKPOINTS / "60.partial")
    (copied / CHECKPOINTS / "notes").mkdir()
    assert newest_whole(copied / CHECKPOINTS)[0].name == NEWER


def test_an_array_with_a_part_missing_is_not_made_up(copied):
    place = copied / CHECKPOINTS / NEWER
    like = advnets.Algorithm1().for_epochs_of(10).init(plain(KEY))
    manifest = check_whole(place)
    (arrays,) = place.glob("arrays-*")
    arrays.rename(place / "elsewhere")
    with pytest.raises(advnets.CheckpointError, match="lacks parts of its arrays"):
        restore(place, manifest, like)


def test_brackets_in_a_path_are_no_obstacle(tmp_path, whole):
    folder = tmp_path / "run[1] *? \\ ::"
    run(4, folder, resume=False)
    assert_same_run(whole, run(6, folder))


def test_a_damaged_checkpoint_does_not_take_the_place_of_a_whole_one(copied):
    """What is kept beside the newest is the one that the run went on from."""
    (copied / CHECKPOINTS / NEWER / MANIFEST).write_text("{}")
    with pytest.warns(RuntimeWarning, match="of iteration 20"):
        run(6, copied, evaluate_every=6)  # whose next checkpoint is that of iteration 60
    assert numbers(copied / CHECKPOINTS) == [60, 20]
    for number in ("60", "20"):
        check_whole(copied / CHECKPOINTS / number)


@pytest.mark.parametrize("file", ["arrays-0.safetensors", "metrics.jsonl", MANIFEST])
def test_a_checkpoint_that_can_not_be_written_leaves_nothing(
    file, four_epochs, tmp_path, monkeypatch
):
    _, manifest = newest_whole(four_epochs / CHECKPOINTS)
    state = advnets.Algorithm1().for_epochs_of(10).init(plain(KEY))
    moved = os.replace

    def full(source, target):
        if os.fspath(target).endswith(file):
            raise OSError(errno.ENOSPC, "No space left on device")
        moved(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(tmp_path, manifest, state, {"": b"{}\n"}, {}, 0)
    assert not list(tmp_path.iterdir())


def test_a_failure_after_the_checkpoint_is_in_place_is_said(four_epochs, tmp_path, monkeypatch):
    _, manifest = newest_whole(four_epochs / CHECKPOINTS)
    state = advnets.Algorithm1().for_epochs_of(10).init(plain(KEY))
    synced = os.fsync

    def failing(file):
        if os.path.samestat(os.fstat(file), tmp_path.stat()):
            raise OSError(errno.EIO, "Input/output error")
        synced(file)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="Input/output error"):
        save_checkpoint(tmp_path, manifest, state, {"": b"{}\n"}, {}, 0)


def test_what_can_not_be_removed_does_not_stop_a_checkpoint(four_epochs, tmp_path):
    _, manifest = newest_whole(four_epochs / CHECKPOINTS)
    (tmp_path / "7").write_text("a file, which is no checkpoint")
    state = advnets.Algorithm1().for_epochs_of(10).init(plain(KEY))
    save_checkpoint(tmp_path, manifest, state, {"": b"{}\n"}, {}, 0)
    check_whole(tmp_path / NEWER)
