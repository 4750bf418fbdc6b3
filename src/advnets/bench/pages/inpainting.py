"""A network that fills in, in the browser: what a page needs to draw what masks hide."""

from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float

import advnets
from advnets import _pages
from advnets._extras import needed_for
from advnets.bench.pages import layers
from advnets.bench.pages.explorer import DRAWS, PRIORS, Explorer
from advnets.bench.pages.layers import NotExported
from advnets.bench.systems.inpainting import TEST_SHEET
from advnets.inpainting import Filler, NothingObserved
from advnets.players import thaw


def painter(folder: Path, model: Any, of_model: str, *, budget: int) -> Explorer:
    """Prepares a generator that fills in for a page on which the reader paints masks.

    Args:
        folder: the run's, where its sheet of test images is.
        model: the model.
        of_model: the epoch of the model, in words.
        budget: the most characters that weights may take in the page.

    Returns:
        What the page reads.

    Raises:
        NotExported: if it is another kind of model, or there is no sheet of test images, or no room
            in the page.
    """
    if not fills(model):
        raise NotExported("a page paints masks for generators that fill in only")
    if type(model.prior) not in PRIORS:
        raise NotExported(f"a page can't draw from its prior, {type(model.prior).__name__}")
    path, shape = folder / TEST_SHEET, model.condition.shape
    if len(shape) not in (2, 3) or not path.is_file():
        raise NotExported("there are no test images to paint on")
    images = sheet(path, shape)
    inner = thaw(model.generator).player
    inputs = model.prior.size + 2 * int(np.prod(shape))
    exported = layers.export(inner, (inputs,), noise=True)
    precision = layers.best_fitting(
        folder, layers.BYTES, lambda precision: layers.size(exported, precision), budget
    )
    note = f"G is that {of_model}, with weights in {precision}"
    if precision != "float32":
        given = _inputs(model, images)
        moved = abs(_apply(layers.rounded(inner, precision), given) - _apply(inner, given)).max()
        note += (
            f", which moves a pixel by {255 * float(moved):.2g} of 255 grey levels at most "
            f"({DRAWS} fillings, against JAX)"
        )
    data = {
        "filler": layers.as_json(exported, precision),
        "shape": list(shape),
        "prior": {"kind": PRIORS[type(model.prior)], "size": model.prior.size},
        "gcn": False,
        "training": None,
        "images": {"picture": _pages.picture(path.read_bytes()), "count": len(images)},
    }
    return Explorer(data, (note, f"{len(images)} test images to paint on"))


def fills(model: Any) -> bool:
    """Whether a model is one that fills in, for which a page can paint masks.

    Args:
        model: a run's model.

    Returns:
        Whether it is.
    """
    return (
        isinstance(model, advnets.Model)
        and isinstance(thaw(model.generator), Filler)
        and isinstance(model.condition, NothingObserved)
    )


def sheet(path: Path, shape: tuple[int, ...]) -> Float[np.ndarray, " n *shape"]:
    """The images of a sheet, in [0, 1].

    Args:
        path: the picture, of images side by side without a gap.
        shape: the shape of an image.

    Returns:
        The images, row by row.

    Raises:
        ValueError: if the picture is damaged, or does not consist of whole images.
    """
    with needed_for("pictures"):
        from PIL import Image

    if path.exists() and not path.is_file():  # opening a pipe would block
        raise ValueError(f"{path} is not a file")
    try:
        with Image.open(path) as opened:
            pixels = np.asarray(opened)
    except OSError as error:
        raise ValueError(f"{path} is damaged ({error})") from None
    height, width = shape[:2]
    rows, columns = pixels.shape[0] // height, pixels.shape[1] // width
    if pixels.shape[:2] != (rows * height, columns * width):
        raise ValueError(f"{path} holds no whole images of {height} by {width} pixels")
    tiles = pixels.reshape(rows, height, columns, width, -1).swapaxes(1, 2)
    return tiles.reshape(rows * columns, *shape).astype(np.float32) / np.float32(255)


def _inputs(
    model: advnets.Model, images: Float[np.ndarray, " n *shape"]
) -> Float[np.ndarray, "draws inputs"]:
    """Inputs of the inner player: test images without their right half."""
    chosen = images[np.arange(DRAWS) % len(images)]
    masks = np.ones_like(chosen)
    masks[:, :, images.shape[2] // 2 :] = 0
    latents = np.asarray(model.prior(jax.random.key(0), DRAWS))
    flat = [part.reshape(DRAWS, -1) for part in (latents, chosen * masks, masks)]
    return np.concatenate(flat, axis=1)


@eqx.filter_jit
def _apply(player: Any, inputs: Any) -> Any:
    return jax.vmap(player)(inputs)
