"""Both update orders against the independent implementation, on the change of every parameter."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import reference

import advnets

LATENT, PIXELS, BATCH, STEPS = 5, (3, 4), 16, 4
RATE, DIVISOR, EPOCH = 0.2, 1.01, 2  # so that rate and momentum change from step to step
KEEPS = [0.8, 0.5, 0.5]
OBJECTIVES = {
    "non-saturating": advnets.non_saturating_cost,
    "minimax": advnets.minimax_cost,
    "blend": advnets.BlendedCost(minimax=1.0, non_saturating=1.0),
}
# Options of the released code together: what the library is told, and what the reference is.
OPTIONS = {
    "lazy costs": (
        {
            "generator_cost": advnets.ThresholdedCost(margin=0.02),
            "discriminator_cost": advnets.LazyDiscriminatorCost(margin=0.02),
        },
        reference.Options(threshold=0.52, lazy=0.02, halved=True),
    ),
    "thresholded cost, shrunk discriminator": (
        {"generator_cost": advnets.ThresholdedCost(), "shrink": 0.95},
        reference.Options(threshold=0.5, shrink=0.95),
    ),
    "gradient floor, no dropout for the generator": (
        {"floor": 1.0, "generator_sees_dropout": False},
        reference.Options(target=1.0, dropout=False),
    ),
}
MOVED = {"lazy": "discriminator", "shrink": "discriminator"}  # the rest move the generator


def build(order, objective, k, floor=None, shrink=None, **settings):
    generator_key, discriminator_key, bias_key = jax.random.split(jax.random.key(7), 3)
    bias = jax.random.normal(bias_key, PIXELS)
    # Weights of a size at which gradients, velocities and rounding are far apart.
    generator = advnets.mlp_generator(
        generator_key, LATENT, PIXELS, hidden_sizes=[7, 6], weight_range=0.6, output_bias=bias
    )
    discriminator = advnets.maxout_discriminator(
        discriminator_key, PIXELS, units=[6, 5], pieces=3, weight_range=0.6
    )
    if floor is not None:
        generator = eqx.nn.Sequential([generator, advnets.GradientFloor(floor)])
    rule = {"divisor": DIVISOR, "saturate": 3}
    discriminator_updates = advnets.released_updates(RATE, EPOCH * k, **rule)
    if shrink is not None:
        discriminator_updates = optax.chain(discriminator_updates, advnets.shrink(shrink))
    algorithm = advnets.Algorithm1(
        generator,
        discriminator,
        advnets.Uniform(LATENT),
        generator_updates=advnets.released_updates(RATE, EPOCH, stride=k, **rule),
        discriminator_updates=discriminator_updates,
        order=order,
        k=k,
        **{"generator_cost": OBJECTIVES[objective], **settings},
    )
    return algorithm, algorithm.init(generator, discriminator)


def momentum_state(updates):
    """The state of the momentum, which comes first in a chain."""
    return updates[0] if isinstance(updates, tuple) else updates


def with_velocity(state, key):
    """A state as in the middle of training: velocities as large as a step."""

    def velocity(updates, key):
        leaves, structure = jax.tree.flatten(momentum_state(updates).velocity)
        keys = jax.random.split(key, len(leaves))
        drawn = [0.03 * jax.random.normal(k, v.shape) for k, v in zip(keys, leaves, strict=True)]
        return eqx.tree_at(
            lambda updates: momentum_state(updates).velocity, updates, structure.unflatten(drawn)
        )

    g_key, d_key = jax.random.split(key)
    return dataclasses.replace(
        state,
        generator_updates=velocity(state.generator_updates, g_key),
        discriminator_updates=velocity(state.discriminator_updates, d_key),
    )


@jax.jit
def masks(key):
    """The masks that a discriminator's dropout draws: a key an example, split over its layers."""
    sizes = [int(np.prod(PIXELS)), 6, 5]
    layer_keys = jax.vmap(lambda k: jax.random.split(k, 8))(jax.random.split(key, BATCH))
    return [
        jax.vmap(lambda k, p=p, s=s: jax.random.bernoulli(k, p, (s,)))(layer_keys[:, i])
        for i, p, s in zip((1, 3, 5), KEEPS, sizes, strict=True)
    ]


@jax.jit
def noise(key):
    return advnets.Uniform(LATENT)(jax.random.split(key)[0], BATCH)


def draws(key):
    """Noise, masks on data, masks on samples: of a discriminator step or a simultaneous one."""
    fake_key, real_masks_key, fake_masks_key = jax.random.split(key, 3)
    return jax.device_get((noise(fake_key), masks(real_masks_key), masks(fake_masks_key)))


def pairs(tree):
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(tree)]
    return list(zip(leaves[::2], leaves[1::2], strict=True))


