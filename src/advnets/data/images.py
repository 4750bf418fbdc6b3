"""Any data set of images: a repository on the Hub, or a folder."""

import math
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from advnets._extras import needed_for
from advnets.data._decoding import Picture, pictures
from advnets.data._local import VALIDATION, image_folder
from advnets.data._reading import Split, explained, shown
from advnets.data._repositories import open_splits, repository
from advnets.data.dataset import DataError, Dataset, Fold

PARTS = ("train", "validation", "test")
GREY = ("1", "L", "LA")
COLOUR = ("P", "RGB", "RGBA", "CMYK", "YCbCr")

# The most pixels of an image read without `image_size`, or made with it: 4096×4096.
PIXELS = 2**24


def _memory() -> int:
    """The machine's memory in bytes, where Python can tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 2**34


# The most bytes that all images take together: half of the machine's memory.
BYTES = _memory() // 2


def load_images(
    name: str, data_dir: str | os.PathLike[str] | None = None, *, image_size: int | None = None
) -> Dataset:
    """Any image data set, by its Hub id or as a folder of image files.

    Images: 8 bits for each channel, of which there is one if all images are grey (also by their
    palette), and three (RGB) otherwise. Images of more bits are refused. Transparency is dropped,
    and of several pages or frames the first is read, both with a warning that counts the images.
    With `image_size`, each image is cropped to the square in its middle, which is resized with
    Pillow's LANCZOS filter, which averages over the pixels it merges. An image may have 4096×4096
    pixels (with `image_size`, some 179 million), and all together may take half of the machine's
    memory. Of several columns of images the first is read. A repository with several configurations
    must have a default one.

    Splits: those of the data set, if it has `train` and `test`, and `validation` (or `valid`,
    `val`, `dev`). Without a validation split, row i of `train` is for validation if i mod 10 = 9.
    Without a test split, the validation split is used for testing. In a data set with a single
    split, row i is for validation if i mod 10 = 8, and for testing if i mod 10 = 9. So it does no
    harm if rows are sorted by class.

    Files: the images of a folder, or of a mirror of image files, are all files in it, at any depth,
    with one of Pillow's extensions, in the order of their paths in it as text (`a-1/0.png`,
    `a/0.png`, `a/1.png`, `a/10.png`). Names that begin with a dot, and folders that begin with two
    underscores, are skipped. The first word for a split in a path names it, in any case, between
    separators (`-._ `, digits, `/`): train, training; validation, valid, val, dev; test, testing,
    eval, evaluation. Without such a word in any path, there is one split. If only some paths have
    one, that is an error, as the other files would be left out. A mirror's Parquet files are read
    row by row, in the order in which its README.md lists them, or else of their paths. Everything
    else, the Hub included, is read by `datasets`, with its own order and splits.

    Untrusted data: no code is run, no row or list of a repository opens an address or a file
    outside of it, and no pipe or device is opened.

    Args:
        name: `"imagefolder"`, or the repository as `owner/name`.
        data_dir: the folder of images; or, for a repository, a local mirror that holds
            `<data_dir>/owner/name`. The Hub itself unless given.
        image_size: the height and width of an image, in pixels; unless given, the images' own,
            which must be the same for all.

    Returns:
        The images, split.

    Raises:
        ValueError: if `image_size` is below 1 or above 4096.
        DataError: if the data are missing, if files would be left out, if an image can't be
            decoded, is too large or differs in size from the first, or if a part has no rows.
    """
    if image_size is not None and image_size < 1:
        raise ValueError(f"image_size must be at least 1 pixel; got {image_size}")
    if image_size is not None and image_size**2 > PIXELS:
        raise ValueError(
            f"image_size must be at most {math.isqrt(PIXELS)} pixels; got {image_size}"
        )
    if name == "imagefolder":
        path, source = _folder(data_dir)
    else:
        path, source = repository(name, data_dir)
    with explained(path):
        if name == "imagefolder":
            splits = image_folder(Path(path))
        else:
            splits = open_splits(path, local=data_dir is not None)
        column = _column(splits)
        read = _deal(list(splits))
        counts = [splits[split].count for split in read]
        count = sum(filter(None, counts)) if None not in counts else None
        parts = _parts(_dealt(splits, read, column, image_size), count, image_size)
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
        raise DataError(
            "imagefolder needs the folder of the images; name it with --data-dir, or in Python by "
            'load("imagefolder", FOLDER)'
        )
    folder = Path(data_dir).resolve()
    if not folder.is_dir():
        raise DataError(
            f"there is no folder {folder}; name that of the images with --data-dir, or in Python "
            'by load("imagefolder", FOLDER)'
        )
    return str(folder), f"folder of images, {folder.name}"


def _column(splits: Mapping[str, Split]) -> str:
    first = next(iter(splits.values()))
    if not first.images:
        columns = ", ".join(map(shown, first.columns)) or "unknown"
        raise DataError(f"no column holds images; the columns are {columns}")
    return first.images[0]


def _deal(names: list[str]) -> dict[str, tuple[str, ...]]:
    """For each split to read, the parts that its rows are assigned to in turn."""
    if len(names) == 1:
        return {names[0]: ("train",) * 8 + ("validation", "test")}
    spare = next((name for name in VALIDATION if name in names), None)
    if "train" not in names or not (spare or "test" in names):
        raise DataError(
            f"the splits are {shown(', '.join(names))}; there must be train and test, or a single "
            "one"
        )
    if spare and "test" in names:
        return {"train": ("train",), spare: ("validation",), "test": ("test",)}
    return {"train": ("train",) * 9 + ("validation",), spare or "test": ("test",)}


def _dealt(
    splits: Mapping[str, Split],
    read: Mapping[str, tuple[str, ...]],
    column: str,
    image_size: int | None,
) -> Iterator[tuple[str, str, Picture]]:
    """The part of each row, its name for a message, and its image."""
    most = PIXELS if image_size is None else None
    for split, parts in read.items():
        for row, picture in enumerate(pictures(splits[split], column, most)):
            yield parts[row % len(parts)], f"{picture.name} of the {shown(split)} split", picture


def _parts(
    rows: Iterator[tuple[str, str, Picture]], count: int | None, image_size: int | None
) -> dict[str, np.ndarray]:
    """Each part's images in one array, which grows with them: no second copy is needed."""
    pixels = {part: bytearray() for part in PARTS}
    mode, size, first = "L", None, ""
    lost: Counter[str] = Counter()
    for number, (part, name, picture) in enumerate(rows, start=1):
        lost.update(_lost(picture))
        image = _prepared(picture.image, name, image_size)
        if size is None:
            size, first = image.size, name
        if image.size != size:
            raise DataError(
                f"{first} has {size[0]}×{size[1]} pixels and {name} has {image.size[0]}×"
                f"{image.size[1]}; give --image-size (image_size) to make them one size"
            )
        channels = 3 if "RGB" in (mode, image.mode) else 1
        _check_room(max(number, count or 0), size, channels)
        if channels == 3 and mode == "L":
            mode = "RGB"
            pixels = {part: _coloured(grey) for part, grey in pixels.items()}
        pixels[part] += image.convert(mode).tobytes()
    for part in PARTS:
        if not pixels[part]:
            raise DataError(f"there are too few rows: none is left for the {part} part")
    assert size is not None  # no part is empty
    for loss, images in lost.items():
        warnings.warn(f"{images} of {number} images {loss}", stacklevel=3)
    width, height = size
    shape = (height, width) if mode == "L" else (height, width, 3)
    return {part: np.frombuffer(pixels[part], np.uint8).reshape(-1, *shape) for part in PARTS}


