"""Saved models: open, exact, and refused when they are not what is asked for."""

import json
import struct

import equinox as eqx
import jax
import numpy as np
import pytest

import advnets


def build(seed=0, sizes=(5,)):
    return advnets.mlp_generator(jax.random.key(seed), 3, (2, 2), hidden_sizes=list(sizes))


def arrays(model):
    return jax.device_get(jax.tree.leaves(eqx.filter(model, eqx.is_array)))


def test_a_model_comes_back_bit_for_bit(tmp_path):
    model = build(0)
    advnets.save_model(tmp_path / "g.safetensors", model)
    for like in (build(1), eqx.filter_eval_shape(build)):
        loaded = advnets.load_model(tmp_path / "g.safetensors", like=like)
        assert all(
            (x == y).all() and x.dtype == y.dtype
            for x, y in zip(arrays(model), arrays(loaded), strict=True)
        )
    assert [path.name for path in tmp_path.iterdir()] == ["g.safetensors"]


def test_a_scalar_stays_a_scalar(tmp_path):
    model = {"scale": jax.numpy.array(2.0), "matrix": jax.numpy.ones((2, 3)).T}
    advnets.save_model(tmp_path / "m.safetensors", model)
    loaded = advnets.load_model(tmp_path / "m.safetensors", like=model)
    assert loaded["scale"].shape == ()
    assert (loaded["matrix"] == model["matrix"]).all()
    assert (tmp_path / "m.safetensors").stat().st_mode & 0o044  # as readable as any other file


def test_the_file_is_plain_safetensors_with_readable_names(tmp_path):
    advnets.save_model(tmp_path / "g.safetensors", build())
    content = (tmp_path / "g.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    assert header["layers[0].weight"]["shape"] == [5, 3]


def test_another_model_is_refused_by_name(tmp_path):
    advnets.save_model(tmp_path / "g.safetensors", build())
    with pytest.raises(
        ValueError, match=r"layers\[0\].bias is float32\[5\] there and float32\[6\] here"
    ):
        advnets.load_model(tmp_path / "g.safetensors", like=build(sizes=(6,)))
    with pytest.raises(
        ValueError, match=r"layers\[4\].bias is missing there and float32\[4\] here"
    ):
        advnets.load_model(tmp_path / "g.safetensors", like=build(sizes=(5, 4)))


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "g.safetensors"
    advnets.save_model(path, build())
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        advnets.load_model(path, like=build())
    with pytest.raises(FileNotFoundError):
        advnets.load_model(tmp_path / "none", like=build())


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "g.safetensors"
    advnets.save_model(path, build(0))

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr("advnets.models.save", fail)
    with pytest.raises(OSError, match="disk full"):
        advnets.save_model(path, build(1))
    loaded = advnets.load_model(path, like=build(1))
    assert all((x == y).all() for x, y in zip(arrays(build(0)), arrays(loaded), strict=True))
    assert np.isfinite(arrays(loaded)[0]).all()
