"""Section 7, item 3: all conditionals by one network."""

from on_claims import test_the_claim_holds as test_the_claim_holds
from on_claims import test_the_planted_fault_is_caught as test_the_planted_fault_is_caught

PREFIXES = ("inpainting-",)
