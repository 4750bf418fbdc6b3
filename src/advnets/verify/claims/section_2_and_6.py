"""Sections 2 and 6: derivatives through noise, learning through D, sharpness, independence."""

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.special
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key

from advnets import _style
from advnets.algorithms import Algorithm, Algorithm1, Simultaneous, State
from advnets.model import Model
from advnets.networks import mlp_generator
from advnets.players import Players, apply
from advnets.priors import Normal, Uniform
from advnets.verify import criterion, families
from advnets.verify.claims import toys
from advnets.verify.registry import Fault, Finding, claim, largest

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(20)
SHARES = WEIGHTS / WEIGHTS.sum()
SIGMAS = np.geomspace(0.03, 0.001, 10)


def gradient_through_noise(
    f: Callable, x: Float[np.ndarray, "points 2"], sigma: float, mean: float = 0.0
) -> Float[np.ndarray, "points 2"]:
    """The gradient of E f(x + e) in two dimensions, which is E[f(x + e) e] / σ², by quadrature."""
    e = np.stack(np.meshgrid(NODES, NODES), axis=-1).reshape(-1, 2)
    shares = np.outer(SHARES, SHARES).ravel()
    return np.einsum("pe,e,ed->pd", f(x[:, None] + sigma * (mean + e)), shares, e) / sigma


@claim(
    "sigma-limit-gradient",
    statement="Derivatives can be backpropagated through a generative process: as σ tends to 0, "
    "the gradient in x of the expectation of f(x + ε), with ε normal of variance σ², tends to the "
    "gradient of f.",
    source="Section 2 (second paragraph of the NIPS text; the arXiv text has no formula)",
    computes="For ten tanh networks f of two variables at 50 points each: the gradient of the "
    "expectation, as E[f(x + ε) ε] / σ² by Gauss-Hermite quadrature, against the gradient of f, "
    "for σ from 0.03 to 0.001. A power of σ is fitted to the error; the residual is its largest "
    "distance from 2, or infinite unless all errors at σ = 0.001 are below 1e-4.",
    tolerance=0.01,
    reason="The next term of the error is of order σ⁴: about 1 % of the leading term at σ = 0.03.",
    condition="an f that is differentiable at x (three times, for the rate) and does not grow "
    "faster than a Gaussian falls; at a rectifier's kink the limit is 1/2",
    faults=[
        Fault(
            "noise with mean σ",
            {"smoothed_gradient": lambda f, x, sigma: gradient_through_noise(f, x, sigma, 1.0)},
        ),
        Fault(
            "division by σ instead of σ²",
            {"smoothed_gradient": lambda f, x, sigma: sigma * gradient_through_noise(f, x, sigma)},
        ),
        Fault(
            "noise with constant width",
            {"smoothed_gradient": lambda f, x, sigma: gradient_through_noise(f, x, 0.1)},
        ),
    ],
)
def sigma_limit_gradient(
    seed: int, *, smoothed_gradient: Callable = gradient_through_noise
) -> Finding:
    rng = np.random.default_rng([seed, 20])
    errors = []
    for _ in range(10):
        slopes, offsets, heights = rng.normal(size=(2, 8)), rng.normal(size=8), rng.normal(size=8)

        def f(
            x: np.ndarray,
            slopes: np.ndarray = slopes,
            offsets: np.ndarray = offsets,
            heights: np.ndarray = heights,
        ) -> np.ndarray:
            return np.tanh(x @ slopes + offsets) @ heights

        x = rng.normal(size=(50, 2))
        gradient = (np.cosh(x @ slopes + offsets) ** -2.0 * heights) @ slopes.T
        errors.append([np.linalg.norm(smoothed_gradient(f, x, s) - gradient) for s in SIGMAS])
    powers = np.polyfit(np.log(SIGMAS), np.log(np.transpose(errors)), 1)[0]
    root_mean_squares = np.array(errors) / np.sqrt(50)
    left = float(root_mean_squares[:, -1].max())
    kink = gradient_through_noise(lambda x: np.maximum(x[..., 0], 0), np.zeros((1, 2)), 1e-3)
    worst = int(np.argmax(np.abs(powers - 2)))
    return Finding(
        float(np.abs(powers[worst] - 2)) if left < 1e-4 else np.inf,
        {
            "smallest power": float(powers.min()),
            "largest power": float(powers.max()),
            "error at σ = 0.001": left,
            "limit at a rectifier's kink": float(kink[0, 0]),
        },
        {"seed": seed, "network": worst, "errors": np.array(errors[worst])},
        functools.partial(_draw_powers, root_mean_squares),
    )


