"""The f-GAN family: a game for each f-divergence."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from advnets.objectives.divergences import Divergence
from advnets.objectives.of_logits import OfLogits


class FGAN(OfLogits):
    r"""The game whose value, against the best D, is an f-divergence of p_data from p_g.

    $$c_D = E_z[f^*(g_f(D(G(z))))] - E_x[g_f(D(x))], \qquad
    c_G = -E_z[f^*(g_f(D(G(z))))]$$

    D's cost is never below \(-\sum_x p_g f(p_{data} / p_g)\), and equals it with the best D, where
    \(g_f(D^*) = f'(p_{data} / p_g)\). `advnets.verify` checks this for each divergence: `fgan-`.
    G's cost is its part of the value; with `saddle=False` it is the non-saturating alternative,

    $$c_G = -E_z[g_f(D(G(z)))]$$

    which has the same fixed point, but is not a function of the divergence.

    D's output D(x) may be any number. Costs are in nats for the divergences with logarithms, and
    bounded where the divergence says so.

    Attributes:
        divergence: the divergence, such as [`advnets.objectives.divergences.KL`][].
        saddle: whether G descends the value of the game rather than the alternative.

    Example:
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> from advnets.objectives import FGAN, divergences
        >>> hellinger = FGAN(divergences.SquaredHellinger())
        >>> print(float(hellinger.discriminator_cost(jnp.zeros(3), jnp.zeros(3))))
        0.0
        >>> algorithm = advnets.Algorithm1(objective=hellinger)

    References:
        Nowozin et al. 2016, "f-GAN", Eq. 6 and 7 (the saddle), section 3.2 (the alternative).
    """

    divergence: Divergence
    saddle: bool = eqx.field(static=True, default=True)

    def discriminator_cost(
        self, real_logits: Float[Array, " real"], fake_logits: Float[Array, " fake"]
    ) -> Float[Array, ""]:
        on_real = jnp.mean(self.divergence.activation(real_logits))
        return jnp.mean(self.divergence.conjugate(fake_logits)) - on_real

    def generator_cost(self, fake_logits: Float[Array, " fake"]) -> Float[Array, ""]:
        if self.saddle:
            return -jnp.mean(self.divergence.conjugate(fake_logits))
        return -jnp.mean(self.divergence.activation(fake_logits))
