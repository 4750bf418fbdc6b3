"""Eq. 4-6 and Theorem 1, on other densities and by other formulas than the claims use."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from on_claims import test_the_claim_holds as test_the_claim_holds
from on_claims import test_the_planted_fault_is_caught as test_the_planted_fault_is_caught

from advnets import verify

PREFIXES = ("eq4-", "eq5-", "eq6-", "thm1-")


counts = st.lists(st.integers(0, 50), min_size=6, max_size=6).filter(any)


def term(a, b):
    return 0.0 if a == 0 else a * np.log(a / (a + b))


@given(counts, counts)
def test_criterion_by_hand(first, second):
    p, q = np.array(first) / sum(first), np.array(second) / sum(second)
    by_hand = sum(term(a, b) + term(b, a) for a, b in zip(p, q, strict=True))
    assert verify.virtual_criterion(p, q) == pytest.approx(by_hand, abs=1e-12)
    assert -np.log(4) - 1e-14 <= by_hand <= 1e-14
    assert verify.suboptimality(p, q) == pytest.approx(by_hand + np.log(4), abs=1e-12)
    assert (verify.suboptimality(p, q) == 0) == np.array_equal(p, q)


@given(counts, counts)
def test_symmetry(first, second):
    p, q = np.array(first) / sum(first), np.array(second) / sum(second)
    assert verify.suboptimality(p, q) == pytest.approx(verify.suboptimality(q, p), rel=1e-12)
