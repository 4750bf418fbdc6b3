"""Runs of conditional recipes: resuming, class by class, the report, what is refused."""

import dataclasses
import functools
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.spatial.distance
import scipy.special
from helpers.games import same
from helpers.runs import rows_of, untimed
from PIL import Image

import advnets
from advnets import bench
from advnets.bench import classifier, protocol
from advnets.bench.catalogue import system_of
from advnets.bench.cli import main
from advnets.bench.evaluations import Subject
from advnets.bench.pages.reading import see
from advnets.bench.systems import by_class
from advnets.bench.systems.conditional import BranchSpec, Conditional, check_classes
from advnets.bench.watching import in_rows
from advnets.layers import Labelled

BENCHMARK = bench.BENCHMARKS["mnist-conditional"]
RECIPE = dataclasses.replace(
    BENCHMARK.quick,
    dataset="digits",
    epochs=2,
    num_samples=60,
    latent_size=3,
    evaluate_every=1,
    architecture="mirza-osindero",
    prior="unit-cube",
    generator=dataclasses.replace(BENCHMARK.quick.generator, hidden_sizes=(12,)),
    discriminator=dataclasses.replace(BENCHMARK.quick.discriminator, units=(8, 7), pieces=2),
    branches=BranchSpec(5, 4, 0.5, 3, 2),
)
TINY = dataclasses.replace(BENCHMARK, recipe=RECIPE)
DIGITS = advnets.data.load("digits")
PREPROCESS = protocol.on_host("unit")
KEY = jax.random.key(5)


@pytest.fixture(scope="module", autouse=True)
def small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(by_class, "PER_CLASS", 30)
        patch.setattr(by_class, "SELECTION_ROWS", 200)
        patch.setattr(classifier, "EPOCHS", 1)
        patch.setattr(classifier, "LEAST_UPDATES", 240)
        yield


@pytest.fixture(scope="module")
def judged(whole):
    """The classifier of the run."""
    return advnets.load_model(whole[0] / classifier.CLASSIFIER)


def subject(model, folder, data=DIGITS):
    return Subject(model, KEY, lambda n: model.sample(KEY, n), data, PREPROCESS, folder)


@pytest.mark.long
def test_a_run_of_fewer_epochs_goes_on_to_the_same_numbers(whole, tmp_path, monkeypatch):
    short = dataclasses.replace(TINY, recipe=dataclasses.replace(RECIPE, epochs=1))
    with monkeypatch.context() as patch:
        patch.setattr(Conditional, "evaluations", {})
        bench.run(short, out=tmp_path, progress=False)
    result = bench.run(TINY, out=tmp_path, resume=True, progress=False)
    assert untimed(result) == untimed(whole[1])
    for name in ("metrics.jsonl", "generator.safetensors", classifier.CLASSIFIER):
        assert (tmp_path / name).read_bytes() == (whole[0] / name).read_bytes()


@pytest.mark.long
def test_what_is_saved_draws_without_dropout(whole):
    model = bench.load_model(whole[0])
    assert len(model.condition.frequencies) == 10
    z, label = jnp.zeros(3), jnp.array(4)
    noisy = model.generator(z, label, key=jax.random.key(1))
    assert (noisy == model.generator(z, label)).all()
    assert rows_of(whole[0])[1]["generator"]["cost"] > 0


@pytest.mark.long
def test_pictures_have_a_row_for_each_class(whole):
    folder = whole[0]
    gap, (width, height) = 1, Image.open(folder / "samples" / "epoch-000002.png").size
    assert (width, height) == (10 * 8 + 11 * gap, 10 * 8 + 11 * gap)
    picture = np.asarray(Image.open(folder / "samples" / "epoch-000002.png"))
    system = system_of(see(folder).config)
    key, labels = system.sample_key(0), np.repeat(np.arange(10), 10)
    samples = bench.load_model(folder).sample(key, 100, condition=labels)
    third = picture[gap + 3 * 9 : gap + 3 * 9 + 8, gap : gap + 8]
    assert abs(third - 255 * samples[30]).max() <= 1


