"""The speed comparison: that peers do the same work, the floor's count, pairing, the command."""

import dataclasses
import importlib
import math
import shutil
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from advnets.algorithms import at
from advnets.bench import BENCHMARKS
from advnets.bench.cli import main
from advnets.bench.recipes import build_players
from advnets.priors import Prior

SPEED = Path(__file__).parents[2] / "bench" / "speed"


@pytest.fixture
def speed(monkeypatch):
    """Imports one of the scripts, which stand beside the package."""
    monkeypatch.syspath_prepend(SPEED)
    return importlib.import_module


def small(updates, name):
    """A small recipe without dropout, and with weights that give gradients of some size.

    Of convolutions it has two, of which one sees another's channels.
    """
    recipe = updates.tiny(BENCHMARKS[name].recipe)
    return dataclasses.replace(
        recipe,
        order="alternating",
        learning_rate=0.05,
        generator=dataclasses.replace(recipe.generator, weight_range=0.3),
        discriminator=dataclasses.replace(
            recipe.discriminator,
            convolutions=recipe.discriminator.convolutions[:2],
            weight_range=0.1,
            input_keep=1.0,
            hidden_keep=1.0,
        ),
    )


def in_rows(shape):
    """Where the numbers of a (height, width, channels) image are, channels first."""
    places = np.arange(np.prod(shape)).reshape(shape)
    return (places.transpose(2, 0, 1) if len(shape) == 3 else places).ravel()


def channels_first(player, shape, ends=False):
    """Our arrays as the peers hold them: images and kernels with their channels first.

    `shape` is that of the images which the player starts from, or `ends` with.
    """
    found = []
    linear = [layer for layer in player.layers if hasattr(layer, "weight")]
    last = linear[-1] if ends else None
    for layer in player.layers:
        if hasattr(layer, "weight"):  # (pieces, units, inputs), or no pieces
            weight = np.asarray(layer.weight).reshape(-1, layer.weight.shape[-1])
            bias = np.asarray(layer.bias).ravel()
            if layer is last:
                weight, bias = weight[in_rows(shape)], bias[in_rows(shape)]
            elif layer is linear[0] and not ends:
                weight = weight[:, in_rows(shape)]
            found += [weight, bias]
        elif hasattr(layer, "kernel"):
            bias = np.asarray(layer.bias)
            kernel = np.asarray(layer.kernel).transpose(3, 2, 0, 1)
            found += [kernel, bias if bias.ndim == 1 else bias.transpose(2, 0, 1)]
            if not ends:
                shape = layer.out_shape
    return found


