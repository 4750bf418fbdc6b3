"""JSON from untrusted files: converted to a type, or refused in a sentence.

A sealed document holds the SHA-256 of its own content, so a change of one bit is found.
"""

import hashlib
import json
import math
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from advnets import _files

# What JSON holds.
Json: TypeAlias = bool | int | float | str | list[Any] | dict[str, Any] | None

# Deeper nesting is refused, so that no reader runs out of stack.
DEPTH = 100
# The largest document that is read, in bytes.
LARGEST_DOCUMENT = 2**26
# The entries of a sealed document beside its content, and the version of the form.
FORMAT_ENTRY, DIGEST_ENTRY, FORMAT = "format", "sha256", 1


def read_bytes(path: Path) -> bytes:
    """A document's bytes.

    Args:
        path: the file.

    Returns:
        Its content.

    Raises:
        ValueError: if it is missing, not an ordinary file, or larger than any document of advnets.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ValueError(f"{path} can't be read: it is not a file")
        if found.st_size > LARGEST_DOCUMENT:
            raise ValueError(
                f"{path} can't be read: it has {found.st_size} bytes, and at most "
                f"{LARGEST_DOCUMENT} are read; it is damaged"
            )
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} can't be read ({error.strerror}); the run is damaged") from None


def parse(content: bytes, source: object) -> Json:
    """What a JSON document holds.

    Args:
        content: the document, UTF-8.
        source: what it was read from, for error messages.

    Returns:
        Its content.

    Raises:
        ValueError: if it is not JSON, nests too deeply or holds a number that is not finite; the
            message names the field.
    """
    try:
        found: Json = json.loads(content.decode())
        wrong = _wrong(found)
        if wrong is not None:
            raise ValueError(wrong)
    except (ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"{source} can't be read ({error}); it is damaged") from None
    return found


def _wrong(document: Json) -> str | None:
    """The first thing that is wrong with parsed JSON, whatever its type."""
    to_see: list[tuple[Json, str, int]] = [(document, "$", 0)]
    while to_see:
        value, path, depth = to_see.pop()
        if isinstance(value, float) and not math.isfinite(value):
            return f"Expected a finite number - at `{path}`"
        if not isinstance(value, dict | list):
            continue
        if depth == DEPTH:
            return f"More than {DEPTH} levels - at `{path[:40]}...`"
        if isinstance(value, dict):
            inner = [(part, f"{path}.{key}", depth + 1) for key, part in value.items()]
        else:
            inner = [(part, f"{path}[{number}]", depth + 1) for number, part in enumerate(value)]
        to_see += reversed(inner)
    return None


def decode(content: bytes, kind: Any, source: object) -> Any:
    """JSON as a type.

    Args:
        content: the JSON.
        kind: the type.
        source: what it was read from, for error messages.

    Returns:
        A value of the type. Fields that the type does not have are ignored.

    Raises:
        ValueError: if it is not JSON, or not of the type, or holds a number that is not finite; the
            message names the field.

    Example:
        >>> from advnets._documents import decode
        >>> decode(b'{"mean": 225.0}', dict[str, float], "a file")
        {'mean': 225.0}
    """
    return convert(parse(content, source), kind, source)


def convert(found: Json, kind: Any, source: object) -> Any:
    """Parsed JSON as a type, as `decode`."""
    try:
        return msgspec.convert(found, kind)
    except msgspec.ValidationError as error:
        raise ValueError(f"{source} can't be read ({error}); it is damaged") from None


def _digest(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def seal(content: Mapping[str, Any]) -> bytes:
    """A document with its own SHA-256, as indented JSON.

    Args:
        content: what the document holds, by name.

    Returns:
        The document.
    """
    sealed = {**content, FORMAT_ENTRY: FORMAT}
    sealed.pop(DIGEST_ENTRY, None)  # from an earlier sealing
    sealed[DIGEST_ENTRY] = _digest(sealed)
    return (json.dumps(sealed, indent=2, allow_nan=False) + "\n").encode()


def unseal(content: bytes, source: object) -> tuple[dict[str, Any], bool]:
    """What a document holds, and whether it is sealed.

    Args:
        content: the document.
        source: what it was read from, for error messages.

    Returns:
        Its content, and whether it carries its SHA-256; those of earlier versions do not.

    Raises:
        ValueError: as `parse`; or if the content is not what was sealed.
    """
    found = parse(content, source)
    if not isinstance(found, dict):
        raise ValueError(f"{source} can't be read (Expected `object`); it is damaged")
    # A flipped bit damages at most one of the two entries.
    if FORMAT_ENTRY not in found and DIGEST_ENTRY not in found:
        return found, False
    stored = found.pop(DIGEST_ENTRY, None)
    if stored != _digest(found):
        raise ValueError(
            f"{source} was changed after it was written: it does not match its SHA-256; restore it "
            "from a copy"
        )
    if found.pop(FORMAT_ENTRY, None) != FORMAT:
        raise ValueError(
            f"{source} has a form that this version of advnets does not read; use the version that "
            "wrote it"
        )
    return found, True


def read_sealed(path: Path, kind: Any) -> Any:
    """Reads a sealed document, or an unsealed one of an earlier version, as a type."""
    content, _ = unseal(read_bytes(path), path)
    return convert(content, kind, path)


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a sealed document to a file, atomically."""
    _files.replace(path, seal(content))


def printable(text: str) -> str:
    """Text with control characters, which could rewrite a terminal, replaced by escapes."""
    return "".join(
        character
        if character.isprintable() or character == "\n"
        else character.encode("unicode_escape").decode()
        for character in text
    )