@pytest.mark.long
def test_the_report_shows_the_classes_and_its_explorer_has_a_button_for_each(whole, capsys):
    page = (whole[0] / "report.html").read_text("utf-8")
    assert "a row for each class" in page
    assert "No explorer" not in page
    assert page.count('<button type="button" aria-pressed="false">') == 10
    (section,) = re.findall(r'<section id="classes">.*?</section>', page, re.DOTALL)
    agreement = whole[1].evaluations["classes"]["agreement"]
    shown = [
        float(one) for one in re.findall(r"<td>\d</td>\s*<td class=\"number\">([\d.]+)", section)
    ]
    np.testing.assert_allclose(shown, 100 * np.array(agreement), atol=0.06)
    assert main(["check", str(whole[0])]) == 0
    assert main(["table2", str(whole[0]), "--out", str(whole[0] / "table2")]) == 2
    assert "which Table 2 has no column for" in capsys.readouterr().err


class Table(eqx.Module):
    """Images by class: z says which."""

    images: jax.Array

    def __call__(self, joined):
        z, one_hot = joined[0], joined[1:]
        number = jnp.int32(z * self.images.shape[1])
        return jnp.take(self.images, number, axis=1)[jnp.argmax(one_hot)]


def test_pictures_are_drawn_class_by_class():
    shades = np.arange(10, dtype=np.float32) / 10
    table = jnp.asarray(np.tile(shades[:, None, None, None], (1, 1, 8, 8)))
    drawn, rows = in_rows(advnets.Model(Labelled(Table(table), 10), advnets.priors.UnitCube(1)))
    assert rows == 10
    np.testing.assert_array_equal(drawn.sample(KEY, 30)[:, 0, 0], shades.repeat(3))
    with pytest.raises(ValueError, match="31 samples can't be split evenly over 10 classes"):
        drawn.sample(KEY, 31)


def by_label(images, labels, n=20):
    return jnp.asarray(np.stack([images[labels == label][:n] for label in range(10)]))


@pytest.mark.long
def test_agreement_is_the_classifiers_own_on_real_images_and_chance_on_shuffled_labels(
    judged, tmp_path
):
    advnets.save_model(tmp_path / classifier.CLASSIFIER, judged)
    images, labels = PREPROCESS(DIGITS.train), DIGITS.train_labels
    found = {}
    for name, given in (
        ("real", labels),
        ("shuffled", np.random.default_rng(0).permutation(labels)),
    ):
        table = by_label(images, given)
        model = advnets.Model(Labelled(Table(table), 10), advnets.priors.UnitCube(1))
        measured = by_class.ClassAgreement().measure(subject(model, tmp_path))
        found[name] = by_class.classes_found(measured, name)
        own = [np.mean(classifier.predict(judged, np.asarray(r)) == c) for c, r in enumerate(table)]
        # 30 draws of 20 images: within 4 standard errors.
        error = 4 * np.sqrt(np.mean(own) * (1 - np.mean(own)) / 300)
        assert abs(found[name].mean - np.mean(own)) < error
    accuracy = np.mean(
        classifier.predict(judged, PREPROCESS(DIGITS.test)) == DIGITS.folds[0].test_labels
    )
    assert found["real"].test_accuracy == accuracy > 0.8
    assert found["real"].mean > 0.8
    assert abs(found["shuffled"].mean - 0.1) < 4 * np.sqrt(0.09 / 200)
    numbers = by_class.ClassAgreement().numbers(vars_of(found["real"]))
    assert numbers == {"samples of their class, %": pytest.approx(100 * found["real"].mean)}
    line = by_class.ClassAgreement().line(vars_of(found["real"]))
    assert f"{found['real'].mean:.1%}" in line
    assert "right on" in line


def vars_of(found):
    return bench.results.as_json(found)


