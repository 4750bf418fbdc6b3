"""`--monitor`: the run as it is without, its numbers in the rows, the figure and the report."""

import dataclasses
import re
import shlex

import jax
import jax.numpy as jnp
import pytest
from helpers.runs import rows_of

from advnets import monitor
from advnets.bench import experiment, pages
from advnets.bench.catalogue import BENCHMARKS, system_of
from advnets.bench.cli import main
from advnets.bench.experiment import Request, prepare
from advnets.bench.pages import reading
from advnets.bench.pages.sections.equilibrium import SECTION
from advnets.bench.systems.games import stage_keys
from advnets.bench.watching import Watch


def canned(key, players, data, held_out, *, noise_scale, **settings):
    """What tests/monitor has computed for other players; here it would take long to compile."""
    about = [monitor.Estimate(-1.0 + n / 4 - noise_scale / 2, 0.01) for n in range(5)]
    return monitor.BestResponse(*about, 25, (-1.0, -0.5), 25, (1.0, 0.0), players.discriminator)


@pytest.fixture(scope="module")
def monitored(finished, tmp_path_factory):
    """The folder of the finished run's settings with a monitor, trained and drawn, not scored."""
    folder = tmp_path_factory.mktemp("runs") / "monitored"
    config = reading.see(finished).config
    benchmark = dataclasses.replace(BENCHMARKS["digits"], recipe=system_of(config).settings)
    grid = prepare(benchmark, Request(seed=config.seed, out=folder, monitor=True))
    (run,) = grid.runs
    key = run.system.sample_key(run.seed)
    watch = Watch(run.system.settings, run.data, folder, key, measures=False)
    with grid.locks, run.system.context(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(monitor.callback, "best_response", canned)
        fitted = run.system.fit(run, watch, progress=False)
    experiment._draw(run, watch, fitted)
    pages.write_report(folder, explores=False)
    return folder


@pytest.mark.long
def test_the_run_is_what_it_is_without(monitored, finished):
    rows = rows_of(monitored)
    found = [row.pop("monitor", None) for row in rows]
    assert rows == [{name: row[name] for name in rows[0]} for row in rows_of(finished)]
    assert [one is not None for one in found] == [False, True, False, True]
    assert found[-1]["noise"] == [
        {"scale": 0.27, "divergence": {"mean": -0.385, "standard_error": 0.01}}
    ]
    # Both players are hardly trained.
    assert {"spread", "neighbours"} <= set(found[-1]["alarms"])


@pytest.mark.long
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


@pytest.mark.long
def test_a_row_that_is_damaged_is_named_in_the_section(monitored):
    seen = reading.see(monitored)
    seen.rows[-1]["monitor"]["spread"] = None  # a number that was not finite
    assert SECTION.gather(seen)["table"][0]["ratio"] == "–"
    seen.rows[-1]["monitor"]["value"] = "large"
    with pytest.raises(ValueError, match=r"metrics\.jsonl"):
        SECTION.gather(seen)


def test_a_system_without_a_game_has_no_monitor(capsys, tmp_path):
    assert main(["vae", "--monitor", "--out", str(tmp_path / "vae")]) == 2
    assert "vae is not a game that can be monitored" in capsys.readouterr().err
    assert not (tmp_path / "vae").exists()


def test_many_seeds_have_the_monitors_of_their_own_runs(tmp_path):
    seeds = prepare(BENCHMARKS["digits"], Request(seeds=2, out=tmp_path / "a", monitor=True))
    alone = prepare(BENCHMARKS["digits"], Request(seed=1, out=tmp_path / "b", monitor=True))
    with seeds.locks, alone.locks:
        keys = [stage_keys(run.seed, second=False)[1] for run in seeds.runs]
        (together, own) = (
            run.system.monitors(run, key, progress=False)[0]
            for run, key in ((seeds.runs[0], jnp.stack(keys)), (alone.runs[0], keys[1]))
        )
    of_own, of_both = (jax.random.key_data(one._key).tolist() for one in (own, together))
    assert of_both[1] == of_own
    assert of_own != jax.random.key_data(keys[1]).tolist()
    assert own._noise_scales == together._noise_scales == (0.27,)
