"""The recipes as typed data, and functions that build what they describe."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable
from typing import Literal, get_args

import equinox as eqx
import jax
import numpy as np
import optax
from jaxtyping import Array, Float, Key, UInt8

import advnets
from advnets.algorithms import Algorithm, Decay
from advnets.algorithms import UpdateRule as Rule
from advnets.bench.settings import GameSettings, check_choice, check_counts
from advnets.networks import Activation
from advnets.objectives import (
    GAN,
    R1,
    R2,
    GeneratorCost,
    Objective,
    Penalised,
    negative_value,
)

PRIORS: dict[str, Callable[[int], advnets.priors.Prior]] = {
    "uniform": advnets.priors.Uniform,
    "normal": advnets.priors.Normal,
    "spherical": advnets.priors.Spherical,
    "unit-cube": advnets.priors.UnitCube,
}
OBJECTIVES: dict[str, GeneratorCost] = {
    "non-saturating": advnets.game.non_saturating_cost,
    "minimax": advnets.game.minimax_cost,
    "blend": advnets.game.BlendedCost(),
}
# JAX's names. What it calls bfloat16 is TF32 on an NVIDIA GPU, so the algorithm is named instead.
PRECISIONS: dict[str, str] = {
    "float32": "float32",
    "tensorfloat32": "tensorfloat32",
    "bfloat16": "BF16_BF16_F32",
}
Order = Literal["alternating", "simultaneous"]
Output = Literal["sigmoid", "linear", "deconvolution"]
DLayers = Literal["maxout", "leaky-relu"]
UpdateRule = Literal["momentum", "adam"]
# Adam's decays, as usual for GANs since: no momentum, a short average of squared gradients.
ADAM = {"b1": 0.0, "b2": 0.99}


@dataclasses.dataclass(frozen=True)
class DeconvolutionSpec:
    """The transposed convolution that ends the convolutional recipe's generator."""

    channels: int = 80
    """Channels that the last hidden layer is reshaped to."""
    kernel_size: int = 5
    """Height and width of the kernel."""
    stride: int = 3
    """Pixels from one input position's output to the next one's."""


@dataclasses.dataclass(frozen=True)
class GeneratorSpec:
    """Fully connected hidden layers, then pixels; or convolutions with upsampling."""

    hidden_sizes: tuple[int, ...] = (1200, 1200)
    """Units of each hidden layer; all but the last (`last_hidden`) are rectified linear."""
    channels: tuple[int, ...] = ()
    """Channels of each image that a 3×3 convolution doubles in size; replaces the hidden layers,
    whose settings and weight ranges are then ignored. In a network that fills in: channels after
    each halving of a U-net, whose dense layers have `hidden_sizes`."""
    last_hidden: Activation = "relu"
    """Activation of the last hidden layer."""
    sigmoid_bias: float = 0.0
    """Initial bias of a sigmoid hidden layer."""
    weight_range: float = 0.05
    """Weights are initialised uniformly in ± this."""
    output: Output = "sigmoid"
    """Kind of pixels; the bias of sigmoid pixels starts at the data's marginals, others at 0."""
    output_range: float = 0.05
    """The output's weights are initialised uniformly in ± this, unless they are sparse."""
    output_nonzero: int = 0
    """Number of standard normal weights per output unit, the rest being 0; 0 for uniform weights
    (required for a deconvolution)."""
    deconvolution: DeconvolutionSpec = DeconvolutionSpec()


@dataclasses.dataclass(frozen=True)
class DiscriminatorSpec:
    """Maxout or leaky rectified linear layers with dropout, convolutions first, then one logit."""

    convolutions: tuple[advnets.convolutions.ConvolutionSpec, ...] = ()
    """Maxout convolutions before the fully connected layers."""
    layers: DLayers = "maxout"
    """Kind of the fully connected layers; leaky-relu: initialised by fan-in, so that pieces and
    weight range are ignored."""
    channels: tuple[int, ...] = ()
    """leaky-relu: channels of 4×4 convolutions before the fully connected layers, each of which
    halves the image's height and width."""
    units: tuple[int, ...] = (240, 240)
    """Units of each fully connected layer."""
    pieces: int = 5
    """Linear pieces of each maxout unit."""
    weight_range: float = 0.005
    """Weights are initialised uniformly in ± this."""
    input_keep: float = 0.8
    """Probability that dropout keeps a pixel."""
    hidden_keep: float = 0.5
    """Probability that dropout keeps an input of a later layer."""


