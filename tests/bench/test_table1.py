"""Table 1: a row for each setting that was run, from recorded runs and from folders."""

import dataclasses
import importlib.resources
import json

import matplotlib.image
import msgspec
import numpy as np
import pytest

from advnets import bench
from advnets.bench import results, table1
from advnets.bench.catalogue import BENCHMARKS
from advnets.bench.cli import main
from advnets.bench.recorded import recorded
from advnets.bench.results import Entry, LogLikelihood


def entry(seed, mean, *, lossy=False, **recipe):
    """The part of a run's result that the table shows."""
    base = results.as_json(bench.BENCHMARKS["mnist"].recipe)
    return Entry(
        benchmark="mnist",
        seed=seed,
        recipe=base | recipe,
        parzen=results.TestScore(LogLikelihood(mean, 2.0, 10)),
        data="made up" + ", lossy copy" * lossy,
    )


def test_there_is_a_row_for_each_setting_with_its_seeds():
    runs = [entry(0, 100.0), entry(1, 110.0), entry(0, 90.0, order="alternating")]
    runs += [entry(0, 50.0, batch_size=50), entry(1, 111.0)]
    runs += [entry(0, 1.0, dataset="imagefolder"), entry(2, 7.0, lossy=True)]
    runs += [
        msgspec.structs.replace(entry(3, 5.0), benchmark="digits")
    ]  # on other data than its own
    runs += [entry(1, 92.0, order="alternating", evaluate_every=5)]
    table = {row.label: row.cells["mnist"] for row in table1.rows(runs) if row.group == "here"}
    both = table["adversarial nets (advnets, simultaneous, 250 epochs)"]
    assert (both.mean, both.seeds, both.scores) == (105.5, 2, (100.0, 111.0))
    assert both.spread == pytest.approx(np.std([100, 111], ddof=1))
    assert table["adversarial nets (advnets, alternating, 250 epochs)"].scores == (90.0, 92.0)
    assert table["adversarial nets (advnets, simultaneous, 250 epochs, lossy data)"].spread is None
    assert (
        table["adversarial nets (advnets, simultaneous, 250 epochs, batch_size = 50)"].mean == 50.0
    )
    assert len(table) == 4
    earlier = entry(2, 95.0, order="alternating")
    del earlier.recipe["average"]  # as a run has it from before there was that setting
    (row,) = [row for row in table1.rows([*runs, earlier]) if "alternating" in row.label]
    assert row.cells["mnist"].scores == (90.0, 92.0, 95.0)
    text = table1.markdown(table1.rows(runs))
    assert "105.5 ± 2 (2 seeds, spread 7.8)" in text
    assert "| adversarial nets (advnets) | – | needs TFD_48x48.mat, which is not public |" in text


def chained(seed, mean, *others):
    """A run whose samples are drawn by chains, and its scores by two other protocols."""

    def by(num_chains, score):
        score = results.Score(9, 0.2, None, LogLikelihood(0, 1, 9), LogLikelihood(score, 2.0, 10))
        return {"protocol": {"num_chains": num_chains}, "score": score}

    found = {
        "protocol": {"num_chains": 100, "burn_in": 7, "thin": 2},
        "autocorrelation_time": 3.0,
        "effective_samples": 5.0,
        "of_samples": 9,
        "trusted": True,
        "distinct_classes": {},
        "others": [by(n, score) for n, score in zip((1, 10_000), others, strict=True)],
    }
    one = entry(seed, mean, num_chains=100, burn_in=7, thin=2)
    del one.recipe["order"]
    return msgspec.structs.replace(one, evaluations={"chains": results.as_json(found)})


def test_a_row_of_chains_states_its_protocol_and_is_shown_by_two_others():
    runs = [chained(0, 100.0, 40.0, 160.0), chained(1, 104.0, 44.0, 164.0)]
    table = {row.label: row.cells["mnist"] for row in table1.rows(runs) if row.group == "here"}
    start = "mnist (advnets, 250 epochs, by"
    assert {label: cell.scores for label, cell in table.items()} == {
        f"{start} 100 chains, burn-in 7, every 2nd step, mean pixels)": (100.0, 104.0),
        f"{start} 1 chain, burn-in 0, consecutive, mean pixels)": (40.0, 44.0),
        f"{start} 10,000 chains, burn-in 0, consecutive, mean pixels)": (160.0, 164.0),
    }


def test_a_row_names_a_setting_within_a_player():
    nested = entry(0, 8.0)
    nested.recipe["generator"]["hidden_sizes"] = [600, 600]
    assert table1.rows([nested])[-1].label == (
        "adversarial nets (advnets, simultaneous, 250 epochs, generator.hidden_sizes = [600, 600])"
    )


def test_the_table_of_the_package_alone(tmp_path, capsys):
    assert main(["table1", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "| Adversarial nets | 225 ± 2 | 2057 ± 26 |" in printed
    assert (tmp_path / "table1.md").read_text() == printed
    assert json.loads((tmp_path / "table1.json").read_text())[0]["label"] == "DBN"
    for picture in ("mnist.png", "tfd.png", "mnist-seeds.png"):
        assert matplotlib.image.imread(tmp_path / picture).std() > 0


def test_recorded_runs_say_where_they_come_from():
    folder = importlib.resources.files("advnets.bench.recorded")
    files = [file for file in folder.iterdir() if file.name.endswith(".json")]
    assert len(files) == len(recorded()) > 5
    for file in files:
        content = json.loads(file.read_text())
        assert set(content["provenance"]) >= {"command", "commit", "versions", "device", "date"}
        assert content["data"]
        if "benchmark" in content:
            known = bench.BENCHMARKS[content["benchmark"]].recipe
            fields = {field.name for field in dataclasses.fields(known)}
            since = {"update_rule", "average", "average_share", "final_rate"}
            since |= {"penalty", "penalty_every"}
            assert fields - set(content["recipe"]) <= since
            assert set(content["recipe"]) <= fields


def test_what_has_no_column_is_left_out_and_named(finished, tmp_path, capsys):
    # As if the small run of the digits had been one of TFD.
    faces = tmp_path / "faces"
    faces.mkdir()
    content = json.loads((finished / "results.json").read_text())
    content = content | {"benchmark": "tfd", "recipe": content["recipe"] | {"dataset": "tfd"}}
    results.write(faces / "results.json", content)
    arguments = ["table1", "--runs", str(finished), str(faces), "--out", str(tmp_path / "t")]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert "no column for their data: digits" in captured.err
    assert "| adversarial nets (advnets, simultaneous, 4 epochs" in captured.out
    assert f"| – | {content['parzen']['test']['mean']:.1f} ±" in captured.out


def test_what_the_list_says_is_measured_is_what_is_recorded():
    for one in recorded():
        if (
            isinstance(one, Entry)
            and one.benchmark != "digits"
            and one.recipe.get("order") == "simultaneous"
        ):
            score = f"{one.parzen.test.mean:.1f} ± {one.parzen.test.standard_error:.1f} nats"
            assert score in BENCHMARKS[one.benchmark].expected
