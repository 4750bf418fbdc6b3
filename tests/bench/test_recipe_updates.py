"""One update of each recipe, from a nonzero velocity and from none, against NumPy in float64.

Each recipe with its own layers, rates and limits, but narrower layers; with ADVNETS_FULL_SIZE set,
as released (minutes, and 10 GiB of memory). From a nonzero velocity the change of every parameter
is compared; from none the new velocity, which is the gradient with all its digits.
"""

import dataclasses
import os

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe_reference as reference

import advnets
from advnets.bench.recipes import (
    BENCHMARKS,
    OBJECTIVES,
    PREPROCESSING,
    build_players,
    build_prior,
    stack,
    update_rule,
)

FULL_SIZE = bool(os.environ.get("ADVNETS_FULL_SIZE"))
SHAPES = {
    "digits": (8, 8),
    "mnist": (28, 28),
    "tfd": (48, 48),
    "cifar10": (32, 32, 3),
    "cifar10-conv": (32, 32, 3),
}
BATCH = 12
CASES = [*SHAPES, "tfd, second stage"]


def recipe_of(case):
    benchmark = BENCHMARKS[case.split(",")[0]]
    if FULL_SIZE:
        return benchmark.recipe
    if case == "mnist":
        return dataclasses.replace(
            benchmark.recipe,
            generator=dataclasses.replace(benchmark.recipe.generator, hidden_sizes=(120, 120)),
            discriminator=dataclasses.replace(benchmark.recipe.discriminator, units=(24, 24)),
        )
    return benchmark.quick


def players(case, recipe, images):
    key = jax.random.key(7)
    generator, discriminator = build_players(key, recipe, images)
    if case == "tfd, second stage":
        generator = stack(jax.random.key(8), recipe, generator)
    # At an output bias of 0 its gradients from data and samples cancel to their last digits.
    bias = jnp.full(1, 0.05)
    return generator, eqx.tree_at(lambda d: d.layers[-2].bias, discriminator, bias)


def with_velocity(updates, key, size):
    """Velocities of that size; the count of some updates into training."""

    def drawn(node):
        if not hasattr(node, "velocity"):
            return node
        leaves, structure = jax.tree.flatten(node.velocity)
        keys = jax.random.split(key, len(leaves))
        fresh = [size * jax.random.normal(k, v.shape) for k, v in zip(keys, leaves, strict=True)]
        return dataclasses.replace(
            node, velocity=structure.unflatten(fresh), count=jnp.asarray(1000, node.count.dtype)
        )

    return jax.tree.map(drawn, updates, is_leaf=lambda node: hasattr(node, "velocity"))


def masks(key, discriminator, shape):
    """The masks that a sequence's dropout layers draw: a key an example, split over the layers."""
    example, drawn = jnp.zeros(shape), []
    keys = jax.vmap(lambda k: jax.random.split(k, len(discriminator.layers)))(
        jax.random.split(key, BATCH)
    )
    for i, layer in enumerate(discriminator.layers):
        if isinstance(layer, advnets.layers.Dropout):
            draw = lambda k, p=layer.keep, s=example.shape: jax.random.bernoulli(k, p, s)  # noqa: E731
            drawn.append(np.asarray(jax.vmap(draw)(keys[:, i])))
        example = layer(example)
    return drawn


def velocity_arrays(updates):
    nodes = jax.tree.leaves(updates, is_leaf=lambda node: hasattr(node, "velocity"))
    (found,) = (node for node in nodes if hasattr(node, "velocity"))
    return [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(found.velocity)]


def relative_errors(case, fault=None):
    """Of every array's change from a nonzero velocity, and of its new velocity from none."""
    recipe = recipe_of(case)
    shape = SHAPES[case.split(",")[0]]
    images = np.random.default_rng(0).integers(0, 256, (50, *shape), np.uint8)
    generator, discriminator = players(case, recipe, images)
    per_epoch = 400
    generator_updates, discriminator_updates = update_rule(recipe, per_epoch)
    prior = build_prior(recipe)
    algorithm = advnets.Algorithm1(
        generator,
        discriminator,
        prior,
        generator_updates=generator_updates,
        discriminator_updates=discriminator_updates,
        generator_cost=OBJECTIVES[recipe.objective],
        order=recipe.order,
        k=recipe.k,
    )
    initial = algorithm.init(generator, discriminator)
    step = jax.jit(algorithm.step)
    real = PREPROCESSING[recipe.preprocessing](jnp.asarray(images[:BATCH]))
    key = jax.random.key(11)

    fake_key, real_masks_key, fake_masks_key = jax.random.split(jax.random.fold_in(key, 0), 3)
    z = prior(jax.random.split(fake_key)[0], BATCH)
    pixels = np.asarray(images[:BATCH], np.float64)
    if recipe.preprocessing == "gcn":
        flat = pixels.reshape(BATCH, -1)
        flat = flat - flat.mean(1, keepdims=True)
        pixels = (55 * flat / np.linalg.norm(flat, axis=1, keepdims=True)).reshape(pixels.shape)
    else:
        pixels = pixels / 255
    rate = recipe.learning_rate / 1.000004**1000
    mu = 0.5 + 0.2 * (1 + 1000 // per_epoch - 1) / 249
    limit = recipe.norm_limit
    if fault == "no limit":
        limit = None
    if fault == "rate":
        rate = rate * 1.01
    g_key, d_key = jax.random.split(jax.random.key(3))
    errors = []
    for size in (1e-2, 0.0):
        state = dataclasses.replace(
            initial,
            generator_updates=with_velocity(initial.generator_updates, g_key, size),
            discriminator_updates=with_velocity(initial.discriminator_updates, d_key, size),
        )
        final, _ = step(key, state, real)
        expected = reference.simultaneous_update(
            reference.build(generator),
            reference.build(discriminator),
            [
                velocity_arrays(state.generator_updates),
                velocity_arrays(state.discriminator_updates),
            ],
            pixels,
            np.asarray(z, np.float64),
            [masks(k, discriminator, shape) for k in (real_masks_key, fake_masks_key)],
            rate,
            mu,
            limit if size else None,  # which does not touch velocities
        )
        for player, changes in zip(("generator", "discriminator"), expected, strict=True):
            if size:
                before, after = getattr(state, player), getattr(final, player)
                pairs = zip(jax.tree.leaves(after), jax.tree.leaves(before), strict=True)
                seen = [np.asarray(a, np.float64) - np.asarray(b, np.float64) for a, b in pairs]
            else:
                seen = velocity_arrays(getattr(final, f"{player}_updates"))
            errors += [
                np.linalg.norm(ours - change) / np.linalg.norm(change)
                for ours, change in zip(seen, changes, strict=True)
            ]
    return np.array(errors)


@pytest.mark.parametrize("case", CASES)
def test_every_change_matches_the_reference(case):
    errors = relative_errors(case)
    assert (errors <= 1e-4).all(), errors


@pytest.mark.parametrize(("case", "fault"), [("tfd", "no limit"), ("cifar10-conv", "rate")])
def test_a_planted_fault_shows(case, fault):
    assert (relative_errors(case, fault) > 1e-3).any()