def rate(update):
    return max(RATE / DIVISOR**update, 1e-6)


def mu(step):
    return 0.5 + 0.2 * min(max((step // EPOCH) / 2, 0), 1)  # epoch 1 + step // EPOCH, 1 to 3


def run_reference(state, key, batches, order, objective, k, fault, options):
    g = reference.Generator(pairs(state.generator))
    d = reference.Discriminator(pairs(state.discriminator), KEEPS)
    vg = pairs(momentum_state(state.generator_updates).velocity)
    vd = pairs(momentum_state(state.discriminator_updates).velocity)
    for step in range(STEPS):
        step_key = jax.random.fold_in(key, step)
        real = batches[step]
        if order == "simultaneous":
            vg, vd = reference.simultaneous(
                g, d, vg, vd, real, draws(step_key), rate(step), mu(step), objective, fault, options
            )
        else:
            d_key, g_key = jax.random.split(step_key)
            fake_key, masks_key = jax.random.split(g_key)
            vg, vd = reference.alternating(
                g,
                d,
                vg,
                vd,
                real,
                [draws(key) for key in jax.random.split(d_key, k)],
                jax.device_get((noise(fake_key), masks(masks_key))),
                [rate(k * step + i) for i in range(k)],
                rate(k * step),
                mu(step),
                objective,
                fault,
                options,
            )
    return g.parameters, d.parameters


def train(order, objective="non-saturating", k=1, **settings):
    """Some steps of the library: the key, the data, and the states before and after."""
    algorithm, start = build(order, objective, k, **settings)
    start = with_velocity(start, jax.random.key(3))
    key = jax.random.key(11)
    shape = (STEPS, BATCH, *PIXELS) if order == "simultaneous" else (STEPS, k, BATCH, *PIXELS)
    batches = np.random.default_rng(0).random(shape)

    step = jax.jit(algorithm.step)
    final = start
    for real in batches:
        given = real if order == "simultaneous" or k > 1 else real[0]
        final, _ = step(key, final, jnp.asarray(given, jnp.float32))
    return key, batches.reshape(*shape[: -len(PIXELS)], -1), start, final


def relative_errors(
    trained, order, objective="non-saturating", k=1, fault=None, options=reference.RELEASED
):
    """For each player's every array, how far its change is from the reference's, relatively."""
    key, batches, start, final = trained
    expected = run_reference(start, key, batches, order, objective, k, fault, options)
    errors = {}
    for player, parameters in zip(("generator", "discriminator"), expected, strict=True):
        before, after = pairs(getattr(start, player)), pairs(getattr(final, player))
        errors[player] = np.array(
            [
                np.linalg.norm((e - s) - (x - s)) / np.linalg.norm(x - s)
                for ends, starts, xs in zip(after, before, parameters, strict=True)
                for e, s, x in zip(ends, starts, xs, strict=True)
            ]
        )
    return errors


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize(
    ("order", "k"), [("simultaneous", 1), ("alternating", 1), ("alternating", 3)]
)
def test_changes_match_the_reference(order, objective, k):
    trained = train(order, objective, k)
    for player, errors in relative_errors(trained, order, objective, k).items():
        assert (errors <= 1e-4).all(), (player, errors)


@pytest.mark.parametrize(
    ("order", "fault", "player"),
    [
        ("simultaneous", "flipped sign", "generator"),
        ("simultaneous", "no half", "discriminator"),
        ("simultaneous", "reused mask", "discriminator"),
        ("alternating", "flipped sign", "discriminator"),
        ("alternating", "half", "discriminator"),
        ("alternating", "reused mask", "discriminator"),
        ("alternating", "reused noise", "generator"),
    ],
)
def test_a_planted_fault_shows_in_every_array(order, fault, player):
    errors = relative_errors(train(order), order, fault=fault)[player]
    assert (errors > 1e-2).all(), errors


@pytest.mark.parametrize("order", ["simultaneous", "alternating"])
@pytest.mark.parametrize("name", OPTIONS)
def test_changes_match_the_reference_with_options_of_the_released_code(order, name):
    settings, options = OPTIONS[name]
    trained = train(order, **settings)
    for player, errors in relative_errors(trained, order, options=options).items():
        assert (errors <= 1e-4).all(), (player, errors)
    # A reference without one of them goes elsewhere: each has an effect, and the check sees it.
    for field in dataclasses.fields(options):
        if getattr(options, field.name) == field.default or field.name == "halved":
            continue
        without = dataclasses.replace(options, **{field.name: field.default})
        errors = relative_errors(trained, order, options=without)
        player = MOVED.get(field.name, "generator")
        assert (errors[player] > 1e-2).all(), (field.name, errors)