@dataclasses.dataclass(frozen=True)
class SecondStage:
    """New layers below the trained generator, trained with it against a new discriminator."""

    epochs: int = 0
    """Epochs of the second stage; 0 for a recipe of one stage."""
    hidden_size: int = 8000
    """Units of the new rectified linear layer; a new sigmoid layer replaces the prior."""
    sigmoid_bias: float = -2.0
    """Initial bias of that sigmoid layer."""


@dataclasses.dataclass(frozen=True)
class Recipe(GameSettings):
    """The settings of an adversarial experiment. The defaults are the released `mnist.yaml`.

    Raises:
        ValueError: for a setting out of range.
    """

    epochs: int = 250
    """Epochs to train; the released momentum stops rising at epoch 250."""
    order: Order = "simultaneous"
    """simultaneous: as in the released code; alternating: as in the paper's Algorithm 1."""
    objective: Literal["non-saturating", "minimax", "blend"] = "non-saturating"
    """The generator's cost; blend mixes the other two in equal parts."""
    k: int = 1
    """Discriminator steps for each generator step (alternating order)."""
    prior: Literal["uniform", "normal", "spherical", "unit-cube"] = "uniform"
    """The distribution of the latent vectors."""
    latent_size: int = 100
    """Number of components of a latent vector."""
    update_rule: UpdateRule = "momentum"
    """momentum: as in the released code; adam: β₁ = 0, β₂ = 0.99, ignoring the divisor, the floor
    and the three settings of momentum."""
    average: float | None = None
    """Decay of an exponential moving average of the generator's parameters over its updates; the
    average is then scored, drawn and saved. The paper and the released code have none."""
    average_share: float | None = None
    """Largest share of the updates so far that the average spans, until the decay is reached; by
    default the decay holds from the first update on."""
    penalty: float = 0.0
    """The weight γ of R1 and of R2 in the discriminator's cost; the paper has neither."""
    penalty_every: int = 1
    """The penalties are computed in one of this many updates, with their weight multiplied by this
    number; with several seeds in one program, every update computes them, with the same results."""
    learning_rate: float = 0.1
    """The initial learning rate of both players."""
    final_rate: float = 1.0
    """adam: the share of the learning rate left at the end of the last epoch, after cosine decay; 1
    for a constant rate."""
    learning_rate_divisor: float = 1.000004
    """What the learning rate is divided by after every discriminator update."""
    learning_rate_floor: float = 1e-6
    """The lowest learning rate."""
    initial_momentum: float = 0.5
    """Momentum in epoch 1."""
    final_momentum: float = 0.7
    """Momentum from epoch `momentum_saturates` on; linear in between."""
    momentum_saturates: int = 250
    """The epoch at which momentum stops rising."""
    norm_limit: float | None = None
    """Maximum norm of a unit's incoming weights or of a kernel, if there is a limit."""
    precision: Literal["float32", "tensorfloat32", "bfloat16"] = "float32"
    """Precision of the inputs of the players' matrix products; sums, parameters and Parzen windows
    stay float32. A CPU always computes in float32."""
    generator: GeneratorSpec = GeneratorSpec()
    discriminator: DiscriminatorSpec = DiscriminatorSpec()
    second_stage: SecondStage = SecondStage()

    def __post_init__(self) -> None:
        GameSettings.__post_init__(self)
        generator, discriminator = self.generator, self.discriminator
        units = (*generator.hidden_sizes, *discriminator.units, self.second_stage.hidden_size)
        channels = (*generator.channels, *discriminator.channels)
        check_counts(
            {
                "k": self.k,
                "the latent size": self.latent_size,
                "the number of pieces": discriminator.pieces,
                "the number of units": min((1, *units)),
                "the number of channels": min((1, *channels)),
                "the number of hidden layers of the generator": len(generator.hidden_sizes),
                "the deconvolution's channels": generator.deconvolution.channels,
                "the deconvolution's kernel size": generator.deconvolution.kernel_size,
                "the deconvolution's stride": generator.deconvolution.stride,
            }
        )
        check_choice("the objective", self.objective, OBJECTIVES)
        check_choice("the prior", self.prior, PRIORS)
        check_choice("the order", self.order, get_args(Order))
        check_choice("the update rule", self.update_rule, get_args(UpdateRule))
        if not self.learning_rate > 0:
            raise ValueError(
                f"the learning rate must be above 0 and finite; got {self.learning_rate}"
            )
        if self.update_rule == "adam" and self.norm_limit is not None:
            raise ValueError(
                f"a norm limit goes with momentum; leave it out for adam, got {self.norm_limit}"
            )
        if self.average_share is not None and self.average is None:
            raise ValueError(
                f"a share of an average needs its decay; give one, got a share of "
                f"{self.average_share} and no average"
            )
        if self.penalty < 0:
            raise ValueError(f"the penalty's weight must be at least 0; got {self.penalty}")
        if self.penalty_every < 1:
            raise ValueError(
                f"the updates from one penalty to the next must be at least 1; got "
                f"{self.penalty_every}"
            )
        check_choice("the precision", self.precision, PRECISIONS)
        check_choice("the generator's output", generator.output, get_args(Output))
        check_choice("its last hidden layer", generator.last_hidden, get_args(Activation))
        check_choice("the discriminator's layers", discriminator.layers, get_args(DLayers))
        if discriminator.layers == "leaky-relu" and discriminator.convolutions:
            raise ValueError(
                "a leaky rectified linear discriminator has no convolutions; leave out either, got "
                f"{len(discriminator.convolutions)} of them"
            )
        if discriminator.layers == "maxout" and discriminator.channels:
            raise ValueError(
                "the channels are those of a leaky rectified linear discriminator; give maxout "
                f"convolutions instead, got channels {discriminator.channels}"
            )
        if generator.channels and (generator.output == "deconvolution" or generator.output_nonzero):
            raise ValueError(
                "a generator with channels has sigmoid or linear pixels and no sparse weights; "
                f"got channels {generator.channels}, the output {generator.output} and "
                f"{generator.output_nonzero} nonzero weights"
            )
        if generator.channels and self.second_stage.epochs:
            raise ValueError(
                f"a second stage goes below hidden layers; got channels {generator.channels}"
            )
        if not 0 <= self.final_rate <= 1:
            raise ValueError(f"the final rate must be a share, from 0 to 1; got {self.final_rate}")
        if self.update_rule == "momentum" and self.final_rate != 1:
            raise ValueError(
                f"a final rate goes with adam; leave it at 1 for momentum, got {self.final_rate}"
            )
        if self.second_stage.epochs and self.final_rate != 1:
            raise ValueError(
                f"a final rate goes with one stage; leave it at 1 for two, got {self.final_rate}"
            )
        for name, value in (
            ("the second stage's epochs", self.second_stage.epochs),
            ("the number of nonzero weights", generator.output_nonzero),
        ):
            if value < 0:
                raise ValueError(f"{name} must be at least 0; got {value}")
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
        advnets.layers.Dropout(discriminator.input_keep)
        advnets.layers.Dropout(discriminator.hidden_keep)
        for weight_range in (
            generator.weight_range,
            generator.output_range,
            discriminator.weight_range,
        ):
            _check_weight_range(weight_range)
        algorithm_of(self)


