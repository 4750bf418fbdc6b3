"""Figure 1: the four moments of a one-dimensional game."""

import pytest

from advnets import verify

CLAIM = verify.CLAIMS["figure-1"]


def test_holds():
    outcome = verify.run_claim(CLAIM, 1)
    assert outcome.verdict == "holds"
    assert outcome.finding.measured["C + log 4 in (b)"] > 0.1  # there was something to learn


@pytest.mark.parametrize("fault", CLAIM.faults, ids=lambda fault: fault.description)
def test_fault_is_caught(fault):
    assert verify.run_claim(CLAIM, 0, fault).verdict == "fails"
