"""Figure 1: a game in one dimension at four moments, computed."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.special
from jaxtyping import Array, Float, Key

from advnets import _style
from advnets.algorithms import Algorithm1, State, at
from advnets.objectives import GAN
from advnets.players import Player, Players, apply, judge
from advnets.priors import Uniform
from advnets.verify import criterion, families
from advnets.verify.claims import toys
from advnets.verify.registry import Fault, Finding, claim, largest

GRID = families.Grid(((-4.0, 4.0),), (400,))
BATCH = 256
BOUND = toys.BOUND  # of the prior
# Iterations before each moment: of both players, of D alone, of G alone, of both.
BEFORE, D_ALONE, G_ALONE, AFTER = 60, 4000, 80, 12_000
# Limits at the moments: the first three in nats; the last on D itself, everywhere.
D_GAP, G_GAIN, END_GAP, END_D = 0.01, 0.02, 0.005, 0.05
# The number of final iterations with weight decay on D, and its rate: where there are almost no
# examples, nothing else takes D to 1/2. At p_g = p_data, where D is 1/2, it changes nothing.
SETTLED, DECAY = 4000, 1e-3

Who = Literal["both", "discriminator", "generator"]


@dataclasses.dataclass(frozen=True)
class _Moment:
    """A panel of the figure: p_g in masses, D's logits on the grid, and where G takes z."""

    p_g: Float[np.ndarray, " cells"]
    logits: Float[np.ndarray, " cells"]
    z: Float[np.ndarray, " arrows"]
    x: Float[np.ndarray, " arrows"]


def _moment(key: Key[Array, ""], players: Players) -> _Moment:
    grid = jnp.asarray(GRID.points[0], jnp.float32)[:, None]
    logits = np.asarray(judge(key, players.discriminator, grid), np.float64)
    z = np.linspace(-BOUND, BOUND, 15)
    return _Moment(_p_g(players.generator), logits, z, _generated(players.generator, z))


