"""A data set by its name."""

import difflib
import os
import re
from typing import Literal, get_args

from advnets.data.dataset import DataError, Dataset
from advnets.data.digits import load_digits
from advnets.data.hub import HUB, load_hub
from advnets.data.images import load_images
from advnets.data.tfd import load_tfd

Name = Literal["digits", "mnist", "cifar10", "tfd"]
FOLDER = "imagefolder"
HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def load(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    *,
    image_size: int | None = None,
    proper_folds: bool = False,
) -> Dataset:
    """Loads a data set by name.

    Splits: `mnist` as in the paper, rows 0–50,000 of the training set for training, 50,000–60,000
    for validation, and its test set; `cifar10` likewise, 0–40,000 and 40,000–50,000. `digits` has
    no published split; of every seven rows, one is for validation and one for testing. `tfd` has
    the rows that no fold labels for training, and its five standard folds; see
    [`advnets.data.tfd.load_tfd`][]. For any other data set, see
    [`advnets.data.images.load_images`][].

    Args:
        name: `"digits"`, `"mnist"`, `"cifar10"` or `"tfd"`; any repository of images on the Hub as
            `"owner/name"`; or `"imagefolder"`, a folder of image files.
        data_dir: a folder that mirrors Hub repositories (`<data_dir>/ylecun/mnist`, say); the
            environment variable `ADVNETS_DATA` unless given. Without either, the Hub is used. For
            `tfd`, the file `TFD_48x48.mat` or the folder that holds it: the data are not public.
            For `imagefolder`, the folder; it must be given.
        image_size: for `owner/name` and `imagefolder` only, the height and width to crop and resize
            the images to; needed where they differ in size.
        proper_folds: for `tfd` only, keep validation rows out of every fold's test rows.

    Returns:
        The images, split.

    Raises:
        ValueError: for an option that the data set doesn't have, or an `image_size` below 1.
        DataError: if the name is unknown, or if the data are missing, can't be read, or differ in
            size, number or type from what the data set is known to hold.
        ModuleNotFoundError: if a package of the extra `bench` that reads the data is missing.

    Example:
        >>> import advnets
        >>> digits = advnets.data.load("digits")
        >>> digits.train.shape, digits.validation.shape, digits.test.shape
        ((1285, 8, 8), (256, 8, 8), (256, 8, 8))

    References:
        Released code, `mnist.yaml` and `cifar10_fully_connected.yaml` (`start`, `stop`).
    """
    known = name in get_args(Name)
    if not known and name != FOLDER and not HUB_ID.fullmatch(name):
        raise DataError(_unknown(name))
    if proper_folds and name != "tfd":
        raise ValueError(f"only tfd has folds to make proper; leave proper_folds out for {name}")
    if known and image_size is not None:
        raise ValueError(
            f"{name} has images of one size; leave out --image-size (image_size), or for a folder "
            "of your own images use --dataset imagefolder"
        )
    if name == "digits" and data_dir is not None:
        raise ValueError(
            f"digits come with scikit-learn, and not from {data_dir}; leave out --data-dir "
            "(data_dir), or for a folder of images of your own use --dataset imagefolder "
            '(load("imagefolder", ...))'
        )
    if name != FOLDER:
        data_dir = data_dir or os.environ.get("ADVNETS_DATA")
    if name == "digits":
        return load_digits()
    if name == "tfd":
        return load_tfd(data_dir, proper_folds=proper_folds)
    if name in HUB:
        return load_hub(name, data_dir)
    return load_images(name, data_dir, image_size=image_size)


def _unknown(name: str) -> str:
    if os.path.isdir(name):
        return (
            f"{name!r} is a folder and not a data set; for the images in it, use "
            f'load("imagefolder", {name!r}), or --dataset imagefolder --data-dir {name}'
        )
    near = difflib.get_close_matches(name, [*get_args(Name), FOLDER], n=1)
    guess = f" (did you mean {near[0]!r}?)" if near else ""
    return (
        f"unknown data set {name!r}{guess}; choose one of {', '.join(get_args(Name))}, a Hub "
        'repository as owner/name, or load("imagefolder", FOLDER), which is --dataset imagefolder '
        "--data-dir FOLDER"
    )
