"""The command line: `python -m advnets.verify`."""

import dataclasses
import difflib
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from advnets import _options, _progress, _terminal
from advnets._extras import MissingExtraError, needed_for
from advnets._provenance import provenance, version
from advnets.verify import report
from advnets.verify.registry import CLAIMS, Claim, Outcome, run_claim

try:
    with needed_for("the claims", "verify"):
        import jinja2 as jinja2
        import matplotlib as matplotlib
        import tyro
except MissingExtraError as missing:
    print(f"error: {missing}", file=sys.stderr)
    sys.exit(2)

PROGRAM = "python -m advnets.verify"


@dataclasses.dataclass(frozen=True)
class Options:
    """Checks the paper's theory, claim by claim; exit code 1 if a claim fails."""

    only: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME...")] = ()
    """Names of claims or their beginnings, such as thm1 or prop2-rate; by default all."""
    full: bool = False
    """Also run the long claims."""
    sabotage: bool = False
    """Run each claim with its planted faults instead; exit code 1 unless all are caught."""
    out: Path | None = None
    """Folder for claims.json, pictures and report.html."""
    seed: int = 0
    """Seed of everything random."""
    list: bool = False
    """List the claims and exit."""
    version: bool = False
    """Print the versions of advnets and JAX, and the device that JAX uses, and exit."""


def selected(names: tuple[str, ...]) -> set[str]:
    """The claims whose names begin with one of these; ValueError if one matches no claim."""
    chosen: set[str] = set()
    for name in names:
        found = {id for id in CLAIMS if id.startswith(name)}
        if not found:
            near = difflib.get_close_matches(name, CLAIMS, 3, 0.3)
            raise ValueError(
                f"--only {name} matches no claim; --list shows all"
                + (f"; similar: {', '.join(near)}" if near else "")
            )
        chosen |= found
    return chosen if names else set(CLAIMS)


def not_run(claim: Claim, options: Options, chosen: set[str]) -> str:
    """Why a claim is not run; empty if it is to run."""
    if claim.id not in chosen:
        return "not selected by --only"
    named = claim.id in options.only
    return "long: run with --full" if claim.long and not (options.full or named) else ""


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns its exit code."""
    code = 0  # if the reader of the output stops early
    with _terminal.for_readers_who_leave():
        code = _main(sys.argv[1:] if arguments is None else arguments)
    return code


def _main(arguments: Sequence[str]) -> int:
    if _options.asks_for_help(arguments):
        known = list(_options.options(Options))
        example = f"{PROGRAM} --only thm1-range --out claims"
        text = Options.__doc__ or ""
        page = _options.page(known, arguments, prog=PROGRAM, example=example, text=text, groups={})
        print(page)
        return 0
    try:
        options = _options.parsed(Options, arguments, prog=PROGRAM)
        chosen = selected(options.only)
        if options.seed < 0:
            raise ValueError(f"--seed must not be below 0; got {options.seed}")
        if options.sabotage and options.out is not None:
            raise ValueError("--sabotage writes no files; leave out --out")
        if options.out is not None:
            _make_folder(options.out)
    except ValueError as error:
        word = _terminal.styled("error:", "red", "bold", stream=sys.stderr)
        print(f"{word} {error}", file=sys.stderr)
        return 2
    if options.version:
        print(version())
        return 0
    if options.list:
        for claim in CLAIMS.values():
            mark = " (long)" if claim.long else ""
            print(f"{claim.id}{mark}\n    {claim.statement}\n    {claim.source}")
        return 0
    return sabotage(options, chosen) if options.sabotage else check(options, chosen)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise ValueError(f"can't make the folder {folder}: {why}; choose another --out") from None


def _bar(total: int, unit: str) -> Any:
    """A progress bar below the printed lines; disabled unless stderr is a terminal."""
    return _progress.bar(total, "", unit=unit, enabled=_terminal.is_terminal(sys.stderr))


def _styled(line: str, verdict: str) -> str:
    """The line, in red if its verdict is a failure."""
    noticed = verdict in ("fails", "error", "NOT CAUGHT")
    return _terminal.styled(line, "red") if noticed else line


def check(options: Options, chosen: set[str]) -> int:
    """Runs the claims, prints a line for each, and writes the report."""
    origin = provenance()  # before the work: the checkout may change during it
    outcomes = []
    left_out = {claim.id: not_run(claim, options, chosen) for claim in CLAIMS.values()}
    progress = _bar(list(left_out.values()).count(""), "claim")
    for claim in CLAIMS.values():
        why = left_out[claim.id]
        if not why:
            progress.set_description_str(claim.id)
        outcome = Outcome(claim, "not run", why) if why else run_claim(claim, options.seed)
        outcomes.append(outcome)
        progress.update(not why)
        if claim.id in chosen:
            progress.write(_styled(report.line(outcome), outcome.verdict))
    progress.close()
    print(report.summary([outcome for outcome in outcomes if outcome.claim.id in chosen]))
    broken = [outcome for outcome in outcomes if outcome.verdict in ("fails", "error")]
    for outcome in broken:
        print(f"\n{outcome.claim.id}: {outcome.claim.statement}")
        if outcome.verdict == "error":
            print(textwrap.indent(outcome.traceback, "  "), end="")  # it ends with the message
        print(f"  replay: python -m advnets.verify --only {outcome.claim.id} --seed {options.seed}")
        if outcome.finding is not None:
            for name, value in outcome.finding.worst.items():
                digits = np.array2string(np.asarray(value), threshold=64, floatmode="unique")
                print(f"  {name} = {digits}")
    if options.out is not None:
        report.write(options.out, outcomes, {"seed": options.seed, "provenance": origin})
        print(f"claims.json, report.html and the pictures are in {options.out}")
    return 1 if broken else 0


def sabotage(options: Options, chosen: set[str]) -> int:
    """Runs each claim with each of its planted faults, all of which must be caught."""
    planted = [(CLAIMS[id], fault) for id in CLAIMS if id in chosen for fault in CLAIMS[id].faults]
    missed = skipped = 0
    needed: set[str] = set()
    progress = _bar(len(planted), "fault")
    for claim, fault in planted:
        progress.set_description_str(claim.id)
        outcome = run_claim(claim, options.seed, fault)
        verdict: Literal["caught", "NOT CAUGHT", "not run"] = "NOT CAUGHT"
        if outcome.verdict == "fails":
            verdict = "caught"
        elif outcome.verdict == "not run":
            verdict = "not run"
            needed.add(claim.needs)
        missed += verdict == "NOT CAUGHT"
        skipped += verdict == "not run"
        why = f": {outcome.why}" if outcome.why else ""
        progress.update()
        progress.write(_styled(f"{verdict:<11} {claim.id:<28} {fault.description}{why}", verdict))
    progress.close()
    print(f"{len(planted)} planted faults: {len(planted) - missed - skipped} caught", end="")
    print(f", {missed} not caught, {skipped} not run" if missed or skipped else "")
    if needed:
        print(f"missing: {', '.join(sorted(needed))}; pip install 'advnets[verify]' to run them")
    return 1 if missed or skipped else 0


if __name__ == "__main__":
    sys.exit(main())
