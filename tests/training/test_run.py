"""`train`: what it returns and records, and what it does not depend on."""

import dataclasses
import json
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers.games import (
    LATENT,
    SHAPE,
    assert_close,
    assert_same_run,
    images,
    noisy,
    plain,
    same,
    train,
)

import advnets
from advnets import game, objectives, priors, updates
from advnets.training import Streamed
from advnets.training.checkpoints import numbers
from advnets.training.journal import METRICS, Record
from advnets.training.sources import epoch_order

KEY = jax.random.key(0)


def both(rule, kind=advnets.Algorithm1, **settings):
    return kind(generator_updates=rule, discriminator_updates=rule, **settings)


@pytest.fixture(scope="module")
def whole():
    """Five epochs, uninterrupted."""
    return train(5)


@pytest.mark.long
def test_an_evaluation_does_not_change_the_training(whole, tmp_path):
    kept = {}

    def evaluate(epoch, model):
        kept[epoch] = model
        return {"score": jnp.float32(epoch), "other": np.float64(model.sample(KEY, 3).mean())}

    trained = train(5, evaluate=evaluate, folder=tmp_path)
    assert list(kept) == [2, 4, 5]
    scores = [row.pop("score", None) for row in trained.metrics]
    assert scores == [None, 2.0, None, 4.0, 5.0]
    others = [row.pop("other") for row in trained.metrics if "other" in row]
    assert len(set(others)) == 3
    assert_same_run(trained, whole)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row.get("score") for row in rows] == scores
    # What was evaluated can be kept: the state's own arrays are donated to the next call.
    assert not same(kept[2], kept[4])
    assert same(kept[5], trained.model)


@pytest.mark.long
def test_the_model_keeps_the_prior():
    """A model of another prior would draw other samples without a word."""
    players = dataclasses.replace(plain(KEY), prior=priors.Normal(LATENT))
    trained = train(1, players)
    assert trained.model.prior == priors.Normal(LATENT)
    assert same(trained.model.generator, trained.generator)
    other = advnets.Model(trained.generator, priors.Uniform(LATENT))
    assert (trained.model.sample(KEY, 5) != other.sample(KEY, 5)).all()
    latents = priors.Normal(LATENT)(jax.random.split(jax.random.split(KEY, 1)[0])[0], 5)
    expected = [trained.generator(z) for z in latents]
    np.testing.assert_allclose(trained.model.sample(KEY, 5), expected, rtol=1e-5)


@pytest.mark.long
def test_uint8_images_train_as_the_floats_that_they_stand_for():
    floats = images().astype(np.float32) / np.float32(255)
    assert_close(train(2).players, train(2, data=floats).players, atol=1e-6)


@pytest.mark.long
def test_an_epoch_counts_data_whatever_k(whole):
    assert whole.updates == 50
    assert [row["updates"] for row in whole.metrics] == [10, 20, 30, 40, 50]
    trained = train(3, algorithm=advnets.Algorithm1(k=3), evaluate_every=3)
    assert trained.updates == 3 * 3 * 3
    assert [row["updates"] for row in trained.metrics] == [9, 18, 27]


@pytest.mark.long
def test_the_driver_tells_the_released_rule_how_long_an_epoch_is():
    """k = 3: of 53 rows an epoch has 3 iterations, 9 updates of D and 3 of G."""
    settings = {"saturate": 3, "final_momentum": 0.9, "divisor": 1.01}
    once = {"evaluate_every": 3}
    ours = train(3, algorithm=both(updates.Released(0.2, **settings), k=3), **once)
    rules = {
        "generator_updates": updates.released_updates(0.2, 3, stride=3, **settings),
        "discriminator_updates": updates.released_updates(0.2, 9, **settings),
    }
    assert_same_run(ours, train(3, algorithm=advnets.Algorithm1(k=3, **rules), **once))


def test_the_default_rule_is_the_released_one():
    rule = updates.Released(0.1)
    assert_same_run(train(1), train(1, algorithm=both(rule)))


