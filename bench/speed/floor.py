"""The floor of an update's time: its matrix products and convolutions alone.

For each layer, an update computes forward passes, gradients of the inputs and gradients of the
weights; each is one product, with the same number of floating-point operations. `products` counts
them; `by_xla` and `by_torch` run them alone, each product with its own activations.

    python bench/speed/floor.py [--recipe cifar10-conv] [--rounds 9] [--out FILE]

times every pass of every layer separately, in XLA and in PyTorch, to show where the time goes.
"""

import argparse
import collections
import dataclasses
import itertools
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import ours
import paired
import peers
import results
from jax import lax

from advnets.bench import BENCHMARKS

LAYOUT = ("NHWC", "HWIO", "NHWC")
PASSES = ("forward", "inputs", "weights")


@dataclasses.dataclass(frozen=True)
class Layer:
    """One linear map with the batch as first axis: dense, convolution or transposed convolution.

    Images are (batch, height, width, channels). A kernel's last axis runs over the outputs, or in
    a transposed convolution, which is the gradient of a convolution, over the inputs.
    """

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    weights: tuple[int, ...]
    padding: int = 0
    stride: int = 1

    @property
    def flops(self):
        """FLOPs of one pass: a product and a sum for every weight, wherever it is applied."""
        applied = self.inputs if self.kind == "transposed" else self.outputs
        return 2 * math.prod(applied[:-1]) * math.prod(self.weights)

    @property
    def bytes(self):
        """Bytes moved by one pass: two arrays read and a third written, in float32."""
        return 4 * sum(math.prod(shape) for shape in (self.inputs, self.outputs, self.weights))

    def __str__(self):
        inputs, outputs = ("×".join(map(str, s[1:])) for s in (self.inputs, self.outputs))
        return f"{self.kind} {inputs} → {outputs}"


def dense(batch, sizes):
    return [Layer("dense", (batch, a), (batch, b), (a, b)) for a, b in itertools.pairwise(sizes)]


