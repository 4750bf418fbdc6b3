"""The deep GSN as a benchmark: what a run computes, resuming, and what is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.games import same

import advnets
from advnets.baselines import gsn
from advnets.bench import BENCHMARKS
from advnets.bench.results import Provenance
from advnets.bench.systems import Run
from advnets.bench.systems.gsn import DeepGSN, GSNSettings
from advnets.bench.watching import Watch
from advnets.data import Dataset, Fold
from advnets.training.sources import epoch_order

IMAGES = np.random.default_rng(0).integers(0, 256, (15, 2, 3), np.uint8)
FOLDS = (Fold(IMAGES[10:], IMAGES[10:]),)
DATA = Dataset("made", IMAGES[:10], FOLDS, "made for a test", np.arange(10))
SETTINGS = GSNSettings(
    dataset="made",
    epochs=2,
    evaluate_every=1,
    hidden_sizes=(4, 3),
    batch_size=5,
    num_chains=2,
    burn_in=3,
    num_samples=8,
)


def fitted(folder, resume=False, **changed):
    settings = dataclasses.replace(SETTINGS, **changed)
    system = DeepGSN(settings)
    system.check(DATA, None)
    run = Run("gsn", system, 3, folder, resume, DATA, Provenance.here())
    watch = Watch(settings, DATA, folder, system.sample_key(3), measures=False)
    folder.mkdir(exist_ok=True)
    return system.fit(run, watch, progress=False)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return fitted(tmp_path_factory.mktemp("run") / "whole")


def test_a_stopped_run_goes_on_to_the_same_bits(whole, tmp_path):
    fitted(tmp_path, epochs=1)
    parts = fitted(tmp_path, resume=True)
    assert same(parts.model, whole.model)
    assert parts.metrics == whole.metrics
    with pytest.raises(advnets.training.CheckpointError, match="another cost"):
        fitted(tmp_path, resume=True, rounds=2)


@pytest.mark.long
def test_its_metrics_are_the_costs_of_its_steps(whole):
    """The first epoch by a plain loop over the same keys and rows."""
    build, train = jax.random.split(jax.random.fold_in(jax.random.key(3), 2**16 + 1))
    step_key, order_key = jax.random.split(train)
    model = gsn.GSN(build, (2, 3), hidden_sizes=(4, 3))
    velocity, seen = jax.tree.map(jnp.zeros_like, model), []

    @jax.jit
    def step(key, model, velocity, batch):
        (_, seen), gradient = jax.value_and_grad(lambda m: gsn.cost(key, m, batch), has_aux=True)(
            model
        )
        velocity = jax.tree.map(lambda v, g: v / 2 + g / 2, velocity, gradient)
        return jax.tree.map(lambda p, v: p - 0.25 * v, model, velocity), velocity, seen

    for i, rows in enumerate(epoch_order(order_key, jnp.asarray(0), 10, 5)):
        batch = jnp.asarray(IMAGES[rows] / np.float32(255))
        model, velocity, found = step(jax.random.fold_in(step_key, i), model, velocity, batch)
        seen.append(found["cross_entropy"])
    row = whole.metrics[0]["model"]
    assert row["cross_entropy"] == pytest.approx(float(np.mean(seen)), rel=1e-5)


def test_samples_are_of_its_chains(whole):
    model = whole.model
    found = model.sample(jax.random.key(0), 6)
    assert found.shape == (6, 2, 3)
    assert ((found > 0) & (found < 1)).all()
    assert model.protocol == SETTINGS.chains
    rows = {row.tobytes() for row in IMAGES[:10]}
    assert {row.tobytes() for row in np.asarray(model.starts)} == rows


@pytest.mark.long
def test_the_validation_rows_can_be_trained_on_too(tmp_path):
    assert DATA.train_labels is not None  # which are of fewer rows
    model = fitted(tmp_path, all_rows=True, epochs=1)
    assert model.updates == 3
    assert len(model.model.starts) == 10


def test_what_a_run_leaves_is_opened(whole, tmp_path):
    path = tmp_path / "model.safetensors"
    advnets.save_model(path, whole.model)
    found = DeepGSN(SETTINGS).load(path, (2, 3))
    assert same(found, whole.model)
    assert found.chain.noise == 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rounds": 0}, "the number of rounds must be from 1 to 50; got 0"),
        ({"learning_rate": 0.0}, "the learning rate must be above 0; got 0.0"),
        ({"annealing": 1.5}, "the annealing must be above 0 and at most 1; got 1.5"),
        ({"momentum": 1.0}, "the momentum must be at least 0 and below 1; got 1.0"),
        ({"salt_and_pepper": -0.1}, "salt and pepper must be from 0 to 1; got -0.1"),
        ({"hidden_sizes": (5, 0)}, r"sizes must be at least 1 and below 2\*\*31; got \(5, 0\)"),
        ({"burn_in": -1}, "the burn-in must be at least 0"),
        ({"num_chains": 0}, "the number of chains must be at least 1"),
    ],
)
def test_settings_out_of_range_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SETTINGS, **wrong)


def test_data_that_do_not_fit_are_refused():
    for changed, message in (
        ({"batch_size": 11}, "at most the 10 training rows of made; got 11"),
        ({"preprocessing": "gcn"}, "must be in .0, 1., and those of gcn images are not"),
        ({"hidden_sizes": (10**6, 10**6)}, "the model's arrays need 11,176.0 GiB"),
        ({"epochs": 2**31 - 1}, "epochs must be at most"),
    ):
        with pytest.raises(ValueError, match=message):
            DeepGSN(dataclasses.replace(SETTINGS, **changed)).check(DATA, None)
    folds = dataclasses.replace(DATA, folds=DATA.folds * 5)
    with pytest.raises(ValueError, match="leave out --all-rows"):
        DeepGSN(dataclasses.replace(SETTINGS, all_rows=True)).check(folds, None)


def test_the_released_recipe_is_the_default():
    assert BENCHMARKS["gsn"].recipe == GSNSettings()
    assert BENCHMARKS["gsn"].published == (214.0, 1.1)