def test_a_rule_whose_state_holds_the_parameters_can_be_donated():
    def init(params):
        return params

    def update(gradients, state, params):
        return jax.tree.map(lambda g: -0.1 * g, gradients), params

    train(1, algorithm=both(optax.GradientTransformation(init, update)))


def test_metrics_are_the_means_of_the_steps():
    """One epoch, replayed step by step by hand, with other costs and D's dropout."""
    step_key, order_key = jax.random.split(jax.random.key(1))
    players = noisy(KEY)
    objective = objectives.GAN(game.LazyDiscriminatorCost(), game.minimax_cost, False)
    algorithm = both(updates.Released(0.1), advnets.Simultaneous, objective=objective)
    settled = algorithm.for_epochs_of(10)
    data = images().astype(np.float32) / 255
    rows = np.asarray(epoch_order(order_key, jnp.array(0), 53, 5))

    def step(state, real):
        return settled.step(step_key, players, state, real)

    state, seen = jax.jit(lambda s: jax.lax.scan(step, s, jnp.asarray(data[rows])))(
        settled.init(players)
    )
    trained = train(1, players, algorithm=algorithm)
    (row,) = trained.metrics
    for player, values in seen.items():
        for name, steps in values.items():
            # Norms are those of one iteration in ten.
            mean = steps[0] if name == "gradient_norm" else np.mean(steps)
            np.testing.assert_allclose(row[player][name], mean, rtol=1e-5, err_msg=name)
    assert_close(state.players["generator"], trained.generator)


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
        train(epochs, dataclasses.replace(plain(KEY), generator=Counted(jnp.ones(6))))
        return traces

    assert run(epochs=6) == run(epochs=2)


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(1)
    assert not list(tmp_path.iterdir())


def test_a_last_update_that_overflows_is_neither_evaluated_nor_kept(tmp_path):
    def evaluate(epoch, model):
        raise AssertionError("a generator that is not finite was evaluated")

    # One iteration, in an order in which it sees neither player's update: all that it sees is
    # finite.
    algorithm = both(optax.sgd(1e38), advnets.Simultaneous)
    with pytest.raises(advnets.TrainingDiverged, match="a parameter is not finite"):
        train(1, folder=tmp_path, batch_size=53, evaluate=evaluate, algorithm=algorithm)
    assert not [*(tmp_path / "checkpoints").glob("[0-9]*")]


def test_divergence_stops_the_run_and_keeps_its_checkpoints(tmp_path):
    rule = optax.sgd(lambda count: jnp.where(count < 25, 0.1, 1e38))
    with pytest.raises(advnets.TrainingDiverged, match=r"at iteration 2\d: .* learning rate"):
        train(4, folder=tmp_path, algorithm=both(rule))
    assert numbers(tmp_path / "checkpoints") == [20]
    again = train(2, folder=tmp_path, algorithm=both(rule), resume=True)
    assert again.updates == 20
    assert [row["epoch"] for row in again.metrics] == [1, 2]


@pytest.mark.parametrize(
    ("rates", "culprit"),
    [
        ((1e30, 0.1), "generator"),
        pytest.param((0.1, 1e30), "discriminator", marks=pytest.mark.long),
    ],
)
def test_divergence_names_the_player_whose_rate_is_too_high(rates, culprit):
    generator, discriminator = map(optax.sgd, rates)
    rules = advnets.Algorithm1(generator_updates=generator, discriminator_updates=discriminator)
    with pytest.raises(advnets.TrainingDiverged, match=f"lower the {culprit}'s learning rate"):
        train(4, algorithm=rules)


