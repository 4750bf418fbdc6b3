"""What fuzzed calls of every public function found (see tests/faults/calls.py)."""

import dataclasses
import functools
import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError
from safetensors.numpy import save

import advnets
from advnets import chains
from advnets.baselines import ais, cae, dbn, fillers, gsn, rbm, vae
from advnets.bench import frames
from advnets.bench.folders import read_rows
from advnets.bench.grid import sweep_result
from advnets.bench.modes import drawing, gaussians
from advnets.bench.pages.inpainting import sheet
from advnets.bench.recipes import Recipe, build_players
from advnets.bench.results import Measured, as_json, distribution
from advnets.bench.systems.chained import distinct_classes
from advnets.bench.systems.conditional import check_classes
from advnets.bench.systems.inpainting import masks_of
from advnets.draws import Draws
from advnets.few_labels import draw_labelled
from advnets.monitor.frozen import evenly
from advnets.preprocessing import gcn_picture
from advnets.training import CheckpointError, devices
from advnets.training.checkpoints import Manifest, Progressed, restore_part
from advnets.training.program import finite
from advnets.training.sources import Rows, Streamed, epoch_order
from advnets.verify.descent import onto_simplex
from advnets.verify.families import random_pair

KEY = jax.random.key(0)
MODEL = advnets.Model(lambda z: 2 * z, advnets.priors.Uniform(1))
LOGITS = advnets.objectives.OnLogits(lambda real, fake: real.mean() + fake.mean(), jnp.mean)


def costs(real, fake):
    return LOGITS.costs(Draws(KEY, KEY, KEY, KEY, KEY), lambda key, x: x, real, fake)


RBM = rbm.RBM(jnp.zeros((4, 3)), jnp.zeros(4), jnp.zeros(3))
DBN = dbn.DBN(RBM, rbm.RBM(jnp.zeros((3, 2)), jnp.zeros(3), jnp.zeros(2)))
STACK = cae.Stack((cae.Layer(jnp.zeros((4, 3)), jnp.zeros(3), jnp.zeros(4)),), (2, 2))
HALF, LONG, NONE = np.full(4, 0.5), jnp.zeros((3, 2, 3)), jnp.zeros((0, 2, 2))
MESH = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("devices",))
HUGE, BELOW = 10**30, r"at least 1 and below 2\*\*31"


class Still(chains.Chain):
    def start(self, key, images):
        return images

    def step(self, key, state):
        return state

    def means(self, state):
        return state


@functools.cache
def small_vae():
    return vae.new_vae(KEY, (2, 2), hidden_size=3, latent_size=2)


@functools.cache
def small_gsn():
    return gsn.GSN(KEY, (2, 2), hidden_sizes=(2, 2))


def walk(**given):
    return lambda: chains.walk(KEY, Still(), jnp.zeros((2, 3)), **{"samples": 1} | given)


def sampler(n):
    return chains.Chained(Still(), np.zeros((2, 3), np.uint8), 2, 0, 1, "mean").sample(KEY, n)


# Images of another shape than a model's, and none where there is a mean over them.
PIXELS = r"have 4 pixels.* \(rows, (2, 2|4)\); got one of shape \(3, 2, 3\)"
IMAGES = {
    "cae inputs": lambda images: STACK.inputs(images),
    "cae logits": lambda images: STACK.logits(images),
    "cae reconstruct": lambda images: STACK.reconstruct(images),
    "cae cross-entropies": lambda images: STACK.cross_entropies(images),
    "cae walk": lambda images: cae.Walk(STACK, 1.0).start(KEY, images),
    "cae cost": lambda images: cae.Cost(1.0)(KEY, STACK, None, images),
    "vae encode": lambda images: small_vae().encode(images),
    "vae reconstruct": lambda images: small_vae().reconstruct(images),
    "vae likelihood": lambda images: small_vae().log_likelihood(
        jnp.zeros((len(images), 2)), images
    ),
    "vae bound": lambda images: vae.log_bound(KEY, small_vae(), images),
    "vae cost": lambda images: vae.Cost()(KEY, small_vae(), None, images),
    "gsn start": lambda images: small_gsn().start(KEY, images),
    "gsn cost": lambda images: gsn.cost(KEY, small_gsn(), images),
    "rbm chain": lambda images: rbm.Gibbs(RBM, (2, 2)).start(KEY, images),
    "rbm cost": lambda images: rbm.PCD()(KEY, RBM, jnp.zeros((2, 3)), images),
    "dbn means": lambda images: dbn.first_means(KEY, RBM, images),
    "dbn chain": lambda images: dbn.TopGibbs(DBN, (2, 2)).start(KEY, images),
    "dbn cost": lambda images: dbn.UpperPCD()(KEY, DBN, jnp.zeros((2, 2)), images),
}
OF_NONE = ["cae cost", "vae bound", "vae cost", "gsn cost", "rbm cost", "dbn means", "dbn cost"]


@pytest.mark.parametrize("name", IMAGES)
def test_images_of_another_shape_than_a_model_s_are_refused(name):
    with pytest.raises(ValueError, match=PIXELS):
        IMAGES[name](LONG)


