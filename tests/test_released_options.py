"""The released code's options, each against NumPy in float64 or a closed form.

Whole updates with them are in test_algorithm1_reference.py.
"""

import re
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import advnets
from advnets.layers import MINIBATCH

LATENT, PIXELS, BATCH = 2, 3, 6

# Eighths: no logit of theirs is within rounding of a threshold, except 0, which is exactly on it.
logits = hnp.arrays(np.float32, 12, elements=st.integers(-80, 80).map(lambda n: n / 8))
margins = st.sampled_from([0.0, 0.05, 0.2, 0.49])


@given(fake=logits, margin=margins)
@settings(max_examples=50, deadline=None)
def test_the_thresholded_cost_is_the_mean_over_the_whole_batch(fake, margin):
    exact = fake.astype(np.float64)
    output = scipy.special.expit(exact)
    for cost, each in (
        (advnets.non_saturating_cost, -scipy.special.log_expit(exact)),
        (advnets.minimax_cost, scipy.special.log_expit(-exact)),
        (lambda logits: jnp.mean(jnp.exp(-logits)), np.exp(-exact)),
    ):
        got = advnets.ThresholdedCost(cost, margin)(jnp.asarray(fake))
        expected = sum(c for c, d in zip(each, output, strict=True) if d < 0.5 + margin) / 12
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-30)


@given(real=logits, fake=logits, margin=margins)
@settings(max_examples=50, deadline=None)
def test_the_lazy_discriminator_skips_what_it_has_won(real, fake, margin):
    got = advnets.LazyDiscriminatorCost(margin)(jnp.asarray(real), jnp.asarray(fake))
    d_real, d_fake = (scipy.special.expit(x.astype(np.float64)) for x in (real, fake))
    expected = -sum(np.log(d) for d in d_real if d < 0.5 + margin) / 24
    expected -= sum(np.log1p(-d) for d in d_fake if d > 0.5 - margin) / 24
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-30)


def test_what_does_not_count_has_no_gradient():
    fake = jnp.array([-30.0, -1.0, 1.0, 30.0])
    gradient = jax.grad(advnets.ThresholdedCost())(fake)
    assert gradient.tolist()[2:] == [0, 0]
    np.testing.assert_allclose(gradient[:2], (scipy.special.expit([-30, -1]) - 1) / 4, rtol=1e-6)


@pytest.mark.parametrize("target", [1e-6, 0.1, 50.0])
def test_the_floor_lifts_the_whole_gradient_and_never_shortens_it(key, target):
    generator = advnets.mlp_generator(key, LATENT, (PIXELS,), hidden_sizes=[4], weight_range=1.0)
    z = advnets.Uniform(LATENT)(key, BATCH)
    direction = jax.random.normal(key, (BATCH, PIXELS))
    lifted = eqx.nn.Sequential([generator, advnets.GradientFloor(target)])

    def gradient(generator):
        def cost(generator):
            examples = jax.vmap(generator, axis_name=MINIBATCH)(z)
            return jnp.sum(direction * examples)  # whose gradient at the examples is `direction`

        return jax.tree.leaves(eqx.filter_jit(eqx.filter_grad(cost))(generator))

    norm = np.linalg.norm(np.asarray(direction, np.float64))
    assert 0.1 < norm < 50
    for got, plain in zip(gradient(lifted), gradient(generator), strict=True):
        expected = np.asarray(plain, np.float64) * max(1, target / norm)
        assert np.linalg.norm(got - expected) <= 1e-5 * np.linalg.norm(expected)


def test_a_gradient_of_zero_has_no_floor():
    def cost(x):
        return jnp.sum(0 * jax.vmap(advnets.GradientFloor(1.0), axis_name=MINIBATCH)(x))

    assert not jax.grad(cost)(jnp.ones((BATCH, PIXELS))).any()


@given(seed=st.integers(0, 2**31), factor=st.floats(0.1, 1.0))
@settings(max_examples=20, deadline=None)
def test_parameters_end_shrunk(seed, factor):
    rng = np.random.default_rng(seed)
    params = {"weight": rng.normal(size=(2, 3)), "bias": rng.normal(size=2)}
    gradient = {"weight": rng.normal(size=(2, 3)), "bias": rng.normal(size=2)}
    rule = optax.chain(advnets.momentum(0.1, 0.5), advnets.shrink(factor))
    given_ = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params)
    state = rule.init(given_)
    velocity = {"weight": 0.0, "bias": 0.0}
    for _ in range(3):
        update, state = rule.update(
            jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), gradient), state, given_
        )
        given_ = optax.apply_updates(given_, update)
        for name in params:
            velocity[name] = 0.5 * velocity[name] - 0.1 * gradient[name]
            params[name] = factor * (params[name] + velocity[name])
    for name in params:
        np.testing.assert_allclose(given_[name], params[name], rtol=1e-5, atol=1e-6)


class Linear(eqx.Module):
    weight: jax.Array

    def __call__(self, x):
        return jnp.dot(self.weight, x)


