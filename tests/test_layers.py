"""Layers, initialisers and priors: values against NumPy, distributions under a fixed key."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

import advnets


@given(
    units=st.integers(1, 8), pieces=st.integers(1, 6), inputs=st.integers(1, 9), seed=st.integers(0)
)
@settings(max_examples=20, deadline=None)
def test_maxout_is_the_largest_piece_of_each_unit(units, pieces, inputs, seed):
    rng = np.random.default_rng(seed)
    layer = advnets.Maxout(jax.random.key(0), inputs, units=units, pieces=pieces, weight_range=1.0)
    layer = eqx.tree_at(
        lambda m: m.bias, layer, jnp.asarray(rng.normal(size=(pieces, units)), jnp.float32)
    )
    x = rng.normal(size=inputs)
    expected = [
        max(
            float(np.dot(np.asarray(layer.weight[p, u], np.float64), x) + layer.bias[p, u])
            for p in range(pieces)
        )
        for u in range(units)
    ]
    got = layer(jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_maxout_starts_with_zero_biases_and_weights_in_range(key):
    layer = advnets.Maxout(key, 50, units=40, pieces=5, weight_range=0.005)
    assert not layer.bias.any()
    uniform = scipy.stats.uniform(-0.005, 0.01)
    assert scipy.stats.kstest(np.asarray(layer.weight).ravel(), uniform.cdf).pvalue > 0.01


@pytest.mark.parametrize("keep", [0.5, 0.8])
def test_dropout_keeps_the_mean_and_scales_what_it_keeps(key, keep):
    n = 100_000
    out = np.asarray(advnets.Dropout(keep)(jnp.ones(n), key=key))
    assert set(np.unique(out)) == {0.0, np.float32(1 / keep)}
    standard_error = np.sqrt((1 - keep) / keep / n)
    assert abs(out.mean() - 1) < 4 * standard_error


def test_dropout_and_noise_are_the_identity_without_a_key():
    x = jnp.arange(5.0)
    for layer in (advnets.Dropout(0.5), advnets.GaussianNoise(1.0)):
        assert (layer(x) == x).all()
        assert (layer(x, key=jax.random.key(0)) != x).any()


def test_noise_has_its_scale(key):
    noise = np.asarray(advnets.GaussianNoise(0.3)(jnp.zeros(20_000), key=key))
    assert scipy.stats.kstest(noise, scipy.stats.norm(scale=0.3).cdf).pvalue > 0.01


@pytest.mark.parametrize("keep", [0.0, -0.1, 1.5])
def test_dropout_refuses_a_rate_that_is_none(keep):
    with pytest.raises(ValueError, match="above 0 and at most 1; got"):
        advnets.Dropout(keep)


def test_noise_refuses_a_negative_scale():
    with pytest.raises(ValueError, match="at least 0; got -1"):
        advnets.GaussianNoise(-1.0)


def test_linear_is_equinox_with_another_start(key):
    layer = advnets.linear(key, 30, 20, 0.05, bias=-2.0)
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
    weights = advnets.sparse_normal(key, (outputs, inputs), nonzero)
    assert weights.shape == (outputs, inputs)
    assert ((weights != 0).sum(axis=1) == nonzero).all()


def test_sparse_weights_are_normal_at_places_of_their_own(key):
    outputs, inputs, nonzero = 2000, 50, 10
    weights = np.asarray(advnets.sparse_normal(key, (outputs, inputs), nonzero))
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
    layer = advnets.sparse_linear(key, 30, 20, nonzero=4, bias=bias)
    assert isinstance(layer, eqx.nn.Linear)
    assert (layer.weight == advnets.sparse_normal(key, (20, 30), 4)).all()
    assert (layer(jnp.zeros(30)) == bias).all()


@pytest.mark.parametrize("nonzero", [0, 31])
def test_sparse_weights_need_inputs_to_draw(key, nonzero):
    with pytest.raises(ValueError, match=f"from 1 to its 30 inputs; got {nonzero}"):
        advnets.sparse_normal(key, (20, 30), nonzero)


def test_marginal_bias_inverts_the_sigmoid_of_the_mean_image():
    images = np.array([[0, 255, 51, 0], [0, 255, 102, 255]], np.uint8)
    bias = np.asarray(advnets.marginal_bias(images), np.float64)
    expected = np.array([1e-7, 1 - 1e-7, 0.3, 0.5])
    np.testing.assert_allclose(bias, np.log(expected / (1 - expected)), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(advnets.marginal_bias(images / 255), bias, rtol=1e-6, atol=1e-6)


def test_marginal_bias_refuses_pixels_outside_the_unit_interval():
    for images in ([[17.0], [17.0]], [[-1.0], [2.0]], [[np.nan], [0.5]]):
        with pytest.raises(ValueError, match=r"pixels in \[0, 1\]"):
            advnets.marginal_bias(np.array(images))


def test_whole_numbers_are_numbers_too(key):
    assert (advnets.Dropout(1)(jnp.ones(3), key=key) == 1).all()
    assert advnets.linear(key, 2, 3, 1, bias=0).weight.shape == (3, 2)
    assert advnets.BlendedCost(minimax=1, non_saturating=0)(jnp.zeros(2)) < 0
    advnets.released_updates(1, 5, norm_limit=2)


@pytest.mark.parametrize(
    ("prior", "marginal"),
    [
        (advnets.Uniform(4), scipy.stats.uniform(-np.sqrt(3), 2 * np.sqrt(3))),
        (advnets.Normal(4), scipy.stats.norm()),
        # One coordinate of a point on the sphere in four dimensions: (t + 1) / 2 ~ Beta(3/2, 3/2).
        (advnets.Spherical(4), scipy.stats.beta(1.5, 1.5, loc=-1, scale=2)),
    ],
)
def test_priors_have_their_marginals_and_independent_rows(key, prior, marginal):
    z = np.asarray(prior(key, 20_000), np.float64)
    assert z.shape == (20_000, 4)
    for column in z.T:
        assert scipy.stats.kstest(column, marginal.cdf).pvalue > 0.001
    correlations = np.corrcoef(z.T)[np.triu_indices(4, 1)]
    assert abs(correlations).max() < 4 / np.sqrt(len(z))
    successive = np.corrcoef(z[:-1, 0], z[1:, 0])[0, 1]
    assert abs(successive) < 4 / np.sqrt(len(z))


def test_spherical_latents_have_unit_length(key):
    z = advnets.Spherical(100)(key, 50)
    np.testing.assert_allclose(jnp.linalg.norm(z, axis=1), 1, rtol=1e-6)


def test_the_mnist_players_have_the_released_shapes(key):
    generator = advnets.mlp_generator(key, 100, (28, 28))
    discriminator = advnets.maxout_discriminator(key, (28, 28))
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
    generator = advnets.mlp_generator(
        key, 4, (2, 3), hidden_sizes=[5], weight_range=0.0, output_bias=bias
    )
    np.testing.assert_allclose(generator(jnp.ones(4)), jax.nn.sigmoid(bias), rtol=1e-6)


def test_noise_inside_the_generator_is_on_when_sampling(key):
    base = advnets.mlp_generator(key, 4, (3,), hidden_sizes=[16], weight_range=1.0)
    for noise in (advnets.Dropout(0.5), advnets.GaussianNoise(1.0)):
        layers = list(base.layers)
        generator = eqx.nn.Sequential([*layers[:2], noise, *layers[2:]])

        class Fixed(advnets.Prior):
            size: int = 4

            def __call__(self, key, n):
                return jnp.ones((n, 4))

        samples = advnets.sample(key, generator, 50, prior=Fixed())
        assert len(np.unique(samples[:, 0])) > 40
