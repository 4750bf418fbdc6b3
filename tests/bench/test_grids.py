"""Many runs at once: each is what it would be alone, and the whole is their distribution."""

import contextlib
import dataclasses
import io

import equinox as eqx
import jax
import numpy as np
import pytest
from helpers.runs import SWEPT, content, result_of, rows_of

from advnets import bench
from advnets.bench import experiment, folders, grid, report, results, table1
from advnets.bench.cli import main
from advnets.bench.pages import players, reading
from advnets.bench.results import RateRow, SeedsResult, SweepResult, distribution

# With its learning rate among them, and one at which training diverges.
RATES = ["--learning-rates", "0.1", "1e30"]


@pytest.fixture(scope="module")
def rates(tmp_path_factory):
    """Two learning rates in one program, stopped when it was trained, resumed and extended."""
    folder = tmp_path_factory.mktemp("runs") / "rates"

    def stop(*_, **__):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "finish", stop)
        with contextlib.redirect_stderr(io.StringIO()) as stderr:
            code = main([*SWEPT, *RATES, "--epochs", "2", "--out", str(folder)])
        assert code == 130
        assert "warning: training of learning-rate-1e+30-seed-2 diverged" in stderr.getvalue()
    assert main([*SWEPT, *RATES, "--out", str(folder), "--resume"]) == 0
    return folder


@pytest.mark.long
def test_each_run_leaves_what_it_leaves_alone(rates, finished):
    own = rates / "learning-rate-0.1-seed-2"
    names = {path.name for path in finished.iterdir()} - {"checkpoints", ".running.lock"}
    assert {path.name for path in own.iterdir()} == names
    assert content(own / "config.json") == content(finished / "config.json")
    ours, theirs = result_of(own), result_of(finished)
    for name in ("benchmark", "seed", "recipe", "epochs", "updates", "order"):
        assert getattr(ours, name) == getattr(theirs, name), name
    real = ours.references.training_images.mean
    assert real == pytest.approx(theirs.references.training_images.mean, rel=1e-5)
    # Rounding differs, and training amplifies it.
    assert ours.parzen.test.mean == pytest.approx(theirs.parzen.test.mean, abs=2e-4)
    for row, alone in zip(rows_of(own), rows_of(finished), strict=True):
        assert row["generator"]["cost"] == pytest.approx(alone["generator"]["cost"], rel=1e-3)
        for player in ("discriminator", "generator"):
            norms = (found[player]["gradient_norm"] for found in (row, alone))
            assert next(norms) == pytest.approx(next(norms), rel=1e-3)
    model = bench.load_model(own)
    assert model.sample(jax.random.key(0), 2).shape == (2, 8, 8)


@pytest.mark.long
def test_a_rate_at_which_training_diverges_is_reported_and_not_chosen(rates):
    result = result_of(rates, SweepResult)
    sound, lost = result.learning_rates
    assert (sound.diverged, lost.diverged) == ((), (2,))
    assert (lost.validation, lost.last, lost.best) == (None, None, None)
    assert result.chosen == results.Chosen(0.1, "lowest")
    name = "learning-rate-1e+30-seed-2"
    assert not (rates / name / "results.json").exists()
    page = (rates / "report.html").read_text()
    assert f'<a href="{name}/report.html">{name}: Diverged after 0 epochs.</a>' in page
    assert "Chosen on validation: 0.1, the lowest given" in page
    assert "1 of 2 runs are done" in page


@pytest.mark.long
def test_the_players_of_each_run_are_found_in_the_common_checkpoint(rates):
    sound, lost = reading.runs_in(rates)

    def found(own, finished):
        config = folders.read_config(own)
        return players.players(own, config, bench.catalogue.system_of(config), finished=finished)

    done, going_on = (found(sound, finished) for finished in (True, False))
    same = jax.tree.map(lambda x, y: bool((x == y).all()), *_arrays(done, going_on))
    assert all(jax.tree.leaves(same))
    discriminators = (done.discriminator, found(lost, False).discriminator)
    one, other = (jax.tree.leaves(eqx.filter(d, eqx.is_array))[0] for d in discriminators)
    assert not (one == other).all()


def _arrays(*found):
    return [eqx.filter(one.model, eqx.is_array) for one in found]


