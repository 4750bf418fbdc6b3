"""Warnings point at the line that somebody wrote, not into a library."""

import inspect

import jaxtyping
import numpy as np
import pytest

from advnets.training import Resident
from advnets.training.check import check_data


def test_a_warning_points_at_the_users_line():
    @jaxtyping.jaxtyped(typechecker=None)  # so there are frames of jaxtyping's in between
    def check(source):
        check_data(source)

    pixels = Resident(np.full((3, 4), 200.0, np.float32))
    with pytest.warns(RuntimeWarning, match="like unscaled pixels") as caught:
        check(pixels)
    (warning,) = caught
    assert warning.filename == __file__
    lines, first = inspect.getsourcelines(check)
    assert first <= warning.lineno < first + len(lines)
