"""The recipes' players: shapes, starts and dropout as released; outputs against NumPy."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.recipes import CIFAR10
from scipy.special import expit

import advnets
from advnets import layers, networks, priors

TFD = functools.partial(
    networks.mlp_generator,
    latent_size=100,
    shape=(48, 48),
    hidden_sizes=(8000, 8000),
    activations=("relu", "sigmoid"),
    sigmoid_bias=-2.0,
    output_nonzero=100,
)


def shapes(build, *args, **settings_):
    """Of a player's arrays, without making them."""
    player = eqx.filter_eval_shape(functools.partial(build, **settings_), *args)
    arrays = eqx.filter(player, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))
    return [leaf.shape for leaf in jax.tree.leaves(arrays)]


def dense(layer, x):
    return np.asarray(layer.weight, np.float64) @ x + np.asarray(layer.bias, np.float64)


def test_the_tfd_and_cifar10_players_have_the_released_shapes(key):
    hidden = [(8000, 100), (8000,), (8000, 8000), (8000,)]
    tfd = [*hidden, (2304, 8000), (2304,)]
    assert shapes(TFD, key) == tfd
    stacked = shapes(lambda key: networks.stacked_generator(key, 100, TFD(key)), key)
    assert stacked == [(8000, 100), (8000,), (100, 8000), (100,), *tfd]
    connected = shapes(
        networks.mlp_generator, key, 100, (32, 32, 3), hidden_sizes=(8000, 8000), output="linear"
    )
    assert connected == [*hidden, (3072, 8000), (3072,)]
    convolutional = shapes(networks.deconvolutional_generator, key, 100, (32, 32, 3))
    assert convolutional == [*hidden, (5, 5, 3, 80), (32, 32, 3)]
    discriminator = shapes(
        networks.maxout_discriminator, key, (32, 32, 3), convolutions=CIFAR10, units=[500]
    )
    assert discriminator == [
        *[(8, 8, 3, 64), (64,), (8, 8, 32, 64), (64,), (5, 5, 32, 384), (384,)],
        *[(5, 500, 4800), (5, 500), (1, 500), (1,)],
    ]


@pytest.mark.parametrize("output", ["sigmoid", "linear"])
def test_a_dense_generator_is_its_layers_in_turn(key, output):
    generator = networks.mlp_generator(
        key,
        5,
        (2, 3),
        hidden_sizes=(7, 6, 4),
        activations=("relu", "sigmoid", "relu"),
        weight_range=1.0,
        sigmoid_bias=-2.0,
        output=output,
        output_range=3.0,
        output_bias=jnp.arange(6.0).reshape(2, 3),
    )
    first, second, third, last = (x for x in generator.layers if isinstance(x, eqx.nn.Linear))
    assert [set(layer.bias.tolist()) for layer in (first, second, third)] == [{0}, {-2}, {0}]
    assert last.bias.tolist() == [0, 1, 2, 3, 4, 5]
    assert abs(third.weight).max() <= 1 < abs(last.weight).max() <= 3
    z = np.linspace(-1, 1, 5)
    hidden = np.maximum(dense(third, expit(dense(second, np.maximum(dense(first, z), 0)))), 0)
    expected = dense(last, hidden).reshape(2, 3)
    if output == "sigmoid":
        expected = expit(expected)
    np.testing.assert_allclose(generator(jnp.asarray(z, jnp.float32)), expected, rtol=1e-5)


def test_a_generators_output_may_start_sparse(key):
    generator = networks.mlp_generator(key, 5, (2, 3), hidden_sizes=(7,), output_nonzero=4)
    assert ((generator.layers[2].weight != 0).sum(axis=1) == 4).all()


def test_layers_draw_their_weights_from_keys_of_their_own_in_order(key):
    """What recorded runs started from must not change."""
    keys = jax.random.split(key, 3)
    generator = networks.mlp_generator(key, 5, (2, 3), hidden_sizes=(7, 4), weight_range=0.1)
    for layer, layer_key in zip(generator.layers[:5:2], keys, strict=True):
        expected = jax.random.uniform(layer_key, layer.weight.shape, minval=-0.1, maxval=0.1)
        assert (layer.weight == expected).all()
    discriminator = networks.maxout_discriminator(key, (2, 3), units=(7, 4), weight_range=0.1)
    for layer, layer_key in zip(discriminator.layers[2:7:2], keys, strict=True):
        expected = jax.random.uniform(layer_key, layer.weight.shape, minval=-0.1, maxval=0.1)
        assert (layer.weight == expected).all()


def test_the_deconvolution_paints_from_the_last_hidden_layer(key):
    generator = networks.deconvolutional_generator(
        key, 5, (7, 9, 2), hidden_sizes=(6, 24), channels=4, kernel_size=5, stride=2
    )
    first, _, second, _, _, deconvolution = generator.layers
    z = np.linspace(-1, 1, 5)
    hidden = expit(dense(second, np.maximum(dense(first, z), 0))).reshape(2, 3, 4)
    expected = np.zeros((7, 9, 2))
    for r, c, i in np.ndindex(2, 3, 4):
        patch = np.asarray(deconvolution.kernel[..., i], np.float64)
        expected[2 * r : 2 * r + 5, 2 * c : 2 * c + 5] += hidden[r, c, i] * patch
    np.testing.assert_allclose(
        generator(jnp.asarray(z, jnp.float32)), expected, rtol=1e-5, atol=1e-6
    )
    assert not deconvolution.bias.any()


