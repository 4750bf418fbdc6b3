"""Priors on the generator's input noise, p_z(z)."""

import abc
import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key


class Prior(eqx.Module):
    """A distribution on the latent vectors z; subclass it to bring your own.

    Attributes:
        size: the number of components of z.
    """

    size: eqx.AbstractVar[int]

    def __check_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"a latent vector has at least 1 component; got {self.size}")

    def _shape(self, n: int) -> tuple[int, int]:
        if not 0 <= n < 2**31:
            raise ValueError(f"the number of latent vectors must be from 0 to 2**31 - 1; got {n}")
        return n, self.size

    @abc.abstractmethod
    def __call__(self, key: Key[Array, ""], n: int) -> Float[Array, " n size"]:
        """Draws `n` independent latent vectors; raises a ValueError if `n` is negative."""

    def from_normal(self, normal: Float[Array, " n size"]) -> Float[Array, " n size"]:
        """Maps standard normal vectors to latent vectors of this prior.

        With it, a search for latent vectors can run in an unbounded space. A prior of your own has
        no such map unless you write one.

        Raises:
            NotImplementedError: if the prior has no such map.
        """
        raise NotImplementedError(f"{type(self).__name__} has no from_normal; write one")


class Uniform(Prior):
    """Independent components, uniform on ±√3, so of unit variance.

    Attributes:
        size: the number of components of z.

    Raises:
        ValueError: if the size is below 1.

    Example:
        >>> import jax
        >>> import advnets
        >>> advnets.priors.Uniform(100)(jax.random.key(0), 5).shape
        (5, 100)

    References:
        Released code, `Generator.get_noise` (`noise: 'uniform'`, used by `mnist.yaml`).
    """

    size: int = eqx.field(static=True, default=100)

    def __call__(self, key: Key[Array, ""], n: int) -> Float[Array, " n size"]:
        bound = 3**0.5
        return jax.random.uniform(key, self._shape(n), minval=-bound, maxval=bound)

    def from_normal(self, normal: Float[Array, " n size"]) -> Float[Array, " n size"]:
        return 3**0.5 * jax.lax.erf(normal / 2**0.5)


class Normal(Prior):
    """Independent standard normal components.

    Attributes:
        size: the number of components of z.

    Raises:
        ValueError: if the size is below 1.

    Example:
        >>> import jax
        >>> import advnets
        >>> advnets.priors.Normal(100)(jax.random.key(0), 5).shape
        (5, 100)

    References:
        Released code, `Generator.get_noise` (`noise: 'gaussian'`).
    """

    size: int = eqx.field(static=True, default=100)

    def __call__(self, key: Key[Array, ""], n: int) -> Float[Array, " n size"]:
        return jax.random.normal(key, self._shape(n))

    def from_normal(self, normal: Float[Array, " n size"]) -> Float[Array, " n size"]:
        return normal


class Spherical(Prior):
    """Uniform on the unit sphere: a standard normal vector divided by its length.

    Attributes:
        size: the number of components of z.

    Raises:
        ValueError: if the size is below 1.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> z = advnets.priors.Spherical(100)(jax.random.key(0), 5)
        >>> bool(jnp.allclose(jnp.linalg.norm(z, axis=1), 1.0))
        True

    References:
        Released code, `Generator.get_noise` (`noise: 'spherical'`).
    """

    size: int = eqx.field(static=True, default=100)

    def __call__(self, key: Key[Array, ""], n: int) -> Float[Array, " n size"]:
        normal = jax.random.normal(key, self._shape(n))
        return self.from_normal(normal)

    def from_normal(self, normal: Float[Array, " n size"]) -> Float[Array, " n size"]:
        """The rows' directions. A row of zeros has none and gives NaN; that is not checked."""
        return normal / jnp.linalg.norm(normal, axis=1, keepdims=True)


class UnitCube(Prior):
    """Independent components, uniform on [0, 1).

    Attributes:
        size: the number of components of z.

    Raises:
        ValueError: if the size is below 1.

    Example:
        >>> import jax
        >>> import advnets
        >>> z = advnets.priors.UnitCube(100)(jax.random.key(0), 5)
        >>> bool((z >= 0).all() and (z < 1).all())
        True

    References:
        Mirza and Osindero 2014, "Conditional generative adversarial nets", section 4.1.
    """

    size: int = eqx.field(static=True, default=100)

    def __call__(self, key: Key[Array, ""], n: int) -> Float[Array, " n size"]:
        return jax.random.uniform(key, self._shape(n))

    def from_normal(self, normal: Float[Array, " n size"]) -> Float[Array, " n size"]:
        below_1 = 1 - float(jnp.finfo(normal.dtype).epsneg)  # which erf rounds to beyond 5.4
        return jnp.minimum((1 + jax.lax.erf(normal / 2**0.5)) / 2, below_1)


class Mixture(Prior):
    r"""A mixture of equally likely normal distributions, one around each of the first unit vectors.

    $$z = e_c + \sigma \varepsilon, \qquad c \text{ uniform on } \{1, \ldots, k\},
      \quad \varepsilon \sim N(0, I)$$

    A continuous generator of a connected prior can't represent data in separate pieces: the space
    between the pieces always gets some mass. This prior is in pieces too, approximately: the
    smaller σ is compared with their distance of √2, the more so.

    Attributes:
        size: the number of components of z.
        pieces: k, the number of distributions; at least 1, at most the size.
        scale: σ, the standard deviation of each in every direction; above 0.

    Raises:
        ValueError: for a size below 1, more pieces than there are unit vectors, or a scale that is
            not above 0 and finite.

    Example:
        >>> import jax
        >>> import advnets
        >>> prior = advnets.priors.Mixture(32, pieces=8, scale=0.1)
        >>> z = prior(jax.random.key(0), 5)
        >>> bool(((z > 0.5).sum(axis=1) == 1).all())
        True

    References:
        Section 7 (better distributions to sample z from); Gurumurthy et al. 2017, "DeLiGAN",
        whose pieces are learned.
    """

    size: int = eqx.field(static=True, default=100)
    pieces: int = eqx.field(static=True, default=10)
    scale: float = eqx.field(static=True, default=0.25)

    def __check_init__(self) -> None:
        if not 1 <= self.pieces <= self.size:
            raise ValueError(
                f"a mixture has from 1 to {self.size} pieces, one for each component of z at most; "
                f"got {self.pieces} (raise the size)"
            )
        if not 0 < self.scale < math.inf:
            raise ValueError(f"the pieces' scale must be above 0 and finite; got {self.scale}")

    def __call__(self, key: Key[Array, ""], n: int) -> Float[Array, " n size"]:
        shape, (piece_key, noise_key) = self._shape(n), jax.random.split(key)
        piece = jax.random.randint(piece_key, (n,), 0, self.pieces)
        noise = jax.random.normal(noise_key, shape)
        return jax.nn.one_hot(piece, self.size, dtype=noise.dtype) + self.scale * noise
