"""The players that a run's folder holds: G of its model file, D of its newest checkpoint."""

import dataclasses
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from safetensors import safe_open

import advnets
from advnets.bench.folders import LAST, newest_manifest
from advnets.bench.pages.reading import counted
from advnets.bench.results import Config
from advnets.bench.systems import System
from advnets.training.checkpoints import Manifest, check_whole


@dataclasses.dataclass(frozen=True)
class Found:
    """What a folder holds of a game.

    Attributes:
        model: p_g, or whatever else samples are drawn from; None if there is none yet.
        discriminator: D, if it is to be had.
        of_model: when the model was as it is, in words.
        of_discriminator: the same of D; or why there is none.
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
        What there is.

    Raises:
        ValueError: if the model's file, or the newest checkpoint, is damaged.
    """
    like = system.players(config.image_shape)
    newest = newest_manifest(folder)
    if like is None:
        model = system.load(folder / LAST, config.image_shape) if finished else None
        return Found(model, None, "of the last epoch", "this system has none")
    if newest is None:
        model = system.load(folder / LAST, config.image_shape) if finished else None
        return Found(model, None, "of the last epoch", "its checkpoints are not here")
    place, name, manifest = newest
    check_whole(place)
    epochs = manifest.runs[name].epochs
    when = f"after {counted(epochs, 'epoch')} ({manifest.iteration:,} iterations)"
    part = functools.partial(restored, place, manifest, name)
    discriminator = part("players['discriminator']", like.discriminator)
    if finished:
        model = system.load(folder / LAST, config.image_shape)
    else:
        averaged = any(array.startswith("average") for array in manifest.arrays)
        scored = "average" if averaged else "players['generator']"
        generator = part(scored, like.generator)
        model = dataclasses.replace(advnets.model.model_of(like), generator=generator)
    return Found(model, discriminator, "of the last epoch" if finished else when, when)


def restored(place: Path, manifest: Manifest, run: str, part: str, like: Any) -> Any:
    """A part of the state that a checkpoint holds, such as a player, or all of it.

    Args:
        place: the checkpoint's folder.
        manifest: its manifest.
        run: the name of the run in it.
        part: the part, such as `"players['discriminator']"`; empty for the whole state.
        like: the same with arrays, or shapes, in their places.

    Returns:
        The part.

    Raises:
        ValueError: if the checkpoint has no such part, or it has other shapes.
    """
    leaves = jax.tree_util.tree_leaves_with_path(eqx.filter(like, _is_array))
    names = [(part + jax.tree_util.keystr(path)).lstrip(".") for path, _ in leaves]
    numbers = {name: number for number, name in enumerate(manifest.arrays)}
    missing = [name for name in names if name not in numbers]
    if missing:
        raise ValueError(f"the checkpoint in {place} has no {missing[0]}; it is another version's")
    arrays = _read(place, {numbers[name]: manifest.arrays[name] for name in names})
    # Runs that were trained together have a common checkpoint, with a leading axis of runs.
    row = list(manifest.runs).index(run)
    found = []
    for name, (_, leaf) in zip(names, leaves, strict=True):
        array = arrays[numbers[name]]
        array = array[row] if array.ndim == leaf.ndim + 1 else array
        if array.shape != leaf.shape:
            raise ValueError(f"{name} in {place} has shape {array.shape}, not {leaf.shape}")
        found.append(jnp.asarray(array))
    filled = iter(found)
    return jax.tree.map(lambda leaf: next(filled) if _is_array(leaf) else leaf, like)


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.ShapeDtypeStruct) or eqx.is_array(leaf)


def _read(place: Path, wanted: Mapping[int, str]) -> dict[int, np.ndarray]:
    """Arrays of a checkpoint by number, from the shards of all processes."""
    whole = {}
    for number, described in wanted.items():
        dtype, _, shape = described.partition("[")
        whole[number] = np.zeros(json.loads(f"[{shape}"), jnp.dtype(dtype))
    for path in sorted(place.glob("arrays-*.safetensors")):
        with safe_open(path, framework="numpy") as file:
            for name, (start, shape) in json.loads(file.metadata()["places"]).items():
                number = int(name.partition(".")[0])
                if number in whole:
                    region = tuple(slice(a, a + n) for a, n in zip(start, shape, strict=True))
                    content = file.get_tensor(name).view(whole[number].dtype)
                    whole[number][region] = content.reshape(shape)
    return whole
