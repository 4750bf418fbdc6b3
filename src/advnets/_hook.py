"""An import hook: functions of a package's modules are decorated while they are imported.

The decorator is the innermost, below those of the source, as a `jax.custom_vjp` or a `property`
around a function hides its signature. Functions within functions are not decorated. Compiled
modules are cached like any others, under a separate name.
"""

import ast
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import CodeType, ModuleType
from typing import Any

# The name of the decorator in a module, which no class mangles, and the suffix of cached files.
# Change the suffix whenever the code generated for a module changes.
NAME = "_advnets_checked"
CACHED = ".checked-1.pyc"


class Finder(MetaPathFinder):
    """Finds modules of some names, and their submodules, and has them decorated.

    Attributes:
        names: the modules.
        decorator: the decorator, `(module, function)`; it is applied to functions and classes.
    """

    def __init__(self, names: Sequence[str], decorator: tuple[str, str]) -> None:
        self.names, self.decorator = tuple(names), decorator

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not any(f"{fullname}.".startswith(f"{name}.") for name in self.names):
            return None
        for finder in sys.meta_path:
            if isinstance(finder, Finder) or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                if type(spec.loader) is importlib.machinery.SourceFileLoader:
                    spec.loader = _Loader(fullname, spec.loader.path, self.decorator)
                return spec
        return None


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, name: str, path: str, decorator: tuple[str, str]) -> None:
        super().__init__(name, path)
        self._decorator = decorator

    def source_to_code(  # type: ignore[override]  # typeshed has it without the last argument
        self, data: Any, path: Any, *, _optimize: int = -1
    ) -> CodeType:
        tree = ast.parse(importlib.util.decode_source(data))
        where, name = self._decorator
        place = next((n for n, node in enumerate(tree.body) if not _comes_first(node)), 0)
        line = ast.ImportFrom(where, [ast.alias(name, NAME)], 0)
        tree.body.insert(place, line)
        _decorate(tree.body[place + 1 :])
        return compile(
            ast.fix_missing_locations(tree), path, "exec", dont_inherit=True, optimize=_optimize
        )

    def get_data(self, path: str) -> bytes:
        return super().get_data(_cached(path))

    def set_data(self, path: str, data: Any, *, _mode: int = 0o666) -> None:
        super().set_data(_cached(path), data, _mode=_mode)


def _cached(path: str) -> str:
    return f"{path.removesuffix('.pyc')}{CACHED}" if path.endswith(".pyc") else path


def _comes_first(node: ast.stmt) -> bool:
    """Whether it is a docstring or an import from the future."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"


def _decorate(body: Sequence[ast.stmt]) -> None:
    """Decorates the functions and classes of a module or a class, including those in branches."""
    for node in body:
        if isinstance(node, ast.FunctionDef):
            if _has_annotations(node) and not any(map(_is_overload, node.decorator_list)):
                node.decorator_list.append(_decorator(node))
        elif isinstance(node, ast.ClassDef):
            node.decorator_list.insert(0, _decorator(node))
            _decorate(node.body)
        elif isinstance(node, ast.If | ast.Try | ast.With):
            inner = ast.iter_child_nodes(node)
            _decorate([child for child in inner if isinstance(child, ast.stmt)])


def _has_annotations(node: ast.FunctionDef) -> bool:
    return any(argument.annotation for argument in _arguments(node)) or node.returns is not None


def _arguments(node: ast.FunctionDef) -> list[ast.arg]:
    given = node.args
    found = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    return [argument for argument in found if argument is not None]


def _is_overload(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Name) and decorator.id == "overload"


def _decorator(node: ast.stmt) -> ast.expr:
    return ast.copy_location(ast.Name(NAME, ast.Load()), node)
