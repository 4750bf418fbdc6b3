"""One update of each recipe, from a nonzero velocity and from none, against NumPy in float64.

Each recipe with its own layers, rates and limits, but narrower layers; with ADVNETS_FULL_SIZE set,
as released (minutes, and 10 GiB of memory). From a nonzero velocity the change of every parameter
is compared; from none the new velocity, which is the gradient with all its digits.
"""

import dataclasses
import functools
import os

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import drawn, reference
from helpers.numeric import float64
from helpers.reference_layers import build as layers_of
from helpers.velocities import velocity_arrays, with_velocity

from advnets.bench.catalogue import BENCHMARKS
from advnets.bench.recipes import algorithm_of, build_players, stack
from advnets.bench.settings import PREPROCESSING
from advnets.draws import discriminator_draws

FULL_SIZE = bool(os.environ.get("ADVNETS_FULL_SIZE"))
SHAPES = {
    "mnist": (28, 28),
    "tfd": (48, 48),
    "cifar10": (32, 32, 3),
    "cifar10-conv": (32, 32, 3),
}
BATCH, PER_EPOCH = 12, 400
PLAYERS = ("generator", "discriminator")
CASES = [*SHAPES, "tfd, second stage"]


def recipe_of(case):
    benchmark = BENCHMARKS[case.split(",")[0]]
    if FULL_SIZE:
        return benchmark.recipe
    # MNIST's quick game is another one.
    recipe = benchmark.recipe if case == "mnist" else benchmark.quick
    if recipe.discriminator.convolutions:  # whose widths depend on each other
        return recipe
    return dataclasses.replace(
        recipe,
        generator=dataclasses.replace(recipe.generator, hidden_sizes=(120, 120)),
        discriminator=dataclasses.replace(recipe.discriminator, units=(24, 24)),
        second_stage=dataclasses.replace(recipe.second_stage, hidden_size=120),
    )


def build(case, recipe, images):
    players = build_players(jax.random.key(7), recipe, images)
    generator = players.generator
    if case == "tfd, second stage":
        generator = stack(jax.random.key(8), recipe, generator)
    # At an output bias of 0 its gradients from data and samples cancel to their last digits.
    bias = jnp.full(1, 0.05)
    discriminator = eqx.tree_at(lambda d: d.layers[-2].bias, players.discriminator, bias)
    return dataclasses.replace(players, generator=generator, discriminator=discriminator)


@dataclasses.dataclass
class Updated:
    """An update of the library from a velocity of some size, and what it drew."""

    players: object
    before: object
    after: object
    z: np.ndarray
    masks: list


@functools.cache
def updated(case):
    """Updates from a nonzero velocity and from none."""
    recipe = recipe_of(case)
    images = images_of(case)
    players = build(case, recipe, images)
    algorithm = algorithm_of(recipe).for_epochs_of(PER_EPOCH)
    real = PREPROCESSING[recipe.preprocessing](jnp.asarray(images[:BATCH]))
    key = jax.random.key(11)
    step = jax.jit(lambda state, real: algorithm.step(key, players, state, real)[0])
    draws = discriminator_draws(jax.random.fold_in(key, 0))
    z = drawn.latents(draws, players.prior, BATCH)
    masks = [
        drawn.masks(k, players.discriminator, images.shape[1:], BATCH)
        for k in (draws.real, draws.fake)
    ]
    keys = dict(
        zip(("generator", "discriminator"), jax.random.split(jax.random.key(3)), strict=True)
    )
    initial = algorithm.init(players)
    found = {}
    for size in (1e-2, 0.0):
        moving = {  # some updates into training
            name: with_velocity(initial.updates[name], keys[name], size, count=jnp.array(1000))
            for name in keys
        }
        state = dataclasses.replace(initial, updates=moving)
        found[size] = Updated(players, state, step(state, real), z, masks)
    return found


def images_of(case):
    shape = SHAPES[case.split(",")[0]]
    return np.random.default_rng(0).integers(0, 256, (50, *shape), np.uint8)


def relative_errors(case, fault=None):
    """Of every array's change from a nonzero velocity, and of its new velocity from none."""
    recipe = recipe_of(case)
    pixels = np.asarray(images_of(case)[:BATCH], np.float64)
    if recipe.preprocessing == "gcn":
        flat = pixels.reshape(BATCH, -1)
        flat = flat - flat.mean(1, keepdims=True)
        pixels = (55 * flat / np.linalg.norm(flat, axis=1, keepdims=True)).reshape(pixels.shape)
    else:
        pixels = pixels / 255
    rate = recipe.learning_rate / 1.000004**1000
    mu = 0.5 + 0.2 * (1 + 1000 // PER_EPOCH - 1) / 249
    limit = np.inf if recipe.norm_limit is None or fault == "no limit" else recipe.norm_limit
    if fault == "rate":
        rate = rate * 1.01
    options = reference.Options(norm_limit=limit)
    errors = []
    for size, update in updated(case).items():
        players = [layers_of(update.players.named[name]) for name in PLAYERS]
        velocities = [velocity_arrays(update.before.updates[name]) for name in PLAYERS]
        draws = update.z, *update.masks
        moved = reference.simultaneous(
            *players, *velocities, pixels, draws, rate, mu, "non-saturating", options=options
        )
        for name, layers, velocity in zip(PLAYERS, players, moved, strict=True):
            if size:
                before, after = (
                    float64(jax.tree.leaves(state.players[name]))
                    for state in (update.before, update.after)
                )
                seen = [a - b for a, b in zip(after, before, strict=True)]
                ends = [p for layer in layers for p in layer.parameters]
                changes = [a - b for a, b in zip(ends, before, strict=True)]
            else:
                seen, changes = velocity_arrays(update.after.updates[name]), velocity
            errors += [
                np.linalg.norm(ours - change) / np.linalg.norm(change)
                for ours, change in zip(seen, changes, strict=True)
            ]
    return np.array(errors)


@pytest.mark.long
@pytest.mark.parametrize("case", CASES)
def test_every_change_matches_the_reference(case):
    errors = relative_errors(case)
    assert (errors <= 1e-4).all(), errors


@pytest.mark.long
@pytest.mark.parametrize(("case", "fault"), [("tfd", "no limit"), ("cifar10-conv", "rate")])
def test_a_planted_fault_shows(case, fault):
    assert (relative_errors(case, fault) > 1e-3).any()
