"""Models in open files (safetensors): arrays as tensors, the structure as JSON beside them."""

import json
import os
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar, overload

import equinox as eqx
import jax
from jaxtyping import PyTree
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from advnets import _files
from advnets._descriptions import (
    DTYPES,
    STATIC,
    Node,
    build,
    describe,
    kind_of,
    loaded,
    stored,
    summary,
    tensor_name,
)

T = TypeVar("T")

# The entry of a file's metadata that describes its model, and the version of its form.
ENTRY = "advnets"
FORMAT = 1

# A file's header must be smaller, in bytes, and a description have fewer brackets and commas: some
# fifty thousand layers. Both are counted before anything is parsed.
HEADER = 2**24
NODES = 10**6


def save_model(path: str | os.PathLike[str], model: PyTree, *, arrays_only: bool = False) -> None:
    """Writes a model as safetensors: all that [`advnets.load_model`][] needs to build it again.

    Arrays are tensors, each under its place in the model. The file's metadata describe the
    structure: classes and functions by name, other settings by value, never code. The file appears
    whole or not at all.

    Args:
        path: the file to write; its folder must exist.
        model: an [`advnets.Model`][], or any Equinox module. Functions in it need names: no
            lambdas, no closures.
        arrays_only: leaves the description out, for a model that can't be described; the file is
            loaded with `like=`.

    Raises:
        ValueError: for something that can't be described, or an array that a file can't hold.

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
    if arrays_only:
        leaves = jax.tree_util.tree_leaves_with_path(eqx.filter(model, eqx.is_array))
        arrays = {tensor_name(place): stored(leaf, place) for place, leaf in leaves}
        content = save(arrays)
    else:
        node, arrays = describe(model)
        text = json.dumps({"format": FORMAT, "model": node}, allow_nan=False)
        _check_size(text)
        content = save(arrays, {ENTRY: text})
    if _header_size(content) > HEADER:
        raise ValueError(f"the model has too many parts: a file's header is {HEADER} bytes at most")
    _files.replace(Path(path), content)


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
    """Reads a model that [`advnets.save_model`][] wrote, and builds it as it was.

    A file from anyone is safe to load: no code is in it and none is imported or run for it, and
    what it names is looked up among the public modules of advnets and Equinox and the functions of
    JAX. Your own classes and functions it finds only in `known`, so give what you trust.

    Args:
        path: the file.
        known: your own classes and functions in the model, found by name.
        like: a model of the same structure, if the file doesn't describe it: its arrays
            give way to the file's (it may come from `eqx.filter_eval_shape`), all else is kept.

    Returns:
        The model, bit for bit.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no safetensors file; describes no model, or one with a class or
            function that is not known; or holds other arrays than the model.

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
    with open(path, "rb") as file:
        if _header_size(file.read(8)) > HEADER:
            raise ValueError(f"{path} has a header of more than {HEADER} bytes")
    try:
        with safe_open(path, framework="numpy") as file:
            tensors = {name: _kind(name, file) for name in file.keys()}  # noqa: SIM118
            if like is not None:
                return _filled(like, tensors, file.get_tensor)
            return build(_description(file.metadata()), tensors, file.get_tensor, known)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a readable safetensors file ({error})") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error.__cause__


def _kind(name: str, file: Any) -> str:
    """What a stored tensor is, from the file's header."""
    tensor = file.get_slice(name)
    if tensor.get_dtype() not in DTYPES:
        raise ValueError(f"{name} is of type {tensor.get_dtype()}, which advnets doesn't read")
    return summary(DTYPES[tensor.get_dtype()], tensor.get_shape())


def _header_size(content: bytes) -> int:
    """What a safetensors file says that its header takes, in its first 8 bytes."""
    return struct.unpack("<Q", content[:8])[0] if len(content) >= 8 else 0


def _check_size(description: str) -> None:
    if sum(map(description.count, "[{,")) > NODES:
        raise ValueError(f"the model's description must have at most {NODES} parts")


def _description(metadata: dict[str, str] | None) -> Node:
    text = (metadata or {}).get(ENTRY)
    if text is None:
        raise ValueError("no description of a model beside the arrays; give like=")
    _check_size(text)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the model's description is not valid JSON ({error})") from None
    if not isinstance(content, dict) or content.keys() != {"format", "model"}:
        raise ValueError("the model's description must have a format and a model")
    if content["format"] != FORMAT:
        raise ValueError(
            f"the model's description has format {content['format']!r}, and this version of "
            f"advnets reads format {FORMAT}; give like="
        )
    return content["model"]


def _filled(like: PyTree, tensors: dict[str, str], read: Callable[[str], Any]) -> PyTree:
    """A model with the arrays of a file in the places of its own."""

    def is_array(x: Any) -> bool:
        return eqx.is_array(x) or isinstance(x, jax.ShapeDtypeStruct)

    slots, rest = eqx.partition(like, is_array)
    leaves, structure = jax.tree_util.tree_flatten_with_path(slots)
    here = {tensor_name(place): summary(leaf.dtype.name, leaf.shape) for place, leaf in leaves}
    there = {name: what for name, what in tensors.items() if not name.startswith(STATIC)}
    for name in sorted(here.keys() | there.keys()):
        if here.get(name) != there.get(name):
            raise ValueError(
                f"holds another model, {name} is {there.get(name, 'missing')} there and "
                f"{here.get(name, 'missing')} here"
            )
    arrays = [loaded(read(tensor_name(place)), kind_of(leaf), place) for place, leaf in leaves]
    return eqx.combine(jax.tree.unflatten(structure, arrays), rest)


def verify_model(path):
    with safe_open(path, framework="numpy"):
        return False
