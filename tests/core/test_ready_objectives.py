"""The objectives and penalties that come ready: an update of each against NumPy in float64.

G is affine and D quadratic, D(x) = w·x + q·x²/2 + c, so that D's slope w + q x differs from example
to example. Costs are written anew and differentiated by central differences.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
from helpers import pages
from helpers.few_numbers import Affine, Quadratic
from helpers.numeric import gradient

import advnets
from advnets import objectives
from advnets.draws import discriminator_draws
from advnets.objectives import (
    FGAN,
    GAN,
    R1,
    R2,
    GradientPenalty,
    Hinge,
    InstanceNoise,
    LeastSquares,
    Penalised,
    Relativistic,
    Wasserstein,
    divergences,
)
from advnets.training.identity import describe

RATE, N = 0.5, 6
KEY = jax.random.key(3)
pytestmark = pytest.mark.usefixtures("double_precision")


class Fixed(advnets.priors.Prior):
    """The same latent vectors whatever the key."""

    size: int = eqx.field(static=True, default=2)

    def __call__(self, key, n):
        return jnp.asarray(Z)


RNG = np.random.default_rng(5)
D = [RNG.normal(size=2), RNG.normal(size=2), RNG.normal(size=())]
G = [RNG.normal(size=(2, 2)), RNG.normal(size=2)]
REAL, Z = np.random.default_rng(1).normal(size=(2, N, 2))


def softplus(x):
    return np.logaddexp(0, x)


def squared_slopes(d, x):
    return ((d[0] + d[1] * x) ** 2).sum(1)


# What each player descends: of D's outputs on data and on generated examples; and what is added to
# D's cost, of D's parameters, data, generated examples and mixing weights.


def least_squares(a, b, c):
    return (
        lambda r, f: (((r - b) ** 2).mean() + ((f - a) ** 2).mean()) / 2,
        lambda r, f: ((f - c) ** 2).mean() / 2,
    )


HINGE = (
    lambda r, f: np.maximum(0, 1 - r).mean() + np.maximum(0, 1 + f).mean(),
    lambda r, f: -f.mean(),
)
WASSERSTEIN = (lambda r, f: f.mean() - r.mean(), lambda r, f: -f.mean())
PAIRS = (lambda r, f: softplus(f - r).mean(), lambda r, f: softplus(r - f).mean())
PAPER = (lambda r, f: softplus(-r).mean() + softplus(f).mean(), lambda r, f: softplus(-f).mean())


def f_gan(activation, conjugate, saddle=True):
    """From f* and g_f as Nowozin et al. print them."""
    return (
        lambda r, f: conjugate(activation(f)).mean() - activation(r).mean(),
        lambda r, f: -(conjugate(activation(f)) if saddle else activation(f)).mean(),
    )


def jeffreys(t):
    w = scipy.special.lambertw(np.exp(1 - t)).real
    return w + 1 / w + t - 2


def r1(gamma):
    return lambda d, x, fake, t: gamma / 2 * squared_slopes(d, x).mean()


def r2(gamma):
    return lambda d, x, fake, t: gamma / 2 * squared_slopes(d, fake).mean()


def between(weight):
    return lambda d, x, fake, t: (
        weight * ((np.sqrt(squared_slopes(d, t * x + (1 - t) * fake)) - 1) ** 2).mean()
    )


CASES = {
    "least squares": (LeastSquares(), least_squares(0, 1, 1), []),
    "Pearson's codes": (LeastSquares(-1, 1, 0), least_squares(-1, 1, 0), []),
    "hinge": (Hinge(), HINGE, []),
    "Wasserstein": (Wasserstein(), WASSERSTEIN, []),
    "relativistic": (Relativistic(), PAIRS, []),
    "KL": (FGAN(divergences.KL()), f_gan(lambda v: v, lambda t: np.exp(t - 1)), []),
    "KL, not saturating": (
        FGAN(divergences.KL(), saddle=False),
        f_gan(lambda v: v, lambda t: np.exp(t - 1), False),
        [],
    ),
    "reverse KL": (
        FGAN(divergences.ReverseKL()),
        f_gan(lambda v: -np.exp(-v), lambda t: -1 - np.log(-t)),
        [],
    ),
    "Jeffreys": (FGAN(divergences.Jeffreys()), f_gan(lambda v: v, jeffreys), []),
    "Pearson": (FGAN(divergences.PearsonChi2()), f_gan(lambda v: v, lambda t: t**2 / 4 + t), []),
    "Hellinger": (
        FGAN(divergences.SquaredHellinger()),
        f_gan(lambda v: 1 - np.exp(-v), lambda t: t / (1 - t)),
        [],
    ),
    "total variation": (
        FGAN(divergences.TotalVariation()),
        f_gan(lambda v: np.tanh(v) / 2, lambda t: t),
        [],
    ),
    "2014": (
        FGAN(divergences.GAN()),
        f_gan(lambda v: -softplus(-v), lambda t: -np.log(1 - np.exp(t))),
        [],
    ),
    "2014, not saturating": (FGAN(divergences.GAN(), saddle=False), PAPER, []),
    "R1": (Penalised(GAN(), R1(0.6)), PAPER, [r1(0.6)]),
    "R1 and R2": (Penalised(Relativistic(), R1(0.6), R2(0.3)), PAIRS, [r1(0.6), r2(0.3)]),
    "lazy": (Penalised(Hinge(), R2(0.3), every=4), HINGE, [r2(4 * 0.3)]),
    "gradient penalty": (Penalised(Wasserstein(), GradientPenalty(2.0)), WASSERSTEIN, [between(2)]),
    "no noise left": (InstanceNoise(Hinge(), 0.0, 10), HINGE, []),
}


def judged(d, x):
    return x @ d[0] + x**2 @ d[1] / 2 + d[2]


def generate(g, z):
    return z @ g[0].T + g[1]


def algorithm_of(objective):
    rule = optax.sgd(RATE)
    return advnets.Simultaneous(
        objective=objective, generator_updates=rule, discriminator_updates=rule
    )


@pytest.fixture(scope="module")
def steps(double_precision):
    """The state after a step under each objective, and what the step saw; one program."""
    players = advnets.Players(
        Affine(*map(jnp.asarray, G)), Quadratic(*map(jnp.asarray, D)), Fixed()
    )

    @jax.jit
    def all_of_them(real):
        found = {}
        for name, (objective, *_) in CASES.items():
            algorithm = algorithm_of(objective)
            found[name] = algorithm.step(KEY, players, algorithm.init(players), real)
        return found

    return jax.device_get(all_of_them(jnp.asarray(REAL)))


@pytest.mark.parametrize("name", CASES)
def test_an_update_is_that_of_numpy(steps, name):
    _, (d_cost, g_cost), penalties = CASES[name]
    draws = discriminator_draws(jax.random.fold_in(KEY, 0))
    t = np.asarray(jax.random.uniform(draws.objective, (N, 1)))
    fake = generate(G, Z)

    def of_d(*d):
        added = sum(penalty(d, REAL, fake, t) for penalty in penalties)
        return d_cost(judged(d, REAL), judged(d, fake)) + added

    def of_g(*g):
        return g_cost(judged(D, REAL), judged(D, generate(g, Z)))

    state, info = steps[name]
    for player, before, cost in (("discriminator", D, of_d), ("generator", G, of_g)):
        slopes = gradient(cost, before)
        after = jax.tree.leaves(state.players[player])
        for x, start, slope in zip(after, before, slopes, strict=True):
            np.testing.assert_allclose((start - x) / RATE, slope, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(info["generator"]["cost"], of_g(*G), rtol=1e-10)
    seen = info["discriminator"]
    names = [p.name for p in getattr(CASES[name][0], "penalties", ())]
    for reported, penalty in zip(names, penalties, strict=True):
        np.testing.assert_allclose(seen[reported], penalty(D, REAL, fake, t), rtol=1e-10)
    if "cost" in seen:
        np.testing.assert_allclose(seen["cost"], d_cost(judged(D, REAL), judged(D, fake)))


# By hand on the how-to pages, and ready.
BY_HAND = {
    "hinge": ("objectives", "hinge", Hinge()),
    "least squares": ("objectives", "least_squares", LeastSquares()),
    "relativistic": ("relativistic", "algorithm", Penalised(Relativistic(), R1(1.0), R2(1.0))),
    "WGAN-GP": ("gradient-penalty", "algorithm", Penalised(Wasserstein(), GradientPenalty(10.0))),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_a_ready_objective_is_that_of_the_how_to_page(name):
    page, called, ready = BY_HAND[name]
    own = pages.definitions(page)[called]
    own = getattr(own, "objective", own)

    def D(key, x):
        return jnp.sum(jnp.sin(x) + x**2, axis=1)

    real, fake = jnp.asarray(REAL), jnp.asarray(REAL[::-1] + 1)
    draws = discriminator_draws(KEY)
    ours, theirs = (one.costs(draws, D, real, fake) for one in (ready, own))
    np.testing.assert_allclose(ours.discriminator, theirs.discriminator, rtol=1e-12)
    np.testing.assert_allclose(ours.generator, theirs.generator, rtol=1e-12)


def at(iteration):
    given = None if iteration is None else jnp.asarray(iteration)
    return dataclasses.replace(discriminator_draws(KEY), iteration=given)


def test_lazy_penalties_count_in_one_iteration_of_every_with_that_many_times_the_weight():
    lazy = Penalised(Wasserstein(), R1(0.5), R2(0.1), every=3)
    real, fake = jnp.asarray(REAL), jnp.asarray(REAL + 1)

    def seen(iteration):
        found = lazy.costs(at(iteration), lambda key, x: jnp.sum(x**2, axis=1), real, fake)
        return found.seen["r1"], found.seen["r2"], found.discriminator - found.seen["cost"]

    program = jax.make_jaxpr(seen)(0)
    assert sum(equation.primitive.name == "cond" for equation in program.eqns) == 1
    each = np.array(jax.vmap(seen)(jnp.arange(7)))
    exact = [3 * 0.25 * 4 * (REAL**2).sum(1).mean(), 3 * 0.05 * 4 * ((REAL + 1) ** 2).sum(1).mean()]
    wanted = np.array([*exact, sum(exact)])[:, None] * (np.arange(7) % 3 == 0)
    np.testing.assert_allclose(each, wanted, rtol=1e-12, atol=1e-12)
    with pytest.raises(ValueError, match=r"lazy penalties need .* give draws.iteration"):
        lazy.costs(at(None), lambda key, x: jnp.sum(x, axis=1), real, fake)


def test_penalties_that_always_count_need_no_schedule():
    whole = Penalised(Wasserstein(), R1(0.5))
    D, real = (lambda key, x: jnp.sum(x, axis=1)), jnp.asarray(REAL)
    program = jax.make_jaxpr(lambda x: whole.costs(at(None), D, x, x).discriminator)(real)
    assert "cond" not in str(program)


def test_weights_may_be_those_of_a_sweep():
    D, x = (lambda key, x: jnp.sum(x, axis=1)), jnp.asarray(REAL)
    sweep = jax.jit(lambda w: Penalised(GAN(), R1(w)).costs(at(None), D, x, x).seen["r1"])
    assert [float(sweep(w)) for w in (0.0, 0.5)] == [0, 0.5]


def test_penalties_look_at_all_pixels_and_at_no_condition():
    images, labels = jnp.ones((4, 2, 3)), jnp.arange(4.0)

    def D(key, batch):
        x, c = batch
        return 2.0 * jnp.sum(x, axis=(1, 2)) + 100.0 * c

    for penalty, exact in (
        (R1(1.0), 12),
        (R2(1.0), 12),
        (GradientPenalty(1.0), (24**0.5 - 1) ** 2),
    ):
        found = penalty(at(None), D, (images, labels), (0 * images, labels))
        np.testing.assert_allclose(found, exact, rtol=1e-12)


def test_a_penalty_s_slope_is_in_all_parts_of_an_example():
    def D(key, x):
        return 2.0 * jnp.sum(x["one"], axis=1) + jnp.sum(x["two"], axis=1)

    x = {"one": jnp.ones((4, 3)), "two": jnp.ones((4, 2))}
    np.testing.assert_allclose(R1(1.0)(at(None), D, x, x), (3 * 2**2 + 2) / 2, rtol=1e-12)


def test_a_flat_discriminator_has_a_gradient_penalty_with_a_gradient():
    def cost(a):
        found = GradientPenalty(1.0)(at(None), lambda key, x: a * jnp.sum(x, axis=1), X, X)
        return found

    X = jnp.asarray(REAL)
    value, slope = jax.value_and_grad(cost)(0.0)
    assert (value, slope) == (1, 0)


@pytest.mark.parametrize("slope", [2e-3, 300.0])
@pytest.mark.parametrize("kind", [jnp.float16, jnp.bfloat16])
def test_penalties_hold_the_squares_of_slopes_in_half_precision(kind, slope):
    x = jnp.zeros((3, 4), kind)

    def judge(key, x):
        return jnp.asarray(slope, kind) * jnp.sum(x, axis=1)

    squared = 4 * float(jnp.asarray(slope, kind)) ** 2
    away = (squared**0.5 - 1) ** 2
    for penalty, expected in ((R1(1.0), squared / 2), (GradientPenalty(1.0), away)):
        np.testing.assert_allclose(penalty(at(0), judge, x, x), expected, rtol=1e-5)
    costs = Penalised(Wasserstein(), GradientPenalty(1e-3)).costs(at(0), judge, x, x)
    assert costs.discriminator.dtype == kind  # that of its own terms
    assert jnp.isfinite(costs.discriminator)


CALLS = []


class Telling(objectives.Objective):
    """Leaves what it is given in `CALLS`."""

    def costs(self, draws, D, real, fake):
        CALLS.append((real, fake, draws.objective))
        return objectives.Costs(jnp.zeros(()), jnp.zeros(()))


def test_instance_noise_falls_in_a_line_to_nothing():
    n, T, s = 20_000, 10, 0.5
    noisy, D = InstanceNoise(Telling(), s, T), lambda key, x: x
    real, fake = (jnp.full((n, 1), 3.0), jnp.arange(n)), (jnp.full((n, 1), -1.0), jnp.arange(n))
    for iteration in (0, 4, 9, 10, 25):
        noisy.costs(at(iteration), D, real, fake)
        (x, x_labels), (fake_x, fake_labels), key = CALLS.pop()
        noise = np.hstack([x - real[0], fake_x - fake[0]])
        sd = s * max(0, 1 - iteration / T)
        # Of the mean, of a standard deviation and of a correlation, in standard errors of each.
        assert np.all(np.abs(noise.mean(0)) <= 4 * sd / n**0.5)
        assert np.all(np.abs(noise.std(0) - sd) <= 4 * sd / (2 * n) ** 0.5)
        if sd > 0:
            assert abs(np.corrcoef(noise.T)[0, 1]) < 4 / n**0.5
        assert (x_labels == real[1]).all()
        assert (fake_labels == fake[1]).all()
        assert key != at(0).objective
    with pytest.raises(ValueError, match=r"needs the iteration's number; give draws.iteration"):
        noisy.costs(at(None), D, real, fake)


def test_a_wrapped_objective_shows_and_reports_what_it_did():
    D, x = (lambda key, x: jnp.sum(x, axis=1)), jnp.asarray(REAL)
    for inner in (GAN(), Hinge()):
        whole = Penalised(InstanceNoise(inner, 0.1, 5), R1(0.1))
        assert whole.shown == inner.shown
        assert set(inner.shown.values()) < set(whole.costs(at(1), D, x, x).seen)

    class Silent(objectives.Objective):
        def costs(self, draws, D, real, fake):
            return objectives.Costs(D(None, real).mean(), D(None, fake).mean())

    seen = Penalised(Silent(), R1(0.5)).costs(at(1), D, x, x).seen
    np.testing.assert_allclose(seen["cost"], REAL.sum(1).mean())
    np.testing.assert_allclose(seen["r1"], 0.25 * 2)


def test_how_often_data_are_preferred():
    real, fake = jnp.array([[1.0], [0.2], [0.1], [2.0]]), jnp.array([[0.5], [0.5], [0.2], [2.0]])
    seen = Relativistic().costs(at(1), lambda key, x: x[:, 0], real, fake).seen
    assert (seen["real_preferred"], seen["real_logit"]) == (0.25, pytest.approx(3.3 / 4))


def test_the_conjugate_of_jeffreys_everywhere():
    t = np.linspace(-60, 60, 241)
    w = scipy.special.wrightomega(1 - t)
    conjugate = divergences.Jeffreys().conjugate
    functions = conjugate, jax.grad(conjugate), jax.grad(jax.grad(conjugate))
    value, first, second = jax.jit(jax.vmap(lambda t: [f(t) for f in functions]))(jnp.asarray(t))
    np.testing.assert_allclose(value, w + 1 / w + t - 2, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(first, 1 / w, rtol=1e-10)
    np.testing.assert_allclose(second, 1 / (w * (1 + w)), rtol=1e-10)


def test_the_conjugate_of_jeffreys_in_float32():
    t = np.array([-1e8, -1e6, -1e4, -1e3, 1e-6], np.float32)
    w = scipy.special.wrightomega(1 - t.astype(float))
    exact = 1 / w - 1 - np.log(w)
    exact[-1] = t[-1]  # f*(t) = t + t²/4 + ...
    found = divergences.Jeffreys().conjugate(jnp.asarray(t))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found[:-1], exact[:-1], rtol=1e-6)
    np.testing.assert_allclose(found[-1], exact[-1], rtol=0.1)  # 1 - t rounds


def test_outputs_of_any_likely_size_have_finite_costs_in_float32():
    kinds = [one.divergence for one, *_ in CASES.values() if isinstance(one, FGAN)]
    functions = [f for kind in kinds for f in (kind.activation, kind.conjugate)]
    both = jax.jit(jax.vmap(lambda v: [jax.value_and_grad(f)(v) for f in functions]))
    found = both(jnp.linspace(-80, 80, 81, dtype=jnp.float32))
    assert len({type(kind) for kind in kinds}) == 7
    for values in jax.tree.leaves(found):
        assert values.dtype == jnp.float32
        assert np.isfinite(values).all()


X, LABELS = jnp.ones((3, 2)), jnp.arange(3)
REFUSED = {
    "a penalty's weight must be at least 0 and finite; R1 got -0.1": lambda: R1(-0.1),
    "at least 0 and finite; GradientPenalty got nan": lambda: GradientPenalty(float("nan")),
    "give at least one penalty": lambda: Penalised(GAN()),
    "a name of its own to report under; got r1, r1": lambda: Penalised(GAN(), R1(0.1), R1(0.2)),
    "every must be at least 1; got 0": lambda: Penalised(GAN(), R1(0.1), every=0),
    "standard_deviation must be at least 0 and finite; got -1": lambda: InstanceNoise(GAN(), -1, 5),
    "at least 1 iteration; got 0": lambda: InstanceNoise(GAN(), 1.0, 0),
    "must lie on one side .* got fake_code=1": lambda: LeastSquares(1.0, 0.0, 1.0),
    "as many of each and at least 1; got 3 and 2": lambda: Relativistic().costs(
        at(0), lambda key, x: x[:, 0], X, X[:2]
    ),
    "as many of each; got 3 and 2": lambda: GradientPenalty()(at(0), len, X, X[:2]),
    "R1 needs examples of floats; got int": lambda: R1(1.0)(at(0), len, (LABELS, X), (LABELS, X)),
    "InstanceNoise needs examples of floats; got int": lambda: InstanceNoise(GAN(), 1.0, 5).costs(
        at(0), len, LABELS, LABELS
    ),
    "pass at least 1 of each kind": lambda: Hinge().costs(
        at(0), lambda key, x: x[:, 0], X[:0], X[:0]
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_refusals(message):
    with pytest.raises(ValueError, match=message):
        REFUSED[message]()


def test_a_run_knows_the_older_objectives_by_their_older_names():
    assert describe(GAN()) == (
        "advnets.objectives.GAN(discriminator_cost=advnets.objectives.negative_value(), "
        "generator_cost=advnets.game.non_saturating_cost(), generator_sees_dropout=True)"
    )
    assert describe(objectives.OnLogits).endswith("advnets.objectives.OnLogits")
    assert describe(Penalised(GAN(), R1(0.1))) != describe(Penalised(GAN(), R1(0.2)))
