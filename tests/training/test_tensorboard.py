"""What TensorBoard is given, read back from the event files."""

import io
import struct
import sys

import jax
import jax.numpy as jnp
import matplotlib.image
import numpy as np
import pytest
from helpers.games import LATENT, SHAPE, plain, same

import advnets
from advnets.training import Snapshot, tensorboard
from advnets.training.pictures import sample_images, shown

pytest.importorskip("tensorboardX")


def events(folder):
    """The events in a folder's files: records of a length, its checksum, a message, its own."""
    from tensorboardX.proto.event_pb2 import Event

    for path in sorted(folder.glob("events.*")):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            yield Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]


def values(folder):
    return {(e.step, v.tag): v for e in events(folder) for v in e.summary.value}


PLAYERS = plain(jax.random.key(0))
STATE = advnets.Algorithm1().for_epochs_of(10).init(PLAYERS)


def snapshot(epoch, folder, run=0, name=""):
    row = {
        "epoch": epoch, "updates": 10 * epoch, "generator": {"cost": 1 / epoch},
        "score": {"mean": 0.5}, "flag": True, "missing": None, "name": "text",
    }  # fmt: skip
    return Snapshot(run, name, epoch, 10 * epoch, row, folder, PLAYERS, STATE)


def test_numbers_and_samples_are_there_at_each_epoch(tmp_path):
    log = tensorboard()
    for epoch in (1, 2):
        log(snapshot(epoch, tmp_path))
    found = values(tmp_path / "tensorboard")
    names = {"updates", "generator/cost", "score/mean", "flag", "samples"}
    assert found.keys() == {(epoch, name) for epoch in (1, 2) for name in names}
    assert found[2, "generator/cost"].simple_value == 0.5
    assert found[2, "updates"].simple_value == 20
    assert found[2, "flag"].simple_value == 1
    image = found[2, "samples"].image
    drawn = matplotlib.image.imread(io.BytesIO(image.encoded_image_string))
    samples = shown(advnets.model.model_of(PLAYERS).sample(jax.random.key(0), 64))
    expected = samples.reshape(8, 8, *SHAPE).swapaxes(1, 2).reshape(8 * SHAPE[0], 8 * SHAPE[1])
    np.testing.assert_allclose(drawn[..., 0], expected, atol=0.51 / 255)
    # A process that repeats epochs replaces them.
    tensorboard()(snapshot(2, tmp_path))
    starts = [e.step for e in events(tmp_path / "tensorboard") if e.HasField("session_log")]
    assert starts == [1, 2]


def test_many_runs_are_told_apart(tmp_path):
    log = tensorboard(tmp_path)
    for run, name in enumerate(("a", "b")):
        log(snapshot(1, None, run, name))
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}
    assert (1, "generator/cost") in values(tmp_path / "b")


def test_a_run_without_a_folder_is_told_to_name_one():
    with pytest.raises(ValueError, match=r"say where the logs go, tensorboard\(folder\)"):
        tensorboard()(snapshot(1, None))


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'advnets\[tensorboard\]'"):
        tensorboard()


def test_what_is_no_image_has_no_picture():
    key = jax.random.key(0)
    prior = advnets.priors.Uniform(LATENT)
    for generator in (lambda z: z, lambda z, label: jnp.zeros(SHAPE), lambda z: z[None, None]):
        assert sample_images(key, advnets.Model(generator, prior), 3) is None
    model = advnets.model.model_of(plain(key))
    assert same(sample_images(key, model, 3), model.sample(key, 3))
