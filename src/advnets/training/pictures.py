"""The pictures that a run leaves in its folder, if its examples are images."""

from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from advnets import _warnings, figures, paper_figures
from advnets.batches import parts
from advnets.model import Model
from advnets.players import inputs_taken
from advnets.preprocessing import gcn_picture
from advnets.training.journal import Metrics
from advnets.training.sources import Resident, Source, scale_pixels

SAMPLES, CURVES = "samples.png", "curves.png"
# Figure 2 has 4 rows of 5 samples; a run shows more.
ROWS, COLUMNS = 8, 10
# Samples with more than this fraction of negative pixels are taken to be centred on 0.
SIGNED = 0.1


def sample_images(key: Key[Array, ""], model: Model, n: int) -> Float[np.ndarray, " n ..."] | None:
    """Fair draws from a model of images.

    Args:
        key: a typed random key.
        model: p_g.
        n: the number of examples.

    Returns:
        The examples; None if they are not images, or need a condition that the model can't draw.

    Raises:
        ValueError: if n is below 1, or 2**31 or more.

    Example:
        >>> import jax
        >>> import advnets
        >>> generator = advnets.networks.mlp_generator(jax.random.key(0), 100, (8, 8))
        >>> model = advnets.Model(generator)
        >>> advnets.training.pictures.sample_images(jax.random.key(1), model, 3).shape
        (3, 8, 8)
    """
    if model.condition is None and inputs_taken(model.generator)[0] > 1:
        return None
    samples = model.sample(key, n)
    shape = samples.shape[1:]
    is_image = len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3))
    return samples if is_image and 0 not in shape else None


def shown(images: Float[np.ndarray | Array, " n *data"]) -> Float[np.ndarray, " n *data"]:
    """Images scaled to [0, 1] for display.

    Args:
        images: images in [0, 1], or centred on 0.

    Returns:
        The images; if many pixels are negative, 0 becomes mid-grey, and the largest absolute value
        black or white.

    Raises:
        ValueError: if images centred on 0 have a pixel that is not finite.

    Example:
        >>> import numpy as np
        >>> from advnets.training.pictures import shown
        >>> shown(np.array([[-1.0, 0.0], [1.0, 0.5]])).tolist()
        [[0.0, 0.5], [1.0, 0.75]]
    """
    pixels = np.asarray(images)
    return gcn_picture(pixels) if np.mean(pixels < 0) > SIGNED else pixels.clip(0, 1)


def draw(
    folder: Path,
    key: Key[Array, ""],
    model: Model,
    metrics: Sequence[Metrics],
    source: Source,
    title: str,
) -> None:
    """Draws `samples.png` and `curves.png`, as far as they can be drawn.

    For resident images, the samples are shown beside the training images nearest to some of them
    (Figure 2). Samples are drawn only if they are images, and nothing is drawn if Matplotlib is not
    installed. If drawing fails, there is a `RuntimeWarning`.

    Args:
        folder: where the pictures go.
        key: a typed random key.
        model: p_g.
        metrics: one row for each epoch.
        source: the training data.
        title: a line above the curves.
    """
    try:
        import matplotlib.figure
        import matplotlib.image  # noqa: F401
    except ModuleNotFoundError:
        return
    try:
        figures.curves(folder / CURVES, metrics, title=title)
        _draw_samples(folder / SAMPLES, key, model, source)
    except Exception as error:  # a finished run must not fail because of a picture
        lines = str(error).splitlines() or [type(error).__name__]
        _warnings.warn(f"not all pictures were drawn ({lines[0]})")


def _draw_samples(path: Path, key: Key[Array, ""], model: Model, source: Source) -> None:
    samples = sample_images(key, model, ROWS * COLUMNS)
    if samples is None:
        return
    example, *condition = parts(source.data) if isinstance(source, Resident) else (None,)
    alone = not condition or source.preprocess is scale_pixels
    if not isinstance(example, np.ndarray | jax.Array) or not alone:
        grid = shown(samples).reshape(ROWS, COLUMNS, *samples.shape[1:])
        figures.interpolations(path, grid)
        return
    paper_figures.figure_2(
        path,
        key,
        model,
        example,
        rows=ROWS,
        columns=COLUMNS,
        preprocess=source.preprocess,
        picture=lambda images: jnp.asarray(shown(images)),
    )
