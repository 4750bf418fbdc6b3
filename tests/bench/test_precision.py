"""The precision of products: JAX's own setting rules the players', by the recipe's field."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from helpers import seams
from helpers.jaxprs import HIGH, HIGHEST, products
from helpers.runs import SMALL
from jax import lax

import advnets
from advnets import bench
from advnets.bench import results
from advnets.bench.catalogue import BENCHMARKS
from advnets.bench.cli import main
from advnets.bench.recipes import PRECISIONS, algorithm_of, build_players, products_in

# What each precision asks of a product.
ASKED = {
    "float32": HIGHEST,
    "tensorfloat32": HIGH,
    "bfloat16": lax.DotAlgorithmPreset.BF16_BF16_F32,
}


def small(name, **changes):
    """A benchmark's kinds of layers, but narrow."""
    recipe = BENCHMARKS[name].recipe
    generator, discriminator = recipe.generator, recipe.discriminator
    deconvolution = dataclasses.replace(generator.deconvolution, channels=2)
    return dataclasses.replace(
        recipe,
        generator=dataclasses.replace(
            generator, hidden_sizes=(16, 200), deconvolution=deconvolution
        ),
        discriminator=dataclasses.replace(
            discriminator,
            units=(8,) * len(discriminator.units),
            convolutions=tuple(
                dataclasses.replace(layer, channels=4) for layer in discriminator.convolutions
            ),
        ),
        **changes,
    )


def update(recipe, shape):
    """New players and one iteration, and its arguments' shapes: to trace, not to compute."""
    images = np.zeros((4, *shape), np.uint8)

    def function(key, real):
        players = build_players(key, recipe, images)
        algorithm = algorithm_of(recipe).for_epochs_of(1)
        return algorithm.step(key, players, algorithm.init(players), real)

    key = jax.eval_shape(lambda: jax.random.key(0))
    return function, (key, jax.ShapeDtypeStruct(images.shape, np.float32))


@pytest.mark.parametrize(
    ("name", "shape", "order"),
    [
        ("mnist", (28, 28), "alternating"),
        pytest.param("cifar10-conv", (32, 32, 3), "simultaneous", marks=pytest.mark.long),
    ],
)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_product_of_an_update_is_as_the_recipe_says(name, shape, order, precision):
    recipe = small(name, order=order, precision=precision)
    function, arguments = update(recipe, shape)
    with products_in(recipe):
        traced = jax.jit(function).trace(*arguments)
        # That a GPU's compiler knows it too shows without a GPU.
        program = traced.lower(lowering_platforms=("cuda",)).as_text()
    found = products(traced.jaxpr.jaxpr)
    assert len(found) >= 12
    assert set(found) == {ASKED[precision]}
    assert ("lhs_precision_type = bf16" in program) == (precision == "bfloat16")
    assert ("HIGHEST" in program) == (precision == "float32")


@pytest.mark.parametrize(("seeds", "driver"), [("1", "train"), ("2", "train_many")])
def test_the_flag_rules_a_run_and_is_noted(seeds, driver, tmp_path, monkeypatch, capsys):
    seen = []

    def stopped(*_, **__):
        seen.append(jax.config.jax_default_matmul_precision)
        raise advnets.TrainingDiverged("stopped")

    monkeypatch.setattr(advnets, driver, stopped)
    folder = tmp_path / "run"
    arguments = [*SMALL, "--seeds", seeds, "--out", str(folder)]
    assert main([*arguments, "--precision", "bfloat16"]) == 1
    assert seen == ["BF16_BF16_F32"]
    config = json.loads((folder / "config.json").read_text())
    assert config["recipe"]["precision"] == "bfloat16"
    capsys.readouterr()
    assert main([*arguments, "--resume"]) == 2
    assert "precision = 'bfloat16', not 'float32'" in capsys.readouterr().err


def test_a_run_is_scored_anew_in_its_precision(copied, monkeypatch):
    seen = []

    def stopped(*_, **__):
        seen.append(jax.config.jax_default_matmul_precision)
        raise KeyboardInterrupt

    path = copied / "config.json"
    config = json.loads(path.read_text())
    config["recipe"]["precision"] = "bfloat16"
    results.write(path, config)
    seams.score_anew(monkeypatch, stopped)
    with pytest.raises(KeyboardInterrupt):
        bench.rescore(copied, 10)
    assert seen == ["BF16_BF16_F32"]