def _check_room(count: int, size: tuple[int, int], channels: int) -> None:
    """Refuses images that don't fit in memory, once their number is known."""
    needed = count * size[0] * size[1] * channels
    if needed > BYTES:
        raise DataError(
            f"{count} images of {size[0]}×{size[1]} pixels take {needed} bytes, more than half of "
            f"the machine's memory ({BYTES}); give a smaller --image-size (image_size)"
        )


def _lost(picture: Picture) -> Iterator[str]:
    """The parts of an image that are not read, for a warning."""
    if picture.several:
        yield "have more than one page or frame, and the first is read; save each as a file"
    image = picture.image
    alpha = image.mode in ("LA", "RGBA") or "transparency" in image.info
    if alpha and image.convert("RGBA").getextrema()[3][0] < 255:
        yield "are transparent in places, where their hidden colours are read; flatten them first"


def _prepared(image: Any, name: str, image_size: int | None) -> Any:
    with needed_for("images"):
        from PIL.Image import Resampling

    if image.mode not in GREY + COLOUR:
        raise DataError(
            f"{name} must be grey or RGB of 8 bits for each channel; got Pillow's mode "
            f"{image.mode}, so convert the images"
        )
    grey = image.mode in GREY or (image.mode == "P" and _grey(image.convert("RGB")))
    image = image.convert("L" if grey else "RGB")
    if image_size is None:
        return image
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return square.resize((image_size, image_size), Resampling.LANCZOS)


def _grey(image: Any) -> bool:
    """Whether the channels of an RGB image are equal."""
    pixels = np.asarray(image)
    return bool((pixels == pixels[..., :1]).all())


def _coloured(grey: bytearray) -> bytearray:
    """Grey pixels as RGB."""
    return bytearray(np.repeat(np.array(grey), 3))
