"""The same updates in PyTorch, written as its users write them.

The paper's alternating order: a discriminator step on data and on detached samples, then a
generator step on fresh noise with the discriminator's parameters frozen. The optimiser is
`torch.optim.SGD` or `torch.optim.Adam`, fused. R1 and R2 differentiate twice, which `torch.compile`
does not support; a compiled `mnist-tuned` runs the updates with penalties eagerly, except for the
generator's step.
"""

import functools
import itertools
import math

import torch
from torch import nn
from torch.nn import functional


class Maxout(nn.Module):
    """The largest of several linear pieces."""

    def __init__(self, inputs, units, pieces):
        super().__init__()
        self.linear = nn.Linear(inputs, units * pieces)
        self.shape = (pieces, units)

    def forward(self, x):
        return self.linear(x).unflatten(1, self.shape).amax(1)


class MaxoutConv2d(nn.Module):
    """The largest of several convolutions, then max pooling."""

    def __init__(self, inputs, settings):
        super().__init__()
        filters = settings.pieces * settings.channels
        self.convolution = nn.Conv2d(
            inputs, filters, settings.kernel_size, padding=settings.padding
        )
        self.pool = nn.MaxPool2d(settings.pool_size, settings.pool_stride, ceil_mode=True)
        self.shape = (settings.pieces, settings.channels)

    def forward(self, x):
        return self.pool(self.convolution(x).unflatten(1, self.shape).amax(1))


class Deconvolution(nn.Module):
    """A transposed convolution with a bias for every pixel and channel."""

    def __init__(self, rows, spec, shape):
        super().__init__()
        self.rows = rows
        self.transposed = nn.ConvTranspose2d(
            spec.channels, shape[0], spec.kernel_size, spec.stride, bias=False
        )
        self.bias = nn.Parameter(torch.zeros(shape))

    def forward(self, x):
        return self.transposed(x.unflatten(1, self.rows)) + self.bias


def channels_first(shape):
    return (shape[2], *shape[:2]) if len(shape) == 3 else shape