def ours_and_start(ours, recipe, images, noise):
    """Our update on given noise, the state before it, and both players' arrays of a state."""

    class Given(Prior):
        size: int = eqx.field(static=True, default=recipe.latent_size)

        def __call__(self, key, n):
            return jnp.asarray(noise)

    algorithm, players = ours.build(recipe, images, prior=Given())
    preprocess = ours.PREPROCESS[recipe.preprocessing]

    @jax.jit
    def update(state, real):
        return algorithm.step(jax.random.key(0), players, state, preprocess(real))[0]

    # A deconvolution's input is an image too, but one that the last dense layer makes.
    deconvolution = recipe.generator.deconvolution
    shape = images.shape[1:]
    if recipe.generator.output == "deconvolution":
        shape = (10, 10, recipe.generator.hidden_sizes[-1] // 100)
        assert deconvolution.channels == shape[-1]

    def arrays(state):
        now = at(players, state)
        return [
            *channels_first(now.generator, shape, ends=True),
            *channels_first(now.discriminator, images.shape[1:]),
        ]

    return update, algorithm.init(players), arrays


def assert_same_moves(start, ours, theirs):
    """Relative to the largest move of each array; float32 sums in another order."""
    for before, mine, other in zip(start, ours, theirs, strict=True):
        moved = mine - before
        assert abs(moved).max() > 0
        atol = 2e-3 * abs(moved).max() + 1e-7
        error = abs(other - before - moved).max()
        assert error <= atol, (mine.shape, error, abs(moved).max())


@pytest.mark.long
@pytest.mark.parametrize("name", ["mnist", "mnist-tuned", "cifar10", "cifar10-conv"])
def test_the_torch_peer_makes_our_updates(speed, name):
    torch = pytest.importorskip("torch", reason="the peer needs PyTorch (the peers extra)")
    ours, peers = speed("ours"), speed("peers_torch")
    recipe = small(speed("updates"), name)
    images = ours.some_images(recipe, n=3 * recipe.batch_size)
    noise = np.random.default_rng(2).normal(size=(recipe.batch_size, recipe.latent_size))
    noise = noise.astype(np.float32)
    update, state, arrays = ours_and_start(ours, recipe, images, noise)
    start = arrays(state)

    trainer = peers.Trainer(recipe, images.shape[1:], "cpu")
    theirs = [*trainer.generator.parameters(), *trainer.discriminator.parameters()]
    if name == "cifar10-conv":  # the deconvolution's own bias comes before its child's kernel
        theirs[4:6] = theirs[5], theirs[4]
    with torch.no_grad():
        for parameter, value in zip(theirs, start, strict=True):
            parameter.copy_(torch.tensor(value))
    trainer.average = [p.detach().clone() for p in trainer.generator.parameters()]
    for i, batch in enumerate(np.split(images, 3)):
        state = update(state, batch)
        penalised = recipe.penalty > 0 and i % recipe.penalty_every == 0
        pixels = torch.tensor(batch)
        pixels = pixels.permute(0, 3, 1, 2) if pixels.ndim == 4 else pixels
        trainer.update(pixels, torch.tensor(noise), torch.tensor(noise), penalised)
    after = [parameter.detach().numpy() for parameter in theirs]
    assert_same_moves(start, arrays(state), after)
    if state.average is not None:
        mine = [np.asarray(x).ravel() for x in jax.tree.leaves(state.average)]
        other = [x.numpy().ravel() for x in trainer.average]
        assert_same_moves([x.ravel() for x in start[: len(mine)]], mine, other)


@pytest.mark.long
@pytest.mark.parametrize("name", ["mnist", "cifar10-conv"])
def test_the_equinox_peer_makes_our_updates(speed, name, monkeypatch):
    ours, peers = speed("ours"), speed("peers_equinox")
    recipe = small(speed("updates"), name)
    images = ours.some_images(recipe, n=3 * recipe.batch_size)
    noise = np.random.default_rng(2).normal(size=(recipe.batch_size, recipe.latent_size))
    noise = noise.astype(np.float32)
    update, state, channels_first_arrays = ours_and_start(ours, recipe, images, noise)

    def arrays(state):
        found = channels_first_arrays(state)
        if name == "cifar10-conv":  # Equinox's transposed convolution holds its kernel turned
            found[4] = found[4].swapaxes(0, 1)[:, :, ::-1, ::-1]
        return found

    start = arrays(state)
    monkeypatch.setattr(peers, "noise", lambda recipe, key: jnp.asarray(noise))
    trainer = peers.Trainer(recipe, images.shape[1:])

    def split(trainer):
        return eqx.partition((trainer.generator, trainer.discriminator), eqx.is_array)

    (theirs, structure), static = jax.tree.flatten(split(trainer)[0]), split(trainer)[1]
    shaped = [jnp.asarray(v).reshape(p.shape) for v, p in zip(start, theirs, strict=True)]
    players = eqx.combine(jax.tree.unflatten(structure, shaped), static)
    trainer.generator, trainer.discriminator = players
    pixels = jnp.asarray(images.transpose(0, 3, 1, 2) if images.ndim == 4 else images)
    for batch in np.split(np.arange(len(images)), 3):
        state = update(state, images[batch])
        trainer.update(pixels, jnp.asarray(batch))
    theirs = jax.tree.leaves(split(trainer)[0])
    after = [np.asarray(p).reshape(v.shape) for v, p in zip(start, theirs, strict=True)]
    assert_same_moves(start, arrays(state), after)


def test_paired_calls_take_turns(speed, monkeypatch):
    paired, called, clock = speed("paired"), [], iter(range(100))
    monkeypatch.setattr(paired.time, "perf_counter", lambda: next(clock))
    calls = {"a": lambda: called.append("a"), "b": lambda: [called.append("b"), next(clock)]}
    seconds = paired.paired(calls, rounds=3, warm_up=1)
    # Warm-up first, and every other round backwards.
    assert "".join(called) == "ab" + "ab" + "ba" + "ab"
    assert seconds == {"a": [1, 1, 1], "b": [2, 2, 2]}
    assert paired.ratios(seconds, "a") == {"b": paired.spread([2.0, 2.0, 2.0])}
    assert paired.spread([4.0, 1.0, 2.0]) == {
        "median": 2.0, "quartiles": [1.5, 3.0], "min": 1.0, "max": 4.0,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["mnist", "cifar10", "cifar10-conv"])
def test_the_floor_has_the_layers_of_the_players(speed, name):
    ours, floor = speed("ours"), speed("floor")
    recipe = BENCHMARKS[name].recipe
    shape = ours.SHAPES[recipe.dataset]
    images = np.zeros((2, *shape), np.uint8)
    players = eqx.filter_eval_shape(lambda: build_players(jax.random.key(0), recipe, images))
    for player, layers in (
        (players.generator, floor.generator_layers(recipe, shape)),
        (players.discriminator, floor.discriminator_layers(recipe, shape)),
    ):
        arrays = [
            layer.kernel.shape if hasattr(layer, "kernel") else layer.weight.shape
            for layer in player.layers
            if hasattr(layer, "kernel") or hasattr(layer, "weight")
        ]
        assert [math.prod(layer.weights) for layer in layers] == [*map(math.prod, arrays)]


@pytest.mark.long
@pytest.mark.parametrize("order", ["alternating", "simultaneous"])
def test_the_floor_counts_the_products_of_an_update(speed, order):
    """By the operations that XLA counts in our update: products, and a little more."""
    ours, floor = speed("ours"), speed("floor")
    recipe = dataclasses.replace(BENCHMARKS["mnist"].recipe, order=order)
    images = ours.some_images(recipe, n=recipe.batch_size)
    step, state = ours.start(recipe, images)
    lowered = jax.jit(step).lower(jax.random.key(0), state, jnp.asarray(images / 255))
    counted = floor.totals(recipe, images.shape[1:])["gflop"] * 1e9
    assert counted < lowered.cost_analysis()["flops"] < 1.1 * counted


@pytest.mark.long
@pytest.mark.parametrize("name", ["mnist", "cifar10-conv"])
def test_the_floor_runs(speed, name):
    ours, floor, updates = speed("ours"), speed("floor"), speed("updates")
    recipe = small(updates, name)
    count = floor.products(recipe, ours.SHAPES[recipe.dataset])
    left = floor.by_xla(count, repeats=2)()
    assert len(left) == sum(count.values())


@pytest.mark.long
def test_torch_makes_the_same_products_as_xla(speed):
    torch = pytest.importorskip("torch", reason="the peer needs PyTorch (the peers extra)")
    ours, floor, updates = speed("ours"), speed("floor"), speed("updates")
    recipe = small(updates, "cifar10-conv")
    rng = np.random.default_rng(0)
    for layer, which in floor.products(recipe, ours.SHAPES[recipe.dataset]):
        arrays = [rng.normal(size=s) for s in (layer.inputs, layer.outputs, layer.weights)]
        x, y, w = (array.astype(np.float32) for array in arrays)
        left = {"forward": [x], "inputs": [y], "weights": [x, y]}[which]
        mine = floor.one_pass(layer, which, left, jnp.asarray(w))
        theirs = torch_pass(torch, layer, which, *(torch.tensor(a) for a in (x, y, w)))
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-4 * abs(theirs).max())


