"""One model that learns through the driver: what it computes, resuming, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import advnets
from advnets.players import Frozen
from advnets.training import Learner, fit
from advnets.training.sources import epoch_order

DATA = np.asarray(jax.random.normal(jax.random.key(1), (50, 3)) + 2, np.float32)
# A model with a part that stays as it is.
MODEL = {"mean": jnp.zeros(3), "scale": Frozen(jnp.full(3, 2.0))}


def cost(key, model, memory, batch):
    noise = jax.random.normal(key, batch.shape)
    residual = batch + 0.1 * noise - (model["scale"] * model["mean"])[None]
    return jnp.mean(residual**2) / 2, memory + 1, {"memory": memory}


LEARNER = Learner(cost=cost, updates=optax.sgd(0.1), memory=jnp.zeros(()))


def fitted(epochs=4, **options):
    options = {"learner": LEARNER, "batch_size": 10, "evaluate_every": 2, **options}
    return fit(jax.random.key(0), MODEL, DATA, epochs=epochs, progress=False, **options)


def test_updates_are_those_of_a_plain_loop():
    step_key, order_key = jax.random.split(jax.random.key(0))
    mean, costs = np.zeros(3), []
    for iteration in range(20):
        epoch, number = divmod(iteration, 5)
        rows = np.asarray(epoch_order(order_key, jnp.asarray(epoch), 50, 10))[number]
        noise = jax.random.normal(jax.random.fold_in(step_key, iteration), (10, 3))
        residual = np.float64(DATA[rows]) + 0.1 * np.float64(noise) - 2 * mean
        costs.append(np.mean(residual**2) / 2)
        mean = mean + 0.1 * 2 * residual.sum(0) / residual.size
    found = fitted()
    np.testing.assert_allclose(found.model["mean"], mean, rtol=1e-5)
    np.testing.assert_array_equal(found.model["scale"], [2, 2, 2])  # as it was, and no Frozen
    rows = [row["model"]["cost"] for row in found.metrics]
    np.testing.assert_allclose(rows, np.reshape(costs, (4, 5)).mean(1), rtol=1e-5)
    assert [row["model"]["memory"] for row in found.metrics] == [2, 7, 12, 17]
    assert found.memory == 20
    assert found.updates == 20


def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path):
    whole = fitted(folder=tmp_path / "whole")
    fitted(2, folder=tmp_path / "parts")
    parts = fitted(folder=tmp_path / "parts", resume=True)
    np.testing.assert_array_equal(parts.model["mean"], whole.model["mean"])
    assert parts.metrics == whole.metrics
    logs = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "parts")]
    assert logs[0] == logs[1]
    saved = advnets.load_model(tmp_path / "parts", like=parts.model)
    np.testing.assert_array_equal(saved["mean"], whole.model["mean"])


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"batch_size": 5}, "another batch size"),
        (
            {"learner": Learner(cost=cost, updates=optax.sgd(0.2), memory=jnp.zeros(()))},
            "different updates",
        ),
        (
            {"learner": Learner(cost=cost, updates=optax.sgd(0.1), memory=jnp.ones(()))},
            "another memory",
        ),
    ],
)
def test_another_run_is_refused(tmp_path, other, named):
    fitted(2, folder=tmp_path)
    with pytest.raises(advnets.training.CheckpointError, match=named):
        fitted(folder=tmp_path, resume=True, **other)


def test_two_devices_compute_the_same():
    np.testing.assert_allclose(fitted(devices=2).model["mean"], fitted().model["mean"], rtol=1e-6)


def test_evaluations_and_callbacks_see_the_model():
    seen = []
    found = fitted(
        evaluate=lambda epoch, model: {"first": model["mean"][0]},
        callbacks=[lambda snapshot: seen.append((snapshot.epoch, snapshot.model["mean"][0]))],
    )
    assert [epoch for epoch, _ in seen] == [2, 4]
    assert found.metrics[3]["first"] == seen[1][1] == found.model["mean"][0]


def test_a_schedule_can_know_the_length_of_an_epoch():
    def updates(iterations):
        return optax.sgd(lambda count: jnp.where(count < 2 * iterations, 0.1, 0.0))

    halted = fitted(4, learner=Learner(cost=cost, updates=updates, memory=jnp.zeros(())))
    np.testing.assert_array_equal(halted.model["mean"], fitted(2).model["mean"])


def test_a_cost_that_is_not_finite_ends_the_run():
    def bad(key, model, memory, batch):
        return jnp.sum(model["mean"]) + jnp.where(memory < 7, 0, jnp.nan), memory + 1, {}

    with pytest.raises(advnets.TrainingDiverged, match="iteration 8: the model's cost is nan"):
        fitted(learner=Learner(cost=bad, updates=optax.sgd(0.1), memory=jnp.zeros(())))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda key, model, memory, batch: model["mean"].sum(), "a scalar, the memory and"),
        (lambda key, model, memory, batch: (model["mean"], memory, {}), "'cost' must be a scalar"),
        (lambda key, model, memory, batch: (batch.sum(), None, {}), "memory of the shapes"),
        (
            lambda key, model, memory, batch: (batch.sum(), memory, {"cost": 1.0}),
            "'cost' is always recorded",
        ),
        (lambda key, model, memory, batch: (batch.sum(), memory, {"x": batch}), "'x' must be a"),
        (lambda key, model, memory, batch: batch @ batch, "the cost can't be computed"),
    ],
)
def test_a_cost_that_does_not_fit_is_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        fitted(learner=Learner(cost=bad, updates=optax.sgd(0.1), memory=jnp.zeros(())))
