"""Strict arithmetic for every test: no silent promotion of types or ranks, several devices."""

import os

import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_num_cpu_devices", 2)


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture
def data_dir():
    """The folder with real data, for the tests that need it."""
    folder = os.environ.get("ADVNETS_DATA")
    if not folder:
        pytest.skip("needs real data: set ADVNETS_DATA to a local mirror of the Hub")
    return folder
