"""The best D against a fixed G, found by optimising an objective's own costs on densities.

An unrestricted discriminator is a table with one output per cell. For every objective, the expected
cost on a batch of one data example and one generated example, in cells x and y, is the sum over x
and y of p_data(x) p_g(y) cost(D(x), D(y)).
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Array, Float

from advnets.draws import discriminator_draws
from advnets.objectives import Objective

CELLS, PAIRS, EQUAL = 6, 2000, 100
# D's outputs are searched between this and its negative, which includes the best ones of all
# objectives.
WIDEST = 200.0
# Densities further apart than this, in total variation, must not have the value of equal ones.
APART = 1e-3

Table = Float[np.ndarray, "pairs cells"]


@dataclasses.dataclass(frozen=True)
class Densities:
    """Many pairs of densities, as masses: one row of cells per pair."""

    p_data: Table
    p_g: Table

    @property
    def total_variation(self) -> Float[np.ndarray, " pairs"]:
        return 0.5 * np.abs(self.p_data - self.p_g).sum(1)

    def pair(self, number: int) -> dict[str, np.ndarray]:
        return {"p_data": self.p_data[number], "p_g": self.p_g[number]}


def random_densities(seed: int) -> Densities:
    """Random pairs without empty cells: equal ones first, then nearly equal and unrelated ones."""
    rng = np.random.default_rng([seed, 41])
    p, q = np.exp(rng.uniform(-1.5, 1.5, (2, PAIRS, CELLS)))
    near = np.arange(PAIRS) % 2 == 0
    sizes = 10.0 ** rng.uniform(-4, -1, (PAIRS, 1))
    q[near] = (p * np.exp(sizes * rng.normal(size=p.shape)))[near]
    q[:EQUAL] = p[:EQUAL]
    return Densities(p / p.sum(1, keepdims=True), q / q.sum(1, keepdims=True))


# Costs on one example of each kind, as functions of D's two outputs: D's and G's.
Costs = Callable[[Array, Array], tuple[Array, Array]]


def _costs(objective: Objective) -> Costs:
    draws = discriminator_draws(jax.random.key(0))

    def costs(real: Array, fake: Array) -> tuple[Array, Array]:
        found = objective.costs(draws, lambda _, outputs: outputs, real[None], fake[None])
        return found.discriminator, found.generator

    return costs


def _slopes(costs: Costs) -> Costs:
    return jax.grad(lambda real, fake: costs(real, fake)[0], (0, 1))


@functools.cache
def _compiled(objective: Objective) -> Callable[..., tuple[Array, ...]]:
    """Both costs, and the two derivatives of D's."""
    costs = _costs(objective)
    return jax.jit(jax.vmap(lambda *outputs: (*costs(*outputs), *_slopes(costs)(*outputs))))


@functools.cache
def _curvatures(objective: Objective) -> Callable[..., tuple[tuple[Array, ...], ...]]:
    """The four second derivatives of D's cost."""
    return jax.jit(jax.vmap(jax.jacfwd(_slopes(_costs(objective)), (0, 1))))


def _of_both(function: Callable[..., object], outputs: Table) -> list[np.ndarray]:
    """The values of a function of two outputs, for the outputs of every pair of cells."""
    shape = (*outputs.shape, outputs.shape[1])
    real = np.broadcast_to(outputs[:, :, None], shape).reshape(-1)
    fake = np.broadcast_to(outputs[:, None, :], shape).reshape(-1)
    with jax.enable_x64(True):
        return [np.asarray(part).reshape(shape) for part in jax.tree.leaves(function(real, fake))]


@dataclasses.dataclass(frozen=True)
class Found:
    """An objective's expected costs at a table of D's outputs, for each pair of densities.

    Attributes:
        discriminator: D's cost.
        generator: G's cost.
        generator_on_data: G's cost if data are judged instead of generated examples.
        slopes: the derivatives of D's cost in D's outputs.
    """

    discriminator: Float[np.ndarray, " pairs"]
    generator: Float[np.ndarray, " pairs"]
    generator_on_data: Float[np.ndarray, " pairs"]
    slopes: Table


def expected(objective: Objective, densities: Densities, outputs: Table) -> Found:
    """The expectation of an objective's costs for a table of D's outputs."""
    d, g, by_real, by_fake = _of_both(_compiled(objective), outputs)
    p, q = densities.p_data, densities.p_g
    both = p[:, :, None] * q[:, None, :]
    return Found(
        (both * d).sum((1, 2)),
        (both * g).sum((1, 2)),
        (p[:, :, None] * p[:, None, :] * g).sum((1, 2)),
        (both * by_real).sum(2) + (both * by_fake).sum(1),
    )


def by_bisection(objective: Objective, densities: Densities) -> Table:
    """The best D for costs of single outputs: where each slope changes sign."""
    low = np.full(densities.p_data.shape, -WIDEST)
    high = -low
    for _ in range(50):
        middle = (low + high) / 2
        falling = expected(objective, densities, middle).slopes < 0
        low, high = np.where(falling, middle, low), np.where(falling, high, middle)
    return (low + high) / 2


def by_newton(objective: Objective, densities: Densities) -> Table:
    """The best D of mean 0 for convex costs that depend only on differences of outputs."""
    outputs = np.zeros(densities.p_data.shape)
    both = densities.p_data[:, :, None] * densities.p_g[:, None, :]
    diagonal = np.arange(CELLS)
    for _ in range(30):
        twice_real, mixed, _, twice_fake = _of_both(_curvatures(objective), outputs)
        matrix = both * mixed + (both * mixed).transpose(0, 2, 1)
        matrix[:, diagonal, diagonal] += (both * twice_real).sum(2) + (both * twice_fake).sum(1)
        slopes = expected(objective, densities, outputs).slopes
        # Adding a constant changes no cost: the 1 keeps the matrix regular, and the mean at 0.
        step = np.linalg.solve(matrix + 1, slopes[..., None])[..., 0]
        outputs = outputs - step / np.maximum(1, np.abs(step).max(1, keepdims=True))
    return outputs


def gained_nearby(
    objective: Objective, densities: Densities, outputs: Table, seed: int
) -> Float[np.ndarray, " pairs"]:
    """How much lower D's cost is at random other outputs, near and far; 0 if not lower."""
    rng = np.random.default_rng([seed, 42])
    best = expected(objective, densities, outputs).discriminator
    gains = np.zeros(len(outputs))
    for size in (0.01, 1.0):
        moved = outputs + size * rng.normal(size=outputs.shape)
        gains = np.maximum(gains, best - expected(objective, densities, moved).discriminator)
    return gains


def not_least(densities: Densities, values: Float[np.ndarray, " pairs"]) -> float:
    """The number of unequal pairs of densities whose value is not above that of equal ones."""
    apart = densities.total_variation > APART
    return float(np.sum(~(values[apart] > values[:EQUAL].max())))
