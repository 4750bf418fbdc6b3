"""The deep GSN against NumPy in float64, and its chain against what its noise is."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import expit

from advnets import chains
from advnets.baselines import gsn

KEY = jax.random.key(3)
SHAPE, BATCH = (3, 4), 5
STEP = jax.jit(gsn.GSN.step)
pytestmark = pytest.mark.usefixtures("double_precision")


@pytest.fixture(scope="module")
def model():
    found = gsn.GSN(jax.random.key(0), SHAPE, hidden_sizes=(6, 7), noise=0.7)
    rng = np.random.default_rng(2)
    biases = [jnp.asarray(rng.normal(size=n)) for n in (12, 6, 7)]
    return eqx.tree_at(lambda m: (m.bias0, m.bias1, m.bias2), found, biases)


@pytest.fixture(scope="module")
def images():
    return jnp.asarray(np.random.default_rng(0).uniform(size=(BATCH, *SHAPE)))


def rounds_of(parameters, noise, images, xs=None):
    """The cross-entropy of each round by the formulas, and the x that each saw.

    With `xs` given they are constants; or else they are drawn.
    """
    w1, w2, b0, b1, b2 = (np.asarray(p, np.float64) for p in parameters)
    uniform, before, after = map(np.asarray, (noise.pixels, noise.before, noise.after))
    clean = np.asarray(images).reshape(len(images), -1)
    h2, seen, found = np.zeros((len(clean), len(b2))), [], []
    p = clean
    for t in range(len(uniform)):
        if xs is None:
            # One number is both the die of salt and pepper and, where it spares a pixel, that of
            # Bernoulli(p): below .2 salt, then p of the .6 that are left.
            x = np.where(uniform[t] < 0.2, 1, np.where(uniform[t] < 0.4, 0, clean))
            if t:
                x = np.where(uniform[t] < 0.2, 1, (uniform[t] - 0.2) / 0.6 < p)
        else:
            x = xs[t]
        h1 = np.tanh(x @ w1 + h2 @ w2.T + b1)
        p = expit(h1 @ w1.T + b0)
        found.append(-np.mean(clean * np.log(p) + (1 - clean) * np.log(1 - p)))
        seen.append(x)
        if t + 1 < len(uniform):
            h2 = np.tanh(h1 @ w2 + b2 + 0.7 * before[t]) + 0.7 * after[t]
    return found, seen


def parameters(model):
    return [model.weight1, model.weight2, model.bias0, model.bias1, model.bias2]


@jax.jit
def learned(model, images):
    """The cost of four rounds, what is seen of it, and its gradient."""
    return jax.value_and_grad(lambda m: gsn.cost(KEY, m, images), has_aux=True)(model)


@pytest.mark.parametrize("rounds", [pytest.param(1, marks=pytest.mark.long), 4])
def test_the_cost_is_the_formulas(model, images, rounds):
    (found, seen), _ = learned(model, images)
    if rounds == 1:
        found, seen = gsn.cost(KEY, model, images, rounds)
    noise = gsn.draw_noise(KEY, model, BATCH, rounds)
    expected, _ = rounds_of(parameters(model), noise, images)
    assert len(expected) == rounds
    np.testing.assert_allclose(found, sum(expected), rtol=1e-12)
    np.testing.assert_allclose(seen["cross_entropy"], expected[-1], rtol=1e-12)


def slope(model, images, direction):
    """The cost's derivative in a direction, by central differences with every x held fixed."""
    noise = gsn.draw_noise(KEY, model, BATCH)
    _, xs = rounds_of(parameters(model), noise, images)

    def at(step):
        moved = [
            np.asarray(p) + step * d for p, d in zip(parameters(model), direction, strict=True)
        ]
        return sum(rounds_of(moved, noise, images, xs)[0])

    return (at(1e-5) - at(-1e-5)) / 2e-5


class StraightThrough(gsn.GSN):
    """A planted fault: draws let the gradient through as if they were p."""

    def drawn(self, logits, uniform):
        on = jax.nn.sigmoid(logits)
        return super().drawn(logits, uniform) + on - jax.lax.stop_gradient(on)


