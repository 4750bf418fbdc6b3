"""Inference of z: exact on linear generators; what is refused."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats

import advnets
from advnets import inference
from advnets.inference import Fitting, Inference, fit_inference, inference_network
from advnets.players import Frozen
from advnets.priors import Normal, Prior, Spherical, Uniform

SIGMA = 0.5


def linear_model(weight, bias):
    """G(u) = W u + b."""
    outputs, inputs = weight.shape
    net = eqx.nn.Linear(inputs, outputs, key=jax.random.key(0))
    arrays = jnp.asarray(weight, jnp.float32), jnp.asarray(bias, jnp.float32)
    net = eqx.tree_at(lambda layer: (layer.weight, layer.bias), net, arrays)
    return advnets.Model(eqx.nn.Sequential([net]), Normal(inputs))


def rule(steps):
    return optax.adam(optax.cosine_decay_schedule(0.05, steps))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A linear network on a linear generator with noise, that ignores its last latent."""
    rng = np.random.default_rng(0)
    directions, _ = np.linalg.qr(rng.normal(size=(5, 3)))
    weight, bias = directions * np.array([1.2, 0.8, 0.0]), rng.normal(size=5)
    model, folder = linear_model(weight, bias), tmp_path_factory.mktemp("fit")
    net = inference_network(jax.random.key(1), (5,), 6, hidden_sizes=[])
    settings = {"noise": SIGMA, "steps": 800, "batch_size": 400, "folder": folder}
    settings |= {"progress": False}
    found, curve = fit_inference(jax.random.key(2), model, net, **settings, updates=rule(800))
    return weight, bias, model, net, found, curve, folder, settings


@pytest.mark.long
def test_the_mean_is_the_posteriors(fitted):
    """μ*(x) = (WᵀW + σ²I)⁻¹ Wᵀ (x - b), which least squares on NumPy's own pairs gives too."""
    weight, bias, *_, found, _, _, _ = fitted
    exact = np.linalg.solve(weight.T @ weight + SIGMA**2 * np.eye(3), weight.T)
    rng = np.random.default_rng(1)
    u = rng.normal(size=(200_000, 3))
    x = u @ weight.T + bias + SIGMA * rng.normal(size=(200_000, 5))
    oracle = np.linalg.lstsq(np.column_stack([x, np.ones(len(x))]), u, rcond=None)[0]
    assert np.linalg.norm(oracle[:5].T - exact) < 0.02 * np.linalg.norm(exact)
    learned = np.asarray(found.net.layers[-1].weight[:3])
    assert np.linalg.norm(learned - exact) < 0.02 * np.linalg.norm(exact)
    examples = x[:1000].astype(np.float32)
    means, deviations = (np.asarray(part) for part in found(jnp.asarray(examples)))
    wanted = (examples - bias) @ exact.T
    assert np.sqrt(np.mean((means - wanted) ** 2)) < 0.02 * np.sqrt(np.mean(wanted**2))
    # The deviations are the posterior's, and 1 of the latent that G ignores.
    covariance = SIGMA**2 * np.linalg.inv(weight.T @ weight + SIGMA**2 * np.eye(3))
    np.testing.assert_allclose(deviations.mean(axis=0), np.sqrt(np.diag(covariance)), rtol=0.03)
    assert abs(deviations[:, 2].mean() - 1) < 0.02


@pytest.mark.long
def test_residuals_have_the_posteriors_covariance(fitted):
    weight, _, model, _, found, *_ = fitted
    u, x = inference.pairs(jax.random.key(3), model, 100_000, noise=SIGMA)
    residuals = np.asarray(u - found(x)[0], np.float64)
    exact = SIGMA**2 * np.linalg.inv(weight.T @ weight + SIGMA**2 * np.eye(3))
    scale = np.sqrt(np.outer(np.diag(exact), np.diag(exact)))
    assert np.abs((np.cov(residuals.T) - exact) / scale).max() < 0.02
    shares = inference.r_squared(u, found(x)[0])
    np.testing.assert_allclose(shares, 1 - np.diag(exact), atol=0.01)
    assert abs(shares[2]) < 1e-2


