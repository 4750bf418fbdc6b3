"""A run's identity: a description, as text, of everything that decides its numbers.

When a run is resumed, a difference in its identity (data, settings, keys, types, random numbers) is
refused; a difference in its environment (devices, versions, flags), which affects only rounding,
causes a warning and is recorded.
"""

import dataclasses
import functools
import hashlib
import importlib.metadata
import inspect
import os
import types
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

# Functions and classes of these libraries are described by name; others, which may change under the
# same name, by content. The last three wrap other functions, which are then described instead.
LIBRARIES = (
    *("advnets", "builtins", "equinox", "jax", "jaxlib", "numpy", "optax", "scipy"),
    *("beartype", "functools", "jaxtyping"),
)
# Module-level arrays that a function uses are part of its description up to this many bytes.
BYTES_OF_GLOBALS = 2**26
# Modules whose content was described under another module's name by older runs.
WAS_IN = {f"advnets.objectives.{part}": "advnets.objectives" for part in ("gan", "of_logits")}


# What may change when a run is resumed, as it does not affect the state's structure.
CHANGEABLE = (
    *("objective", "generator updates", "discriminator updates", "other updates"),
    "updates",  # of a model that is fitted
)


def changeable(name: str) -> bool:
    """Whether a part of a run's identity may change when it is resumed as `"changed"`."""
    return name in CHANGEABLE


def _flag(name: str) -> Any:
    """A JAX setting as it is in this thread; some versions' type stubs lack these settings."""
    return getattr(jax.config, name)


def numerics(keys: Key[Array, "*runs"]) -> dict[str, str]:
    """What else decides a run's numbers, beyond rounding: dtypes, and the random bit generator.

    Args:
        keys: the run's keys.

    Returns:
        A part of the run's identity.
    """
    return {
        "precision of new arrays": "float64" if _flag("jax_enable_x64") else "float32",
        "random numbers": f"{jax.random.key_impl(keys)}, partitionable="
        f"{_flag('jax_threefry_partitionable')}",
    }


def environment(devices: int) -> dict[str, str]:
    """What a run is computed with, which decides how its numbers are rounded.

    Args:
        devices: the number of devices that the run is spread over.

    Returns:
        Descriptions by name.
    """
    device = jax.devices()[0]
    return {
        "the number of devices": str(devices),
        "the kind of devices": device.device_kind if device.platform != "cpu" else "cpu",
        "JAX": jax.__version__,
        "jaxlib": importlib.metadata.version("jaxlib"),
        "precision of products": str(_flag("jax_default_matmul_precision") or "default"),
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
    }


def describe(value: Any) -> str:
    """A description of a setting: the same for equal settings, different for different ones.

    It descends into functions (their closures and defaults and, outside of libraries, their source
    and the functions, numbers and arrays of their module that they use), methods of classes outside
    of libraries, modules, dataclasses and containers, down to numbers and arrays.

    Args:
        value: any setting: a cost, a prior, a preprocessing function, an Optax transformation.

    Returns:
        The description, without memory addresses, so that it is the same in another process.

    Example:
        >>> import optax
        >>> from advnets.training.identity import describe
        >>> describe(optax.sgd(0.1)) == describe(optax.sgd(0.1))
        True
        >>> describe(optax.sgd(0.1)) == describe(optax.sgd(0.2))
        False
    """
    return _describe(value, ())


def _describe(value: Any, within: tuple[int, ...]) -> str:
    if id(value) in within:
        return "..."
    inner = functools.partial(_describe, within=(*within, id(value)))
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return repr(value)
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        return _of_array(value)
    if isinstance(value, type):
        return _of_class(value, inner)
    if isinstance(value, functools.partial):
        return f"partial({inner(value.func)}, {inner(value.args)}, {inner(value.keywords)})"
    if isinstance(value, types.MethodType):
        return f"{inner(value.__self__)}.{value.__func__.__name__}"
    if callable(value) and hasattr(value, "__wrapped__") and _in_library(value):
        return inner(value.__wrapped__)  # what jax.jit and others return
    if isinstance(value, types.FunctionType):
        return _of_function(value, inner)
    if isinstance(value, tuple | list | set | frozenset):
        items = [inner(item) for item in value]
        name = type(value).__name__ if hasattr(value, "_fields") else ""
        return f"{name}({', '.join(items if isinstance(value, tuple | list) else sorted(items))})"
    if isinstance(value, dict):
        items = sorted(f"{inner(key)}: {inner(item)}" for key, item in value.items())
        return f"{{{', '.join(items)}}}"
    if dataclasses.is_dataclass(value):
        parts = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    else:
        parts = dict(getattr(value, "__dict__", {}))
    fields = ", ".join(f"{name}={inner(part)}" for name, part in parts.items())
    named = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    if named:
        return f"{_module(type(value))}.{named}({fields})"
    return f"{_of_class(type(value), inner)}({fields})"


