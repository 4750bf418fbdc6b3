"""NaN counts as failed: no claim holds if one of its formulae gives NaN once, at any call."""

import inspect
import itertools

import numpy as np
import pytest

from advnets import verify
from advnets.verify.claims import noise_contrastive

# A claim, one of its formulae, and the number of a call in the middle.
CALLS = [
    ("eq1-change-of-variables", "jacobian", 0),
    ("eq4-supremum", "value_on_grid", 10_000),  # V at the shifted D
    pytest.param("eq4-supremum", "value_on_grid", 10_001, marks=pytest.mark.long),
    pytest.param("eq5-divergences", "kullback_leibler", 9_999, marks=pytest.mark.long),
    pytest.param("eq6-jensen-shannon", "jensen_shannon", 5_000, marks=pytest.mark.long),
    ("eq6-grids", "virtual_criterion", 30),
    ("eq6-grids", "jensen_shannon", 30),
    ("eq6-grids", "kullback_leibler", 60),
    ("nce-game", "ratio", 300),
    ("parzen-mean", "log_density", 450),
    ("parzen-variance", "log_density", 450),
    ("prop1-log-likelihood", "optimal_discriminator", 500),
    ("prop1-outside-supports", "value_on_grid", 999),
    ("prop2-affine", "value_on_grid", 1_500),
    ("prop2-convex", "supremum", 3_000),
    ("prop2-empty-cell", "virtual_criterion", 300),
    ("prop2-empty-cell", "optimal_discriminator", 50),
    ("prop2-monotone", "step", 30),
    ("prop2-bound", "step", 100),
    ("prop2-rate", "step", 2_110),
    ("prop2-rate", "factor", 5),
    ("prop2-reach", "step", 150),
    ("prop2-empty-start", "step", 150),
    pytest.param("thm1-range", "virtual_criterion", 5_000, marks=pytest.mark.long),
    pytest.param("thm1-equality", "suboptimality", 10_000, marks=pytest.mark.long),
    pytest.param("thm1-equality", "suboptimality", 10_001, marks=pytest.mark.long),  # p against p
    pytest.param("thm1-gap", "suboptimality", 5_000, marks=pytest.mark.long),
    ("thm1-disjoint", "virtual_criterion", 2),
    ("certified-float64", "optimal_discriminator", 500),
    ("certified-float64", "suboptimality", 500),
]


def nan_once(function, call):
    """The function, except that it returns NaN at one call."""
    calls = itertools.count()

    def replaced(*arguments):
        value = function(*arguments)
        return np.asarray(value) * np.nan if next(calls) == call else value

    return replaced


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("id", "part", "call"), CALLS)
def test_one_nan_is_enough(id, part, call):
    claim = verify.CLAIMS[id]
    function = inspect.signature(claim.check).parameters[part].default
    fault = verify.registry.Fault("NaN once", {part: nan_once(function, call)})
    outcome = verify.run_claim(claim, 0, fault)
    if outcome.verdict == "not run":
        pytest.skip(outcome.why)
    assert outcome.verdict == "fails", (outcome.why, outcome.finding)


@pytest.mark.parametrize(
    ("function", "id"),
    [
        ("game_gradient", "nce-slowdown"),
        ("nce_gradient", "nce-slowdown"),
        ("nce_gradient", "nce-samples"),
    ],
)
def test_a_gradient_that_is_nan_once(monkeypatch, function, id):
    replaced = nan_once(getattr(noise_contrastive, function), 2)
    monkeypatch.setattr(noise_contrastive, function, replaced)
    assert verify.run_claim(verify.CLAIMS[id]).verdict == "fails"
