"""Updates of a recipe by this library: many in one compiled program, as in its driver."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import advnets
from advnets.bench import recipes

IMAGES = 20_000
SHAPES = {"mnist": (28, 28), "cifar10": (32, 32, 3), "tfd": (48, 48), "digits": (8, 8)}
# Not imported from the bench, because older commits have it elsewhere.
PREPROCESS = {
    "unit": advnets.preprocessing.to_unit_interval,
    "gcn": advnets.preprocessing.gcn,
}
NORMS_EVERY = 10  # as in the driver


def some_images(recipe, n=IMAGES):
    """Random images of a data set's shape and type; the content does not affect speed."""
    pixels = np.random.default_rng(0).integers(0, 256, (n, *SHAPES[recipe.dataset]))
    return pixels.astype(np.uint8)


def some_rows(recipe, updates, n=IMAGES):
    """The rows of each update's minibatch."""
    return np.random.default_rng(1).integers(0, n, (updates, recipe.batch_size))


def build(recipe, images, prior=None):
    """The algorithm of a recipe, and its players."""
    players = recipes.build_players(jax.random.key(0), recipe, images)
    if prior is not None:
        players = dataclasses.replace(players, prior=prior)
    algorithm = recipes.algorithm_of(recipe).for_epochs_of(500)
    return dataclasses.replace(algorithm, norms_every=NORMS_EVERY), players


def start(recipe, images):
    """A step of a recipe (a function of key, state and data) and the initial state."""
    if not hasattr(advnets, "Players"):
        return _start_with_players_inside(recipe, images)
    algorithm, players = build(recipe, images)
    state = algorithm.init(players)
    # The state has the arrays; a second copy would add to the memory measured.
    structure = eqx.filter(players, eqx.is_array, inverse=True)
    return lambda key, state, real: algorithm.step(key, structure, state, real), state


def _start_with_players_inside(recipe, images):
    """The same for older commits, whose `Algorithm1` holds the players; for `commits.py`."""
    players = recipes.build_players(jax.random.key(0), recipe, images)
    g_updates, d_updates = recipes.update_rule(recipe, 500)
    algorithm = advnets.Algorithm1(
        *players,
        recipes.build_prior(recipe),
        generator_updates=g_updates,
        discriminator_updates=d_updates,
        order=recipe.order,
        norms_every=NORMS_EVERY,
    )
    return algorithm.step, algorithm.init(*players)


def updates(recipe, images, rows):
    """A call that makes one update for each row of `rows`, and waits for the last."""
    step, state = start(recipe, images)
    preprocess, key = PREPROCESS[recipe.preprocessing], jax.random.key(1)

    @functools.partial(jax.jit, donate_argnums=0)
    def run(state, images, rows):
        def once(state, rows):
            return step(key, state, preprocess(images[rows]))

        return jax.lax.scan(once, state, rows)

    states, images, rows = [state], jnp.asarray(images), jnp.asarray(rows)
    del state  # it is donated to the first call

    def call():
        states[0], info = run(states[0], images, rows)
        jax.block_until_ready((states[0], info))

    return call
