"""The latent explorer: what a page needs to compute G and D in a browser."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float

import advnets
from advnets import _pages
from advnets.bench import frames
from advnets.bench.pages import layers
from advnets.bench.pages.layers import Layer, NotExported, Precision
from advnets.bench.pages.players import Found
from advnets.bench.settings import Settings
from advnets.bench.watching import pictured
from advnets.layers import Labelled
from advnets.players import inputs_taken, thaw
from advnets.priors import Normal, Prior, Spherical, Uniform, UnitCube

# The largest page that a report may be, in characters.
LARGEST_PAGE = 10_000_000
# The largest page of an explorer alone: the largest recipe's weights in int8.
LARGEST_OF_ALL = 120_000_000
# Draws on which the rounding of weights and the scale of pictures are measured.
DRAWS = 64
# The precisions of G's and D's weights, the best first.
PRECISIONS: tuple[tuple[Precision, Precision], ...] = (
    ("float32", "float32"),
    ("float16", "float16"),
    ("float16", "int8"),
    ("int8", "int8"),
)
PRIORS: dict[type[Prior], str] = {
    Uniform: "uniform",
    Normal: "normal",
    Spherical: "spherical",
    UnitCube: "unit-cube",
}
# A page has a button for each class.
MOST_CLASSES = 100


@dataclasses.dataclass(frozen=True)
class Explorer:
    """What a page needs to compute a generator.

    Attributes:
        data: the data that its script reads.
        notes: notes for the reader, a sentence each.
    """

    data: dict[str, Any]
    notes: tuple[str, ...]


def explorer(folder: Path, found: Found, settings: Settings, *, budget: int) -> Explorer:
    """Prepares a generator, and its discriminator, for a page.

    Args:
        folder: the run's, where its sheet of training images is.
        found: the players.
        settings: the run's.
        budget: the most characters that weights may take in the page.

    Returns:
        The explorer.

    Raises:
        NotExported: if a page can't compute the generator, or has no room for it.
    """
    model = found.model
    classes = _check(model)
    generator, discriminator = thaw(model.generator), thaw(found.discriminator)
    latents = _draws(model.prior)
    # With a conditional model each draw has a class; the networks see both as one vector.
    labels = () if classes is None else (np.arange(DRAWS) % classes,)
    network = generator if classes is None else generator.player
    of_g = layers.export(network, (model.prior.size + (classes or 0),), noise=True)
    shape = jax.eval_shape(generator, latents[0], *(each[0] for each in labels)).shape
    of_d = [] if discriminator is None else _of_discriminator(discriminator, shape, classes)

    def size_of(precisions: tuple[Precision, Precision]) -> int:
        return layers.size(of_g, precisions[0]) + layers.size(of_d, precisions[1])

    in_g, in_d = layers.best_fitting(folder, PRECISIONS, size_of, budget)
    whole, gcn = in_g == in_d == "float32", settings.preprocessing == "gcn"
    examples = latents if whole and not gcn else _apply(generator, latents, *labels)
    g_note = f"G is that {found.of_model}, with weights in {in_g}"
    if in_g != "float32":
        show = pictured(settings, DRAWS)
        computed = _apply(layers.rounded(generator, in_g), latents, *labels)
        moved = float(abs(show(computed) - show(examples)).max())
        g_note += (
            f", which moves a pixel by {255 * moved:.2g} of 255 grey levels at most ({DRAWS} "
            "draws, against JAX)"
        )
    d_note = f"D is not shown: {found.of_discriminator}"
    if discriminator is not None:
        d_note = f"D is that {found.of_discriminator}, without dropout, with weights in {in_d}"
        if in_d != "float32":
            both = (discriminator, layers.rounded(discriminator, in_d))
            of_both = (_apply(d, examples, *labels) for d in both)
            before, after = map(jax.nn.sigmoid, of_both)
            moved = float(abs(after - before).max())
            d_note += f", which moves D(x) by {max(moved, 1e-5):.2g} at most"
    data: dict[str, Any] = {
        "generator": layers.as_json(of_g, in_g),
        "discriminator": layers.as_json(of_d, in_d) or None,
        "shape": list(shape),
        "classes": classes,
        "prior": {"kind": PRIORS[type(model.prior)], "size": model.prior.size},
        "gcn": gcn,
        "largest": (float(abs(examples).max()) or 1.0) if gcn else None,
    }
    data["training"], of_images = training_images(folder, shape)
    return Explorer(data, (g_note, d_note, *of_images))


def training_images(
    folder: Path, shape: tuple[int, ...]
) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """The training images of a run for its page.

    Args:
        folder: the run's, where its sheet of training images is.
        shape: the shape of an image.

    Returns:
        The `picture` of the sheet and the `count` of its images, and notes on it; None and no notes
        if there is no sheet.

    Raises:
        ValueError: if the shape has no height and width.
    """
    count = frames.sheet_count(folder, shape)
    if not count:
        return None, ()
    sheet = _pages.picture((folder / frames.SHEET).read_bytes())
    note = f"Neighbours are searched among {count:,} of the training images"
    return {"picture": sheet, "count": count}, (note,)


def _check(model: Any) -> int | None:
    """The number of classes that a generator takes, None if it takes only z; refuses others."""
    if model is None:
        raise NotExported("there is no model yet")
    if not isinstance(model, advnets.Model):
        raise NotExported(f"its model is a {type(model).__name__}, not a generator with a prior")
    if type(model.prior) not in PRIORS:
        raise NotExported(f"a page can't draw from its prior, {type(model.prior).__name__}")
    if isinstance(model.generator, Labelled):
        if model.generator.classes > MOST_CLASSES:
            raise NotExported(f"it has {model.generator.classes} classes, too many for buttons")
        return model.generator.classes
    if model.condition is not None or inputs_taken(model.generator)[0] > 1:
        raise NotExported("its generator takes a condition besides z that is not a label")
    return None


def _of_discriminator(
    discriminator: Any, shape: tuple[int, ...], classes: int | None
) -> list[Layer]:
    """The layers of D, whose input is the pixels followed by the class."""
    if classes is None:
        return layers.export(discriminator, shape)
    if not isinstance(discriminator, Labelled) or discriminator.classes != classes:
        raise NotExported("its discriminator takes no label as its generator does")
    return layers.export(discriminator.player, (math.prod(shape) + classes,))


def _draws(prior: Prior) -> Float[np.ndarray, " draws size"]:
    """Draws from a prior with NumPy, without compiling a JAX program."""
    rng, shape = np.random.default_rng(0), (DRAWS, prior.size)
    if isinstance(prior, Uniform):
        return rng.uniform(-(3**0.5), 3**0.5, shape).astype(np.float32)
    if isinstance(prior, UnitCube):
        return rng.random(shape, np.float32)
    normal = rng.standard_normal(shape).astype(np.float32)
    if isinstance(prior, Spherical):
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    return normal


@eqx.filter_jit
def _apply(player: Any, *inputs: Any) -> Any:
    return jax.vmap(player)(*inputs)
