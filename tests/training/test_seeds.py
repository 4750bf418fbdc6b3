"""Many seeds in one program: each is what it would be alone, and keeps a record of its own."""

import json

import equinox as eqx
import jax
import numpy as np
import pytest

import advnets
from advnets import _games, training

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
    inner = advnets.networks.mlp_generator(g_key, LATENT, SHAPE, hidden_sizes=[5], weight_range=0.5)
    return (
        Shifted(inner, shift),
        advnets.networks.maxout_discriminator(d_key, SHAPE, units=[4], pieces=2, weight_range=0.5),
    )


SHIFTS = jax.numpy.array([False, True, False])
PLAYER_KEYS = jax.random.split(jax.random.key(0), SEEDS)
COMMON = {
    "prior": advnets.priors.Uniform(LATENT),
    "batch_size": 5,
    "evaluate_every": 2,
    "progress": False,
}


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


def evaluate(seed, epoch, generator):
    samples = advnets.sample(jax.random.key(0), generator, 3, prior=COMMON["prior"])
    return {"seed": seed, "at": epoch, "mean": float(samples.mean())}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, train_seeds(4, folder=folder, evaluate=evaluate)


@pytest.fixture
def programs(monkeypatch):
    """The programs that are compiled, as text."""
    seen, advance = [], _games.Games.advance

    def watched(self, keys, *inputs):
        seen.append(str(jax.make_jaxpr(self._advance_all)(keys, self._fixed, *inputs)))
        return advance(self, keys, *inputs)

    monkeypatch.setattr(_games.Games, "advance", watched)
    return seen


@pytest.mark.parametrize(("order", "on_cpu"), [("alternating", True), ("simultaneous", False)])
def test_each_seed_is_trained_as_it_would_be_alone(order, on_cpu, monkeypatch, programs):
    """Over 10 updates, one after another and side by side."""
    monkeypatch.setattr(_games, "_on_cpu", lambda: on_cpu)
    together, alone = train_seeds(1, order=order), train_alone(1, 1, order=order)
    for x, y in zip(leaves(together[1]), leaves(alone), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-7)
    (row,), (row_alone,) = together[1].metrics, alone.metrics
    for player in ("discriminator", "generator"):
        for name, value in row_alone[player].items():
            assert row[player][name] == pytest.approx(value, rel=1e-5), name
    assert together[1].updates == alone.updates == 10
    assert not np.allclose(leaves(together[1])[0], leaves(together[2])[0])
    # The norms stay a branch: a select would compute them in every iteration.
    assert [program.count("cond[") for program in programs] == [2, 2]


def test_resumed_seeds_are_the_uninterrupted_ones_bit_for_bit(whole, tmp_path):
    folder, uninterrupted = whole
    train_seeds(2, folder=tmp_path, evaluate=evaluate)
    resumed = train_seeds(4, folder=tmp_path, evaluate=evaluate, resume=True)
    for seed, (one, other) in enumerate(zip(uninterrupted, resumed, strict=True)):
        assert one.metrics == other.metrics
        assert all((x == y).all() for x, y in zip(leaves(one), leaves(other), strict=True))
        log = f"seed-{seed}/metrics.jsonl"
        assert (folder / log).read_text() == (tmp_path / log).read_text()
    assert [row.get("at") for row in resumed[0].metrics] == [None, 2, None, 4]
    assert [one.metrics[1]["seed"] for one in resumed] == [0, 1, 2]
    assert len({one.metrics[1]["mean"] for one in resumed}) == SEEDS
    with pytest.raises(FileExistsError, match="already holds a run"):
        train_seeds(4, folder=folder)


def test_a_seed_that_diverges_is_named_and_the_others_go_on(whole, tmp_path, monkeypatch):
    def with_nan(key, shift):
        # In the seed whose shift is set, a generator that is not finite.
        generator, discriminator = players(key, shift)
        ruined = jax.tree.map(
            lambda x: jax.numpy.where(shift, jax.numpy.nan, x) if eqx.is_inexact_array(x) else x,
            generator,
        )
        return ruined, discriminator

    _, untouched = whole
    ruined = eqx.filter_vmap(with_nan)(PLAYER_KEYS, SHIFTS)
    settings = COMMON | {"folder": tmp_path, "evaluate": evaluate}
    with pytest.warns(RuntimeWarning, match="training of seed-1 diverged .* the other 2 go on"):
        trained = advnets.train_seeds(KEYS, *ruined, IMAGES, epochs=2, **settings)
    assert [one and len(one.metrics) for one in trained] == [2, None, 2]
    assert not (tmp_path / "seed-1" / "metrics.jsonl").read_text()
    # It stays out when the others go on.
    resumed = advnets.train_seeds(KEYS, *ruined, IMAGES, epochs=4, **settings, resume=True)
    assert resumed[1] is None
    for seed in (0, 2):
        assert resumed[seed].metrics == untouched[seed].metrics
        log = tmp_path / f"seed-{seed}" / "metrics.jsonl"
        assert [json.loads(row) for row in log.read_text().splitlines()] == resumed[seed].metrics


def test_the_last_seed_that_diverges_ends_the_training():
    alive, fine = np.array([False, True, True]), np.array([True, False, False])
    with pytest.raises(advnets.TrainingDiverged, match="training of b, c diverged between"):
        training._report_divergence(["a", "b", "c"], alive, fine, 0, 10)


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
