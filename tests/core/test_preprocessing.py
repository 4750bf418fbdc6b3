"""Preprocessing: invariants, and NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advnets import preprocessing

SHAPE = (3, 2, 3)


def normalised(images, scale):
    flat = np.asarray(images, np.float64).reshape(len(images), -1)
    flat = flat - flat.mean(1, keepdims=True)
    norm = np.sqrt((flat**2).sum(1, keepdims=True))
    return (scale * flat / np.where(norm < 1e-8, 1, norm)).reshape(images.shape)


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("kind", ["uint8", "int32", "bfloat16", "float16", "float32"])
def test_pixels_of_any_type_become_floats_of_the_default_type(kind, double):
    with jax.enable_x64(double):
        pixels = preprocessing.to_unit_interval(jnp.ones((2, 3), kind))
        assert pixels.dtype == (jnp.float64 if double else jnp.float32)
        assert (pixels == (1 / 255 if kind == "uint8" else 1)).all()


@given(seed=st.integers(0, 2**31), scale=st.floats(0.1, 100.0), integers=st.booleans())
@settings(max_examples=25, deadline=None)
def test_every_image_has_mean_zero_and_the_norm_of_the_scale(seed, scale, integers):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (4, *SHAPE), np.uint8)
    if not integers:
        images = rng.normal(size=(4, *SHAPE)).astype(np.float32)
    out = np.asarray(preprocessing.gcn(images, scale), np.float64)
    assert out.shape == images.shape
    assert abs(out.mean((1, 2, 3))).max() <= 1e-6 * scale
    np.testing.assert_allclose(np.sqrt((out**2).sum((1, 2, 3))), scale, rtol=1e-5)
    np.testing.assert_allclose(out, normalised(images, scale), rtol=1e-5, atol=1e-5 * scale)


@given(
    seed=st.integers(0, 2**31),
    contrast=st.lists(st.floats(0.01, 100.0), min_size=4, max_size=4),
    brightness=st.lists(st.floats(-3.0, 3.0), min_size=4, max_size=4),
)
@settings(max_examples=25, deadline=None)
def test_each_images_brightness_and_contrast_drop_out(seed, contrast, brightness):
    images = np.random.default_rng(seed).normal(size=(4, *SHAPE)).astype(np.float32)
    a, b = (np.reshape(np.float32(v), (4, 1, 1, 1)) for v in (contrast, brightness))
    changed = a * (images + b)
    np.testing.assert_allclose(preprocessing.gcn(changed), preprocessing.gcn(images), atol=5e-3)


@pytest.mark.parametrize("scale", [1e-30, 1e-9, 1e19, 1e37])
def test_images_of_any_range_are_normalised(scale):
    images = np.random.default_rng(0).normal(size=(4, *SHAPE))
    found = preprocessing.gcn((scale * images).astype(np.float32))
    np.testing.assert_allclose(found, normalised(images, 55.0), atol=1e-4)


def test_differences_beyond_float32_are_normalised():
    found = preprocessing.gcn(np.array([[3e38, -3e38, 0, 0]], np.float32), 2.0)
    np.testing.assert_allclose(found, [[2**0.5, -(2**0.5), 0, 0]], rtol=1e-6)


@pytest.mark.parametrize("value", [0, 7, 255, 0.1, -1e4, 1 / 3])
def test_an_image_without_contrast_becomes_zero(value):
    kind = np.uint8 if isinstance(value, int) else np.float32
    images = np.full((2, 32, 32, 3), value, kind)
    images[1, 0, 0, 0] = 1
    normal = preprocessing.gcn(images)
    assert (normal[0] == 0).all()
    np.testing.assert_allclose(jnp.linalg.norm(normal[1].ravel()), 55, rtol=1e-5)


def test_contrast_needs_a_scale():
    with pytest.raises(ValueError, match="above 0 and finite; got 0"):
        preprocessing.gcn(np.ones((1, 2)), scale=0)
    with pytest.raises(ValueError, match=r"above 0 and finite; got 1e\+39"):
        preprocessing.gcn(np.ones((1, 2)), scale=1e39)


def test_a_picture_has_the_largest_value_at_an_end_and_zero_in_the_middle():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(5, *SHAPE)).astype(np.float32)
    picture = preprocessing.gcn_picture(images)
    assert picture.dtype == np.float32
    largest = max(abs(value) for value in images.ravel().tolist())
    expected = [(value / largest + 1) / 2 for value in images.ravel().tolist()]
    np.testing.assert_allclose(picture.ravel(), expected, rtol=1e-5, atol=1e-6)
    assert (preprocessing.gcn_picture(np.zeros((2, 3))) == 0.5).all()


def test_neighbours_are_shown_on_the_scale_of_the_samples():
    samples, neighbours = np.array([[1.0, -2.0]]), np.array([[1.0, -8.0]])
    picture = preprocessing.gcn_picture(neighbours, abs(samples).max())
    assert picture.tolist() == [[0.75, 0.0]]
    preprocessing.gcn_picture(neighbours, np.float32(2))
    with pytest.raises(ValueError, match=r"above 0 and finite; got 0\.0"):
        preprocessing.gcn_picture(samples, 0.0)
