"""What does not fit is refused before any work, in a sentence that says what to do."""

import dataclasses
import functools
import inspect
import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers.games import LATENT, SHAPE, Dense, images, plain, train, with_batch_norm

import advnets
from advnets import layers, networks, preprocessing, priors
from advnets.inpainting import Filled, Inpainting
from advnets.layers import Labelled
from advnets.objectives import Costs, Objective
from advnets.players import Frozen, Stateful
from advnets.training import Resident, Streamed

KEY = jax.random.key(0)
LABELS = np.arange(53) % 3


def changed(**parts):
    return {"players": dataclasses.replace(plain(KEY), **parts)}


def labelled(classes=3):
    g_key, d_key = jax.random.split(KEY)
    shaped = [eqx.nn.Linear(LATENT + classes, 6, key=g_key), networks.Reshape(SHAPE)]
    judging = eqx.nn.Linear(6 + classes, 1, key=d_key)
    return changed(
        generator=Labelled(eqx.nn.Sequential(shaped), classes),
        discriminator=Labelled(judging, classes),
    )


class OfBatches(eqx.Module):
    """Written for a minibatch, not for one example."""

    layer: eqx.nn.Linear
    shape: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, batch):
        return jax.vmap(self.layer)(batch.reshape(len(batch), -1)).reshape(-1, *self.shape)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1; got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1; got 0"),
        ({"evaluate_every": 0}, "evaluate_every must be at least 1; got 0"),
        ({"batch_size": 54}, "needs 54 examples .* got 53"),
        (
            {"batch_size": 20, "algorithm": advnets.Algorithm1(k=3)},
            "needs 60 examples .* got 53",
        ),
        ({"data": images()[:0]}, "needs 5 examples .* got 0"),
        ({"data": advnets.data.load("digits")}, "a Dataset is not a batch.*; pass .* data.train"),
        ({"resume": True}, "resume needs folder=, the folder of the run"),
        (
            changed(discriminator=OfBatches(eqx.nn.Linear(6, 1, key=KEY), ())),
            "no logit for an example of shape .*; it is written for minibatches, but a player",
        ),
        (
            changed(generator=OfBatches(eqx.nn.Linear(LATENT, 6, key=KEY), SHAPE)),
            "fails on a latent vector of size .*; it is written for minibatches, but a player",
        ),
        (
            {"data": np.zeros((53, 4, 4, 3), np.uint8)}
            | changed(generator=networks.mlp_generator(KEY, LATENT, (3, 3, 3), hidden_sizes=[])),
            r"shape \(3, 3, 3\) .*\(a Deconvolution turns n pixels into \(n - 1\) \* stride",
        ),
        ({"data": images().astype(np.int32)}, "uint8 in 0..255 or floats; got int32"),
        ({"data": np.array(["a"] * 53)}, "or floats; got <U1"),
        (changed(prior=priors.Uniform(9)), "latent vector of size 9"),
        ({"data": np.zeros((53, 3, 2), np.uint8)}, r"shape \(2, 3\) .* \(3, 2\)"),
        (
            changed(discriminator=Dense(eqx.nn.Linear(7, 1, key=KEY), ())),
            "discriminator gives no logit for an example of shape",
        ),
        (
            changed(discriminator=Dense(eqx.nn.Linear(6, 2, key=KEY), (2,))),
            "must give one logit for each example",
        ),
    ],
)
def test_settings_data_and_players(settings, message):
    with pytest.raises(ValueError, match=message):
        train(**{"epochs": 1} | settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"data": (images(), LABELS[:50])},
            r"same number of rows; \[0\] has 53 and \[1\] has 50",
        ),
        (
            {"data": (images(), LABELS)},
            "the generator takes only a latent vector, but the data have a condition",
        ),
        (
            {"data": (images(), LABELS)}
            | changed(generator=networks.mlp_generator(KEY, LATENT, SHAPE, hidden_sizes=[5])),
            "the generator takes only a latent vector, but the data have a condition",
        ),
        (
            {"data": (images(), LABELS)} | labelled() | {
                "players": dataclasses.replace(
                    labelled()["players"], discriminator=plain(KEY).discriminator
                )
            },
            "the discriminator takes only an example, but the data have a condition",
        ),
        (labelled(), "the generator needs 2 inputs, a latent vector and a condition"),
        ({"data": (images(), LABELS + 1)} | labelled(), "labels must be from 0 to 2; got 1 to 3"),
        ({"data": (images(), LABELS - 1)} | labelled(), "labels must be from 0"),
        (
            {"data": (images(), LABELS.astype(np.float32))} | labelled(),
            "labels must be integers; got float32",
        ),
        (
            {"data": (images(), np.stack([LABELS, LABELS], 1))} | labelled(),
            r"one label for each example; got shape \(53, 2\)",
        ),
        ({"data": (images(), LABELS.astype(str))}, "data must be numbers; got <U"),
        (
            {"data": (images(), LABELS, LABELS)} | labelled(),
            "takes only a latent vector and a condition, but the data have 2 conditions",
        ),
    ],
)  # fmt: skip
def test_conditions(settings, message):
    with pytest.raises(ValueError, match=message):
        train(1, **settings)