def test_gradients_pass_through_the_second_layer_and_not_through_draws(model, images):
    rng = np.random.default_rng(1)
    direction = [rng.normal(size=p.shape) for p in parameters(model)]
    # The same arrays in a class whose draws have a gradient.
    planted = object.__new__(StraightThrough)
    for field in dataclasses.fields(model):
        object.__setattr__(planted, field.name, getattr(model, field.name))

    def along(gradient):
        pairs = zip(parameters(gradient), direction, strict=True)
        return sum(float((g * d).sum()) for g, d in pairs)

    expected = slope(model, images, direction)
    (found, _), right = learned(model, images)
    (same, _), wrong = learned(planted, images)
    assert along(right) == pytest.approx(expected, rel=1e-7)
    assert (right.bias2 != 0).all()  # which is reached through h₂ alone
    assert same == pytest.approx(float(found), rel=1e-12)
    assert abs(along(wrong) - expected) > 0.01 * abs(expected)


def test_a_step_of_the_chain_is_a_round(model, images):
    state = model.start(KEY, images)
    assert not state.top.any()
    np.testing.assert_array_equal(model.means(state), images)
    w1, w2, b0, b1, _ = map(np.asarray, parameters(model))
    for _ in range(2):
        h1 = np.tanh(np.asarray(state.pixels) @ w1 + np.asarray(state.top) @ w2.T + b1)
        state = STEP(model, KEY, state)
        means = model.means(state)
        assert means.shape == images.shape
        np.testing.assert_allclose(means.reshape(BATCH, -1), expit(h1 @ w1.T + b0), rtol=1e-12)
        assert set(np.unique(state.pixels)) == {0, 1}


def test_the_second_layers_noise_is_added_before_and_after(model):
    lower = jnp.zeros((3, 6))
    before, after = np.random.default_rng(3).normal(size=(2, 3, 7))
    expected = np.tanh(np.asarray(model.bias2) + 0.7 * before) + 0.7 * after
    found = model.top(lower, jnp.asarray(before), jnp.asarray(after))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_the_chains_noise_has_its_rates_and_scale():
    """A network of zero weights: pixels are fair coins, the second layer is its noise."""
    n = 10_000
    model = gsn.GSN(KEY, (2,), hidden_sizes=(1, 2), noise=0.7)
    model = eqx.tree_at(lambda m: (m.weight1, m.weight2), model, replace_fn=jnp.zeros_like)
    model = eqx.tree_at(lambda m: m.bias0, model, jnp.full(2, np.log(3.0)))  # p = 3/4
    state = STEP(model, KEY, model.start(KEY, jnp.zeros((n, 2))))
    assert within((np.asarray(state.pixels)).sum(), 0.6 * 0.75 + 0.2, 2 * n)
    nodes, weights = np.polynomial.hermite_e.hermegauss(99)
    squared = (weights * np.tanh(0.7 * nodes) ** 2).sum() / weights.sum()
    top = np.asarray(state.top)
    errors = top**2 - (squared + 0.7**2)
    assert abs(errors.mean()) < 4 * errors.std() / np.sqrt(2 * n)
    for pairs in (top[:, 0] * top[:, 1], *((np.asarray(state.pixels) - 0.65) * top).T):
        assert abs(pairs.mean()) < 4 * pairs.std() / np.sqrt(n)


def within(hits, probability, n):
    """Whether a count is within 4 standard errors of what a probability says."""
    return abs(hits - n * probability) < 4 * np.sqrt(n * probability * (1 - probability))


def test_salt_and_pepper_hit_as_often_as_they_should():
    n = 40_000
    model = gsn.GSN(KEY, (2,), hidden_sizes=(1, 1), salt_and_pepper=0.3)
    uniform = gsn.draw_noise(KEY, model, n, 1).pixels[0]
    grey = jnp.full((n, 2), 0.25)
    salted = np.asarray(model.corrupted(grey, uniform))
    assert within((salted == 1).sum(), 0.15, salted.size)
    assert within((salted == 0).sum(), 0.15, salted.size)
    assert set(np.unique(salted)) == {0, 0.25, 1}
    drawn = np.asarray(model.drawn(jnp.broadcast_to(jnp.log(3.0), (n, 2)), uniform))  # p = 3/4
    assert within(drawn.sum(), 0.7 * 0.75 + 0.15, drawn.size)
    # Pixels are hit on their own: two numbers of a word have nothing to do with each other.
    assert within(salted.astype(bool).all(axis=1).sum(), 0.85**2, n)


