"""The VAE: terms against SciPy, the gradient against NumPy, bounds against an exact p(x)."""

import re
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from helpers import numeric

import advnets
from advnets.baselines import vae

DOCS = Path(__file__).parents[2] / "docs"

SHAPE, LATENTS, WIDTH, ROWS = (2, 2), 2, 0.5, 6


@pytest.fixture(scope="module")
def model():
    """4 pixels, 3 hidden units, 2 latent components, none of its arrays 0."""
    key = jax.random.key(0)
    start = vae.new_vae(key, SHAPE, hidden_size=3, latent_size=LATENTS)
    arrays, rest = eqx.partition(start, eqx.is_inexact_array)
    rng = np.random.default_rng(0)
    arrays = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), arrays)
    return eqx.combine(arrays, rest)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(1)
    return jnp.asarray(rng.uniform(size=(ROWS, *SHAPE)) < 0.5, jnp.float32)


class Linear:
    """x = A z + b + noise, of which p(x) and p(z|x) are normal and known."""

    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(4, LATENTS)), rng.normal(size=4)
    covariance = np.linalg.inv(np.eye(LATENTS) + a.T @ a / WIDTH**2)  # of p(z|x)
    up = covariance @ a.T / WIDTH**2
    x = np.float32(rng.multivariate_normal(b, a @ a.T + WIDTH**2 * np.eye(4), ROWS))

    @classmethod
    def exact(cls):
        covariance = cls.a @ cls.a.T + WIDTH**2 * np.eye(4)
        return scipy.stats.multivariate_normal(cls.b, covariance).logpdf(cls.x.astype(np.float64))

    @classmethod
    def model(cls, mean_shift=0.0, variance_factor=1.0):
        """With a q(z|x) of independent components, perhaps off."""
        variances = variance_factor / np.diag(np.linalg.inv(cls.covariance))
        offset = -cls.up @ cls.b + mean_shift
        weight = np.concatenate([cls.up, np.zeros_like(cls.up)])
        bias = np.concatenate([offset, np.log(variances)])
        encoder = eqx.nn.Sequential([advnets.networks.Reshape((4,)), linear(weight, bias)])
        decoder = eqx.nn.Sequential([linear(cls.a, cls.b)])
        image = eqx.nn.Sequential([advnets.networks.Reshape(SHAPE)])
        generator = eqx.nn.Sequential([decoder, image])
        prior = advnets.priors.Normal(LATENTS)
        return vae.VAE(generator, prior, encoder=encoder, width=WIDTH)


def linear(weight, bias):
    layer = eqx.filter_eval_shape(eqx.nn.Linear, *weight.shape[::-1], key=jax.random.key(0))
    arrays = (jnp.asarray(weight, jnp.float32), jnp.asarray(bias, jnp.float32))
    return eqx.tree_at(lambda layer: (layer.weight, layer.bias), layer, arrays)


def log_bound(model, draws, importance, times=1):
    """Estimates of the bounds of each row, as many as asked."""
    x = np.tile(Linear.x.reshape(-1, *SHAPE), (times, 1, 1))
    found = vae.log_bound(jax.random.key(5), model, x, draws=draws, importance=importance)
    return found.reshape(times, ROWS)


def test_the_divergence_is_that_of_normal_distributions(key):
    means, log_variances = (np.asarray(jax.random.normal(k, (5, 3))) for k in jax.random.split(key))
    scale = np.exp(log_variances.astype(np.float64) / 2)
    entropy = scipy.stats.norm(scale=scale).entropy()
    cross = 0.5 * (np.log(2 * np.pi) + means.astype(np.float64) ** 2 + scale**2)
    found = vae.divergence(jnp.asarray(means), jnp.asarray(log_variances))
    np.testing.assert_allclose(found, (cross - entropy).sum(axis=1), rtol=1e-5)
    for little in (1e-2, 1e-4, -1e-3):
        found = vae.divergence(jnp.zeros((1, 20)), jnp.full((1, 20), little))
        np.testing.assert_allclose(found, 10 * (little**2 / 2 + little**3 / 6), rtol=1e-2)


