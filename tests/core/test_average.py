"""The average of the generator: a recursion over its updates."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
from helpers.games import SHAPE, images, leaves, plain, same
from hypothesis import given, settings
from hypothesis import strategies as st

import advnets
from advnets.algorithms import averaged, ramped

KEY, DECAY = jax.random.key(0), 0.8


@pytest.mark.parametrize(
    "kind",
    [lambda **s: advnets.Algorithm1(k=2, **s), advnets.Simultaneous],
    ids=["k=2", "together"],
)
def test_it_follows_the_generator_by_the_recursion(kind):
    rule = optax.sgd(0.5)
    algorithm = kind(generator_updates=rule, discriminator_updates=rule, average=DECAY)
    players = plain(KEY)
    minibatches = (10, 2, 6) if algorithm.minibatches == 2 else (10, 6)
    real = jnp.asarray(np.random.default_rng(0).random((*minibatches, *SHAPE)), jnp.float32)

    def step(state, batch):
        state, _ = algorithm.step(KEY, players, state, batch)
        return state, (state.generator, state.average)

    start = algorithm.init(players)
    final, (generators, averages) = jax.jit(lambda s: jax.lax.scan(step, s, real))(start)
    expected = [np.asarray(x, np.float64) for x in leaves(start.generator)]
    for update in range(10):
        now = [np.asarray(x[update], np.float64) for x in leaves(generators)]
        expected = [DECAY * e + (1 - DECAY) * n for e, n in zip(expected, now, strict=True)]
        for ours, theirs in zip(leaves(averages), expected, strict=True):
            np.testing.assert_allclose(ours[update], theirs, rtol=1e-5, atol=1e-6)
    assert abs(expected[0] - now[0]).max() > 1e-3
    both = averaged(players, final)
    assert same(both.generator, final.average)
    assert same(both.discriminator, final.discriminator)


@pytest.mark.parametrize("kind", [jnp.bfloat16, jnp.float16])
def test_it_moves_in_half_precision_too(kind):
    rule = optax.sgd(1.0)
    algorithm = advnets.Simultaneous(
        generator_updates=rule, discriminator_updates=rule, average=0.999
    )
    players = jax.tree.map(lambda x: jnp.zeros(x.shape, kind), plain(KEY))
    state = algorithm.init(players)
    ones = jax.tree.map(lambda x: -jnp.ones_like(x), state.generator)

    def step(state, size):  # the first goes from 0 to 1, where the others stay
        gradient = jax.tree.map(lambda x: size.astype(kind) * x, ones)
        return algorithm.descend(state, {"generator": gradient}), None

    final, _ = jax.jit(lambda s: jax.lax.scan(step, s, jnp.zeros(300).at[0].set(1)))(state)
    for average in leaves(final.average):
        np.testing.assert_allclose(average, 1 - 0.999**300, rtol=1e-4)
    both = averaged(players, final)
    assert {x.dtype for x in leaves(both.generator)} == {jnp.dtype(kind)}


def test_a_ramped_decay_weighs_a_share_of_the_updates_so_far():
    rule = optax.sgd(0.5)
    algorithm = advnets.Simultaneous(
        generator_updates=rule, discriminator_updates=rule, average=ramped(0.75, 0.5)
    )
    players = plain(KEY)
    real = jnp.asarray(np.random.default_rng(0).random((10, 6, *SHAPE)), jnp.float32)

    def step(state, batch):
        state, _ = algorithm.step(KEY, players, state, batch)
        return state, (state.generator, state.average)

    _, (generators, averages) = jax.jit(lambda s: jax.lax.scan(step, s, real))(
        algorithm.init(players)
    )
    decays = [min(0.75, 1 - 1 / (1 + 0.5 * t)) for t in range(10)]
    assert decays[0] == 0
    assert decays[6:] == [0.75] * 4
    for ours, theirs in zip(leaves(averages), leaves(generators), strict=True):
        expected = 0.0  # what G began with has no part in it
        for update, decay in enumerate(decays):
            now = np.asarray(theirs[update], np.float64)
            expected = decay * expected + (1 - decay) * now
            np.testing.assert_allclose(ours[update], expected, rtol=1e-5, atol=1e-6)


LONGEST = 300


@settings(deadline=None)
@given(share=st.floats(0.05, 1.0), last=st.integers(1, LONGEST))
def test_a_ramped_average_counts_parameters_by_a_power_of_the_time(share, last):
    # What each update's parameters count for in the end, were the decay never reached.
    decays = 1 - 1 / (1 + share * np.arange(last + 1))
    weights = (1 - decays) * np.append(np.cumprod(decays[:0:-1])[::-1], 1.0)
    assert weights.sum() == pytest.approx(1)
    # Gamma(t + 1 / s) / Gamma(t + 1), which goes as t to the power of 1 / s - 1.
    t = np.arange(1, last + 1)
    powers = scipy.special.gammaln(t + 1 / share) - scipy.special.gammaln(t + 1)
    found = np.log(weights[1:])
    np.testing.assert_allclose(found - found[-1], powers - powers[-1], atol=1e-6)
    ours = jax.vmap(ramped(0.999999, share))(jnp.arange(LONGEST + 1))[: last + 1]  # of one shape
    np.testing.assert_allclose(ours, np.minimum(decays, 0.999999), atol=1e-6)


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ((1.0, 0.5), "below 1; got 1.0"),
        ((0.9, 0.0), "got 0.0"),
        ((0.9, 1e300), "got 1e"),
    ],
)
def test_decays_and_shares_out_of_range_are_refused(given_, message):
    with pytest.raises(ValueError, match=message):
        ramped(*given_)


def test_there_is_none_unless_asked():
    algorithm = advnets.Algorithm1(
        generator_updates=optax.sgd(1), discriminator_updates=optax.sgd(1)
    )
    state = algorithm.init(plain(KEY))
    assert state.average is None
    assert averaged(plain(KEY), state) is None
    snapshots = []
    trained = advnets.train(
        KEY, plain(KEY), images(), epochs=1, algorithm=algorithm, batch_size=5,
        callbacks=[snapshots.append], progress=False,
    )  # fmt: skip
    for each in (trained, *snapshots):
        with pytest.raises(AttributeError, match=r"no average .* pass average=0.999 .* \.model"):
            _ = each.averaged


def train(epochs, **settings):
    rule = optax.sgd(0.5)
    algorithm = advnets.Simultaneous(
        generator_updates=rule, discriminator_updates=rule, average=DECAY
    )
    return advnets.train(
        KEY, plain(KEY), images(), epochs=epochs, algorithm=algorithm, batch_size=5,
        evaluate_every=1, progress=False, **settings,
    )  # fmt: skip


@pytest.mark.long
def test_it_is_evaluated_saved_and_resumed_beside_the_generator(tmp_path):
    seen = []

    def evaluate(epoch, model):
        seen.append(model)
        return {"first": float(model.sample(KEY, 2)[0, 0, 0])}

    whole = train(2, evaluate=evaluate)
    assert len(seen) == 2
    assert whole.metrics[-1]["first"] == float(whole.averaged.sample(KEY, 2)[0, 0, 0])
    assert same(seen[1], whole.averaged)
    assert seen[1].prior == whole.model.prior
    assert not same(whole.model, whole.averaged)

    train(1, evaluate=evaluate, folder=tmp_path)
    resumed = train(2, evaluate=evaluate, folder=tmp_path, resume=True)
    assert resumed.metrics == whole.metrics
    assert same(resumed.averaged, whole.averaged)
    with pytest.raises(advnets.CheckpointError, match="another average"):
        advnets.train(
            KEY, plain(KEY), images(), epochs=3, batch_size=5, folder=tmp_path, resume=True,
            algorithm=advnets.Simultaneous(
                generator_updates=optax.sgd(0.5), discriminator_updates=optax.sgd(0.5), average=0.9
            ),
        )  # fmt: skip
