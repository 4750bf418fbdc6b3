"""The same updates in Equinox and Optax, written as their users write them.

A Python loop over two half-steps, each compiled by `eqx.filter_jit`, with `eqx.nn` layers and
`optax.sgd`; the paper's alternating order.
"""

import itertools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import optax


class Maxout(eqx.Module):
    """The largest of several linear pieces."""

    linear: eqx.nn.Linear
    shape: tuple = eqx.field(static=True)

    def __init__(self, inputs, units, pieces, key):
        self.linear = eqx.nn.Linear(inputs, units * pieces, key=key)
        self.shape = (pieces, units)

    def __call__(self, x, key=None):
        return self.linear(x).reshape(self.shape).max(0)


class MaxoutConv2d(eqx.Module):
    """The largest of several convolutions, then max pooling."""

    convolution: eqx.nn.Conv2d
    pool: eqx.nn.MaxPool2d
    pieces: int = eqx.field(static=True)

    def __init__(self, inputs, settings, key):
        filters = settings.pieces * settings.channels
        self.convolution = eqx.nn.Conv2d(
            inputs, filters, settings.kernel_size, padding=settings.padding, key=key
        )
        self.pool = eqx.nn.MaxPool2d(settings.pool_size, settings.pool_stride, use_ceil=True)
        self.pieces = settings.pieces

    def __call__(self, x, key=None):
        x = self.convolution(x)
        return self.pool(x.reshape(self.pieces, -1, *x.shape[1:]).max(0))


class Deconvolution(eqx.Module):
    """A transposed convolution with a bias for every pixel and channel."""

    transposed: eqx.nn.ConvTranspose2d
    bias: jax.Array
    rows: tuple = eqx.field(static=True)

    def __init__(self, rows, spec, shape, key):
        self.rows = rows
        self.transposed = eqx.nn.ConvTranspose2d(
            spec.channels, shape[0], spec.kernel_size, spec.stride, use_bias=False, key=key
        )
        self.bias = jnp.zeros(shape)

    def __call__(self, x, key=None):
        return self.transposed(x.reshape(self.rows)) + self.bias


def channels_first(shape):
    return (shape[2], *shape[:2]) if len(shape) == 3 else shape


