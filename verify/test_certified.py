"""Eq. 2 and Eq. 4-6 for rational densities, in exact and in ball arithmetic."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from on_claims import test_the_claim_holds as test_the_claim_holds
from on_claims import test_the_planted_fault_is_caught as test_the_planted_fault_is_caught

from advnets import verify

flint = pytest.importorskip("flint")


from advnets.verify.claims import certified  # noqa: E402

PREFIXES = ("certified-",)

WEIGHTS = st.lists(
    st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)), min_size=1, max_size=6
).filter(lambda cells: all(sum(column) > 0 for column in zip(*cells, strict=True)))


@pytest.mark.parametrize(
    ("claim", "parts"),
    [
        (certified.certified_eq5, {"constant": 2}),
        (certified.certified_eq6, {"constant": 2}),
        (certified.certified_eq6, {"factor": 1}),
    ],
)
def test_a_wrong_constant_is_refuted_for_every_pair_it_is_wrong_for(claim, parts):
    measured = claim.check(0, **parts).measured
    # For equal densities, once and twice the divergence are the same.
    wrong = measured["unequal"] if "factor" in parts else measured["pairs"]
    assert measured["refuted"] == wrong > 200


def test_the_callers_precision_stays():
    before = flint.ctx.prec
    certified.certified_eq5.check(0)
    assert flint.ctx.prec == before


def test_the_pairs_are_exact_densities_of_every_kind():
    pairs = list(certified.random_rationals(0, 50))
    assert all(sum(p) == sum(q) == 1 and min(p + q) >= 0 for p, q in pairs)
    assert sum(p == q for p, q in pairs) == 10
    disjoint = sum(all(a * b == 0 for a, b in zip(p, q, strict=True)) for p, q in pairs)
    assert disjoint >= 10
    apart = [sum(abs(a - b) for a, b in zip(p, q, strict=True)) for p, q in pairs]
    assert sum(0 < d < flint.fmpq(1, 10**4) for d in apart) == 10


@given(WEIGHTS)
@settings(max_examples=50, deadline=None)
def test_the_library_lies_in_the_enclosure(cells):
    columns = list(zip(*cells, strict=True))
    p, q = ([flint.fmpq(w, sum(column)) for w in column] for column in columns)
    with flint.ctx.workprec(200):
        ball = certified.enclosed_criterion(p, q, certified.rational_discriminator)
        assert float(ball.rad()) < 1e-50
        assert (ball + flint.arb(4).log()).upper() >= 0
        assert ball.lower() <= 0
    floats = [np.array([w / sum(column) for w in column]) for column in columns]
    assert verify.virtual_criterion(*floats) == pytest.approx(float(ball), abs=1e-14)
    # D* against Python's own rationals.
    for a, b, d in zip(*columns, verify.optimal_discriminator(*floats), strict=True):
        if a + b > 0:
            odds = Fraction(a, sum(columns[0])), Fraction(b, sum(columns[1]))
            assert d == pytest.approx(float(odds[0] / sum(odds)), rel=1e-14, abs=0)
