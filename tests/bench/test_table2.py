"""Table 2: each measure against what is known exactly, and the command on runs made for it."""

import dataclasses
import itertools
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.image
import numpy as np
import pytest
from helpers.made_runs import exact_statistic, made

from advnets.baselines import cae, gsn, rbm
from advnets.bench import table2
from advnets.bench.cells import drawing, inference, likelihood, sampling, training
from advnets.bench.cells.found import Effort, Number, flops, sequential_products
from advnets.bench.cli import main
from advnets.bench.pages.players import players
from advnets.game import value_function
from advnets.players import judge

EFFORT = Effort(samples=1100, steps=200, updates=2, limit=100)


@pytest.fixture(scope="module", autouse=True)
def small():
    """Few rows, draws and steps, where the measures have them as constants."""
    sizes = {
        training: {"BATCHES": 2, "BATCH": 6, "STEPS": (1, 5), "POSITIVE": 40, "AT_ONCE": 20,
                   "DRAWS": 3, "ROWS": 20, "FACTORS": (1.0,), "FEW": 4, "SAMPLES": 200},
        inference: {"COMPLETED": 2, "UNITS": 5, "BATCH": 6, "SEARCHED": 4, "STEPS": 3},
        likelihood: {"ROWS": 20, "AT_ONCE": 600, "BLOCK": 1000},
        sampling: {"DRAWN": 200, "TIMED": 100, "STEPS": 5},
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
    return [finished, *(made(name, folder / name) for name in ("vae", "dbn", "cae"))]


@pytest.fixture(scope="module")
def measured(runs, tmp_path_factory):
    """The table of all systems, and its folder."""
    out = tmp_path_factory.mktemp("tables") / "table2"
    return table2.prepare(runs, out, effort=EFFORT)(False), out


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
    bound = next(n for n in table.cell("likelihood", "undirected").numbers if "bound" in n.name)
    assert (bound.value, bound.standard_error) == (-3.0, 0.25)  # the run's own


def test_v_is_that_of_the_players_in_the_checkpoint(measured, runs):
    table, _ = measured
    (run,) = table2._opened(runs[:1], None)
    found = players(run.folder, run.config, run.system, finished=True)
    real = jnp.asarray(run.images("validation"))
    fake = run.model(jax.random.split(run.key("V"))[0], len(real))  # it has no average
    logits = [judge(None, found.discriminator, batch) for batch in (real, fake)]
    (now,) = [n for n in table.cell("training", "adversarial").numbers if n.name == "V now"]
    assert now.value == pytest.approx(float(value_function(*logits)), rel=1e-5)
    gained = table.cell("training", "adversarial").numbers[0]
    assert gained.value != 0  # D has moved
    (share,) = [n for n in table.cell("training", "directed").numbers if "update" in n.name]
    assert 0.05 < share.value < 0.6  # drawing pixels counts beside such small products


def test_what_was_measured_is_not_measured_again(measured, runs, monkeypatch):
    table, out = measured
    (out / table2.KEPT / "inference-adversarial-digits.json").write_text("{}")  # damaged
    (out / table2.KEPT / "sampling-directed-vae.json").unlink()
    asked = []

    def counted(*task):
        asked.append(task[0].name)
        return table.cells and next(
            table2.Found(cell.numbers, cell.curves)
            for cell in table.cells
            if task[0].name.startswith(f"{cell.row}-{cell.column}-")
        )

    monkeypatch.setattr(table2, "_measure", counted)
    monkeypatch.setattr(table2, "write", lambda *_: None)
    again = table2.prepare(runs, out, effort=EFFORT)(False)
    assert asked == ["inference-adversarial-digits", "sampling-directed-vae"]
    assert again.cells == table.cells
    other = dataclasses.replace(EFFORT, steps=201)
    table2.prepare(runs[1:2], out, effort=other)(False)
    assert len(asked) == 2 + 4


def test_the_command_writes_table_and_pictures(measured, runs, capsys):
    table, out = measured
    text = (out / "table2.md").read_text()
    assert "| training | *needs inference*<br>" in text
    assert "bound by AIS (dbn): -3.00 ± 0.25 nats" in text
    assert len([line for line in text.splitlines() if line.startswith("|")]) == 2 + 5
    kept = json.loads((out / "table2.json").read_text())
    assert [cell["row"] for cell in kept["cells"]][::4] == list(table2.ROWS)
    assert matplotlib.image.imread(out / "table2.png").shape[1] == 1276
    for name in ("likelihood.png", "cost.png"):
        assert matplotlib.image.imread(out / name).shape[0] > 200
    said = table2.summary(table)
    assert "sampling, adversarial (no difficulty):\n  no run given" in said
    assert main(["table2", str(runs[1]), "--out", str(out), "--preset", "wrong"]) == 2
    capsys.readouterr()


def test_runs_that_do_not_belong_together_are_refused(runs, tmp_path, capsys):
    def refused(*arguments):
        assert main(["table2", *map(str, arguments), "--out", str(tmp_path / "t")]) == 2
        return capsys.readouterr().err

    assert "name the folders of finished runs" in refused()
    assert "holds no results.json" in refused(runs[1], runs[1] / "config.json")
    assert "are both of vae; name one run of each" in refused(runs[1], runs[1])
    assert "are both of cae" in refused(runs[3], runs[3])
    assert "at least 1,000" in refused(runs[1], "--num-samples", 10)
    other = made("vae", tmp_path / "other", dataset="mnist")
    assert "is of other data" in refused(runs[1], other)
    grey = made("cae", tmp_path / "gcn", preprocessing="gcn")
    assert "in [0, 1]" in refused(grey)
    assert not (tmp_path / "t").exists()
    scaled = made("cae", tmp_path / "scaled", walk_scale=1.0)
    labels = [one.label for one in table2._opened([runs[3], scaled], None)]
    assert labels == ["cae in cae", "cae in scaled"]  # points of one curve


def test_the_gradient_by_many_steps_is_that_of_all_states(key):
    w, c, b = (jax.random.normal(one, n) for one, n in zip(
        jax.random.split(key, 3), ((4, 3), (4,), (3,)), strict=True))  # fmt: skip
    machine = rbm.RBM(w, c, b)
    exact = exact_statistic(machine)
    halves = training._reference(key, machine, rbm.fair_coins(key, 400, 3), 1000)
    np.testing.assert_allclose(halves, np.stack([exact, exact]), atol=0.03)
    reference = jnp.asarray(exact, jnp.float32)
    starts = jnp.broadcast_to(rbm.fair_coins(key, 400, 3)[None], (30, 400, 3))
    far = jnp.ones((30, 400, 3))

    def error(steps, persistent, start):
        count = jnp.asarray(steps)
        return float(training._negatives(key, machine, start, count, reference, persistent)[1])

    assert error(1, False, far) > 5 * error(60, False, far)
    assert error(60, False, starts) < 0.03
    # Each minibatch goes on where the last one ended.
    assert error(1, True, far) < 0.5 * error(1, False, far)


def test_products_that_wait_for_each_other_are_counted(key):
    w = jnp.ones((3, 3))

    def function(x):
        low = jnp.tanh(x @ w) + x @ w  # side by side
        return jax.jit(lambda y: y @ w)(low), x

    assert sequential_products(function, w) == 2
    assert sequential_products(lambda x: x + 1.0, w) == 0
    assert flops(lambda x: x @ w, jnp.ones((5, 3))) == 2 * 5 * 3 * 3
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
    def told(value, unit="", **more):
        return drawing.told(Number("n", "d.", unit, "r", value, **more))

    assert told(-99.416, "nats", standard_error=0.23) == "-99.42 ± 0.23 nats"
    assert told(1234.5, standard_error=31.0) == "1,234 ± 31"
    assert told(12.0, "steps", at_least=True) == "at least 12 steps"
    assert told(0.00123) == "0.00123"
    assert told(484.288) == "484"
    assert told(1.0018) == "1.00"
    assert told(1.0, standard_error=0.0) == "1"


def test_samples_are_counted_in_decades():
    assert likelihood.numbers_of_samples(1000) == [1000]
    assert likelihood.numbers_of_samples(100_000) == [1000, 10_000, 100_000]
    assert likelihood.numbers_of_samples(2500) == [1000, 2500]
    assert list(itertools.pairwise(likelihood.numbers_of_samples(10**6)))[-1] == (10**5, 10**6)
