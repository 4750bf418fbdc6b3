"""Section 2 on noise-contrastive estimation: the game with a fixed noise density.

The model is its own discriminator, D = p_model / (p_model + p_noise). In the claims on the slowdown
all densities are normal with unit covariance. The data's mean is `step` in each variable of a
subset and `mean` in one further variable; the noise's mean is 0. Rotating the subset leaves one
coordinate u along the data's mean, which has length step √k for k variables, so integrals over u
and the last variable y are exact for any k.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.optimize
import scipy.special
import scipy.stats

from advnets import _style
from advnets.verify import criterion, families
from advnets.verify.registry import Fault, Finding, claim, largest, worse

SUBSETS = (0, 1, 2, 4, 8)


def _ratio(model: np.ndarray, noise: np.ndarray) -> np.ndarray:
    return model / (model + noise)


@claim(
    "nce-game",
    statement="Noise-contrastive estimation plays the game with a fixed noise density instead of a "
    "generator and D = p_model / (p_model + p_noise); D is the best one if the model is the data's "
    "density.",
    source="Section 2 (related work); Gutmann & Hyvärinen 2010, Eq. 3",
    computes="For 200 random normal mixtures as data and as model (times a random constant), and a "
    "wide normal as noise, on 400 cells: the objective E[log h] + E_noise[log(1-h)] of "
    "noise-contrastive estimation against V in logits; its value with the data's density as the "
    "model against C; and by how much other models exceed that value.",
    tolerance=1e-12,
    reason="Rounding of sums of 400 terms.",
    faults=[
        Fault("the noise in the numerator", {"ratio": lambda model, noise: _ratio(noise, model)}),
        Fault(
            "D = p_model / (p_model + 1)",
            {"ratio": lambda model, noise: _ratio(model, 0 * noise + 1)},
        ),
        Fault("the mean over both samples instead of the sum, half of V", {"factor": 0.5}),
    ],
)
def nce_game(seed: int, *, ratio: Callable = _ratio, factor: float = 1.0) -> Finding:
    rng = np.random.default_rng([seed, 1])
    grid = families.Grid(((-8.0, 8.0),), (400,))
    volume = grid.cell_volume
    worst = -1.0
    example: dict = {}
    for index in range(200):
        data, shape = (
            families.gaussian_mixture(
                grid, rng.uniform(-2, 2, 3).tolist(), rng.uniform(0.5, 1.5, 3).tolist()
            )
            for _ in range(2)
        )
        noise = families.gaussian_mixture(grid, [rng.uniform(-1, 1)], rng.uniform(1.5, 2.5))
        model = shape * np.exp(rng.normal())

        def objective(
            model: np.ndarray, data: np.ndarray = data, noise: np.ndarray = noise
        ) -> float:
            h = ratio(model, noise)
            with np.errstate(divide="ignore"):
                terms = data * np.log(h) + noise * np.log1p(-h)
            return factor * float(np.sum(terms) * volume)

        value = criterion.value_on_grid(data, noise, np.log(model) - np.log(noise), volume)
        best = objective(data)
        here = largest(
            abs(objective(model) - value),
            abs(best - criterion.virtual_criterion(data, noise, volume)),
            objective(model) - best,
        )
        if worse(here, worst):
            worst, example = here, {"seed": seed, "case": index, "p_data": data, "p_noise": noise}
    return Finding(worst, {"cases": 200}, example)


@claim(
    "nce-maximiser",
    statement="Noise-contrastive estimation learns the data's density, with the model's normaliser "
    "as one more parameter.",
    source="Section 2 (related work); Gutmann & Hyvärinen 2010, Theorem 1",
    computes="For 20 random normal data and noise densities, integrated on 4,001 points: V is "
    "maximised over log p_model = a x + b x² + c, with c free, by a trust-region method that "
    "starts at the noise's parameters. The residual is the largest error of a, b and c against "
    "those of the data.",
    tolerance=1e-6,
    reason="V is known to 2e-16, which determines its maximiser only up to √(2 · 2e-16 / "
    "curvature), and the smallest curvature is above 1e-3.",
    faults=[
        Fault("D without the noise density", {"noise_power": 0.0}),
        Fault("twice as much noise as data, which D does not account for", {"noise_share": 2.0}),
    ],
)
def nce_maximiser(seed: int, *, noise_power: float = 1.0, noise_share: float = 1.0) -> Finding:
    rng = np.random.default_rng([seed, 2])
    x, spacing = np.linspace(-25, 25, 4001, retstep=True)
    features = np.stack([x, x**2, np.ones_like(x)], axis=1)
    worst, slope, least = -1.0, 0.0, np.inf
    example: dict = {}
    for index in range(20):
        centre, scale = rng.uniform(-1.5, 1.5), rng.uniform(0.5, 1.5)
        noise_scale = rng.uniform(1.5, 2.5)
        data = scipy.stats.norm.pdf(x, centre, scale) * spacing
        log_noise = scipy.stats.norm.logpdf(x, 0.0, noise_scale)
        noise = noise_share * np.exp(log_noise) * spacing

        def logits(parameters: np.ndarray, log_noise: np.ndarray = log_noise) -> np.ndarray:
            return features @ parameters - noise_power * log_noise

        def loss(
            parameters: np.ndarray, data: np.ndarray = data, noise: np.ndarray = noise
        ) -> tuple[float, np.ndarray]:
            logit = logits(parameters)
            value = data @ scipy.special.log_expit(logit) + noise @ scipy.special.log_expit(-logit)
            rise = data * scipy.special.expit(-logit) - noise * scipy.special.expit(logit)
            return -float(value), -(rise @ features)

        def curvature(
            parameters: np.ndarray, data: np.ndarray = data, noise: np.ndarray = noise
        ) -> np.ndarray:
            d = scipy.special.expit(logits(parameters))
            return (features.T * ((data + noise) * d * (1 - d))) @ features

        start, true = _coefficients(0.0, noise_scale), _coefficients(centre, scale)
        found = scipy.optimize.minimize(
            loss, start, jac=True, hess=curvature, method="trust-exact", options={"gtol": 1e-13}
        )
        here = float(np.abs(found.x - true).max())
        slope = largest(slope, *np.abs(loss(true)[1]))
        least = min(least, float(np.linalg.eigvalsh(curvature(true))[0]))
        if worse(here, worst):
            worst = here
            example = {"seed": seed, "case": index, "true": true, "found": found.x}
    measured = {"cases": 20, "largest gradient at the truth": slope, "least curvature": least}
    return Finding(worst, measured, example)


def _coefficients(centre: float, scale: float) -> np.ndarray:
    """The coefficients of x, x² and 1 in the logarithm of a normal density."""
    constant = -(centre**2) / (2 * scale**2) - np.log(scale * np.sqrt(2 * np.pi))
    return np.array([centre / scale**2, -1 / (2 * scale**2), constant])


@dataclasses.dataclass(frozen=True)
class Case:
    """The data's means, the model's mean `theta` in the last variable, and the grid's spacing."""

    step: float
    mean: float
    theta: float
    spacing: float = 0.05

    def distance(self, subset: int) -> float:
        """The distance of the data's mean from the noise's over the variables of the subset."""
        return self.step * float(np.sqrt(subset))


