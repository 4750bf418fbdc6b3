"""Section 7, coordination: each method's exact multiplier on the Dirac-GAN, and whole runs.

All data are 0, G's only example is theta, and D's logit is psi x. The solution is theta = psi = 0.
How fast a game spirals in or out is the largest modulus of the eigenvalues of the Jacobian of a
whole update by the library at the solution.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from advnets import _style
from advnets.algorithms import Algorithm, Algorithm1, Simultaneous, State
from advnets.coordination import Consensus, Extragradient, Unrolled
from advnets.draws import discriminator_draws
from advnets.game import minimax_cost, non_saturating_cost
from advnets.layers import GaussianNoise
from advnets.objectives import GAN, R1, Objective, Penalised
from advnets.players import Player, Players, judge
from advnets.priors import Normal
from advnets.verify.registry import Fault, Finding, claim, largest, worse

SOURCE = "Section 7 (coordinating G and D); "
MESCHEDER = SOURCE + "Mescheder, Geiger and Nowozin 2018, section 2"
CASES = 200
EIGHT_DIGITS = 1e-8
ROUNDING = (
    "Eight digits. Rounding is 1e-15; multipliers that nearly coincide are accurate to its root."
)
COMPUTES = (
    "The Jacobian of one update of {method} at the solution, in all of the algorithm's state, by "
    f"automatic differentiation in float64, at {CASES} random settings: the largest modulus of its "
    "eigenvalues, and its characteristic polynomial, against those of {formula}."
)
# Builds an algorithm from the settings of a case.
Build = Callable[..., Algorithm]


class Point(eqx.Module):
    """G: its example is theta for every z."""

    theta: Float[Array, ""]

    def __call__(self, z: Float[Array, "1"]) -> Float[Array, "1"]:
        return self.theta[None]


class Line(eqx.Module):
    """D: the logit psi x."""

    psi: Float[Array, ""]

    def __call__(self, x: Float[Array, "1"]) -> Float[Array, ""]:
        return self.psi * x[0]


def _players(before: Sequence[Player] = ()) -> Players:
    zero = jnp.zeros(())
    line = Line(zero)
    discriminator = eqx.nn.Sequential([*before, eqx.nn.Lambda(line)]) if before else line
    return Players(Point(zero), discriminator, Normal(1))


def _sgd(rate: Any, ratio: Any = 1.0) -> dict[str, Any]:
    return {
        "generator_updates": optax.sgd(rate),
        "discriminator_updates": optax.sgd(ratio * rate),
    }


def _stepped(build: Build, players: Players, batch: int, steps: int) -> Callable:
    """One or more updates as a function of the state's floating-point arrays in one vector."""

    def moved(settings: tuple[Array, ...]) -> tuple[Callable, Array]:
        algorithm = build(*settings)
        key, real = jax.random.key(0), jnp.zeros((batch, 1))
        state = algorithm.init(players)
        # Some rules treat the first update differently: it is made, and the players are restored.
        after, _ = algorithm.step(key, players, state, real)
        state = dataclasses.replace(after, players=state.players, average=state.average)
        arrays, rest = eqx.partition(state, eqx.is_inexact_array)
        flat, unravel = jax.flatten_util.ravel_pytree(arrays)

        def update(flat: Array) -> Array:
            now: State = eqx.combine(unravel(flat), rest)
            if steps == 1:
                now, _ = algorithm.step(key, players, now, real)
            else:
                now, _ = jax.lax.scan(
                    lambda now, _: (algorithm.step(key, players, now, real)[0], None),
                    now,
                    length=steps,
                )
            return jax.flatten_util.ravel_pytree(eqx.filter(now, eqx.is_inexact_array))[0]

        return update, flat

    return moved


def _jacobians(
    build: Build,
    settings: Sequence[np.ndarray],
    *,
    before: Sequence[Player] = (),
    batch: int = 1,
    steps: int = 1,
) -> Float[np.ndarray, "cases d d"]:
    """The Jacobian of some updates in the state before them, at the solution, for each case."""
    with jax.enable_x64(True):
        moved = _stepped(build, _players(before), batch, steps)

        def jacobian(*settings: Array) -> Array:
            update, flat = moved(settings)
            return jax.jacfwd(update)(flat)

        return np.asarray(jax.jit(jax.vmap(jacobian))(*map(jnp.asarray, settings)))


