"""Finished runs that several files look at; no test changes them."""

import shutil

import pytest
from helpers.runs import SMALL
from helpers.systems import PIXELS

from advnets import bench
from advnets.bench.cli import main


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A finished run of an adversarial recipe, whose bits others are compared with."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    assert main([*SMALL, "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of it, to be changed."""
    return shutil.copytree(finished, tmp_path / "copied")


@pytest.fixture(scope="module")
def whole(request, tmp_path_factory):
    """A run of `TINY`, the benchmark of the module that asks: its folder and its result."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, bench.run(request.module.TINY, out=folder, progress=False)


@pytest.fixture(scope="module")
def pixels():
    """The benchmark of a system that is fitted in no time; its name is known to the command."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(bench.BENCHMARKS, PIXELS.name, PIXELS)
        yield PIXELS
