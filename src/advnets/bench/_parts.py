"""Finished parts of a long command, kept on disk: an interrupted call does not repeat them."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from advnets.bench import results


class Part(msgspec.Struct, frozen=True):
    """A finished part.

    Attributes:
        identity: of everything that it depends on, see `identity_of`.
    """

    identity: str


AnyPart = TypeVar("AnyPart", bound=Part)


def identity_of(parts: Sequence[Any]) -> str:
    """The SHA-256 of JSON values."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def read_kept(path: Path, kind: type[AnyPart], identity: str) -> AnyPart | None:
    """A finished part, if its file is whole and has this identity."""
    if not path.is_file():
        return None
    try:
        found = results.read(path, kind)
    except ValueError:
        return None  # damaged: it is done again
    return found if found.identity == identity else None
