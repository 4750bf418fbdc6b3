"""The documentation covers every public name, names only what exists, and its examples run."""

import ast
import doctest
import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from typing import TypeVar

import pytest

import advnets
import advnets.bench

pytestmark = pytest.mark.usefixtures("quick_compilation")

DOCS = Path(__file__).parent.parent / "docs"
DIRECTIVE = re.compile(r"^\.\. auto(?!module)\w+:: (\S+)$", re.MULTILINE)
SECTIONS = "Args|Attributes|Returns|Raises|Example|References"
NAME = re.compile(r"\badvnets(?:\.\w+)+")


def public_modules():
    found = pkgutil.walk_packages(advnets.__path__, "advnets.")
    # What claims are made of is no interface; the claims themselves are in the table of theory.md.
    hidden = re.compile(r"\._|^advnets\.verify\.claims\.")
    names = [module.name for module in found if not hidden.search(module.name)]
    return [advnets, *map(importlib.import_module, names)]


def public_values():
    """The functions and classes of each module, and all that the package and `bench` export."""
    for module in public_modules():
        exports = module in (advnets, advnets.bench)
        for name, value in vars(module).items():
            if name.startswith("_") or inspect.ismodule(value):
                continue
            if callable(value):
                home = getattr(value, "__module__", "")
                ours = home.startswith("advnets") if exports else home == module.__name__
            else:
                ours = exports
            if ours and not isinstance(value, TypeVar):
                yield f"{module.__name__}.{name}", value


def resolve(name):
    """The object that a dotted name stands for; an attribute comes before a module of its name."""
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            value = getattr(value, part)
        return value
    return importlib.import_module(name)


def documented():
    pages = sorted((DOCS / "api").glob("*.md"))
    assert pages
    return [name for page in pages for name in DIRECTIVE.findall(page.read_text("utf-8"))]


def test_every_public_name_is_on_a_reference_page():
    values = [resolve(name) for name in documented()]
    known = {id(value) for value in values}
    public = dict(public_values())
    assert len(public) > 50
    missing = sorted(name for name, value in public.items() if id(value) not in known)
    assert not missing, "no docs/api page has these: " + ", ".join(missing)


def test_no_name_is_documented_twice():
    names = documented()
    assert sorted(names) == sorted(set(names))
    assert len({id(resolve(name)) for name in names}) == len(names)


@pytest.mark.parametrize(
    "page", [*sorted(DOCS.glob("*.md")), *sorted(DOCS.glob("api/*.md"))], ids=lambda page: page.stem
)
def test_names_on_a_page_exist(page):
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


def documented_callables():
    for name, value in public_values():
        if callable(value):
            yield name, value
        if inspect.isclass(value):
            methods = [(key, method) for key, method in vars(value).items() if key[0] != "_"]
            yield from ((f"{name}.{k}", m) for k, m in methods if inspect.isfunction(m))


def test_docstrings_list_the_parameters_that_there_are():
    wrong = []
    for name, value in documented_callables():
        doc = inspect.getdoc(value) or ""
        if re.search(rf"^ +({SECTIONS}):$", doc, re.MULTILINE):
            wrong.append(f"{name}: a section's title is indented")
        section = re.search(rf"^Args:\n(.*?)(?:^(?:{SECTIONS}):|\Z)", doc, re.DOTALL | re.MULTILINE)
        if section is None:
            continue
        listed = re.findall(r"^    (\w+):", section[1], re.MULTILINE)
        taken = [key for key in inspect.signature(value).parameters if key != "self"]
        if listed != taken:
            wrong.append(f"{name}: lists {listed}, takes {taken}")
    assert not wrong, "\n".join(wrong)


def find_examples():
    found = [test for module in public_modules() for test in doctest.DocTestFinder().find(module)]
    return [test for test in found if test.examples and "._" not in test.name]


EXAMPLES = find_examples()


def test_every_example_is_found():
    """A decorator may hide a function from doctest, so count examples in the source too."""
    written = []
    for module in public_modules():
        for node in ast.walk(ast.parse(Path(module.__file__).read_text("utf-8"))):
            documentable = isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module)
            if documentable and ">>>" in (ast.get_docstring(node) or ""):
                written.append(getattr(node, "name", module.__name__))
    assert sorted(test.name.split(".")[-1] for test in EXAMPLES) == sorted(written)
    assert len(written) > 25


@pytest.mark.parametrize("test", EXAMPLES, ids=lambda test: test.name)
def test_example(test, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = []
    doctest.DocTestRunner().run(test, out=report.append)
    assert not report, "".join(report)