@pytest.mark.parametrize("name", OF_NONE)
def test_a_mean_over_no_images_is_refused(name):
    with pytest.raises(ValueError, match=r"got an array of shape \(0, "):
        IMAGES[name](NONE)


def test_no_images_are_encoded_to_none():
    assert STACK.reconstruct(NONE).shape == NONE.shape


def test_what_is_no_array_is_refused_in_a_sentence():
    with pytest.raises(TypeCheckError, match="inputs must be a floating-point JAX array"):
        rbm.softplus([1, "x"])


REFUSED = {
    "samples of a model": (lambda: MODEL.sample(KEY, HUGE), BELOW),
    "samples of chains": (lambda: sampler(HUGE), BELOW),
    "no samples of chains": (lambda: sampler(0), "number of samples must be .*; got 0"),
    "steps of chains": (
        lambda: chains.run(
            KEY, Still(), np.zeros((2, 3)), 9, chains.Protocol(1, burn_in=2**31 - 5)
        ),
        "steps of each chain must be",
    ),
    "steps of a walk": (walk(samples=2, thin=2**30), "number of steps must be"),
    "no steps of a walk": (walk(thin=-(2**63)), "thin must be"),
    "a late walk": (walk(first=2**63), "first must be"),
    "a long walk": (walk(samples=2**63), "samples must be"),
    "units": (lambda: rbm.fair_coins(KEY, 100, HUGE), BELOW),
    "no units": (lambda: rbm.fair_coins(KEY, 100, -1), BELOW),
    "hidden units": (lambda: rbm.start(KEY, HALF, hidden=HUGE), BELOW),
    "visible units": (lambda: rbm.start(KEY, HALF[:0], hidden=3), BELOW),
    "Gibbs steps": (lambda: rbm.PCD(steps=HUGE), BELOW),
    "chains' units": (
        lambda: rbm.PCD().on_binary(KEY, RBM, jnp.zeros((2, 4)), jnp.zeros((2, 4))),
        r"states must be 3 numbers, as the model has; got shape \(2, 4\)",
    ),
    "means": (lambda: ais.log_partition(KEY, RBM, HALF[:1]), r"means must be 4 .* \(1,\)"),
    "samples of a machine": (
        lambda: ais.reverse_log_partition(KEY, RBM, HALF[:3], jnp.zeros((2, 3))),
        r"means must be 4 numbers, .* \(3,\)",
    ),
    "temperatures": (lambda: ais.log_partition(KEY, RBM, HALF, temperatures=HUGE), BELOW),
    "runs": (lambda: ais.log_partition(KEY, RBM, HALF, runs=HUGE), r"at least 2 .* 2\*\*31"),
    "draws": (lambda: dbn.log_weights(KEY, DBN, jnp.zeros((2, 4)), HUGE), BELOW),
    "states": (lambda: dbn.log_weights(KEY, DBN, jnp.zeros((2, 3)), 1), "must be 4 numbers"),
    "bounds": (lambda: vae.log_bound(KEY, small_vae(), LONG, draws=HUGE), BELOW),
    "latent vectors": (lambda: small_vae().decode(jnp.zeros((2, 3))), "must be 2 numbers"),
    "rounds": (lambda: gsn.draw_noise(KEY, small_gsn(), 1, 2**63), BELOW),
    "rounds of all": (lambda: gsn.draw_noise(KEY, small_gsn(), 2**20, 2**20), BELOW),
    "no images of rounds": (lambda: gsn.draw_noise(KEY, small_gsn(), 0), BELOW),
    "noise of others": (
        lambda: gsn.walkback(
            small_gsn(), jnp.zeros((3, 2, 2)), gsn.draw_noise(KEY, small_gsn(), 2, 1)
        ),
        "noise must be for the 3 images of 4 pixels",
    ),
    "rows of an iteration": (
        lambda: Streamed(np.zeros((3, 2))).iterations_per_chunk(0),
        "rows of an iteration must be",
    ),
    "no pixels": (
        lambda: frames.png(np.zeros((0, 8), np.uint8)),
        r"above 0, .*got an array of shape \(0, 8\)",
    ),
    "two channels": (lambda: frames.png(np.zeros((8, 8, 2), np.uint8)), "3 channels"),
    "gap": (lambda: frames.mosaic(np.zeros((2, 8, 8)), 2, HUGE), "the gap must be"),
    "no chains": (lambda: distinct_classes(np.zeros((0, 20), int)), "at least 1 chain"),
    "axes": (lambda: devices.sharded(MESH, HUGE), "axes from 0 to 63"),
    "iterations": (lambda: Rows(KEY, 6, 3, 1, 2)(0, 2**63), "rows must be"),
    "late iterations": (lambda: Rows(KEY, 6, 3, 1, 2)(2**63, 2**63 + 1), "iteration must be"),
    "no iterations": (lambda: Rows(KEY, 6, 3, 1, 2)(5, 5), "end after it; got 5 and 5"),
    "filters": (
        lambda: frames.write_filters(Path("nowhere"), np.ones((4, 2)), (2, 3)),
        r"image of shape \(2, 3\); got an array of shape \(4, 2\)",
    ),
    "no sheet": (
        lambda: frames.write_sheet(Path("nowhere"), np.zeros((0, 8, 8), np.uint8)),
        "at least 1 image",
    ),
    "scale of pictures": (lambda: gcn_picture(np.full((2, 2), -np.inf)), "finite; got inf"),
    "a key as JSON": (lambda: as_json(KEY), "can't be kept as JSON"),
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
    "no spread": (lambda: distribution([1e300, -1e300]), "overflows a float"),
    "no images": (
        lambda: build_players(KEY, Recipe(), np.zeros((0, 8, 8), np.uint8)),
        "need at least one training image",
    ),
    "no labels": (lambda: draw_labelled(np.zeros(0, int), 2, 0), "at least 1 row; got none"),
    "no settings": (lambda: drawing.samples(None, gaussians.ring(), []), BELOW),
    "a huge grid": (lambda: gaussians.grid(HUGE), BELOW),
    "no modes": (lambda: gaussians.ring(0), BELOW),
    "huge draws": (lambda: gaussians.ring().draw(0, 2**63), "at least 0 and below"),
    "huge rows": (lambda: evenly(HUGE, 3), BELOW),
    "huge masks": (lambda: masks_of("centre", 2**63, (4, 4)), "at least 0 and below"),
    "huge classes": (
        lambda: check_classes(advnets.data.load("digits"), HUGE),
        r"0 training rows of class 10\b",
    ),
    "no images to fill with": (
        lambda: fillers.NormalConditional(np.zeros((0, 2))),
        r"at least one training image; got shape \(0, 2\)",
    ),
    "a key for a bandwidth": (
        lambda: advnets.parzen.log_likelihood(jnp.ones((2, 2)), jnp.ones((2, 2)), KEY),
        "pass a real number",
    ),
    "no rates": (lambda: sweep_result(Path("nowhere"), [], []), "at least 1 learning rate"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_too_few_or_too_many_is_refused(name):
    call, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_fillers_take_numpy_arrays():
    with pytest.raises(TypeCheckError, match="train must be a"):
        fillers.NormalConditional(jnp.ones((2, 2)))


def test_true_is_a_number_of_cells():
    assert random_pair(np.random.default_rng(0), True)[0].tolist() == [1]


def test_no_images_are_normalised_to_none():
    assert advnets.preprocessing.gcn(np.zeros((0, 3, 3), np.uint8)).shape == (0, 3, 3)


def test_lines_of_what_is_no_array_are_refused_in_a_sentence():
    model = advnets.Model(lambda z: (z, 2 * z), advnets.priors.Uniform(2))
    with pytest.raises(TypeError, match=r"must return a floating-point JAX array .* a tuple of 2"):
        model.interpolate(KEY, lines=3, steps=4)


def test_a_pipe_in_the_place_of_a_log_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "metrics.jsonl")
    with pytest.raises(ValueError, match=r"metrics\.jsonl is not a file"):
        read_rows(tmp_path / "metrics.jsonl", Measured)


def test_a_pipe_in_the_place_of_a_picture_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "sheet.png")
    with pytest.raises(ValueError, match=r"sheet\.png is not a file"):
        sheet(tmp_path / "sheet.png", (8, 8))