def make_generator(recipe, shape):
    spec, shape = recipe.generator, channels_first(shape)
    sizes = [recipe.latent_size, *spec.hidden_sizes]
    layers = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    if spec.last_hidden == "sigmoid":
        layers[-1] = nn.Sigmoid()
    if spec.output == "deconvolution":
        side = math.isqrt(sizes[-1] // spec.deconvolution.channels)
        rows = (spec.deconvolution.channels, side, side)
        return nn.Sequential(*layers, Deconvolution(rows, spec.deconvolution, shape))
    layers.append(nn.Linear(sizes[-1], math.prod(shape)))
    if spec.output == "sigmoid":
        layers.append(nn.Sigmoid())
    return nn.Sequential(*layers, nn.Unflatten(1, shape))


def make_discriminator(recipe, shape):
    spec, shape = recipe.discriminator, channels_first(shape)
    layers, drop = [], 1 - spec.input_keep
    example = torch.zeros(1, *shape)
    for settings in spec.convolutions:
        convolution = MaxoutConv2d(example.shape[1], settings)
        layers += [nn.Dropout(drop), convolution]
        example, drop = convolution(example), 1 - spec.hidden_keep
    layers.append(nn.Flatten())
    inputs = example.numel()
    for units in spec.units:
        if spec.layers == "leaky-relu":
            layers += [nn.Linear(inputs, units), nn.LeakyReLU()]
        else:
            layers += [nn.Dropout(drop), Maxout(inputs, units, spec.pieces)]
        inputs, drop = units, 1 - spec.hidden_keep
    return nn.Sequential(*layers, nn.Dropout(drop), nn.Linear(inputs, 1), nn.Flatten(0))


def unit(images):
    return images.float() / 255


def gcn(images):
    pixels = images.float().flatten(1)
    pixels = pixels - pixels.mean(1, keepdim=True)
    norm = pixels.norm(dim=1, keepdim=True)
    return (55 * pixels / norm.clamp(min=1e-8)).view_as(images)


class Trainer:
    """Both players, their optimisers, and one update."""

    def __init__(self, recipe, shape, device, compiled=False):
        self.recipe, self.device = recipe, device
        self.generator = make_generator(recipe, shape).to(device)
        self.discriminator = make_discriminator(recipe, shape).to(device)
        self.preprocess = {"unit": unit, "gcn": gcn}[recipe.preprocessing]
        self.noise = {
            "uniform": lambda n: (torch.rand(n, device=device) * 2 - 1) * 3**0.5,
            "normal": lambda n: torch.randn(n, device=device),
        }[recipe.prior]
        # Both players share the rate, a tensor so that a CUDA graph can change it.
        self.rate = torch.tensor(recipe.learning_rate, device=device)
        kind, rule = torch.optim.SGD, {"momentum": recipe.initial_momentum}
        if recipe.update_rule == "adam":
            kind, rule = torch.optim.Adam, {"betas": (0.0, 0.99)}
        self.g_optimizer = kind(self.generator.parameters(), lr=self.rate, fused=True, **rule)
        self.d_optimizer = kind(self.discriminator.parameters(), lr=self.rate, fused=True, **rule)
        if recipe.average is not None:
            self.average = [p.detach().clone() for p in self.generator.parameters()]
        self.made = torch.zeros((), device=device)
        self.d_cost, self.g_cost = self.discriminator_cost, self.generator_cost
        if compiled:
            self.g_cost = torch.compile(self.g_cost)
            self.d_cost = torch.compile(self.d_cost)

    def discriminator_cost(self, images, noise):
        with torch.no_grad():
            fake = self.generator(noise)
        return self.value(self.discriminator(self.preprocess(images)), self.discriminator(fake))

    def penalised_cost(self, images, noise):
        with torch.no_grad():
            fake = self.generator(noise)
        fake.requires_grad_()
        real = self.preprocess(images).requires_grad_()
        real_logits, fake_logits = self.discriminator(real), self.discriminator(fake)
        outputs = real_logits.sum() + fake_logits.sum()
        slopes = torch.autograd.grad(outputs, (real, fake), create_graph=True)
        squares = sum(slope.flatten(1).square().sum(1).mean() for slope in slopes)
        weight = self.recipe.penalty * self.recipe.penalty_every
        return weight / 2 * squares + self.value(real_logits, fake_logits)

    def value(self, real_logits, fake_logits):
        """V, negated."""
        return functional.binary_cross_entropy_with_logits(
            real_logits, torch.ones_like(real_logits)
        ) + functional.binary_cross_entropy_with_logits(fake_logits, torch.zeros_like(fake_logits))

    def generator_cost(self, noise):
        logits = self.discriminator(self.generator(noise))
        return functional.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))

    def update(self, images, d_noise, g_noise, penalised=False):
        self.d_optimizer.zero_grad()
        cost = self.penalised_cost if penalised else self.d_cost
        cost(images, d_noise).backward()
        self.d_optimizer.step()

        self.discriminator.requires_grad_(False)
        self.g_optimizer.zero_grad()
        self.g_cost(g_noise).backward()
        self.g_optimizer.step()
        self.discriminator.requires_grad_(True)

        if self.recipe.average is not None:
            weights = [p.detach() for p in self.generator.parameters()]
            weight = torch.full((), 1 - self.recipe.average, device=self.device)
            if self.recipe.average_share is not None:
                reach = 1 + self.recipe.average_share * self.made
                weight = torch.maximum(weight, 1 / reach)
            torch._foreach_lerp_(self.average, weights, [weight] * len(weights))
        if self.recipe.update_rule == "adam":
            self.anneal()
        else:
            self.rate.div_(self.recipe.learning_rate_divisor).clamp_(
                min=self.recipe.learning_rate_floor
            )

    def anneal(self):
        """Half a cosine from the initial rate to its final fraction."""
        recipe = self.recipe
        self.made += 1
        turned = (1 + torch.cos(self.made * (math.pi / (500 * recipe.epochs)))) / 2
        left = recipe.final_rate + (1 - recipe.final_rate) * turned
        self.rate.copy_(recipe.learning_rate * left)


def updates(recipe, images, rows, device, variant="eager"):
    """A call that makes one update for each row of `rows`, and waits for the last.

    Variants: `eager`, `compiled`, and on a GPU `graph` (the eager update captured in a CUDA graph
    and replayed) and `compiled graph` (the same with the compiled update). Updates with and without
    lazy penalties are separate graphs.
    """
    trainer = Trainer(recipe, images.shape[1:], device, compiled="compiled" in variant)
    images = torch.from_numpy(images).to(device)
    if images.ndim == 4:
        images = images.permute(0, 3, 1, 2).contiguous()
    rows = torch.from_numpy(rows).to(device)
    size = (recipe.batch_size, recipe.latent_size)

    def update(penalised, row):
        trainer.update(images[row], trainer.noise(size), trainer.noise(size), penalised)

    kinds = {recipe.penalty > 0, recipe.penalty_every == 1 and recipe.penalty > 0}
    once = {kind: functools.partial(update, kind) for kind in kinds}
    if "graph" in variant:
        once = {kind: captured(step, rows[0]) for kind, step in once.items()}
    made = itertools.count()

    def call():
        for row in rows:
            once[recipe.penalty > 0 and next(made) % recipe.penalty_every == 0](row)
        if device == "cuda":
            torch.cuda.synchronize()

    return call


def captured(update, row):
    """An update as a CUDA graph, after the warm-up that PyTorch's manual requires."""
    row = row.clone()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            update(row)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        update(row)

    def replay(new):
        row.copy_(new)
        graph.replay()

    return replay


def set_up(threads, tf32):
    """Sets the number of CPU threads and the precision of products; returns the device."""
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32
    return "cuda" if torch.cuda.is_available() else "cpu"
