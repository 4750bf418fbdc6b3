"""An independent implementation of both update orders: NumPy, float64, backpropagation by hand.

It shares nothing with the library but the random draws. `fault` plants one, to see tests fail.
"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Options:
    """Switches of the released code; as they are here, they change nothing."""

    threshold: float = np.inf  # G's cost counts examples with D(G(z)) below it
    lazy: float = np.inf  # D's counts data with D(x) < 1/2 + lazy, samples with > 1/2 - lazy
    halved: bool = False  # D's cost, in alternating order
    target: float = 0.0  # the least norm of G's gradient at the examples
    dropout: bool = True  # whether G's cost has D's dropout
    shrink: float = 1.0  # what D's parameters are multiplied by after an update


RELEASED = Options()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class Generator:
    """ReLU layers and a sigmoid output: weights [(W, b), ...], W of shape (out, in)."""

    def __init__(self, parameters):
        self.parameters = parameters

    def forward(self, z):
        self.inputs, self.pre = [], []
        h = z
        for i, (w, b) in enumerate(self.parameters):
            self.inputs.append(h)
            pre = h @ w.T + b
            self.pre.append(pre)
            h = np.maximum(pre, 0) if i < len(self.parameters) - 1 else sigmoid(pre)
        self.output = h
        return h

    def backward(self, d_output):
        gradients = [None] * len(self.parameters)
        d_pre = d_output * self.output * (1 - self.output)
        for i in reversed(range(len(self.parameters))):
            gradients[i] = (d_pre.T @ self.inputs[i], d_pre.sum(0))
            if i:
                d_pre = (d_pre @ self.parameters[i][0]) * (self.pre[i - 1] > 0)
        return gradients


class Discriminator:
    """Maxout layers and a linear logit, dropout masks given: W of shape (pieces, units, in)."""

    def __init__(self, parameters, keeps):
        self.parameters, self.keeps = parameters, keeps

    def forward(self, x, masks):
        self.masks, self.inputs, self.winners = masks, [], []
        h = x
        for (w, b), mask, keep in zip(self.parameters, masks, self.keeps, strict=True):
            h = h if mask is None else np.where(mask, h / keep, 0)
            self.inputs.append(h)
            if w.ndim == 3:
                pre = np.einsum("ni,pui->npu", h, w) + b
                winner = pre.argmax(1)
                self.winners.append(winner)
                h = np.take_along_axis(pre, winner[:, None], 1)[:, 0]
            else:
                h = (h @ w.T + b)[:, 0]
        return h

    def backward(self, d_logits):
        gradients = [None] * len(self.parameters)
        w, _ = self.parameters[-1]
        gradients[-1] = ((d_logits @ self.inputs[-1])[None], d_logits.sum(keepdims=True))
        d_h = self.through_dropout(np.outer(d_logits, w[0]), -1)
        for i in reversed(range(len(self.parameters) - 1)):
            w, _ = self.parameters[i]
            d_pre = (np.arange(w.shape[0])[None, :, None] == self.winners[i][:, None]) * d_h[
                :, None
            ]
            gradients[i] = (np.einsum("npu,ni->pui", d_pre, self.inputs[i]), d_pre.sum(0))
            d_x = np.einsum("npu,pui->ni", d_pre, w)
            d_h = self.through_dropout(d_x, i)
        return gradients, d_h

    def through_dropout(self, gradient, i):
        return gradient if self.masks[i] is None else gradient * self.masks[i] / self.keeps[i]


def add(a, b):
    return [(w + x, c + y) for (w, c), (x, y) in zip(a, b, strict=True)]


def momentum_update(parameters, velocity, gradients, rate, mu):
    """v <- mu v - rate g; theta <- theta + v, in place of both."""
    new_velocity = [
        tuple(mu * v - rate * g for v, g in zip(vs, gs, strict=True))
        for vs, gs in zip(velocity, gradients, strict=True)
    ]
    new_parameters = [
        tuple(p + v for p, v in zip(ps, vs, strict=True))
        for ps, vs in zip(parameters, new_velocity, strict=True)
    ]
    return new_parameters, new_velocity


def discriminator_gradient(d, real, fake, real_masks, fake_masks, weight, options):
    """Of -weight * V, by hand: d(-log D)/dl = D - 1 on data, d(-log(1 - D))/dl = D on samples."""
    n = len(real)
    output = sigmoid(d.forward(real, real_masks))
    counted = output < 0.5 + options.lazy
    real_gradient, _ = d.backward(counted * weight * (output - 1) / n)
    output = sigmoid(d.forward(fake, fake_masks))
    counted = output > 0.5 - options.lazy
    fake_gradient, _ = d.backward(counted * weight * output / n)
    return add(real_gradient, fake_gradient)


def generator_gradient(g, d, z, masks, objective, options):
    if not options.dropout:
        masks = [None] * len(masks)
    logits = d.forward(g.forward(z), masks)
    n = len(z)
    d_logits = {
        "non-saturating": (sigmoid(logits) - 1) / n,
        "minimax": -sigmoid(logits) / n,
        "blend": (0.5 * (sigmoid(logits) - 1) - 0.25 * sigmoid(logits)) / n,
    }[objective]
    d_logits = d_logits * (sigmoid(logits) < options.threshold)
    _, d_fake = d.backward(d_logits)
    return g.backward(d_fake * max(1, options.target / np.sqrt((d_fake**2).sum())))


def shrunk(parameters, factor):
    return [tuple(factor * p for p in pair) for pair in parameters]


def simultaneous(g, d, vg, vd, real, draws, rate, mu, objective, fault=None, options=RELEASED):
    z, real_masks, fake_masks = draws
    if fault == "reused mask":
        real_masks = fake_masks
    weight = 1.0 if fault == "no half" else 0.5
    fake = g.forward(z)
    gd = discriminator_gradient(d, real, fake, real_masks, fake_masks, weight, options)
    gg = generator_gradient(g, d, z, fake_masks, objective, options)
    if fault == "flipped sign":
        gg = [(-w, -b) for w, b in gg]
    d.parameters, vd = momentum_update(d.parameters, vd, gd, rate, mu)
    d.parameters = shrunk(d.parameters, options.shrink)
    g.parameters, vg = momentum_update(g.parameters, vg, gg, rate, mu)
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
        gd = discriminator_gradient(d, real, g.forward(z), real_masks, fake_masks, weight, options)
        d.parameters, vd = momentum_update(d.parameters, vd, gd, rate, mu)
        d.parameters = shrunk(d.parameters, options.shrink)
    z, masks = g_draws
    if fault == "reused noise":
        z = d_draws[-1][0]
    gg = generator_gradient(g, d, z, masks, objective, options)
    g.parameters, vg = momentum_update(g.parameters, vg, gg, g_rate, mu)
    return vg, vd
