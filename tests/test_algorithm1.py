"""What must hold of Algorithm 1 whatever the players: who moves, on what, with which draws."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st

import advnets

LATENT, PIXELS, BATCH = 3, 4, 8
ORDERS = ["alternating", "simultaneous"]
RULES = {
    "sgd": lambda: optax.sgd(0.1),
    "rmsprop": lambda: optax.rmsprop(1e-2),
    "released": lambda: advnets.released_updates(0.1, 5, norm_limit=1.0),
}


def players(key, kind="released"):
    g_key, d_key = jax.random.split(key)
    if kind == "released":
        return (
            advnets.mlp_generator(g_key, LATENT, (PIXELS,), hidden_sizes=[6], weight_range=0.5),
            advnets.maxout_discriminator(d_key, (PIXELS,), units=[5], pieces=3, weight_range=0.5),
        )
    # Equinox's own, activation leaf and all; a logit of shape (1,).
    return eqx.nn.MLP(LATENT, PIXELS, 6, 1, key=g_key), eqx.nn.MLP(PIXELS, 1, 6, 1, key=d_key)


def build(key, rule="released", kind="released", **settings):
    generator, discriminator = players(key, kind)
    algorithm = advnets.Algorithm1(
        generator,
        discriminator,
        advnets.Uniform(LATENT),
        generator_updates=RULES[rule](),
        discriminator_updates=RULES[rule](),
        **settings,
    )
    return algorithm, algorithm.init(generator, discriminator)


def real_batch(seed, *leading):
    return jnp.asarray(np.random.default_rng(seed).random((*leading, BATCH, PIXELS)), jnp.float32)


def leaf_pairs(a, b):
    return zip(jax.tree.leaves(jax.device_get(a)), jax.tree.leaves(jax.device_get(b)), strict=True)


def same(a, b):
    return all((x == y).all() for x, y in leaf_pairs(a, b))


def differs_everywhere(a, b):
    return all((x != y).any() for x, y in leaf_pairs(a, b))


@pytest.mark.parametrize("kind", ["released", "equinox"])
@pytest.mark.parametrize("rule", RULES)
def test_each_step_moves_only_its_own_player(key, rule, kind):
    algorithm, start = build(key, rule, kind)

    @given(seed=st.integers(0, 2**31))
    @settings(max_examples=5, deadline=None)
    def check(seed):
        step_key = jax.random.key(seed)
        after_d, _ = d_step(step_key, start, real_batch(seed))
        assert same(after_d.generator, start.generator)
        assert same(after_d.generator_updates, start.generator_updates)
        assert differs_everywhere(after_d.discriminator, start.discriminator)
        after_g, _ = g_step(step_key, start)
        assert same(after_g.discriminator, start.discriminator)
        assert same(after_g.discriminator_updates, start.discriminator_updates)
        assert differs_everywhere(after_g.generator, start.generator)

    d_step = jax.jit(algorithm.discriminator_step)
    g_step = jax.jit(lambda key, state: algorithm.generator_step(key, state, BATCH))
    check()


@pytest.mark.parametrize("k", [1, 2, 5])
def test_an_iteration_is_k_discriminator_steps_and_a_generator_step(key, k):
    algorithm, start = build(key, k=k)
    real = real_batch(0, k)
    state, info = jax.jit(algorithm.step)(key, start, real if k > 1 else real[0])

    d_key, g_key = jax.random.split(jax.random.fold_in(key, 0))
    expected, values = start, []
    d_step = jax.jit(algorithm.discriminator_step)
    for step_key, batch in zip(jax.random.split(d_key, k), real, strict=True):
        expected, d_info = d_step(step_key, expected, batch)
        values.append(d_info.value)
    g_step = jax.jit(lambda key, state: algorithm.generator_step(key, state, BATCH))
    expected, g_info = g_step(g_key, expected)
    for got, wanted in zip(
        jax.tree.leaves((state.generator, state.discriminator)),
        jax.tree.leaves((expected.generator, expected.discriminator)),
        strict=True,
    ):
        np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(info.discriminator.value, np.mean(values), rtol=1e-5)
    np.testing.assert_allclose(info.generator.cost, g_info.cost, rtol=1e-5)
    assert int(state.iteration) == 1


@pytest.mark.parametrize("order", ORDERS)
def test_vmap_over_seeds_equals_a_loop(key, order):
    seeds = 3
    algorithm, _ = build(key, order=order)
    keys = jax.random.split(jax.random.key(5), seeds)
    states = jax.vmap(lambda k: algorithm.init(*players(k)))(keys)
    batches = real_batch(1, 4)

    def train(key, state):
        return jax.lax.scan(lambda s, x: algorithm.step(key, s, x), state, batches)

    together, infos = jax.jit(jax.vmap(train))(keys, states)
    for i, seed_key in enumerate(keys):
        alone, info = jax.jit(train)(seed_key, algorithm.init(*players(seed_key)))
        for got, wanted in zip(
            jax.tree.leaves((together, infos)), jax.tree.leaves((alone, info)), strict=True
        ):
            np.testing.assert_allclose(got[i], wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("order", ORDERS)
def test_data_reach_the_generator_only_through_the_discriminator(key, order):
    """The change of G has an exactly zero derivative in the data at fixed D."""
    algorithm, start = build(key, order=order)

    def derivative_of_the_generator(algorithm, state):
        def moved(real):
            after, _ = algorithm.step(key, state, real)
            return jnp.concatenate([x.ravel() for x in jax.tree.leaves(after.generator)])

        return np.asarray(jax.jit(jax.jacobian(moved))(real_batch(0)))

    derivative = derivative_of_the_generator(algorithm, start)
    if order == "simultaneous":
        # Both gradients at the same parameters: today's data do not touch today's generator.
        assert not derivative.any()
    else:
        assert derivative.any()  # through the discriminator's update, and
        frozen = dataclasses.replace(algorithm, discriminator_updates=optax.set_to_zero())
        state = frozen.init(*players(key))
        assert not derivative_of_the_generator(frozen, state).any()  # through nothing else


def test_every_iteration_draws_afresh_and_the_same_one_draws_the_same(key):
    algorithm, start = build(key)
    step = jax.jit(algorithm.step)
    real = real_batch(0)
    first, again = step(key, start, real), step(key, start, real)
    assert same(first, again)
    later = dataclasses.replace(start, iteration=jnp.array(1))
    assert not same(step(key, later, real)[0].generator, first[0].generator)


@pytest.mark.parametrize("order", ORDERS)
def test_a_step_traces_once_for_many_calls(key, order):
    algorithm, state = build(key, order=order)
    traces = 0

    def counted(key, state, real):
        nonlocal traces
        traces += 1
        return algorithm.step(key, state, real)

    step = jax.jit(counted)
    for seed in range(5):
        state, _ = step(jax.random.key(seed), state, real_batch(seed))
    assert traces == 1


def test_the_state_holds_arrays_only_and_can_be_donated(key):
    algorithm, state = build(key, kind="equinox")
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))
    step = jax.jit(algorithm.step, donate_argnums=1)
    state, _ = step(key, state, real_batch(0))
    state, _ = step(key, state, real_batch(1))
    assert int(state.iteration) == 2


def test_what_is_not_floating_point_stays_as_it_is(key):
    class Counting(eqx.Module):
        weight: jax.Array
        table: jax.Array
        name: str

        def __call__(self, x):
            return self.weight @ x + self.table.sum().astype(float)

    generator = eqx.nn.MLP(LATENT, PIXELS, 4, 1, key=key)
    discriminator = Counting(jnp.ones(PIXELS), jnp.arange(3), "d")
    algorithm = advnets.Algorithm1(
        generator,
        discriminator,
        advnets.Normal(LATENT),
        generator_updates=optax.sgd(0.1),
        discriminator_updates=optax.sgd(0.1),
    )
    state = algorithm.init(generator, discriminator)
    state, _ = jax.jit(algorithm.step)(key, state, real_batch(0))
    _, trained = algorithm.players(state)
    assert trained.name == "d"
    assert (trained.table == jnp.arange(3)).all()
    assert (trained.weight != 1).any()


def test_info_is_what_numpy_makes_of_the_logits(key):
    algorithm, state = build(key, order="simultaneous")
    state, info = jax.jit(algorithm.step)(key, state, real_batch(0))
    d = info.discriminator
    assert -np.inf < d.value <= 0
    for rate in (d.real_output, d.fake_output, d.real_error, d.fake_error):
        assert 0 <= rate <= 1
    # Error rates are multiples of 1/batch.
    assert float(d.real_error * BATCH) == round(float(d.real_error * BATCH))

    class Fixed(eqx.Module):
        weight: jax.Array

        def __call__(self, x):
            return self.weight * x[0]

    fixed = Fixed(jnp.ones(()))
    algorithm = dataclasses.replace(
        algorithm,
        discriminator=fixed,
        generator=Sine(jnp.ones(())),
        prior=advnets.Uniform(LATENT),
        order="alternating",
    )
    state = algorithm.init(Sine(jnp.ones(())), fixed)
    real = jnp.linspace(-2.0, 3.0, BATCH)[:, None]
    _, info = jax.jit(algorithm.discriminator_step)(key, state, real)
    z = advnets.Uniform(LATENT)(jax.random.split(jax.random.split(key, 3)[0])[0], BATCH)
    real_logits, fake_logits = np.asarray(real[:, 0], float), np.sin(np.asarray(z[:, 0], float))
    sigmoid = scipy.special.expit
    np.testing.assert_allclose(info.real_output, sigmoid(real_logits).mean(), rtol=1e-5)
    np.testing.assert_allclose(info.fake_output, sigmoid(fake_logits).mean(), rtol=1e-5)
    np.testing.assert_allclose(info.real_error, (real_logits < 0).mean(), rtol=1e-6)
    np.testing.assert_allclose(info.fake_error, (fake_logits >= 0).mean(), rtol=1e-6)
    gradient = ((sigmoid(real_logits) - 1) * real_logits).mean() + (
        sigmoid(fake_logits) * fake_logits
    ).mean()
    np.testing.assert_allclose(info.gradient_norm, abs(gradient), rtol=1e-4)


@pytest.mark.parametrize(("order", "k"), [("simultaneous", 1), ("alternating", 2)])
def test_gradient_norms_every_third_iteration_and_the_rest_as_always(key, order, k):
    real = real_batch(0, k) if k > 1 else real_batch(0)
    runs = []
    for norms_every in (1, 3):
        algorithm, state = build(key, order=order, k=k, norms_every=norms_every)
        step, infos = jax.jit(algorithm.step), []
        for _ in range(7):
            state, info = step(key, state, real)
            infos.append(info)
        runs.append((state, jax.tree.map(lambda *x: np.array(x), *infos)))
    (dense_state, dense), (sparse_state, sparse) = runs
    for got, wanted in leaf_pairs(sparse_state, dense_state):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-7)
    for player in ("discriminator", "generator"):
        for name, values in vars(getattr(dense, player)).items():
            wanted = values.copy()
            if name == "gradient_norm":
                wanted[[1, 2, 4, 5]] = np.nan
            got = getattr(getattr(sparse, player), name)
            np.testing.assert_allclose(got, wanted, rtol=1e-4, err_msg=name)


class Sine(eqx.Module):
    weight: jax.Array

    def __call__(self, z):
        return jnp.sin(self.weight * z[:1])


def test_it_runs_in_float64():
    with jax.enable_x64(True):
        algorithm, state = build(jax.random.key(0))
        batch = jnp.asarray(np.random.default_rng(0).random((BATCH, PIXELS)))
        state, info = jax.jit(algorithm.step)(jax.random.key(0), state, batch)
        floats = [x for x in jax.tree.leaves((state, info)) if jnp.issubdtype(x.dtype, jnp.inexact)]
        assert {x.dtype for x in floats} == {jnp.dtype("float64")}


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"k": 0}, "k must be at least 1; got 0"),
        ({"k": 2, "order": "simultaneous"}, "k=2"),
        ({"order": "both"}, "order"),
    ],
)
def test_settings_that_make_no_algorithm_are_refused(key, settings_, message):
    with pytest.raises((ValueError, TypeError), match=message):
        build(key, **settings_)


def test_the_wrong_number_of_minibatches_is_refused(key):
    algorithm, state = build(key, k=3)
    with pytest.raises(ValueError, match="k=3 discriminator steps need that many minibatches"):
        algorithm.step(key, state, real_batch(0, 2))


def test_a_discriminator_must_give_one_logit(key):
    with pytest.raises(ValueError, match="one logit for each example"):
        advnets.judge(key, eqx.nn.MLP(PIXELS, 2, 4, 1, key=key), real_batch(0))
