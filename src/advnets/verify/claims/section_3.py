"""Section 3: saturation, k steps, overfitting and the Helvetica scenario."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.special
import scipy.stats
from jaxtyping import Array, Bool, Float, Key

from advnets.algorithm1 import Algorithm1, GeneratorCost, State, generate, judge
from advnets.game import minimax_cost, non_saturating_cost, value_function
from advnets.priors import Normal, Prior
from advnets.verify import criterion, families
from advnets.verify.registry import Fault, Finding, claim, largest

RUNS = 20


class _Affine(eqx.Module):
    """G(z) = scale z + shift: with a normal prior, p_g is normal."""

    scale: Float[Array, " d"]
    shift: Float[Array, " d"]

    def __call__(self, z: Float[Array, " d"]) -> Float[Array, " d"]:
        return self.scale * z + self.shift


class _Quadratic(eqx.Module):
    """A discriminator on the line with a quadratic logit: between normal densities, D* is one."""

    weights: Float[Array, "3"]

    def __call__(self, x: Float[Array, "1"]) -> Float[Array, ""]:
        return self.weights[0] + self.weights[1] * x[0] + self.weights[2] * x[0] ** 2


class _Quantiles(Prior):
    """Not random: the midpoints of n equally probable pieces of the standard normal."""

    size: int = eqx.field(static=True, default=1)

    def __call__(self, key: Key[Array, ""], n: int) -> Float[Array, " n size"]:
        return jax.scipy.special.ndtri((jnp.arange(n).astype(float) + 0.5) / n)[:, None]


class _Network(eqx.Module):
    """Rectified linear layers and a linear one, as weights and biases."""

    layers: list[tuple[Float[Array, "out in"], Float[Array, " out"]]]

    def __call__(self, x: Float[Array, " in"]) -> Float[Array, " out"]:
        *hidden, (weight, bias) = self.layers
        for matrix, offset in hidden:
            x = jax.nn.relu(matrix @ x + offset)
        return weight @ x + bias


def _networks(rng: np.random.Generator, sizes: Sequence[int]) -> Any:
    """A random network for each run, stacked; uniform in ±1/√inputs, as Equinox's are.

    NumPy draws them, because JAX takes seconds to compile so many small draws.
    """

    def drawn(inputs: int, *shape: int) -> Float[Array, "..."]:
        bound = inputs**-0.5
        return jnp.asarray(rng.uniform(-bound, bound, (RUNS, *shape)), float)

    pairs = itertools.pairwise(sizes)
    layers = [(drawn(inputs, units, inputs), drawn(inputs, units)) for inputs, units in pairs]
    # The stack is no network by itself: its arrays have a leading axis, and are not checked.
    return jax.vmap(_Network)(layers)


def _sign_test(wins: Bool[np.ndarray, " runs"]) -> float:
    """The probability of as many wins if each were a fair coin's; ties are no wins."""
    return float(scipy.stats.binomtest(int(wins.sum()), wins.size, alternative="greater").pvalue)