class Fills(eqx.Module):
    """A generator, or a discriminator, of a game of fillings."""

    weight: jax.Array

    def __call__(self, z, observed, mask):
        return observed + self.weight


class WithMask(eqx.Module):
    weight: jax.Array

    def __call__(self, x, mask):
        return jnp.sum(self.weight * x)


FILLS = changed(generator=Fills(jnp.zeros(SHAPE)), discriminator=WithMask(jnp.ones(())))


@pytest.mark.parametrize(
    ("settings", "algorithm", "message"),
    [
        (FILLS, {"objective": Inpainting()}, r"and 2 conditions, .*, or with .*Filled\(\) for"),
        (FILLS, {"fake": Filled()}, "GAN lets D judge examples without masks, .* wrap it in"),
        (
            FILLS | {"players": dataclasses.replace(
                FILLS["players"], discriminator=plain(KEY).discriminator
            )},
            {"objective": Inpainting(), "fake": Filled()},
            "the discriminator takes an example and a mask; this one takes 1 input",
        ),
        ({}, {"fake": Filled()}, "the generator takes a latent vector, observed .* 1 input"),
        (
            FILLS,
            {"objective": Inpainting(Inpainting()), "fake": Filled()},
            "Inpainting can't be around an objective that changes what D judges",
        ),
    ],
)  # fmt: skip
def test_games_of_fillings(settings, algorithm, message):
    with pytest.raises(ValueError, match=message):
        train(1, algorithm=advnets.Algorithm1(**algorithm), **settings)


class NoMean(Objective):
    def costs(self, draws, D, real, fake):
        return Costs(D(None, real), -D(None, fake).mean())


class OnColumns(Objective):
    def costs(self, draws, D, real, fake):
        return Costs(D(None, real).mean(), D(None, fake[:, 0]).mean())


class NoCosts(Objective):
    def costs(self, draws, D, real, fake):
        return D(None, real).mean(), D(None, fake).mean()


class NoArray(Objective):
    def costs(self, draws, D, real, fake):
        return Costs(0.0, D(None, fake).mean())


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (NoMean(), r"cost of the discriminator must be a scalar; got shape \(2,\) \(take its mean"),
        (OnColumns(), ""),
        (NoCosts(), "must return advnets.objectives.Costs; got tuple"),
        (NoArray(), "discriminator must be a floating-point JAX array; got 0.0"),
    ],
)
def test_objectives(objective, message):
    with pytest.raises(ValueError, match=rf"an update can't be computed \(.*{message}"):
        train(1, algorithm=advnets.Algorithm1(objective=objective))


def test_a_layer_that_looks_across_another_axis():
    generator = Stateful(*with_batch_norm(KEY, axis_name="batch"))
    with pytest.raises(
        ValueError, match=f"name its axis advnets.layers.MINIBATCH, '{layers.MINIBATCH}'"
    ):
        train(1, **changed(generator=generator))


@pytest.mark.parametrize(
    ("preprocess", "message"),
    [
        (lambda images: images, "must return floats; from uint8 it made uint8"),
        (
            lambda images: images[:1].astype(float),
            r"as many examples as it gets; from 2 it made float32 of shape \(1, 2, 3\)",
        ),
        (functools.partial(preprocessing.gcn, scale=0), "fails on images of shape .* above 0"),
    ],
)
def test_preprocessing(preprocess, message):
    with pytest.raises(ValueError, match=message):
        train(1, data=Resident(images(), preprocess))


def test_nothing_is_written_before_the_checks(tmp_path):
    with pytest.raises(ValueError, match="latent vector of size 9"):
        train(1, folder=tmp_path / "run", **changed(prior=priors.Uniform(9)))
    assert not (tmp_path / "run").exists()


def test_layers_with_a_state_have_to_be_wrapped():
    unwrapped, _ = with_batch_norm(KEY)
    with pytest.raises(ValueError, match=r"wrap it and its state.*advnets\.players\.Stateful"):
        train(1, **changed(generator=unwrapped))


class Rows:
    """A table that is streamed: rows are dictionaries."""

    def __len__(self):
        return 53

    def __getitem__(self, rows):
        return {"label": LABELS[rows], "image": images()[rows]}


def pairs(batch):
    return preprocessing.to_unit_interval(batch["image"]), batch["label"]


def halved(batch):
    images, labels = batch
    return preprocessing.to_unit_interval(images), labels // 2


@pytest.mark.long
def test_labels_are_those_that_preprocessing_gives():
    streamed = Streamed(Rows(), pairs)
    trained = train(1, labelled()["players"], streamed)
    assert trained.model.condition.frequencies == (18 / 53, 18 / 53, 17 / 53)
    with pytest.raises(ValueError, match="labels must be from 0 to 1; got 0 to 2"):
        train(1, labelled(2)["players"], streamed)
    merged = Streamed((images(), LABELS), halved)
    assert train(1, labelled(2)["players"], merged).model.condition.frequencies == (
        36 / 53,
        17 / 53,
    )