def _draw_powers(errors: Float[np.ndarray, "networks sigmas"], figure: Any) -> None:
    axes = figure.subplots()
    for index, error in enumerate(errors):
        label = "ten networks f" if index == 0 else None
        axes.loglog(SIGMAS, error, ".-", color=_style.BLUE, label=label)
    axes.loglog(SIGMAS, SIGMAS**2, "k--", label="σ²")
    axes.set(xlabel="σ", ylabel="error of the gradient (root mean square)")
    _style.legend(axes)


Step = Callable[[Algorithm, Key[Array, ""], Players, State, Array], State]


def _step(
    algorithm: Algorithm,
    key: Key[Array, ""],
    players: Players,
    state: State,
    real: Float[Array, "batch 3"],
) -> State:
    return algorithm.step(key, players, state, real)[0]


def _leaking_step(
    algorithm: Algorithm,
    key: Key[Array, ""],
    players: Players,
    state: State,
    real: Float[Array, "batch 3"],
) -> State:
    """Planted: an output bias that follows the minibatch's mean."""
    state = _step(algorithm, key, players, state, real)
    return eqx.tree_at(
        lambda s: s.generator.layers[-1].bias, state, replace_fn=lambda b: b + 1e-4 * real.mean(0)
    )


def _small_game(seed: int) -> tuple[Key[Array, ""], Players, Float[Array, "batch 3"]]:
    """A key for an iteration, players, and a minibatch of data."""
    keys = jax.random.split(jax.random.key(seed), 4)
    players = Players(
        eqx.nn.MLP(2, 3, 4, 1, jnp.tanh, key=keys[0]),
        eqx.nn.MLP(3, "scalar", 4, 1, jnp.tanh, key=keys[1]),
        prior=Normal(2),
    )
    return keys[3], players, 1 + jax.random.normal(keys[2], (6, 3))


def _data_derivative(
    step: Step,
    algorithm: Algorithm,
    key: Key[Array, ""],
    players: Players,
    real: Float[Array, "batch 3"],
) -> Float[Array, "parameters batch 3"]:
    """The Jacobian of G's parameters after an iteration with respect to the minibatch."""
    state = algorithm.init(players)

    def after(real: Float[Array, "batch 3"]) -> Float[Array, " parameters"]:
        return ravel_pytree(step(algorithm, key, players, state, real).generator)[0]

    return jax.jacfwd(after)(real)


SGD, FROZEN = optax.sgd(0.1), optax.set_to_zero()


@claim(
    "only-through-d-zero",
    statement="The generator is not updated with data examples directly: nothing of them is copied "
    "into its parameters.",
    source="Section 6 (advantages)",
    computes="In a game of networks: the Jacobian of G's parameters after one iteration with "
    "respect to the real minibatch, for Simultaneous, and for Algorithm1 with D held fixed. The "
    "residual is the largest entry.",
    tolerance=0.0,
    reason="The derivative of something that does not depend on the data is exactly 0.",
    condition="a D that is fixed or updated at the same time; only the updates count (the released "
    "recipes set G's initial output bias from the mean of the training data)",
    faults=[
        Fault("an output bias that follows the minibatch's mean", {"step": _leaking_step}),
        Fault("D updated before G", {"at_once": Algorithm1}),
    ],
)
def only_through_d_zero(
    seed: int, *, step: Step = _step, at_once: type[Algorithm] = Simultaneous
) -> Finding:
    moving = at_once(generator_updates=SGD, discriminator_updates=SGD)
    resting = Algorithm1(generator_updates=SGD, discriminator_updates=FROZEN)

    @jax.jit
    def derivatives() -> list[Array]:
        game = _small_game(seed)
        return [_data_derivative(step, algorithm, *game) for algorithm in (moving, resting)]

    simultaneous, fixed = (np.abs(np.asarray(part)).max() for part in derivatives())
    return Finding(
        largest(simultaneous, fixed),
        {"simultaneous order": float(simultaneous), "D fixed": float(fixed)},
        {"seed": seed},
    )