def _apart(
    jacobians: Float[np.ndarray, "cases d d"], expected: Any
) -> tuple[Float[np.ndarray, " cases"], Float[np.ndarray, " cases"]]:
    """How far multipliers are from those expected, and the largest modulus, for each case.

    `expected` has two multipliers per case, and their conjugates too where the state is larger; any
    others are 0.
    """
    expected = np.asarray(expected, complex).T  # cases, multipliers
    found = np.linalg.eigvals(jacobians)
    moduli = np.abs(found).max(-1)
    padded = np.zeros(found.shape, complex)
    padded[:, : expected.shape[1]] = expected
    polynomials = [
        np.abs(np.poly(jacobian) - np.poly(roots)).max()
        for jacobian, roots in zip(jacobians, padded, strict=True)
    ]
    # Where two multipliers coincide, rounding in the matrix moves them by its square root.
    ordered = np.sort_complex(expected)
    simple = np.abs(np.diff(ordered, axis=-1)).min(-1) > 1e-4
    modulus = np.where(simple, np.abs(moduli - np.abs(expected).max(-1)), 0.0)
    return np.maximum(polynomials, modulus), moduli


def _finding(
    jacobians: Float[np.ndarray, "cases d d"],
    expected: Any,
    names: str,
    settings: Sequence[np.ndarray],
    draw: Callable[[Any], None] | None = None,
) -> Finding:
    apart, moduli = _apart(jacobians, expected)
    case = int(np.argmax(np.where(np.isnan(apart), np.inf, apart)))
    example = {
        **{name: float(values[case]) for name, values in zip(names.split(), settings, strict=True)},
        "modulus": float(moduli[case]),
        "expected": float(np.abs(np.asarray(expected)).max(0)[case]),
        "Jacobian": jacobians[case],
    }
    measured = {
        "cases": len(apart),
        "smallest modulus": float(moduli.min()),
        "largest modulus": float(moduli.max()),
    }
    return Finding(float(apart[case]), measured, example, draw)


def _roots(linear: Any, constant: Any) -> tuple[Any, Any]:
    """The roots of lambda² + linear lambda + constant."""
    root = np.sqrt(np.asarray(linear, complex) ** 2 / 4 - constant)
    return -linear / 2 + root, -linear / 2 - root


def with_r1(weight: Any, every: int = 1) -> Objective:
    return Penalised(GAN(), R1(weight), every=every)


class ByPushforward(Consensus):
    """Planted: J v by `jax.jvp`, instead of the product with the transpose of J."""

    def step(self, key: Any, players: Players, state: State, real: Any) -> Any:
        draws = discriminator_draws(jax.random.fold_in(key, state.iteration))
        names = tuple(players.named)

        def field(moving: Any) -> Any:
            here = dataclasses.replace(state, players=moving)
            return self.differentiate(names, draws, players, here, real)[1]

        gradients = field(state.players)
        _, pushed = jax.jvp(field, (state.players,), (gradients,))
        sums = jax.tree.map(lambda v, other: v + self.weight * other, gradients, pushed)
        return dataclasses.replace(self.descend(state, sums), iteration=state.iteration + 1), {}


class OneSided(Extragradient):
    """Planted: only G looks ahead."""

    def step(self, key: Any, players: Players, state: State, real: Any) -> Any:
        draws = discriminator_draws(jax.random.fold_in(key, state.iteration))
        names = tuple(players.named)
        _, gradients, _, _ = self.differentiate(names, draws, players, state, real)
        ahead = self.descend(state, {"generator": gradients["generator"]})
        _, gradients, _, _ = self.differentiate(names, draws, players, ahead, real)
        after = self.descend(state, gradients)
        return dataclasses.replace(after, iteration=state.iteration + 1), {}


