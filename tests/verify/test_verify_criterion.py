"""The criterion on densities: conventions, independence of the caller, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advnets import verify

CRITERIA = [verify.virtual_criterion, verify.jensen_shannon, verify.kullback_leibler]


def random_density(seed, n=20, zeros=0.3):
    rng = np.random.default_rng(seed)
    p = rng.exponential(size=n) ** 3 * (rng.random(n) > zeros)
    p[rng.integers(n)] += 0.1
    return p / p.sum()


@given(seed=st.integers(0, 2**32 - 2))
@settings(max_examples=200, deadline=None)
def test_three_routes_meet(seed):
    p, q = random_density(seed), random_density(seed + 1)
    criterion, jsd = verify.virtual_criterion(p, q), verify.jensen_shannon(p, q)
    assert criterion == pytest.approx(-np.log(4) + 2 * jsd, abs=1e-12)
    m = (p + q) / 2
    kl = verify.kullback_leibler(p, m) + verify.kullback_leibler(q, m)
    assert criterion == pytest.approx(-np.log(4) + kl, abs=1e-12)
    assert -np.log(4) - 1e-14 <= criterion <= 0
    d = verify.optimal_discriminator(p, q)
    with np.errstate(divide="ignore"):
        logits = np.log(d) - np.log(verify.optimal_discriminator(q, p))
    assert verify.value_on_grid(p, q, logits) == pytest.approx(criterion, abs=1e-12)
    other = np.random.default_rng(seed).normal(size=p.shape)
    assert verify.value_on_grid(p, q, other) <= criterion + 1e-14


def test_known_values_by_hand():
    p, q = [0.5, 0.5, 0.0], [0.25, 0.25, 0.5]
    c = np.log(2 / 3) + 0.5 * np.log(1 / 3)  # D* = 2/3, 2/3, 0
    assert verify.virtual_criterion(p, q) == pytest.approx(c, rel=1e-14)
    assert verify.kullback_leibler(p, q) == pytest.approx(np.log(2), rel=1e-14)
    assert verify.kullback_leibler(q, p) == np.inf
    assert verify.jensen_shannon(p, q) == pytest.approx((c + np.log(4)) / 2, rel=1e-13)
    assert verify.virtual_criterion([1, 0], [0, 1]) == 0
    assert verify.optimal_discriminator([1, 0, 0], [0, 1, 0]).tolist() == [1.0, 0.0, 0.5]


def near_pairs(apart):
    rng = np.random.default_rng(0)
    for p in rng.uniform(0.01, 0.99, 1000):
        yield [p, 1 - p], [p + apart, 1 - p - apart]


def exact_jensen_shannon(p, q):
    """By its series in u = (p - q) / (p + q), here below 1e-6: sum of (p + q) u² / 4."""
    p, q = np.asarray(p), np.asarray(q)
    return np.sum((p - q) ** 2 / (p + q)) / 4


@pytest.mark.parametrize("apart", [0.0, 1e-16, 1e-9, 1e-8])
def test_rounding_takes_no_value_out_of_its_range(apart):
    # scipy#20083: half of the Jensen-Shannon divergences were below 0, and their roots NaN.
    for p, q in near_pairs(apart):
        assert 0 <= verify.jensen_shannon(p, q) < 2e-15
        assert 0 <= verify.kullback_leibler(p, q) < 1e-14
        assert -np.log(4) <= verify.virtual_criterion(p, q) < -np.log(4) + 1e-14
    for n in range(2, 60):  # and apart as far as can be
        p, q = np.eye(2).repeat(n, axis=1) / n
        assert np.log(2) - 1e-15 <= verify.jensen_shannon(p, q) <= np.log(2)


def test_the_pointer_for_near_densities_holds():
    p, q = [0.54, 0.46], [0.54 + 1e-9, 0.46 - 1e-9]
    assert verify.suboptimality(p, q) / 2 == pytest.approx(5.03e-19, rel=1e-2, abs=0)
    for p, q in near_pairs(1e-6):
        exact = exact_jensen_shannon(p, q)
        assert verify.suboptimality(p, q) / 2 == pytest.approx(exact, rel=1e-6, abs=0)
        assert verify.jensen_shannon(p, q) == pytest.approx(exact, abs=3e-16)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_a_cell_volume_turns_densities_into_masses(criterion):
    p, q = random_density(0), random_density(1, zeros=0)
    assert criterion(p / 0.1, q / 0.1, 0.1) == pytest.approx(criterion(p, q), rel=1e-13)
    grid = [x.reshape(4, 5) / 0.1 for x in (p, q)]
    assert criterion(*grid, 0.1) == pytest.approx(criterion(p, q), rel=1e-13)


def test_the_result_is_float64_whatever_the_caller_has():
    p, q = jnp.array([0.5, 0.5]), jnp.array([0.25, 0.75])
    assert p.dtype == jnp.float32
    assert verify.optimal_discriminator(p, q).dtype == np.float64
    assert verify.virtual_criterion(p, q) == verify.virtual_criterion([0.5, 0.5], [0.25, 0.75])
    assert not jax.config.jax_enable_x64


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("p_data", lambda x: verify.virtual_criterion(jnp.stack([x, 1 - x]), [0.5, 0.5])),
        ("p_data", lambda x: verify.virtual_criterion([x, 1 - x], [0.5, 0.5])),
        ("logits", lambda x: verify.value_on_grid([0.5, 0.5], [0.5, 0.5], jnp.stack([x, x]))),
        ("cell_volume", lambda x: verify.virtual_criterion([0.5, 0.5], [0.5, 0.5], x)),
        ("rate", lambda x: verify.mirror_descent([0.5, 0.5], [0.5, 0.5], rate=x)),
    ],
)
def test_tracers_are_refused(name, function):
    message = f"{name} is a traced array.* use the functions of advnets.verify.traceable"
    with pytest.raises(TypeError, match=message):
        jax.jit(function)(0.5)


def test_the_criterions_functions_are_all_traceable():
    for name in vars(verify.criterion):
        if callable(getattr(verify, name, None)) and name not in ("Density", "masses"):
            assert callable(getattr(verify.traceable, name)), name


@pytest.mark.parametrize(
    ("p_data", "p_g", "volume", "message"),
    [
        ([0.5, 0.6, -0.1], [1, 0, 0], 1.0, "p_data holds -0.1; a density is never below 0"),
        ([0.5, 0.5], [0.5, 0.4], 1.0, "p_g has a total mass of 0.9, not 1"),
        ([0.5, 0.5], [0.5, 0.5], 0.5, "p_data has a total mass of 0.5, not 1"),
        ([0.5, np.nan], [0.5, 0.5], 1.0, "p_data holds nan"),
        ([0.5, 0.5], [np.inf, 0.5], 1.0, "p_g holds inf"),
        ([0.5, 0.5], [0.2, 0.3, 0.5], 1.0, r"p_data has shape \(2,\) and p_g \(3,\)"),
        ([0.0, 0.0], [0.5, 0.5], 1.0, "p_data has a total mass of 0, not 1; give a density"),
        ([1e308, 1e308], [0.5, 0.5], 1.0, "p_data has a total mass of inf, not 1; give a density"),
        ([], [], 1.0, "p_data is empty"),
        ([1.0], [1.0], 0.0, "cell_volume must be above 0 and finite; got 0.0"),
        ([1.0], [1.0], np.inf, "cell_volume must be above 0 and finite; got inf"),
        ([1.0], [1.0], np.array([0.5, 0.5]), r"cell_volume must be a real number; got array"),
        ([1.0], [1.0], "1", "cell_volume must be a real number; got '1'"),
        ([1.0], [1.0], None, "cell_volume must be a real number; got None"),
        (1.0, [1.0], 1.0, "p_data is the single number 1.0"),
        ("ab", [1.0], 1.0, "p_data must be an array of real numbers.*; got 'ab'"),
        (None, [1.0], 1.0, "p_data must be an array of real numbers.*; got None"),
        (["1.0"], [1.0], 1.0, "p_data must be an array of real numbers"),
        ([1 + 0j], [1.0], 1.0, "p_data must be an array of real numbers"),
        (np.array([1 + 1j]), [1.0], 1.0, "p_data must be an array of real numbers"),
        ([[0.5], [0.25, 0.25]], [1.0], 1.0, r"p_data must be .* rows of equal length; got \[\[0.5"),
        ([1.0], [None], 1.0, "p_g"),
    ],
)
def test_what_is_no_density_is_refused_by_name_and_value(p_data, p_g, volume, message):
    for function in (verify.optimal_discriminator, verify.virtual_criterion):
        with pytest.raises(ValueError, match=message):
            function(p_data, p_g, volume)


def test_logits_are_checked_too():
    with pytest.raises(ValueError, match=r"logits has shape \(3,\)"):
        verify.value_on_grid([0.5, 0.5], [0.5, 0.5], np.zeros(3))
    with pytest.raises(ValueError, match="logits must be an array of real numbers"):
        verify.value_on_grid([0.5, 0.5], [0.5, 0.5], "ab")
    with pytest.raises(ValueError, match="logits holds nan"):
        verify.value_on_grid([0.5, 0.5], [0.5, 0.5], [0.0, np.nan])
