"""Eq. 4-6 and Theorem 1, on other densities and by other formulas than the claims use."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from advnets import verify

IDS = [id for id in verify.CLAIMS if id.startswith(("eq4", "eq5", "eq6", "thm1"))]
FAULTS = [(id, fault) for id in IDS for fault in verify.CLAIMS[id].faults]

counts = st.lists(st.integers(0, 50), min_size=6, max_size=6).filter(any)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("id", IDS)
def test_holds(id, seed):
    assert verify.run_claim(verify.CLAIMS[id], seed).verdict == "holds"


@pytest.mark.parametrize(
    ("id", "fault"), FAULTS, ids=lambda value: getattr(value, "description", value)
)
def test_fault_is_caught(id, fault):
    assert verify.run_claim(verify.CLAIMS[id], 0, fault).verdict == "fails"


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
