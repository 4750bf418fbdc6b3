"""Switches of the released code that no recipe uses, each as a part to put in where it is wanted.

Costs go to [`advnets.train`][] or [`advnets.Algorithm1`][], a layer into a player, a transformation
into a chain of Optax's. What Optax or a layer of ours does already is not here but in the
documentation, under *Options of the released code*.
"""

import functools
import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, PyTree

from advnets.game import non_saturating_cost
from advnets.layers import MINIBATCH


def _logit_of_half_plus(margin: float) -> float:
    """The logit at which D = 1/2 + margin; comparing logits loses no digits."""
    return math.log1p(2 * margin) - math.log1p(-2 * margin)


def _check_margin(margin: float) -> None:
    if not 0 <= margin < 0.5:
        raise ValueError(f"the margin must be at least 0 and below 1/2; got {margin}")


class ThresholdedCost(eqx.Module):
    r"""A generator's cost that counts only examples that D still rejects.

    $$\frac1n \sum_{i:\ D(G(z_i)) < 1/2 + \epsilon} c(D(G(z_i)))$$

    The sum goes over the examples that count, the mean over the whole minibatch: the fewer are
    left to win, the shorter the step.

    Attributes:
        cost: the cost c to threshold, a mean over examples of a function of their logits.
        margin: ε, in [0, 1/2): how far beyond 1/2 an example has to be before it is left alone.

    Raises:
        ValueError: if the margin is outside [0, 1/2).

    Example:
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> cost = advnets.ThresholdedCost()
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
        each = jax.vmap(self.cost)(fake_logits[:, None])
        return jnp.mean(jnp.where(fake_logits < _logit_of_half_plus(self.margin), each, 0))


class LazyDiscriminatorCost(eqx.Module):
    r"""The halved discriminator's cost without the examples that D already classifies rightly.

    $$\frac1{2n} \left( -\sum_{i:\ D(x_i) < 1/2 + \epsilon} \log D(x_i)
      - \sum_{i:\ D(G(z_i)) > 1/2 - \epsilon} \log(1 - D(G(z_i))) \right)$$

    n is the whole minibatch. It is the cost of the simultaneous order; Algorithm 1 proper does not
    halve, so give D twice the learning rate there.

    Attributes:
        margin: ε, in [0, 1/2): how far on the right side of 1/2 an example has to be before it is
            left alone.

    Raises:
        ValueError: if the margin is outside [0, 1/2).

    Example:
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> cost = advnets.LazyDiscriminatorCost()
        >>> print(float(cost(jnp.array([-1e4, 1.0]), jnp.array([-1.0, 0.0]))))
        2500.0

    References:
        Released code, `LazyAdversaryCost` (`d_obj`, `d_eps`); its generator's cost is
        [`advnets.ThresholdedCost`][].
    """

    margin: float = eqx.field(static=True, default=0.0)

    def __check_init__(self) -> None:
        _check_margin(self.margin)

    def __call__(
        self, real_logits: Float[Array, " batch"], fake_logits: Float[Array, " batch"]
    ) -> Float[Array, ""]:
        threshold = _logit_of_half_plus(self.margin)
        log_d = jax.nn.log_sigmoid(real_logits)
        log_one_minus_d = jax.nn.log_sigmoid(-fake_logits)
        return (
            -(
                jnp.mean(jnp.where(real_logits < threshold, log_d, 0))
                + jnp.mean(jnp.where(fake_logits > -threshold, log_one_minus_d, 0))
            )
            / 2
        )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _floored(target: float, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return x


def _keep_nothing(target: float, x: Float[Array, "*shape"]) -> tuple[Float[Array, "*shape"], None]:
    return x, None


def _lift(
    target: float, _: None, gradient: Float[Array, "*shape"]
) -> tuple[Float[Array, "*shape"]]:
    norm = jnp.sqrt(jax.lax.psum(jnp.sum(gradient**2), MINIBATCH))
    # Without the inner guard a gradient of 0 would become 0 · ∞.
    scale = jnp.maximum(1, target / jnp.where(norm > 0, norm, target))
    return (gradient * scale,)


_floored.defvjp(_keep_nothing, _lift)


class GradientFloor(eqx.Module):
    r"""A generator's last layer: the identity, which lifts short gradients to a given norm.

    $$\frac{\partial g}{\partial \theta} \leftarrow \frac{\partial g}{\partial \theta}
      \max\left(1, \frac{\text{target}}{\lVert \partial g / \partial G(z) \rVert_F}\right)$$

    The norm is over the minibatch of generated examples; a longer gradient is never shortened, and
    one of 0 stays 0. The scale goes into the gradient at the examples, from which the rest of the
    generator's gradient follows linearly. The discriminator's is not affected.

    The gradient can be taken under [`advnets.generate`][] and in training, which name the
    minibatch's axis; elsewhere, map with `jax.vmap(..., axis_name=advnets.layers.MINIBATCH)`.

    Attributes:
        target: the least norm, above 0.

    Raises:
        ValueError: if the target is not above 0 and finite.

    Example:
        >>> import equinox as eqx
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> generator = advnets.mlp_generator(jax.random.key(0), 2, (3,), hidden_sizes=[4])
        >>> lifted = eqx.nn.Sequential([generator, advnets.GradientFloor(0.1)])
        >>> bool((lifted(jnp.ones(2)) == generator(jnp.ones(2))).all())
        True

    References:
        Released code, `AdversaryCost2.get_gradients` (`scale_grads`, `target_scale`).
    """

    target: float = eqx.field(static=True)

    def __check_init__(self) -> None:
        if not 0 < self.target < math.inf:
            raise ValueError(
                f"the gradient's target norm must be above 0 and finite; got {self.target}"
            )

    def __call__(
        self, x: Float[Array, "*shape"], *, key: Key[Array, ""] | None = None
    ) -> Float[Array, "*shape"]:
        return _floored(self.target, x)


def shrink(factor: float) -> optax.GradientTransformation:
    r"""Multiplies the parameters by a constant after each update.

    $$\theta \leftarrow \text{factor} \cdot (\theta + u)$$

    Put it last in a chain: it turns an update u into the one that ends there. Velocities are not
    touched.

    Args:
        factor: what the parameters are multiplied by, in (0, 1].

    Returns:
        An Optax gradient transformation that needs `params`.

    Raises:
        ValueError: if the factor is outside (0, 1]; on update, if `params` are not given.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import advnets
        >>> rule = optax.chain(optax.sgd(1.0), advnets.shrink(0.5))
        >>> params = jnp.array([3.0])
        >>> update, _ = rule.update(jnp.array([1.0]), rule.init(params), params)
        >>> (params + update).tolist()
        [1.0]

    References:
        Released code, `AdversaryPair` (`shrink_d`), for the discriminator.
    """
    if not 0 < factor <= 1:
        raise ValueError(f"the shrinking factor must be above 0 and at most 1; got {factor}")

    def update(updates: PyTree, params: PyTree = None) -> PyTree:
        if params is None:
            raise ValueError("shrink needs the parameters: pass params to update()")
        return jax.tree.map(lambda p, u: factor * (p + u) - p, params, updates)

    return optax.stateless(update)
