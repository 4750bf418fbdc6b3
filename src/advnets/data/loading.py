"""A data set by its name."""

import os
from typing import Literal, get_args

from advnets.data.dataset import DataError, Dataset
from advnets.data.digits import load_digits
from advnets.data.hub import load_hub
from advnets.data.tfd import load_tfd

Name = Literal["digits", "mnist", "cifar10", "tfd"]


def load(
    name: str, data_dir: str | os.PathLike[str] | None = None, *, proper_folds: bool = False
) -> Dataset:
    """Loads a data set by name.

    Splits: `mnist` as in the paper, rows 0–50,000 of the training set to train on, 50,000–60,000
    to validate, and its test set; `cifar10` likewise, 0–40,000 and 40,000–50,000. `digits` has no
    published split; two rows in seven validate and test. `tfd` is trained on the rows that no fold
    labels, and has its five standard folds; see [`advnets.data.tfd.load_tfd`][].

    Args:
        name: `"digits"`, `"mnist"`, `"cifar10"` or `"tfd"`.
        data_dir: a folder that mirrors Hub repositories (`<data_dir>/ylecun/mnist`, say); the
            environment variable `ADVNETS_DATA` unless given. Without either, the Hub is asked. For
            `tfd`, the file `TFD_48x48.mat` or the folder that holds it: the data are not public.
        proper_folds: for `tfd` only, keep validation rows out of every fold's test rows.

    Returns:
        The images, split.

    Raises:
        ValueError: if `proper_folds` is asked of another data set than `tfd`.
        DataError: if the data can't be had, can't be read, or differ in size, number or type from
            what the data set is known to hold.

    Example:
        >>> import advnets
        >>> digits = advnets.data.load("digits")
        >>> digits.train.shape, digits.validation.shape, digits.test.shape
        ((1285, 8, 8), (256, 8, 8), (256, 8, 8))

    References:
        Released code, `mnist.yaml` and `cifar10_fully_connected.yaml` (`start`, `stop`).
    """
    if name not in get_args(Name):
        raise DataError(f"unknown data set {name!r}; choose one of {', '.join(get_args(Name))}")
    if proper_folds and name != "tfd":
        raise ValueError(f"only tfd has folds to make proper; leave proper_folds out for {name}")
    data_dir = data_dir or os.environ.get("ADVNETS_DATA")
    if name == "digits":
        return load_digits()
    if name == "tfd":
        return load_tfd(data_dir, proper_folds=proper_folds)
    return load_hub(name, data_dir)
