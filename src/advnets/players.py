"""Players: Equinox modules written for one example, applied to a batch.

A player's floating-point arrays are trained. Arrays wrapped in [`advnets.players.Frozen`][] are
not, and what a layer keeps in an `eqx.nn.State` (running statistics, power iterations) is threaded
through training beside the parameters; wrap such a module in [`advnets.players.Stateful`][].
"""

import inspect
from collections.abc import Callable
from typing import Any, Generic, TypeAlias

import equinox as eqx
import jax
from jaxtyping import Array, Float, Key, PyTree
from typing_extensions import TypeVar  # with a default, which Python has from 3.13 on

from advnets import _reprs
from advnets._signatures import accepts_key
from advnets.batches import Batch, length, parts
from advnets.conditions import Condition
from advnets.layers import MINIBATCH, Dropout, Labelled
from advnets.priors import Prior, Uniform

# Any Equinox module that maps one example (and may take `key=`).
Player: TypeAlias = Callable[..., Any]
# The types of a generator and a discriminator, for type checkers.
G = TypeVar("G", bound=Player, default=Player, covariant=True)
D = TypeVar("D", bound=Player, default=Player, covariant=True)
# Names that no further player can have: those of the other players, of the other arguments of an
# objective's `costs`, and of the other entries of a row of metrics.
TAKEN = (
    *("generator", "discriminator"),
    *("self", "draws", "D", "real", "fake"),
    *("epoch", "updates", "average", "validation", "monitor"),
)


class Frozen(eqx.Module):
    """Arrays that training does not change; the module around them sees plain arrays.

    Attributes:
        tree: an array, or any part of a module.

    Example:
        >>> import equinox as eqx
        >>> import jax
        >>> from advnets.players import Frozen
        >>> net = eqx.nn.Linear(2, 3, key=jax.random.key(0))
        >>> net = eqx.tree_at(lambda net: net.weight, net, replace_fn=Frozen)
    """

    tree: PyTree

    def __call__(self, *inputs: Any, **keywords: Any) -> Any:
        """The output of a frozen module for one example."""
        return thaw(self.tree)(*inputs, **keywords)


class Stateful(eqx.Module):
    """A player whose layers keep an `eqx.nn.State`, such as batch or spectral normalisation.

    Layers that reduce over the minibatch name its axis `advnets.layers.MINIBATCH`. Within a
    training step, every call of a player starts from the state before the step. A discriminator's
    state is then updated with its data and with its generated examples, in that order, and a
    generator's with the examples that it made in its own step. When noise is off, and in sampling,
    the layers are in inference mode.

    Attributes:
        module: called as `module(*inputs, state)`, with `key=` if it takes one; returns an output
            and a state.
        state: its state, as `eqx.nn.make_with_state` returns it.

    Example:
        >>> import equinox as eqx
        >>> import jax
        >>> from advnets import layers, players
        >>> def build(key):
        ...     norm = eqx.nn.BatchNorm(4, axis_name=layers.MINIBATCH, mode="batch")
        ...     return eqx.nn.Sequential([eqx.nn.Linear(2, 4, key=key), norm])
        >>> player = players.Stateful(*eqx.nn.make_with_state(build)(jax.random.key(0)))
    """

    module: Player
    state: eqx.nn.State

    def __call__(self, *inputs: Any, key: Key[Array, ""] | None = None) -> Any:
        """The module's output for one example in inference mode; the state does not change."""
        module: Player = eqx.nn.inference_mode(thaw(self.module))
        state = jax.tree.map(lambda x: x, self.state)  # a copy: setting a state invalidates it
        keyed = {} if key is None or not accepts_key(module) else {"key": key}
        output, _ = module(*inputs, state, **keyed)
        return output


