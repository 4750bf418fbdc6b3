"""The contractive autoencoder: costs against NumPy, Jacobians against JAX's own, the walk."""

import functools
import re
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import numeric
from scipy.special import expit

from advnets import chains, players
from advnets.baselines import cae

DOCS = Path(__file__).parents[2] / "docs"

SHAPE = (2, 3)


def drawn(rng, inputs, units):
    """A layer whose biases are not 0 either."""
    sizes = ((inputs, units), (units,), (inputs,))
    return cae.Layer(*(jnp.asarray(rng.normal(size=size), jnp.float32) for size in sizes))


@pytest.fixture(scope="module")
def stack():
    """6 pixels, 5 units, 4 units, none of them at rest; the lower layer frozen."""
    rng = np.random.default_rng(0)
    layers = (jax.tree.map(players.Frozen, drawn(rng, 6, 5)), drawn(rng, 5, 4))
    return cae.Stack(layers, SHAPE)


@pytest.fixture(scope="module")
def images():
    return jnp.asarray(np.random.default_rng(1).uniform(size=(7, *SHAPE)), jnp.float32)


def cost_in_numpy(x, weight, bias, input_bias, contraction):
    """The cost as it is written, an example at a time, its Jacobian entry by entry."""
    found = []
    for row in x:
        h = expit(row @ weight + bias)
        y = expit(h @ weight.T + input_bias)
        cross_entropy = -np.sum(row * np.log(y) + (1 - row) * np.log(1 - y))
        jacobian = (h * (1 - h))[:, None] * weight.T
        found.append(cross_entropy + contraction * np.sum(jacobian**2))
    return np.mean(found)


def codes_in_numpy(stack, images):
    below = stack.below[0]
    flat = np.asarray(images, np.float64).reshape(len(images), -1)
    return expit(flat @ np.asarray(below.weight, np.float64) + np.asarray(below.bias))


def jacobians(layer, x):
    return jax.vmap(jax.jacrev(lambda row: layer.encode(row[None])[0]))(x)


def test_the_contraction_is_the_squared_norm_of_the_jacobian(stack, images):
    x = stack.inputs(images)
    expected = (np.asarray(jacobians(stack.top, x), np.float64) ** 2).sum(axis=(1, 2))
    np.testing.assert_allclose(stack.top.contraction(stack.top.encode(x)), expected, rtol=1e-5)


def test_noise_is_spread_by_j_times_its_transpose(stack, images, key):
    x = stack.inputs(images)
    noise = jax.random.normal(key, (len(x), 4))
    jacobian = np.asarray(jacobians(stack.top, x), np.float64)
    expected = np.einsum("bji,bki,bk->bj", jacobian, jacobian, np.asarray(noise, np.float64))
    found = stack.top.spread(stack.top.encode(x), noise)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_step_of_the_walk_is_the_written_one(stack, images, key):
    walk = cae.Walk(stack, scale=3.0)
    state = walk.start(key, images)
    np.testing.assert_allclose(state, codes_in_numpy(stack, images), rtol=1e-5)
    weight, bias, input_bias = numeric.float64(jax.tree.leaves(stack.top))
    u = np.asarray(state, np.float64)
    h = expit(u @ weight + bias)
    jacobian = (h * (1 - h))[:, :, None] * weight.T
    noise = 3 * np.asarray(jax.random.normal(key, h.shape), np.float64)
    h += np.einsum("bji,bki,bk->bj", jacobian, jacobian, noise)
    assert h.min() < 0 < 1 < h.max()  # it is not clipped
    after = walk.step(key, state)
    expected = expit(h @ weight.T + input_bias)
    np.testing.assert_allclose(after, expected, rtol=1e-4, atol=1e-6)
    below = numeric.float64(jax.tree.leaves(stack.below[0]))
    pixels = expit(expected @ below[0].T + below[2]).reshape(7, *SHAPE)
    np.testing.assert_allclose(walk.means(after), pixels, rtol=1e-4, atol=1e-6)


def test_a_walk_on_one_layer_is_in_the_pixels(stack, images, key):
    walk = cae.Walk(cae.Stack(stack.below, SHAPE), scale=1.0)
    state = walk.start(key, images)
    assert (state == images.reshape(7, 6)).all()
    assert (walk.means(state) == images).all()


