"""The data sets, as uint8 arrays split as in the paper.

`digits` comes with scikit-learn and needs no download. The others are read with Hugging Face
`datasets`, from the Hub or from a local mirror of its repositories.
"""

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8

Name = Literal["digits", "mnist"]


class DataError(ValueError):
    """The data are missing, damaged, or not what their name promises."""


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Images in three parts; the test rows are for final numbers only.

    Attributes:
        name: the data set's name.
        train: the images to train on, uint8 in 0..255.
        validation: the images that settings (a bandwidth, an epoch) are chosen on.
        test: the images that a final number is computed on, once.
        source: where they came from, for a result's record.
    """

    name: str
    train: UInt8[np.ndarray, " train *shape"]
    validation: UInt8[np.ndarray, " validation *shape"]
    test: UInt8[np.ndarray, " test *shape"]
    source: str


@dataclasses.dataclass(frozen=True)
class HubImages:
    """Where an image data set is on the Hugging Face Hub, and how the paper splits it.

    Attributes:
        hub_id: the repository, and its folder in a local mirror.
        column: the column that holds the images.
        shape: the shape of an image.
        train_rows: how many of the train split's rows are trained on; the rest validate.
        rows: how many rows the train and the test split must have.
    """

    hub_id: str
    column: str
    shape: tuple[int, ...]
    train_rows: int
    rows: tuple[int, int]


HUB = {
    "mnist": HubImages("ylecun/mnist", "image", (28, 28), 50_000, (60_000, 10_000)),
}


def load(name: Name, data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """Loads a data set by name.

    Splits: `mnist` as in the paper, rows 0–50,000 of the training set to train on, 50,000–60,000
    to validate, and its test set. `digits` (1,797 images of 8×8 pixels, 17 grey levels, scaled to
    0..255) has no published split; row i validates if i mod 7 = 5, tests if i mod 7 = 6, and is
    trained on otherwise, so that every writer is in all three parts.

    Args:
        name: `"digits"` or `"mnist"`.
        data_dir: a folder that mirrors Hub repositories (`<data_dir>/ylecun/mnist`, say); the
            environment variable `ADVNETS_DATA` unless given. Without either, the Hub is asked.

    Returns:
        The images, split.

    Raises:
        DataError: if the data can't be had, can't be read, or differ in size, number or type from
            what the data set is known to hold.

    Example:
        >>> import advnets
        >>> digits = advnets.data.load("digits")
        >>> digits.train.shape, digits.validation.shape, digits.test.shape
        ((1285, 8, 8), (256, 8, 8), (256, 8, 8))

    References:
        Released code, `mnist.yaml` (`start`, `stop`).
    """
    if name == "digits":
        return _digits()
    if name not in HUB:
        known = ", ".join(["digits", *HUB])
        raise DataError(f"unknown data set {name!r}; choose one of {known}")
    return _hub(name, HUB[name], data_dir or os.environ.get("ADVNETS_DATA"))


def _digits() -> Dataset:
    import sklearn.datasets

    pixels = sklearn.datasets.load_digits().images
    images = np.round(pixels * (255 / 16)).astype(np.uint8)
    # Neighbouring rows share a writer, and so do all parts. 7 has no factor in common with the
    # order of the classes.
    part = np.arange(len(images)) % 7
    return Dataset(
        name="digits",
        train=images[part < 5],
        validation=images[part == 5],
        test=images[part == 6],
        source="scikit-learn, load_digits()",
    )


def _hub(name: str, spec: HubImages, data_dir: str | os.PathLike[str] | None) -> Dataset:
    import datasets

    if data_dir is None:
        path, source = spec.hub_id, f"Hugging Face Hub, {spec.hub_id}"
    else:
        folder = Path(data_dir) / spec.hub_id
        path, source = str(folder), f"local mirror of {spec.hub_id}"
        if not folder.is_dir():
            raise DataError(
                f"there is no folder {folder}; --data-dir (or ADVNETS_DATA) must name a folder "
                f"that holds {spec.hub_id} as on the Hub"
            )
    try:
        # A mirror is read as it is: the library's cache would hide a file that changed.
        splits = datasets.load_dataset(path, streaming=data_dir is not None)
        parts = {split: _images(splits[split], spec) for split in ("train", "test")}
    except ConnectionError as error:
        raise DataError(
            f"{spec.hub_id} could not be fetched from the Hub; connect to the network, or give a "
            "local mirror with --data-dir or ADVNETS_DATA"
        ) from error
    except KeyError as error:
        raise DataError(f"{path} has no split or column {error}") from error
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except Exception as error:  # whatever the readers of damaged files raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path} could not be read, get it afresh: {reason}") from error
    for split, rows in zip(("train", "test"), spec.rows, strict=True):
        if len(parts[split]) != rows:
            raise DataError(
                f"{path}: the {split} split has {len(parts[split])} rows where {spec.hub_id} has "
                f"{rows}; get it afresh"
            )
    return Dataset(
        name=name,
        train=parts["train"][: spec.train_rows],
        validation=parts["train"][spec.train_rows :],
        test=parts["test"],
        source=source,
    )


def _images(split: Any, spec: HubImages) -> UInt8[np.ndarray, " n *shape"]:
    batches: Iterable[dict[str, Any]] = split.with_format("numpy").iter(batch_size=1000)
    parts = []
    for batch in batches:
        images = np.asarray(batch[spec.column])
        if images.dtype != np.uint8 or images.shape[1:] != spec.shape:
            raise DataError(
                f"the images must be uint8 of shape {spec.shape}; got {images.dtype} of shape "
                f"{images.shape[1:]}"
            )
        parts.append(images)
    if not parts:
        raise DataError("the split is empty")
    return np.concatenate(parts)
