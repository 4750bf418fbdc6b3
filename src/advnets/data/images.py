"""Any data set of images: a repository of the Hub, or a folder."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from advnets.data._reading import decoded, explained, open_splits, repository
from advnets.data.dataset import DataError, Dataset, Fold

PARTS = ("train", "validation", "test")
# What repositories call the split that validates.
VALIDATION = ("validation", "valid", "val", "dev")
GREY = ("1", "L", "LA")
COLOUR = ("P", "RGB", "RGBA", "CMYK", "YCbCr")


def load_images(
    name: str, data_dir: str | os.PathLike[str] | None = None, *, image_size: int | None = None
) -> Dataset:
    """Any image data set, by its Hub id or as a folder of image files.

    Images: 8 bits for each of one channel if all images are grey, of three (RGB) otherwise;
    transparency is dropped. With `image_size`, each image is cropped to the square in its middle,
    and that is resized with Pillow's LANCZOS filter, which averages over the pixels it merges. Of
    several columns of images the first is read. A repository with several configurations must have
    a default one.

    Splits: those of the data set, where it has `train` and `test`, and `validation` (or `valid`,
    `val`, `dev`). Without a split to validate, row i of `train` validates if i mod 10 = 9. Without
    one to test, the split that would validate tests. A data set with a single split validates row
    i if i mod 10 = 8, and tests it if i mod 10 = 9. So the order of the rows doesn't matter where
    they are sorted by class. A folder's splits are what `datasets` takes them for (it goes by the
    names of folders and files, such as `train/` and `test/`), its rows in the order of the paths.

    Args:
        name: `"imagefolder"`, or the repository as `owner/name`.
        data_dir: the folder of images; or, for a repository, a local mirror that holds
            `<data_dir>/owner/name`. The Hub is asked unless given.
        image_size: the height and width of an image, in pixels; the images' own, which must be the
            same for all, unless given.

    Returns:
        The images, split.

    Raises:
        ValueError: if `image_size` is below 1.
        DataError: if the data can't be had, if an image can't be decoded or differs in size from
            the first, or if a part has no rows.
    """
    if image_size is not None and image_size < 1:
        raise ValueError(f"image_size must be at least 1 pixel; got {image_size}")
    if name == "imagefolder":
        path, source = _folder(data_dir)
    else:
        path, source = repository(name, data_dir)
    with explained(path):
        if name == "imagefolder":
            splits = open_splits(
                name, local=True, data_dir=path, drop_labels=True, drop_metadata=True
            )
        else:
            splits = open_splits(path, local=data_dir is not None)
        column = _column(splits)
        parts = _parts(_dealt(splits, column, by_path=name == "imagefolder"), image_size)
    details = f", column {column!r}" if name != "imagefolder" else ""
    if image_size is not None:
        details += f", cropped and resized to {image_size}×{image_size}"
    return Dataset(
        name=name,
        train=parts["train"],
        folds=(Fold(validation=parts["validation"], test=parts["test"]),),
        source=source + details,
    )


def _folder(data_dir: str | os.PathLike[str] | None) -> tuple[str, str]:
    if data_dir is None:
        raise DataError("imagefolder needs the folder of the images; name it with --data-dir")
    folder = Path(data_dir).resolve()
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}; name that of the images with --data-dir")
    return str(folder), f"folder of images, {folder.name}"


def _column(splits: Mapping[str, Any]) -> str:
    import datasets

    features = next(iter(splits.values())).features or {}
    for name, feature in features.items():
        if isinstance(feature, datasets.Image):
            return name
    raise DataError(f"no column holds images; the columns are {', '.join(features) or 'unknown'}")


def _deal(names: list[str]) -> dict[str, tuple[str, ...]]:
    """For each split to read, the parts that its rows go to in turn."""
    if len(names) == 1:
        return {names[0]: ("train",) * 8 + ("validation", "test")}
    spare = next((name for name in VALIDATION if name in names), None)
    if "train" not in names or not (spare or "test" in names):
        raise DataError(
            f"the splits are {', '.join(names)}; there must be train and test, or a single one"
        )
    if spare and "test" in names:
        return {"train": ("train",), spare: ("validation",), "test": ("test",)}
    return {"train": ("train",) * 9 + ("validation",), spare or "test": ("test",)}


def _dealt(
    splits: Mapping[str, Any], column: str, *, by_path: bool
) -> Iterator[tuple[str, str, Any]]:
    """The part of each row, its name for a message, and its image."""
    for split, parts in _deal(list(splits)).items():
        for row, (name, picture) in enumerate(decoded(splits[split], column, by_path=by_path)):
            yield parts[row % len(parts)], f"{name} of the {split} split", picture


def _parts(rows: Iterator[tuple[str, str, Any]], image_size: int | None) -> dict[str, np.ndarray]:
    """Each part's images in one array, which grows with them: no second copy is needed."""
    pixels = {part: bytearray() for part in PARTS}
    mode, size, first = "L", None, ""
    for part, name, picture in rows:
        picture = _prepared(picture, name, image_size)
        if size is None:
            size, first = picture.size, name
        if picture.size != size:
            raise DataError(
                f"{first} has {size[0]}×{size[1]} pixels and {name} has {picture.size[0]}×"
                f"{picture.size[1]}; give --image-size (image_size) to make them one size"
            )
        if picture.mode == "RGB" and mode == "L":
            mode = "RGB"
            pixels = {part: _coloured(grey) for part, grey in pixels.items()}
        pixels[part] += picture.convert(mode).tobytes()
    for part in PARTS:
        if not pixels[part]:
            raise DataError(f"there are too few rows: none is left for the {part} part")
    assert size is not None  # no part is empty
    width, height = size
    shape = (height, width) if mode == "L" else (height, width, 3)
    return {part: np.frombuffer(pixels[part], np.uint8).reshape(-1, *shape) for part in PARTS}


def _prepared(picture: Any, name: str, image_size: int | None) -> Any:
    from PIL.Image import Resampling

    if picture.mode not in GREY + COLOUR:
        raise DataError(
            f"{name} must be grey or RGB of 8 bits for each channel; got Pillow's mode "
            f"{picture.mode}, so convert the images"
        )
    picture = picture.convert("L" if picture.mode in GREY else "RGB")
    if image_size is None:
        return picture
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    square = picture.crop((left, top, left + side, top + side))
    return square.resize((image_size, image_size), Resampling.LANCZOS)


def _coloured(grey: bytearray) -> bytearray:
    """Grey pixels as RGB."""
    return bytearray(np.repeat(np.array(grey), 3))
