"""Small players of every layer that a page computes, and what a folder would hold of them."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import advnets
from advnets.bench import frames
from advnets.bench.pages.players import Found
from advnets.bench.settings import Settings
from advnets.convolutions import ConvolutionSpec

KEYS = jax.random.split(jax.random.key(0), 6)


@functools.cache
def dense():
    """Grey, in [0, 1]: rectifiers, sigmoids and the other activations; maxout."""
    functions = (jax.nn.tanh, jax.nn.softplus, jax.nn.leaky_relu)
    generator = eqx.nn.Sequential(
        [
            *advnets.networks.mlp_generator(
                KEYS[0],
                6,
                (5,),
                hidden_sizes=[9, 7],
                activations=["relu", "sigmoid"],
                weight_range=2.5,
            ).layers[:-2],
            *(eqx.nn.Lambda(function) for function in functions),
            advnets.layers.linear(KEYS[1], 5, 12, 2.5),
            advnets.networks.Reshape((4, 3)),
            eqx.nn.Lambda(jax.nn.sigmoid),
        ]
    )
    discriminator = advnets.networks.maxout_discriminator(
        KEYS[2], (4, 3), units=[6, 5], pieces=3, weight_range=1.5
    )
    return Found(
        advnets.Model(generator, advnets.priors.Spherical(6)),
        discriminator,
        "of the last epoch",
        "after 3 epochs",
    )


@functools.cache
def convolutional():
    """Coloured, around 0: a deconvolution; convolutional maxout, padded and pooled unevenly."""
    generator = advnets.networks.deconvolutional_generator(
        KEYS[3],
        5,
        (9, 7, 3),
        hidden_sizes=(8, 48),
        channels=4,
        kernel_size=3,
        stride=2,
        weight_range=1.0,
    )
    discriminator = advnets.networks.maxout_discriminator(
        KEYS[4],
        (9, 7, 3),
        convolutions=[
            ConvolutionSpec(4, 2, kernel_size=4, padding=2, pool_size=3, pool_stride=2),
            ConvolutionSpec(3, 2, kernel_size=2, padding=0, pool_size=2, pool_stride=2),
        ],
        units=[5],
        pieces=2,
        weight_range=1.5,
    )
    return Found(
        advnets.Model(generator, advnets.priors.Normal(5)),
        discriminator,
        "of the last epoch",
        "after 3 epochs",
    )


@functools.cache
def strided():
    """Coloured, in [0, 1]: convolutions that double an image and that halve it."""
    generator = advnets.networks.convolutional_generator(
        KEYS[3], 5, (12, 8, 3), channels=(6, 4), output_bias=jnp.linspace(-1.0, 1.0, 3)
    )
    discriminator = advnets.networks.leaky_discriminator(
        KEYS[4], (12, 8, 3), channels=(4, 6), units=[]
    )
    return Found(
        advnets.Model(generator, advnets.priors.Normal(5)),
        discriminator,
        "of the last epoch",
        "after 3 epochs",
    )


@functools.cache
def conditional(projects):
    """Grey, of three classes: branches in G, and branches or a projection in D."""
    shared = {"classes": 3, "weight_range": 1.5}
    generator = advnets.conditional.mirza_osindero_generator(
        KEYS[5], 5, (4, 3), latent_units=6, condition_units=4, hidden_sizes=[7], keep=1.0, **shared
    )
    if projects:
        build, own = advnets.conditional.projection_discriminator, {"units": [6, 5]}
    else:
        build = advnets.conditional.mirza_osindero_discriminator
        own = {"units": 6, "condition_units": 3, "joint_units": [5], "joint_pieces": 2}
    return Found(
        advnets.Model(
            generator, advnets.priors.UnitCube(5), advnets.conditions.Labels((0.2, 0.3, 0.5))
        ),
        build(KEYS[2], (4, 3), pieces=3, **own, **shared),
        "of the last epoch",
        "after 3 epochs",
    )


SETTINGS = {
    "dense": Settings(),
    "convolutional": Settings(preprocessing="gcn"),
    "strided": Settings(),
}
FOUND = {"dense": dense, "convolutional": convolutional, "strided": strided}


def draws(found):
    """A few latent vectors."""
    return np.asarray(found.model.prior(jax.random.key(1), 16))


@eqx.filter_jit
def applied(player, *inputs):
    """What a player gives, without noise."""
    return jax.vmap(player)(*inputs)


def with_sheet(folder, shape):
    """A folder with a sheet of training images."""
    images = np.random.default_rng(0).integers(0, 256, (30, *shape), np.uint8)
    frames.write_sheet(folder, images)
    return images
