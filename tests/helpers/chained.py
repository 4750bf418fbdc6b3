"""A small system that learns by a cost, in two stages, and samples by a Markov chain."""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from advnets import training
from advnets.bench.benchmark import Benchmark
from advnets.bench.systems.base import Fitted, System
from advnets.bench.systems.chained import CHAIN_EVALUATIONS, ChainSettings, chained
from advnets.bench.systems.learned import check_batch, check_pixels, fit_stage
from advnets.chains import Chain
from advnets.players import Frozen


@dataclasses.dataclass(frozen=True)
class NoisySettings(ChainSettings):
    batch_size: int = 50
    """Examples in a minibatch."""
    learning_rate: float = 0.05
    """Of gradient descent."""
    lower_epochs: int = 1
    """Epochs of the first stage."""


class Noisy(Chain):
    """Goes back to a mean image, and away from it by noise."""

    mean: jax.Array

    def start(self, key, images):
        return images

    def step(self, key, state):
        noise = 0.1 * jax.random.normal(key, state.shape)
        return jnp.clip(0.9 * state + 0.1 * self.mean[None] + noise, 0, 1)

    def means(self, state):
        return state


def distance(key, model, memory, batch):
    return jnp.mean((batch - model[None]) ** 2), memory, {}


def distance_above(key, model, memory, batch):
    lower, upper = model
    return jnp.mean((batch - lower[None] - upper[None]) ** 2), memory, {}


class NoisyMean(System):
    """Fits a mean image, then what is left of it."""

    settings_type = NoisySettings
    evaluations = CHAIN_EVALUATIONS
    model_types = (Noisy,)

    def check(self, data, first_stage):
        check_batch(self.settings, data)
        check_pixels(self.settings)

    def fit(self, run, watch, *, progress):
        settings = self.settings
        common = {"batch_size": settings.batch_size, "progress": progress}
        updates = optax.sgd(settings.learning_rate * 64)

        def sampler(model):
            lower, upper = model
            return chained(Noisy(lower + upper), settings, run.seed, run.data.train)

        learner = training.Learner(cost=distance, updates=updates)
        start = jnp.zeros(run.data.train.shape[1:])
        lower = fit_stage(
            run, watch, start, learner, last=False, epochs=settings.lower_epochs, **common
        ).model
        learner = training.Learner(cost=distance_above, updates=updates)
        stage = {"stage": 2, "epochs": settings.epochs, "sampler": sampler}
        found = fit_stage(run, watch, (Frozen(lower), start), learner, **stage, **common)
        return Fitted.of(sampler(found.model), found)


RECIPE = NoisySettings(
    "digits", epochs=3, evaluate_every=1, num_samples=60, num_chains=6, burn_in=5, thin=2
)
BENCHMARK = Benchmark("noisy", RECIPE, NoisyMean, summary="a noisy mean", needs="nothing")
