"""The documentation covers every public name, names only what exists, and its examples run."""

import ast
import doctest
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import advnets
import advnets.bench

DOCS = Path(__file__).parent.parent / "docs"
DIRECTIVE = re.compile(r"^\.\. auto(?!module)\w+:: (\S+)$", re.MULTILINE)
NAME = re.compile(r"\badvnets(?:\.\w+)+")


def public_modules():
    found = pkgutil.walk_packages(advnets.__path__, "advnets.")
    names = [module.name for module in found if "._" not in module.name]
    return [advnets, *map(importlib.import_module, names)]


def public_values():
    """Each public function or class by the module that defines it, and whatever else is exported."""
    for module in public_modules():
        exports = module in (advnets, advnets.bench)
        for name, value in vars(module).items():
            if name.startswith("_") or inspect.ismodule(value):
                continue
            of_ours = (getattr(value, "__module__", None) or "").startswith("advnets")
            defined_here = getattr(value, "__module__", None) == module.__name__
            is_alias = not hasattr(value, "__qualname__")  # a type's name or a constant
            if exports and (of_ours or is_alias) or defined_here and not is_alias:
                yield f"{module.__name__}.{name}", value


def resolve(name):
    """The object that a dotted name stands for."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            value = getattr(value, part)
        return value
    raise ModuleNotFoundError(name)


def documented():
    pages = sorted((DOCS / "api").glob("*.md"))
    assert pages
    return [name for page in pages for name in DIRECTIVE.findall(page.read_text("utf-8"))]


def test_every_public_name_is_on_a_reference_page():
    values = list(map(resolve, documented()))
    values += [value for cls in values if inspect.isclass(cls) for value in vars(cls).values()]
    known = {id(value) for value in values}
    public = dict(public_values())
    assert len(public) > 50
    missing = sorted(name for name, value in public.items() if id(value) not in known)
    assert not missing, "no docs/api page has these: " + ", ".join(missing)


def test_no_name_is_documented_twice():
    names = documented()
    assert sorted(names) == sorted(set(names))
    assert len({id(resolve(name)) for name in names}) == len(names)


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.stem)
def test_names_on_a_page_exist(page):
    if "_build" in page.parts:
        pytest.skip("a built copy")
    names = sorted(set(NAME.findall(page.read_text("utf-8"))))
    if page.stem == "paper-to-code":
        assert len(names) > 40
    missing = []
    for name in names:
        try:
            resolve(name)
        except (AttributeError, ModuleNotFoundError):
            missing.append(name)
    assert not missing, f"{page.name} names what does not exist: " + ", ".join(missing)


def examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    for module in public_modules():
        if module is advnets:  # re-exports; what they name is found where it is defined
            continue
        yield from (test for test in finder.find(module) if test.examples)


def test_every_example_is_found():
    """A decorator may hide a function from doctest, so count examples in the source too."""
    written = []
    for module in public_modules():
        for node in ast.walk(ast.parse(Path(module.__file__).read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                if ">>>" in (ast.get_docstring(node) or ""):
                    written.append(getattr(node, "name", module.__name__))
    assert sorted(test.name.split(".")[-1] for test in examples()) == sorted(written)
    assert len(written) > 25


@pytest.mark.parametrize("test", examples(), ids=lambda test: test.name)
def test_example(test, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = []
    doctest.DocTestRunner().run(test, out=report.append)
    assert not report, "".join(report)
