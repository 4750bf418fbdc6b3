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
    with pytest.raises(SystemExit):
        main([name, "--help"])
    return set(re.findall(r"(--[\w.-]+) (?:\[|\{None\}\|)*(?:INT|FLOAT)", capsys.readouterr().out))


@pytest.mark.parametrize("name", NAMES)
def test_every_numeric_option_is_among_those_that_are_drawn(name, capsys):
    assert commands.numeric(name).keys() == offered(name, capsys)


def test_each_is_given_a_number_of_every_kind():
    given = {name: {} for name in NAMES}
    for seed in range(500):
        draw = random.Random(seed)
        for name in NAMES:
            for option, kind in commands.numeric(name).items():
                given[name].setdefault(option, set()).add(commands.number(draw, option, kind))
    for found in given.values():
        for option, texts in found.items():
            assert {"0", "-1", "nan"} <= {text.strip() for text in texts}, option
            assert any(len(text) > 30 for text in texts), option


def test_trials_come_to_each_option():
    """Over the trials that were made, of any benchmark."""
    drawn = set()
    for seed in range(1500):
        _, line = commands.drawn(random.Random(seed))
        drawn |= {(line.name in BENCHMARKS, option) for option in line.options}
    every = {
        (name in BENCHMARKS, option)
        for name in NAMES
        for option in commands.numeric(name)
        if "convolutions" not in option
    }
    assert every <= drawn
