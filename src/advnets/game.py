"""The game: Eq. 1 and the players' costs, on logits.

A discriminator's logit `l` stands for `D(x) = sigmoid(l)`, so `log D = -softplus(-l)` and
`log(1 - D) = -softplus(l)`, which neither overflow nor cancel for any finite logit.
"""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def _mean(terms: Float[Array, "*shape"]) -> Float[Array, ""]:
    if terms.size == 0:
        raise ValueError("a cost is a mean over examples; pass at least 1 logit")
    return jnp.mean(terms)


def _mean_log_d(logits: Float[Array, "*shape"]) -> Float[Array, ""]:
    return _mean(jax.nn.log_sigmoid(logits))


def _mean_log_one_minus_d(logits: Float[Array, "*shape"]) -> Float[Array, ""]:
    return _mean(jax.nn.log_sigmoid(-logits))


def value_function(
    real_logits: Float[Array, "*real"], fake_logits: Float[Array, "*fake"]
) -> Float[Array, ""]:
    r"""The value of the game on a minibatch: what D ascends and G descends.

    $$V(D, G) = E_x[\log D(x)] + E_z[\log(1 - D(G(z)))]$$

    Args:
        real_logits: the discriminator's logits on data.
        fake_logits: the discriminator's logits on generated examples.

    Returns:
        The minibatch estimate of V, in nats; never above 0, and `-log 4` where D is 1/2
        everywhere.

    Raises:
        ValueError: if there are no logits.

    Example:
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> print(round(float(advnets.game.value_function(jnp.zeros(8), jnp.zeros(8))), 4))
        -1.3863

    References:
        Eq. 1 and the discriminator's ascent direction in Algorithm 1.
    """
    return _mean_log_d(real_logits) + _mean_log_one_minus_d(fake_logits)


def discriminator_cost(
    real_logits: Float[Array, "*real"], fake_logits: Float[Array, "*fake"]
) -> Float[Array, ""]:
    r"""The discriminator's cost in the released code: `-V / 2`.

    $$\tfrac12 \left(-E_x[\log D(x)] - E_z[\log(1 - D(G(z)))]\right)$$

    Algorithm 1 ascends V itself; the halving matters because it halves D's learning rate
    relative to G's.

    Args:
        real_logits: the discriminator's logits on data.
        fake_logits: the discriminator's logits on generated examples.

    Returns:
        The cost, in nats; never below 0.

    Raises:
        ValueError: if there are no logits.

    Example:
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> print(round(float(advnets.game.discriminator_cost(jnp.zeros(8), jnp.zeros(8))), 4))
        0.6931

    References:
        Released code, `__init__.py`, `AdversaryCost2` (`d_obj`).
    """
    return -value_function(real_logits, fake_logits) / 2


def minimax_cost(fake_logits: Float[Array, "*fake"]) -> Float[Array, ""]:
    r"""The generator's term of the value function, to descend.

    $$E_z[\log(1 - D(G(z)))]$$

    Its gradient in a logit is `-D(G(z))`, which vanishes where D rejects with confidence: the
    cost saturates early in learning.

    Args:
        fake_logits: the discriminator's logits on generated examples.

    Returns:
        The cost, in nats; never above 0.

    Raises:
        ValueError: if there are no logits.

    Example:
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> print(float(advnets.game.minimax_cost(jnp.array([1e4]))))
        -10000.0

    References:
        Eq. 1; the generator's descent direction in Algorithm 1.
    """
    return _mean_log_one_minus_d(fake_logits)


def non_saturating_cost(fake_logits: Float[Array, "*fake"]) -> Float[Array, ""]:
    r"""The generator's cost in practice: maximise the probability that D is mistaken.

    $$-E_z[\log D(G(z))]$$

    Its gradient in a logit is `D(G(z)) - 1`, strongest where D rejects with confidence.

    Args:
        fake_logits: the discriminator's logits on generated examples.

    Returns:
        The cost, in nats; never below 0.

    Raises:
        ValueError: if there are no logits.

    Example:
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> print(float(advnets.game.non_saturating_cost(jnp.array([-1e4]))))
        10000.0

    References:
        Section 3, last paragraph; released code, `AdversaryCost2` (`g_obj`).
    """
    return -_mean_log_d(fake_logits)


