"""Figure 1: the four moments of a one-dimensional game."""

import pytest
from on_claims import test_the_claim_holds as test_the_claim_holds
from on_claims import test_the_planted_fault_is_caught as test_the_planted_fault_is_caught

from advnets import verify

PREFIXES = ("figure-1",)


@pytest.mark.long
def test_there_was_something_to_learn():
    outcome = verify.run_claim(verify.CLAIMS["figure-1"], 1)
    assert outcome.verdict == "holds"
    assert outcome.finding.measured["C + log 4 in (b)"] > 0.1
