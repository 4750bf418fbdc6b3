"""The Parzen estimate against float64 brute force, closed forms, and its own symmetries."""

import dataclasses
import functools
import json
import os
import re
import subprocess
import sys
import weakref
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from helpers import seams
from helpers.jaxprs import HIGHEST, products
from hypothesis import given, settings
from hypothesis import strategies as st

import advnets.parzen as parzen

BANDWIDTHS = np.array([0.05, 0.1, 0.2, 0.399, 0.4, 1.0])
PROMISED = {np.float32: 2e-5, np.float64: 1e-10}


@functools.cache
def jitted(**blocks):
    return jax.jit(functools.partial(parzen.log_density, **blocks))


log_density = jitted(point_block=32, sample_block=40)  # two blocks each of the problem below
quick = settings(deadline=None, max_examples=15)
seeds = st.integers(0, 2**32 - 1)


def log_normalisers(columns, bandwidths):
    return columns * np.log(np.float64(bandwidths) * np.sqrt(2 * np.pi))


def brute_force(points, samples, bandwidths):
    """Log densities, and the part of the promised error that the tolerance multiplies."""
    points, samples = (np.float64(a).reshape(len(a), -1) for a in (points, samples))
    squared = np.stack([((samples - point) ** 2).sum(axis=1) for point in points])
    exponents = -squared / (2 * np.float64(bandwidths)[:, None, None] ** 2)
    log_means = scipy.special.logsumexp(exponents, axis=2) - np.log(len(samples))
    normalisers = log_normalisers(points.shape[1], bandwidths)[:, None]
    return log_means - normalisers, 1 + np.abs(normalisers) - exponents.max(axis=2)


def assert_exact(found, points, samples, bandwidths, times=1.0):
    expected, scale = brute_force(points, samples, bandwidths)
    ratio = np.abs(np.float64(found) - expected) / (PROMISED[found.dtype.type] * scale)
    assert ratio.max() <= times


def rows(rng, count, columns, kind):
    if kind == "unit":
        return rng.random((count, columns))
    if kind == "grey":  # the worst case for a sum of products: every rounding has the same sign
        return np.repeat(rng.random((count, 1)), columns, axis=1)
    normal = rng.normal(size=(count, columns))
    return 55 * normal / np.linalg.norm(normal, axis=1, keepdims=True)


def problem(seed, columns, kind, dtype=np.float32):
    """Points of which a third equal a sample, a third nearly do; samples some of which coincide."""
    rng = np.random.default_rng([seed, columns])
    samples, points = rows(rng, 70, columns, kind), rows(rng, 60, columns, kind)
    samples[50:55] = samples[:5]
    points[:40] = samples[rng.integers(0, 70, 40)]
    points[20:40] += np.geomspace(1e-6, 1e-1, 20)[:, None] * rng.normal(size=(20, columns))
    return points.astype(dtype), samples.astype(dtype)


@pytest.mark.parametrize(
    ("dtype", "columns"),
    [(np.float32, columns) for columns in (1, 3, 31, 784, 3072)]
    + [(np.float64, columns) for columns in (64, 3072)],
)
def test_the_error_is_as_promised(dtype, columns):
    bandwidths = BANDWIDTHS.astype(dtype)
    with jax.enable_x64(dtype == np.float64):
        for kind in ("unit", "norm 55", "grey"):
            points, samples = problem(0, columns, kind, dtype)
            found = log_density(points, samples, bandwidths)
            assert found.dtype == dtype
            assert_exact(found, points, samples, bandwidths)


def test_the_error_is_as_promised_for_each_bandwidth_alone():
    # Which distances are computed anew depends on the bandwidth that allows the least error.
    for kind in ("unit", "norm 55", "grey"):
        points, samples = problem(1, 784, kind)
        for bandwidth in np.split(BANDWIDTHS.astype(np.float32), len(BANDWIDTHS)):
            assert_exact(log_density(points, samples, bandwidth), points, samples, bandwidth)


