"""Claims: statements of the paper, checked by computations with a residual and a verdict."""

import dataclasses
import importlib.util
import math
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from advnets._extras import PACKAGES

Verdict = Literal["holds", "fails", "error", "not run"]
# Draws a finding on an empty matplotlib figure.
Draw = Callable[[Any], None]
Measured = Mapping[str, bool | int | float | str]
Example = Mapping[str, bool | int | float | str | list | Float[ndarray, "..."]]


@dataclasses.dataclass(frozen=True)
class Finding:
    """The result of computing a claim.

    Attributes:
        residual: how far the statement is from holding, not below 0; NaN counts as failed.
        measured: other figures worth reporting, by name.
        worst: the case with the largest residual, complete enough to replay it by hand.
        draw: draws the finding on an empty matplotlib figure.
    """

    residual: float
    measured: Measured = dataclasses.field(default_factory=dict)
    worst: Example = dataclasses.field(default_factory=dict)
    draw: Draw | None = None


@dataclasses.dataclass(frozen=True)
class Fault:
    """A planted fault: a wrong formula that the claim must catch.

    Attributes:
        description: what is wrong.
        parts: the wrong formulae, by the name of the parameter of the computation they replace.
    """

    description: str
    parts: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Claim:
    """A statement of the paper that is checked by computation.

    Attributes:
        id: short name, such as `thm1-range`.
        statement: what the paper says, in our words.
        source: where the paper says it.
        computes: what is computed, and what it is compared with.
        tolerance: the largest residual with which the claim holds.
        reason: why that tolerance.
        condition: what the statement needs beyond what the paper says, or empty.
        faults: planted faults, each of which must make the claim fail.
        long: whether only a full run includes it.
        needs: an importable module without which the claim is not run, or empty.
        check: the computation: takes a seed, and by keyword the formulae under test.
    """

    id: str
    statement: str
    source: str
    computes: str
    tolerance: float
    reason: str
    condition: str
    faults: tuple[Fault, ...]
    long: bool
    needs: str
    check: Callable[..., Finding]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A claim's verdict.

    Attributes:
        claim: the claim.
        verdict: `holds`, `fails`, `error` (the computation raised) or `not run`.
        why: why it was not run, or the error.
        seed: the seed that it was computed with.
        seconds: how long the computation took.
        finding: the finding, unless there was an error or the claim was not run.
        traceback: the error's traceback.
    """

    claim: Claim
    verdict: Verdict
    why: str = ""
    seed: int = 0
    seconds: float = 0.0
    finding: Finding | None = None
    traceback: str = ""

    @property
    def worded(self) -> str:
        """The verdict in words, with the condition under which the claim holds if it has one."""
        conditional = self.verdict == "holds" and self.claim.condition
        return f"holds under {self.claim.condition}" if conditional else self.verdict


CLAIMS: dict[str, Claim] = {}


def claim(
    id: str,
    *,
    statement: str,
    source: str,
    computes: str,
    tolerance: float,
    reason: str,
    faults: list[Fault],
    condition: str = "",
    long: bool = False,
    needs: str = "",
) -> Callable[[Callable[..., Finding]], Claim]:
    """Registers a computation as a [`Claim`][advnets.verify.registry.Claim] with the name `id`.

    The computation takes a seed and, as keyword parameters with defaults, the formulae that it
    tests. A planted fault replaces some of those.

    Args:
        id: short name; the part before the first hyphen groups the claims of one statement.
        statement: what the paper says, in our words.
        source: where the paper says it.
        computes: what is computed, and what it is compared with.
        tolerance: the largest residual with which the claim holds.
        reason: why that tolerance.
        faults: planted faults, at least one.
        condition: what the statement needs beyond what the paper says.
        long: whether only a full run includes it.
        needs: an importable module without which the claim is not run.

    Returns:
        A decorator that replaces the function by the claim.

    Raises:
        ValueError: if the name is taken, or there is no planted fault.
    """

    def register(check: Callable[..., Finding]) -> Claim:
        if id in CLAIMS:
            raise ValueError(f"there is a claim {id!r} already; choose another name")
        if not faults:
            raise ValueError(f"the claim {id!r} has no planted fault; give it one that it catches")
        registered = Claim(
            id=id,
            statement=statement,
            source=source,
            computes=computes,
            tolerance=tolerance,
            reason=reason,
            condition=condition,
            faults=tuple(faults),
            long=long,
            needs=needs,
            check=check,
        )
        CLAIMS[id] = registered
        return registered

    return register


def worse(here: float | np.floating, worst: float | np.floating) -> bool:
    """Whether a case is the worst so far, NaN being worse than any number.

    Args:
        here: the case's residual.
        worst: the largest residual before it.

    Returns:
        Whether the case replaces the worst one; never if `worst` is NaN.

    Example:
        >>> from advnets.verify.registry import worse
        >>> worse(float("nan"), 1.0), worse(2.0, float("nan"))
        (True, False)
    """
    return not math.isnan(worst) and not here <= worst


def largest(*residuals: float | np.floating) -> float:
    """The largest residual, or NaN if one of them is NaN, which Python's `max` may miss.

    Args:
        residuals: at least one.

    Returns:
        The largest.

    Raises:
        ValueError: if no residual is given.

    Example:
        >>> from advnets.verify.registry import largest
        >>> largest(0.0, 2.0), largest(0.0, float("nan"))
        (2.0, nan)
    """
    return float(np.max(np.asarray(residuals, dtype=np.float64)))


def run_claim(claim: Claim, seed: int = 0, fault: Fault | None = None) -> Outcome:
    """Computes a claim, optionally with a planted fault in place of the formulae that it tests.

    Args:
        claim: the claim.
        seed: seed of everything random in it.
        fault: the planted fault, if any.

    Returns:
        The outcome, which is `error` if the computation raised an exception.

    Example:
        >>> from advnets import verify
        >>> verify.run_claim(verify.CLAIMS["thm1-disjoint"]).verdict
        'holds'
    """
    if claim.needs and importlib.util.find_spec(claim.needs) is None:
        package = PACKAGES.get(claim.needs, claim.needs)
        return Outcome(claim, "not run", why=f"{package} is not installed")
    start = time.perf_counter()
    try:
        finding = claim.check(seed, **(fault.parts if fault else {}))
    except Exception as error:  # an error in one claim must not hide the others
        seconds = time.perf_counter() - start
        why, trace = f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error))
        return Outcome(claim, "error", why, seed, seconds, traceback=trace)
    seconds = time.perf_counter() - start
    # A NaN residual (from infinity minus infinity, say) proves nothing.
    holds = not math.isnan(finding.residual) and finding.residual <= claim.tolerance
    return Outcome(claim, "holds" if holds else "fails", "", seed, seconds, finding)