class Constant(eqx.Module):
    value: jax.Array

    def __call__(self, z):
        return self.value


def test_noise_before_the_discriminator_falls_on_data_and_samples_alike(key):
    """One update of D, its noise drawn again here: a draw of its own for every example."""
    scale, rate, n = 0.3, 0.5, 500
    weight, real_at, fake_at = np.array([1.0, -2.0, 0.5]), 1.0, np.array([0.2, 0.4, 0.6])
    discriminator = eqx.nn.Sequential(
        [advnets.GaussianNoise(scale), eqx.nn.Lambda(Linear(jnp.asarray(weight, jnp.float32)))]
    )
    generator = Constant(jnp.asarray(fake_at, jnp.float32))
    algorithm = advnets.Algorithm1(
        generator,
        discriminator,
        advnets.Uniform(LATENT),
        generator_updates=optax.sgd(rate),
        discriminator_updates=optax.sgd(rate),
    )
    start = algorithm.init(generator, discriminator)
    step = jax.jit(algorithm.discriminator_step)
    state, info = step(key, start, jnp.full((n, PIXELS), real_at))

    _, *sides = jax.random.split(key, 3)

    def noise(side):
        def one(key):
            return jax.random.normal(jax.random.split(key, 2)[0], (PIXELS,))

        return np.asarray(jax.vmap(one)(jax.random.split(side, n)), np.float64)

    noises = [noise(side) for side in sides]
    real, fake = real_at + scale * noises[0], fake_at + scale * noises[1]
    d_real, d_fake = (scipy.special.expit(x @ weight) for x in (real, fake))
    ascent = ((1 - d_real) @ real - d_fake @ fake) / n
    change = np.asarray(jax.tree.leaves(state.discriminator)[0], np.float64) - weight
    assert np.linalg.norm(change - rate * ascent) <= 1e-4 * np.linalg.norm(rate * ascent)
    np.testing.assert_allclose(info.real_output, d_real.mean(), rtol=1e-5)
    np.testing.assert_allclose(info.fake_output, d_fake.mean(), rtol=1e-5)
    # Independent between sides and between examples: correlations of 0 within 4 standard errors.
    for a, b in [(noises[0], noises[1]), *((x[1:], x[:-1]) for x in noises)]:
        assert abs(np.mean(a * b)) < 4 / np.sqrt(a.size)


@pytest.mark.parametrize("layer", [advnets.Dropout(0.5), eqx.nn.Dropout(0.5)])
def test_without_a_key_a_discriminator_has_no_dropout(key, layer):
    discriminator = eqx.nn.Sequential([layer, eqx.nn.Lambda(jnp.sum)])
    x = jax.random.normal(key, (BATCH, 50))
    assert (advnets.judge(key, discriminator, x) != x.sum(axis=1)).all()
    np.testing.assert_allclose(
        advnets.judge(None, discriminator, x), x.sum(axis=1), rtol=1e-5, atol=1e-5
    )


def generators(updates, iterations):
    """The generator's one parameter after each iteration, whose gradient is -1 throughout."""
    generator = Constant(jnp.zeros(1))
    discriminator = Linear(jnp.ones(1))
    algorithm = advnets.Algorithm1(
        generator,
        discriminator,
        advnets.Uniform(LATENT),
        generator_updates=updates,
        discriminator_updates=optax.set_to_zero(),
        generator_cost=lambda logits: -jnp.mean(logits),
    )

    def iterate(state, real):
        state, _ = algorithm.step(jax.random.key(0), state, real)
        return state, state.generator.value[0]

    state = algorithm.init(generator, discriminator)
    _, values = jax.jit(lambda s: jax.lax.scan(iterate, s, jnp.ones((iterations, 4, 1))))(state)
    return np.asarray(values)


def moved(turns, gradients, rate=0.1, mu=0.5):
    """Momentum by hand: velocity moves only at its turns, with these gradients."""
    value, velocity, values = 0.0, 0.0, []
    for turn, gradient in zip(turns, gradients, strict=True):
        if turn:
            velocity = mu * velocity - rate * gradient
            value += velocity
        values.append(value)
    return values


ALWAYS = [1] * 8
EVERY_THIRD = [0, 0, 1, 0, 0, 1, 0, 0]


def momentum():
    return advnets.momentum(0.1, 0.5)


def masked(rule, condition):
    return optax.transforms.conditionally_mask(rule, condition)