class Players(eqx.Module, Generic[G, D]):
    """The players: a generator with its prior, a discriminator, and any further players.

    Attributes:
        generator: maps a latent vector, and a condition if there is one, to an example.
        discriminator: maps an example, and its condition if there is one, to a logit.
        prior: the distribution of the latent vectors; `Uniform(100)` unless given.
        condition: the distribution of the conditions, if examples have any; training sets it from
            integer labels.
        others: further players by name, such as an inference net; an objective gets each under its
            name.

    Raises:
        ValueError: for a further player with a name that is taken.

    Example:
        >>> import jax
        >>> import advnets
        >>> g_key, d_key = jax.random.split(jax.random.key(0))
        >>> players = advnets.Players(
        ...     advnets.networks.mlp_generator(g_key, 100, (28, 28)),
        ...     advnets.networks.maxout_discriminator(d_key, (28, 28)),
        ... )
        >>> sorted(players.named)
        ['discriminator', 'generator']

    References:
        Section 3.
    """

    generator: G
    discriminator: D
    prior: Prior = Uniform()
    condition: Condition | None = None
    others: dict[str, Player] = eqx.field(default_factory=dict)

    def __check_init__(self) -> None:
        taken = sorted(self.others.keys() & set(TAKEN))
        if taken:
            raise ValueError(
                f"a further player needs a name other than {', '.join(TAKEN)}; got {taken[0]!r}"
            )

    def __repr__(self) -> str:
        entries = [f"{name}={_reprs.network(player)}" for name, player in self.named.items()]
        entries.append(f"prior={self.prior!r}")
        if self.condition is not None:
            entries.append(f"condition={_reprs.short(self.condition)}")
        return f"Players({', '.join(entries)})"

    @property
    def named(self) -> dict[str, Player]:
        """All players by name."""
        return {"generator": self.generator, "discriminator": self.discriminator, **self.others}

    def replaced(self, named: dict[str, Player]) -> "Players":
        """A copy of these players with every player replaced.

        Args:
            named: all players by name.

        Returns:
            The new players, with the same prior and condition.

        Raises:
            ValueError: if a player is missing.
        """
        missing = sorted(self.named.keys() - named.keys())
        if missing:
            raise ValueError(f"all players must be given by name; {', '.join(missing)} is missing")
        others = {name: named[name] for name in self.others}
        return Players(
            named["generator"], named["discriminator"], self.prior, self.condition, others
        )


def partition(player: PyTree) -> tuple[PyTree, PyTree, PyTree]:
    """Splits a player into what is trained, its state, and the rest.

    Args:
        player: a module, or a tree of modules.

    Returns:
        Three trees of the player's structure, which `eqx.combine` puts together again: trained
        arrays; the arrays of every `eqx.nn.State`; everything else, including frozen arrays.

    Example:
        >>> import equinox as eqx
        >>> import jax
        >>> from advnets import players
        >>> net = eqx.nn.Linear(2, 3, key=jax.random.key(0))
        >>> net = eqx.tree_at(lambda net: net.weight, net, replace_fn=players.Frozen)
        >>> trained, state, rest = players.partition(net)
        >>> [x.shape for x in jax.tree.leaves(trained)]
        [(3,)]
    """

    def special(node: Any) -> bool:
        return isinstance(node, Frozen | eqx.nn.State)

    is_trained = jax.tree.map(
        lambda node: not special(node) and eqx.is_inexact_array(node), player, is_leaf=special
    )
    is_state = jax.tree.map(lambda node: isinstance(node, eqx.nn.State), player, is_leaf=special)
    trained, rest = eqx.partition(player, is_trained)
    state, rest = eqx.partition(rest, is_state)
    return trained, state, rest


def thaw(tree: PyTree) -> Any:
    """A player, or any tree, without the wrappers [`advnets.players.Frozen`][].

    Args:
        tree: a player, or a tree of modules.

    Returns:
        The tree without `Frozen`.

    Example:
        >>> from advnets import players
        >>> players.thaw({"scale": players.Frozen(2.0)})
        {'scale': 2.0}
    """

    def is_frozen(node: Any) -> bool:
        return isinstance(node, Frozen)

    return jax.tree.map(
        lambda node: node.tree if is_frozen(node) else node, tree, is_leaf=is_frozen
    )


def inputs_taken(player: Player) -> tuple[int, float]:
    """How many positional arguments a player needs, and how many it takes.

    Args:
        player: any player.

    Returns:
        The smallest and the largest number, not counting a stateful player's state.

    Example:
        >>> from advnets import players
        >>> players.inputs_taken(lambda z, label, *, key=None: z)
        (2, 2)
    """
    thawed = thaw(player)
    stateful = isinstance(thawed, Stateful)
    called = thawed.module if isinstance(thawed, Stateful) else thawed
    parameters = inspect.signature(called).parameters.values()
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    positional = [p for p in positional if p.name != "key"]
    if isinstance(called, eqx.nn.Sequential) and not stateful:
        positional = positional[:1]  # the second argument is a state, never a condition
    needed = sum(p.default is p.empty for p in positional) - stateful
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return needed, float("inf")
    return needed, len(positional) - stateful


def classes_taken(tree: PyTree) -> int | None:
    """How many classes the [`advnets.layers.Labelled`][] layers of some players have.

    Args:
        tree: a player, or a tree of players.

    Returns:
        The smallest of their numbers; None if there is no such layer.

    Example:
        >>> import equinox as eqx
        >>> from advnets import layers, players
        >>> players.classes_taken(layers.Labelled(eqx.nn.Identity(), 10))
        10
    """
    nodes = jax.tree.leaves(tree, is_leaf=lambda node: isinstance(node, Labelled))
    return min((node.classes for node in nodes if isinstance(node, Labelled)), default=None)


