"""Table 2, training: what each kind of model pays while it learns."""

import dataclasses
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Float, Int, Key, UInt8

import advnets
from advnets import _signals
from advnets.algorithms import State
from advnets.baselines import cae, dbn, gsn, rbm, vae
from advnets.bench.cells.found import (
    Curve,
    Effort,
    Found,
    Number,
    Trained,
    flops,
    in_unit_interval,
    mean_and_error,
)
from advnets.bench.folders import newest_manifest
from advnets.bench.pages.players import restored
from advnets.bench.recipes import algorithm_of, build_players
from advnets.bench.settings import PREPROCESSING
from advnets.bench.systems import Adversarial
from advnets.bench.systems.chained import classified
from advnets.bench.systems.dbn import DBNSettings
from advnets.bench.systems.vae import VAESettings
from advnets.chains import Chain, Protocol
from advnets.draws import discriminator_draws
from advnets.mixing import mixing
from advnets.players import judge
from advnets.training.checkpoints import check_whole
from advnets.training.learning import MODEL

# Minibatches of negative phases whose gradients are compared, and the steps that they take.
BATCHES, BATCH, STEPS = 50, 100, (1, 5, 25)
# Training rows of the positive phase, and how many at once.
POSITIVE, AT_ONCE = 50_000, 1000
# Draws of the first hidden layer for the gap of a bound, and test rows.
DRAWS, ROWS = 100, 1000
# The walk's noise, in parts of what the system was trained or chosen with; chains, and burn-in.
FACTORS, FEW, BURN_IN = (0.25, 0.5, 1.0, 1.5), 20, 100
SAMPLES = 10_000
GAP = (
    "log p(x) by the importance-weighted bound, minus the bound, of binarised test rows: what "
    "learning by approximate inference leaves on the table."
)


def directed(trained: Trained, effort: Effort) -> Found:
    """What inference costs a VAE while it learns, and what it leaves on the table."""
    model, recipe = trained.model, trained.system.settings
    assert isinstance(model, vae.VAE)
    assert isinstance(recipe, VAESettings)
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
    whole = flops(update, jax.random.key(0), params, rule.init(params), batch)
    share = flops(inference, params.encoder, batch, (code, code)) / whole
    return Found(
        (
            trained.number(
                "inference's share of an update",
                "Floating-point operations of the encoder, forward and backward, in parts of a "
                "whole update's, by XLA's analysis of both programs.",
                value=share,
            ),
            trained.number(
                "log p - bound",
                f"{GAP} The run's own evaluation, by {trained.draws('bounds'):,} draws of each.",
                "nats",
                **trained.mean("bounds", "importance", "gap"),
            ),
        )
    )


def lower_layer(trained: Trained, effort: Effort) -> Found:
    """What the directed, lower layer of a DBN leaves on the table."""
    net = trained.chain.model
    rows = jnp.asarray(trained.binary(ROWS).reshape(min(ROWS, len(trained.data.test)), -1))
    with jax.default_matmul_precision("highest"):
        logs = np.asarray(
            jax.jit(dbn.log_weights, static_argnums=3)(trained.key("gap"), net, rows, DRAWS),
            np.float64,
        )
    importance = np.logaddexp.reduce(logs, axis=0) - math.log(DRAWS)
    return Found(
        (
            trained.number(
                "log p - bound, lower layer",
                f"{GAP} By {DRAWS} draws of the first hidden layer for each of {len(rows):,} rows; "
                "log Z cancels.",
                "nats",
                **mean_and_error(importance - logs.mean(axis=0)),
            ),
            trained.number(
                "inference's share, lower layer",
                "Floating-point operations of inference in parts of an update's.",
                reason="the lower layer learned as an undirected machine, not with an encoder "
                "beside it",
            ),
        )
    )


