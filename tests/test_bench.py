"""Benchmarks from end to end: the command line, a run's folder, kills, refusals."""

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import time

import jax
import matplotlib.image
import numpy as np
import pytest
import scipy.special

import advnets
from advnets import bench
from advnets.bench.__main__ import main
from advnets.bench.recipes import BENCHMARKS, build_players, update_rule

SMALL = [
    "digits", "--epochs", "4", "--evaluate-every", "2", "--num-samples", "200",
    "--generator.hidden-sizes", "16", "--discriminator.units", "8",
]  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert main([*SMALL, "--out", str(folder)]) == 0
    return folder


def results(folder):
    return json.loads((folder / "results.json").read_text())


def without_timing(result):
    return {k: v for k, v in result.items() if k not in ("provenance", "updates_per_second")}


def test_a_run_leaves_what_it_promises(finished):
    names = {path.name for path in finished.iterdir()}
    (best_file,) = (name for name in names if name.startswith("generator-epoch-"))
    assert best_file == f"generator-epoch-{results(finished)['best']['epoch']}.safetensors"
    names.remove(best_file)
    assert names == {
        "config.json", "metrics.jsonl", "results.json", "samples.png", "interpolations.png",
        "memorisation.png", "curves.png", "checkpoints", "generator.safetensors",
    }  # fmt: skip
    result = results(finished)
    assert result["benchmark"] == "digits"
    assert (result["seed"], result["epochs"], result["updates"]) == (0, 4, 48)
    assert result["updates_per_second"] > 0
    assert result["parzen"]["num_samples"] == 200
    assert result["parzen"]["bandwidth"] in np.logspace(-1, 0, 10)
    for part in ("validation", "test"):
        assert set(result["parzen"][part]) == {"mean", "standard_error", "n"}
        assert result["parzen"][part]["n"] == 256
    reference = result["references"]["training_images"]
    assert {"mean", "standard_error", "bandwidth"} <= set(reference)
    assert result["references"]["paper"] is None
    assert set(result["provenance"]) >= {"command", "commit", "versions", "device"}
    rows = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert ["validation" in row for row in rows] == [False, True, False, True]
    assert set(rows[0]["discriminator"]) == {
        "value", "real_output", "fake_output", "real_error", "fake_error", "gradient_norm",
    }  # fmt: skip
    best = max((row for row in rows if "validation" in row), key=lambda r: r["validation"]["mean"])
    assert result["best"]["epoch"] == best["epoch"]


def test_the_pictures_hold_samples_and_training_images(finished):
    picture = matplotlib.image.imread(finished / "samples.png")[..., 0]
    scale = picture.shape[0] // (8 * 9 + 1)
    picture = picture[::scale, ::scale]
    train = np.round(advnets.data.load("digits").train / 255, 2)
    for row in range(8):
        neighbour = picture[1 + 9 * row : 9 + 9 * row, 2 + 10 * 9 : 2 + 10 * 9 + 8]
        assert np.abs(train - neighbour).max(axis=(1, 2)).min() < 0.01
    assert matplotlib.image.imread(finished / "curves.png").std() > 0


def test_the_saved_generator_draws_what_was_scored(finished):
    result = results(finished)
    for best, score in ((False, result["parzen"]), (True, result["best"]["parzen"])):
        epoch = result["best"]["epoch"] if best else result["epochs"]
        generator, prior = bench.load_generator(finished, best=best)
        samples_key = jax.random.split(jax.random.key(0), 3)[2]
        samples = advnets.sample(
            jax.random.fold_in(samples_key, epoch), generator, 200, prior=prior
        )
        test = advnets.data.load("digits").test.astype(np.float32) / 255
        again = advnets.parzen.log_likelihood(test, samples, score["bandwidth"])
        assert again.mean == pytest.approx(score["test"]["mean"], rel=1e-6)