def test_variety_by_another_computation_and_after_a_collapse():
    rng = np.random.default_rng(0)
    images, samples = rng.normal(size=(40, 3, 2)), 0.5 * rng.normal(size=(50, 3, 2)) + 9
    spread, nearest = by_class.variety(samples, images)
    expected = []
    for rows in (samples[:40].reshape(40, -1), images.reshape(40, -1)):
        apart = scipy.spatial.distance.cdist(rows, rows) + np.diag(np.full(40, np.inf))
        expected.append((np.sqrt(rows.var(axis=0).sum()), np.median(apart.min(axis=1))))
    np.testing.assert_allclose(spread, expected[0][0] / expected[1][0])
    np.testing.assert_allclose(nearest, expected[0][1] / expected[1][1])
    # Two points, as far apart as images vary: only the second number sees it.
    two = np.where(np.arange(40)[:, None] % 2, 1.0, -1.0)
    spread, nearest = by_class.variety(two, rng.normal(size=(40, 1)))
    assert spread > 0.7
    assert nearest == 0
    assert by_class.variety(two, np.zeros((40, 1))) == (None, None)
    with pytest.raises(ValueError, match="at least 2 samples and 2 images; got 1"):
        by_class.variety(two, two[:1])


@pytest.mark.long
def test_conditional_likelihoods_against_numpy(whole):
    model = bench.load_model(whole[0])
    samples = by_class.samples_by_class(jax.random.fold_in(KEY, 0), model, 30)
    labels = np.repeat(np.arange(10), 30)
    again = model.sample(jax.random.fold_in(KEY, 0), 300, condition=labels)
    np.testing.assert_array_equal(samples.reshape(300, 8, 8), again)

    def log_p(points, sigma):
        """Of each point by the window of each class."""
        flat = points.reshape(len(points), -1).astype(np.float64)
        own = samples.reshape(10, 30, -1).astype(np.float64)
        squared = ((flat[None, :, None] - own[:, None]) ** 2).sum(axis=3)
        log_sum = scipy.special.logsumexp(-squared / (2 * sigma**2), axis=2) - np.log(30)
        return log_sum - 64 * np.log(sigma * np.sqrt(2 * np.pi))

    fold, grid = DIGITS.folds[0], np.logspace(-1, 0, 10)
    held_out, test = PREPROCESS(fold.validation[:200]), PREPROCESS(fold.test)
    measured = by_class.ConditionalParzen().measure(subject(model, whole[0]))
    both = by_class.parzen_found(measured, "here")
    found = both.model

    def given(log, labels):
        return log[labels, np.arange(len(labels))]

    def mixed(log, labels):
        return scipy.special.logsumexp(log, axis=0) - np.log(10)

    for one, score in ((given, found.conditional), (mixed, found.marginal)):
        means = [one(log_p(held_out, s), fold.validation_labels[:200]).mean() for s in grid]
        best = int(np.argmax(means))
        assert score.bandwidth == pytest.approx(grid[best], rel=1e-6)
        rows = one(log_p(test, grid[best]), fold.test_labels)
        assert score.validation.mean == pytest.approx(means[best], rel=1e-4)
        assert score.test.mean == pytest.approx(rows.mean(), rel=1e-4)
        assert score.test.standard_error == pytest.approx(rows.std() / 16, rel=1e-3)
    of_test = log_p(test, found.conditional.bandwidth)
    assert found.accuracy == pytest.approx(
        np.mean(of_test.argmax(axis=0) == fold.test_labels), abs=1.5 / 256
    )
    own = given(of_test, fold.test_labels)
    expected = [own[fold.test_labels == label].mean() for label in range(10)]
    np.testing.assert_allclose(found.per_class, expected, rtol=1e-4)
    assert both.published is None
    # Real images are scored alike, by the same function.
    images = by_label(PREPROCESS(DIGITS.train), DIGITS.train_labels, 30)
    again = by_class.log_densities(test, np.asarray(images), grid)
    best = int(np.argmin(abs(grid - both.images.conditional.bandwidth)))
    mean = given(again[:, best], fold.test_labels).mean()
    assert both.images.conditional.test.mean == pytest.approx(mean, rel=1e-4)
    assert both.images.accuracy > 0.8
    numbers = by_class.ConditionalParzen().numbers(measured)
    scored = (both.model.conditional, both.model.marginal)
    assert [*numbers.values()] == [one.test.mean for one in scored]
    line = by_class.ConditionalParzen().line(measured)
    assert "30 training images of each class in place of samples" in line