def make_generator(recipe, shape, key):
    spec, shape = recipe.generator, channels_first(shape)
    sizes = [recipe.latent_size, *spec.hidden_sizes]
    keys = iter(jax.random.split(key, len(sizes)))
    layers = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [eqx.nn.Linear(inputs, outputs, key=next(keys)), eqx.nn.Lambda(jax.nn.relu)]
    if spec.last_hidden == "sigmoid":
        layers[-1] = eqx.nn.Lambda(jax.nn.sigmoid)
    if spec.output == "deconvolution":
        side = math.isqrt(sizes[-1] // spec.deconvolution.channels)
        rows = (spec.deconvolution.channels, side, side)
        return eqx.nn.Sequential(
            [*layers, Deconvolution(rows, spec.deconvolution, shape, next(keys))]
        )
    layers.append(eqx.nn.Linear(sizes[-1], math.prod(shape), key=next(keys)))
    if spec.output == "sigmoid":
        layers.append(eqx.nn.Lambda(jax.nn.sigmoid))
    return eqx.nn.Sequential([*layers, eqx.nn.Lambda(lambda x: x.reshape(shape))])


def make_discriminator(recipe, shape, key):
    spec, shape = recipe.discriminator, channels_first(shape)
    keys = iter(jax.random.split(key, len(spec.convolutions) + len(spec.units) + 1))
    layers, drop = [], 1 - spec.input_keep
    example = jnp.zeros(shape)
    for settings in spec.convolutions:
        convolution = MaxoutConv2d(example.shape[0], settings, next(keys))
        layers += [eqx.nn.Dropout(drop), convolution]
        example, drop = convolution(example), 1 - spec.hidden_keep
    layers.append(eqx.nn.Lambda(jnp.ravel))
    inputs = example.size
    for units in spec.units:
        layers += [eqx.nn.Dropout(drop), Maxout(inputs, units, spec.pieces, next(keys))]
        inputs, drop = units, 1 - spec.hidden_keep
    last = eqx.nn.Linear(inputs, "scalar", key=next(keys))
    return eqx.nn.Sequential([*layers, eqx.nn.Dropout(drop), last])


def unit(images):
    return images.astype(float) / 255


def gcn(images):
    pixels = images.reshape(len(images), -1).astype(float)
    pixels = pixels - pixels.mean(1, keepdims=True)
    norm = jnp.linalg.norm(pixels, axis=1, keepdims=True)
    return (55 * pixels / jnp.maximum(norm, 1e-8)).reshape(images.shape)


PREPROCESS = {"unit": unit, "gcn": gcn}


def noise(recipe, key):
    shape = (recipe.batch_size, recipe.latent_size)
    if recipe.prior == "uniform":
        return jax.random.uniform(key, shape, minval=-(3**0.5), maxval=3**0.5)
    return jax.random.normal(key, shape)


def logits(discriminator, examples, key):
    keys = jax.random.split(key, len(examples))
    return jax.vmap(lambda x, key: discriminator(x, key=key))(examples, keys)


def cross_entropy(logits, label):
    return optax.sigmoid_binary_cross_entropy(logits, jnp.full_like(logits, label)).mean()


@eqx.filter_jit
def discriminator_step(discriminator, generator, opt_state, optimizer, recipe, images, row, key):
    noise_key, real_key, fake_key = jax.random.split(key, 3)
    real = PREPROCESS[recipe.preprocessing](images[row])
    fake = jax.vmap(generator)(noise(recipe, noise_key))

    @eqx.filter_grad
    def gradient(discriminator):
        real_cost = cross_entropy(logits(discriminator, real, real_key), 1)
        return real_cost + cross_entropy(logits(discriminator, fake, fake_key), 0)

    moves, opt_state = optimizer.update(gradient(discriminator), opt_state)
    return eqx.apply_updates(discriminator, moves), opt_state


@eqx.filter_jit
def generator_step(generator, discriminator, opt_state, optimizer, recipe, key):
    noise_key, mask_key = jax.random.split(key)

    @eqx.filter_grad
    def gradient(generator):
        fake = jax.vmap(generator)(noise(recipe, noise_key))
        return cross_entropy(logits(discriminator, fake, mask_key), 1)

    moves, opt_state = optimizer.update(gradient(generator), opt_state)
    return eqx.apply_updates(generator, moves), opt_state


class Trainer:
    """Both players, their optimiser states, and one update."""

    def __init__(self, recipe, shape):
        g_key, d_key, self.key = jax.random.split(jax.random.key(0), 3)
        self.recipe = recipe
        self.generator = make_generator(recipe, shape, g_key)
        self.discriminator = make_discriminator(recipe, shape, d_key)
        divisor = recipe.learning_rate_divisor
        schedule = optax.exponential_decay(recipe.learning_rate, 1, 1 / divisor)
        self.optimizer = optax.sgd(schedule, momentum=recipe.initial_momentum)
        self.g_state = self.optimizer.init(eqx.filter(self.generator, eqx.is_inexact_array))
        self.d_state = self.optimizer.init(eqx.filter(self.discriminator, eqx.is_inexact_array))

    def update(self, images, row):
        self.key, d_key, g_key = jax.random.split(self.key, 3)
        fixed = self.optimizer, self.recipe
        self.discriminator, self.d_state = discriminator_step(
            self.discriminator, self.generator, self.d_state, *fixed, images, row, d_key
        )
        self.generator, self.g_state = generator_step(
            self.generator, self.discriminator, self.g_state, *fixed, g_key
        )


def updates(recipe, images, rows):
    """A call that makes one update for each row of `rows`, and waits for the last."""
    trainer = Trainer(recipe, images.shape[1:])
    images, rows = jnp.asarray(images), jnp.asarray(rows)
    if images.ndim == 4:
        images = images.transpose(0, 3, 1, 2)

    def call():
        for row in rows:
            trainer.update(images, row)
        jax.block_until_ready(eqx.filter((trainer.generator, trainer.discriminator), eqx.is_array))

    return call
