"""Least squares: D's output is pulled towards codes for data and for generated examples."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from advnets.objectives.of_logits import OfLogits


class LeastSquares(OfLogits):
    r"""Least squares, on D's output as it is.

    $$c_D = \tfrac12 E_x[(D(x) - b)^2] + \tfrac12 E_z[(D(G(z)) - a)^2], \qquad
    c_G = \tfrac12 E_z[(D(G(z)) - c)^2]$$

    Against the best D, which is \(D^* = (b\, p_{data} + a\, p_g) / (p_{data} + p_g)\), G's cost and
    the same cost on data add up to half the Pearson χ² divergence between \(2 p_g\) and
    \(p_{data} + p_g\) if b - c = 1 and b - a = 2: `LeastSquares(-1, 1, 0)`. With the usual 0, 1, 1
    they add up to an eighth of it plus 1/4. D's cost is \(\tfrac14 (b - a)^2\) minus an eighth of
    \((b - a)^2\) times it, whatever the codes. So at p_g = p_data that
    sum is least, and D's cost, of the best D, is greatest.

    Both costs are at least 0, and not bounded. `advnets.verify` checks this: `ls-`.

    Attributes:
        fake_code: a, what D's output should be on generated examples.
        real_code: b, what it should be on data.
        generator_code: c, what G wants it to be on generated examples.

    Raises:
        ValueError: if a = b, or c is not on the same side of a as b, or a code is not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> least_squares = advnets.objectives.LeastSquares()
        >>> print(float(least_squares.discriminator_cost(jnp.array([0.5]), jnp.array([0.5]))))
        0.25
        >>> pearson = advnets.objectives.LeastSquares(-1, 1, 0)
        >>> algorithm = advnets.Algorithm1(objective=pearson)

    References:
        Mao et al. 2017, "Least squares generative adversarial networks", section 3.
    """

    fake_code: float = 0.0
    real_code: float = 1.0
    generator_code: float = 1.0

    def __check_init__(self) -> None:
        a, b, c = self.fake_code, self.real_code, self.generator_code
        if not 0 < (b - a) * (c - a) < math.inf:
            raise ValueError(
                "the codes must be finite, and those of data and of what G wants must lie on one "
                f"side of that of generated examples; got fake_code={a}, real_code={b} and "
                f"generator_code={c} (0, 1 and 1 are usual)"
            )

    def discriminator_cost(
        self, real_logits: Float[Array, " real"], fake_logits: Float[Array, " fake"]
    ) -> Float[Array, ""]:
        on_real = jnp.mean((real_logits - self.real_code) ** 2)
        return (on_real + jnp.mean((fake_logits - self.fake_code) ** 2)) / 2

    def generator_cost(self, fake_logits: Float[Array, " fake"]) -> Float[Array, ""]:
        return jnp.mean((fake_logits - self.generator_code) ** 2) / 2
