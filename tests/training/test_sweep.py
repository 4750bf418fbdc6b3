"""Learning rates side by side in one program: each run is what it would be alone with its own."""

import jax
import numpy as np
import optax
import pytest
from test_seeds import KEYS, SEEDS, leaves, train_alone, train_seeds

import advnets
from advnets import _games

RATES = [0.03, 0.1, 0.3]
PER_EPOCH = 10


def heavy_ball(learning_rate):
    return optax.sgd(learning_rate, momentum=0.5)


def released(learning_rate):
    return advnets.updates.released_updates(learning_rate, PER_EPOCH)


@pytest.mark.parametrize(
    ("given", "rules", "on_cpu"),
    [
        ({}, (released, released), False),
        (
            {"generator_updates": heavy_ball, "discriminator_updates": optax.sgd(0.2)},
            (heavy_ball, lambda _: optax.sgd(0.2)),
            True,
        ),
    ],
)
def test_each_run_is_what_it_would_be_alone_with_its_rate(given, rules, on_cpu, monkeypatch):
    """Over 10 updates, one after another and side by side."""
    monkeypatch.setattr(_games, "_on_cpu", lambda: on_cpu)
    together = train_seeds(1, learning_rates=np.array(RATES), **given)
    assert len(together) == SEEDS
    generator_rule, discriminator_rule = (rule(RATES[2]) for rule in rules)
    alone = train_alone(
        2, 1, generator_updates=generator_rule, discriminator_updates=discriminator_rule
    )
    assert alone.updates == together[2].updates == PER_EPOCH
    for x, y in zip(leaves(together[2]), leaves(alone), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-7)
    for player, name in (("discriminator", "value"), ("generator", "cost")):
        expected = pytest.approx(alone.metrics[0][player][name], rel=1e-5)
        assert together[2].metrics[0][player][name] == expected


def test_a_sweep_is_resumed_bit_for_bit_and_with_the_same_rates_alone(tmp_path):
    rates = jax.numpy.array(RATES)
    whole = train_seeds(4, learning_rates=rates)
    train_seeds(2, learning_rates=rates, folder=tmp_path)
    with pytest.raises(advnets.CheckpointError, match="another list of learning rates"):
        train_seeds(4, learning_rates=rates[::-1], folder=tmp_path, resume=True)
    with pytest.raises(advnets.CheckpointError, match="resume with the settings"):
        train_seeds(4, folder=tmp_path, resume=True)
    resumed = train_seeds(4, learning_rates=rates, folder=tmp_path, resume=True)
    for one, other in zip(whole, resumed, strict=True):
        assert one.metrics == other.metrics
        assert all((x == y).all() for x, y in zip(leaves(one), leaves(other), strict=True))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rates": np.array([0.1, 0.2])}, "learning rate for each of the 3 runs; got 2"),
        ({"learning_rates": np.array([0.1, 0.0, 0.2])}, "must be above 0 and finite; got"),
        ({"learning_rates": np.array([0.1, np.inf, 0.2])}, "must be above 0 and finite; got"),
        ({"generator_updates": optax.sgd}, "give learning_rates, one for each run"),
        (
            {
                "learning_rates": np.array(RATES),
                "generator_updates": optax.sgd(0.1),
                "discriminator_updates": optax.sgd(0.1),
            },
            "neither update rule is a function of a learning rate",
        ),
    ],
)
def test_rates_that_make_no_sweep_are_refused(settings, message):
    assert len(KEYS) == SEEDS
    with pytest.raises(ValueError, match=message):
        train_seeds(1, **settings)
