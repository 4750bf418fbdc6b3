"""What a data set is once it is loaded."""

import dataclasses

import numpy as np
from jaxtyping import UInt8


class DataError(ValueError):
    """The data are missing, damaged, or not what their name promises."""


@dataclasses.dataclass(frozen=True)
class Fold:
    """One way to split what is not trained on.

    Attributes:
        validation: the images that settings (a bandwidth, an epoch) are chosen on, uint8.
        test: the images that a final number is computed on, once.
    """

    validation: UInt8[np.ndarray, " validation *shape"]
    test: UInt8[np.ndarray, " test *shape"]


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Images to train on, and folds to validate and test on.

    Attributes:
        name: the data set's name.
        train: the images to train on, uint8 in 0..255.
        folds: five for `tfd`, one for every other data set.
        source: where they came from, for a result's record.
        validation: the first fold's.
        test: the first fold's; for final numbers only.
    """

    name: str
    train: UInt8[np.ndarray, " train *shape"]
    folds: tuple[Fold, ...]
    source: str

    @property
    def validation(self) -> UInt8[np.ndarray, " validation *shape"]:
        return self.folds[0].validation

    @property
    def test(self) -> UInt8[np.ndarray, " test *shape"]:
        return self.folds[0].test

    def fingerprint(self) -> str:
        import hashlib

        digest = hashlib.sha256()
        for part in (self.train, *(x for fold in self.folds for x in (fold.validation, fold.test))):
            digest.update(
                f"{part.dtype}{part.shape}".encode() + np.ascontiguousarray(part).tobytes()
            )
        return digest.hexdigest()
