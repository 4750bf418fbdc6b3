"""All that is public has a docstring, and its methods are on the pages of the reference."""

import inspect
import re
from pathlib import Path

from helpers.interface import public_modules, public_values, resolve

API = Path(__file__).parents[2] / "docs" / "api"
CLASS = re.compile(r"^\.\. auto(?:class|exception):: (\S+)\n((?:   :.*\n)*)", re.MULTILINE)


def members(owner):
    """The public methods and properties that a class defines itself."""
    kinds = (property, classmethod, staticmethod)
    return [
        name
        for name, value in vars(owner).items()
        if name[0] != "_" and (inspect.isfunction(value) or isinstance(value, kinds))
    ]


def has_docstring(owner, name):
    """Its own, one that it inherits, or a line among its class's attributes."""
    listed = re.search(rf"^ +{name}: ", owner.__doc__ or "", re.MULTILINE)
    return bool(listed or inspect.getdoc(getattr(owner, name)))


def test_every_module_class_function_and_method_has_a_docstring():
    missing = [module.__name__ for module in public_modules() if not module.__doc__]
    for name, value in public_values():
        if not (inspect.isfunction(value) or inspect.isclass(value)):
            continue
        doc = value.__doc__ or ""
        if not doc or doc.startswith(f"{value.__name__}("):  # a dataclass's own
            missing.append(name)
        if inspect.isclass(value):
            missing += [f"{name}.{key}" for key in members(value) if not has_docstring(value, key)]
    assert not missing, "without a docstring: " + ", ".join(missing)


def test_the_reference_shows_every_method():
    hidden = []
    for page in sorted(API.glob("*.md")):
        for name, options in CLASS.findall(page.read_text("utf-8")):
            shown = re.search(r"^   :members:(.*)$", options, re.MULTILINE)
            for key in members(resolve(name)):
                listed = re.search(rf"^ +{key}: ", resolve(name).__doc__ or "", re.MULTILINE)
                if not listed and (not shown or (shown[1].strip() and key not in shown[1])):
                    hidden.append(f"{name}.{key}")
    assert not hidden, "not on a page: " + ", ".join(hidden)
