"""scikit-learn's digits: small, and always available."""

import numpy as np

from advnets._extras import needed_for
from advnets.data.dataset import Dataset, Fold


def load_digits() -> Dataset:
    """1,797 images of 8×8 pixels, whose 17 grey levels are scaled to 0..255.

    They have no published split; row i is for validation if i mod 7 = 5, for testing if i mod 7 =
    6, and for training otherwise, so every writer is in all three parts.
    """
    with needed_for("the digits"):
        import sklearn.datasets

    found = sklearn.datasets.load_digits()
    pixels, labels = found.images, found.target
    images = np.round(pixels * (255 / 16)).astype(np.uint8)
    # Neighbouring rows share a writer, so all parts do. 7 has no factor in common with the order of
    # the classes.
    part = np.arange(len(images)) % 7
    return Dataset(
        name="digits",
        train=images[part < 5],
        folds=(
            Fold(
                validation=images[part == 5],
                test=images[part == 6],
                validation_labels=labels[part == 5],
                test_labels=labels[part == 6],
            ),
        ),
        source="scikit-learn, load_digits()",
        train_labels=labels[part < 5],
    )