def _of_array(value: Any) -> str:
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        return f"key{jax.random.key_data(value).tolist()}"
    held = np.asarray(value)
    if held.size <= 16:
        return f"{held.dtype}{held.tolist()}"
    return f"{held.dtype}{held.shape}#{_digest(np.ascontiguousarray(held).data)}"


def _digest(content: Any) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def _in_library(value: Any) -> bool:
    """Whether something is from a library, possibly as a wrapper of another function."""
    if isinstance(value, types.FunctionType):
        module = value.__globals__.get("__name__", "")
    else:
        module = (value if isinstance(value, type) else type(value)).__module__
    return module.split(".")[0] in LIBRARIES


def _module(value: type | types.FunctionType) -> str:
    """The module of a class or function, by the name used in descriptions."""
    return WAS_IN.get(value.__module__, value.__module__)


def _of_class(value: type, inner: Any) -> str:
    name = f"{_module(value)}.{value.__qualname__}"
    if _in_library(value):
        return name
    functions = inspect.getmembers(value, inspect.isfunction)
    own = [
        inner(function)
        for name, function in functions
        if (name == "__call__" or not name.startswith("__")) and not _in_library(function)
    ]
    constants = {
        name: constant
        for one in reversed(value.__mro__)
        for name, constant in vars(one).items()
        if not (name.startswith("_") or _in_library(one)) and _is_plain(constant)
    }
    return f"{name}<{', '.join([*own, inner(constants)])}>"


def _is_plain(value: Any) -> bool:
    return isinstance(value, bool | int | float | complex | str | bytes | tuple)


def _of_function(value: types.FunctionType, inner: Any) -> str:
    parts = [inner(default) for default in value.__defaults__ or ()]
    parts += [inner(value.__kwdefaults__)] if value.__kwdefaults__ else []
    cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
    for variable, cell in cells:
        try:
            parts.append(f"{variable}={inner(cell.cell_contents)}")
        except ValueError:  # not yet bound
            parts.append(f"{variable}=?")
    if not _in_library(value):
        parts += [f"{name}={inner(used)}" for name, used in _used(value).items()]
        parts.append(f"source {_digest(_source(value).encode())}")
    return f"{_module(value)}.{value.__qualname__}({', '.join(parts)})"


def _used(value: types.FunctionType) -> dict[str, Any]:
    """The functions, numbers and arrays of its module that a function uses."""
    found = {
        name: value.__globals__[name]
        for code in _codes(value.__code__)
        for name in code.co_names
        if name in value.__globals__
    }
    return {name: found[name] for name in sorted(found) if _is_setting(found[name])}


def _is_setting(value: Any) -> bool:
    if isinstance(value, jax.Array | np.ndarray):
        return value.nbytes <= BYTES_OF_GLOBALS
    return _is_plain(value) or isinstance(value, types.FunctionType)


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """A function's code and that of the functions in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _source(value: types.FunctionType) -> str:
    try:
        # Python may return the lines of another "<string>".
        source = "" if value.__code__.co_filename == "<string>" else inspect.getsource(value)
    except (OSError, TypeError):  # for example, typed interactively
        source = ""
    if not source:
        return "".join(
            f"{code.co_code.hex()}{code.co_names}{list(filter(_is_plain, code.co_consts))}"
            for code in _codes(value.__code__)
        )
    if value.__name__ != "<lambda>":
        return source
    # For every lambda in a line, the source is that whole line.
    ends = [end for *_, end in value.__code__.co_positions() if end is not None]
    return f"{source}to column {max(ends, default=0)}"
