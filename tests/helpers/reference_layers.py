"""The recipes' layers in NumPy, float64, and backpropagation through them by hand.

They take arrays and sizes from the library's layers, but compute nothing with them. Convolutions
are sums over kernel positions.
"""

import numpy as np
from scipy.special import expit


class Linear:
    def __init__(self, layer):
        self.parameters = [float64(layer.weight), float64(layer.bias)]

    def forward(self, x):
        self.x = x
        return x @ self.parameters[0].T + self.parameters[1]

    def backward(self, d):
        return d @ self.parameters[0], [d.T @ self.x, d.sum(0)]


class Maxout:
    def __init__(self, layer):
        self.parameters = [float64(layer.weight), float64(layer.bias)]

    def forward(self, x):
        self.x = x
        pre = np.stack([x @ w.T + b for w, b in zip(*self.parameters, strict=True)])
        self.winner = pre.argmax(0)
        return pre.max(0)

    def backward(self, d):
        weight, _ = self.parameters
        won = [d * (self.winner == p) for p in range(len(weight))]
        d_x = sum(g @ w for g, w in zip(won, weight, strict=True))
        return d_x, [np.stack([g.T @ self.x for g in won]), np.stack([g.sum(0) for g in won])]


class Elementwise:
    parameters = ()

    def __init__(self, function, derivative):
        self.function, self.derivative = function, derivative

    def forward(self, x):
        self.x, self.y = x, self.function(x)
        return self.y

    def backward(self, d):
        return d * self.derivative(self.x, self.y), []


class Dropout:
    parameters = ()

    def __init__(self, layer):
        self.keep = layer.keep

    def forward(self, x):
        return np.where(self.mask, x / self.keep, 0)

    def backward(self, d):
        return np.where(self.mask, d / self.keep, 0), []


class Reshape:
    parameters = ()

    def __init__(self, layer):
        self.shape = layer.shape

    def forward(self, x):
        self.before = x.shape
        return x.reshape(len(x), *self.shape)

    def backward(self, d):
        return d.reshape(self.before), []


