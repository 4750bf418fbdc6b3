r"""The conservative sampling-based likelihood of binary images, which applies to any sampler.

A sampler that gives pixels' means m, not pixels, is a mixture of Bernoulli images. With samples
$m_1, \ldots, m_n$ from it,

$$\log p(x) \ge \mathbb{E} \log \tfrac1n \textstyle\sum_j p(x | m_j), \qquad
  p(x | m) = \prod_i m_i^{x_i} (1 - m_i)^{1 - x_i},$$

and with independent samples the right side rises to log p(x) as n grows. There is no bandwidth to
choose, but a sampler with sharp pixels needs very many samples.
"""

import math
from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# A mean of exactly 0 or 1, to which float32 can round a sigmoid, would rule out an image because of
# one pixel.
CLIPPED = 2.0**-23
# The numbers of samples and of images that are processed at once; they bound memory.
SAMPLES, ROWS = 1000, 1000


def log_likelihood(
    images: Float[Array | np.ndarray, " rows *shape"],
    means: Float[Array | np.ndarray, " samples *shape"],
) -> Float[np.ndarray, " rows"]:
    """The conservative log-likelihood of each image given samples, in nats.

    Args:
        images: binary images, of zeros and ones.
        means: the pixels' means of a sample in each row, in [0, 1]; they are clipped to
            [2^-23, 1 - 2^-23], which makes another mixture of Bernoulli images.

    Returns:
        A number for each image, in float64; its error is at most 1e-5, relative or in nats.

    Raises:
        ValueError: if there are no images or no samples; if an image is not binary, or a mean is
            outside [0, 1].

    Example:
        >>> import numpy as np
        >>> from advnets import csl
        >>> found = csl.log_likelihood(np.ones((1, 4)), np.full((3, 4), 0.5))
        >>> bool(abs(found[0] - 4 * np.log(0.5)) < 1e-6)
        True

    References:
        Bengio, Yao and Cho 2013, "Bounding the test log-likelihood of generative models".
    """
    (found,) = curve(images, [means], [len(means)])
    return found


def curve(
    images: Float[Array | np.ndarray, " rows *shape"],
    blocks: Iterable[Float[Array | np.ndarray, " samples *shape"]],
    counts: Sequence[int],
) -> list[Float[np.ndarray, " rows"]]:
    """The conservative log-likelihood for growing numbers of samples, none of which is kept.

    Args:
        images: as for [`advnets.csl.log_likelihood`][].
        blocks: blocks of samples' pixel means, in order; no more blocks are requested than needed.
        counts: the numbers of samples, increasing, at least 1.

    Returns:
        For each number of samples, the log-likelihood of each image, in nats.

    Raises:
        ValueError: as [`advnets.csl.log_likelihood`][]; or if counts do not increase, or there are
            too few samples.

    Example:
        >>> import numpy as np
        >>> from advnets import csl
        >>> blocks = (np.full((10, 4), 0.5) for _ in range(10))
        >>> len(csl.curve(np.ones((1, 4)), blocks, [1, 15]))
        2
    """
    if not counts or any(b <= a for a, b in zip([0, *counts], counts, strict=False)):
        raise ValueError(f"the counts must increase, from at least 1; got {list(counts)}")
    rows = np.asarray(images, np.float32).reshape(len(images), math.prod(images.shape[1:]))
    if not rows.size or not np.isin(rows, (0, 1)).all():
        raise ValueError(
            "this likelihood is of binary images, of zeros and ones; got "
            + (f"pixels from {rows.min():g} to {rows.max():g}" if rows.size else "no image")
        )
    total, taken = np.full(len(rows), -np.inf), 0
    found: list[np.ndarray] = []
    for block in blocks:
        means = np.asarray(block, np.float32)
        if means.shape[1:] != images.shape[1:] or not ((means >= 0) & (means <= 1)).all():
            within = f", from {means.min():g} to {means.max():g}" if means.size else ""
            raise ValueError(
                f"samples are the means, in [0, 1], of pixels of shape {images.shape[1:]}; got an "
                f"array of shape {means.shape}{within}"
            )
        means = means.reshape(len(means), rows.shape[1])
        while len(means):
            some = min(SAMPLES, counts[len(found)] - taken)
            part, means = means[:some], means[some:]
            total = np.logaddexp(total, _log_sums(rows, part))
            taken += len(part)
            if taken == counts[len(found)]:
                found.append(total - math.log(taken))
                if len(found) == len(counts):
                    return found
    raise ValueError(f"{counts[-1]} samples were requested, but there are only {taken}")


def _log_sums(
    images: Float[np.ndarray, "rows pixels"], means: Float[np.ndarray, "samples pixels"]
) -> Float[np.ndarray, " rows"]:
    """The log of each image's likelihood summed over some samples, in blocks of one size."""
    padded = np.pad(means, [(0, SAMPLES - len(means)), (0, 0)])
    parts = []
    for start in range(0, len(images), ROWS):
        block = images[start : start + ROWS]
        rows = np.pad(block, [(0, ROWS - len(block)), (0, 0)])
        logs = _logs(rows, padded, jnp.asarray(len(means)))
        parts.append(np.asarray(logs, np.float64)[: len(block)])
    return np.concatenate(parts)


@jax.jit
def _logs(
    images: Float[Array, "rows pixels"], means: Float[Array, "samples pixels"], count: Array
) -> Float[Array, " rows"]:
    clipped = jnp.clip(means, CLIPPED, 1 - CLIPPED)
    with jax.default_matmul_precision("highest"):  # a pixel counts up to 16 nats
        # Two products: in one, of x and the log-odds, numbers of opposite signs would cancel.
        logs = images @ jnp.log(clipped).T + (1 - images) @ jnp.log1p(-clipped).T
    logs = jnp.where(jnp.arange(len(means))[None, :] < count, logs, -jnp.inf)
    return jax.nn.logsumexp(logs, axis=1)
