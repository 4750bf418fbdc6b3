"""The attack on the command line draws every numeric option there is."""

import random
import re

import pytest
from faults import commands

from advnets.bench import BENCHMARKS
from advnets.bench.cli import main

NAMES = [*BENCHMARKS, *commands.COMMANDS]


def offered(name, capsys):
    """The options that the command's own help says take numbers."""
    assert main([name, "--help-all"]) == 0
    return set(re.findall(r"(--[\w.-]+) (?:INT|FLOAT)", capsys.readouterr().out))


@pytest.mark.parametrize("name", NAMES)
def test_every_numeric_option_is_among_those_that_are_drawn(name, capsys):
    assert commands.numeric(name).keys() == offered(name, capsys)


def test_each_is_given_what_it_takes_and_what_it_does_not():
    assert {"0", "-1", "2147483648", "9223372036854775808", "nan"} <= {*commands.INTEGERS}
    assert {"0", "-1", "nan", "inf", "-inf", "1e-300", "1e300", "1e-45"} <= {*commands.FLOATS}
    draws = [random.Random(seed) for seed in range(60)]
    for option, kind in {o: k for name in NAMES for o, k in commands.numeric(name).items()}.items():
        wild = {*(commands.INTEGERS if kind == "int" else commands.FLOATS)}
        given = {commands.number(draw, option, kind) for draw in draws}
        assert len(given & wild) > 5, option
        assert len({text for text in given if text.strip("-.e0123456789") == ""}) > 2, option


def test_trials_come_to_each_option():
    """Over 5,000 trials: each option of some benchmark, and each of some other command."""
    drawn = set()
    for seed in range(5000):
        _, line = commands.drawn(random.Random(seed))
        drawn |= {(line.name in BENCHMARKS, option) for option in line.options}
    every = {
        (name in BENCHMARKS, option)
        for name in NAMES
        for option in commands.numeric(name)
        if "convolutions" not in option
    }
    assert every <= drawn