@claim(
    "only-through-d-path",
    statement="The generator learns about the data only through the discriminator.",
    source="Section 6 (advantages)",
    computes="For Algorithm1: the Jacobian of G's parameters after one iteration with respect to "
    "the real minibatch, against the Jacobian of G's step with respect to D's parameters times the "
    "Jacobian of D's step with respect to the minibatch. The residual is the largest difference, "
    "relative to the largest entry; infinite if all entries are 0.",
    tolerance=1e-4,
    reason="Rounding of float32 in sums of about 20 products.",
    faults=[
        Fault("an output bias that follows the minibatch's mean", {"step": _leaking_step}),
        Fault("a D that is not updated", {"discriminator_updates": FROZEN}),
    ],
)
def only_through_d_path(
    seed: int,
    *,
    step: Step = _step,
    discriminator_updates: optax.GradientTransformation = SGD,
) -> Finding:
    algorithm = Algorithm1(generator_updates=SGD, discriminator_updates=discriminator_updates)

    @jax.jit
    def derivatives() -> tuple[Array, Array, Array]:
        key, players, real = _small_game(seed)
        state = algorithm.init(players)
        (discriminator_key,), generator_key = algorithm.step_keys(key, state.iteration)
        _, unravel = ravel_pytree(state.discriminator)

        def updated(real: Float[Array, "batch 3"]) -> Float[Array, " d"]:
            after, _ = algorithm.discriminator_step(discriminator_key, players, state, real)
            return ravel_pytree(after.discriminator)[0]

        def generating(flat: Float[Array, " d"]) -> Float[Array, " g"]:
            moved = {**state.players, "discriminator": unravel(flat)}
            before = dataclasses.replace(state, players=moved)
            after, _ = algorithm.generator_step(generator_key, players, before, real)
            return ravel_pytree(after.generator)[0]

        total = _data_derivative(step, algorithm, key, players, real)
        return total, jax.jacfwd(generating)(updated(real)), jax.jacfwd(updated)(real)

    total, g_in_d, d_in_data = (np.asarray(part, np.float64) for part in derivatives())
    product = np.tensordot(g_in_d, d_in_data, 1)
    size = float(np.abs(total).max())
    residual = float(np.abs(total - product).max()) / size if size > 0 else np.inf
    return Finding(residual, {"largest entry of the Jacobian": size}, {"seed": seed})


LINE = families.Grid(((-2.0, 2.0),), (400,))


@claim(
    "sharp-criterion",
    statement="The criterion allows for degenerate densities: if the data are two points, a "
    "generator whose examples are exactly these has C = -log 4, and a blurred one does not.",
    source="Section 6 (advantages), Theorem 1",
    computes="Data at two points, and 1,000 values of z mapped to these points by a step function: "
    "C + log 4, or infinite unless it is at least 0.5 nats higher for normal blurs of width 0.2 to "
    "0.02.",
    tolerance=0.0,
    reason="Equal masses give exactly 0.",
    faults=[
        Fault(
            "a generator with a slope instead of a step",
            {"generator": lambda z: np.tanh(9 * z)},
        ),
        Fault("the mean of both points for each z", {"generator": lambda z: 0 * z}),
    ],
)
def sharp_criterion(seed: int, *, generator: Callable = np.sign) -> Finding:
    p_data = families.point_masses(LINE, [-1.0, 1.0])
    z = np.linspace(-1, 1, 1001)
    p_g = families.sampled(LINE, generator((z[1:] + z[:-1]) / 2)[:, None])
    gap = criterion.suboptimality(p_data, p_g, LINE.cell_volume)
    blurred = [
        criterion.suboptimality(
            p_data, families.gaussian_mixture(LINE, [-1.0, 1.0], width), LINE.cell_volume
        )
        for width in (0.2, 0.1, 0.05, 0.02)
    ]
    return Finding(
        gap if min(blurred) > gap + 0.5 else np.inf,
        {"C + log 4, blurred by 0.02": blurred[-1], "C + log 4, blurred by 0.2": blurred[0]},
        {"generator's C + log 4": gap},
    )


