"""Runs of the net that fills in: its scores, its picture, its page."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from helpers.runs import rows_of

import advnets
from advnets import bench, energy, inpainting
from advnets.bench.cli import main
from advnets.bench.pages.inpainting import sheet
from advnets.bench.recipes import DiscriminatorSpec, GeneratorSpec
from advnets.bench.results import Provenance
from advnets.bench.systems import Adversarial
from advnets.bench.systems import inpainting as module
from advnets.unet import UNet

RECIPE = module.InpaintingRecipe(
    "digits",
    epochs=2,
    evaluate_every=1,
    num_samples=60,
    latent_size=3,
    average=0.9,
    reconstruction=0.5,
    energy=0.25,
    generator=GeneratorSpec(hidden_sizes=(12,), weight_range=0.5, output_range=0.5),
    discriminator=DiscriminatorSpec(units=(6,), pieces=2),
)
TINY = dataclasses.replace(bench.BENCHMARKS["mnist-inpainting"], recipe=RECIPE)


@pytest.fixture(scope="module", autouse=True)
def small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ROWS", 30)
        patch.setattr(module, "VALIDATION_ROWS", 30)
        yield


def test_with_channels_the_generator_is_a_u_net():
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 12), np.uint8)
    spec = dataclasses.replace(RECIPE.generator, channels=(2, 3))
    recipe = dataclasses.replace(RECIPE, generator=spec)
    players = module.build_players(jax.random.key(0), recipe, images)
    inner = players.generator.player
    assert isinstance(inner, UNet)
    assert [halve[0].out_shape for halve in inner.down] == [(4, 6, 2), (2, 3, 3)]
    assert [layer.out_features for layer in inner.dense.layers[:-1:2]] == [12, 18]
    nothing = jax.numpy.zeros((8, 12))
    marginals = players.generator(jax.numpy.zeros(3), nothing, nothing)
    np.testing.assert_allclose(marginals, images.mean(axis=0) / 255, rtol=1e-5)
    example = jax.numpy.ones((8, 12))
    assert players.discriminator(example, nothing).shape == ()
    dense = module.build_players(jax.random.key(0), RECIPE, images)
    assert not isinstance(dense.generator.player, UNet)


@pytest.mark.long
def test_samples_are_of_the_model_with_nothing_observed(whole):
    model = advnets.load_model(whole[0])
    nothing = np.zeros((5, 8, 8), np.float32)
    np.testing.assert_array_equal(
        model.sample(jax.random.key(3), 5),
        model.sample(jax.random.key(3), 5, condition=(nothing, nothing)),
    )


@pytest.mark.long
def test_scores_are_of_test_images_and_not_of_those_that_the_run_watches(whole):
    folder, result = whole
    model, data = advnets.load_model(folder), advnets.data.load("digits")
    found = module.read_regions(result.evaluations["fillings"])
    assert list(found) == ["right half", "centre", "random half"]
    images = data.test[:30] / np.float32(255)
    masks = np.ones((8, 8), bool)
    masks[:, 4:] = False
    key = jax.random.split(jax.random.key(0), 3)[2]
    its_key = jax.random.fold_in(jax.random.fold_in(key, 0), 0)
    fillings = inpainting.fill(its_key, model, images, masks, 10)
    scores = found["right half"]["model"]
    expected = energy.energy_score(fillings, images)
    assert scores["energy"]["mean"] == pytest.approx(expected.mean(), rel=1e-6)
    assert scores["energy"]["n"] == 30
    assert scores["spread"]["mean"] == pytest.approx(energy.spread(fillings).mean(), rel=1e-6)
    masks[:] = True
    masks[2:6, 2:6] = False
    watched = data.validation[:30] / np.float32(255)
    rows = rows_of(folder)
    for row in rows:
        assert list(row["fillings"]) == list(found)
        assert row["discriminator"]["reconstruction"] > 0
        assert row["discriminator"]["energy"] > 0
    its_key = jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(key, len(rows)), 1), 1)
    fillings = inpainting.fill(its_key, model, watched, masks, 10)
    expected = energy.energy_score(fillings, watched).mean()
    assert rows[-1]["fillings"]["centre"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.long
def test_baselines_are_fitted_to_training_images(whole):
    found = module.read_regions(whole[1].evaluations["fillings"])["random half"]
    data = advnets.data.load("digits")
    train, images = data.train / np.float32(255), data.test[:30] / np.float32(255)
    masks = module.masks_of("random half", 30, (8, 8))
    assert (masks.sum(axis=(1, 2)) == 32).all()
    assert (masks[0] != masks[1]).any()
    errors = []
    for image, mask in zip(images, masks, strict=True):
        far = ((train - image)[:, mask] ** 2).sum(axis=1)
        mean = train[np.argsort(far)[:10]].mean(axis=0)
        errors.append(((mean - image)[~mask] ** 2).sum())
    assert found["nearest"]["squared_error"]["mean"] == pytest.approx(np.mean(errors), rel=1e-4)
    assert found["normal"]["energy"]["mean"] < found["random"]["energy"]["mean"]
    assert found["random"]["spread"]["mean"] > found["nearest"]["spread"]["mean"] > 0


@pytest.mark.long
def test_the_picture_has_what_is_observed_fillings_and_the_image(whole):
    from PIL import Image

    folder = whole[0]
    with Image.open(folder / "fillings.png") as opened:
        enlarged = np.asarray(opened)
    picture = enlarged[::4, ::4]  # images of 8 pixels are enlarged to 32
    np.testing.assert_array_equal(np.kron(picture, np.ones((4, 4), np.uint8)), enlarged)
    assert picture.shape == (5 * 9 + 1, 3 * (7 * 9 + 1) + 2 * 4)
    data = advnets.data.load("digits")
    for row, column in ((0, 0), (0, 3), (4, 6)):
        cell = picture[1 + 9 * row : 9 + 9 * row, 1 + 9 * column : 9 + 9 * column]
        np.testing.assert_array_equal(cell[:, :4], data.test[row][:, :4])
        if column == 0:
            assert (cell[:, 4:] == 128).all()
        if column == 6:
            np.testing.assert_array_equal(cell, data.test[row])
    np.testing.assert_array_equal(
        sheet(folder / "samples/test.png", (8, 8)), data.test[:60] / np.float32(255)
    )


@pytest.mark.long
def test_the_report_says_it_and_its_page_paints_masks(whole, capsys):
    folder = whole[0]
    assert main(["report", str(folder)]) == 0
    page = (folder / "report.html").read_text("utf-8")
    assert "Energy score of the missing pixels, 10 fillings of each of 30 test images" in page
    assert "For true draws the error is 1.1 times the" in page
    assert 'data-region="centre"' in page
    assert "60 test images to paint on" in page
    result = json.loads((folder / "results.json").read_text())
    fillings = result["evaluations"]["fillings"]
    number = module.Fillings().numbers(fillings)["energy score, centre"]
    assert number == fillings["regions"]["centre"]["model"]["energy"]["mean"]
    line = module.Fillings().line(fillings)
    assert line.startswith("Energy score of fillings, lower is better: right half ")
    assert "(best baseline, " in line
    (folder / "samples/test.png").rename(folder / "away.png")
    assert main(["explore", str(folder)]) == 2
    assert "there are no test images to paint on" in capsys.readouterr().err
    (folder / "away.png").rename(folder / "samples/test.png")


def test_seeds_that_are_trained_together_are_watched_too(tmp_path, monkeypatch):
    given = []

    def fit_together(self, runs, watches, *_, **__):
        given.extend(watches)
        return []

    monkeypatch.setattr(Adversarial, "fit_together", fit_together)
    data = advnets.data.load("digits")
    system = module.Inpainting(RECIPE)
    run = bench.systems.Run("x", system, 0, tmp_path, False, data, Provenance.here())
    watch = bench.watching.Watch(RECIPE, data, tmp_path, system.sample_key(0))
    system.fit_together([run, run], [watch, watch], tmp_path, progress=False)
    assert [type(one) for one in given] == [module.FillingWatch] * 2
    alike, nothing = system.varied([run, run])
    assert alike.objective.energy == RECIPE.energy
    assert alike.fake.twice
    assert nothing is None
    faster = dataclasses.replace(RECIPE, learning_rate=0.2)
    other = dataclasses.replace(run, system=module.Inpainting(faster))
    at_rate, rates = system.varied([run, other])
    assert rates.tolist() == pytest.approx([0.1, 0.2])
    assert at_rate(rates[1]).objective.energy == RECIPE.energy
    assert at_rate(rates[1]).fake.twice
    assert (tmp_path / "samples/test.png").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--reconstruction", "-1"], "the reconstruction must be at least 0 and finite; got -1.0"),
        (["--monitor"], "is not a game that can be monitored"),
        (["--energy", "inf"], "energy must be finite; got inf"),
        (["--preprocessing", "gcn"], "use sigmoid with unit"),
        (["--second-stage.epochs", "1"], "a second stage goes below hidden layers"),
        (
            ["--discriminator.layers", "leaky-relu", "--discriminator.channels", "4"],
            "with dense layers only",
        ),
        (["--generator.channels", "2", "2", "2", "2"], "multiples of 16; got shape (8, 8)"),
        (["--generator.hidden-sizes", "2147483647"], "the players need"),
        (["--batch-size", "9999"], "digits has 1285 training rows, too few for"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(tmp_path, capsys, options, message):
    arguments = ["mnist-inpainting", "--dataset", "digits", *options]
    assert main([*arguments, "--out", str(tmp_path / "run")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