@pytest.mark.long
def test_a_classifier_is_that_of_its_key_and_refuses_other_labels(judged):
    images, labels = PREPROCESS(DIGITS.train), DIGITS.train_labels
    fit = functools.partial(classifier.fit_classifier, jax.random.key(0))
    assert same(judged, fit(images, labels))
    with pytest.raises(ValueError, match="each image needs a label; got 1285 images, 1284 labels"):
        fit(images, labels[:-1])
    with pytest.raises(ValueError, match="labels must be from 0 to 8; got 0 to 9"):
        fit(images, labels, classes=9)


def test_data_without_fitting_labels_are_refused():
    fold = DIGITS.folds[0]

    def refused(classes=10, labels=DIGITS.train_labels, **of_fold):
        data = dataclasses.replace(
            DIGITS, train_labels=labels, folds=(dataclasses.replace(fold, **of_fold),)
        )
        with pytest.raises(ValueError, match="digits") as error:
            check_classes(data, classes)
        return str(error.value)

    assert "the training images of digits have no labels" in refused(labels=None)
    assert "the test images of digits have no labels" in refused(test_labels=None)
    assert "training rows: labels must be from 0 to 4; got 0 to 9" in refused(classes=5)
    assert "has 0 training rows of class 10" in refused(classes=11)
    bad = fold.validation_labels.copy()
    bad[0] = -1
    assert "validation rows: labels must be from 0 to 9; got -1 to 9" in refused(
        validation_labels=bad
    )
    check_classes(DIGITS, 10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--classes", "9"], "labels must be from 0 to 8; got 0 to 9"),
        (["--classes", "0"], "the number of classes must be at least 1; got 0"),
        (["--architecture", "wide"], "wide"),
        (["--branches.generator-keep", "0"], "keep rate must be above 0 and at most 1; got 0.0"),
        (["--branches.latent-units", "0"], "the number of units of a branch must be at least 1"),
        (["--generator.output", "deconvolution", "--preprocessing", "gcn"], "fully connected"),
        (["--second-stage.epochs", "1"], "with one stage"),
        (["--generator.channels", "4"], "leave out convolutions, channels"),
        (["--discriminator.layers", "leaky-relu"], "leaky layers"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(tmp_path, capsys, options, message):
    arguments = ["mnist-conditional", "--dataset", "digits", *options]
    assert main([*arguments, "--out", str(tmp_path / "run")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("architecture", ["concatenated", "projection"])
def test_the_other_architectures_have_their_players(architecture):
    recipe = dataclasses.replace(RECIPE, architecture=architecture)
    players = Conditional(recipe).players((8, 8))
    logit = eqx.filter_eval_shape(players.discriminator, jnp.zeros((8, 8)), jnp.array(1))
    assert logit.shape == ()
    image = eqx.filter_eval_shape(players.generator, jnp.zeros(3), jnp.array(1))
    assert image.shape == (8, 8)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            "features",
            "a run of mnist-conditional, which has no discriminator of images alone, whose",
        ),
        (
            "inference",
            "a run of mnist-conditional, whose generator takes more than a latent vector",
        ),
    ],
)
def test_commands_on_unconditional_runs_refuse_it(command, message, whole, capsys):
    assert main([command, str(whole[0])]) == 2
    assert message in capsys.readouterr().err