def torch_pass(torch, layer, which, x, y, w):
    """By PyTorch's own gradients, in our layout."""
    if layer.kind == "dense":
        function, first = torch.matmul, (x, w)
    else:
        x, y, w = x.permute(0, 3, 1, 2), y.permute(0, 3, 1, 2), w.permute(3, 2, 0, 1)
        name = "conv_transpose2d" if layer.kind == "transposed" else "conv2d"
        settings = {"stride": layer.stride, "padding": layer.padding}
        first = (x, w)
        function = lambda x, w: getattr(torch.nn.functional, name)(x, w, **settings)  # noqa: E731
    x, w = (a.requires_grad_() for a in first)
    out = function(x, w)
    if which == "forward":
        result, back = out, (0, 2, 3, 1)
    else:
        (result,) = torch.autograd.grad(out, x if which == "inputs" else w, y)
        back = (0, 2, 3, 1) if which == "inputs" else (2, 3, 1, 0)
    result = result if layer.kind == "dense" else result.permute(back)
    return result.detach().numpy()


def test_the_guard_fails_below_half_of_the_recorded_ratio_only(speed, capsys):
    guard = speed("guard")
    assert guard.verdict(1.5, recorded=2.9) == 0
    assert guard.verdict(1.4, recorded=2.9) == 1
    assert "below half of the recorded ratio of 2.90" in capsys.readouterr().err


def test_the_exponent_is_that_of_a_power_law(speed):
    sizes = np.array([1, 3, 10, 30])
    assert speed("curves").exponent(sizes, 7 * sizes**0.6) == pytest.approx(0.6, rel=1e-12)


def test_the_command_needs_a_clone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["speed"]) == 2
    assert "call this in the root of a clone" in capsys.readouterr().err
    # It runs what is there, and passes on the arguments and the exit code.
    shutil.copytree(SPEED, tmp_path / "bench" / "speed")
    assert main(["speed", "--only", "nosuch"]) == 2
