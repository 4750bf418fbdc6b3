"""What fuzzed calls of every public function found (see tests/faults/calls.py)."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import advnets
from advnets.bench.grid import sweep_result
from advnets.bench.recipes import Recipe, build_players
from advnets.bench.results import distribution
from advnets.draws import Draws
from advnets.training.sources import epoch_order
from advnets.verify.families import random_pair

KEY = jax.random.key(0)
MODEL = advnets.Model(lambda z: 2 * z, advnets.priors.Uniform(1))
LOGITS = advnets.objectives.OnLogits(lambda real, fake: real.mean() + fake.mean(), jnp.mean)


def costs(real, fake):
    return LOGITS.costs(Draws(KEY, KEY, KEY, KEY, KEY), lambda key, x: x, real, fake)


REFUSED = {
    "no inputs": (functools.partial(advnets.layers.sparse_linear, KEY, 0, 3, 1), "at least 1"),
    "no outputs": (functools.partial(advnets.layers.sparse_linear, KEY, 3, 0, 1), "at least 1"),
    "huge": (functools.partial(advnets.layers.sparse_normal, KEY, (10**30, 3), 1), r"2\*\*31"),
    "no rows": (lambda: MODEL.blocks(KEY, 3).first(0), "at least 1; got 0"),
    "lines": (lambda: MODEL.interpolate(KEY, 10**30, 2), r"2\*\*30"),
    "points": (lambda: MODEL.interpolate(KEY, 1, 10**30), r"2\*\*31"),
    "no samples": (lambda: costs(jnp.ones(2), jnp.ones(0)), "at least 1"),
    "no batch": (lambda: epoch_order(KEY, jnp.array(0), 10, 0), "the batch size must be"),
    "no examples": (lambda: epoch_order(KEY, jnp.array(0), 0, 1), "n must be"),
    "no cells": (lambda: random_pair(np.random.default_rng(0), 0), "at least 1 cell"),
    "no spread": (lambda: distribution([1e300, -1e300]), "beyond what a float holds"),
    "no images": (
        lambda: build_players(KEY, Recipe(), np.zeros((0, 8, 8), np.uint8)),
        "for images; got none",
    ),
    "no rates": (lambda: sweep_result(Path("nowhere"), [], []), "at least 1 learning rate"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_too_few_or_too_many_is_refused(name):
    call, said = REFUSED[name]
    with pytest.raises(ValueError, match=said):
        call()


def test_no_images_are_normalised_to_none():
    assert advnets.preprocessing.gcn(np.zeros((0, 3, 3), np.uint8)).shape == (0, 3, 3)


def test_lines_of_what_is_no_array_are_refused_in_a_sentence():
    model = advnets.Model(lambda z: (z, 2 * z), advnets.priors.Uniform(2))
    with pytest.raises(TypeError, match=r"must give a floating-point JAX array .* a tuple of 2"):
        model.interpolate(KEY, lines=3, steps=4)
