"""What the package offers: its public modules, and their functions, classes and methods."""

import importlib
import inspect
import pkgutil
import re
from typing import TypeVar

import advnets
import advnets.bench


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


def documented_callables():
    for name, value in public_values():
        if callable(value):
            yield name, value
        if inspect.isclass(value):
            methods = [(key, method) for key, method in vars(value).items() if key[0] != "_"]
            yield from ((f"{name}.{k}", m) for k, m in methods if inspect.isfunction(m))


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
