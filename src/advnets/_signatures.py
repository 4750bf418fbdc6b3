"""The arguments that a module takes when it is called."""

import inspect
from collections.abc import Callable
from typing import Any


def accepts_key(module: Callable[..., Any]) -> bool:
    """Whether a module takes `key=`."""
    parameters = inspect.signature(module).parameters.values()
    return any(p.name == "key" or p.kind is p.VAR_KEYWORD for p in parameters)
