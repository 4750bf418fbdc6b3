"""Checks, before any work and without computing anything, that training's inputs fit together."""

import contextlib
import traceback
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, TypeCheckError

from advnets import _warnings
from advnets._counts import counted
from advnets.algorithms import Algorithm, generated
from advnets.batches import Batch, parts
from advnets.conditions import check_labels
from advnets.draws import Draws, discriminator_draws
from advnets.inpainting import Filled
from advnets.layers import MINIBATCH
from advnets.players import (
    Player,
    Players,
    Stateful,
    apply,
    classes_taken,
    inputs_taken,
    judge,
    thaw,
)
from advnets.training.callbacks import Callback, Measuring
from advnets.training.sources import Source, scale_pixels

# A float above this in an example without negative numbers is taken for a pixel in 0..255.
LARGE_PIXELS = 20.0


def check_data(source: Source) -> None:
    """Checks the dtypes of the data, and their values if they are in memory.

    Args:
        source: the data.

    Raises:
        ValueError: for an array of an unsupported dtype (examples must be uint8 or floats;
            conditions can also be integers), or one with a value that is not finite.
    """
    first, *rest = parts(source.gather(np.arange(1)))
    for leaf in jax.tree.leaves(first):
        if not isinstance(first, dict) and not (
            leaf.dtype == np.uint8 or np.issubdtype(leaf.dtype, np.floating)
        ):
            raise ValueError(
                f"images must be uint8 in 0..255 or floats; got {leaf.dtype} (convert them)"
            )
    for leaf in jax.tree.leaves((first, rest)):
        if leaf.dtype.kind not in "biuf" and not jnp.issubdtype(leaf.dtype, np.floating):
            raise ValueError(f"data must be numbers; got {leaf.dtype}")
    source.check_finite()
    _warn_of_scale(first)


def _warn_of_scale(example: Batch) -> None:
    """Warns if an array of floats looks like pixels from 0 to 255."""
    for leaf in jax.tree.leaves(example):
        floats = jnp.issubdtype(leaf.dtype, jnp.floating) and leaf.size > 0
        if floats and leaf.min() >= 0 and LARGE_PIXELS < leaf.max() <= 255:
            _warnings.warn(
                f"the first example ranges from {leaf.min():g} to {leaf.max():g}, like unscaled "
                "pixels; divide them by 255, or give them as uint8, for a generator whose pixels "
                "are in [0, 1]"
            )


def check_players(
    key: Key[Array, ""], algorithm: Algorithm, players: Players, source: Source
) -> None:
    """Checks that players, prior, condition and data fit together.

    Args:
        key: any key.
        algorithm: how the players are to be trained.
        players: the players.
        source: the data.

    Raises:
        ValueError: if they do not; the message says what does not fit, and what to do.
    """
    for name, player in players.named.items():
        _check_wrapped(name, player)
    raw = jax.tree.map(jnp.asarray, source.gather(np.zeros(2, int)))
    real = preprocessed(source, raw)
    conditions = len(parts(real)) - 1
    _check_labels(players, source, conditions)
    draws = discriminator_draws(key)
    if algorithm.fake is generated:
        _check_inputs("generator", players.generator, "a latent vector", 1 + conditions)
        _check_generated(draws, players, real)
        if source.preprocess is scale_pixels and _dtype(raw) == np.uint8:
            _warn_of_tanh(draws, players, real)
    if isinstance(algorithm.fake, Filled):
        _check_masked("generator", players.generator, "a latent vector, observed components", 3)
    fake = evaluated_shapes(
        lambda: algorithm.fake(draws, _on_batches(players.generator), players.prior, real),
        "no generated examples can be made",
    )
    state = jax.eval_shape(lambda: algorithm.init(players))
    k = algorithm.minibatches
    batch = real if k == 1 else jax.tree.map(lambda x: jnp.stack([x] * k), real)
    try:
        evaluated_shapes(
            lambda state: algorithm.step(key, players, state, batch),
            "an update can't be computed",
            state,
        )
    except Exception:
        # The objective decides what D is called on. If D fails on plain data or generated examples,
        # that is the likely cause, and makes a clearer message.
        if algorithm.fake is generated:
            _check_discriminator(draws, players, real, fake)
        if isinstance(algorithm.fake, Filled):
            _check_masked("discriminator", players.discriminator, "an example", 2)
            if algorithm.objective.judged(real, fake)[0] is real:
                raise ValueError(
                    f"the objective {type(algorithm.objective).__name__} lets D judge examples "
                    "without masks, but fake=Filled() makes pairs of both; wrap it in "
                    "advnets.inpainting.Inpainting"
                ) from None
        raise


