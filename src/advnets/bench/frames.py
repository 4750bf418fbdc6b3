"""Small pictures of a run during training: samples at every evaluation, and training images.

They have the images' own resolution; a page scales them.
"""

import io
import math
import re
from pathlib import Path

import numpy as np
from jaxtyping import Float, Real, UInt8

from advnets import _files
from advnets._counts import check_count
from advnets._extras import needed_for
from advnets.bench.folders import SAMPLES

SHEET = f"{SAMPLES}/training.png"
FILTERS = "filters.png"
# The most pictures of samples that are kept; longer runs keep every second evaluation's, and so on.
MOST_FRAMES = 32
# The most bytes of training images on the sheet, and its number of columns.
SHEET_BYTES, SHEET_COLUMNS = 800_000, 25


def mosaic(
    images: Real[np.ndarray, " n *shape"], columns: int, gap: int = 0
) -> UInt8[np.ndarray, "height width *channels"]:
    """Images tiled row by row.

    Args:
        images: the images of complete rows, uint8 or in [0, 1]; each of shape (height, width),
            (height, width, 1) or (height, width, 3).
        columns: the number of images in a row.
        gap: the white space between images, and around them, in pixels.

    Returns:
        The picture.

    Raises:
        ValueError: if an image has another shape, or the last row is not complete; if the gap is
            below 0, or 2**31 or more.

    Example:
        >>> import numpy as np
        >>> from advnets.bench.frames import mosaic
        >>> mosaic(np.zeros((4, 8, 8)), columns=2, gap=1).shape
        (19, 19)
    """
    if images.ndim == 4 and images.shape[-1] == 1:
        images = images[..., 0]
    if images.ndim != 3 and not (images.ndim == 4 and images.shape[-1] == 3):
        raise ValueError(f"an image has a height, a width and 1 or 3 channels; got {images.shape}")
    check_count("the gap", gap, 0)
    if columns < 1 or len(images) == 0 or len(images) % columns:
        raise ValueError(f"{len(images)} images do not fill rows of {columns}")
    pixels = images if images.dtype == np.uint8 else np.rint(255 * images.clip(0, 1))
    around = [(0, 0), (gap, 0), (gap, 0), *[(0, 0)] * (images.ndim - 3)]
    cells = np.pad(pixels.astype(np.uint8), around, constant_values=255)
    rows, (height, width), channels = len(cells) // columns, cells.shape[1:3], cells.shape[3:]
    tiled = cells.reshape(rows, columns, height, width, *channels).swapaxes(1, 2)
    picture = tiled.reshape(rows * height, columns * width, *channels)
    return np.pad(picture, [(0, gap), (0, gap), *around[3:]], constant_values=255)


def png(picture: UInt8[np.ndarray, "height width *channels"]) -> bytes:
    """A picture, grey or coloured, as a PNG file.

    Args:
        picture: the pixels, at least one.

    Returns:
        The file's content.

    Raises:
        ValueError: if there are no pixels, or they are neither grey levels nor RGB.
    """
    grey = picture.ndim == 2
    if picture.size == 0 or not (grey or (picture.ndim == 3 and picture.shape[2] == 3)):
        raise ValueError(
            "a picture needs a height and a width above 0, and 3 channels if in colour; got an "
            f"array of shape {picture.shape}"
        )
    with needed_for("pictures"):
        from PIL import Image

    content = io.BytesIO()
    Image.fromarray(picture).save(content, format="png")
    return content.getvalue()


