"""The documentation covers every public name, names only what exists, and its examples run."""

import ast
import doctest
import inspect
import re
from pathlib import Path

import pytest
from helpers.interface import documented_callables, public_modules, public_values, resolve

DOCS = Path(__file__).parents[2] / "docs"
DIRECTIVE = re.compile(r"^\.\. auto(?!module)\w+:: (\S+)$", re.MULTILINE)
SECTIONS = "Args|Attributes|Returns|Raises|Example|References"
NAME = re.compile(r"\badvnets(?:\.\w+)+")


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
    "page",
    [page for page in sorted(DOCS.rglob("*.md")) if "_" not in page.relative_to(DOCS).parts[0]],
    ids=lambda page: page.relative_to(DOCS).as_posix()[:-3],
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
