"""Packages of the optional extras: a missing one is named, with how to install it."""

import contextlib
from collections.abc import Iterator
from typing import Literal

Extra = Literal["bench", "verify", "tensorboard"]
# The packages of the extras, by the name they are imported under: the name to install.
PACKAGES = {
    "datasets": "datasets",
    "flint": "python-flint",
    "fsspec": "fsspec",
    "huggingface_hub": "huggingface_hub",
    "jinja2": "jinja2",
    "markupsafe": "jinja2",
    "matplotlib": "matplotlib",
    "PIL": "pillow",
    "pyarrow": "pyarrow",
    "sklearn": "scikit-learn",
    "threadpoolctl": "scikit-learn",
    "tensorboardX": "tensorboardX",
    "tyro": "tyro",
    "yaml": "PyYAML",
}


class MissingExtraError(ModuleNotFoundError):
    """A package of an extra is not installed; the message says what needs it, and what to do."""


@contextlib.contextmanager
def needed_for(what: str, extra: Extra = "bench") -> Iterator[None]:
    """A context for the import of a package that an extra provides.

    Args:
        what: what needs it, as in "scikit-learn, needed for the digits, is not installed".
        extra: the extra that provides it.

    Raises:
        MissingExtraError: if it is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as missing:
        package = PACKAGES.get((missing.name or "").partition(".")[0])
        if package is None:
            raise
        raise MissingExtraError(
            f"{package}, needed for {what}, is not installed; pip install 'advnets[{extra}]'",
            name=missing.name,
        ) from None