def check_callbacks(
    callbacks: Sequence[Callback],
    initial: Any,
    source: Source,
    trained: Iterable[str],
    runs: int = 1,
) -> None:
    """Checks that callbacks can measure what is trained, each under distinct names.

    Args:
        callbacks: the callbacks; only those that measure are checked.
        initial: what is trained.
        source: the data.
        trained: the names of what is trained, such as those of players.
        runs: the number of runs.

    Raises:
        ValueError: if a name is taken, or for what a callback refuses.
    """
    taken = dict.fromkeys(("epoch", "updates"), "every row has a number of that name; rename it")
    taken |= dict.fromkeys(trained, "what is trained has that name; rename one of them")
    for callback in callbacks:
        if not isinstance(callback, Measuring):
            continue
        who = type(callback).__name__
        names = callback.names
        for name in (names,) if isinstance(names, str) else names:
            if name in taken:
                raise ValueError(f"{who} measures {name!r}, but {taken[name]}")
            taken[name] = f"another callback, {who}, measures it too; leave out one of them"
        callback.check(initial, source, runs)


def _check_wrapped(name: str, player: Player) -> None:
    def is_index(node: Any) -> bool:
        return isinstance(node, eqx.nn.StateIndex)

    keeps_state = any(map(is_index, jax.tree.leaves(player, is_leaf=is_index)))
    if keeps_state and not isinstance(player, Stateful):
        raise ValueError(
            f"the {name} has layers that keep a state; wrap it and its state, as returned by "
            "eqx.nn.make_with_state, in advnets.players.Stateful"
        )


def _on_batches(player: Player) -> Any:
    def on_batch(key: Key[Array, ""], *inputs: Batch) -> Batch:
        n = jax.tree.leaves(inputs)[0].shape[0]
        return apply(player, jax.random.split(key, n), *inputs)[0]

    return on_batch


def _check_generated(draws: Draws, players: Players, real: Batch) -> None:
    prior = players.prior
    example, *condition = parts(real)
    latents = jnp.zeros((2, prior.size))
    with _noting_batches(players.generator, latents, *condition):
        fake = evaluated_shapes(
            lambda: _on_batches(players.generator)(
                draws.generator, prior(draws.latents, 2), *condition
            ),
            f"the generator fails on a latent vector of size {prior.size}, the prior's size",
        )
    if _shapes(fake) != _shapes(example):
        larger = ""
        if len(_shapes(fake)) == len(_shapes(example)) == 3 and isinstance(example, jax.Array):
            larger = " (a Deconvolution turns n pixels into (n - 1) * stride + kernel_size)"
        raise ValueError(
            f"the generator's examples have shape {_shapes(fake)} and the data's "
            f"{_shapes(example)}; build it with the data's shape{larger}"
        )


@contextlib.contextmanager
def _noting_batches(player: Player, *inputs: Any) -> Iterator[None]:
    """Adds to an error about a player that it works on whole minibatches, if it does."""
    try:
        yield
    except ValueError as error:
        try:
            found = eqx.filter_eval_shape(thaw(player), *inputs)
            taken = all(leaf.shape[:1] == (2,) for leaf in jax.tree.leaves(found))
        except Exception:  # fails on a minibatch too
            taken = False
        if not taken:
            raise
        raise ValueError(
            f"{error}; it is written for minibatches, but a player is called on one example, not a "
            "batch, and train maps it over the batch"
        ) from None


# Operations that change no value.
OF_SHAPE = {"reshape", "squeeze", "transpose", "broadcast_in_dim", "convert_element_type"}


def _warn_of_tanh(draws: Draws, players: Players, real: Batch) -> None:
    """Warns if the generator ends in a tanh but the data are pixels in [0, 1]."""
    _, *condition = parts(real)
    traced = jax.make_jaxpr(
        lambda latents: _on_batches(players.generator)(draws.generator, latents, *condition)
    )(players.prior(draws.latents, 2))
    if _last_operation(traced.jaxpr, 0) == "tanh":
        _warnings.warn(
            "the generator ends in a tanh, so its examples lie in [-1, 1], but uint8 pixels are "
            "scaled to [0, 1]; end it in a sigmoid, or scale the pixels to [-1, 1] with "
            "advnets.training.Resident(images, preprocess)"
        )


def _last_operation(jaxpr: Any, output: int) -> str:
    """The name of the last operation that computes an output's values; "" if there is none."""
    wanted = jaxpr.outvars[output]
    for equation in reversed(jaxpr.eqns):
        if not any(outvar is wanted for outvar in equation.outvars):
            continue
        if equation.primitive.name in OF_SHAPE:
            wanted = equation.invars[0]
            continue
        inner = equation.params.get("jaxpr") or equation.params.get("call_jaxpr")
        if inner is None:
            return equation.primitive.name
        number = next(n for n, outvar in enumerate(equation.outvars) if outvar is wanted)
        return _last_operation(getattr(inner, "jaxpr", inner), number)
    return ""