@pytest.mark.parametrize("values", [[], 3, None, [[1.0]], ["x"]])
def test_what_is_no_vector_is_not_projected(values):
    with pytest.raises(ValueError, match="must be a vector of finite numbers; got"):
        onto_simplex(values)


def test_blocks_that_can_not_hold_their_examples_are_refused():
    wrong = dataclasses.replace(MODEL.blocks(KEY, 5), n=HUGE)
    with pytest.raises(ValueError, match="do not fill 1 blocks of 5 rows"):
        wrong[0]


def test_random_keys_are_no_numbers_that_could_be_infinite():
    assert finite({"key": KEY, "weight": jnp.ones(2)})
    assert not finite({"key": KEY, "weight": jnp.array([1.0, jnp.inf])})


def test_a_run_that_a_checkpoint_does_not_have_is_named(tmp_path):
    manifest = Manifest(0, {"seed-1": Progressed(0, True)}, {}, {}, {})
    with pytest.raises(CheckpointError, match="has no run 'seed-2'; it has seed-1"):
        restore_part(tmp_path, manifest, "seed-2", "", {})


def test_a_part_of_a_state_whose_shard_is_missing_is_not_made_up(tmp_path):
    half = {"0.0": np.ones(1, np.float32).view(np.uint8)}
    content = save(half, {"places": json.dumps({"0.0": [[0], [1]]})})
    (tmp_path / "arrays-0.safetensors").write_bytes(content)
    manifest = Manifest(0, {"run": Progressed(0, True)}, {"x['w']": "float32[2]"}, {}, {})
    with pytest.raises(CheckpointError, match="lacks parts of its arrays"):
        restore_part(tmp_path, manifest, "run", "x", {"w": jnp.zeros(2)})
