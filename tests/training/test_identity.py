"""Descriptions of settings: the same for equal ones, in any process, and another for others."""

import collections
import functools
import json
import os
import subprocess
import sys
import types

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import advnets
from advnets import game, objectives, preprocessing, priors, updates
from advnets.training.identity import describe, environment

SCALE = 2.0


def scaled_by(scale):
    def cost(logits):
        return scale * jnp.mean(logits)

    return cost


def scaled(logits):
    return SCALE * jnp.mean(logits)


def doubled(logits):
    return twice(logits)


def twice(x):
    return 2 * x


def times(factor):
    """A decorator that keeps the function's name and `__wrapped__`."""

    def decorate(function):
        @functools.wraps(function)
        def wrapped(x):
            return factor * function(x)

        return wrapped

    return decorate


def weighted(weight):
    class Weighted(objectives.Objective):
        def costs(self, draws, D, real, fake):
            cost = weight * D(None, real).mean()
            return objectives.Costs(cost, -cost)

    return Weighted()


def constant(value):
    class Constant(objectives.GAN):
        rate = value

    return Constant()


def typed_in(body):
    """A function without source."""
    names = {"jnp": jnp, "__name__": "typed"}
    exec(f"def cost(x):\n    def inner(y):\n        return {body}\n    return inner(x)", names)
    return names["cost"]


def settings():
    """Two that are equal, each built anew, of every kind."""
    return {
        "optax": optax.chain(optax.clip(1.0), optax.sgd(0.1, momentum=0.5)),
        "schedule": optax.sgd(optax.exponential_decay(0.1, 10, 0.9)),
        "released": updates.Released(0.1),
        "released updates": updates.released_updates(0.1, 5, norm_limit=1.0),
        "objective": objectives.GAN(generator_cost=game.BlendedCost(1.0, 2.0)),
        "own objective": weighted(2.0),
        "prior": priors.Normal(100),
        "partial": functools.partial(preprocessing.gcn, scale=2.0),
        "closure": scaled_by(2.0),
        "lambda": lambda x: 2 * x,
        "global": scaled,
        "global function": doubled,
        "wrapped": times(2.0)(twice),
        "jitted": jax.jit(twice),
        "typed in": typed_in("jnp.sin(2 * y)"),
        "array": np.arange(100.0),
        "layer": eqx.nn.Linear(2, 3, key=jax.random.key(0)),
        "dropout": advnets.layers.Dropout(0.5),
        "dictionary": {"a": 1, "b": (2.0, None)},
    }


def test_equal_settings_have_equal_descriptions_that_are_all_different():
    first, again = ({name: describe(x) for name, x in settings().items()} for _ in range(2))
    assert first == again
    assert len(set(first.values())) == len(first)


def test_arrays_of_its_module_are_part_of_a_function():
    def found(table):
        names = {"TABLE": table, "__name__": "typed"}
        exec("def cost(x):\n    return x * TABLE", names)
        return describe(names["cost"])

    assert found(np.arange(100.0)) == found(np.arange(100.0)) != found(np.ones(100))


@pytest.mark.parametrize("signature", ["x, scale=DEFAULT", "x, *, scale=DEFAULT"])
def test_defaults_are_part_of_a_function(signature):
    def found(default):
        names = {"DEFAULT": default, "__name__": "typed"}
        exec(f"def cost({signature}):\n    return scale * x", names)
        return describe(names["cost"])

    assert found(1.0) == found(1.0) != found(2.0)


def test_a_class_that_moves_within_its_file_stays_the_same():
    def found(lines, rate):
        names = {"__name__": "typed"}
        source = f"class Cost:\n    rate = {rate}\n    def __call__(self, x):\n        return x"
        exec("\n" * lines + source, names)
        return describe(names["Cost"]())

    assert found(0, 1.0) == found(7, 1.0) != found(0, 2.0)


def test_tuples_with_names_are_known_by_them():
    first, second = (collections.namedtuple(name, ["rate"]) for name in ("First", "Second"))
    assert describe(first(0.1)) == describe(first(0.1)) != describe(second(0.1))


def test_functions_whose_source_is_nowhere_are_told_apart():
    def found(body):
        names = {"__name__": "typed"}
        exec(compile(f"def cost(x):\n    return {body}", "<stdin>", "exec"), names)
        return describe(names["cost"])

    assert found("2 * x") == found("2 * x") != found("3 * x")


@pytest.mark.parametrize(
    ("platform", "kind", "expected"),
    [("cpu", "AMD EPYC", "cpu"), ("gpu", "NVIDIA H100", "NVIDIA H100"), ("METAL", "M4", "M4")],
)
def test_processors_are_one_kind_and_accelerators_their_own(platform, kind, expected, monkeypatch):
    device = types.SimpleNamespace(platform=platform, device_kind=kind)
    monkeypatch.setattr(jax, "devices", lambda: [device])
    assert environment(1)["the kind of devices"] == expected


