"""Resumption: bit for bit, and refused for another run."""

import dataclasses
import functools
import json
import shutil

import equinox as eqx
import jax
import optax
import pytest
from helpers import seams
from helpers.games import (
    LATENT,
    Dense,
    assert_same_run,
    images,
    noisy,
    plain,
    same,
    train,
    with_batch_norm,
)

import advnets
from advnets import game, layers, objectives, preprocessing, priors, updates
from advnets.players import Frozen, Stateful
from advnets.training import Resident
from advnets.training.checkpoints import CHECKPOINTS

KEY = jax.random.key(0)


def normalised(key):
    """Batch and spectral normalisation, whose states are part of the run."""
    g_key, d_key = jax.random.split(key)

    def build(key):
        linear = eqx.nn.Linear(6, 1, key=key)
        flat, scalar = (advnets.networks.Reshape(shape) for shape in ((6,), ()))
        norm = eqx.nn.SpectralNorm(linear, "weight", key=key)
        return eqx.nn.Sequential([flat, norm, scalar])

    generator = Stateful(*with_batch_norm(g_key))
    discriminator = Stateful(*eqx.nn.make_with_state(build)(d_key))
    return advnets.Players(generator, discriminator, priors.Uniform(LATENT))


CASES = {
    "dropout, averaged": (noisy, advnets.Simultaneous(average=0.9)),
    "stateful, k = 2": (normalised, advnets.Algorithm1(k=2)),
}


@pytest.mark.parametrize(
    "name", [pytest.param("dropout, averaged", marks=pytest.mark.long), "stateful, k = 2"]
)
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(tmp_path, name):
    build, algorithm = CASES[name]
    run = functools.partial(train, players=build(KEY), algorithm=algorithm)
    whole = run(6, folder=tmp_path / "whole")
    run(4, folder=tmp_path / "parts")
    # As a kill leaves it: rows past the checkpoint, the last of them half written.
    log = tmp_path / "parts" / "metrics.jsonl"
    log.write_text(log.read_text() + '{"epoch": 5}\n{"epo')
    resumed = run(6, folder=tmp_path / "parts", resume=True)
    assert_same_run(whole, resumed)
    if algorithm.average is not None:
        assert same(whole.averaged, resumed.averaged)
    assert log.read_text() == (tmp_path / "whole" / "metrics.jsonl").read_text()
    assert [json.loads(line) for line in log.read_text().splitlines()] == whole.metrics
    # Resuming what is finished changes nothing.
    assert_same_run(whole, run(6, folder=tmp_path / "parts", resume=True))


@pytest.mark.long
def test_how_iterations_are_split_into_programs_does_not_matter(monkeypatch):
    whole = train(2)
    seams.iterations_per_call(monkeypatch, 7)  # 7, 7 and 6: across the end of an epoch
    assert_same_run(whole, train(2))


def rules(generator=None, discriminator=None, **settings):
    """A run's settings, each built anew."""
    return advnets.Algorithm1(
        objective=objectives.GAN(generator_cost=game.BlendedCost(1.0, 1.0)),
        generator_updates=generator or optax.sgd(0.1, momentum=0.5),
        discriminator_updates=discriminator or optax.chain(optax.clip(1.0), optax.sgd(0.1)),
        **settings,
    )


def preprocess(images, scale):
    return preprocessing.to_unit_interval(images) * scale


def run(epochs, folder, *, scale=2.0, data=None, players=None, **settings):
    source = Resident(
        images() if data is None else data, functools.partial(preprocess, scale=scale)
    )
    given = {"algorithm": rules(), "resume": True}
    return train(epochs, players or plain(KEY), source, folder=folder, **given | settings)


@pytest.fixture(scope="module")
def two_epochs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    run(2, folder, resume=False)
    return folder


def with_frozen(value):
    """The same layers and trained arrays, with a frozen array beside them."""
    bias = Frozen(jax.numpy.full(6, value))
    return eqx.tree_at(lambda p: p.generator.linear.bias, plain(KEY), bias)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"algorithm": advnets.Simultaneous()}, "another order"),
        ({"batch_size": 10}, "another batch size"),
        ({"data": images()[::-1].copy()}, "different data"),
        ({"scale": 3.0}, "another preprocessing"),
        ({"algorithm": dataclasses.replace(rules(), objective=objectives.GAN())}, "objective"),
        (
            {"algorithm": rules(generator=optax.sgd(0.2, momentum=0.5))},
            "different generator updates",
        ),
        ({"algorithm": rules(discriminator=optax.sgd(0.1))}, "different discriminator updates"),
        ({"algorithm": rules(discriminator=updates.Released())}, "different discriminator updates"),
        ({"algorithm": rules(k=2)}, "another k"),
        ({"algorithm": rules(average=0.9)}, "another average"),
        (
            {"algorithm": rules(fake=lambda d, g, p, x: g(d.generator, p(d.latents, len(x))))},
            "another fake",
        ),
        ({"players": dataclasses.replace(plain(KEY), prior=priors.Normal(LATENT))}, "prior"),
        ({"players": with_frozen(1.0)}, "another kind of players"),
    ],
)
def test_another_run_is_refused_by_name(two_epochs, settings, message):
    with pytest.raises(advnets.CheckpointError, match=message):
        run(3, two_epochs, **settings)


