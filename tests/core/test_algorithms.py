"""What must hold of both algorithms whatever the players: who moves, on what, with which draws."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
import scipy.special
from helpers.games import assert_close, differs_everywhere, leaves, same

import advnets
from advnets import networks, priors, updates
from advnets.algorithms import at
from advnets.objectives import Costs, Objective

LATENT, PIXELS, BATCH = 3, 4, 8
ALGORITHMS = {"alternating": advnets.Algorithm1, "simultaneous": advnets.Simultaneous}
RULES = {
    "sgd": lambda: optax.sgd(0.1),
    "rmsprop": lambda: optax.rmsprop(1e-2),
    "released": lambda: updates.released_updates(0.1, 5, norm_limit=1.0),
}


def players(key, kind="released"):
    g_key, d_key = jax.random.split(key)
    if kind == "released":
        pair = (
            networks.mlp_generator(g_key, LATENT, (PIXELS,), hidden_sizes=[6], weight_range=0.5),
            networks.maxout_discriminator(d_key, (PIXELS,), units=[5], pieces=3, weight_range=0.5),
        )
    else:  # Equinox's own, activation leaf and all; a logit of shape (1,)
        pair = eqx.nn.MLP(LATENT, PIXELS, 6, 1, key=g_key), eqx.nn.MLP(PIXELS, 1, 6, 1, key=d_key)
    return advnets.Players(*pair, priors.Uniform(LATENT))


def build(key, order="alternating", rule="sgd", kind="equinox", **settings):
    algorithm = ALGORITHMS[order](
        generator_updates=RULES[rule](), discriminator_updates=RULES[rule](), **settings
    )
    given = players(key, kind)
    return algorithm, given, algorithm.init(given)


def real_batch(seed, *leading):
    return jnp.asarray(np.random.default_rng(seed).random((*leading, BATCH, PIXELS)), jnp.float32)


def of(state, name):
    return state.players[name], state.updates[name]


@pytest.mark.parametrize(
    ("rule", "kind"),
    [
        ("sgd", "equinox"),
        pytest.param("rmsprop", "released", marks=pytest.mark.long),
        ("released", "equinox"),
    ],
)
def test_each_step_moves_only_its_own_player(key, rule, kind):
    algorithm, given, start = build(key, rule=rule, kind=kind)

    @jax.jit
    def steps(key, real):
        return [
            step(key, given, start, real)[0]
            for step in (algorithm.discriminator_step, algorithm.generator_step)
        ]

    for seed in range(5):
        after_d, after_g = steps(jax.random.key(seed), real_batch(seed))
        assert same(of(after_d, "generator"), of(start, "generator"))
        assert differs_everywhere(after_d.discriminator, start.discriminator)
        assert same(of(after_g, "discriminator"), of(start, "discriminator"))
        assert differs_everywhere(after_g.generator, start.generator)


class Relative(Objective):
    """Both costs look at the data."""

    def costs(self, draws, D, real, fake):
        margin = jnp.mean(jax.nn.softplus(D(draws.real, real) - D(draws.fake, fake)))
        return Costs(-margin, margin, {"value": margin})


@pytest.mark.parametrize("k", [pytest.param(1, marks=pytest.mark.long), 3])
def test_an_iteration_is_k_discriminator_steps_and_a_generator_step(key, k):
    algorithm, given, start = build(key, kind="released", k=k, objective=Relative())
    real = real_batch(0, k)

    @jax.jit
    def both(real):
        state, info = algorithm.step(key, given, start, real if k > 1 else real[0])
        d_keys, g_key = algorithm.step_keys(key, 0)
        expected, values = start, []
        for step_key, batch in zip(d_keys, real, strict=True):
            expected, seen = algorithm.discriminator_step(step_key, given, expected, batch)
            values.append(seen["value"])
        expected, g_info = algorithm.generator_step(g_key, given, expected, real[-1])
        return (state, info), (expected, values, g_info)

    (state, info), (expected, values, g_info) = both(real)
    assert_close(state.players, expected.players, rtol=1e-6)
    np.testing.assert_allclose(info["discriminator"]["value"], np.mean(values), rtol=1e-5)
    np.testing.assert_allclose(info["generator"]["cost"], g_info["generator"]["cost"], rtol=1e-5)
    assert int(state.iteration) == 1


@pytest.mark.long
def test_vmap_over_seeds_equals_a_loop(key):
    algorithm, *_ = build(key, "alternating")
    keys = jax.random.split(jax.random.key(5), 2)
    batches = real_batch(1, 4)

    def train(key):
        given = players(key, "released")
        state = algorithm.init(given)
        return jax.lax.scan(lambda s, x: algorithm.step(key, given, s, x), state, batches)

    together = jax.jit(jax.vmap(train))(keys)
    alone = jax.jit(train)
    for i, seed_key in enumerate(keys):
        assert_close(jax.tree.map(lambda x, i=i: x[i], together), alone(seed_key), atol=1e-6)


@pytest.mark.parametrize("order", ALGORITHMS)
def test_data_reach_the_generator_only_through_the_discriminator(key, order):
    """The change of G has an exactly zero derivative in the data at fixed D."""
    algorithm, given, start = build(key, order)
    real, direction = real_batch(0), real_batch(1)

    def derivative_of_the_generator(algorithm, state):
        def moved(real):
            return algorithm.step(key, given, state, real)[0].generator

        _, derivative = jax.jit(lambda x, v: jax.jvp(moved, (x,), (v,)))(real, direction)
        return leaves(derivative)

    derivative = derivative_of_the_generator(algorithm, start)
    if order == "simultaneous":
        # Both gradients at the same parameters: today's data do not touch today's generator.
        assert not any(x.any() for x in derivative)
    else:
        assert all(x.any() for x in derivative)  # through the discriminator's update, and
        frozen = dataclasses.replace(algorithm, discriminator_updates=optax.set_to_zero())
        state = frozen.init(given)  # through nothing else
        assert not any(x.any() for x in derivative_of_the_generator(frozen, state))


def test_every_iteration_draws_afresh_and_the_same_one_draws_the_same(key):
    algorithm, given, start = build(key)
    step = jax.jit(lambda key, state, real: algorithm.step(key, given, state, real))
    real = real_batch(0)
    first, again = step(key, start, real), step(key, start, real)
    assert same(first, again)
    later = dataclasses.replace(start, iteration=jnp.array(1))
    assert not same(step(key, later, real)[0].generator, first[0].generator)
    assert not same(step(jax.random.key(1), start, real)[0].generator, first[0].generator)


@pytest.mark.parametrize("order", ALGORITHMS)
def test_a_step_traces_once_for_many_calls(key, order):
    algorithm, given, state = build(key, order)
    traces = 0

    @jax.jit
    def step(key, state, real):
        nonlocal traces
        traces += 1
        return algorithm.step(key, given, state, real)

    for seed in range(5):
        state, _ = step(jax.random.key(seed), state, real_batch(seed))
    assert traces == 1


def test_the_state_holds_arrays_only_and_can_be_donated(key):
    algorithm, given, state = build(key)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))
    step = jax.jit(
        lambda key, state, real: algorithm.step(key, given, state, real), donate_argnums=1
    )
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

    _, given, _ = build(key)
    given = dataclasses.replace(given, discriminator=Counting(jnp.ones(PIXELS), jnp.arange(3), "d"))
    algorithm = advnets.Algorithm1(
        generator_updates=optax.sgd(0.1), discriminator_updates=optax.sgd(0.1)
    )
    state = algorithm.init(given)
    state, _ = jax.jit(lambda state, real: algorithm.step(key, given, state, real))(
        state, real_batch(0)
    )
    trained = at(given, state).discriminator
    assert trained.name == "d"
    assert (trained.table == jnp.arange(3)).all()
    assert (trained.weight != 1).any()


class Times(eqx.Module):
    weight: jax.Array

    def __call__(self, x):
        return self.weight * x[0]


class Sine(eqx.Module):
    weight: jax.Array

    def __call__(self, z):
        return jnp.sin(self.weight * z[:1])


def test_info_is_what_numpy_makes_of_the_logits(key):
    given = advnets.Players(Sine(jnp.ones(())), Times(jnp.ones(())), priors.Uniform(LATENT))
    algorithm, *_ = build(key)
    state = algorithm.init(given)
    real = jnp.linspace(-2.0, 3.0, BATCH)[:, None]
    _, info = jax.jit(algorithm.discriminator_step)(key, given, state, real)
    z = given.prior(advnets.draws.discriminator_draws(key).latents, BATCH)
    real_logits, fake_logits = np.asarray(real[:, 0], float), np.sin(np.asarray(z[:, 0], float))
    sigmoid = scipy.special.expit
    value = np.log(sigmoid(real_logits)).mean() + np.log1p(-sigmoid(fake_logits)).mean()
    np.testing.assert_allclose(info["value"], value, rtol=1e-5)
    np.testing.assert_allclose(info["real_output"], sigmoid(real_logits).mean(), rtol=1e-5)
    np.testing.assert_allclose(info["fake_output"], sigmoid(fake_logits).mean(), rtol=1e-5)
    np.testing.assert_allclose(info["real_error"], (real_logits < 0).mean(), rtol=1e-6)
    np.testing.assert_allclose(info["fake_error"], (fake_logits >= 0).mean(), rtol=1e-6)
    gradient = ((sigmoid(real_logits) - 1) * real_logits).mean() + (
        sigmoid(fake_logits) * fake_logits
    ).mean()
    np.testing.assert_allclose(info["gradient_norm"], abs(gradient), rtol=1e-4)
    assert info.keys() == {
        *("value", "real_output", "fake_output", "real_error", "fake_error", "gradient_norm")
    }


@pytest.mark.long
@pytest.mark.parametrize(("order", "k"), [("simultaneous", None), ("alternating", 2)])
def test_gradient_norms_every_third_iteration_and_the_rest_as_always(key, order, k):
    real = real_batch(0, 7, k) if k else real_batch(0, 7)
    runs = []
    for norms_every in (1, 3):
        settings = {"k": k} if k else {}
        algorithm, given, state = build(key, order, norms_every=norms_every, **settings)

        def step(state, real, algorithm=algorithm, given=given):
            return algorithm.step(key, given, state, real)

        runs.append(
            jax.device_get(jax.jit(lambda s, step=step: jax.lax.scan(step, s, real))(state))
        )
    (dense_state, dense), (sparse_state, sparse) = runs
    assert_close(sparse_state, dense_state)
    for player in ("discriminator", "generator"):
        for name, values in dense[player].items():
            wanted = values.copy()
            if name == "gradient_norm":
                wanted[[1, 2, 4, 5]] = np.nan
            np.testing.assert_allclose(sparse[player][name], wanted, rtol=1e-4, err_msg=name)


def test_it_runs_in_float64():
    with jax.enable_x64(True):
        algorithm, given, state = build(jax.random.key(0), rule="released", kind="released")
        batch = jnp.asarray(np.random.default_rng(0).random((BATCH, PIXELS)))
        found = jax.eval_shape(
            lambda state, real: algorithm.step(jax.random.key(0), given, state, real), state, batch
        )
        floats = [x for x in jax.tree.leaves(found) if jnp.issubdtype(x.dtype, jnp.inexact)]
        assert {x.dtype for x in floats} == {jnp.dtype("float64")}


@pytest.mark.parametrize(
    ("order", "settings", "message"),
    [
        ("alternating", {"k": 0}, "k must be at least 1; got 0"),
        ("alternating", {"norms_every": 0}, "norms_every must be at least 1; got 0"),
        ("simultaneous", {"average": 1.0}, "average's decay must be at least 0 and below 1; got 1"),
        ("simultaneous", {"average": jnp.array(1.5)}, "average's decay .* below 1; got 1.5"),
        ("simultaneous", {"average": -0.1}, "average's decay must be at least 0 .* got -0.1"),
    ],
)
def test_settings_that_make_no_algorithm_are_refused(key, order, settings, message):
    with pytest.raises(ValueError, match=message):
        build(key, order, **settings)


@pytest.mark.parametrize(
    ("rule", "name"), [(optax.adam, "optax.adam"), (optax.contrib.prodigy, "optax.contrib.prodigy")]
)
def test_an_optax_function_that_was_not_called_is_refused(rule, name):
    """It would be taken for a schedule by epoch, and make a rule of an absurd rate."""
    message = f"discriminator's update rule is the function {name}, .* such as {name}\\(1e-3\\)"
    with pytest.raises(ValueError, match=message):
        advnets.Algorithm1(discriminator_updates=rule)


def test_the_wrong_number_of_minibatches_is_refused(key):
    algorithm, given, state = build(key, k=3)
    with pytest.raises(ValueError, match="k=3 discriminator steps need that many minibatches"):
        algorithm.step(key, given, state, real_batch(0, 2))


def test_the_released_rule_outside_the_driver_must_know_an_epochs_length(key):
    algorithm = advnets.Algorithm1()
    with pytest.raises(ValueError, match=r"call algorithm\.for_epochs_of"):
        algorithm.init(players(key))
    algorithm.for_epochs_of(5).init(players(key))
    algorithm.for_epochs_of(1).init(players(key))
    with pytest.raises(ValueError, match="at least 1 iteration; got 0"):
        algorithm.for_epochs_of(0)


@pytest.mark.parametrize("kind", [advnets.Algorithm1, advnets.Simultaneous])
def test_an_algorithm_is_equal_to_itself_alone_and_may_be_a_key(kind):
    one, other = kind(), kind()
    assert {one: 1, other: 2} == {other: 2, one: 1}
    assert one != other


def test_gradient_norms_are_there_in_every_iteration_unless_asked_otherwise():
    assert advnets.Algorithm1().norms_every == advnets.Simultaneous().norms_every == 1


def test_momentum_and_decay_of_the_released_rule_count_what_each_player_does(key):
    """k = 3: D makes 3 updates an iteration, G one, and both rates decay with D's."""
    rule = updates.Released(0.2, divisor=1.1, saturate=3)
    algorithm = advnets.Algorithm1(k=3, generator_updates=rule, discriminator_updates=rule)
    settled = algorithm.for_epochs_of(2)
    expected = {
        "discriminator": updates.released_updates(0.2, 6, divisor=1.1, saturate=3),
        "generator": updates.released_updates(0.2, 2, divisor=1.1, saturate=3, stride=3),
    }
    for name, theirs in expected.items():
        ours = settled.rules[name]
        states = [one.init(jnp.ones(2)) for one in (ours, theirs)]
        for count in range(14):
            changes = []
            for i, one in enumerate((ours, theirs)):
                change, states[i] = one.update(jnp.full(2, 1.0 + count), states[i])
                changes.append(change)
            assert (changes[0] == changes[1]).all(), (name, count)
