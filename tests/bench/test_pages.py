"""Reports: what is in them, and the players that they compute as a list of layers."""

import dataclasses
import functools
import json
import re
import shlex
import signal
from pathlib import Path

import equinox as eqx
import jax
import msgspec
import numpy as np
import pytest
from helpers.players import FOUND, SETTINGS, applied, conditional, draws, with_sheet
from helpers.runs import SMALL

import advnets
from advnets import bench
from advnets.bench import frames, pages
from advnets.bench.cli import main
from advnets.bench.pages import layers, players, reading
from advnets.bench.pages.explorer import PRECISIONS, explorer
from advnets.bench.pages.sections import SECTIONS
from advnets.bench.systems import Adversarial
from advnets.unet import unet_generator

FUNCTIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "softplus": lambda x: np.log1p(np.exp(x)),
}


def all_interpreted(found, x):
    return functools.reduce(lambda x, layer: interpreted(layer, x), found, x)


def interpreted(layer, x):
    """A layer as the page has it, in NumPy and float64."""
    arrays, of = layer.arrays, layer.settings
    match layer.kind:
        case "activation":
            return FUNCTIONS[of["function"]](x)
        case "dense":
            return arrays["weight"].astype(float) @ x.ravel() + arrays["bias"]
        case "maxout":
            return (arrays["weight"].astype(float) @ x.ravel() + arrays["bias"]).max(axis=0)
        case "branches":
            halves = x[: of["split"]], x[of["split"] :]
            outputs = [
                all_interpreted(layers, half).ravel()
                for layers, half in zip(layer.branches, halves, strict=True)
            ]
            return np.concatenate(outputs)
        case "unet":
            z, pair = np.split(x, [of["latent_size"]])
            pair = pair.reshape(2, of["pixels"], -1)
            image, seen = np.concatenate([*pair], axis=1), []
            *down, dense = layer.branches[: len(layer.branches) // 2 + 1]
            for halve in down:
                image = all_interpreted(halve, image)
                seen.append(image)
            image = all_interpreted(dense, np.concatenate([z, image.ravel()]))
            for double in layer.branches[len(down) + 1 :]:
                same = seen.pop()
                both = np.concatenate([image.reshape(same.shape), same], axis=2)
                image = all_interpreted(double, both)
            return image
        case "projection":
            features, c = np.split(x, [len(arrays["weight"])])
            weights = arrays["weight"] + c @ arrays["embedding"].astype(float)
            return weights @ features + arrays["bias"]
    kernel, x = arrays["kernel"].astype(float), x.reshape(of["in_shape"])
    size = len(kernel)
    if layer.kind == "deconvolution":
        out = np.zeros(of["out_shape"]) + arrays["bias"]
        for p, q in np.ndindex(x.shape[:2]):
            rows, columns = (slice(n * of["stride"], n * of["stride"] + size) for n in (p, q))
            out[rows, columns] += kernel @ x[p, q]
        return out
    if layer.kind == "doubled":
        padded = np.pad(x, [(1, 1), (1, 1), (0, 0)])
        out = np.zeros(of["out_shape"]) + arrays["bias"]
        for p, q in np.ndindex(x.shape[:2]):
            four = np.einsum("abi,abif->f", padded[p : p + 3, q : q + 3], kernel)
            out[2 * p : 2 * p + 2, 2 * q : 2 * q + 2] += four.reshape(2, 2, -1)
        return out
    padded = np.pad(x, [(of["padding"], of["padding"])] * 2 + [(0, 0)])
    places = [n - size + 1 for n in padded.shape[:2]]
    units = np.zeros((*places, kernel.shape[-1] // of["pieces"]))
    for p, q in np.ndindex(*places):
        sums = np.einsum("abi,abif->f", padded[p : p + size, q : q + size], kernel) + arrays["bias"]
        units[p, q] = sums.reshape(of["pieces"], -1).max(axis=0)
    out = np.zeros(of["out_shape"])
    for p, q in np.ndindex(*out.shape[:2]):
        top, left = p * of["pool_stride"], q * of["pool_stride"]
        window = units[top : top + of["pool_size"], left : left + of["pool_size"]]
        out[p, q] = window.max(axis=(0, 1))
    return out


@pytest.mark.parametrize("kind", FOUND)
def test_exported_layers_compute_what_the_players_do(kind):
    found = FOUND[kind]()
    latents = draws(found)
    examples = applied(found.model.generator, latents)
    logits = applied(found.discriminator, examples).ravel()
    assert examples.std(axis=0).max() > 0.05
    assert logits.std() > 0.05
    of_g = layers.export(found.model.generator, latents.shape[1:], noise=True)
    of_d = layers.export(found.discriminator, examples.shape[1:])
    for n in range(3):
        mine = functools.reduce(lambda x, layer: interpreted(layer, x), of_g, latents[n])
        np.testing.assert_allclose(mine.reshape(examples[n].shape), examples[n], atol=1e-5)
        mine = functools.reduce(lambda x, layer: interpreted(layer, x), of_d, mine)
        np.testing.assert_allclose(mine, logits[n, None], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("projects", [False, True])
def test_exported_conditional_layers_compute_what_the_players_do(projects):
    found = conditional(projects)
    latents, labels = draws(found), np.arange(16) % 3
    examples = applied(found.model.generator, latents, labels)
    logits = applied(found.discriminator, examples, labels).ravel()
    assert min(examples.std(axis=0).max(), logits.std()) > 0.05
    of_g = layers.export(found.model.generator.player, (5 + 3,), noise=True)
    of_d = layers.export(found.discriminator.player, (12 + 3,))
    for n in range(3):
        c = np.eye(3)[labels[n]]
        start = np.concatenate([latents[n], c])
        mine = functools.reduce(lambda x, layer: interpreted(layer, x), of_g, start)
        np.testing.assert_allclose(mine.reshape(4, 3), examples[n], atol=1e-5)
        pair = np.concatenate([mine.ravel(), c])
        mine = functools.reduce(lambda x, layer: interpreted(layer, x), of_d, pair)
        np.testing.assert_allclose(np.ravel(mine), logits[n, None], rtol=1e-4, atol=1e-5)


def test_an_exported_u_net_computes_what_the_player_does():
    net = unet_generator(jax.random.key(0), 3, (8, 4, 2), channels=(2, 5), hidden_sizes=(6, 7))
    for given in np.random.default_rng(0).normal(size=(3, 3 + 2 * 64)).astype(np.float32):
        mine = all_interpreted(layers.export(net, given.shape, noise=True), given)
        np.testing.assert_allclose(mine, net(jax.numpy.asarray(given)), atol=1e-5)


def test_precisions_round_by_as_much_as_they_say():
    array = np.random.default_rng(0).normal(size=(3, 4, 50)).astype(np.float32)
    array[1, 2] = 0
    assert (layers.decode(layers.encode(array, "float32")) == array).all()
    half = layers.decode(layers.encode(array, "float16"))
    assert (half == array.astype(np.float16)).all()
    error = abs(layers.decode(layers.encode(array, "int8")) - array).max(axis=2)
    assert (error <= abs(array).max(axis=2) / 254 * 1.001).all()
    large = np.array([[1e9, 2.0]], np.float32)
    assert np.isfinite(layers.decode(layers.encode(large, "float16"))).all()


@pytest.mark.parametrize("precisions", [PRECISIONS[0], PRECISIONS[2], PRECISIONS[3]])
def test_the_best_precision_that_fits_is_taken(tmp_path, precisions):
    found = FOUND["dense"]()
    of_both = layers.export(found.model.generator, (6,)), layers.export(found.discriminator, (4, 3))
    budget = sum(layers.size(*pair) for pair in zip(of_both, precisions, strict=True))
    exported = explorer(tmp_path, found, SETTINGS["dense"], budget=budget)
    weights = [exported.data[p][0]["weight"]["precision"] for p in ("generator", "discriminator")]
    assert tuple(weights) == precisions
    moved = re.search(r"moves a pixel by (\S+) of 255 grey levels", exported.notes[0])
    assert (moved is None) == (precisions[0] == "float32")
    if moved:
        assert 0 < float(moved[1]) < (0.5 if precisions[0] == "float16" else 8)


class Own(eqx.Module):
    def __call__(self, z):
        return z.reshape(2, 3)


STATEFUL = eqx.nn.make_with_state(eqx.nn.BatchNorm)(6, "batch", mode="batch")
NOISY = eqx.nn.Sequential([advnets.layers.Dropout(0.5), advnets.networks.Reshape((2, 3))])


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (None, "there is no model yet"),
        (advnets.Model(Own(), advnets.priors.Normal(6)), "can't compute its Own"),
        (
            advnets.Model(advnets.players.Stateful(*STATEFUL), advnets.priors.Normal(6)),
            "can't compute players with a state",
        ),
        (advnets.Model(eqx.nn.Lambda(abs), advnets.priors.Normal(6)), "its function abs"),
        (advnets.Model(NOISY, advnets.priors.Normal(6)), "Dropout draws noise for each sample"),
        (advnets.Model(advnets.layers.Conditioned(Own(), 3)), "takes a condition besides z"),
    ],
)
def test_what_a_page_cannot_compute_is_said(tmp_path, model, why):
    found = players.Found(model, None, "", "")
    with pytest.raises(layers.NotExported, match=why):
        explorer(tmp_path, found, SETTINGS["dense"], budget=10**6)


def test_without_room_the_command_for_a_page_of_its_own_is_named(tmp_path):
    with pytest.raises(layers.NotExported, match="MB even at one byte each"):
        explorer(tmp_path, FOUND["dense"](), SETTINGS["dense"], budget=100)


def test_the_players_of_a_checkpoint_are_those_that_were_trained(finished):
    config = reading.see(finished).config
    system = bench.catalogue.system_of(config)
    done = players.players(finished, config, system, finished=True)
    going_on = players.players(finished, config, system, finished=False)
    z = done.model.prior(jax.random.key(0), 1)[0]
    assert (done.model.generator(z) == going_on.model.generator(z)).all()
    logit = done.discriminator(done.model.generator(z))
    assert logit.shape == ()
    assert logit != 0
    assert "4 epochs (48 iterations)" in done.of_discriminator


def test_a_report_has_all_sections_and_asks_for_nothing_else(finished):
    page = (finished / "report.html").read_text()
    # What other kinds of systems show has tests with them.
    elsewhere = ("chains", "classes", "equilibrium", "fillings", "filters")
    shown = [one.name for one in SECTIONS if one.name not in elsewhere]
    assert re.findall(r'<section id="(\w+)">', page) == shown
    assert not re.search(r'(src|href)="(?!#|data:)', page)
    assert "default-src 'none'" in page
    assert "Not done" not in page
    assert pages.write_report(finished).read_text() == page
    assert len(page) < 2_000_000


def test_the_command_of_a_report_is_the_run_s_own(finished):
    command = reading.command_of(reading.see(finished))
    assert command.startswith("python -m advnets.bench digits --seed 2 ")
    for option in ("--epochs 4", "--generator.hidden-sizes 16", "--discriminator.units 8"):
        assert f" {option}" in command


@pytest.mark.parametrize(
    ("name", "preset", "changed"),
    [
        ("digits", "quick", {"seed": 3}),
        ("tfd", "full", {"norm_limit": None, "proper_folds": True, "prior": "uniform"}),
        ("cifar10-conv", "quick", {"learning_rate": 1e-05, "generator": (300, 200, 800)}),
    ],
)
def test_the_command_of_a_report_has_the_run_s_settings(monkeypatch, name, preset, changed):
    benchmark = bench.BENCHMARKS[name]
    recipe = benchmark.quick if preset == "quick" else benchmark.recipe
    fields = {key: value for key, value in changed.items() if key not in ("seed", "generator")}
    if "generator" in changed:
        sizes = {"hidden_sizes": changed["generator"]}
        fields["generator"] = dataclasses.replace(recipe.generator, **sizes)
    recipe = dataclasses.replace(recipe, **fields)
    content, seed = bench.results.as_json(recipe), changed.get("seed", 0)
    config = bench.results.Config(name, seed, (8, 8), None, content)
    seen = reading.Seen(Path("run"), config, None, [], 0, {}, benchmark)
    asked = []

    def prepare(benchmark, request):
        asked.append((benchmark.recipe, request.seed))
        raise ValueError("enough")

    monkeypatch.setattr(bench.cli, "prepare", prepare)
    command = reading.command_of(seen)
    assert main(shlex.split(command)[3:]) == 2
    assert asked == [(recipe, seed)]
    assert ("--preset quick" in command) == (preset == "quick")
    assert reading.settings_of(seen)[1] == preset
    assert seen.name == f"{name}, seed {seed}"
    content["dataset"] = "imagefolder"
    assert seen.name == f"imagefolder ({name} recipe), seed {seed}"
    assert "--dataset imagefolder" in (command := reading.command_of(seen))
    assert "--data-dir FOLDER" in command
    config = msgspec.structs.replace(config, called=f"flowers ({name} recipe)")
    seen = dataclasses.replace(seen, config=config)
    assert (seen.name, seen.data) == (f"flowers ({name} recipe), seed {seed}", "flowers")


def test_an_unfinished_run_has_a_report(copied, capsys):
    (copied / "results.json").unlink()
    (copied / "generator.safetensors").unlink()
    config = json.loads((copied / "config.json").read_text())
    del config["format"], config["sha256"]
    config["recipe"]["epochs"] = 6
    (copied / "config.json").write_text(json.dumps(config))
    assert main(["report", str(copied)]) == 0
    assert capsys.readouterr().out.strip() == str(copied / "report.html")
    page = (copied / "report.html").read_text()
    assert "Not done: 4 of 6 epochs" in page
    assert "G is that after 4 epochs (48 iterations)" in page
    assert 'id="refresh"' not in page
    assert 'id="refresh"' in pages.write_report(copied, live=True).read_text()


def rewritten(path, **fields):
    """A document with other content, which then has no digest."""
    held = json.loads(path.read_text())
    for name in ("format", "sha256"):
        held.pop(name, None)
    path.write_text(json.dumps(held | fields))


def test_changed_settings_leave_no_single_command(copied):
    change = {"iteration": 24, "name": "learning_rate", "was": "0.1", "now": "0.01"}
    elsewhere = {"iteration": 36, "name": "JAX", "was": "0.1", "now": "0.2"}
    rewritten(copied / "results.json", changes=[elsewhere])
    page = pages.write_report(copied).read_text()
    assert "with the same versions (which changed at iteration 36):" in page
    rewritten(copied / "config.json", changes=[change])
    rewritten(copied / "results.json", changes=[change, elsewhere])
    page = pages.write_report(copied).read_text()
    assert "reproduces the run" not in page
    assert "No single command reproduces it: settings were changed at iteration\n24 (see" in page


def test_a_folder_of_the_library_s_says_that_it_has_no_report(tmp_path, capsys):
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1}\n')
    for command in ("report", "explore"):
        assert main([command, str(tmp_path)]) == 2
        stderr = capsys.readouterr().err
        assert (
            "was written by advnets.train, whose runs have no report: look at samples.png" in stderr
        )


def test_text_of_files_is_escaped(copied):
    config = json.loads((copied / "config.json").read_text())
    del config["format"], config["sha256"]
    config["recipe"]["dataset"] = "</script><script>alert(1)</script>"
    (copied / "config.json").write_text(json.dumps(config))
    with (copied / "metrics.jsonl").open("a") as log:
        log.write(json.dumps({"epoch": 5, "</script><b>": 1.0}) + "\n")
    page = pages.write_report(copied).read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert "</script><b>" not in page


def test_a_damaged_picture_of_players_leaves_the_rest_of_the_report(copied):
    model = copied / "generator.safetensors"
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    page = pages.write_report(copied).read_text()
    assert "No explorer" in page
    assert "Likelihood" in page


def test_explore_writes_a_page_of_its_own(copied, tmp_path, capsys):
    assert main(["explore", str(copied)]) == 0
    assert capsys.readouterr().out.strip() == str(copied / "explore.html")
    page = (copied / "explore.html").read_text()
    assert re.findall(r'<section id="(\w+)">', page) == ["explorer"]
    assert main(["explore", str(tmp_path)]) == 2
    assert "holds no run" in capsys.readouterr().err
    assert main(["report"]) == 2


def test_frames_are_bounded_and_depend_on_the_epoch_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(frames, "MOST_FRAMES", 3)
    images = np.random.default_rng(0).random((4, 3, 3))
    # One run from the start; another that was stopped at 12 and is taken up again from 8.
    for name, epochs in (("one", range(1, 14)), ("two", [*range(1, 13), *range(8, 14)])):
        (tmp_path / name).mkdir()
        for epoch in epochs:
            frames.write_frame(tmp_path / name, epoch, 1, images * epoch / 100, 2)
            assert max(frames.frames(tmp_path / name)) == epoch
            assert len(frames.frames(tmp_path / name)) <= 4
    one, two = (frames.frames(tmp_path / name) for name in ("one", "two"))
    assert list(one) == [4, 8, 12, 13]
    assert [p.read_bytes() for p in one.values()] == [p.read_bytes() for p in two.values()]
    with pytest.raises(ValueError, match="do not fill rows"):
        frames.mosaic(images, 3)


def test_a_sheet_has_as_many_images_as_it_says(tmp_path):
    with_sheet(tmp_path, (4, 3))
    assert frames.sheet_count(tmp_path, (4, 3)) == 25
    (tmp_path / "colours").mkdir()
    with_sheet(tmp_path / "colours", (4, 3, 3))
    assert frames.sheet_count(tmp_path / "colours", (4, 3, 3)) == 25
    assert frames.sheet_count(tmp_path / "nothing", (4, 3)) == 0


def test_runs_are_compared(finished, copied, tmp_path, capsys):
    out = tmp_path / "compared.html"
    assert main(["report", str(finished), str(copied), "--out", str(out)]) == 0
    page = out.read_text()
    assert "2 runs compared" in page
    assert page.count('class="frames"') == 2
    assert f'href="{copied.name}/report.html"' in page
    with pytest.raises(ValueError, match="at most 24 runs"):
        pages.write_comparison([finished] * 25, out)


@pytest.fixture
def written(monkeypatch):
    """The calls that write a report: whether the run goes on."""
    calls = []

    def noted(folder, **options):
        path = pages.writing.write_report(folder, **options)
        assert ('id="refresh"' in path.read_text()) == options.get("live", False)
        calls.append(options.get("live", False))
        return path

    monkeypatch.setattr(bench.experiment.pages, "write_report", noted)
    return calls


def test_a_run_that_is_stopped_leaves_a_report(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Adversarial, "fit", lambda *_, **__: signal.raise_signal(signal.SIGINT))
    assert main([*SMALL, "--out", str(tmp_path / "run")]) == 130
    assert "Not done" in (tmp_path / "run" / "report.html").read_text()
    # What can't be written does not hide the stop.
    monkeypatch.setattr(bench.experiment.pages, "write_report", lambda _: 1 / 0)
    assert main([*SMALL, "--out", str(tmp_path / "other")]) == 130


@pytest.mark.parametrize("seeds", [[], ["--seeds", "2"]])
def test_the_report_of_a_game_is_written_once_an_epoch(
    tmp_path, written, monkeypatch, capsys, seeds
):
    def stopped(self, given, watch, *_, **__):
        runs = given if seeds else [given]
        for epoch in (2, 4):
            for run in runs:
                for callback in run.callbacks:
                    snapshot = object.__new__(advnets.training.Snapshot)
                    object.__setattr__(snapshot, "epoch", epoch)
                    callback(snapshot)
        raise KeyboardInterrupt

    monkeypatch.setattr(Adversarial, "fit_together" if seeds else "fit", stopped)
    assert main([*SMALL, *seeds, "--watch", "--out", str(tmp_path / "run")]) == 130
    assert written == [True, True, False]
    assert "watch it in a browser, from the first evaluation on: file:" in capsys.readouterr().err