ALONG, ACROSS = np.array([2.0, 1.0]) / np.sqrt(5), np.array([-1.0, 2.0]) / np.sqrt(5)


@claim(
    "sharp-game",
    statement="Adversarial nets can learn very sharp, even degenerate distributions; a model that "
    "blurs examples cannot.",
    source="Section 6 (advantages)",
    computes="Data on a line in the plane, normal along it and without width across it. 20 games "
    "(affine G of two normal variables, quadratic logit, 800 iterations of Algorithm 1): the "
    "largest root mean square distance of G's distribution from the line, divided by the width "
    "that cross-validated likelihood chooses for a Gaussian window on 1,000 data points. Infinite "
    "unless every G's standard deviation along the line is within 0.2 of the data's, which is 1.",
    tolerance=0.01,
    reason="A hundredth of the window's width; G's width falls exponentially, to rounding.",
    faults=[
        Fault("data with width 0.1 across the line", {"width": 0.1}),
        Fault("a G that is not trained", {"rate": 0.0}),
    ],
)
def sharp_game(seed: int, *, width: float = 0.0, rate: float = 0.1) -> Finding:
    runs, iterations, batch = toys.RUNS, 800, 64
    rng = np.random.default_rng([seed, 21])
    starts = np.eye(2) + 0.3 * rng.normal(size=(runs, 2, 2)), 0.5 * rng.normal(size=(runs, 2))
    noise = rng.normal(size=(runs, iterations, batch, 2))
    data = noise[..., :1] * ALONG + width * noise[..., 1:] * ACROSS
    algorithm = Algorithm1(generator_updates=optax.sgd(rate), discriminator_updates=optax.sgd(0.1))

    def game(
        key: Key[Array, ""],
        matrix: Float[Array, "2 2"],
        shift: Float[Array, "2"],
        data: Float[Array, "iterations batch 2"],
    ) -> tuple[Float[Array, "iterations 2 2"], Float[Array, "iterations 2"]]:
        generator = toys.Linear(matrix, shift)
        discriminator = toys.QuadraticInPlane(jnp.zeros((2, 2)), jnp.zeros(2), jnp.zeros(()))
        players = Players(generator, discriminator, prior=Normal(2))

        def step(state: State, real: Array) -> tuple[State, tuple[Array, Array]]:
            state, _ = algorithm.step(key, players, state, real)
            return state, (state.generator.matrix, state.generator.shift)

        return jax.lax.scan(step, algorithm.init(players), data)[1]

    arrays = [jnp.asarray(array, float) for array in (*starts, data)]
    paths = jax.jit(jax.vmap(game))(toys.run_keys(seed), *arrays)
    matrices, shifts = (np.asarray(path, np.float64) for path in paths)
    across = np.sqrt(np.sum((ACROSS @ matrices) ** 2, -1) + (shifts @ ACROSS) ** 2)
    along = np.sqrt(np.sum((ALONG @ matrices) ** 2, -1))
    blur = window(rng.normal(size=(1000, 1)) * ALONG)
    right = float(np.abs(along[:, -1] - 1).max()) < 0.2
    worst = int(np.argmax(across[:, -1]))
    return Finding(
        float(across[worst, -1]) / blur if right else np.inf,
        {
            "largest width": float(across[worst, -1]),
            "window's width": blur,
            "length, least": float(along[:, -1].min()),
            "length, greatest": float(along[:, -1].max()),
        },
        {"seed": seed, "run": worst},
        functools.partial(_draw_widths, across, along, blur),
    )


