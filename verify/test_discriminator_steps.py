"""Section 3, third paragraph: k steps of D per step of G, and D optimised to completion."""

import numpy as np
import pytest
from on_claims import test_the_claim_holds as test_the_claim_holds
from on_claims import test_the_planted_fault_is_caught as test_the_planted_fault_is_caught

from advnets.verify.claims import toys

PREFIXES = ("k-steps-", "overfit-")


def test_a_sign_test_counts_wins_only():
    wins = np.arange(20) < 18
    assert toys.sign_test(wins) == pytest.approx((190 + 20 + 1) / 2**20)
