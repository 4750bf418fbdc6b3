"""The precision of products: JAX's own setting rules the players', and nothing else's."""

import dataclasses
import json
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import advnets
from advnets import bench
from advnets._distances import squared_distances
from advnets.bench import rescoring
from advnets.bench.__main__ import main
from advnets.bench.recipes import BENCHMARKS, PRECISIONS, build_players, products_in, update_rule

HIGH, HIGHEST = (lax.Precision.HIGH,) * 2, (lax.Precision.HIGHEST,) * 2
# What each precision asks of a product.
ASKED = {
    "float32": HIGHEST,
    "tensorfloat32": HIGH,
    "bfloat16": lax.DotAlgorithmPreset.BF16_BF16_F32,
}


def products(jaxpr):
    """The precision of every product and convolution, those of inner programs too."""
    found = []
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("dot_general", "conv_general_dilated"):
            found.append(equation.params["precision"])
        for inner in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")
        ):
            if hasattr(inner, "eqns"):
                found += products(inner)
    return found


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
        generator_updates, discriminator_updates = update_rule(recipe, iterations_per_epoch=1)
        algorithm = advnets.Algorithm1(
            *players,
            generator_updates=generator_updates,
            discriminator_updates=discriminator_updates,
            order=recipe.order,
        )
        return algorithm.step(key, algorithm.init(*players), real)

    key = jax.eval_shape(lambda: jax.random.key(0))
    return function, (key, jax.ShapeDtypeStruct(images.shape, np.float32))


@pytest.mark.parametrize(
    ("name", "shape", "order"),
    [("mnist", (28, 28), "alternating"), ("cifar10-conv", (32, 32, 3), "simultaneous")],
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


@pytest.mark.parametrize("precision", [None, *PRECISIONS.values()])
def test_parzen_windows_and_neighbours_are_never_rounded(precision):
    rows = jax.ShapeDtypeStruct((5, 784), np.float32)
    centre = jax.ShapeDtypeStruct((784,), np.float32)
    with jax.default_matmul_precision(precision):
        for function, arguments in (
            (advnets.parzen.log_density, (rows, rows, jax.ShapeDtypeStruct((1,), np.float32))),
            (squared_distances, (rows, rows, centre)),
        ):
            found = products(jax.make_jaxpr(function)(*arguments))
            assert found
            assert set(found) == {HIGHEST}


class Spy(eqx.Module):
    """A generator that notes the setting under which it is traced."""

    weight: jax.Array
    seen: ClassVar[set] = set()

    def __call__(self, z, *, key=None):
        self.seen.add(jax.config.jax_default_matmul_precision)
        return self.weight @ z


def test_train_honours_the_setting_around_it(key):
    discriminator = advnets.networks.maxout_discriminator(key, (4,), units=[2], pieces=2)
    images = np.zeros((8, 4), np.uint8)
    with jax.default_matmul_precision("tensorfloat32"):
        advnets.train(
            key,
            Spy(jnp.zeros((4, 3))),
            discriminator,
            images,
            epochs=1,
            prior=advnets.priors.Uniform(3),
            batch_size=4,
            progress=False,
        )
    assert Spy.seen == {"tensorfloat32"}


SMALL = ["digits", "--generator.hidden-sizes", "4", "--discriminator.units", "4"]


@pytest.mark.parametrize(("seeds", "driver"), [("1", "train"), ("2", "train_seeds")])
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


def test_a_run_is_scored_anew_in_its_precision(tmp_path, monkeypatch):
    seen = []

    def stopped(*_, **__):
        seen.append(jax.config.jax_default_matmul_precision)
        raise KeyboardInterrupt

    recipe = json.loads(json.dumps(dataclasses.asdict(small("digits", precision="bfloat16"))))
    config = {"benchmark": "digits", "seed": 0, "image_shape": [8, 8], "recipe": recipe}
    source = advnets.data.load("digits").source
    for name, content in (("config", config), ("results", {"data": source, "epochs": 1})):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    monkeypatch.setattr(rescoring, "load_generator", lambda *_, **__: (None, None))
    monkeypatch.setattr(rescoring, "samples_of", lambda *_: None)
    monkeypatch.setattr(rescoring, "score_draws", stopped)
    with pytest.raises(KeyboardInterrupt):
        bench.rescore(tmp_path, 10)
    assert seen == ["BF16_BF16_F32"]
