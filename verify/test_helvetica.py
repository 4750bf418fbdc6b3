"""Section 6, disadvantages: the Helvetica scenario."""

import numpy as np
from on_claims import test_the_claim_holds as test_the_claim_holds
from on_claims import test_the_planted_fault_is_caught as test_the_planted_fault_is_caught

from advnets.verify.claims import helvetica

PREFIXES = ("helvetica-",)


def test_modes_are_counted_by_their_nearest_samples():
    samples = np.stack(
        [np.repeat(helvetica.CENTRES[:1], 200, 0), helvetica.CENTRES[:8].repeat(25, 0)]
    )
    assert helvetica.modes_covered(samples).tolist() == [1.0, 8.0]