def test_the_second_stage_puts_layers_below_which_train_with_all_others(key):
    top_key, key = jax.random.split(key)
    top = networks.mlp_generator(top_key, 4, (2, 3), hidden_sizes=(7,), weight_range=1.0)
    stacked = networks.stacked_generator(key, 5, top, hidden_size=8, weight_range=1.0)
    z = np.linspace(-1, 1, 5)
    first, second = stacked.layers[0], stacked.layers[2]
    assert set(second.bias.tolist()) == {-2}
    latent = expit(dense(second, np.maximum(dense(first, z), 0)))
    z = jnp.asarray(z, jnp.float32)
    expected = top(jnp.asarray(latent, jnp.float32))
    np.testing.assert_allclose(stacked(z), expected, rtol=1e-5)
    gradient = eqx.filter_grad(lambda generator: (generator(z) ** 2).sum())(stacked)
    leaves = jax.tree.leaves(gradient)
    assert len(leaves) == 8
    assert all(leaf.any() for leaf in leaves)


def test_a_leaky_discriminator_is_its_layers_in_turn(key):
    player = networks.leaky_discriminator(key, (2, 3), units=[5, 4])
    first, second, last = (one for one in player.layers if isinstance(one, eqx.nn.Linear))
    for one, inputs in ((first, 6), (second, 5), (last, 4)):
        assert 0 < abs(one.weight).max() <= (6 / inputs) ** 0.5
        assert not one.bias.any()
    x = np.linspace(-1, 1, 6).reshape(2, 3)
    hidden = dense(first, x.ravel())
    hidden = dense(second, np.where(hidden > 0, hidden, 0.01 * hidden))
    expected = dense(last, np.where(hidden > 0, hidden, 0.01 * hidden))
    np.testing.assert_allclose(player(jnp.asarray(x, jnp.float32)), expected[0], rtol=1e-5)
    dropping = networks.leaky_discriminator(key, (6,), units=[5], input_keep=0.9, hidden_keep=0.7)
    keeps = [one.keep for one in dropping.layers if isinstance(one, layers.Dropout)]
    assert keeps == [0.9, 0.7]


def test_a_leaky_discriminator_may_begin_with_convolutions(key):
    player = networks.leaky_discriminator(
        key, (8, 6, 3), channels=[4, 5], units=[7], input_keep=0.9, hidden_keep=0.7
    )
    names = [type(one).__name__ for one in player.layers]
    block = ["Dropout", "Convolution", "Lambda"]
    assert names == [
        *(block * 2 + ["Reshape", "Dropout", "Linear", "Lambda", "Dropout", "Linear", "Reshape"])
    ]
    found = [one for one in player.layers if type(one).__name__ == "Convolution"]
    assert [one.out_shape for one in found] == [(4, 3, 4), (2, 1, 5)]
    for one, inputs in zip(found, (3, 4), strict=True):
        assert 0.9 < abs(one.kernel).max() / (6 / (16 * inputs)) ** 0.5 <= 1
    assert [one.keep for one in player.layers if isinstance(one, layers.Dropout)] == [
        *[0.9, 0.7, 0.7, 0.7]
    ]
    assert player(jnp.ones((8, 6, 3))).shape == ()


def test_a_convolutional_generator_doubles_images(key):
    bias = jnp.linspace(-2.0, 2.0, 16 * 24 * 3).reshape(16, 24, 3)
    player = networks.convolutional_generator(
        key, 4, (16, 24, 3), channels=(8, 6), output_bias=bias
    )
    doubled = [one for one in player.layers if hasattr(one, "out_shape")]
    assert [one.out_shape for one in doubled] == [(8, 12, 6), (16, 24, 3)]
    for one, inputs in zip(doubled, (8, 6), strict=True):
        assert 0.9 < abs(one.kernel).max() / (6 / (9 * inputs)) ** 0.5 <= 1
    assert 0.9 < abs(player.layers[0].weight).max() / (6 / 4) ** 0.5 <= 1
    flat = eqx.tree_at(lambda one: one.layers[0].weight, player, replace_fn=jnp.zeros_like)
    np.testing.assert_allclose(flat(jnp.ones(4)), jax.nn.sigmoid(bias), rtol=1e-6)
    linear = networks.convolutional_generator(key, 4, (2, 4, 1), channels=(2,), output="linear")
    assert linear(jnp.ones(4)).shape == (2, 4, 1)
    assert not isinstance(linear.layers[-1], eqx.nn.Lambda)