class NotDifferentiated(Unrolled):
    """Planted: D's steps are taken, but G's cost is not differentiated through them."""

    def unrolled(self, draws: Any, players: Players, state: State, real: Any) -> State:
        still = jax.lax.stop_gradient(state)
        ahead = Unrolled.unrolled(self, draws, players, still, real)
        both = {**ahead.players, "generator": state.generator}
        return dataclasses.replace(ahead, players=both)


def _rates(seed: int, low: float = 0.01, high: float = 0.9) -> tuple[Any, np.ndarray]:
    rng = np.random.default_rng([seed, 71])
    return rng, rng.uniform(low, high, CASES)


# The claimed multipliers, as functions of h (alpha = h/2) and further settings.


def simultaneous(h: Any) -> tuple[Any, Any]:
    return 1 + 0.5j * h, 1 - 0.5j * h


def alternating(h: Any) -> tuple[Any, Any]:
    return tuple(1 + root for root in _roots(h**2 / 4, h**2 / 4))


def penalised(h: Any, weight: Any, ratio: Any = 1.0) -> tuple[Any, Any]:
    return tuple(1 + root for root in _roots(ratio * h * weight, ratio * h**2 / 4))


def consensus(h: Any, weight: Any) -> tuple[Any, Any]:
    return 1 + h * (-weight / 4 + 0.5j), 1 + h * (-weight / 4 - 0.5j)


def extragradient(h: Any) -> tuple[Any, Any]:
    return 1 + 0.5j * h - h**2 / 4, 1 - 0.5j * h - h**2 / 4


def optimistic(h: Any) -> tuple[Any, Any, Any, Any]:
    spread = np.sqrt(1 - np.asarray(h, complex) ** 2)  # 4 alpha² = h²
    both = [(1 - 1j * h + spread) / 2, (1 - 1j * h - spread) / 2]
    return (*both, *(np.conj(one) for one in both))


def unrolled(h: Any, rate: Any, steps: int = 5) -> tuple[Any, Any]:
    return tuple(1 + h * root for root in _roots(steps * rate / 2, 0.25))


@claim(
    "dirac-simultaneous",
    statement="Simultaneous gradient descent spirals outwards on the Dirac-GAN: each update "
    "multiplies the distance from the solution by sqrt(1 + h²/4), whichever cost G has.",
    source=MESCHEDER,
    computes=COMPUTES.format(
        method="advnets.Simultaneous, with the minimax cost in half of the cases",
        formula="1 ± i h/2, where h is the rate",
    ),
    tolerance=EIGHT_DIGITS,
    reason=ROUNDING,
    faults=[
        Fault("G descends against the updated D", {"algorithm": Algorithm1}),
        Fault(
            "D's cost halved, as released",
            {"algorithm": lambda objective, **rules: Simultaneous(**rules)},
        ),
    ],
)
def dirac_simultaneous(seed: int, *, algorithm: Callable[..., Algorithm] = Simultaneous) -> Finding:
    _, h = _rates(seed)
    costs = {minimax_cost: h[::2], non_saturating_cost: h[1::2]}
    found = [
        _jacobians(lambda h, c=cost: algorithm(objective=GAN(generator_cost=c), **_sgd(h)), [some])
        for cost, some in costs.items()
    ]
    h = np.concatenate([h[::2], h[1::2]])
    return _finding(np.concatenate(found), simultaneous(h), "h", [h])


@claim(
    "dirac-alternating",
    statement="Alternating gradient descent with k = 1 circles the solution of the Dirac-GAN: each "
    "update keeps the distance.",
    source=MESCHEDER,
    computes=COMPUTES.format(
        method="advnets.Algorithm1",
        formula="1 + l with l² + (h²/4) l + h²/4 = 0, whose modulus is 1",
    ),
    tolerance=EIGHT_DIGITS,
    reason=ROUNDING,
    condition="a rate h below 4",
    faults=[
        Fault("both gradients at the same parameters", {"algorithm": Simultaneous}),
    ],
)
def dirac_alternating(seed: int, *, algorithm: Callable[..., Algorithm] = Algorithm1) -> Finding:
    _, h = _rates(seed, high=3.5)
    found = _jacobians(lambda h: algorithm(objective=GAN(), **_sgd(h)), [h])
    finding = _finding(found, alternating(h), "h", [h])
    away = np.abs(np.abs(np.linalg.eigvals(found)).max(-1) - 1).max()
    return dataclasses.replace(finding, residual=largest(finding.residual, away))


