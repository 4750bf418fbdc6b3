"""What a data set is once it is loaded."""

import dataclasses

import numpy as np
from jaxtyping import UInt8


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
