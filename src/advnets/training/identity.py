"""What tells one run from another: a description of all that decides its numbers, as text."""

import dataclasses
import functools
import inspect
import types
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# Their functions are known by name; others, which may change under one name, by their source.
LIBRARIES = ("advnets", "builtins", "equinox", "jax", "jaxlib", "numpy", "optax", "scipy")


def describe(value: Any) -> str:
    """A description of a setting: the same for equal ones, another for others.

    It goes into functions (their closures, defaults and, outside of libraries, their source),
    modules, dataclasses and containers, down to numbers and arrays.

    Args:
        value: any setting: a cost, a prior, a preprocessing function, an Optax transformation.

    Returns:
        The description, without addresses, so that it holds in another process.

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
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, functools.partial):
        return f"partial({inner(value.func)}, {inner(value.args)}, {inner(value.keywords)})"
    if isinstance(value, types.MethodType):
        return f"{inner(value.__self__)}.{value.__func__.__name__}"
    if callable(value) and hasattr(value, "__wrapped__"):  # what jax.jit and others return
        return inner(value.__wrapped__)
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
    named = getattr(value, "__qualname__", None) or type(value).__qualname__
    return f"{type(value).__module__}.{named}({fields})"


def _of_array(value: Any) -> str:
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        return f"key{jax.random.key_data(value).tolist()}"
    held = np.asarray(value)
    if held.size <= 16:
        return f"{held.dtype}{held.tolist()}"
    return f"{held.dtype}{held.shape}#{zlib.crc32(np.ascontiguousarray(held).data):08x}"


def _of_function(value: types.FunctionType, inner: Any) -> str:
    name = f"{value.__module__}.{value.__qualname__}"
    parts = [inner(default) for default in value.__defaults__ or ()]
    parts += [inner(value.__kwdefaults__)] if value.__kwdefaults__ else []
    cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
    for variable, cell in cells:
        try:
            parts.append(f"{variable}={inner(cell.cell_contents)}")
        except ValueError:  # not yet bound
            parts.append(f"{variable}=?")
    if (value.__module__ or "").split(".")[0] not in LIBRARIES:
        try:
            source = inspect.getsource(value)
        except (OSError, TypeError):
            source = value.__code__.co_code.hex() + inner(_constants(value))
        parts.append(f"source {zlib.crc32(source.encode()):08x}")
    return f"{name}({', '.join(parts)})"


def _constants(value: types.FunctionType) -> list[Any]:
    code = value.__code__
    plain = [c for c in code.co_consts if not isinstance(c, types.CodeType)]
    return [*plain, *code.co_names]
