"""Streamed data give the bits of data on the device."""

import datasets
import equinox as eqx
import jax
import numpy as np
import optax
import pytest
from helpers import seams
from helpers.games import LATENT, SHAPE, Own, assert_close, assert_same_run, images, plain, train

import advnets
from advnets import conditions, priors
from advnets.layers import Labelled
from advnets.training import Resident, Streamed

KEY = jax.random.key(0)
LABELS = np.arange(53) % 3


@pytest.fixture
def mapped(tmp_path):
    """Images in a memory map."""
    file = np.memmap(tmp_path / "images", np.uint8, "w+", shape=(53, *SHAPE))
    file[:] = images()
    file.flush()
    return np.memmap(tmp_path / "images", np.uint8, "r", shape=(53, *SHAPE))


@pytest.mark.long
def test_a_memory_map_trains_bit_for_bit_as_data_on_the_device(mapped):
    algorithm = advnets.Simultaneous()
    resident = train(2, algorithm=algorithm)
    assert_same_run(resident, train(2, data=Streamed(mapped), algorithm=algorithm))


@pytest.mark.long
def test_small_chunks_and_k_minibatches_change_no_bit(monkeypatch):
    algorithm = advnets.Algorithm1(k=3)
    settings = {"algorithm": algorithm, "evaluate_every": 1}
    resident = train(2, **settings)
    data = Own(images())
    # Two of an epoch's three iterations, of 3 minibatches of 5 rows of 6 bytes.
    seams.bytes_per_chunk(monkeypatch, 2 * 3 * 5 * 6)
    assert_same_run(resident, train(2, data=Streamed(data), **settings))
    assert max(data.asked) == 2 * 3 * 5
    seams.bytes_per_chunk(monkeypatch, 1)  # one at a time, however small
    assert Streamed(images()).iterations_per_chunk(15) == 1


@pytest.mark.long
def test_many_games_and_several_devices_stream_too():
    keys = jax.random.split(KEY)
    players = eqx.filter_vmap(plain)(keys)

    def many(data, devices):
        return advnets.train_many(
            keys, players, data, epochs=1, batch_size=5, progress=False, devices=devices
        )

    resident, streamed, spread = (
        many(images(), 1), many(Streamed(images()), 1), many(Streamed(images()), 2)
    )  # fmt: skip
    for theirs, ours, over_two in zip(resident, streamed, spread, strict=True):
        assert_same_run(ours, theirs)
        assert_close(over_two.players, theirs.players)


@pytest.mark.long
def test_minibatches_over_two_devices_stream_too():
    settings = {"batch_size": 6, "devices": 2, "algorithm": advnets.Algorithm1(k=2)}
    assert_same_run(train(1, **settings), train(1, data=Streamed(images()), **settings))


def labelled(key):
    g_key, d_key = jax.random.split(key)
    shaped = eqx.nn.Sequential(
        [eqx.nn.Linear(LATENT + 3, 6, key=g_key), advnets.networks.Reshape(SHAPE)]
    )
    return advnets.Players(
        Labelled(shaped, 3), Labelled(eqx.nn.Linear(9, 1, key=d_key), 3), priors.Uniform(LATENT)
    )


def pair_of(batch):
    # The Hub's data sets give int64 in NumPy format, whatever they hold.
    return batch["image"].astype(float) / 255, batch["label"]


@pytest.mark.long
def test_tuples_dictionaries_and_data_sets_of_the_hub_are_batches():
    rule = optax.sgd(0.1)
    algorithm = advnets.Simultaneous(generator_updates=rule, discriminator_updates=rule)
    settings = {"players": labelled(KEY), "algorithm": algorithm}
    resident = train(1, data=(images(), LABELS), **settings)
    assert resident.model.condition == conditions.frequencies(LABELS)
    assert_same_run(resident, train(1, data=Streamed((images(), Own(LABELS))), **settings))
    features = {"image": datasets.Array2D(SHAPE, "uint8"), "label": datasets.Value("int64")}
    table = datasets.Dataset.from_dict(
        {"image": images(), "label": LABELS}, features=datasets.Features(features)
    )
    streamed = train(1, data=Streamed(table.with_format("numpy"), pair_of), **settings)
    assert streamed.model.condition == resident.model.condition
    for ours, theirs in zip(streamed.metrics, resident.metrics, strict=True):
        for name, value in theirs["discriminator"].items():
            assert ours["discriminator"][name] == pytest.approx(value, rel=1e-5)
    dictionary = Resident({"image": images(), "label": LABELS}, pair_of)
    assert_same_run(streamed, train(1, data=dictionary, **settings))
