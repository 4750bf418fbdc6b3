"""A run's states on disk; a run resumes only from one that is whole.

A checkpoint is a folder, `checkpoints/ITERATION`, that holds everything a run needs to resume from
there: the arrays of its state (each process writes its shards), the rows of its metrics,
the info of the iterations of an unfinished epoch, and `manifest.json`, which holds the SHA-256 of
each of these files and its own. It is written under a temporary name and then renamed.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import msgspec
import numpy as np
from jaxtyping import Array
from safetensors import safe_open
from safetensors.numpy import load, save

from advnets import _documents, _files, _warnings
from advnets.algorithms import State
from advnets.training.devices import agree, barrier, is_main_process

CHECKPOINTS, MANIFEST, ARRAYS, RUNS = "checkpoints", "manifest.json", "arrays", "runs"
# Where a shard begins in its array, and its shape.
Place: TypeAlias = list[list[int]]


class CheckpointError(ValueError):
    """A checkpoint can't be restored: it is damaged, or belongs to another run."""


class Change(msgspec.Struct, frozen=True):
    """Something that changed when a run was resumed.

    Attributes:
        iteration: the number of iterations completed at that time.
        name: what changed.
        was: its description before.
        now: its description after.
    """

    iteration: int
    name: str
    was: str
    now: str


class Progressed(msgspec.Struct, frozen=True):
    """The progress of one of a checkpoint's runs.

    Attributes:
        epochs: the number of its rows of metrics; fewer than the others' if it diverged.
        running: whether it has not diverged.
    """

    epochs: int
    running: bool


class Manifest(msgspec.Struct, frozen=True):
    """What `manifest.json` holds.

    Attributes:
        iteration: the number of iterations completed.
        runs: the progress of each run, by the name of its folder.
        arrays: dtypes and shapes of the state's arrays by name, in the order of their numbers.
        identity: what distinguishes the run from others.
        environment: what the run is computed with, which may change on resuming.
        changes: what changed when it was resumed.
        files: the SHA-256 of each file, by its path within the checkpoint.
    """

    iteration: int
    runs: dict[str, Progressed]
    arrays: dict[str, str]
    identity: dict[str, str]
    environment: dict[str, str]
    changes: tuple[Change, ...] = ()
    files: dict[str, str] = {}


def _leaves(state: State) -> dict[str, Array]:
    """The arrays of a state by name."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path).lstrip("."): leaf for path, leaf in leaves}


def describe_arrays(state: State) -> dict[str, str]:
    """Dtypes and shapes of a state's arrays by name."""
    return {name: f"{leaf.dtype}{list(leaf.shape)}" for name, leaf in _leaves(state).items()}


def _stored(state: State) -> dict[str, Array]:
    """The arrays of a state by number, with keys as integers."""
    return {
        f"{number}": jax.random.key_data(leaf) if _is_key(leaf) else leaf
        for number, leaf in enumerate(_leaves(state).values())
    }


def _is_key(leaf: Array) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _write_arrays(folder: Path, state: State) -> None:
    """Writes this process's shards of a state, as bytes with their places; replicas once."""
    content: dict[str, np.ndarray] = {}
    places: dict[str, Place] = {}
    for number, leaf in _stored(state).items():
        for shard in leaf.addressable_shards:
            if shard.replica_id == 0:
                name = f"{number}.{shard.device.id}"
                held = np.ascontiguousarray(shard.data)
                content[name] = held.reshape(-1).view(np.uint8)
                places[name] = [[part.start or 0 for part in shard.index], list(shard.data.shape)]
    path = folder / f"{ARRAYS}-{jax.process_index()}.safetensors"
    _files.replace(path, save(content, {"places": json.dumps(places)}))


def _read_arrays(folder: Path, like: State) -> list[Array]:
    """The arrays of a state from the shards of all processes, on the devices of `like`."""
    expected = _stored(like)
    whole = {number: np.empty(leaf.shape, leaf.dtype) for number, leaf in expected.items()}
    _fill(whole, folder)
    found: list[Array] = []
    for (number, leaf), original in zip(expected.items(), _leaves(like).values(), strict=True):
        placed: Array = jax.make_array_from_callback(
            leaf.shape, leaf.sharding, whole[number].__getitem__
        )
        if _is_key(original):
            placed = jax.random.wrap_key_data(placed, impl=jax.random.key_impl(original))
        found.append(placed)
    return found