@claim(
    "dirac-r1",
    statement="With R1 of weight g as D's penalty, simultaneous descent converges on the "
    "Dirac-GAN; the rate of convergence is best at g = 1, where |1 + h l| = 1 - h/2.",
    source=SOURCE + "Mescheder, Geiger and Nowozin 2018, section 4",
    computes=COMPUTES.format(
        method="advnets.Simultaneous with R1", formula="1 + h l with l² + g l + 1/4 = 0"
    )
    + " Some of the cases have g = 1, where both multipliers coincide.",
    tolerance=EIGHT_DIGITS,
    reason=ROUNDING,
    faults=[
        Fault(
            "the penalty without its factor 1/2", {"objective": lambda weight: with_r1(2 * weight)}
        ),
        Fault("no penalty", {"objective": lambda weight: GAN()}),
    ],
)
def dirac_r1(seed: int, *, objective: Callable[..., Objective] = with_r1) -> Finding:
    rng, h = _rates(seed)
    weight = rng.uniform(0, 3, CASES)
    weight[:10] = 1
    found = _jacobians(
        lambda h, weight: Simultaneous(objective=objective(weight), **_sgd(h)), [h, weight]
    )
    finding = _finding(found, penalised(h, weight), "h g", [h, weight])
    # At g = 1 both multipliers are 1 - h/2, and so is half the trace; no other weight is better.
    critical = np.abs(np.trace(found[:10], axis1=1, axis2=2) / 2 - (1 - h[:10] / 2)).max()
    best = np.abs(np.asarray(penalised(h, 1.0))).max(0) - np.abs(penalised(h, weight)).max(0)
    return dataclasses.replace(finding, residual=largest(finding.residual, critical, best.max()))


LAZY = 4


def _lazily(h: Any, weight: Any) -> Any:
    """The multipliers of a period of lazy updates, by 2 × 2 matrices."""
    found = []
    for rate, own in np.broadcast(h, weight):
        plain = np.array([[1, rate / 2], [-rate / 2, 1]])
        penalty = np.array([[0, 0], [0, rate * LAZY * own]])
        product = np.linalg.matrix_power(plain, LAZY - 1) @ (plain - penalty)
        found.append(np.linalg.eigvals(product))
    return np.array(found).T


@claim(
    "dirac-lazy",
    statement="On the Dirac-GAN, a lazy penalty, in one update of four with four times the weight, "
    "has the multipliers of the product of its updates, and near h = 0 acts as the penalty itself "
    "does.",
    source=SOURCE + "Karras et al. 2020, section 3.1",
    computes=COMPUTES.format(
        method="advnets.Simultaneous, repeated four times with Penalised(GAN(), R1(g), every=4),",
        formula="the product of three 2 × 2 matrices without a penalty and one with 4 g",
    )
    + " At the smallest rate, also the difference between the fourth root of its modulus and the "
    "modulus with R1 in every update, divided by h².",
    tolerance=EIGHT_DIGITS,
    reason=ROUNDING
    + " The difference at the smallest rate must be below 1, and counts only if it is not.",
    faults=[
        Fault(
            "the weight not multiplied by four",
            {"objective": lambda weight, every: with_r1(weight / every, every)},
        ),
        Fault("the penalty in every update", {"objective": lambda weight, every: with_r1(weight)}),
    ],
)
def dirac_lazy(seed: int, *, objective: Callable[..., Objective] = with_r1) -> Finding:
    rng, h = _rates(seed, high=0.4)
    weight = rng.uniform(0, 1, CASES)
    h[0] = 1e-3
    found = _jacobians(
        lambda h, weight: Simultaneous(objective=objective(weight, LAZY), **_sgd(h)),
        [h, weight],
        steps=LAZY,
    )
    finding = _finding(found, _lazily(h, weight), "h g", [h, weight])
    one = np.abs(np.linalg.eigvals(found[0])).max() ** (1 / LAZY)
    difference = abs(one - np.abs(np.array(penalised(h[0], weight[0]))).max()) / h[0] ** 2
    excess = difference if not difference < 1 else 0.0
    extra = {"difference from R1 / h²": float(difference)}
    return dataclasses.replace(
        finding, residual=largest(finding.residual, excess), measured={**finding.measured, **extra}
    )