def _draw_widths(
    across: Float[np.ndarray, "runs iterations"],
    along: Float[np.ndarray, "runs iterations"],
    blur: float,
    figure: Any,
) -> None:
    axes = figure.subplots()
    lines = axes.semilogy(across.T, color=_style.GREEN, alpha=0.4)
    lines[0].set_label("across the data's line: G")
    lines = axes.semilogy(along.T, color=_style.GREY, alpha=0.4)
    lines[0].set_label("along it: G (data: 1)")
    axes.axhline(blur, color=_style.INK, linestyle=":", label="across: Gaussian window")
    axes.set(xlabel="iteration", ylabel="width of p_g", ylim=(1e-9, 10))
    _style.legend(axes)


def window(data: Float[np.ndarray, "n 2"]) -> float:
    """The width of a Gaussian window with the greatest leave-one-out likelihood."""
    squares = np.sum((data[:, None] - data) ** 2, axis=-1)
    np.fill_diagonal(squares, np.inf)
    widths = np.geomspace(1e-3, 1, 31)
    scores = [
        np.mean(scipy.special.logsumexp(-squares / (2 * s**2), axis=1)) - 2 * np.log(s)
        for s in widths
    ]
    return float(widths[int(np.argmax(scores))])


BLURS = (0.5, 0.4, 0.3, 0.25, 0.2)


def _local(x: Float[np.ndarray, " cells"], blur: float) -> Float[np.ndarray, "cells cells"]:
    """Local proposals, as wide as a mode."""
    proposals = np.exp(-((x[:, None] - x) ** 2) / (2 * blur**2))
    return proposals / proposals.sum(1).max()


@claim(
    "sharp-mixing",
    statement="Methods based on Markov chains need a somewhat blurry distribution for the chains "
    "to mix between modes.",
    source="Section 6 (advantages)",
    computes="A Metropolis chain on 200 cells of a line, with modes at -1 and 1 of widths 0.5 to "
    "0.2: its relaxation time 1 / (1 - λ₂) from the eigenvalues of the transition matrix. The "
    "residual is the largest ratio of the time at one width to the time at the next smaller width.",
    tolerance=0.7,
    reason="Each reduction of the width multiplies the time by at least 1 / 0.7; without an effect "
    "the ratio would be 1.",
    condition="a chain of local moves, as wide as a mode",
    faults=[
        Fault(
            "independent draws instead of a chain",
            {"proposals": lambda x, blur: np.tile(_two_modes(x, blur), (x.size, 1))},
        ),
        Fault("modes that do not become narrower", {"blurs": (0.3, 0.3, 0.3)}),
    ],
)
def sharp_mixing(
    seed: int, *, proposals: Callable = _local, blurs: tuple[float, ...] = BLURS
) -> Finding:
    x = np.linspace(-2.5, 2.5, 201)[:-1] + 0.0125
    times = np.array([relaxation_time(_two_modes(x, b), proposals(x, b)) for b in blurs])
    ratios = times[:-1] / times[1:]
    return Finding(
        float(ratios.max()),
        {f"steps at width {b}": float(t) for b, t in zip(blurs, times, strict=True)},
        {"width": blurs[int(np.argmax(ratios))]},
        functools.partial(_draw_times, blurs, times),
    )


def _draw_times(blurs: tuple[float, ...], times: Float[np.ndarray, " blurs"], figure: Any) -> None:
    axes = figure.subplots()
    axes.semilogy(blurs, times, "ko-", label="Metropolis chain")
    axes.axhline(1, color=_style.GREEN, label="independent draws")
    axes.set(xlabel="width of the two modes, 2 apart", ylabel="relaxation time, steps")
    _style.legend(axes)


def _two_modes(x: Float[np.ndarray, " cells"], blur: float) -> Float[np.ndarray, " cells"]:
    density = np.exp(-((x - 1) ** 2) / (2 * blur**2)) + np.exp(-((x + 1) ** 2) / (2 * blur**2))
    return density / density.sum()


