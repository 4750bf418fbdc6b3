"""Proposition 2: the claims hold and notice their faults; the statement itself, in plain NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from on_claims import test_the_claim_holds as test_the_claim_holds
from on_claims import test_the_planted_fault_is_caught as test_the_planted_fault_is_caught

from advnets.verify.claims import proposition_2 as proposition_2

PREFIXES = ("prop2-",)

SEEDS = st.integers(0, 2**32 - 1)


# The statement itself, with its own formulae: U, its supremum and the steps, on positive densities.


def density(rng, n=6):
    p = rng.gamma(0.5, size=n) + 1e-9
    return p / p.sum()


def u(data, model, d):
    return np.sum(data * np.log(d)) + np.sum(model * np.log1p(-d))


def supremum(data, model):
    return u(data, model, data / (data + model))


def mirrored(data, model, rate):
    d = data / (data + model)
    weights = model / (1 - d) ** rate
    return weights / np.sum(weights)


@given(seed=SEEDS, t=st.floats(0, 1))
@settings(max_examples=200, deadline=None)
def test_u_is_affine_in_the_generators_density(seed, t):
    rng = np.random.default_rng(seed)
    data, p, q = density(rng), density(rng), density(rng)
    d = rng.uniform(0.001, 0.999, size=6)
    mixed = (1 - t) * u(data, p, d) + t * u(data, q, d)
    assert u(data, (1 - t) * p + t * q, d) == pytest.approx(mixed, abs=1e-13)


@given(seed=SEEDS, t=st.floats(0, 1))
@settings(max_examples=200, deadline=None)
def test_its_supremum_is_convex_and_a_supremum(seed, t):
    rng = np.random.default_rng(seed)
    data, p, q = density(rng), density(rng), density(rng)
    mixed = (1 - t) * supremum(data, p) + t * supremum(data, q)
    assert supremum(data, (1 - t) * p + t * q) <= mixed + 1e-13
    assert u(data, p, rng.uniform(0.001, 0.999, size=6)) <= supremum(data, p) + 1e-13


@given(seed=SEEDS)
@settings(max_examples=200, deadline=None)
def test_the_supremum_lies_above_its_tangent(seed):
    rng = np.random.default_rng(seed)
    data, p, q = density(rng), density(rng), density(rng)
    tangent = supremum(data, p) + np.log(1 - data / (data + p)) @ (q - p)
    assert supremum(data, q) >= tangent - 1e-12
    # A central difference along q - p has the tangent's slope.
    h = 1e-4 * np.min(p / (p + q))
    slope = (supremum(data, p + h * (q - p)) - supremum(data, p - h * (q - p))) / (2 * h)
    assert slope == pytest.approx(tangent - supremum(data, p), abs=1e-6 + 1e-14 / h)


@given(seed=SEEDS, rate=st.floats(0.01, 1))
@settings(max_examples=200, deadline=None)
def test_a_mirror_step_never_worsens_the_criterion_and_the_bound_holds(seed, rate):
    rng = np.random.default_rng(seed)
    data, start = density(rng), density(rng)
    divergence = np.sum(data * np.log(data / start))
    model, value = start, supremum(data, start)
    for t in range(1, 30):
        model = mirrored(data, model, rate)
        before, value = value, supremum(data, model)
        assert value <= before + 1e-13
        assert value + np.log(4) <= divergence / (rate * t) + 1e-13


@given(seed=SEEDS)
@settings(max_examples=100, deadline=None)
def test_only_the_data_density_is_left_alone(seed):
    rng = np.random.default_rng(seed)
    data, model = density(rng), density(rng)
    np.testing.assert_allclose(mirrored(data, data, 1.0), data, rtol=1e-12)
    assert np.abs(mirrored(data, model, 1.0) - model).max() > 1e-3 * np.abs(data - model).max()
    for _ in range(60):
        model = mirrored(data, model, 1.0)
    np.testing.assert_allclose(model, data, rtol=1e-6, atol=1e-12)
