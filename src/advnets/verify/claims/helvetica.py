"""Section 6, disadvantages: the Helvetica scenario."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key

from advnets import _style
from advnets.algorithms import Algorithm1, State, at
from advnets.model import Model
from advnets.players import Players
from advnets.priors import Normal
from advnets.verify.claims import toys
from advnets.verify.registry import Fault, Finding, claim

MODES, SPREAD = 8, 0.1
ANGLES = 2 * np.pi * np.arange(MODES) / MODES
CENTRES = 2 * np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)
CHUNK, CHUNKS = 200, 5


@claim(
    "helvetica-modes",
    statement="G must not be trained too much without updating D, or it collapses many values of z "
    "to the same x (the Helvetica scenario).",
    source="Section 6",
    computes="20 games of networks on a ring of 8 normal modes, with both players trained in turn "
    "for 200 iterations; then 800 steps of G alone with D frozen, against 800 more iterations of "
    "both. A mode is covered if it is the nearest mode to at least 1 % of G's samples. The "
    "residual is the sign test's p-value for fewer modes covered with D frozen.",
    tolerance=1e-3,
    reason="18 of 20 games must agree; fair coins would do so in one seed of 5,000.",
    condition="a D that still tells data from generated examples: at equilibrium a frozen D is 1/2 "
    "everywhere and does not move G",
    long=True,
    faults=[
        Fault("D not frozen", {"frozen": False}),
    ],
)
def helvetica_modes(seed: int, *, frozen: bool = True) -> Finding:
    rng = np.random.default_rng([seed, 14])
    shape = (CHUNKS, toys.RUNS, CHUNK, 64)
    data = CENTRES[rng.integers(MODES, size=shape)] + SPREAD * rng.normal(size=(*shape, 2))
    chunks = jnp.asarray(data, float)
    generators = jax.vmap(toys.Bounded)(toys.networks(rng, (2, 32, 32, 2)))
    players = Players(generators, toys.networks(rng, (2, 32, 32, 1)), prior=Normal(2))
    keys = toys.run_keys(seed)
    algorithm = Algorithm1(
        generator_updates=optax.rmsprop(2e-3), discriminator_updates=optax.rmsprop(2e-3)
    )

    @jax.jit
    @jax.vmap
    def both(key: Key[Array, ""], state: State, data: Array) -> State:
        def step(state: State, real: Array) -> tuple[State, None]:
            return algorithm.step(key, players, state, real)[0], None

        return jax.lax.scan(step, state, data)[0]

    @jax.jit
    @jax.vmap
    def alone(key: Key[Array, ""], state: State, data: Array) -> State:
        def step(state: State, inputs: tuple[Array, Array]) -> tuple[State, None]:
            step_key, real = inputs
            return algorithm.generator_step(step_key, players, state, real)[0], None

        return jax.lax.scan(step, state, (jax.random.split(key, len(data)), data))[0]

    @jax.jit
    @jax.vmap
    def sample(key: Key[Array, ""], state: State) -> Float[Array, "n 2"]:
        return Model(at(players, state).generator, players.prior)(key, 512)

    together = both(keys, jax.vmap(algorithm.init)(players), chunks[0])
    ends = []
    for further in (alone if frozen else both, both):
        state = together
        for chunk in chunks[1:]:
            state = further(jax.vmap(jax.random.fold_in)(keys, state.iteration), state, chunk)
        ends.append(np.asarray(sample(keys, state), np.float64))
    covered = [modes_covered(samples) for samples in ends]
    return Finding(
        toys.sign_test(covered[0] < covered[1]),
        {
            "mean modes, D frozen": float(covered[0].mean()),
            "mean modes, in turn": float(covered[1].mean()),
            "median spread, D frozen": float(np.median(ends[0].std(1).max(1))),
            "median spread, in turn": float(np.median(ends[1].std(1).max(1))),
        },
        {"seed": seed, "modes, D frozen": covered[0], "modes, in turn": covered[1]},
        functools.partial(_draw_ends, ends, covered),
    )


def _draw_ends(
    ends: list[Float[np.ndarray, "games n 2"]],
    covered: list[Float[np.ndarray, " games"]],
    figure: Any,
) -> None:
    shown = int(np.argsort(covered[0] - covered[1])[toys.RUNS // 2])
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    titles = ("G alone, D frozen", "G and D in turn")
    for axes, title, samples, counts in zip(panels, titles, ends, covered, strict=True):
        axes.plot(*CENTRES.T, "+", color=_style.INK, label="modes of the data")
        axes.plot(*samples[shown].T, ".", markersize=4, alpha=0.4, label="512 samples of G")
        axes.set(title=f"{title}: {counts[shown]:.0f} of 8 modes", xlabel="x₁", aspect="equal")
        axes.set(xlim=(-3.2, 3.2), ylim=(-3.2, 3.2))
    panels[0].set_ylabel("x₂")
    _style.legend(panels[0])


def modes_covered(samples: Float[np.ndarray, "games n 2"]) -> Float[np.ndarray, " games"]:
    """The number of modes that are the nearest one to at least 1 % of the samples."""
    distances = np.linalg.norm(samples[:, :, None] - CENTRES, axis=-1)
    nearest = distances.argmin(-1)[..., None] == np.arange(MODES)
    return (nearest.mean(1) >= 0.01).sum(-1).astype(float)