def _random_case(seed: int) -> Case:
    rng = np.random.default_rng([seed, 3])
    mean = rng.uniform(0.8, 1.5)
    return Case(step=rng.uniform(1.2, 1.6), mean=mean, theta=0.3 * mean)


def _densities(
    case: Case, distance: float, *means: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """The grid's u and y, and the masses there of normal densities with the given means."""
    u = np.arange(-8.0, distance + 8, case.spacing)[:, None]
    y = np.arange(-8.0, case.mean + 8, case.spacing)[None, :]
    pdf = scipy.stats.norm.pdf
    return u, y, [pdf(u - a) * pdf(y - b) * case.spacing**2 for a, b in means]


def _log_ratio(
    u: np.ndarray, y: np.ndarray, one: tuple[float, float], other: tuple[float, float]
) -> np.ndarray:
    """log N(one) - log N(other)."""
    (a, b), (c, d) = one, other
    return (a - c) * u + (b - d) * y - (a**2 + b**2 - c**2 - d**2) / 2


def nce_gradient(
    case: Case, subset: int, learned: float, noise_learned: float = 0.0
) -> tuple[float, float, float]:
    """dV/d(model's mean along u), dV/dtheta, and the variance of the latter for a pair of examples.

    The model's mean over the subset is the data's times `learned`. The noise's is the data's times
    `noise_learned`, which is 0 except in planted faults.
    """
    m = case.distance(subset)
    model, noise = (learned * m, case.theta), (noise_learned * m, 0.0)
    u, y, (p_data, p_noise) = _densities(case, m, (m, case.mean), noise)
    logits = _log_ratio(u, y, model, noise)
    real, fake = scipy.special.expit(-logits), scipy.special.expit(logits)
    rise = real * p_data - fake * p_noise
    score = y - case.theta
    on_data, on_noise = np.sum(real * p_data * score), np.sum(fake * p_noise * score)
    squares = np.sum((real**2 * p_data + fake**2 * p_noise) * score**2)
    variance = squares - on_data**2 - on_noise**2
    return float(np.sum(rise * (u - model[0]))), float(on_data - on_noise), float(variance)


def game_gradient(
    case: Case, subset: int, learned: float, d_learned: float | None = None
) -> tuple[float, float]:
    """The descent direction of log(1 - D*) if the model is p_g: along u, and for theta.

    D* is optimal against a generator that has learned `d_learned` of the subset, which equals
    `learned` except in planted faults.
    """
    m = case.distance(subset)
    model = (learned * m, case.theta)
    judged = (m * (learned if d_learned is None else d_learned), case.theta)
    u, y, (p_g,) = _densities(case, m, model)
    log_fake = scipy.special.log_expit(_log_ratio(u, y, judged, (m, case.mean)))
    descent = -p_g * log_fake
    return float(np.sum(descent * (u - model[0]))), float(np.sum(descent * (y - case.theta)))


def gradient_bound(case: Case, subset: int, learned: float) -> float:
    """A bound on |dV/dtheta|, by a + b >= 2 √(ab) in D's denominator and normal integrals."""
    m = case.distance(subset)
    y = np.arange(-12.0, case.mean + 12, case.spacing)
    data, model, noise = (scipy.stats.norm.pdf(y - mu) for mu in (case.mean, case.theta, 0.0))
    score = np.abs(y - case.theta) * case.spacing / 2
    on_data = np.sum(score * data * np.sqrt(noise / model))
    on_noise = np.sum(score * np.sqrt(noise * model))
    return float(
        on_data * np.exp(-(m**2) * (learned / 2 - 3 * learned**2 / 8))
        + on_noise * np.exp(-(m**2) * learned**2 / 8)
    )


@claim(
    "nce-slowdown",
    statement="With a fixed noise density, learning slows dramatically once the model is "
    "approximately correct on a small subset of the observed variables: D then recognises the "
    "noise by these alone, and the gradient of the other parameters vanishes.",
    source="Section 2 (related work on noise-contrastive estimation; the arXiv text only)",
    computes="For a model that has learned 80 % or all of the mean of k = 0, 1, 2, 4, 8 or 16 "
    "variables: dV/dtheta for one more variable, by integration, against a bound that falls as "
    "exp(-k step²/8) if all is learned. The residual is the fraction by which the gradient exceeds "
    "the bound, or by which the gradient of the adversarial game, where the model has learned all "
    "and is p_g, changes with k. Infinite unless the gradient with fixed noise falls at every k.",
    tolerance=1e-9,
    reason="Rounding, and integration of analytic functions on a fine grid.",
    condition="normal densities, a subset that is (nearly) learned and an optimal D; while the "
    "subset is wrong, the adversarial gradient is the one that vanishes with k",
    faults=[
        Fault("noise that follows the model on the subset", {"noise_learned": 1.0}),
        Fault("an adversarial D that isn't updated as G learns", {"d_learned": 0.0}),
    ],
)
def nce_slowdown(
    seed: int, *, noise_learned: float = 0.0, d_learned: float | None = None
) -> Finding:
    case = _random_case(seed)
    subsets = np.array([*SUBSETS, 16])
    worst, example = 0.0, {"seed": seed, "step": case.step, "mean": case.mean}
    nce = {
        share: np.array([nce_gradient(case, k, share, noise_learned)[1] for k in subsets])
        for share in (0.8, 1.0)
    }
    bounds = {share: np.array([gradient_bound(case, k, share) for k in subsets]) for share in nce}
    game = np.array([game_gradient(case, k, 1.0, d_learned)[1] for k in subsets])
    unlearned = np.array([game_gradient(case, k, 0.0)[1] for k in subsets])
    for share, gradients in nce.items():
        worst = largest(worst, *(np.abs(gradients) / bounds[share] - 1))
        if not (np.diff(gradients) < 0).all():
            worst = float("inf")
    worst = largest(worst, *np.abs(game / game[0] - 1))
    measured = {
        "noise-contrastive gradient at k = 8, all learned, of that at 0": nce[1.0][4] / nce[1.0][0],
        "the same, 80 % learned": nce[0.8][4] / nce[0.8][0],
        "adversarial gradient at k = 8, all learned, of that at 0": game[4] / game[0],
        "the same, none learned": unlearned[4] / unlearned[0],
    }

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        axes.semilogy(subsets, game, "s-", label="adversarial game, all learned")
        axes.semilogy(subsets, unlearned, "s:", label="adversarial game, none learned")
        axes.semilogy(subsets, nce[1.0], "o-", label="fixed noise, all learned")
        axes.semilogy(subsets, nce[0.8], "o--", label="fixed noise, 80 % learned")
        axes.semilogy(subsets, bounds[1.0], "k:", label="bound, fixed noise, all learned")
        axes.set(
            xlabel="variables in the subset",
            ylabel="gradient for another variable's mean",
        )
        _style.legend(axes)

    return Finding(worst, {k: float(v) for k, v in measured.items()}, example, draw)


@claim(
    "nce-samples",
    statement="The slowdown is not one of scale that a higher learning rate would cure: with a "
    "fixed noise density, the number of examples needed for a gradient to exceed its own noise "
    "grows with the number of variables already learned.",
    source="Section 2 (related work on noise-contrastive estimation; the arXiv text only)",
    computes="For a model that has learned 90 % of the mean of k = 0, 1, 2, 4 or 8 variables: "
    "dV/dtheta from 100,000 data and noise examples of k + 1 variables, against its value by "
    "integration, in standard errors by integration. Infinite unless the variance of one pair's "
    "gradient, divided by the squared mean, grows at every k.",
    tolerance=5.0,
    reason="Five standard errors.",
    condition="normal densities, and a subset that is nearly learned",
    faults=[
        Fault("D without the noise density", {"noise_power": 0.0}),
        Fault("noise that follows the model on the subset", {"noise_learned": 0.9}),
    ],
)
def nce_samples(seed: int, *, noise_power: float = 1.0, noise_learned: float = 0.0) -> Finding:
    case, rows, learned = _random_case(seed), 100_000, 0.9
    worst, needed = -1.0, []
    example: dict = {}
    for k in SUBSETS:
        rng = np.random.default_rng([seed, 4, k])
        _, gradient, variance = nce_gradient(case, k, learned, noise_learned)
        needed.append(variance / gradient**2)
        mean = np.array([case.step] * k + [case.mean])
        model = np.array([learned * case.step] * k + [case.theta])
        centre = np.array([noise_learned * case.step] * k + [0.0])
        real = rng.normal(size=(rows, k + 1)) + mean
        fake = rng.normal(size=(rows, k + 1)) + centre

        def logits(
            x: np.ndarray, model: np.ndarray = model, centre: np.ndarray = centre
        ) -> np.ndarray:
            to_model, to_noise = ((x - model) ** 2).sum(axis=1), ((x - centre) ** 2).sum(axis=1)
            return (noise_power * to_noise - to_model) / 2

        on_real = scipy.special.expit(-logits(real)) * (real[:, -1] - case.theta)
        on_fake = scipy.special.expit(logits(fake)) * (fake[:, -1] - case.theta)
        here = abs(on_real.mean() - on_fake.mean() - gradient) / np.sqrt(variance / rows)
        if worse(here, worst):
            worst, example = float(here), {"seed": seed, "k": k, "mean": mean, "model": model}
    if not (np.diff(needed) > 0).all():
        worst = float("inf")
    counts = {f"examples at k = {k}": n for k, n in zip(SUBSETS, needed, strict=True)}

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        axes.semilogy(SUBSETS, needed, "o-")
        axes.set(
            xlabel="variables in the subset",
            ylabel="examples for a gradient of one standard error",
        )

    return Finding(worst, counts, example, draw)


@claim(
    "nce-steps",
    statement="Once the model has nearly learned a small subset of the observed variables, "
    "noise-contrastive estimation takes dramatically more steps for the others, and the "
    "adversarial game hardly any more.",
    source="Section 2 (related work on noise-contrastive estimation; the arXiv text only)",
    computes="Gradient ascent on both means with the exact gradient and learning rate 0.2, from 90 "
    "% of the mean of k = 0, 1, 2, 4 or 8 variables and none of another variable's: the number of "
    "steps until half of that one is learned, divided by the number at k = 0. The residual is how "
    "far, with fixed noise, this ratio falls short of half of exp(k step²/8), the reciprocal of "
    "the overlap ∫√(p_data p_noise) over the subset; and how far it exceeds 1.5 with p_g instead "
    "of the noise.",
    tolerance=0.0,
    reason="The factor 1/2 and the 1.5 allow for whole steps and for the subset's last 10 %.",
    condition="normal densities, a subset that is nearly learned and an optimal D",
    faults=[
        Fault("noise that follows the model on the subset", {"noise_learned": 0.9}),
        Fault("a start with nothing of the subset learned", {"learned": 0.0}),
    ],
)
def nce_steps(seed: int, *, noise_learned: float = 0.0, learned: float = 0.9) -> Finding:
    case = dataclasses.replace(_random_case(seed), theta=0.0, spacing=0.1)
    players: dict[str, Callable] = {
        "fixed noise": lambda now, k, share: nce_gradient(now, k, share, noise_learned),
        "adversarial": lambda now, k, share: game_gradient(now, k, share),
    }
    steps = {
        name: np.array([_steps(case, k, learned, player) for k in SUBSETS])
        for name, player in players.items()
    }
    nce, game = (steps[name] / steps[name][0] for name in players)
    least = np.exp(np.array(SUBSETS) * case.step**2 / 8) / 2
    residual = largest(*(least - nce), *(game - 1.5), 0.0)
    measured = {
        f"steps, {name}, k = {k}": int(n)
        for name, counts in steps.items()
        for k, n in zip(SUBSETS, counts, strict=True)
    }

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        axes.semilogy(SUBSETS, steps["fixed noise"], "o-", label="fixed noise")
        axes.semilogy(SUBSETS, steps["adversarial"], "s-", label="adversarial game")
        axes.set(
            xlabel="variables in the subset, nearly learned",
            ylabel="steps until half of another is learned",
        )
        _style.legend(axes)

    example = {"seed": seed, "step": case.step, "mean": case.mean}
    return Finding(residual, measured, example, draw)


def _steps(case: Case, subset: int, learned: float, gradient: Callable, limit: int = 1000) -> int:
    """Steps of gradient ascent, at most `limit`, until theta is half of the data's mean."""
    m, at = case.distance(subset), learned * case.distance(subset)
    for step in range(limit):
        if case.theta >= case.mean / 2:
            return step
        along, rest = gradient(case, subset, at / m if m else 1.0)[:2]
        at, theta = at + 0.2 * along, case.theta + 0.2 * rest
        case = dataclasses.replace(case, theta=theta)
    return limit