def relaxation_time(
    p: Float[np.ndarray, " cells"], proposals: Float[np.ndarray, "cells cells"]
) -> float:
    """The relaxation time of the chain with Metropolis-Hastings acceptance."""
    flow = p[:, None] * proposals
    moves = np.minimum(flow, flow.T) / p[:, None]
    np.fill_diagonal(moves, 0)
    np.fill_diagonal(moves, 1 - moves.sum(1))
    # A reversible chain has the eigenvalues of this symmetric matrix.
    root = np.sqrt(p)
    values = np.linalg.eigvalsh(moves * root[:, None] / root)
    return float(1 / (1 - values[-2]))


Sampler = Callable[[Model, Key[Array, ""], int], Array]


def _chain(model: Model, key: Key[Array, ""], n: int) -> Float[Array, "n 3"]:
    """Planted: G of a Markov chain on z, autoregressive with coefficient 0.2."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    z = rng.normal(size=(n, model.prior.size))
    for before, now in itertools.pairwise(z):
        now[:] = 0.2 * before + np.sqrt(1 - 0.2**2) * now
    return apply(model.generator, None, jnp.asarray(z, float))[0]


def _repeated(model: Model, key: Key[Array, ""], n: int) -> Float[Array, "n 3"]:
    """Planted: the second half reuses the first half's noise."""
    half = model(key, n // 2)
    return jnp.concatenate([half, half])


@claim(
    "independent-draws",
    statement="Samples are independent draws: there is no chain with correlated successive states.",
    source="Section 1; Figure 2 (caption)",
    computes="20,000 examples of a network, drawn by an advnets.Model: correlations of each "
    "component and of its square with the same 1 to 20 draws earlier, of the first half with the "
    "second half, and with a second call under another key. The residual is the largest, in "
    "standard errors.",
    tolerance=5.0,
    reason="Five standard errors in 132 correlations: exceeded by one seed in 13,000.",
    faults=[
        Fault("a Markov chain on z", {"sampler": _chain}),
        Fault("the noise of the first half reused", {"sampler": _repeated}),
        Fault(
            "the same key for every call",
            {"sampler": lambda model, _, n: model(jax.random.key(0), n)},
        ),
    ],
)
def independent_draws(seed: int, *, sampler: Sampler = Model.__call__) -> Finding:
    n, lags = 20_000, 20
    network_key, first_key, second_key = jax.random.split(jax.random.key(seed), 3)
    generator = mlp_generator(network_key, 4, (3,), hidden_sizes=(16,), weight_range=1.0)
    model = Model(generator, Uniform(4))
    first, second = (
        np.asarray(sampler(model, key, n), np.float64) for key in (first_key, second_key)
    )

    def features(samples: np.ndarray) -> np.ndarray:
        centred = samples - samples.mean(0)
        both = np.concatenate([centred, centred**2], axis=1)
        return (both - both.mean(0)) / both.std(0)

    ours, others = features(first), features(second)
    by_lag = [_standard_errors(ours[lag:], ours[:-lag]) for lag in range(1, lags + 1)]
    halves = _standard_errors(ours[: n // 2], ours[n // 2 :])
    calls = _standard_errors(ours, others)
    return Finding(
        float(np.max(np.abs([*by_lag, halves, calls]))),
        {
            "between successive draws": float(np.abs(by_lag[0]).max()),
            "between halves": float(np.abs(halves).max()),
            "between calls": float(np.abs(calls).max()),
        },
        {"seed": seed},
        functools.partial(_draw_correlations, np.array(by_lag)),
    )


def _draw_correlations(by_lag: Float[np.ndarray, "lags features"], figure: Any) -> None:
    axes = figure.subplots()
    axes.plot(range(1, len(by_lag) + 1), by_lag, ".", color=_style.GREEN)
    axes.axhspan(-2, 2, color=_style.GREY, alpha=0.2, label="two standard errors")
    axes.set(xlabel="lag, draws", ylabel="autocorrelation, standard errors", ylim=(-5.5, 5.5))
    _style.legend(axes)


def _standard_errors(
    one: Float[np.ndarray, "n features"], other: Float[np.ndarray, "n features"]
) -> Float[np.ndarray, " features"]:
    """Each feature's correlation in standard errors, which are 1/√n without correlation."""
    return np.mean(one * other, axis=0) * np.sqrt(len(one))
