"""Section 7, coordination: the multipliers once more, by 2 × 2 matrices written down by hand."""

import numpy as np
import pytest
from on_claims import test_the_claim_holds as test_the_claim_holds
from on_claims import test_the_planted_fault_is_caught as test_the_planted_fault_is_caught

from advnets.verify.claims import dirac

PREFIXES = ("dirac-",)
# The Jacobian of the players' gradients (-psi / 2, theta / 2) at the solution.
J = np.array([[0, -0.5], [0.5, 0]])
ONE, H = np.eye(2), 0.1


def modulus(matrix):
    return np.abs(np.linalg.eigvals(matrix)).max()


def penalty(weight):
    return np.diag([0, weight])


def rates(ratio):
    return np.diag([1, ratio])


D_THEN_G = np.array([[1, H / 2], [0, 1]]) @ np.array([[1, 0], [-H / 2, 1]])
MATRICES = {
    "simultaneous": (ONE - H * J, dirac.simultaneous(H), 1.00125),
    "alternating": (D_THEN_G, dirac.alternating(H), 1),
    "R1": (ONE - H * (J + penalty(0.5)), dirac.penalised(H, 0.5), 0.976),
    "critical R1": (ONE - H * (J + penalty(1)), dirac.penalised(H, 1.0), 0.95),
    "two rates": (ONE - H * rates(4) @ (J + penalty(0.5)), dirac.penalised(H, 0.5, 4), 0.9),
    "consensus": (ONE - H * (J + J.T @ J), dirac.consensus(H, 1.0), 0.9763),
    "extragradient": (ONE - H * J @ (ONE - H * J), dirac.extragradient(H), 0.99875),
    "optimistic": (
        np.block([[ONE - 2 * H * J, H * J], [ONE, 0 * ONE]]), dirac.optimistic(H), 0.99875
    ),
    "unrolled": (ONE - H * (J + np.diag([5 * 0.1 / 2, 0])), dirac.unrolled(H, 0.1), 0.98868),
}  # fmt: skip


@pytest.mark.parametrize("name", MATRICES)
def test_the_claimed_multiplier_is_that_of_the_matrix(name):
    matrix, claimed, about = MATRICES[name]
    assert modulus(matrix) == pytest.approx(np.abs(np.array(claimed)).max(), abs=1e-8)
    assert modulus(matrix) == pytest.approx(about, abs=6e-4)