@pytest.mark.parametrize(
    ("updates", "turns", "gradients"),
    [
        # Really skipped: neither the parameters nor the velocity move between turns.
        (masked(momentum(), lambda step: step % 3 == 2), EVERY_THIRD, [-1] * 8),
        # The gradient is zeroed, and the velocity moves the parameters on.
        (
            optax.chain(masked(optax.identity(), lambda step: step % 3 == 2), momentum()),
            ALWAYS,
            [-turn for turn in EVERY_THIRD],
        ),
        # On after 2 epochs of 2.
        (
            optax.chain(masked(optax.identity(), lambda step: step >= 2 * 2), momentum()),
            ALWAYS,
            [0, 0, 0, 0, -1, -1, -1, -1],
        ),
        # Epochs of 2: D alone, both, D alone, both.
        (masked(momentum(), lambda step: step // 2 % 2 == 1), [0, 0, 1, 1] * 2, [-1] * 8),
    ],
)
def test_optax_lets_the_generator_move_at_its_turns(updates, turns, gradients):
    np.testing.assert_allclose(generators(updates, 8), moved(turns, gradients), rtol=1e-5)


def test_players_can_take_turns_by_minibatch(key):
    """The order of `sgd_alt.py`: in every other epoch, each third minibatch is for G alone."""
    per_epoch, k = 5, 2

    def generators_turn(step):
        return (step // per_epoch % 2 == 1) & (step % per_epoch % (k + 1) == k)

    generator, discriminator = Constant(jnp.zeros(1)), Linear(jnp.ones(1))
    algorithm = advnets.Algorithm1(
        generator,
        discriminator,
        advnets.Uniform(LATENT),
        generator_updates=masked(optax.sgd(0.1), generators_turn),
        discriminator_updates=masked(optax.sgd(0.1), lambda step: ~generators_turn(step)),
    )
    state = algorithm.init(generator, discriminator)
    step = jax.jit(algorithm.step)
    seen = ""
    for _ in range(2 * per_epoch):
        after, _ = step(key, state, jnp.ones((4, 1)))
        g_moved = (after.generator.value != state.generator.value).item()
        d_moved = (after.discriminator.weight != state.discriminator.weight).item()
        seen += {(True, False): "G", (False, True): "D"}[g_moved, d_moved]
        state = after
    assert seen == "DDDDD" + "DDGDD"


def test_train_takes_the_cost_and_the_dropout(key):
    images = np.random.default_rng(0).random((20, PIXELS)).astype(np.float32)
    generator = advnets.mlp_generator(key, LATENT, (PIXELS,), hidden_sizes=[4], weight_range=0.5)
    discriminator = advnets.maxout_discriminator(key, (PIXELS,), units=[4], weight_range=0.5)

    def trained(**options):
        # One simultaneous iteration: what one player is given does not move the other.
        got = advnets.train(
            key,
            generator,
            discriminator,
            images,
            epochs=1,
            batch_size=20,
            prior=advnets.Uniform(LATENT),
            order="simultaneous",
            progress=False,
            **options,
        )
        return [jax.tree.leaves(player)[0] for player in (got.generator, got.discriminator)]

    usual = trained()
    other = trained(
        discriminator_cost=advnets.LazyDiscriminatorCost(), generator_sees_dropout=False
    )
    assert all((a != b).any() for a, b in zip(usual, other, strict=True))


def test_train_refuses_a_discriminator_that_needs_its_key(key):
    class Needy(eqx.Module):
        weight: jax.Array

        def __call__(self, x, *, key):
            return self.weight * jnp.sum(x)

    generator = advnets.mlp_generator(key, LATENT, (PIXELS,), hidden_sizes=[4])
    with pytest.raises(ValueError, match="the discriminator gives no logit"):
        advnets.train(
            key,
            generator,
            Needy(jnp.ones(())),
            np.zeros((8, PIXELS), np.float32),
            epochs=1,
            batch_size=4,
            prior=advnets.Uniform(LATENT),
            generator_sees_dropout=False,
            progress=False,
        )


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: advnets.ThresholdedCost(margin=0.5), "at least 0 and below 1/2; got 0.5"),
        (lambda: advnets.LazyDiscriminatorCost(-0.1), "at least 0 and below 1/2; got -0.1"),
        (lambda: advnets.GradientFloor(0.0), "must be above 0 and finite; got 0.0"),
        (lambda: advnets.shrink(1.5), "above 0 and at most 1; got 1.5"),
    ],
)
def test_settings_out_of_range_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_shrinking_says_that_it_needs_parameters():
    with pytest.raises(ValueError, match="needs the parameters"):
        advnets.shrink(0.5).update(jnp.ones(2), optax.EmptyState())


def test_the_code_on_the_page_runs(key):
    page = Path(__file__).parent.parent / "docs" / "released-options.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 6
    names = {
        "advnets": advnets,
        "eqx": eqx,
        "optax": optax,
        "key": key,
        "generator": eqx.nn.Linear(100, PIXELS, key=key),
        "discriminator": eqx.nn.Linear(PIXELS, 1, key=key),
        "images": np.random.default_rng(0).random((300, PIXELS)).astype(np.float32),
        "updates_per_epoch": 3,
    }
    for block in blocks:
        exec(block, names)
    params = {"weight": jnp.ones((2, 3))}
    for rule in ("discriminator_updates", "every_third_time", "after_five_epochs"):
        names[rule].update(params, names[rule].init(params), params)
