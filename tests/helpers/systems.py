"""A system that is fitted in no time, for what holds of the runs of every system."""

import dataclasses
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import advnets
from advnets.bench import Benchmark, Settings
from advnets.bench.systems import Fitted, System


@dataclasses.dataclass(frozen=True)
class PixelSettings(Settings):
    """How far to go to the pixels' means in an epoch, and for which seed to fail."""

    dataset: str = "digits"
    epochs: int = 4
    evaluate_every: int = 1
    num_samples: int = 256
    learning_rate: float = 0.5
    diverging_seed: int = -1


class Pixels(eqx.Module):
    """Independent pixels, black or white."""

    white: jax.Array

    def sample(self, key, n):
        drawn = jax.random.uniform(key, (n, *self.white.shape)) < self.white[None]
        return np.asarray(drawn, np.float32)


class IndependentPixels(System):
    """Pixels that are independent, whose means are approached from a random start."""

    settings_type = PixelSettings
    model_types = (Pixels,)

    def fit(self, run, watch, *, progress):
        settings, log = self.settings, run.folder / "metrics.jsonl"
        if run.seed == settings.diverging_seed:
            raise advnets.TrainingDiverged("training diverged")
        lines = log.read_text().splitlines() if run.resume and log.exists() else []
        rows = [json.loads(line) for line in lines]
        target = jnp.asarray(run.data.train.mean(0) / 255, jnp.float32)
        white = jax.random.uniform(jax.random.key(run.seed), target.shape)
        for epoch in range(1, settings.epochs + 1):
            white += settings.learning_rate * (target - white)
            if epoch > len(rows):  # not of the run that is resumed
                due = epoch % settings.evaluate_every == 0 or epoch == settings.epochs
                left = abs(target - white).max()
                rows.append(watch.row(epoch, Pixels(white) if due else None, left=left))
        return Fitted(Pixels(white), rows, updates=settings.epochs)


PIXELS = Benchmark(
    name="pixels",
    recipe=PixelSettings(),
    system=IndependentPixels,
    summary="independent pixels",
    needs="nothing",
)
