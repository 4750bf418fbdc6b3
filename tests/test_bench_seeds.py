"""Many seeds from the command line: each folder is a run's, and the whole is their distribution."""

import json

import jax
import numpy as np
import pytest

import advnets
from advnets import bench, training
from advnets.bench import seeds, table1
from advnets.bench.__main__ import main

SMALL = [
    "digits", "--epochs", "2", "--evaluate-every", "1", "--num-samples", "100",
    "--generator.hidden-sizes", "16", "--discriminator.units", "8",
]  # fmt: skip
SEEDS = ["--seed", "3", "--seeds", "2"]


def content(path):
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "together"
    assert main([*SMALL, *SEEDS, "--epochs", "1", "--out", str(folder)]) == 0
    assert main([*SMALL, *SEEDS, "--out", str(folder), "--resume"]) == 0
    return folder


def test_each_seed_leaves_what_a_run_alone_leaves(together, tmp_path):
    alone = tmp_path / "alone"
    assert main([*SMALL, "--seed", "4", "--out", str(alone)]) == 0
    own = together / "seed-4"
    names = {path.name for path in alone.iterdir()} - {"checkpoints"}
    assert {path.name for path in own.iterdir()} == names
    assert content(own / "config.json") == content(alone / "config.json")
    ours, theirs = content(own / "results.json"), content(alone / "results.json")
    assert ours.keys() == theirs.keys()
    for name in ("benchmark", "seed", "recipe", "epochs", "updates", "references"):
        assert ours[name] == theirs[name], name
    # Rounding differs, and training amplifies it.
    expected = pytest.approx(theirs["parzen"]["test"]["mean"], abs=2e-4)
    assert ours["parzen"]["test"]["mean"] == expected
    logs = [(folder / "metrics.jsonl").read_text().splitlines() for folder in (own, alone)]
    for ours, theirs in zip(*(map(json.loads, log) for log in logs), strict=True):
        assert ours["generator"]["cost"] == pytest.approx(theirs["generator"]["cost"], rel=1e-3)
    generator, prior = bench.load_generator(own)
    assert advnets.sample(jax.random.key(0), generator, 2, prior=prior).shape == (2, 8, 8)


def test_the_whole_is_the_distribution_over_seeds(together, capsys):
    results = content(together / "results.json")
    runs = [content(together / f"seed-{seed}" / "results.json") for seed in (3, 4)]
    assert (results["seeds"], results["diverged"]) == ([3, 4], [])
    for name, values in (
        ("last", [run["parzen"]["test"]["mean"] for run in runs]),
        ("best", [run["best"]["parzen"]["test"]["mean"] for run in runs]),
    ):
        assert results[name] == {
            "mean": pytest.approx(sum(values) / 2),
            "standard_deviation": pytest.approx(abs(values[0] - values[1]) / np.sqrt(2)),
            "min": min(values),
            "max": max(values),
            "n": 2,
            "values": values,
        }
    assert (together / "seeds.png").stat().st_size > 0
    read = table1.read_runs([together / "seed-3", together / "seed-4"])
    assert [run["seed"] for run in read] == [3, 4]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digits", "--seeds", "0"], "the number of seeds must be at least 1; got 0"),
        (["digits", "--seeds", "2", "--seed", "4294967295"], "below 2**32; got 4294967295 to"),
        (["tfd", "--seeds", "2", "--data-dir", "/nonexistent"], "tfd has two stages"),
        (["digits", "--seeds", "2", "--first-stage", "x"], "leave out --first-stage x"),
        (["digits", "--seeds", "2", "--shard-layers"], "leave out --shard-layers"),
        (["digits", "--seeds", "2", "--resume"], "no run to resume in"),
    ],
)
def test_bad_input_is_refused_before_any_work(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_seeds_are_resumed_together_as_they_began(together, capsys):
    for changed, message in (
        (["--seed", "3", "--seeds", "3"], "seeds = 2, not 3"),
        (["--seed", "2", "--seeds", "2"], "seed = 3, not 2"),
        (["--seed", "3"], "seeds = 2, not 1"),
    ):
        assert main([*SMALL, *changed, "--out", str(together), "--resume"]) == 2
        assert message in capsys.readouterr().err
    assert main([*SMALL, "--seed", "3", "--out", str(together / "seed-3"), "--resume"]) == 2
    assert "resume them all with --seeds 2 --out" in capsys.readouterr().err


def test_a_seed_that_diverges_is_reported_and_not_counted(together, tmp_path, capsys, monkeypatch):
    finite = training._finite

    def second_diverges(info, start, norms_every):
        return finite(info, start, norms_every) & np.array([True, False])

    monkeypatch.setattr(training, "_finite", second_diverges)
    finished = content(together / "seed-3" / "results.json")
    monkeypatch.setattr(seeds, "finish", lambda *_, **__: finished)
    with pytest.warns(RuntimeWarning, match="training of seed-1 diverged"):
        assert main([*SMALL, "--seeds", "2", "--out", str(tmp_path / "run")]) == 0
    assert "diverged, so not counted: seeds 1" in capsys.readouterr().out
    results = content(tmp_path / "run" / "results.json")
    assert (results["diverged"], results["last"]["n"]) == ([1], 1)
    assert results["last"]["standard_deviation"] is None
    assert not (tmp_path / "run" / "seed-1" / "results.json").exists()
