"""Relativistic pairing: D compares an example of data with a generated one."""

from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp

from advnets.batches import Batch
from advnets.draws import Draws
from advnets.objectives.base import Applied, Costs, Objective
from advnets.objectives.of_logits import SHOWN


class Relativistic(Objective):
    r"""Pairs: which of two examples, one of each kind, is from the data?

    $$c_D = -E[\log \sigma(D(x) - D(G(z)))], \qquad c_G = -E[\log \sigma(D(G(z)) - D(x))]$$

    The best D is \(\log p_{data} / p_g\) plus any constant, which cancels in pairs. Its cost is
    log 2 minus the Jensen-Shannon divergence between pairs (x, G(z)) and pairs (G(z), x), which is
    least where p_g = p_data. `advnets.verify` checks this: `relativistic-`. With R1 and R2, it is
    the objective of R3GAN. Since D's outputs may drift by a constant, look at their difference.

    Both costs are in nats and at least 0. It reports D's `cost`, the means `real_logit` and
    `fake_logit`, and `real_preferred`, the fraction of pairs in which D is right, in [0, 1].

    Example:
        >>> import advnets
        >>> from advnets.objectives import R1, R2, Penalised, Relativistic
        >>> objective = Penalised(Relativistic(), R1(0.1), R2(0.1))
        >>> algorithm = advnets.Algorithm1(objective=objective)

    References:
        Jolicoeur-Martineau 2019, "The relativistic discriminator" (RpGAN); Huang et al. 2024,
        "The GAN is dead; long live the GAN!", section 2.
    """

    shown: ClassVar[Mapping[str, str]] = SHOWN

    def costs(self, draws: Draws, D: Applied, real: Batch, fake: Batch, **others: Applied) -> Costs:
        """Costs of pairs; raises a ValueError if there are none, or an example is left over."""
        on_real, on_fake = D(draws.real, real), D(draws.fake, fake)
        if not on_real.size == on_fake.size > 0:
            raise ValueError(
                "relativistic costs pair data with generated examples, as many of each and at "
                f"least 1; got {on_real.size} and {on_fake.size}"
            )
        margin = on_real - on_fake
        cost = jnp.mean(jax.nn.softplus(-margin))
        seen = {
            "cost": cost,
            "real_logit": jnp.mean(on_real),
            "fake_logit": jnp.mean(on_fake),
            "real_preferred": jnp.mean((margin > 0).astype(margin.dtype)),
        }
        return Costs(cost, jnp.mean(jax.nn.softplus(margin)), seen)
