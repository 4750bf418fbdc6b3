"""Players of a few numbers, whose updates and best responses are computed by hand."""

import equinox as eqx
import jax
import jax.numpy as jnp

import advnets
from advnets.priors import Normal, Prior


class Affine(eqx.Module):
    """W x + b; with a vector for W a linear logit, as D* is for two normals of one variance."""

    w: jax.Array
    b: jax.Array

    def __call__(self, x):
        return self.w @ x + self.b


class Quadratic(eqx.Module):
    """w·x + q·x²/2 + c, whose slope in x is w + q x."""

    w: jax.Array
    q: jax.Array
    c: jax.Array

    def __call__(self, x):
        return self.w @ x + self.q @ x**2 / 2 + self.c


class Shift(eqx.Module):
    by: jax.Array

    def __call__(self, z):
        return z + self.by


class InTurn(Prior):
    """The same latent vectors whatever the key."""

    size: int = eqx.field(static=True, default=1)

    def __call__(self, key, n):
        return jnp.linspace(-1.0, 2.0, n)[:, None]


def shifted_normal(mean, w, b, prior=None):
    """A generator of N(mean, 1), unless given another prior, and a linear logit w x + b."""
    line = Affine(jnp.full(1, float(w)), jnp.asarray(b, float))
    return advnets.Players(Shift(jnp.full(1, float(mean))), line, prior or Normal(1))
