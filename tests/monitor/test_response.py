"""The best response of D: against closed forms, one update by hand, and what it must never say."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize
import scipy.special
import scipy.stats

import advnets
from advnets import monitor, verify
from advnets.monitor.response import calibrated
from advnets.priors import Normal, Prior

pytestmark = pytest.mark.usefixtures("quick_compilation")

KEY = jax.random.key(3)
RULE = optax.sgd(1.0)
CRITERION = {0.0: -math.log(4), 1.0: -1.1635, 3.0: -0.3327}


class Shift(eqx.Module):
    by: jax.Array

    def __call__(self, z):
        return z + self.by


class Line(eqx.Module):
    """A linear logit, which D* is for two normal distributions of one variance."""

    w: jax.Array
    c: jax.Array

    def __call__(self, x):
        return self.w @ x + self.c


def normal_players(mean, w=0.3, c=-0.2):
    line = Line(jnp.full(1, w), jnp.asarray(c, float))
    return advnets.Players(Shift(jnp.full(1, float(mean))), line, Normal(1))


def criterion_of_normals(mean):
    x = np.linspace(-12, 12 + mean, 20_001)
    p, q = scipy.stats.norm.pdf(x), scipy.stats.norm.pdf(x - mean)
    return verify.virtual_criterion(p / p.sum(), q / q.sum())


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).normal(size=(2, 6000, 1)).astype(np.float32)


@pytest.fixture(scope="module")
def found(rows):
    """A best response for each mean of p_g, all by one program."""
    rule = optax.adam(0.03)
    return {
        mean: monitor.best_response(KEY, normal_players(mean), *rows, rule=rule, steps=300)
        for mean in CRITERION
    }


@pytest.mark.parametrize("mean", CRITERION)
def test_it_reaches_the_criterion_of_two_normals_and_is_never_above(found, mean):
    of_normals = criterion_of_normals(mean)
    assert of_normals == pytest.approx(CRITERION[mean], abs=2e-4)  # of the specification
    best = found[mean].best_value
    assert abs(best.mean - of_normals) < 3 * best.standard_error
    assert best.standard_error < 0.02
    bound = found[mean].divergence
    assert bound.mean == pytest.approx(max(0, best.mean + math.log(4)) / 2)
    assert bound.standard_error == pytest.approx(best.standard_error / 2)
    assert found[mean].regret.mean > -3 * found[mean].regret.standard_error


def test_the_copy_is_the_best_of_the_looks(found):
    for one in found.values():
        assert len(one.curve) == 13
        assert one.curve[one.step // one.every] == max(one.curve)
        assert abs(one.overfitting.mean) < 4 * one.overfitting.standard_error


class InTurn(Prior):
    """The same latent vectors whatever the key."""

    size: int = eqx.field(static=True, default=1)

    def __call__(self, key, n):
        return jnp.linspace(-1.0, 2.0, n)[:, None]


def sigmoid(x):
    return scipy.special.expit(x)


def test_a_step_and_what_is_said_of_it_against_numpy():
    data = np.array([[0.5], [-1.0], [2.0], [0.1]], np.float32)
    held_out = np.arange(8, dtype=np.float32)[:, None] / 4
    players = advnets.Players(Shift(jnp.full(1, 0.7)), normal_players(0).discriminator, InTurn())
    found = monitor.best_response(
        KEY, players, data, held_out, rule=optax.sgd(0.5), steps=1, every=1, batch_size=9
    )
    # Ascent of V = E log σ(l) + E log(1 - σ(l)) on all rows, in any order.
    x, fake = data[:, 0].astype(float), np.linspace(-1, 2, 4) + 0.7
    w, c = 0.3, -0.2
    up, down = 1 - sigmoid(w * x + c), -sigmoid(w * fake + c)
    after = w + 0.5 * (np.mean(up * x) + np.mean(down * fake)), c + 0.5 * (up.mean() + down.mean())
    curve = []
    for w_, c_ in ((w, c), after):
        real = w_ * held_out[::2, 0] + c_
        made = w_ * fake + c_
        curve.append(np.mean(np.log(sigmoid(real))) + np.mean(np.log(1 - sigmoid(made))))
    np.testing.assert_allclose(found.curve, curve, rtol=1e-5)
    at_best = ((w, c), after)[int(curve[1] > curve[0])]
    np.testing.assert_allclose(found.discriminator.w[0], at_best[0], rtol=1e-5)
    a, b = found.calibration

    def terms(w, c, a=1.0, b=0.0):
        real, made = (a * (w * rows + c) + b for rows in (held_out[1::2, 0].astype(float), fake))
        each = np.log(sigmoid(real)) + np.log(1 - sigmoid(made))
        return each, np.log(sigmoid(real)), np.log(sigmoid(a * (w * x + c) + b))

    now, best = terms(w, c), terms(*at_best, a, b)
    for said, each in ((found.value, now[0]), (found.best_value, best[0]),
                       (found.regret, best[0] - now[0])):  # fmt: skip
        assert said.mean == pytest.approx(each.mean(), rel=1e-5)
        assert said.standard_error == pytest.approx(each.std(ddof=1) / 2, rel=1e-4)
    assert found.overfitting.mean == pytest.approx(best[2].mean() - best[1].mean(), rel=1e-4)


def test_a_copy_that_learns_its_rows_by_heart_says_nothing_of_others():
    """G makes data, and D sees 30 rows of 40 columns: they can be told apart, others can't."""
    train, held_out = np.split(np.random.default_rng(1).normal(size=(430, 40)), [30])
    line = Line(jnp.zeros(40), jnp.zeros(()))
    players = advnets.Players(Shift(jnp.zeros(40)), line, Normal(40))
    rows = [part.astype(np.float32) for part in (train, held_out)]
    found = monitor.best_response(KEY, players, *rows, rule=RULE, steps=50, every=50)
    assert found.step == 0
    assert found.curve[1] < -math.log(4) - 0.5
    assert found.best_value.mean == pytest.approx(-math.log(4), abs=1e-5)
    assert found.divergence.mean == pytest.approx(0, abs=1e-5)
    known = np.resize(rows[0], rows[1].shape)
    kept = monitor.best_response(KEY, players, rows[0], known, rule=RULE, steps=50, every=50)
    assert kept.step == 50  # on the rows that it has seen, it would have been believed
    assert kept.divergence.mean > 0.1