@pytest.fixture
def copied(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def test_a_run_is_scored_anew(copied, capsys):
    before = (copied / "results.json").read_bytes()
    result = results(copied)
    for best, name, scored in (
        ([], "parzen-200.json", result["parzen"]),
        (["--best"], "parzen-best-200.json", result["best"]["parzen"]),
    ):
        assert main(["parzen", str(copied), "--num-samples", "200", "--devices", "2", *best]) == 0
        again = json.loads((copied / name).read_text())
        assert again["parzen"] == scored
        assert again["provenance"]["command"]
        assert f"{scored['test']['mean']:.1f} ±" in capsys.readouterr().out
    more = bench.rescore(copied, 1300, progress=False)
    assert more["parzen"]["num_samples"] == 1300
    assert more["parzen"]["test"]["mean"] > result["parzen"]["test"]["mean"]
    assert (copied / "results.json").read_bytes() == before
    assert not list(copied.glob("*unfinished*"))


def test_scoring_anew_goes_on_where_it_was_stopped(copied, monkeypatch):
    monkeypatch.setattr(advnets.parzen, "GROUP_ROWS", 1000)
    monkeypatch.setattr(advnets.parzen, "SECONDS_BETWEEN_NOTES", 0)
    draw, asked, stop = advnets.SampleBlocks.__getitem__, [], [3]

    def drawn(self, number):
        asked.append(number)
        if number in stop:
            raise KeyboardInterrupt
        return draw(self, number)

    monkeypatch.setattr(advnets.SampleBlocks, "__getitem__", drawn)
    assert main(["parzen", str(copied), "--num-samples", "5000"]) == 130
    asked.clear()
    stop.clear()
    resumed = bench.rescore(copied, 5000, progress=False)["parzen"]
    assert asked == [0, 2, 3, 4]
    (copied / "parzen-5000.json").unlink()
    assert bench.rescore(copied, 5000, progress=False)["parzen"] == resumed
    assert asked[4:] == [0, 0, 1, 2, 3, 4]


def test_scoring_anew_is_refused_in_one_sentence(copied, tmp_path, capsys):
    def refused(*arguments):
        assert main(["parzen", *map(str, arguments)]) == 2
        return capsys.readouterr().err

    assert "name the folder of a finished run" in refused(tmp_path)
    assert "must be at least 1; got 0" in refused(copied, "--num-samples", 0)
    assert "devices must be from 1 to 2" in refused(copied, "--devices", 3)
    (copied / "parzen-7.json").write_text("")
    assert "exists already" in refused(copied, "--num-samples", 7)
    changed = results(copied) | {"data": "other images"}
    (copied / "results.json").write_text(json.dumps(changed))
    assert "was scored on other images" in refused(copied)


def test_a_killed_run_resumes_to_the_same_result(finished, tmp_path):
    folder = tmp_path / "killed"
    command = [sys.executable, "-m", "advnets.bench", *SMALL, "--out", str(folder)]
    command[command.index("--epochs") + 1] = "100000"
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (folder / "checkpoints" / "2").is_dir():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    reached = max(
        int(path.name) for path in (folder / "checkpoints").glob("[0-9]*") if path.name.isdigit()
    )
    epochs = str(reached + 4)
    assert main([*SMALL, "--epochs", epochs, "--out", str(folder), "--resume"]) == 0
    assert main([*SMALL, "--epochs", epochs, "--out", str(tmp_path / "whole")]) == 0
    assert without_timing(results(folder)) == without_timing(results(tmp_path / "whole"))
    logs = [(f / "metrics.jsonl").read_text() for f in (folder, tmp_path / "whole")]
    assert logs[0] == logs[1]


def test_a_run_can_be_extended(finished, tmp_path):
    folder = tmp_path / "extended"
    assert main([*SMALL, "--epochs", "2", "--out", str(folder)]) == 0
    assert main([*SMALL, "--out", str(folder), "--resume"]) == 0
    assert without_timing(results(folder)) == without_timing(results(finished))


def test_without_arguments_it_lists_what_there_is(capsys):
    assert main([]) == 0
    text = capsys.readouterr().out
    for benchmark in BENCHMARKS.values():
        assert benchmark.command == f"python -m advnets.bench {benchmark.name}"
        for part in (benchmark.name, benchmark.needs, benchmark.cost, benchmark.expected):
            assert part in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nosuch"], "unknown benchmark 'nosuch'; choose one of digits, mnist, tfd, cifar10"),
        (["digits", "--k", "0"], "k must be at least 1; got 0"),
        (["digits", "--k", "2"], "simultaneous order has k = 1; got 2"),
        (
            ["digits", "--learning-rate", "-0.1"],
            "must be above 0 and finite; got -0.1",
        ),
        (["digits", "--epochs", "0"], "epochs must be at least 1; got 0"),
        (["digits", "--seed", "-1"], "seed must be at least 0"),
        (["digits", "--batch-size", "5000"], "1285 training rows, too few"),
        (["digits", "--final-momentum", "1.5"], "below 1; got 1.5"),
        (["digits", "--discriminator.input-keep", "0"], "above 0 and at most 1; got 0.0"),
        (["digits", "--learning-rate", "inf"], "finite; got inf"),
        (["digits", "--generator.weight-range", "-1"], "at least 0 and finite; got -1.0"),
        (["digits", "--discriminator.units", "0"], "the number of units must be at least 1; got 0"),
        (["digits", "--nosuch", "3"], "--nosuch"),
        (["digits", "--order", "both"], "both"),
        (["digits", "--resume"], "no run to resume in"),
        (["mnist", "--data-dir", "/nonexistent"], "there is no folder"),
        (["cifar10-con"], "did you mean cifar10-conv?"),
        (["tfd", "--data-dir", "/nonexistent"], "not public"),
        (["tfd", "--second-stage.epochs", "-1"], "must be at least 0; got -1"),
        (["digits", "--first-stage", "x"], "digits has one stage; leave out --first-stage x"),
        (["digits", "--generator.output", "linear"], "a linear generator can't make unit images"),
        (["digits", "--preprocessing", "gcn"], "a sigmoid generator can't make gcn images"),
        (["digits", "--dataset", "nosuch"], "unknown data set 'nosuch'"),
        (["digits", "--dataset", "imagefolder"], "imagefolder"),
        (["digits", "--image-size", "16"], "leave image_size out"),
        (["table1", "--runs", "nosuch"], "nosuch holds no results.json"),
    ],
)
def test_bad_input_is_refused_in_a_sentence_before_any_work(
    arguments, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ADVNETS_DATA", raising=False)
    try:
        code = main(arguments)
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    captured = capsys.readouterr()
    assert message in " ".join((captured.err + captured.out).replace("│", " ").split())
    assert not list(tmp_path.iterdir())


def test_a_folder_with_another_run_is_left_alone(finished, capsys):
    before = {path: path.read_bytes() for path in finished.iterdir() if path.is_file()}
    assert main([*SMALL, "--out", str(finished)]) == 2
    assert "is not empty; continue its run with --resume" in capsys.readouterr().err
    for changed, message in (
        (["--order", "alternating"], "order = 'simultaneous', not 'alternating'"),
        (["--seed", "1"], "seed = 0, not 1"),
        (["--generator.hidden-sizes", "17"], "generator.hidden_sizes = [16], not [17]"),
    ):
        assert main([*SMALL, "--out", str(finished), "--resume", *changed]) == 2
        assert message in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in finished.iterdir() if path.is_file()}


