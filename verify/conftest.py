"""Gives the tests on claims (`on_claims.py`) the claims of the file that imports them."""

import pytest

from advnets import verify


def pytest_generate_tests(metafunc):
    if metafunc.function.__module__ != "on_claims":
        return
    claims = [c for c in verify.CLAIMS.values() if c.id.startswith(metafunc.module.PREFIXES)]
    if "fault" in metafunc.fixturenames:
        cases = [
            pytest.param(claim, fault, id=f"{claim.id}: {fault.description}")
            for claim in claims
            for fault in claim.faults
        ]
        metafunc.parametrize(("claim", "fault"), cases)
    else:
        cases = [
            pytest.param(claim, seed, id=f"{claim.id}-{seed}")
            for claim in claims
            for seed in ((0,) if claim.long else (0, 1))
        ]
        metafunc.parametrize(("claim", "seed"), cases)
