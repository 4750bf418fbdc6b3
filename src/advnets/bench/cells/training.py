"""Table 2, training: the cost of training each kind of model."""

import dataclasses
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.special
from jax import lax
from jaxtyping import Array, Float, Int, Key, UInt8

import advnets
from advnets import _signals
from advnets.algorithms import State
from advnets.baselines import cae, dbn, gsn, rbm, vae
from advnets.bench.cells import likelihood, sampling
from advnets.bench.cells.found import (
    Curve,
    Effort,
    Found,
    MissingError,
    Number,
    Trained,
    in_unit_interval,
    instance_of,
    mean_and_error,
    product_flops,
    reasons,
)
from advnets.bench.folders import newest_checkpoint
from advnets.bench.recipes import algorithm_of, build_players
from advnets.bench.settings import PREPROCESSING
from advnets.bench.systems import Adversarial
from advnets.bench.systems.chained import classified
from advnets.bench.systems.dbn import DBNSettings
from advnets.bench.systems.games import stage_keys
from advnets.bench.systems.vae import VAESettings
from advnets.chains import Chain
from advnets.draws import discriminator_draws
from advnets.players import judge
from advnets.training.checkpoints import check_whole
from advnets.training.learning import MODEL

# Minibatches of the negative phases that are compared, their size, and the numbers of Gibbs steps.
BATCHES, BATCH, STEPS = 50, 100, (1, 5, 25)
# Training rows of the positive phase, and rows in a block.
POSITIVE, AT_ONCE = 50_000, 1000
# Test rows that an autoencoder reconstructs, and samples whose classes are counted.
ROWS, SAMPLES = 1000, 10_000
# The walk's noise, as multiples of the system's own.
FACTORS = (0.25, 0.5, 1.0, 1.5)
GAP = (
    "log p(x) by the importance-weighted bound, minus the variational bound: the gap that training "
    "with approximate inference leaves, as far as this many draws can tell."
)


def directed(trained: Trained, effort: Effort) -> Found:
    """The cost of inference in training a VAE, and the gap that it leaves to log p(x).

    Raises a TypeError for a run of another system.
    """
    model = instance_of(vae.VAE, trained.model)
    recipe = instance_of(VAESettings, trained.system.settings)
    params, static = eqx.partition(model, eqx.is_inexact_array)
    rule, cost = optax.adam(recipe.learning_rate), vae.Cost(recipe.binary)
    batch = jax.ShapeDtypeStruct((recipe.batch_size, *trained.config.image_shape), jnp.float32)

    def update(key: Key[Array, ""], params: Any, state: Any, images: Array) -> Any:
        def value(params: Any) -> Array:
            return cost(key, eqx.combine(params, static), None, images)[0]

        gradient = jax.grad(value)(params)
        with jax.numpy_dtype_promotion("standard"):
            changes, state = rule.update(gradient, state, params)
        return optax.apply_updates(params, changes), state

    def inference(encoder: Any, images: Array, cotangents: Any) -> Any:
        def encode(encoder: Any) -> Any:
            whole = dataclasses.replace(params, encoder=encoder)
            return eqx.combine(whole, static).encode(images)

        return jax.vjp(encode, encoder)[1](cotangents)

    code = jax.ShapeDtypeStruct((recipe.batch_size, recipe.latent_size), jnp.float32)
    whole = product_flops(update, jax.random.key(0), params, rule.init(params), batch)
    share = product_flops(inference, params.encoder, batch, (code, code)) / whole
    return Found(
        (
            trained.number(
                "inference's share of an update",
                "FLOPs of matrix products of the encoder, forward and backward, as a fraction of "
                "the update's.",
                value=share,
            ),
            _gap(trained),
        )
    )


def _gap(trained: Trained) -> Number:
    """The gap that approximate inference leaves, from the run's evaluation."""
    name = "log p - bound"
    try:
        rows = trained.rows("bounds", "importance", "gap")
        draws = trained.entry("bounds", "importance", "draws")
        gap = trained.mean("bounds", "importance", "gap")
    except MissingError as error:
        return trained.number(name, GAP, "nats", reason=str(error))
    definition = f"{GAP} Of {rows}, by {draws:,} draws of each: the run's own evaluation."
    return trained.number(name, definition, "nats", **gap)


