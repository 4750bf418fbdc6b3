"""The import hook: what it decorates, and how it is cached."""

import importlib
import sys

import jaxtyping
import pytest

from advnets import _checking

MODULE = '''"""A module."""

from __future__ import annotations  # comes first, and makes strings of all annotations

import dataclasses
import functools
from typing import overload

seen = []

@overload
def twice(x: int) -> int: ...
@overload
def twice(x: float) -> float: ...
def twice(x: float) -> float:
    def inner(y: str):
        return y
    return 2 * inner(x)

def plain(x):
    return x

if True:
    def in_a_branch(x: int) -> later: ...

class later:
    def method(self, x: int) -> later:
        return self
    @property
    def number(self) -> int:
        return "none"
    @staticmethod
    def static(*rest: int, **more: str) -> None: ...

@dataclasses.dataclass
class Pair:
    first: int
    other: later | None = None

at_import = twice("a")
'''


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "hooked.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", None)
    monkeypatch.setenv("ADVNETS_TYPECHECK", "1")
    with _checking.of_modules("hooked"):
        found = importlib.import_module("hooked")
    yield found
    del sys.modules["hooked"]


def test_functions_methods_and_dataclasses_are_checked(module):
    assert module.at_import == "aa"  # a module's own calls while it is imported are its business
    assert module.twice(2) == 4  # and so are the functions within a function
    one = module.later()
    assert one.method(3) is one
    assert module.Pair(1, one).other is one
    assert not hasattr(module.plain, "__wrapped__")
    for call, message in (
        (lambda: module.twice("a"), "twice: x must be float; got 'a'"),
        (lambda: module.in_a_branch(1), "in_a_branch must return later; it returned None"),
        (lambda: one.method("a"), "later.method: x must be int; got 'a'"),
        (lambda: one.number, "later.number must return int; it returned 'none'"),
        (lambda: one.static(1, 2, "a"), "later.static: rest must be int; got 'a'"),
        (lambda: one.static(more=1), "later.static: more must be str; got 1"),
        (lambda: module.Pair("a"), "Pair: first must be int; got 'a'"),
        (lambda: module.Pair(1, other=3), "Pair: other must be later or None; got 3"),
    ):
        with pytest.raises(jaxtyping.TypeCheckError) as caught:
            call()
        assert str(caught.value) == message
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'x'"):
        module.twice()
    with pytest.raises(TypeError, match="takes 1 positional argument but 2 were given"):
        module.twice(1, 2)


def test_compiled_modules_are_cached_under_a_name_of_their_own(module, tmp_path):
    (cached,) = (tmp_path / "__pycache__").iterdir()
    assert cached.name.endswith(".checked-1.pyc")
