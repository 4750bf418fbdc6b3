"""Divergence: of which games, and what becomes of the others."""

import warnings

import numpy as np
import pytest

import advnets
from advnets.training.watch import finite, report_divergence

RUNNING = np.array([False, True, True])


def test_the_last_games_that_diverge_end_the_training():
    sound = np.array([True, False, False])
    with pytest.raises(advnets.TrainingDiverged, match="training of b, c diverged between"):
        report_divergence(["a", "b", "c"], RUNNING, sound, 0, 10)


def test_others_go_on():
    sound = np.array([False, False, True])
    with pytest.warns(RuntimeWarning, match="training of b diverged .* the other 1 go on"):
        report_divergence(["a", "b", "c"], RUNNING, sound, 0, 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what diverged before is not reported again
        report_divergence(["a", "b", "c"], RUNNING, np.array([False, True, True]), 0, 10)


def test_one_game_has_no_name():
    with pytest.raises(advnets.TrainingDiverged, match=r"^training diverged between iterations 5"):
        report_divergence([""], np.array([True]), np.array([False]), 5, 10)


def test_norms_count_where_they_were_computed():
    """Of every third iteration: a call that begins at iteration 4 has the norms of 6 and 9."""
    norms = np.full((3, 6), np.nan)
    norms[:, [2, 5]] = 1.0
    norms[1, 5] = np.inf
    values = np.zeros((3, 6))
    values[2, 3] = np.nan
    seen = {"discriminator": {"value": values, "gradient_norm": norms}}
    assert finite(seen, 4, 3).tolist() == [True, False, False]
