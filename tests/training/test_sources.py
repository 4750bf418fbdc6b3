"""Where minibatches come from: every row once an epoch, preprocessed, or refused."""

import dataclasses

import datasets
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import seams
from helpers.games import Own, images, plain, train

import advnets
from advnets import preprocessing
from advnets.training import Resident, Streamed
from advnets.training.sources import Rows, Source, epoch_order, scale_pixels

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


@pytest.mark.long
def test_training_may_be_followed_step_by_step_without_compilation():
    rule = optax.sgd(0.1)
    algorithm = advnets.Simultaneous(generator_updates=rule, discriminator_updates=rule)
    compiled = train(1, plain(KEY), algorithm=algorithm)
    with jax.disable_jit():
        followed = train(1, plain(KEY), algorithm=algorithm)
    for name in ("value", "real_output"):
        one, other = (run.metrics[0]["discriminator"][name] for run in (compiled, followed))
        assert one == pytest.approx(other, rel=1e-5)


def test_orders_of_past_epochs_are_not_kept():
    rows = Rows(KEY, n=77, iterations=11, k=1, batch_size=7)
    for epoch in range(5):
        rows(11 * epoch, 11 * epoch + 11)
    assert sum(array.shape == (11, 7) for array in jax.live_arrays()) <= 2


@pytest.mark.long
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


def test_labels_of_more_rows_than_are_read_at_once():
    labels = np.arange(2500) % 7
    data = np.zeros((2500, 1), np.uint8), labels
    source = Resident(data, lambda batch: (batch[0], batch[1] + 1))
    assert (source.labels() == labels + 1).all()


def test_a_fingerprint_is_that_of_every_row_however_it_is_read(monkeypatch):
    whole = Streamed(images()).fingerprint()
    seams.bytes_per_look(monkeypatch, 50)
    data = Own(images())
    assert whole == Streamed(data).fingerprint()
    assert max(data.asked) == 50 // 6
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
        (lambda: Streamed(["a", "b"]), "must return arrays of numbers"),
        (lambda: Streamed(np.array(["a", "b"])), "must return arrays of numbers"),
        (lambda: Streamed(Own(np.array([None, {}]))), "must return arrays of numbers"),
        (
            lambda: Streamed(datasets.Dataset.from_dict({"name": ["a", "b"]}).with_format("numpy")),
            "must return arrays of numbers",
        ),
    ],
)
def test_what_is_no_source_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    "missing",
    [
        *("__len__", "gather", "fingerprint", "check_finite", "place", "chunk", "minibatch"),
        "iterations_per_chunk",
    ],
)
def test_a_source_that_lacks_a_part_can_not_be_made(missing):
    parts = {name: getattr(Resident, name) for name in Source.__abstractmethods__ | {missing}}
    type("Whole", (Source,), dict(parts))()
    del parts[missing]
    with pytest.raises(TypeError, match=missing):
        type("Partial", (Source,), parts)()
