"""Convolutional layers, forward and backward, against loops in NumPy float64."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from helpers.recipes import CIFAR10

from advnets import convolutions


def convolve(x, kernel, stride=1):
    """Each output is the sum over a patch of the input times the kernel; not flipped."""
    size = len(kernel)
    rows, columns = ((n - size) // stride + 1 for n in x.shape[:2])
    out = np.zeros((rows, columns, kernel.shape[-1]))
    for r in range(rows):
        for c in range(columns):
            patch = x[r * stride : r * stride + size, c * stride : c * stride + size]
            for f in range(kernel.shape[-1]):
                out[r, c, f] = np.sum(patch * kernel[..., f])
    return out


def convolve_back(x, kernel, d_out, stride=1):
    """The gradients of `convolve` with respect to its input and kernel."""
    size = len(kernel)
    d_x, d_kernel = np.zeros_like(x), np.zeros_like(kernel)
    for r, c, f in np.ndindex(d_out.shape):
        patch = np.s_[r * stride : r * stride + size, c * stride : c * stride + size]
        d_x[patch] += d_out[r, c, f] * kernel[..., f]
        d_kernel[..., f] += d_out[r, c, f] * x[patch]
    return d_x, d_kernel


def maxout_convolution(x, layer, d_out):
    """The output and the gradients by x, kernel and bias; and how far every maximum stands out."""
    kernel, bias = (np.asarray(a, np.float64) for a in (layer.kernel, layer.bias))
    p = layer.padding
    padded = np.pad(x, ((p, p), (p, p), (0, 0)))
    z = convolve(padded, kernel) + bias
    channels = z.shape[-1] // layer.pieces
    out, d_z, gap = np.empty(d_out.shape), np.zeros_like(z), np.inf
    for r, c, channel in np.ndindex(d_out.shape):
        top, left = r * layer.pool_stride, c * layer.pool_stride
        candidates = [
            (z[i, j, piece * channels + channel], (i, j, piece * channels + channel))
            for i in range(top, min(top + layer.pool_size, z.shape[0]))
            for j in range(left, min(left + layer.pool_size, z.shape[1]))
            for piece in range(layer.pieces)
        ]
        candidates.sort(reverse=True)
        (out[r, c, channel], winner), *others = candidates
        d_z[winner] += d_out[r, c, channel]
        gap = min([gap, *[candidates[0][0] - value for value, _ in others[:1]]])
    d_padded, d_kernel = convolve_back(padded, kernel, d_z)
    d_x = d_padded[p : p + x.shape[0], p : p + x.shape[1]]
    d_bias = d_z if bias.ndim == 3 else d_z.sum((0, 1))
    return (out, d_x, d_kernel, d_bias), gap


def deconvolution(x, layer, d_out):
    """The output and the gradients by x, kernel and bias: patches painted one by one."""
    kernel, bias = (np.asarray(a, np.float64) for a in (layer.kernel, layer.bias))
    size, stride = len(kernel), layer.stride
    out = np.zeros(d_out.shape)
    for r, c, i in np.ndindex(x.shape):
        out[r * stride : r * stride + size, c * stride : c * stride + size] += (
            x[r, c, i] * kernel[..., i]
        )
    d_x, d_kernel = np.zeros_like(x), np.zeros_like(kernel)
    for r, c, i in np.ndindex(x.shape):
        patch = d_out[r * stride : r * stride + size, c * stride : c * stride + size]
        d_x[r, c, i] = np.sum(patch * kernel[..., i])
        d_kernel[..., i] += x[r, c, i] * patch
    d_bias = d_out if bias.ndim == 3 else d_out.sum((0, 1))
    return out + bias, d_x, d_kernel, d_bias


@eqx.filter_jit
def pulled_back(layer, x, d_out):
    out, pull_back = jax.vjp(lambda layer, x: layer(x), layer, x)
    d_layer, d_x = pull_back(d_out)
    return out, d_x, d_layer.kernel, d_layer.bias


def ours(x, layer, d_out):
    return pulled_back(layer, jnp.asarray(x, jnp.float32), jnp.asarray(d_out, jnp.float32))


def assert_close(got, expected):
    """To 1e-5 of the largest number; the terms of the sums are of size 1, the sums may be less."""
    for name, a, b in zip(("output", "input", "kernel", "bias"), got, expected, strict=True):
        assert a.shape == b.shape, name
        assert abs(np.asarray(a, np.float64) - b).max() <= 1e-5 * max(1, abs(b).max()), name


def with_random_bias(rng, layer):
    bias = jnp.asarray(rng.normal(size=layer.bias.shape), jnp.float32)
    return eqx.tree_at(lambda layer: layer.bias, layer, bias)


@pytest.mark.parametrize(
    ("shape", "channels", "pieces", "kernel_size", "padding", "pool_size", "pool_stride", "tied"),
    [
        ((1, 1, 1), 1, 1, 1, 0, 1, 1, True),
        ((6, 5, 2), 3, 2, 3, 1, 3, 2, False),  # windows overlap, and reach over the edge
        ((4, 6, 3), 2, 3, 2, 0, 2, 2, True),
        ((3, 2, 1), 2, 1, 4, 3, 3, 1, False),  # a kernel larger than the image
    ],
)
def test_maxout_convolution_is_its_loops(
    key, shape, channels, pieces, kernel_size, padding, pool_size, pool_stride, tied
):
    layer = convolutions.MaxoutConv2d(
        key,
        shape,
        channels=channels,
        pieces=pieces,
        kernel_size=kernel_size,
        padding=padding,
        pool_size=pool_size,
        pool_stride=pool_stride,
        weight_range=1.0,
        tied_bias=tied,
    )
    compared = 0
    for seed in range(5):
        rng = np.random.default_rng(seed)
        layer = with_random_bias(rng, layer)
        x = rng.normal(size=shape).astype(np.float32).astype(np.float64)
        d_out = rng.normal(size=layer.out_shape)
        expected, gap = maxout_convolution(x, layer, d_out)
        if gap > 1e-4:  # or float32 may choose another winner than float64
            assert_close(ours(x, layer, d_out), expected)
            compared += 1
    assert compared >= 3


@pytest.mark.parametrize(
    ("shape", "channels", "kernel_size", "stride", "tied"),
    [
        ((1, 1, 1), 1, 1, 1, True),
        ((3, 5, 2), 3, 5, 3, False),  # patches overlap,
        ((4, 2, 3), 2, 2, 4, True),  # or leave pixels between them
        ((2, 6, 1), 1, 4, 2, True),
    ],
)
def test_deconvolution_is_its_loops(key, shape, channels, kernel_size, stride, tied):
    layer = convolutions.Deconvolution(
        key,
        shape,
        channels=channels,
        kernel_size=kernel_size,
        stride=stride,
        weight_range=1.0,
        tied_bias=tied,
    )
    for seed in range(5):
        rng = np.random.default_rng(seed)
        layer = with_random_bias(rng, layer)
        x = rng.normal(size=shape).astype(np.float32).astype(np.float64)
        d_out = rng.normal(size=layer.out_shape)
        assert_close(ours(x, layer, d_out), deconvolution(x, layer, d_out))


@pytest.mark.parametrize(
    ("shape", "channels", "kernel_size", "stride", "padding"),
    [
        ((1, 1, 1), 1, 1, 1, 0),
        ((6, 8, 2), 3, 4, 2, 1),  # as a discriminator halves an image
        ((5, 4, 3), 2, 2, 3, 0),  # pixels between the positions that none sees
        ((3, 2, 1), 2, 4, 1, 2),  # a kernel larger than the image
    ],
)
def test_convolution_is_its_loops(key, shape, channels, kernel_size, stride, padding):
    layer = convolutions.Convolution(
        key,
        shape,
        channels=channels,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        weight_range=1.0,
    )
    around = ((padding, padding), (padding, padding), (0, 0))
    for seed in range(3):
        rng = np.random.default_rng(seed)
        layer = with_random_bias(rng, layer)
        x = rng.normal(size=shape).astype(np.float32).astype(np.float64)
        d_out = rng.normal(size=layer.out_shape)
        kernel = np.asarray(layer.kernel, np.float64)
        padded = np.pad(x, around)
        out = convolve(padded, kernel, stride) + np.asarray(layer.bias, np.float64)
        d_padded, d_kernel = convolve_back(padded, kernel, d_out, stride)
        d_x = d_padded[padding : padding + shape[0], padding : padding + shape[1]]
        assert_close(ours(x, layer, d_out), (out, d_x, d_kernel, d_out.sum((0, 1))))


@pytest.mark.parametrize(
    ("shape", "channels", "tied"), [((1, 1, 1), 1, True), ((3, 4, 2), 3, False)]
)
def test_a_doubled_image_is_its_loops(key, shape, channels, tied):
    layer = convolutions.Doubled(key, shape, channels=channels, weight_range=1.0, tied_bias=tied)
    rng = np.random.default_rng(0)
    for _ in range(3):
        layer = with_random_bias(rng, layer)
        layer = eqx.tree_at(
            lambda one: one.kernel, layer, jnp.asarray(rng.normal(size=layer.kernel.shape), "f4")
        )
        x = rng.normal(size=shape).astype(np.float32).astype(np.float64)
        d_out = rng.normal(size=layer.out_shape)
        kernel = np.asarray(layer.kernel, np.float64)
        padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
        out, d_padded, d_kernel = np.zeros(d_out.shape), 0.0, np.zeros_like(kernel)
        for a, b in np.ndindex(2, 2):  # each of the four pixels by a convolution of its own
            one = slice((2 * a + b) * channels, (2 * a + b + 1) * channels)
            out[a::2, b::2] = convolve(padded, kernel[..., one])
            back, d_kernel[..., one] = convolve_back(padded, kernel[..., one], d_out[a::2, b::2])
            d_padded = d_padded + back
        out += np.asarray(layer.bias, np.float64)
        d_bias = d_out.sum((0, 1)) if tied else d_out
        assert_close(ours(x, layer, d_out), (out, d_padded[1:-1, 1:-1], d_kernel, d_bias))


def test_the_four_pixels_of_each_start_alike(key):
    layer = convolutions.Doubled(key, (4, 5, 2), channels=3, weight_range=0.5, output_bias=0.1)
    out = np.asarray(layer(jax.random.normal(key, (4, 5, 2))))
    assert (out == out[::2, ::2].repeat(2, 0).repeat(2, 1)).all()
    assert 0.45 < abs(layer.kernel).max() <= 0.5
    with pytest.raises(ValueError, match="channels must be at least 1; got 0"):
        convolutions.Doubled(key, (4, 5, 2), channels=0, weight_range=0.5)


@pytest.mark.parametrize(("size", "stride"), [(5, 3), (2, 3), (4, 1)])
def test_deconvolution_is_the_adjoint_of_the_convolution(key, size, stride):
    layer = convolutions.Deconvolution(
        key, (4, 3, 6), channels=2, kernel_size=size, stride=stride, weight_range=1.0
    )
    rng = np.random.default_rng(0)
    image, features = rng.normal(size=layer.out_shape), rng.normal(size=(4, 3, 6))
    left = np.sum(convolve(image, np.asarray(layer.kernel, np.float64), stride) * features)
    painted = eqx.filter_jit(layer)(jnp.asarray(features, jnp.float32))
    right = np.sum(image * np.asarray(painted, np.float64))
    np.testing.assert_allclose(left, right, rtol=1e-5)


def test_the_cifar10_recipe_has_the_released_shapes(key):
    shape, shapes, positions, rounded_down = (32, 32, 3), [], [], 32
    for spec in CIFAR10:
        layer = eqx.filter_eval_shape(
            lambda key, shape=shape, spec=spec: convolutions.MaxoutConv2d(
                key, shape, **vars(spec), weight_range=0.005, tied_bias=False
            ),
            key,
        )
        out = eqx.filter_eval_shape(lambda layer, x: layer(x), layer, jnp.zeros(shape))
        assert out.shape == layer.out_shape
        positions.append(layer.bias.shape)
        shapes.append(layer.out_shape)
        shape = layer.out_shape
        convolved = rounded_down + 2 * spec.padding - spec.kernel_size + 1
        rounded_down = (convolved - spec.pool_size) // spec.pool_stride + 1
    assert positions == [(33, 33, 64), (15, 15, 64), (9, 9, 384)]
    assert shapes == [(16, 16, 32), (7, 7, 32), (5, 5, 192)]
    assert np.prod(shape) == 4800
    assert rounded_down**2 * 192 == 3072
    layer = convolutions.Deconvolution(
        key, (10, 10, 80), channels=3, kernel_size=5, stride=3, weight_range=0.05
    )
    assert jax.eval_shape(layer, jnp.zeros((10, 10, 80))).shape == layer.out_shape == (32, 32, 3)
    assert layer.bias.shape == (32, 32, 3)


def test_layers_start_in_range_with_zero_biases(key):
    first = convolutions.MaxoutConv2d(key, (32, 32, 3), **vars(CIFAR10[0]), weight_range=0.005)
    last = convolutions.Deconvolution(
        key, (10, 10, 80), channels=3, kernel_size=5, stride=3, weight_range=0.05
    )
    for layer, weight_range in ((first, 0.005), (last, 0.05)):
        assert not layer.bias.any()
        uniform = scipy.stats.uniform(-weight_range, 2 * weight_range)
        assert scipy.stats.kstest(np.asarray(layer.kernel).ravel(), uniform.cdf).pvalue > 0.01
    assert first.bias.shape == (64,)


@pytest.mark.parametrize("tied", [True, False])
def test_a_deconvolution_starts_at_its_output_bias(key, tied):
    settings_ = {"channels": 3, "kernel_size": 2, "stride": 2, "weight_range": 0.0}
    bias = jnp.arange(3.0) if tied else jnp.arange(48.0).reshape(4, 4, 3)
    for given_ in (bias, -1, 0.5):
        layer = convolutions.Deconvolution(
            key, (2, 2, 1), **settings_, tied_bias=tied, output_bias=given_
        )
        expected = np.broadcast_to(given_, (4, 4, 3))
        assert (np.asarray(layer(jnp.ones((2, 2, 1)))) == expected).all()


def test_windows_that_reach_over_the_edge_hold_nothing_there(key):
    layer = convolutions.MaxoutConv2d(
        key,
        (3, 3, 1),
        channels=1,
        pieces=1,
        kernel_size=1,
        padding=0,
        pool_size=2,
        pool_stride=2,
        weight_range=0.0,
    )
    layer = eqx.tree_at(lambda layer: layer.bias, layer, jnp.array([-5.0]))
    assert (layer(jnp.ones((3, 3, 1))) == jnp.full((2, 2, 1), -5.0)).all()


@pytest.mark.parametrize("size", [5, 8, 11, 12])
def test_a_layer_with_tied_biases_takes_images_of_any_size(key, size):
    spec = convolutions.ConvolutionSpec(2, 2, kernel_size=1, padding=0, pool_size=2, pool_stride=2)
    layer = convolutions.MaxoutConv2d(key, (9, 9, 3), **vars(spec), weight_range=1.0)
    x = jax.random.normal(key, (size, size, 3))
    expected = convolutions.MaxoutConv2d(key, x.shape, **vars(spec), weight_range=1.0)
    assert layer(x).shape == expected.out_shape
    np.testing.assert_array_equal(layer(x), expected(x))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"in_shape": (28, 28)}, r"\(height, width, channels\); got \(28, 28\)"),
        ({"channels": 0}, "channels must be at least 1; got 0"),
        ({"pieces": 0}, "pieces must be at least 1; got 0"),
        ({"kernel_size": 0}, "kernel_size must be at least 1; got 0"),
        ({"pool_size": 0}, "pool_size must be at least 1; got 0"),
        ({"pool_stride": 0}, "pool_stride must be at least 1; got 0"),
        ({"padding": -1}, "padding must be at least 0; got -1"),
        ({"kernel_size": 9}, "kernel of size 9 does not fit"),
        ({"pool_size": 6}, "window of size 6 does not fit the convolution's 5 by 7 positions"),
        ({"pool_stride": 3}, "must be at most the window's size, 2, .* got 3"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(key, change, message):
    sizes_ = {
        "in_shape": (6, 8, 3),
        "channels": 2,
        "pieces": 2,
        "kernel_size": 4,
        "padding": 1,
        "pool_size": 2,
        "pool_stride": 2,
    }
    sizes_ |= change
    with pytest.raises(ValueError, match=message):
        convolutions.MaxoutConv2d(key, sizes_.pop("in_shape"), **sizes_, weight_range=0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": 0}, "channels must be at least 1; got 0"),
        ({"kernel_size": 0}, "kernel_size must be at least 1; got 0"),
        ({"stride": 0}, "stride must be at least 1; got 0"),
        ({"padding": -1}, "padding must be at least 0; got -1"),
        ({"kernel_size": 9}, "kernel of size 9 does not fit"),
    ],
)
def test_a_convolution_refuses_sizes_that_do_not_fit(key, change, message):
    sizes_ = {"channels": 2, "kernel_size": 4, "stride": 2, "padding": 1} | change
    with pytest.raises(ValueError, match=message):
        convolutions.Convolution(key, (6, 8, 3), **sizes_, weight_range=0.1)


def test_a_deconvolution_refuses_sizes_below_one(key):
    for name in ("channels", "kernel_size", "stride"):
        sizes_ = {"channels": 3, "kernel_size": 5, "stride": 3} | {name: 0}
        with pytest.raises(ValueError, match=f"{name} must be at least 1; got 0"):
            convolutions.Deconvolution(key, (10, 10, 8), **sizes_, weight_range=0.1)
