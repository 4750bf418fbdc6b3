"""Strict arithmetic for every test: no silent promotion of types or ranks, several devices."""

import os
import tempfile

import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_num_cpu_devices", 2)

# Without XLA's costlier passes programs compile in a third to half of the time, for the same
# arithmetic up to rounding; commands that tests start do so too.
jax.config.update("jax_disable_most_optimizations", True)
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"

# A program that several tests need, or the commands that they start, is compiled once. Each worker
# has its own folder, as JAX's writes there are not atomic; `tests/mutation` names one to keep.
TEMPORARY = tempfile.TemporaryDirectory(prefix="advnets-tests-", ignore_cleanup_errors=True)
COMPILED = os.environ.get("ADVNETS_TESTS_COMPILED", TEMPORARY.name)
jax.config.update("jax_compilation_cache_dir", COMPILED)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
os.environ["JAX_COMPILATION_CACHE_DIR"] = COMPILED
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"


def pytest_unconfigure():
    TEMPORARY.cleanup()  # a worker of xdist ends without Python's own cleaning up


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture(scope="module")
def all_passes():
    """Programs as users' are compiled, for modules that compare with recorded numbers."""
    jax.config.update("jax_disable_most_optimizations", False)
    jax.clear_caches()  # of programs that were compiled otherwise
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("JAX_DISABLE_MOST_OPTIMIZATIONS")
        yield
    jax.config.update("jax_disable_most_optimizations", True)
    jax.clear_caches()


@pytest.fixture(scope="module")
def double_precision():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def no_environment(monkeypatch):
    """Without the folder with real data."""
    monkeypatch.delenv("ADVNETS_DATA", raising=False)


@pytest.fixture
def data_dir():
    """The folder with real data, for the tests that need it."""
    folder = os.environ.get("ADVNETS_DATA")
    if not folder:
        pytest.skip("needs real data: set ADVNETS_DATA to a local mirror of the Hub")
    return folder