def _check_weight_range(weight_range: float) -> None:
    """Checks without computing, because processes find each other before JAX starts."""
    jax.eval_shape(lambda: advnets.layers.uniform_range(jax.random.key(0), (), weight_range))


def products_in(recipe: Recipe) -> contextlib.AbstractContextManager[None]:
    """A context whose matrix products and convolutions have the recipe's precision.

    A product that names its own precision, as in Parzen windows, keeps it. With bfloat16,
    convolutions have JAX's default precision: TF32 on an NVIDIA GPU.

    Args:
        recipe: the recipe.

    Returns:
        The context, `jax.default_matmul_precision` with JAX's name for it.

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


def build_players(
    key: Key[Array, ""], recipe: Recipe, images: UInt8[np.ndarray, " n *shape"]
) -> advnets.Players:
    """The recipe's players before training.

    Args:
        key: a typed random key.
        recipe: the recipe; with two stages, the players are the first stage's.
        images: training images, whose shape and mean pixels are used.

    Returns:
        The generator with its prior, and the discriminator.

    Raises:
        ValueError: if there is no image.

    Example:
        >>> import jax
        >>> import numpy as np
        >>> from advnets.bench.recipes import Recipe, build_players
        >>> images = np.full((5, 28, 28), 100, np.uint8)
        >>> build_players(jax.random.key(0), Recipe(latent_size=50), images).prior
        Uniform(size=50)
    """
    if 0 in images.shape:
        raise ValueError(f"players need at least one training image; got shape {images.shape}")
    generator_key, discriminator_key = jax.random.split(key)
    return advnets.Players(
        _build_generator(generator_key, recipe, images),
        build_discriminator(discriminator_key, recipe.discriminator, images.shape[1:]),
        prior=PRIORS[recipe.prior](recipe.latent_size),
    )


def build_discriminator(
    key: Key[Array, ""], spec: DiscriminatorSpec, shape: tuple[int, ...]
) -> eqx.nn.Sequential:
    """A discriminator before training.

    Args:
        key: a typed random key.
        spec: its layers.
        shape: the shape of an example.

    Returns:
        The discriminator.

    Raises:
        ValueError: if the layers do not fit the shape.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from advnets.bench.recipes import DiscriminatorSpec, build_discriminator
        >>> net = build_discriminator(jax.random.key(0), DiscriminatorSpec(), (28, 28))
        >>> net(jnp.zeros((28, 28))).shape
        ()
    """
    if spec.layers == "leaky-relu":
        return advnets.networks.leaky_discriminator(
            key,
            shape,
            channels=spec.channels,
            units=spec.units,
            input_keep=spec.input_keep,
            hidden_keep=spec.hidden_keep,
        )
    return advnets.networks.maxout_discriminator(
        key,
        shape,
        convolutions=spec.convolutions,
        units=spec.units,
        pieces=spec.pieces,
        weight_range=spec.weight_range,
        input_keep=spec.input_keep,
        hidden_keep=spec.hidden_keep,
    )


def _build_generator(
    key: Key[Array, ""], recipe: Recipe, images: UInt8[np.ndarray, " n *shape"]
) -> eqx.nn.Sequential:
    spec, shape = recipe.generator, images.shape[1:]
    relu: Literal["relu"] = "relu"
    activations = (*[relu] * (len(spec.hidden_sizes) - 1), spec.last_hidden)
    output_bias = advnets.layers.marginal_bias(images) if spec.output == "sigmoid" else 0.0
    if spec.channels:
        assert spec.output != "deconvolution"
        return advnets.networks.convolutional_generator(
            key,
            recipe.latent_size,
            shape,
            channels=spec.channels,
            output=spec.output,
            output_bias=output_bias,
        )
    if spec.output == "deconvolution":
        return advnets.networks.deconvolutional_generator(
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
    return advnets.networks.mlp_generator(
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
        output_bias=output_bias,
    )


def stack(key: Key[Array, ""], recipe: Recipe, top: eqx.nn.Sequential) -> eqx.nn.Sequential:
    """The second stage's generator: the recipe's new layers below a first stage's generator."""
    return advnets.networks.stacked_generator(
        key,
        recipe.latent_size,
        top,
        hidden_size=recipe.second_stage.hidden_size,
        sigmoid_bias=recipe.second_stage.sigmoid_bias,
        weight_range=recipe.generator.weight_range,
    )


