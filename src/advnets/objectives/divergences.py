r"""The f-divergences for which [`advnets.objectives.FGAN`][] has a game.

An f-divergence of p_data from p_g is \(\sum_x p_g f(p_{data} / p_g)\) for a convex f with f(1) = 0
(or another constant, for that of the game of 2014). Any function T bounds it from below by
\(E_x[T(x)] - E_z[f^*(T(G(z)))]\), with f* the conjugate of f, and \(T = f'(p_{data} / p_g)\)
attains it. D's output v may be any number; T = g_f(v) maps it into the domain of f*.

All of them are from Nowozin et al. 2016, "f-GAN", Tables 1, 2 and 6.
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class Divergence(eqx.Module):
    """An f-divergence in terms of D's outputs; subclass it to bring your own.

    Example:
        >>> import jax.numpy as jnp
        >>> from advnets.objectives import FGAN, divergences
        >>> class Neyman(divergences.Divergence):  # f(u) = (1 - u)² / u
        ...     def activation(self, outputs):
        ...         return -jnp.expm1(-outputs)
        ...     def conjugate(self, outputs):
        ...         return -2 * jnp.expm1(-outputs / 2)
        >>> objective = FGAN(Neyman())
    """

    @abc.abstractmethod
    def activation(self, outputs: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """g_f: maps D's outputs into the domain of f*.

        Args:
            outputs: D's outputs v, any numbers.

        Returns:
            T = g_f(v), increasing in v.
        """

    @abc.abstractmethod
    def conjugate(self, outputs: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """f*(g_f(v)) as one function, without cancellation.

        Args:
            outputs: D's outputs v.

        Returns:
            f*(g_f(v)).
        """


class KL(Divergence):
    r"""Kullback-Leibler, \(\sum p_{data} \log (p_{data} / p_g)\), in [0, ∞].

    \(f(u) = u \log u\), \(g_f(v) = v\), \(f^*(t) = e^{t - 1}\); the best v is
    \(1 + \log p_{data} / p_g\).

    Example:
        >>> import jax.numpy as jnp
        >>> from advnets.objectives import divergences
        >>> print(float(divergences.KL().conjugate(jnp.array(1.0))))
        1.0

    References:
        Nowozin et al. 2016, Table 2.
    """

    def activation(self, outputs: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return outputs

    def conjugate(self, outputs: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return jnp.exp(outputs - 1)


class ReverseKL(Divergence):
    r"""Reverse Kullback-Leibler, \(\sum p_g \log (p_g / p_{data})\), in [0, ∞].

    \(f(u) = -\log u\), \(g_f(v) = -e^{-v}\), \(f^*(t) = -1 - \log(-t)\); the best v is
    \(\log p_{data} / p_g\).

    Example:
        >>> import jax.numpy as jnp
        >>> from advnets.objectives import divergences
        >>> print(float(divergences.ReverseKL().conjugate(jnp.array(1.0))))
        0.0

    References:
        Nowozin et al. 2016, Table 2.
    """

    def activation(self, outputs: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return -jnp.exp(-outputs)

    def conjugate(self, outputs: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return outputs - 1


class Jeffreys(Divergence):
    r"""Jeffreys, the sum of both Kullback-Leibler divergences, in [0, ∞].

    \(f(u) = (u - 1) \log u\), \(g_f(v) = v\), \(f^*(t) = w + 1/w + t - 2\) with
    \(w + \log w = 1 - t\), w the Lambert function of \(e^{1 - t}\); the best v is
    \(1 + \log(p_{data} / p_g) - p_g / p_{data}\).

    Example:
        >>> import jax.numpy as jnp
        >>> from advnets.objectives import divergences
        >>> float(divergences.Jeffreys().conjugate(jnp.array(0.0))) == 0
        True

    References:
        Nowozin et al. 2016, Table 6.
    """

    def activation(self, outputs: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return outputs

    def conjugate(self, outputs: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        log_w = _log_omega(1 - outputs)
        return jnp.expm1(-log_w) - log_w  # w + 1/w + v - 2, as w + log w = 1 - v


class PearsonChi2(Divergence):
    r"""Pearson's χ², \(\sum (p_{data} - p_g)^2 / p_g\), in [0, ∞].

    \(f(u) = (u - 1)^2\), \(g_f(v) = v\), \(f^*(t) = t^2/4 + t\); the best v is
    \(2 (p_{data} / p_g - 1)\).

    Example:
        >>> import jax.numpy as jnp
        >>> from advnets.objectives import divergences
        >>> print(float(divergences.PearsonChi2().conjugate(jnp.array(2.0))))
        3.0

    References:
        Nowozin et al. 2016, Table 6.
    """

    def activation(self, outputs: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return outputs

    def conjugate(self, outputs: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return outputs**2 / 4 + outputs


class SquaredHellinger(Divergence):
    r"""Squared Hellinger, \(\sum (\sqrt{p_{data}} - \sqrt{p_g})^2\), in [0, 2].

    \(f(u) = (\sqrt u - 1)^2\), \(g_f(v) = 1 - e^{-v}\), \(f^*(t) = t / (1 - t)\); the best v is
    \(\tfrac12 \log p_{data} / p_g\).

    Example:
        >>> import jax.numpy as jnp
        >>> from advnets.objectives import divergences
        >>> print(float(divergences.SquaredHellinger().conjugate(jnp.array(0.0))))
        0.0

    References:
        Nowozin et al. 2016, Table 6.
    """

    def activation(self, outputs: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return -jnp.expm1(-outputs)

    def conjugate(self, outputs: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return jnp.expm1(outputs)


class TotalVariation(Divergence):
    r"""Total variation, \(\tfrac12 \sum |p_{data} - p_g|\), in [0, 1].

    \(f(u) = |u - 1| / 2\), \(g_f(v) = \tfrac12 \tanh v\), \(f^*(t) = t\). The best v is ∞ where
    data are likelier and -∞ elsewhere: no finite D is best.

    Example:
        >>> import jax.numpy as jnp
        >>> from advnets.objectives import divergences
        >>> print(float(divergences.TotalVariation().conjugate(jnp.array(20.0))))
        0.5

    References:
        Nowozin et al. 2016, Table 6.
    """

    def activation(self, outputs: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return jnp.tanh(outputs) / 2

    def conjugate(self, outputs: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return jnp.tanh(outputs) / 2


class GAN(Divergence):
    r"""The divergence of the game of 2014: twice Jensen-Shannon minus log 4, in [-log 4, 0].

    \(f(u) = u \log u - (u + 1) \log(u + 1)\), \(g_f(v) = \log \sigma(v)\),
    \(f^*(t) = -\log(1 - e^t)\); the best v is \(\log p_{data} / p_g\). The costs are
    those of [`advnets.objectives.GAN`][], with the minimax cost for G; `saddle=False` gives the
    non-saturating one.

    Example:
        >>> import jax.numpy as jnp
        >>> from advnets.objectives import divergences
        >>> print(round(float(divergences.GAN().conjugate(jnp.array(0.0))), 4))
        0.6931

    References:
        Nowozin et al. 2016, Table 6; Eq. 4 and 6 of the 2014 paper.
    """

    def activation(self, outputs: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return jax.nn.log_sigmoid(outputs)

    def conjugate(self, outputs: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return jax.nn.softplus(outputs)


@jax.custom_jvp
def _log_omega(s: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The y with y + e^y = s: the logarithm of Wright's omega function."""
    # Newton's method from the right of the root of a rising convex function, so never past it.
    y = jnp.minimum(s, jnp.log(jnp.maximum(s, 1)))
    for _ in range(6):
        y = y - (y + jnp.exp(y) - s) / (1 + jnp.exp(y))
    return y


@_log_omega.defjvp
def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (s,), (moved,) = primals, tangents
    y = _log_omega(s)
    return y, moved / (1 + jnp.exp(y))
