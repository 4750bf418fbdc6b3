"""The deep belief network's benchmark: two stages, stopped and resumed, and its likelihood."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.runs import rows_of
from PIL import Image

import advnets
from advnets import bench
from advnets.baselines import dbn as networks
from advnets.baselines import rbm
from advnets.bench.cli import main
from advnets.bench.experiment import Request, execute, prepare
from advnets.bench.systems import dbn

RECIPE = dbn.DBNSettings(
    "digits",
    epochs=2,
    lower_epochs=2,
    evaluate_every=1,
    hidden_sizes=(14, 12),
    learning_rate=0.2,
    num_samples=60,
    num_chains=6,
    burn_in=5,
    thin=2,
)
TINY = dataclasses.replace(bench.BENCHMARKS["dbn"], recipe=RECIPE)


@pytest.fixture(scope="module", autouse=True)
def small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dbn, "FEWEST", 250)
        # What is measured of all chains has tests of its own, and takes its time.
        patch.setattr(dbn.DeepBeliefNetwork, "evaluations", {"likelihood": dbn.Likelihood()})
        yield


@pytest.mark.long
def test_the_lower_machine_learns_first_and_stays_as_it_is(whole):
    folder, result = whole
    assert [row["epoch"] for row in rows_of(folder / "first-stage")] == [1, 2]
    assert result.epochs == 2
    net = advnets.load_model(folder).chain.model
    lower = advnets.load_model(folder / "first-stage")
    assert [size.shape for size in (net.lower.weights, net.upper.weights)] == [(64, 14), (14, 12)]
    for ours, expected in zip(jax.tree.leaves(net.lower), jax.tree.leaves(lower), strict=True):
        np.testing.assert_array_equal(ours, expected)
    with Image.open(folder / "filters.png") as picture:
        pixels = np.asarray(picture).astype(int)
    # Ten units in a row, each scaled by itself, with lines between them.
    assert pixels.shape == (1 + 9, 1 + 10 * 9)
    weights = np.asarray(lower.weights[:, 1]).reshape(8, 8)
    shown = 255 * (0.5 + 0.5 * weights / abs(weights).max())
    assert abs(pixels[1:9, 10:18] - shown).max() <= 1
    assert "Weights of hidden units as images" in (folder / "report.html").read_text()


@pytest.mark.long
def test_a_run_stopped_in_between_goes_on_to_the_same_numbers(whole, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "stack", stop)  # after the first stage
        with pytest.raises(KeyboardInterrupt):
            bench.run(TINY, out=tmp_path, progress=False)
    assert not (tmp_path / "metrics.jsonl").exists()
    with pytest.raises(KeyboardInterrupt):  # after an epoch of the second one
        execute(
            prepare(TINY, Request(out=tmp_path, resume=True, callbacks=(stop,))),
            progress=False,
        )
    assert len(rows_of(tmp_path)) == 1
    result = bench.run(TINY, out=tmp_path, resume=True, progress=False)
    assert result.parzen == whole[1].parzen
    assert result.evaluations == whole[1].evaluations
    for name in ("metrics.jsonl", "first-stage/metrics.jsonl", "generator.safetensors"):
        assert (tmp_path / name).read_bytes() == (whole[0] / name).read_bytes(), name


@pytest.mark.long
def test_its_likelihood_is_that_of_its_machines(whole):
    folder, result = whole
    found = result.evaluations["likelihood"]
    model = advnets.load_model(folder)
    net = model.chain.model
    exact = float(jax.jit(rbm.log_partition)(net.upper))
    log_z = found["log_partition"]
    assert abs(log_z["forward"] - exact) < 0.1
    assert abs(log_z["reverse"] - exact) < 0.2  # from chains that have hardly burnt in
    assert log_z["gap"] == log_z["reverse"] - log_z["forward"]
    test = advnets.data.load("digits").test
    visible = rbm.visible_of(jax.random.key(5), jnp.asarray(test))
    logs = networks.log_weights(jax.random.key(6), net, visible, 10) - exact
    bound = found["bound"]
    assert bound["n"] == len(test)
    assert abs(bound["mean"] - logs.mean()) < 4 * bound["standard_error"]
    importance = found["importance_bound"]["mean"]
    ours = (jax.nn.logsumexp(logs, axis=0) - jnp.log(10)).mean()
    assert bound["mean"] < importance < 0
    assert abs(importance - ours) < 4 * bound["standard_error"]
    line = dbn.Likelihood().line(found)
    assert f"at least {bound['mean']:.2f} ± {bound['standard_error']:.2f} nats" in line


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--hidden-sizes", "10", "0"], "the number of hidden units must be at least 1; got 0"),
        (["--lower-epochs", "0"], "epochs of the lower machine must be at least 1; got 0"),
        (["--gibbs-steps", "0"], "the number of Gibbs steps must be at least 1; got 0"),
        (["--persistent-chains", "0"], "the number of persistent chains must be at least 1; got 0"),
        (["--learning-rate", "0"], "the learning rate must be above 0; got 0.0"),
        (["--weight-decay", "-1"], "the weight decay must be at least 0; got -1.0"),
        (["--num-chains", "0"], "the number of chains must be at least 1"),
        (["--preprocessing", "gcn"], "pixels must be in [0, 1], and those of gcn"),
        (["--hidden-sizes", "1000000", "1000000"], "the model's arrays need 11,176.6 GiB"),
        (["--epochs", "2147483647"], "epochs must be at most"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(tmp_path, capsys, option, message):
    arguments = ["dbn", "--dataset", "digits", *option, "--out", str(tmp_path / "run")]
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
