"""The recipes as typed data, and how to build what they describe."""

import contextlib
import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import equinox as eqx
import jax
import numpy as np
import optax
from jaxtyping import Array, Float, Key, UInt8

import advnets
from advnets.algorithm1 import GeneratorCost, Order

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
# What images go through before the discriminator sees them.
PREPROCESSING: dict[str, Callable[..., Any]] = {
    "unit": advnets.preprocessing.to_unit_interval,
    "gcn": advnets.preprocessing.gcn,
}
# JAX's names. What it calls bfloat16 is TF32 on an NVIDIA GPU, so the algorithm is named instead.
PRECISIONS: dict[str, str] = {
    "float32": "float32",
    "tensorfloat32": "tensorfloat32",
    "bfloat16": "BF16_BF16_F32",
}
Preprocessing = Literal["unit", "gcn"]
Activation = Literal["relu", "sigmoid"]
Output = Literal["sigmoid", "linear", "deconvolution"]


@dataclasses.dataclass(frozen=True)
class Deconvolution:
    """The transposed convolution that ends the convolutional recipe's generator."""

    channels: int = 80
    """Channels that the last hidden layer is seen as."""
    kernel_size: int = 5
    """Height and width of the kernel."""
    stride: int = 3
    """Pixels from one input position's output to the next one's."""


@dataclasses.dataclass(frozen=True)
class GeneratorSpec:
    """Fully connected hidden layers, then pixels."""

    hidden_sizes: tuple[int, ...] = (1200, 1200)
    """Units of each hidden layer; all are rectified linear but perhaps the last."""
    last_hidden: Activation = "relu"
    """Activation of the last hidden layer."""
    sigmoid_bias: float = 0.0
    """Initial bias of a sigmoid hidden layer."""
    weight_range: float = 0.05
    """Weights start uniform in ± this."""
    output: Output = "sigmoid"
    """Sigmoid pixels start from the data's marginals, the others from 0."""
    output_range: float = 0.05
    """The output's weights start uniform in ± this, unless they are sparse."""
    output_nonzero: int = 0
    """Standard normal weights of each output unit, the rest 0; 0 for uniform weights (not for a
    deconvolution)."""
    deconvolution: Deconvolution = Deconvolution()


@dataclasses.dataclass(frozen=True)
class DiscriminatorSpec:
    """Maxout layers with dropout, convolutional ones first, then one logit."""

    convolutions: tuple[advnets.Convolution, ...] = ()
    """Maxout convolutions before the fully connected layers."""
    units: tuple[int, ...] = (240, 240)
    """Units of each fully connected maxout layer."""
    pieces: int = 5
    """Linear pieces of each of their units."""
    weight_range: float = 0.005
    """Weights start uniform in ± this."""
    input_keep: float = 0.8
    """Probability that dropout keeps a pixel."""
    hidden_keep: float = 0.5
    """The same for the inputs of every later layer."""


