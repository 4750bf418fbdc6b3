"""Table 2, inference: the cost and quality of finding the hidden variables of an image."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Bool, Float, Key

import advnets
from advnets import _signals
from advnets.baselines import cae, gsn
from advnets.bench.cells.found import Effort, Found, Trained, instance_of, mean_and_error
from advnets.chains import Chain
from advnets.inference import search
from advnets.mixing import r_hat

# Images completed, with two chains each; components of the free pixels; R-hat of agreement.
COMPLETED, COMPONENTS, AGREED = 20, 5, 1.05
CHUNK = 50
# The inference network: units, minibatch size, and minibatches for each update of the effort.
UNITS, BATCH, MINIBATCHES = 500, 100, 5
# Test rows whose latent vectors are searched, steps of gradient descent, and its learning rate.
SEARCHED, STEPS, RATE = 100, 500, 0.05


def directed(trained: Trained, effort: Effort) -> Found:
    """How good the learned, approximate inference of a VAE is."""
    rows, draws = trained.rows("bounds", "importance", "bound"), _draws(trained, "bounds")
    scope = f"of {rows}, the run's own evaluation"
    return Found(
        (
            trained.number(
                "bound with q",
                f"Variational bound {scope}: what the encoder's q accounts for.",
                "nats",
                **trained.mean("bounds", "importance", "plain_bound"),
            ),
            trained.number(
                f"bound of {draws} importance draws",
                f"Importance-weighted bound {scope}: with q as the proposal only.",
                "nats",
                **trained.mean("bounds", "importance", "bound"),
            ),
        )
    )


def _draws(trained: Trained, name: str) -> str:
    """The number of draws of an importance-weighted bound in a run's evaluation, as text."""
    path = ("bounds", "importance", "draws") if name == "bounds" else (name, "draws")
    return f"{trained.entry(*path):,}"


def undirected(trained: Trained, effort: Effort) -> Found:
    """How good the factorial inference of a DBN is."""
    draws, rows = _draws(trained, "likelihood"), trained.rows("likelihood", "bound")
    return Found(
        (
            trained.number(
                "mean-field sweeps to 1e-4",
                "Passes until no hidden unit's mean changes by more than 1e-4: 1 by construction, "
                "as a machine's hidden units are independent given its visible ones.",
                value=1.0,
            ),
            trained.number(
                "bound with q",
                f"Variational bound of {rows} by the lower machine's q, log Z by AIS: the run's "
                "own evaluation, which binarises rows by draws of its own.",
                "nats",
                **trained.mean("likelihood", "bound"),
            ),
            trained.number(
                f"bound of {draws} importance draws",
                "Importance-weighted bound of the same rows: the gap to it is the least that q "
                "costs.",
                "nats",
                **trained.mean("likelihood", "importance_bound"),
            ),
        )
    )


class Clamped(Chain[Any]):
    """A chain of a GSN or a CAE that holds pixels of images where a mask says so.

    Attributes:
        chain: the chain.
        images: the images.
        held: the mask of held pixels.
    """

    chain: Any
    images: Float[Array, " chains *shape"]
    held: Bool[Array, "*shape"]

    def start(self, key: Key[Array, ""], images: Float[Array, " chains *shape"]) -> Any:
        """The chain's own start, from images whose held pixels are replaced.

        Raises a ValueError if the images differ in number or shape from those that are held.
        """
        if images.shape != self.images.shape:
            raise ValueError(
                f"chains start from images of the shape of those held, {self.images.shape}; got "
                f"{images.shape}"
            )
        return self.chain.start(key, self._completed(images))

    def step(self, key: Key[Array, ""], state: Any) -> Any:
        """A step of the chain, after putting the held pixels back."""
        hold, go_on = jax.random.split(key)
        if isinstance(self.chain, gsn.GSN):
            rows = self.images.reshape(len(self.images), -1)
            uniform = jax.random.uniform(hold, rows.shape, rows.dtype)
            corrupted = self.chain.corrupted(rows, uniform)
            pixels = jnp.where(self.held.reshape(1, -1), corrupted, state.pixels)
            state = dataclasses.replace(state, pixels=pixels)
        else:
            walk = instance_of(cae.Walk, self.chain)
            state = walk.start(hold, self._completed(walk.means(state)))
        return self.chain.step(go_on, state)

    def means(self, state: Any) -> Float[Array, " chains *shape"]:
        """The means of all pixels, including those that are held."""
        return self.chain.means(state)

    def _completed(self, images: Float[Array, " chains *shape"]) -> Float[Array, " chains *shape"]:
        return jnp.where(self.held[None], self.images, images)