@claim(
    "dirac-two-rates",
    statement="A learning rate r h for D, beside h for G, speeds up convergence with R1 on the "
    "Dirac-GAN; without a penalty no ratio r makes it converge.",
    source=SOURCE + "Heusel et al. 2017 (two time scales); Mescheder et al. 2018",
    computes=COMPUTES.format(
        method="advnets.Simultaneous with R1 of weight g and two rates",
        formula="1 + l with l² + r h g l + r h²/4 = 0",
    )
    + " A third of the cases have g = 0, where the modulus must be above 1.",
    tolerance=EIGHT_DIGITS,
    reason=ROUNDING,
    faults=[
        Fault("the ratio applied to G's rate", {"ratios": lambda h, r: _sgd(h * r, 1 / r)}),
        Fault("the same rate for both", {"ratios": lambda h, r: _sgd(h)}),
    ],
)
def dirac_two_rates(seed: int, *, ratios: Callable[..., dict[str, Any]] = _sgd) -> Finding:
    rng, h = _rates(seed, high=0.4)
    ratio, weight = rng.uniform(0.2, 8, CASES), rng.uniform(0, 2, CASES)
    weight[::3] = 0
    found = _jacobians(
        lambda h, weight, ratio: Simultaneous(objective=with_r1(weight), **ratios(h, ratio)),
        [h, weight, ratio],
    )
    finding = _finding(found, penalised(h, weight, ratio), "h g r", [h, weight, ratio])
    inwards = (np.abs(np.linalg.eigvals(found[::3])).max(-1) <= 1).any()
    return dataclasses.replace(finding, residual=largest(finding.residual, float(inwards)))


@claim(
    "dirac-consensus",
    statement="Consensus optimisation with weight g converges on the Dirac-GAN: each update "
    "multiplies the distance by |1 + h(-g/4 + i/2)|.",
    source=SOURCE + "Mescheder, Nowozin and Geiger 2017",
    computes=COMPUTES.format(method="advnets.coordination.Consensus", formula="1 + h(-g/4 ± i/2)"),
    tolerance=EIGHT_DIGITS,
    reason=ROUNDING,
    faults=[
        Fault("J v instead of the product with the transpose of J", {"algorithm": ByPushforward}),
        Fault(
            "the gradient of the squared norm instead of half of it",
            {"algorithm": lambda weight, **given: Consensus(weight=2 * weight, **given)},
        ),
    ],
)
def dirac_consensus(seed: int, *, algorithm: Callable[..., Algorithm] = Consensus) -> Finding:
    rng, h = _rates(seed)
    weight = rng.uniform(0, 3, CASES)
    found = _jacobians(
        lambda h, weight: algorithm(weight=weight, objective=GAN(), **_sgd(h)), [h, weight]
    )
    return _finding(found, consensus(h, weight), "h g", [h, weight])


@claim(
    "dirac-extragradient",
    statement="The extragradient method converges on the Dirac-GAN for rates below 2: each update "
    "multiplies the distance by sqrt(1 - a² + a⁴), where a = h/2.",
    source=SOURCE + "Korpelevich 1976; Gidel et al. 2019",
    computes=COMPUTES.format(
        method="advnets.coordination.Extragradient", formula="1 ± i h/2 - h²/4"
    ),
    tolerance=EIGHT_DIGITS,
    reason=ROUNDING,
    faults=[
        Fault("only G looks ahead", {"algorithm": OneSided}),
        Fault("no look ahead", {"algorithm": Simultaneous}),
    ],
)
def dirac_extragradient(
    seed: int, *, algorithm: Callable[..., Algorithm] = Extragradient
) -> Finding:
    _, h = _rates(seed, high=1.99)
    found = _jacobians(lambda h: algorithm(objective=GAN(), **_sgd(h)), [h])
    return _finding(found, extragradient(h), "h", [h])


