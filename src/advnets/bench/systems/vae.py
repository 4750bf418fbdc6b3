"""The variational autoencoder: a generator trained on a bound, like Table 2's directed models."""

import dataclasses
import math
from collections.abc import Mapping
from typing import ClassVar

import jax
import numpy as np
import optax
import scipy.special
from jaxtyping import Array, Key

import advnets
from advnets.baselines import vae
from advnets.bench.evaluations import Evaluation, Subject
from advnets.bench.results import FirstStage, Json
from advnets.bench.settings import Settings, check_choice, check_counts
from advnets.bench.systems.base import Fitted, Run, System
from advnets.bench.systems.games import check_model
from advnets.bench.systems.learned import check_batch, check_pixels, fit_stage, stage_keys
from advnets.bench.systems.rows import format_mean, mean_of
from advnets.bench.watching import Watch
from advnets.chains import Pixels
from advnets.training import Learner
from advnets.training.plan import check_epochs

# Test rows of the importance-weighted bound, and draws for each of them.
IMPORTANCE_ROWS, IMPORTANCE_DRAWS = 1000, 1000


@dataclasses.dataclass(frozen=True)
class VAESettings(Settings):
    """The settings of a variational autoencoder.

    Raises:
        ValueError: for a setting out of range.
    """

    epochs: int = 100
    """Epochs to train."""
    hidden_size: int = 500
    """Tanh units of the hidden layer of the encoder, and of that of the generator."""
    latent_size: int = 50
    """Number of components of a latent vector."""
    learning_rate: float = 1e-3
    """Learning rate of Adam, constant throughout."""
    batch_size: int = 100
    """Examples in a minibatch."""
    binary: bool = True
    """Binarise an image at random each time it is used, with its grey levels as probabilities;
    otherwise train on the grey levels themselves."""
    pixels: Pixels = "mean"
    """A sample consists of the means of its pixels (mean), or of draws from them (bernoulli)."""

    def __post_init__(self) -> None:
        Settings.__post_init__(self)
        check_counts(
            {
                "the number of hidden units": self.hidden_size,
                "the number of latent components": self.latent_size,
            }
        )
        check_choice("pixels", self.pixels, ("mean", "bernoulli"))
        if not self.learning_rate > 0:
            raise ValueError(f"the learning rate must be above 0; got {self.learning_rate}")


class Bounds(Evaluation):
    """Two lower bounds on log p(x), in nats, of binarised test rows.

    Each pixel of a row is drawn once, with its grey level as the probability, the same for every
    run. The bound that is trained is measured on all test rows; the importance-weighted one on the
    first 1,000, with 1,000 draws for each, next to the plain bound of the same rows.
    """

    def measure(self, subject: Subject) -> Json:
        model = subject.model
        if not isinstance(model, vae.VAE):
            raise TypeError(f"bounds are measured of a VAE; got {type(model).__name__}")
        grey = subject.preprocess(subject.data.test)
        images = (np.random.default_rng(0).random(grey.shape) < grey).astype(np.float32)
        # Not the draws of any samples: epochs count from 1.
        one, many = jax.random.split(jax.random.fold_in(subject.key, 0))
        bound = vae.log_bound(one, model, images)
        some = images[:IMPORTANCE_ROWS]
        weights = vae.log_weights(many, model, some, draws=IMPORTANCE_DRAWS)
        above = scipy.special.logsumexp(weights, axis=1) - math.log(IMPORTANCE_DRAWS)
        below = weights.mean(axis=1)
        return {
            "bound": mean_of(bound),
            "importance": {
                "draws": IMPORTANCE_DRAWS,
                "bound": mean_of(above),
                "plain_bound": mean_of(below),
                "gap": mean_of(above - below),
            },
        }

    def line(self, found: Json) -> str:
        importance = found.get("importance") if isinstance(found, dict) else None
        if not (isinstance(found, dict) and isinstance(importance, dict)):
            raise ValueError(f"bounds are a dictionary with 'importance'; got {found!r:.200}")
        return (
            f"Bound on log p(x) of a binary test image: {format_mean(found['bound'])} nats; with "
            f"{importance['draws']} importance draws {format_mean(importance['gap'])} more"
        )


class VariationalAutoencoder(System):
    """A VAE with one hidden layer in the encoder and one in the generator."""

    settings: VAESettings
    settings_type: ClassVar[type[Settings]] = VAESettings
    evaluations: ClassVar[Mapping[str, Evaluation]] = {"bounds": Bounds()}

    def check(self, data: advnets.data.Dataset, first_stage: FirstStage | None) -> None:
        check_pixels(self.settings)
        check_batch(self.settings, data)
        shape = data.train.shape[1:]
        check_model(lambda key: self._model(key, shape))
        check_epochs(self.settings.epochs, len(data.train) // self.settings.batch_size)

    def _model(self, key: Key[Array, ""], shape: tuple[int, ...]) -> vae.VAE:
        return vae.new_vae(
            key,
            shape,
            hidden_size=self.settings.hidden_size,
            latent_size=self.settings.latent_size,
            bernoulli=self.settings.pixels == "bernoulli",
        )

    def title(self) -> str:
        recipe = self.settings
        rate = f"Adam, learning rate {recipe.learning_rate:g}"
        return f"{recipe.hidden_size} hidden units, {recipe.latent_size} latent, {rate}"

    def fit(self, run: Run, watch: Watch, *, progress: bool) -> Fitted:
        recipe = self.settings
        learned = fit_stage(
            run,
            watch,
            self._model(stage_keys(run.seed, 1)[0], run.data.train.shape[1:]),
            Learner(cost=vae.Cost(recipe.binary), updates=optax.adam(recipe.learning_rate)),
            epochs=recipe.epochs,
            batch_size=recipe.batch_size,
            progress=progress,
        )
        return Fitted.of(learned.model, learned)
