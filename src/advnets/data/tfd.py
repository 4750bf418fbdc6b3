"""The Toronto Face Database, from the file that its licensees have."""

import os
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Real, UInt8

from advnets.data._reading import reason
from advnets.data.dataset import DataError, Dataset, Fold

FILE = "TFD_48x48.mat"
FOLDS = 5
# What HDF5 begins with, perhaps after a block of MATLAB's.
HDF5 = b"\x89HDF\r\n\x1a\n"
# The codes of `folds`; 1 is a fold's labelled training rows, which nothing here uses.
UNLABELLED, VALIDATION, TEST = 0, 2, 3
# In proper folds, every tenth labelled row is for validation: as many as in a standard fold.
RESERVED = 10


def load_tfd(data_dir: str | os.PathLike[str] | None, *, proper_folds: bool = False) -> Dataset:
    """48×48 faces: the unlabelled ones for training, and the five standard folds of the others.

    The training rows are those that are unlabelled in all five folds. A fold's validation and test
    rows are those that the file assigns to it.

    The data are not public, so there is no digest to compare them with, and a file that MATLAB did
    not compress has no checksums; [`advnets.data.Dataset.fingerprint`][] tells two copies apart.

    The standard folds share rows: one fold's validation rows are among the test rows of others, so
    what is chosen over several folds has seen test rows. Proper folds avoid this: of the rows that
    are labelled in any fold, in the file's order, every tenth (the 10th, the 20th, ...) is a
    validation row in all five folds and a test row in none. The other rows of each standard test
    part stay in it. A person may still be in both parts.

    Args:
        data_dir: `TFD_48x48.mat`, or the folder that holds it.
        proper_folds: keep the validation rows out of every fold's test rows.

    Returns:
        The images, with five folds.

    Raises:
        DataError: if the file is missing, can't be read, or doesn't hold what TFD's does.

    References:
        Section 5; Susskind, Anderson and Hinton 2010, "The Toronto face dataset"; released code,
        `tfd_pretrain/pretrain.yaml`, `parzen_ll.py`; Pylearn2, `tfd.py`.
    """
    path = _find(data_dir)
    images, codes = _read(path)
    labelled = (codes != UNLABELLED).any(axis=1)
    if labelled.all():
        raise DataError(f"{path}: no row is unlabelled in all folds, so there is none to train on")
    validation, test = codes == VALIDATION, codes == TEST
    if proper_folds:
        reserved = np.zeros((len(codes), 1), np.bool_)
        reserved[np.flatnonzero(labelled)[RESERVED - 1 :: RESERVED]] = True
        validation, test = np.broadcast_to(reserved, codes.shape), test & ~reserved
    for part, rows in (("validation", validation), ("test", test)):
        empty = np.flatnonzero(~rows.any(axis=0))
        if len(empty):
            raise DataError(
                f"{path}: fold {empty[0] + 1} has no {part} rows, of {labelled.sum()} labelled rows"
            )
    return Dataset(
        name="tfd",
        train=_rows(images, ~labelled),
        folds=tuple(
            Fold(_rows(images, validation[:, fold]), _rows(images, test[:, fold]))
            for fold in range(FOLDS)
        ),
        source=f"{FILE}, {'proper' if proper_folds else 'standard'} folds",
    )


def _find(data_dir: str | os.PathLike[str] | None) -> Path:
    path = None if data_dir is None else Path(data_dir)
    if path is not None and path.is_dir():
        path = path / FILE
    if path is None or not path.is_file():
        missing = "no file is named" if path is None else f"there is no file {path}"
        raise DataError(
            f"{missing}; the Toronto Face Database is not public: ask its owners for {FILE}, and "
            "name the file, or its folder, with --data-dir (or ADVNETS_DATA)"
        )
    return path


def _read(path: Path) -> tuple[UInt8[np.ndarray, "n 48 48"], Real[np.ndarray, "n 5"]]:
    import scipy.io

    with open(path, "rb") as file:
        start = file.read(520)
    if HDF5 in (start[:8], start[512:]):
        raise DataError(
            f"{path} is in MATLAB's format 7.3, which is not read; save it as v7, in MATLAB with "
            f"save('{FILE}', 'images', 'folds', '-v7')"
        )
    try:
        fields = scipy.io.loadmat(path, appendmat=False, variable_names=["images", "folds"])
    except Exception as error:  # whatever the reader of a damaged file raises
        raise DataError(
            f"{path} could not be read as a MATLAB file; get a fresh copy: {reason(error)}"
        ) from error
    for field in ("images", "folds"):
        if field not in fields:
            raise DataError(f"{path} has no field {field!r}; is it {FILE}?")
    # A sparse matrix becomes an array of objects, as a cell array is; the checks refuse both.
    images, codes = np.asarray(fields["images"]), np.asarray(fields["folds"])
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (48, 48):
        raise DataError(
            f"{path}: images must be uint8 of shape (rows, 48, 48); got {images.dtype} of shape "
            f"{images.shape}"
        )
    if codes.dtype.kind not in "uif" or codes.shape != (len(images), FOLDS):
        raise DataError(
            f"{path}: folds must be numbers of shape ({len(images)}, {FOLDS}), a row for each "
            f"image; got {codes.dtype} of shape {codes.shape}"
        )
    unknown = np.argwhere(~np.isin(codes, range(4)))
    if len(unknown):
        row, fold = unknown[0]
        raise DataError(
            f"{path}: folds must be 0, 1, 2 or 3; got {codes[row, fold]} in fold {fold + 1} of row "
            f"{row} (the first is row 0)"
        )
    return images, codes


def _rows(
    images: UInt8[np.ndarray, "n 48 48"], rows: Bool[np.ndarray, " n"]
) -> UInt8[np.ndarray, "rows 48 48"]:
    chosen = np.empty((rows.sum(), 48, 48), np.uint8)
    # MATLAB's order of the axes is the other way round: in one step this would hold two copies.
    for line in range(48):
        chosen[:, line] = images[rows, line]
    return chosen
