"""The U-net that fills in, compared with loops in NumPy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import advnets
from advnets import inpainting
from advnets.unet import unet_generator

KEY = jax.random.key(0)
# Compiled as a whole: faster than operation by operation.
built = eqx.filter_jit(unet_generator)


def convolved(x, kernel, bias, stride, padding):
    """A convolution, position by position."""
    size, padded = len(kernel), np.pad(x, [(padding, padding)] * 2 + [(0, 0)])
    rows, columns = (1 + (n - size) // stride for n in padded.shape[:2])
    out = np.empty((rows, columns, kernel.shape[-1]))
    for p, q in np.ndindex(rows, columns):
        patch = padded[p * stride : p * stride + size, q * stride : q * stride + size]
        out[p, q] = np.einsum("abi,abio->o", patch, kernel)
    return out + bias


def doubled(x, kernel, bias):
    height, width, _ = x.shape
    four = convolved(x, kernel, 0, 1, 1).reshape(height, width, 2, 2, -1)
    out = np.empty((2 * height, 2 * width, four.shape[-1]))
    for a, b in np.ndindex(2, 2):
        out[a::2, b::2] = four[:, :, a, b]
    return out + bias


def double(array):
    return np.asarray(array, float)


def relu(x):
    return np.maximum(x, 0)


def with_drawn_biases(net):
    """The network with biases that are not 0, which would hide a missing one."""
    rng = np.random.default_rng(1)

    def drawn(path, leaf):
        if getattr(path[-1], "name", "") != "bias":
            return leaf
        return jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype)

    return jax.tree_util.tree_map_with_path(drawn, net)


@pytest.mark.parametrize("shape", [(8, 4), (4, 8, 3)])
def test_a_u_net_is_what_loops_compute(shape):
    net = with_drawn_biases(built(KEY, 3, shape, channels=(2, 5), hidden_sizes=(7,)))
    rng = np.random.default_rng(0)
    z, image, mask = rng.normal(size=3), rng.random(shape), rng.integers(0, 2, shape)
    wide = (*shape, 1)[:3]
    x, seen = np.concatenate([image.reshape(wide), mask.reshape(wide)], axis=2), []
    for halve in net.down:
        layer = halve[0]
        x = relu(convolved(x, double(layer.kernel), double(layer.bias), 2, 2))
        seen.append(x)
    assert [y.shape for y in seen] == [
        (shape[0] // 2, shape[1] // 2, 2),
        (shape[0] // 4, shape[1] // 4, 5),
    ]
    h = np.concatenate([z, x.ravel()])
    for layer in (net.dense[0], net.dense[2]):
        h = relu(double(layer.weight) @ h + double(layer.bias))
    x = h.reshape(x.shape)
    for level, same in zip(net.up, seen[::-1], strict=True):
        mix, _, twice, _ = level
        x = np.concatenate([x, same], axis=2)
        x = relu(convolved(x, double(mix.kernel), double(mix.bias), 1, 1))
        x = doubled(x, double(twice.kernel), double(twice.bias))
        x = relu(x) if x.shape[:2] != shape[:2] else 1 / (1 + np.exp(-x))
    filler = eqx.filter_jit(inpainting.Filler(net))
    mine = filler(*(jnp.asarray(part, jnp.float32) for part in (z, image, mask)))
    np.testing.assert_allclose(mine, x.reshape(shape), atol=1e-5)
    assert mine.std() > 0.01


def test_pixels_start_at_the_bias_and_every_parameter_is_trained():
    bias = jnp.asarray(np.random.default_rng(2).normal(size=(8, 8)), jnp.float32)
    net = built(KEY, 2, (8, 8), channels=(3, 4), hidden_sizes=(5,), output_bias=bias)
    np.testing.assert_allclose(
        eqx.filter_jit(net)(jnp.zeros(2 + 2 * 64)), jax.nn.sigmoid(bias), rtol=1e-6
    )
    inputs = jax.random.uniform(jax.random.key(1), (20, 2 + 2 * 64))
    params, rest = eqx.partition(net, eqx.is_inexact_array)
    cost = lambda params: jnp.sum(jax.vmap(eqx.combine(params, rest))(inputs) ** 2)  # noqa: E731
    for gradient in jax.tree.leaves(jax.jit(jax.grad(cost))(params)):
        assert float(abs(gradient).max()) > 0


def test_a_saved_u_net_is_loaded(tmp_path):
    net = built(KEY, 2, (4, 6), channels=(3,), hidden_sizes=(5,))
    nothing = inpainting.NothingObserved((4, 6))
    model = advnets.Model(inpainting.Filler(net), advnets.priors.Normal(2), nothing)
    advnets.save_model(tmp_path / "g.safetensors", model)
    loaded = advnets.load_model(tmp_path / "g.safetensors")
    np.testing.assert_array_equal(loaded.sample(KEY, 3), model.sample(KEY, 3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": ()}, "at least one entry in channels"),
        ({"channels": (4, 0)}, "the size of a layer must be at least 1"),
        ({"hidden_sizes": (0,)}, "the size of a layer must be at least 1"),
        ({"latent_size": 0}, "the size of a layer must be at least 1"),
        ({"shape": (8, 6)}, r"multiples of 4; got shape \(8, 6\)"),
        ({"shape": (64,)}, r"multiples of 4; got shape \(64,\)"),
        ({"shape": (8, 0)}, r"multiples of 4; got shape \(8, 0\)"),
    ],
)
def test_sizes_are_checked(change, message):
    settings = {"latent_size": 2, "shape": (8, 8)} | change
    with pytest.raises(ValueError, match=message):
        unet_generator(KEY, **settings)
