"""A model's structure as JSON, and the model rebuilt from it.

A description holds numbers, strings and names, never code, and building a model from it runs no
code but the classes' own checks (`__check_init__`). A name is looked up among the public names
below and what the caller passes; nothing is imported, and no constructor is called.

A node is null, a boolean, a number or a string, a list of nodes, or an object with one of these
sets of keys:

    {"tuple": [node, ...]}
    {"dict": {key: node, ...}}
    {"float": "inf"}                                  also "-inf" and "nan"
    {"class": name, "fields": {field: node, ...}}     an Equinox module
    {"function": name}                                any callable found by name
    {"partial": node, "args": node, "keywords": node} functools.partial
    {"state": {marker: node, ...}}                    eqx.nn.State
    {"array": kind, "holds": "float32[5,3]"}          the tensor named by the array's place
"""

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import DictKey, FlattenedIndexKey, GetAttrKey, SequenceKey

from advnets import (
    chains,
    conditions,
    convolutions,
    game,
    inpainting,
    layers,
    model,
    networks,
    players,
    preprocessing,
    priors,
    unet,
)

# Parsed JSON.
Node: TypeAlias = Any
# Where a node is in the model, as JAX's keys for a leaf's path.
Place: TypeAlias = tuple[Any, ...]

CLASSES = (
    chains,
    conditions,
    convolutions,
    inpainting,
    layers,
    model,
    networks,
    players,
    priors,
    unet,
)
FUNCTIONS = (game, layers, preprocessing)
JAX_FUNCTIONS = (jax.nn, jnp, jax.lax)
# Names in `jax.numpy` that read or write files, or change settings, begin with these. With
# `functools.partial` a description could call them on a file.
NOT_OF_ARRAYS = ("load", "save", "from", "print", "set_", "get_")

# Deeper nesting is refused, so that neither writing nor reading runs out of stack.
DEPTH = 50