def undirected(trained: Trained, effort: Effort) -> Found:
    """What the partition function costs the upper machine of a DBN while it learns."""
    recipe = trained.system.settings
    assert isinstance(recipe, DBNSettings)
    numbers = [
        trained.number(
            "Gibbs steps per update",
            "Steps of each persistent chain for an update, by the recipe.",
            value=float(recipe.gibbs_steps),
        )
    ]
    net, key = trained.chain.model, trained.key("gradient")
    positive, starts = _of_data(jax.random.fold_in(key, 0), net, trained)
    halves = _reference(jax.random.fold_in(key, 2), net.upper, starts[0], effort.steps)
    reference = positive - halves.mean(axis=0)
    size = float(jnp.linalg.norm(reference))
    floor = float(jnp.linalg.norm(halves[0] - halves[1])) / 2 / size
    persistent = _persistent(trained, net.upper.hidden_bias.size)
    said = (
        "Distance of the gradient in the top machine's weights from that by "
        f"{effort.steps:,} Gibbs steps, relative to the latter's norm; the same positive phase, of "
        "up to 50,000 rows"
    )
    curves = []
    for kind, begun in (("CD", starts), ("PCD", persistent)):
        if begun is None:
            numbers.append(
                trained.number(
                    f"gradient's error, {kind}-1",
                    f"{said}.",
                    reason="the persistent chains are in the run's checkpoints, which are not here",
                )
            )
            continue
        more = (
            "; from the chains of the last checkpoint on, which go on from minibatch to minibatch"
            if kind == "PCD"
            else ""
        )
        each, of_mean = [], []
        for steps in STEPS:
            now = jax.random.fold_in(key, 10 * steps + (kind == "PCD"))
            count = jnp.asarray(steps)
            errors, mean = _negatives(
                now, net.upper, begun, count, positive - reference, kind == "PCD"
            )
            each.append((float(steps), float(jnp.mean(errors)) / size, None))
            of_mean.append((float(steps), float(mean) / size, None))
            _signals.check()
        numbers += [
            trained.number(
                f"gradient's error, {kind}-{int(steps)}",
                f"{said}; the mean of {BATCHES} minibatches' negative phases of {BATCH} chains "
                f"by {kind}-{int(steps)}, so that what is left is mostly bias{more}.",
                value=error,
            )
            for steps, error, _ in of_mean
        ]
        curves += [
            Curve(f"{kind}, one minibatch", said, trained.label, "k", "error", tuple(each)),
            Curve(f"{kind}, mean of {BATCHES}", said, trained.label, "k", "error", tuple(of_mean)),
        ]
    numbers.append(
        trained.number(
            "the reference's own error",
            "Half the distance between two halves of the reference's 100 chains, relative to the "
            "norm of its gradient: no error below it can be told from 0.",
            value=floor,
        )
    )
    levels = tuple((float(steps), floor, None) for steps in (STEPS[0], STEPS[-1]))
    curves.append(Curve("reference's own", said, trained.label, "k", "error", levels))
    return Found(tuple(numbers), tuple(curves))