def test_the_cost_is_the_entropy_of_the_posterior(fitted):
    """In nats, summed over components: that of independent normals with its variances."""
    weight, *_, curve, _, _ = fitted
    covariance = SIGMA**2 * np.linalg.inv(weight.T @ weight + SIGMA**2 * np.eye(3))
    exact = 0.5 * np.sum(np.log(2 * np.pi * np.e * np.diag(covariance)))
    assert [row["epoch"] for row in curve] == list(range(1, 9))
    assert abs(curve[-1]["model"]["cost"] - exact) < 0.03
    assert abs(curve[-1]["model"]["squared_error"] - np.diag(covariance).mean()) < 0.01


def test_the_generator_stays_as_it_is(fitted):
    weight, bias, model, net, *_, folder, _ = fitted
    like = Fitting(Inference(net, model.prior), model)
    left = advnets.load_model(folder / "generator.safetensors", like=like)
    first = left.model.generator.layers[0]
    for array, exact in ((first.weight, weight), (first.bias, bias)):
        assert np.array_equal(array, exact.astype(np.float32))
    assert not np.array_equal(left.inference.net.layers[-1].weight, net.layers[-1].weight)
    assert isinstance(Frozen(model), Frozen)


def test_a_call_on_what_is_done_gives_the_same(fitted):
    _, _, model, net, found, curve, _, settings = fitted
    again, rows = fit_inference(jax.random.key(2), model, net, **settings, updates=rule(800))
    assert eqx.tree_equal(again, found)
    assert rows == curve


def test_plain_regression_inverts_orthogonal_weights():
    q, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))
    model = linear_model(q, np.zeros(3))
    net = inference_network(jax.random.key(1), (3,), 3, hidden_sizes=[])
    found, curve = fit_inference(
        jax.random.key(0), model, net, spread=False, steps=600, updates=rule(600), progress=False
    )
    u, x = inference.pairs(jax.random.key(4), model, 1000)
    means, none = found(x)
    assert none is None
    assert np.abs(1 - inference.r_squared(u, means)).max() < 1e-4
    np.testing.assert_allclose(found.latents(x), u, atol=0.02)
    assert curve[-1]["model"]["cost"] == pytest.approx(3 * curve[-1]["model"]["squared_error"])


def test_a_layer_can_be_inferred(key):
    first, second = (eqx.nn.Linear(n, m, key=key) for n, m in ((2, 4), (4, 3)))
    generator = eqx.nn.Sequential([first, eqx.nn.Lambda(jax.nn.relu), second])
    model = advnets.Model(generator, Uniform(2))
    hidden, x = inference.pairs(key, model, 5, target=2)
    np.testing.assert_allclose(jax.vmap(second)(hidden), x, rtol=1e-6)
    assert hidden.shape == (5, 4)
    assert hidden.min() == 0
    assert inference.check(model, 2, 0.0, 100, 10) == (4, (3,))
    layer = Inference(inference_network(key, (3,), 8, hidden_sizes=[]), model.prior, target=2)
    with pytest.raises(ValueError, match="infers what 2 layers of the generator make"):
        layer.latents(x)


class Marked(eqx.Module):
    """Appends a uniform number, its noise."""

    def __call__(self, x, *, key):
        return jnp.append(x, jax.random.uniform(key))


def test_no_two_layers_below_and_above_share_a_key(key):
    nested = eqx.nn.Sequential([Marked(), Marked()])
    generator = eqx.nn.Sequential([Marked(), nested, Marked(), Marked()])
    hidden, x = inference.pairs(key, advnets.Model(generator, Normal(1)), 3, target=2)
    assert np.array_equal(x[:, :4], hidden)
    assert np.unique(x[:, 1:]).size == 3 * 5