def _check_discriminator(draws: Draws, players: Players, real: Batch, fake: Batch) -> None:
    discriminator = players.discriminator
    _check_inputs("discriminator", discriminator, "an example", len(parts(real)))
    for batch in (real, fake):
        inputs = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), parts(batch))
        with _noting_batches(discriminator, *inputs):
            evaluated_shapes(
                lambda batch=batch: judge(draws.real, discriminator, batch),
                f"the discriminator gives no logit for an example of shape {_shapes(batch)}",
            )
    evaluated_shapes(
        lambda: judge(None, discriminator, fake),
        f"the discriminator gives no logit, without its noise, for an example of shape "
        f"{_shapes(fake)}",
    )


def preprocessed(source: Source, raw: Batch) -> Batch:
    """Zeros of the shapes and dtypes of two examples as the discriminator sees them."""
    try:
        found = eqx.filter_eval_shape(source.preprocess, raw)
    except Exception as error:  # whatever it raises
        raise ValueError(
            f"preprocess fails on images of shape {_shapes(raw)} ({_first_line(error)})"
        ) from None
    example, *_ = parts(found)
    for leaf in jax.tree.leaves(found):
        if leaf.shape[:1] != (2,):
            raise ValueError(
                f"preprocess must return as many examples as it gets; from 2 it made {leaf.dtype} "
                f"of shape {leaf.shape}"
            )
    dtype = getattr(example, "dtype", None)  # a dictionary has none
    if dtype is not None and not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"preprocess must return floats; from {_dtype(raw)} it made {dtype}")
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), found)


def _check_inputs(name: str, player: Player, first: str, given: int) -> None:
    needed, taken = inputs_taken(player)
    if needed <= given <= taken:
        return
    if given > taken:
        takes = f" and {_conditions(taken - 1)}" if taken > 1 else ""
        raise ValueError(
            f"the {name} takes only {first}{takes}, but the data have {_conditions(given - 1)} "
            "beside the example; give it another argument for the condition, or train on the "
            f"examples {'with fewer conditions' if takes else 'alone'}"
        )
    remedy = "train on a tuple of examples and conditions"
    if name == "generator" and needed == 3:
        remedy += ", or with fake=advnets.inpainting.Filled() for inpainting"
    raise ValueError(
        f"the {name} needs {needed} inputs, {first} and {_conditions(needed - 1)}, but the data "
        f"have {_conditions(given - 1)}; {remedy}"
    )


def _conditions(number: float) -> str:
    return {0: "no condition", 1: "a condition"}.get(int(number), counted(int(number), "condition"))


def _check_masked(name: str, player: Player, inputs: str, count: int) -> None:
    """Checks that a player in a game of fillings takes a mask as its last input."""
    needed, taken = inputs_taken(player)
    if not needed <= count <= taken:
        takes = needed if needed > count else int(taken)
        raise ValueError(
            f"where fake=Filled() fills in, the {name} takes {inputs} and a mask; this one takes "
            f"{counted(takes, 'input')}"
        )


def _check_labels(players: Players, source: Source, conditions: int) -> None:
    """Checks that labels are within the classes of every `Labelled` player."""
    classes = classes_taken(players)
    if classes is not None and conditions == 1:
        check_labels(np.asarray(source.labels()), classes)


def evaluated_shapes(function: Any, failure: str, *inputs: Any) -> Any:
    """The shapes that a function returns; a ValueError that begins with `failure` if it fails."""
    try:
        return eqx.filter_eval_shape(function, *inputs)
    except TypeError as error:
        if "required keyword-only argument: 'value'" in str(error):
            raise ValueError(
                f"{failure}: an update rule needs the cost (value=), which it is not given "
                f"({_first_line(error)}); use one that needs only gradients, such as a schedule"
            ) from None
        raise ValueError(f"{failure} ({_first_line(error)})") from None
    except NameError as error:
        if "unbound axis" in str(error):
            raise ValueError(
                f"{failure}: a layer uses a named axis that does not exist "
                f"({_first_line(error)}); name its axis advnets.layers.MINIBATCH, {MINIBATCH!r}"
            ) from None
        raise
    except Exception as error:  # whatever a player or an objective raises
        raise ValueError(f"{failure} ({_first_line(error)})") from None


def _shapes(batch: Batch) -> Any:
    """The shape of an example, or of each part of one."""
    found = [tuple(leaf.shape[1:]) for leaf in jax.tree.leaves(batch)]
    return found[0] if len(found) == 1 else tuple(found)


def _dtype(batch: Batch) -> Any:
    return jax.tree.leaves(batch)[0].dtype


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    # A type error's first four lines say where, which argument, its value and the expected type.
    message = " ".join(lines[:4]) if isinstance(error, TypeCheckError) else lines[0]
    place = _place(error)
    return f"{message}, at {place}" if place else message


def _place(error: Exception) -> str:
    """The line of the user's own code that an error comes from; "" if there is none."""
    lines = [
        f"{Path(frame.f_code.co_filename).name}:{number}"
        for frame, number in traceback.walk_tb(error.__traceback__)
        if not _warnings.is_passed_over(frame)
    ]
    return lines[-1] if lines else ""
