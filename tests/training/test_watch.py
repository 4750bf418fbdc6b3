"""Divergence: of which games, when, of what, and what becomes of the others."""

import warnings

import numpy as np
import pytest

import advnets
from advnets.training.watch import finite, report_divergence, warn_of_a_winner

RUNNING = np.array([False, True, True])


def seen(games=3, **bad):
    """What ten iterations of some games saw; `game=(player, name, iteration, value)` is bad."""
    values = {
        player: {name: np.zeros((games, 10)) for name in names}
        for player, names in {
            "discriminator": ("value", "gradient_norm"),
            "generator": ("cost", "gradient_norm"),
        }.items()
    }
    for game, (player, name, iteration, value) in bad.items():
        values[player][name][int(game[-1]), iteration] = value
    return values


def test_the_last_games_that_diverge_end_the_training():
    sound = np.array([True, False, False])
    both = seen(
        game_1=("generator", "cost", 4, np.inf), game_2=("discriminator", "value", 0, np.nan)
    )
    with pytest.raises(advnets.TrainingDiverged) as error:
        report_divergence(["a", "b", "c"], RUNNING, sound, both, 20, 1)
    first, second = str(error.value).split("; ")
    assert first.startswith("training of b diverged at iteration 25: the generator's cost is inf")
    assert "lower the generator's learning rate" in first
    assert second.startswith(
        "training of c diverged at iteration 21: the discriminator's value is nan"
    )


def test_what_was_not_finite_first_is_named():
    both = seen(1, game_0=("discriminator", "value", 7, np.nan))
    both["generator"]["gradient_norm"][0, 6] = np.inf
    alone = np.array([True]), np.array([False])
    with pytest.raises(advnets.TrainingDiverged, match="at iteration 7: the generator's gradient"):
        report_divergence([""], *alone, both, 0, 1)
    both["discriminator"]["value"][0, 7] = 0.0
    # The norms of every third iteration are computed: of iterations 1 (as seen), 4 and 7 from 5 on.
    both["discriminator"]["gradient_norm"][0] = 1.0
    both["generator"]["gradient_norm"][0] = np.nan
    both["generator"]["gradient_norm"][0, [4, 7]] = 1.0
    with pytest.raises(advnets.TrainingDiverged, match="at iteration 7: the generator's gradient"):
        report_divergence([""], *alone, both, 5, 3)


def test_others_go_on():
    sound = np.array([False, False, True])
    bad = seen(game_1=("generator", "cost", 4, np.inf))
    with pytest.warns(RuntimeWarning, match="training of b diverged .* the other 1 continue"):
        report_divergence(["a", "b", "c"], RUNNING, sound, bad, 0, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what had diverged before is no news
        report_divergence(["a", "b", "c"], RUNNING, np.array([False, True, True]), bad, 0, 1)


def test_a_parameter_may_be_all_that_is_not_finite():
    alone = np.array([True]), np.array([False])
    with pytest.raises(advnets.TrainingDiverged, match="diverged by iteration 15: a parameter"):
        report_divergence([""], *alone, seen(1), 5, 1)


def test_norms_count_where_they_were_computed():
    """Every third iteration; the calls begin at iteration 4, whose norms are those of 6 and 9."""
    norms = np.full((3, 6), np.nan)
    norms[:, [2, 5]] = 1.0
    norms[1, 5] = np.inf
    values = np.zeros((3, 6))
    values[2, 3] = np.nan
    found = {"discriminator": {"value": values, "gradient_norm": norms}}
    assert finite(found, 4, 3).tolist() == [True, False, False]


def test_a_discriminator_that_has_leapt_away_is_named():
    """Its logits make the generator's gradients overflow before any number of its own does."""
    bad = seen(1, game_0=("generator", "gradient_norm", 3, np.inf))
    for cost, named in ((1e29, "lower the discriminator's"), (5.0, "lower the generator's")):
        bad["generator"]["cost"][0, 3] = cost
        with pytest.raises(advnets.TrainingDiverged, match=named):
            report_divergence([""], np.array([True]), np.array([False]), bad, 0, 1)


def test_a_discriminator_that_has_won_is_told_of():
    found = {
        "discriminator": {
            "real_output": np.array([[0.5, 0.5, 0.5], [1.0, 1.0, 1.0]]),
            "fake_output": np.array([[0.5, 0.5, 0.5], [0.0, 0.0, 0.0]]),
        },
        "generator": {"gradient_norm": np.array([[0.1, np.nan, 0.1], [0.0, np.nan, 0.0]])},
    }
    with pytest.warns(RuntimeWarning, match="D has won.*GaussianNoise.*When a game collapses"):
        assert warn_of_a_winner(found, 4, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found["generator"]["gradient_norm"][1, 2] = 1e-30
        assert not warn_of_a_winner(found, 4, 2)
        found["generator"]["gradient_norm"][:] = 0.0  # as in an empty game
        found["discriminator"]["real_output"][1, 0] = 0.9
        assert not warn_of_a_winner(found, 0, 1)
        assert not warn_of_a_winner({"model": {"cost": np.zeros((1, 3))}}, 0, 1)
