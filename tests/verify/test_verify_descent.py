"""Descent on densities: what it returns, its units, its refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from advnets.verify import criterion, descent

DATA = np.array([0.4, 0.3, 0.2, 0.1, 0.0])
START = np.array([0.05, 0.05, 0.1, 0.3, 0.5])
DESCENTS = [descent.mirror_descent, descent.projected_gradient]


def test_a_step_of_rate_1_is_the_mean_of_both_densities():
    found = descent.mirror_descent(DATA, START, steps=1)
    np.testing.assert_allclose(found.density, (DATA + START) / 2, rtol=1e-15)


@pytest.mark.parametrize("rate", [0.1, 0.6, 1.0])
def test_a_mirror_step_is_the_formula(rate):
    found = descent.mirror_descent(DATA, START, rate=rate, steps=2)
    model = START
    for _ in range(2):
        model = model * np.exp(-rate * np.log(1 - DATA / (DATA + model)))
        model = model / model.sum()
    np.testing.assert_allclose(found.density, model, rtol=1e-14)
    together = descent.mirror_step(DATA, np.array([START, DATA]), rate)
    np.testing.assert_allclose(
        together[0], descent.mirror_descent(DATA, START, rate=rate, steps=1).density, rtol=1e-15
    )
    np.testing.assert_allclose(together[1], DATA, rtol=1e-15)


@pytest.mark.parametrize("descend", DESCENTS)
def test_the_gaps_are_those_of_the_densities_and_fall_to_nothing(descend):
    found = descend(DATA, START, steps=150)
    assert found.gaps.dtype == found.density.dtype == np.float64
    assert found.gaps[0] == criterion.suboptimality(DATA, START)
    assert found.gaps[-1] == pytest.approx(criterion.suboptimality(DATA, found.density), rel=1e-6)
    assert len(found.gaps) <= 151
    assert (np.diff(found.gaps) <= 0).all()
    assert found.gaps[-1] < 1e-20
    np.testing.assert_allclose(found.density, DATA, atol=1e-9)
    assert found.density.sum() == pytest.approx(1, abs=1e-14)


@pytest.mark.parametrize("descend", DESCENTS)
def test_grids_keep_their_shape_and_unit(descend):
    data, start = (np.stack([p, p]) / 2 for p in (DATA, START))
    plain = descend(data, start, steps=5)
    found = descend(data / 0.1, start / 0.1, 0.1, steps=5)
    assert found.density.shape == (2, 5)
    np.testing.assert_allclose(found.density, plain.density / 0.1, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.gaps, plain.gaps, rtol=1e-9)
    single = descend(jnp.asarray(data), jnp.asarray(start), steps=5)
    np.testing.assert_allclose(single.gaps, plain.gaps, rtol=1e-5)
    assert not jax.config.jax_enable_x64


def test_only_the_projected_gradient_fills_empty_cells():
    data, start = [0.5, 0.25, 0.25], [0.0, 0.5, 0.5]
    kept = descent.mirror_descent(data, start, steps=300)
    assert kept.density.tolist() == pytest.approx([0.0, 0.5, 0.5])
    assert kept.gaps[-1] == pytest.approx(criterion.suboptimality(data, start))
    assert descent.projected_gradient(data, start).gaps[-1] < 1e-20


def test_no_mass_is_too_small_to_start_from():
    for rate in (0.3, 1.0):
        found = descent.mirror_descent([0.9, 0.1], [5e-324, 1.0], rate=rate, steps=300)
        assert np.isfinite(found.gaps).all()
        assert found.gaps[-1] < 1e-20
    # A cell without data empties down to the smallest number, and then to nothing.
    found = descent.mirror_descent([1.0, 0.0], [0.5, 0.5], steps=1200)
    assert np.isfinite(found.gaps).all()
    assert found.gaps[-1] == 0


def test_descent_from_the_data_stays_there():
    assert descent.mirror_descent(DATA, DATA, steps=3).gaps.max() < 1e-30
    assert descent.projected_gradient(DATA, DATA).gaps.tolist() == [0.0]


def test_the_projection_is_the_nearest_probability_vector():
    rng = np.random.default_rng(0)
    for _ in range(50):
        values = 3 * rng.normal(size=4)
        nearest = descent.onto_simplex(values)
        assert nearest.min() >= 0
        assert nearest.sum() == pytest.approx(1, abs=1e-14)
        others = rng.dirichlet(np.ones(4), size=200)
        # No probability vector lies on the other side of the plane through the nearest one.
        assert ((others - nearest) @ (values - nearest)).max() <= 1e-12


@pytest.mark.parametrize("shift", [0.0, -7.5, 3e38, -1e300])
def test_the_projection_is_the_same_for_numbers_shifted_alike(shift):
    values = np.array([2.0, 1.5, 0.0]) + shift
    expected = [0.75, 0.25, 0.0] if abs(shift) < 10 else [1 / 3] * 3  # where they are equal
    np.testing.assert_allclose(descent.onto_simplex(values), expected, rtol=1e-12)


def test_what_is_not_finite_has_no_projection():
    with pytest.raises(ValueError, match="finite"):
        descent.onto_simplex(np.array([0.5, np.inf]))


def test_the_gradient_is_that_of_the_criterion():
    def value(model):
        return np.sum(DATA[:4] * np.log(DATA[:4] / (DATA + model)[:4])) + np.sum(
            model * np.log(model / (DATA + model))
        )

    moved = START + 1e-30j * np.eye(5)
    expected = [value(one).imag / 1e-30 for one in moved]
    np.testing.assert_allclose(descent.criterion_gradient(DATA, START, 1e-12), expected, atol=1e-15)
    empty = descent.criterion_gradient(np.array([1.0, 0.0]), np.array([0.0, 1.0]), 1e-12)
    assert empty.tolist() == [np.log(1e-12), 0.0]


@pytest.mark.parametrize("empty", [False, True])
def test_the_factor_is_where_the_gaps_end_up(empty):
    data = DATA if empty else (DATA + 0.1) / 1.5
    gaps = descent.mirror_descent(data, START, rate=0.5, steps=90).gaps
    assert gaps[-1] / gaps[-2] == pytest.approx(descent.asymptotic_factor(0.5, empty), rel=1e-2)


@pytest.mark.parametrize("rate", [0.0, -0.5, 1.5, np.nan])
def test_a_rate_without_a_guarantee_is_refused(rate):
    message = f"rate must be above 0 and at most 1; got {rate}"
    with pytest.raises(ValueError, match=message):
        descent.mirror_descent(DATA, START, rate=rate)
    with pytest.raises(ValueError, match=message):
        descent.asymptotic_factor(rate)


@pytest.mark.parametrize("rate", ["x", np.array([0.5, 0.5]), None])
def test_a_rate_that_is_no_number_is_refused(rate):
    for call in (descent.asymptotic_factor, lambda r: descent.mirror_descent(DATA, START, rate=r)):
        with pytest.raises(ValueError, match="rate must be a real number; got"):
            call(rate)
    with pytest.raises(ValueError, match="floor must be a real number; got"):
        descent.projected_gradient(DATA, START, floor=rate)


@pytest.mark.parametrize("descend", DESCENTS)
def test_bad_arguments_are_refused_by_name_and_value(descend):
    with pytest.raises(ValueError, match="steps must be at least 1; got 0"):
        descend(DATA, START, steps=0)
    with pytest.raises(ValueError, match="p_0 has a total mass of 2, not 1"):
        descend(DATA, 2 * START)
    with pytest.raises(ValueError, match=r"p_data has shape \(5,\) and p_0 \(4,\)"):
        descend(DATA, np.full(4, 0.25))
    with pytest.raises(ValueError, match="cell_volume must be above 0 and finite; got -1"):
        descend(DATA, START, -1.0)
    for steps in (2.5, True, "3", np.nan):
        with pytest.raises(ValueError, match=f"steps must be a whole number; got {steps!r}"):
            descend(DATA, START, steps=steps)
    with pytest.raises(TypeError, match="p_0 is a traced array"):
        jax.jit(lambda start: descend(DATA, start))(jnp.asarray(START))


@pytest.mark.parametrize("floor", [0.0, 1.0, np.nan])
def test_a_floor_that_is_none_is_refused(floor):
    with pytest.raises(ValueError, match=f"floor must be above 0 and below 1; got {floor}"):
        descent.projected_gradient(DATA, START, floor=floor)
