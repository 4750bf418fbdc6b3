"""The best response of D: against closed forms, one update by hand, and what it must never say."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize
from helpers.few_numbers import InTurn, shifted_normal
from scipy.special import expit

import advnets
from advnets import monitor
from advnets.monitor.response import calibrated
from advnets.priors import Normal

KEY = jax.random.key(3)


def test_a_step_and_what_is_said_of_it_against_numpy():
    data = np.array([[0.5], [-1.0], [2.0], [0.1]], np.float32)
    held_out = np.arange(8, dtype=np.float32)[:, None] / 4
    w, c = 0.3, -0.2
    players = shifted_normal(0.7, w, c, InTurn())
    found = monitor.best_response(
        KEY, players, data, held_out, rule=optax.sgd(0.5), steps=1, every=1, batch_size=9
    )
    # Ascent of V = E log σ(l) + E log(1 - σ(l)) on all rows, in any order.
    x, fake = data[:, 0].astype(float), np.linspace(-1, 2, 4) + 0.7
    up, down = 1 - expit(w * x + c), -expit(w * fake + c)
    after = w + 0.5 * (np.mean(up * x) + np.mean(down * fake)), c + 0.5 * (up.mean() + down.mean())
    curve = []
    for w_, c_ in ((w, c), after):
        real = w_ * held_out[::2, 0] + c_
        on_fake = w_ * fake + c_
        curve.append(np.mean(np.log(expit(real))) + np.mean(np.log(1 - expit(on_fake))))
    np.testing.assert_allclose(found.curve, curve, rtol=1e-5)
    at_best = ((w, c), after)[int(curve[1] > curve[0])]
    np.testing.assert_allclose(found.discriminator.w[0], at_best[0], rtol=1e-5)
    a, b = found.calibration

    def terms(w, c, a=1.0, b=0.0):
        real, on_fake = (a * (w * rows + c) + b for rows in (held_out[1::2, 0].astype(float), fake))
        each = np.log(expit(real)) + np.log(1 - expit(on_fake))
        return each, np.log(expit(real)), np.log(expit(a * (w * x + c) + b))

    now, best = terms(w, c), terms(*at_best, a, b)
    for estimate, each in ((found.value, now[0]), (found.best_value, best[0]),
                       (found.regret, best[0] - now[0])):  # fmt: skip
        assert estimate.mean == pytest.approx(each.mean(), rel=1e-5)
        assert estimate.standard_error == pytest.approx(each.std(ddof=1) / 2, rel=1e-4)
    half = found.best_value.standard_error / 2
    assert found.divergence.standard_error == pytest.approx(half, rel=1e-12)
    assert found.overfitting.mean == pytest.approx(best[2].mean() - best[1].mean(), rel=1e-4)


def test_noise_is_added_to_data_and_to_generated_examples():
    n = 4000
    data = np.random.default_rng(0).normal(size=(n, 1)).astype(np.float32)
    options = {"rule": optax.sgd(0.5), "steps": 1, "every": 1, "batch_size": n}
    players = shifted_normal(0, 1, 0)  # G's examples have the data's distribution, N(0, 1)
    found = monitor.best_response(KEY, players, data, data, noise_scale=1.0, **options)
    x = 2**0.5 * np.random.default_rng(1).normal(size=10**6)  # N(0, 2)
    slope = x * expit(x)  # minus it is V's slope in w, on noisy data and on noisy examples
    error = 0.5 * slope.std() * (2 / n) ** 0.5
    assert found.step == 1
    expected = 1 - 0.5 * 2 * slope.mean()
    assert found.discriminator.w[0] == pytest.approx(expected, abs=4 * error)


def test_ds_copy_gets_the_conditions_of_the_rows():
    """D's logit is x c: G makes x = c + 1, and V is of the pairs of reporting rows."""
    c = np.arange(8, dtype=np.float32)[:, None] / 4
    pairs = (c + 0.5, c)
    players = advnets.Players(
        lambda z, condition: condition + 1 + 0 * z,
        OfPairs(jnp.ones(())),
        Normal(1),
    )
    options = {"rule": optax.sgd(0.1), "steps": 1, "every": 1, "batch_size": 8}
    found = monitor.best_response(KEY, players, pairs, pairs, noise_scale=0.0, **options)
    c = c[1::2, 0].astype(float)
    value = np.log(expit((c + 0.5) * c)) + np.log(expit(-(c + 1) * c))
    assert found.value.mean == pytest.approx(value.mean(), rel=1e-5)


class OfPairs(eqx.Module):
    by: jax.Array

    def __call__(self, x, condition):
        return self.by * (x * condition)[0]


def test_recalibration_is_the_best_and_never_worse():
    rng = np.random.default_rng(0)
    for scale, shift in ((3.0, 1.0), (0.2, -2.0), (-1.0, 0.0)):
        real, fake = rng.normal(1, 1.4, 500), rng.normal(-1, 1.4, 700)

        def value(given, real=real, fake=fake, scale=scale, shift=shift):
            a, b = given
            on_real, on_fake = (a * (scale * logits + shift) + b for logits in (real, fake))
            return np.log(expit(on_real)).mean() + np.log(expit(-on_fake)).mean()

        a, b = calibrated(scale * real + shift, scale * fake + shift)
        best = scipy.optimize.minimize(lambda given: -value(given), [a, b], method="Nelder-Mead")
        assert value((a, b)) > -best.fun - 1e-4  # Platt's targets are 1/500 from 0 and 1
        assert value((a, b)) >= max(value((1, 0)), value((0, 0)))
    a, b = calibrated(real, fake)
    for scale, shift in ((1e-12, 0.0), (1e-6, 1e-3), (1e6, 1e7)):
        found = calibrated(scale * real + shift, scale * fake + shift)
        np.testing.assert_allclose(found, (a / scale, b - a * shift / scale), rtol=1e-5)
    # Useless logits are as good as none, and separable ones stay finite.
    assert calibrated(np.array([-5.0, 5.0]), np.array([-5.0, 5.0]))[0] == pytest.approx(0, abs=0.1)
    a, _ = calibrated(np.full(50, 2.0), np.full(50, -2.0))
    assert 2 * a == pytest.approx(np.log(51), rel=1e-3)  # D = 51/52


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "the number of steps must be at least 1"),
        ({"every": 7}, "divide the 500 steps; got 7"),
        ({"batch_size": 0}, "the batch size must be at least 1"),
        ({"noise_scale": -1.0}, "at least 0 and finite; got -1.0"),
        ({"held_out": np.zeros((3, 1))}, "at least 4 held-out rows"),
    ],
)
def test_what_can_t_be_asked_is_refused_in_a_sentence(settings, message):
    rows = np.zeros((9, 1))
    given = {"data": rows, "held_out": rows} | settings
    with pytest.raises(ValueError, match=message):
        monitor.best_response(KEY, shifted_normal(0, 0.3, -0.2), **given)
