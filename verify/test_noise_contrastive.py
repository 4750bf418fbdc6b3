"""Noise-contrastive estimation as the game with a fixed noise density, and its slowdown."""

import dataclasses

import numpy as np
import pytest
import scipy.stats
from on_claims import test_the_claim_holds as test_the_claim_holds
from on_claims import test_the_planted_fault_is_caught as test_the_planted_fault_is_caught

from advnets import verify
from advnets.verify.claims import noise_contrastive as nce

PREFIXES = ("nce-",)

CASE = nce.Case(step=1.3, mean=1.1, theta=0.4)


def values(case, subset, learned):
    """V with the noise for p_g, and C with the model for p_g, on a grid of three variables.

    Two variables stand for a subset of two: nothing is rotated here.
    """
    assert subset == 2
    spacing = 0.2
    x = np.arange(-7, 9, spacing)
    pdf = scipy.stats.norm.pdf
    densities = {}
    means = {
        "data": (case.step, case.step, case.mean),
        "model": (learned * case.step, learned * case.step, case.theta),
        "noise": (0.0, 0.0, 0.0),
    }
    for name, (a, b, c) in means.items():
        densities[name] = (
            pdf(x - a)[:, None, None] * pdf(x - b)[None, :, None] * pdf(x - c)[None, None, :]
        )
    logits = np.log(densities["model"]) - np.log(densities["noise"])
    v = verify.value_on_grid(densities["data"], densities["noise"], logits, spacing**3)
    return v, verify.virtual_criterion(densities["data"], densities["model"], spacing**3)


def test_the_gradients_are_those_of_v_and_c():
    h = 1e-4
    ends = [values(dataclasses.replace(CASE, theta=CASE.theta + e), 2, 0.8) for e in (h, -h)]
    v, c = (np.subtract(*ends)) / (2 * h)
    assert nce.nce_gradient(CASE, 2, 0.8)[1] == pytest.approx(v, rel=1e-6)
    # The generator descends; since D* is optimal, this is C's slope by the envelope theorem.
    assert nce.game_gradient(CASE, 2, 0.8)[1] == pytest.approx(-c, rel=1e-6)


def test_all_gradients_vanish_at_the_truth():
    right = dataclasses.replace(CASE, theta=CASE.mean)
    assert nce.nce_gradient(right, 4, 1.0)[:2] == pytest.approx((0, 0), abs=1e-12)
    assert nce.game_gradient(right, 4, 1.0) == pytest.approx((0, 0), abs=1e-12)


@pytest.mark.parametrize("learned", [0.5, 0.8, 1.0])
@pytest.mark.parametrize("subset", [0, 1, 3, 9])
def test_the_bound_bounds(subset, learned):
    gradient = abs(nce.nce_gradient(CASE, subset, learned)[1])
    assert 0 < gradient <= nce.gradient_bound(CASE, subset, learned)


def test_pictures_are_drawn():
    matplotlib = pytest.importorskip("matplotlib.figure")
    for claim in (nce.nce_slowdown, nce.nce_samples, nce.nce_steps):
        figure = matplotlib.Figure()
        claim.check(0).draw(figure)
        assert figure.axes
