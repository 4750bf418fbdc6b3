"""`--monitor`: the run as it is without, its numbers in the rows, the figure and the report."""

import re
import shlex

import pytest
from helpers.runs import SMALL, rows_of

from advnets.bench.cli import main
from advnets.bench.pages import reading
from advnets.bench.pages.sections.equilibrium import SECTION


@pytest.fixture(scope="module")
def monitored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "monitored"
    assert main([*SMALL, "--monitor", "--out", str(folder)]) == 0
    return folder


def test_the_run_is_what_it_is_without(monitored, finished):
    rows = rows_of(monitored)
    found = [row.pop("monitor", None) for row in rows]
    assert rows == rows_of(finished)
    assert [one is not None for one in found] == [False, True, False, True]
    # Both generators are hardly trained: any D tells them apart, and samples are all alike.
    assert found[-1]["divergence"]["mean"] > 0.6
    assert {"spread", "neighbours"} <= set(found[-1]["alarms"])


def test_the_report_shows_it_and_the_command_has_it(monitored):
    page = (monitored / "report.html").read_text()
    assert '<section id="equilibrium">' in page
    assert re.search(r"Epoch 4: V\(D, G\) is −?\d\.\d+ ± \d\.\d+, and −?\d\.\d+", page)
    assert "Alarm, spread (standard deviation)" in page
    assert (monitored / "monitor.png").read_bytes()[:4] == b"\x89PNG"
    seen = reading.see(monitored)
    assert "--monitor" in shlex.split(reading.command_of(seen))
    panels = SECTION.gather(seen)["panels"]
    assert [panel["marks"] for panel in panels[:3]] == [[4]] * 3
    assert panels[3]["of"] == "step"


def test_a_row_that_is_damaged_is_named_in_the_section(monitored):
    seen = reading.see(monitored)
    seen.rows[-1]["monitor"]["spread"] = None  # a number that was not finite
    assert SECTION.gather(seen)["table"][0]["ratio"] == "–"
    seen.rows[-1]["monitor"]["value"] = "large"
    with pytest.raises(ValueError, match=r"metrics\.jsonl"):
        SECTION.gather(seen)


def test_a_system_without_a_game_has_no_monitor(capsys, tmp_path):
    assert main(["vae", "--monitor", "--out", str(tmp_path / "vae")]) == 2
    assert "vae has no discriminator" in capsys.readouterr().err
    assert not (tmp_path / "vae").exists()
