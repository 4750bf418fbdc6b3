"""The type-check hook: on unless switched off, and no part of the compiled program either way."""

import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import pytest

import advnets
from advnets import neighbours, parzen
from advnets.paper_figures import figure_2

switched_off = os.environ.get("ADVNETS_TYPECHECK") == "0"

PROGRAM = """
import jax, jax.numpy as jnp, sys, advnets
assert "beartype" not in sys.modules, "the checks are set up before any is made"
key = jax.random.key(0)
players = advnets.Players(
    advnets.networks.mlp_generator(key, 3, (4,), hidden_sizes=[5]),
    advnets.networks.maxout_discriminator(key, (4,), units=[6]),
    advnets.priors.Uniform(3),
)
rule = advnets.updates.Released(norm_limit=1.0)
for kind in (advnets.Algorithm1, advnets.Simultaneous):
    algorithm = kind(discriminator_updates=rule).for_epochs_of(5)
    state = algorithm.init(players)
    step = lambda key, state, real: algorithm.step(key, players, state, real)
    print(jax.make_jaxpr(step)(key, state, jnp.zeros((8, 4))))
points = jnp.zeros((5, 4))
print(jax.make_jaxpr(advnets.parzen.log_density)(points, points, jnp.ones(2)))
try:
    advnets.game.value_function("no array", jnp.zeros(3))
except Exception as error:
    print("REFUSED", type(error).__name__)
"""


def run(switch):
    environment = {**os.environ, "ADVNETS_TYPECHECK": switch}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    program, _, verdict = done.stdout.rpartition("REFUSED")
    return program, verdict.strip()


@pytest.mark.long
def test_the_hook_can_be_switched_off_and_leaves_the_program_unchanged():
    (checked, on), (unchecked, off) = run("1"), run("0")
    assert on == "TypeCheckError"
    assert off != "TypeCheckError"
    assert len(checked) > 1000
    assert checked == unchecked


@pytest.mark.skipif(switched_off, reason="switched off in this environment")
def test_the_package_is_checked_here():
    with pytest.raises(jaxtyping.TypeCheckError):
        advnets.game.value_function("no array", "no array")


FLOATS = np.zeros((20, 4, 4), np.float32)
BYTES = np.zeros((20, 4, 4), np.uint8)
LIST = FLOATS.tolist()
TRAINED = object.__new__(advnets.training.Trained)


class Frame:
    """A table of another library, such as pandas: no array, but NumPy makes one of it."""

    def __array__(self, dtype=None, copy=None):
        return np.zeros((20, 3), dtype)


def log_density(points, bandwidths):
    return parzen.log_density(points, jnp.asarray(FLOATS), bandwidths)


def network(key):
    return advnets.networks.mlp_generator(key, 3, (4,), hidden_sizes=[5])


def players():
    judge = advnets.networks.maxout_discriminator(jax.random.key(0), (4,), units=[6])
    return advnets.Players(network(jax.random.key(0)), judge)


