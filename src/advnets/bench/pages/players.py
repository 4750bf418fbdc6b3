"""The players in a run's folder: G from its model file, D from its newest checkpoint."""

import dataclasses
from pathlib import Path
from typing import Any

import equinox as eqx
import jax

import advnets
from advnets._counts import counted
from advnets.bench.folders import LAST, newest_checkpoint
from advnets.bench.results import Config
from advnets.bench.systems import System
from advnets.players import Frozen
from advnets.training.checkpoints import check_whole


@dataclasses.dataclass(frozen=True)
class Found:
    """The players that a folder holds.

    Attributes:
        model: p_g, or whatever else samples are drawn from; None if there is none yet.
        discriminator: D, if it is available.
        of_model: the epoch of the model, in words.
        of_discriminator: the epoch of D, in words, or why there is no D.
    """

    model: Any
    discriminator: Any
    of_model: str
    of_discriminator: str


def players(folder: Path, config: Config, system: System, *, finished: bool) -> Found:
    """Opens the players of a run as they are now.

    Args:
        folder: the run's.
        config: its `config.json`.
        system: its system.
        finished: whether it is done, so that its last model has a file.

    Returns:
        The players.

    Raises:
        ValueError: if the model's file, or the newest checkpoint, is damaged.
    """
    like = system.players(config.image_shape)
    newest = newest_checkpoint(folder)
    if like is None:
        model = system.load(folder / LAST, config.image_shape) if finished else None
        return Found(model, None, "of the last epoch", "this system has none")
    if newest is None:
        model = system.load(folder / LAST, config.image_shape) if finished else None
        return Found(model, None, "of the last epoch", "its checkpoints are not here")
    check_whole(newest.place)
    manifest = newest.manifest
    when = f"after {counted(newest.run.epochs, 'epoch')} ({manifest.iteration:,} iterations)"
    discriminator, of_discriminator = (
        None,
        "it has frozen arrays or a state, which are not in the checkpoint",
    )
    if _is_trained_whole(like.discriminator):
        discriminator = newest.restore("players['discriminator']", like.discriminator)
        of_discriminator = when
    model = None
    if finished:
        model = system.load(folder / LAST, config.image_shape)
    elif _is_trained_whole(like.generator):
        averaged = any(array.startswith("average") for array in manifest.arrays)
        scored = "average" if averaged else "players['generator']"
        generator = newest.restore(scored, like.generator)
        model = dataclasses.replace(advnets.model.model_of(like), generator=generator)
    return Found(model, discriminator, "of the last epoch" if finished else when, of_discriminator)


def _is_trained_whole(player: Any) -> bool:
    """Whether a player is trained as a whole, so that it can be restored from a checkpoint."""

    def is_apart(node: Any) -> bool:
        return isinstance(node, Frozen | eqx.nn.State)

    return not any(map(is_apart, jax.tree.leaves(player, is_leaf=is_apart)))
