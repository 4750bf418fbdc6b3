"""Runs tests in this process, which has imported what they need except the library."""

import importlib
import os
import sys

import pytest

# Imported here, once for all: each mutant's process is a copy of one that has done no more.
for name in (
    *("equinox", "jax", "jax.numpy", "jaxtyping", "beartype", "optax", "msgspec", "filelock"),
    *("scipy.special", "scipy.stats", "safetensors.numpy", "hypothesis", "tqdm"),
):
    importlib.import_module(name)


class Failures:
    """The tests that failed, and the files that could not be imported."""

    def __init__(self):
        self.names = []

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.names.append(report.nodeid)

    pytest_collectreport = pytest_runtest_logreport


def run(copy, tests, compiled, found):
    """Runs tests of a copy of the project.

    Args:
        copy: the copy's folder.
        tests: the tests, in their order.
        compiled: a folder for compiled programs.
        found: a connection that is sent pytest's exit code and the names of those that failed.
    """
    assert "advnets" not in sys.modules  # else the mutant would not be what is tested
    os.setsid()  # what the tests start can be killed with this process
    os.chdir(copy)
    silent = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    os.environ["PYTHONPATH"] = f"{copy}/src"
    os.environ["ADVNETS_TESTS_COMPILED"] = compiled
    sys.path.insert(0, f"{copy}/src")
    failures = Failures()
    code = pytest.main(["-q", "-p", "no:cacheprovider", "-x", *tests], plugins=[failures])
    found.send((int(code), failures.names))
    os._exit(0)
