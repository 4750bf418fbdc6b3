"""The stabilisers that are compared on toy data: each changes one pair of players or one rule.

All games have the same generator, minibatches and number of updates, and each keeps an average of
its generator, whose modes are counted too. Without a stabiliser a game is not quite stable: Adam
has its default momentum of 0.9 for both players.
"""

import dataclasses
from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from advnets import layers, priors
from advnets.algorithms import Algorithm, Algorithm1
from advnets.objectives import GAN, R1, InstanceNoise, Objective, Penalised
from advnets.players import Player, Players, Stateful

LATENT, WIDTH, BATCH = 32, 64, 128
# D's examples are multiplied by this, which bounds its slope where layers have norm 1.
SCALE, SPECTRAL_SCALE = 0.25, 4.0
RATE, MOMENTUM, DECAY = 1e-3, 0.9, 0.999
Judge = Literal["plain", "spectral", "deviation"]


class Scaled(eqx.Module):
    """Multiplies by a number.

    Attributes:
        by: the number.
    """

    by: float = eqx.field(static=True)

    def __call__(
        self, x: Float[Array, "*shape"], *, key: Key[Array, ""] | None = None
    ) -> Float[Array, "*shape"]:
        return self.by * x


def _generator(key: Key[Array, ""]) -> Player:
    return eqx.nn.MLP(LATENT, 2, WIDTH, 2, jnp.tanh, key=key)


def _discriminator(key: Key[Array, ""], kind: Judge) -> Player:
    extra = kind == "deviation"
    a, b, c, norm_key = jax.random.split(key, 4)
    linear: list[Player] = [
        eqx.nn.Linear(2, WIDTH, key=a),
        eqx.nn.Linear(WIDTH, WIDTH, key=b),
        eqx.nn.Linear(WIDTH + extra, "scalar", key=c),
    ]
    if kind == "spectral":
        norm_keys = jax.random.split(norm_key, 3)
        linear = [
            eqx.nn.SpectralNorm(one, "weight", key=norm)
            for one, norm in zip(linear, norm_keys, strict=True)
        ]
    first, second, last = linear
    deviation = [layers.MinibatchDeviation()] if extra else []
    tanh = eqx.nn.Lambda(jnp.tanh)
    scaled = Scaled(SPECTRAL_SCALE if kind == "spectral" else SCALE)
    return eqx.nn.Sequential([scaled, first, tanh, second, tanh, *deviation, last])


def players(
    key: Key[Array, ""], *, judge: Judge = "plain", prior: priors.Prior | None = None
) -> Players:
    """A generator, a discriminator with two hidden layers each, and a prior.

    Args:
        key: a typed random key.
        judge: the discriminator's kind: with spectral normalisation in every layer, with the
            minibatch's standard deviation before its last layer, or with neither.
        prior: the distribution of z; by default 32 normals.

    Returns:
        The players.

    Example:
        >>> import jax
        >>> from advnets.bench.modes import methods
        >>> methods.players(jax.random.key(0)).prior
        Normal(size=32)
    """
    g_key, d_key = jax.random.split(key)
    if judge == "spectral":
        model_and_state = eqx.nn.make_with_state(_discriminator)(d_key, judge)
        discriminator: Player = Stateful(*model_and_state)
    else:
        discriminator = _discriminator(d_key, judge)
    return Players(_generator(g_key), discriminator, prior or priors.Normal(LATENT))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method:
    """One of the stabilisers.

    Attributes:
        description: the difference from the game without a stabiliser, as a phrase.
        objective: the objective, given the number of updates of the run.
        generator_rate: the learning rate of the generator's Adam.
        momentum: β₁ of both players' Adam.
        judge: the kind of discriminator.
        pieces: whether the prior is a mixture of as many pieces as the data have modes.
    """

    description: str
    objective: Callable[[int], Objective] = lambda updates: GAN()
    generator_rate: float = RATE
    momentum: float = MOMENTUM
    judge: Judge = "plain"
    pieces: bool = False

    def players(self, key: Key[Array, ""], modes: int) -> Players:
        """Its players, for data with this many modes."""
        prior = priors.Mixture(LATENT, pieces=modes, scale=0.1) if self.pieces else None
        return players(key, judge=self.judge, prior=prior)

    def algorithm(self, updates: int) -> Algorithm:
        """The algorithm that trains them, in this many updates."""
        return Algorithm1(
            objective=self.objective(updates),
            generator_updates=optax.adam(self.generator_rate, b1=self.momentum),
            discriminator_updates=optax.adam(RATE, b1=self.momentum),
            average=DECAY,
        )


# Initial noise: a quarter of the distance between neighbours on the grid; none in the last quarter.
NOISE, NOISY = 0.5, 0.75
WEIGHT, LAZY = 1.0, 8
METHODS: dict[str, Method] = {
    "none": Method(description="Adam at 1e-3 with momentum 0.9 for both players, alternating"),
    "less momentum": Method(description="Adam's momentum is 0.5", momentum=0.5),
    "two rates": Method(description="G's rate 1e-4, a tenth of D's", generator_rate=RATE / 10),
    "R1": Method(
        description=f"R1 of weight {WEIGHT:g} on D",
        objective=lambda updates: Penalised(GAN(), R1(WEIGHT)),
    ),
    "lazy R1": Method(
        description=f"R1 in one update of {LAZY}, with {LAZY} times that weight",
        objective=lambda updates: Penalised(GAN(), R1(WEIGHT), every=LAZY),
    ),
    "spectral norm": Method(
        description="every layer of D divided by its largest singular value, so that D's slope is "
        f"at most {SPECTRAL_SCALE:g}",
        judge="spectral",
    ),
    "instance noise": Method(
        description=f"D sees all through normal noise, of scale {NOISE:g} at first and none after "
        "three quarters of the run",
        objective=lambda updates: InstanceNoise(GAN(), NOISE, iterations=int(NOISY * updates)),
    ),
    "minibatch deviation": Method(
        description="D's last layer sees the minibatch's standard deviation", judge="deviation"
    ),
    "mixture prior": Method(
        description="z from a mixture of as many pieces as the data have modes", pieces=True
    ),
}
