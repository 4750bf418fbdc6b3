"""The deep generative stochastic network, with its authors' settings or smaller ones."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax
import numpy as np
from jaxtyping import Array, Float, Key

import advnets
from advnets.baselines import gsn
from advnets.bench.evaluations import Evaluation
from advnets.bench.results import FirstStage
from advnets.bench.settings import Settings
from advnets.bench.systems.base import Fitted, Run, System
from advnets.bench.systems.chained import CHAIN_EVALUATIONS, ChainSettings, chained
from advnets.bench.systems.games import check_model
from advnets.bench.systems.learned import check_batch, check_pixels, fit_stage, stage_keys
from advnets.bench.watching import Watch
from advnets.chains import Chained
from advnets.training import Learner
from advnets.training.plan import check_epochs

# Rounds are unrolled in the compiled program.
MOST_ROUNDS = 50


@dataclasses.dataclass(frozen=True)
class GSNSettings(ChainSettings):
    """The settings of a deep GSN; the defaults are those of the released code.

    Raises:
        ValueError: for a setting out of range.
    """

    epochs: int = 1000
    """Epochs to train."""
    burn_in: int = 100
    """Steps of each chain before its first sample."""
    hidden_sizes: tuple[int, int] = (1500, 1500)
    """Units of the two layers."""
    salt_and_pepper: float = 0.4
    """Probability that a pixel is replaced by a fair coin's 0 or 1."""
    hidden_noise: float = 2.0
    """Standard deviation of the noise before and after the activation of layer 2."""
    rounds: int = 4
    """Rounds of the chain that each example is trained over (walkback)."""
    batch_size: int = 100
    """Examples in a minibatch."""
    learning_rate: float = 0.25
    """Learning rate of the first epoch."""
    annealing: float = 0.995
    """Factor that the learning rate is multiplied by after each epoch."""
    momentum: float = 0.5
    """Weight of the previous average of gradients in the next one."""
    all_rows: bool = False
    """Also train on the validation rows, as released; σ is then chosen on training rows."""

    def __post_init__(self) -> None:
        ChainSettings.__post_init__(self)
        if not 1 <= self.rounds <= MOST_ROUNDS:
            raise ValueError(
                f"the number of rounds must be from 1 to {MOST_ROUNDS}; got {self.rounds}"
            )
        for name, value, most in (
            ("the learning rate", self.learning_rate, np.inf),
            ("the annealing", self.annealing, 1),
        ):
            if not 0 < value <= most:
                limit = "" if most == np.inf else f" and at most {most}"
                raise ValueError(f"{name} must be above 0{limit}; got {value}")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"the momentum must be at least 0 and below 1; got {self.momentum}")
        # Without computing, because processes find each other before JAX starts.
        jax.eval_shape(lambda: _network(self, (1,), jax.random.key(0)))


def _network(settings: GSNSettings, image_shape: tuple[int, ...], key: Key[Array, ""]) -> gsn.GSN:
    return gsn.GSN(
        key,
        image_shape,
        hidden_sizes=settings.hidden_sizes,
        salt_and_pepper=settings.salt_and_pepper,
        noise=settings.hidden_noise,
    )


def _descended(
    key: Key[Array, ""],
    model: gsn.GSN,
    memory: None,
    batch: Float[Array, " batch *shape"],
    *,
    rounds: int,
) -> tuple[Float[Array, ""], None, dict[str, Float[Array, ""]]]:
    """The cost with the signature that [`advnets.training.fit`][] expects."""
    cost, seen = gsn.cost(key, model, batch, rounds)
    return cost, memory, seen


class DeepGSN(System):
    """A deep GSN, trained by walkback; its samples are the pixel probabilities of its chains."""

    settings: GSNSettings
    settings_type: ClassVar[type[Settings]] = GSNSettings
    model_types: ClassVar[tuple[Callable[..., Any], ...]] = (gsn.GSN,)
    changeable: ClassVar[tuple[str, ...]] = ("learning_rate", "annealing", "momentum")
    evaluations: ClassVar[Mapping[str, Evaluation]] = CHAIN_EVALUATIONS

    def check(self, data: advnets.data.Dataset, first_stage: FirstStage | None) -> None:
        check_pixels(self.settings)
        check_batch(self.settings, data)
        shape = data.train.shape[1:]
        check_model(lambda key: _network(self.settings, shape, key))
        check_epochs(self.settings.epochs, len(data.train) // self.settings.batch_size)
        if self.settings.all_rows and len(data.folds) > 1:
            raise ValueError(
                f"some of the {len(data.folds)} folds of {self.settings.dataset} test on rows that "
                "another one validates on; leave out --all-rows"
            )

    def fit(self, run: Run, watch: Watch, *, progress: bool) -> Fitted:
        recipe, images = self.settings, run.data.train

        def sampler(model: gsn.GSN) -> Chained:
            return chained(model, recipe, run.seed, images)

        learner = Learner(
            cost=functools.partial(_descended, rounds=recipe.rounds),
            updates=functools.partial(
                gsn.updates,
                learning_rate=recipe.learning_rate,
                annealing=recipe.annealing,
                momentum=recipe.momentum,
            ),
        )
        if recipe.all_rows:
            rows = np.concatenate([images, run.data.validation])
            data = dataclasses.replace(run.data, train=rows, train_labels=None)
            run = dataclasses.replace(run, data=data)
        learned = fit_stage(
            run,
            watch,
            _network(recipe, images.shape[1:], stage_keys(run.seed, 1)[0]),
            learner,
            epochs=recipe.epochs,
            batch_size=recipe.batch_size,
            sampler=sampler,
            progress=progress,
        )
        return Fitted.of(sampler(learned.model), learned)
