r"""Discriminator rejection sampling: keeps those generated examples that D takes for data.

An example is accepted with a probability proportional to D/(1 − D), the exponential of D's logit.
That ratio is p_data/p_g if D is at its optimum for G, so the accepted examples then follow p_data
wherever p_g is positive. This amounts to another distribution of z.
"""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, Key

from advnets._counts import check_count
from advnets.model import Model
from advnets.players import Player, inputs_taken, judge

# Examples that are proposed in one compiled program.
PROPOSED_PER_CALL = 1000


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Accepted:
    """What [`advnets.rejection.sample`][] returns.

    Attributes:
        examples: the accepted examples.
        proposed: how many examples were proposed until there were enough.
        rate: the share of them that was accepted, in (0, 1].
        effective: the effective sample size of the weights w = D/(1 - D), as a share of the
            proposals, (Σw)² / (n Σw²), in (0, 1]: 1 where D sees no difference. A small share says
            that a few proposals carry all the weight.
        capped: the share of proposals with a larger weight than any in the pilot. They are accepted
            with probability 1, which is too low compared with the others.
    """

    examples: Float[np.ndarray, " n *data"]
    proposed: int
    rate: float
    effective: float
    capped: float

    def __repr__(self) -> str:
        return (
            f"Accepted({len(self.examples):,} of {self.proposed:,} proposals: "
            f"rate {self.rate:.3g}, effective sample size {self.effective:.3g} of them, "
            f"{self.capped:.2g} capped)"
        )


def sample(
    key: Key[Array, ""],
    model: Model,
    discriminator: Player,
    n: int,
    *,
    pilot: int = 10_000,
    most: int = 1_000_000,
) -> Accepted:
    r"""Draws examples of a model that a discriminator accepts.

    $$P(\text{accept } x) = \min\left(1, e^{l(x) - \max l}\right), \qquad
      e^{l} = \frac{D}{1 - D}$$

    Here l is D's logit, without its noise, and the maximum is over the pilot's examples.

    With D at its optimum for this generator, the accepted examples follow p_data where p_g is
    positive, except for the capped proposals. Training does not leave D at that optimum: train it
    further, with the generator fixed, before you trust more than the look of the samples.

    Args:
        key: a typed random key.
        model: an unconditional model.
        discriminator: maps an example to a logit. If its objective's logits are scores rather than
            log-odds, the acceptance probabilities have no such meaning.
        n: the number of examples wanted, at least 1.
        pilot: the number of examples, none of which is returned, on which the largest logit is
            found; at least 1.
        most: the largest number of proposals, at least 1.

    Returns:
        The examples, with the acceptance rate and the weights' effective sample size.

    Raises:
        ValueError: for a number out of range; for a model that takes a condition; for a logit that
            is not a number, or +∞; if D gives every example of the pilot no chance at all (a logit
            of -∞); or if `most` proposals are not enough.

    Example:
        >>> import jax
        >>> import advnets
        >>> model = advnets.Model(lambda z: z, advnets.priors.Normal(1))
        >>> found = advnets.rejection.sample(  # l = log N(x; 1, 1) - log N(x; 0, 1)
        ...     jax.random.key(0), model, lambda x: x - 0.5, 500
        ... )
        >>> bool(abs(found.examples.mean() - 1) < 0.2)
        True

    References:
        Section 7 (better distributions to sample z from); Azadi et al. 2019, "Discriminator
        rejection sampling", section 3.
    """
    check_count("the number of samples", n)
    check_count("the pilot's number of examples", pilot)
    check_count("the largest number of proposals", most)
    if model.condition is not None or inputs_taken(model.generator)[0] > 1:
        raise ValueError(
            "rejection sampling is for unconditional models, as it would change how often each "
            "condition is drawn; got one whose generator takes a condition"
        )
    pilot_key, sample_key, accept_key = jax.random.split(key, 3)
    blocks = -(-pilot // PROPOSED_PER_CALL)
    logits = [
        _proposed(one, model, discriminator)[1] for one in jax.random.split(pilot_key, blocks)
    ]
    largest = _checked(np.concatenate(logits)[:pilot]).max()
    if largest == -np.inf:
        raise ValueError(
            f"the discriminator's logit is -inf on each of the pilot's {pilot:,} examples, so none "
            "would be accepted; look at its parameters"
        )
    kept: list[np.ndarray] = []
    weights: list[np.ndarray] = []
    found = 0
    for number in range(-(-most // PROPOSED_PER_CALL)):
        examples, here = _proposed(jax.random.fold_in(sample_key, number), model, discriminator)
        uniform = _uniforms(jax.random.fold_in(accept_key, number), len(here))
        left = most - number * PROPOSED_PER_CALL
        relative = _checked(here)[:left] - largest
        accepted = np.log1p(-uniform[:left]) <= relative
        kept.append(np.asarray(examples)[:left][accepted])
        weights.append(relative)
        found += int(accepted.sum())
        if found >= n:
            break
    every = np.concatenate(weights)
    if found < n:
        raise ValueError(
            f"of {len(every):,} proposals {found:,} were accepted, and {n:,} are wanted; raise "
            "most, or use a discriminator that is less confident"
        )
    scaled = np.exp(every - every.max())
    return Accepted(
        examples=np.concatenate(kept)[:n],
        proposed=len(every),
        rate=found / len(every),
        effective=float(scaled.sum() ** 2 / np.sum(scaled**2) / len(every)),
        capped=float(np.mean(every > 0)),
    )


@eqx.filter_jit
def _jitted(key: Key[Array, ""], model: Model, discriminator: Player) -> tuple[Any, Array]:
    examples = model(key, PROPOSED_PER_CALL)
    return examples, judge(None, discriminator, examples)


def _proposed(key: Key[Array, ""], model: Model, discriminator: Player) -> tuple[Any, np.ndarray]:
    """Examples, and D's logits on them in float64."""
    examples, logits = _jitted(key, model, discriminator)
    return examples, np.asarray(logits, np.float64)


def _uniforms(key: Key[Array, ""], n: int) -> Float[np.ndarray, " n"]:
    """Uniform numbers of 46 bits, so that probabilities as small as e^-31 are told from 0."""
    high = jax.random.uniform(key, (n,), np.float32)
    low = jax.random.uniform(jax.random.fold_in(key, 1), (n,), np.float32)
    return np.asarray(high, np.float64) + 2.0**-23 * np.asarray(low, np.float64)


def _checked(logits: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    if not (logits < np.inf).all():
        raise ValueError(
            "a logit of the discriminator is not a number, or +inf, so examples have no "
            "weights; look at its parameters"
        )
    return logits
