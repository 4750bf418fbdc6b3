"""The recipes' update rule, step by step against NumPy in float64."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advnets import convolutions, layers, updates

KEY = jax.random.key(0)


def test_every_step_of_the_released_rule_matches_numpy(key):
    rate, divisor, floor, per_epoch = 0.1, 1.05, 0.02, 3
    limit = 1.2
    rule = updates.released_updates(
        rate, per_epoch, divisor=divisor, floor=floor, saturate=5, norm_limit=limit
    )
    params = {"weight": jax.random.normal(key, (4, 3)), "bias": jnp.ones(3)}
    state = rule.init(params)
    update = jax.jit(rule.update)
    w, b = np.asarray(params["weight"], np.float64), np.ones(3)
    vw, vb = np.zeros_like(w), np.zeros_like(b)
    for step in range(40):
        gw, gb = np.random.default_rng(step).normal(size=(5, 3))[:4], np.full(3, 0.1 * step)
        gradient = {"weight": jnp.asarray(gw, jnp.float32), "bias": jnp.asarray(gb, jnp.float32)}
        change, state = update(gradient, state, params)
        params = optax.apply_updates(params, change)

        epoch = 1 + step // per_epoch
        mu = 0.5 + 0.2 * min((epoch - 1) / 4, 1)
        step_rate = max(rate / divisor**step, floor)
        vw, vb = mu * vw - step_rate * gw, mu * vb - step_rate * gb
        w, b = w + vw, b + vb
        norms = np.linalg.norm(w, axis=1, keepdims=True)
        w = w * np.minimum(1, limit / norms)
        np.testing.assert_allclose(params["weight"], w, rtol=2e-5, atol=2e-5)
        np.testing.assert_allclose(params["bias"], b, rtol=2e-5, atol=2e-5)


def test_the_decay_is_right_after_hundreds_of_thousands_of_updates():
    schedule = updates.decayed_learning_rate(0.1)
    counts = np.array([0, 1, 1000, 125_000, 500_000, 2_000_000, 4_000_000])
    expected = np.maximum(0.1 / 1.000004 ** counts.astype(np.float64), 1e-6)
    got = [float(schedule(jnp.asarray(count))) for count in counts]
    np.testing.assert_allclose(got, expected, rtol=2e-6)
    # What a power in float32 would give: the reason for the schedule's own form.
    power = 0.1 * np.float32(1 / 1.000004) ** np.float32(500_000)
    assert abs(power / expected[4] - 1) > 1e-3


def test_a_generator_with_stride_decays_per_discriminator_update():
    every, third = (updates.decayed_learning_rate(0.1, stride=s, divisor=1.1) for s in (1, 3))
    for count in range(5):
        np.testing.assert_allclose(third(count), every(3 * count), rtol=1e-6)


def test_the_ramp_is_constant_within_an_epoch_and_linear_over_epochs():
    ramp = updates.momentum_ramp(500)
    counts = np.arange(0, 130_000, 137)
    epochs = 1 + counts // 500
    expected = 0.5 + 0.2 * np.clip((epochs - 1) / 249, 0, 1)
    np.testing.assert_allclose(jax.vmap(ramp)(jnp.asarray(counts)), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "rule",
    [updates.Released().transformation(500), updates.released_updates(0.1, 500)],
    ids=["Released", "released_updates"],
)
def test_defaults_are_those_of_the_released_recipes(rule):
    # An update from velocity 0 by gradient 1 is the rate; from 1 by 0, the momentum.
    for count, momentum in ((0, 0.5), (500 * 124, 0.5 + 0.2 * 124 / 249), (500 * 249, 0.7)):
        state = updates.MomentumState(jnp.array(count), jnp.array([0.0, 1.0]))
        (rate, kept), _ = rule.update(jnp.array([1.0, 0.0]), state)
        assert -rate == pytest.approx(0.1 / 1.000004**count, rel=1e-5)
        assert kept == pytest.approx(momentum, rel=1e-6)
    state = updates.MomentumState(jnp.array(4_000_000), jnp.zeros(1))
    assert -rule.update(jnp.ones(1), state)[0] == pytest.approx(1e-6)


LIMITS = {
    "weight": (updates.column_norm_limit, (6, 3), -1),
    "kernel": (updates.kernel_norm_limit, (3, 2, 2, 5), (0, 1, 2)),
}


def norms(array, axes):
    return np.sqrt((np.asarray(array, np.float64) ** 2).sum(axes, keepdims=True))


def limit_update(rule, param, change, name):
    limited, _ = rule.update({name: change}, rule.init({name: param}), {name: param})
    return limited[name]


@pytest.mark.parametrize("field", LIMITS)
@given(seed=st.integers(0, 2**31), limit=st.floats(0.1, 5.0))
@settings(max_examples=15, deadline=None)
def test_no_norm_ends_above_the_limit_and_none_within_it_moves(field, seed, limit):
    make, shape, axes = LIMITS[field]
    rng = np.random.default_rng(seed)
    array = jnp.asarray(rng.normal(size=shape), jnp.float32)
    change = jnp.asarray(rng.normal(size=shape), jnp.float32)
    limited = limit_update(make(limit), array, change, field)
    free = norms(array + change, axes)
    expected = np.asarray(array + change, np.float64) * np.minimum(1, limit / free)
    np.testing.assert_allclose(array + limited, expected, rtol=1e-5, atol=1e-5)
    assert (norms(array + limited, axes) <= limit * (1 + 1e-5)).all()
    within = np.broadcast_to(free <= limit * (1 - 1e-5), shape)
    assert (np.asarray(limited)[within] == np.asarray(change)[within]).all()


def test_an_update_that_ends_on_the_limit_passes_bit_for_bit():
    # 1.5 and the next number after it end at 3, and at a norm of 5, to the last digit.
    param = jnp.array([[1.5, 4.0]])
    change = jnp.array([[np.nextafter(np.float32(1.5), np.float32(2)), 0]])
    assert (param + change).tolist() == [[3.0, 4.0]]
    limited = limit_update(updates.column_norm_limit(5.0), param, change, "weight")
    assert (limited == change).all()


@pytest.mark.parametrize(
    ("build", "axes"),
    [
        (lambda key: eqx.nn.Linear(3, 6, key=key), 1),
        (lambda key: layers.Maxout(key, 3, units=6, pieces=2, weight_range=1.0), 2),
        (lambda key: eqx.nn.Conv2d(3, 6, 2, key=key), (1, 2, 3)),
        (lambda key: eqx.nn.ConvTranspose2d(3, 6, 2, key=key), (1, 2, 3)),
        (lambda key: eqx.nn.Conv1d(3, 6, 2, key=key), (1, 2)),
    ],
    ids=["linear", "maxout", "conv2d", "conv-transpose2d", "conv1d"],
)
def test_a_column_is_the_weights_into_a_unit(key, build, axes):
    """Whatever the layer's name for them and however deep in the player it is."""
    layer = build(key)
    player = {"deep": [eqx.nn.Sequential([layer, eqx.nn.Lambda(jax.nn.relu)])]}
    params = eqx.filter(player, eqx.is_array)
    weight = np.asarray(layer.weight, np.float64)
    limit = float(np.median(np.sqrt((weight**2).sum(axes))))  # some are above it, some within
    rule = updates.column_norm_limit(limit)
    change, _ = rule.update(jax.tree.map(jnp.zeros_like, params), rule.init(params), params)
    ended = optax.apply_updates(params, change)["deep"][0].layers[0]
    expected = weight * np.minimum(1, limit / norms(weight, axes))
    assert (abs(expected - weight) > 1e-3).any()
    np.testing.assert_allclose(ended.weight, expected, rtol=1e-5, atol=1e-7)
    assert (ended.bias == layer.bias).all()