def apply(
    player: Player, keys: Key[Array, " batch"] | None, *inputs: PyTree
) -> tuple[PyTree, Player]:
    """Applies a player, which is written for one example, to a batch; a pure function.

    Args:
        player: any player.
        keys: a key for each example, passed to a player that takes one; None for no noise.
        inputs: batches, one for each positional argument of the player.

    Returns:
        The outputs, and the player afterwards: a new one only if it is stateful.

    Example:
        >>> import equinox as eqx
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from advnets import players
        >>> net = eqx.nn.Linear(2, 3, key=jax.random.key(0))
        >>> outputs, _ = players.apply(net, None, jnp.zeros((5, 2)))
        >>> outputs.shape
        (5, 3)
    """
    thawed: Player = thaw(player)
    if isinstance(thawed, Stateful):
        module: Player = thawed.module

        def one(key: Any, state: eqx.nn.State, inputs: Any) -> Any:
            if key is not None and accepts_key(module):
                return module(*inputs, state, key=key)
            return module(*inputs, state)

        outputs, state = jax.vmap(
            one, in_axes=(0, None, 0), out_axes=(0, None), axis_name=MINIBATCH
        )(keys, thawed.state, inputs)
        return outputs, eqx.tree_at(lambda p: p.state, player, state)
    if keys is not None and accepts_key(thawed):
        each = jax.vmap(lambda key, xs: thawed(*xs, key=key), axis_name=MINIBATCH)
        return each(keys, inputs), player
    return jax.vmap(thawed, axis_name=MINIBATCH)(*inputs), player


def for_sampling(generator: Player) -> Player:
    """A generator whose stateful layers are in inference mode; its noise stays on.

    Args:
        generator: any generator.

    Returns:
        The generator to draw samples from: examples do not depend on each other.

    Example:
        >>> import equinox as eqx
        >>> import jax
        >>> from advnets import players
        >>> net = eqx.nn.Linear(2, 3, key=jax.random.key(0))
        >>> players.for_sampling(net) is net
        True
    """
    if not isinstance(generator, Stateful):
        return generator

    def keeps_state(node: Any) -> bool:
        return isinstance(node, eqx.nn.StatefulLayer) and not isinstance(node, eqx.nn.Sequential)

    return jax.tree.map(
        lambda node: eqx.nn.inference_mode(node) if keeps_state(node) else node,
        generator,
        is_leaf=keeps_state,
    )


def without_dropout(player: Player) -> Player:
    """A player whose [`advnets.layers.Dropout`][] keeps everything, with or without a key.

    It is for sampling where dropout only serves training and is not part of p_g.

    Args:
        player: any player, or a tree of players.

    Returns:
        The player, with the same arrays.

    Example:
        >>> from advnets import layers, players
        >>> players.without_dropout(layers.Dropout(0.5))
        Dropout(keep=1.0)

    References:
        Released code, `Generator.sample`, whose default keeps everything.
    """
    return jax.tree.map(
        lambda node: Dropout(1.0) if isinstance(node, Dropout) else node,
        player,
        is_leaf=lambda node: isinstance(node, Dropout),
    )


def judge(
    key: Key[Array, ""] | None, discriminator: Player, batch: Batch
) -> Float[Array, " batch"]:
    """A discriminator's logits on a batch, with or without its noise; a pure function.

    Args:
        key: a typed random key, which is split into one for each example. None passes no key to
            the discriminator and sets its layers to inference mode, which switches dropout off.
        discriminator: maps an example to a logit, of shape `()` or `(1,)`.
        batch: data or generated examples.

    Returns:
        One logit for each example: the log-odds that it came from the data.

    Raises:
        ValueError: if the discriminator gives more than one number for an example.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from advnets import networks, players
        >>> discriminator = networks.maxout_discriminator(jax.random.key(0), (3,), units=[4])
        >>> players.judge(jax.random.key(1), discriminator, jnp.zeros((5, 3))).shape
        (5,)

    References:
        D(x) (section 3), as `sigmoid` of the logit.
    """
    n, inputs = length(batch), parts(batch)
    if key is None:
        logits, _ = apply(eqx.nn.inference_mode(discriminator), None, *inputs)
    else:
        logits, _ = apply(discriminator, jax.random.split(key, n), *inputs)
    if getattr(logits, "size", None) != n:
        raise ValueError(
            f"a discriminator must give one logit for each example; got an output of shape "
            f"{getattr(logits, 'shape', (None,))[1:]}; end it with a layer of one unit"
        )
    return logits.reshape(n)


class Judge(eqx.Module):
    """A discriminator as an objective receives it: a function of a key and a batch.

    Attributes:
        player: the discriminator itself, for an objective that needs more than its logit.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from advnets import networks, players
        >>> discriminator = networks.maxout_discriminator(jax.random.key(0), (3,), units=[4])
        >>> D = players.Judge(discriminator)
        >>> D(None, jnp.zeros((5, 3))).shape
        (5,)
    """

    player: Player

    def __call__(self, key: Key[Array, ""] | None, batch: Batch) -> Float[Array, " batch"]:
        """The logits of a batch; raises a ValueError as [`advnets.players.judge`][] does."""
        return judge(key, self.player, batch)
