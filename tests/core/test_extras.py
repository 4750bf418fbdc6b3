"""Packages of the extras: wherever one is imported, its absence is a sentence with the remedy."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

import advnets
from advnets._extras import PACKAGES, MissingExtraError, needed_for
from advnets.bench.cli import main

ROOT = Path(__file__).parent.parent.parent
SOURCE = Path(advnets.__file__).parent
# Imported names of the packages that are always there.
ALWAYS = {
    *("advnets", "beartype", "equinox", "filelock", "jax", "jaxtyping", "msgspec", "numpy"),
    *("optax", "safetensors", "scipy", "tqdm", "typing_extensions", *sys.stdlib_module_names),
}
# What `datasets` brings.
BROUGHT = dict.fromkeys(("fsspec", "huggingface_hub", "pyarrow", "PyYAML"), "datasets")


def packages(node):
    """The packages that a statement imports, but those that are always there."""
    names = []
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        names = [node.module]
    return {name.partition(".")[0] for name in names} - ALWAYS


def optional_imports():
    """Each import of an extra's package: its place, and the context around it, if it is ours."""
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        around = {
            id(inner): outer
            for outer in ast.walk(tree)
            if isinstance(outer, ast.With) and "needed_for" in ast.dump(outer.items[0])
            for inner in outer.body
        }
        tried = {
            id(inner)
            for outer in ast.walk(tree)
            if isinstance(outer, ast.Try)
            and "ModuleNotFoundError" in str(list(map(ast.dump, outer.handlers)))
            for inner in outer.body
        }
        for node in ast.walk(tree):
            # What is tried has its own way out where it is not there.
            for package in packages(node) if id(node) not in tried else ():
                yield f"{path.relative_to(SOURCE)}:{node.lineno}", package, around.get(id(node))


IMPORTS = list(optional_imports())


def without(package, monkeypatch):
    """What Python finds where a package is not installed."""
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)


def test_each_package_of_an_extra_is_known():
    assert {package for _, package, _ in IMPORTS} == PACKAGES.keys()


@pytest.mark.parametrize(("place", "package", "context"), IMPORTS, ids=[i[0] for i in IMPORTS])
def test_every_optional_import_names_the_remedy(place, package, context, monkeypatch):
    assert context is not None, f"{place} imports {package} without needed_for(...)"
    without(package, monkeypatch)
    code = compile(ast.Module([context], []), place, "exec")
    with pytest.raises(MissingExtraError) as error:
        exec(code, {"needed_for": needed_for})
    match = re.fullmatch(
        r"(.+), needed for (.+), is not installed; pip install 'advnets\[(\w+)\]'", str(error.value)
    )
    assert match[1] == PACKAGES[package]
    assert isinstance(error.value, ModuleNotFoundError)
    wanted = BROUGHT.get(match[1], match[1])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    brought = project["optional-dependencies"][match[3]]
    assert any(re.match(rf"{wanted}\b", requirement) for requirement in brought)


def test_another_module_that_is_missing_is_no_extra():
    with pytest.raises(ModuleNotFoundError, match="no_such_module") as error, needed_for("this"):
        import no_such_module  # noqa: F401
    assert not isinstance(error.value, MissingExtraError)


def test_data_and_the_command_line_say_it(tmp_path, monkeypatch, capsys):
    without("sklearn", monkeypatch)
    message = "scikit-learn, needed for the digits, is not installed; pip install 'advnets[bench]'"
    with pytest.raises(ImportError, match=re.escape(message)):
        advnets.data.load("digits")
    assert main(["references", "--dataset", "digits", "--out", str(tmp_path / "rows.json")]) == 2
    assert capsys.readouterr().err == f"error: {message}\n"