def _optimism(h: Any) -> dict[str, Any]:
    rule = optax.optimistic_gradient_descent(h)
    return {"generator_updates": rule, "discriminator_updates": rule}


@claim(
    "dirac-optimistic",
    statement="Optimistic updates of both players converge on the Dirac-GAN: each update "
    "multiplies the distance by sqrt((1 + sqrt(1 - 4a²))/2), where a = h/2 is at most 1/2; from a "
    "= 1/sqrt 3 on they diverge.",
    source=SOURCE + "Daskalakis et al. 2018",
    computes=COMPUTES.format(
        method="advnets.Simultaneous with optax.optimistic_gradient_descent",
        formula="(1 - i h ± sqrt(1 - h²))/2 and their conjugates",
    )
    + " One of the cases has a = 1/sqrt 3, where the modulus must be 1.",
    tolerance=EIGHT_DIGITS,
    reason=ROUNDING,
    faults=[
        Fault("plain steps of twice the length", {"rules": lambda h: _sgd(2 * h)}),
        Fault(
            "only D is optimistic",
            {"rules": lambda h: _optimism(h) | {"generator_updates": optax.sgd(h)}},
        ),
    ],
)
def dirac_optimistic(seed: int, *, rules: Callable[..., dict[str, Any]] = _optimism) -> Finding:
    _, h = _rates(seed, high=1.5)
    h[0] = 2 / math.sqrt(3)
    found = _jacobians(lambda h: Simultaneous(objective=GAN(), **rules(h)), [h])
    if found.shape[-1] < 4:  # planted faults store no gradients
        found = np.pad(found, ((0, 0), (0, 4 - found.shape[-1]), (0, 4 - found.shape[-1])))
    finding = _finding(found, optimistic(h), "h", [h])
    edge = abs(np.abs(np.linalg.eigvals(found[0])).max() - 1)
    return dataclasses.replace(finding, residual=largest(finding.residual, edge))


@claim(
    "dirac-unrolled",
    statement="Against a D that is unrolled for K steps of rate e, G converges on the Dirac-GAN: "
    "each update multiplies the distance by |1 + h l|, where l = -K e/4 ± i sqrt(1/4 - K²e²/16).",
    source=SOURCE + "Metz et al. 2017",
    computes=COMPUTES.format(
        method="advnets.coordination.Unrolled with K = 5",
        formula="1 + h l with l² + (K e/2) l + 1/4 = 0",
    ),
    tolerance=EIGHT_DIGITS,
    reason=ROUNDING,
    faults=[
        Fault("G's cost not differentiated through D's steps", {"algorithm": NotDifferentiated}),
        Fault(
            "one step too few",
            {"algorithm": lambda steps, **given: Unrolled(steps=steps - 1, **given)},
        ),
    ],
)
def dirac_unrolled(seed: int, *, algorithm: Callable[..., Algorithm] = Unrolled) -> Finding:
    rng, h = _rates(seed)
    rate = rng.uniform(0, 0.3, CASES)
    found = _jacobians(
        lambda h, rate: algorithm(steps=5, rule=optax.sgd(rate), objective=GAN(), **_sgd(h)),
        [h, rate],
    )
    return _finding(found, unrolled(h, rate), "h e", [h, rate])


NOISE, NOISY = 0.7, 512


