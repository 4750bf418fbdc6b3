"""Section 3, last paragraph: log(1 - D) saturates, and -log D has the same fixed point."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.special
from jaxtyping import Array, Float, Key

from advnets import _style
from advnets.algorithms import Algorithm1, State
from advnets.game import minimax_cost, non_saturating_cost, value_function
from advnets.objectives import GAN, GeneratorCost
from advnets.players import Players
from advnets.priors import Normal
from advnets.verify.claims import toys
from advnets.verify.registry import Fault, Finding, claim, largest

# What G descends, in the pictures' legends, in the order of the two costs in the claims.
LABELS = ("log(1 - D(G(z)))", "-log D(G(z))")


@claim(
    "saturation-gradients",
    statement="log(1 - D(G(z))) saturates where D rejects with high confidence, and -log D(G(z)) "
    "does not: with respect to the logit l, the gradients of the generator's cost have sizes σ(l) "
    "and 1 - σ(l).",
    source="Section 3 (last paragraph)",
    computes="For 4,001 logits from -40 to 40: the derivatives of both of the library's costs by "
    "JAX, against -σ(l) and -σ(-l) by SciPy; the largest relative error.",
    tolerance=1e-5,
    reason="Rounding of float32 exponentials with arguments up to 40.",
    faults=[
        Fault(
            "the costs swapped", {"saturating": non_saturating_cost, "non_saturating": minimax_cost}
        ),
        Fault(
            "the negative of the minimax cost, which D descends",
            {"non_saturating": lambda logits: -minimax_cost(logits)},
        ),
    ],
)
def saturation_gradients(
    seed: int,
    *,
    saturating: GeneratorCost = minimax_cost,
    non_saturating: GeneratorCost = non_saturating_cost,
) -> Finding:
    logits = np.linspace(-40, 40, 4001)
    sizes, errors = [], []
    for cost, sign in ((saturating, 1.0), (non_saturating, -1.0)):
        # Each cost is a mean over the batch: n times its gradient is the derivative per logit.
        gradient = logits.size * jax.grad(cost)(jnp.asarray(logits, float))
        exact = -scipy.special.expit(sign * logits)
        sizes.append(np.abs(np.asarray(gradient, np.float64)))
        errors.append(np.abs(np.asarray(gradient, np.float64) / exact - 1))
    worst = int(np.argmax(np.max(errors, axis=0)))
    return Finding(
        float(np.max(errors)),
        {"gradient at l = -10, minimax": float(np.interp(-10, logits, sizes[0]))},
        {"logit": float(logits[worst])},
        functools.partial(_draw_gradients, logits, sizes),
    )


def _draw_gradients(logits: np.ndarray, sizes: list[np.ndarray], figure: Any) -> None:
    axes = figure.subplots()
    shown = np.abs(logits) <= 8
    for size, label in zip(sizes, LABELS, strict=True):
        axes.plot(logits[shown], size[shown], label=label)
    axes.set(xlabel="D's logit l on a generated example", ylabel="size of the gradient in l")
    axes.annotate("D rejects", (-8, 0.5), va="center")
    axes.annotate("D accepts", (8, 0.5), va="center", ha="right")
    _style.legend(axes, "G descends")


@claim(
    "saturation-directions",
    statement="Both objectives push each generated example in the same direction and have the same "
    "fixed point: if p_g = p_data and D = 1/2, neither moves G, and V does not move D.",
    source="Section 3 (last paragraph)",
    computes="In a game on the line (affine G, quadratic logit): the largest entry of the "
    "gradients at the equilibrium, of both costs in G's parameters and of V in D's parameters; "
    "plus, at 1,000 random discriminators, the number of examples for which the gradients of the "
    "two costs differ in sign.",
    tolerance=0.0,
    reason="A count, and gradients that are exactly 0 or sums of equal terms. At the equilibrium D "
    "is constant, so no cost of its logits moves G; only the gradient of V in D can fail there.",
    condition="gradients taken example by example, or p_g = p_data: summed over a batch, the two "
    "objectives weight its examples differently",
    faults=[
        Fault(
            "log D as the cost to descend",
            {"non_saturating": lambda logits: -non_saturating_cost(logits)},
        ),
        Fault(
            "a cost that prefers D = 1/2 to D = 1",
            {"non_saturating": lambda logits: jnp.mean(logits**2)},
        ),
        Fault(
            "half the mean of the data's logits added to V",
            {"game_value": lambda real, fake: value_function(real, fake) + jnp.mean(real) / 2},
        ),
    ],
)
def saturation_directions(
    seed: int,
    *,
    saturating: GeneratorCost = minimax_cost,
    non_saturating: GeneratorCost = non_saturating_cost,
    game_value: Callable = value_function,
) -> Finding:
    key = jax.random.key(seed)
    noise = Normal(1)(key, 64)
    target = toys.Affine(jnp.array([0.7]), jnp.array([1.0]))
    undecided = toys.QuadraticOnLine(jnp.zeros(3))

    def costs(generator: toys.Affine, cost: GeneratorCost) -> Float[Array, ""]:
        return cost(jax.vmap(undecided)(jax.vmap(generator)(noise)))

    def value(discriminator: toys.QuadraticOnLine) -> Float[Array, ""]:
        logits = jax.vmap(discriminator)(jax.vmap(target)(noise))
        return game_value(logits, logits)

    @jax.jit
    def at_rest() -> list[Any]:
        generators = [jax.grad(costs)(target, cost) for cost in (saturating, non_saturating)]
        return [*generators, jax.grad(value)(undecided)]

    moves = largest(*(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(at_rest())))

    def pushes(weights: Float[Array, "3"], cost: GeneratorCost) -> Float[Array, " batch 1"]:
        judged = jax.vmap(toys.QuadraticOnLine(weights))
        return jax.grad(lambda examples: cost(judged(examples)))(noise)

    weights = jax.random.normal(jax.random.fold_in(key, 1), (1000, 3))
    first, second = (
        np.sign(jax.jit(jax.vmap(lambda w, cost=cost: pushes(w, cost)))(weights))
        for cost in (saturating, non_saturating)
    )
    differ = first != second
    worst = int(np.argmax(differ.sum((1, 2))))
    return Finding(
        float(differ.sum()) + moves,
        {"examples": differ.size, "largest gradient at equilibrium": moves},
        {"weights of the logit": np.asarray(weights[worst], np.float64)},
    )


TARGET_SCALE, TARGET_SHIFT = 0.7, 1.0


@claim(
    "saturation-same-end",
    statement="With either objective, the dynamics of G and D end at the same point, p_g = p_data.",
    source="Section 3 (last paragraph)",
    computes="Algorithm 1 with k = 20 in a game on the line without sampling noise (affine G and "
    "quadratic logit, with quantiles of the normal distribution as noise and, scaled and shifted, "
    "as data), 20 random starts with each cost: the largest distance of G's parameters from the "
    "data's after 300 iterations.",
    tolerance=1e-3,
    reason="Each iteration multiplies the slowest start's distance by 0.95 or less, down to "
    "rounding.",
    condition="a D near its optimum (k large) and a start from which it can follow G",
    faults=[
        Fault(
            "log D as the cost to descend",
            {"non_saturating": lambda logits: -non_saturating_cost(logits)},
        ),
        Fault(
            "a cost that prefers D = 1/2 to D = 1",
            {"non_saturating": lambda logits: jnp.mean(logits**2)},
        ),
    ],
)
def saturation_same_end(
    seed: int,
    *,
    saturating: GeneratorCost = minimax_cost,
    non_saturating: GeneratorCost = non_saturating_cost,
) -> Finding:
    k, n, iterations = 20, 64, 300
    rng = np.random.default_rng([seed, 10])
    starts = toys.Affine(
        jnp.asarray(rng.uniform(0.4, 1.2, (toys.RUNS, 1)), float),
        jnp.asarray(rng.uniform(0.2, 1.8, (toys.RUNS, 1)), float),
    )
    quantiles = scipy.special.ndtri((np.arange(n) + 0.5) / n)[:, None]
    data = np.broadcast_to(TARGET_SCALE * quantiles + TARGET_SHIFT, (k, n, 1))
    real = jnp.asarray(data, float)

    def path(generator: toys.Affine, cost: GeneratorCost) -> Float[Array, " iterations 2"]:
        """The parameters of G along a game."""
        discriminator = toys.QuadraticOnLine(jnp.zeros(3))
        players = Players(generator, discriminator, prior=toys.Quantiles())
        algorithm = Algorithm1(
            k=k,
            objective=GAN(generator_cost=cost),
            generator_updates=optax.sgd(0.1),
            discriminator_updates=optax.sgd(0.2),
        )

        def step(state: State, _: None) -> tuple[State, Float[Array, "2"]]:
            state = algorithm.step(jax.random.key(0), players, state, real)[0]
            return state, jnp.concatenate([state.generator.scale, state.generator.shift])

        return jax.lax.scan(step, algorithm.init(players), length=iterations)[1]

    paths = [
        np.asarray(jax.jit(jax.vmap(functools.partial(path, cost=cost)))(starts), np.float64)
        for cost in (saturating, non_saturating)
    ]
    errors = [
        np.linalg.norm(path - np.array([TARGET_SCALE, TARGET_SHIFT]), axis=-1) for path in paths
    ]
    worst = int(np.argmax(np.maximum(errors[0][:, -1], errors[1][:, -1])))
    return Finding(
        float(np.max([error[:, -1] for error in errors])),
        {
            "largest, minimax": float(errors[0][:, -1].max()),
            "largest, non-saturating": float(errors[1][:, -1].max()),
        },
        {
            "scale": float(starts.scale[worst, 0]),
            "shift": float(starts.shift[worst, 0]),
        },
        functools.partial(_draw_errors, errors),
    )


def _draw_errors(errors: list[np.ndarray], figure: Any) -> None:
    axes = figure.subplots()
    for error, colour, label in zip(errors, (_style.BLUE, _style.GREEN), LABELS, strict=True):
        lines = axes.semilogy(error.T, color=colour, alpha=0.4)
        lines[0].set_label(label)
    axes.set(xlabel="iteration", ylabel="distance of (scale, shift) of G from the data's")
    _style.legend(axes, "G descends")


WIN_STEPS, WIN_EVERY = 200, 10


@claim(
    "saturation-early",
    statement="Early in learning, when D rejects generated examples with high confidence, -log D "
    "gives much stronger gradients than log(1 - D).",
    source="Section 3 (last paragraph)",
    computes="20 games of networks on data in 8 dimensions that the initial G does not resemble, "
    "with D trained for 200 steps before G moves: the largest ratio of the norm of G's gradient "
    "under log(1 - D) to the norm under -log D, as reported by Algorithm1.generator_step.",
    tolerance=0.2,
    reason="Much stronger is taken to mean five times; before D has learned anything, the ratio is "
    "near 1.",
    condition="a discriminator that wins",
    faults=[
        Fault(
            "the costs swapped", {"saturating": non_saturating_cost, "non_saturating": minimax_cost}
        ),
        Fault("a discriminator that has learned nothing", {"rate": 0.0}),
    ],
)
def saturation_early(
    seed: int,
    *,
    saturating: GeneratorCost = minimax_cost,
    non_saturating: GeneratorCost = non_saturating_cost,
    rate: float = 0.1,
) -> Finding:
    batch, dimensions = 64, 8
    algorithms = [
        Algorithm1(
            objective=GAN(generator_cost=cost),
            generator_updates=optax.sgd(0.1),
            discriminator_updates=optax.sgd(rate),
        )
        for cost in (saturating, non_saturating)
    ]
    # The data only set the number of generated examples; G's cost does not depend on them.
    for_generator = jnp.zeros((512, dimensions))

    def game(
        key: Key[Array, ""],
        generator: toys.Network,
        discriminator: toys.Network,
        data: Float[Array, "moments steps batch dimensions"],
    ) -> Float[Array, "2 moments"]:
        """The norm of G's gradient under each cost, along D's training."""
        players = Players(generator, discriminator, prior=Normal(4))

        def step(state: State, inputs: tuple[Array, Array]) -> tuple[State, None]:
            step_key, real = inputs
            return algorithms[0].discriminator_step(step_key, players, state, real)[0], None

        def norm(algorithm: Algorithm1, state: State) -> Float[Array, ""]:
            _, info = algorithm.generator_step(key, players, state, for_generator)
            return info["generator"]["gradient_norm"]

        def moment(state: State, inputs: tuple[Array, Array]) -> tuple[State, Float[Array, "2"]]:
            norms = [norm(algorithm, state) for algorithm in algorithms]
            return jax.lax.scan(step, state, inputs)[0], jnp.stack(norms)

        keys = jax.random.split(key, data.shape[:2])
        return jax.lax.scan(moment, algorithms[0].init(players), (keys, data))[1].T

    rng = np.random.default_rng([seed, 12])
    shape = (toys.RUNS, WIN_STEPS // WIN_EVERY + 1, WIN_EVERY, batch, dimensions)
    data = jnp.asarray(rng.normal(1.0, 1.0, shape), float)
    generators = toys.networks(rng, (4, 32, dimensions))
    discriminators = toys.networks(rng, (dimensions, 32, 1))
    games = jax.jit(jax.vmap(game))
    norms = np.asarray(games(toys.run_keys(seed), generators, discriminators, data), np.float64)
    ratios = norms[:, 0] / norms[:, 1]
    return Finding(
        float(ratios[:, -1].max()),
        {"median ratio": float(np.median(ratios[:, -1])), "runs": toys.RUNS},
        {"seed": seed, "run": int(np.argmax(ratios[:, -1]))},
        functools.partial(_draw_norms, norms),
    )


def _draw_norms(norms: Float[np.ndarray, "runs 2 moments"], figure: Any) -> None:
    axes = figure.subplots()
    steps = np.arange(norms.shape[-1]) * WIN_EVERY
    for index, label in enumerate(LABELS):
        lines = axes.semilogy(steps, norms[:, index].T, color=f"C{index}", alpha=0.4)
        lines[0].set_label(label)
    axes.set(xlabel="steps of D, G fixed", ylabel="norm of G's gradient")
    _style.legend(axes, "G descends")