@dataclasses.dataclass(frozen=True)
class SecondStage:
    """New layers below the trained generator, all of which train on with a fresh discriminator."""

    epochs: int = 0
    """Epochs of the second stage; 0 for a recipe of one stage."""
    hidden_size: int = 8000
    """Units of the new rectified linear layer; a sigmoid layer takes the place of the prior."""
    sigmoid_bias: float = -2.0
    """Initial bias of that sigmoid layer."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What an experiment fixes. The defaults are the released `mnist.yaml`.

    Raises:
        ValueError: for a setting out of range.
    """

    dataset: str = "mnist"
    """digits, mnist, cifar10, tfd, imagefolder, or owner/name on the Hub."""
    image_size: int | None = None
    """Height and width to resize images to, for imagefolder and owner/name."""
    proper_folds: bool = False
    """tfd: validate on rows that no fold tests on (the standard folds overlap)."""
    preprocessing: Preprocessing = "unit"
    """unit: pixels in [0, 1]; gcn: global contrast normalisation to norm 55."""
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
    norm_limit: float | None = None
    """The greatest norm of a unit's incoming weights or of a kernel, if there is a limit."""
    precision: Literal["float32", "tensorfloat32", "bfloat16"] = "float32"
    """Of the numbers that the players' matrix products multiply; sums, parameters and Parzen
    windows stay float32. A CPU takes float32 whatever is said here."""
    generator: GeneratorSpec = GeneratorSpec()
    discriminator: DiscriminatorSpec = DiscriminatorSpec()
    second_stage: SecondStage = SecondStage()
    evaluate_every: int = 10
    """Epochs between validation likelihoods, and between checkpoints."""
    num_samples: int = 10_000
    """Samples that the Parzen window is fitted to."""

    def __post_init__(self) -> None:
        generator, discriminator = self.generator, self.discriminator
        units = (*generator.hidden_sizes, *discriminator.units, self.second_stage.hidden_size)
        counts = {
            "epochs": self.epochs,
            "k": self.k,
            "the batch size": self.batch_size,
            "the latent size": self.latent_size,
            "the number of epochs between evaluations": self.evaluate_every,
            "the number of samples": self.num_samples,
            "the number of pieces": discriminator.pieces,
            "the number of units": min((1, *units)),
            "the number of hidden layers of the generator": len(generator.hidden_sizes),
        }
        for name, value in counts.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1; got {value}")
        for name, chosen, allowed in (
            ("the preprocessing", self.preprocessing, PREPROCESSING),
            ("the objective", self.objective, OBJECTIVES),
            ("the prior", self.prior, PRIORS),
            ("the order", self.order, get_args(Order)),
            ("the precision", self.precision, PRECISIONS),
            ("the generator's output", generator.output, get_args(Output)),
            ("its last hidden layer", generator.last_hidden, get_args(Activation)),
        ):
            if chosen not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}; got {chosen!r}")
        for name, value in (
            ("the second stage's epochs", self.second_stage.epochs),
            ("the number of nonzero weights", generator.output_nonzero),
        ):
            if value < 0:
                raise ValueError(f"{name} must be at least 0; got {value}")
        for bias in (generator.sigmoid_bias, self.second_stage.sigmoid_bias):
            if not math.isfinite(bias):
                raise ValueError(f"the sigmoid layers' initial bias must be finite; got {bias}")
        if generator.output == "deconvolution" and generator.output_nonzero:
            raise ValueError(
                "a deconvolution has no sparse weights; leave the number of nonzero ones at 0, got "
                f"{generator.output_nonzero}"
            )
        if self.order == "simultaneous" and self.k != 1:
            raise ValueError(
                f"the simultaneous order has k = 1; got {self.k} (add --order alternating)"
            )
        if (self.preprocessing == "gcn") == (generator.output == "sigmoid"):
            raise ValueError(
                f"a {generator.output} generator can't make {self.preprocessing} images; use "
                "sigmoid with unit, linear or deconvolution with gcn"
            )
        advnets.Dropout(discriminator.input_keep)
        advnets.Dropout(discriminator.hidden_keep)
        for weight_range in (
            generator.weight_range,
            generator.output_range,
            discriminator.weight_range,
        ):
            _check_weight_range(weight_range)
        update_rule(self, iterations_per_epoch=1)


def _check_weight_range(weight_range: float) -> None:
    """Checks without computing: processes find each other before JAX starts."""
    jax.eval_shape(lambda: advnets.uniform_range(jax.random.key(0), (), weight_range))


def products_in(recipe: Recipe) -> contextlib.AbstractContextManager[None]:
    """A context whose matrix products and convolutions have the recipe's precision.

    Where a product names its own, as Parzen windows do, that holds. In bfloat16, convolutions are
    in JAX's default precision: TF32 on an NVIDIA GPU.

    Args:
        recipe: the recipe.

    Returns:
        The context, `jax.default_matmul_precision` of JAX's name for it.

    Example:
        >>> import jax
        >>> from advnets.bench.recipes import Recipe, products_in
        >>> with products_in(Recipe(precision="tensorfloat32")):
        ...     jax.config.jax_default_matmul_precision
        'tensorfloat32'
    """
    context: contextlib.AbstractContextManager[None]
    context = jax.default_matmul_precision(PRECISIONS[recipe.precision])
    return context


def build_prior(recipe: Recipe) -> advnets.Prior:
    """The recipe's prior."""
    return PRIORS[recipe.prior](recipe.latent_size)


def build_players(
    key: Key[Array, ""], recipe: Recipe, images: UInt8[np.ndarray, " n *shape"]
) -> tuple[eqx.nn.Sequential, eqx.nn.Sequential]:
    """The recipe's generator and discriminator before training, for images like these."""
    generator_key, discriminator_key = jax.random.split(key)
    shape = images.shape[1:]
    discriminator = advnets.maxout_discriminator(
        discriminator_key,
        shape,
        convolutions=recipe.discriminator.convolutions,
        units=recipe.discriminator.units,
        pieces=recipe.discriminator.pieces,
        weight_range=recipe.discriminator.weight_range,
        input_keep=recipe.discriminator.input_keep,
        hidden_keep=recipe.discriminator.hidden_keep,
    )
    return _build_generator(generator_key, recipe, images), discriminator


