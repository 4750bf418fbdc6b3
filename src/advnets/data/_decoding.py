"""Image files decoded with Pillow, and refused where that would silently lose something."""

import io
import re
import struct
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from advnets._extras import needed_for
from advnets.data._reading import Split, reason
from advnets.data.dataset import DataError

# Pillow's names for channels of 16 bits that it cuts to 8; those of "BGR;16" have 5.
CUT = re.compile(r"(L|LA|RGB|RGBA|RGBX|RGBa|CMYK|YCbCr|R|G|B|A);16.*")
ORIENTATION = 0x0112


class Picture(NamedTuple):  # a dataclass would check its fields at each of many rows
    """A decoded image.

    Attributes:
        name: its row, for messages.
        image: Pillow's image, upright.
        format: the file's format, such as `"PNG"`.
        several: whether the file holds more pages or frames, of which this is the first.
    """

    name: str
    image: Any
    format: str | None
    several: bool


def pictures(split: Split, column: str, most: int | None = None) -> Iterator[Picture]:
    """The images of a column, in order.

    Args:
        split: the split that holds them.
        column: the column.
        most: the most pixels of an image; Pillow's limit (178,956,970) unless given.

    Yields:
        An image; it may still have a mode of other than 8 bits, such as `"I;16"`.

    Raises:
        DataError: if there is no such column; or for an image that can't be decoded, is cut short
            or damaged, is a program (PostScript), or has colours of more than 8 bits.
    """
    with needed_for("images"):
        from PIL import Image, ImageOps, UnidentifiedImageError

    if column not in split.columns:
        raise DataError(f"there is no column {column!r}")
    # One function for all rows: a checked call for each would take as long as decoding a digit.
    for name, content in split.rows(column):
        try:
            image = Image.open(io.BytesIO(content))
            kind = image.format
            if kind == "EPS":
                raise DataError(f"{name} is PostScript, which is a program; convert it to PNG")
            width, height = image.size
            if most is not None and width * height > most:
                raise DataError(
                    f"{name} has {width}×{height} pixels, more than the {most} allowed for images "
                    "that are not resized; give --image-size (image_size)"
                )
            if kind == "PNG":
                # Pillow ends with the last pixel, whatever is missing or wrong after it.
                at, chunk = 8, b""
                while chunk != b"IEND":
                    length, chunk = struct.unpack_from(">I4s", content, at)
                    end = at + 12 + length
                    checksum = int.from_bytes(content[end - 4 : end], "big")
                    if zlib.crc32(content[at + 4 : end - 4]) != checksum:
                        raise DataError(f"{name} could not be decoded: a checksum in it is wrong")
                    at = end
                deep = bool(image.tile and CUT.fullmatch(str(image.tile[0][3])))
            else:
                deep = _deep(image, content)
            if deep:
                raise DataError(
                    f"{name} must be grey or RGB of 8 bits for each channel; got more bits, so "
                    "convert the images"
                )
            # The second picture in a camera's JPEG (MPO) is a preview.
            several = getattr(image, "is_animated", False) and kind != "MPO"
            image.load()
            turned = image.getexif().get(ORIENTATION) is not None
            upright = ImageOps.exif_transpose(image) if turned else image
        except DataError:
            raise
        except UnidentifiedImageError:
            raise DataError(f"{name} could not be decoded: no format that Pillow knows") from None
        except struct.error:
            raise DataError(f"{name} could not be decoded: the file is cut short") from None
        except Exception as error:  # Pillow raises many kinds
            raise DataError(f"{name} could not be decoded: {reason(error)}") from error
        yield Picture(name, upright, kind, several)


def _deep(image: Any, content: bytes) -> bool:
    """Whether a file that is not a PNG has channels of more than 8 bits, which Pillow cuts to 8."""
    if image.format == "JPEG2000":
        # The codestream's first two markers; the second ends in three bytes for each channel.
        start = content.find(b"\xff\x4f\xff\x51")
        bits = content[start + 42 :: 3][: len(image.getbands())]
        return start >= 0 and any(bit & 0x7F >= 8 for bit in bits)
    if image.format == "AVIF":
        start = content.find(b"av1C")
        return start >= 0 and bool(content[start + 6] & 0x40)
    for tile in image.tile:
        settings = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        if settings and CUT.fullmatch(str(settings[0])):
            return True
        if image.format == "PPM" and image.mode == "RGB" and settings[1:] and settings[1] > 255:
            return True
    return False
