"""Log densities against float64 brute force, closed forms, and their own symmetries."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from helpers import seams
from helpers.jaxprs import HIGHEST, products
from helpers.windows import (
    BANDWIDTHS,
    PROMISED,
    assert_exact,
    brute_force,
    in_blocks,
    log_normalisers,
    problem,
    rows,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import advnets.parzen as parzen


@functools.cache
def jitted(**blocks):
    return jax.jit(functools.partial(parzen.log_density, **blocks))


log_density = jitted(point_block=32, sample_block=40)  # two blocks each of the problem below
quick = settings(deadline=None, max_examples=15)
seeds = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize(
    ("dtype", "columns"),
    [
        pytest.param(np.float32, 1, marks=pytest.mark.long),
        pytest.param(np.float32, 31, marks=pytest.mark.long),
        (np.float32, 784),
        pytest.param(np.float32, 3072, marks=pytest.mark.long),
        (np.float64, 64),
        pytest.param(np.float64, 784, marks=pytest.mark.long),
    ],
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


@pytest.mark.parametrize(("dtype", "place"), [(np.float32, 10.0), (np.float64, 1000.0)])
def test_any_number_of_distances_may_need_computing_anew(dtype, place):
    # Two clusters far apart for their size: half of the 10,000 distances, and more than one round.
    rng = np.random.default_rng(0)
    centres = np.repeat([[-place], [place]], 50, axis=0)
    points, samples = (
        (centres + 0.05 * rng.normal(size=(100, 64))).astype(dtype) for _ in range(2)
    )
    bandwidths = BANDWIDTHS.astype(dtype)
    with jax.enable_x64(dtype == np.float64):
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


@pytest.mark.long
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


@pytest.mark.long
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