def _build_generator(
    key: Key[Array, ""], recipe: Recipe, images: UInt8[np.ndarray, " n *shape"]
) -> eqx.nn.Sequential:
    spec, shape = recipe.generator, images.shape[1:]
    relu: Literal["relu"] = "relu"
    activations = (*[relu] * (len(spec.hidden_sizes) - 1), spec.last_hidden)
    if spec.output == "deconvolution":
        return advnets.deconvolutional_generator(
            key,
            recipe.latent_size,
            shape,
            hidden_sizes=spec.hidden_sizes,
            activations=activations,
            channels=spec.deconvolution.channels,
            kernel_size=spec.deconvolution.kernel_size,
            stride=spec.deconvolution.stride,
            weight_range=spec.weight_range,
            sigmoid_bias=spec.sigmoid_bias,
            output_range=spec.output_range,
        )
    return advnets.mlp_generator(
        key,
        recipe.latent_size,
        shape,
        hidden_sizes=spec.hidden_sizes,
        activations=activations,
        sigmoid_bias=spec.sigmoid_bias,
        weight_range=spec.weight_range,
        output=spec.output,
        output_range=None if spec.output_nonzero else spec.output_range,
        output_nonzero=spec.output_nonzero or None,
        output_bias=advnets.marginal_bias(images) if spec.output == "sigmoid" else 0.0,
    )


def stack(key: Key[Array, ""], recipe: Recipe, top: eqx.nn.Sequential) -> eqx.nn.Sequential:
    """The second stage's generator: the recipe's new layers below a generator of the first."""
    return advnets.stacked_generator(
        key,
        recipe.latent_size,
        top,
        hidden_size=recipe.second_stage.hidden_size,
        sigmoid_bias=recipe.second_stage.sigmoid_bias,
        weight_range=recipe.generator.weight_range,
    )


def update_rule(
    recipe: Recipe, iterations_per_epoch: int, learning_rate: Float[Array, ""] | None = None
) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
    """The update rules of the generator (one update an iteration) and the discriminator (k).

    A learning rate takes the place of the recipe's: within a program it is an array.
    """

    def rule(updates_per_epoch: int, stride: int) -> optax.GradientTransformation:
        return advnets.released_updates(
            recipe.learning_rate if learning_rate is None else learning_rate,
            updates_per_epoch,
            divisor=recipe.learning_rate_divisor,
            floor=recipe.learning_rate_floor,
            initial_momentum=recipe.initial_momentum,
            final_momentum=recipe.final_momentum,
            saturate=recipe.momentum_saturates,
            stride=stride,
            norm_limit=recipe.norm_limit,
        )

    return rule(iterations_per_epoch, recipe.k), rule(iterations_per_epoch * recipe.k, 1)


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """A recipe with its name and what is known about it."""

    name: str
    recipe: Recipe
    summary: str
    """What it does."""
    needs: str
    """The data that it needs."""
    cost: str = "not measured"
    """How long it takes, and on what."""
    expected: str = "nothing published"
    """What the paper says to expect, and where it says it."""
    quick: Recipe | None = None
    """A smaller recipe of the same kind, done in about a minute."""
    published: tuple[float, float] | None = None
    """The paper's log-likelihood on the test set and its standard error, in nats."""

    @property
    def command(self) -> str:
        """What runs it from a shell."""
        return f"python -m advnets.bench {self.name}"


MNIST = Recipe()

TFD = Recipe(
    dataset="tfd",
    epochs=50,
    prior="normal",
    learning_rate=0.05,
    norm_limit=1.9365,
    generator=GeneratorSpec(
        hidden_sizes=(8000, 8000), last_hidden="sigmoid", sigmoid_bias=-2.0, output_nonzero=100
    ),
    discriminator=DiscriminatorSpec(units=(1200, 1200)),
    second_stage=SecondStage(epochs=22),
)

CIFAR10 = Recipe(
    dataset="cifar10",
    preprocessing="gcn",
    prior="normal",
    learning_rate=0.025,
    generator=GeneratorSpec(
        hidden_sizes=(8000, 8000), last_hidden="sigmoid", output="linear", output_range=0.5
    ),
    discriminator=DiscriminatorSpec(units=(1600, 1600)),
)

