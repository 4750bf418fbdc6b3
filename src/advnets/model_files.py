"""Models in open files (safetensors): arrays as tensors, the rest in a note in the metadata.

The note is the entry `advnets` of the file's metadata, JSON with these members:

- `format`: its version, 2;
- `model`: the model's description (absent if only arrays were saved);
- `tensors`: for each tensor by name, its type and shape and the SHA-256 of its bytes, such as
  `["float32[5,3]", "58a9..."]`;
- `sha256`: the digest of the note without this member, as JSON in ASCII with sorted keys.

So one flipped bit anywhere is noticed: the file is refused, or its content is the same as before.
Files of format 1 and those of other programs have no digests; their arrays are only checked to be
finite, and of the right shapes and types.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import math
import os
import stat
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar, overload

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PyTree
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from advnets import _files, _warnings
from advnets._counts import counted
from advnets._descriptions import (
    DTYPES,
    STATIC,
    Node,
    build,
    check_finite,
    describe,
    kind_of,
    loaded,
    stored,
    summary,
    tensor_name,
)

T = TypeVar("T")

# The entry of a file's metadata that holds the note, and the version of its form.
ENTRY = "advnets"
FORMAT = 2
DAMAGED = "is damaged: its content does not match its SHA-256; get a fresh copy of the file"

# The model of a run's last epoch, in its folder, and a row for each of its epochs.
LAST, METRICS = "generator.safetensors", "metrics.jsonl"

# Limits on a file's header, in bytes, and on a note's brackets and commas, enough for some forty
# thousand layers. Both are checked before anything is parsed.
HEADER = 2**24
NODES = 10**6


def save_model(path: str | os.PathLike[str], model: PyTree, *, arrays_only: bool = False) -> None:
    """Saves a model as safetensors: everything that [`advnets.load_model`][] needs to rebuild it.

    Arrays become tensors, named by their place in the model. The file's metadata describe the
    structure: classes and functions by name, other settings by value, never code. They also hold
    SHA-256 digests of everything, which loading verifies. The write is atomic.

    Args:
        path: the file to write; its folder must exist.
        model: an [`advnets.Model`][], or any Equinox module. Functions in it need names: no
            lambdas, no closures.
        arrays_only: leave the description out, for a model that can't be described; load the file
            with `like=`.

    Raises:
        ValueError: for something that can't be described, an array that a file can't hold, or one
            that is not finite.

    Example:
        >>> import tempfile, pathlib, jax
        >>> import advnets
        >>> generator = advnets.networks.mlp_generator(jax.random.key(0), 2, (3,), hidden_sizes=[4])
        >>> model = advnets.Model(generator, advnets.priors.Normal(2))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     advnets.save_model(pathlib.Path(folder) / "model.safetensors", model)
        ...     loaded = advnets.load_model(pathlib.Path(folder) / "model.safetensors")
        >>> loaded.prior
        Normal(size=2)
    """
    if type(model).__name__ == "Trained":
        raise ValueError(
            "train returns more than a model; pass its model (trained.model), or trained.averaged "
            "if the algorithm keeps an average"
        )
    if arrays_only:
        leaves = jax.tree_util.tree_leaves_with_path(eqx.filter(model, eqx.is_array))
        arrays = {tensor_name(place): stored(leaf, place) for place, leaf in leaves}
        note: dict[str, Any] = {}
    else:
        node, arrays = describe(model)
        note = {"model": node}
    tensors = {
        name: [summary(array.dtype.name, array.shape), _sha256(array)]
        for name, array in arrays.items()
    }
    note = {"format": FORMAT, **note, "tensors": tensors}
    text = json.dumps(note | {"sha256": _sha256_of_note(note)}, allow_nan=False)
    _check_size(text)
    content = save(arrays, {ENTRY: text})
    if _header_size(content) > HEADER:
        raise ValueError(f"the model has too many parts: a file's header is {HEADER} bytes at most")
    _files.replace(Path(path), content)


def save_last(folder: Path, model: PyTree) -> None:
    """Saves the model of a run's last epoch, or only its arrays if it can't be described.

    Args:
        folder: the run's folder.
        model: the model.

    Raises:
        OSError: if the file can't be written.

    A `RuntimeWarning` is given if not even the arrays can be saved.
    """
    try:
        save_model(folder / LAST, model)
    except ValueError:  # a lambda in it, say
        try:
            save_model(folder / LAST, model, arrays_only=True)
        except ValueError as error:
            _warnings.warn(f"the model was not saved: {error}")


@overload
def load_model(path: str | os.PathLike[str], *, like: T) -> T: ...


@overload
def load_model(
    path: str | os.PathLike[str], *, known: Iterable[Callable[..., Any]] = ()
) -> Any: ...


def load_model(
    path: str | os.PathLike[str],
    *,
    known: Iterable[Callable[..., Any]] = (),
    like: Any = None,
) -> Any:
    """Loads a model that [`advnets.save_model`][] wrote.

    Files from untrusted sources are safe to load: a file holds no code, and none is imported or run
    for it. Names in it are looked up among the public modules of advnets and Equinox and the
    functions of JAX. Your own classes and functions are found only in `known`, so pass only what
    you trust. An array is read only if the model has a place for one of its shape and type.

    A file with digests is verified: one flipped bit in it is an error, or changes nothing. This
    protects against accidents; whoever can write the file can write its digests too. In a file
    without digests (from another program, or an earlier version), a changed number is not noticed.

    Args:
        path: the file, or the folder of a run, for the model of its last epoch.
        known: your own classes and functions in the model, found by name.
        like: a model of the same structure, if the file doesn't describe it: its arrays (it may
            come from `eqx.filter_eval_shape`) are replaced by the file's, all else is kept.

    Returns:
        The model, bit for bit.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a regular file, not a safetensors file, or damaged; if it describes
            no model, or one with a class or function that is not known; or if it holds other arrays
            than the model, an array that is not finite, or more than fits in memory.

    Example:
        >>> import tempfile, pathlib, jax
        >>> import equinox as eqx
        >>> import advnets
        >>> class Shift(eqx.Module):
        ...     by: jax.Array
        ...     def __call__(self, z):
        ...         return z + self.by
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = pathlib.Path(folder) / "model.safetensors"
        ...     advnets.save_model(file, Shift(jax.numpy.array(2.0)))
        ...     model = advnets.load_model(file, known=[Shift])
        >>> model.by.item()
        2.0
    """
    place = Path(path)
    if place.is_dir():
        place = _last_of(place)
    with _opened(place) as file:
        if like is not None:
            return _filled(like, file)
        return build(_description(file.note), file.tensors, file.read, known)


def _last_of(folder: Path) -> Path:
    """The model in a run's folder; a ValueError that says why there is none."""
    if (folder / LAST).is_file():
        return folder / LAST
    if (folder / METRICS).is_file():
        epochs = (folder / METRICS).read_bytes().count(b"\n")
        raise ValueError(
            f"{folder} holds a run that was not finished ({counted(epochs, 'epoch')}); finish it "
            "with train(..., resume=True), or --resume on the command line"
        )
    for one in sorted(folder.glob(f"*/{LAST}")):
        raise ValueError(
            f"{folder} holds the folders of runs; name one of them, such as {one.parent}"
        )
    raise ValueError(f"{folder} is a folder without a model; name a file in it, or a run's folder")