def _generated(generator: Player, z: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    x, _ = apply(generator, None, jnp.asarray(z, jnp.float32)[:, None])
    return np.asarray(x, np.float64)[:, 0]


def _p_g(generator: Player) -> Float[np.ndarray, " cells"]:
    """The generator's masses on the grid, by change of variables; mass off it goes to the ends."""
    z = np.linspace(-BOUND, BOUND, 40_001)
    (edges,) = GRID.edges
    below = np.interp(edges, _generated(generator, z), (z + BOUND) / (2 * BOUND))
    below[0], below[-1] = 0, 1
    return np.diff(below)


def _players(key: Key[Array, ""]) -> Players:
    generator = toys.TrainedIncreasing(
        shift=jnp.array([0.9]),
        log_scale=jnp.log(jnp.array([0.5])),
        log_heights=jnp.log(jnp.array([0.05, 0.05, 0.05])),
        log_slopes=jnp.log(jnp.array([2.0, 1.5, 2.0])),
        offsets=jnp.array([-1.0, 0.0, 1.0]),
    )
    discriminator = eqx.nn.MLP(1, "scalar", 16, 2, jnp.tanh, key=key)
    return Players(generator, discriminator, prior=Uniform(1))


def _play(
    key: Key[Array, ""], algorithm: Algorithm1, players: Players, iterations: int, who: Who
) -> Players:
    """The players after some iterations of both, or of one alone, on normal data."""

    def once(state: State, key: Key[Array, ""]) -> tuple[State, None]:
        real_key, step_key = jax.random.split(key)
        real = jax.random.normal(real_key, (BATCH, 1))
        step = {
            "both": algorithm.step,
            "discriminator": algorithm.discriminator_step,
            "generator": algorithm.generator_step,
        }[who]
        return step(step_key, players, state, real)[0], None

    keys = jax.random.split(key, iterations)
    play = jax.jit(lambda state: jax.lax.scan(once, state, keys)[0])
    return at(players, play(algorithm.init(players)))


@claim(
    "figure-1",
    statement="In a one-dimensional game near convergence, D is partially accurate (a); trained "
    "alone, it becomes D* (b); its gradient then leads G(z) to where data are more likely (c); in "
    "the end p_g = p_data and D is 1/2 everywhere (d).",
    source="Figure 1",
    computes="A game of an increasing G with uniform noise and a tanh D on normal data at those "
    "four moments, with p_g by change of variables. The residual is the largest of five ratios: "
    "the gap C - V in (b) to .01 nats; .02 nats to the decrease of C from (b) to (c); C + log 4 in "
    "(d) to .005 nats; the largest |D - 1/2| on [-4, 4] in (d), after iterations with weight decay "
    "on D, to .05; and E|D - 1/2| before these to .05.",
    tolerance=1.0,
    reason="Each limit is far below the initial values: C + log 4 of .1 nats and more, and a D "
    "that is 1 where there are only data.",
    long=True,
    condition="players with enough capacity, learning rates that fall to 0, and weight decay on D "
    "at the end",
    faults=[
        Fault("the game stops soon after (c)", {"after": 40}),
        Fault("D is not trained between (a) and (b)", {"d_alone": 1}),
        Fault(
            "G follows D's gradient in the wrong direction", {"cost": lambda fake: jnp.mean(fake)}
        ),
    ],
)
def figure_1(
    seed: int,
    *,
    cost: Callable[[Float[Array, " batch"]], Float[Array, ""]] = lambda fake: (
        -jnp.mean(jax.nn.log_sigmoid(fake))
    ),
    d_alone: int = D_ALONE,
    after: int = AFTER,
) -> Finding:
    d_key, judge_key, *keys = jax.random.split(jax.random.key(seed), 7)
    falling = optax.cosine_decay_schedule(1.0, AFTER)

    def game(
        g_rate: float, d_rate: float, schedule: optax.Schedule, decay: float = 0.0
    ) -> Algorithm1:
        def rule(rate: float) -> optax.GradientTransformation:
            return optax.rmsprop(lambda count: rate * schedule(count))

        decayed = optax.chain(optax.add_decayed_weights(decay), rule(d_rate))
        return Algorithm1(
            objective=GAN(generator_cost=cost),
            generator_updates=rule(g_rate),
            discriminator_updates=decayed,
        )

    quick, slow = game(1e-3, 5e-3, lambda _: 1.0), game(1e-3, 5e-3, falling)
    settling = game(1e-4, 2e-3, optax.cosine_decay_schedule(1.0, SETTLED), DECAY)
    a = _play(keys[0], quick, _players(d_key), BEFORE, "both")
    b = _play(
        keys[1],
        game(0.0, 1e-2, optax.cosine_decay_schedule(1.0, D_ALONE)),
        a,
        d_alone,
        "discriminator",
    )
    c = _play(keys[2], quick, b, G_ALONE, "generator")
    nearly = _play(keys[3], slow, c, after, "both")
    d = _play(keys[4], settling, nearly, min(after, SETTLED), "both")

    p_data = families.gaussian_mixture(GRID, [0.0], 1.0) * GRID.cell_volume
    moments = {
        name: _moment(judge_key, players)
        for name, players in zip("abcd", (a, b, c, d), strict=True)
    }
    p_b, p_c, p_d = (moments[name].p_g for name in "bcd")
    gap = criterion.virtual_criterion(p_data, p_b) - criterion.value_on_grid(
        p_data, p_b, moments["b"].logits
    )
    gain = criterion.virtual_criterion(p_data, p_b) - criterion.virtual_criterion(p_data, p_c)
    end = criterion.suboptimality(p_data, p_d)
    off = np.abs(scipy.special.expit(moments["d"].logits) - 0.5).max()
    before = _moment(judge_key, nearly)
    off_before = (p_data + before.p_g) / 2 @ np.abs(scipy.special.expit(before.logits) - 0.5)
    return Finding(
        largest(
            gap / D_GAP,
            G_GAIN / gain if gain > 0 else np.inf,
            end / END_GAP,
            off / END_D,
            off_before / END_D,
        ),
        {
            "gap C - V in (b)": gap,
            "loss of C from (b) to (c)": gain,
            "C + log 4 in (b)": criterion.suboptimality(p_data, p_b),
            "C + log 4 in (d)": end,
            "largest |D - 1/2| in (d)": float(off),
            "E|D - 1/2| before the last pull": float(off_before),
            "total variation of p_g from p_data in (d)": 0.5 * float(np.abs(p_d - p_data).sum()),
        },
        {"seed": seed},
        functools.partial(_draw, p_data, moments),
    )


def _draw(p_data: Float[np.ndarray, " cells"], moments: dict[str, _Moment], figure: Any) -> None:
    figure.set_size_inches(12, 4)
    x, volume = GRID.points[0], GRID.cell_volume
    panels = figure.subplots(1, 4, sharey=True)
    upper, lower = -0.25, -0.7  # where the lines of x and z are, below the densities
    for panel, (name, moment) in zip(panels, moments.items(), strict=True):
        panel.plot(x, p_data / volume, ":", color=_style.INK, label="data")
        panel.plot(x, moment.p_g / volume, color=_style.GREEN, label="generator")
        panel.plot(x, 1 / (1 + np.exp(-moment.logits)), "--", color=_style.BLUE, label="D")
        for start, stop in zip(moment.z, moment.x, strict=True):
            panel.annotate(
                "", (stop, upper), (start, lower), arrowprops={"arrowstyle": "->", "lw": 0.7}
            )
        panel.plot([-BOUND, BOUND], [lower, lower], color=_style.INK, lw=1)
        panel.plot([-4, 4], [upper, upper], color=_style.INK, lw=1)
        panel.text(-3.9, lower + 0.02, "z")
        panel.text(-3.9, upper + 0.03, "x")
        panel.set(title=f"({name})", xlim=(-4, 4), ylim=(-0.75, 1.05), xticks=[])
        # Densities and D are not below 0, so their axis starts there.
        panel.set_yticks([0, 0.5, 1])
        panel.spines["left"].set_bounds(0, 1)
        panel.spines["bottom"].set_visible(False)
    _style.legend(panels[0])
