"""Many seeds in one program: each is what it would be alone, and keeps a record of its own."""

import json

import equinox as eqx
import jax
import numpy as np
import optax
import pytest

import advnets
from advnets import _games

LATENT, SHAPE, SEEDS = 4, (2, 3), 3
IMAGES = np.random.default_rng(0).integers(0, 256, (53, *SHAPE), np.uint8)
KEYS = jax.random.split(jax.random.key(1), SEEDS)


class Shifted(eqx.Module):
    """A generator with an array that is not trained, another one for each seed."""

    inner: eqx.Module
    shift: jax.Array

    def __call__(self, z, *, key):
        return jax.numpy.where(self.shift, 0.5, 1.0) * self.inner(z, key=key)


def players(key, shift):
    g_key, d_key = jax.random.split(key)
    inner = advnets.mlp_generator(g_key, LATENT, SHAPE, hidden_sizes=[5], weight_range=0.5)
    return (
        Shifted(inner, shift),
        advnets.maxout_discriminator(d_key, SHAPE, units=[4], pieces=2, weight_range=0.5),
    )


SHIFTS = jax.numpy.array([False, True, False])
PLAYER_KEYS = jax.random.split(jax.random.key(0), SEEDS)
COMMON = {"prior": advnets.Uniform(LATENT), "batch_size": 5, "evaluate_every": 2, "progress": False}


def train_seeds(epochs, **settings):
    generators, discriminators = eqx.filter_vmap(players)(PLAYER_KEYS, SHIFTS)
    return advnets.train_seeds(
        KEYS, generators, discriminators, IMAGES, epochs=epochs, **(COMMON | settings)
    )


def train_alone(seed, epochs, **settings):
    generator, discriminator = players(PLAYER_KEYS[seed], SHIFTS[seed])
    return advnets.train(
        KEYS[seed], generator, discriminator, IMAGES, epochs=epochs, **(COMMON | settings)
    )


def leaves(trained):
    arrays = eqx.filter((trained.generator, trained.discriminator), eqx.is_inexact_array)
    return jax.device_get(jax.tree.leaves(arrays))


def test_each_seed_is_trained_as_it_would_be_alone(monkeypatch, tmp_path):
    """Over 10 updates, in both orders, one after another and side by side."""
    for order, on_cpu in (("alternating", True), ("simultaneous", False)):
        monkeypatch.setattr(_games, "_on_cpu", lambda on_cpu=on_cpu: on_cpu)
        together = train_seeds(1, order=order)
        alone = train_alone(1, 1, order=order)
        for x, y in zip(leaves(together[1]), leaves(alone), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-7)
        (row,), (row_alone,) = together[1].metrics, alone.metrics
        for player in ("discriminator", "generator"):
            for name, value in row_alone[player].items():
                assert row[player][name] == pytest.approx(value, rel=1e-5), name
        assert together[1].updates == alone.updates == 10
        assert not np.allclose(leaves(together[1])[0], leaves(together[2])[0])


def test_the_norms_stay_a_branch_side_by_side(monkeypatch):
    """A select would compute them in every iteration."""
    monkeypatch.setattr(_games, "_on_cpu", lambda: False)
    programs = []
    advance = _games.Games.advance

    def seen(self, *inputs):
        if not programs:
            keys, state, images, rows = inputs
            programs.append(
                str(jax.make_jaxpr(self._advance_all)(keys, self._fixed, state, images, rows))
            )
        return advance(self, *inputs)

    monkeypatch.setattr(_games.Games, "advance", seen)
    train_seeds(1)
    assert programs[0].count("cond[") == 2


def test_resumed_seeds_are_the_uninterrupted_ones_bit_for_bit(tmp_path):
    def evaluate(seed, epoch, generator):
        samples = advnets.sample(jax.random.key(0), generator, 3, prior=COMMON["prior"])
        return {"seed": seed, "at": epoch, "mean": float(samples.mean())}

    names = ["a", "b", "c"]
    whole = train_seeds(4, folder=tmp_path / "whole", names=names, evaluate=evaluate)
    train_seeds(2, folder=tmp_path / "parts", names=names, evaluate=evaluate)
    resumed = train_seeds(4, folder=tmp_path / "parts", names=names, evaluate=evaluate, resume=True)
    for one, other, name in zip(whole, resumed, names, strict=True):
        assert one.metrics == other.metrics
        assert all((x == y).all() for x, y in zip(leaves(one), leaves(other), strict=True))
        logs = [
            (tmp_path / part / name / "metrics.jsonl").read_text() for part in ("whole", "parts")
        ]
        assert logs[0] == logs[1]
    assert [row.get("at") for row in whole[0].metrics] == [None, 2, None, 4]
    assert [one.metrics[1]["seed"] for one in whole] == [0, 1, 2]
    assert len({one.metrics[1]["mean"] for one in whole}) == SEEDS
    with pytest.raises(FileExistsError, match="already holds a run"):
        train_seeds(4, folder=tmp_path / "whole", names=names)


def explode(at):
    """Gradient descent that is not finite for the seeds whose generator starts near a value."""

    def init(params):
        return jax.tree.leaves(params)[0].ravel()[0]

    def update(gradients, first, params):
        step = jax.numpy.where(jax.numpy.abs(first - at) < 1e-6, jax.numpy.nan, -0.1)
        return jax.tree.map(lambda g: step * g, gradients), first

    return optax.GradientTransformation(init, update)


def test_a_seed_that_diverges_is_named_and_the_others_go_on(tmp_path):
    generators, _ = eqx.filter_vmap(players)(PLAYER_KEYS, SHIFTS)
    first = jax.tree.leaves(eqx.filter(generators, eqx.is_inexact_array))[0]
    rule = explode(float(first[1].ravel()[0]))
    with pytest.warns(RuntimeWarning, match="training of seed-1 diverged .* the other 2 go on"):
        trained = train_seeds(2, folder=tmp_path, generator_updates=rule)
    untouched = train_seeds(2, generator_updates=explode(1e9))
    assert trained[1] is None
    for seed in (0, 2):
        assert trained[seed].metrics == untouched[seed].metrics
    log = tmp_path / "seed-1" / "metrics.jsonl"
    assert not log.read_text()
    # It stays out when the others go on.
    resumed = train_seeds(4, folder=tmp_path, generator_updates=rule, resume=True)
    assert [one and len(one.metrics) for one in resumed] == [4, None, 4]
    rows = (tmp_path / "seed-0" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["epoch"] for row in rows] == [1, 2, 3, 4]
    with pytest.raises(advnets.TrainingDiverged, match="of seed-0, seed-1, seed-2 diverged"):
        train_seeds(2, generator_updates=optax.sgd(np.nan))


def test_players_and_names_are_as_many_as_keys():
    generators, discriminators = eqx.filter_vmap(players)(PLAYER_KEYS, SHIFTS)
    one, _ = players(PLAYER_KEYS[0], SHIFTS[0])
    with pytest.raises(ValueError, match="generators' arrays must have a leading axis of 3 runs"):
        advnets.train_seeds(KEYS, one, discriminators, IMAGES, epochs=1)
    with pytest.raises(ValueError, match="leading axis of 2 runs"):
        advnets.train_seeds(KEYS[:2], generators, discriminators, IMAGES, epochs=1)
    for names in (["a", "b"], ["a", "a", "b"]):
        with pytest.raises(ValueError, match="needs a name of its own; got 3 keys"):
            train_seeds(1, names=names)
