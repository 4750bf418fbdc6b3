"""Small made-up data sets in the formats of real ones."""

import io
import types

import datasets
import numpy as np
import scipy.io
from PIL import Image

NAME = "someone/pictures"  # a repository of the Hub


def pictures(count, start=0, shape=(6, 6)):
    """Images of one brightness each, which is their row."""
    return [np.full(shape, start + row, np.uint8) for row in range(count)]


class FakeBuilder:
    """What `datasets` would open on the Hub."""

    def __init__(self, rows, name="parquet", data_files=None):
        self.rows, self.name = [*rows], name
        self.config = types.SimpleNamespace(data_files=data_files)

    def download_and_prepare(self):
        pass

    def as_dataset(self):
        column = datasets.Features({"image": datasets.Image()})
        table = datasets.Dataset.from_dict({"image": self.rows}, features=column)
        return datasets.DatasetDict({"train": table})


def encoded(image, kind="PNG", mode=None):
    """An image file's bytes; `mode` is Pillow's, the array's own unless given."""
    picture = Image.fromarray(image)
    buffer = io.BytesIO()
    picture.convert(mode or picture.mode).save(buffer, kind)
    return buffer.getvalue()


def write_mirror(folder, splits, *, column="image", kind="PNG", mode=None):
    """Adds these splits, arrays of images, to a local mirror of a Hub repository.

    An entry that is bytes is stored as it is; row i is of class i mod 10.
    """
    folder.mkdir(parents=True, exist_ok=True)
    features = {column: datasets.Image(), "label": datasets.Value("int64")}
    for split, images in splits.items():
        rows = [
            {"bytes": x if isinstance(x, bytes) else encoded(x, kind, mode), "path": None}
            for x in images
        ]
        table = datasets.Dataset.from_dict(
            {column: rows, "label": [i % 10 for i in range(len(rows))]},
            features=datasets.Features(features),
        )
        table.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return folder


def tfd_codes(labelled=50, unlabelled=40):
    """`folds` of TFD's kind: of the labelled rows each fold trains on 7/10, validates on 1/10 and
    tests on 2/10; the test parts cover the labelled rows, the validation parts lie within them.
    """
    rows = np.arange(labelled) % 10
    columns = []
    for fold in range(5):
        codes = np.ones(labelled, np.uint8)
        codes[(rows == 2 * fold) | (rows == 2 * fold + 1)] = 3
        codes[rows == (2 * fold + 2) % 10] = 2
        columns.append(codes)
    # As in the real file, labelled and unlabelled rows are not in one piece each.
    folds = np.concatenate([np.zeros((unlabelled, 5), np.uint8), np.stack(columns, axis=1)])
    return np.random.default_rng(0).permutation(folds)


def write_tfd(path, codes=None, *, compress=False, **fields):
    """A file in the layout of TFD_48x48.mat, a row for each row of `codes`; gives its fields.

    The first two pixels of an image hold its row, low byte first, the others noise. A keyword
    replaces a field, or drops it where it is None.
    """
    codes = tfd_codes() if codes is None else np.asarray(codes)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (len(codes), 48, 48), np.uint8)
    images[:, 0, 0], images[:, 0, 1] = np.arange(len(codes)) % 256, np.arange(len(codes)) // 256
    labels = np.where(codes.any(axis=1), 1 + np.arange(len(codes)) % 7, 0)
    stored = {
        "images": images,
        "folds": codes,
        "labs_ex": labels[:, None].astype(np.uint8),
        "labs_id": np.arange(len(codes), dtype=np.int32)[:, None] // 3,
    }
    stored = {name: value for name, value in (stored | fields).items() if value is not None}
    scipy.io.savemat(path, stored, do_compression=compress)
    return stored


def tfd_rows(images):
    """The rows of `write_tfd` that images come from."""
    return [int(image[0, 0]) + 256 * int(image[0, 1]) for image in images]
