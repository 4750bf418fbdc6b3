"""Penalties on D's slope at examples, to combine with any objective."""

import abc
import math
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from advnets._precision import in_single
from advnets.batches import Batch, length
from advnets.draws import Draws
from advnets.objectives._examples import check_floats, example_of, with_example
from advnets.objectives.base import Applied


class Penalty(eqx.Module):
    """A term that is added to D's cost; subclass it to bring your own.

    Attributes:
        name: the name under which its value is reported.
        weight: its weight, at least 0; an array inside a compiled program is not checked.

    Raises:
        ValueError: if the weight is below 0, or not a number.

    Example:
        >>> import jax.numpy as jnp
        >>> from advnets.objectives import GAN, Penalised, Penalty
        >>> class Drift(Penalty):  # of Karras et al. 2018
        ...     weight: float = 1e-3
        ...     name = "drift"
        ...     def __call__(self, draws, D, real, fake):
        ...         return self.weight * jnp.mean(D(draws.real, real) ** 2)
        >>> objective = Penalised(GAN(), Drift())
    """

    weight: eqx.AbstractVar[float | Float[Array, ""]]
    name: ClassVar[str] = "penalty"

    def __check_init__(self) -> None:
        if not isinstance(self.weight, jax.core.Tracer) and not 0 <= self.weight < math.inf:
            raise ValueError(
                f"a penalty's weight must be at least 0 and finite; {type(self).__name__} got "
                f"{self.weight}"
            )

    @abc.abstractmethod
    def __call__(self, draws: Draws, D: Applied, real: Batch, fake: Batch) -> Float[Array, ""]:
        """The penalty on a minibatch, with its weight.

        Args:
            draws: the step's keys.
            D: the discriminator as a function of a key and a batch.
            real: a batch of data.
            fake: a batch of generated examples.

        Returns:
            The penalty, a scalar.
        """


class R1(Penalty):
    r"""D's squared slope at data.

    $$\tfrac\gamma2 E_x[\lVert \nabla_x D(x) \rVert^2]$$

    The slope is the norm of the gradient in the example, not in its condition. D is assumed to
    judge each example by itself, which is not so with batch normalisation. The penalty is 0 at
    p_g = p_data with D constant, so it moves no equilibrium; near one it damps. It is at least 0;
    for examples s times as large, the same γ counts s² times less.

    Attributes:
        weight: γ, at least 0. (Some code multiplies by γ, not γ/2.)

    Raises:
        ValueError: if the weight is below 0; for examples that are not floats.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from advnets.draws import discriminator_draws
        >>> from advnets.objectives import R1
        >>> draws, x = discriminator_draws(jax.random.key(0)), jnp.ones((4, 3))
        >>> print(float(R1(0.5)(draws, lambda key, x: 2 * x.sum(1), x, x)))
        3.0

    References:
        Mescheder et al. 2018, "Which training methods for GANs do actually converge?", Eq. 9.
    """

    weight: float | Float[Array, ""]
    name: ClassVar[str] = "r1"

    def __call__(self, draws: Draws, D: Applied, real: Batch, fake: Batch) -> Float[Array, ""]:
        return self.weight / 2 * jnp.mean(_squared_slopes(self, draws.real, D, real))


class R2(Penalty):
    r"""D's squared slope at generated examples.

    $$\tfrac\gamma2 E_z[\lVert \nabla_x D(G(z)) \rVert^2]$$

    In all else it is like [`advnets.objectives.R1`][].

    Attributes:
        weight: γ, at least 0.

    Raises:
        ValueError: if the weight is below 0; for examples that are not floats.

    Example:
        >>> from advnets.objectives import R1, R2, Penalised, Relativistic
        >>> objective = Penalised(Relativistic(), R1(0.1), R2(0.1))

    References:
        Mescheder et al. 2018, Eq. 10.
    """

    weight: float | Float[Array, ""]
    name: ClassVar[str] = "r2"

    def __call__(self, draws: Draws, D: Applied, real: Batch, fake: Batch) -> Float[Array, ""]:
        return self.weight / 2 * jnp.mean(_squared_slopes(self, draws.fake, D, fake))


class GradientPenalty(Penalty):
    r"""How far D's slope is from 1 between data and generated examples.

    $$\lambda E[(\lVert \nabla D(\hat x) \rVert - 1)^2], \qquad
    \hat x = t x + (1 - t) G(z), \quad t \sim U(0, 1)$$

    Each data example is mixed with the generated example in its row, and judged under its own
    condition. The penalty is at least 0, and λ if D is constant.

    Attributes:
        weight: λ, at least 0.

    Raises:
        ValueError: if the weight is below 0; for examples that are not floats, or not as many of
            each kind.

    Example:
        >>> from advnets.objectives import GradientPenalty, Penalised, Wasserstein
        >>> objective = Penalised(Wasserstein(), GradientPenalty())

    References:
        Gulrajani et al. 2017, "Improved training of Wasserstein GANs", Eq. 3 (λ = 10).
    """

    weight: float | Float[Array, ""] = 10.0
    name: ClassVar[str] = "gradient_penalty"

    def __call__(self, draws: Draws, D: Applied, real: Batch, fake: Batch) -> Float[Array, ""]:
        n, others = length(real), length(fake)
        if n != others:
            raise ValueError(
                "the gradient penalty mixes data with generated examples, as many of each; got "
                f"{n} and {others}"
            )
        t = jax.random.uniform(draws.objective, (n,))

        def between(x: Array, generated: Array) -> Array:
            share = t.astype(x.dtype).reshape(n, *[1] * (x.ndim - 1))
            return share * x + (1 - share) * generated

        mixed = jax.tree.map(between, example_of(real), example_of(fake))
        squared = _squared_slopes(self, draws.real, D, with_example(real, mixed))
        # A norm whose gradient at 0 is 0.
        steep = squared > jnp.finfo(squared.dtype).tiny
        norms = jnp.where(steep, jnp.sqrt(jnp.where(steep, squared, 1)), 0)
        return self.weight * jnp.mean((norms - 1) ** 2)


def _squared_slopes(penalty: Penalty, key: Any, D: Applied, batch: Batch) -> Float[Array, " batch"]:
    """For each example, the squared norm of D's gradient in it; in float32 for half precision."""
    check_floats(batch, type(penalty).__name__)
    # D judges each example by itself: the gradient of the sum is each output's in its own.
    slopes = jax.grad(lambda x: jnp.sum(D(key, with_example(batch, x))))(example_of(batch))
    squares = [
        jnp.sum(leaf**2, axis=tuple(range(1, leaf.ndim)))
        for leaf in jax.tree.leaves(in_single(slopes))  # float16 holds no square above 256²
    ]
    return sum(squares[1:], squares[0])
