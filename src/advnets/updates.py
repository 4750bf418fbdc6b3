"""Update rules: the released recipes', as Optax transformations and schedules.

`v ← μ v − λ g;  θ ← θ + v`, with μ ramped over epochs and λ decayed after every update.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from advnets.layers import Maxout


class MomentumState(eqx.Module):
    """The state of [`advnets.updates.momentum`][].

    Attributes:
        count: the number of updates made.
        velocity: the last update of every parameter.
    """

    count: Int[Array, ""]
    velocity: PyTree


def momentum(
    learning_rate: optax.ScalarOrSchedule, decay: optax.ScalarOrSchedule
) -> optax.GradientTransformation:
    r"""Momentum in velocity form: the current learning rate goes into the velocity.

    $$v \leftarrow \mu_t v - \lambda_t g, \qquad \theta \leftarrow \theta + v$$

    `optax.sgd` instead accumulates gradients and scales the sum by the current learning rate, which
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
        >>> rule = advnets.updates.momentum(learning_rate=0.1, decay=0.5)
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
        initial: λ₀, above 0; an array inside a compiled program is not checked.
        divisor: c, at least 1.
        floor: the smallest rate, at least 0.
        stride: the number of discriminator updates for each update of this player (k for a
            generator), as the rate decays per discriminator update.

    Returns:
        A schedule of the player's update count.

    Raises:
        ValueError: if the rate is not above 0 and finite, the divisor or the stride below 1, or the
            floor negative.

    Example:
        >>> import advnets
        >>> schedule = advnets.updates.decayed_learning_rate(0.1)
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
    # Not c ** t: in float32, the distance of 1.000004 from 1 is off by 1 part in 75.
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
        final: the momentum of the last epochs, in [0, 1).
        start: the last epoch at `initial`.
        saturate: the first epoch at `final`, above `start`.

    Returns:
        A schedule of the player's update count.

    Raises:
        ValueError: if a momentum is outside [0, 1), an epoch has no update, or `saturate` does not
            follow `start`.

    Example:
        >>> import advnets
        >>> ramp = advnets.updates.momentum_ramp(500)
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
    r"""Limits the norm of each unit's incoming weights, after the update.

    $$w \leftarrow w \cdot \min(1, \text{limit} / \lVert w \rVert)$$

    Put it last in a chain: it changes updates so that the weights end within the limit. It acts on
    the weights of `eqx.nn.Linear`, [`advnets.layers.Maxout`][] and Equinox's convolutions, and on
    matrices called `weight` in other modules, where a row is a unit's incoming weights. Everything
    else passes through, and velocities are not changed. For the convolutions of this library, use
    [`advnets.updates.kernel_norm_limit`][].

    Args:
        limit: the largest Euclidean norm, above 0.

    Returns:
        An Optax gradient transformation that needs `params`.

    Raises:
        ValueError: if the limit is not above 0; on update, if `params` are not given, or a module
            of another kind has a `weight` of more than 2 axes, as it is not known which of them run
            over a unit's inputs.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> from advnets import updates
        >>> rule = updates.column_norm_limit(1.0)
        >>> params = {"weight": jnp.array([[3.0, 4.0], [0.3, 0.4]])}
        >>> update, _ = rule.update({"weight": jnp.zeros((2, 2))}, rule.init(params), params)
        >>> limited = params["weight"] + update["weight"]
        >>> [[round(w, 3) for w in row] for row in limited.tolist()]
        [[0.6, 0.8], [0.3, 0.4]]

    References:
        `max_col_norm` in the released TFD recipe.
    """
    return _norm_limit("column", limit, _incoming_axes)


def kernel_norm_limit(limit: float) -> optax.GradientTransformation:
    r"""Limits the norm of each kernel of a convolution, after the update.

    $$w \leftarrow w \cdot \min(1, \text{limit} / \lVert w \rVert)$$

    Like [`advnets.updates.column_norm_limit`][], with which it can be chained, but it acts on
    arrays called `kernel`, and the norm is over all axes but the last. In
    [`advnets.convolutions.MaxoutConv2d`][] that is the norm of a piece's incoming weights; in
    [`advnets.convolutions.Deconvolution`][], as in the released code, that of the patch that an
    input channel paints.

    Args:
        limit: the largest Euclidean norm, above 0.

    Returns:
        An Optax gradient transformation that needs `params`.

    Raises:
        ValueError: if the limit is not above 0; on update, if `params` are not given.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> from advnets import updates
        >>> rule = updates.kernel_norm_limit(1.0)
        >>> params = {"kernel": jnp.full((5, 5, 1, 2), 0.5)}
        >>> update, _ = rule.update({"kernel": jnp.zeros((5, 5, 1, 2))}, rule.init(params), params)
        >>> limited = params["kernel"] + update["kernel"]
        >>> [round(norm, 3) for norm in jnp.sqrt((limited**2).sum((0, 1, 2))).tolist()]
        [1.0, 1.0]

    References:
        `max_kernel_norm` of Pylearn2's `MaxoutConvC01B` and of `deconv.py` in the released code;
        no recipe turns it on.
    """
    return _norm_limit("kernel", limit, _kernel_axes)


def _incoming_axes(owner: Any, name: str, ndim: int) -> tuple[int, ...] | None:
    """The axes of a weight that run over a unit's inputs; None if it is not such a weight."""
    if name != "weight" or ndim < 2:
        return None
    if isinstance(owner, eqx.nn.Conv | eqx.nn.ConvTranspose):  # (outputs, inputs, *kernel)
        return tuple(range(1, ndim))
    if isinstance(owner, eqx.nn.Linear | Maxout) or ndim == 2:
        return (ndim - 1,)
    raise ValueError(
        f"column_norm_limit does not know which of the {ndim} axes of a {type(owner).__name__}'s "
        "weight run over a unit's inputs; use optax.masked to limit only layers it knows"
    )