CIFAR10_CONV = Recipe(
    dataset="cifar10",
    preprocessing="gcn",
    prior="normal",
    batch_size=128,
    learning_rate=0.004,
    generator=GeneratorSpec(
        hidden_sizes=(8000, 8000), last_hidden="sigmoid", output="deconvolution"
    ),
    discriminator=DiscriminatorSpec(
        convolutions=(
            advnets.Convolution(32, 2, kernel_size=8, padding=4, pool_size=4, pool_stride=2),
            advnets.Convolution(32, 2, kernel_size=8, padding=3, pool_size=4, pool_stride=2),
            advnets.Convolution(192, 2, kernel_size=5, padding=3, pool_size=2, pool_stride=2),
        ),
        units=(500,),
    ),
)

# Sizes and epochs were chosen for this library, on the validation rows, to be done in about a
# minute on 2 CPU cores; the paper has no such experiment.
DIGITS = Recipe(
    dataset="digits",
    epochs=1000,
    generator=GeneratorSpec(hidden_sizes=(256, 256)),
    discriminator=DiscriminatorSpec(units=(64, 64)),
    evaluate_every=100,
)

HUB = "from the Hub, or --data-dir / ADVNETS_DATA"

BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark(
            name="digits",
            recipe=DIGITS,
            summary="8×8 digits with small players",
            cost="about a minute on 2 CPU cores",
            expected="19 to 20 nats, 23 to 26 after 3,000 epochs (measured; not in the paper)",
            needs="nothing: the data come with scikit-learn",
            quick=dataclasses.replace(DIGITS, epochs=100),
        ),
        Benchmark(
            name="mnist",
            recipe=MNIST,
            summary="the paper's MNIST experiment as released",
            cost="about an hour on 2 CPU cores",
            expected="225 ± 2 nats (Table 1)",
            needs=f"ylecun/mnist {HUB}",
            quick=dataclasses.replace(MNIST, epochs=3, evaluate_every=3, num_samples=1000),
            published=(225.0, 2.0),
        ),
        Benchmark(
            name="tfd",
            recipe=TFD,
            summary="the Toronto Face Database in two stages, as released",
            cost="a GPU, or days on 2 CPU cores",
            expected="2057 ± 26 nats over five folds (Table 1)",
            needs="TFD_48x48.mat, which is not public, in --data-dir / ADVNETS_DATA",
            quick=dataclasses.replace(
                TFD,
                epochs=1,
                evaluate_every=1,
                num_samples=1000,
                generator=dataclasses.replace(TFD.generator, hidden_sizes=(400, 400)),
                discriminator=DiscriminatorSpec(units=(120, 120)),
                second_stage=SecondStage(epochs=1, hidden_size=400),
            ),
            published=(2057.0, 26.0),
        ),
        Benchmark(
            name="cifar10",
            recipe=CIFAR10,
            summary="CIFAR-10, fully connected, as released",
            cost="a GPU, or days on 2 CPU cores",
            expected="samples like Figure 2c; the paper gives no likelihood",
            needs=f"uoft-cs/cifar10 {HUB}",
            # Fewer units, so smaller weights into the pixels, which start as spread as the data.
            quick=dataclasses.replace(
                CIFAR10,
                epochs=1,
                evaluate_every=1,
                num_samples=1000,
                generator=dataclasses.replace(
                    CIFAR10.generator, hidden_sizes=(1200, 1200), output_range=0.1
                ),
                discriminator=DiscriminatorSpec(units=(400, 400)),
            ),
        ),
        Benchmark(
            name="cifar10-conv",
            recipe=CIFAR10_CONV,
            summary="CIFAR-10, convolutional, as released",
            cost="a GPU, or days on 2 CPU cores",
            expected="samples like Figure 2d; the paper gives no likelihood",
            needs=f"uoft-cs/cifar10 {HUB}",
            # Fewer channels, so larger weights, without which D's logits all but vanish.
            quick=dataclasses.replace(
                CIFAR10_CONV,
                epochs=1,
                evaluate_every=1,
                num_samples=1000,
                generator=dataclasses.replace(
                    CIFAR10_CONV.generator,
                    hidden_sizes=(400, 800),
                    output_range=0.2,
                    deconvolution=Deconvolution(channels=8),
                ),
                discriminator=dataclasses.replace(
                    CIFAR10_CONV.discriminator,
                    convolutions=tuple(
                        dataclasses.replace(layer, channels=layer.channels // 8)
                        for layer in CIFAR10_CONV.discriminator.convolutions
                    ),
                    units=(60,),
                    weight_range=0.05,
                ),
            ),
        ),
    )
}
