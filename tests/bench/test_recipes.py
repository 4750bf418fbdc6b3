"""The recipes: as released, what they build, and what none may hold."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import advnets
from advnets import Algorithm1, bench, objectives
from advnets.bench.recipes import algorithm_of, build_players
from advnets.bench.systems import Adversarial
from advnets.data.dataset import Dataset, Fold

SHARED = {
    "image_size": None, "proper_folds": False, "order": "simultaneous",
    "objective": "non-saturating", "k": 1, "update_rule": "momentum", "average": None,
    "average_share": None, "latent_size": 100, "learning_rate_divisor": 1.000004,
    "learning_rate_floor": 1e-6, "initial_momentum": 0.5, "final_momentum": 0.7,
    "momentum_saturates": 250, "evaluate_every": 10, "num_samples": 10_000,
    "precision": "float32", "penalty": 0.0, "penalty_every": 1, "final_rate": 1.0,
}  # fmt: skip
DECONVOLUTION = {"channels": 80, "kernel_size": 5, "stride": 3}
RELEASED = {
    "mnist": {
        "dataset": "mnist", "preprocessing": "unit", "epochs": 250, "batch_size": 100,
        "prior": "uniform", "learning_rate": 0.1, "norm_limit": None,
        "generator": {
            "hidden_sizes": (1200, 1200), "last_hidden": "relu", "sigmoid_bias": 0.0,
            "weight_range": 0.05, "output": "sigmoid", "output_range": 0.05, "output_nonzero": 0,
        },
        "discriminator": {"convolutions": (), "units": (240, 240)},
        "second_stage": 0,
    },
    "tfd": {
        "dataset": "tfd", "preprocessing": "unit", "epochs": 50, "batch_size": 100,
        "prior": "normal", "learning_rate": 0.05, "norm_limit": 1.9365,
        "generator": {
            "hidden_sizes": (8000, 8000), "last_hidden": "sigmoid", "sigmoid_bias": -2.0,
            "weight_range": 0.05, "output": "sigmoid", "output_range": 0.05, "output_nonzero": 100,
        },
        "discriminator": {"convolutions": (), "units": (1200, 1200)},
        "second_stage": 22,
    },
    "cifar10": {
        "dataset": "cifar10", "preprocessing": "gcn", "epochs": 250, "batch_size": 100,
        "prior": "normal", "learning_rate": 0.025, "norm_limit": None,
        "generator": {
            "hidden_sizes": (8000, 8000), "last_hidden": "sigmoid", "sigmoid_bias": 0.0,
            "weight_range": 0.05, "output": "linear", "output_range": 0.5, "output_nonzero": 0,
        },
        "discriminator": {"convolutions": (), "units": (1600, 1600)},
        "second_stage": 0,
    },
    "cifar10-conv": {
        "dataset": "cifar10", "preprocessing": "gcn", "epochs": 250, "batch_size": 128,
        "prior": "normal", "learning_rate": 0.004, "norm_limit": None,
        "generator": {
            "hidden_sizes": (8000, 8000), "last_hidden": "sigmoid", "sigmoid_bias": 0.0,
            "weight_range": 0.05, "output": "deconvolution", "output_range": 0.05,
            "output_nonzero": 0,
        },
        "discriminator": {
            "convolutions": ((32, 2, 8, 4, 4, 2), (32, 2, 8, 3, 4, 2), (192, 2, 5, 3, 2, 2)),
            "units": (500,),
        },
        "second_stage": 0,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", RELEASED)
def test_the_recipe_is_the_released_one(name):
    recipe = dataclasses.asdict(bench.BENCHMARKS[name].recipe)
    convolutions = recipe["discriminator"]["convolutions"]
    recipe["discriminator"]["convolutions"] = tuple(tuple(c.values()) for c in convolutions)
    expected = SHARED | RELEASED[name]
    expected["generator"] |= {"channels": (), "deconvolution": DECONVOLUTION}
    expected["discriminator"] = {
        "layers": "maxout", "channels": (), "pieces": 5, "weight_range": 0.005, "input_keep": 0.8,
        "hidden_keep": 0.5,
    } | expected["discriminator"]  # fmt: skip
    second = {"epochs": expected["second_stage"], "hidden_size": 8000, "sigmoid_bias": -2.0}
    assert recipe == expected | {"second_stage": second}


def with_sizes(recipe, *sizes):
    """The recipe with other hidden layers in its generator."""
    spec = dataclasses.replace(recipe.generator, hidden_sizes=sizes)
    return dataclasses.replace(recipe, generator=spec)


@pytest.mark.long
def test_sigmoid_pixels_start_from_the_marginals_and_linear_ones_from_0():
    images = np.random.default_rng(0).integers(0, 256, (20, 28, 28), np.uint8)
    recipe = with_sizes(bench.BENCHMARKS["mnist"].recipe, 5)
    generator = build_players(jax.random.key(0), recipe, images).generator
    bias = np.asarray(generator.layers[2].bias, np.float64)
    mean = images.mean(0).ravel() / 255
    np.testing.assert_allclose(bias, np.log(mean / (1 - mean)), rtol=1e-4, atol=1e-6)
    colour = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), np.uint8)
    recipe = with_sizes(bench.BENCHMARKS["cifar10"].recipe, 5)
    generator = build_players(jax.random.key(0), recipe, colour).generator
    assert generator.layers[2].bias.shape == (32 * 32 * 3,)
    assert not generator.layers[2].bias.any()


def test_a_deconvolution_takes_all_of_the_recipe_s_fields():
    quick = bench.BENCHMARKS["cifar10-conv"].quick
    spec = dataclasses.replace(
        quick.generator,
        hidden_sizes=(7, 98),  # 2 channels of 7 by 7 positions, from which 32 by 32 pixels are made
        weight_range=0.002,
        sigmoid_bias=-2.0,
        output_range=0.001,
        deconvolution=bench.DeconvolutionSpec(channels=2, kernel_size=8, stride=4),
    )
    recipe = dataclasses.replace(quick, generator=spec)
    images = np.zeros((1, 32, 32, 3), np.uint8)
    generator = build_players(jax.random.key(0), recipe, images).generator
    assert (generator.layers[2].bias == -2).all()
    assert 0.001 < abs(generator.layers[0].weight).max() <= 0.002
    deconvolution = generator.layers[-1]
    assert 0 < abs(deconvolution.kernel).max() <= 0.001
    assert deconvolution.kernel.shape == (8, 8, 3, 2)
    assert deconvolution.stride == 4


def test_channels_make_both_players_convolutional():
    images = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), np.uint8)
    players = build_players(jax.random.key(0), bench.BENCHMARKS["cifar10-tuned"].quick, images)
    kernels = {
        name: [one.kernel.shape for one in player.layers if hasattr(one, "kernel")]
        for name, player in (("G", players.generator), ("D", players.discriminator))
    }
    assert kernels == {
        "G": [(3, 3, 32, 64), (3, 3, 16, 32), (3, 3, 8, 12)],
        "D": [(4, 4, 3, 8), (4, 4, 8, 16), (4, 4, 16, 32)],
    }
    mean = images.mean(0) / 255
    bias = players.generator.layers[-2].bias
    np.testing.assert_allclose(bias, np.log(mean / (1 - mean)), rtol=1e-4, atol=1e-6)


def test_k_steps_ramp_and_decay_by_discriminator_updates():
    recipe = dataclasses.replace(bench.BENCHMARKS["mnist"].recipe, order="alternating", k=3)
    algorithm = algorithm_of(recipe).for_epochs_of(4)
    one = {"weight": jax.numpy.zeros(1)}
    gradient = {"weight": jax.numpy.ones(1)}

    def changes(rule, n):
        state, seen = rule.init(one), []
        update = jax.jit(rule.update)
        for _ in range(n):
            change, state = update(gradient, state)
            seen.append(float(change["weight"][0]))
        return seen

    def expected(n, stride, per_epoch):
        v, seen = 0.0, []
        for t in range(n):
            mu = 0.5 + 0.2 * min((t // per_epoch) / 249, 1)
            v = mu * v - 0.1 / 1.000004 ** (t * stride)
            seen.append(v)
        return seen

    np.testing.assert_allclose(
        changes(algorithm.generator_updates, 20), expected(20, 3, 4), rtol=1e-6
    )
    np.testing.assert_allclose(
        changes(algorithm.discriminator_updates, 60), expected(60, 1, 12), rtol=1e-6
    )


LEAKY_CONVOLUTIONS = dataclasses.replace(
    bench.BENCHMARKS["cifar10-conv"].recipe.discriminator, layers="leaky-relu"
)
ANNEALED = bench.Recipe(
    **{"epochs": 2, "order": "alternating", "k": 3, "update_rule": "adam", "penalty": 0.3},
    **{"learning_rate": 0.01, "final_rate": 0.1},
)


def test_a_rate_that_falls_does_so_by_each_player_s_updates():
    algorithm = algorithm_of(ANNEALED).for_epochs_of(4)
    for name, total in (("generator", 8), ("discriminator", 24)):
        rule = algorithm.rules[name]
        state, changes = rule.init(jax.numpy.zeros(1)), []
        for _ in range(total + 2):
            with jax.numpy_dtype_promotion("standard"):  # as in a step
                change, state = rule.update(jax.numpy.ones(1), state)
            changes.append(float(change[0]))
        # With Adam's β₁ = 0 a constant gradient of 1 moves by the rate.
        half_cosine = (1 + np.cos(np.pi * np.minimum(np.arange(total + 2) / total, 1))) / 2
        np.testing.assert_allclose(changes, -0.01 * (0.1 + 0.9 * half_cosine), rtol=1e-5)


def test_a_penalty_is_of_both_kinds_beside_the_order_s_own_cost():
    for order, cost in (
        ("alternating", objectives.negative_value),
        ("simultaneous", advnets.game.discriminator_cost),
    ):
        recipe = dataclasses.replace(ANNEALED, order=order, k=1)
        penalised = algorithm_of(recipe).objective
        assert penalised.penalties == (objectives.R1(0.3), objectives.R2(0.3))
        assert penalised.every == 1
        lazy = algorithm_of(dataclasses.replace(recipe, penalty_every=4)).objective
        assert lazy.every == 4
        assert lazy.penalties == penalised.penalties
        assert penalised.objective.discriminator_cost is cost
        plain = algorithm_of(dataclasses.replace(recipe, penalty=0.0)).objective
        assert type(plain) is objectives.GAN


@pytest.mark.parametrize(
    ("kind", "wrong", "message"),
    [
        (bench.Recipe, {"penalty": -0.1}, "penalty's weight must be at least 0; got -0.1"),
        (bench.Recipe, {"penalty_every": 0}, "must be at least 1; got 0"),
        (bench.Recipe, {"final_rate": 0.1}, "goes with adam; .*got 0.1"),
        (
            bench.Recipe,
            {
                "final_rate": 0.1,
                "update_rule": "adam",
                "second_stage": bench.SecondStage(epochs=1),
            },
            "goes with one stage; .*got 0.1",
        ),
        (bench.Recipe, {"final_rate": 2.0, "update_rule": "adam"}, "from 0 to 1; got 2.0"),
        (bench.DiscriminatorSpec, {"layers": "relu"}, "got 'relu'"),
        (
            bench.Recipe,
            {"discriminator": LEAKY_CONVOLUTIONS},
            "no convolutions; leave out either, got 3",
        ),
        (
            bench.Recipe,
            {"discriminator": bench.DiscriminatorSpec(channels=(8, 4))},
            r"maxout convolutions instead, got channels \(8, 4\)",
        ),
        (bench.Recipe, {"generator": bench.GeneratorSpec(channels=(8, 0))}, "channels .*got 0"),
        (
            bench.Recipe,
            {"generator": bench.GeneratorSpec(channels=(8,), output_nonzero=3)},
            r"got channels \(8,\), the output sigmoid and 3 nonzero weights",
        ),
        (
            bench.Recipe,
            {
                "generator": bench.GeneratorSpec(channels=(8,)),
                "second_stage": bench.SecondStage(epochs=1),
            },
            r"below hidden layers; got channels \(8,\)",
        ),
        (bench.Recipe, {"preprocessing": "zca"}, "one of 'unit', 'gcn'; got 'zca'"),
        (bench.Recipe, {"objective": "wgan"}, "got 'wgan'"),
        (bench.Recipe, {"prior": "gauss"}, "got 'gauss'"),
        (bench.Recipe, {"order": "both"}, "got 'both'"),
        (bench.Recipe, {"precision": "float16"}, "got 'float16'"),
        (bench.Recipe, {"k": 2}, "got"),
        (bench.GeneratorSpec, {"last_hidden": "tanh"}, "'relu', 'sigmoid'; got 'tanh'"),
        (bench.GeneratorSpec, {"output": "tanh"}, "got 'tanh'"),
        (bench.Recipe, {"generator": bench.GeneratorSpec(hidden_sizes=())}, "got"),
        (
            bench.Recipe,
            {
                "preprocessing": "gcn",
                "generator": bench.GeneratorSpec(output="deconvolution", output_nonzero=3),
            },
            "got",
        ),
    ],
)
def test_a_wrong_recipe_in_python_is_refused_when_it_is_made(kind, wrong, message):
    with pytest.raises((ValueError, TypeError), match=message):
        kind(**wrong)


def numbers(value, path=()):
    """The places of all numbers in a recipe, and of what may be one."""
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from numbers(getattr(value, field.name), (*path, field.name))
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from numbers(item, (*path, index))
    elif value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        yield path, value


def with_number(value, path, number):
    """A recipe with another number at a place."""
    if not path:
        return number
    first, *rest = path
    if isinstance(first, int):
        return tuple(
            with_number(item, rest, number) if index == first else item
            for index, item in enumerate(value)
        )
    return dataclasses.replace(value, **{first: with_number(getattr(value, first), rest, number)})


# Of convolutional players, so that all the numbers of a recipe are used.
CONVOLUTIONAL = dataclasses.replace(bench.BENCHMARKS["cifar10-conv"].quick, norm_limit=2.0)
MAY_BE_0 = {"penalty", "output_nonzero", "padding", "sigmoid_bias", "weight_range", "output_range"}
MAY_BE_0 |= {"initial_momentum", "final_momentum", "learning_rate_floor", "average"}


PIXELS = np.zeros((600, 32, 32, 3), np.uint8)
COLOURS = Dataset("colours", PIXELS, (Fold(PIXELS[:10], PIXELS[:10]),), "made up")


def out_of_range(path, value):
    """Numbers that the field may not hold."""
    name = path[-1] if isinstance(path[-1], str) else path[-2]
    zero = [] if name in MAY_BE_0 or path == ("second_stage", "epochs") else [0]
    below = [] if name == "sigmoid_bias" else [-1]
    if isinstance(value, float):
        return [*map(float, zero + below), math.nan, math.inf, -math.inf]
    return zero + below


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        (path, wrong)
        for path, value in numbers(CONVOLUTIONAL)
        for wrong in out_of_range(path, value)
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else str(value),
)
def test_a_number_out_of_range_is_refused_before_any_work(path, wrong):
    with pytest.raises(ValueError, match=str(wrong)):
        Adversarial(with_number(CONVOLUTIONAL, path, wrong)).check(COLOURS, None)


def test_the_recipe_s_own_numbers_are_in_range():
    Adversarial(CONVOLUTIONAL).check(COLOURS, None)


def test_a_recipe_may_use_adam_and_average_the_generator():
    recipe = bench.BENCHMARKS["mnist"].quick
    algorithm = algorithm_of(recipe)
    assert isinstance(algorithm, Algorithm1)
    assert algorithm.average == 0.998
    gradient, parameter = jnp.array([0.5, -2.0]), jnp.array([1.0, 1.0])
    rule, usual = algorithm.generator_updates, optax.adam(1e-3, b1=0.0, b2=0.99)
    with jax.numpy_dtype_promotion("standard"):  # which Optax relies on
        (found, _), (expected, _) = (
            one.update(gradient, one.init(parameter), parameter) for one in (rule, usual)
        )
    assert (found == expected).all()
    # The first step of Adam is the learning rate, whatever the gradient's size.
    assert np.allclose(found, [-1e-3, 1e-3], rtol=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"update_rule": "adam", "norm_limit": 2.0}, "norm limit"),
        ({"average": 1.0}, "at least 0 and below 1"),
        ({"average_share": 0.5}, "got a share of 0.5 and no average"),
        ({"average": 0.9, "average_share": 0.0}, "above 0 and at most 1; got 0.0"),
    ],
)
def test_update_rules_and_averages_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        bench.Recipe(**settings)