def test_dropout_is_milder_at_the_input_than_later(key):
    def keeps(**settings_):
        player = eqx.filter_eval_shape(
            lambda key: networks.maxout_discriminator(key, (32, 32, 3), **settings_), key
        )
        return [
            layer.keep if isinstance(layer, layers.Dropout) else type(layer).__name__
            for layer in player.layers
        ]

    convolution = [0.5, "MaxoutConv2d"]
    end = [0.5, "Linear", "Reshape"]
    assert keeps(convolutions=CIFAR10, units=[500]) == [
        *[0.8, "MaxoutConv2d", *convolution, *convolution, "Reshape", 0.5, "Maxout", *end]
    ]
    assert keeps(units=[5, 4]) == ["Reshape", 0.8, "Maxout", 0.5, "Maxout", *end]
    assert keeps(units=[]) == ["Reshape", 0.8, "Linear", "Reshape"]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda key: networks.mlp_generator(key, 2, (3,), activations=["relu"]),
            "one activation for each hidden layer; got 1 for 2 layers",
        ),
        (
            lambda key: networks.mlp_generator(key, 2, (3,), output_range=0.1, output_nonzero=2),
            "either uniform or sparse; got output_range=0.1 and output_nonzero=2",
        ),
        (
            lambda key: networks.deconvolutional_generator(key, 2, (48, 48)),
            r"\(height, width, channels\); got \(48, 48\)",
        ),
        (
            lambda key: networks.deconvolutional_generator(key, 2, (32, 31, 3)),
            "kernel_size=5 and stride=3 gives 32 by 31 pixels",
        ),
        (
            lambda key: networks.deconvolutional_generator(key, 2, (2, 2, 3)),
            "kernel_size=5 and stride=3 gives 2 by 2 pixels",
        ),
        (
            lambda key: networks.deconvolutional_generator(
                key, 2, (32, 32, 3), hidden_sizes=(8, 80), channels=8
            ),
            r"must have 800 units, 10 by 10 in 8 channels.*got hidden_sizes=\(8, 80\)",
        ),
        (
            lambda key: networks.convolutional_generator(key, 2, (28, 28)),
            r"\(height, width, channels\); got \(28, 28\)",
        ),
        (
            lambda key: networks.convolutional_generator(key, 2, (28, 28, 1)),
            "3 doublings make sizes that are multiples of 8; got 28 by 28 pixels",
        ),
        (
            lambda key: networks.convolutional_generator(key, 2, (32, 32, 1), channels=()),
            "at least one entry in channels",
        ),
        (
            lambda key: networks.stacked_generator(
                key, 2, eqx.nn.Sequential([eqx.nn.Lambda(jnp.sin)])
            ),
            "begin with an eqx.nn.Linear; got Lambda",
        ),
        (
            lambda key: networks.maxout_discriminator(key, (28, 28), convolutions=CIFAR10),
            r"\(height, width, channels\); got \(28, 28\)",
        ),
    ],
)
def test_players_that_do_not_fit_are_refused(key, build, message):
    with pytest.raises(ValueError, match=message):
        build(key)


@pytest.mark.long
def test_the_mnist_players_have_the_released_shapes(key):
    generator = networks.mlp_generator(key, 100, (28, 28))
    discriminator = networks.maxout_discriminator(key, (28, 28))
    shapes = [leaf.shape for leaf in jax.tree.leaves(eqx.filter(generator, eqx.is_array))]
    assert shapes == [(1200, 100), (1200,), (1200, 1200), (1200,), (784, 1200), (784,)]
    shapes = [leaf.shape for leaf in jax.tree.leaves(eqx.filter(discriminator, eqx.is_array))]
    assert shapes == [(5, 240, 784), (5, 240), (5, 240, 240), (5, 240), (1, 240), (1,)]
    ranges = [
        float(abs(leaf).max())
        for player in (generator, discriminator)
        for leaf in jax.tree.leaves(eqx.filter(player, eqx.is_array))
        if leaf.any() and leaf.shape != (1,)
    ]
    np.testing.assert_allclose(ranges, [0.05] * 3 + [0.005] * 3, rtol=0.02)


def test_a_generator_starts_at_its_output_bias(key):
    bias = jnp.linspace(-2.0, 2.0, 6).reshape(2, 3)
    generator = networks.mlp_generator(
        key, 4, (2, 3), hidden_sizes=[5], weight_range=0.0, output_bias=bias
    )
    np.testing.assert_allclose(generator(jnp.ones(4)), jax.nn.sigmoid(bias), rtol=1e-6)


@pytest.mark.parametrize("noise", [layers.Dropout(0.5), layers.GaussianNoise(1.0)])
def test_noise_inside_the_generator_is_on_when_sampling(key, noise):
    class Fixed(priors.Prior):
        size: int = 4

        def __call__(self, key, n):
            return jnp.ones((n, 4))

    inner = list(networks.mlp_generator(key, 4, (3,), hidden_sizes=[16], weight_range=1.0).layers)
    generator = eqx.nn.Sequential([*inner[:2], noise, *inner[2:]])
    samples = advnets.Model(generator, Fixed()).sample(key, 50)
    assert len(np.unique(samples[:, 0])) > 40
