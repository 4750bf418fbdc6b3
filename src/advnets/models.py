"""A model's arrays in an open, pickle-free file (safetensors)."""

import os
from pathlib import Path
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from advnets import _files

Model = TypeVar("Model")


def _named_arrays(model: PyTree) -> dict[str, jax.Array]:
    leaves = jax.tree_util.tree_leaves_with_path(eqx.filter(model, eqx.is_array))
    return {jax.tree_util.keystr(path).lstrip("."): leaf for path, leaf in leaves}


def save_model(path: str | os.PathLike[str], model: PyTree) -> None:
    """Writes a model's arrays, each under its place in the model, as safetensors.

    The file appears whole or not at all.

    Args:
        path: the file to write; its folder must exist.
        model: an Equinox module.

    Example:
        >>> import tempfile, pathlib, jax
        >>> import advnets
        >>> generator = advnets.mlp_generator(jax.random.key(0), 2, (3,), hidden_sizes=[4])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     advnets.save_model(pathlib.Path(folder) / "model.safetensors", generator)
    """
    path = Path(path)
    arrays = {name: np.asarray(leaf, order="C") for name, leaf in _named_arrays(model).items()}
    _files.replace(path, save(arrays))


def load_model(path: str | os.PathLike[str], like: Model) -> Model:
    """Reads a model's arrays that [`advnets.save_model`][] wrote.

    Args:
        path: the file.
        like: a model of the same structure; its own array values are not used (it may come from
            `eqx.filter_eval_shape`).

    Returns:
        The model with the file's arrays.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no safetensors file, or holds another model's arrays.

    Example:
        >>> import tempfile, pathlib, jax
        >>> import advnets
        >>> build = lambda seed: advnets.mlp_generator(
        ...     jax.random.key(seed), 2, (3,), hidden_sizes=[4]
        ... )
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = pathlib.Path(folder) / "model.safetensors"
        ...     advnets.save_model(file, build(0))
        ...     generator = advnets.load_model(file, like=build(1))
        >>> bool((generator.layers[0].weight == build(0).layers[0].weight).all())
        True
    """
    try:
        arrays = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a readable safetensors file ({error})") from None

    is_array = lambda x: eqx.is_array(x) or isinstance(x, jax.ShapeDtypeStruct)  # noqa: E731
    slots, static = eqx.partition(like, is_array)
    leaves, structure = jax.tree_util.tree_flatten_with_path(slots)
    expected = {jax.tree_util.keystr(path).lstrip("."): leaf for path, leaf in leaves}
    found = {name: _describe(array) for name, array in arrays.items()}
    wanted = {name: _describe(leaf) for name, leaf in expected.items()}
    differing = sorted(name for name in found | wanted if found.get(name) != wanted.get(name))
    if differing:
        name = differing[0]
        raise ValueError(
            f"{path} holds another model: {name} is {found.get(name, 'missing')} there and "
            f"{wanted.get(name, 'missing')} here"
        )
    loaded = jax.tree.unflatten(structure, [jnp.asarray(arrays[name]) for name in expected])
    model: Model = eqx.combine(loaded, static)
    return model


def _describe(array: np.ndarray | jax.Array | jax.ShapeDtypeStruct) -> str:
    return f"{np.dtype(array.dtype).name}[{','.join(map(str, array.shape))}]"
