"""The Markov chain in the browser: what a page needs to compute the steps of a deep GSN."""

from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from advnets.baselines.gsn import GSN
from advnets.bench.pages import layers
from advnets.bench.pages.explorer import DRAWS, Explorer, training_images
from advnets.bench.pages.layers import Layer, NotExported, Precision
from advnets.chains import Chained

WEIGHTS = ("weight1", "weight2")
BIASES = ("bias0", "bias1", "bias2")


def chain(folder: Path, model: Any, *, budget: int) -> Explorer:
    """Prepares a deep GSN's Markov chain for a page.

    Args:
        folder: the run's, where its sheet of training images is.
        model: the run's sampler.
        budget: the most characters that weights may take in the page.

    Returns:
        What the page reads.

    Raises:
        NotExported: if it is another model's chain, or the page has no room for it.
    """
    if not (isinstance(model, Chained) and isinstance(model.chain, GSN)):
        raise NotExported("a page computes the chains of deep GSNs only")
    gsn = model.chain
    arrays = {name: np.asarray(getattr(gsn, name), np.float32) for name in (*WEIGHTS, *BIASES)}
    whole = [Layer("dense", {name: arrays[name] for name in WEIGHTS})]
    precision = layers.best_fitting(
        folder, layers.BYTES, lambda precision: layers.size(whole, precision), budget
    )
    note = f"The chain is that of the last epoch, with weights in {precision}"
    if precision != "float32":
        moved = 255 * _moved(model, precision)
        note += (
            f", which moves a pixel's probability by {moved:.2g} of 255 grey levels at most in a "
            f"step of {DRAWS} chains"
        )
    training, of_images = training_images(folder, gsn.image_shape)
    data = {
        **{name: layers.encode(arrays[name], precision) for name in WEIGHTS},
        **{name: layers.encode(arrays[name], "float32") for name in BIASES},
        "shape": list(gsn.image_shape),
        "salt_and_pepper": gsn.salt_and_pepper,
        "noise": gsn.noise,
        "gcn": False,
        "training": training,
    }
    return Explorer(data, (note, *of_images))


def rounded(gsn: GSN, precision: Precision) -> GSN:
    """A deep GSN with its weights rounded as in a page.

    Args:
        gsn: the network.
        precision: the precision of the weights.

    Returns:
        The network that the page computes.
    """

    def weights(net: GSN) -> list[Any]:
        return [getattr(net, name) for name in WEIGHTS]

    encoded = [layers.encode(np.asarray(weight), precision) for weight in weights(gsn)]
    return eqx.tree_at(weights, gsn, [jnp.asarray(layers.decode(one)) for one in encoded])


def _moved(model: Chained, precision: Precision) -> float:
    """The largest change of a probability by rounding, in the second step from training images."""
    gsn = model.chain
    assert isinstance(gsn, GSN)
    images = jnp.asarray(model.starts[:DRAWS], jnp.float32) / 255
    keys = jax.random.split(jax.random.key(0), 3)
    state = gsn.step(keys[1], gsn.start(keys[0], images))
    both = (net.step(keys[2], state).means for net in (gsn, rounded(gsn, precision)))
    one, other = map(np.asarray, both)
    return float(abs(one - other).max())
