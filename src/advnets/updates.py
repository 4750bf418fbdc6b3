"""The released recipes' update rule, as Optax transformations and schedules.

`v ← μ v − λ g;  θ ← θ + v`, with μ ramped over epochs and λ decayed after every update.
"""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree


class MomentumState(eqx.Module):
    """The state of [`advnets.momentum`][].

    Attributes:
        count: the number of updates made.
        velocity: the last update of every parameter.
    """

    count: Int[Array, ""]
    velocity: PyTree


def momentum(
    learning_rate: optax.ScalarOrSchedule, decay: optax.ScalarOrSchedule
) -> optax.GradientTransformation:
    r"""Momentum in velocity form: the learning rate of the moment goes into the velocity.

    $$v \leftarrow \mu_t v - \lambda_t g, \qquad \theta \leftarrow \theta + v$$

    `optax.sgd` accumulates gradients and scales the sum by today's learning rate instead, which
    differs when the rate changes.

    Args:
        learning_rate: λ, a number or a schedule of the update count.
        decay: μ, a number or a schedule of the update count.

    Returns:
        An Optax gradient transformation.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import advnets
        >>> rule = advnets.momentum(learning_rate=0.1, decay=0.5)
        >>> state = rule.init(jnp.zeros(1))
        >>> for _ in range(2):
        ...     update, state = rule.update(jnp.ones(1), state)
        >>> [round(v, 3) for v in update.tolist()]
        [-0.15]

    References:
        Pylearn2's `learning_rule.Momentum`, which every released recipe uses.
    """

    def init(params: PyTree) -> MomentumState:
        return MomentumState(jnp.zeros((), int), jax.tree.map(jnp.zeros_like, params))

    def update(
        gradients: PyTree, state: MomentumState, params: PyTree = None
    ) -> tuple[PyTree, MomentumState]:
        rate = learning_rate(state.count) if callable(learning_rate) else learning_rate
        keep = decay(state.count) if callable(decay) else decay
        velocity = jax.tree.map(
            lambda v, g: jnp.asarray(keep, v.dtype) * v - jnp.asarray(rate, v.dtype) * g,
            state.velocity,
            gradients,
        )
        return velocity, MomentumState(state.count + 1, velocity)

    return optax.GradientTransformation(init, update)


def decayed_learning_rate(
    initial: float | Float[Array, ""],
    *,
    divisor: float = 1.000004,
    floor: float = 1e-6,
    stride: int = 1,
) -> optax.Schedule:
    r"""A learning rate divided by a constant after every update, not below a floor.

    $$\lambda_t = \max(\lambda_0 / c^t, \lambda_{\min})$$

    Args:
        initial: λ₀, above 0; inside a compiled program an array, which is not checked.
        divisor: c, at least 1.
        floor: the least rate, at least 0.
        stride: how many discriminator updates pass for each update of this player, k for a
            generator: the rate decays per discriminator update.

    Returns:
        A schedule of the player's update count.

    Raises:
        ValueError: if the rate is not above 0 and finite, the divisor or the stride below 1, or the
            floor negative.

    Example:
        >>> import advnets
        >>> schedule = advnets.decayed_learning_rate(0.1)
        >>> round(float(schedule(125_000)), 5)
        0.06065

    References:
        `ExponentialDecay` in the released recipes.
    """
    if not isinstance(initial, jax.core.Tracer) and not 0 < initial < math.inf:
        raise ValueError(f"the learning rate must be above 0 and finite; got {initial}")
    if not divisor >= 1:
        raise ValueError(f"the learning rate's divisor must be at least 1; got {divisor}")
    if not floor >= 0:
        raise ValueError(f"the learning rate's floor must be at least 0; got {floor}")
    if stride < 1:
        raise ValueError(f"the stride must be at least 1; got {stride}")
    # Not c ** t: float32 holds 1.000004 to 1 part in 75 of its distance from 1.
    log_divisor = math.log(divisor)

    def schedule(count: Int[Array, ""] | int) -> Float[Array, ""]:
        elapsed = jnp.asarray(count, float) * stride
        return jnp.maximum(initial * jnp.exp(-log_divisor * elapsed), floor)

    return schedule