@pytest.mark.skipif(switched_off, reason="switched off in this environment")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: neighbours.nearest(LIST, FLOATS),
            "nearest: queries must be a floating-point array of shape (queries, *data); "
            "got a list of 20 (pass np.asarray(queries, float))",
        ),
        (
            lambda: neighbours.nearest(list(FLOATS), FLOATS),
            "got a list of 20 (pass np.stack(queries))",
        ),
        (
            lambda: neighbours.nearest(Frame(), FLOATS),
            "got a Frame (pass np.asarray(queries, float))",
        ),
        (
            lambda: neighbours.nearest(FLOATS, FLOATS[:, :3]),
            "images must be a floating-point array of shape (images, *data); got a NumPy array, "
            "float32 of shape (20, 3, 4), but queries has shape (20, 4, 4)",
        ),
        (
            lambda: neighbours.nearest(BYTES, FLOATS),
            "got a NumPy array, uint8 of shape (20, 4, 4) "
            "(pixels in [0, 1] are queries / np.float32(255))",
        ),
        (
            lambda: parzen.evaluate(FLOATS, BYTES, None),
            "(pixels in [0, 1] are validation / np.float32(255))",
        ),
        (
            lambda: advnets.memorisation.memorisation(FLOATS, jnp.asarray(BYTES), FLOATS),
            "(pixels in [0, 1] are train / np.float32(255))",
        ),
        (
            lambda: parzen.evaluate(FLOATS, FLOATS, None, np.array([1, 2])),
            "bandwidths must be a floating-point array of shape (bandwidths) or None; "
            "got a NumPy array, int64 of shape (2,) (pass bandwidths.astype(float))",
        ),
        (
            lambda: log_density(jnp.asarray(FLOATS), jnp.array([1, 2])),
            "got a JAX array, int32 of shape (2,) (pass bandwidths.astype(float))",
        ),
        (
            lambda: log_density(FLOATS, jnp.ones(2)),
            "points must be a floating-point JAX array of shape (points, *data); got a NumPy "
            "array, float32 of shape (20, 4, 4) (pass jnp.asarray(points))",
        ),
        (
            lambda: log_density(jnp.asarray(FLOATS), np.array([1, 2])),
            "(pass jnp.asarray(bandwidths, float))",
        ),
        (
            lambda: network(jax.random.PRNGKey(0)),
            "mlp_generator: key must be a typed key; got a JAX array, uint32 of shape (2,) "
            "(make keys by jax.random.key, not PRNGKey)",
        ),
        (lambda: network(7), "key must be a typed key; got 7 (pass jax.random.key(7))"),
        (
            lambda: network(jax.random.split(jax.random.key(0))),
            "key must be a typed key; got a JAX array, key<fry> of shape (2,)",
        ),
        (
            lambda: advnets.Algorithm1(generator_updates=optax.MultiSteps(optax.sgd(0.1), 2)),
            "Algorithm1: generator_updates must be GradientTransformation or Released or "
            "Callable[[int], GradientTransformation]; "
            "got a MultiSteps (pass generator_updates.gradient_transformation())",
        ),
        (
            lambda: advnets.train(jax.random.key(0), network(jax.random.key(0)), FLOATS, epochs=1),
            "train: players must be Players; got a Sequential "
            "(pass advnets.Players(generator, discriminator))",
        ),
        (
            lambda: advnets.train(
                jax.random.key(0), players(), FLOATS, epochs=1, algorithm=optax.sgd(0.1)
            ),
            "(pass advnets.Algorithm1(generator_updates=..., discriminator_updates=...), which has "
            "one for each player)",
        ),
        (
            lambda: advnets.Algorithm1(generator_updates=1e-3),
            "got 0.001 (pass an optimiser, such as optax.adam(0.001))",
        ),
        (
            lambda: advnets.networks.mlp_generator(jax.random.key(0), 2, (3,), hidden_sizes=32),
            "mlp_generator: hidden_sizes must be Sequence[int]; got 32 (pass [32])",
        ),
        (
            lambda: advnets.networks.mlp_generator(jax.random.key(0), 2, 64),
            "mlp_generator: shape must be tuple[int, ...]; got 64 (pass (64,))",
        ),
        (
            lambda: advnets.Players(network(jax.random.key(0)), network(jax.random.key(0)), 100),
            "prior must be Prior; got 100 (pass advnets.priors.Uniform(100))",
        ),
        (
            lambda: figure_2(None, jax.random.key(0), players(), FLOATS),
            "model must be Sampler; got a Players (pass advnets.Model(model.generator, "
            "model.prior))",
        ),
        (
            lambda: figure_2(None, jax.random.key(0), TRAINED, FLOATS),
            "got a Trained (pass model.model, or model.averaged where the algorithm keeps an "
            "average)",
        ),
        (
            lambda: figure_2(None, jax.random.key(0), network(jax.random.key(0)), FLOATS),
            "got a Sequential (pass advnets.Model(model), with its prior)",
        ),
        (
            lambda: figure_2(
                None,
                jax.random.key(0),
                advnets.Model(network(jax.random.key(0)), advnets.priors.Uniform(3)),
                advnets.data.load("digits"),
            ),
            "images must be a real array of shape (n, *data); got a Dataset (pass images.train)",
        ),
        (
            lambda: advnets.parzen.evaluate(TRAINED, FLOATS, None),
            "got a Trained (pass samples.model.sample(key, number))",
        ),
        (
            lambda: advnets.train(jax.random.key(0), players(), FLOATS, epochs=np.int64(1)),
            "train: epochs must be int; got np.int64(1) (pass epochs.item())",
        ),
        (
            lambda: advnets.train(jax.random.key(0), players(), FLOATS, epochs=1, callbacks=print),
            "callbacks must be Sequence[Callable[[Any], Any]]; got a "
            "builtin_function_or_method (pass [callbacks])",
        ),
        (
            lambda: advnets.train(
                jax.random.key(0), players(), FLOATS, epochs=1, algorithm=advnets.Algorithm1
            ),
            "got the class Algorithm1 (pass an instance, Algorithm1(...))",
        ),
    ],
)
def test_a_slip_is_answered_by_a_sentence(call, message):
    with pytest.raises(jaxtyping.TypeCheckError, match=f"{re.escape(message)}$") as caught:
        call()
    assert "\n" not in str(caught.value)


class Loud:
    """An array's like, too long to be printed."""

    def __repr__(self):
        raise AssertionError("printed")


@pytest.mark.skipif(switched_off, reason="switched off in this environment")
def test_nothing_is_printed_in_full():
    # A list of MNIST's images took half an hour to print.
    with pytest.raises(jaxtyping.TypeCheckError, match=r"got a list of 3 \(pass np.asarray"):
        neighbours.nearest([[Loud()]] * 3, FLOATS)
    with pytest.raises(jaxtyping.TypeCheckError, match=r"players must be Players; got a Loud$"):
        advnets.train(jax.random.key(0), Loud(), FLOATS, epochs=1)


@pytest.mark.skipif(switched_off, reason="switched off in this environment")
def test_a_result_of_another_type_is_named():
    def undecided(example):
        return jnp.zeros((), int)

    message = "judge must return .*; it returned .*JAX array, int32 of shape"
    with pytest.raises(jaxtyping.TypeCheckError, match=message):
        advnets.players.judge(None, undecided, jnp.zeros((3, 4)))


def test_a_list_of_images_is_no_data():
    images = [np.zeros((28, 28), np.float32)] * 1000
    for data in (images, (images, np.zeros(1000)), np.zeros((1000, 28)).tolist()):
        with pytest.raises(ValueError, match=r"not a list of 1000 \(use np.stack for images"):
            advnets.train(jax.random.key(0), players(), data, epochs=1)
