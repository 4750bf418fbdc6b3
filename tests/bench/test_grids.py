"""Many runs at once: each is what it would be alone, and the whole is their distribution."""

import dataclasses

import jax
import numpy as np
import pytest
from helpers.runs import SMALL, content, result_of, rows_of, untimed

from advnets import bench
from advnets.bench import experiment, grid, results, table1
from advnets.bench.cli import main
from advnets.bench.results import RateRow, SeedsResult, SweepResult, distribution

# With the finished run's seed among them.
SEEDS = ["--seed", "1", "--seeds", "2"]
# With its learning rate among them, and one at which training diverges.
RATES = ["--learning-rates", "0.1", "1e30"]


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    """Two seeds of an adversarial recipe, trained in one program."""
    folder = tmp_path_factory.mktemp("runs") / "seeds"
    assert main([*SMALL, *SEEDS, "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def rates(tmp_path_factory):
    """Two learning rates in one program, stopped when it was trained, resumed and extended."""
    folder = tmp_path_factory.mktemp("runs") / "rates"

    def stop(*_, **__):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.warns(RuntimeWarning, match="1e30-seed-2"):
        patch.setattr(experiment, "finish", stop)
        assert main([*SMALL, *RATES, "--epochs", "2", "--out", str(folder)]) == 130
    assert main([*SMALL, *RATES, "--out", str(folder), "--resume"]) == 0
    return folder


@pytest.mark.parametrize("grid", ["seeds", "rates"])
def test_each_run_leaves_what_it_leaves_alone(grid, finished, request):
    folder = request.getfixturevalue(grid)
    own = folder / {"seeds": "seed-2", "rates": "learning-rate-0.1-seed-2"}[grid]
    names = {path.name for path in finished.iterdir()} - {"checkpoints", "identity.json"}
    assert {path.name for path in own.iterdir()} == names
    assert content(own / "config.json") == content(finished / "config.json")
    ours, theirs = result_of(own), result_of(finished)
    for name in ("benchmark", "seed", "recipe", "epochs", "updates", "references", "order"):
        assert getattr(ours, name) == getattr(theirs, name), name
    # Rounding differs, and training amplifies it.
    assert ours.parzen.test.mean == pytest.approx(theirs.parzen.test.mean, abs=2e-4)
    for row, alone in zip(rows_of(own), rows_of(finished), strict=True):
        assert row["generator"]["cost"] == pytest.approx(alone["generator"]["cost"], rel=1e-3)
        for player in ("discriminator", "generator"):
            norms = (found[player]["gradient_norm"] for found in (row, alone))
            assert next(norms) == pytest.approx(next(norms), rel=1e-3)
    model = bench.load_model(own)
    assert model.sample(jax.random.key(0), 2).shape == (2, 8, 8)


def test_a_rate_at_which_training_diverges_is_reported_and_not_chosen(rates, capsys):
    result = result_of(rates, SweepResult)
    sound, lost = result.learning_rates
    assert (sound.diverged, lost.diverged) == ((), (2,))
    assert (lost.validation, lost.last, lost.best) == (None, None, None)
    assert result.chosen == results.Chosen(0.1, "lowest")
    assert not (rates / "learning-rate-1e30-seed-2" / "results.json").exists()


@pytest.fixture
def many_pixels(pixels, tmp_path):
    """Runs of a benchmark that is fitted in no time, at once."""

    def run(*arguments, code=0):
        folder = tmp_path / "run"
        assert main(["pixels", *arguments, "--out", str(folder)]) == code
        return folder

    return run


def test_the_whole_is_the_distribution_over_seeds(many_pixels, capsys):
    folder = many_pixels("--seed", "3", "--seeds", "3")
    result = result_of(folder, SeedsResult)
    runs = [result_of(folder / f"seed-{seed}") for seed in (3, 4, 5)]
    assert (result.seeds, result.diverged) == ((3, 4, 5), ())
    for found, values in (
        (result.last, [run.parzen.test.mean for run in runs]),
        (result.best, [run.best.parzen.test.mean for run in runs]),
    ):
        assert len(set(values)) == 3
        assert found.mean == pytest.approx(np.mean(values))
        assert found.standard_deviation == pytest.approx(np.std(values, ddof=1))
        assert (found.min, found.max, found.n) == (min(values), max(values), 3)
        assert found.values == tuple(values)
    assert (folder / "seeds.png").stat().st_size > 0
    assert f"mean {result.last.mean:.1f}, standard deviation" in capsys.readouterr().out
    read = table1.read_runs([folder / "seed-3", folder / "seed-4"])
    assert [run.seed for run in read] == [3, 4]


def test_a_row_for_each_rate_is_the_distribution_over_its_seeds(many_pixels, capsys):
    folder = many_pixels("--learning-rates", "0.1", "0.6", "--seed", "3", "--seeds", "2")
    result = result_of(folder, SweepResult)
    assert result.seeds == (3, 4)
    assert "learning_rate" not in result.recipe
    assert [row.learning_rate for row in result.learning_rates] == [0.1, 0.6]
    for row in result.learning_rates:
        folders = [f"learning-rate-{row.learning_rate}-seed-{seed}" for seed in (3, 4)]
        runs = [result_of(folder / name) for name in folders]
        assert [run.recipe["learning_rate"] for run in runs] == [row.learning_rate] * 2
        for found, values in (
            (row.validation, [run.best.parzen.validation.mean for run in runs]),
            (row.last, [run.parzen.test.mean for run in runs]),
            (row.best, [run.best.parzen.test.mean for run in runs]),
        ):
            assert found.values == tuple(values)
            assert found.mean == pytest.approx(np.mean(values))
        assert row.diverged == ()
    means = [row.validation.mean for row in result.learning_rates]
    best = int(np.argmax(means))
    assert result.chosen == results.Chosen([0.1, 0.6][best], ["lowest", "highest"][best])
    assert (folder / "learning-rates.png").stat().st_size > 0
    assert f"chosen by it: {result.chosen.learning_rate}" in capsys.readouterr().out


def test_the_choice_is_by_validation_alone_among_rates_where_no_seed_diverged():
    def row(rate, validation, test, diverged=()):
        tested = distribution([test])
        return RateRow(rate, tuple(diverged), distribution([validation]), tested, tested)

    rows = [row(0.01, 1.0, 9.0), row(0.1, 3.0, 1.0), row(1.0, 8.0, 9.0, diverged=[2])]
    assert grid.choose(rows) == results.Chosen(0.1, None)
    assert grid.choose(rows[1:]) == results.Chosen(0.1, "lowest")
    assert grid.choose(rows[1:2]) == results.Chosen(0.1, None)
    assert grid.choose(rows[2:]) is None


def test_a_seed_that_diverges_is_reported_and_not_counted(many_pixels, capsys):
    with pytest.warns(RuntimeWarning, match="seed-1: training diverged"):
        folder = many_pixels("--seeds", "2", "--diverging-seed", "1")
    assert "diverged, so not counted: seeds 1" in capsys.readouterr().out
    result = result_of(folder, SeedsResult)
    assert (result.diverged, result.last.n) == ((1,), 1)
    assert result.last.standard_deviation is None
    assert not (folder / "seed-1" / "results.json").exists()


def test_runs_of_which_none_is_left_are_a_failure(pixels, tmp_path, capsys):
    arguments = ["--learning-rates", "0.1", "0.2", "--diverging-seed", "0"]
    with pytest.warns(RuntimeWarning, match="learning-rate-0.2-seed-0: training diverged"):
        assert main(["pixels", *arguments, "--out", str(tmp_path / "run")]) == 1
    assert "error: training diverged in each run" in capsys.readouterr().err


def test_python_gives_what_the_command_leaves(pixels, many_pixels, tmp_path):
    folder = many_pixels("--seeds", "2")
    result = bench.run_grid(pixels, seeds=2, out=tmp_path / "python", progress=False)
    assert isinstance(result, SeedsResult)
    assert untimed(result) == untimed(result_of(folder, SeedsResult))
    small = dataclasses.replace(pixels.recipe, epochs=1)
    result = bench.run_grid(
        dataclasses.replace(pixels, recipe=small),
        learning_rates=[0.1, 0.2],
        out=tmp_path / "sweep",
        progress=False,
    )
    assert isinstance(result, SweepResult)
    assert result == result_of(tmp_path / "sweep", SweepResult)


@pytest.mark.parametrize(
    ("began", "changed", "message"),
    [
        (["--seeds", "2"], ["--seeds", "3"], "seeds = 2, not 3"),
        (["--seeds", "2"], ["--seeds", "2", "--seed", "1"], "seed = 0, not 1"),
        (["--seeds", "2"], [], "seeds = 2, not 1"),
        (
            ["--learning-rates", "0.1", "0.3"],
            ["--seeds", "2"],
            "seeds = 1, not 2",
        ),
        (
            ["--learning-rates", "0.1", "0.3"],
            ["--learning-rates", "0.1"],
            "learning_rates = [0.1, 0.3], not [0.1]",
        ),
    ],
)
def test_many_are_resumed_as_they_began(many_pixels, began, changed, message, capsys):
    many_pixels("--epochs", "1", *began)
    many_pixels("--epochs", "1", *changed, "--resume", code=2)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("began", "own", "name", "message"),
    [
        (["--seeds", "2"], ["--seed", "1"], "seed-1", "them all with --seeds 2 --out"),
        (
            ["--learning-rates", "0.1", "0.3"],
            ["--learning-rate", "0.3"],
            "learning-rate-0.3-seed-0",
            "all with --seeds 1 --learning-rates 0.1 0.3 --out",
        ),
    ],
)
def test_one_of_many_is_not_resumed_alone(many_pixels, began, own, name, message, capsys):
    folder = many_pixels("--epochs", "1", *began)
    out = ["--out", str(folder / name), "--resume"]
    assert main(["pixels", "--epochs", "1", *own, *out]) == 2
    assert message in capsys.readouterr().err