@claim(
    "dirac-noise",
    statement="Normal noise of scale s on all inputs of D makes simultaneous descent converge on "
    "the Dirac-GAN, on average as R1 of weight s²/2 does.",
    source=SOURCE + "Arjovsky and Bottou 2017; Mescheder et al. 2018, section 3",
    computes=COMPUTES.format(
        method="advnets.Simultaneous with advnets.layers.GaussianNoise first in D, on 512 examples",
        formula="1 + h l with l² + (m/4) l + 1/4 = 0, where m is the mean square of the noise "
        "drawn on data plus that of the noise drawn on generated examples, with expectation 2 s²",
    ),
    tolerance=EIGHT_DIGITS,
    reason=ROUNDING,
    long=True,
    faults=[
        Fault("half the scale", {"noise": lambda scale: GaussianNoise(scale / 2)}),
    ],
)
def dirac_noise(seed: int, *, noise: Callable[..., GaussianNoise] = GaussianNoise) -> Finding:
    _, h = _rates(seed)
    found = _jacobians(
        lambda h: Simultaneous(objective=GAN(), **_sgd(h)),
        [h],
        before=[noise(NOISE)],
        batch=NOISY,
    )
    with jax.enable_x64(True):
        draws = discriminator_draws(jax.random.fold_in(jax.random.key(0), 1))
        shown = eqx.nn.Sequential([GaussianNoise(NOISE), eqx.nn.Lambda(Line(jnp.ones(())))])
        drawn = [judge(key, shown, jnp.zeros((NOISY, 1))) for key in (draws.real, draws.fake)]
    squares = sum(float(np.mean(np.asarray(one) ** 2)) for one in drawn)
    expected = tuple(1 + h * root for root in _roots(np.full(CASES, squares / 4), 0.25))
    finding = _finding(found, expected, "h", [h])
    extra = {"mean squares of the noise / 2 s²": squares / (2 * NOISE**2)}
    return dataclasses.replace(finding, measured={**finding.measured, **extra})


def _gain(h: Any, decay: Any) -> Any:
    multiplier = alternating(h)[0]
    return (1 - decay) * multiplier / (multiplier - decay)


@claim(
    "dirac-average",
    statement="An average of G with decay a does not stop alternating descent from circling on the "
    "Dirac-GAN, but shrinks the circle by the factor (1 - a)/|m - a|, where m is the multiplier of "
    "an update.",
    source=SOURCE + "Yazıcı et al. 2019",
    computes="The eigenvectors of the Jacobian of an update of advnets.Algorithm1 with average=a, "
    f"at {CASES} random rates and decays: the component of the average divided by that of G, a "
    "complex number, against (1 - a) m/(m - a).",
    tolerance=EIGHT_DIGITS,
    reason="Eight digits; rounding is 1e-15, and the smallest gain about 1e-2.",
    faults=[
        Fault("a and 1 - a swapped", {"decay": lambda a: 1 - a}),
        Fault(
            "an average that is one update late",
            {"gain": lambda h, a: _gain(h, a) / alternating(h)[0]},
        ),
    ],
)
def dirac_average(
    seed: int, *, decay: Callable[[Any], Any] = lambda a: a, gain: Callable[..., Any] = _gain
) -> Finding:
    rng, h = _rates(seed, 0.05, 1.5)
    decays = rng.uniform(0.5, 0.999, CASES)
    found = _jacobians(
        lambda h, a: Algorithm1(objective=GAN(), average=decay(a), **_sgd(h)), [h, decays]
    )
    values, vectors = np.linalg.eig(found)
    upper = values.imag.argmax(-1)
    _, theta, average = np.take_along_axis(vectors, upper[:, None, None], -1)[..., 0].T
    expected = gain(h, decays)
    apart = np.abs(average / theta - expected)
    case = int(np.argmax(apart))
    gains = np.abs(expected)
    return Finding(
        float(apart[case]),
        {"cases": CASES, "smallest gain": float(gains.min()), "largest gain": float(gains.max())},
        {"h": float(h[case]), "a": float(decays[case]), "gain": float(gains[case])},
    )


H, UPDATES, START = 0.1, 500, 0.05
# Whole runs: an algorithm and its multipliers. (The optimistic ones with |m| < 1/2 fade.)
RUNS: dict[str, tuple[Callable[[], Algorithm], Any]] = {
    "simultaneous": (lambda: Simultaneous(objective=GAN(), **_sgd(H)), simultaneous(H)),
    "alternating": (lambda: Algorithm1(objective=GAN(), **_sgd(H)), alternating(H)),
    "extragradient": (lambda: Extragradient(objective=GAN(), **_sgd(H)), extragradient(H)),
    "optimistic": (lambda: Simultaneous(objective=GAN(), **_optimism(H)), optimistic(H)),
    "unrolled, K = 5": (
        lambda: Unrolled(steps=5, rule=optax.sgd(0.1), objective=GAN(), **_sgd(H)),
        unrolled(H, 0.1),
    ),
    "R1, weight 0.5": (lambda: Simultaneous(objective=with_r1(0.5), **_sgd(H)), penalised(H, 0.5)),
    "consensus, weight 1": (
        lambda: Consensus(weight=1.0, objective=GAN(), **_sgd(H)),
        consensus(H, 1.0),
    ),
}