# The types of arrays that a file can hold, by their names in a safetensors header.
DTYPES = {
    "BOOL": "bool",
    **{f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
    "BF16": "bfloat16",
    **{f"F{bits}": f"float{bits}" for bits in (16, 32, 64)},
    "C64": "complex64",
}

# How an array behaves with others: a weak type yields to theirs, as with Python's numbers.
KINDS = ("jax", "weak jax", "numpy", "numpy scalar")

# The prefix of tensors that are not leaves of the model (JAX does not see static fields).
STATIC = "static:"


def tensor_name(place: Place) -> str:
    """The name under which the array at a place is stored.

    Args:
        place: where the array is in the model.

    Returns:
        Its path, such as `"generator.layers[0].weight"`.
    """
    return jax.tree_util.keystr(place).lstrip(".")


def summary(dtype: str, shape: Iterable[int]) -> str:
    """An array's type and shape, as descriptions and messages give them.

    Args:
        dtype: the name of its type.
        shape: its shape.

    Returns:
        A string such as `"float32[5,3]"`.
    """
    return f"{dtype}[{','.join(map(str, shape))}]"


def stored(array: jax.Array | np.ndarray | np.generic, place: Place) -> np.ndarray:
    """An array as it is stored in a file.

    Args:
        array: the array.
        place: where it is in the model.

    Returns:
        The array on the host, contiguous.

    Raises:
        ValueError: if a file can't hold its type, or it is not finite.
    """
    if array.dtype.name not in DTYPES.values():
        raise ValueError(
            f"{_where(place)} is an array of {array.dtype.name}, which a file can't hold; convert "
            "it first (a random key with jax.random.key_data)"
        )
    host = np.asarray(array, order="C")
    check_finite(host, _where(place))
    return host.astype(host.dtype.newbyteorder("<"), copy=False)


def check_finite(array: np.ndarray, name: str) -> None:
    """Refuses an array with numbers that are not finite.

    Args:
        array: the array.
        name: what a message calls it.

    Raises:
        ValueError: if a number in it is NaN or infinite.
    """
    if jnp.issubdtype(array.dtype, jnp.inexact):
        count = array.size - np.count_nonzero(np.isfinite(array))
        if count:
            raise ValueError(
                f"{name} holds NaN or infinite values ({count} of {array.size}); all of a "
                "model's arrays must be finite"
            )


def kind_of(array: jax.Array | jax.ShapeDtypeStruct | np.ndarray | np.generic) -> str:
    """The kind of an array; arrays with the same values may differ in kind.

    Args:
        array: the array, or a JAX array's shape and type.

    Returns:
        One of `KINDS`.
    """
    if isinstance(array, np.generic):
        return "numpy scalar"
    if isinstance(array, np.ndarray):
        return "numpy"
    return "weak jax" if array.weak_type else "jax"


def loaded(array: np.ndarray, kind: str, place: Place) -> jax.Array | np.ndarray | np.generic:
    """An array from a file, as it was in the model.

    Args:
        array: the array.
        kind: one of `KINDS`.
        place: where it is in the model.

    Returns:
        The array, of the same type.

    Raises:
        ValueError: if JAX would convert it, or it has to be a scalar and is not.
    """
    if kind == "numpy":
        return array
    if kind == "numpy scalar":
        if array.shape:
            raise ValueError(f"{_where(place)} must be a scalar; it has the shape {array.shape}")
        return array[()]
    strong = jnp.asarray(array)
    if strong.dtype != array.dtype:
        raise ValueError(
            f"{_where(place)} is an array of {array.dtype.name}, which JAX would turn into "
            f"{strong.dtype.name}; set jax_enable_x64"
        )
    if kind == "jax":
        return strong
    # Only Python's numbers become weakly typed arrays; `set` keeps the type. (If jax_enable_x64 is
    # set on one side only, their sizes differ.)
    zero = jnp.asarray(array.dtype.type(0).item())
    if zero.dtype != strong.dtype:
        return strong
    return jnp.broadcast_to(zero, strong.shape).at[...].set(strong)


def _where(place: Place) -> str:
    return tensor_name(place) or "the model"


@functools.cache
def _public() -> dict[str, Any]:
    """Everything that names in a description can refer to without `known`."""

    def named(namespace: Any) -> Iterator[tuple[str, Any]]:
        for name, value in vars(namespace).items():
            if not name.startswith("_"):
                yield f"{namespace.__name__}.{name}", value

    def own(namespace: Any, value: Any) -> bool:
        return getattr(value, "__module__", None) == namespace.__name__

    def buildable(value: Any) -> bool:
        return (
            isinstance(value, type)
            and issubclass(value, eqx.Module)
            and not inspect.isabstract(value)
        )

    from advnets import baselines, few_labels  # only model files need these

    found: dict[str, Any] = {}
    systems = (baselines.cae, baselines.dbn, baselines.gsn, baselines.rbm, baselines.vae)
    for module in (*CLASSES, *systems, few_labels):
        found |= {n: v for n, v in named(module) if buildable(v) and own(module, v)}
    for module in (eqx.nn, eqx):
        found |= {n: v for n, v in named(module) if buildable(v)}
    for module in FUNCTIONS:
        found |= {n: v for n, v in named(module) if inspect.isfunction(v) and own(module, v)}
    for module in JAX_FUNCTIONS:
        found |= {
            n: v
            for n, v in named(module)
            if callable(v) and not n.removeprefix(f"{module.__name__}.").startswith(NOT_OF_ARRAYS)
        }
    # What Equinox's own layers hold without a public name: functions that are defaults of arguments
    # (an MLP's last activation), and the placeholder of a state that is kept elsewhere.
    for name, layer in named(eqx.nn):
        if buildable(layer):
            for parameter in inspect.signature(layer).parameters.values():
                if callable(parameter.default) and parameter.default is not parameter.empty:
                    found[f"{name}({parameter.name})"] = parameter.default
    deleted = eqx.nn.delete_init_state(eqx.nn.StateIndex(0)).init
    found["equinox.nn.delete_init_state"] = type(deleted)
    return found


@functools.cache
def _public_names() -> dict[int, str]:
    # The first of several names.
    return {id(value): name for name, value in reversed(_public().items())}


def _own_name(thing: Any) -> str | None:
    """The module and name of a class or function; None if it has no name of its own."""
    name = f"{getattr(thing, '__module__', None)}.{thing.__qualname__}"
    if isinstance(thing, type):
        return name
    # Another call of the function around a closure makes another function with the same name.
    closure = "<locals>" in name and getattr(thing, "__closure__", True) is not None
    return None if closure or "<lambda>" in name else name


def _fields(cls: type) -> dict[str, bool]:
    """The names of a module's fields, and whether each is static."""
    return {field.name: field.metadata.get("static", False) for field in dataclasses.fields(cls)}


def describe(model: Any) -> tuple[Node, dict[str, np.ndarray]]:
    """A model's structure, and its arrays by their names.

    Args:
        model: Equinox modules, and what this module's docstring lists, nested in any way.

    Returns:
        The root node, and the arrays, each under its path; if that goes through a static field,
        with `"static:"` before it.

    Raises:
        ValueError: for anything that can't be described.
    """
    arrays: dict[str, np.ndarray] = {}
    return _describe(model, (), False, arrays), arrays


def _describe(value: Any, place: Place, static: bool, arrays: dict[str, np.ndarray]) -> Node:
    def inner(key: Any, value: Any, static: bool = static) -> Node:
        return _describe(value, (*place, key), static, arrays)

    def each(values: list | tuple) -> list[Node]:
        return [inner(SequenceKey(i), value) for i, value in enumerate(values)]

    def refuse(problem: str) -> ValueError:
        return ValueError(
            f"{_where(place)} {problem}, or save with arrays_only=True and load with like="
        )

    if len(place) > DEPTH:
        raise refuse(f"is nested more than {DEPTH} levels deep; make the model flatter")
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, jax.Array | np.generic) or type(value) is np.ndarray:
        array = stored(value, place)
        kind = kind_of(value)
        arrays[static * STATIC + tensor_name(place)] = array
        return {"array": kind, "holds": summary(array.dtype.name, array.shape)}
    if type(value) is list:
        return each(value)
    if type(value) is tuple:
        return {"tuple": each(value)}
    if type(value) is dict and all(type(key) is str for key in value):
        return {"dict": {key: inner(DictKey(key), child) for key, child in value.items()}}
    if isinstance(value, eqx.nn.State):
        values, markers = value.tree_flatten()
        if all(isinstance(marker, str) for marker in markers):
            pairs = zip(markers, values, strict=True)
            nodes = {m: inner(FlattenedIndexKey(i), v) for i, (m, v) in enumerate(pairs)}
            return {"state": nodes}
        raise refuse("is a state without names; make it with eqx.nn.make_with_state")
    if isinstance(value, eqx.nn.StateIndex) and not isinstance(value.marker, str):
        raise refuse("belongs to a stateful layer; make the model with eqx.nn.make_with_state")
    if isinstance(value, eqx.Module):
        cls, fields = type(value), _fields(type(value))
        other = vars(value).keys() ^ fields.keys()
        if other:
            raise refuse(f"has an attribute that is not a field, {min(other)!r}; make it one")
        return {
            "class": _public_names().get(id(cls)) or _own_name(cls),
            "fields": {
                name: inner(GetAttrKey(name), getattr(value, name), static or of_structure)
                for name, of_structure in fields.items()
            },
        }
    if type(value) is functools.partial:
        return {
            "partial": inner(GetAttrKey("func"), value.func, True),
            "args": inner(GetAttrKey("args"), value.args, True),
            "keywords": inner(GetAttrKey("keywords"), value.keywords, True),
        }
    if callable(value) and hasattr(value, "__qualname__"):
        name = _public_names().get(id(value)) or _own_name(value)
        if name is not None:
            return {"function": name}
        raise refuse(
            "is a lambda or a closure, which can't be found by name; use a function defined in a "
            "module, or an equinox.Module with what it closes over as fields"
        )
    raise refuse(
        f"is of type {type(value).__name__}, which can't be described; use an equinox.Module of "
        "arrays, numbers, strings, tuples, lists, dicts with string keys, and named functions"
    )


