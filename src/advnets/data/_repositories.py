"""Repositories read with Hugging Face `datasets`, without running any code of theirs."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from advnets import _progress
from advnets._extras import needed_for
from advnets.data import _local
from advnets.data._reading import Encoded, Split, content_of, no_bytes, shown
from advnets.data.dataset import DataError

# Rows of encoded images held at a time; those of photographs are large.
BATCH = 100
# What `datasets` takes for patterns or addresses in the path of a folder.
SPECIAL = ("[", "]", "*", "?", "::")


def repository(hub_id: str, data_dir: str | os.PathLike[str] | None) -> tuple[str, str]:
    """The path that a Hub repository is read from, and how a result's record names it."""
    if data_dir is None:
        return hub_id, f"Hugging Face Hub, {hub_id}"
    folder = Path(data_dir) / hub_id
    if not folder.is_dir():
        raise DataError(
            f"there is no folder {folder}; --data-dir (or ADVNETS_DATA) must name a folder that "
            f"holds {hub_id} as on the Hub; for a folder of your own images use --dataset "
            "imagefolder"
        )
    return str(folder), f"local mirror of {hub_id}"


def open_splits(path: str, *, local: bool) -> dict[str, Split]:
    """The splits of a repository on the Hub, or of a local mirror of one."""
    return _open_mirror(Path(path)) if local else _open_hub(path)


def _open_mirror(folder: Path) -> dict[str, Split]:
    splits = _local.mirror(folder)
    if splits is not None:
        return splits
    if not any(folder.iterdir()):
        raise DataError("the folder is empty; get the repository's files")
    path = str(folder.resolve())
    special = next((text for text in SPECIAL if text in path), None)
    if special:
        raise DataError(
            f"its path contains {special!r}; only Parquet and image files can be read from there; "
            "rename the folder"
        )
    with needed_for("the Hub's data"):
        import datasets

    builder = datasets.load_dataset_builder(path)
    # Local files are read directly: the library's cache would hide a file that changed.
    opened, root = builder.as_streaming_dataset(), _local.root_of(folder)
    return {name: _split(split, builder.name, [root]) for name, split in opened.items()}


def _open_hub(hub_id: str) -> dict[str, Split]:
    with needed_for("the Hub's data"):
        import datasets
        import huggingface_hub

    # Now: without a network, it takes a minute or two until that is certain.
    _progress.say(
        f"reading {hub_id} from the Hugging Face Hub (without a network, name a local mirror with "
        "--data-dir or ADVNETS_DATA)"
    )
    _local.chosen(_hub_card(hub_id))
    builder = datasets.load_dataset_builder(hub_id)
    for files in (builder.config.data_files or {}).values():
        for name in files:
            if not str(name).startswith("hf://"):
                raise DataError(f"it names data outside of the Hub, {shown(name)}; not opened")
    builder.download_and_prepare()
    opened = builder.as_dataset()
    caches = [Path(huggingface_hub.constants.HF_HUB_CACHE), Path(datasets.config.HF_DATASETS_CACHE)]
    return {name: _split(split, builder.name, caches) for name, split in opened.items()}


def _hub_card(hub_id: str) -> dict[str, Any]:
    """A repository's card, read before `datasets` opens what it names."""
    with needed_for("the Hub's data"):
        import huggingface_hub

    paths = []
    for name in _local.CARDS:
        try:
            paths.append(Path(huggingface_hub.hf_hub_download(hub_id, name, repo_type="dataset")))
        except huggingface_hub.errors.LocalEntryNotFoundError:  # nothing can be had
            break  # which `datasets` will say
        except Exception:  # there is none
            continue
    return _local.read_card(paths)


def _split(split: Any, builder: str, folders: list[Path]) -> Split:
    with needed_for("the Hub's data"):
        import datasets

    features = split.features or {}
    names = tuple(split.column_names or features)

    def rows(column: str) -> Iterator[Encoded]:
        plain = split.cast_column(column, datasets.Image(decode=False)).select_columns([column])
        batches = plain.iter(batch_size=BATCH)
        values = itertools.chain.from_iterable(batch[column] for batch in batches)
        for row, value in enumerate(values):
            name, content, path = content_of(value, row)
            if content is None:
                # In a folder of images, a row is only a path.
                if builder != "imagefolder" or not path or not _inside(path, folders):
                    raise no_bytes(name)
                content = _read(path)
            yield name, content

    def values(column: str) -> list[Any]:
        return [row[column] for row in split.select_columns([column])]

    return Split(
        names,
        tuple(name for name in names if isinstance(features.get(name), datasets.Image)),
        rows,
        len(split) if isinstance(split, datasets.Dataset) else None,
        values,
    )


def _inside(path: str, folders: list[Path]) -> bool:
    """Whether a path, perhaps in an archive, is that of a file in one of the folders."""
    *archived, last = path.split("::")
    real = Path(last).resolve()
    return all(hop.startswith("zip://") for hop in archived) and any(
        real.is_relative_to(folder.resolve()) and real.is_file() for folder in folders
    )


def _read(path: str) -> bytes:
    with needed_for("the Hub's data"):
        import fsspec

    if "::" not in path:
        return Path(path).read_bytes()
    with fsspec.open(path, "rb") as file:
        return file.read()
