"""Table 2: each measure against what is known exactly, and the command on runs made for it."""

import dataclasses
import itertools
import json
import shutil
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.image
import msgspec
import numpy as np
import pytest
from helpers.made_runs import exact_statistic, untrained_run
from jax import lax

from advnets.baselines import cae, dbn, gsn, rbm
from advnets.bench import table2
from advnets.bench.cells import drawing, inference, likelihood, sampling, training
from advnets.bench.cells.found import (
    Curve,
    Effort,
    Found,
    Number,
    finite,
    product_flops,
    sequential_products,
)
from advnets.bench.cli import main
from advnets.bench.failures import ExitCode
from advnets.bench.folders import RESULTS
from advnets.bench.pages.players import players
from advnets.game import value_function
from advnets.players import judge

# With 6 chains the parts of all walks are of 1, 66 or 100 samples: few programs to compile.
EFFORT = Effort(samples=1402, steps=200, updates=2, limit=50, consecutive=67)


@pytest.fixture(scope="module", autouse=True)
def small():
    """Few rows, draws and steps, where the measures have them as constants."""
    sizes = {
        training: {"BATCHES": 2, "BATCH": 6, "STEPS": (1, 5), "POSITIVE": 40, "AT_ONCE": 32,
                   "ROWS": 20, "FACTORS": (1.0,), "SAMPLES": 200},
        inference: {"COMPLETED": 2, "UNITS": 5, "BATCH": 6, "SEARCHED": 4, "STEPS": 3},
        likelihood: {"ROWS": 20, "DRAWS": 3, "AT_ONCE": 600, "BLOCK": 1000},
        sampling: {"DRAWN": 200, "TIMED": 100, "STEPS": 5, "FEW": 6, "BURN_IN": 3},
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for module, named in sizes.items():
            for name, value in named.items():
                patch.setattr(module, name, value)
        # Each measure of one system: of another it would be compiled once more.
        once = {
            **table2.MEASURES,
            "autoencoders": table2.MEASURES["autoencoders"][:2],
            "adversarial": table2.MEASURES["adversarial"][:2],
        }
        patch.setattr(table2, "MEASURES", once)
        yield


@pytest.fixture(scope="module")
def runs(tmp_path_factory, finished):
    folder = tmp_path_factory.mktemp("made")
    return [finished, *(untrained_run(name, folder / name) for name in ("vae", "dbn", "cae"))]


@pytest.fixture(scope="module")
def measured(runs, tmp_path_factory):
    """The table of all systems, and its folder."""
    out = tmp_path_factory.mktemp("tables") / "table2"
    return table2.prepare(runs, out, effort=EFFORT)(False), out


def number_of(table, row, column, name):
    return next(one for one in table.cell(row, column).numbers if one.name == name)


@pytest.mark.long
def test_each_cell_has_numbers_or_says_why_not(measured):
    table, _ = measured
    for cell in table.cells:
        for number in cell.numbers:
            assert number.definition.endswith(".")
            if number.value is None:
                assert number.reason
            else:
                assert np.isfinite(number.value)
            assert number.run in (*table.runs, "all")
    missing = {n.name: n.reason for cell in table.cells for n in cell.numbers if n.value is None}
    assert missing.pop("design") == table2.DESIGN
    assert missing.pop("gradient's error, PCD-1").endswith("checkpoints, which are not here")
    assert set(missing) == {"inference's share, lower layer"}
    bound = number_of(table, "inference", "undirected", "bound with q")
    assert (bound.value, bound.standard_error) == (-3.0, 0.25)  # the run's own
    assert "of the first 9 binarised test rows" in bound.definition
    curves = {curve.name for cell in table.cells for curve in cell.curves}
    assert {"CD, noise", "CSL", "Parzen", "noise varied"} <= curves


@pytest.mark.long
def test_bounds_are_of_the_rows_that_samples_are_asked_about(measured, runs):
    table, _ = measured
    directed = number_of(table, "likelihood", "directed", "bound")
    assert "of the first 9 binarised test rows" in directed.definition  # with importance weights
    (run,) = table2._opened(runs[2:3], None)
    rows = jnp.asarray(run.binary(20).reshape(20, -1))
    logs = np.asarray(dbn.log_weights(run.key("lower layer"), run.chain.model, rows, 3))
    own = number_of(table, "likelihood", "undirected", "bound by AIS")
    assert own.value == pytest.approx((logs - 5.0).mean(), rel=1e-5)  # log Z, forward, is 5
    tighter = number_of(table, "likelihood", "undirected", "importance-weighted bound by AIS")
    assert tighter.value > own.value
    gap = number_of(table, "training", "directed", "log p - bound, lower layer")
    assert gap.value == pytest.approx(tighter.value - own.value, rel=1e-6)


@pytest.mark.long
def test_v_is_that_of_the_players_in_the_checkpoint(measured, runs):
    table, _ = measured
    (run,) = table2._opened(runs[:1], None)
    found = players(run.folder, run.config, run.system, finished=True)
    real = jnp.asarray(run.images("validation"))
    fake = run.model.sample(jax.random.split(run.key("V"))[0], len(real))  # it has no average
    logits = [judge(None, found.discriminator, batch) for batch in (real, fake)]
    (now,) = [n for n in table.cell("training", "adversarial").numbers if n.name == "V now"]
    assert now.value == pytest.approx(float(value_function(*logits)), rel=1e-5)
    gained = table.cell("training", "adversarial").numbers[0]
    assert gained.value != 0  # D has moved
    share = number_of(table, "training", "directed", "inference's share of an update")
    # Multiplications of a row: forward, for the weights, and for what is below but the pixels.
    encoder, decoder = 2 * (64 * 9 + 9 * 6) + 9 * 6, 3 * (3 * 9 + 9 * 64)
    assert share.value == pytest.approx(encoder / (encoder + decoder))


@pytest.mark.long
def test_what_was_measured_is_not_measured_again(measured, runs, monkeypatch):
    table, out = measured
    names = ("inference-adversarial-digits", "sampling-directed-vae")
    damaged, gone = ([*(out / table2.KEPT).glob(f"{name}-*.json")] for name in names)
    damaged[0].write_text("{}")
    gone[0].unlink()
    asked = []

    def counted(*task):
        asked.append(task[0].name.rpartition("-")[0])
        return next(
            (table2.Found(cell.numbers, cell.curves), next(iter(cell.measured.values())))
            for cell in table.cells
            if task[0].name.startswith(f"{cell.row}-{cell.column}-")
        )

    monkeypatch.setattr(table2, "_measure", counted)
    monkeypatch.setattr(table2, "write", lambda *_: None)
    again = table2.prepare(runs, out, effort=EFFORT)(False)
    assert asked == [*names]
    assert again.cells == table.cells  # with the dates of what was kept
    called = [runs[1].parent / "another" / "vae"]  # under another name it is the same run
    shutil.copytree(runs[1], called[0])
    assert table2.prepare(called, out, effort=EFFORT)(False).runs.keys() == {"vae"}
    assert asked.pop() == names[1]  # which is not there
    (called[0] / RESULTS).write_bytes((runs[1] / RESULTS).read_bytes() + b" ")
    table2.prepare(called, out, effort=EFFORT)(False)
    assert len(asked) == 2 + 4  # of other files all is measured
    other = dataclasses.replace(EFFORT, steps=201)
    table2.prepare(runs[1:2], out, effort=other)(False)
    assert len(asked) == 2 + 4 + 4


@pytest.mark.long
def test_the_command_writes_table_and_pictures(measured, runs, capsys, monkeypatch):
    table, out = measured
    text = (out / "table2.md").read_text()
    assert "| training | *needs inference*<br>" in text
    assert "bound with q (dbn): -3.00 ± 0.25 nats" in text
    date = table.provenance.date
    assert f"- training, deep directed (vae): {date}, in " in text
    assert len([line for line in text.splitlines() if line.startswith("|")]) == 2 + 5
    kept = json.loads((out / "table2.json").read_text())
    assert [cell["row"] for cell in kept["cells"]][::4] == list(table2.ROWS)
    assert matplotlib.image.imread(out / "table2.png").shape[1] == 1276
    for name in ("likelihood.png", "cost.png"):
        assert matplotlib.image.imread(out / name).shape[0] > 200
    summary = table2.summary(table)
    assert "sampling, adversarial (no difficulty):\n  no run given" in summary
    bare = msgspec.structs.replace(table, cells=tuple(
        msgspec.structs.replace(cell, numbers=(), curves=()) for cell in table.cells
    ))  # fmt: skip
    assert bare.measured == 0 < table.measured
    with monkeypatch.context() as patch:
        patch.setattr(table2, "prepare", lambda *_, **__: lambda _: bare)
        assert main(["table2", str(runs[1]), "--out", str(out)]) == ExitCode.DAMAGED
    assert "nothing could be measured" in capsys.readouterr().err
    monkeypatch.setattr(drawing, "table", lambda *_, **__: None)
    table2.write(out, bare)  # of which there are no such pictures
    assert not [*out.glob("likelihood.png"), *out.glob("cost.png")]
    assert main(["table2", str(runs[1]), "--out", str(out), "--preset", "wrong"]) == 2
    capsys.readouterr()


@pytest.mark.long
def test_runs_that_do_not_belong_together_are_refused(runs, tmp_path, capsys, monkeypatch):
    def refused(*arguments):
        assert main(["table2", *map(str, arguments), "--out", str(tmp_path / "t")]) == 2
        return capsys.readouterr().err

    assert "name the folders of finished runs" in refused()
    assert "holds no results.json" in refused(runs[1], runs[1] / "config.json")
    assert "are both of vae; name one run of each" in refused(runs[1], runs[1])
    assert "are both adversarial; name" in refused(runs[0], runs[0])
    assert "are both of cae" in refused(runs[3], runs[3])
    assert "from 1,000 to 10,000,000; got 10" in refused(runs[1], "--num-samples", 10)
    other = untrained_run("vae", tmp_path / "other", dataset="mnist")
    assert "is of other data" in refused(runs[1], other)
    grey = untrained_run("cae", tmp_path / "gcn", preprocessing="gcn")
    assert "in [0, 1]" in refused(grey)
    assert not (tmp_path / "t").exists()
    scaled = untrained_run("cae", tmp_path / "scaled", walk_scale=1.0)
    labels = [one.label for one in table2._opened([runs[3], scaled], None)]
    assert labels == ["cae in cae", "cae in scaled"]  # points of one curve
    named = [("cae", Path(one)) for one in ("/a/b/run", "/a/c/run", "/a/c/d/run")]
    assert table2._labels([*named, ("vae", Path("/x"))]) == [
        "cae in b/run", "cae in c/run", "cae in d/run", "vae"
    ]  # fmt: skip
    monkeypatch.setattr(table2, "LARGEST", 63)
    assert "has images of 64 numbers" in refused(runs[1])


@pytest.mark.long
def test_the_gradient_by_many_steps_is_that_of_all_states(key, monkeypatch):
    w, c, b = (jax.random.normal(one, n) for one, n in zip(
        jax.random.split(key, 3), ((4, 3), (4,), (3,)), strict=True))  # fmt: skip
    machine = rbm.RBM(w, c, b)
    exact = exact_statistic(machine)
    halves = training._reference(key, machine, rbm.fair_coins(key, 400, 3), 10)
    np.testing.assert_allclose(halves, np.stack([exact, exact]), atol=0.03)
    monkeypatch.setattr(training, "BATCHES", 30)
    far = jnp.ones((30, 400, 3))

    def error(steps, persistent, start):
        found = training._negatives(key, machine, start, jnp.asarray(steps), persistent)
        noise = np.linalg.norm(found[0] - found[1]) / 2
        return float(np.linalg.norm(found.mean(axis=0) - exact)), float(noise)

    biased, equilibrium = error(1, False, far), error(60, False, far)
    assert biased[0] > 5 * equilibrium[0]
    assert biased[0] > 5 * biased[1]  # bias, not noise
    assert equilibrium[0] < 0.03
    assert equilibrium[0] < 3 * equilibrium[1]  # all that is left may be noise
    # Each minibatch goes on where the last one ended.
    assert error(1, True, far[0])[0] < 0.5 * biased[0]


def test_products_that_wait_for_each_other_are_counted(key):
    w = jnp.ones((3, 3))

    def function(x):
        low = jnp.tanh(x @ w) + x @ w  # side by side
        return jax.jit(lambda y: y @ w)(low), x

    assert sequential_products(function, w) == 2
    assert sequential_products(lambda x: x + 1.0, w) == 0
    product = 2 * 5 * 3 * 3
    rows = jnp.ones((5, 3))
    assert product_flops(lambda x: jnp.tanh(x @ w), rows) == product

    def looped(x):
        return lax.scan(lambda x, _: (x @ w, x), x, None, length=4)[0]

    assert (product_flops(looped, rows), sequential_products(looped, rows)) == (4 * product, 4)

    def branched(x):
        return lax.cond(x[0, 0] > 0, lambda x: x @ w @ w, lambda x: x @ w, x)

    assert (product_flops(branched, rows), sequential_products(branched, rows)) == (2 * product, 2)
    images, kernels = jnp.ones((2, 3, 8, 8)), jnp.ones((5, 3, 3, 3))
    filtered = lambda x: lax.conv(x, kernels, (1, 1), "SAME")  # noqa: E731
    assert product_flops(filtered, images) == 2 * (2 * 5 * 8 * 8) * 3 * 3 * 3
    assert sequential_products(filtered, images) == 1

    def endless(x):
        return lax.while_loop(lambda x: x[0, 0] < 9, lambda x: x @ w, x)

    for count in (product_flops, sequential_products):
        with pytest.raises(ValueError, match="loop of unknown length"):
            count(endless, rows)
    net = gsn.GSN(key, (2, 2), hidden_sizes=(3, 5))
    state = net.start(key, jnp.zeros((4, 2, 2)))
    arrays, static = eqx.partition(net, eqx.is_array)
    step = lambda key, arrays, state: eqx.combine(arrays, static).step(key, state)  # noqa: E731
    assert sequential_products(step, key, arrays, state) == 2  # down and up are side by side


def test_a_noisier_walk_is_the_same_system(key):
    net = gsn.GSN(key, (2, 2), hidden_sizes=(3, 5), salt_and_pepper=0.4, noise=2.0)
    other = training.noisier(net, 0.5)
    assert (other.salt_and_pepper, other.noise) == (0.2, 1.0)
    assert training.noisier(net, 5.0).salt_and_pepper == 1
    np.testing.assert_array_equal(other.weight1, net.weight1)
    walk = cae.Walk(cae.new_stack(key, (2, 2), 3), 2.0)
    assert training.noisier(walk, 1.5).scale == 3.0


@pytest.mark.parametrize("kind", ["gsn", "cae"])
def test_held_pixels_are_what_the_next_step_sees(kind, key):
    images = jax.random.uniform(key, (3, 2, 4))
    held = jnp.zeros((2, 4), bool).at[:, :2].set(True)
    if kind == "gsn":
        chain = gsn.GSN(key, (2, 4), hidden_sizes=(3, 5), salt_and_pepper=0.0, noise=0.0)
    else:
        chain = cae.Walk(cae.new_stack(key, (2, 4), 3), 1e-12)
    clamped = inference.Clamped(chain, images, held)
    start = clamped.start(key, jnp.zeros((3, 2, 4)))
    pixels = start.pixels.reshape(3, 2, 4) if kind == "gsn" else start.reshape(3, 2, 4)
    np.testing.assert_array_equal(pixels, jnp.where(held[None], images, 0))
    # A step from any state with other held pixels is one from their own.
    noise = jax.random.uniform(jax.random.key(1), (3, 2, 4))
    go = eqx.filter_jit(lambda chain, state: chain.means(chain.step(key, state)))
    states = [chain.start(key, one) for one in (noise, jnp.where(held[None], 0, noise))]
    np.testing.assert_allclose(*(go(clamped, state) for state in states), rtol=1e-5)
    unheld = dataclasses.replace(clamped, held=jnp.zeros_like(held))
    free = [go(unheld, state) for state in states]
    assert np.abs(free[0] - free[1]).max() > 1e-3


def test_numbers_are_told_with_as_many_digits_as_their_error_has():
    def as_text(value, unit="", **more):
        return drawing.format_number(Number("n", "d.", unit, "r", value, **more))

    assert as_text(-99.416, "nats", standard_error=0.23) == "-99.42 ± 0.23 nats"
    assert as_text(1234.5, standard_error=31.0) == "1,234 ± 31"
    assert as_text(12.0, "steps", at_least=True) == "at least 12 steps"
    assert as_text(0.00123) == "0.00123"
    assert as_text(484.288) == "484"
    assert as_text(1.0018) == "1.00"
    assert as_text(1.0, standard_error=0.0) == "1"
    assert as_text(0.5, noise=0.04) == "0.500 (noise 0.040)"


@pytest.mark.long
def test_what_is_not_finite_is_a_reason(measured, runs):
    (run,) = table2._opened(runs[1:2], None)
    curve = Curve(
        "c", "d", "r", "x", "y", ((1.0, float("nan"), None), (2.0, 3.0, None)), ("a", "b")
    )
    odd = run.number("n", "d.", value=float("inf")), run.number("n", "d.", value=2.0)
    found = finite(run, Found(odd, (curve,)))
    assert [(one.value, one.reason) for one in found.numbers] == [
        (None, "it came out as inf"), (2.0, "")
    ]  # fmt: skip
    assert found.curves[0].points == ((2.0, 3.0, None),)
    assert found.curves[0].labels == ("b",)


@pytest.mark.long
def test_what_a_run_lacks_is_missed_and_a_fault_is_not(runs, tmp_path, monkeypatch):
    (run,) = table2._opened(runs[1:2], None)
    without = dataclasses.replace(run, result=msgspec.structs.replace(run.result, evaluations={}))
    (bound,) = likelihood._own(without)
    assert "has no evaluation 'bounds'" in bound.reason
    (gap,) = [training._gap(without)]
    assert "has no evaluation 'bounds'" in gap.reason
    task = table2._Task("inference", "directed", without, inference.directed, 1.0, "0" * 64)
    found, measured = table2._measure(task, EFFORT, tmp_path, table2.Provenance.here())
    assert "has no evaluation" in found.numbers[0].reason
    assert measured is None
    assert not [*tmp_path.iterdir()]  # it is tried again
    endless = Found((run.number("n", "d.", value=float("inf")),))
    task = dataclasses.replace(task, measure=lambda *_: endless)
    found, _ = table2._measure(task, EFFORT, tmp_path, table2.Provenance.here())
    assert found.numbers[0].reason == "it came out as inf"
    fault = dataclasses.replace(task, measure=lambda *_: int("x"))
    with pytest.raises(ValueError, match="invalid literal"):
        table2._measure(fault, EFFORT, tmp_path, table2.Provenance.here())
    (other,) = table2._opened(runs[2:3], None)
    bare = dataclasses.replace(other, result=without.result)
    assert "has no evaluation 'likelihood'" in likelihood._own(bare)[0].reason


@pytest.mark.long
def test_a_damaged_checkpoint_is_a_reason(runs, tmp_path):
    folder = shutil.copytree(runs[0], tmp_path / "damaged")
    for arrays in folder.glob("checkpoints/*/arrays-0.safetensors"):
        arrays.write_bytes(arrays.read_bytes()[:-1])
    (run,) = table2._opened([folder], None)
    (missing,) = training._behind(run, EFFORT, "V.")
    assert missing.value is None
    assert "arrays-0.safetensors" in missing.reason


def test_large_images_are_drawn_in_smaller_blocks():
    assert likelihood.block_of((28, 28)) == 1000  # as the tests have it
    assert likelihood.block_of((4096, 4096)) == likelihood.FEWEST


def test_samples_are_counted_in_decades():
    assert likelihood.numbers_of_samples(1000) == [1000]
    assert likelihood.numbers_of_samples(100_000) == [1000, 10_000, 100_000]
    assert likelihood.numbers_of_samples(2500) == [1000, 2500]
    assert list(itertools.pairwise(likelihood.numbers_of_samples(10**6)))[-1] == (10**5, 10**6)
