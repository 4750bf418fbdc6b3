"""The hinge: D has to reach a margin, and no more."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from advnets.objectives.of_logits import OfLogits


class Hinge(OfLogits):
    r"""The hinge, on D's output as it is.

    $$c_D = E_x[\max(0, 1 - D(x))] + E_z[\max(0, 1 + D(G(z)))], \qquad c_G = -E_z[D(G(z))]$$

    The best D is 1 where data are likelier and -1 elsewhere. Its cost is then 2 minus twice the
    total variation between p_data and p_g, and G's cost is twice the total variation minus
    \(E_x[D^*(x)]\): best where p_g = p_data. `advnets.verify` checks this: `hinge-`.

    D's cost is at least 0; G's is not bounded, though with the best D it lies in [-1, 1].

    Example:
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> hinge = advnets.objectives.Hinge()
        >>> print(float(hinge.discriminator_cost(jnp.array([0.5, 2.0]), jnp.array([-1.0, 0.0]))))
        0.75
        >>> algorithm = advnets.Algorithm1(objective=hinge)

    References:
        Lim and Ye 2017, "Geometric GAN"; Tran et al. 2017, "Hierarchical implicit models and
        likelihood-free variational inference".
    """

    def discriminator_cost(
        self, real_logits: Float[Array, " real"], fake_logits: Float[Array, " fake"]
    ) -> Float[Array, ""]:
        margins_left = jax.nn.relu(1 - real_logits), jax.nn.relu(1 + fake_logits)
        return jnp.mean(margins_left[0]) + jnp.mean(margins_left[1])

    def generator_cost(self, fake_logits: Float[Array, " fake"]) -> Float[Array, ""]:
        return -jnp.mean(fake_logits)
