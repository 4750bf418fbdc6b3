"""The reference rows as systems: real images, and k-means centroids, in place of samples."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float, Key

from advnets._extras import needed_for
from advnets.bench.protocol import on_host
from advnets.bench.settings import Settings
from advnets.bench.systems.base import Fitted, Run, System
from advnets.bench.watching import Watch

# The number of samples in the paper's protocol.
SAMPLES = 10_000


class Images(eqx.Module):
    """A fixed set of images as a distribution: the first n, whatever the key.

    Attributes:
        images: the images, preprocessed.
    """

    images: Float[np.ndarray, " n *shape"]

    def sample(self, key: Key[Array, ""], n: int) -> Float[np.ndarray, " n *shape"]:
        """The first n images, or all if there are fewer."""
        return self.images[:n]


class TrainingImages(System):
    """The training images themselves: draws from the data's distribution."""

    model_types: ClassVar[tuple[Callable[..., Any], ...]] = (Images,)

    def fit(self, run: Run, watch: Watch, *, progress: bool) -> Fitted:
        model = Images(on_host(self.settings.preprocessing)(run.data.train[:SAMPLES]))
        return Fitted(model, [watch.row(1, model)])


@dataclasses.dataclass(frozen=True)
class CentroidSettings(Settings):
    """The settings of k-means.

    Raises:
        ValueError: for a setting out of range.
    """

    iterations: int = 20
    """Maximum number of iterations of Lloyd's algorithm (10 s each for MNIST on 2 cores)."""

    def __post_init__(self) -> None:
        Settings.__post_init__(self)
        if self.iterations < 1:
            raise ValueError(f"k-means needs at least 1 iteration; got {self.iterations}")


class Centroids(System):
    """k-means centroids of the training images, which are not draws from any distribution.

    There are 10,000, or a fifth of the number of images if that is below 50,000.
    """

    settings_type: ClassVar[type[Settings]] = CentroidSettings
    model_types: ClassVar[tuple[Callable[..., Any], ...]] = (Images,)

    def fit(self, run: Run, watch: Watch, *, progress: bool) -> Fitted:
        with needed_for("k-means"):
            from sklearn.cluster import KMeans

        assert isinstance(self.settings, CentroidSettings)
        train = on_host(self.settings.preprocessing)(run.data.train)
        k_means = KMeans(
            n_clusters=min(SAMPLES, len(train) // 5),
            init="random",
            n_init=1,
            max_iter=self.settings.iterations,
            random_state=run.seed,
            verbose=int(progress),
        )
        k_means.fit(train.reshape(len(train), -1))
        centroids = k_means.cluster_centers_.reshape(-1, *train.shape[1:]).astype(np.float32)
        model = Images(centroids)
        return Fitted(model, [watch.row(1, model)], updates=int(k_means.n_iter_))