def test_any_number_of_distances_may_need_computing_anew():
    # Two clusters far apart for their size: half of the 10,000 distances, and more than one round.
    rng = np.random.default_rng(0)
    centres = np.repeat([[-10.0], [10.0]], 50, axis=0)
    points, samples = (
        (centres + 0.05 * rng.normal(size=(100, 64))).astype(np.float32) for _ in range(2)
    )
    bandwidths = BANDWIDTHS.astype(np.float32)
    assert_exact(jitted()(points, samples, bandwidths), points, samples, bandwidths)


def test_one_sample_far_from_the_others_is_not_overlooked(monkeypatch):
    # Its error alone makes its distance doubtful; most samples lie at the centre and have none.
    far = np.zeros((1, 784), np.float32)
    far[0, 0] = 10
    samples = np.concatenate([far, -far, np.zeros((50, 784), np.float32)])
    point = far.copy()
    point[0, 1] = 5
    marked = []

    def recompute(squared, doubtful, *_):
        jax.debug.callback(lambda mask: marked.append(np.array(mask)), doubtful)
        return squared

    seams.recompute(monkeypatch, recompute)
    parzen.log_density(jnp.array(point), jnp.array(samples), jnp.array([0.4]))
    jax.effects_barrier()
    assert len(marked) == 1
    assert np.flatnonzero(marked[0]).tolist() == [0]


@pytest.mark.parametrize("columns", [64, 784, 3072])
def test_distances_are_as_good_as_their_error_says(columns):
    rng = np.random.default_rng(0)
    for kind in ("unit", "norm 55", "grey"):
        points, samples = (rows(rng, 300, columns, kind).astype(np.float32) for _ in range(2))
        found, of_points, of_samples = jax.jit(seams.squared_distances)(
            points, samples, samples.mean(axis=0)
        )
        error = np.float64(of_points)[:, None] + np.float64(of_samples)[None, :]
        x, s = np.float64(points), np.float64(samples)
        exact = (x**2).sum(axis=1)[:, None] + (s**2).sum(axis=1)[None, :] - 2 * x @ s.T
        assert np.all(np.abs(found - exact) <= error)


