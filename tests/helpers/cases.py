"""Which cases of a test run each time, and which in `tox -e long` alone."""

import pytest


def long_but(*short, cases):
    """The cases, of which all but `short` are marked `long`."""
    cases = [*cases]
    assert set(short) <= set(cases), set(short) - set(cases)
    return [case if case in short else pytest.param(case, marks=pytest.mark.long) for case in cases]
