"""Several devices compute what one does, and each a part of it."""

import equinox as eqx
import jax
import optax
import pytest
from helpers import seams
from helpers.games import (
    assert_close,
    images,
    noisy,
    plain,
    same,
    train,
    wide,
)

import advnets
from advnets.training import Devices

# The session has two devices (conftest.py).
KEY = jax.random.key(0)


def assert_alike(one, other):
    assert_close(one.players, other.players)
    for ours, theirs in zip(one.metrics, other.metrics, strict=True):
        for player in ("discriminator", "generator"):
            for name, value in theirs[player].items():
                assert ours[player][name] == pytest.approx(value, rel=1e-5), name


def on_one_device(tree):
    return all(len(x.devices()) == 1 for x in jax.tree.leaves(eqx.filter(tree, eqx.is_array)))


@pytest.mark.parametrize(
    "algorithm",
    [advnets.Simultaneous(), pytest.param(advnets.Algorithm1(k=2), marks=pytest.mark.long)],
)
def test_a_minibatch_over_two_devices_is_the_same_minibatch(algorithm):
    settings = {"players": noisy(KEY), "batch_size": 4, "algorithm": algorithm}
    spread, whole = (train(1, devices=devices, **settings) for devices in (2, None))
    assert_alike(spread, whole)
    assert on_one_device(spread.players)


@pytest.mark.long
@pytest.mark.parametrize("in_a_loop", [True, False])
def test_games_over_two_devices_are_the_same_games(monkeypatch, in_a_loop):
    seams.games_in_a_loop(monkeypatch, in_a_loop)
    keys = jax.random.split(KEY)
    players = eqx.filter_vmap(plain)(keys)

    def many(devices):
        return advnets.train_many(
            keys, players, images(), epochs=1, batch_size=5, devices=devices, progress=False
        )

    for spread, whole in zip(many(2), many(1), strict=True):
        assert_alike(spread, whole)
        assert on_one_device(spread.players)


RULE = optax.sgd(0.1, momentum=0.5)
ALGORITHM = advnets.Simultaneous(generator_updates=RULE, discriminator_updates=RULE)


@pytest.mark.long
def test_large_layers_are_sharded_and_the_numbers_are_those_of_one_device(monkeypatch, tmp_path):
    seams.large(monkeypatch, 60)
    settings = {"players": wide(KEY), "batch_size": 4, "algorithm": ALGORITHM}
    whole = train(1, **settings)
    sharded = train(1, devices=Devices(2, shard_layers=True), folder=tmp_path, **settings)
    assert_alike(sharded, whole)
    assert on_one_device(sharded.players)
    with pytest.warns(RuntimeWarning, match="the number of devices was 2, is 1"):
        again = train(1, folder=tmp_path, resume=True, **settings)
    assert same(again.players, sharded.players)
    (change,) = again.changes
    assert (change.name, change.was, change.now) == ("the number of devices", "2", "1")


@pytest.mark.parametrize(
    ("devices", "batch_size", "message"),
    [
        (0, 4, "devices must be at least 1 and at most 2"),
        (3, 4, r"got 3 \(set JAX_NUM_CPU_DEVICES=N in the environment for N devices"),
        (2, 5, "the batch size must be a multiple of the 2 devices; got 5"),
    ],
)
def test_devices_that_do_not_fit_are_refused(devices, batch_size, message):
    with pytest.raises(ValueError, match=message):
        train(1, devices=devices, batch_size=batch_size)
