"""What type checkers make of a script of a user's: players keep their types. It is never run."""

from typing import assert_type

import equinox as eqx
import jax
import numpy as np

import advnets
from advnets.training import Snapshot


class Judge(eqx.Module):
    """A discriminator of one's own."""

    linear: eqx.nn.Linear

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.linear(x)


key = jax.random.key(0)
generator = eqx.nn.MLP(2, 3, 4, 1, key=key)
players = advnets.Players(generator, Judge(eqx.nn.Linear(3, 1, key=key)))
assert_type(players, advnets.Players[eqx.nn.MLP, Judge])
assert_type(players.generator, eqx.nn.MLP)
assert_type(players.discriminator, Judge)

seen: list[int] = []


def look(snapshot: Snapshot) -> None:
    seen.append(snapshot.epoch)


data = np.zeros((100, 3), np.float32)
trained = advnets.train(key, players, data, epochs=1, callbacks=[look])
assert_type(trained, advnets.Trained[eqx.nn.MLP, Judge])
assert_type(trained.model, advnets.Model[eqx.nn.MLP])
assert_type(trained.averaged, advnets.Model[eqx.nn.MLP])
assert_type(trained.generator, eqx.nn.MLP)
assert_type(trained.discriminator.linear, eqx.nn.Linear)

together = advnets.train_many(jax.random.split(key, 2), players, data, epochs=1)
assert_type(together, list[advnets.Trained[eqx.nn.MLP, Judge] | None])

loaded = advnets.load_model("run", like=trained.model)
assert_type(loaded.generator, eqx.nn.MLP)
assert_type(advnets.model.model_of(players), advnets.Model[eqx.nn.MLP])


def sampled(model: advnets.Model) -> np.ndarray:
    """A function of any model takes one of known players."""
    return model.sample(key, 3)


sampled(trained.model)
sampled(advnets.Model(lambda z: z))
