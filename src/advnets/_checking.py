"""The type checker behind the import hook: beartype's tests, with errors of one sentence.

An int is accepted wherever a float is annotated. A wrong value is described by its kind, type and
shape, never printed: to describe a list of a million numbers takes no longer than one of two.
"""

import contextlib
import dataclasses
import functools
import inspect
import os
import re
import reprlib
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, overload

import jax
import jaxtyping
import numpy as np
from jaxtyping._storage import pop_shape_memo, push_shape_memo  # a context of arguments

from advnets import _hook

# Words for those of jaxtyping's names that would not read well in a sentence.
DTYPES = {
    "Float": "floating-point",
    "Inexact": "floating-point",
    "Int": "integer",
    "Integer": "integer",
    "UInt8": "uint8",
    "Bool": "boolean",
    "Real": "real",
    "Num": "numeric",
}

T = TypeVar("T")
Function = TypeVar("Function", bound=Callable[..., Any])
# The number of packages that are being imported.
_importing = 0


class TypeCheckError(jaxtyping.TypeCheckError):
    """An argument, or a function's result, of the wrong type or shape; in one sentence."""


@contextlib.contextmanager
def of_modules(*names: str) -> Iterator[None]:
    """Checks the signatures of modules of these names, and of their submodules.

    It applies to modules imported within the context. Calls within the context are not checked, as
    they are made by the modules themselves.
    """
    global _importing
    if os.environ.get("ADVNETS_TYPECHECK") == "0":
        yield
        return
    finder = _hook.Finder(names, (__name__, checked.__name__))
    sys.meta_path.insert(0, finder)
    _importing += 1
    try:
        yield
    finally:
        _importing -= 1
        sys.meta_path.remove(finder)


def of_modules_from_now_on(*names: str) -> None:
    """Checks the signatures of modules of these names, whenever they are imported."""
    if os.environ.get("ADVNETS_TYPECHECK") != "0":
        sys.meta_path.insert(0, _hook.Finder(names, (__name__, checked.__name__)))


@overload
def checked(given: type[T]) -> type[T]: ...


@overload
def checked(given: Function) -> Function: ...


