"""The stacked contractive autoencoder: Table 1's third row, trained layer by layer."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Key

import advnets
from advnets.baselines import cae
from advnets.bench.evaluations import Evaluation, Subject
from advnets.bench.results import FirstStage, Json
from advnets.bench.settings import Settings, check_counts
from advnets.bench.systems.base import Fitted, Run, System
from advnets.bench.systems.chained import CHAIN_EVALUATIONS, ChainSettings, chained
from advnets.bench.systems.games import check_model
from advnets.bench.systems.learned import check_batch, check_pixels, fit_stage, stage_keys
from advnets.bench.systems.rows import format_mean, mean_of
from advnets.bench.watching import Watch
from advnets.chains import Chained
from advnets.training import Learner
from advnets.training.plan import check_epochs


@dataclasses.dataclass(frozen=True)
class CAESettings(ChainSettings):
    """The settings of a stack of one or two contractive autoencoders, and of its walk.

    Raises:
        ValueError: for a setting out of range.
    """

    epochs: int = 10
    """Epochs to train the top layer."""
    lower_epochs: int = 20
    """Epochs to train the layer below it, if there is one."""
    hidden_sizes: tuple[int, ...] = (1000, 1000)
    """Units of each of one or two layers, from the pixels up."""
    contractions: tuple[float, ...] = (5.0, 3.5)
    """Weight λ of the squared norm of each layer's Jacobian in its cost."""
    learning_rate: float = 0.02
    """Initial learning rate of each layer."""
    final_learning_rate: float = 0.002
    """Learning rate at the layer's last update, reached linearly."""
    batch_size: int = 20
    """Examples in a minibatch."""
    walk_scale: float = 3.0
    """Standard deviation of the noise in a step of the walk."""
    burn_in: int = 250
    """Steps of each chain before its first sample."""
    thin: int = 5
    """Steps from one sample of a chain to the next; 1 for consecutive samples."""

    def __post_init__(self) -> None:
        ChainSettings.__post_init__(self)
        units = {f"layer {n}'s units": size for n, size in enumerate(self.hidden_sizes, 1)}
        check_counts({"the epochs of the lower layer": self.lower_epochs, **units})
        if not 1 <= len(self.hidden_sizes) <= 2:
            raise ValueError(f"a stack has 1 or 2 layers; got {len(self.hidden_sizes)}")
        if len(self.contractions) != len(self.hidden_sizes):
            raise ValueError(
                f"there must be a contraction for each of the {len(self.hidden_sizes)} layers; got "
                f"{len(self.contractions)}"
            )
        for weight in self.contractions:
            cae.Cost(weight)
        if not (self.learning_rate > 0 and self.final_learning_rate >= 0):
            raise ValueError(
                "the learning rate must be above 0, and the final one at least 0; got "
                f"{self.learning_rate} and {self.final_learning_rate}"
            )
        if not self.walk_scale > 0:
            raise ValueError(
                f"the standard deviation of the walk's noise must be above 0; got {self.walk_scale}"
            )


class Lost(Evaluation):
    """How many chains have left the data by their last sample, according to two measures.

    See [`advnets.baselines.cae.lost`][] and [`advnets.baselines.cae.faded`][].
    """

    def measure(self, subject: Subject) -> Json:
        _, chains = _walk(subject)
        last = subject.first(2**31 - 1)[-chains:]
        images = subject.preprocess(subject.data.train)
        lost = cae.lost(last, images, subject.preprocess(subject.data.test))
        return {"chains": len(last), "lost": lost, "faded": cae.faded(last, images)}

    def line(self, found: Json) -> str:
        read = found if isinstance(found, dict) else {}
        counts = [read.get(name) for name in ("lost", "chains", "faded")]
        if not all(isinstance(count, int) for count in counts):
            raise ValueError(f"lost chains are numbers: lost, chains, faded; got {found!r:.200}")
        lost, chains, faded = counts
        return (
            f"Lost chains: {lost} of {chains} end farther from any training image than every test "
            f"image is; {faded} have faded, to less ink than any training image has"
        )