def test_a_point_on_the_only_sample_shows_the_log_normaliser_alone():
    # Near sigma = 0.399 it vanishes, and with it the error that is allowed.
    bandwidths = np.nextafter(np.float32(1 / np.sqrt(2 * np.pi)), np.array([0, 1], np.float32))
    bandwidths = np.concatenate([bandwidths, np.linspace(0.1, 1, 200, dtype=np.float32)])
    sample = np.full((1, 3072), 0.7, np.float32)
    (found,) = log_density(sample, sample, bandwidths).T
    exact = -log_normalisers(3072, bandwidths)
    np.testing.assert_allclose(found, exact, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("bandwidth", [0.1, 1.0])
def test_one_sample_is_a_gaussian(bandwidth):
    x = np.linspace(-5, 5, 101, dtype=np.float32)[:, None]
    mean = np.array([[0.3]], np.float32)
    (found,) = log_density(x, mean, np.array([bandwidth], np.float32))
    expected = scipy.stats.norm.logpdf(np.float64(x[:, 0]), np.float64(mean[0, 0]), bandwidth)
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("columns", [1, 2])
def test_the_density_integrates_to_1(columns):
    samples = np.random.default_rng(0).random((20, columns)).astype(np.float32)
    bandwidths = np.array([0.1, 0.2, 0.4], np.float32)
    axis = np.linspace(-2.5, 3.5, 241, dtype=np.float32)
    grid = np.stack(np.meshgrid(*[axis] * columns), axis=-1).reshape(-1, columns)
    density = np.exp(np.float64(log_density(grid, samples, bandwidths)))
    np.testing.assert_allclose(density.sum(axis=1) * (6 / 240) ** columns, 1, atol=2e-6)


@quick
@given(seeds, st.sampled_from([3, 64]), st.sampled_from(["unit", "norm 55"]))
def test_the_order_of_the_samples_is_nothing(seed, columns, kind):
    points, samples = problem(seed, columns, kind)
    shuffled = np.random.default_rng(seed).permutation(samples)
    bandwidths = BANDWIDTHS.astype(np.float32)
    assert_exact(log_density(points, shuffled, bandwidths), points, samples, bandwidths)


@quick
@given(seeds, st.sampled_from([3, 64]), st.integers(-64, 64))
def test_the_origin_is_nothing(seed, columns, shift):
    points, samples = problem(seed, columns, "unit")
    # Multiples of 2^-16, which the shift doesn't round.
    points, samples = (np.round(a * 2**16) / np.float32(2**16) for a in (points, samples))
    bandwidths = BANDWIDTHS.astype(np.float32)
    shift = np.float32(shift)
    found = log_density(points + shift, samples + shift, bandwidths)
    assert_exact(found, points, samples, bandwidths)


@quick
@given(seeds)
def test_bandwidths_do_not_see_each_other(seed):
    points, samples = problem(seed, 64, "norm 55")
    bandwidths = BANDWIDTHS.astype(np.float32)
    together = log_density(points, samples, bandwidths)
    alone = [log_density(points, samples, b) for b in np.split(bandwidths, len(bandwidths))]
    _, scale = brute_force(points, samples, bandwidths)
    assert np.all(np.abs(together - np.concatenate(alone)) <= 2e-5 * scale)


@pytest.mark.parametrize(("columns", "blocks"), [(3, (7, 69)), (64, (1000, 1000))])
@quick
@given(seed=seeds)
def test_the_blocks_are_nothing(columns, blocks, seed):
    other_blocks = jitted(point_block=blocks[0], sample_block=blocks[1])
    points, samples = problem(seed, columns, "unit")
    bandwidths = BANDWIDTHS.astype(np.float32)
    assert_exact(other_blocks(points, samples, bandwidths), points, samples, bandwidths)


@quick
@given(seeds)
def test_all_samples_twice_are_the_samples(seed):
    points, samples = problem(seed, 64, "unit")
    bandwidths = BANDWIDTHS.astype(np.float32)
    found = log_density(points, np.concatenate([samples, samples]), bandwidths)
    assert_exact(found, points, samples, bandwidths)


def test_images_are_flattened():
    points, samples = problem(0, 64, "unit")
    bandwidths = BANDWIDTHS.astype(np.float32)
    images = log_density(points.reshape(-1, 4, 4, 4), samples.reshape(-1, 4, 4, 4), bandwidths)
    np.testing.assert_array_equal(images, log_density(points, samples, bandwidths))


def test_half_precision_is_computed_in_float32():
    points, samples = (jnp.asarray(a, jnp.bfloat16) for a in problem(0, 64, "unit"))
    bandwidths = BANDWIDTHS.astype(np.float32)
    found = log_density(points, samples, bandwidths)
    assert found.dtype == np.float32
    assert_exact(found, np.float32(points), np.float32(samples), bandwidths)


def test_products_are_not_rounded_to_fewer_bits():
    # A GPU would round them to TF32 by default; a CPU can't show it.
    points, samples = problem(0, 784, "unit")
    program = str(jax.make_jaxpr(parzen.log_density)(points, samples, np.float32([0.2])))
    products = program.count("dot_general[")
    assert products > 1
    assert len(re.findall(r"precision=\(?[\w.]*HIGHEST", program)) == products


@pytest.mark.parametrize("precision", ["tensorfloat32", "BF16_BF16_F32"])
def test_the_setting_around_it_does_not_round_products(precision):
    rows = jax.ShapeDtypeStruct((5, 784), np.float32)
    centre = jax.ShapeDtypeStruct((784,), np.float32)
    with jax.default_matmul_precision(precision):
        for function, arguments in (
            (parzen.log_density, (rows, rows, jax.ShapeDtypeStruct((1,), np.float32))),
            (seams.squared_distances, (rows, rows, centre)),
        ):
            assert set(products(jax.make_jaxpr(function)(*arguments))) == {HIGHEST}


def test_memory_does_not_grow_with_the_samples():
    def temporary(num_samples):
        shapes = [(3000, 300), (num_samples, 300), (10,)]
        arguments = [jax.ShapeDtypeStruct(shape, np.float32) for shape in shapes]
        return jitted().lower(*arguments).compile().memory_analysis().temp_size_in_bytes

    small = temporary(10_000)
    assert small == temporary(40_000)
    assert small < 40_000_000  # one matrix of all distances would be 120 MB


def test_the_shapes_decide_what_is_traced():
    traces = 0

    @jax.jit
    def counted(points, samples, bandwidths):
        nonlocal traces
        traces += 1
        return parzen.log_density(points, samples, bandwidths)

    for seed in range(3):
        points, samples = problem(seed, 3, "unit")
        counted(points, samples, np.float32([0.1 + seed, 1.0]))
    assert traces == 1
    counted(points[:50], samples, np.float32([0.1, 1.0]))
    assert traces == 2


def test_a_second_evaluation_compiles_nothing(monkeypatch):
    traces = 0

    def counted(*arguments):
        nonlocal traces
        traces += 1
        return parzen.log_density(*arguments)

    seams.compiled_log_density(monkeypatch, jax.jit(counted))
    for seed in range(2):
        points, samples = problem(seed, 3, "unit")
        parzen.evaluate(samples, points, points, validation_rows=50)
    assert traces == 2  # once to choose among ten bandwidths, once for validation and test rows


def test_the_grid_is_the_papers():
    np.testing.assert_array_equal(parzen.bandwidth_grid(), np.logspace(-1, 0, 10))


@pytest.mark.parametrize(
    ("grid", "bandwidth", "end"),
    [
        ([0.1, 1.0, 10.0], 1.0, None),
        ([1.0, 10.0, 100.0], 1.0, "lowest"),
        ([0.01, 0.1, 1.0], 1.0, "highest"),
        ([1.0, 0.1, 0.01], 1.0, "highest"),
        ([10.0, 1.0, 0.1], 1.0, None),
        ([1.0], 1.0, None),
        ([2.0, 2.0], 2.0, None),
    ],
)
def test_a_bandwidth_at_an_end_of_the_grid_is_reported(grid, bandwidth, end):
    # One sample at 0 and one point at 1: the likelihood is highest for sigma = 1.
    chosen = parzen.select_bandwidth(np.array([[1.0]]), np.array([[0.0]]), np.array(grid))
    assert chosen == parzen.Selection(bandwidth, end)


def test_the_bandwidth_has_the_highest_mean():
    points, samples = problem(0, 3, "unit")
    points = points[:50]
    grid = parzen.bandwidth_grid()
    expected, _ = brute_force(points, samples, grid)
    best = grid[expected.mean(axis=1).argmax()]
    assert parzen.select_bandwidth(points, samples, grid).bandwidth == best


def test_the_standard_error_is_that_of_the_released_code():
    points, samples = problem(0, 3, "unit")
    points = points[:50]
    (expected,), _ = brute_force(points, samples, np.array([0.2], np.float32))
    found = parzen.log_likelihood(points, samples, 0.2)
    assert found.n == 50
    assert found.mean == pytest.approx(expected.mean(), rel=1e-5)
    assert found.standard_error == pytest.approx(expected.std() / np.sqrt(50), rel=1e-5)


@pytest.mark.parametrize("bandwidth", [1, 1.0, np.float32(1), np.float64(1), jnp.float32(1)])
def test_any_scalar_is_a_bandwidth(bandwidth):
    found = parzen.log_likelihood(np.zeros((2, 1)), np.zeros((1, 1)), bandwidth)
    assert found.mean == pytest.approx(-0.5 * np.log(2 * np.pi), rel=1e-6)


def test_means_over_many_points_do_not_round():
    points = np.full((100_000, 1), 0.1, np.float32)
    found = parzen.log_likelihood(points, np.zeros((1, 1), np.float32), 1.0)
    one = parzen.log_likelihood(points[:1], np.zeros((1, 1), np.float32), 1.0)
    assert found.mean == pytest.approx(one.mean, rel=1e-12)
    assert found.standard_error < 1e-12


def test_evaluate_is_the_papers_protocol():
    points, samples = problem(0, 3, "unit")
    validation, test = points[:50], points[10:]
    validation[20:] = 1 - validation[20:] / 8  # rows that would choose another bandwidth
    found = parzen.evaluate(samples, validation, test, validation_rows=20)
    grid = parzen.bandwidth_grid()
    chosen = parzen.select_bandwidth(validation[:20], samples, grid)
    assert chosen != parzen.select_bandwidth(validation, samples, grid)
    assert found == parzen.Evaluation(
        num_samples=70,
        bandwidth=chosen.bandwidth,
        at_grid_end=chosen.at_grid_end,
        validation=parzen.log_likelihood(validation, samples, chosen.bandwidth),
        test=parzen.log_likelihood(test, samples, chosen.bandwidth),
    )
    assert (found.validation.n, found.test.n) == (50, 50)


def test_evaluate_may_leave_the_test_rows_alone():
    points, samples = problem(0, 3, "unit")
    assert parzen.evaluate(samples, points[:50], None).test is None


def test_an_evaluation_is_plain_values():
    points, samples = problem(0, 3, "unit")
    points, grid = points[:50], 10 * parzen.bandwidth_grid()
    found = dataclasses.asdict(parzen.evaluate(samples, points, points, grid))
    assert json.loads(json.dumps(found)) == found
    assert found["at_grid_end"] == "lowest"
    assert found["test"].keys() == {"mean", "standard_error", "n"}
    with pytest.raises(dataclasses.FrozenInstanceError):
        parzen.LogLikelihood(0.0, 1.0, 2).n = 3


def test_jax_arrays_score_as_numpy_arrays_do():
    points, samples = problem(0, 3, "unit")
    points = points[:50]
    assert parzen.evaluate(jnp.asarray(samples), jnp.asarray(points), None) == parzen.evaluate(
        samples, points, None
    )


def test_evaluate_in_float64():
    points, samples = problem(0, 3, "norm 55", np.float64)
    with jax.enable_x64(True):
        found = parzen.evaluate(samples, points, points)
    expected, _ = brute_force(points, samples, np.array([found.bandwidth]))
    assert found.test.mean == pytest.approx(expected.mean(), rel=1e-12)


def in_blocks(samples, size):
    return [samples[start : start + size] for start in range(0, len(samples), size)]


@pytest.mark.parametrize(
    ("n", "size", "group_rows"),
    # Few, as each is compiled: a sample; groups of 3 blocks, and a rest; a group of one block each;
    # all in one block.
    [(1, 20, 50), (70, 20, 50), (60, 60, 1), (70, 1000, 1000)],
)
def test_samples_in_blocks_have_the_promised_error(monkeypatch, n, size, group_rows):
    seams.group_rows(monkeypatch, group_rows)
    bandwidths = np.float64(np.float32(BANDWIDTHS))
    for seed, kind in enumerate(("unit", "norm 55", "grey")):
        points, samples = problem(seed, 64, kind)
        samples = samples[:n]
        found, count = seams.streamed_log_density(points, in_blocks(samples, size), bandwidths)
        assert (count, found.dtype) == (n, np.float64)
        expected, scale = brute_force(points, samples, bandwidths)
        assert np.all(np.abs(found - expected) <= PROMISED[np.float32] * scale)


@pytest.mark.parametrize(("n", "size"), [(1, 20), (70, 20), (70, 1000)])
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
        self.number, self.asked, self.made, self.most = number, [], [], 0

    def __len__(self):
        return self.number

    def __getitem__(self, number):
        self.asked.append(number)
        block = np.random.default_rng(number).random((20, 3)).astype(np.float32)
        self.made.append(weakref.ref(block))
        self.most = max(self.most, sum(made() is not None for made in self.made))
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
    seen = capfd.readouterr().err
    assert "Parzen windows:" in seen
    assert "/4 " in seen


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


GOOD = np.zeros((4, 3), np.float32)
BAD = np.array([[0, np.nan, np.inf]], np.float32)
EMPTY = GOOD[:0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((EMPTY, GOOD, GOOD), "samples has 0 rows"),
        ((GOOD, EMPTY, GOOD), "validation has 0 rows"),
        ((GOOD, GOOD, EMPTY), "test has 0 rows"),
        ((BAD, GOOD, GOOD), "samples has 2 values that are not finite"),
        ((GOOD, BAD, GOOD), "validation has 2 values that are not finite"),
        ((GOOD, GOOD, BAD), "test has 2 values that are not finite"),
        ((GOOD, GOOD[:, :2], GOOD), r"validation has rows of shape \(2,\)"),
        ((GOOD, GOOD, GOOD.reshape(4, 3, 1)), r"test has rows of shape \(3, 1\)"),
        ((GOOD, GOOD, GOOD, np.array([0.1, 0.0])), "bandwidth is 0.0"),
        ((GOOD, GOOD, GOOD, np.array([-0.1, 0.1])), "bandwidth is -0.1"),
        ((GOOD, GOOD, GOOD, np.array([np.nan])), "bandwidth is nan"),
        ((GOOD, GOOD, GOOD, np.array([np.inf])), "bandwidth is inf"),
        ((GOOD, GOOD, GOOD, np.array([])), "bandwidths is empty"),
        ((GOOD, GOOD, GOOD, None, 0), "validation_rows is 0"),
    ],
)
def test_evaluate_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        parzen.evaluate(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], GOOD, GOOD), "blocks is empty"),
        (([EMPTY], GOOD, GOOD), "block 0 of the samples has 0 rows"),
        (([GOOD, EMPTY], GOOD, GOOD), "block 1 of the samples has 0 rows"),
        (([GOOD, BAD], GOOD, GOOD), "block 1 of the samples has 2 values that are not finite"),
        (([GOOD, GOOD[:, :2]], GOOD, GOOD), r"block 1 of the samples has rows of shape \(2,\)"),
        (([GOOD], EMPTY, GOOD), "validation has 0 rows"),
        (([GOOD], GOOD, BAD), "test has 2 values that are not finite"),
        (([GOOD], GOOD[:, :2], GOOD), r"validation has rows of shape \(2,\)"),
        (([GOOD], GOOD, GOOD, np.array([0.1, 0.0])), "bandwidth is 0.0"),
        (([GOOD], GOOD, GOOD, None, 0), "validation_rows is 0"),
    ],
)
def test_evaluate_draws_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        parzen.evaluate_draws(*arguments)


