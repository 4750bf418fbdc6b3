"""Fillers without a network: a conditional normal distribution, nearest neighbours, random images.

A model of all conditionals p(x_S | x_∉S) is compared with them. Every filler returns several
fillings of each image, in which the observed part is unchanged.
"""

import abc
import math

import numpy as np
import scipy.linalg
from jaxtyping import Bool, Float

from advnets import _progress
from advnets._counts import check_count
from advnets._distances import check_finite

# Images whose distances to all training images are computed at a time.
BLOCK = 100


class BaselineFiller(abc.ABC):
    """A method of filling in; subclass it to compare with another."""

    @abc.abstractmethod
    def fill(
        self,
        rng: np.random.Generator,
        images: Float[np.ndarray, " rows *data"],
        masks: Bool[np.ndarray, " rows *data"],
        n: int,
        *,
        progress: str = "",
    ) -> Float[np.ndarray, " rows {n} *data"]:
        """Fills in images.

        Args:
            rng: the random number generator.
            images: the images; their values at missing components are ignored.
            masks: true where an image is observed.
            n: the number of fillings of each image.
            progress: the label of a progress line; none is shown unless given.

        Returns:
            The fillings.

        Raises:
            ValueError: if n is below 1, or more than the filler can return; for images of another
                shape than the training images, or whose observed part is not finite.
        """


class RandomImages(BaselineFiller):
    """Training images drawn at random, whatever is observed.

    Attributes:
        train: the training images, preprocessed.

    Raises:
        ValueError: for no training images, or any that are not finite.

    Example:
        >>> import numpy as np
        >>> from advnets.baselines.fillers import RandomImages
        >>> filler = RandomImages(np.zeros((20, 2, 2)))
        >>> rng, masks = np.random.default_rng(0), np.ones((3, 2, 2), bool)
        >>> filler.fill(rng, np.ones((3, 2, 2)), masks, 5).shape
        (3, 5, 2, 2)
    """

    def __init__(self, train: Float[np.ndarray, " train *data"]) -> None:
        self.train = _checked(train)

    def fill(
        self,
        rng: np.random.Generator,
        images: Float[np.ndarray, " rows *data"],
        masks: Bool[np.ndarray, " rows *data"],
        n: int,
        *,
        progress: str = "",
    ) -> Float[np.ndarray, " rows {n} *data"]:
        check_count("the number of fillings", n)
        _check_images(images, masks, self.train.shape[1:])
        chosen = rng.integers(len(self.train), size=(len(images), n))
        return np.where(masks[:, None], images[:, None], self.train[chosen])


class NearestImages(BaselineFiller):
    """The training images nearest on the observed part, in Euclidean distance.

    Attributes:
        train: the training images, preprocessed.

    Raises:
        ValueError: for no training images, or any that are not finite.

    Example:
        >>> import numpy as np
        >>> from advnets.baselines.fillers import NearestImages
        >>> filler = NearestImages(np.array([[0.0, 5.0], [0.9, 7.0], [3.0, 9.0]]))
        >>> rng, mask = np.random.default_rng(0), np.array([[True, False]])
        >>> filler.fill(rng, np.array([[1.0, 0.0]]), mask, 2).tolist()
        [[[1.0, 7.0], [1.0, 5.0]]]
    """

    def __init__(self, train: Float[np.ndarray, " train *data"]) -> None:
        self.train = _checked(train)

    def fill(
        self,
        rng: np.random.Generator,
        images: Float[np.ndarray, " rows *data"],
        masks: Bool[np.ndarray, " rows *data"],
        n: int,
        *,
        progress: str = "",
    ) -> Float[np.ndarray, " rows {n} *data"]:
        """Fills in from the n nearest images, the nearest first; `rng` is not used.

        Raises a ValueError if n is below 1 or above the number of training images; or for images of
        another shape than those, or whose observed part is not finite.
        """
        check_count("the number of fillings", n)
        _check_images(images, masks, self.train.shape[1:])
        if n > len(self.train):
            raise ValueError(f"there are {len(self.train)} training images; got {n} fillings")
        # Centred, in float64, as the terms below cancel for rows that are far from 0.
        centre = self.train.mean(axis=0, dtype=np.float64)
        train = (self.train - centre).astype(self.train.dtype).reshape(len(self.train), -1)
        squares = train**2
        chosen = np.zeros((len(images), n), int)
        with _progress.bar(len(images), progress, unit="image", enabled=bool(progress)) as bar:
            for start in range(0, len(images), BLOCK):
                stop = min(start + BLOCK, len(images))
                observed = masks[start:stop].reshape(stop - start, -1).astype(train.dtype)
                seen = np.where(masks[start:stop], images[start:stop] - centre, 0)
                seen = seen.astype(train.dtype).reshape(stop - start, -1)
                # Squared distances, up to a term that all training images share.
                far = observed @ squares.T - 2 * seen @ train.T
                near = np.sort(np.argpartition(far, n - 1, axis=1)[:, :n], axis=1)
                order = np.argsort(np.take_along_axis(far, near, axis=1), axis=1, kind="stable")
                chosen[start:stop] = np.take_along_axis(near, order, axis=1)
                bar.update(stop - start)
        return np.where(masks[:, None], images[:, None], self.train[chosen])