def test_latents_are_the_priors_own(key):
    u = jax.random.normal(key, (1000, 3))
    uniform = np.asarray(Uniform(3).from_normal(u))
    exact = 3**0.5 * (2 * scipy.stats.norm.cdf(np.asarray(u, np.float64)) - 1)
    np.testing.assert_allclose(uniform, exact, atol=2e-6)
    assert np.array_equal(Normal(3).from_normal(u), u)
    np.testing.assert_allclose(jnp.linalg.norm(Spherical(3).from_normal(u), axis=1), 1, rtol=1e-5)

    class Fixed(Prior):
        size: int = 3

        def __call__(self, key, n):
            return jnp.full((n, 3), 7.0)

    with pytest.raises(NotImplementedError, match="Fixed has no from_normal"):
        Fixed().from_normal(u)
    goal, x = inference.pairs(key, advnets.Model(lambda z: 2 * z, Fixed()), 4)
    assert np.array_equal(goal, np.full((4, 3), 7.0))  # itself is inferred
    assert np.array_equal(x, 2 * goal)


def test_the_share_of_what_does_not_vary_is_0():
    truth = np.array([[1.0, 0.0], [1.0, 2.0]])
    assert inference.r_squared(truth, np.zeros((2, 2))).tolist() == [0.0, -1.0]
    assert inference.r_squared(np.full((7, 1), 0.1), np.zeros((7, 1))).tolist() == [0]
    with pytest.raises(ValueError, match="at least 2 rows; got 1"):
        inference.r_squared(truth[:1], truth[:1])
    with pytest.raises(ValueError, match="what is predicted"):
        inference.r_squared(truth, np.full((2, 2), np.nan))


def test_a_search_ends_at_least_squares():
    rng = np.random.default_rng(3)
    weight, x = rng.normal(size=(5, 2)), rng.normal(size=(4, 5))
    matrix, images = jnp.asarray(weight, jnp.float32), jnp.asarray(x, jnp.float32)
    found = inference.search(lambda u: u @ matrix.T, images, jnp.zeros((4, 2)), steps=600)
    np.testing.assert_allclose(found, np.linalg.lstsq(weight, x.T, rcond=None)[0].T, atol=2e-3)
    alone = inference.search(lambda u: u @ matrix.T, images[:1], jnp.zeros((1, 2)), steps=600)
    np.testing.assert_allclose(alone, found[:1], rtol=1e-4)  # rows do not depend on each other


@pytest.mark.parametrize("rate", [0.0, np.nan, np.inf])
def test_a_search_refuses_a_learning_rate_that_is_none(rate):
    with pytest.raises(ValueError, match=f"must be above 0 and finite; got {rate}"):
        inference.search(lambda u: u, jnp.ones((1, 1)), jnp.zeros((1, 1)), learning_rate=rate)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "the number of updates must be at least 1"),
        ({"steps": 250}, "must be below 100 or a multiple of it; got 250"),
        ({"batch_size": 0}, "the batch size must be at least 1"),
        ({"noise": -1.0}, "the noise's scale must be at least 0 and finite; got -1.0"),
        ({"noise": float("nan")}, "finite; got nan"),
        ({"target": 0}, "this one has 1 layer; got 0"),
        ({"target": 2}, "this one has 1 layer; got 2"),
        ({"net": eqx.nn.Linear(2, 5, key=jax.random.key(0))}, "must give 4 numbers"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    model = linear_model(np.eye(2), np.zeros(2))
    with pytest.raises(ValueError, match=message):
        fit_inference(jax.random.key(0), model, **settings)


def test_a_conditional_generator_is_refused():
    model = advnets.Model(lambda z, label: z, Normal(2))
    with pytest.raises(ValueError, match="takes a condition"):
        fit_inference(jax.random.key(0), model)


def test_a_generator_may_have_an_option():
    model = advnets.Model(lambda z, scale=2.0: scale * z, Normal(2))
    assert inference.check(model, "latent", 0.0, 1, 1) == (2, (2,))
