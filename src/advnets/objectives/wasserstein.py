"""Wasserstein: D's outputs are scores, whose difference in mean is a distance."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from advnets.objectives.of_logits import OfLogits


class Wasserstein(OfLogits):
    r"""The difference of D's mean outputs on generated examples and on data.

    $$c_D = E_z[D(G(z))] - E_x[D(x)], \qquad c_G = -E_z[D(G(z))]$$

    Among discriminators whose slope is nowhere above 1, the best has the cost -W, with W the
    Wasserstein distance of p_g from p_data (order 1); without a bound there is no best D.
    `advnets.verify` checks this in one dimension: `wasserstein-`. The bound has to come from
    elsewhere: from [`advnets.objectives.GradientPenalty`][] between data and generated examples
    (with several steps of D, `k` of [`advnets.Algorithm1`][]), or from D's layers
    (`eqx.nn.SpectralNorm`).

    Neither cost is bounded; both have the units of the examples if D's slopes have none.

    Example:
        >>> import advnets
        >>> from advnets.objectives import GradientPenalty, Penalised, Wasserstein
        >>> objective = Penalised(Wasserstein(), GradientPenalty(10.0))
        >>> algorithm = advnets.Algorithm1(k=5, objective=objective)

    References:
        Arjovsky et al. 2017, "Wasserstein GAN", Eq. 2 and Theorem 3; Gulrajani et al. 2017,
        "Improved training of Wasserstein GANs".
    """

    def discriminator_cost(
        self, real_logits: Float[Array, " real"], fake_logits: Float[Array, " fake"]
    ) -> Float[Array, ""]:
        return jnp.mean(fake_logits) - jnp.mean(real_logits)

    def generator_cost(self, fake_logits: Float[Array, " fake"]) -> Float[Array, ""]:
        return -jnp.mean(fake_logits)
