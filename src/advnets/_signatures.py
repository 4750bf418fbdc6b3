"""What a module that is called can be given."""

import inspect
from collections.abc import Callable
from typing import Any


def accepts_key(module: Callable[..., Any]) -> bool:
    """Whether it takes `key=`."""
    parameters = inspect.signature(module).parameters.values()
    return any(p.name == "key" or p.kind is p.VAR_KEYWORD for p in parameters)