@pytest.mark.parametrize("streamed", [False, True])
def test_data_that_are_not_finite_are_refused_by_row(streamed):
    data = np.zeros((53, *SHAPE), np.float32)
    data[[3, 17, 40], 0, 1] = np.nan, np.inf, -np.inf
    source = Streamed(data) if streamed else data
    rows = r"in rows \d+, \d+, \d+" if streamed else "3 values that are not finite .* 3, 17, 40;"
    with pytest.raises(ValueError, match=rows):
        train(1, data=source)
    beyond = np.zeros((53, *SHAPE))
    beyond[5] = 1e39
    with pytest.raises(ValueError, match="6 values that are not finite as float32, in row 5"):
        train(1, data=Streamed(beyond) if streamed else beyond)


@pytest.mark.long
def test_what_an_evaluation_returns_is_checked(tmp_path):
    for taken in ("epoch", "updates", "generator"):
        with pytest.raises(ValueError, match=f"evaluate returned '{taken}'"):
            train(2, evaluate=lambda *_, taken=taken: {taken: 99})
    with pytest.raises(ValueError, match=r"evaluate returned a\.b of type object"):
        train(2, evaluate=lambda *_: {"a": {"b": object()}})
    found = {"x": jnp.array(jnp.nan), "y": [1.0, -np.inf], "z": np.float32(0.5)}
    with pytest.warns(RuntimeWarning, match="evaluate returned x = nan, .* recorded as null"):
        trained = train(2, folder=tmp_path, evaluate=lambda *_: found)
    last = trained.metrics[-1]
    assert (last["x"], last["y"], last["z"]) == (None, [1.0, None], 0.5)
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()


def test_no_number_that_json_lacks_is_written(tmp_path):
    record = Record(tmp_path, iterations=1, k=1)
    with pytest.raises(ValueError, match="not JSON compliant"):
        record.write([{"epoch": 1, "value": float("nan")}])
    assert not record.metrics
    assert not (tmp_path / METRICS).exists()


def test_progress_goes_to_stderr_with_a_rate(capfd):
    train(1, progress=True)
    captured = capfd.readouterr()
    assert "updates/s" in captured.err
    assert "D(G(z))=" in captured.err
    assert not captured.out


def test_frozen_arrays_come_back_as_they_were():
    players = plain(KEY)
    frozen = eqx.tree_at(
        lambda p: (p.generator.linear.bias, p.discriminator.linear.weight),
        players,
        replace_fn=advnets.players.Frozen,
    )
    trained = train(1, frozen)
    assert same(trained.generator.linear.bias, players.generator.linear.bias)
    assert same(trained.discriminator.linear.weight, players.discriminator.linear.weight)
    assert not same(trained.generator.linear.weight, players.generator.linear.weight)
    assert trained.model.sample(KEY, 2).shape == (2, *SHAPE)


def test_a_dictionary_may_be_a_batch():
    class Masked(objectives.Objective):
        def costs(self, draws, D, real, fake):
            on_data, on_fake = D(None, real["image"] * real["mask"]), D(None, fake)
            return objectives.Costs(jnp.mean(on_fake) - jnp.mean(on_data), -jnp.mean(on_fake))

    def fake(draws, generator, prior, real):
        return generator(draws.generator, prior(draws.latents, len(real["image"])))

    data = {
        "image": images().astype(np.float32),
        "mask": np.random.default_rng(1).random((53, *SHAPE)).astype(np.float32),
    }
    algorithm = both(optax.sgd(0.1), objective=Masked(), fake=fake)
    trained = train(1, data=data, algorithm=algorithm)
    assert trained.metrics[0]["discriminator"].keys() == {"cost", "gradient_norm"}


class Spy(eqx.Module):
    """A generator that notes the setting under which it is traced."""

    weight: jax.Array
    seen: ClassVar[set] = set()

    def __call__(self, z):
        self.seen.add(jax.config.jax_default_matmul_precision)
        return (self.weight @ z).reshape(SHAPE)


@pytest.mark.long
def test_train_honours_the_precision_set_around_it():
    spied = dataclasses.replace(plain(KEY), generator=Spy(jnp.zeros((6, LATENT))))
    with jax.default_matmul_precision("tensorfloat32"):
        train(1, spied)
    assert Spy.seen == {"tensorfloat32"}