def algorithm_of(
    recipe: Recipe, learning_rate: float | Float[Array, ""] | None = None
) -> Algorithm:
    """The recipe's algorithm.

    Args:
        recipe: the recipe.
        learning_rate: replaces the recipe's; inside a compiled program it is an array.

    Returns:
        The algorithm, for epochs of any length.

    Example:
        >>> from advnets.bench.recipes import Recipe, algorithm_of
        >>> algorithm_of(Recipe(order="alternating", k=3)).minibatches
        3
    """
    rate = recipe.learning_rate if learning_rate is None else learning_rate
    rule: Rule = optax.adam(rate, **ADAM)
    if recipe.final_rate != 1:
        rule = functools.partial(_annealed, rate, recipe.final_rate, recipe.epochs)
    if recipe.update_rule == "momentum":
        rule = advnets.updates.Released(
            rate,
            divisor=recipe.learning_rate_divisor,
            floor=recipe.learning_rate_floor,
            initial_momentum=recipe.initial_momentum,
            final_momentum=recipe.final_momentum,
            saturate=recipe.momentum_saturates,
            norm_limit=recipe.norm_limit,
        )
    average: float | Decay | None = recipe.average
    if recipe.average is not None and recipe.average_share is not None:
        average = advnets.algorithms.ramped(recipe.average, recipe.average_share)
    simultaneous = recipe.order == "simultaneous"
    of_d = advnets.game.discriminator_cost if simultaneous else negative_value
    objective: Objective = GAN(of_d, OBJECTIVES[recipe.objective])
    if recipe.penalty:
        penalties = R1(recipe.penalty), R2(recipe.penalty)
        objective = Penalised(objective, *penalties, every=recipe.penalty_every)
    if simultaneous:
        return advnets.Simultaneous(
            objective=objective,
            generator_updates=rule,
            discriminator_updates=rule,
            average=average,
        )
    return advnets.Algorithm1(
        objective=objective,
        generator_updates=rule,
        discriminator_updates=rule,
        average=average,
        k=recipe.k,
    )


def _annealed(
    rate: float | Float[Array, ""], final: float, epochs: int, updates_per_epoch: int
) -> optax.GradientTransformation:
    schedule = optax.cosine_decay_schedule(rate, epochs * updates_per_epoch, alpha=final)
    return optax.adam(schedule, **ADAM)
