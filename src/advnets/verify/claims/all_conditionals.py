"""Section 7, item 3: every conditional p(x_S | x_∉S) by one network, on two binary variables."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from advnets import _style
from advnets.algorithms import Algorithm1, at
from advnets.draws import Draws
from advnets.objectives import Applied, Costs, Objective
from advnets.players import Players
from advnets.priors import Prior
from advnets.verify.registry import Fault, Finding, claim

TABLES, STEPS = 20, 3000
# Each cell of a 2 × 2 table with each mask: nothing observed, the first variable, the second.
CELLS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
MASKS = np.array([[0, 0], [1, 0], [0, 1]])
PAIRS = np.tile(CELLS, (3, 1)), np.repeat(MASKS, 4, axis=0)


class _Filler(eqx.Module):
    """G: a table of the cells' logits for each possible observation; 2 stands for missing."""

    logits: Float[Array, "3 3 4"]
    kept: Callable = eqx.field(static=True)

    def __call__(self, x: Array, mask: Array) -> Float[Array, "4"]:
        first, second = jnp.where(mask == 1, x, 2)
        agree = jnp.all((mask[None] == 0) | (jnp.asarray(CELLS) == x[None]), axis=1)
        return jax.nn.softmax(jnp.where(self.kept(agree), self.logits[first, second], -jnp.inf))


class _Judge(eqx.Module):
    """D: a table of logits for each cell with each mask."""

    logits: Float[Array, "2 2 4"]

    def __call__(self, x: Array, mask: Array) -> Float[Array, ""]:
        return self.logits[mask[0], mask[1], 2 * x[0] + x[1]]


class _Expected(Objective):
    """Expected costs: data and filled examples are given as the probabilities of all pairs."""

    mask_for_d: Callable = eqx.field(static=True)

    def costs(self, draws: Draws, D: Applied, real: Array, fake: Array, **others: Applied) -> Costs:
        cells, masks = PAIRS
        logits = D(draws.real, (jnp.asarray(cells), self.mask_for_d(jnp.asarray(masks))))
        of_fake = fake @ jax.nn.log_sigmoid(logits)
        value = real @ jax.nn.log_sigmoid(logits) + fake @ jax.nn.log_sigmoid(-logits)
        return Costs(-value, -of_fake, {"value": value})


def _filled(draws: Draws, generator: Applied, prior: Prior, real: Array) -> Array:
    """The probabilities of filled examples with their masks."""
    by_context = generator(draws.generator, *map(jnp.asarray, PAIRS))
    joint = real[:, None] * by_context  # of an example, its mask and its filling
    return joint.reshape(len(MASKS), len(CELLS), len(CELLS)).sum(1).ravel()


def _conditionals(table: Float[np.ndarray, "4"]) -> Float[np.ndarray, "12 4"]:
    """p(filling | observed part of a cell), a row for each pair of cell and mask."""
    cells, masks = PAIRS
    agree = ((masks[:, None] == 0) | (cells[:, None] == CELLS)).all(axis=2)
    joint = agree * table
    return joint / joint.sum(axis=1, keepdims=True)


def _as_it_is(value: Any) -> Any:
    return value


def _equally(masks: int) -> Float[np.ndarray, " masks"]:
    return np.full(masks, 1 / masks)


@claim(
    "inpainting-table",
    statement="All conditionals p(x_S | x_∉S), for any subset S of the variables, are modelled by "
    "one family with shared parameters: a generator that is given what is observed, and a "
    "discriminator that is given which part that is.",
    source="Section 7, item 3",
    computes="For 20 random distributions of two binary variables: a game on pairs (example, mask) "
    "between a tabular G and a tabular D, by 3,000 iterations of Algorithm 1 on expected costs "
    "(gradient descent, three equally frequent masks: nothing observed, the first variable, the "
    "second). The residual is the largest difference, over the distributions, of G's four "
    "conditionals and its joint from those of the data.",
    tolerance=1e-5,
    reason="Descent in float32 ends about 1e-7 away; the planted faults are off by a tenth or "
    "more.",
    faults=[
        Fault("D not given the mask", {"mask_for_d": jnp.zeros_like}),
        Fault("the observed part not kept", {"kept": jnp.ones_like}),
        Fault("only masks with nothing observed", {"shares": lambda masks: np.eye(masks)[0]}),
    ],
    condition="a positive probability of each mask",
)
def inpainting_table(
    seed: int,
    *,
    mask_for_d: Callable = _as_it_is,
    kept: Callable = _as_it_is,
    shares: Callable[[int], np.ndarray] = _equally,
) -> Finding:
    rng = np.random.default_rng([seed, 70])
    tables = rng.dirichlet(np.full(4, 4.0), TABLES)
    real = (shares(len(MASKS))[:, None] * tables[:, None]).reshape(TABLES, -1)
    players = Players(_Filler(jnp.zeros((3, 3, 4)), kept), _Judge(jnp.zeros((2, 2, 4))))
    algorithm = Algorithm1(
        objective=_Expected(mask_for_d),
        generator_updates=optax.sgd(3.0),
        discriminator_updates=optax.sgd(12.0),
        fake=_filled,
    )
    key = jax.random.key(seed)

    @jax.jit
    @jax.vmap
    def play(real: Float[Array, " pairs"]) -> Float[Array, " pairs 4"]:
        def once(state: Any, _: None) -> tuple[Any, None]:
            return algorithm.step(key, players, state, real)[0], None

        state, _ = jax.lax.scan(once, algorithm.init(players), length=STEPS)
        return jax.vmap(at(players, state).generator)(*map(jnp.asarray, PAIRS))

    found = np.asarray(play(jnp.asarray(real, jnp.float32)), np.float64)
    wanted = np.stack([_conditionals(table) for table in tables])
    off = np.abs(found - wanted).max(axis=(1, 2))
    worst = int(np.argmax(off))
    return Finding(
        float(off[worst]),
        {"median over tables": float(np.median(off)), "least probability": float(tables.min())},
        {"seed": seed, "table": tables[worst], "G": found[worst]},
        functools.partial(_draw, wanted, found),
    )


def _draw(wanted: np.ndarray, found: np.ndarray, figure: Any) -> None:
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=_style.GREY)
    kinds = {
        "joint": slice(0, 1),
        "second given first": slice(4, 8),
        "first given second": slice(8, 12),
    }
    for (label, rows), colour in zip(
        kinds.items(), (_style.INK, _style.GREEN, _style.BLUE), strict=True
    ):
        axes.plot(wanted[:, rows].ravel(), found[:, rows].ravel(), ".", color=colour, label=label)
    axes.set(xlabel="probability in the data", ylabel="probability by G")
    _style.legend(axes)