def test_evaluate_draws_needs_a_device():
    with pytest.raises(ValueError, match="devices is empty"):
        parzen.evaluate_draws([GOOD], GOOD, None, devices=[])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((EMPTY, GOOD, 1.0), "points has 0 rows"),
        ((GOOD, EMPTY, 1.0), "samples has 0 rows"),
        ((GOOD[:, :2], GOOD, 1.0), "points has rows of shape"),
        ((GOOD, BAD, 1.0), "samples has 2 values"),
        ((GOOD, GOOD, 0), "bandwidth is 0.0"),
    ],
)
def test_log_likelihood_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        parzen.log_likelihood(*arguments)


@pytest.mark.parametrize(
    ("points", "samples", "bandwidths", "blocks", "message"),
    [
        (EMPTY, GOOD, [1.0], {}, "points is 0"),
        (GOOD, EMPTY, [1.0], {}, "samples is 0"),
        (GOOD, GOOD, [], {}, "bandwidths is 0"),
        (GOOD, GOOD, [1.0], {"point_block": 0}, "point_block is 0"),
        (GOOD, GOOD, [1.0], {"sample_block": -1}, "sample_block is -1"),
    ],
)
def test_log_density_refuses(points, samples, bandwidths, blocks, message):
    arrays = [jnp.asarray(a, jnp.float32) for a in (points, samples, bandwidths)]
    with pytest.raises(ValueError, match=message):
        parzen.log_density(*arrays, **blocks)