def digest_of(path: str | os.PathLike[str]) -> str | None:
    """Verifies a file that [`advnets.save_model`][] wrote, without building the model.

    Args:
        path: the file.

    Returns:
        The SHA-256 of the description and the arrays, which is the same for equal models; None if
        the file has none.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a regular file, not a safetensors file, or damaged, or holds an
            array that is not finite.

    Example:
        >>> import tempfile, pathlib, jax
        >>> import advnets
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = pathlib.Path(folder) / "model.safetensors"
        ...     advnets.save_model(file, advnets.priors.Normal(2))
        ...     digest = advnets.model_files.digest_of(file)
        >>> len(digest)
        64
    """
    with _opened(path) as file:
        for name in file.tensors:
            file.read(name)
        return file.note.get("sha256")


@dataclasses.dataclass(frozen=True)
class _File:
    """What a file's header says, and its tensors one by one.

    Attributes:
        note: the note, whose digest has been verified; empty if there is none.
        tensors: each tensor's type and shape by name, such as `"float32[5,3]"`, in file order.
    """

    note: dict[str, Any]
    tensors: dict[str, str]
    _file: io.BufferedReader
    _places: dict[str, tuple[int, np.dtype, list[int]]]

    def read(self, name: str) -> np.ndarray:
        """A tensor, if it is whole and finite."""
        start, dtype, shape = self._places[name]
        # Not from a memory-mapped file, whose pages would count in addition to the array's.
        array = np.empty(shape, dtype)
        self._file.seek(start)
        if self._file.readinto(_bytes(array)) != array.nbytes:
            raise ValueError(f"{name} ends too early; the file has changed while it was read")
        if "tensors" in self.note and _sha256(array) != self.note["tensors"][name][1]:
            raise ValueError(f"{name} {DAMAGED}")
        check_finite(array, name)
        return array


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[_File]:
    """Opens a file and checks its header; error messages begin with its path."""
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise ValueError(f"{path} is a folder; name a file in it")
    if not stat.S_ISREG(mode):  # opening a pipe would wait for its writer
        raise ValueError(
            f"{path} is a pipe, a socket or a device, which is not opened; name a file"
        )
    with open(path, "rb") as content:
        try:
            yield _header(path, content)
        except SafetensorError as error:
            raise ValueError(f"{path} is not a readable safetensors file ({error})") from None
        except MemoryError:
            raise ValueError(f"{path} holds arrays that are larger than the free memory") from None
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error.__cause__


