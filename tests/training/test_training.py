"""The driver: the order of the data, exact resumption, metrics, refusals."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import advnets
from advnets import training

LATENT, SHAPE = 4, (2, 3)


def images(n=53):
    return np.random.default_rng(0).integers(0, 256, (n, *SHAPE), np.uint8)


def players(key):
    g_key, d_key = jax.random.split(key)
    return (
        advnets.networks.mlp_generator(g_key, LATENT, SHAPE, hidden_sizes=[5], weight_range=0.5),
        advnets.networks.maxout_discriminator(d_key, SHAPE, units=[4], pieces=2, weight_range=0.5),
    )


def train(epochs, data=None, **settings_):
    key = jax.random.key(1)
    generator, discriminator = players(jax.random.key(0))
    given_ = {
        "prior": advnets.priors.Uniform(LATENT),
        "batch_size": 5,
        "evaluate_every": 2,
        "progress": False,
    }
    return advnets.train(
        key,
        generator,
        discriminator,
        images() if data is None else data,
        epochs=epochs,
        **(given_ | settings_),
    )


def leaves(trained):
    arrays = eqx.filter((trained.generator, trained.discriminator), eqx.is_array)
    return jax.device_get(jax.tree.leaves(arrays))


def equal(a, b):
    pairs = zip(leaves(a), leaves(b), strict=True)
    return a.metrics == b.metrics and all((x == y).all() for x, y in pairs)


@given(n=st.integers(1, 60), batch_size=st.integers(1, 20), epoch=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_an_epoch_visits_every_row_at_most_once(n, batch_size, epoch):
    rows = training.epoch_order(jax.random.key(0), jnp.array(epoch), n, batch_size)
    assert rows.shape == (n // batch_size, batch_size)
    flat = np.asarray(rows).ravel()
    assert len(set(flat.tolist())) == len(flat)
    assert ((flat >= 0) & (flat < n)).all()


def test_epochs_have_orders_of_their_own_and_leave_out_other_rows():
    orders = [
        np.asarray(training.epoch_order(jax.random.key(0), jnp.array(epoch), 53, 5)).ravel()
        for epoch in range(40)
    ]
    assert len({tuple(order) for order in orders}) == 40
    assert len({row for order in orders for row in set(range(53)) - set(order)}) > 40


@pytest.mark.parametrize("order", ["alternating", "simultaneous"])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(tmp_path, order):
    whole = train(6, folder=tmp_path / "whole", order=order)
    train(4, folder=tmp_path / "parts", order=order)
    # As a kill leaves it: rows past the checkpoint, the last of them cut short.
    log = tmp_path / "parts" / "metrics.jsonl"
    log.write_text(log.read_text() + '{"epoch": 5}\n{"epo')
    resumed = train(6, folder=tmp_path / "parts", order=order, resume=True)
    assert equal(whole, resumed)
    assert log.read_text() == (tmp_path / "whole" / "metrics.jsonl").read_text()
    assert [json.loads(line) for line in log.read_text().splitlines()] == whole.metrics
    # Resuming what is finished changes nothing.
    assert equal(whole, train(6, folder=tmp_path / "parts", order=order, resume=True))


def test_how_iterations_are_split_into_programs_does_not_matter(monkeypatch):
    whole = train(5)
    monkeypatch.setattr(training, "ITERATIONS_PER_CALL", 7)
    assert equal(whole, train(5))


def test_an_evaluation_does_not_change_the_training():
    calls = []

    def evaluate(epoch, generator):
        calls.append(
            (
                epoch,
                advnets.sample(
                    jax.random.key(0), generator, 3, prior=advnets.priors.Uniform(LATENT)
                ),
            )
        )
        return {"score": float(epoch)}

    with_it, without = train(5, evaluate=evaluate), train(5)
    assert [epoch for epoch, _ in calls] == [2, 4, 5]
    assert [row.get("score") for row in with_it.metrics] == [None, 2.0, None, 4.0, 5.0]
    for x, y in zip(leaves(with_it), leaves(without), strict=True):
        assert (x == y).all()


def test_uint8_images_train_as_the_floats_that_they_stand_for():
    floats = images().astype(np.float32) / np.float32(255)
    for x, y in zip(leaves(train(2)), leaves(train(2, floats)), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)


def test_an_epoch_counts_data_whatever_k():
    for k, iterations in ((1, 10), (2, 5), (3, 3)):
        trained = train(3, k=k)
        assert trained.updates == 3 * iterations * k
        assert [row["updates"] for row in trained.metrics] == [
            iterations * k * epoch for epoch in (1, 2, 3)
        ]


def test_the_default_rules_count_discriminator_updates():
    explicit = train(
        3,
        k=2,
        generator_updates=advnets.updates.released_updates(0.1, 5, stride=2, divisor=1.000004),
        discriminator_updates=advnets.updates.released_updates(0.1, 10),
    )
    assert equal(train(3, k=2), explicit)
    unlike = train(3, k=2, generator_updates=advnets.updates.released_updates(0.1, 5, stride=2000))
    assert not equal(explicit, unlike)


def test_a_rule_whose_state_holds_the_parameters_can_be_donated():
    def init(params):
        return params

    def update(gradients, state, params):
        return jax.tree.map(lambda g: -0.1 * g, gradients), params

    rule = optax.GradientTransformation(init, update)
    train(1, generator_updates=rule, discriminator_updates=rule)


def test_an_evaluated_generator_can_be_kept(tmp_path):
    kept = {}

    def evaluate(epoch, generator):
        kept[epoch] = generator
        return {"score": jnp.float32(epoch), "other": np.float64(1.5)}

    trained = train(4, evaluate=evaluate, folder=tmp_path)
    first = advnets.sample(jax.random.key(0), kept[2], 3, prior=advnets.priors.Uniform(LATENT))
    assert np.isfinite(first).all()
    assert not (
        first == advnets.sample(jax.random.key(0), kept[4], 3, prior=advnets.priors.Uniform(LATENT))
    ).all()
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row.get("score") for row in rows] == [None, 2.0, None, 4.0]
    assert trained.updates == 40


def test_metrics_are_the_means_of_the_steps():
    """One epoch, replayed step by step by hand."""
    key = jax.random.key(1)
    step_key, order_key = jax.random.split(key)
    generator, discriminator = players(jax.random.key(0))
    algorithm = advnets.Algorithm1(
        generator,
        discriminator,
        advnets.priors.Uniform(LATENT),
        generator_updates=advnets.updates.released_updates(0.1, 10),
        discriminator_updates=advnets.updates.released_updates(0.1, 10),
    )
    state, values = algorithm.init(generator, discriminator), []
    step = jax.jit(algorithm.step)
    data = images().astype(np.float32) / 255
    for rows in np.asarray(training.epoch_order(order_key, jnp.array(0), 53, 5)):
        state, info = step(step_key, state, jnp.asarray(data[rows]))
        values.append(jax.device_get((info.discriminator.value, info.generator.cost)))
    (row,) = train(1).metrics
    got = row["discriminator"]["value"], row["generator"]["cost"]
    np.testing.assert_allclose(got, np.mean(values, axis=0), rtol=1e-5)


def test_a_run_compiles_one_program_for_each_length():
    traces = 0

    class Counted(eqx.Module):
        weight: jax.Array

        def __call__(self, z):
            nonlocal traces
            traces += 1
            return jax.nn.sigmoid(self.weight * z[0]).reshape(SHAPE)

    def run(epochs):
        nonlocal traces
        traces = 0
        _, discriminator = players(jax.random.key(0))
        advnets.train(
            jax.random.key(0),
            Counted(jnp.ones(6)),
            discriminator,
            images(),
            epochs=epochs,
            batch_size=5,
            prior=advnets.priors.Uniform(LATENT),
            evaluate_every=10,
            progress=False,
        )
        return traces

    assert run(epochs=30) == run(epochs=10)


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(1)
    assert not list(tmp_path.iterdir())


def test_a_last_update_that_overflows_is_neither_evaluated_nor_kept(tmp_path):
    def evaluate(epoch, generator):
        raise AssertionError("a generator that is not finite was evaluated")

    with pytest.raises(advnets.TrainingDiverged, match="a parameter is not finite"):
        train(
            1,
            folder=tmp_path,
            batch_size=len(images()),  # one iteration,
            order="simultaneous",  # which sees neither player's update: what it sees is finite
            evaluate=evaluate,
            generator_updates=optax.sgd(1e38),
            discriminator_updates=optax.sgd(1e38),
        )
    assert not [*(tmp_path / "checkpoints").glob("[0-9]*")]


def test_divergence_stops_the_run_and_keeps_its_checkpoints(tmp_path):
    train(2, folder=tmp_path)
    with pytest.raises(advnets.TrainingDiverged, match="lower the learning rate"):
        train(
            8,
            folder=tmp_path,
            resume=True,
            generator_updates=advnets.updates.released_updates(1e30, 10),
            discriminator_updates=advnets.updates.released_updates(1e30, 10),
        )
    assert (tmp_path / "checkpoints" / "2").is_dir()
    assert train(4, folder=tmp_path, resume=True).updates == 40


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1; got 0"),
        ({"epochs": 1, "batch_size": 0}, "batch_size must be at least 1; got 0"),
        ({"epochs": 1, "k": 0}, "k must be at least 1; got 0"),
        ({"epochs": 1, "evaluate_every": 0}, "evaluate_every must be at least 1; got 0"),
        ({"epochs": 1, "batch_size": 54}, "needs 54 examples .* got 53"),
        ({"epochs": 1, "batch_size": 20, "k": 3}, "needs 60 examples .* got 53"),
        ({"epochs": 1, "data": images().astype(np.int32)}, "uint8 in 0..255 or floats; got int32"),
        ({"epochs": 1, "prior": advnets.priors.Uniform(9)}, "latent vector of size 9"),
        ({"epochs": 1, "data": np.zeros((53, 3, 2), np.uint8)}, r"shape \(2, 3\) .* \(3, 2\)"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(settings_, message):
    with pytest.raises(ValueError, match=message):
        train(**settings_)


def test_a_discriminator_for_other_examples_is_refused():
    generator, _ = players(jax.random.key(0))
    other = advnets.networks.maxout_discriminator(jax.random.key(0), (7,), units=[4])
    with pytest.raises(ValueError, match="discriminator gives no logit for an example of shape"):
        advnets.train(
            jax.random.key(0),
            generator,
            other,
            images(),
            epochs=1,
            prior=advnets.priors.Uniform(LATENT),
            batch_size=5,
        )


def test_a_folder_with_a_run_is_not_overwritten(tmp_path):
    train(2, folder=tmp_path)
    before = (tmp_path / "metrics.jsonl").read_text()
    with pytest.raises(FileExistsError, match="already holds a run"):
        train(2, folder=tmp_path)
    assert (tmp_path / "metrics.jsonl").read_text() == before


def test_resuming_needs_a_checkpoint_of_the_same_run_with_epochs_to_go(tmp_path):
    with pytest.raises(FileNotFoundError, match="no run to resume"):
        train(2, folder=tmp_path / "none", resume=True)
    train(4, folder=tmp_path / "run")
    with pytest.raises(ValueError, match="already holds 4 epochs"):
        train(2, folder=tmp_path / "run", resume=True)
    for settings_, message in (
        ({"order": "simultaneous"}, "another order"),
        ({"batch_size": 10}, "another batch size"),
        ({"data": images()[::-1].copy()}, "another data"),
    ):
        with pytest.raises(advnets.CheckpointError, match=message):
            train(6, folder=tmp_path / "run", resume=True, **settings_)
    with pytest.raises(advnets.CheckpointError, match="other shapes"):
        train(6, folder=tmp_path / "run", resume=True, generator_updates=optax.sgd(0.1))
    generator, _ = players(jax.random.key(0))
    wider = advnets.networks.maxout_discriminator(jax.random.key(0), SHAPE, units=[6], pieces=2)
    with pytest.raises(advnets.CheckpointError, match="other shapes"):
        advnets.train(
            jax.random.key(1),
            generator,
            wider,
            images(),
            epochs=6,
            prior=advnets.priors.Uniform(LATENT),
            batch_size=5,
            folder=tmp_path / "run",
            resume=True,
        )


def test_a_run_stopped_before_its_first_checkpoint_starts_again(tmp_path):
    train(2, folder=tmp_path / "whole")
    (tmp_path / "early").mkdir()
    (tmp_path / "early" / "metrics.jsonl").write_text('{"epoch": 1}\n')
    train(2, folder=tmp_path / "early", resume=True)
    logs = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "early")]
    assert logs[0] == logs[1]


def test_a_damaged_checkpoint_is_refused_in_a_sentence(tmp_path):
    train(2, folder=tmp_path)
    for path in (tmp_path / "checkpoints" / "2").rglob("*"):
        if path.is_file() and path.stat().st_size > 0:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(advnets.CheckpointError, match="damaged"):
        train(4, folder=tmp_path, resume=True)


def test_a_log_that_does_not_match_its_checkpoint_is_refused(tmp_path):
    train(4, folder=tmp_path)
    log = tmp_path / "metrics.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:2]))
    with pytest.raises(advnets.CheckpointError, match="does not hold the 4 epochs"):
        train(6, folder=tmp_path, resume=True)
    log.unlink()
    with pytest.raises(FileExistsError, match="already holds checkpoints"):
        train(6, folder=tmp_path)


def test_progress_goes_to_stderr_with_a_rate(capfd):
    train(2, progress=True)
    captured = capfd.readouterr()
    assert "updates/s" in captured.err
    assert not captured.out


def test_equinox_players_train_too():
    g_key, d_key = jax.random.split(jax.random.key(0))
    trained = advnets.train(
        jax.random.key(1),
        eqx.nn.MLP(LATENT, 6, 8, 1, key=g_key),
        eqx.nn.MLP(6, "scalar", 8, 1, key=d_key),
        images().reshape(53, 6),
        epochs=2,
        prior=advnets.priors.Normal(LATENT),
        generator_updates=optax.sgd(1e-2),
        discriminator_updates=optax.sgd(1e-2),
        batch_size=5,
        k=2,
        progress=False,
    )
    assert advnets.sample(
        jax.random.key(0), trained.generator, 3, prior=advnets.priors.Normal(LATENT)
    ).shape == (3, 6)
