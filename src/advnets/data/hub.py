"""The paper's data sets that are on the Hugging Face Hub."""

import dataclasses
import hashlib
import os
import warnings

import numpy as np
from jaxtyping import Int, UInt8

from advnets.data._decoding import pictures
from advnets.data._reading import Split, explained
from advnets.data._repositories import open_splits, repository
from advnets.data.dataset import DataError, Dataset, Fold


@dataclasses.dataclass(frozen=True)
class HubImages:
    """Where an image data set is on the Hugging Face Hub, and how the paper splits it.

    Attributes:
        hub_id: the repository, and its folder in a local mirror.
        column: the column that holds the images, which the Hub has as PNG.
        shape: the shape of an image.
        train_rows: the number of the train split's rows for training; the rest are for validation.
        rows: how many rows the train and the test split must have.
        sha256: the digest of both splits' pixels, train before test, row by row; None if not known.
    """

    hub_id: str
    column: str
    shape: tuple[int, ...]
    train_rows: int
    rows: tuple[int, int]
    sha256: str | None = None


# The column of classes, and the splits, of both data sets.
LABEL = "label"
PARTS = ("train", "test")
HUB = {
    # The pixels of train-images-idx3-ubyte (MD5 6bbc9ace898e44ae57da46a324031adb) and of
    # t10k-images-idx3-ubyte (MD5 2646ac647ad5339dbf082846283269ea).
    "mnist": HubImages(
        "ylecun/mnist",
        "image",
        (28, 28),
        50_000,
        (60_000, 10_000),
        "5b92582eb909c82a9bfefcd44acbe9233be3eb5b419a44cf211022ad2bf4bf96",
    ),
    "cifar10": HubImages("uoft-cs/cifar10", "img", (32, 32, 3), 40_000, (50_000, 10_000)),
}


def load_hub(name: str, data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """MNIST or CIFAR-10, from a local mirror or from the Hub, with the rows in the Hub's order.

    A mirror may hold JPEG images where the Hub has PNG, which is lossless. These are loaded, but
    `source` then ends in "lossy copy (not PNG)": a number computed on them isn't comparable with
    one computed on the originals. MNIST's pixels and their order are verified by their SHA-256; if
    they differ, there is a warning, and `source` ends in "not the original images". CIFAR-10 is
    verified only by the size, number and type of its images.

    Args:
        name: a key of `HUB`.
        data_dir: the mirror; the Hub itself unless given.

    Returns:
        The images, split.

    Raises:
        DataError: if the name is unknown, or the data are missing, can't be read, or differ in
            size, number or type from what the data set is known to hold.
    """
    if name not in HUB:
        raise DataError(f"unknown data set {name!r}; choose one of {', '.join(sorted(HUB))}")
    spec = HUB[name]
    path, source = repository(spec.hub_id, data_dir)
    with explained(path):
        splits = open_splits(path, local=data_dir is not None)
        for split in PARTS:
            if split not in splits:
                raise DataError(f"there is no split {split!r}")
        train, lossy_train = _images(splits["train"], "train", spec, spec.rows[0])
        test, lossy_test = _images(splits["test"], "test", spec, spec.rows[1])
        labels, test_labels = (_labels(splits[s], n) for s, n in zip(PARTS, spec.rows, strict=True))
    if lossy_train or lossy_test:
        source += ", lossy copy (not PNG)"
    elif spec.sha256 not in (None, _sha256(train, test)):
        source += ", not the original images"
        warnings.warn(
            f"{path} holds other images than {spec.hub_id}, or in another order (their SHA-256 "
            "differs): numbers computed on them are not comparable; get a fresh copy",
            stacklevel=2,
        )
    return Dataset(
        name=name,
        train=train[: spec.train_rows],
        folds=(
            Fold(
                validation=train[spec.train_rows :],
                test=test,
                validation_labels=None if labels is None else labels[spec.train_rows :],
                test_labels=test_labels,
            ),
        ),
        source=source,
        train_labels=None if labels is None else labels[: spec.train_rows],
    )


def _labels(split: Split, rows: int) -> Int[np.ndarray, " n"] | None:
    """The rows' classes; None if there is no such column of integers."""
    if split.values is None or LABEL not in split.columns:
        return None
    found = np.asarray(split.values(LABEL))
    return found if found.shape == (rows,) and found.dtype.kind == "i" else None


def _sha256(*parts: np.ndarray) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.data)
    return digest.hexdigest()


def _images(
    split: Split, split_name: str, spec: HubImages, rows: int
) -> tuple[UInt8[np.ndarray, " n *shape"], bool]:
    """A split's images, and whether any of them was in a format other than PNG."""
    mode = "L" if len(spec.shape) == 2 else "RGB"
    images = np.empty((rows, *spec.shape), np.uint8)
    count, lossy = 0, False
    for picture in pictures(split, spec.column):
        image = np.asarray(picture.image)
        if picture.image.mode != mode or image.shape != spec.shape:
            raise DataError(
                f"the images must be uint8 of shape {spec.shape}; got {image.dtype} of shape "
                f"{image.shape} (Pillow's mode {picture.image.mode}) in {picture.name} of the "
                f"{split_name} split"
            )
        if count < rows:
            images[count] = image
        count += 1
        lossy = lossy or picture.format != "PNG"  # what the Hub has
    if count != rows:
        raise DataError(
            f"the {split_name} split has {count} rows where {spec.hub_id} has {rows}; get a fresh "
            "copy"
        )
    return images, lossy