class BlendedCost(eqx.Module):
    r"""The released code's blend of the generator's two costs.

    $$\frac{z\,(-E_z[\log D(G(z))]) + m\,\tfrac12\,E_z[\log(1 - D(G(z)))]}{z + m}$$

    The released code writes it as `(z·g - m·d) / (z + m)` with `d` the halved discriminator cost;
    the part of `d` that comes from data does not depend on G and is left out here.

    Attributes:
        minimax: the weight m of the minimax cost; at least 0.
        non_saturating: the weight z of the non-saturating cost; at least 0, not both 0.

    Raises:
        ValueError: for a negative weight, or if both are 0.

    Example:
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> blend = advnets.game.BlendedCost(minimax=1.0, non_saturating=1.0)
        >>> print(round(float(blend(jnp.zeros(8))), 4))
        0.1733

    References:
        Released code, `AdversaryCost2` (`blend_obj`, `minimax_coeff`, `zurich_coeff`).
    """

    minimax: float = eqx.field(static=True, default=1.0)
    non_saturating: float = eqx.field(static=True, default=1.0)

    def __check_init__(self) -> None:
        weights = (self.minimax, self.non_saturating)
        if not (min(weights) >= 0 and 0 < sum(weights) < math.inf):
            raise ValueError(
                f"the blend's weights must be at least 0 and not both 0, and finite; got minimax="
                f"{self.minimax} and non_saturating={self.non_saturating}"
            )

    def __call__(self, fake_logits: Float[Array, "*fake"]) -> Float[Array, ""]:
        """The cost, in nats; raises a ValueError if there are no logits."""
        total = self.minimax + self.non_saturating
        return (self.non_saturating / total) * non_saturating_cost(fake_logits) + (
            self.minimax / total
        ) * minimax_cost(fake_logits) / 2


def _logit_of_half_plus(margin: float) -> float:
    """The logit at which D = 1/2 + margin; comparing logits loses no digits."""
    return math.log1p(2 * margin) - math.log1p(-2 * margin)


def _check_margin(margin: float) -> None:
    if not 0 <= margin < 0.5:
        raise ValueError(f"the margin must be at least 0 and below 1/2; got {margin}")


class ThresholdedCost(eqx.Module):
    r"""A generator's cost that counts only examples that D still rejects.

    $$\frac1n \sum_{i:\ D(G(z_i)) < 1/2 + \epsilon} c(D(G(z_i)))$$

    The sum is over the examples that count, but it is divided by the size of the whole minibatch:
    the fewer examples are left to win, the shorter the step.

    Attributes:
        cost: the cost c to threshold, a mean over examples of a function of their logits.
        margin: ε, in [0, 1/2): how far above 1/2 D has to be for an example to be ignored.

    Raises:
        ValueError: if the margin is outside [0, 1/2).

    Example:
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> cost = advnets.game.ThresholdedCost()
        >>> print(float(cost(jnp.array([-1e4, 1.0]))))
        5000.0

    References:
        Released code, `ThresholdedAdversaryCost` (`g_obj`); with a margin, `LazyAdversaryCost`
        (`g_eps`).
    """

    cost: Callable[..., Float[Array, ""]] = non_saturating_cost
    margin: float = eqx.field(static=True, default=0.0)

    def __check_init__(self) -> None:
        _check_margin(self.margin)

    def __call__(self, fake_logits: Float[Array, " batch"]) -> Float[Array, ""]:
        """The cost, in nats; raises a ValueError if there are no logits."""
        each = jax.vmap(self.cost)(fake_logits[:, None])
        return _mean(jnp.where(fake_logits < _logit_of_half_plus(self.margin), each, 0))


class LazyDiscriminatorCost(eqx.Module):
    r"""The halved discriminator cost without the examples that D already classifies correctly.

    $$\frac1{2n} \left( -\sum_{i:\ D(x_i) < 1/2 + \epsilon} \log D(x_i)
      - \sum_{i:\ D(G(z_i)) > 1/2 - \epsilon} \log(1 - D(G(z_i))) \right)$$

    n is the size of the whole minibatch. This is the cost of the simultaneous order; Algorithm 1
    does not halve the cost, so give D twice the learning rate there.

    Attributes:
        margin: ε, in [0, 1/2): how far on the correct side of 1/2 D has to be for an example to be
            ignored.

    Raises:
        ValueError: if the margin is outside [0, 1/2).

    Example:
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> cost = advnets.game.LazyDiscriminatorCost()
        >>> print(float(cost(jnp.array([-1e4, 1.0]), jnp.array([-1.0, 0.0]))))
        2500.0

    References:
        Released code, `LazyAdversaryCost` (`d_obj`, `d_eps`); its generator's cost is
        [`advnets.game.ThresholdedCost`][].
    """

    margin: float = eqx.field(static=True, default=0.0)

    def __check_init__(self) -> None:
        _check_margin(self.margin)

    def __call__(
        self, real_logits: Float[Array, " batch"], fake_logits: Float[Array, " batch"]
    ) -> Float[Array, ""]:
        """The cost, in nats; raises a ValueError if there are no logits."""
        threshold = _logit_of_half_plus(self.margin)
        log_d = jax.nn.log_sigmoid(real_logits)
        log_one_minus_d = jax.nn.log_sigmoid(-fake_logits)
        return (
            -(
                _mean(jnp.where(real_logits < threshold, log_d, 0))
                + _mean(jnp.where(fake_logits > -threshold, log_one_minus_d, 0))
            )
            / 2
        )
