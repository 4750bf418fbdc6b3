"""Samples in blocks: scored as in one array, in bounded memory, on several devices, resumable."""

import io
import os
import subprocess
import sys
import weakref
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers import seams
from helpers.windows import PROMISED, brute_force, in_blocks, problem
from hypothesis import given, settings
from hypothesis import strategies as st

import advnets.parzen as parzen

seeds = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize(
    ("n", "size"), [(1, 20), (70, 20), pytest.param(70, 1000, marks=pytest.mark.long)]
)
@settings(deadline=None, max_examples=5)
@given(seed=seeds)
def test_samples_in_blocks_score_as_in_one_array(n, size, seed):
    points, samples = problem(seed, 64, "unit")
    validation, test, samples = points[10:], points[:50], samples[:n]
    found = parzen.evaluate_draws(in_blocks(samples, size), validation, test, validation_rows=20)
    together = parzen.evaluate(samples, validation, test, validation_rows=20)
    assert (found.num_samples, found.at_grid_end) == (n, together.at_grid_end)
    assert found.bandwidth == together.bandwidth
    for ours, theirs, rows in (
        (found.validation, together.validation, validation),
        (found.test, together.test, test),
    ):
        exact, scale = brute_force(rows, samples, np.array([found.bandwidth]))
        for score in (ours, theirs):  # the error of a mean is at most the mean of the bounds
            assert score.n == len(rows)
            assert abs(score.mean - exact.mean()) <= PROMISED[np.float32] * scale.mean()
            error = exact.std() / np.sqrt(len(rows))
            assert score.standard_error == pytest.approx(error, rel=1e-3, abs=1e-4)


@pytest.mark.long
def test_thousands_of_blocks_do_not_add_up_their_roundings(monkeypatch):
    # In float32 the sums over groups of blocks would be off by some 1e-5.
    blocks = [np.full((1, 1), 0.5, np.float32)] * 3000
    seams.group_rows(monkeypatch, 1)
    found, count = seams.streamed_log_density(blocks[0], blocks, np.array([0.2]))
    alone = parzen.log_likelihood(blocks[0], blocks[0], 0.2)
    assert count == 3000
    assert found.item() == pytest.approx(alone.mean, abs=1e-11)


def test_samples_in_blocks_in_float64():
    points, samples = problem(0, 64, "norm 55", np.float64)
    with jax.enable_x64(True):
        found = parzen.evaluate_draws(in_blocks(samples, 30), points, points, validation_rows=20)
    expected, scale = brute_force(points, samples, np.array([found.bandwidth]))
    for score in (found.validation, found.test):
        assert abs(score.mean - expected.mean()) <= PROMISED[np.float64] * scale.mean()


class Drawn:
    """Blocks of 20 rows that are made when asked for; it sees how many are held at once."""

    def __init__(self, number):
        self.number, self.asked, self.refs, self.most = number, [], [], 0

    def __len__(self):
        return self.number

    def __getitem__(self, number):
        self.asked.append(number)
        block = np.random.default_rng(number).random((20, 3)).astype(np.float32)
        self.refs.append(weakref.ref(block))
        self.most = max(self.most, sum(ref() is not None for ref in self.refs))
        return block


def test_two_groups_are_held_at_most(monkeypatch):
    seams.group_rows(monkeypatch, 60)
    points, _ = problem(0, 3, "unit")
    few, many = Drawn(12), Drawn(120)
    for blocks in (few, many):
        found = parzen.evaluate_draws(blocks, points, points, validation_rows=20)
        assert found.num_samples == 20 * blocks.number
    # Beside the first, by which the others are checked: two, and the one just used.
    assert max(few.most, many.most) <= 1 + 3 * 3


