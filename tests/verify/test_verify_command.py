"""The registry and `python -m advnets.verify`: verdicts, exit codes, files, refusals."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from advnets import _style, verify
from advnets.verify import registry, report
from advnets.verify.__main__ import main
from advnets.verify.claims import figure_1

BROKEN = "of something that takes more than the sixty characters which a line of the table has"
QUARTERS = np.array([0.25, 0.75])


def make_claim(residual=0.0, tolerance=1.0, fault=5.0, worst=QUARTERS, **more):
    """A claim outside the registry, and what its planted fault does to it."""

    def check(seed, *, value=residual):
        if value is None:
            raise ZeroDivisionError(BROKEN)
        return registry.Finding(value, {"n": 3}, {"p": worst})

    texts = dict.fromkeys(("statement", "source", "computes", "reason"), "text | with <marks>")
    fields = {"condition": "", "long": False, "needs": "", "tolerance": tolerance} | texts | more
    return registry.Claim(
        id="made-up", faults=(registry.Fault("wrong", {"value": fault}),), check=check, **fields
    )


@pytest.fixture
def only(monkeypatch):
    """Replaces the registry by some claims."""

    def replace(*claims):
        monkeypatch.setattr("advnets.verify.__main__.CLAIMS", {claim.id: claim for claim in claims})

    return replace


def test_every_claim_has_faults_and_texts():
    assert len(verify.CLAIMS) >= 30
    for claim in verify.CLAIMS.values():
        assert claim.faults
        assert all((claim.statement, claim.source, claim.computes, claim.reason))
        assert claim.tolerance >= 0


@pytest.mark.parametrize(
    ("residual", "verdict"), [(1.0, "holds"), (1.1, "fails"), (np.nan, "fails"), (np.inf, "fails")]
)
def test_verdicts(residual, verdict):
    assert verify.run_claim(make_claim(residual)).verdict == verdict


def test_a_condition_is_part_of_the_verdict():
    assert verify.run_claim(make_claim(condition="p > 0")).worded == "holds under p > 0"
    assert verify.run_claim(make_claim(2.0, condition="p > 0")).worded == "fails"


def test_a_broken_computation_is_an_error_and_not_a_catch(only, capsys):
    outcome = verify.run_claim(make_claim(residual=None))
    assert outcome.verdict == "error"
    only(make_claim(fault=None))
    assert main(["--sabotage"]) == 1
    assert "NOT CAUGHT" in capsys.readouterr().out


def test_a_broken_computation_says_where_and_why(only, capsys):
    only(make_claim(residual=None))
    assert main([]) == 1
    stdout = capsys.readouterr().out
    assert f"ZeroDivisionError: {BROKEN}" in stdout
    assert "in check" in stdout


def test_a_counterexample_has_all_its_digits(only, capsys):
    thirds = np.array([1 / 3, 2 / 3])
    only(make_claim(residual=2.0, worst=thirds))
    main([])
    assert "p = [0.3333333333333333 0.6666666666666666]" in capsys.readouterr().out


def test_a_missing_module_is_a_reason(only, capsys):
    outcome = verify.run_claim(make_claim(needs="no_such_module"))
    assert (outcome.verdict, "no_such_module" in outcome.why) == ("not run", True)
    only(make_claim(needs="no_such_module"))
    assert main([]) == 0
    # A fault that was not run was not caught.
    assert main(["--sabotage"]) == 1
    stdout = capsys.readouterr().out
    assert "1 not run" in stdout
    assert "missing: no_such_module; pip install" in stdout


def test_the_registry_refuses():
    texts = dict.fromkeys(("statement", "source", "computes", "reason"), "")
    taken = registry.claim("thm1-range", tolerance=0, faults=[registry.Fault("", {})], **texts)
    with pytest.raises(ValueError, match="thm1-range"):
        taken(registry.Finding)
    faultless = registry.claim("new", tolerance=0, faults=[], **texts)
    with pytest.raises(ValueError, match="no planted fault"):
        faultless(registry.Finding)


@pytest.mark.long
def test_files_of_a_run(tmp_path, capsys):
    out = tmp_path / "claims"
    assert main(["--only", "thm1-range", "prop1-boundary", "--out", str(out), "--seed", "2"]) == 0
    document = json.loads((out / "claims.json").read_text())
    assert document["seed"] == 2
    rows = {row["id"]: row for row in document["claims"]}
    assert list(rows) == list(verify.CLAIMS)
    assert rows["thm1-range"]["verdict"] == "holds"
    assert rows["thm1-range"]["residual"] <= 1e-14
    assert rows["prop2-rate"]["verdict"] == "not run"
    assert rows["prop2-rate"]["why"] == "not selected by --only"
    assert (out / "thm1-range.png").read_bytes().startswith(b"\x89PNG")
    page = (out / "report.html").read_text()
    assert "data:image/png;base64," in page
    assert page.count("<section") == len(verify.CLAIMS)
    assert "2 claims: 2 hold" in capsys.readouterr().out


def test_a_failed_claim(only, tmp_path, capsys):
    only(make_claim(residual=2.0))
    assert main(["--out", str(tmp_path / "claims")]) == 1
    stdout = capsys.readouterr().out
    assert "--only made-up --seed 0" in stdout
    assert "p = [0.25 0.75]" in stdout
    (row,) = json.loads((tmp_path / "claims" / "claims.json").read_text())["claims"]
    assert row["counterexample"] == {"p": [0.25, 0.75]}
    assert "text | with &lt;marks&gt;" in (tmp_path / "claims" / "report.html").read_text()


def test_long_claims_wait_for_full_or_their_name(only, capsys):
    only(make_claim(long=True))
    main([])
    assert "run with --full" in capsys.readouterr().out
    main(["--full"])
    assert "1 holds" in capsys.readouterr().out
    main(["--only", "made-up"])
    assert "1 holds" in capsys.readouterr().out


def test_sabotage(only, capsys):
    only(make_claim())
    assert main(["--sabotage"]) == 0
    assert "1 planted faults: 1 caught" in capsys.readouterr().out
    only(make_claim(fault=0.5))
    assert main(["--sabotage"]) == 1


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--only", "thm9"], "thm9"),
        (["--seed", "-1"], "-1"),
        (["--sabotage", "--out", "x"], "--out"),
    ],
)
def test_refusals(arguments, named, capsys):
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert named in line


def test_an_out_that_is_a_file_is_refused(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["--out", str(tmp_path / "file")]) == 2
    assert "/file: File exists; choose another --out" in capsys.readouterr().err


def test_list(capsys):
    assert main(["--list"]) == 0
    assert "thm1-range" in capsys.readouterr().out


def test_the_table_has_every_claim():
    assert all(f"`{id}`" in report.markdown_table() for id in verify.CLAIMS)


def test_figure_1_has_no_ticks_below_zero():
    masses, z = np.full(400, 1 / 400), np.linspace(-1, 1, 3)
    moment = figure_1._Moment(masses, np.zeros(400), z, z)
    with _style.drawing(7, 4.5) as figure:
        figure_1._draw(masses, dict.fromkeys("abcd", moment), figure)
        figure.draw_without_rendering()
    for panel in figure.axes:
        assert min(panel.get_yticks()) == 0
        assert panel.spines["left"].get_bounds() == (0, 1)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["data", "generator", "D"]
    panels = [panel.get_window_extent().shrunk(0.99, 0.99) for panel in figure.axes]
    assert not any(legend.get_window_extent().overlaps(panel) for panel in panels)


def test_no_claim_draws_a_legend_over_its_data():
    """They all leave it to the style, which puts it beside the panels."""
    folder = Path(figure_1.__file__).parent
    assert not [
        p.name for p in folder.glob("*.py") if re.search(r"(?<!_style)\.legend\(", p.read_text())
    ]