def test_the_likelihood_of_pixels_is_scipy_s(model, images, key):
    latents = jax.random.normal(key, (ROWS, LATENTS))
    probabilities = np.asarray(model.decode(latents), np.float64)
    assert probabilities.shape == (ROWS, *SHAPE)
    found = model.log_likelihood(latents, images)
    expected = scipy.stats.bernoulli(probabilities).logpmf(np.asarray(images)).sum(axis=(1, 2))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    gaussian = Linear.model()
    x = jnp.asarray(Linear.x).reshape(-1, *SHAPE)
    density = scipy.stats.norm(np.asarray(gaussian.decode(latents), np.float64), WIDTH)
    expected = density.logpdf(np.asarray(x)).sum(axis=(1, 2))
    np.testing.assert_allclose(gaussian.log_likelihood(latents, x), expected, rtol=1e-5)


def test_cost_and_gradient_are_those_of_the_bound_as_it_is_written(model, images, key):
    latents_key, _ = jax.random.split(key)
    noise = np.asarray(jax.random.normal(latents_key, (ROWS, LATENTS)), np.float64)
    x = np.asarray(images, np.float64).reshape(ROWS, -1)

    def in_numpy(w3, b3, w4, b4, w1, b1, w2, b2):
        found = np.tanh(x @ w1.T + b1) @ w2.T + b2
        means, log_variances = found[:, :LATENTS], found[:, LATENTS:]
        z = means + np.exp(log_variances / 2) * noise
        p = 1 / (1 + np.exp(-(np.tanh(z @ w3.T + b3) @ w4.T + b4)))
        fit = np.sum(x * np.log(p) + (1 - x) * np.log(1 - p), axis=1)
        apart = np.sum(means**2 + np.exp(log_variances) - log_variances - 1, axis=1) / 2
        return np.mean(apart - fit)

    def cost(model):
        value, memory, seen = vae.Cost()(key, model, "kept", images)
        assert memory == "kept"
        return value, seen

    (value, seen), gradient = eqx.filter_value_and_grad(cost, has_aux=True)(model)
    arrays = numeric.float64(jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array)))
    np.testing.assert_allclose(value, in_numpy(*arrays), rtol=1e-5)
    np.testing.assert_allclose(value, seen["cross_entropy"] + seen["divergence"], rtol=1e-6)
    leaves = jax.tree.leaves(gradient)
    for got, wanted in zip(leaves, numeric.gradient(in_numpy, arrays), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


def test_binary_pixels_are_drawn_anew_with_grey_levels_as_probabilities(model, key):
    grey = jnp.full((ROWS, *SHAPE), 0.3)
    binary = vae.Cost(binary=True)(key, model, None, grey)[2]
    drawn = jax.random.bernoulli(jax.random.split(key)[1], grey).astype(float)
    assert set(np.unique(drawn)) == {0, 1}
    assert binary == vae.Cost()(key, model, None, drawn)[2]


def test_bounds_of_a_linear_model_are_in_order_and_below_its_likelihood():
    exact, model = Linear.exact(), Linear.model(mean_shift=0.1, variance_factor=1.4)
    bound, few, many = (
        log_bound(model, draws, importance, times=400)
        for draws, importance in ((4, False), (4, True), (64, True))
    )
    error = [4 * x.std(axis=0, ddof=1) / len(x) ** 0.5 for x in (bound, few, many)]
    bound, few, many = (x.mean(axis=0) for x in (bound, few, many))
    rows = ROWS**0.5  # of the mean over rows the error is as much smaller
    assert bound.mean() + error[0].max() / rows < few.mean() - error[1].max() / rows
    assert few.mean() + error[1].max() / rows < many.mean() - error[2].max() / rows
    assert (many - error[2] < exact).all()
    assert (exact - many < 0.05).all()  # nats
    # The bound falls short by the divergence of q from p(z|x).
    precision, mean = np.linalg.inv(Linear.covariance), np.full(LATENTS, 0.1)
    q = np.diag(1.4 / np.diag(precision))
    short = 0.5 * (np.trace(precision @ q) + mean @ precision @ mean - LATENTS)
    short += 0.5 * np.log(np.linalg.det(Linear.covariance) / np.linalg.det(q))
    assert (abs(exact - bound - short) < error[0]).all()


@pytest.mark.parametrize("importance", [True, False])
def test_bounds_are_exact_where_q_is_the_posterior_whatever_the_blocks(monkeypatch, importance):
    # Columns at right angles: the posterior's components are then independent.
    a, _ = np.linalg.qr(Linear.a)
    for name, value in {
        "a": a,
        "covariance": np.eye(LATENTS) / (1 + 1 / WIDTH**2),
        "up": a.T / (1 + WIDTH**2),
    }.items():
        monkeypatch.setattr(Linear, name, value)
    monkeypatch.setattr(vae, "DECODED_AT_ONCE", 8)  # 4 rows and 2, or 1 row in 2 passes
    for draws in (2, 11):
        found = log_bound(Linear.model(), draws, importance)[0]
        np.testing.assert_allclose(found, Linear.exact(), atol=2e-5)


def test_every_image_has_a_bound_of_its_own(model, images, key):
    found = vae.log_bound(key, model, jnp.concatenate([images[:2]] * 2))
    assert len(set(found.tolist())) == 4  # of the same image by another draw


def test_a_bound_takes_the_draws_that_it_is_told_to(model, images, key, monkeypatch):
    monkeypatch.setattr(vae, "DECODED_AT_ONCE", 2)
    three, four, pair = (vae.log_bound(key, model, images[:1], draws=n)[0] for n in (3, 4, 2))
    assert len({three, four, pair}) == 3
    third = 3 * three - 2 * pair  # the sums begin with the same draws
    fourth = 4 * four - 3 * three
    assert third < 0
    assert fourth < 0


def test_samples_are_means_or_drawn_pixels(model, key, tmp_path):
    means = model.sample(key, 5)
    assert ((means > 0) & (means < 1)).all()
    binary = vae.new_vae(key, SHAPE, hidden_size=3, latent_size=LATENTS, bernoulli=True)
    assert set(np.unique(binary.sample(key, 50))) == {0, 1}
    decoded = binary.decode(jnp.zeros((1, LATENTS)))
    assert ((decoded > 0) & (decoded < 1)).all()
    drawn = vae.BernoulliPixels()(jnp.full(1000, 0.3), key=key)
    assert abs(drawn.mean() - 0.3) < 4 * (0.3 * 0.7 / 1000) ** 0.5
    advnets.save_model(tmp_path / "vae.safetensors", binary)
    again = advnets.load_model(tmp_path / "vae.safetensors")
    assert eqx.tree_equal(again, binary)
    assert repr(again) == repr(binary)


@pytest.mark.long
def test_the_page_s_code_runs():
    page = (DOCS / "systems" / "vae.md").read_text("utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    exec(code, found := {})
    assert found["samples"].shape == (10, 8, 8)
    assert found["higher"].mean() > found["bound"].mean()


def test_reconstructions_go_by_the_posterior_s_mean(model, images):
    means, _ = model.encode(images)
    assert (model.reconstruct(images) == model.decode(means)).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: vae.log_bound(jax.random.key(0), m, np.zeros((0, 2, 2))), "at least 1 row"),
        (
            lambda m: vae.log_bound(jax.random.key(0), m, np.full((1, 2, 2), 255.0)),
            r"pixels in \[0, 1\].*255",
        ),
        (
            lambda m: vae.log_bound(jax.random.key(0), m, np.zeros((1, 2, 2)), draws=0),
            r"draws of each image must be at least 1 .*; got 0",
        ),
        (
            lambda m: vae.VAE(m.generator, advnets.priors.Uniform(2), encoder=m.encoder),
            r"standard normal prior; got Uniform\(size=2\)",
        ),
        (
            lambda m: vae.VAE(m.generator, m.prior, encoder=m.encoder, width=0.0),
            "above 0 and finite; got 0.0",
        ),
        (lambda m: vae.new_vae(jax.random.key(0), (2, 2), hidden_size=0), "got 4, 0 and 50"),
    ],
)
def test_what_does_not_fit_is_refused(model, call, message):
    with pytest.raises(ValueError, match=message):
        call(model)
