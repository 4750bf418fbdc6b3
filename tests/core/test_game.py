"""The game against closed forms and float64, at ordinary and at extreme logits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import expit, log_expit

from advnets import game

EXTREME = np.array([-1e4, -1e3, -88.0, -30.0, -1.0, -1e-3, 0.0, 1e-3, 1.0, 30.0, 88.0, 1e3, 1e4])
# One length, so that each function is compiled once.
logits = hnp.arrays(np.float32, 12, elements=st.floats(-(2.0**14), 2.0**14, width=32))
# Eighths: no logit of theirs is within rounding of a threshold, except 0, which is exactly on it.
eighths = hnp.arrays(np.float32, 12, elements=st.integers(-80, 80).map(lambda n: n / 8))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_each_term_is_exact_at_any_logit(dtype):
    one = {
        "minimax": (game.minimax_cost, lambda x: log_expit(-x)),
        "non-saturating": (game.non_saturating_cost, lambda x: -log_expit(x)),
        "blend": (game.BlendedCost(1.0, 1.0), lambda x: (-log_expit(x) + log_expit(-x) / 2) / 2),
        "on data": (
            lambda x: game.value_function(x, -jnp.inf * jnp.ones_like(x)),
            log_expit,
        ),
        "on samples": (
            lambda x: game.value_function(jnp.inf * jnp.ones_like(x), x),
            lambda x: log_expit(-x),
        ),
        "halved": (
            lambda x: game.discriminator_cost(x, jnp.zeros_like(x)),
            lambda x: -(log_expit(x) + log_expit(0.0)) / 2,
        ),
    }
    with jax.enable_x64(dtype == np.float64):
        given_ = jnp.asarray(EXTREME[:, None], dtype)
        for name, (cost, expected) in one.items():
            found = jax.jit(jax.vmap(cost))(given_)
            assert found.dtype == dtype
            np.testing.assert_allclose(
                found,
                expected(EXTREME.astype(dtype).astype(np.float64)),
                rtol=4 * np.finfo(dtype).eps,
                atol=np.finfo(dtype).tiny,
                err_msg=name,
            )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradients_are_the_sigmoids_that_the_paper_compares(dtype):
    with jax.enable_x64(dtype == np.float64):
        given_ = jnp.asarray(EXTREME, dtype)
        n = len(EXTREME)
        eps = np.finfo(dtype).eps
        sigmoid = expit(EXTREME)
        # Absolute error: a gradient near 1 is rounded in units of eps.
        minimax = jax.jit(jax.grad(game.minimax_cost))(given_)
        np.testing.assert_allclose(minimax * n, -sigmoid, atol=8 * eps)
        heuristic = jax.jit(jax.grad(game.non_saturating_cost))(given_)
        np.testing.assert_allclose(heuristic * n, sigmoid - 1, atol=8 * eps)
        # The vanishing gradient is small but right: no cancellation to 0.
        assert -minimax[3] * n == pytest.approx(sigmoid[3], rel=1e-4)


@given(real=logits, fake=logits)
@settings(max_examples=50, deadline=None)
def test_the_value_is_never_above_zero(real, fake):
    value = jax.jit(game.value_function)(real, fake)
    assert value <= 0
    np.testing.assert_allclose(
        value,
        log_expit(real.astype(np.float64)).mean() + log_expit(-fake.astype(np.float64)).mean(),
        rtol=1e-5,
        atol=1e-30,
    )


@pytest.mark.parametrize(("n", "m"), [(1, 1), (3, 500), (500, 7)])
def test_an_undecided_discriminator_gives_minus_log_4(n, m):
    value = game.value_function(jnp.zeros(n), jnp.zeros(m))
    np.testing.assert_allclose(value, -np.log(4), rtol=1e-6)


@jax.jit
def generators_gradients(fake):
    costs = (game.minimax_cost, game.non_saturating_cost, game.BlendedCost())
    return [jax.grad(cost)(fake) for cost in costs]


@given(fake=logits)
@settings(max_examples=50, deadline=None)
def test_both_generator_objectives_fall_as_the_logits_rise(fake):
    assert all((gradient <= 0).all() for gradient in generators_gradients(fake))


def test_the_blend_is_the_released_expression_up_to_the_data_term():
    real, fake = jax.random.normal(jax.random.key(0), (2, 64))
    z, m = 3.0, 2.0
    released = (z * game.non_saturating_cost(fake) - m * game.discriminator_cost(real, fake)) / (
        z + m
    )
    data_term = m * 0.5 * jnp.mean(jax.nn.log_sigmoid(real)) / (z + m)
    blend = game.BlendedCost(minimax=m, non_saturating=z)(fake)
    np.testing.assert_allclose(blend, released - data_term, rtol=1e-5)


MARGINS = [0.0, 0.05, 0.2, 0.49]
# Of a cost to threshold, what it makes of each logit.
THRESHOLDED = [
    (game.non_saturating_cost, lambda x: -log_expit(x)),
    (game.minimax_cost, lambda x: log_expit(-x)),
    (lambda logits: jnp.mean(jnp.exp(-logits)), lambda x: np.exp(-x)),
]


@jax.jit
def thresholded_costs(fake):
    return [
        [game.ThresholdedCost(cost, margin)(fake) for margin in MARGINS] for cost, _ in THRESHOLDED
    ]


@given(fake=eighths)
@settings(max_examples=50, deadline=None)
def test_the_thresholded_cost_is_the_mean_over_the_whole_batch(fake):
    exact = fake.astype(np.float64)
    output = expit(exact)
    for found, (_, each) in zip(thresholded_costs(fake), THRESHOLDED, strict=True):
        for got, margin in zip(found, MARGINS, strict=True):
            expected = sum(c for c, d in zip(each(exact), output, strict=True) if d < 0.5 + margin)
            np.testing.assert_allclose(got, expected / 12, rtol=1e-5, atol=1e-30)


@jax.jit
def lazy_costs(real, fake):
    return [game.LazyDiscriminatorCost(margin)(real, fake) for margin in MARGINS]


@given(real=eighths, fake=eighths)
@settings(max_examples=50, deadline=None)
def test_the_lazy_discriminator_skips_what_it_has_won(real, fake):
    d_real, d_fake = (expit(x.astype(np.float64)) for x in (real, fake))
    for got, margin in zip(lazy_costs(real, fake), MARGINS, strict=True):
        expected = -sum(np.log(d) for d in d_real if d < 0.5 + margin) / 24
        expected -= sum(np.log1p(-d) for d in d_fake if d > 0.5 - margin) / 24
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-30)


def test_what_does_not_count_has_no_gradient():
    fake = jnp.array([-30.0, -1.0, 1.0, 30.0])
    gradient = jax.grad(game.ThresholdedCost())(fake)
    assert gradient.tolist()[2:] == [0, 0]
    np.testing.assert_allclose(gradient[:2], (expit([-30, -1]) - 1) / 4, rtol=1e-6)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: game.BlendedCost(-1.0, 2.0), "at least 0 and not both 0"),
        (lambda: game.BlendedCost(0.0, 0.0), "at least 0 and not both 0"),
        (lambda: game.BlendedCost(float("nan"), 1.0), "at least 0 and not both 0"),
        (lambda: game.BlendedCost(float("inf"), 1.0), "at least 0 and not both 0"),
        (lambda: game.ThresholdedCost(margin=0.5), "at least 0 and below 1/2; got 0.5"),
        (lambda: game.LazyDiscriminatorCost(-0.1), "at least 0 and below 1/2; got -0.1"),
    ],
)
def test_settings_out_of_range_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    "cost",
    [
        lambda none: game.discriminator_cost(jnp.zeros(2), none),
        lambda none: game.value_function(none, jnp.zeros(2)),
        game.minimax_cost,
        game.non_saturating_cost,
        game.ThresholdedCost(game.minimax_cost, 0.1),
        lambda none: game.LazyDiscriminatorCost(0.1)(none, none),
    ],
)
def test_a_mean_over_no_examples_is_refused(cost):
    with pytest.raises(ValueError, match="pass at least 1 logit"):
        cost(jnp.zeros(0))
