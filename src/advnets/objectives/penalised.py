"""An objective with penalties on D."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from advnets.batches import Batch
from advnets.draws import Draws
from advnets.objectives.base import Applied, Costs, Objective
from advnets.objectives.penalties import Penalty

# What each penalty adds to D's cost, by name.
Added: TypeAlias = dict[str, Float[Array, ""]]


class Penalised(Objective):
    """Another objective, with penalties added to D's cost.

    It reports what the other objective reports, such as a `cost` or a `value` without penalties,
    and what each penalty adds, under the penalty's name. With lazy penalties, that is 0 in most
    iterations, and its mean over an epoch is that of the penalty itself.

    Lazy penalties are computed in one of every `every` iterations, with `every` times their weight.
    They cost that much less in a game that runs by itself; games side by side in one program
    (`jax.vmap`) compute them in every iteration, with the same results.

    Attributes:
        objective: the other objective. Put [`advnets.objectives.InstanceNoise`][] inside for
            penalties at examples without noise, outside for penalties at examples with it. If the
            objective changes what D judges (`judged`), the penalties are at what D judges.
        penalties: at least one, each with its own name.
        every: penalties count in one of this many iterations; at least 1.

    Raises:
        ValueError: for a setting out of range.

    Example:
        >>> import advnets
        >>> from advnets.objectives import R1, Penalised
        >>> lazy = Penalised(advnets.objectives.GAN(), R1(0.1), every=16)
        >>> algorithm = advnets.Algorithm1(objective=lazy)

    References:
        Karras et al. 2020, "Analyzing and improving the image quality of StyleGAN", section
        3.1 (lazy regularisation).
    """

    objective: Objective
    penalties: tuple[Penalty, ...]
    every: int = eqx.field(static=True)

    def __init__(self, objective: Objective, *penalties: Penalty, every: int = 1) -> None:
        self.objective = objective
        self.penalties = penalties
        self.every = every

    def __check_init__(self) -> None:
        names = [penalty.name for penalty in self.penalties]
        if not names:
            raise ValueError("give at least one penalty, such as R1(0.1)")
        if len(set(names)) < len(names):
            raise ValueError(
                f"each penalty needs a name of its own to report under; got {', '.join(names)}"
            )
        if self.every < 1:
            raise ValueError(f"every must be at least 1; got {self.every}")

    @property
    def shown(self) -> Mapping[str, str]:  # type: ignore[override]  # that of the class elsewhere
        """What a progress line shows: what the other objective shows."""
        return self.objective.shown

    def costs(self, draws: Draws, D: Applied, real: Batch, fake: Batch, **others: Applied) -> Costs:
        """The objective's costs; raises a ValueError if lazy penalties don't know the iteration."""
        found = self.objective.costs(draws, D, real, fake, **others)
        judged = self.judged(real, fake)

        def values() -> Added:
            kind = found.discriminator.dtype
            each = {p.name: self.every * p(draws, D, *judged) for p in self.penalties}
            return {name: jnp.asarray(penalty, kind) for name, penalty in each.items()}

        added = values() if self.every == 1 else self._in_turn(draws, values)
        return dataclasses.replace(
            found,
            discriminator=sum(added.values(), found.discriminator),
            seen={**found.reported, **added},
        )

    def judged(self, real: Batch, fake: Batch) -> tuple[Batch, Batch]:
        """What D is called on: the same as without penalties."""
        return self.objective.judged(real, fake)

    def _in_turn(self, draws: Draws, values: Callable[[], Added]) -> Added:
        """The penalties in one of every `every` iterations, and zeros in the others."""
        if draws.iteration is None:
            raise ValueError(
                "lazy penalties need the iteration's number; give draws.iteration, as "
                "Algorithm.differentiate does"
            )
        like = jax.eval_shape(values)
        return jax.lax.cond(
            draws.iteration % self.every == 0,
            values,
            lambda: jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), like),
        )
