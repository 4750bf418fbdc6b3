"""The game against closed forms and float64, at ordinary and at extreme logits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import advnets

EXTREME = np.array([-1e4, -1e3, -88.0, -30.0, -1.0, -1e-3, 0.0, 1e-3, 1.0, 30.0, 88.0, 1e3, 1e4])
logits = hnp.arrays(
    np.float32, st.integers(1, 40), elements=st.floats(-(2.0**14), 2.0**14, width=32)
)


def log_d(logits):
    return scipy.special.log_expit(logits)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("logit", EXTREME)
def test_each_term_is_exact_at_any_logit(dtype, logit):
    with jax.enable_x64(dtype == np.float64):
        given_, zero = jnp.array([logit], dtype), jnp.array([0.0], dtype)
        rtol = 4 * np.finfo(dtype).eps
        exact = np.float64(dtype(logit))
        for value, expected in [
            (advnets.value_function(given_, -jnp.inf * jnp.ones(1, dtype)), log_d(exact)),
            (advnets.value_function(jnp.inf * jnp.ones(1, dtype), given_), log_d(-exact)),
            (advnets.minimax_cost(given_), log_d(-exact)),
            (advnets.non_saturating_cost(given_), -log_d(exact)),
            (advnets.discriminator_cost(given_, zero), -(log_d(exact) + log_d(0.0)) / 2),
            (advnets.BlendedCost(1.0, 1.0)(given_), (-log_d(exact) + log_d(-exact) / 2) / 2),
        ]:
            assert value.dtype == dtype
            np.testing.assert_allclose(value, expected, rtol=rtol, atol=np.finfo(dtype).tiny)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradients_are_the_sigmoids_that_the_paper_compares(dtype):
    with jax.enable_x64(dtype == np.float64):
        given_ = jnp.asarray(EXTREME, dtype)
        n = len(EXTREME)
        eps = np.finfo(dtype).eps
        sigmoid = scipy.special.expit(EXTREME)
        # Absolute error: a gradient near 1 is rounded in units of eps.
        minimax = jax.grad(advnets.minimax_cost)(given_)
        np.testing.assert_allclose(minimax * n, -sigmoid, atol=8 * eps)
        heuristic = jax.grad(advnets.non_saturating_cost)(given_)
        np.testing.assert_allclose(heuristic * n, sigmoid - 1, atol=8 * eps)
        # The vanishing gradient is small but right: no cancellation to 0.
        assert -minimax[3] * n == pytest.approx(sigmoid[3], rel=1e-4)


@given(real=logits, fake=logits)
@settings(max_examples=50, deadline=None)
def test_the_value_is_never_above_zero(real, fake):
    value = advnets.value_function(jnp.asarray(real), jnp.asarray(fake))
    assert value <= 0
    np.testing.assert_allclose(
        value,
        log_d(real.astype(np.float64)).mean() + log_d(-fake.astype(np.float64)).mean(),
        rtol=1e-5,
        atol=1e-30,
    )


@given(n=st.integers(1, 500), m=st.integers(1, 500))
@settings(max_examples=20, deadline=None)
def test_an_undecided_discriminator_gives_minus_log_4(n, m):
    value = advnets.value_function(jnp.zeros(n), jnp.zeros(m))
    np.testing.assert_allclose(value, -np.log(4), rtol=1e-6)


@given(fake=logits)
@settings(max_examples=50, deadline=None)
def test_both_generator_objectives_fall_as_the_logits_rise(fake):
    gradients = [
        jax.grad(cost)(jnp.asarray(fake))
        for cost in (advnets.minimax_cost, advnets.non_saturating_cost, advnets.BlendedCost())
    ]
    assert all((gradient <= 0).all() for gradient in gradients)


def test_the_blend_is_the_released_expression_up_to_the_data_term():
    real, fake = jax.random.normal(jax.random.key(0), (2, 64))
    z, m = 3.0, 2.0
    released = (
        z * advnets.non_saturating_cost(fake) - m * advnets.discriminator_cost(real, fake)
    ) / (z + m)
    data_term = m * 0.5 * jnp.mean(jax.nn.log_sigmoid(real)) / (z + m)
    blend = advnets.BlendedCost(minimax=m, non_saturating=z)(fake)
    np.testing.assert_allclose(blend, released - data_term, rtol=1e-5)


@pytest.mark.parametrize(
    "weights", [(-1.0, 2.0), (0.0, 0.0), (float("nan"), 1.0), (float("inf"), 1.0)]
)
def test_the_blend_refuses_weights_that_make_no_mean(weights):
    with pytest.raises(ValueError, match="at least 0 and not both 0"):
        advnets.BlendedCost(*weights)