def build(
    node: Node,
    tensors: Mapping[str, str],
    read: Callable[[str], np.ndarray],
    known: Iterable[Callable[..., Any]] = (),
) -> Any:
    """Builds the model that a description describes.

    Args:
        node: the root node, from any source.
        tensors: the type and shape of each stored tensor, by name, such as `"float32[5,3]"`.
        read: reads a tensor by name.
        known: classes and functions that names may refer to besides the public ones.

    Returns:
        The model.

    Raises:
        ValueError: for an invalid node, an unknown name, other fields than a class has, fields that
            a class refuses, or tensors that are missing, superfluous or not as described.
    """
    reader = _Reader(tensors, read, tuple(known))
    model = reader.build(node, (), False)
    superfluous = sorted(tensors.keys() - reader.used)
    if superfluous:
        raise ValueError(f"the model has no place for the tensor {superfluous[0]!r}")
    return model


class _Reader:
    def __init__(
        self,
        tensors: Mapping[str, str],
        read: Callable[[str], np.ndarray],
        known: tuple[Callable[..., Any], ...],
    ) -> None:
        for thing in known:
            if not (callable(thing) and hasattr(thing, "__qualname__")):
                raise ValueError(f"known must hold classes and functions; got {thing!r}")
        self.tensors, self.read, self.known = tensors, read, known
        self.used: set[str] = set()

    def build(self, node: Node, place: Place, static: bool) -> Any:
        if len(place) > DEPTH:
            raise ValueError(f"{_where(place[:3])}... nests more than {DEPTH} levels deep")
        if node is None or isinstance(node, bool | int | float | str):
            return node
        if isinstance(node, list):
            return [self.build(n, (*place, SequenceKey(i)), static) for i, n in enumerate(node)]
        match node:
            case {"tuple": list(nodes), **others} if not others:
                return tuple(self.build(nodes, place, static))
            case {"dict": dict(nodes), **others} if not others:
                return {k: self.build(n, (*place, DictKey(k)), static) for k, n in nodes.items()}
            case {"float": "inf" | "-inf" | "nan" as text, **others} if not others:
                return float(text)
            case {"class": str(name), "fields": dict(fields), **others} if not others:
                return self._module(name, fields, place, static)
            case {"function": str(name), **others} if not others:
                return self._named(name, place)
            case {"partial": func, "args": args, "keywords": keywords, **others} if not others:
                return self._partial(func, args, keywords, place)
            case {"state": dict(nodes), **others} if not others:
                values = [
                    self.build(n, (*place, FlattenedIndexKey(i)), static)
                    for i, n in enumerate(nodes.values())
                ]
                return eqx.nn.State.tree_unflatten(tuple(nodes), values)
            case {"array": str(kind), "holds": str(holds), **others} if not others:
                return self._array(kind, holds, place, static)
        raise ValueError(f"{_where(place)} has a description of an unknown form")

    def _array(self, kind: str, holds: str, place: Place, static: bool) -> Any:
        if kind not in KINDS:
            raise ValueError(f"{_where(place)} is an array of unknown kind, {kind!r}")
        name = static * STATIC + tensor_name(place)
        if self.tensors.get(name) != holds:
            raise ValueError(
                f"the tensor {name!r} must be {holds}; it is {self.tensors.get(name, 'missing')}"
            )
        self.used.add(name)
        return loaded(self.read(name), kind, place)

    def _module(self, name: str, nodes: dict[str, Node], place: Place, static: bool) -> Any:
        cls = self._named(name, place)
        if not (isinstance(cls, type) and issubclass(cls, eqx.Module)):
            raise ValueError(f"{_where(place)} must be an equinox.Module; {name!r} is not")
        fields = _fields(cls)
        other = nodes.keys() ^ fields.keys()
        if other:
            here = "lacks" if min(other) in fields else "has"
            raise ValueError(
                f"{_where(place)} {here} the field {min(other)!r}, unlike the {name} of this "
                "version; load with like= if only the code has changed"
            )
        values = {
            field: self.build(node, (*place, GetAttrKey(field)), static or fields[field])
            for field, node in nodes.items()
        }
        try:
            module = object.__new__(cls)
            for field, value in values.items():
                object.__setattr__(module, field, value)
            for parent in cls.__mro__:
                check = vars(parent).get("__check_init__")
                if check is not None:
                    check(module)
        except Exception as error:
            # A check may raise anything for a value of the wrong type.
            raise ValueError(f"{_where(place)} is not a valid {name}: {error}") from error
        return module

    def _partial(self, func: Node, args: Node, keywords: Node, place: Place) -> Any:
        func, args, keywords = (
            self.build(node, (*place, GetAttrKey(name)), True)
            for name, node in (("func", func), ("args", args), ("keywords", keywords))
        )
        if not (callable(func) and isinstance(args, tuple) and isinstance(keywords, dict)):
            raise ValueError(f"{_where(place)} is not a valid functools.partial")
        return functools.partial(func, *args, **keywords)

    def _named(self, name: str, place: Place) -> Any:
        public = _public().get(name)
        if public is not None:
            return public
        # A class keeps its name when its module is renamed: a script's is `__main__`.
        last = name.rpartition(".")[2]
        same = [thing for thing in self.known if _own_name(thing) == name] or [
            thing for thing in self.known if thing.__qualname__.rpartition(".")[2] == last
        ]
        if not same:
            raise ValueError(
                f"{_where(place)} needs {name!r}, which is not a public name of advnets, Equinox "
                "or JAX; give the class or function itself in known="
            )
        if any(thing is not same[0] for thing in same):
            raise ValueError(f"{_where(place)} needs {name!r}, and known= has several of that name")
        return same[0]
