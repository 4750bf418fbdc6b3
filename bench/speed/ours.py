"""Updates of a recipe by this library, many in one compiled program, as its driver runs them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import advnets
from advnets.bench.recipes import PREPROCESSING, build_players, build_prior, update_rule

IMAGES = 20_000
SHAPES = {"mnist": (28, 28), "cifar10": (32, 32, 3), "tfd": (48, 48), "digits": (8, 8)}


def some_images(recipe, n=IMAGES):
    """Random images of a data set's shape, and the type that it comes in: speed ignores content."""
    pixels = np.random.default_rng(0).integers(0, 256, (n, *SHAPES[recipe.dataset]))
    return pixels.astype(np.uint8)


def some_rows(recipe, updates, n=IMAGES):
    """The rows of each update's minibatch."""
    return np.random.default_rng(1).integers(0, n, (updates, recipe.batch_size))


def build(recipe, images, prior=None):
    """The algorithm of a recipe, and its first state."""
    players = build_players(jax.random.key(0), recipe, images)
    g_updates, d_updates = update_rule(recipe, 500)
    algorithm = advnets.Algorithm1(
        *players,
        prior or build_prior(recipe),
        generator_updates=g_updates,
        discriminator_updates=d_updates,
        order=recipe.order,
        norms_every=10,  # as in the driver
    )
    return algorithm, algorithm.init(*players)


def updates(recipe, images, rows):
    """A call that makes one update for each row of `rows`, and waits for the last."""
    algorithm, state = build(recipe, images)
    preprocess, key = PREPROCESSING[recipe.preprocessing], jax.random.key(1)

    @functools.partial(jax.jit, donate_argnums=0)
    def run(state, images, rows):
        def once(state, rows):
            return algorithm.step(key, state, preprocess(images[rows]))

        return jax.lax.scan(once, state, rows)

    states, images, rows = [state], jnp.asarray(images), jnp.asarray(rows)

    def call():
        states[0], info = run(states[0], images, rows)
        jax.block_until_ready((states[0], info))

    return call
