"""What a step's keys draw, for computations by other means."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import advnets


def latents(draws, prior, n):
    """The latent vectors of a step."""
    return np.asarray(prior(draws.latents, n), np.float64)


def masks(key, discriminator, shape, n):
    """The masks that a sequence's dropout layers draw: a key an example, split over the layers."""
    plan, example = [], jax.ShapeDtypeStruct(shape, jnp.float32)
    for i, layer in enumerate(discriminator.layers):
        if isinstance(layer, advnets.layers.Dropout):
            plan.append((i, layer.keep, example.shape))
        example = jax.eval_shape(layer, example)
    return jax.device_get(_masks(key, len(discriminator.layers), tuple(plan), n))


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _masks(key, layers, plan, n):
    keys = jax.vmap(lambda k: jax.random.split(k, layers))(jax.random.split(key, n))
    return [
        jax.vmap(lambda k, p=keep, s=shape: jax.random.bernoulli(k, p, s))(keys[:, i])
        for i, keep, shape in plan
    ]