def test_a_weight_of_unknown_axes_is_refused_and_can_be_masked():
    class Unknown(eqx.Module):
        weight: jax.Array

    params = {"unknown": Unknown(jnp.ones((2, 3, 4))), "known": eqx.nn.Linear(2, 2, key=KEY)}
    params = eqx.filter(params, eqx.is_array)
    rule = updates.column_norm_limit(0.1)
    still = jax.tree.map(jnp.zeros_like, params)
    with pytest.raises(ValueError, match=r"does not know .*3 axes of a Unknown's weight"):
        rule.update(still, rule.init(params), params)
    masked = optax.masked(rule, {"unknown": False, "known": True})
    change, _ = masked.update(still, masked.init(params), params)
    assert not change["unknown"].weight.any()
    assert change["known"].weight.any()


@pytest.mark.parametrize("make", [updates.column_norm_limit, updates.kernel_norm_limit])
def test_each_limit_is_for_its_own_fields(make):
    array, change = jnp.ones((5, 3)), jnp.full((5, 3), 5.0)  # a maxout's bias has this shape too
    for name in {"bias", "weight", "kernel"} - {n for n, (m, *_) in LIMITS.items() if m is make}:
        assert (limit_update(make(0.1), array, change, name) == change).all()


def test_both_limits_together_hold_for_a_convolutional_player(key):
    rule = optax.chain(updates.column_norm_limit(0.1), updates.kernel_norm_limit(0.2))
    convolution = convolutions.MaxoutConv2d(
        key,
        (4, 4, 3),
        channels=3,
        pieces=2,
        kernel_size=3,
        padding=1,
        pool_size=2,
        pool_stride=2,
        weight_range=1.0,
        tied_bias=False,
    )
    params = eqx.filter(
        [convolution, layers.Maxout(key, 12, units=4, pieces=2, weight_range=1.0)],
        eqx.is_array,
    )
    params = jax.tree.map(lambda x: x + 1, params)
    still = jax.tree.map(jnp.zeros_like, params)
    update, _ = rule.update(still, rule.init(params), params)
    convolved, maxout = optax.apply_updates(params, update)
    np.testing.assert_allclose(norms(convolved.kernel, (0, 1, 2)), 0.2, rtol=1e-5)
    np.testing.assert_allclose(norms(maxout.weight, -1), 0.1, rtol=1e-5)
    assert (convolved.bias == 1).all()
    assert (maxout.bias == 1).all()


