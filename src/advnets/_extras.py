"""Packages of the optional extras: where one is missing, it is named with its remedy."""

import contextlib
from collections.abc import Iterator
from typing import Literal

Extra = Literal["bench", "verify", "tensorboard"]
# What the extras bring, as it is imported and as it is installed.
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
    """A package of an extra is not installed; the message says what needs it, and the remedy."""


@contextlib.contextmanager
def needed_for(what: str, extra: Extra = "bench") -> Iterator[None]:
    """Around the import of a package that an extra brings.

    Args:
        what: what needs it, as in "scikit-learn, needed for the digits, is not installed".
        extra: the extra that brings it.

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
