"""A data set by its name."""

import os
from typing import Literal, get_args

from advnets.data.dataset import DataError, Dataset
from advnets.data.digits import load_digits
from advnets.data.hub import load_hub

Name = Literal["digits", "mnist", "cifar10"]


def load(name: str, data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """Loads a data set by name.

    Splits: `mnist` as in the paper, rows 0–50,000 of the training set to train on, 50,000–60,000
    to validate, and its test set; `cifar10` likewise, 0–40,000 and 40,000–50,000. `digits` has no
    published split; two rows in seven validate and test.

    Args:
        name: `"digits"`, `"mnist"` or `"cifar10"`.
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
        Released code, `mnist.yaml` and `cifar10_fully_connected.yaml` (`start`, `stop`).
    """
    if name not in get_args(Name):
        raise DataError(f"unknown data set {name!r}; choose one of {', '.join(get_args(Name))}")
    if name == "digits":
        return load_digits()
    return load_hub(name, data_dir or os.environ.get("ADVNETS_DATA"))
