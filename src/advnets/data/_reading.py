"""Encoded images in splits, whatever they are read from, and how messages name them."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from advnets.data.dataset import DataError

# A row's name for a message, and its image file's bytes.
Encoded: TypeAlias = tuple[str, bytes]

# What messages show of a text from a file.
SHOWN = 200


@dataclasses.dataclass(frozen=True)
class Split:
    """Rows that hold image files.

    Attributes:
        columns: the names of all columns.
        images: those that hold images.
        rows: the rows of a column, in order.
        count: the number of rows, if it is known before they are read.
        values: reads a column that does not hold images, in order, if that is possible.
    """

    columns: tuple[str, ...]
    images: tuple[str, ...]
    rows: Callable[[str], Iterator[Encoded]]
    count: int | None = None
    values: Callable[[str], list[Any]] | None = None


def content_of(value: Any, row: int) -> tuple[str, bytes | None, str | None]:
    """A row's name, its bytes, and the path beside them, as a data set stores an image."""
    name = f"row {row}"
    if value is None:
        raise DataError(f"{name} has no image")
    if isinstance(value, bytes):
        return name, value, None
    if not isinstance(value, dict):
        raise DataError(f"{name} holds a {type(value).__name__}, not an image file; save it as PNG")
    path = value.get("path")
    return f"{name} ({shown(path)})" if path else name, value.get("bytes"), path


def no_bytes(name: str) -> DataError:
    """The error for a row that names a file or an address, which may be any on this machine."""
    return DataError(
        f"{name} has only the name of a file, which is not opened; the image's bytes must be in "
        "the row"
    )


@contextlib.contextmanager
def explained(path: str) -> Iterator[None]:
    """Adds the path, and what to do, to whatever reading it raises."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except ModuleNotFoundError:
        raise  # nothing is wrong with the data
    except ConnectionError as error:
        raise DataError(
            f"{path} could not be fetched from the Hub; connect to the network, or give a local "
            "mirror with --data-dir or ADVNETS_DATA"
        ) from error
    except Exception as error:  # whatever the readers of damaged files raise
        raise DataError(
            f"{path} could not be read; if it is damaged, get a fresh copy: {reason(error)}"
        ) from error


def reason(error: Exception) -> str:
    """An error in one line."""
    return shown(str(error).splitlines()[0]) if str(error) else type(error).__name__


def shown(text: object) -> str:
    """A text from a file, for a message: short, without control characters."""
    line = str(text)
    line = line if len(line) <= SHOWN else f"{line[:SHOWN]}..."
    return line if line.isprintable() else ascii(line)[1:-1]
