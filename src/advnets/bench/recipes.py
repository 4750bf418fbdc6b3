"""The recipes as typed data, and how to build what they describe."""

import dataclasses
from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax
import numpy as np
import optax
import tyro
from jaxtyping import Array, Key, UInt8

import advnets
from advnets.algorithm1 import GeneratorCost, Order
from advnets.data import Name

PRIORS: dict[str, Callable[[int], advnets.Prior]] = {
    "uniform": advnets.Uniform,
    "normal": advnets.Normal,
    "spherical": advnets.Spherical,
}
OBJECTIVES: dict[str, GeneratorCost] = {
    "non-saturating": advnets.non_saturating_cost,
    "minimax": advnets.minimax_cost,
    "blend": advnets.BlendedCost(),
}


@dataclasses.dataclass(frozen=True)
class GeneratorSpec:
    """A multilayer perceptron: rectified linear layers, then sigmoid pixels."""

    hidden_sizes: tuple[int, ...] = (1200, 1200)
    """Units of each rectified linear layer."""
    weight_range: float = 0.05
    """Weights start uniform in ± this."""


@dataclasses.dataclass(frozen=True)
class DiscriminatorSpec:
    """Maxout layers with dropout, then one logit."""

    units: tuple[int, ...] = (240, 240)
    """Units of each maxout layer."""
    pieces: int = 5
    """Linear pieces of each maxout unit."""
    weight_range: float = 0.005
    """Weights start uniform in ± this."""
    input_keep: float = 0.8
    """Probability that dropout keeps a pixel."""
    hidden_keep: float = 0.5
    """The same for the inputs of every later layer."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What an experiment fixes. The defaults are the released `mnist.yaml`.

    Raises:
        ValueError: for a setting out of range.
    """

    dataset: tyro.conf.Suppress[Name] = "mnist"
    """The data set."""
    epochs: int = 250
    """Epochs to train; the released recipe never stops, its momentum stops rising at 250."""
    order: Order = "simultaneous"
    """simultaneous: as the released code; alternating: as the paper's Algorithm 1."""
    objective: Literal["non-saturating", "minimax", "blend"] = "non-saturating"
    """What the generator descends; blend is of the other two in equal parts."""
    k: int = 1
    """Discriminator steps for each generator step (alternating order)."""
    batch_size: int = 100
    """Examples in a minibatch."""
    prior: Literal["uniform", "normal", "spherical"] = "uniform"
    """The distribution of the latent vectors."""
    latent_size: int = 100
    """Components of a latent vector."""
    learning_rate: float = 0.1
    """The initial learning rate of both players."""
    learning_rate_divisor: float = 1.000004
    """What it is divided by after every discriminator update."""
    learning_rate_floor: float = 1e-6
    """The least learning rate."""
    initial_momentum: float = 0.5
    """Momentum in epoch 1."""
    final_momentum: float = 0.7
    """Momentum from epoch `momentum_saturates` on; linear in between."""
    momentum_saturates: int = 250
    """The epoch at which momentum stops rising."""
    generator: GeneratorSpec = GeneratorSpec()
    discriminator: DiscriminatorSpec = DiscriminatorSpec()
    evaluate_every: int = 10
    """Epochs between validation likelihoods, and between checkpoints."""
    num_samples: int = 10_000
    """Samples that the Parzen window is fitted to."""

    def __post_init__(self) -> None:
        units = (*self.generator.hidden_sizes, *self.discriminator.units)
        counts = {
            "epochs": self.epochs,
            "k": self.k,
            "the batch size": self.batch_size,
            "the latent size": self.latent_size,
            "the number of epochs between evaluations": self.evaluate_every,
            "the number of samples": self.num_samples,
            "the number of pieces": self.discriminator.pieces,
            "the number of units": min((1, *units)),
        }
        for name, value in counts.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1; got {value}")
        if self.order == "simultaneous" and self.k != 1:
            raise ValueError(
                f"the simultaneous order has k = 1; got {self.k} (add --order alternating)"
            )
        advnets.Dropout(self.discriminator.input_keep)
        advnets.Dropout(self.discriminator.hidden_keep)
        for weight_range in (self.generator.weight_range, self.discriminator.weight_range):
            advnets.uniform_range(jax.random.key(0), (), weight_range)
        update_rule(self, iterations_per_epoch=1)


def build_prior(recipe: Recipe) -> advnets.Prior:
    """The recipe's prior."""
    return PRIORS[recipe.prior](recipe.latent_size)


def build_players(
    key: Key[Array, ""], recipe: Recipe, images: UInt8[np.ndarray, " n *shape"]
) -> tuple[eqx.nn.Sequential, eqx.nn.Sequential]:
    """The recipe's generator and discriminator before training, for images like these."""
    generator_key, discriminator_key = jax.random.split(key)
    shape = images.shape[1:]
    generator = advnets.mlp_generator(
        generator_key,
        recipe.latent_size,
        shape,
        hidden_sizes=recipe.generator.hidden_sizes,
        weight_range=recipe.generator.weight_range,
        output_bias=advnets.marginal_bias(images),
    )
    discriminator = advnets.maxout_discriminator(
        discriminator_key,
        shape,
        units=recipe.discriminator.units,
        pieces=recipe.discriminator.pieces,
        weight_range=recipe.discriminator.weight_range,
        input_keep=recipe.discriminator.input_keep,
        hidden_keep=recipe.discriminator.hidden_keep,
    )
    return generator, discriminator


def update_rule(
    recipe: Recipe, iterations_per_epoch: int
) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
    """The update rules of the generator (one update an iteration) and the discriminator (k)."""

    def rule(updates_per_epoch: int, stride: int) -> optax.GradientTransformation:
        return advnets.released_updates(
            recipe.learning_rate,
            updates_per_epoch,
            divisor=recipe.learning_rate_divisor,
            floor=recipe.learning_rate_floor,
            initial_momentum=recipe.initial_momentum,
            final_momentum=recipe.final_momentum,
            saturate=recipe.momentum_saturates,
            stride=stride,
        )

    return rule(iterations_per_epoch, recipe.k), rule(iterations_per_epoch * recipe.k, 1)


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """A recipe with its name and what is known about it."""

    name: str
    recipe: Recipe
    summary: str
    """What it does, and what it costs."""
    needs: str
    """The data that it needs."""
    published: tuple[float, float] | None = None
    """The paper's log-likelihood on the test set and its standard error, in nats."""


BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        # Sizes and epochs were chosen for this library, on the validation rows, to be done in
        # about a minute on 2 CPU cores; the paper has no such experiment.
        Benchmark(
            name="digits",
            recipe=Recipe(
                dataset="digits",
                epochs=1000,
                generator=GeneratorSpec(hidden_sizes=(256, 256)),
                discriminator=DiscriminatorSpec(units=(64, 64)),
                evaluate_every=100,
            ),
            summary="8×8 digits with small players: about a minute on 2 cores",
            needs="nothing: the data come with scikit-learn",
        ),
        # python -m advnets.bench mnist; expected 225 ± 2 (paper, Table 1).
        Benchmark(
            name="mnist",
            recipe=Recipe(),
            summary="the paper's MNIST experiment as released: about 1½ hours on 2 cores",
            needs="ylecun/mnist from the Hub, or --data-dir / ADVNETS_DATA",
            published=(225.0, 2.0),
        ),
    )
}