@pytest.mark.parametrize("weight", [0.0, 2.5])
def test_cost_and_gradient_are_those_of_the_upper_layer_on_the_lower_one_s_codes(
    stack, images, key, weight
):
    trained, _, rest = players.partition(stack)

    @eqx.filter_value_and_grad
    def of_trained(trained):
        return cae.Cost(weight)(key, eqx.combine(trained, rest), None, images)[0]

    value, gradient = of_trained(trained)
    arrays = numeric.float64(jax.tree.leaves(stack.top))
    x = codes_in_numpy(stack, images)
    np.testing.assert_allclose(value, cost_in_numpy(x, *arrays, weight), rtol=1e-5)
    expected = numeric.gradient(lambda *arrays: cost_in_numpy(x, *arrays, weight), arrays)
    leaves = jax.tree.leaves(gradient)
    assert len(leaves) == 3  # the lower layer has none
    for got, wanted in zip(leaves, expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


def test_reconstructions_go_through_all_layers(stack, images):
    (w1, b1, c1), (w2, b2, c2) = (
        numeric.float64(jax.tree.leaves(layer)) for layer in (stack.below[0], stack.top)
    )
    x = np.asarray(images, np.float64).reshape(7, 6)
    h = expit(expit(x @ w1 + b1) @ w2 + b2)
    y = expit(expit(h @ w2.T + c2) @ w1.T + c1)
    np.testing.assert_allclose(stack.reconstruct(images).reshape(7, 6), y, rtol=1e-4)
    expected = -np.sum(x * np.log(y) + (1 - x) * np.log(1 - y), axis=1)
    np.testing.assert_allclose(stack.cross_entropies(images), expected, rtol=1e-5)


def test_the_cost_s_terms_are_told_apart(stack, images, key):
    cost, memory, seen = cae.Cost(2.5)(key, stack, "kept", images)
    assert memory == "kept"
    np.testing.assert_allclose(cost, seen["cross_entropy"] + 2.5 * seen["contraction"], rtol=1e-6)
    _, _, plain = cae.Cost(0.0)(key, stack, None, images)
    assert plain == seen


def test_a_chain_in_two_walks_continues_bit_for_bit(stack, images, key):
    walk = cae.Walk(stack, scale=3.0)
    on = jax.jit(functools.partial(chains.walk, key, walk), static_argnames="samples")
    start = walk.start(key, images)
    end, pictures = on(start, first=0, samples=6)
    middle, first = on(start, first=0, samples=3)
    again, second = on(middle, first=3, samples=3)
    assert (again == end).all()
    assert (jnp.concatenate([first, second]) == pictures).all()
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    assert len(np.unique(pictures[:, 0], axis=0)) == 6


def test_a_grown_stack_trains_its_new_layer_alone(key):
    lower = cae.new_stack(key, SHAPE, 5)
    grown = cae.grow(key, lower, 4)
    trained, _, _ = players.partition(grown)
    assert [x.shape for x in jax.tree.leaves(trained)] == [(5, 4), (4,), (5,)]
    assert (grown.below[0].weight == lower.top.weight).all()
    third = cae.grow(key, grown, 3)  # of layers that are frozen already
    assert [x.shape for x in jax.tree.leaves(players.partition(third)[0])] == [(4, 3), (3,), (4,)]
    assert third.reconstruct(jnp.zeros((2, *SHAPE))).shape == (2, *SHAPE)


def test_weights_start_in_their_range_and_biases_at_0(key):
    layer = cae.new_layer(key, 30, 20)
    assert 0.9 * 0.12**0.5 < abs(layer.weight).max() <= 0.12**0.5
    assert not layer.bias.any()
    assert not layer.input_bias.any()


@pytest.mark.long
def test_the_page_s_code_runs():
    page = (DOCS / "systems" / "cae.md").read_text("utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    exec(code, found := {})
    assert found["samples"].shape == (10, 5, 8, 8)


def test_chains_farther_off_than_real_images_are_lost():
    training = np.eye(4, dtype=np.float32)
    held_out = training[:2] * 0.8  # 0.2 from its nearest
    pictures = np.float32([[1, 0, 0, 0.19], [1, 0, 0, 0.21], [0.5, 0.5, 0.5, 0.5], [0, 1, 0, 0]])
    assert cae.lost(pictures, training, held_out) == 2


def test_chains_with_less_ink_than_any_image_have_faded():
    training = np.float32([[1, 0, 0, 0.5], [1, 1, 1, 1]])
    pictures = np.float32([[0.4, 0.4, 0.4, 0.4], [0.4, 0.3, 0.3, 0.4], [0, 0, 0, 0], [1, 1, 0, 0]])
    assert cae.faded(pictures, training) == 2


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: cae.Cost(-1.0), "at least 0 and finite; got -1.0"),
        (lambda: cae.Cost(float("nan")), "at least 0 and finite; got nan"),
        (lambda: cae.new_stack(jax.random.key(0), (2, 3), 0), "6 inputs and 0 units"),
        (lambda: cae.Stack((), (2, 3)), "at least one layer; got none"),
        (
            lambda: cae.Stack((cae.new_layer(jax.random.key(0), 5, 4),), (2, 3)),
            "layer 1 must take the 6 numbers below it; it takes 5",
        ),
        (
            lambda: cae.Stack((cae.new_layer(jax.random.key(0), 6, 4),) * 2, (2, 3)),
            "layer 2 must take the 4 numbers below it; it takes 6",
        ),
        (
            lambda: cae.Walk(cae.new_stack(jax.random.key(0), (2, 3), 4), scale=0.0),
            "above 0 and finite; got 0.0",
        ),
        (
            lambda: cae.lost(np.full((1, 2), 255.0), np.zeros((1, 2)), np.zeros((1, 2))),
            r"pictures must have pixels in \[0, 1\].*255",
        ),
        (
            lambda: cae.lost(np.zeros((1, 2)), np.full((1, 2), np.nan), np.zeros((1, 2))),
            r"training images must have pixels in \[0, 1\]",
        ),
        (
            lambda: cae.lost(np.zeros((1, 2)), np.zeros((1, 2)), np.zeros((0, 2))),
            r"held-out images must hold at least one image with pixels; got \(0, 2\)",
        ),
    ],
)
def test_what_does_not_fit_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