def _header(path: str | os.PathLike[str], content: io.BufferedReader) -> _File:
    size = _header_size(content.read(8))
    if size > HEADER:
        raise ValueError(
            f"this is not a safetensors file, or its header has more than {HEADER} bytes, the most "
            "that is read"
        )
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata() or {}
        places, tensors, start = {}, {}, 8 + size
        # Tensors follow each other without a gap and end with the file, or it would not open.
        for name in file.offset_keys():
            tensor = file.get_slice(name)
            dtype, shape = _dtype(name, tensor.get_dtype()), tensor.get_shape()
            places[name] = (start, dtype, shape)
            tensors[name] = summary(dtype.name, shape)
            start += dtype.itemsize * math.prod(shape)
    return _File(_note(metadata.get(ENTRY), tensors), tensors, content, places)


def _note(text: str | None, tensors: dict[str, str]) -> dict[str, Any]:
    """The note in a file's metadata, if it is whole; empty if there is none."""
    if text is None:
        return {}
    _check_size(text)
    try:
        note = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the model's description is not valid JSON ({error})") from None
    if not isinstance(note, dict):
        raise ValueError("the model's description must have a format and a model")
    if note.keys() & {"sha256", "tensors"}:
        try:
            noted = {name: what for name, (what, _) in note["tensors"].items()}
            whole = note["sha256"] == _sha256_of_note(note) and noted == tensors
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
            whole = False
        if not whole:
            raise ValueError(f"the file {DAMAGED}")
    return note


def _dtype(name: str, stored_as: str) -> np.dtype:
    if stored_as not in DTYPES:
        raise ValueError(
            f"{name} is of type {stored_as}, which advnets doesn't read; convert it to one of "
            f"{', '.join(DTYPES)}"
        )
    return np.dtype(DTYPES[stored_as])


def _sha256_of_note(note: dict[str, Any]) -> str:
    rest = {name: value for name, value in note.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _sha256(array: np.ndarray) -> str:
    return hashlib.sha256(_bytes(array)).hexdigest()


def _bytes(array: np.ndarray) -> memoryview:
    """A contiguous array's memory."""
    return array.reshape(-1).view(np.uint8).data


def _header_size(content: bytes) -> int:
    """The size of a safetensors file's header, from its first 8 bytes."""
    return struct.unpack("<Q", content[:8])[0] if len(content) >= 8 else 0


def _check_size(description: str) -> None:
    if sum(map(description.count, "[{,")) > NODES:
        raise ValueError(f"the model's description must have at most {NODES} parts")


def _description(note: dict[str, Any]) -> Node:
    if not note or ("tensors" in note and "model" not in note):
        raise ValueError("the file holds arrays without a description of the model; give like=")
    if not {"format", "model"} <= note.keys():
        raise ValueError("the model's description must have a format and a model")
    if note["format"] not in (1, FORMAT):
        raise ValueError(
            f"the model's description has format {note['format']!r}, and this version of advnets "
            f"reads formats 1 and {FORMAT}; give like="
        )
    return note["model"]


def _filled(like: PyTree, file: _File) -> PyTree:
    """A model with its arrays replaced by those of a file."""

    def is_array(x: Any) -> bool:
        return eqx.is_array(x) or isinstance(x, jax.ShapeDtypeStruct)

    slots, rest = eqx.partition(like, is_array)
    leaves, structure = jax.tree_util.tree_flatten_with_path(slots)
    here = {tensor_name(place): summary(leaf.dtype.name, leaf.shape) for place, leaf in leaves}
    there = {name: what for name, what in file.tensors.items() if not name.startswith(STATIC)}
    for name in sorted(here.keys() | there.keys()):
        if here.get(name) != there.get(name):
            raise ValueError(
                f"the file holds another model: {name} is {there.get(name, 'missing')} in the file "
                f"and {here.get(name, 'missing')} in like"
            )
    arrays = [loaded(file.read(tensor_name(place)), kind_of(leaf), place) for place, leaf in leaves]
    for name in file.tensors.keys() - there.keys():
        file.read(name)  # only to verify it: `like` has its own
    return eqx.combine(jax.tree.unflatten(structure, arrays), rest)
