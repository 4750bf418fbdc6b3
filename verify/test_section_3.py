"""Section 3: saturation, k steps, overfitting and the Helvetica scenario."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st
from on_claims import test_the_claim_holds as test_the_claim_holds
from on_claims import test_the_planted_fault_is_caught as test_the_planted_fault_is_caught

import advnets
import advnets.verify.claims.section_3 as section_3

PREFIXES = ("saturation-", "k-steps-", "overfit-", "helvetica-")


@settings(deadline=None)
@given(st.lists(st.floats(-30, 30, width=32), min_size=8, max_size=8))
def test_the_objectives_gradients_per_logit_have_sizes_d_and_one_minus_d(logits):
    array = jnp.array(logits)
    saturating = jax.grad(advnets.minimax_cost)(array)
    strong = jax.grad(advnets.non_saturating_cost)(array)
    d = scipy.special.expit(np.asarray(logits, np.float64))
    one_minus_d = scipy.special.expit(-np.asarray(logits, np.float64))
    np.testing.assert_allclose(-saturating * len(logits), d, rtol=1e-5)
    np.testing.assert_allclose(-strong * len(logits), one_minus_d, rtol=1e-5)


def test_modes_are_counted_by_their_nearest_samples():
    samples = np.stack(
        [np.repeat(section_3.CENTRES[:1], 200, 0), section_3.CENTRES[:8].repeat(25, 0)]
    )
    assert section_3._modes_covered(samples).tolist() == [1.0, 8.0]


def test_a_sign_test_counts_wins_only():
    wins = np.arange(20) < 18
    assert section_3._sign_test(wins) == pytest.approx((190 + 20 + 1) / 2**20)
