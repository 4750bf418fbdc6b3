"""Repositories opened and images decoded with Hugging Face `datasets`; no code of theirs is run."""

import contextlib
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from advnets.data.dataset import DataError

# Encoded images held at a time; those of photographs are large.
BATCH = 100


def repository(hub_id: str, data_dir: str | os.PathLike[str] | None) -> tuple[str, str]:
    """The path that a Hub repository is read from, and how a result's record names it."""
    if data_dir is None:
        return hub_id, f"Hugging Face Hub, {hub_id}"
    folder = Path(data_dir) / hub_id
    if not folder.is_dir():
        raise DataError(
            f"there is no folder {folder}; --data-dir (or ADVNETS_DATA) must name a folder that "
            f"holds {hub_id} as on the Hub"
        )
    return str(folder), f"local mirror of {hub_id}"


def open_splits(path: str, *, local: bool, **options: Any) -> Mapping[str, Any]:
    """The splits of a repository, of a local mirror of one, or of what a builder reads."""
    import datasets

    # What is local is read as it is: the library's cache would hide a file that changed.
    return datasets.load_dataset(path, streaming=local, **options)


@contextlib.contextmanager
def explained(path: str) -> Iterator[None]:
    """Puts the path, and what to do, before whatever reading it raises."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except ConnectionError as error:
        raise DataError(
            f"{path} could not be fetched from the Hub; connect to the network, or give a local "
            "mirror with --data-dir or ADVNETS_DATA"
        ) from error
    except Exception as error:  # whatever the readers of damaged files raise
        raise DataError(
            f"{path} could not be read; if it is damaged, get it afresh: {reason(error)}"
        ) from error


def reason(error: Exception) -> str:
    """An error in one line."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def decoded(split: Any, column: str, *, by_path: bool = False) -> Iterator[tuple[str, Any]]:
    """Each row's name for a message, and its image as Pillow decodes it."""
    import datasets

    if column not in (split.column_names or []):
        raise DataError(f"there is no column {column!r}")
    decoder = datasets.Image()
    encoded = split.cast_column(column, datasets.Image(decode=False)).select_columns([column])
    batches = encoded.iter(batch_size=BATCH)
    values: Iterable[Any] = itertools.chain.from_iterable(batch[column] for batch in batches)
    if by_path:
        # A row of a folder is no more than a path here.
        values = sorted(values, key=lambda value: value["path"])
    for row, value in enumerate(values):
        name = f"row {row}"
        if value is None:
            raise DataError(f"{name} has no image")
        if value["path"]:
            name += f" ({value['path']})"
        try:
            picture = decoder.decode_example(value)
        except Exception as error:  # Pillow raises many kinds
            raise DataError(f"{name} could not be decoded: {reason(error)}") from error
        yield name, picture