def momentum_ramp(
    updates_per_epoch: int,
    *,
    initial: float = 0.5,
    final: float = 0.7,
    start: int = 1,
    saturate: int = 250,
) -> optax.Schedule:
    """Momentum that is constant within an epoch and rises linearly over epochs.

    Epochs count from 1: `initial` up to epoch `start`, `final` from epoch `saturate` on.

    Args:
        updates_per_epoch: this player's updates in an epoch, above 0.
        initial: the momentum of the first epochs, in [0, 1).
        final: the momentum of the last ones, in [0, 1).
        start: the last epoch at `initial`.
        saturate: the first epoch at `final`, above `start`.

    Returns:
        A schedule of the player's update count.

    Raises:
        ValueError: if a momentum leaves [0, 1), an epoch has no update, or `saturate` does not
            follow `start`.

    Example:
        >>> import advnets
        >>> ramp = advnets.momentum_ramp(500)
        >>> [round(float(ramp(500 * (epoch - 1))), 3) for epoch in (1, 125, 250, 300)]
        [0.5, 0.6, 0.7, 0.7]

    References:
        `MomentumAdjustor` in the released recipes.
    """
    for value in (initial, final):
        if not 0 <= value < 1:
            raise ValueError(f"momentum must be at least 0 and below 1; got {value}")
    if updates_per_epoch < 1:
        raise ValueError(f"an epoch must have at least 1 update; got {updates_per_epoch}")
    if saturate <= start:
        raise ValueError(
            f"the momentum's ramp must end after it starts; got start={start} and "
            f"saturate={saturate}"
        )

    def schedule(count: Int[Array, ""] | int) -> Float[Array, ""]:
        epoch = 1 + jnp.asarray(count, int) // updates_per_epoch
        progress = (epoch - start).astype(float) / (saturate - start)
        return initial + (final - initial) * jnp.clip(progress, 0, 1)

    return schedule


def column_norm_limit(limit: float) -> optax.GradientTransformation:
    r"""Shortens each unit's incoming weights to at most a given length, after the update.

    $$w \leftarrow w \cdot \min(1, \text{limit} / \lVert w \rVert)$$

    Put it last in a chain: it turns updates into the ones that end within the limit. It acts on
    arrays called `weight`, whose last axis runs over a unit's inputs (`eqx.nn.Linear`,
    [`advnets.Maxout`][]); everything else passes through, and velocities are not touched. For
    convolutions there is [`advnets.kernel_norm_limit`][].

    Args:
        limit: the greatest Euclidean norm, above 0.

    Returns:
        An Optax gradient transformation that needs `params`.

    Raises:
        ValueError: if the limit is not above 0; on update, if `params` are not given.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import advnets
        >>> rule = advnets.column_norm_limit(1.0)
        >>> params = {"weight": jnp.array([[3.0, 4.0], [0.3, 0.4]])}
        >>> update, _ = rule.update({"weight": jnp.zeros((2, 2))}, rule.init(params), params)
        >>> limited = params["weight"] + update["weight"]
        >>> [[round(w, 3) for w in row] for row in limited.tolist()]
        [[0.6, 0.8], [0.3, 0.4]]

    References:
        `max_col_norm` in the released TFD recipe.
    """
    return _norm_limit("column", limit, field="weight", axes=lambda ndim: (ndim - 1,))


