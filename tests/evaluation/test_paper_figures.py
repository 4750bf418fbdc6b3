"""Figures 2 and 3 of a generator: fair draws, the right neighbours, one scale for all."""

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.image
import numpy as np
import pytest

import advnets


class Scaled(eqx.Module):
    """Images of any shape that are not in [0, 1], with noise of their own."""

    shape: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, z, *, key):
        noise = 0.1 * jax.random.normal(key, (6,))
        return 20 * jnp.resize(jnp.concatenate([z, noise]), self.shape)


def centred(images):
    return images.astype(jnp.float32) - 128


def largest(images):
    return (images / jnp.max(jnp.abs(images)) + 1) / 2


def cells(path, rows, shape, blocks):
    """The images of a picture, by the layout's own arithmetic: blocks of columns, side by side."""
    height, width = shape[:2]
    gap = max(1, width // 14)
    picture = matplotlib.image.imread(path)[..., :3]
    scale = picture.shape[1] // sum(gap + columns * (width + gap) for columns in blocks)
    picture = picture[::scale, ::scale]
    found = []
    for row in range(rows):
        left = 0
        for columns in blocks:
            left += gap
            for _ in range(columns):
                top = gap + row * (height + gap)
                found.append(picture[top : top + height, left : left + width])
                left += width + gap
    found = np.stack(found).reshape(rows, sum(blocks), height, width, 3)
    return found if len(shape) == 3 else found[..., 0]


@pytest.mark.parametrize(
    "shape", [(48, 48), pytest.param((32, 32, 3), marks=pytest.mark.long)], ids=str
)
def test_figure_2_shows_fair_draws_and_their_nearest_images(tmp_path, key, shape):
    model = advnets.Model(Scaled(shape), advnets.priors.Normal(7))
    images = np.random.default_rng(0).integers(0, 256, (50, *shape)).astype(np.uint8)
    path = tmp_path / "figure-2.png"
    advnets.paper_figures.figure_2(
        path, key, model, images, rows=3, columns=4, preprocess=centred, picture=largest
    )
    samples = np.float64(model.sample(key, 12))
    train = np.float64(images) - 128
    flat = samples[3::4].reshape(3, 1, -1) - train.reshape(1, 50, -1)
    neighbours = train[(flat**2).sum(axis=2).argmin(axis=1)]
    shown = np.concatenate([samples.reshape(3, 4, *shape), neighbours[:, None]], axis=1)
    expected = (shown / abs(shown).max() + 1) / 2
    np.testing.assert_allclose(cells(path, 3, shape, [4, 1]), expected, atol=2 / 255)


def test_figure_2_of_the_papers_size_finds_what_was_memorised(tmp_path, key):
    images = advnets.data.load("digits").train

    def memoriser(z):
        return jnp.asarray(images, jnp.float32)[jnp.argmax(z)] / 255

    path = tmp_path / "figure-2.png"
    model = advnets.Model(memoriser, advnets.priors.Normal(len(images)))
    advnets.paper_figures.figure_2(path, key, model, images)
    found = cells(path, 4, (8, 8), [5, 1])
    np.testing.assert_array_equal(found[:, 4], found[:, 5])
    samples = model.sample(key, 20)
    np.testing.assert_allclose(found[:, :5], samples.reshape(4, 5, 8, 8), atol=2 / 255)


def test_figure_3_shows_the_lines(tmp_path, key):
    model = advnets.Model(Scaled((9, 14)), advnets.priors.Normal(7))
    path = tmp_path / "figure-3.png"
    advnets.paper_figures.figure_3(path, key, model, lines=3, steps=4, picture=largest)
    lines = np.float64(model.interpolate(key, 3, 4))
    expected = (lines / abs(lines).max() + 1) / 2
    np.testing.assert_allclose(cells(path, 3, (9, 14), [4]), expected, atol=2 / 255)


@pytest.mark.long
def test_images_of_one_channel(tmp_path, key):
    model = advnets.Model(Scaled((8, 8, 1)), advnets.priors.Normal(7))
    images = jnp.asarray(np.random.default_rng(0).integers(0, 256, (9, 8, 8, 1)), jnp.uint8)
    path = tmp_path / "figure.png"
    advnets.paper_figures.figure_2(path, key, model, images, rows=1, columns=2, picture=largest)
    samples = np.float64(model.sample(key, 2)) / 20
    scale = np.abs(samples * 20).max()
    found = cells(path, 1, (8, 8), [2, 1])[0, :2]
    np.testing.assert_allclose(found, (samples[..., 0] * 20 / scale + 1) / 2, atol=2 / 255)
    advnets.paper_figures.figure_3(path, key, model, lines=1, steps=2, picture=largest)


class Untouched:
    """A model of which nothing may be drawn."""

    def sample(self, key, n, /):
        raise AssertionError(f"{n} were drawn")


def test_pictures_beyond_measure_are_refused_before_anything_is_drawn(tmp_path, key):
    images = np.zeros((3, 8, 8), np.uint8)
    with pytest.raises(ValueError, match="1,000,000 rows of 6 images; a picture has room for"):
        advnets.paper_figures.figure_2(tmp_path / "2.png", key, Untouched(), images, rows=10**6)
    model = advnets.Model(Scaled((8, 8)), advnets.priors.Normal(7))
    with pytest.raises(ValueError, match="5 rows of 1,000,000,000 images; a picture has"):
        advnets.paper_figures.figure_3(tmp_path / "3.png", key, model, steps=10**9)


def test_what_a_picture_makes_of_images_is_looked_at(tmp_path, key):
    model = advnets.Model(Scaled((8, 8)), advnets.priors.Normal(7))
    for picture, message in (
        (lambda images: images[:3], r"of 20 it made an array of shape \(3, 8, 8\)"),
        (lambda images: images / 0, "images has .* values that are not finite"),
    ):
        with pytest.raises(ValueError, match=message):
            advnets.paper_figures.figure_3(
                tmp_path / "3.png", key, model, lines=4, steps=5, picture=picture
            )


def test_refusals(tmp_path, key):
    images = np.zeros((3, 4, 4), np.uint8)
    model = advnets.Model(Scaled((4, 5)), advnets.priors.Normal(7))
    arguments = (tmp_path / "figure-2.png", key, model, images)
    with pytest.raises(ValueError, match=r"\(4, 5\) and the training images \(4, 4\)"):
        advnets.paper_figures.figure_2(*arguments)
    with pytest.raises(ValueError, match="0 rows of 5 columns"):
        advnets.paper_figures.figure_2(*arguments, rows=0)
