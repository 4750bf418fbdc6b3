"""An independent implementation of both update orders: NumPy, float64, backpropagation by hand.

It shares the random draws with the library, and the arrays and sizes of the players at the start. A
player is a list of layers (`reference_layers.build`), whose parameters an update moves; velocities
are lists of arrays in their order. `fault` plants one, to see tests fail.
"""

import dataclasses

import numpy as np
from scipy.special import expit

from helpers.reference_layers import Dropout, Linear, Maxout, backward, forward


@dataclasses.dataclass(frozen=True)
class Options:
    """Switches of the released code; as they are here, they change nothing."""

    threshold: float = np.inf  # G's cost counts examples with D(G(z)) below it
    lazy: float = np.inf  # D's counts data with D(x) < 1/2 + lazy, samples with > 1/2 - lazy
    halved: bool = False  # D's cost, in alternating order
    target: float = 0.0  # the least norm of G's gradient at the examples
    dropout: bool = True  # whether G's cost has D's dropout
    shrink: float = 1.0  # what D's parameters are multiplied by after an update
    norm_limit: float = np.inf  # the greatest norm of a row of a dense weight after an update


RELEASED = Options()


def move(layers, velocities, gradients, rate, mu, limit, shrink=1.0):
    """v <- mu v - rate g; theta <- theta + v, then limited and shrunk. Returns the velocities."""
    velocities = [mu * v - rate * g for v, g in zip(velocities, gradients, strict=True)]
    steps = iter(velocities)
    for layer in layers:
        layer.parameters = [p + next(steps) for p in layer.parameters]
        if isinstance(layer, Linear | Maxout):
            weight, bias = layer.parameters
            norms = np.linalg.norm(weight, axis=-1, keepdims=True)
            layer.parameters = [weight * np.minimum(1, limit / norms), bias]
        layer.parameters = [shrink * p for p in layer.parameters]
    return velocities


def discriminator_gradient(d, real, fake, real_masks, fake_masks, weight, options):
    """Of -weight * V, by hand: d(-log D)/dl = D - 1 on data, d(-log(1 - D))/dl = D on samples."""
    n = len(real)
    output = expit(forward(d, real, real_masks))
    counted = output < 0.5 + options.lazy
    _, real_gradient = backward(d, counted * weight * (output - 1) / n)
    output = expit(forward(d, fake, fake_masks))
    counted = output > 0.5 - options.lazy
    _, fake_gradient = backward(d, counted * weight * output / n)
    return [a + b for a, b in zip(real_gradient, fake_gradient, strict=True)]


def generator_gradient(g, d, z, masks, objective, options):
    if not options.dropout:
        d, masks = [layer for layer in d if not isinstance(layer, Dropout)], ()
    output = expit(forward(d, forward(g, z), masks))
    n = len(z)
    d_logits = {
        "non-saturating": (output - 1) / n,
        "minimax": -output / n,
        "blend": (0.5 * (output - 1) - 0.25 * output) / n,
    }[objective]
    d_fake, _ = backward(d, d_logits * (output < options.threshold))
    _, gradient = backward(g, d_fake * max(1, options.target / np.sqrt((d_fake**2).sum())))
    return gradient


def simultaneous(g, d, vg, vd, real, draws, rate, mu, objective, fault=None, options=RELEASED):
    z, real_masks, fake_masks = draws
    if fault == "reused mask":
        real_masks = fake_masks
    weight = 1.0 if fault == "no half" else 0.5
    fake = forward(g, z)
    gd = discriminator_gradient(d, real, fake, real_masks, fake_masks, weight, options)
    gg = generator_gradient(g, d, z, fake_masks, objective, options)
    if fault == "flipped sign":
        gg = [-x for x in gg]
    vd = move(d, vd, gd, rate, mu, options.norm_limit, options.shrink)
    vg = move(g, vg, gg, rate, mu, options.norm_limit)
    return vg, vd


def alternating(
    g,
    d,
    vg,
    vd,
    batches,
    d_draws,
    g_draws,
    d_rates,
    g_rate,
    mu,
    objective,
    fault=None,
    options=RELEASED,
):
    for real, (z, real_masks, fake_masks), rate in zip(batches, d_draws, d_rates, strict=True):
        if fault == "reused mask":
            real_masks = fake_masks
        weight = 0.5 if fault == "half" or options.halved else 1.0
        if fault == "flipped sign":
            weight = -weight
        gd = discriminator_gradient(d, real, forward(g, z), real_masks, fake_masks, weight, options)
        vd = move(d, vd, gd, rate, mu, options.norm_limit, options.shrink)
    z, masks = g_draws
    if fault == "reused noise":
        z = d_draws[-1][0]
    gg = generator_gradient(g, d, z, masks, objective, options)
    vg = move(g, vg, gg, g_rate, mu, options.norm_limit)
    return vg, vd