def test_noise_is_on_all_that_d_sees(rows):
    """N(0, 1 + s²) against N(3, 1 + s²): D* is linear, and the criterion is known."""
    scale = 2.0
    expected = criterion_of_normals(3 / math.sqrt(1 + scale**2))
    found = monitor.best_response(
        KEY, normal_players(3), *rows, rule=optax.adam(0.03), steps=300, noise_scale=scale
    )
    assert abs(found.best_value.mean - expected) < 3 * found.best_value.standard_error


def test_recalibration_is_the_best_and_never_worse():
    rng = np.random.default_rng(0)
    for scale, shift in ((3.0, 1.0), (0.2, -2.0), (-1.0, 0.0)):
        real, fake = rng.normal(1, 1.4, 500), rng.normal(-1, 1.4, 700)

        def value(given, real=real, fake=fake, scale=scale, shift=shift):
            a, b = given
            on_real, on_fake = (a * (scale * logits + shift) + b for logits in (real, fake))
            return np.log(sigmoid(on_real)).mean() + np.log(sigmoid(-on_fake)).mean()

        a, b = calibrated(scale * real + shift, scale * fake + shift)
        best = scipy.optimize.minimize(lambda given: -value(given), [a, b], method="Nelder-Mead")
        assert value((a, b)) > -best.fun - 1e-4  # Platt's targets are 1/500 from 0 and 1
        assert value((a, b)) >= max(value((1, 0)), value((0, 0)))
    # Useless logits are as good as none, and separable ones stay finite.
    assert calibrated(np.array([-5.0, 5.0]), np.array([-5.0, 5.0]))[0] == pytest.approx(0, abs=0.1)
    a, _ = calibrated(np.full(50, 2.0), np.full(50, -2.0))
    assert 1 < a < 10


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"steps": 0}, "the number of steps must be at least 1"),
        ({"every": 7}, "divide the 500 steps; got 7"),
        ({"batch_size": 0}, "the batch size must be at least 1"),
        ({"noise_scale": -1.0}, "at least 0 and finite; got -1.0"),
        ({"held_out": np.zeros((3, 1))}, "at least 4 held-out rows"),
    ],
)
def test_what_can_t_be_asked_is_refused_in_a_sentence(rows, settings, said):
    given = {"data": rows[0], "held_out": rows[1]} | settings
    with pytest.raises(ValueError, match=said):
        monitor.best_response(KEY, normal_players(0), **given)
