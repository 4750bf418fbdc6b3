"""Layers and initialisers: values against NumPy, distributions under a fixed key."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from advnets import game, layers, networks, players, priors, updates


@pytest.mark.parametrize(
    ("units", "pieces", "inputs"), [(1, 1, 1), (8, 6, 9), (3, 1, 5), (1, 4, 2)]
)
def test_maxout_is_the_largest_piece_of_each_unit(key, units, pieces, inputs):
    rng = np.random.default_rng(0)
    layer = layers.Maxout(key, inputs, units=units, pieces=pieces, weight_range=1.0)
    bias = rng.normal(size=(pieces, units)).astype(np.float32)
    layer = eqx.tree_at(lambda m: m.bias, layer, jnp.asarray(bias))
    xs = rng.normal(size=(20, inputs)).astype(np.float32)
    weight = np.asarray(layer.weight, np.float64)
    expected = [
        [
            max(weight[p, u] @ x + np.float64(bias[p, u]) for p in range(pieces))
            for u in range(units)
        ]
        for x in xs.astype(np.float64)
    ]
    found = jax.jit(jax.vmap(layer))(jnp.asarray(xs))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_maxout_starts_with_zero_biases_and_weights_in_range(key):
    layer = layers.Maxout(key, 50, units=40, pieces=5, weight_range=0.005)
    assert not layer.bias.any()
    uniform = scipy.stats.uniform(-0.005, 0.01)
    assert scipy.stats.kstest(np.asarray(layer.weight).ravel(), uniform.cdf).pvalue > 0.01


@pytest.mark.parametrize("keep", [0.5, 0.8])
def test_dropout_keeps_the_mean_and_scales_what_it_keeps(key, keep):
    n = 100_000
    out = np.asarray(layers.Dropout(keep)(jnp.ones(n), key=key))
    assert set(np.unique(out)) == {0.0, np.float32(1 / keep)}
    standard_error = np.sqrt((1 - keep) / keep / n)
    assert abs(out.mean() - 1) < 4 * standard_error


def test_dropout_and_noise_are_the_identity_without_a_key():
    x = jnp.arange(5.0)
    for layer in (layers.Dropout(0.5), layers.GaussianNoise(1.0)):
        assert (layer(x) == x).all()
        assert (layer(x, key=jax.random.key(0)) != x).any()


def test_noise_has_its_scale(key):
    noise = np.asarray(layers.GaussianNoise(0.3)(jnp.zeros(20_000), key=key))
    assert scipy.stats.kstest(noise, scipy.stats.norm(scale=0.3).cdf).pvalue > 0.01


def test_linear_is_equinox_with_another_start(key):
    layer = layers.linear(key, 30, 20, 0.05, bias=-2.0)
    assert isinstance(layer, eqx.nn.Linear)
    assert layer.weight.shape == (20, 30)
    assert (layer.bias == -2).all()
    assert abs(layer.weight).max() <= 0.05
    x = jax.random.normal(key, (30,))
    np.testing.assert_allclose(
        layer(x), np.asarray(layer.weight, np.float64) @ np.asarray(x) - 2, rtol=1e-5
    )


@pytest.mark.parametrize(
    ("outputs", "inputs", "nonzero"), [(1, 1, 1), (5, 9, 9), (4, 7, 1), (3, 200, 100)]
)
def test_sparse_weights_have_as_many_inputs_as_asked(key, outputs, inputs, nonzero):
    weights = layers.sparse_normal(key, (outputs, inputs), nonzero)
    assert weights.shape == (outputs, inputs)
    assert ((weights != 0).sum(axis=1) == nonzero).all()


def test_sparse_weights_have_the_released_recipe_s_number_of_inputs(key):
    assert ((layers.sparse_normal(key, (3, 150)) != 0).sum(axis=1) == 100).all()
    assert ((layers.sparse_linear(key, 150, 3).weight != 0).sum(axis=1) == 100).all()


def test_sparse_weights_are_normal_at_places_of_their_own(key):
    outputs, inputs, nonzero = 2000, 50, 10
    weights = np.asarray(layers.sparse_normal(key, (outputs, inputs), nonzero))
    drawn = weights != 0
    assert scipy.stats.kstest(weights[drawn], scipy.stats.norm().cdf).pvalue > 0.01
    # How often each input is drawn: a Bernoulli variable of mean nonzero / inputs in each row,
    # less the one degree of freedom that a row's fixed sum takes.
    rate = nonzero / inputs
    squares = (drawn.sum(0) - outputs * rate) ** 2 / (outputs * rate * (1 - rate))
    statistic = squares.sum() * (inputs - 1) / inputs
    assert 0.01 < scipy.stats.chi2(inputs - 1).cdf(statistic) < 0.99
    # Rows share inputs as often as independent rows do.
    shared = (drawn[:-1] & drawn[1:]).sum(1)
    expected = scipy.stats.hypergeom(inputs, nonzero, nonzero)
    assert abs(shared.mean() - expected.mean()) < 4 * expected.std() / np.sqrt(len(shared))
    # Values do not depend on places.
    places = np.nonzero(drawn)[1]
    assert scipy.stats.kruskal(*(weights[drawn][places == i] for i in range(inputs))).pvalue > 0.01


def test_a_sparse_linear_layer_is_equinox_with_sparse_weights(key):
    bias = jnp.linspace(-1.0, 1.0, 20)
    layer = layers.sparse_linear(key, 30, 20, nonzero=4, bias=bias)
    assert isinstance(layer, eqx.nn.Linear)
    assert (layer.weight == layers.sparse_normal(key, (20, 30), 4)).all()
    assert (layer(jnp.zeros(30)) == bias).all()


@pytest.mark.parametrize("nonzero", [0, 31])
def test_sparse_weights_need_inputs_to_draw(key, nonzero):
    with pytest.raises(ValueError, match=f"from 1 to its 30 inputs; got {nonzero}"):
        layers.sparse_normal(key, (20, 30), nonzero)


def test_marginal_bias_inverts_the_sigmoid_of_the_mean_image():
    images = np.array([[0, 255, 51, 0], [0, 255, 102, 255]], np.uint8)
    bias = np.asarray(layers.marginal_bias(images), np.float64)
    expected = np.array([1e-7, 1 - 1e-7, 0.3, 0.5])
    np.testing.assert_allclose(bias, np.log(expected / (1 - expected)), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(layers.marginal_bias(images / 255), bias, rtol=1e-6, atol=1e-6)


def test_marginal_bias_refuses_pixels_outside_the_unit_interval():
    for images in ([[17.0], [17.0]], [[-1.0], [2.0]], [[np.nan], [0.5]]):
        with pytest.raises(ValueError, match=r"pixels in \[0, 1\]"):
            layers.marginal_bias(np.array(images))


def test_whole_numbers_are_numbers_too(key):
    assert (layers.Dropout(1)(jnp.ones(3), key=key) == 1).all()
    assert layers.linear(key, 2, 3, 1, bias=0).weight.shape == (3, 2)
    assert game.BlendedCost(minimax=1, non_saturating=0)(jnp.zeros(2)) < 0
    updates.released_updates(1, 5, norm_limit=2)


def lifted(gradient, target=1.0):
    """A gradient at a minibatch, as a GradientFloor passes it on."""
    x = jnp.zeros_like(gradient)
    pull_back = jax.vjp(jax.vmap(layers.GradientFloor(target), axis_name=layers.MINIBATCH), x)[1]
    return pull_back(gradient)[0]


@pytest.mark.parametrize("scale", [1e-34, 1e-25, 1e-19, 1e-10, 1.0, 1e19, 1e30])
def test_the_floor_is_the_same_at_every_scale_of_float32(key, scale):
    direction = np.asarray(jax.random.normal(key, (6, 3)), np.float64)
    direction *= 0.5 / np.linalg.norm(direction)
    found = np.asarray(lifted(jnp.asarray(scale * direction, jnp.float32)), np.float64)
    np.testing.assert_allclose(found, max(2, scale) * direction, rtol=1e-5)


def test_the_floor_holds_in_half_precision():
    found = lifted(jnp.full((100, 784), 1e-4, jnp.float16), 0.1)
    assert found.dtype == jnp.float16
    np.testing.assert_allclose(np.asarray(found, np.float64), 0.1 / 280, rtol=2e-3)


def test_the_floor_can_be_differentiated_again(key):
    with jax.enable_x64(True):
        at, way = (jnp.asarray(jax.random.normal(k, (4, 2))) for k in jax.random.split(key))
        at = at * 0.3 / jnp.linalg.norm(at)
        turned = jax.vjp(lifted, at)[1](way)[0]
        by_hand = (way - at * jnp.sum(at * way) / jnp.sum(at**2)) / jnp.linalg.norm(at)
        np.testing.assert_allclose(turned, by_hand, rtol=1e-12)
        assert not np.isnan(jax.vjp(lifted, 0 * at)[1](way)[0]).any()


@pytest.mark.parametrize("target", [1e-6, 0.1, 50.0])
def test_the_floor_lifts_the_whole_gradient_and_never_shortens_it(key, target):
    generator = networks.mlp_generator(key, 2, (3,), hidden_sizes=[4], weight_range=1.0)
    z = priors.Uniform(2)(key, 6)
    direction = jax.random.normal(key, (6, 3))
    lifted = eqx.nn.Sequential([generator, layers.GradientFloor(target)])

    def gradient(generator):
        def cost(generator):
            examples = jax.vmap(generator, axis_name=layers.MINIBATCH)(z)
            return jnp.sum(direction * examples)  # whose gradient at the examples is `direction`

        return jax.tree.leaves(eqx.filter_jit(eqx.filter_grad(cost))(generator))

    norm = np.linalg.norm(np.asarray(direction, np.float64))
    assert 0.1 < norm < 50
    for got, plain in zip(gradient(lifted), gradient(generator), strict=True):
        expected = np.asarray(plain, np.float64) * max(1, target / norm)
        assert np.linalg.norm(got - expected) <= 1e-5 * np.linalg.norm(expected)


def test_a_gradient_of_zero_has_no_floor():
    def cost(x):
        return jnp.sum(0 * jax.vmap(layers.GradientFloor(1.0), axis_name=layers.MINIBATCH)(x))

    assert not jax.grad(cost)(jnp.ones((6, 3))).any()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: layers.Dropout(0.0), "above 0 and at most 1; got 0.0"),
        (lambda: layers.Dropout(-0.1), "above 0 and at most 1; got -0.1"),
        (lambda: layers.Dropout(1.5), "above 0 and at most 1; got 1.5"),
        (lambda: layers.GaussianNoise(-1.0), "at least 0 and finite; got -1"),
        (lambda: layers.GaussianNoise(np.inf), "at least 0 and finite; got inf"),
        (lambda: layers.GradientFloor(0.0), "must be above 0 and finite; got 0.0"),
        (lambda: layers.Labelled(eqx.nn.Identity(), 0), "at least 1 class; got 0"),
        (
            lambda: layers.linear(jax.random.key(0), 2, 3, -1.0),
            "at least 0 and finite in float32; got -1.0",
        ),
        (lambda: layers.linear(jax.random.key(0), 2, 3, 2e38), "finite in float32; got 2e"),
        (lambda: layers.linear(jax.random.key(0), 0, 3, 0.1), r"below 2\*\*31; got \(3, 0\)"),
        (lambda: layers.linear(jax.random.key(0), 2, 2**31, 0.1), r"got \(2147483648, 2\)"),
    ],
)
def test_settings_out_of_range_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    "module",
    [
        *(layers.Dropout(0.5), layers.GaussianNoise(1.0), layers.GradientFloor(1.0)),
        *(layers.Labelled(eqx.nn.Identity(), 2), priors.Uniform(2), priors.Normal(2)),
        *(priors.Spherical(2), game.BlendedCost(), game.ThresholdedCost()),
        game.LazyDiscriminatorCost(),
    ],
    ids=lambda module: type(module).__name__,
)
def test_settings_are_no_parameters(module):
    assert not [leaf for leaf in jax.tree.leaves(module) if not callable(leaf)]


def test_a_label_joins_the_input_as_a_one_hot_vector(key):
    inner = eqx.nn.Linear(6 + 3, 2, key=key)
    x = jax.random.normal(key, (2, 3))
    found = layers.Labelled(inner, 3)(x, jnp.array(1))
    weight, bias = (np.asarray(a, np.float64) for a in (inner.weight, inner.bias))
    expected = weight @ np.concatenate([np.asarray(x).ravel(), [0, 1, 0]]) + bias
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_labelled_player_passes_its_key_on(key):
    noisy = layers.Labelled(layers.GaussianNoise(1.0), 2)
    without = noisy(jnp.zeros(3), jnp.array(1))
    assert without.tolist() == [0, 0, 0, 0, 1]
    assert (noisy(jnp.zeros(3), jnp.array(1), key=key) != without).all()


def test_minibatch_deviation_is_that_of_numpy_and_has_a_slope_where_there_is_none():
    x = np.random.default_rng(0).normal(2, 3, (7, 4)).astype(np.float32)

    @jax.jit
    def seen(x):
        return players.apply(layers.MinibatchDeviation(), None, x)[0]

    found = np.asarray(seen(jnp.asarray(x)))
    np.testing.assert_array_equal(found[:, :-1], x)
    np.testing.assert_allclose(found[:, -1], x.astype(np.float64).std(axis=0).mean(), rtol=1e-5)
    for kind in (jnp.float32, jnp.float16, jnp.bfloat16):
        slopes = jax.grad(lambda x: seen(x)[0, -1])(jnp.ones((7, 4), kind))  # all examples alike
        assert slopes.dtype == kind
        assert not slopes.any()