def test_a_run_of_an_older_version_is_refused_in_a_sentence(finished, tmp_path, capsys):
    config = json.loads((finished / "config.json").read_text())
    del config["recipe"]["second_stage"], config["recipe"]["norm_limit"], config["first_stage"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert main([*SMALL, "--out", str(tmp_path), "--resume"]) == 2
    assert "second_stage" in capsys.readouterr().err


def test_default_folders_are_numbered_and_resumed_latest_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(SMALL) == 0
    assert main(SMALL) == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["digits", "digits-2"]
    assert main([*SMALL, "--epochs", "6", "--resume"]) == 0
    assert results(tmp_path / "runs" / "digits")["epochs"] == 4
    assert results(tmp_path / "runs" / "digits-2")["epochs"] == 6


def test_divergence_is_said_in_a_sentence(tmp_path, capsys):
    assert main([*SMALL, "--learning-rate", "1e30", "--out", str(tmp_path / "run")]) == 1
    assert "training diverged" in capsys.readouterr().err


def test_reference_rows_agree_with_an_independent_score(tmp_path, capsys):
    import sklearn.cluster

    out = tmp_path / "references.json"
    assert main(["references", "--dataset", "digits", "--iterations", "3", "--out", str(out)]) == 0
    result = json.loads(out.read_text())
    assert "centroids" in capsys.readouterr().out
    digits = advnets.data.load("digits")
    train, test = digits.train / 255.0, digits.test / 255.0
    k_means = sklearn.cluster.KMeans(257, init="random", n_init=1, max_iter=3, random_state=0)
    k_means.fit(train.reshape(-1, 64).astype(np.float32))
    for name, rows in (
        ("training_images", train.reshape(-1, 64)),
        ("centroids", k_means.cluster_centers_.astype(np.float64)),
    ):
        sigma = result[name]["bandwidth"]
        squared = ((test.reshape(-1, 1, 64) - rows[None]) ** 2).sum(-1)
        log_p = scipy.special.logsumexp(-squared / (2 * sigma**2), axis=1) - np.log(len(rows))
        log_p -= 64 * np.log(sigma * np.sqrt(2 * np.pi))
        scored = result[name]["test"]
        assert scored["mean"] == pytest.approx(log_p.mean(), abs=2e-3)
        assert scored["standard_error"] == pytest.approx(log_p.std() / np.sqrt(256), rel=1e-4)
    assert main(["references", "--dataset", "digits", "--out", str(out)]) == 2
    assert "exists; choose another file" in capsys.readouterr().err


def test_real_images_score_as_published_for_the_paper_s_protocol(data_dir):
    """241.2 ± 2.1 nats at bandwidth .167 for the first 10,000 training images."""
    from advnets.bench.scoring import on_host, score

    mnist, preprocess = advnets.data.load("mnist", data_dir), on_host("unit")
    scored = score(preprocess(mnist.train[:10_000]), mnist, preprocess)
    assert scored["bandwidth"] == pytest.approx(0.16681, rel=1e-4)
    assert scored["test"]["mean"] == pytest.approx(241.2, abs=0.1)
    assert scored["test"]["standard_error"] == pytest.approx(2.1, abs=0.1)


def test_loading_from_an_unfinished_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="name the folder of a finished run"):
        bench.load_generator(tmp_path)