def test_how_an_object_is_shown_is_no_part_of_it():
    def found(call, shown):
        names = {"__name__": "typed"}
        exec(
            "class Cost:\n"
            f"    def __call__(self, x):\n        return {call}\n"
            f"    def __repr__(self):\n        return {shown!r}",
            names,
        )
        return describe(names["Cost"]())

    assert found("x", "one") == found("x", "two") != found("2 * x", "one")


def test_what_is_compiled_is_described_as_what_it_compiles():
    assert describe(jax.jit(twice)) == describe(twice)


def test_what_has_no_more_than_a_name_is_described_by_it():
    class Named:  # as NumPy's functions were before 2.2
        __slots__ = ("__name__",)

    first, same, other = Named(), Named(), Named()
    first.__name__, same.__name__, other.__name__ = "add", "add", "multiply"
    assert describe(first) == describe(same) != describe(other)


PROGRAM = """
import json, sys
sys.path.insert(0, {folder!r})
import test_identity
print(json.dumps({{n: test_identity.describe(x) for n, x in test_identity.settings().items()}}))
"""


@pytest.mark.long
def test_descriptions_hold_in_another_process():
    folder = os.path.dirname(__file__)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(folder=folder)],
        env=os.environ | {"PYTHONHASHSEED": "1", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=True,
    )
    there = json.loads(done.stdout)
    assert there == {name: describe(x) for name, x in settings().items()}


A, B = lambda x: x + 1, lambda x: x - 1
f, g = (lambda x: x), (lambda x: 2 * x)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (optax.sgd(0.1), optax.sgd(0.2)),
        (optax.sgd(0.1), optax.rmsprop(0.1)),
        (optax.sgd(optax.exponential_decay(0.1, 10, 0.9)), optax.sgd(0.1)),
        (updates.Released(0.1), updates.Released(0.1, saturate=10)),
        (updates.Released(0.1), updates.released_updates(0.1, 5)),
        (objectives.GAN(), objectives.GAN(generator_cost=game.minimax_cost)),
        (objectives.GAN(), objectives.GAN(generator_sees_dropout=False)),
        (weighted(2.0), weighted(3.0)),
        (constant(1), constant(2)),
        (priors.Normal(100), priors.Uniform(100)),
        (priors.Normal(100), priors.Normal(99)),
        (functools.partial(preprocessing.gcn, scale=2.0), preprocessing.gcn),
        (scaled_by(2.0), scaled_by(3.0)),
        (lambda x: 2 * x, lambda x: 3 * x),
        (A, B),
        (f, g),
        (times(2.0)(twice), times(3.0)(twice)),
        (typed_in("jnp.sin(y)"), typed_in("jnp.cos(y)")),
        (typed_in("y + y"), typed_in("y - y")),
        (jax.jit(twice), jax.jit(scaled)),
        (np.sin, np.cos),
        (np.arange(100.0), np.arange(100.0)[::-1]),
        (np.zeros(3, np.float32), np.zeros(3)),
        (jnp.zeros(3), jnp.zeros((3, 1))),
        (advnets.layers.Dropout(0.5), advnets.layers.Dropout(0.8)),
        (jax.random.key(0), jax.random.key(1)),
        ([1, 2], [2, 1]),
        (1, 1.0),
        ("1", 1),
        (None, "None"),
    ],
)
def test_other_settings_have_other_descriptions(one, other):
    assert describe(one) != describe(other)


def test_what_a_function_uses_of_its_module_is_part_of_it(monkeypatch):
    before = describe(scaled), describe(doubled)
    monkeypatch.setattr(sys.modules[__name__], "SCALE", 3.0)
    monkeypatch.setattr(sys.modules[__name__], "twice", scaled_by(1.0))
    after = describe(scaled), describe(doubled)
    assert all(x != y for x, y in zip(before, after, strict=True))


def test_methods_of_another_body_make_another_class():
    def build(body):
        names = {"objectives": objectives, "__name__": "typed"}
        exec(
            "class Mine(objectives.Objective):\n"
            "    def costs(self, draws, D, real, fake):\n"
            f"        return {body}\n",
            names,
        )
        return names["Mine"]()

    assert describe(build("1 + real")) == describe(build("1 + real"))
    assert describe(build("1 + real")) != describe(build("2 + real"))


def test_what_contains_itself_ends():
    loop = {}
    loop["self"] = loop
    assert "..." in describe(loop)
