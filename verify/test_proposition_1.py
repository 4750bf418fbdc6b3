"""Proposition 1, on other weights and by other methods than the claims use."""

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given
from hypothesis import strategies as st
from on_claims import test_the_claim_holds as test_the_claim_holds
from on_claims import test_the_planted_fault_is_caught as test_the_planted_fault_is_caught

from advnets import verify

PREFIXES = ("prop1-",)


weight = st.floats(1e-3, 1e3)


@given(weight, weight)
def test_brents_method_finds_the_ratio(a, b):
    found = scipy.optimize.minimize_scalar(
        lambda y: -(a * np.log(y) + b * np.log1p(-y)) / (a + b),
        bounds=(1e-9, 1 - 1e-9),
        method="bounded",
        options={"xatol": 1e-10},
    )
    assert found.x == pytest.approx(a / (a + b), abs=1e-6)


@given(st.lists(weight, min_size=4, max_size=4), st.lists(weight, min_size=4, max_size=4))
def test_no_other_discriminator_has_a_greater_value(first, second):
    p, q = np.array(first) / sum(first), np.array(second) / sum(second)
    logits = np.log(p) - np.log(q)
    best = verify.value_on_grid(p, q, logits)
    for change in np.eye(4):
        for size in (-1, -1e-3, 1e-3, 1):
            assert verify.value_on_grid(p, q, logits + size * change) <= best + 1e-15
