"""Folders of data: the files in them, the split of each, and nothing from outside them.

The name of a folder or file is never taken for a pattern or an address, whatever its characters.
"""

import functools
import json
import os
import posixpath
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from advnets._extras import needed_for
from advnets.data._reading import Encoded, Split, content_of, no_bytes, shown
from advnets.data.dataset import DataError

# What repositories call the validation split.
VALIDATION = ("validation", "valid", "val", "dev")
# The words that name a split, as in Hugging Face `datasets`; between separators, in any case.
WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(VALIDATION, "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
SEPARATORS = re.compile(r"[-._ 0-9]+")
# How the Hub names the files of splits of any name.
SHARD = re.compile(r"data/([\w.]+)-\d{5}-of-\d{5}[^/]*")

PARQUET = ".parquet"
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
# A repository's card, in its README or alone.
CARDS = ("README.md", ".huggingface.yaml")
CARD_SIZE = 2**22

# Rows of a Parquet file held at a time; encoded photographs are large.
BATCH = 100


def image_folder(folder: Path) -> dict[str, Split]:
    """The splits of a folder of image files.

    Raises:
        DataError: if it has none, or archives, or some files that are in no split while others are.
    """
    files = _files(folder)
    archives = [name for name in files if _suffix(name) in ARCHIVES]
    if archives:
        raise DataError(f"{shown(archives[0])} is an archive; unpack it first, or remove it")
    images = [name for name in files if _suffix(name) in _image_suffixes()]
    if not images:
        raise DataError("there is no image file (.png, .jpg, ...) in the folder")
    return {split: _of_files(files, names) for split, names in by_words(images).items()}


def mirror(folder: Path) -> dict[str, Split] | None:
    """The splits of a local mirror of a Hub repository, if it holds Parquet or image files.

    Raises:
        DataError: if some files are in no split while others are, or for a card or a link that
            leads out of the folder.
    """
    files = _files(folder, root=root_of(folder))
    card = read_card([folder / name for name in CARDS])
    configuration = chosen(card)
    within = configuration.get("data_dir")
    names = [n for n in files if within is None or PurePosixPath(n).is_relative_to(within)]
    listed = patterns(configuration)
    splits = None if listed is None else _matching(names, listed, within or "")
    used = names if splits is None else [name for group in splits.values() for name in group]
    parquet = [n for n in used if _suffix(n) == PARQUET and PurePosixPath(n).stem != "metadata"]
    images = [n for n in used if _suffix(n) in _image_suffixes()]
    if not parquet and (not images or any(map(_other, used))):
        if splits is None:
            _check_words([n for n in used if n in images or _suffix(n) in ARCHIVES])
        return None
    data = set(parquet or images)
    splits = by_words(sorted(data), shards=True) if splits is None else splits
    kept = {split: [n for n in group if n in data] for split, group in splits.items()}
    if not parquet:
        return {split: _of_files(files, group) for split, group in kept.items()}
    described = _described(card, configuration)
    return {
        split: _of_parquet([files[name] for name in group], described)
        for split, group in kept.items()
        if group
    }


def by_words(names: list[str], *, shards: bool = False) -> dict[str, list[str]]:
    """Each split's files, by the first word for a split in a path; `"train"` without any.

    Args:
        names: the paths below the folder, in order.
        shards: `data/<split>-00000-of-00001...` names a split too.

    Raises:
        DataError: if some have such a word and others have none.
    """
    found: dict[str, list[str]] = {}
    reasons: dict[str, str] = {}
    without = []
    for name in names:
        word = _shard(name) if shards else None
        split, word = (word, word) if word else _word(name)
        if split is None:
            without.append(name)
        else:
            found.setdefault(split, []).append(name)
            reasons.setdefault(word, name)
    if found and without:
        word, name = next(iter(reasons.items()))
        raise DataError(
            f"{len(without)} of {len(names)} files would be left out: {word!r} in {shown(name)} "
            f"names a split, and nothing in {shown(without[0])} does; rename files, or sort all "
            "into the folders train and test"
        )
    order = (*dict.fromkeys(WORDS.values()), *sorted(found))
    return {split: found[split] for split in order if split in found} or {"train": without}


def _check_words(names: list[str]) -> None:
    """Refuses files that `datasets` would leave out, or put into another split."""
    by_words(names)
    for name in names:
        word = _word(name)[1]
        if word != word.lower():
            raise DataError(f"{shown(name)} has {word!r} for {word.lower()!r}; rename it")


def _word(name: str) -> tuple[str | None, str]:
    for part in PurePosixPath(name).parts:
        for word in SEPARATORS.split(part):
            if word.lower() in WORDS:
                return WORDS[word.lower()], word
    return None, ""


def _shard(name: str) -> str | None:
    match = SHARD.fullmatch(name)
    return match[1] if match else None


@functools.cache
def _image_suffixes() -> frozenset[str]:
    """The suffixes of the formats that Pillow reads."""
    with needed_for("images"):
        from PIL import Image

    Image.init()
    # HDF5 may hold anything, and Pillow recognises it only by its name.
    return frozenset(
        suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN
    ) - {".h5", ".hdf"}


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _other(name: str) -> bool:
    """Whether a file decides the rows in a way that only `datasets` knows."""
    return PurePosixPath(name).stem == "metadata" or _suffix(name) in ARCHIVES


def root_of(folder: Path) -> Path:
    """What a mirror's links may lead into: the folder, or the repository in the Hub's cache."""
    real = folder.resolve()
    return real.parent.parent if real.parent.name == "snapshots" else real


def _files(folder: Path, root: Path | None = None) -> dict[str, Path]:
    """The files below a folder by their path in it, in the order of the paths as text.

    Names that begin with a dot, and folders that begin with two underscores, are skipped.
    """
    seen = {_key(os.stat(folder))}
    found: dict[str, Path] = {}

    def visit(place: Path, above: str) -> None:
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                name, path = above + entry.name, place / entry.name
                if root is not None and entry.is_symlink():
                    _check_link(name, path, root)
                if entry.is_dir():
                    if entry.name.startswith("__"):
                        continue
                    key = _key(os.stat(path))
                    if key in seen:
                        raise DataError(
                            f"{shown(name)} is a link to a folder that is read already; remove it"
                        )
                    seen.add(key)
                    visit(path, f"{name}/")
                elif entry.is_file():
                    found[name] = path
                elif _suffix(name) in (PARQUET, *_image_suffixes()):
                    raise DataError(
                        f"{shown(name)} is not a file but a pipe, a socket, a device or a broken "
                        "link, so it is not opened; remove it"
                    )

    visit(folder, "")
    return dict(sorted(found.items()))


def _key(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _check_link(name: str, path: Path, root: Path) -> None:
    if path.is_dir() or not path.resolve().is_relative_to(root):
        raise DataError(
            f"{shown(name)} is a link to a folder or out of the mirror, which is not followed; "
            "replace it by a copy of what it points to"
        )


def _of_files(files: Mapping[str, Path], names: list[str]) -> Split:
    def rows(column: str) -> Iterator[Encoded]:
        for row, name in enumerate(names):
            yield f"row {row} ({shown(name)})", files[name].read_bytes()

    return Split(("image",), ("image",), rows, len(names))


def _of_parquet(paths: list[Path], described: tuple[str, ...]) -> Split:
    with needed_for("Parquet files"):
        import pyarrow.parquet

    count = 0
    for path in paths:
        with open(path, "rb") as file:
            parquet = pyarrow.parquet.ParquetFile(file)
            count += parquet.metadata.num_rows
            if path is paths[0]:
                schema = parquet.schema_arrow

    def rows(column: str) -> Iterator[Encoded]:
        row = 0
        for path in paths:
            with open(path, "rb") as file:
                parquet = pyarrow.parquet.ParquetFile(file)
                for batch in parquet.iter_batches(BATCH, columns=[column]):
                    for value in batch.column(column).to_pylist():
                        if isinstance(value, dict) and value.get("bytes") and not value.get("path"):
                            yield f"row {row}", value["bytes"]  # most rows, without a call
                        else:
                            name, content, _ = content_of(value, row)
                            if content is None:
                                raise no_bytes(name)
                            yield name, content
                        row += 1

    def values(column: str) -> list[Any]:
        parts = [pyarrow.parquet.read_table(path, columns=[column]) for path in paths]
        return [value for part in parts for value in part[column].to_pylist()]

    names = tuple(schema.names)
    images = described or _images_of(schema.metadata)
    return Split(names, tuple(name for name in names if name in images), rows, count, values)


def _images_of(metadata: Mapping[bytes, bytes] | None) -> tuple[str, ...]:
    """The columns of images, as `datasets` records them in a Parquet file."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(name for name, kind in features.items() if kind.get("_type") == "Image")
    except (AttributeError, KeyError, TypeError, ValueError):
        return ()


def _described(card: Mapping[str, Any], configuration: Mapping[str, Any]) -> tuple[str, ...]:
    """The columns of images, as a repository's card lists them."""
    infos = card.get("dataset_info")
    for info in infos if isinstance(infos, list) else [infos]:
        if not isinstance(info, dict) or not isinstance(info.get("features"), list):
            continue
        if info.get("config_name") in (None, configuration.get("config_name")):
            features = [x for x in info["features"] if isinstance(x, dict)]
            return tuple(x["name"] for x in features if x.get("dtype") == "image" and "name" in x)
    return ()


def read_card(paths: Iterable[Path]) -> dict[str, Any]:
    """The machine-readable part of a repository's card, from the files that exist."""
    card: dict[str, Any] = {}
    for path in paths:
        if not path.exists():
            continue
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > CARD_SIZE:
            raise DataError(f"{path.name} is not a file, or exceeds {CARD_SIZE} bytes; remove it")
        text = path.read_text("utf-8-sig")  # with any line end as "\n"
        card |= _yaml(path.name, _front(text) if path.suffix == ".md" else text)
    return card


def _front(text: str) -> str:
    """The block of YAML that a README begins with."""
    lines = text.lstrip().split("\n")
    if lines[0] != "---" or "---" not in lines[1:]:
        return ""
    return "\n".join(lines[1 : lines.index("---", 1)])


def _yaml(name: str, text: str) -> dict[str, Any]:
    with needed_for("a repository's card"):
        import yaml

    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise DataError(f"{name} is not valid YAML: {shown(str(error).splitlines()[0])}") from None
    if content is not None and not isinstance(content, dict):
        raise DataError(f"{name} must have names and values as YAML; correct or remove it")
    return content or {}


def chosen(card: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration that a card makes the default; an empty one if it has none.

    Raises:
        DataError: if there are several and no default one, or one leads out of the repository.
    """
    configurations = card.get("configs") or []
    if not isinstance(configurations, list) or not all(
        isinstance(configuration, dict) and isinstance(configuration.get("config_name"), str)
        for configuration in configurations
    ):
        raise DataError("the card's configs must be a list, each with its config_name")
    for configuration in configurations:
        _check_inside(configuration)
    if len(configurations) < 2:
        return configurations[0] if configurations else {}
    default = [x for x in configurations if x.get("default") or x["config_name"] == "default"]
    if len(default) != 1:
        names = ", ".join(shown(x["config_name"]) for x in configurations[:20])
        raise DataError(
            f"it has {len(configurations)} configurations ({names}) and {len(default)} default "
            "ones, and there is no option to choose; in a local mirror, keep one of them in the "
            "configs of README.md, or give it `default: true`"
        )
    return default[0]


def _check_inside(configuration: Mapping[str, Any]) -> None:
    folder = configuration.get("data_dir")
    if folder is not None and not isinstance(folder, str):
        raise DataError("a card's data_dir must be text")
    paths = [pattern for group in (patterns(configuration) or {}).values() for pattern in group]
    for path in [*paths, folder or ""]:
        if (
            "://" in path
            or "::" in path
            or ".." in re.split(r"[/\\]", path)
            or re.match(r"[/\\~]|[A-Za-z]:", path)
        ):
            raise DataError(
                f"the card names data outside of the repository, {shown(path)!r}, which is not "
                "opened; get a repository that holds its data"
            )


def patterns(configuration: Mapping[str, Any]) -> dict[str, list[str]] | None:
    """The patterns of each split's files in a configuration; None if it lists none."""
    listed = configuration.get("data_files")
    if listed is None:
        return None
    if isinstance(listed, str):
        listed = [listed]
    if isinstance(listed, list) and all(isinstance(pattern, str) for pattern in listed):
        listed = [{"split": "train", "path": listed}]
    splits: dict[str, list[str]] = {}
    for entry in listed if isinstance(listed, list) else [None]:
        split, paths = (
            (entry.get("split"), entry.get("path")) if isinstance(entry, dict) else (None, None)
        )
        paths = [paths] if isinstance(paths, str) else paths
        if (
            not isinstance(split, str)
            or split in splits
            or not isinstance(paths, list)
            or not all(isinstance(path, str) for path in paths)
        ):
            raise DataError(
                "a card's data_files must be paths, or a list with each split and its path"
            )
        splits[split] = paths
    return splits


def _matching(
    names: list[str], listed: Mapping[str, list[str]], within: str
) -> dict[str, list[str]]:
    """Each split's files, in the order of its patterns."""
    with needed_for("the patterns of a repository's card"):
        from fsspec.utils import glob_translate

    splits: dict[str, list[str]] = {}
    for split, paths in listed.items():
        splits[split] = []
        for path in paths:
            pattern = re.compile(glob_translate(posixpath.normpath(posixpath.join(within, path))))
            found = [name for name in names if pattern.match(name) or name == path]
            if not found:
                raise DataError(
                    f"the card names {shown(path)!r} for the split {shown(split)}, and there is no "
                    "such file; get a fresh copy"
                )
            splits[split] += found
    return splits
