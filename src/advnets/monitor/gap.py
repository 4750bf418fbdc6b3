"""The duality gap: what both players together could gain, each against the other as it is.

The gap is 0 at an equilibrium of the zero-sum game and positive elsewhere. Each half is measured by
training a copy of one player alone, so each tends to be too small, and their sum with them.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key, PyTree

from advnets import _reprs
from advnets.algorithms import Algorithm1, Fake, State, generated
from advnets.batches import Batch
from advnets.draws import generator_draws
from advnets.game import minimax_cost
from advnets.monitor._rows import (
    FAKES,
    Estimate,
    Setup,
    choosing,
    estimate,
    in_blocks,
    log_sigmoid,
    orders,
    raw_rows,
    reporting,
    with_noise,
)
from advnets.monitor.frozen import as_applied
from advnets.monitor.response import ADAM, BestResponse, best_response, check
from advnets.players import Player, Players, for_sampling, judge, partition
from advnets.training.sources import Preprocess, source_of


@dataclasses.dataclass(frozen=True, repr=False)
class GeneratorResponse:
    """The result of training a copy of G alone, against a frozen D.

    Attributes:
        value: E log(1 - D(G(z))), the part of V that G can change.
        best_value: the same of the copy at its best step.
        regret: what G could have gained, `value` - `best_value`. It has no upper bound: if D is
            certain that some example is data, it is about as large as D's logit there.
        step: the copy's best step, chosen on examples that are not reported on.
        curve: E log(1 - D(G(z))) of the choosing examples after 0, `every`, 2 `every`, ... steps.
        every: the number of steps between the points of the curve.
        generator: the copy at its best step.
    """

    value: Estimate
    best_value: Estimate
    regret: Estimate
    step: int
    curve: tuple[float, ...]
    every: int
    generator: Player

    def __repr__(self) -> str:
        estimates = ", ".join(
            f"{name}={getattr(self, name)}" for name in ("value", "best_value", "regret", "step")
        )
        return f"GeneratorResponse({estimates}, generator={_reprs.network(self.generator)})"


@dataclasses.dataclass(frozen=True)
class DualityGap:
    """Both halves of a duality gap.

    Attributes:
        discriminator: D's best response to G.
        generator: G's best response to D.
    """

    discriminator: BestResponse
    generator: GeneratorResponse

    @property
    def gap(self) -> Estimate:
        """V(D*, G) - V(D, G*), the sum of both regrets, in nats.

        Its standard error is that of independent halves; with conditions, they share their rows.
        """
        of_d, of_g = self.discriminator.regret, self.generator.regret
        error = math.hypot(of_d.standard_error, of_g.standard_error)
        return Estimate(of_d.mean + of_g.mean, error)

    def __str__(self) -> str:
        return (
            f"duality gap {self.gap}: D could gain {self.discriminator.regret}, "
            f"G {self.generator.regret}"
        )


def duality_gap(
    key: Key[Array, ""],
    players: Players,
    data: Any,
    held_out: Any,
    *,
    rule: optax.GradientTransformation = ADAM,
    generator_rule: optax.GradientTransformation = ADAM,
    steps: int = 500,
    every: int = 25,
    batch_size: int = 100,
    perturbation: float = 0.0,
    fake: Fake = generated,
) -> DualityGap:
    r"""Measures what each player could gain while the other is fixed.

    $$\mathrm{DG}(G, D) = \max_{D'} V(D', G) - \min_{G'} V(D, G') \ge 0$$

    It is 0 if and only if neither player can gain; for players that can be any function that is
    p_g = p_data, with D = 1/2 where there are data. The first half is
    [`advnets.monitor.best_response`][], with its recalibration; the second trains a copy of G on
    the minimax cost, whatever the game's own objective, with D frozen and without its dropout, and
    with fresh latent vectors. Stateful layers of the copy are in inference mode.

    Look at both halves: G's has no upper bound, and dominates if D is certain that some example is
    data. Each half is a lower bound up to its standard error, as training need not find the
    best response. D's logits are taken as log-odds; if they are scores, like those of a Wasserstein
    critic, the gap says little.

    Args:
        key: a typed random key.
        players: the players.
        data: the training rows, as for [`advnets.train`][].
        held_out: rows of the same kind that D was not trained on, at least 4; at most 3,000 are
            used, evenly spaced.
        rule: the update rule of the copy of D; Adam at 1e-3 unless given.
        generator_rule: the update rule of the copy of G; Adam at 1e-3 unless given.
        steps: the number of steps that each copy is trained for.
        every: steps between two evaluations; must divide `steps`.
        batch_size: rows in a minibatch; all rows if there are fewer.
        perturbation: the standard deviation of normal noise added to each copy's parameters before
            its first step, so that it can leave a stationary point that is no best response.
        fake: how generated examples are made, if not by G(z) or G(z, c).

    Returns:
        Both best responses; their sum is `gap`.

    Raises:
        ValueError: for a setting out of range, or too few rows.

    Example:
        >>> import equinox as eqx
        >>> import jax
        >>> import advnets
        >>> key, data_key, d_key = jax.random.split(jax.random.key(0), 3)
        >>> data, held_out = jax.random.normal(data_key, (2, 2000, 1))
        >>> far = advnets.Players(
        ...     lambda z: z + 9, eqx.nn.Linear(1, 1, key=d_key), advnets.priors.Normal(1)
        ... )
        >>> found = advnets.monitor.duality_gap(key, far, data, held_out, steps=300)
        >>> found.discriminator.regret.mean > 0.2, found.generator.regret.mean  # G can't move
        (True, 0.0)

    References:
        Section 3 (the two-player minimax game); Grnarova et al. 2019, "A domain agnostic
        measure for monitoring and evaluating GANs", whose gap is half of this one; Sidheekh and
        others 2021, "On duality gap as a measure for monitoring GAN training" (perturbation).
    """
    source, held = source_of(data), source_of(held_out)
    check(source, held, steps, every, batch_size, perturbation=perturbation)
    d_key, g_key = jax.random.split(key)
    of_d = best_response(
        d_key,
        players,
        source,
        held,
        rule=rule,
        steps=steps,
        every=every,
        batch_size=batch_size,
        perturbation=perturbation,
        fake=fake,
    )
    rows_key, play_key = jax.random.split(g_key)
    rows = orders(rows_key, len(source), steps, min(batch_size, len(source)))
    curve, best, reported = _play(
        play_key,
        players,
        raw_rows(source, rows.reshape(steps // every, every, -1)),
        raw_rows(held, in_blocks(choosing(held))),
        raw_rows(held, in_blocks(reporting(held))),
        jnp.asarray(perturbation, float) if perturbation else None,
        Setup(generator_rule, fake, source.preprocess, held.preprocess),
    )
    _, *rest = partition(players.generator)
    copy = eqx.combine(best, *rest)
    return DualityGap(of_d, _to_response(np.asarray(curve, np.float64), reported, every, copy))


@eqx.filter_jit
def _play(
    key: Key[Array, ""],
    players: Players,
    data: Batch,
    select: Batch,
    report: Batch,
    perturbation: Float[Array, ""] | None,
    setup: Setup,
) -> tuple[Any, ...]:
    """The copy's curve, its arrays at the best step, and D's logits on examples of G and of it."""
    step_key, select_key, report_key, perturb_key = jax.random.split(key, 4)
    first, *rest = partition(for_sampling(players.generator))

    def with_copy(trained: PyTree) -> Players:
        copy = eqx.combine(trained, *rest)
        return Players(copy, players.discriminator, players.prior, players.condition)

    mover = Algorithm1(
        generator_updates=setup.rule, discriminator_updates=optax.set_to_zero(), fake=setup.fake
    )

    def logits(
        key: Key[Array, ""], trained: PyTree, raw: Batch, preprocess: Preprocess
    ) -> Float[Array, " rows"]:
        """D's logits on a copy's examples, each with the condition of a row, if there are any."""
        generator = as_applied(with_copy(trained))
        fake = setup.fake(generator_draws(key), generator, players.prior, preprocess(raw))
        return judge(None, players.discriminator, fake)

    def once(state: State, inputs: tuple[Array, Batch]) -> tuple[State, None]:
        number, raw = inputs

        def cost(trained: PyTree) -> Float[Array, ""]:
            now = jax.random.fold_in(step_key, number)
            return minimax_cost(logits(now, trained, raw, setup.of_data))

        return mover.descend(state, {"generator": jax.grad(cost)(state.generator)}), None

    def by_block(key: Key[Array, ""], blocks: Batch, of: Callable[[Array, Batch], Any]) -> Any:
        numbers = jnp.arange(len(jax.tree.leaves(blocks)[0]))
        return jax.lax.map(
            lambda block: of(jax.random.fold_in(key, block[0]), block[1]), (numbers, blocks)
        )

    def look(trained: PyTree) -> Float[Array, ""]:
        return minimax_cost(
            by_block(
                select_key, select, lambda key, raw: logits(key, trained, raw, setup.of_held_out)
            )
        )

    def segment(carried: tuple[Any, Array, PyTree], inputs: tuple[Array, Batch]) -> Any:
        state, least, best = carried
        state, _ = jax.lax.scan(once, state, inputs)
        value = look(state.generator)
        better = (value < least) | jnp.isnan(least)
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), state.generator, best)
        return (state, jnp.fmin(least, value), best), value

    def reported(key: Key[Array, ""], raw: Batch) -> list[Array]:
        """Logits of axes (generated example, row), of G and of the copy at the same z."""
        keys = jax.random.split(key, FAKES)

        def of(trained: PyTree) -> Array:
            return jax.lax.map(lambda one: logits(one, trained, raw, setup.of_held_out), keys)

        return [of(first), of(best)]

    state = mover.init(with_copy(with_noise(perturb_key, first, perturbation)))
    shape = jax.tree.leaves(data)[0].shape[:2]
    numbers = jnp.arange(shape[0] * shape[1]).reshape(shape)
    at_first = look(first)
    (_, _, best), values = jax.lax.scan(segment, (state, at_first, first), (numbers, data))
    curve = jnp.concatenate([at_first[None], values])
    return curve, best, by_block(report_key, report, reported)


def _to_response(
    curve: Float[np.ndarray, " looks"], reported: list[Array], every: int, generator: Player
) -> GeneratorResponse:
    """The result, computed in float64 on the host."""
    # Axes (block, generated example, row); the examples of a row are averaged.
    each = [
        log_sigmoid(-np.asarray(logits, np.float64)).mean(axis=1).ravel() for logits in reported
    ]
    return GeneratorResponse(
        value=estimate(each[0]),
        best_value=estimate(each[1]),
        regret=estimate(each[0] - each[1]),
        step=every * int(np.argmin(np.where(np.isnan(curve), np.inf, curve))),
        curve=tuple(curve.tolist()),
        every=every,
        generator=generator,
    )
