"""f-GANs: the best D of each, and the f-divergence that is the game's value at it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from advnets.objectives import FGAN, divergences
from advnets.verify.claims import best_responses
from advnets.verify.claims.best_responses import Table
from advnets.verify.claims.objectives import COUNT, NO_BETTER, SUMS, found_out
from advnets.verify.registry import Fault, Finding, claim

# A function of the ratio p_data / p_g, in NumPy.
OfRatio = Callable[[Table], Table]


class _Replaced(divergences.Divergence):
    """Planted: a divergence with another conjugate."""

    kept: divergences.Divergence
    other: Callable[[Array], Array]

    def activation(self, outputs: Array) -> Array:
        return self.kept.activation(outputs)

    def conjugate(self, outputs: Array) -> Array:
        return self.other(outputs)


def _exchanged(f: OfRatio) -> OfRatio:
    """The f of the same divergence with the densities swapped."""
    return lambda ratio: ratio * f(1 / ratio)


def _register(
    id: str,
    name: str,
    divergence: divergences.Divergence,
    f: OfRatio,
    derivative: OfRatio,
    *faults: Fault,
) -> None:
    def check(seed: int, *, divergence: Any = divergence, f: OfRatio = f) -> Finding:
        objective = FGAN(divergence)
        densities = best_responses.random_densities(seed)
        p, q = densities.p_data, densities.p_g
        outputs = best_responses.by_bisection(objective, densities)
        found = best_responses.expected(objective, densities, outputs)
        with jax.enable_x64(True):
            reached = np.asarray(divergence.activation(jnp.asarray(outputs)))
        by_formula, values = (q * f(p / q)).sum(1), found.generator + (p * reached).sum(1)
        wanted, decided = derivative(p / q), np.abs(p / q - 1) > 1e-12  # off the kink of |u - 1|
        errors = {
            "D": (np.abs(reached - wanted) / (1 + np.abs(wanted)) * decided).max(1),
            "gain": best_responses.gained_nearby(objective, densities, outputs, seed),
            "D's cost": np.abs(found.discriminator + by_formula),
            "G's cost": np.abs(values - by_formula),
        }
        return dataclasses.replace(found_out(densities, errors, values, by_formula), draw=None)

    claim(
        f"fgan-{id}",
        statement=f"The value at the best D of the f-GAN game with the {name} divergence is this "
        "divergence of p_data from p_g, which is least where p_g = p_data; the best D satisfies "
        "g_f(D) = f'(p_data / p_g).",
        source="Nowozin et al. 2016, Eq. 4 to 6, Tables 1, 2 and 6",
        computes=f"For {COUNT}: D by bisection of the slope of its expected cost in each output. "
        f"The residual is the largest of {NO_BETTER}, the errors of both costs (G's plus E g_f(D) "
        "over data) against the sum of p_g f(p_data / p_g), and the number of unequal pairs whose "
        "value is not above that of equal ones.",
        tolerance=1e-9,
        reason=SUMS,
        faults=list(faults),
    )(check)


def _conjugate(
    description: str, kept: divergences.Divergence, other: Callable[[Array], Array]
) -> Fault:
    return Fault(description, {"divergence": _Replaced(kept, other)})


_register(
    "kl",
    "Kullback-Leibler (KL)",
    divergences.KL(),
    lambda u: u * np.log(u),
    lambda u: np.log(u) + 1,
    _conjugate("e^t instead of e^(t - 1)", divergences.KL(), jnp.exp),
    Fault("the densities swapped", {"f": _exchanged(lambda u: u * np.log(u))}),
)
_register(
    "reverse-kl",
    "reverse Kullback-Leibler (KL)",
    divergences.ReverseKL(),
    lambda u: -np.log(u),
    lambda u: -1 / u,
    _conjugate("f* without its -1", divergences.ReverseKL(), lambda v: v),
    Fault("the densities swapped", {"f": _exchanged(lambda u: -np.log(u))}),
)
_register(
    "jeffreys",
    "Jeffreys",
    divergences.Jeffreys(),
    lambda u: (u - 1) * np.log(u),
    lambda u: np.log(u) + 1 - 1 / u,
    _conjugate(
        "the conjugate of the KL divergence", divergences.Jeffreys(), divergences.KL().conjugate
    ),
)
_register(
    "pearson-chi2",
    "Pearson χ²",
    divergences.PearsonChi2(),
    lambda u: (u - 1) ** 2,
    lambda u: 2 * (u - 1),
    _conjugate("t²/2 instead of t²/4", divergences.PearsonChi2(), lambda v: v**2 / 2 + v),
    Fault("the densities swapped", {"f": _exchanged(lambda u: (u - 1) ** 2)}),
)
_register(
    "squared-hellinger",
    "squared Hellinger",
    divergences.SquaredHellinger(),
    lambda u: (np.sqrt(u) - 1) ** 2,
    lambda u: 1 - 1 / np.sqrt(u),
    _conjugate("e^v instead of e^v - 1", divergences.SquaredHellinger(), jnp.exp),
)
_register(
    "total-variation",
    "total variation",
    divergences.TotalVariation(),
    lambda u: np.abs(u - 1) / 2,
    lambda u: np.sign(u - 1) / 2,
    _conjugate("2 T instead of f*(T)", divergences.TotalVariation(), jnp.tanh),
)
_register(
    "gan",
    "GAN (twice Jensen-Shannon minus log 4)",
    divergences.GAN(),
    lambda u: u * np.log(u) - (u + 1) * np.log(u + 1),
    lambda u: np.log(u) - np.log(u + 1),
    _conjugate("twice f*", divergences.GAN(), lambda v: 2 * jax.nn.softplus(v)),
)