def _path(build: Callable[[], Algorithm]) -> Float[np.ndarray, "updates 2"]:
    """(theta, psi) along a run."""
    with jax.enable_x64(True):
        algorithm, players = build(), _players()
        key, real = jax.random.key(0), jnp.zeros((1, 1))
        state = algorithm.init(players)
        state = dataclasses.replace(state, players=jax.tree.map(lambda x: x + START, state.players))

        def once(state: State, _: None) -> tuple[State, Array]:
            after, _info = algorithm.step(key, players, state, real)
            return after, jnp.stack([after.generator.theta, after.discriminator.psi])

        path = jax.jit(lambda state: jax.lax.scan(once, state, length=UPDATES)[1])(state)
        return np.concatenate([[[START, START]], np.asarray(path)])


@claim(
    "dirac-runs",
    statement="Near the solution of the Dirac-GAN, a whole run behaves as its multiplier predicts.",
    source=MESCHEDER,
    computes=f"{UPDATES} updates of each method by the library, at rate {H}, from ({START}, "
    f"{START}): the logarithm of the ratio of the distances from the solution after and before, "
    f"against the logarithm of modulus^{UPDATES}.",
    tolerance=0.12,
    reason="The game is not linear, and its orbit is not a circle: up to 10 % of a distance that "
    "falls by up to five orders of magnitude.",
    long=True,
    faults=[
        Fault(
            "a shorter run",
            {"paths": lambda builds: [_path(build)[: UPDATES // 2] for build in builds]},
        ),
    ],
)
def dirac_runs(
    seed: int, *, paths: Callable[..., list[Any]] = lambda builds: [_path(one) for one in builds]
) -> Finding:
    found = dict(zip(RUNS, paths([build for build, _ in RUNS.values()]), strict=True))
    worst, measured = -1.0, {}
    example: dict[str, str | float] = {}
    for name, (_, multipliers) in RUNS.items():
        distances = np.linalg.norm(found[name], axis=-1)
        modulus = float(np.abs(np.asarray(multipliers)).max())
        ratio = distances[-1] / distances[0]
        here = abs(math.log(ratio) - UPDATES * math.log(modulus))
        measured[f"{name}: ratio"] = float(ratio)
        measured[f"{name}: modulus^{UPDATES}"] = modulus**UPDATES
        if worse(here, worst):
            worst, example = here, {"method": name, "ratio": float(ratio), "modulus": modulus}
    return Finding(float(worst), measured, example, functools.partial(_draw_runs, found))


COLOURS = (*_style.CYCLE, "#b03060", "#1a9e96")


def _draw_runs(paths: dict[str, Float[np.ndarray, "updates 2"]], figure: Any) -> None:
    left, right = figure.subplots(1, 2)
    for colour, (name, path) in zip(COLOURS, paths.items(), strict=True):
        wide = 2.5 if name == "extragradient" else 0.9  # optimistic steps are almost the same
        left.plot(*path.T, color=colour, linewidth=wide, alpha=0.8)
        distances = np.linalg.norm(path, axis=-1)
        right.semilogy(distances, color=colour, linewidth=wide, label=name)
        modulus = float(np.abs(np.asarray(RUNS[name][1])).max())
        predicted = distances[0] * modulus ** np.arange(len(path))
        right.semilogy(predicted, "--", color=colour, linewidth=0.7)
    left.plot(0, 0, "+", color=_style.INK)
    left.set(xlabel="θ", ylabel="ψ", aspect="equal")
    right.set(xlabel="update", ylabel="distance; dashed: by modulus^n")
    _style.legend(right)
