"""The suite as a whole: every claim has its file here."""

import importlib
import re
from pathlib import Path

from advnets import verify


def test_every_claim_is_tested_by_one_file():
    files = [importlib.import_module(p.stem) for p in Path(__file__).parent.glob("test_*.py")]
    suites = [f for f in files if hasattr(f, "PREFIXES")]
    for suite in suites:
        assert hasattr(suite, "test_the_claim_holds"), suite
        assert hasattr(suite, "test_the_planted_fault_is_caught"), suite
    for id in verify.CLAIMS:
        assert sum(id.startswith(suite.PREFIXES) for suite in suites) == 1, id


def test_there_are_thirty_claims_each_with_a_fault_and_a_source():
    assert len(verify.CLAIMS) >= 30
    for claim in verify.CLAIMS.values():
        assert claim.faults, claim.id
        # From the paper, or from a later one.
        assert re.match(r"Eq|Section|Prop|Theorem|Figure|Table|\w.* \d{4}\b", claim.source), (
            claim.id
        )
