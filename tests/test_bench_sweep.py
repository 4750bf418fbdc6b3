"""A sweep from the command line: a row for each learning rate, the choice on validation alone."""

import json

import numpy as np
import pytest

from advnets.bench import seeds, sweeps
from advnets.bench.__main__ import main

SMALL = [
    "digits", "--epochs", "2", "--evaluate-every", "1", "--num-samples", "50",
    "--generator.hidden-sizes", "16", "--discriminator.units", "8",
]  # fmt: skip
SWEEP = ["--learning-rates", "0.05", "0.3", "--seed", "3", "--seeds", "2"]


def content(path):
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "sweep"

    def stop(*_, **__):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seeds, "finish", stop)
        assert main([*SMALL, *SWEEP, "--epochs", "1", "--out", str(folder)]) == 130
    assert main([*SMALL, *SWEEP, "--out", str(folder), "--resume"]) == 0
    return folder


def test_each_run_is_what_it_would_be_alone_with_its_rate(sweep, tmp_path):
    alone = tmp_path / "alone"
    arguments = ["--seed", "4", "--learning-rate", "0.3", "--out", str(alone)]
    assert main([*SMALL, *arguments]) == 0
    own = sweep / "learning-rate-0.3-seed-4"
    assert content(own / "config.json") == content(alone / "config.json")
    logs = [(folder / "metrics.jsonl").read_text().splitlines() for folder in (own, alone)]
    for ours, theirs in zip(*(map(json.loads, log) for log in logs), strict=True):
        for player in ("discriminator", "generator"):
            norms = (row[player]["gradient_norm"] for row in (ours, theirs))
            assert next(norms) == pytest.approx(next(norms), rel=1e-3)
    ours, theirs = content(own / "results.json"), content(alone / "results.json")
    assert ours.keys() == theirs.keys()
    assert ours["recipe"] == theirs["recipe"]


def test_a_row_for_each_rate_is_the_distribution_over_its_seeds(sweep):
    results = content(sweep / "results.json")
    assert results["seeds"] == [3, 4]
    assert "learning_rate" not in results["recipe"]
    assert [row["learning_rate"] for row in results["learning_rates"]] == [0.05, 0.3]
    for row in results["learning_rates"]:
        folders = [f"learning-rate-{row['learning_rate']}-seed-{seed}" for seed in (3, 4)]
        runs = [content(sweep / folder / "results.json") for folder in folders]
        for name, values in (
            ("validation", [run["best"]["parzen"]["validation"]["mean"] for run in runs]),
            ("last", [run["parzen"]["test"]["mean"] for run in runs]),
            ("best", [run["best"]["parzen"]["test"]["mean"] for run in runs]),
        ):
            assert row[name]["values"] == values
            assert row[name]["mean"] == pytest.approx(np.mean(values))
        assert row["diverged"] == []
    likelihoods = [row["validation"]["mean"] for row in results["learning_rates"]]
    best = int(np.argmax(likelihoods))
    assert results["chosen"] == {
        "learning_rate": [0.05, 0.3][best],
        "at_grid_end": ["lowest", "highest"][best],
    }
    assert (sweep / "learning-rates.png").stat().st_size > 0


def test_the_choice_is_by_validation_alone_among_rates_where_no_seed_diverged():
    def row(rate, validation, test, diverged=()):
        mean = {"mean": validation}
        return {
            "learning_rate": rate,
            "diverged": list(diverged),
            "validation": mean,
            "last": {"mean": test},
            "best": {"mean": test},
        }

    rows = [row(0.01, 1.0, 9.0), row(0.1, 3.0, 1.0), row(1.0, 8.0, 9.0, diverged=[2])]
    assert sweeps.choose(rows) == {"learning_rate": 0.1, "at_grid_end": None}
    assert sweeps.choose(rows[1:]) == {"learning_rate": 0.1, "at_grid_end": "lowest"}
    assert sweeps.choose(rows[1:2]) == {"learning_rate": 0.1, "at_grid_end": None}
    assert sweeps.choose(rows[2:]) is None


def test_a_sweep_is_resumed_as_it_began(sweep, capsys):
    for changed, message in (
        (["--seed", "3", "--seeds", "2"], "learning_rates = [0.05, 0.3], not []"),
        ([*SWEEP[:2], *SWEEP[3:]], "learning_rates = [0.05, 0.3], not [0.05]"),
    ):
        assert main([*SMALL, *changed, "--out", str(sweep), "--resume"]) == 2
        assert message in capsys.readouterr().err
    own = ["--seed", "3", "--learning-rate", "0.3"]
    out = ["--out", str(sweep / "learning-rate-0.3-seed-3"), "--resume"]
    assert main([*SMALL, *own, *out]) == 2
    assert "all with --seeds 2 --learning-rates 0.05 0.3 --out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--learning-rates", "0.1", "0.1"], "each learning rate must be given once; got [0.1"),
        (["--learning-rates", "0.1", "0"], "must be above 0 and finite; got 0.0"),
        (["--learning-rates", "0.1", "--learning-rate", "0.2"], "leave out --learning-rate 0.2"),
        (
            ["--learning-rates", "0.1", "--devices", "2"],
            "number of seeds times learning rates must be a multiple of the 2 devices; got 1",
        ),
    ],
)
def test_bad_input_is_refused_before_any_work(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["digits", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
