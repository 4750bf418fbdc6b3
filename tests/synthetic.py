"""Small made-up data sets in the formats of real ones."""

import io

import datasets
from PIL import Image


def encoded(image, kind="PNG", mode=None):
    """An image file's bytes; `mode` is Pillow's, the array's own unless given."""
    picture = Image.fromarray(image)
    buffer = io.BytesIO()
    picture.convert(mode or picture.mode).save(buffer, kind)
    return buffer.getvalue()


def write_mirror(folder, splits, *, column="image", kind="PNG", mode=None):
    """Adds these splits, arrays of images, to a local mirror of a Hub repository.

    An entry that is bytes is stored as it is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    features = {column: datasets.Image(), "label": datasets.Value("int64")}
    for split, images in splits.items():
        rows = [
            {"bytes": x if isinstance(x, bytes) else encoded(x, kind, mode), "path": None}
            for x in images
        ]
        table = datasets.Dataset.from_dict(
            {column: rows, "label": [0] * len(rows)}, features=datasets.Features(features)
        )
        table.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return folder
