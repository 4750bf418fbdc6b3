"""Section 7, better z: the claims, and their helper functions by brute force."""

import numpy as np
from on_claims import test_the_claim_holds as test_the_claim_holds
from on_claims import test_the_planted_fault_is_caught as test_the_planted_fault_is_caught

from advnets.verify.claims import better_z

PREFIXES = ("disconnected-", "rejection-")


def test_mass_between_modes_is_that_of_many_points():
    slope, gap = np.array([3.0, 8.0]), np.array([0.2, 0.5])
    knots, values = better_z._zigzags(np.random.default_rng(0), slope)
    steepest = np.abs(np.diff(values) / np.diff(knots)).max(-1)
    assert (steepest <= slope * (1 + 1e-9)).all()
    z = np.linspace(-1, 1, 200_001)
    for x, y, bound, mass in zip(
        knots, values, 1 - gap, better_z._mass_between(knots, values, 1 - gap), strict=True
    ):
        assert abs((np.abs(np.interp(z, x, y)) <= bound).mean() - mass) < 1e-4
