"""The convolutional recipe from end to end, small and on made-up data."""

import dataclasses

import matplotlib.image
import numpy as np
import pytest
from helpers import synthetic
from helpers.runs import content, result_of

import advnets
from advnets import bench
from advnets.bench.cli import main
from advnets.bench.experiment import Request, prepare
from advnets.bench.recipes import DiscriminatorSpec, GeneratorSpec, Recipe
from advnets.convolutions import ConvolutionSpec

CIFAR10_CONV = bench.BENCHMARKS["cifar10-conv"]


@pytest.fixture(scope="module")
def mirror(tmp_path_factory):
    """Colour images in a local mirror of the Hub."""
    folder = tmp_path_factory.mktemp("mirror")
    images = np.random.default_rng(0).integers(0, 256, (60, 32, 32, 3), np.uint8)
    splits = {"train": images[:20], "validation": images[20:40], "test": images[40:]}
    synthetic.write_mirror(folder / "someone" / "colours", splits)
    return folder


@pytest.mark.long
def test_it_runs_on_any_colour_images(mirror, tmp_path, monkeypatch):
    sources, train = [], advnets.train

    def watched(key, players, source, **settings):
        sources.append(source)
        return train(key, players, source, **settings)

    monkeypatch.setattr(advnets, "train", watched)
    quick = CIFAR10_CONV.quick
    recipe = dataclasses.replace(
        quick,
        dataset="someone/colours",
        batch_size=10,
        num_samples=20,
        generator=dataclasses.replace(quick.generator, hidden_sizes=(800,)),
        discriminator=bench.DiscriminatorSpec(
            convolutions=(
                ConvolutionSpec(2, 2, kernel_size=8, padding=4, pool_size=4, pool_stride=2),
            ),
            units=(4,),
        ),
    )
    benchmark = dataclasses.replace(CIFAR10_CONV, recipe=recipe)
    folder = tmp_path / "run"
    result = bench.run(benchmark, out=folder, data_dir=mirror, progress=False)
    (source,) = sources  # contrast-normalised for the players too
    seen = np.asarray(source.preprocess(source.gather(np.arange(5)))).reshape(5, -1)
    np.testing.assert_allclose(np.linalg.norm(seen, axis=1), 55, rtol=1e-5)
    assert result == result_of(folder)
    assert (result.parzen.num_samples, result.updates) == (20, 2)
    assert result.references.paper is None
    for picture in ("samples.png", "interpolations.png"):
        pixels = matplotlib.image.imread(folder / picture)
        assert pixels.ndim == 3
        assert pixels.std() > 0
    # Contrast normalisation takes an image's mean to 0, which is shown as grey.
    picture = matplotlib.image.imread(folder / "samples.png")
    scale = picture.shape[0] // (8 * 34 + 2)
    neighbours = picture[::scale, ::scale, :3][2:, -34:-2]
    for row in range(8):
        neighbour = neighbours[34 * row : 34 * row + 32]
        assert neighbour.mean() == pytest.approx(0.5, abs=0.01)
    assert bench.load_model(folder).generator.layers[-1].out_shape == (32, 32, 3)


def test_images_that_do_not_fit_the_recipe_are_refused(mirror, tmp_path, capsys):
    arguments = ["--preset", "quick", "--dataset", "someone/colours", "--batch-size", "10"]
    arguments += ["--data-dir", str(mirror), "--out", str(tmp_path / "run")]
    assert main(["cifar10-conv", *arguments, "--generator.hidden-sizes", "700"]) == 2
    assert "700" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "channels",
    [
        {"generator": GeneratorSpec(channels=(4, 2))},
        {"discriminator": DiscriminatorSpec(layers="leaky-relu", channels=(2, 4))},
    ],
)
def test_players_with_channels_take_grey_images(channels):
    data = advnets.data.load("digits")
    system = bench.BENCHMARKS["digits"].system(Recipe("digits", **channels))
    adapted = system.adapted(data)
    assert adapted.train.shape == (*data.train.shape, 1)
    system.check(adapted, None)


def test_grey_images_get_a_channel(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (60, 32, 32), np.uint8)
    splits = {"train": images[:20], "validation": images[20:40], "test": images[40:]}
    synthetic.write_mirror(tmp_path / "someone" / "greys", splits)
    recipe = dataclasses.replace(CIFAR10_CONV.quick, dataset="someone/greys", batch_size=10)
    benchmark = dataclasses.replace(CIFAR10_CONV, recipe=recipe)
    grid = prepare(benchmark, Request(out=tmp_path / "run", data_dir=tmp_path))
    with grid.locks:
        (run,) = grid.runs
    assert run.data.train.shape == (20, 32, 32, 1)
    assert (run.data.test[..., 0] == images[40:]).all()
    assert content(tmp_path / "run" / "config.json")["image_shape"] == [32, 32, 1]
    # Its identity is that of the images as they are.
    assert run.data_sha256 == advnets.data.load("someone/greys", tmp_path).fingerprint()