def checked(given: Any) -> Any:
    """A function whose arguments and result are checked against its annotations.

    Args:
        given: the function; or a class, whose instances' fields are checked if it is a
            dataclass.

    Returns:
        The function. It raises a `TypeCheckError` that names the argument, what it has to be, what
        it is and, for common mistakes, what to write instead. For a class, the class itself.
    """
    if isinstance(given, type):
        init = vars(given).get("__init__")
        if dataclasses.is_dataclass(given) and not hasattr(init, "__wrapped__") and init:
            given.__init__ = checked(init)  # type: ignore[method-assign]
        return given
    signature: _Signature | None = None

    @functools.wraps(given)
    def check(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        nonlocal signature
        if _importing:
            return given(*args, **kwargs)
        if signature is None:
            signature = _Signature(given)  # only now: few functions of a package are ever called
        push_shape_memo(signature.in_shapes(args, kwargs))
        try:
            signature.check_arguments(args, kwargs)
            result = given(*args, **kwargs)
            signature.check_result(result)
            return result
        finally:
            pop_shape_memo()

    return check


class _Signature:
    """A function's annotations, in the form in which they are checked."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._signature = inspect.signature(function)
        parameters = [p.replace(annotation=self._resolved(p.annotation)) for p in self._parameters]
        self._in_order = [p for p in parameters if p.kind <= p.VAR_POSITIONAL]
        self._by_name = {p.name: p for p in parameters}
        self._of_rest = next((p for p in parameters if p.kind is p.VAR_KEYWORD), None)
        self._result = self._resolved(self._signature.return_annotation)
        annotations = [*(p.annotation for p in parameters), self._result]
        # Sizes such as " {n}" refer to the values of arguments.
        self._has_shapes_of_arguments = any("{" in str(one) for one in annotations)

    @property
    def _parameters(self) -> list[inspect.Parameter]:
        return list(self._signature.parameters.values())

    def _resolved(self, annotation: Any) -> Any:
        """An annotation; if it is a string, what that names."""
        if isinstance(annotation, str):
            try:
                annotation = eval(annotation, getattr(self._function, "__globals__", {}))
            except NameError:
                return Any
        return (annotation.__bound__ or Any) if isinstance(annotation, TypeVar) else annotation

    def in_shapes(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments that annotated shapes may refer to, by name."""
        if not self._has_shapes_of_arguments:
            return {}
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return bound.arguments

    def _annotated(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Iterator[tuple[inspect.Parameter, Any]]:
        """The arguments that have an annotation, with their parameters.

        Arguments without a parameter are left for the function to refuse.
        """
        for number, value in enumerate(args[: self._most()]):
            parameter = self._in_order[min(number, len(self._in_order) - 1)]  # it may be *args
            if _says_something(parameter.annotation):
                yield parameter, value
        for name, value in kwargs.items():
            named = self._by_name.get(name, self._of_rest)
            if named is not None and _says_something(named.annotation):
                yield named, value

    def _most(self) -> int | None:
        """The maximum number of positional arguments; None for no limit."""
        last = self._in_order[-1:]
        return None if last and last[0].kind is last[0].VAR_POSITIONAL else len(self._in_order)

    def check_arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        for parameter, value in self._annotated(args, kwargs):
            if not _is(value, parameter.annotation):
                beside = [(p, x) for p, x in self._annotated(args, kwargs) if p is not parameter]
                raise TypeCheckError(_refusal(self._function, parameter, value, beside))

    def check_result(self, result: Any) -> None:
        if _says_something(self._result) and not _is(result, self._result):
            raise TypeCheckError(
                f"{_name(self._function)} must return {_expected(self._result)}; it returned "
                f"{_described(result)}"
            )


def _says_something(annotation: Any) -> bool:
    return annotation is not Any and annotation is not inspect.Parameter.empty


def _is(value: Any, annotation: Any) -> bool:
    return _tests().is_bearable(value, annotation, conf=_tests().configuration)


@functools.cache
def _tests() -> types.SimpleNamespace:
    """Beartype's tests, on first use: importing it takes as long as importing everything else."""
    import beartype
    import beartype.door

    return types.SimpleNamespace(
        is_bearable=beartype.door.is_bearable,
        configuration=beartype.BeartypeConf(is_pep484_tower=True),
    )


def _name(function: Callable[..., Any]) -> str:
    return function.__qualname__.removesuffix(".__init__")


def _refusal(
    function: Callable[..., Any],
    parameter: inspect.Parameter,
    value: Any,
    beside: list[tuple[inspect.Parameter, Any]],
) -> str:
    name, annotation = parameter.name, parameter.annotation
    sentence = f"{_name(function)}: {name} must be {_expected(annotation)}; got {_described(value)}"
    remedy = _remedy(name, annotation, value)
    if remedy is not None:
        return f"{sentence} ({remedy})"
    # So its shape is wrong, or does not agree with another argument's.
    shared = [
        f"{other.name} has shape {_shape(x)}"
        for other, x in beside
        if _is_array(value) and _is_array(x) and _axes(other.annotation) & _axes(annotation)
    ]
    return sentence + (f", but {' and '.join(shared)}" if shared else "")


def _remedy(name: str, annotation: Any, value: Any) -> str | None:
    """What to write instead, for common mistakes."""
    if "GradientTransformation" in str(annotation) and hasattr(value, "gradient_transformation"):
        return f"pass {name}.gradient_transformation()"
    if isinstance(value, np.generic) and _is(value.item(), annotation):
        return f"pass {name}.item()"
    if get_origin(annotation) is Sequence and callable(value):
        return f"pass [{name}]"
    instead = _object_instead(name, _expected(annotation), value)
    if instead is not None:
        return instead
    arrays = [x for x in _alternatives(annotation) if _of_arrays(x)]
    if not arrays:
        return f"pass an instance, {value.__name__}(...)" if isinstance(value, type) else None
    kinds = {_kind(x) for x in arrays}
    if "Key" in kinds:
        if isinstance(value, int):
            return f"pass jax.random.key({value})"
        raw = getattr(value, "dtype", None) == np.uint32
        return "make keys by jax.random.key, not PRNGKey" if raw else None
    floating = kinds <= {"Float", "Inexact"}
    if isinstance(value, list | tuple) and len(value) > 0 and _is_array(value[0]):
        return f"pass np.stack({name})"
    if isinstance(value, list | tuple) or (hasattr(value, "__array__") and not _is_array(value)):
        return f"pass np.asarray({name}{', float' * floating})"
    if not _is_array(value):
        return None
    if floating and value.dtype == np.uint8:
        return f"pixels in [0, 1] are {name} / np.float32(255)"
    to_float = floating and getattr(value.dtype, "kind", "") in ("b", "i", "u")
    if not isinstance(value, tuple(x.array_type for x in arrays)):
        library = "np" if isinstance(value, jax.Array) else "jnp"
        return f"pass {library}.asarray({name}{', float' * to_float})"
    return f"pass {name}.astype(float)" if to_float else None


def _object_instead(name: str, wanted: str, value: Any) -> str | None:
    """What to write in the place of another object of the library, or of a single number."""
    kind = type(value).__name__
    if isinstance(value, int | float) and not isinstance(value, bool):
        suggestions = {
            "Sequence[int]": f"pass [{value}]",
            "tuple[int, ...]": f"pass ({value},)",
            "Prior": f"pass advnets.priors.Uniform({value})",
        }
        by_rate = f"pass an optimiser, such as optax.adam({value})"
        return by_rate if wanted.startswith("GradientTransformation") else suggestions.get(wanted)
    if kind == "Dataset" and "array" in wanted:
        return f"pass {name}.{name if name in ('validation', 'test') else 'train'}"
    if wanted in ("Sampler", "Model"):
        if kind == "Trained":
            return f"pass {name}.model, or {name}.averaged where the algorithm keeps an average"
        if kind == "Players":
            return f"pass advnets.Model({name}.generator, {name}.prior)"
        return f"pass advnets.Model({name}), with its prior" if callable(value) else None
    if "array" in wanted and kind in ("Trained", "Model"):
        model = f"{name}.model" if kind == "Trained" else name
        return f"pass {model}.sample(key, number)"
    if wanted.startswith("Players") and (kind == "Model" or callable(value) or kind == "tuple"):
        return "pass advnets.Players(generator, discriminator)"
    if wanted.startswith("Algorithm") and kind.startswith("GradientTransformation"):
        both = "generator_updates=..., discriminator_updates=..."
        return f"pass advnets.Algorithm1({both}), which has one for each player"
    return None


def _expected(annotation: Any) -> str:
    """What an annotation asks for, as a noun."""
    alternatives = _alternatives(annotation)
    libraries = {x.array_type for x in alternatives if _of_arrays(x)}
    either = len(libraries) > 1
    nouns = [_array(x, either=either) if _of_arrays(x) else _plain(x) for x in alternatives]
    return " or ".join(dict.fromkeys(nouns))


def _array(annotation: Any, *, either: bool) -> str:
    kind, axes = _kind(annotation), re.sub("[{}]", "", annotation.dim_str).split()
    shape = f"({', '.join(axes)})"
    if kind == "Key":
        return f"typed keys of shape {shape}" if axes else "a typed key"
    library = "" if either else "NumPy " if annotation.array_type is np.ndarray else "JAX "
    noun = f"{DTYPES.get(kind, '')} {library}array".lstrip()
    article = "an" if noun[0] in "aeiou" else "a"
    return f"{article} {noun}" + ("" if axes == ["..."] else f" of shape {shape}")


def _plain(annotation: Any) -> str:
    if annotation is None or annotation is types.NoneType:
        return "None"
    if get_origin(annotation) is Literal:
        return "one of " + ", ".join(map(repr, get_args(annotation)))
    name = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    name = re.sub(r"\[[~+-][^]]*\]", "", name)  # type variables of generic classes
    # Names without their modules.
    return re.sub(r"\b[A-Za-z_][\w.]*\.(?=\w)", "", name)


def _described(value: Any) -> str:
    """Describes a value at a cost that doesn't depend on its size."""
    if value is None or isinstance(value, bool | int | float | complex | str | np.generic):
        return reprlib.repr(value)
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if _is_array(value):
        traced = isinstance(value, jax.core.Tracer)
        kind = "traced" if traced else "JAX" if isinstance(value, jax.Array) else "NumPy"
        return f"a {kind} array, {value.dtype} of shape {_shape(value)}"
    name = type(value).__name__
    article = "an" if name[0] in "AEIOUaeiou" else "a"
    if isinstance(value, list | tuple | dict | set | frozenset):
        return f"{article} {name} of {len(value)}"
    return f"{article} {name}"


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray | jax.Array)


def _shape(array: Any) -> str:
    return str(tuple(array.shape))


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    union = get_origin(annotation) in (Union, types.UnionType)
    return get_args(annotation) if union else (annotation,)


def _of_arrays(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, jaxtyping.AbstractArray)


def _kind(annotation: Any) -> str:
    """The word before the bracket: Float, Key."""
    return annotation.__name__.partition("[")[0]


def _axes(annotation: Any) -> set[str]:
    """The names of axes, which two arguments may share."""
    found = [x.dim_str.split() for x in _alternatives(annotation) if _of_arrays(x)]
    return {axis.lstrip("*#?") for axes in found for axis in axes if axis[-1].isidentifier()}