def _fill(whole: Mapping[str, np.ndarray], folder: Path) -> None:
    """Fills arrays, by the numbers of their names, from the shards of all processes."""
    lacking = {number: array.size for number, array in whole.items()}
    for path in sorted(folder.glob(f"{ARRAYS}-*.safetensors")):
        with safe_open(path, framework="numpy") as file:
            for name, (start, shape) in json.loads(file.metadata()["places"]).items():
                number = name.partition(".")[0]
                if number in whole:
                    array = whole[number]
                    region = tuple(slice(a, a + n) for a, n in zip(start, shape, strict=True))
                    array[region] = file.get_tensor(name).view(array.dtype).reshape(shape)
                    lacking[number] -= array[region].size
    if any(lacking.values()):
        raise CheckpointError(f"the checkpoint in {folder} lacks parts of its arrays")


def _log_of(place: Path, run: str) -> Path:
    return place / RUNS / run / "metrics.jsonl"


def _unfinished_of(place: Path, run: str) -> Path:
    return place / RUNS / run / "unfinished-epoch.safetensors"


def save_checkpoint(
    folder: Path,
    manifest: Manifest,
    state: State,
    logs: Mapping[str, bytes],
    unfinished: Mapping[str, Mapping[str, np.ndarray]],
    before: int,
) -> None:
    """Writes a checkpoint, and removes all others but the one before it.

    Args:
        folder: the folder of checkpoints.
        manifest: its manifest, still without files.
        state: the state.
        logs: the rows of each run's metrics, as they are on disk.
        unfinished: the info of each run's iterations since the end of an epoch.
        before: the iteration of the checkpoint that the run last wrote, or resumed from.

    Raises:
        OSError: if writing fails, for example on a full disk; existing checkpoints are kept.
    """
    place = folder / f"{manifest.iteration}"
    partial = folder / f"{manifest.iteration}.partial"
    if is_main_process():
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    barrier("the checkpoint's folder is there")
    failed = None
    try:
        _write_arrays(partial, state)
    except Exception as error:
        failed = error
    if agree(failed is not None):
        if is_main_process():
            shutil.rmtree(partial, ignore_errors=True)
        raise failed or OSError(f"{partial}: another process could not write its part")
    if is_main_process():
        try:
            for run, log in logs.items():
                _log_of(partial, run).parent.mkdir(parents=True, exist_ok=True)
                _files.replace(_log_of(partial, run), log)
            for run, seen in unfinished.items():
                if seen:
                    _files.replace(_unfinished_of(partial, run), save(dict(seen)))
            _finish(partial, place, manifest)
            for number in numbers(folder):
                if number not in (manifest.iteration, before):
                    shutil.rmtree(folder / f"{number}", ignore_errors=True)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    barrier("the checkpoint is written")


def _finish(partial: Path, place: Path, manifest: Manifest) -> None:
    """Writes the manifest of the files in a folder, and moves the folder to its place."""
    files = {
        path.relative_to(partial).as_posix(): _files.sha256(path, sync=True)
        for path in sorted(partial.rglob("*"))
        if path.is_file()
    }
    sealed = msgspec.structs.replace(manifest, files=files)
    _documents.write_sealed(partial / MANIFEST, msgspec.to_builtins(sealed))
    for path in partial.rglob("*"):
        if path.is_dir():
            _files.sync_folder(path)
    shutil.rmtree(place, ignore_errors=True)  # a damaged one
    partial.rename(place)
    _files.sync_folder(place.parent)