def write_frame(
    folder: Path, epoch: int, every: int, images: Real[np.ndarray, " n *shape"], columns: int
) -> None:
    """Writes the samples of an epoch, and removes surplus ones of earlier epochs.

    The remaining files depend only on the epoch, so a resumed run has the same files.

    Args:
        folder: the run's.
        epoch: the epoch's number.
        every: the number of epochs between evaluations.
        images: the samples as they are shown, in [0, 1].
        columns: the number of samples in a row.

    Raises:
        ValueError: as [`advnets.bench.frames.mosaic`][], for arrays that are not images, or
            incomplete rows.
    """
    place = folder / SAMPLES
    place.mkdir(exist_ok=True)
    gap = max(1, images.shape[2] // 14) if images.ndim > 2 else 1
    _files.replace(place / f"epoch-{epoch:06}.png", png(mosaic(images, columns, gap)))
    step = every
    while epoch // step > MOST_FRAMES:
        step *= 2
    for number, path in frames(folder).items():
        if number > epoch or (number != epoch and number % step):
            path.unlink()


def frames(folder: Path) -> dict[int, Path]:
    """The pictures of samples in a run's folder, by epoch.

    Args:
        folder: the run's.

    Returns:
        Their files, in order of the epochs.
    """
    found = {}
    for path in (folder / SAMPLES).glob("epoch-*.png"):
        if match := re.fullmatch(r"epoch-(\d{6,9})\.png", path.name):
            found[int(match[1])] = path
    return dict(sorted(found.items()))


def write_sheet(
    folder: Path,
    images: UInt8[np.ndarray, " n *shape"],
    *,
    name: str = SHEET,
    columns: int = SHEET_COLUMNS,
    most: int | None = None,
) -> None:
    """Writes the first images of a data set, in complete rows, unless already written.

    Args:
        folder: the run's.
        images: the images.
        name: the name of the file; that of training images unless given.
        columns: the number of images in a row, or all of them if there are fewer.
        most: the most images; as many as a page has room for unless given.

    Raises:
        ValueError: if there are none, or a number is below 1; as [`advnets.bench.frames.mosaic`][],
            for arrays that are not images.
    """
    if images.size == 0:
        raise ValueError(f"a sheet shows at least 1 image; got an array of shape {images.shape}")
    path = folder / name
    most = max(1, SHEET_BYTES // images[0].size) if most is None else most
    check_count("the number of images", most)
    check_count("the number of columns", columns)
    count = min(len(images), most)
    columns = min(columns, count)
    content = png(mosaic(images[: count - count % columns], columns))
    if not path.exists() or path.read_bytes() != content:
        path.parent.mkdir(exist_ok=True)
        _files.replace(path, content)


def sheet_count(folder: Path, shape: tuple[int, ...]) -> int:
    """The number of training images on a run's sheet.

    Args:
        folder: the run's.
        shape: the shape of an image.

    Returns:
        The number of images; 0 if there is no sheet.

    Raises:
        ValueError: if the shape has no height and width.
    """
    if len(shape) < 2 or 0 in shape:
        raise ValueError(f"an image needs a height and a width above 0; got shape {shape}")
    with needed_for("pictures"):
        from PIL import Image

    if not (folder / SHEET).is_file():
        return 0
    with Image.open(folder / SHEET) as picture:
        width, height = picture.size
    return (height // shape[0]) * (width // shape[1])


def write_filters(
    folder: Path, weights: Float[np.ndarray, "pixels units"], shape: tuple[int, ...]
) -> None:
    """Writes the weights between the pixels and the first hidden units as pictures: `filters.png`.

    Args:
        folder: the run's.
        weights: the weights; at most the first 100 units are shown. Grey is 0; white or black is a
            unit's weight with the largest absolute value.
        shape: the shape of an image.

    Raises:
        ValueError: if there are no weights, or an image has another number of pixels; as
            [`advnets.bench.frames.mosaic`][], for shapes that are not images.
    """
    if weights.size == 0 or math.prod(shape) != len(weights):
        raise ValueError(
            f"filters need a row of weights for each pixel of an image of shape {shape}; got an "
            f"array of shape {weights.shape}"
        )
    columns = min(10, weights.shape[1])
    shown = np.asarray(weights[:, : min(100, weights.shape[1] // columns * columns)], np.float64).T
    largest = np.abs(shown).max(axis=1, keepdims=True)
    grey = 0.5 + 0.5 * shown / np.where(largest > 0, largest, 1)
    _files.replace(folder / FILTERS, png(mosaic(grey.reshape(-1, *shape), columns, 1)))
