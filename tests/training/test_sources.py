"""Where minibatches come from: every row once an epoch, and the same bits streamed or resident."""

import dataclasses

import datasets
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import seams
from helpers.games import LATENT, SHAPE, assert_close, assert_same_run, images, plain, train

import advnets
from advnets import conditions, preprocessing, priors
from advnets.layers import Labelled
from advnets.training import Resident, Streamed
from advnets.training.sources import epoch_order, scale_pixels

KEY = jax.random.key(0)
LABELS = np.arange(53) % 3


@pytest.mark.parametrize(("n", "batch_size"), [(1, 1), (60, 7), (53, 20), (20, 20)])
def test_an_epoch_visits_every_row_at_most_once(n, batch_size):
    epochs = np.arange(50)
    orders = jax.jit(jax.vmap(lambda epoch: epoch_order(KEY, epoch, n, batch_size)))(epochs)
    assert orders.shape == (50, n // batch_size, batch_size)
    for order in np.asarray(orders):
        flat = order.ravel()
        assert len(set(flat.tolist())) == len(flat)
        assert ((flat >= 0) & (flat < n)).all()


def test_epochs_have_orders_of_their_own_and_leave_out_other_rows():
    orders = jax.vmap(lambda epoch: epoch_order(KEY, epoch, 53, 5))(np.arange(40))
    orders = np.asarray(orders).reshape(40, 50).tolist()
    assert len({tuple(order) for order in orders}) == 40
    assert len({row for order in orders for row in set(range(53)) - set(order)}) > 40


class Own:
    """Data of one's own kind, which remember how many rows they were asked for at once."""

    def __init__(self, array):
        self.array, self.asked = array, []

    def __len__(self):
        return len(self.array)

    def __getitem__(self, rows):
        self.asked.append(len(rows))
        return self.array[rows]


@pytest.fixture
def mapped(tmp_path):
    """Images in a memory map."""
    file = np.memmap(tmp_path / "images", np.uint8, "w+", shape=(53, *SHAPE))
    file[:] = images()
    file.flush()
    return np.memmap(tmp_path / "images", np.uint8, "r", shape=(53, *SHAPE))


def test_a_memory_map_trains_bit_for_bit_as_data_on_the_device(mapped):
    algorithm = advnets.Simultaneous()
    resident = train(2, algorithm=algorithm)
    assert_same_run(resident, train(2, data=Streamed(mapped), algorithm=algorithm))


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


def test_training_sees_what_preprocessing_makes_of_each_image():
    inside = train(1, data=Resident(images(), preprocessing.gcn), algorithm=advnets.Algorithm1(k=2))
    before = train(
        1, data=np.asarray(preprocessing.gcn(images())), algorithm=advnets.Algorithm1(k=2)
    )
    values = [run.metrics[-1]["discriminator"]["value"] for run in (inside, before)]
    np.testing.assert_allclose(*values, rtol=1e-5)


def test_preprocessing_may_change_the_shape():
    def flat(images):
        return images.reshape(len(images), -1).astype(float)

    players = plain(KEY)
    generator = dataclasses.replace(players.generator, shape=(6,))
    train(1, dataclasses.replace(players, generator=generator), Resident(images(), flat))
    with pytest.raises(ValueError, match=r"shape \(2, 3\) and the data's \(6,\)"):
        train(1, data=Resident(images(), flat))


def test_pixels_are_scaled_and_nothing_else():
    pixels, labels = jnp.array([0, 255], jnp.uint8), jnp.array([3, 4])
    assert scale_pixels(pixels).tolist() == [0, 1]
    scaled, same = scale_pixels((pixels, labels))
    assert scaled.tolist() == [0, 1]
    assert same is labels
    assert scale_pixels({"image": pixels})["image"] is pixels


def test_a_fingerprint_is_that_of_every_row_however_it_is_read(mapped):
    whole = Streamed(images()).fingerprint()
    assert whole == Streamed(mapped).fingerprint() == Streamed(Own(images())).fingerprint()
    other = images()
    other[-1, -1, -1] ^= 1
    assert Streamed(other).fingerprint() != whole
    assert Resident(other).fingerprint() != Resident(images()).fingerprint()
    assert Resident((images(), LABELS)).fingerprint() != Resident(images()).fingerprint()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Resident((images(), LABELS[:50])), r"\[0\] has 53 and \[1\] has 50"),
        (lambda: Streamed((images(), LABELS[:50])), r"same number of rows; got \[50, 53\]"),
        (lambda: Streamed(()), "same number of rows"),
        (lambda: Streamed(["a", "b"]), "must give arrays of numbers"),
        (lambda: Streamed(np.array(["a", "b"])), "must give arrays of numbers"),
        (lambda: Streamed(Own(np.array([None, {}]))), "must give arrays of numbers"),
        (
            lambda: Streamed(datasets.Dataset.from_dict({"name": ["a", "b"]}).with_format("numpy")),
            "must give arrays of numbers",
        ),
    ],
)
def test_what_is_no_source_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