class MaxoutConv:
    def __init__(self, layer):
        self.parameters = [float64(layer.kernel), float64(layer.bias)]
        self.pieces, self.padding = layer.pieces, layer.padding
        self.size, self.stride = layer.pool_size, layer.pool_stride

    def forward(self, x):
        kernel, bias = self.parameters
        k, p = len(kernel), self.padding
        self.padded = np.pad(x, ((0, 0), (p, p), (p, p), (0, 0)))
        self.rows, self.columns = (n + 2 * p - k + 1 for n in x.shape[1:3])
        pre = np.zeros((len(x), self.rows, self.columns, kernel.shape[-1])) + bias
        for i in range(k):
            for j in range(k):
                pre += self.window(self.padded, i, j) @ kernel[i, j]
        pieces = pre.reshape(*pre.shape[:-1], self.pieces, -1)
        self.winner = pieces.argmax(-2)
        return self.pool(pieces.max(-2))

    def window(self, padded, i, j):
        return padded[:, i : i + self.rows, j : j + self.columns]

    def pool(self, units):
        n, rows, columns, channels = units.shape
        out = [int(np.ceil((size - self.size) / self.stride)) + 1 for size in (rows, columns)]
        self.places = np.zeros((n, *out, channels), int)  # of each window's maximum, in its image
        pooled = np.zeros((n, *out, channels))
        for a in range(out[0]):
            for b in range(out[1]):
                top, left = a * self.stride, b * self.stride
                window = units[:, top : top + self.size, left : left + self.size]
                width = window.shape[2]
                flat = window.reshape(n, -1, channels)
                best = flat.argmax(1)
                pooled[:, a, b] = flat.max(1)
                self.places[:, a, b] = (top + best // width) * columns + left + best % width
        return pooled

    def backward(self, d):
        n, channels = len(d), d.shape[-1]
        d_units = np.zeros((n, self.rows * self.columns, channels))
        rows, _, _, columns = np.ix_(range(n), [0], [0], range(channels))
        np.add.at(d_units, (rows, self.places, columns), d)
        d_units = d_units.reshape(n, self.rows, self.columns, 1, channels)
        won = np.arange(self.pieces)[:, None] == self.winner[..., None, :]
        d_pre = (d_units * won).reshape(n, self.rows, self.columns, -1)
        kernel, bias = self.parameters
        d_kernel, d_padded = np.zeros_like(kernel), np.zeros_like(self.padded)
        for i in range(len(kernel)):
            for j in range(len(kernel)):
                seen = self.window(self.padded, i, j)
                d_kernel[i, j] = np.tensordot(seen, d_pre, ((0, 1, 2), (0, 1, 2)))
                self.window(d_padded, i, j)[...] += d_pre @ kernel[i, j].T
        p = self.padding
        d_x = d_padded[:, p : d_padded.shape[1] - p, p : d_padded.shape[2] - p]
        d_bias = d_pre.sum((0, 1, 2)) if bias.ndim == 1 else d_pre.sum(0)
        return d_x, [d_kernel, d_bias]


class Deconvolution:
    def __init__(self, layer):
        self.parameters = [float64(layer.kernel), float64(layer.bias)]
        self.stride, self.out_shape = layer.stride, layer.out_shape

    def patch(self, image, i, j):
        rows, columns = self.x.shape[1:3]
        s = self.stride
        return image[:, i : i + (rows - 1) * s + 1 : s, j : j + (columns - 1) * s + 1 : s]

    def forward(self, x):
        kernel, bias = self.parameters
        self.x = x
        out = np.zeros((len(x), *self.out_shape)) + bias
        for i in range(len(kernel)):
            for j in range(len(kernel)):
                self.patch(out, i, j)[...] += x @ kernel[i, j].T
        return out

    def backward(self, d):
        kernel, bias = self.parameters
        d_kernel, d_x = np.zeros_like(kernel), np.zeros_like(self.x)
        for i in range(len(kernel)):
            for j in range(len(kernel)):
                seen = self.patch(d, i, j)
                d_kernel[i, j] = np.tensordot(seen, self.x, ((0, 1, 2), (0, 1, 2)))
                d_x += seen @ kernel[i, j]
        return d_x, [d_kernel, d.sum(0) if bias.ndim == 3 else d.sum((0, 1, 2))]


def float64(array):
    return np.asarray(array, np.float64)


def build(module):
    """The reference of a sequence of the library's layers, whose names it goes by."""
    import jax

    layers = []
    for layer in module.layers:
        kind = type(layer).__name__
        if kind == "Sequential":
            layers += build(layer)
        elif kind == "GradientFloor":
            continue  # which is left to the update
        elif kind == "Lambda":
            rectifier = layer.fn is jax.nn.relu
            layers.append(
                Elementwise(lambda x: np.maximum(x, 0), lambda x, y: x > 0)
                if rectifier
                else Elementwise(expit, lambda x, y: y * (1 - y))
            )
        else:
            reference = {
                "Linear": Linear, "Maxout": Maxout, "Dropout": Dropout, "Reshape": Reshape,
                "MaxoutConv2d": MaxoutConv, "Deconvolution": Deconvolution,
            }[kind]  # fmt: skip
            layers.append(reference(layer))
    return layers


def forward(layers, x, masks=()):
    dropouts = [layer for layer in layers if isinstance(layer, Dropout)]
    for layer, mask in zip(dropouts, masks, strict=True):
        layer.mask = mask
    for layer in layers:
        x = layer.forward(x)
    return x


def backward(layers, d):
    """The gradient of every array, in the order of the layers, and of the input."""
    gradients = []
    for layer in reversed(layers):
        d, own = layer.backward(d)
        gradients = [*own, *gradients]
    return d, gradients