class Reconstruction(Evaluation):
    """The cross-entropy of test rows and their reconstructions through all layers, in nats."""

    def measure(self, subject: Subject) -> Json:
        images = jnp.asarray(subject.preprocess(subject.data.test))
        walk, _ = _walk(subject)
        found = eqx.filter_jit(cae.Stack.cross_entropies)(walk.model, images)
        return mean_of(np.asarray(found))

    def line(self, found: Json) -> str:
        return f"Reconstruction: {format_mean(found)} nats of cross-entropy for a test image"


def _walk(subject: Subject) -> tuple[cae.Walk, int]:
    """The walk that drew the samples, and its number of chains."""
    model = subject.model
    if not (isinstance(model, Chained) and isinstance(model.chain, cae.Walk)):
        raise TypeError(f"this is measured of a CAE's walk; got {type(model).__name__}")
    return model.chain, model.num_chains


class StackedCAE(System):
    """One or two contractive autoencoders, the second on codes of the first, and their walk."""

    settings: CAESettings
    settings_type: ClassVar[type[Settings]] = CAESettings
    evaluations: ClassVar[Mapping[str, Evaluation]] = {
        **CHAIN_EVALUATIONS,
        "lost_chains": Lost(),
        "reconstruction": Reconstruction(),
    }

    def check(self, data: advnets.data.Dataset, first_stage: FirstStage | None) -> None:
        check_pixels(self.settings)
        check_batch(self.settings, data)
        shape = data.train.shape[1:]
        check_model(lambda key: self._stack(key, shape))
        check_epochs(
            max(self.settings.epochs, self.settings.lower_epochs),
            len(data.train) // self.settings.batch_size,
        )

    def _stack(self, key: Key[Array, ""], shape: tuple[int, ...]) -> cae.Stack:
        """An untrained stack of the recipe's layers."""
        lowest, *above = self.settings.hidden_sizes
        stack = cae.new_stack(key, shape, lowest)
        for size in above:
            stack = cae.grow(key, stack, size)
        return stack

    def title(self) -> str:
        recipe = self.settings
        weights = " and ".join(f"{weight:g}" for weight in recipe.contractions)
        layers = "" if len(recipe.contractions) == 1 else f", {len(recipe.contractions)} layers"
        return f"λ = {weights}, steps of {recipe.walk_scale:g}{layers}"

    @property
    def ends_at_its_epochs(self) -> bool:
        return True

    def fit(self, run: Run, watch: Watch, *, progress: bool) -> Fitted:
        recipe, shape = self.settings, run.data.train.shape[1:]
        fit = functools.partial(
            fit_stage,
            run,
            watch,
            batch_size=recipe.batch_size,
            progress=progress,
        )

        def sampler(stack: cae.Stack) -> Chained:
            return chained(cae.Walk(stack, recipe.walk_scale), recipe, run.seed, run.data.train)

        (lowest, *above), (weight, *weights) = recipe.hidden_sizes, recipe.contractions
        stack = cae.new_stack(stage_keys(run.seed, 1)[0], shape, lowest)
        if above:
            epochs = recipe.lower_epochs
            learner = self._learner(weight, epochs)
            below = fit(stack, learner, stage=1, last=False, epochs=epochs).model
            stack = cae.grow(stage_keys(run.seed, 2)[0], below, above[0])
            weight = weights[0]
        learned = fit(
            stack,
            self._learner(weight, recipe.epochs),
            stage=len(recipe.hidden_sizes),
            epochs=recipe.epochs,
            sampler=sampler,
        )
        return Fitted.of(sampler(learned.model), learned)

    def _learner(self, weight: float, epochs: int) -> Learner:
        recipe = self.settings

        def updates(iterations: int) -> optax.GradientTransformation:
            steps = epochs * iterations
            schedule = optax.linear_schedule(
                recipe.learning_rate, recipe.final_learning_rate, steps
            )
            return optax.sgd(schedule)

        return Learner(cost=cae.Cost(weight), updates=updates)