def _kernel_axes(owner: Any, name: str, ndim: int) -> tuple[int, ...] | None:
    return tuple(range(ndim - 1)) if name == "kernel" and ndim > 1 else None


def _norm_limit(
    kind: str, limit: float, axes_of: Callable[[Any, str, int], tuple[int, ...] | None]
) -> optax.GradientTransformation:
    """Limits norms over axes that depend on the module that owns an array, and its name there."""
    if not limit > 0:
        raise ValueError(f"the {kind} norm's limit must be above 0; got {limit}")

    def limited(
        owner: Any, name: str, update: Float[Array, "*shape"], param: Float[Array, "*shape"]
    ) -> Float[Array, "*shape"]:
        axes = axes_of(owner, name, param.ndim)
        if axes is None:
            return update
        moved = param + update
        norm = jnp.sqrt(jnp.sum(moved * moved, axis=axes, keepdims=True))
        # This changes the update, not the weight: within the limit it passes bit for bit.
        return jnp.where(norm > limit, moved * (limit / norm) - param, update)

    def update(updates: PyTree, params: PyTree = None) -> PyTree:
        if params is None:
            raise ValueError(f"{kind}_norm_limit needs the parameters: pass params to update()")
        owners = _owners(params)
        leaves, structure = jax.tree.flatten(updates)
        found = [
            limited(*owner, update, param)
            for owner, update, param in zip(owners, leaves, jax.tree.leaves(params), strict=True)
        ]
        return jax.tree.unflatten(structure, found)

    return optax.stateless(update)


def _owners(params: PyTree) -> list[tuple[Any, str]]:
    """For each array: the innermost module or container that has it, and its name there."""
    found = []
    for path, _ in jax.tree_util.tree_leaves_with_path(params):
        owner = params
        for key in path[:-1]:
            name = jax.tree_util.keystr((key,), simple=True)
            is_field = isinstance(key, jax.tree_util.GetAttrKey)
            owner = getattr(owner, name) if is_field else owner[_index(key)]
        found.append((owner, jax.tree_util.keystr(path[-1:], simple=True)))
    return found


def _index(key: Any) -> Any:
    return key.idx if isinstance(key, jax.tree_util.SequenceKey) else key.key


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

    [`advnets.updates.momentum`][] with [`advnets.updates.momentum_ramp`][] and
    [`advnets.updates.decayed_learning_rate`][], then [`advnets.updates.column_norm_limit`][] and
    [`advnets.updates.kernel_norm_limit`][] where a recipe has a limit.

    Args:
        learning_rate: the initial learning rate, above 0; an array inside a compiled program.
        updates_per_epoch: this player's updates in an epoch.
        divisor: what the learning rate is divided by after every discriminator update.
        floor: the smallest learning rate.
        initial_momentum: the momentum in epoch 1.
        final_momentum: the momentum from epoch `saturate` on.
        saturate: the epoch at which the ramp ends.
        stride: discriminator updates for each update of this player (k for a generator).
        norm_limit: the largest norm of a unit's incoming weights or of a kernel, if there is a
            limit.

    Returns:
        An Optax gradient transformation.

    Raises:
        ValueError: for settings out of range, as the functions above say.

    Example:
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> rule = advnets.updates.released_updates(0.1, updates_per_epoch=500)
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


@dataclasses.dataclass(frozen=True)
class Released:
    """The released recipes' update rule, before the length of an epoch is known.

    [`advnets.train`][] knows how many updates an epoch has, and passes that number, with these
    settings, to [`advnets.updates.released_updates`][].

    Attributes:
        learning_rate: the initial learning rate, above 0; an array inside a compiled program.
        divisor: what the learning rate is divided by after every discriminator update.
        floor: the smallest learning rate.
        initial_momentum: the momentum in epoch 1.
        final_momentum: the momentum from epoch `saturate` on.
        saturate: the epoch at which the ramp ends.
        norm_limit: the largest norm of a unit's incoming weights or of a kernel, if there is a
            limit.

    Raises:
        ValueError: for a setting out of range.

    Example:
        >>> import advnets
        >>> slow = advnets.updates.Released(0.01)
        >>> algorithm = advnets.Algorithm1(generator_updates=slow, discriminator_updates=slow)

    References:
        Released code, `algorithm` and `extensions` of each recipe.
    """

    learning_rate: float | Float[Array, ""] = 0.1
    divisor: float = 1.000004
    floor: float = 1e-6
    initial_momentum: float = 0.5
    final_momentum: float = 0.7
    saturate: int = 250
    norm_limit: float | None = None

    def __post_init__(self) -> None:
        self.transformation(1)

    def transformation(
        self, updates_per_epoch: int, *, stride: int = 1
    ) -> optax.GradientTransformation:
        """The rule for epochs of a known length.

        Args:
            updates_per_epoch: this player's updates in an epoch.
            stride: discriminator updates for each update of this player (k for a generator).

        Returns:
            An Optax gradient transformation.

        Raises:
            ValueError: if an epoch has no update, or the stride is below 1.
        """
        return released_updates(**vars(self), updates_per_epoch=updates_per_epoch, stride=stride)


def shrink(factor: float) -> optax.GradientTransformation:
    r"""Multiplies the parameters by a constant after each update.

    $$\theta \leftarrow \text{factor} \cdot (\theta + u)$$

    Put it last in a chain: it changes an update u so that the parameters end there. Velocities are
    not changed.

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
        >>> rule = optax.chain(optax.sgd(1.0), advnets.updates.shrink(0.5))
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