class NormalConditional(BaselineFiller):
    """Draws from the conditionals of one normal distribution, fitted to training images.

    Its covariance is that of the training images, plus a ridge on the diagonal. Draws are not
    clipped.

    Attributes:
        shape: the shape of an image.
        mean: the mean of the training images, flattened.
        precision: the inverse of the covariance.

    Raises:
        ValueError: for a ridge that is not above 0, no training images, or a ridge or images that
            are not finite.

    Example:
        >>> import numpy as np
        >>> from advnets.baselines.fillers import NormalConditional
        >>> rng = np.random.default_rng(0)
        >>> train = rng.multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], 100_000)
        >>> filler, mask = NormalConditional(train, 1e-6), np.array([[True, False]])
        >>> fillings = filler.fill(rng, np.array([[1.0, 0.0]]), mask, 100_000)[0, :, 1]
        >>> print(f"{fillings.mean():.2f} {fillings.var():.2f}")
        0.80 0.36
    """

    def __init__(self, train: Float[np.ndarray, " train *data"], ridge: float = 0.01) -> None:
        if not 0 < ridge < math.inf:
            raise ValueError(f"the ridge must be above 0 and finite; got {ridge}")
        train = _checked(train)
        self.shape = train.shape[1:]
        rows = train.reshape(len(train), -1)
        self.mean = rows.mean(axis=0, dtype=np.float64)
        centred = rows - self.mean
        covariance = centred.T @ centred / len(rows)
        covariance[np.diag_indices_from(covariance)] += ridge
        self.precision = scipy.linalg.inv(covariance)

    def fill(
        self,
        rng: np.random.Generator,
        images: Float[np.ndarray, " rows *data"],
        masks: Bool[np.ndarray, " rows *data"],
        n: int,
        *,
        progress: str = "",
    ) -> Float[np.ndarray, " rows {n} *data"]:
        check_count("the number of fillings", n)
        _check_images(images, masks, self.shape)
        size = len(self.mean)
        observed = masks.reshape(len(images), size)
        off = np.where(observed, images.reshape(len(images), size) - self.mean, 0)
        pulls = off @ self.precision
        filled = np.repeat(images.reshape(len(images), 1, size), n, axis=1)
        patterns, which = np.unique(observed, axis=0, return_inverse=True)
        with _progress.bar(len(patterns), progress, unit="mask", enabled=bool(progress)) as bar:
            for number, pattern in enumerate(patterns):
                rows, missing = np.flatnonzero(which.ravel() == number), np.flatnonzero(~pattern)
                bar.update()
                if len(missing) == 0:
                    continue
                # In terms of the precision P: covariance P_SS⁻¹, mean μ_S - P_SS⁻¹ P_SO (x - μ)_O.
                lower = scipy.linalg.cholesky(self.precision[np.ix_(missing, missing)], lower=True)
                pull = pulls[np.ix_(rows, missing)]
                mean = self.mean[missing] - scipy.linalg.cho_solve((lower, True), pull.T).T
                noise = rng.standard_normal((len(missing), len(rows) * n))
                moved = scipy.linalg.solve_triangular(lower, noise, trans="T", lower=True)
                drawn = mean[:, None] + moved.T.reshape(len(rows), n, len(missing))
                filled[np.ix_(rows, np.arange(n), missing)] = drawn
        return filled.reshape(len(images), n, *images.shape[1:])


def _checked(train: Float[np.ndarray, " train *data"]) -> Float[np.ndarray, " train *data"]:
    """The training images; a ValueError if there is none, or any that are not finite."""
    if not train.size:
        raise ValueError(f"there must be at least one training image; got shape {train.shape}")
    check_finite("training images", train)
    return train


def _check_images(
    images: Float[np.ndarray, " rows *data"],
    masks: Bool[np.ndarray, " rows *data"],
    shape: tuple[int, ...],
) -> None:
    if images.shape[1:] != shape:
        raise ValueError(
            f"images must have the shape of the training images, {shape}; got {images.shape[1:]}"
        )
    check_finite("the observed part of images", np.where(masks, images, 0))