SHARED = {
    "image_size": None, "proper_folds": False, "order": "simultaneous",
    "objective": "non-saturating", "k": 1, "latent_size": 100, "learning_rate_divisor": 1.000004,
    "learning_rate_floor": 1e-6, "initial_momentum": 0.5, "final_momentum": 0.7,
    "momentum_saturates": 250, "evaluate_every": 10, "num_samples": 10_000,
    "precision": "float32",
}  # fmt: skip
DECONVOLUTION = {"channels": 80, "kernel_size": 5, "stride": 3}
RELEASED = {
    "mnist": {
        "dataset": "mnist", "preprocessing": "unit", "epochs": 250, "batch_size": 100,
        "prior": "uniform", "learning_rate": 0.1, "norm_limit": None,
        "generator": {
            "hidden_sizes": (1200, 1200), "last_hidden": "relu", "sigmoid_bias": 0.0,
            "weight_range": 0.05, "output": "sigmoid", "output_range": 0.05, "output_nonzero": 0,
        },
        "discriminator": {"convolutions": (), "units": (240, 240)},
        "second_stage": 0,
    },
    "tfd": {
        "dataset": "tfd", "preprocessing": "unit", "epochs": 50, "batch_size": 100,
        "prior": "normal", "learning_rate": 0.05, "norm_limit": 1.9365,
        "generator": {
            "hidden_sizes": (8000, 8000), "last_hidden": "sigmoid", "sigmoid_bias": -2.0,
            "weight_range": 0.05, "output": "sigmoid", "output_range": 0.05, "output_nonzero": 100,
        },
        "discriminator": {"convolutions": (), "units": (1200, 1200)},
        "second_stage": 22,
    },
    "cifar10": {
        "dataset": "cifar10", "preprocessing": "gcn", "epochs": 250, "batch_size": 100,
        "prior": "normal", "learning_rate": 0.025, "norm_limit": None,
        "generator": {
            "hidden_sizes": (8000, 8000), "last_hidden": "sigmoid", "sigmoid_bias": 0.0,
            "weight_range": 0.05, "output": "linear", "output_range": 0.5, "output_nonzero": 0,
        },
        "discriminator": {"convolutions": (), "units": (1600, 1600)},
        "second_stage": 0,
    },
    "cifar10-conv": {
        "dataset": "cifar10", "preprocessing": "gcn", "epochs": 250, "batch_size": 128,
        "prior": "normal", "learning_rate": 0.004, "norm_limit": None,
        "generator": {
            "hidden_sizes": (8000, 8000), "last_hidden": "sigmoid", "sigmoid_bias": 0.0,
            "weight_range": 0.05, "output": "deconvolution", "output_range": 0.05,
            "output_nonzero": 0,
        },
        "discriminator": {
            "convolutions": ((32, 2, 8, 4, 4, 2), (32, 2, 8, 3, 4, 2), (192, 2, 5, 3, 2, 2)),
            "units": (500,),
        },
        "second_stage": 0,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", RELEASED)
def test_the_recipe_is_the_released_one(name):
    recipe = dataclasses.asdict(BENCHMARKS[name].recipe)
    convolutions = recipe["discriminator"]["convolutions"]
    recipe["discriminator"]["convolutions"] = tuple(tuple(c.values()) for c in convolutions)
    expected = SHARED | RELEASED[name]
    expected["generator"] = expected["generator"] | {"deconvolution": DECONVOLUTION}
    expected["discriminator"] = {
        "pieces": 5, "weight_range": 0.005, "input_keep": 0.8, "hidden_keep": 0.5,
    } | expected["discriminator"]  # fmt: skip
    second = {"epochs": expected["second_stage"], "hidden_size": 8000, "sigmoid_bias": -2.0}
    assert recipe == expected | {"second_stage": second}


def test_sigmoid_pixels_start_from_the_marginals_and_linear_ones_from_0():
    images = np.random.default_rng(0).integers(0, 256, (20, 28, 28), np.uint8)
    generator, _ = build_players(jax.random.key(0), BENCHMARKS["mnist"].recipe, images)
    bias = np.asarray(generator.layers[4].bias, np.float64)
    mean = images.mean(0).ravel() / 255
    np.testing.assert_allclose(bias, np.log(mean / (1 - mean)), rtol=1e-4, atol=1e-6)
    colour = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), np.uint8)
    generator, _ = build_players(jax.random.key(0), BENCHMARKS["cifar10"].quick, colour)
    assert not generator.layers[4].bias.any()