def lower_layer(trained: Trained, effort: Effort) -> Found:
    """The gap that inference in the directed, lower layer of a DBN leaves."""
    logs = likelihood.lower_weights(trained)
    draws, rows = logs.shape
    importance = scipy.special.logsumexp(logs, axis=0) - math.log(draws)
    return Found(
        (
            trained.number(
                "log p - bound, lower layer",
                f"{GAP} By {draws} draws of the first hidden layer for each of the first {rows:,} "
                "binarised test rows; log Z cancels.",
                "nats",
                **mean_and_error(importance - logs.mean(axis=0)),
            ),
            trained.number(
                "inference's share, lower layer",
                "FLOPs of matrix products of inference as a fraction of the update's.",
                reason="the lower layer was trained as an undirected machine, not with an encoder "
                "of its own",
            ),
        )
    )


def undirected(trained: Trained, effort: Effort) -> Found:
    """The cost of the partition function in training the upper machine of a DBN.

    Raises a TypeError for a run of another system.
    """
    recipe = instance_of(DBNSettings, trained.system.settings)
    numbers = [
        trained.number(
            "Gibbs steps per update",
            "Steps of each persistent chain per update, according to the recipe.",
            value=float(recipe.gibbs_steps),
        )
    ]
    net, key = trained.chain.model, trained.key("gradient")
    persistent, why = _persistent(trained, net.upper.hidden_bias.size)
    positive, starts = _of_data(jax.random.fold_in(key, 0), net, trained)
    apart = persistent
    if apart is None:
        units = net.upper.hidden_bias.size
        apart = np.asarray(rbm.fair_coins(jax.random.fold_in(key, 1), BATCH // 2, units))
    of_data = starts[0, : BATCH // 2]
    begun = jnp.asarray(np.concatenate([of_data, np.resize(apart, of_data.shape)]))
    count = effort.steps // (EVERY * CHUNK)
    halves = _reference(jax.random.fold_in(key, 2), net.upper, begun, count)
    negative = halves.mean(axis=0)
    size = _norm(positive - negative)
    floor = _norm(halves[0] - halves[1]) / 2 / size
    positive_rows = min(POSITIVE, len(trained.data.train))
    definition = (
        "Distance of the gradient in the top machine's weights from the reference, relative to the "
        f"reference's norm; the same positive phase of {positive_rows:,} training rows in both. "
        f"The reference has {BATCH // 2 * 2} chains of {count * EVERY * CHUNK:,} Gibbs steps, a "
        "tenth of them burn-in: half of the chains start from training rows, half from "
        f"{'fair coins' if persistent is None else 'the persistent chains'}"
    )
    noise = (
        "The noise is half the distance between the estimates from one half of the chains and from "
        "the other: an error near it, or near the reference's own, shows no bias"
    )
    of_cd = (
        f"CD-k: the negative phase is the mean of {BATCHES} minibatches of {BATCH} chains, each "
        "after k steps from training rows"
    )
    of_pcd = (
        f"PCD-k: the negative phase is the mean over {BATCHES} minibatches in a row, so over "
        f"{BATCHES} k steps, of chains that continue from those of the last checkpoint while the "
        "machine is held fixed. Consecutive states are alike, so the samples are effectively few: "
        "most of the error may be noise, not bias, and more steps reduce the noise"
    )
    curves = []
    for kind, chains, of_kind in (("CD", starts, of_cd), ("PCD", persistent, of_pcd)):
        full = f"{definition}. {of_kind}"
        if chains is None:
            numbers.append(trained.number(f"gradient's error, {kind}-1", f"{full}.", reason=why))
            continue
        points, noises = [], []
        for steps in STEPS:
            k, persists = jnp.asarray(steps), kind == "PCD"
            now = jax.random.fold_in(key, 10 * steps + persists)
            found = np.asarray(_negatives(now, net.upper, jnp.asarray(chains), k, persists))
            error = _norm(found.mean(axis=0) - negative) / size
            own = _norm(found[0] - found[1]) / 2 / size
            points.append((float(steps), error, None))
            noises.append((float(steps), own, None))
            numbers.append(
                trained.number(
                    f"gradient's error, {kind}-{steps}",
                    f"{full}. {noise}." if steps == STEPS[0] else f"Likewise, with k = {steps}.",
                    value=error,
                    noise=own,
                )
            )
            _signals.check()
        for name, held in ((f"{kind}, mean of {BATCHES}", points), (f"{kind}, noise", noises)):
            more = f"The gradient's error by {kind}-k, or its noise, by k."
            curves.append(Curve(name, more, trained.label, "k", "error", tuple(held)))
    numbers.append(
        trained.number(
            "the reference's own error",
            "Half the distance between the halves of the reference's chains, which start apart, "
            "relative to the norm of its gradient: no error below it can be told from 0.",
            value=floor,
        )
    )
    levels = tuple((float(steps), floor, None) for steps in (STEPS[0], STEPS[-1]))
    level = "The reference's own error, at any k."
    curves.append(Curve("reference's own", level, trained.label, "k", "error", levels))
    return Found(tuple(numbers), tuple(curves))


def _norm(gradient: Float[np.ndarray, "first second"]) -> float:
    return float(np.linalg.norm(gradient))


def _of_data(
    key: Key[Array, ""], net: dbn.DBN, trained: Trained
) -> tuple[Float[np.ndarray, "first second"], Float[np.ndarray, "batches batch second"]]:
    """The positive phase of training rows, and upper states drawn from some, in minibatches."""
    chosen = np.random.default_rng(0).permutation(len(trained.data.train))[:POSITIVE]
    total = np.zeros(net.upper.weights.shape)
    states, count = [], -(-len(chosen) // AT_ONCE)
    for number, part in enumerate(np.array_split(chosen, count)):
        rows = jnp.asarray(trained.data.train[part])
        found, drawn = _upwards(jax.random.fold_in(key, number), net, rows)
        total += len(part) * np.asarray(found, np.float64)
        states.append(np.asarray(drawn))
        _signals.check()
    begun = np.resize(np.concatenate(states), (BATCHES, BATCH, net.upper.hidden_bias.size))
    return total / len(chosen), begun


@eqx.filter_jit
def _upwards(
    key: Key[Array, ""], net: dbn.DBN, images: UInt8[Array, " rows *shape"]
) -> tuple[Float[Array, "first second"], Float[Array, "rows second"]]:
    """The positive phase of a block of rows, and states drawn of the upper layer."""
    one, two, three = jax.random.split(key, 3)
    first = net.first.sample_hidden(two, rbm.visible_of(one, images))
    return _statistic(net.upper, first), net.upper.sample_hidden(three, first)


def _statistic(model: rbm.RBM, visible: Float[Array, "n first"]) -> Float[Array, "first second"]:
    return visible.T @ model.hidden_means(visible) / len(visible)


# Steps between statistics, and statistics in a compiled chunk; a tenth of all is burn-in.
EVERY, CHUNK = 5, 20


def _reference(
    key: Key[Array, ""],
    model: rbm.RBM,
    states: Float[Array, "chains second"],
    count: int,
) -> Float[np.ndarray, "2 first second"]:
    """The negative phase from two halves of many chains, of `count` times 100 steps."""
    total = np.zeros((2, *model.weights.shape))
    for number in range(count):
        states, found = _go_on(jax.random.fold_in(key, number), model, states)
        if number >= count // 10:
            total += np.asarray(found)
        _signals.check()
    return total / (count - count // 10)


@eqx.filter_jit
def _go_on(
    key: Key[Array, ""], model: rbm.RBM, states: Float[Array, "chains second"]
) -> tuple[Float[Array, "chains second"], Float[Array, "2 first second"]]:
    chain = rbm.Gibbs(model, (model.visible_bias.size,))

    def some(carry: tuple[Array, Array], key: Key[Array, ""]) -> tuple[tuple[Array, Array], None]:
        states, total = carry
        keys = jax.random.split(key, EVERY + 1)
        states, _ = lax.scan(lambda h, key: (chain.step(key, h), None), states, keys[1:])
        visible = model.sample_visible(keys[0], states)
        return (states, total + _halves(model, visible)), None

    start = (states, jnp.zeros((2, *model.weights.shape)))
    (states, total), _ = lax.scan(some, start, jax.random.split(key, CHUNK))
    return states, total / CHUNK


def _halves(model: rbm.RBM, visible: Float[Array, "n first"]) -> Float[Array, "2 first second"]:
    """The statistic of each half of the chains; with an odd number, the last one is left out."""
    half = len(visible) // 2
    halves = (visible[:half], visible[half : 2 * half])
    return jnp.stack([_statistic(model, one) for one in halves])


@eqx.filter_jit
def _negatives(
    key: Key[Array, ""],
    model: rbm.RBM,
    starts: Float[Array, "batches chains second"] | Float[Array, "chains second"],
    steps: Int[Array, ""],
    persistent: bool,
) -> Float[Array, "2 first second"]:
    """The mean negative phase of many minibatches, from each half of the chains."""
    chain = rbm.Gibbs(model, (model.visible_bias.size,))

    def batch(
        carry: tuple[Array, Array], given: tuple[Key[Array, ""], Array | None]
    ) -> tuple[tuple[Array, Array], None]:
        (memory, total), (key, start) = carry, given
        states = memory if start is None else start
        # The last step's hidden units are means, as in an update.
        states = lax.fori_loop(
            1, steps, lambda t, h: chain.step(jax.random.fold_in(key, t), h), states
        )
        down, up = jax.random.split(jax.random.fold_in(key, 0))
        visible = model.sample_visible(down, states)
        after = model.sample_hidden(up, visible)
        return (after, total + _halves(model, visible)), None

    keys = jax.random.split(key, BATCHES)
    begun = (starts if persistent else starts[0], jnp.zeros((2, *model.weights.shape)))
    (_, total), _ = lax.scan(batch, begun, (keys, None if persistent else starts))
    return total / BATCHES


def _persistent(
    trained: Trained, units: int
) -> tuple[Float[np.ndarray, "chains second"] | None, str]:
    """The persistent chains in the newest checkpoint; or None, and why there are none."""
    newest = newest_checkpoint(trained.folder)
    recipe = instance_of(DBNSettings, trained.system.settings)
    if newest is None:
        return None, "the persistent chains are in the run's checkpoints, which are not here"
    like = jax.ShapeDtypeStruct((recipe.persistent_chains, units), jnp.float32)
    try:
        with reasons():
            check_whole(newest.place)
            memory = newest.restore(f"memory['{MODEL}']", like)
    except MissingError as error:
        return None, str(error)
    return np.resize(np.asarray(memory), (max(2, len(memory)), units)), ""


def autoencoders(trained: Trained, effort: Effort) -> Found:
    """How mixing and reconstruction trade off as the walk's noise varies."""
    images = jnp.asarray(trained.images("test", ROWS))
    of_means = f"the first {len(images):,} test rows, clean, by the pixels' means after one step"
    definition = (
        f"Autocorrelation time in steps, of {sampling.describe_chains(effort)}, and cross-entropy "
        f"of {of_means} of the chain from them, as the noise of the trained system's walk is "
        "multiplied; another noise or contraction in training would be another system. * marks "
        "times that are lower bounds."
    )
    points, labels, numbers = [], [], []
    for factor in FACTORS:
        chain = noisier(trained.chain, factor)
        nats = _reconstruction(trained.key(f"noise {factor}"), chain, images)
        mixed = sampling.consecutive(trained, chain, effort)
        found = mean_and_error(np.asarray(nats))
        if math.isfinite(mixed.time):
            points.append((mixed.time, found["value"], found["standard_error"]))
            labels.append(f"{factor:g}×" + "*" * (not mixed.trusted))
        if factor == 1:
            numbers = [
                trained.number(
                    "reconstruction after a noisy step",
                    f"Cross-entropy of {of_means} of the chain from them, with the system's own "
                    "noise.",
                    "nats",
                    **found,
                ),
                sampling.tau_of(
                    trained, mixed, sampling.describe_chains(effort), "the chains do not move"
                ),
            ]
    curve = Curve(
        "noise varied", definition, trained.label, "steps", "nats", tuple(points), tuple(labels)
    )
    return Found(tuple(numbers), (curve,))


def noisier(chain: Chain[Any], factor: float) -> Chain[Any]:
    """A GSN's or CAE's walk with its noise multiplied by a factor; nothing is trained again.

    Raises a ValueError for a factor below 0, or one that is not finite; a TypeError for another
    chain.
    """
    if isinstance(chain, cae.Walk):
        return cae.Walk(chain.model, chain.scale * factor)
    net = instance_of(gsn.GSN, chain)
    # The noise is not an array, so all arrays are those of the trained chain.
    other = gsn.GSN(
        jax.random.key(0),
        net.image_shape,
        hidden_sizes=(net.bias1.size, net.bias2.size),
        salt_and_pepper=min(1.0, net.salt_and_pepper * factor),
        noise=net.noise * factor,
    )
    return jax.tree.unflatten(jax.tree.structure(other), jax.tree.leaves(net))


@eqx.filter_jit
def _reconstruction(
    key: Key[Array, ""], chain: Chain[Any], images: Float[Array, " rows *shape"]
) -> Float[Array, " rows"]:
    """The cross-entropy of images and the means of pixels after a step from them."""
    start, step = jax.random.split(key)
    means = in_unit_interval(chain.means(chain.step(step, chain.start(start, images))))
    each = images * jnp.log(means) + (1 - images) * jnp.log1p(-means)
    return -jnp.sum(each.reshape(len(images), -1), axis=1)


def adversarial(trained: Trained, effort: Effort) -> Found:
    """Whether D has kept step with G, and whether G has collapsed.

    Raises a TypeError for a run of another system.
    """
    definition = (
        f"V(D, G) after {effort.updates} more updates of D by the run's own rule on training rows, "
        f"with G as it is, minus V before, on all {len(trained.data.validation):,} validation rows "
        "and as many fresh samples, without dropout. A value above 0 shows that D was behind G, "
        "but not how far: so few updates reach no optimum, and D may also overfit."
    )
    missing_definition = (
        f"Classes that none of the training images nearest to {SAMPLES:,} samples has: those that "
        "a collapse leaves out."
    )
    return Found((*_behind(trained, effort, definition), _missing(trained, missing_definition)))


def _missing(trained: Trained, definition: str) -> Number:
    labels, name = trained.data.train_labels, f"classes missing of {SAMPLES:,} samples"
    if labels is None:
        return trained.number(name, definition, reason="the data have no labels")
    samples = np.asarray(trained.model.sample(trained.key("classes"), SAMPLES))
    classes = classified(samples, trained.images("train"), labels)
    classes_found, classes_of_data = np.unique(classes), np.unique(np.asarray(labels))
    return trained.number(
        name,
        definition,
        f"of {len(classes_of_data)}",
        value=float(len(classes_of_data) - len(classes_found)),
    )


def _behind(trained: Trained, effort: Effort, definition: str) -> tuple[Number, ...]:
    name = "V after further training of D, minus V now"
    system = instance_of(Adversarial, trained.system)
    newest = newest_checkpoint(trained.folder)
    if newest is None or system.two_stages:
        why = (
            "D is in the run's checkpoints, which are not here"
            if newest is None
            else "not implemented for two-stage recipes"
        )
        return (trained.number(name, definition, "nats", reason=why),)
    recipe, images = system.settings, trained.data.train
    players = build_players(stage_keys(trained.config.seed, second=False)[0], recipe, images)
    per_epoch = len(images) // (recipe.batch_size * recipe.k)
    algorithm = algorithm_of(recipe).for_epochs_of(per_epoch)
    like = jax.eval_shape(lambda: algorithm.init(players))
    try:
        with reasons():
            check_whole(newest.place)
            state = newest.restore("", like)
    except MissingError as error:
        return (trained.number(name, definition, "nats", reason=str(error)),)
    preprocess = PREPROCESSING[recipe.preprocessing]
    one, fit = jax.random.split(trained.key("V"))
    real = trained.images("validation")
    fake = advnets.model.model_of(advnets.algorithms.at(players, state)).sample(one, len(real))

    @eqx.filter_jit
    def update(key: Key[Array, ""], state: State, batch: Array) -> State:
        _, gradients, _, state = algorithm.differentiate(
            ("discriminator",), discriminator_draws(key), players, state, preprocess(batch)
        )
        return algorithm.descend(state, gradients)

    def terms(state: State) -> list[np.ndarray]:
        now = advnets.algorithms.at(players, state)
        return [_log_odds(now.discriminator, batch) for batch in (real, fake)]

    before = terms(state)
    rng = np.random.default_rng(trained.config.seed)
    for number in range(effort.updates):
        rows = rng.integers(0, len(images), recipe.batch_size)
        state = update(jax.random.fold_in(fit, number), state, jnp.asarray(images[rows]))
        _signals.check()
    # log D of real rows, log (1 - D) of fake ones.
    values = [
        (-np.logaddexp(0, -on_real), -np.logaddexp(0, on_fake))
        for on_real, on_fake in (before, terms(state))
    ]
    gains = [b - a for a, b in zip(*values, strict=True)]
    return (
        trained.number(name, definition, "nats", **_sum_of_means(*gains)),
        trained.number(
            "V now",
            f"V(D, G) of the last checkpoint, on the same {len(real):,} rows and samples; "
            "-log 4 = -1.386 where D can't tell the two apart, 0 where D is never wrong.",
            "nats",
            **_sum_of_means(*values[0]),
        ),
    )


def _log_odds(
    discriminator: Any, examples: Float[np.ndarray, " rows *shape"]
) -> Float[np.ndarray, " rows"]:
    """A discriminator's logits for examples, computed in blocks."""
    blocks = [examples[first : first + AT_ONCE] for first in range(0, len(examples), AT_ONCE)]
    return np.concatenate([np.asarray(_judged(discriminator, one), np.float64) for one in blocks])


@eqx.filter_jit
def _judged(discriminator: Any, examples: Array | np.ndarray) -> Array:
    return judge(None, discriminator, jnp.asarray(examples))


def _sum_of_means(
    real: Float[np.ndarray, " rows"], fake: Float[np.ndarray, " rows"]
) -> dict[str, Any]:
    """The sum of the means of independent rows, and its standard error."""
    error = math.sqrt(real.var(ddof=1) / len(real) + fake.var(ddof=1) / len(fake))
    return {"value": float(real.mean() + fake.mean()), "standard_error": error}
