"""A loaded data set."""

import dataclasses
import hashlib
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int, UInt8

from advnets import _reprs


class DataError(ValueError):
    """The data are missing, damaged, or not what their name promises."""


@dataclasses.dataclass(frozen=True, repr=False)
class Fold:
    """One way to split what is not trained on.

    Attributes:
        validation: the images that settings (a bandwidth, an epoch) are chosen on, uint8.
        test: the images that a final number is computed on, once.
        validation_labels: the class of each validation image, if the data have classes.
        test_labels: the class of each test image, if the data have classes.
    """

    validation: UInt8[np.ndarray, " validation *shape"]
    test: UInt8[np.ndarray, " test *shape"]
    validation_labels: Int[np.ndarray, " validation"] | None = None
    test_labels: Int[np.ndarray, " test"] | None = None

    def __repr__(self) -> str:
        held = f"{_reprs.arrays(self.validation)}, test={_reprs.arrays(self.test)}"
        return f"Fold(validation={held})"


@dataclasses.dataclass(frozen=True, repr=False)
class Dataset:
    """Images to train on, and folds to validate and test on.

    Attributes:
        name: the data set's name.
        train: the images to train on, uint8 in 0..255.
        folds: five for `tfd`, one for every other data set.
        source: where they came from, for a result's record.
        train_labels: the class of each training image, if the data have classes.
        validation: the first fold's validation images.
        test: the first fold's test images; for final numbers only.
    """

    name: str
    train: UInt8[np.ndarray, " train *shape"]
    folds: tuple[Fold, ...]
    source: str
    train_labels: Int[np.ndarray, " train"] | None = None

    def __repr__(self) -> str:
        train, first = _reprs.arrays(self.train), self.folds[:1]
        more = f" and {len(self.folds) - 1} more" if len(self.folds) > 1 else ""
        return f"Dataset({self.name!r}, train={train}, folds={first}{more}, source={self.source!r})"

    def with_channels(self) -> "Dataset":
        """The same images with a last axis of channels (one for grey images), for convolutions."""
        if self.train.ndim != 3:
            return self
        folds = tuple(
            dataclasses.replace(f, validation=f.validation[..., None], test=f.test[..., None])
            for f in self.folds
        )
        return dataclasses.replace(self, train=self.train[..., None], folds=folds)

    def fingerprint(self) -> str:
        """Identifies the images of every part: their SHA-256 in hexadecimal.

        It differs if any pixel, row, shape or type does, or the order of rows or folds; `name` and
        `source` are left out. Each part is hashed as a line such as `"test 0 uint8 [256, 8, 8]"`
        (name, the fold's number if there is one, type, shape), then its pixels row by row.
        """
        digest = hashlib.sha256()
        for name, images in self._parts():
            digest.update(f"{name} {images.dtype.name} {list(images.shape)}\n".encode())
            digest.update(np.ascontiguousarray(images).data)
        return digest.hexdigest()

    def _parts(self) -> Iterator[tuple[str, np.ndarray]]:
        yield "train", self.train
        for number, fold in enumerate(self.folds):
            yield f"validation {number}", fold.validation
            yield f"test {number}", fold.test

    @property
    def validation(self) -> UInt8[np.ndarray, " validation *shape"]:
        return self.folds[0].validation

    @property
    def test(self) -> UInt8[np.ndarray, " test *shape"]:
        return self.folds[0].test
