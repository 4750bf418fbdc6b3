"""What training leaves in a folder: a model that one line loads, and pictures."""

import sys

import equinox as eqx
import jax
import matplotlib.image
import numpy as np
import pytest
from helpers.games import LATENT, SHAPE, images, plain, same, train

import advnets
from advnets.training import Streamed
from advnets.training.pictures import CURVES, SAMPLES

KEY = jax.random.key(0)


def mlp(final):
    """Players of Equinox's own layers, on vectors."""
    return advnets.Players(
        eqx.nn.MLP(LATENT, 6, 4, 1, final_activation=final, key=KEY),
        eqx.nn.MLP(6, 1, 4, 1, key=KEY),
        advnets.priors.Uniform(LATENT),
    )


def vectors():
    return (images() / 255).astype(np.float32).reshape(-1, 6)


def test_the_model_loads_in_one_line(tmp_path):
    trained = train(1, mlp(jax.nn.sigmoid), vectors(), folder=tmp_path)
    loaded = advnets.load_model(tmp_path)
    assert type(loaded) is advnets.Model
    assert same(loaded, trained.model)
    assert (loaded.sample(KEY, 3) == trained.model.sample(KEY, 3)).all()
    assert not list(tmp_path.glob("*.png"))


@pytest.mark.long
def test_a_model_that_cannot_be_described_leaves_its_arrays(tmp_path):
    trained = train(1, mlp(lambda x: x / 2), vectors(), folder=tmp_path)
    with pytest.raises(ValueError, match="arrays without a description of the model; give like="):
        advnets.load_model(tmp_path)
    assert same(advnets.load_model(tmp_path, like=trained.model), trained.model)


@pytest.mark.long
@pytest.mark.parametrize("streamed", [False, True])
def test_images_and_curves_are_drawn(tmp_path, streamed):
    train(1, data=Streamed(images()) if streamed else None, folder=tmp_path, pictures=True)
    height, width, _ = matplotlib.image.imread(tmp_path / SAMPLES).shape
    # Ten samples in a row, with gaps of 1 pixel; of resident data also neighbours and their name.
    samples = (10 * (SHAPE[1] + 1) + 1) / (8 * (SHAPE[0] + 1) + 1)
    assert width / height == samples if streamed else width / height > samples
    assert matplotlib.image.imread(tmp_path / CURVES).std() > 0


def test_vectors_have_curves_alone(tmp_path):
    train(1, mlp(jax.nn.sigmoid), vectors(), folder=tmp_path, pictures=True)
    assert [path.name for path in tmp_path.glob("*.png")] == [CURVES]


def test_without_matplotlib_nothing_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    train(1, folder=tmp_path, pictures=True)
    assert not list(tmp_path.glob("*.png"))
    assert (tmp_path / "generator.safetensors").exists()


def test_a_picture_that_fails_is_no_failure_of_the_run(tmp_path):
    (tmp_path / CURVES).mkdir()
    with pytest.warns(RuntimeWarning, match="not all pictures were drawn"):
        trained = train(1, plain(KEY), folder=tmp_path, pictures=True)
    assert trained.updates == 10
