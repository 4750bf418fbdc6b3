"""What training checks before any work: one sentence that says what does not fit, and a remedy."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import advnets
from advnets.layers import Labelled
from advnets.objectives import Costs, Objective
from advnets.players import Frozen
from advnets.training import Streamed

KEY = jax.random.key(0)
RULES = {"generator_updates": optax.sgd(0.1), "discriminator_updates": optax.sgd(0.1)}
LABELS = np.arange(40) % 4


class Inner(eqx.Module):
    """A layer that takes no key."""

    linear: eqx.nn.Linear

    def __call__(self, x):
        return self.linear(x)


def images():
    return np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)


def players(classes=0):
    def player(inputs, outputs):
        inner = Inner(eqx.nn.Linear(inputs + classes, outputs, key=KEY))
        return Labelled(inner, classes) if classes else inner

    return advnets.Players(player(2, 3), player(3, 1), advnets.priors.Uniform(2))


def train(players, data, **settings):
    algorithm = advnets.Algorithm1(**RULES | settings)
    return advnets.train(
        KEY, players, data, epochs=1, batch_size=10, algorithm=algorithm, progress=False
    )


class Rows:
    """A table that is streamed: rows are dictionaries."""

    def __len__(self):
        return 40

    def __getitem__(self, rows):
        return {"label": LABELS[rows], "image": images()[rows]}


def pairs(batch):
    return batch["image"], batch["label"]


def test_labels_are_those_that_preprocessing_gives():
    trained = train(players(4), Streamed(Rows(), pairs))
    assert trained.model.condition.frequencies == (0.25,) * 4
    with pytest.raises(ValueError, match="labels must be from 0 to 2; got 0 to 3"):
        train(players(3), Streamed(Rows(), pairs))
    merged = Streamed((images(), LABELS), lambda batch: (batch[0], batch[1] // 2))
    assert train(players(2), merged).model.condition.frequencies == (0.5, 0.5)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS.astype(np.float32), "labels must be integers; got float32"),
        (np.stack([LABELS, LABELS], 1), "one label for each example; got shape"),
    ],
)
def test_labels_of_another_kind_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        train(players(4), (images(), labels))


class NoCosts(Objective):
    def costs(self, draws, D, real, fake):
        return jnp.mean(D(draws.real, real)), jnp.mean(D(draws.fake, fake))


class NoArray(Objective):
    def costs(self, draws, D, real, fake):
        return Costs(0.0, jnp.mean(D(draws.fake, fake)))


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (NoCosts(), "must return advnets.objectives.Costs; got tuple"),
        (NoArray(), "parameter 'discriminator'. Actual value: 0.0"),
    ],
)
def test_an_objective_that_returns_something_else_is_refused(objective, message):
    with pytest.raises(ValueError, match=f"an update can't be computed .*{message}"):
        train(players(), images(), objective=objective)


def test_layers_with_a_state_have_to_be_wrapped():
    def build(key):
        norm = eqx.nn.BatchNorm(3, advnets.layers.MINIBATCH, mode="batch")
        return eqx.nn.Sequential([eqx.nn.Linear(2, 3, key=key), norm])

    unwrapped, _ = eqx.nn.make_with_state(build)(KEY)
    with pytest.raises(ValueError, match=r"wrap it and its state.*advnets\.players\.Stateful"):
        train(dataclasses.replace(players(), generator=unwrapped), images())


class Pairs(Objective):
    """D judges a pair of an example and where it came from."""

    def costs(self, draws, D, real, fake):
        examples, latents = fake
        on_real, on_fake = D(draws.real, (real, real[:, :2])), D(draws.fake, (examples, latents))
        return Costs(jnp.mean(on_fake) - jnp.mean(on_real), -jnp.mean(on_fake))


class OfTwo(eqx.Module):
    linear: eqx.nn.Linear

    def __call__(self, a, b):
        return self.linear(jnp.concatenate([a, b]))


def test_an_objective_may_call_the_discriminator_on_other_things_than_data():
    def with_latents(draws, generator, prior, real):
        latents = prior(draws.latents, len(real))
        return generator(draws.generator, latents), latents

    judge = OfTwo(eqx.nn.Linear(5, 1, key=KEY))
    of_pairs = dataclasses.replace(players(), discriminator=judge)
    train(of_pairs, images(), objective=Pairs(), fake=with_latents)


def test_a_generator_may_take_what_fake_gives_it():
    def filled(draws, generator, prior, real):
        mask = jax.random.bernoulli(draws.objective, 0.5, real.shape)
        latents = prior(draws.latents, len(real))
        return jnp.where(mask, real, generator(draws.generator, latents, jnp.where(mask, real, 0)))

    fills = OfTwo(eqx.nn.Linear(5, 3, key=KEY))
    train(dataclasses.replace(players(), generator=fills), images(), fake=filled)


def test_a_player_may_be_frozen_as_a_whole():
    given = players()
    frozen = dataclasses.replace(given, generator=Frozen(given.generator))
    trained = train(frozen, images())
    assert eqx.tree_equal(trained.generator, frozen.generator)
    assert not eqx.tree_equal(trained.discriminator, frozen.discriminator)
    assert trained.model.sample(KEY, 3).shape == (3, 3)