def kernel_norm_limit(limit: float) -> optax.GradientTransformation:
    r"""Shortens each kernel of a convolution to at most a given length, after the update.

    $$w \leftarrow w \cdot \min(1, \text{limit} / \lVert w \rVert)$$

    Like [`advnets.column_norm_limit`][], which it goes well with in a chain, but it acts on arrays
    called `kernel`, and the norm is over all axes but the last: in [`advnets.MaxoutConv2d`][] the
    incoming weights of a piece, in [`advnets.Deconvolution`][] the patch that an input channel
    paints, which is what the released code limits there.

    Args:
        limit: the greatest Euclidean norm, above 0.

    Returns:
        An Optax gradient transformation that needs `params`.

    Raises:
        ValueError: if the limit is not above 0; on update, if `params` are not given.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import advnets
        >>> rule = advnets.kernel_norm_limit(1.0)
        >>> params = {"kernel": jnp.full((5, 5, 1, 2), 0.5)}
        >>> update, _ = rule.update({"kernel": jnp.zeros((5, 5, 1, 2))}, rule.init(params), params)
        >>> limited = params["kernel"] + update["kernel"]
        >>> [round(norm, 3) for norm in jnp.sqrt((limited**2).sum((0, 1, 2))).tolist()]
        [1.0, 1.0]

    References:
        `max_kernel_norm` of Pylearn2's `MaxoutConvC01B` and of `deconv.py` in the released code;
        no recipe turns it on.
    """
    return _norm_limit("kernel", limit, field="kernel", axes=lambda ndim: tuple(range(ndim - 1)))


def _norm_limit(
    name: str, limit: float, *, field: str, axes: Callable[[int], tuple[int, ...]]
) -> optax.GradientTransformation:
    """Limits the norms, over some axes, of the arrays in fields of one name."""
    if not limit > 0:
        raise ValueError(f"the {name} norm's limit must be above 0; got {limit}")

    def limited(
        path: tuple[Any, ...], update: Float[Array, "*shape"], param: Float[Array, "*shape"]
    ) -> Float[Array, "*shape"]:
        if jax.tree_util.keystr(path[-1:], simple=True) != field or param.ndim < 2:
            return update
        moved = param + update
        norm = jnp.sqrt(jnp.sum(moved * moved, axis=axes(param.ndim), keepdims=True))
        # The update, not the weight, is what changes: within the limit it passes bit for bit.
        return jnp.where(norm > limit, moved * (limit / norm) - param, update)

    def update(updates: PyTree, params: PyTree = None) -> PyTree:
        if params is None:
            raise ValueError(f"{name}_norm_limit needs the parameters: pass params to update()")
        return jax.tree_util.tree_map_with_path(limited, updates, params)

    return optax.stateless(update)


def released_updates(
    learning_rate: float | Float[Array, ""],
    updates_per_epoch: int,
    *,
    divisor: float = 1.000004,
    floor: float = 1e-6,
    initial_momentum: float = 0.5,
    final_momentum: float = 0.7,
    saturate: int = 250,
    stride: int = 1,
    norm_limit: float | None = None,
) -> optax.GradientTransformation:
    """The update rule that every released recipe shares.

    [`advnets.momentum`][] with [`advnets.momentum_ramp`][] and
    [`advnets.decayed_learning_rate`][], then [`advnets.column_norm_limit`][] and
    [`advnets.kernel_norm_limit`][] where a recipe has a limit.

    Args:
        learning_rate: the initial learning rate, above 0; inside a compiled program an array.
        updates_per_epoch: this player's updates in an epoch.
        divisor: what the learning rate is divided by after every discriminator update.
        floor: the least learning rate.
        initial_momentum: the momentum in epoch 1.
        final_momentum: the momentum from epoch `saturate` on.
        saturate: the epoch at which the ramp ends.
        stride: discriminator updates for each update of this player (k for a generator).
        norm_limit: the greatest norm of a unit's incoming weights or of a kernel, if there is a
            limit.

    Returns:
        An Optax gradient transformation.

    Raises:
        ValueError: for settings out of range, as the functions above say.

    Example:
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> rule = advnets.released_updates(0.1, updates_per_epoch=500)
        >>> update, _ = rule.update(jnp.ones(1), rule.init(jnp.zeros(1)))
        >>> [round(v, 3) for v in update.tolist()]
        [-0.1]

    References:
        Released code, `algorithm` and `extensions` of each recipe.
    """
    rule = momentum(
        decayed_learning_rate(learning_rate, divisor=divisor, floor=floor, stride=stride),
        momentum_ramp(
            updates_per_epoch, initial=initial_momentum, final=final_momentum, saturate=saturate
        ),
    )
    if norm_limit is None:
        return rule
    return optax.chain(rule, column_norm_limit(norm_limit), kernel_norm_limit(norm_limit))
