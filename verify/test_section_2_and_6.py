"""Sections 2 and 6: derivatives through noise, learning through D, sharpness, independence."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from on_claims import test_the_claim_holds as test_the_claim_holds
from on_claims import test_the_planted_fault_is_caught as test_the_planted_fault_is_caught

import advnets.verify.claims.section_2_and_6 as section_2_and_6

PREFIXES = ("sigma-", "only-", "sharp-", "independent-")


@settings(deadline=None)
@given(
    st.tuples(*[st.floats(-2, 2)] * 2),
    st.floats(0.01, 1),
    st.tuples(*[st.floats(-2, 2)] * 3),
)
def test_the_gradient_of_a_smoothed_cubic_has_a_closed_form(point, sigma, coefficients):
    # E f(x + e) = f(x) + σ²/2 Δf(x) for f = a x³ + b x² y + c y², whose Laplacian is linear.
    a, b, c = coefficients

    def f(x):
        return a * x[..., 0] ** 3 + b * x[..., 0] ** 2 * x[..., 1] + c * x[..., 1] ** 2

    x, y = point
    gradient = np.array([3 * a * x**2 + 2 * b * x * y, b * x**2 + 2 * c * y])
    smoothed = section_2_and_6.gradient_through_noise(f, np.array([point]), sigma)[0]
    np.testing.assert_allclose(smoothed, gradient + sigma**2 * np.array([3 * a, b]), atol=1e-9)


def testrelaxation_time_of_a_two_state_chain():
    # Moves with probability 0.1 from the first state and 0.2 from the second: λ₂ = 1 - 0.3.
    p = np.array([2 / 3, 1 / 3])
    proposals = np.array([[0.0, 0.1], [0.2, 0.0]])
    assert section_2_and_6.relaxation_time(p, proposals) == pytest.approx(1 / 0.3)


def test_the_window_of_dense_data_is_narrower():
    rng = np.random.default_rng(0)
    line = rng.normal(size=(400, 1)) * section_2_and_6.ALONG
    assert section_2_and_6.window(line) < section_2_and_6.window(line[:40])