def generator_layers(recipe, shape):
    batch, spec = recipe.batch_size, recipe.generator
    hidden = [recipe.latent_size, *spec.hidden_sizes]
    if spec.output != "deconvolution":
        return dense(batch, [*hidden, math.prod(shape)])
    size, channels = spec.deconvolution.kernel_size, spec.deconvolution.channels
    side = math.isqrt(hidden[-1] // channels)
    last = Layer(
        "transposed",
        (batch, side, side, channels),
        (batch, *shape),
        (size, size, shape[-1], channels),
        stride=spec.deconvolution.stride,
    )
    return [*dense(batch, hidden), last]


def discriminator_layers(recipe, shape):
    batch, spec = recipe.batch_size, recipe.discriminator
    found = []
    for layer in spec.convolutions:
        filters, size = layer.channels * layer.pieces, layer.kernel_size
        rows = [n + 2 * layer.padding - size + 1 for n in shape[:2]]
        found.append(
            Layer(
                "convolution",
                (batch, *shape),
                (batch, *rows, filters),
                (size, size, shape[-1], filters),
                padding=layer.padding,
            )
        )
        pooled = (1 + -(-(n - layer.pool_size) // layer.pool_stride) for n in rows)
        shape = (*pooled, layer.channels)
    inputs = math.prod(shape)
    for units in (*spec.units, 1):
        wide = units * spec.pieces if units > 1 else 1
        found += dense(batch, [inputs, wide])
        inputs = units
    return found


def products(recipe, shape):
    """How often an update computes each pass of each layer, as {(layer, pass): times}."""
    generator, discriminator = generator_layers(recipe, shape), discriminator_layers(recipe, shape)
    alternating = recipe.order == "alternating"
    count = collections.Counter()
    for layer in generator:
        # In the alternating order, the generator's step has its own noise.
        count[layer, "forward"] += 2 if alternating else 1
        count[layer, "weights"] += 1
    for layer in generator[1:]:
        count[layer, "inputs"] += 1
    for layer in discriminator:
        count[layer, "forward"] += 3 if alternating else 2  # data, samples, the generator's step
        count[layer, "weights"] += 2
        count[layer, "inputs"] += 1  # the generator's gradient, through to the pixels
    for layer in discriminator[1:]:
        count[layer, "inputs"] += 2
    return count


def totals(recipe, shape):
    """Floating-point operations and bytes of one update's products, and its parameters."""
    count = products(recipe, shape)
    weights = {layer: math.prod(layer.weights) for layer, _ in count}
    return {
        "gflop": sum(n * layer.flops for (layer, _), n in count.items()) / 1e9,
        "product_gbytes": sum(n * layer.bytes for (layer, _), n in count.items()) / 1e9,
        # Parameter, velocity and gradient are read; parameter and velocity are written.
        "update_rule_gbytes": 5 * 4 * sum(weights.values()) / 1e9,
        "weights": sum(weights.values()),
    }


def one_pass(layer, which, left, weights):
    """One product. `left` is the input, or the gradient of the output, or both."""
    if layer.kind == "dense":
        return {
            "forward": lambda x: x @ weights,
            "inputs": lambda y: y @ weights.T,
            "weights": lambda x, y: x.T @ y,
        }[which](*left)
    # All with the axes in the order that is fast in XLA on a CPU, see advnets.convolutions.
    size, padding = len(weights), layer.padding
    turned = jnp.flip(weights, (0, 1)).swapaxes(2, 3)
    if layer.kind == "transposed":
        if which == "inputs":
            return _convolve(left[0], weights, 0, window_strides=(layer.stride,) * 2)
        if which == "forward":
            return _convolve(left[0], turned, size - 1, lhs_dilation=(layer.stride,) * 2)
        x, y = left
        y, x = y.transpose(3, 1, 2, 0), x.transpose(1, 2, 0, 3)
        return _convolve(y, x, 0, rhs_dilation=(layer.stride,) * 2).transpose(1, 2, 0, 3)
    if which == "forward":
        return _convolve(left[0], weights, padding)
    if which == "inputs":
        return _convolve(left[0], turned, size - 1 - padding)
    x, y = left
    # Pad the input to the size of the output, which is faster still.
    grown = max(0, 2 * padding - size + 1)
    before, after = grown // 2, grown - grown // 2
    x = jnp.pad(x, ((0, 0), (before, after), (before, after), (0, 0))).transpose(3, 1, 2, 0)
    around = (padding - before, padding - after)
    return _convolve(x, y.transpose(1, 2, 0, 3), around).transpose(1, 2, 0, 3)


def _convolve(x, kernel, padding, window_strides=(1, 1), **dilation):
    around = (padding, padding) if isinstance(padding, int) else padding
    return lax.conv_general_dilated(
        x, kernel, window_strides, [around] * 2, dimension_numbers=LAYOUT, **dilation
    )


def _shapes(layer, which):
    """The shapes of a pass's activations."""
    return {
        "forward": [layer.inputs],
        "inputs": [layer.outputs],
        "weights": [layer.inputs, layer.outputs],
    }[which]


def by_xla(count, repeats):
    """A call that computes all products `repeats` times in one compiled program, and waits."""
    key = jax.random.key(0)
    passes = list(count.elements())
    weights = {layer: jax.random.uniform(key, layer.weights) for layer, _ in passes}
    lefts = [[jax.random.uniform(key, s) for s in _shapes(*p)] for p in passes]
    weights = [weights[layer] for layer, _ in passes]

    @jax.jit
    def run(lefts, weights):
        def once(lefts, _):
            results = [
                one_pass(*p, left, w) for p, left, w in zip(passes, lefts, weights, strict=True)
            ]
            # XLA can eliminate nothing: results are kept, and each repetition needs the last.
            results = lax.optimization_barrier(results)
            return [
                [left[0].at[(0,) * left[0].ndim].set(jnp.ravel(result)[0] * 1e-6), *left[1:]]
                for left, result in zip(lefts, results, strict=True)
            ], None

        return lax.scan(once, lefts, length=repeats)[0]

    return lambda: jax.block_until_ready(run(lefts, weights))


def by_torch(count, repeats, device):
    """The same in PyTorch."""
    import torch

    jobs = []
    weights = {}
    for layer, which in count.elements():
        if layer not in weights:
            w = torch.rand(layer.weights, device=device)
            weights[layer] = w if layer.kind == "dense" else w.permute(3, 2, 0, 1).contiguous()
        jobs.append(_torch_job(torch, layer, which, weights[layer], device))

    def once():
        for job in jobs:
            job()

    if device == "cuda":
        once()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            once()
        once = graph.replay

    def call():
        for _ in range(repeats):
            once()
        if device == "cuda":
            torch.cuda.synchronize()

    return call


def _torch_job(torch, layer, which, weights, device):
    x, y = (torch.rand(shape, device=device) for shape in (layer.inputs, layer.outputs))
    if layer.kind == "dense":
        operands, out = {
            "forward": ((x, weights), y),
            "inputs": ((y, weights.T), x),
            "weights": ((x.T, y), torch.empty_like(weights)),
        }[which]
        return lambda: torch.mm(*operands, out=out)
    x, y = (images.permute(0, 3, 1, 2).contiguous() for images in (x, y))
    transposed = layer.kind == "transposed"
    settings = ([layer.stride] * 2, [layer.padding] * 2, [1, 1], transposed, [0, 0], 1)
    if which == "forward":
        return lambda: torch.ops.aten.convolution(x, weights, None, *settings)
    mask = [which == "inputs", which == "weights", False]
    return lambda: torch.ops.aten.convolution_backward(y, x, weights, None, *settings, mask)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", choices=["mnist", "cifar10", "cifar10-conv"], default="mnist")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch-size", type=int, help="default: the recipe's")
    parser.add_argument("--out", type=Path, help="a JSON file for the result")
    options = parser.parse_args()

    recipe = dataclasses.replace(BENCHMARKS[options.recipe].recipe, order="alternating")
    if options.batch_size:
        recipe = dataclasses.replace(recipe, batch_size=options.batch_size)
    device = peers.torch_device()
    rows = []
    for (layer, which), times in products(recipe, ours.SHAPES[recipe.dataset]).items():
        alone = collections.Counter({(layer, which): 1})
        # About 2 GFLOP per turn, long enough to time accurately.
        repeats = max(1, round(2e9 / layer.flops))
        calls = {"XLA": by_xla(alone, repeats)}
        if device is not None:
            calls["PyTorch"] = by_torch(alone, repeats, device)
        seconds = paired.paired(calls, options.rounds)
        row = {"layer": str(layer), "pass": which, "times": times, "gflop": layer.flops / 1e9}
        row["milliseconds"] = {
            name: paired.spread([s / repeats * 1e3 for s in taken])
            for name, taken in seconds.items()
        }
        rows.append(row)
        medians = "".join(f"{row['milliseconds'][n]['median']:10.3f}" for n in calls)
        print(f"{row['layer']:<44} {which:<8} {times} × {row['gflop']:7.3f} GFLOP {medians} ms")
    results.finish(
        {"recipe": options.recipe, "batch_size": recipe.batch_size, "threads": paired.cores()}
        | {"rounds": options.rounds, "products": rows},
        options.out,
    )


if __name__ == "__main__":
    main()
