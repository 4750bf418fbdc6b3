"""Parametrises the tests on claims (`on_claims.py`) with the claims of the importing file.

Seeds other than 0, and planted faults after a claim's first, are marked `long`.
"""

import pytest

from advnets import verify


def long(number):
    return [pytest.mark.long] if number else []


def pytest_generate_tests(metafunc):
    if metafunc.function.__module__ != "on_claims":
        return
    claims = [c for c in verify.CLAIMS.values() if c.id.startswith(metafunc.module.PREFIXES)]
    if "fault" in metafunc.fixturenames:
        cases = [
            pytest.param(claim, fault, id=f"{claim.id}: {fault.description}", marks=long(number))
            for claim in claims
            for number, fault in enumerate(claim.faults)
        ]
        metafunc.parametrize(("claim", "fault"), cases)
    else:
        cases = [
            pytest.param(claim, seed, id=f"{claim.id}-{seed}", marks=long(seed))
            for claim in claims
            for seed in ((0,) if claim.long else (0, 1))
        ]
        metafunc.parametrize(("claim", "seed"), cases)