@claim(
    "saturation-gradients",
    statement="log(1 - D(G(z))) saturates where D rejects with confidence, and -log D(G(z)) does "
    "not: per logit l the generator's gradients have sizes σ(l) and 1 - σ(l).",
    source="Section 3 (last paragraph)",
    computes="For 4,001 logits from -40 to 40: the derivatives, by JAX, of both of the library's "
    "costs against SciPy's -σ(l) and -σ(-l); the largest relative error.",
    tolerance=1e-5,
    reason="Rounding of float32 exponentials of up to 40.",
    faults=[
        Fault(
            "the costs swapped", {"saturating": non_saturating_cost, "non_saturating": minimax_cost}
        ),
        Fault(
            "D's share of the value for G's",
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

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        shown = np.abs(logits) <= 8
        for size, name in zip(sizes, ("log(1 - D(G(z)))", "-log D(G(z))"), strict=True):
            axes.plot(logits[shown], size[shown], label=name)
        axes.set(xlabel="D's logit l on a generated example", ylabel="size of the gradient in l")
        axes.annotate("D rejects", (-8, 0.5), va="center")
        axes.annotate("D accepts", (8, 0.5), va="center", ha="right")
        axes.legend(title="G descends", loc="upper center")

    return Finding(
        float(np.max(errors)),
        {"gradient at l = -10, minimax": float(np.interp(-10, logits, sizes[0]))},
        {"logit": float(logits[worst])},
        draw,
    )


@claim(
    "saturation-directions",
    statement="Both objectives push each generated example the same way, and have the same fixed "
    "point: where p_g = p_data and D = 1/2 neither moves G, and V does not move D.",
    source="Section 3 (last paragraph)",
    computes="In a game on the line (affine G, quadratic logit): the gradients of both costs in "
    "G's parameters and of V in D's at the equilibrium; and, at 1,000 random discriminators, the "
    "number of examples whose two gradients differ in sign, plus the former's largest entry.",
    tolerance=0.0,
    reason="A count, and gradients that are exact zeros or sums of equal terms. At the equilibrium "
    "D is constant, so that no cost of its logits moves G: what can fail there is V's gradient in "
    "D.",
    condition="gradients taken example by example, or p_g = p_data: summed over a batch, the two "
    "objectives weigh its examples differently",
    faults=[
        Fault(
            "log D descended",
            {"non_saturating": lambda logits: -non_saturating_cost(logits)},
        ),
        Fault(
            "a cost that prefers D = 1/2 to D = 1",
            {"non_saturating": lambda logits: jnp.mean(logits**2)},
        ),
        Fault(
            "data's logits counted once more in V",
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
    target = _Affine(jnp.array([0.7]), jnp.array([1.0]))
    undecided = _Quadratic(jnp.zeros(3))

    def costs(generator: _Affine, cost: GeneratorCost) -> Float[Array, ""]:
        return cost(jax.vmap(undecided)(jax.vmap(generator)(noise)))

    def value(discriminator: _Quadratic) -> Float[Array, ""]:
        logits = jax.vmap(discriminator)(jax.vmap(target)(noise))
        return game_value(logits, logits)

    @jax.jit
    def at_rest() -> list[Any]:
        generators = [jax.grad(costs)(target, cost) for cost in (saturating, non_saturating)]
        return [*generators, jax.grad(value)(undecided)]

    moves = largest(*(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(at_rest())))

    def pushes(weights: Float[Array, "3"], cost: GeneratorCost) -> Float[Array, " batch 1"]:
        judged = jax.vmap(_Quadratic(weights))
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
    statement="With either objective the dynamics of G and D end at the same point, p_g = p_data.",
    source="Section 3 (last paragraph)",
    computes="Algorithm 1 with k = 20 on a game on the line without sampling noise (the normal's "
    "quantiles as noise and, moved, as data; affine G, quadratic logit), 20 random starts with "
    "each cost: the largest distance of G's parameters from the data's after 300 iterations.",
    tolerance=1e-3,
    reason="The slowest start's distance falls by 0.95 an iteration or faster, to rounding.",
    condition="D near its optimum (k large) and a start from which it can follow",
    faults=[
        Fault("log D descended", {"non_saturating": lambda logits: -non_saturating_cost(logits)}),
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
    starts = _Affine(
        jnp.asarray(rng.uniform(0.4, 1.2, (RUNS, 1)), float),
        jnp.asarray(rng.uniform(0.2, 1.8, (RUNS, 1)), float),
    )
    quantiles = scipy.special.ndtri((np.arange(n) + 0.5) / n)[:, None]
    data = np.broadcast_to(TARGET_SCALE * quantiles + TARGET_SHIFT, (k, n, 1))
    real = jnp.asarray(data, float)

    def end(generator: _Affine, cost: GeneratorCost) -> Float[Array, " iterations 2"]:
        discriminator = _Quadratic(jnp.zeros(3))
        algorithm = Algorithm1(
            generator,
            discriminator,
            prior=_Quantiles(),
            generator_updates=optax.sgd(0.1),
            discriminator_updates=optax.sgd(0.2),
            generator_cost=cost,
            k=k,
        )

        def step(state: State, _: None) -> tuple[State, Float[Array, "2"]]:
            state = algorithm.step(jax.random.key(0), state, real)[0]
            return state, jnp.concatenate([state.generator.scale, state.generator.shift])

        state = algorithm.init(generator, discriminator)
        return jax.lax.scan(step, state, length=iterations)[1]

    paths = [
        np.asarray(jax.jit(jax.vmap(lambda g, cost=cost: end(g, cost)))(starts), np.float64)
        for cost in (saturating, non_saturating)
    ]
    errors = [
        np.linalg.norm(path - np.array([TARGET_SCALE, TARGET_SHIFT]), axis=-1) for path in paths
    ]
    worst = int(np.argmax(np.maximum(errors[0][:, -1], errors[1][:, -1])))

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for error, colour, name in zip(
            errors, ("tab:blue", "tab:orange"), ("log(1 - D(G(z)))", "-log D(G(z))"), strict=True
        ):
            lines = axes.semilogy(error.T, color=colour, alpha=0.4)
            lines[0].set_label(name)
        axes.set(xlabel="iteration", ylabel="distance of (scale, shift) of G from the data's")
        axes.legend(title="G descends")

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
        draw,
    )


WIN_STEPS, WIN_EVERY = 200, 10


@claim(
    "saturation-early",
    statement="Early in learning, when D rejects generated examples with confidence, -log D gives "
    "much stronger gradients than log(1 - D).",
    source="Section 3 (last paragraph)",
    computes="20 games of networks (data in 8 dimensions that G's start does not resemble), D "
    "trained 200 steps before G moves: the largest ratio of the norm of G's gradient under "
    "log(1 - D) to that under -log D, as Algorithm1.generator_step reports them.",
    tolerance=0.2,
    reason="Much stronger taken as five times; before D has learned anything the ratio is near 1.",
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

    def game(
        key: Key[Array, ""],
        generator: _Network,
        discriminator: _Network,
        data: Float[Array, "moments steps batch dimensions"],
    ) -> Float[Array, "2 moments"]:
        algorithms = [
            Algorithm1(
                generator,
                discriminator,
                prior=Normal(4),
                generator_updates=optax.sgd(0.1),
                discriminator_updates=optax.sgd(rate),
                generator_cost=cost,
            )
            for cost in (saturating, non_saturating)
        ]
        state = algorithms[0].init(generator, discriminator)

        def step(state: State, inputs: tuple[Array, Array]) -> tuple[State, None]:
            return algorithms[0].discriminator_step(inputs[0], state, inputs[1])[0], None

        def moment(state: State, inputs: tuple[Array, Array]) -> tuple[State, Float[Array, "2"]]:
            norms = [a.generator_step(key, state, 512)[1].gradient_norm for a in algorithms]
            return jax.lax.scan(step, state, inputs)[0], jnp.stack(norms)

        keys = jax.random.split(key, data.shape[:2])
        return jax.lax.scan(moment, state, (keys, data))[1].T

    rng = np.random.default_rng([seed, 12])
    shape = (RUNS, WIN_STEPS // WIN_EVERY + 1, WIN_EVERY, batch, dimensions)
    data = jnp.asarray(rng.normal(1.0, 1.0, shape), float)
    players = _networks(rng, (4, 32, dimensions)), _networks(rng, (dimensions, 32, 1))
    norms = np.asarray(jax.jit(jax.vmap(game))(_keys(seed), *players, data), np.float64)
    ratios = norms[:, 0] / norms[:, 1]

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        steps = np.arange(ratios.shape[1]) * WIN_EVERY
        for index, name in enumerate(("log(1 - D(G(z)))", "-log D(G(z))")):
            lines = axes.semilogy(steps, norms[:, index].T, color=f"C{index}", alpha=0.4)
            lines[0].set_label(name)
        axes.set(xlabel="steps of D while G waits", ylabel="norm of G's gradient")
        axes.legend(title="G descends")

    return Finding(
        float(ratios[:, -1].max()),
        {"median ratio": float(np.median(ratios[:, -1])), "runs": RUNS},
        {"seed": seed, "run": int(np.argmax(ratios[:, -1]))},
        draw,
    )


def _keys(seed: int) -> Key[Array, " runs"]:
    return jax.random.split(jax.random.key(seed), RUNS)


KS = (1, 2, 4, 8)
RATIOS = (0.03, 0.1, 0.3, 1.0)
TRACKED, TRACK_EVERY = 100, 10
LINE = families.Grid(((-10.0, 10.0),), (500,))


@claim(
    "k-steps-near-optimum",
    statement="k steps on D for each step on G keep D near its optimum, so long as G changes "
    "slowly enough.",
    source="Section 3 (third paragraph)",
    computes="20 games on the line (affine G of a normal's quantiles, minibatches of 128 data, "
    "quadratic logit, D at its optimum to begin with) for each of k = 1, 2, 4, 8 and of four "
    "ratios of G's learning rate to D's: the mean gap C - V on a grid while G makes 100 steps. In "
    "how many games it falls with k, and rises with the ratio "
    "(Spearman's rank correlation along each line of that table, averaged): the larger of the "
    "sign tests' p-values.",
    tolerance=1e-3,
    reason="18 of 20 games must agree; coins would do so once in 5,000 seeds.",
    faults=[
        Fault("k ignored", {"steps": lambda k: 1}),
        Fault("G's rate taken for D's", {"rates": lambda ratio: (ratio, 1.0)}),
    ],
)
def k_steps_near_optimum(
    seed: int,
    *,
    steps: Callable[[int], int] = lambda k: k,
    rates: Callable[[Any], Any] = lambda ratio: (1.0, ratio),
) -> Finding:
    (x,) = LINE.points
    p_data = families.gaussian_mixture(LINE, [0.0], 1.0)
    ratios = jnp.array(RATIOS)
    rng = np.random.default_rng([seed, 11])
    starts = jnp.asarray(rng.uniform([0.4, 0.9], [1.0, 1.5], (RUNS, 2)), float)
    gaps = np.zeros((RUNS, len(KS), len(RATIOS)))
    games: dict[int, Callable] = {}
    for row, k in enumerate(map(steps, KS)):
        if k not in games:
            games[k] = jax.jit(_over_runs_and_ratios(k, rates))
        data = jnp.asarray(rng.normal(size=(RUNS, TRACKED, k, 128, 1)), float)
        paths = np.asarray(games[k](_keys(seed), starts, data, ratios), np.float64)
        for run, column, moment in np.ndindex(paths.shape[:3]):
            scale, shift, *weights = paths[run, column, moment]
            p_g = families.gaussian_mixture(LINE, [shift], abs(scale))
            logits = weights[0] + weights[1] * x + weights[2] * x**2
            best = criterion.virtual_criterion(p_data, p_g, LINE.cell_volume)
            value = criterion.value_on_grid(p_data, p_g, logits, LINE.cell_volume)
            gaps[run, row, column] += (best - value) / paths.shape[2]
    with_k = np.array([_rank_correlation(KS, game) for game in gaps])
    with_ratio = np.array([_rank_correlation(RATIOS, game.T) for game in gaps])
    medians = np.median(gaps, axis=0)

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        exponents = np.log10(medians)
        image = axes.imshow(exponents, origin="lower", cmap="viridis", aspect="auto")
        for (row, column), gap in np.ndenumerate(medians):
            colour = "white" if exponents[row, column] < exponents.mean() else "black"
            axes.text(column, row, f"{gap:.2g}", ha="center", va="center", color=colour)
        axes.set(xlabel="G's learning rate / D's", ylabel="k, steps on D for one on G")
        axes.set_xticks(range(len(RATIOS)), [f"{ratio:g}" for ratio in RATIOS])
        axes.set_yticks(range(len(KS)), [str(k) for k in KS])
        figure.colorbar(image, label="log10 of the median gap C - V, nats (gap in cells)")

    return Finding(
        largest(_sign_test(with_k < 0), _sign_test(with_ratio > 0)),
        {
            "mean rank correlation with k": float(np.mean(with_k)),
            "mean rank correlation with the ratio": float(np.mean(with_ratio)),
            "smallest median gap": float(medians.min()),
            "largest median gap": float(medians.max()),
        },
        {"seed": seed, "median gap by k and ratio": medians},
        draw,
    )


def _rank_correlation(
    settings: Sequence[float], gaps: Float[np.ndarray, "settings lines"]
) -> float:
    """Spearman's, of the gap with a setting, averaged over the lines of the table."""
    return float(np.mean([scipy.stats.spearmanr(settings, line).statistic for line in gaps.T]))


def _over_runs_and_ratios(k: int, rates: Callable[[Any], Any]) -> Callable:
    rate = 0.1

    def game(
        key: Key[Array, ""],
        start: Float[Array, "2"],
        data: Float[Array, "iterations k batch 1"],
        ratio: Float[Array, ""],
    ) -> Float[Array, "moments 5"]:
        """The parameters of G (scale, shift) and of D, along a game."""
        scale, shift = start
        generator = _Affine(start[:1], start[1:])
        # log N(x; 0, 1) - log N(x; shift, scale²)
        optimum = [jnp.log(scale) + (shift / scale) ** 2 / 2, -shift / scale**2]
        discriminator = _Quadratic(jnp.stack([*optimum, (1 / scale**2 - 1) / 2]))
        d_rate, g_rate = rates(ratio)
        algorithm = Algorithm1(
            generator,
            discriminator,
            prior=_Quantiles(),
            generator_updates=optax.sgd(rate * g_rate),
            discriminator_updates=optax.sgd(rate * d_rate),
            k=k,
        )

        def step(state: State, real: Float[Array, "k batch 1"]) -> tuple[State, Float[Array, "5"]]:
            state, _ = algorithm.step(key, state, real[0] if k == 1 else real)
            g, d = state.generator, state.discriminator
            return state, jnp.concatenate([g.scale, g.shift, d.weights])

        _, path = jax.lax.scan(step, algorithm.init(generator, discriminator), data)
        return path[TRACK_EVERY - 1 :: TRACK_EVERY]

    return jax.vmap(jax.vmap(game, (None, None, None, 0)), (0, 0, 0, None))


SAMPLE, UNSEEN, FEATURES = 64, 2000, 8
FIT_STEPS, FIT_EVERY = 600, 30
SHIFT = 0.25


@claim(
    "overfit-finite-data",
    statement="On finite data, a discriminator optimised to completion overfits.",
    source="Section 3 (third paragraph)",
    computes="20 samples of 64 data of a normal density in 8 dimensions, G fixed at another, and a "
    "network D trained on them for 600 steps of RMSProp: in how many V rises above D*'s on the "
    "sample and falls below D*'s on 2,000 fresh data; the larger of the sign tests' p-values.",
    tolerance=1e-3,
    reason="18 of 20 samples must agree; coins would do so once in 5,000 seeds.",
    faults=[
        Fault("fresh data at each step: the sample is not finite", {"fresh": True}),
        Fault("a discriminator before its first step", {"moment": 0}),
    ],
)
def overfit_finite_data(seed: int, *, fresh: bool = False, moment: int = -1) -> Finding:
    rng = np.random.default_rng([seed, 13])
    moments = FIT_STEPS // FIT_EVERY + 1
    sample = rng.normal(size=(RUNS, SAMPLE, FEATURES))
    steps = (moments, FIT_EVERY) if fresh else (1, 1)
    data = rng.normal(size=(RUNS, *steps, SAMPLE, FEATURES)) if fresh else sample[:, None, None]
    data = np.broadcast_to(data, (RUNS, moments, FIT_EVERY, SAMPLE, FEATURES))
    unseen = rng.normal(size=(RUNS, UNSEEN, FEATURES))
    fake = SHIFT + rng.normal(size=(RUNS, UNSEEN, FEATURES))
    judged = np.concatenate([sample, unseen, fake], axis=1)
    networks = _networks(rng, (FEATURES, 64, 1))
    logits = np.asarray(
        jax.jit(jax.vmap(_trained_logits))(
            _keys(seed), networks, jnp.asarray(data, float), jnp.asarray(judged, float)
        ),
        np.float64,
    )
    # D*'s logit, log N(x; 0, 1) - log N(x; SHIFT, 1) in each dimension.
    best = np.sum(SHIFT * (SHIFT / 2 - judged), axis=-1)[:, None]
    excess = _values(logits) - _values(best)
    known, fresh_data = excess[:, moment].T

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        done = np.arange(moments) * FIT_EVERY
        for index, name in enumerate((f"its {SAMPLE} training data", f"{UNSEEN:,} fresh data")):
            lines = axes.plot(done, excess[:, :, index].T, color=f"C{index}", alpha=0.4)
            lines[0].set_label(name)
        axes.axhline(0, color="black", linestyle=":")
        axes.annotate("D*", (done[-1], 0), va="bottom", ha="right")
        axes.set(xlabel="steps of D, G fixed", ylabel="V(D, G) - V(D*, G), nats")
        axes.legend(title="V on")

    return Finding(
        largest(_sign_test(known > 0), _sign_test(fresh_data < 0)),
        {
            "median excess on the sample": float(np.median(known)),
            "median excess on fresh data": float(np.median(fresh_data)),
        },
        {"seed": seed},
        draw,
    )


def _values(logits: Float[np.ndarray, "runs moments n"]) -> Float[np.ndarray, "runs moments 2"]:
    """V on the sample and on fresh data, with the same generated examples."""
    real = scipy.special.log_expit(logits)
    fake = scipy.special.log_expit(-logits[..., SAMPLE + UNSEEN :]).mean(-1)
    known, unseen = real[..., :SAMPLE].mean(-1), real[..., SAMPLE : SAMPLE + UNSEEN].mean(-1)
    return np.stack([known + fake, unseen + fake], axis=-1)


def _trained_logits(
    key: Key[Array, ""],
    discriminator: _Network,
    data: Float[Array, "moments steps batch d"],
    judged: Float[Array, "n d"],
) -> Float[Array, "moments n"]:
    """D's logits along its training, G fixed."""
    generator = _Affine(jnp.ones(FEATURES), jnp.full(FEATURES, SHIFT))
    algorithm = Algorithm1(
        generator,
        discriminator,
        prior=Normal(FEATURES),
        generator_updates=optax.set_to_zero(),
        discriminator_updates=optax.rmsprop(3e-3),
    )

    def step(state: State, inputs: tuple[Array, Array]) -> tuple[State, None]:
        return algorithm.discriminator_step(inputs[0], state, inputs[1])[0], None

    def moment(state: State, inputs: tuple[Array, Array]) -> tuple[State, Float[Array, " n"]]:
        logits = judge(key, algorithm.players(state)[1], judged)
        return jax.lax.scan(step, state, inputs)[0], logits

    keys = jax.random.split(key, data.shape[:2])
    return jax.lax.scan(moment, algorithm.init(generator, discriminator), (keys, data))[1]


MODES, SPREAD = 8, 0.1
ANGLES = 2 * np.pi * np.arange(MODES) / MODES
CENTRES = 2 * np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)
CHUNK, CHUNKS = 200, 5


class _Bounded(eqx.Module):
    """A generator whose examples stay in a box, as pixels do."""

    network: _Network

    def __call__(self, z: Float[Array, "2"]) -> Float[Array, "2"]:
        return 3 * jnp.tanh(self.network(z))


@claim(
    "helvetica-modes",
    statement="G must not be trained too much without updating D: it would collapse many values of "
    "z to the same x (the Helvetica scenario).",
    source="Section 6",
    computes="20 games of networks on a ring of 8 normal modes, both players trained in turn for "
    "200 iterations; then 800 steps of G alone, D frozen, against 800 more iterations of both. A "
    "mode is covered if it is the nearest one to 1 % of G's samples. In how many games fewer are "
    "covered with D frozen: the sign test's p-value.",
    tolerance=1e-3,
    reason="18 of 20 games must agree; coins would do so once in 5,000 seeds.",
    condition="a D that still tells examples apart: at equilibrium a frozen D, 1/2 everywhere, "
    "pushes G nowhere",
    long=True,
    faults=[
        Fault("D not frozen", {"frozen": False}),
    ],
)
def helvetica_modes(seed: int, *, frozen: bool = True) -> Finding:
    rng = np.random.default_rng([seed, 14])
    shape = (CHUNKS, RUNS, CHUNK, 64)
    data = CENTRES[rng.integers(MODES, size=shape)] + SPREAD * rng.normal(size=(*shape, 2))
    chunks = jnp.asarray(data, float)
    generators = jax.vmap(_Bounded)(_networks(rng, (2, 32, 32, 2)))
    discriminators = _networks(rng, (2, 32, 32, 1))
    keys = _keys(seed)

    algorithm = Algorithm1(
        generators,
        discriminators,
        prior=Normal(2),
        generator_updates=optax.rmsprop(2e-3),
        discriminator_updates=optax.rmsprop(2e-3),
    )

    @jax.jit
    @jax.vmap
    def both(key: Key[Array, ""], state: State, data: Array) -> State:
        def step(state: State, real: Array) -> tuple[State, None]:
            return algorithm.step(key, state, real)[0], None

        return jax.lax.scan(step, state, data)[0]

    @jax.jit
    @jax.vmap
    def alone(key: Key[Array, ""], state: State, data: Array) -> State:
        def step(state: State, step_key: Key[Array, ""]) -> tuple[State, None]:
            return algorithm.generator_step(step_key, state, data.shape[1])[0], None

        return jax.lax.scan(step, state, jax.random.split(key, len(data)))[0]

    @jax.jit
    @jax.vmap
    def sample(key: Key[Array, ""], state: State) -> Float[Array, "n 2"]:
        return generate(key, algorithm.players(state)[0], Normal(2), 512)

    together = both(keys, jax.vmap(algorithm.init)(generators, discriminators), chunks[0])
    ends = []
    for further in (alone if frozen else both, both):
        state = together
        for chunk in chunks[1:]:
            state = further(jax.vmap(jax.random.fold_in)(keys, state.iteration), state, chunk)
        ends.append(np.asarray(sample(keys, state), np.float64))
    covered = [_modes_covered(samples) for samples in ends]

    def draw(figure: Any) -> None:
        shown = int(np.argsort(covered[0] - covered[1])[RUNS // 2])
        panels = figure.subplots(1, 2, sharex=True, sharey=True)
        titles = ("G alone, D frozen", "G and D in turn")
        for axes, title, samples, counts in zip(panels, titles, ends, covered, strict=True):
            axes.plot(*CENTRES.T, "k+", label="modes of the data")
            axes.plot(*samples[shown].T, ".", markersize=4, alpha=0.4, label="512 samples of G")
            axes.set(title=f"{title}: {counts[shown]:.0f} of 8", xlabel="x₁", aspect="equal")
            axes.set(xlim=(-3.2, 3.2), ylim=(-3.2, 3.2))
        panels[0].set_ylabel("x₂")
        panels[0].legend(loc="center", fontsize="small")
        figure.suptitle("Modes covered")

    return Finding(
        _sign_test(covered[0] < covered[1]),
        {
            "mean modes, D frozen": float(covered[0].mean()),
            "mean modes, in turn": float(covered[1].mean()),
            "median spread, D frozen": float(np.median(ends[0].std(1).max(1))),
            "median spread, in turn": float(np.median(ends[1].std(1).max(1))),
        },
        {"seed": seed, "modes, D frozen": covered[0], "modes, in turn": covered[1]},
        draw,
    )


def _modes_covered(samples: Float[np.ndarray, "games n 2"]) -> Float[np.ndarray, " games"]:
    """How many modes are the nearest one to at least 1 % of the samples."""
    distances = np.linalg.norm(samples[:, :, None] - CENTRES, axis=-1)
    nearest = distances.argmin(-1)[..., None] == np.arange(MODES)
    return (nearest.mean(1) >= 0.01).sum(-1).astype(float)