def test_equal_settings_built_twice_resume(two_epochs):
    assert run(2, two_epochs).updates == 20
    assert run(2, two_epochs, algorithm=rules(norms_every=3)).updates == 20


@pytest.mark.long
def test_other_settings_of_a_layer_are_another_run(tmp_path):
    def players(keep, frozen=1.0, pieces=2):
        generator = with_frozen(frozen).generator
        last = layers.Maxout(KEY, 6, units=1, pieces=pieces, weight_range=0.5)
        parts = [layers.Dropout(keep), advnets.networks.Reshape((6,)), last]
        return advnets.Players(generator, eqx.nn.Sequential(parts), priors.Uniform(LATENT))

    run(1, tmp_path, players=players(0.5), resume=False)
    for other, message in (
        (players(0.8), "another kind of players"),
        (players(0.5, frozen=2.0), "another kind of players"),
        (players(0.5, pieces=3), "players or update rules with other shapes"),
    ):
        with pytest.raises(advnets.CheckpointError, match=message):
            run(2, tmp_path, players=other)
    assert run(1, tmp_path, players=players(0.5)).updates == 10


def test_resuming_needs_a_run_with_epochs_to_go(two_epochs, tmp_path):
    with pytest.raises(FileNotFoundError, match="no run to resume"):
        run(2, tmp_path / "none")
    with pytest.raises(ValueError, match="already holds 2 epochs"):
        run(1, two_epochs)


def test_players_of_other_layers_are_refused(two_epochs):
    without_bias = Dense(eqx.nn.Linear(6, 1, use_bias=False, key=KEY), ())
    players = dataclasses.replace(plain(KEY), discriminator=without_bias)
    with pytest.raises(advnets.CheckpointError, match="another kind of players"):
        run(3, two_epochs, players=players)


def test_a_folder_with_a_run_is_not_overwritten(two_epochs):
    before = (two_epochs / "metrics.jsonl").read_text()
    with pytest.raises(FileExistsError, match="already holds a run"):
        run(2, two_epochs, resume=False)
    assert (two_epochs / "metrics.jsonl").read_text() == before


def test_a_run_stopped_before_its_first_checkpoint_starts_again(two_epochs, tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1}\n')
    run(2, tmp_path)
    logs = [(folder / "metrics.jsonl").read_text() for folder in (two_epochs, tmp_path)]
    assert logs[0] == logs[1]


@pytest.mark.long
def test_settings_may_be_changed_on_purpose(tmp_path):
    """Rates of 0 from the second epoch on: what has been learned stays as it is."""
    still = advnets.Algorithm1(
        generator_updates=optax.sgd(0.0), discriminator_updates=optax.sgd(0.0)
    )
    moving = advnets.Algorithm1(
        generator_updates=optax.sgd(0.1), discriminator_updates=optax.sgd(0.1)
    )
    run = functools.partial(train, players=plain(KEY), folder=tmp_path)
    before = run(2, algorithm=moving)
    with pytest.raises(advnets.CheckpointError) as refused:
        run(4, algorithm=still, resume=True)
    # Of texts of some hundred characters, what differs.
    assert str(refused.value).endswith(
        "(it had ...step_size=-0.1..., this has ...step_size=-0.0...), or accept the change with "
        'resume="changed"'
    )
    after = run(4, algorithm=still, resume="changed")
    assert same(before.players, after.players)
    assert [(c.iteration, c.name) for c in after.changes] == [
        (20, "discriminator updates"),
        (20, "generator updates"),
    ]
    assert before.changes == ()
    assert (after.changes[0].was, after.changes[0].now) == (
        "...step_size=-0.1...", "...step_size=-0.0...",
    )  # fmt: skip
    # It is the run's from then on, and stays on record.
    assert run(5, algorithm=still, resume=True).changes == after.changes
    with pytest.raises(advnets.CheckpointError, match="another batch size"):
        run(6, algorithm=moving, batch_size=10, resume="changed")


@pytest.mark.long
def test_types_and_random_numbers_are_compared(two_epochs):
    for changed, message in (
        (jax.enable_x64(True), "another precision of new arrays"),
        (jax.threefry_partitionable(False), "another random numbers"),
    ):
        with changed, pytest.raises(advnets.CheckpointError, match=message):
            run(3, two_epochs)


def test_a_trained_model_without_checkpoints_is_kept(tmp_path):
    train(1, folder=tmp_path)
    shutil.rmtree(tmp_path / CHECKPOINTS)
    kept = [tmp_path / "metrics.jsonl", tmp_path / "generator.safetensors"]
    before = [path.read_bytes() for path in kept]
    with pytest.raises(FileNotFoundError, match="a trained model but no checkpoints/ to resume"):
        train(2, folder=tmp_path, resume=True)
    assert [path.read_bytes() for path in kept] == before
