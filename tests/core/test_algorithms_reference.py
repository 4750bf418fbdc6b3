"""Both update orders against the independent implementation, on the change of every parameter."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import drawn, reference
from helpers.numeric import float64
from helpers.reference_layers import build
from helpers.velocities import velocity_arrays, with_velocity

import advnets
from advnets import game, layers, networks, objectives, priors, updates
from advnets.draws import discriminator_draws, generator_draws

LATENT, PIXELS, BATCH, STEPS = 5, (3, 4), 16, 4
RATE, DIVISOR, EPOCH = 0.2, 1.01, 2  # so that rate and momentum change from step to step
KEY = jax.random.key(11)
COSTS = {
    "non-saturating": game.non_saturating_cost,
    "minimax": game.minimax_cost,
    "blend": game.BlendedCost(minimax=1.0, non_saturating=1.0),
}
# Options of the released code together: what the library is told, and what the reference is.
OPTIONS = {
    "none": ({}, reference.RELEASED),
    "lazy costs, shrunk discriminator": (
        {
            "generator_cost": game.ThresholdedCost(margin=0.02),
            "discriminator_cost": game.LazyDiscriminatorCost(margin=0.02),
            "shrink": 0.95,
        },
        reference.Options(threshold=0.52, lazy=0.02, halved=True, shrink=0.95),
    ),
    "gradient floor, no dropout for the generator": (
        {"floor": 1.0, "generator_sees_dropout": False},
        reference.Options(target=1.0, dropout=False),
    ),
}
MOVED = {"lazy": "discriminator", "shrink": "discriminator"}  # the rest move the generator


def players(floor):
    generator_key, discriminator_key, bias_key = jax.random.split(jax.random.key(7), 3)
    bias = jax.random.normal(bias_key, PIXELS)
    # Weights of a size at which gradients, velocities and rounding are far apart.
    generator = networks.mlp_generator(
        generator_key, LATENT, PIXELS, hidden_sizes=[7, 6], weight_range=0.6, output_bias=bias
    )
    discriminator = networks.maxout_discriminator(
        discriminator_key, PIXELS, units=[6, 5], pieces=3, weight_range=0.6
    )
    # What the reference takes from the layers besides their arrays.
    functions = [x.fn for x in generator.layers if isinstance(x, eqx.nn.Lambda)]
    assert functions == [jax.nn.relu, jax.nn.relu, jax.nn.sigmoid]
    keeps = [x.keep for x in discriminator.layers if isinstance(x, layers.Dropout)]
    assert keeps == [0.8, 0.5, 0.5]
    if floor is not None:
        generator = eqx.nn.Sequential([generator, layers.GradientFloor(floor)])
    return advnets.Players(generator, discriminator, priors.Uniform(LATENT))


def algorithm_of(order, cost, k, shrink=None, floor=None, **settings):
    rule = {"divisor": DIVISOR, "saturate": 3}
    discriminator_updates = updates.released_updates(RATE, EPOCH * k, **rule)
    if shrink is not None:
        discriminator_updates = optax.chain(discriminator_updates, updates.shrink(shrink))
    kind = advnets.Simultaneous
    if order == "alternating":
        kind = functools.partial(advnets.Algorithm1, k=k)
    else:
        settings = {"discriminator_cost": game.discriminator_cost} | settings
    return kind(
        objective=objectives.GAN(**{"generator_cost": COSTS[cost], **settings}),
        generator_updates=updates.released_updates(RATE, EPOCH, stride=k, **rule),
        discriminator_updates=discriminator_updates,
    )


def moving(state, key):
    """A state as in the middle of training: velocities as large as a step."""
    keys = dict(zip(("generator", "discriminator"), jax.random.split(key), strict=True))
    updates = {name: with_velocity(state.updates[name], keys[name], 0.03) for name in keys}
    return dataclasses.replace(state, updates=updates)


def rate(update):
    return max(RATE / DIVISOR**update, 1e-6)


def mu(step):
    return 0.5 + 0.2 * min(max((step // EPOCH) / 2, 0), 1)  # epoch 1 + step // EPOCH, 1 to 3


@dataclasses.dataclass(frozen=True)
class Run:
    """Some steps of the library: the players, the states before and after, data, and draws."""

    players: advnets.Players
    start: advnets.State
    final: advnets.State
    batches: np.ndarray
    draws: list


@functools.cache
def train(order, cost="non-saturating", k=1, options="none"):
    settings = OPTIONS[options][0]
    algorithm = algorithm_of(order, cost, k, **settings)
    given = players(settings.get("floor"))
    start = moving(algorithm.init(given), jax.random.key(3))
    shape = (STEPS, BATCH, *PIXELS) if order == "simultaneous" else (STEPS, k, BATCH, *PIXELS)
    batches = np.random.default_rng(0).random(shape)

    @jax.jit
    def step(state, real):
        return algorithm.step(KEY, given, state, real)[0]

    final = start
    for real in batches:
        real = real[0] if order == "alternating" and k == 1 else real
        final = step(final, jnp.asarray(real, jnp.float32))

    def noise(draws):
        """Latent vectors, masks on data, masks on samples."""
        return (
            drawn.latents(draws, given.prior, BATCH),
            drawn.masks(draws.real, given.discriminator, PIXELS, BATCH),
            drawn.masks(draws.fake, given.discriminator, PIXELS, BATCH),
        )

    draws = []
    for number in range(STEPS):
        if order == "simultaneous":
            draws.append(noise(discriminator_draws(jax.random.fold_in(KEY, number))))
        else:
            d_keys, g_key = algorithm.step_keys(KEY, number)
            z, _, masks = noise(generator_draws(g_key))
            draws.append(([noise(discriminator_draws(key)) for key in d_keys], (z, masks)))
    return Run(given, start, final, batches, draws)


def run_reference(run, order, cost, k, fault, options):
    g, d = build(run.players.generator), build(run.players.discriminator)
    vg, vd = (velocity_arrays(run.start.updates[name]) for name in ("generator", "discriminator"))
    for step, (real, drawn_) in enumerate(zip(run.batches, run.draws, strict=True)):
        if order == "simultaneous":
            vg, vd = reference.simultaneous(
                g, d, vg, vd, real, drawn_, rate(step), mu(step), cost, fault, options
            )
        else:
            vg, vd = reference.alternating(
                g,
                d,
                vg,
                vd,
                real,
                *drawn_,
                [rate(k * step + i) for i in range(k)],
                rate(k * step),
                mu(step),
                cost,
                fault,
                options,
            )
    return [[p for layer in player for p in layer.parameters] for player in (g, d)]


def relative_errors(order, cost="non-saturating", k=1, options="none", fault=None, override=None):
    """For each player's every array, how far its change is from the reference's, relatively."""
    run = train(order, cost, k, options)
    expected = run_reference(run, order, cost, k, fault, override or OPTIONS[options][1])
    errors = {}
    for player, parameters in zip(("generator", "discriminator"), expected, strict=True):
        before, after = (
            float64(jax.tree.leaves(state.players[player])) for state in (run.start, run.final)
        )
        errors[player] = np.array(
            [
                np.linalg.norm((e - s) - (x - s)) / np.linalg.norm(x - s)
                for e, s, x in zip(after, before, parameters, strict=True)
            ]
        )
    return errors


@pytest.mark.parametrize(
    ("order", "k", "cost"),
    [
        pytest.param("simultaneous", 1, "non-saturating", marks=pytest.mark.long),
        pytest.param("simultaneous", 1, "blend", marks=pytest.mark.long),
        pytest.param("alternating", 1, "non-saturating", marks=pytest.mark.long),
        ("alternating", 3, "minimax"),
    ],
)
def test_changes_match_the_reference(order, k, cost):
    for player, errors in relative_errors(order, cost, k).items():
        assert (errors <= 1e-4).all(), (player, errors)


@pytest.mark.long
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
    errors = relative_errors(order, fault=fault)[player]
    assert (errors > 1e-2).all(), errors


@pytest.mark.parametrize(
    "order", ["simultaneous", pytest.param("alternating", marks=pytest.mark.long)]
)
@pytest.mark.parametrize("name", [name for name in OPTIONS if name != "none"])
def test_changes_match_the_reference_with_options_of_the_released_code(order, name):
    for player, errors in relative_errors(order, options=name).items():
        assert (errors <= 1e-4).all(), (player, errors)
    # A reference without one of them goes elsewhere: each has an effect, and the check sees it.
    options = OPTIONS[name][1]
    for field in dataclasses.fields(options):
        if getattr(options, field.name) == field.default or field.name == "halved":
            continue
        without = dataclasses.replace(options, **{field.name: field.default})
        errors = relative_errors(order, options=name, override=without)
        player = MOVED.get(field.name, "generator")
        assert (errors[player] > 1e-2).all(), (field.name, errors)
