"""The two tests of every claim; a file imports them and names its claims in `PREFIXES`."""

import pytest

from advnets import verify


def test_the_claim_holds(claim, seed):
    outcome = verify.run_claim(claim, seed)
    if outcome.verdict == "not run":
        pytest.skip(outcome.why)
    assert outcome.verdict == "holds", (outcome.why, outcome.finding)
    if outcome.finding.draw is not None:
        figure = pytest.importorskip("matplotlib.figure").Figure()
        outcome.finding.draw(figure)
        assert figure.axes


def test_the_planted_fault_is_caught(claim, fault):
    outcome = verify.run_claim(claim, 0, fault)
    if outcome.verdict == "not run":
        pytest.skip(outcome.why)
    assert outcome.verdict == "fails", (outcome.why, outcome.finding)