def autoencoders(trained: Trained, effort: Effort) -> Found:
    """How long a chain of a GSN or a CAE takes to complete an image."""
    images = trained.images("test", COMPLETED)
    rows = trained.images("train")
    shape: tuple[int, ...] = images.shape
    held = np.zeros(shape[1:], bool)
    held[:, : shape[2] // 2] = True
    twice = np.repeat(images, 2, axis=0)
    chain = Clamped(trained.chain, jnp.asarray(twice), jnp.asarray(held))
    chosen = np.random.default_rng(trained.config.seed).integers(0, len(rows), len(twice))
    free = rows[:2000].reshape(min(2000, len(rows)), -1)[:, ~held.reshape(-1)].astype(np.float64)
    _, vectors = np.linalg.eigh(np.cov(free.T))
    basis = np.zeros((held.size, min(COMPONENTS, len(vectors))), np.float32)
    basis[~held.reshape(-1)] = vectors[:, ::-1][:, :COMPONENTS]  # held pixels do not count
    key, begin = jax.random.split(trained.key("clamped"))
    state = eqx.filter_jit(chain.start)(begin, jnp.asarray(rows[chosen]))
    parts, agreed = [], np.zeros(len(images))
    looks = effort.limit // CHUNK
    for number in range(looks):
        state, part = _projected(jax.random.fold_in(key, number), chain, state, jnp.asarray(basis))
        parts.append(np.asarray(part))
        series = np.concatenate(parts).transpose(1, 2, 0)  # chains, components, steps
        recent = series[:, :, series.shape[2] // 2 :]
        for image in np.flatnonzero(agreed == 0):
            pair = recent[2 * image : 2 * image + 2]
            if max(r_hat(pair[:, one]) for one in range(pair.shape[1])) < AGREED:
                agreed[image] = series.shape[2]
        _signals.check()
        if agreed.all():
            break
    limit, left = looks * CHUNK, int((agreed == 0).sum())
    steps = float(np.median(np.where(agreed == 0, np.inf, agreed)))
    definition = (
        f"Steps until two chains from different training images agree about the first "
        f"{len(images)} test images, whose left half is held: R-hat below {AGREED} of each of the "
        f"first {COMPONENTS} principal components of the free pixels, over the second half of the "
        f"steps. It is checked every {CHUNK} steps, up to {looks} times, and the first check that "
        "passes counts, so by chance it may be early; the median image"
    )
    return Found(
        (
            trained.number(
                "steps until two chains agree",
                f"{definition}. At most {limit:,} steps.",
                "steps",
                value=min(steps, float(limit)),
                at_least=not np.isfinite(steps),
            ),
            trained.number(
                f"images without agreement in {limit:,} steps",
                f"Of the same {len(images)} images, those whose chains never agreed.",
                f"of {len(images)}",
                value=float(left),
            ),
        )
    )


@eqx.filter_jit
def _projected(
    key: Key[Array, ""], chain: Clamped, state: Any, basis: Float[Array, "pixels components"]
) -> tuple[Any, Float[Array, "steps chains components"]]:
    """Steps of the chain, and the components of the free pixels after each."""

    def step(state: Any, key: Key[Array, ""]) -> tuple[Any, Array]:
        state = chain.step(key, state)
        means = chain.means(state)
        return state, means.reshape(len(means), -1) @ basis

    return lax.scan(step, state, jax.random.split(key, CHUNK))


def adversarial(trained: Trained, effort: Effort) -> Found:
    """How well a generator's latent vectors are found: by a small network, and by search."""
    model = trained.model
    images = jnp.asarray(trained.images("test", SEARCHED))
    start, fit, search = jax.random.split(trained.key("inference"), 3)
    size, pixels = model.prior.size, int(np.prod(images.shape[1:]))
    network = eqx.nn.MLP(pixels, size, UNITS, 2, key=start)
    state = _RULE.init(eqx.filter(network, eqx.is_inexact_array))
    for _ in range(effort.updates):
        fit, now = jax.random.split(fit)
        network, state = _fitted(now, network, state, model)
        _signals.check()
    flat = images.reshape(len(images), -1)
    guessed = eqx.filter_jit(eqx.filter_vmap(network))(flat)
    by_network = np.asarray(_errors(model, guessed, images))
    searched = _search(model, model.prior(search, len(images)), images)
    from_network = _search(model, guessed, images)
    text = f"Squared distance of the first {len(images)} test images from their reconstruction by G"
    return Found(
        (
            trained.number(
                "‖G(E(x)) - x‖²",
                f"{text}: the latent vector by a network E of two layers of {UNITS} units, fitted "
                f"to predict z from G(z) by {MINIBATCHES * effort.updates:,} minibatches, after "
                "G was trained.",
                **mean_and_error(by_network),
            ),
            trained.number(
                f"the same by {STEPS} gradient steps on z",
                f"{text}: the latent vector by {STEPS} steps of Adam from a draw of the prior, "
                "which it may leave.",
                **mean_and_error(searched),
            ),
            trained.number(
                f"the same by {STEPS} steps from E(x)",
                f"{text}: likewise, starting from E(x).",
                **mean_and_error(from_network),
            ),
        )
    )


_RULE = optax.adam(1e-3)


@eqx.filter_jit
def _fitted(
    key: Key[Array, ""], network: eqx.nn.MLP, state: Any, model: advnets.Model
) -> tuple[eqx.nn.MLP, Any]:
    """A network that predicts latent vectors, after some more minibatches."""
    arrays, static = eqx.partition(network, eqx.is_inexact_array)

    def update(carry: tuple[Any, Any], key: Key[Array, ""]) -> tuple[tuple[Any, Any], None]:
        arrays, state = carry
        latents = model.prior(key, BATCH)
        generated = decoded(model, latents).reshape(BATCH, -1)

        def cost(arrays: Any) -> Array:
            return jnp.mean((jax.vmap(eqx.combine(arrays, static))(generated) - latents) ** 2)

        gradient = jax.grad(cost)(arrays)
        with jax.numpy_dtype_promotion("standard"):
            changes, state = _RULE.update(gradient, state)
        return (eqx.apply_updates(arrays, changes), state), None

    (arrays, state), _ = lax.scan(update, (arrays, state), jax.random.split(key, MINIBATCHES))
    return eqx.combine(arrays, static), state


def decoded(
    model: advnets.Model, latents: Float[Array, " batch size"]
) -> Float[Array, " batch *shape"]:
    """A generator's output for latent vectors, without random draws."""
    return advnets.players.apply(model.generator, None, latents)[0]


@eqx.filter_jit
def _errors(
    model: advnets.Model, latents: Float[Array, " batch size"], images: Float[Array, " batch *d"]
) -> Float[Array, " batch"]:
    apart = decoded(model, latents) - images
    return jnp.sum(apart.reshape(len(images), -1) ** 2, axis=1)


@eqx.filter_jit
def _descended(
    model: advnets.Model, latents: Float[Array, " batch size"], images: Float[Array, " batch *d"]
) -> Float[Array, " batch size"]:
    return search(lambda z: decoded(model, z), images, latents, steps=STEPS, learning_rate=RATE)


def _search(
    model: advnets.Model, latents: Float[Array, " batch size"], images: Float[Array, " batch *d"]
) -> Float[np.ndarray, " batch"]:
    """The error of each image's reconstruction after gradient descent on its latent vector."""
    return np.asarray(_errors(model, _descended(model, latents, images), images))