@given(seed=st.integers(0, 2**31), factor=st.floats(0.1, 1.0))
@settings(max_examples=20, deadline=None)
def test_parameters_end_shrunk(seed, factor):
    rng = np.random.default_rng(seed)
    shapes = {"weight": (2, 3), "bias": (2,)}
    params = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    gradient = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    rule = optax.chain(updates.momentum(0.1, 0.5), updates.shrink(factor))
    given_, slope = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), (params, gradient))
    state = rule.init(given_)
    velocity = dict.fromkeys(shapes, 0.0)
    for _ in range(3):
        update, state = rule.update(slope, state, given_)
        given_ = optax.apply_updates(given_, update)
        for name in shapes:
            velocity[name] = 0.5 * velocity[name] - 0.1 * gradient[name]
            params[name] = factor * (params[name] + velocity[name])
    for name in shapes:
        np.testing.assert_allclose(given_[name], params[name], rtol=1e-5, atol=1e-6)


def test_momentum_takes_numbers_and_schedules():
    for rate in (0.1, lambda count: 0.1):
        rule = updates.momentum(rate, 0.5)
        state = rule.init(jnp.zeros(2))
        for _ in range(3):
            change, state = rule.update(jnp.ones(2), state)
        np.testing.assert_allclose(change, -0.175, rtol=1e-6)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: updates.decayed_learning_rate(-0.1),
            "must be above 0 and finite; got -0.1",
        ),
        (lambda: updates.decayed_learning_rate(float("nan")), "finite; got nan"),
        (lambda: updates.decayed_learning_rate(0.1, divisor=0.9), "at least 1; got 0.9"),
        (lambda: updates.decayed_learning_rate(0.1, floor=-1.0), "at least 0; got -1.0"),
        (lambda: updates.decayed_learning_rate(0.1, stride=0), "at least 1; got 0"),
        (lambda: updates.decayed_learning_rate(float("inf")), "finite; got inf"),
        (lambda: updates.momentum_ramp(0), "at least 1 update; got 0"),
        (lambda: updates.momentum_ramp(5, initial=1.0), "below 1; got 1.0"),
        (lambda: updates.momentum_ramp(5, saturate=1), "must end after it starts"),
        (lambda: updates.shrink(1.5), "above 0 and at most 1; got 1.5"),
        (lambda: updates.shrink(0.0), "above 0 and at most 1; got 0.0"),
        (lambda: updates.Released(-0.1), "must be above 0 and finite; got -0.1"),
        (lambda: updates.Released(norm_limit=0.0), "norm's limit must be above 0; got 0.0"),
        (
            lambda: updates.column_norm_limit(0.0),
            "column norm's limit must be above 0; got 0.0",
        ),
        (
            lambda: updates.kernel_norm_limit(-1.0),
            "kernel norm's limit must be above 0; got -1.0",
        ),
    ],
)
def test_settings_out_of_range_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize("name", ["column_norm_limit", "kernel_norm_limit", "shrink"])
def test_what_acts_on_parameters_says_that_it_needs_them(name):
    rule = getattr(updates, name)(0.5)
    with pytest.raises(ValueError, match=f"{name} needs the parameters"):
        rule.update(jnp.ones((2, 2)), rule.init(jnp.ones((2, 2))))