def test_k_steps_ramp_and_decay_by_discriminator_updates():
    recipe = dataclasses.replace(BENCHMARKS["digits"].recipe, order="alternating", k=3)
    generator_rule, discriminator_rule = update_rule(recipe, iterations_per_epoch=4)
    one = {"weight": jax.numpy.zeros(1)}
    gradient = {"weight": jax.numpy.ones(1)}

    def changes(rule, n):
        state, seen = rule.init(one), []
        update = jax.jit(rule.update)
        for _ in range(n):
            change, state = update(gradient, state)
            seen.append(float(change["weight"][0]))
        return seen

    def expected(n, stride, per_epoch):
        v, seen = 0.0, []
        for t in range(n):
            mu = 0.5 + 0.2 * min((t // per_epoch) / 249, 1)
            v = mu * v - 0.1 / 1.000004 ** (t * stride)
            seen.append(v)
        return seen

    np.testing.assert_allclose(changes(generator_rule, 20), expected(20, 3, 4), rtol=1e-6)
    np.testing.assert_allclose(changes(discriminator_rule, 60), expected(60, 1, 12), rtol=1e-6)


def test_stopping_by_hand_says_how_to_continue(tmp_path):
    folder = tmp_path / "stopped"
    command = [sys.executable, "-m", "advnets.bench", *SMALL, "--out", str(folder)]
    command[command.index("--epochs") + 1] = "100000"
    # A job in the background may have been told to ignore interrupts.
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while not (folder / "checkpoints" / "2").is_dir():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert f"the same command with --resume --out {folder} continues it" in err


def test_fewer_epochs_than_the_folder_holds_are_refused_and_nothing_changes(finished, capsys):
    before = {path: path.read_bytes() for path in finished.iterdir() if path.is_file()}
    assert main([*SMALL, "--epochs", "3", "--out", str(finished), "--resume"]) == 2
    assert "already holds 4 epochs; ask for as many or more" in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in finished.iterdir() if path.is_file()}


def test_a_run_stopped_before_training_can_be_resumed(finished, tmp_path):
    folder = tmp_path / "early"
    folder.mkdir()
    (folder / "config.json").write_bytes((finished / "config.json").read_bytes())
    assert main([*SMALL, "--out", str(folder), "--resume"]) == 0
    assert without_timing(results(folder)) == without_timing(results(finished))


def test_a_best_generator_saved_just_before_a_kill_is_not_taken_for_an_earlier_one(
    finished, tmp_path
):
    """The kill comes after the evaluation's file, before its row and checkpoint."""
    folder, plain = tmp_path / "killed", tmp_path / "plain"
    assert main([*SMALL, "--epochs", "2", "--out", str(folder)]) == 0
    generator, _ = bench.load_generator(finished)
    advnets.save_model(folder / "generator-epoch-4.safetensors", generator)
    assert main([*SMALL, "--epochs", "3", "--out", str(folder), "--resume"]) == 0
    assert main([*SMALL, "--epochs", "2", "--out", str(plain)]) == 0
    assert main([*SMALL, "--epochs", "3", "--out", str(plain), "--resume"]) == 0
    assert without_timing(results(folder)) == without_timing(results(plain))
