"""Rejection by the discriminator; that it is exact is a claim (`rejection-exact`)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import advnets
from advnets import rejection
from advnets.priors import Normal

KEY = jax.random.key(0)
MODEL = advnets.Model(lambda z: z, Normal(1))
LABELLED = advnets.Model(lambda z, label: z, Normal(1))


def test_a_discriminator_that_sees_no_difference_accepts_all():
    found = rejection.sample(KEY, MODEL, lambda x: 0 * x, 1500, pilot=10)
    assert found.examples.shape == (1500, 1)
    assert (found.proposed, found.rate, found.effective, found.capped) == (2000, 1, 1, 0)
    assert repr(found).startswith("Accepted(1,500 of 2,000 proposals: rate 1,")
    again = rejection.sample(KEY, MODEL, lambda x: 0 * x, 1500, pilot=10)
    assert (again.examples == found.examples).all()


def test_no_more_is_proposed_than_allowed():
    found = rejection.sample(KEY, MODEL, lambda x: 0 * x, 1100, pilot=10, most=1100)
    assert (len(found.examples), found.proposed) == (1100, 1100)
    with pytest.raises(ValueError, match="of 1,099 proposals 1,099 were accepted"):
        rejection.sample(KEY, MODEL, lambda x: 0 * x, 1100, pilot=10, most=1099)


def test_what_d_rules_out_is_never_accepted():
    found = rejection.sample(KEY, MODEL, lambda x: jnp.where(x > 0, 0.0, -jnp.inf), 400)
    assert (found.examples > 0).all()
    assert found.effective == pytest.approx(0.5, abs=0.06)


def test_a_tiny_chance_is_a_chance(monkeypatch):
    """The largest numbers of 23 bits leave one of 2^-23, which is e^-15.9."""
    monkeypatch.setattr(
        jax.random, "uniform", lambda *given: jnp.full(given[1], 1 - 2**-23, jnp.float32)
    )
    found = rejection.sample(KEY, MODEL, lambda x: jnp.where(x > 0, 0.0, -20.0), 1000)
    assert found.rate == 1


def test_weights_beyond_the_pilot_s_largest_are_capped_and_counted():
    def certain(x):
        return jnp.where(x > 1, 3.0, 0.0)

    found = rejection.sample(KEY, MODEL, certain, 4000, pilot=1)  # none of the pilot is above 1
    assert found.rate == 1
    assert found.capped == pytest.approx(0.159, abs=0.03)
    w = np.where(found.examples > 1, np.exp(3.0), 1.0)
    assert found.effective == pytest.approx(w.sum() ** 2 / (w**2).sum() / len(w), rel=0.05)


@pytest.mark.parametrize(
    ("model", "logit", "given", "message"),
    [
        (MODEL, lambda x: x, {"n": 0}, "number of samples must be at least 1"),
        (MODEL, lambda x: x, {"pilot": 0}, "pilot's number of examples must be at least 1"),
        (MODEL, lambda x: x, {"most": 0}, "largest number of proposals must be at least 1"),
        (MODEL, lambda x: x / 0 * 0, {}, "a logit of the discriminator is not a number"),
        (MODEL, lambda x: jnp.where(x > 0, jnp.inf, 0), {}, r"or \+inf"),
        (MODEL, lambda x: jnp.where(x < 9, -jnp.inf, 0), {}, "-inf on each of the pilot's 1,000"),
        (LABELLED, lambda x: x, {}, "unconditional models"),
        (
            MODEL,
            lambda x: 9 * x,
            {"n": 900, "most": 1000},
            r"of 1,000 proposals \d+ were accepted, and 900 are wanted; raise most",
        ),
    ],
)
def test_what_can_not_be_is_refused(model, logit, given, message):
    with pytest.raises(ValueError, match=message):
        rejection.sample(KEY, model, logit, **{"n": 10, "pilot": 1000} | given)