@pytest.fixture(scope="module")
def pixel_seeds(pixels, tmp_path_factory):
    """Three seeds of a system that is fitted in no time."""
    folder = tmp_path_factory.mktemp("runs") / "pixel-seeds"
    assert main(["pixels", "--seed", "3", "--seeds", "3", "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def pixel_rates(pixels, tmp_path_factory):
    """Two seeds at two learning rates of that system."""
    folder = tmp_path_factory.mktemp("runs") / "pixel-rates"
    arguments = ["--learning-rates", "0.1", "0.6", "--seed", "3", "--seeds", "2"]
    assert main(["pixels", *arguments, "--out", str(folder)]) == 0
    return folder


@pytest.mark.long
def test_the_whole_is_the_distribution_over_seeds(pixel_seeds):
    result = result_of(pixel_seeds, SeedsResult)
    runs = [result_of(pixel_seeds / f"seed-{seed}") for seed in (3, 4, 5)]
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
    assert (pixel_seeds / "seeds.png").stat().st_size > 0
    assert f"mean {result.last.mean:.1f}, standard deviation" in report.of(result, pixel_seeds)
    page = (pixel_seeds / "report.html").read_text()
    assert "Distribution over seeds" in page
    assert all(f'href="seed-{seed}/report.html"' in page for seed in (3, 4, 5))
    own = (pixel_seeds / "seed-4" / "report.html").read_text()
    assert f"python -m advnets.bench explore {pixel_seeds / 'seed-4'}" in own
    with pytest.raises(ValueError, match="holds 3 runs; name the folder of one"):
        bench.write_explorer(pixel_seeds)
    read = table1.read_runs([pixel_seeds / "seed-3", pixel_seeds / "seed-4"])
    assert [run.seed for run in read] == [3, 4]
    assert [run.seed for run in table1.read_runs([pixel_seeds])] == [3, 4, 5]


def test_commands_on_one_run_name_those_in_a_common_folder(pixel_seeds, capsys):
    for command in (["parzen", "--num-samples", "9"], ["inference"], ["features"], ["table2"]):
        assert main([command[0], str(pixel_seeds), *command[1:]]) == 2
        one = f"{pixel_seeds} holds 3 runs; name the folder of one, such as {pixel_seeds}/seed-3"
        assert one in capsys.readouterr().err


@pytest.mark.long
def test_a_row_for_each_rate_is_the_distribution_over_its_seeds(pixel_rates):
    result = result_of(pixel_rates, SweepResult)
    assert result.seeds == (3, 4)
    assert "learning_rate" not in result.recipe
    assert [row.learning_rate for row in result.learning_rates] == [0.1, 0.6]
    for row in result.learning_rates:
        folders = [f"learning-rate-{row.learning_rate}-seed-{seed}" for seed in (3, 4)]
        runs = [result_of(pixel_rates / name) for name in folders]
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
    assert (pixel_rates / "learning-rates.png").stat().st_size > 0
    assert f"chosen on validation: {result.chosen.learning_rate}" in report.of(result, pixel_rates)


def test_the_choice_is_by_validation_alone_among_rates_where_no_seed_diverged():
    def row(rate, validation, test, diverged=()):
        tested = distribution([test])
        return RateRow(rate, tuple(diverged), distribution([validation]), tested, tested)

    rows = [row(0.01, 1.0, 9.0), row(0.1, 3.0, 1.0), row(1.0, 8.0, 9.0, diverged=[2])]
    assert grid.choose(rows) == results.Chosen(0.1, None)
    assert grid.choose(rows[1:]) == results.Chosen(0.1, "lowest")
    assert grid.choose(rows[1:2]) == results.Chosen(0.1, None)
    assert grid.choose(rows[2:]) is None


@pytest.mark.long
def test_a_seed_that_diverges_is_reported_and_not_counted(pixels, tmp_path, capsys):
    folder = tmp_path / "run"
    arguments = ["--epochs", "1", "--seeds", "2", "--diverging-seed", "1", "--out", str(folder)]
    assert main(["pixels", *arguments]) == 0
    captured = capsys.readouterr()
    assert "warning: seed-1: training diverged" in captured.err
    assert "diverged, so not counted: seeds 1" in captured.out
    result = result_of(folder, SeedsResult)
    assert (result.diverged, result.last.n) == ((1,), 1)
    assert result.last.standard_deviation is None
    assert not (folder / "seed-1" / "results.json").exists()


def test_runs_of_which_none_is_left_are_a_failure(pixels, tmp_path, capsys):
    arguments = ["--learning-rates", "0.1", "0.2", "--diverging-seed", "0"]
    assert main(["pixels", *arguments, "--out", str(tmp_path / "run")]) == 1
    stderr = capsys.readouterr().err
    assert "seed-0: training diverged" in stderr
    assert "error: training diverged in each run" in stderr


def test_python_gives_what_the_folder_holds(pixels, tmp_path):
    short = dataclasses.replace(pixels, recipe=dataclasses.replace(pixels.recipe, epochs=1))
    for name, kind, settings in (
        ("seeds", SeedsResult, {"seeds": 1, "seed": 7}),
        ("rates", SweepResult, {"learning_rates": [0.1]}),
    ):
        result = bench.run_grid(short, out=tmp_path / name, progress=False, **settings)
        assert isinstance(result, kind)
        assert result == result_of(tmp_path / name, kind)


@pytest.mark.long
@pytest.mark.parametrize(
    ("began", "arguments", "message"),
    [
        ("pixel_seeds", ["--seed", "3", "--seeds", "2"], "seeds = 3, not 2"),
        ("pixel_seeds", ["--seed", "2", "--seeds", "3"], "seed = 3, not 2"),
        ("pixel_seeds", ["--seed", "3"], "seeds = 3, not 1"),
        ("pixel_rates", ["--seed", "3", "--seeds", "2"], "learning_rates = [0.1, 0.6], not []"),
        (
            "pixel_rates",
            ["--seed", "3", "--seeds", "2", "--learning-rates", "0.1"],
            "learning_rates = [0.1, 0.6], not [0.1]",
        ),
    ],
)
def test_many_are_resumed_as_they_began(began, arguments, message, request, capsys):
    folder = request.getfixturevalue(began)
    assert main(["pixels", *arguments, "--out", str(folder), "--resume"]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.parametrize(
    ("began", "arguments", "name", "message"),
    [
        ("pixel_seeds", [], "seed-3", "them all with --seeds 3 --out"),
        (
            "pixel_rates",
            ["--learning-rate", "0.6"],
            "learning-rate-0.6-seed-3",
            "all with --seeds 2 --learning-rates 0.1 0.6 --out",
        ),
    ],
)
def test_one_of_many_is_not_resumed_alone(began, arguments, name, message, request, capsys):
    folder = request.getfixturevalue(began)
    arguments = ["pixels", "--seed", "3", *arguments, "--out", str(folder / name), "--resume"]
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