MEMORY = """
import re
from pathlib import Path
import jax
import numpy as np
import advnets

generator = advnets.networks.mlp_generator(jax.random.key(0), 100, (28, 28), hidden_sizes=[2])
rows = np.zeros((4, 28, 28), np.float32)

def peak(num_samples):
    blocks = advnets.Model(generator).blocks(jax.random.key(1), num_samples)
    advnets.parzen.evaluate_draws(blocks, rows, None)
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

print(peak(30_000), peak(80_000))
"""


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells a process's peak")
def test_the_process_does_not_grow_with_the_samples():
    # By default glibc keeps what is freed below 32 MiB, in each of its arenas apart, for some
    # hundred groups; so the process would say less of what is in use.
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "MALLOC_TRIM_THRESHOLD_": "1000000"}
    ran = subprocess.run(
        [sys.executable, "-c", MEMORY], env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    few, many = map(int, ran.stdout.split())
    group = parzen.GROUP_ROWS * 28 * 28 * 4
    assert many - few < group  # five groups more went through


def test_blocks_are_asked_for_once():
    points, _ = problem(0, 3, "unit")
    blocks = Drawn(4)
    parzen.evaluate_draws(blocks, points, points, validation_rows=20)
    assert blocks.asked == [0, 0, 1, 2, 3]


def test_a_progress_bar_counts_blocks(capfd):
    points, samples = problem(0, 3, "unit")
    blocks = in_blocks(samples, 20)
    parzen.evaluate_draws(blocks, points, None, validation_rows=20)
    assert not capfd.readouterr().err
    parzen.evaluate_draws(blocks, points, None, validation_rows=20, progress=True)
    assert "Parzen windows   0%" in capfd.readouterr().err
    parzen.evaluate_draws(blocks, points, None, validation_rows=20, progress="scoring it")
    assert "scoring it   0%" in capfd.readouterr().err


class Stopped(Drawn):
    """Stops the evaluation when it is asked for a block for the second time."""

    def __init__(self, number, at):
        super().__init__(number)
        self.at = at

    def __getitem__(self, number):
        if number == self.at:
            self.at = None
            raise KeyboardInterrupt
        return super().__getitem__(number)


def test_an_evaluation_that_was_stopped_goes_on(monkeypatch, tmp_path):
    seams.group_rows(monkeypatch, 40)
    seams.seconds_between_notes(monkeypatch, 0)
    points, _ = problem(0, 3, "unit")
    whole = parzen.evaluate_draws(Drawn(9), points, points, validation_rows=20)
    blocks = Stopped(9, at=7)
    with pytest.raises(KeyboardInterrupt):
        parzen.evaluate_draws(blocks, points, points, validation_rows=20, notes=tmp_path)
    blocks.asked.clear()
    again = parzen.evaluate_draws(blocks, points, points, validation_rows=20, notes=tmp_path)
    assert again == whole
    assert blocks.asked == [0, *range(4, 9)]  # two groups of two blocks had been added up
    blocks.asked.clear()
    assert (
        parzen.evaluate_draws(blocks, points, points, validation_rows=20, notes=tmp_path) == whole
    )
    assert blocks.asked == [0]
    # Other rows, and other samples, are another evaluation.
    for other, rows in ((Drawn(9), points[:50]), (Drawn(8), points)):
        fresh = parzen.evaluate_draws(other, rows, None, notes=tmp_path)
        assert fresh == parzen.evaluate_draws(other, rows, None)


def scored(blocks, folder):
    points, _ = problem(0, 3, "unit")
    return parzen.evaluate_draws(blocks, points, points, validation_rows=20, notes=folder)


@pytest.fixture
def noted(monkeypatch, tmp_path):
    """What an evaluation finds, and the note of one that was stopped half way."""
    seams.group_rows(monkeypatch, 40)
    seams.seconds_between_notes(monkeypatch, 0)
    with pytest.raises(KeyboardInterrupt):
        scored(Stopped(9, at=7), tmp_path)
    (note,) = tmp_path.iterdir()
    return scored(Drawn(9), tmp_path / "elsewhere"), note


def test_a_damaged_note_is_not_believed(noted):
    whole, note = noted
    content = note.read_bytes()
    flipped = [bytearray(content) for _ in range(3)]
    for place, damaged in zip((0, len(content) // 2, -1), flipped, strict=True):
        damaged[place] ^= 1
    for damaged in (b"", content[:5], content[: len(content) // 2], content + b"\0", *flipped):
        note.write_bytes(damaged)
        blocks = Drawn(9)
        with pytest.warns(
            RuntimeWarning, match=f"{note.name} is damaged, or of another eval.*starts over"
        ):
            assert scored(blocks, note.parent) == whole
        assert blocks.asked == [0, *range(9)]
        # What it left is whole.
        assert scored(blocks, note.parent) == whole
    note.write_bytes(content)
    blocks = Drawn(9)
    assert scored(blocks, note.parent) == whole
    assert blocks.asked == [0, *range(4, 9)]


def test_another_evaluations_note_is_not_believed(noted, tmp_path):
    whole, note = noted
    other = tmp_path / "other"
    scored(Drawn(12), other)
    (foreign,) = other.iterdir()
    impossible = io.BytesIO()
    np.savez(impossible, log_sums=np.zeros((10, 120)), num_samples=100, done=99)
    for content in (foreign.read_bytes(), impossible.getvalue()):
        note.write_bytes(content)
        with pytest.warns(RuntimeWarning, match="of another evaluation"):
            assert scored(Drawn(9), note.parent) == whole


def test_blocks_out_of_float32_are_scored(monkeypatch):
    # One group of them, between others: its values, and what comes of them.
    seams.group_rows(monkeypatch, 1)
    points = np.array([[0.0], [1.0]])
    blocks = [points, np.array([[1e39]]), points]
    found = parzen.evaluate_draws(blocks, points, None, np.array([1.0]))
    exact, _ = brute_force(points, np.concatenate(blocks), np.array([1.0]))
    assert found.validation.mean == pytest.approx(exact.mean(), rel=1e-6)


def test_two_devices_give_the_scores_of_one(monkeypatch):
    seams.group_rows(monkeypatch, 40)
    where = []

    class Blocks:
        def __len__(self):
            return 8

        def __getitem__(self, number):
            block = jax.random.uniform(jax.random.key(number), (20, 3))
            where.append(next(iter(block.devices())))
            return block

    rows = np.random.default_rng(0).random((50, 3), np.float32)
    one = parzen.evaluate_draws(Blocks(), rows[:25], rows[25:])
    where.clear()
    devices = jax.devices()
    assert len(devices) == 2
    assert one == parzen.evaluate_draws(Blocks(), rows[:25], rows[25:], devices=devices)
    # Groups of two blocks in turn, after a look at the first.
    assert where[1:] == [devices[number // 2 % 2] for number in range(8)]
