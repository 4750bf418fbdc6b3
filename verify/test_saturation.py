"""Section 3, last paragraph: the generator's two objectives."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st
from on_claims import test_the_claim_holds as test_the_claim_holds
from on_claims import test_the_planted_fault_is_caught as test_the_planted_fault_is_caught

from advnets import game

PREFIXES = ("saturation-",)


@settings(deadline=None)
@given(st.lists(st.floats(-30, 30, width=32), min_size=8, max_size=8))
def test_the_objectives_gradients_per_logit_have_sizes_d_and_one_minus_d(logits):
    array = jnp.array(logits)
    saturating = jax.grad(game.minimax_cost)(array)
    strong = jax.grad(game.non_saturating_cost)(array)
    d = scipy.special.expit(np.asarray(logits, np.float64))
    one_minus_d = scipy.special.expit(-np.asarray(logits, np.float64))
    np.testing.assert_allclose(-saturating * len(logits), d, rtol=1e-5)
    np.testing.assert_allclose(-strong * len(logits), one_minus_d, rtol=1e-5)
