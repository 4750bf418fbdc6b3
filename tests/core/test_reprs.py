"""What is printed of large things: a line or a few, never arrays."""

import dataclasses

import jax
import numpy as np
import optax
import pytest
from helpers.games import images, plain

import advnets
from advnets import priors
from advnets.data.dataset import Dataset, Fold
from advnets.training import Resident, Snapshot, Streamed

KEY = jax.random.key(0)
PLAYERS = plain(KEY)
MODEL = advnets.model.model_of(PLAYERS)
STATE = advnets.Algorithm1().for_epochs_of(10).init(PLAYERS)
ROW = {"epoch": 3, "updates": 30, "generator": {"cost": 0.6931471, "gradient_norm": 1.0}}
ROWS = "epoch=3, updates=30, generator/cost=0.6931, generator/gradient_norm=1"
TWO = "generator=<Dense, 30 parameters>, discriminator=<Dense, 7 parameters>"
FOLD = Fold(images(3), images(4))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (PLAYERS, f"Players({TWO}, prior=Uniform(size=4))"),
        (MODEL, "Model(generator=<Dense, 30 parameters>, prior=Uniform(size=4))"),
        (
            advnets.Model(abs, condition=advnets.conditions.frequencies(np.arange(17))),
            "Model(generator=<abs>, prior=Uniform(), condition=<Labels>)",
        ),
        (
            advnets.Trained(MODEL, PLAYERS, [ROW], 30, 123.4),
            f"Trained(1 epoch, 30 updates, 123 updates/s\n  last metrics: {ROWS}\n"
            f"  Players({TWO}, prior=Uniform(size=4)))",
        ),
        (
            Snapshot(0, "a", 3, 30, ROW, None, PLAYERS, STATE),
            f"Snapshot(run=0, name='a', {ROWS}, Players({TWO}, prior=Uniform(size=4)))",
        ),
        (
            STATE,
            "State(iteration=0, discriminator=<Dense, 7 parameters>, "
            "generator=<Dense, 30 parameters>)",
        ),
        (
            MODEL.blocks(KEY, 5),
            "SampleBlocks(5 examples, 5 in a block, of Model(generator=<Dense, 30 parameters>, "
            "prior=Uniform(size=4)))",
        ),
        (advnets.Algorithm1(), "Algorithm1()"),
        (advnets.Algorithm1(k=2, average=0.9), "Algorithm1(average=0.9, k=2)"),
        (
            advnets.Simultaneous(fake=np.zeros, generator_updates=optax.sgd(0.1)),
            "Simultaneous(generator_updates=<GradientTransformationExtraArgs>, fake=zeros)",
        ),
        (Resident(images()), "Resident(uint8[53, 2, 3])"),
        (
            Streamed((images(), np.arange(53)), np.asarray),
            "Streamed((uint8[53, 2, 3], int64[53]), preprocess=asarray)",
        ),
        (Resident({"x": images()}), "Resident({'x': uint8[53, 2, 3]})"),
        (FOLD, "Fold(validation=uint8[3, 2, 3], test=uint8[4, 2, 3])"),
        (
            Dataset("faces", images(), (FOLD, FOLD), "here"),
            f"Dataset('faces', train=uint8[53, 2, 3], folds=({FOLD!r},) and 1 more, source='here')",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_it_is_said_in_a_line_or_a_few(value, expected):
    assert repr(value) == expected


def test_an_algorithm_of_ones_own_is_said_likewise():
    @dataclasses.dataclass(frozen=True, eq=False, repr=False, kw_only=True)
    class Mine(advnets.Algorithm1):
        rate: float = 0.5

    assert repr(Mine(rate=0.25)) == "Mine(rate=0.25)"
    assert repr(priors.Normal(3)) == "Normal(size=3)"