def numbers(folder: Path) -> list[int]:
    """The iterations of the checkpoints in a folder, whole or not, the newest first."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return sorted((int(name) for name in names if name.isascii() and name.isdigit()), reverse=True)


def read_manifest(place: Path) -> Manifest:
    """The manifest of a checkpoint; a ValueError if it is damaged."""
    content, sealed = _documents.unseal(_documents.read_bytes(place / MANIFEST), place / MANIFEST)
    if not sealed:
        raise ValueError(f"{place / MANIFEST} has no SHA-256; it is damaged")
    manifest = _documents.convert(content, Manifest, place / MANIFEST)
    if f"{manifest.iteration}" != place.name:
        raise ValueError(f"{place} holds the checkpoint of iteration {manifest.iteration}")
    return manifest


def check_whole(place: Path) -> Manifest:
    """Checks every file of a checkpoint against its manifest.

    Args:
        place: the checkpoint's folder.

    Returns:
        Its manifest.

    Raises:
        ValueError: if a file is missing, changed or not part of the checkpoint.
    """
    manifest = read_manifest(place)
    there = {
        path.relative_to(place).as_posix(): path for path in place.rglob("*") if not path.is_dir()
    }
    for name in sorted((there.keys() | manifest.files.keys()) - {MANIFEST}):
        if name not in manifest.files:
            raise ValueError(f"{place / name} is not part of the checkpoint")
        if name not in there:
            raise ValueError(f"{place / name} is missing")
        if there[name].is_symlink() or not there[name].is_file():
            raise ValueError(f"{place / name} is not a file")
        if _files.sha256(there[name]) != manifest.files[name]:
            raise ValueError(f"{place / name} does not match its SHA-256")
    return manifest


def newest_whole(folder: Path) -> tuple[Path, Manifest] | None:
    """The newest checkpoint that is whole.

    Args:
        folder: the folder of checkpoints.

    Returns:
        Its folder and manifest; None if there is no checkpoint. A `RuntimeWarning` names each
        damaged one that is skipped.

    Raises:
        CheckpointError: if there are checkpoints, but none is whole.
    """
    damaged: list[str] = []
    for number in numbers(folder):
        place = folder / f"{number}"
        try:
            manifest = check_whole(place)
        except (ValueError, OSError) as error:
            damaged.append(str(error))
            continue
        if damaged:
            _warnings.warn(
                f"a checkpoint is damaged ({'; '.join(damaged)}); the run resumes from the one "
                f"before it, of iteration {number}"
            )
        return place, manifest
    if not damaged:
        return None
    arrays = f"{ARRAYS}-0.safetensors"
    if not any((folder / f"{number}" / arrays).exists() for number in numbers(folder)):
        raise CheckpointError(
            f"{folder} holds no checkpoint that this version can read: an earlier version of "
            "advnets began this run, or they are damaged; finish it with that version, or start "
            "again in another folder"
        )
    raise CheckpointError(
        f"no checkpoint in {folder} is whole ({'; '.join(damaged)}); start again in another folder"
    )


def restore(place: Path, manifest: Manifest, like: State) -> State:
    """The state of a checkpoint that is whole.

    Args:
        place: the checkpoint's folder.
        manifest: its manifest.
        like: a state of the same structure, on the devices where the arrays are to go.

    Returns:
        The state.

    Raises:
        CheckpointError: if it has another structure, or parts of its arrays are missing.
    """
    if [*describe_arrays(like).items()] != [*manifest.arrays.items()]:
        raise CheckpointError(
            f"the checkpoint in {place} is of players or update rules with other shapes; resume "
            "with the settings that the run began with"
        )
    return jax.tree.unflatten(jax.tree.structure(like), _read_arrays(place, like))


def restore_part(place: Path, manifest: Manifest, run: str, part: str, like: Any) -> Any:
    """A part of the state that a checkpoint holds, such as a player, or all of it.

    Args:
        place: the checkpoint's folder.
        manifest: its manifest.
        run: the name of the run.
        part: the part, such as `"players['discriminator']"`; empty for the whole state.
        like: a pytree of the part's structure, with arrays or `jax.ShapeDtypeStruct` as leaves.

    Returns:
        The part.

    Raises:
        CheckpointError: if the checkpoint has no such run or part, or it has other shapes; if parts
            of its arrays are missing.
    """
    if run not in manifest.runs:
        raise CheckpointError(
            f"the checkpoint in {place} has no run {run!r}; it has {', '.join(manifest.runs)}"
        )
    leaves = jax.tree_util.tree_leaves_with_path(eqx.filter(like, _is_leaf))
    # Names as in `_leaves`: those of a whole state don't begin with a dot.
    names = [(part + jax.tree_util.keystr(path)).removeprefix(".") for path, _ in leaves]
    numbers = {name: f"{number}" for number, name in enumerate(manifest.arrays)}
    missing = [name for name in names if name not in numbers]
    if missing:
        raise CheckpointError(
            f"the checkpoint in {place} has no {missing[0]}; another version of advnets wrote it"
        )
    arrays = {}
    for name in names:
        dtype, _, shape = manifest.arrays[name].partition("[")
        arrays[numbers[name]] = np.empty(json.loads(f"[{shape}"), jnp.dtype(dtype))
    _fill(arrays, place)
    # Runs trained together share a checkpoint, whose arrays have a leading axis of runs.
    row = list(manifest.runs).index(run)
    found = []
    for name, (_, leaf) in zip(names, leaves, strict=True):
        array = arrays[numbers[name]]
        array = array[row] if array.ndim == leaf.ndim + 1 else array
        if array.shape != leaf.shape:
            raise CheckpointError(f"{name} in {place} has shape {array.shape}, not {leaf.shape}")
        found.append(jnp.asarray(array))
    filled = iter(found)
    return jax.tree.map(lambda leaf: next(filled) if _is_leaf(leaf) else leaf, like)


def _is_leaf(leaf: Any) -> bool:
    return isinstance(leaf, jax.ShapeDtypeStruct) or eqx.is_array(leaf)


def read_log(place: Path, run: str) -> bytes:
    """The rows of a run's metrics in a whole checkpoint."""
    return _log_of(place, run).read_bytes()


def read_unfinished(place: Path, run: str) -> dict[str, np.ndarray]:
    """The info of a run's iterations since the last full epoch, from a whole checkpoint."""
    path = _unfinished_of(place, run)
    return load(path.read_bytes()) if path.exists() else {}