def test_draws_in_half_precision_have_the_probabilities_of_single():
    like = gsn.GSN(KEY, (2,), hidden_sizes=(1, 1), salt_and_pepper=0.3)
    model = jax.tree.map(lambda x: x.astype(jnp.bfloat16), like)
    uniform = gsn.draw_noise(KEY, model, 40_000, 1).pixels[0]
    assert uniform.min() > 0
    assert uniform.max() < 1
    drawn = model.drawn(jnp.full((40_000, 2), 3.0, jnp.bfloat16), uniform)
    assert drawn.dtype == jnp.bfloat16
    assert within(int((drawn != 0).sum()), 0.7 * expit(3.0) + 0.15, drawn.size)
    images = jnp.full((5, 2), 0.25, jnp.bfloat16)
    logits = gsn.walkback(model, images, gsn.draw_noise(KEY, model, 5, 3))
    assert logits.dtype == jnp.bfloat16
    state = model.step(KEY, model.start(KEY, images))
    assert {x.dtype for x in jax.tree.leaves(state)} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.parametrize("kind", [jnp.float32, jnp.float16, jnp.bfloat16])
def test_uniform_numbers_have_sixteen_bits(kind):
    """Every one of 2¹⁶ numbers, evenly and symmetrically: a probability is right to 2⁻¹⁷."""
    drawn = np.asarray(gsn._uniforms(KEY, (2**20 + 1,), kind), np.float64)
    places = drawn * 2**16 - 0.5
    assert (places == np.round(places)).all()
    counts = np.bincount(places.astype(int), minlength=2**16)
    statistic = ((counts - 16) ** 2 / 16).sum()
    assert abs(statistic - 2**16) < 4 * np.sqrt(2 * 2**16)
    assert within((drawn < 0.2).sum(), 0.2, drawn.size)


def test_the_released_rule_anneals_by_the_epoch():
    rule = gsn.updates(3, learning_rate=0.25, annealing=0.9, momentum=0.5)
    theta, state = jnp.zeros(2), rule.init(jnp.zeros(2))
    v, expected = np.zeros(2), np.zeros(2)
    for i, gradient in enumerate(np.random.default_rng(0).normal(size=(7, 2))):
        update, state = rule.update(jnp.asarray(gradient), state)
        theta = optax.apply_updates(theta, update)
        v = v / 2 + gradient / 2
        expected = expected - 0.25 * 0.9 ** (i // 3) * v
        np.testing.assert_allclose(theta, expected, rtol=1e-6)


def test_weights_start_in_their_range():
    model = gsn.GSN(KEY, (28, 28), hidden_sizes=(50, 40))
    for weights, sizes in ((model.weight1, 784 + 50), (model.weight2, 90)):
        bound = (6 / sizes) ** 0.5
        assert 0.95 * bound < abs(weights).max() <= bound
    assert not any(bias.any() for bias in (model.bias0, model.bias1, model.bias2))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"salt_and_pepper": 1.5}, "salt and pepper must be from 0 to 1; got 1.5"),
        ({"noise": -1.0}, "hidden noise must be at least 0 and finite; got -1.0"),
        ({"noise": float("nan")}, "hidden noise must be at least 0 and finite; got nan"),
        ({"hidden_sizes": (0, 5)}, r"sizes must be at least 1 and below 2\*\*31; got \(12, 0\)"),
    ],
)
def test_settings_out_of_range_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        gsn.GSN(KEY, SHAPE, **{"hidden_sizes": (2, 2)} | wrong)


def test_walkback_needs_a_round(model, images):
    with pytest.raises(ValueError, match=r"rounds of walkback must be at least 1 .*; got 0"):
        gsn.cost(KEY, model, images, 0)


def test_a_chain_in_two_parts_is_the_chain(model, images):
    start = model.start(KEY, images)
    assert model.means(start).min() >= 0
    walk = eqx.filter_jit(chains.walk)
    _, whole = walk(KEY, model, start, samples=4, thin=2)
    state, first = walk(KEY, model, start, samples=2, thin=2)
    _, rest = walk(KEY, model, state, first=jnp.asarray(4), samples=2, thin=2)
    np.testing.assert_array_equal(np.concatenate([first, rest]), whole)
    assert ((whole > 0) & (whole < 1)).all()


def test_chains_are_run_from_images(model, images):
    found = chains.run(KEY, model, images, 6, chains.Protocol(2, burn_in=3))
    assert found.shape == (2, 3, *SHAPE)