def _of_data(
    key: Key[Array, ""], net: dbn.DBN, trained: Trained
) -> tuple[Float[Array, "first second"], Float[Array, "batches batch second"]]:
    """The positive phase over training rows, and states drawn from some, in minibatches."""
    chosen = np.random.default_rng(0).permutation(len(trained.data.train))[:POSITIVE]
    total: Array = jnp.zeros(net.upper.weights.shape)
    states, count = [], -(-len(chosen) // AT_ONCE)
    for number in range(count):
        rows = jnp.asarray(trained.data.train[np.resize(chosen, (count, AT_ONCE))[number]])
        found, drawn = _upwards(jax.random.fold_in(key, number), net, rows)
        total = total + found
        states.append(drawn)
        _signals.check()
    begun = jnp.resize(jnp.concatenate(states), (BATCHES, BATCH, net.upper.hidden_bias.size))
    return total / count, begun


@eqx.filter_jit
def _upwards(
    key: Key[Array, ""], net: dbn.DBN, images: UInt8[Array, " rows *shape"]
) -> tuple[Float[Array, "first second"], Float[Array, "rows second"]]:
    """The positive phase of some rows, and states of the upper layer."""
    one, two, three = jax.random.split(key, 3)
    first = net.first.sample_hidden(two, rbm.visible_of(one, images))
    return _statistic(net.upper, first), net.upper.sample_hidden(three, first)


def _statistic(model: rbm.RBM, visible: Float[Array, "n first"]) -> Float[Array, "first second"]:
    return visible.T @ model.hidden_means(visible) / len(visible)


# Statistics are taken every so many steps; of the reference's steps a tenth is burn-in.
EVERY, CHUNK = 5, 20


def _reference(
    key: Key[Array, ""], model: rbm.RBM, states: Float[Array, "chains second"], steps: int
) -> Float[Array, "2 first second"]:
    """The negative phase by two halves of many long chains."""
    total: Array = jnp.zeros((2, *model.weights.shape))
    count = max(1, steps // (EVERY * CHUNK))
    for number in range(count):
        states, found = _go_on(jax.random.fold_in(key, number), model, states)
        if number >= count // 10:
            total = total + found
        _signals.check()
    return total / (count - count // 10)


@eqx.filter_jit
def _go_on(
    key: Key[Array, ""], model: rbm.RBM, states: Float[Array, "chains second"]
) -> tuple[Float[Array, "chains second"], Float[Array, "2 first second"]]:
    chain = rbm.Gibbs(model, (model.visible_bias.size,))
    half = len(states) // 2

    def some(carry: tuple[Array, Array], key: Key[Array, ""]) -> tuple[tuple[Array, Array], None]:
        states, total = carry
        keys = jax.random.split(key, EVERY + 1)
        states, _ = lax.scan(lambda h, key: (chain.step(key, h), None), states, keys[1:])
        visible = model.sample_visible(keys[0], states)
        found = jnp.stack([_statistic(model, visible[:half]), _statistic(model, visible[half:])])
        return (states, total + found), None

    start = (states, jnp.zeros((2, *model.weights.shape)))
    (states, total), _ = lax.scan(some, start, jax.random.split(key, CHUNK))
    return states, total / CHUNK


@eqx.filter_jit
def _negatives(
    key: Key[Array, ""],
    model: rbm.RBM,
    starts: Float[Array, "batches chains second"],
    steps: Int[Array, ""],
    reference: Float[Array, "first second"],
    persistent: bool,
) -> tuple[Float[Array, " batches"], Float[Array, ""]]:
    """How far each minibatch's negative phase is from the reference, and how far their mean is."""
    chain = rbm.Gibbs(model, (model.visible_bias.size,))

    def batch(
        carry: tuple[Array, Array], given: tuple[Key[Array, ""], Array]
    ) -> tuple[tuple[Array, Array], Array]:
        (memory, total), (key, start) = carry, given
        states = memory if persistent else start
        # The last step's hidden units are means, as in an update.
        states = lax.fori_loop(
            1, steps, lambda t, h: chain.step(jax.random.fold_in(key, t), h), states
        )
        down, up = jax.random.split(jax.random.fold_in(key, 0))
        visible = model.sample_visible(down, states)
        found = _statistic(model, visible)
        after = model.sample_hidden(up, visible)
        return (after, total + found), jnp.linalg.norm(found - reference)

    keys = jax.random.split(key, len(starts))
    begun = (starts[0], jnp.zeros_like(reference))
    (_, total), errors = lax.scan(batch, begun, (keys, starts))
    return errors, jnp.linalg.norm(total / len(starts) - reference)


def _persistent(trained: Trained, units: int) -> Float[Array, "batches chains second"] | None:
    """The chains that learning left in the newest checkpoint; None if there is no checkpoint."""
    newest, recipe = newest_manifest(trained.folder), trained.system.settings
    assert isinstance(recipe, DBNSettings)
    if newest is None:
        return None
    place, run, manifest = newest
    check_whole(place)
    like = jax.ShapeDtypeStruct((recipe.persistent_chains, units), jnp.float32)
    memory = restored(place, manifest, run, f"memory['{MODEL}']", like)
    return jnp.broadcast_to(memory[None], (BATCHES, *memory.shape))


def autoencoders(trained: Trained, effort: Effort) -> Found:
    """How mixing and reconstruction trade off as the walk's noise varies."""
    images = jnp.asarray(trained.images("test", ROWS))
    starts = trained.images("train", 1000)
    said = (
        f"Autocorrelation time, in steps of {FEW} chains of {effort.limit // 2:,} consecutive "
        "samples each, and cross-entropy of clean test rows by the pixels' means after one noisy "
        "step from them, as the noise of the trained system's walk is multiplied; another noise "
        "or contraction in training would be another system. * where the time is a lower bound."
    )
    points, labels, numbers = [], [], []
    for factor in FACTORS:
        chain = noisier(trained.chain, factor)
        key = trained.key(f"noise {factor}")
        nats = _reconstruction(key, chain, images)
        protocol = Protocol(FEW, BURN_IN, 1)
        samples = advnets.chains.run(key, chain, starts, FEW * (effort.limit // 2), protocol)
        mixed = mixing(samples)
        found = mean_and_error(np.asarray(nats))
        moves = math.isfinite(mixed.time)
        if moves:
            points.append((mixed.time, found["value"], found["standard_error"]))
            labels.append(f"{factor:g}×" + "*" * (not mixed.trusted))
        if factor == 1:
            numbers = [
                trained.number(
                    "reconstruction after a noisy step",
                    "Cross-entropy of clean test rows by the pixels' means after one step of the "
                    "chain from them, with the system's own noise.",
                    "nats",
                    **found,
                ),
                trained.number(
                    "autocorrelation time of that noise",
                    f"In steps, of {FEW} chains of consecutive samples: the median over 10 "
                    "principal components.",
                    "steps",
                    value=mixed.time if moves else None,
                    at_least=not mixed.trusted,
                    reason="" if moves else "the chains do not move",
                ),
            ]
    curve = Curve(
        "noise varied", said, trained.label, "steps", "nats", tuple(points), tuple(labels)
    )
    return Found(tuple(numbers), (curve,))


def noisier(chain: Chain[Any], factor: float) -> Chain[Any]:
    """A walk with its noise multiplied, of a GSN or a CAE; nothing is trained again."""
    if isinstance(chain, cae.Walk):
        return cae.Walk(chain.model, chain.scale * factor)
    assert isinstance(chain, gsn.GSN)

    def blank(key: Key[Array, ""]) -> gsn.GSN:
        return gsn.GSN(
            key,
            chain.image_shape,
            hidden_sizes=(chain.bias1.size, chain.bias2.size),
            salt_and_pepper=min(1.0, chain.salt_and_pepper * factor),
            noise=chain.noise * factor,
        )

    leaves = jax.tree.leaves(chain)
    other = eqx.filter_eval_shape(blank, jax.random.key(0))
    found: Chain[Any] = jax.tree.unflatten(jax.tree.structure(other), leaves)
    return found


@eqx.filter_jit
def _reconstruction(
    key: Key[Array, ""], chain: Chain[Any], images: Float[Array, " rows *shape"]
) -> Float[Array, " rows"]:
    """The cross-entropy of images by the means of pixels after a step from them."""
    start, step = jax.random.split(key)
    means = in_unit_interval(chain.means(chain.step(step, chain.start(start, images))))
    each = images * jnp.log(means) + (1 - images) * jnp.log1p(-means)
    return -jnp.sum(each.reshape(len(images), -1), axis=1)


def adversarial(trained: Trained, effort: Effort) -> Found:
    """Whether D has kept step with G, and whether G has collapsed."""
    said = (
        f"V(D, G) after {effort.updates} more updates of D by the run's own rule, with G as it is, "
        "minus V before, on validation rows and as many fresh samples, without dropout: how far D "
        "was behind G."
    )
    missing = (
        f"Classes that no nearest training image of {SAMPLES:,} samples has: what is left out of "
        "the data after a collapse."
    )
    return Found((*_behind(trained, effort, said), _missing(trained, missing)))


def _missing(trained: Trained, said: str) -> Number:
    labels, name = trained.data.train_labels, f"classes missing of {SAMPLES:,} samples"
    if labels is None:
        return trained.number(name, said, reason="the data have no labels")
    samples = np.asarray(trained.model.sample(trained.key("classes"), SAMPLES))
    classes = classified(samples, trained.images("train"), labels)
    there, of_data = np.unique(classes), np.unique(np.asarray(labels))
    return trained.number(name, said, f"of {len(of_data)}", value=float(len(of_data) - len(there)))


def _behind(trained: Trained, effort: Effort, said: str) -> tuple[Number, ...]:
    name, system = "V of D fitted on, minus V now", trained.system
    assert isinstance(system, Adversarial)
    newest = newest_manifest(trained.folder)
    if newest is None or system.two_stages:
        why = (
            "D is in the run's checkpoints, which are not here"
            if newest is None
            else "not done of recipes in two stages"
        )
        return (trained.number(name, said, "nats", reason=why),)
    place, run, manifest = newest
    check_whole(place)
    recipe, images = system.recipe, trained.data.train
    players = build_players(
        jax.random.split(jax.random.key(trained.config.seed), 3)[0], recipe, images
    )
    per_epoch = len(images) // (recipe.batch_size * recipe.k)
    algorithm = algorithm_of(recipe).for_epochs_of(per_epoch)
    like = jax.eval_shape(lambda: algorithm.init(players))
    state = restored(place, manifest, run, "", like)
    preprocess = PREPROCESSING[recipe.preprocessing]
    real = jnp.asarray(trained.images("validation"))
    one, fit = jax.random.split(trained.key("V"))

    @eqx.filter_jit
    def terms(state: State) -> tuple[Array, Array]:
        now = advnets.algorithms.at(players, state)
        fake = advnets.model.model_of(now)(one, len(real))
        on_real, on_fake = (judge(None, now.discriminator, batch) for batch in (real, fake))
        return jax.nn.log_sigmoid(on_real), jax.nn.log_sigmoid(-on_fake)

    @eqx.filter_jit
    def update(key: Key[Array, ""], state: State, batch: Array) -> State:
        _, gradients, _, state = algorithm.differentiate(
            ("discriminator",), discriminator_draws(key), players, state, preprocess(batch)
        )
        return algorithm.descend(state, gradients)

    before = [np.asarray(term, np.float64) for term in terms(state)]
    rng = np.random.default_rng(trained.config.seed)
    with system.context():
        for number in range(effort.updates):
            rows = rng.integers(0, len(images), recipe.batch_size)
            state = update(jax.random.fold_in(fit, number), state, jnp.asarray(images[rows]))
            _signals.check()
    after = [np.asarray(term, np.float64) for term in terms(state)]
    apart = [b - a for a, b in zip(before, after, strict=True)]
    return (
        trained.number(name, said, "nats", **_sum_of_means(*apart)),
        trained.number(
            "V now",
            "V(D, G) of the last checkpoint, likewise; -log 4 = -1.386 where D can't tell the two "
            "apart, 0 where D is never wrong.",
            "nats",
            **_sum_of_means(*before),
        ),
    )


def _sum_of_means(
    real: Float[np.ndarray, " rows"], fake: Float[np.ndarray, " rows"]
) -> dict[str, Any]:
    """The sum of the means of independent rows, and its standard error."""
    error = math.sqrt(real.var(ddof=1) / len(real) + fake.var(ddof=1) / len(fake))
    return {"value": float(real.mean() + fake.mean()), "standard_error": error}