class OfTwo(eqx.Module):
    """A layer on two arrays."""

    inner: Dense

    def __call__(self, a, b):
        return self.inner(jnp.concatenate([a.ravel(), b.ravel()]))


class Pairs(Objective):
    """D judges a pair of an example and a latent vector."""

    def costs(self, draws, D, real, fake):
        examples, latents = fake
        on_real = D(draws.real, (real, real.reshape(-1, 6)[:, :LATENT]))
        on_fake = D(draws.fake, (examples, latents))
        return Costs(jnp.mean(on_fake) - jnp.mean(on_real), -jnp.mean(on_fake))


def test_an_objective_may_call_the_discriminator_on_other_things_than_data():
    def with_latents(draws, generator, prior, real):
        latents = prior(draws.latents, len(real))
        return generator(draws.generator, latents), latents

    judge = OfTwo(Dense(eqx.nn.Linear(6 + LATENT, 1, key=KEY), ()))
    algorithm = advnets.Algorithm1(objective=Pairs(), fake=with_latents)
    train(1, algorithm=algorithm, **changed(discriminator=judge))


def test_a_generator_may_take_what_fake_gives_it():
    def filled(draws, generator, prior, real):
        mask = jax.random.bernoulli(draws.objective, 0.5, real.shape)
        latents = prior(draws.latents, len(real))
        return jnp.where(mask, real, generator(draws.generator, latents, jnp.where(mask, real, 0)))

    fills = OfTwo(Dense(eqx.nn.Linear(LATENT + 6, 6, key=KEY), SHAPE))
    train(1, algorithm=advnets.Algorithm1(fake=filled), **changed(generator=fills))


def test_a_player_may_be_frozen_as_a_whole():
    given = plain(KEY)
    frozen = dataclasses.replace(given, generator=Frozen(given.generator))
    trained = train(1, frozen)
    assert eqx.tree_equal(trained.generator, frozen.generator)
    assert not eqx.tree_equal(trained.discriminator, frozen.discriminator)
    assert trained.model.sample(KEY, 3).shape == (3, *SHAPE)
    latent = jnp.ones(LATENT)
    assert (trained.generator(latent) == given.generator(latent)).all()


def test_a_rule_that_asks_for_the_cost_is_refused():
    rule = optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau())
    algorithm = advnets.Algorithm1(generator_updates=rule, discriminator_updates=rule)
    with pytest.raises(ValueError, match=r"needs the cost \(value=\), which it is not given"):
        train(1, algorithm=algorithm)


def test_slips_of_players_and_data_are_warned_of():
    class Twice(eqx.Module):
        """A discriminator whose logits have been through a sigmoid."""

        inner: eqx.Module

        def __call__(self, x):
            return jax.nn.sigmoid(self.inner(x))

    players = plain(KEY)
    ended = dataclasses.replace(players, discriminator=Twice(players.discriminator))
    with pytest.warns(RuntimeWarning, match="as if the discriminator ended in a sigmoid"):
        train(1, ended)
    pixels = images().astype(np.float32)
    with pytest.warns(RuntimeWarning, match="divide them by 255, or give them as uint8"):
        train(1, data=pixels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(1)
        train(1, data=pixels / 255)


class Activated(eqx.Module):
    """A generator whose outputs go through a function in the end."""

    inner: eqx.Module
    function: object = eqx.field(static=True)

    def __call__(self, z):
        return self.function(self.inner(z)).reshape(SHAPE)


@pytest.mark.parametrize(
    "function",
    [jnp.tanh, pytest.param(lambda x: jax.nn.tanh(x[None]).ravel(), marks=pytest.mark.long)],
)
def test_a_tanh_on_pixels_in_the_unit_interval_is_warned_of(function):
    players = changed(generator=Activated(plain(KEY).generator, function))["players"]
    with pytest.warns(RuntimeWarning, match=r"ends in a tanh, so its examples lie in \[-1, 1\]"):
        train(1, players)


@pytest.mark.long
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("function", "data"),
    [
        (jax.nn.sigmoid, images()),
        (lambda x: (jnp.tanh(x) + 1) / 2, images()),
        (jnp.tanh, images() / np.float32(127.5) - 1),
        (jnp.tanh, Resident(images(), lambda x: x.astype(float) / 127.5 - 1)),
    ],
)
def test_outputs_that_meet_the_data_are_not(function, data):
    train(1, changed(generator=Activated(plain(KEY).generator, function))["players"], data=data)


class Misshaped(eqx.Module):
    """A generator whose own line is at fault."""

    def __call__(self, z):
        return z.reshape(5, 7)


def test_a_mistake_in_somebodys_player_is_one_sentence_with_its_place():
    players = dataclasses.replace(plain(jax.random.key(0)), generator=Misshaped())
    with pytest.raises(ValueError, match=r"cannot reshape array .*, at test_check\.py:\d+\)$") as e:
        train(1, players)
    assert e.value.__suppress_context__
    assert "\n" not in str(e.value)
    place = inspect.getsourcelines(Misshaped)[1] + 4
    assert f"test_check.py:{place})" in str(e.value)
