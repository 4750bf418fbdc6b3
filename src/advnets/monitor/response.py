"""The best response of D: what V becomes if G is frozen and D alone is trained further.

For any D, and so for any copy of it that was trained, the expected V(D, G) is at most the virtual
training criterion C(G) = -log 4 + 2 JSD(p_data, p_g). So V on rows that neither trained nor chose
the copy bounds the Jensen-Shannon divergence from below.
"""

import dataclasses
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from advnets import _reprs
from advnets._counts import check_count
from advnets.algorithms import Algorithm1, Fake, State, at, generated
from advnets.batches import Batch
from advnets.draws import generator_draws
from advnets.game import value_function
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
from advnets.monitor.frozen import as_applied, evenly
from advnets.objectives._examples import example_of, with_example
from advnets.players import Player, Players, for_sampling, judge, partition
from advnets.training.sources import Preprocess, Source, source_of

ADAM = optax.adam(1e-3)


@dataclasses.dataclass(frozen=True, repr=False)
class BestResponse:
    """The result of training a copy of D alone.

    Held-out rows either choose (the step and the calibration) or report; estimates are of the
    reporting rows unless said otherwise.

    Attributes:
        value: V(D, G), of D as given, without its dropout.
        best_value: V(D*, G), of the copy D* at its best step, recalibrated.
        regret: what D could have gained, V(D*, G) - V(D, G); large if D lags behind G.
        divergence: a lower bound on the Jensen-Shannon divergence of p_g from the data,
            (V(D*, G) + log 4) / 2 within [0, log 2]; at log 2 some D separates them without error,
            and the minimax gradient vanishes.
        overfitting: E log D* on training rows minus that on held-out rows: how far D* has memorised
            its training rows.
        step: the copy's best step, chosen on the choosing rows.
        curve: V(D, G) on the choosing rows after 0, `every`, 2 `every`, ... steps.
        every: the number of steps between the points of the curve.
        calibration: a and b of the recalibrated logit, a·l + b, fitted on the choosing rows.
        discriminator: the copy at its best step, before recalibration.
    """

    value: Estimate
    best_value: Estimate
    regret: Estimate
    divergence: Estimate
    overfitting: Estimate
    step: int
    curve: tuple[float, ...]
    every: int
    calibration: tuple[float, float]
    discriminator: Player

    def __repr__(self) -> str:
        estimates = ", ".join(
            f"{name}={getattr(self, name)}"
            for name in ("value", "best_value", "regret", "divergence", "overfitting", "step")
        )
        return f"BestResponse({estimates}, discriminator={_reprs.network(self.discriminator)})"


def best_response(
    key: Key[Array, ""],
    players: Players,
    data: Any,
    held_out: Any,
    *,
    rule: optax.GradientTransformation = ADAM,
    steps: int = 500,
    every: int = 25,
    batch_size: int = 100,
    noise_scale: float = 0.0,
    perturbation: float = 0.0,
    fake: Fake = generated,
) -> BestResponse:
    r"""Trains a copy of D alone against a frozen G, and measures what it gained.

    The copy starts from D and ascends V on training rows, with fresh generated examples and D's own
    dropout at each step. It is evaluated on held-out rows, without dropout: every other row is used
    to choose the best step and to recalibrate its logits (the choosing rows), the rest for the
    reported estimates (the reporting rows). Trained to the end on finitely many rows, the copy
    would overfit, and V on the rows that D saw says little.

    $$V(D, G) \le V(D^*_G, G) = -\log 4 + 2\, JSD(p_{data}, p_g)$$

    holds for every D, so `best_value` tends to be too low, never too high beyond its error, and
    `divergence` is a lower bound: a small one may mean that D* was not found. D's logits are taken
    as log-odds whatever objective D was trained with; if they are scores, like those of a
    Wasserstein critic, `value` and `regret` say little, but the rest holds.

    G is frozen in sampling mode: its stateful layers are in inference mode.

    Args:
        key: a typed random key.
        players: G with its prior, and D, such as the players of a callback's snapshot or of a
            training result.
        data: the training rows, as for [`advnets.train`][].
        held_out: rows of the same kind that D was not trained on, at least 4; at most 3,000 are
            used, evenly spaced.
        rule: the copy's update rule; Adam at 1e-3 unless given.
        steps: the number of steps that the copy is trained for, in one compiled program.
        every: steps between two evaluations on the choosing rows; must divide `steps`.
        batch_size: rows in a minibatch; all rows if there are fewer.
        noise_scale: the standard deviation of normal noise added to everything that D sees. The
            divergence of the noisy distributions is at most that of the clean ones, and can tell
            games apart whose clean divergence is log 2.
        perturbation: the standard deviation of normal noise added to the copy's parameters before
            its first step, so that it can leave a stationary point that is no best response.
        fake: how the generated examples that D judges are made, if not by G(z) or G(z, c).

    Returns:
        The estimates, and the trained copy.

    Raises:
        ValueError: for a setting out of range, or too few rows.

    Example:
        >>> import equinox as eqx
        >>> import jax
        >>> import advnets
        >>> key, data_key, d_key = jax.random.split(jax.random.key(0), 3)
        >>> data, held_out = jax.random.normal(data_key, (2, 2000, 1))
        >>> far = advnets.Players(
        ...     lambda z: z + 9, eqx.nn.MLP(1, 1, 8, 1, key=d_key), advnets.priors.Normal(1)
        ... )
        >>> found = advnets.monitor.best_response(key, far, data, held_out, steps=300)
        >>> found.divergence.mean > 0.68  # of log 2 = 0.693
        True

    References:
        Section 3 and Figure 1b (D in the inner loop), section 4.1; Goodfellow et al. 2014 leave
        open how near D is to its optimum.
    """
    source, held = source_of(data), source_of(held_out)
    check(source, held, steps, every, batch_size, noise_scale, perturbation)
    rows_key, play_key = jax.random.split(key)
    known = evenly(len(source), len(reporting(held)))
    rows = orders(rows_key, len(source), steps, min(batch_size, len(source)))
    outputs = _play(
        play_key,
        players,
        raw_rows(source, rows.reshape(steps // every, every, -1)),
        raw_rows(source, in_blocks(known)),
        raw_rows(held, in_blocks(choosing(held))),
        raw_rows(held, in_blocks(reporting(held))),
        jnp.asarray(noise_scale, float) if noise_scale else None,
        jnp.asarray(perturbation, float) if perturbation else None,
        Setup(rule, fake, source.preprocess, held.preprocess),
    )
    curve, trained, memory, chosen, reported, on_known = outputs
    _, _, rest = partition(players.discriminator)
    curve, chosen, reported, on_known = jax.tree.map(
        lambda x: np.asarray(x, np.float64), (curve, chosen, reported, on_known)
    )
    return _to_best_response(
        curve,
        chosen,
        reported,
        on_known,
        every,
        eqx.combine(trained, memory, rest),
    )


def check(
    source: Source,
    held: Source,
    steps: int,
    every: int,
    batch_size: int,
    noise_scale: float = 0.0,
    perturbation: float = 0.0,
) -> None:
    """Refuses invalid arguments of [`advnets.monitor.best_response`][], before any work.

    Args:
        source: the training rows.
        held: the held-out rows.
        steps: the number of steps that the copy is trained for.
        every: steps between two evaluations.
        batch_size: rows in a minibatch.
        noise_scale: the standard deviation of the noise.
        perturbation: the standard deviation of the noise on the copy's parameters.

    Raises:
        ValueError: for a setting out of range, or too few rows.
    """
    check_count("the number of steps", steps)
    check_count("the batch size", batch_size)
    if every < 1 or steps % every:
        raise ValueError(f"every must be at least 1 and divide the {steps} steps; got {every}")
    if not 0 <= noise_scale < math.inf:
        raise ValueError(f"the noise's scale must be at least 0 and finite; got {noise_scale}")
    if not 0 <= perturbation < math.inf:
        raise ValueError(f"the perturbation must be at least 0 and finite; got {perturbation}")
    if len(held) < 4 or len(source) < 1:
        raise ValueError(
            "this needs training rows, and at least 4 held-out rows, half of them to choose "
            f"the step and half to report; got {len(source)} and {len(held)}"
        )


@eqx.filter_jit
def _play(
    key: Key[Array, ""],
    players: Players,
    data: Batch,
    known: Batch,
    select: Batch,
    report: Batch,
    noise_scale: Float[Array, ""] | None,
    perturbation: Float[Array, ""] | None,
    setup: Setup,
) -> tuple[Any, ...]:
    """The copy's curve, its arrays at the best step, and its logits on three sets of rows."""
    step_key, select_key, report_key, known_key, perturb_key = jax.random.split(key, 5)
    algorithm = Algorithm1(
        generator_updates=optax.set_to_zero(),
        discriminator_updates=setup.rule,
        fake=setup.fake,
    )
    frozen = Players(
        for_sampling(players.generator),
        players.discriminator,
        players.prior,
        players.condition,
    )
    if noise_scale is not None:
        algorithm = dataclasses.replace(
            algorithm,
            fake=lambda draws, *of: _noisy(draws.objective, setup.fake(draws, *of), noise_scale),
        )

    def once(state: State, inputs: tuple[Array, Batch]) -> tuple[State, None]:
        number, raw = inputs
        now = jax.random.fold_in(step_key, number)
        real = _noisy(jax.random.fold_in(now, 4), setup.of_data(raw), noise_scale)
        return algorithm.discriminator_step(now, frozen, state, real)[0], None

    def beside(
        key: Key[Array, ""], raw: Batch, preprocess: Preprocess, fakes: int
    ) -> tuple[Batch, Batch]:
        """A block of real rows, and some generated blocks for it, as D sees them."""
        real = preprocess(raw)

        def generate(number: Int[Array, ""]) -> Batch:
            draws = generator_draws(jax.random.fold_in(key, number))
            fake = setup.fake(draws, as_applied(frozen), frozen.prior, real)
            return _noisy(draws.objective, fake, noise_scale)

        fake_blocks = jax.lax.map(generate, jnp.arange(fakes))
        return _noisy(jax.random.fold_in(key, fakes), real, noise_scale), fake_blocks

    def logits(discriminator: Player, blocks: tuple[Batch, Batch]) -> tuple[Array, Array]:
        real, fakes = blocks
        on_fakes = jax.lax.map(lambda fake: judge(None, discriminator, fake), fakes)
        return judge(None, discriminator, real), on_fakes.T  # axes (row, generated example)

    def numbered(blocks: Batch) -> tuple[Array, Batch]:
        return jnp.arange(len(jax.tree.leaves(blocks)[0])), blocks

    # The choosing rows and their fakes are the same at each evaluation, so they are made once.
    looked_at = jax.lax.map(
        lambda block: beside(
            jax.random.fold_in(select_key, block[0]), block[1], setup.of_held_out, 1
        ),
        numbered(select),
    )

    def look(state: State) -> Float[Array, ""]:
        now = at(frozen, state).discriminator
        return value_function(*jax.lax.map(lambda block: logits(now, block), looked_at))

    def segment(
        carried: tuple[State, Array, PyTree], inputs: tuple[Array, Batch]
    ) -> tuple[tuple[State, Array, PyTree], Array]:
        state, most, best = carried
        state, _ = jax.lax.scan(once, state, inputs)
        value = look(state)
        better = (value > most) | jnp.isnan(most)
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), _of_d(state), best)
        return (state, jnp.fmax(most, value), best), value

    state = algorithm.init(frozen)
    first, unperturbed = look(state), _of_d(state)
    moved = with_noise(perturb_key, state.discriminator, perturbation)
    state = dataclasses.replace(state, players={**state.players, "discriminator": moved})
    shape = jax.tree.leaves(data)[0].shape[:2]
    numbers = jnp.arange(shape[0] * shape[1]).reshape(shape)
    (_, _, best), values = jax.lax.scan(segment, (state, first, unperturbed), (numbers, data))
    copy = eqx.combine(*best, partition(frozen.discriminator)[2])
    chosen = jax.lax.map(lambda block: logits(copy, block), looked_at)

    def reported(block: tuple[Array, Batch]) -> list[tuple[Array, Array]]:
        now = beside(jax.random.fold_in(report_key, block[0]), block[1], setup.of_held_out, FAKES)
        return [logits(discriminator, now) for discriminator in (frozen.discriminator, copy)]

    def on_known(block: tuple[Array, Batch]) -> Array:
        now = jax.random.fold_in(known_key, block[0])
        return judge(None, copy, _noisy(now, setup.of_data(block[1]), noise_scale))

    return (
        jnp.concatenate([first[None], values]),
        *best,
        chosen,
        jax.lax.map(reported, numbered(report)),
        jax.lax.map(on_known, numbered(known)),
    )


def _of_d(state: State) -> tuple[PyTree, PyTree]:
    return state.players["discriminator"], state.memory["discriminator"]


def _noisy(key: Key[Array, ""], batch: Batch, scale: Float[Array, ""] | None) -> Batch:
    """A batch with normal noise added to its examples, but not to their conditions."""
    return with_example(batch, with_noise(key, example_of(batch), scale))


Logits = tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]


def _to_best_response(
    curve: Float[np.ndarray, " looks"],
    chosen: Logits,
    reported: list[Logits],
    on_known: Float[np.ndarray, "blocks block"],
    every: int,
    discriminator: Player,
) -> BestResponse:
    """The result, computed in float64 on the host."""
    a, b = calibrated(chosen[0].ravel(), chosen[1].ravel())
    now, best = reported
    best = a * best[0] + b, a * best[1] + b
    of_now, of_best = _terms(*now), _terms(*best)
    value, best_value = estimate(of_now), estimate(of_best)
    on_rows = estimate(log_sigmoid(best[0]).ravel())
    on_training = estimate(log_sigmoid(a * on_known + b).ravel())
    bound = (best_value.mean + math.log(4)) / 2
    return BestResponse(
        value=value,
        best_value=best_value,
        regret=estimate(of_best - of_now),
        divergence=Estimate(min(max(bound, 0.0), math.log(2)), best_value.standard_error / 2),
        overfitting=Estimate(
            on_training.mean - on_rows.mean,
            math.hypot(on_training.standard_error, on_rows.standard_error),
        ),
        step=every * int(np.argmax(np.where(np.isnan(curve), -np.inf, curve))),
        curve=tuple(curve.tolist()),
        every=every,
        calibration=(a, b),
        discriminator=discriminator,
    )


def _terms(
    real: Float[np.ndarray, "blocks block"], fakes: Float[np.ndarray, "blocks block fakes"]
) -> Float[np.ndarray, " rows"]:
    """Each row's term of V: its log D plus the mean of log(1 - D) over its generated examples."""
    each = log_sigmoid(real) + log_sigmoid(-fakes).mean(-1)
    return each.ravel()


def calibrated(
    real: Float[np.ndarray, " real"], fake: Float[np.ndarray, " fake"]
) -> tuple[float, float]:
    """The a and b for which logits a·l + b are the best log-odds on some rows.

    A logistic fit with Platt's targets, so that a is finite even if the rows can be separated. If
    the logits unchanged (a = 1, b = 0) or a constant D = 1/2 (a = b = 0) are better on these rows,
    those are returned, so V on them is at least that of the unchanged D, and at least -log 4.

    Args:
        real: logits on data.
        fake: logits on generated examples.

    Returns:
        a and b.

    Raises:
        ValueError: if there are no logits on data, or none on generated examples.

    Example:
        >>> import numpy as np
        >>> from advnets.monitor.response import calibrated
        >>> sure = np.repeat([9.0, -9.0], [75, 25])  # but wrong one time in four
        >>> a, b = calibrated(sure, -sure)
        >>> round(9 * a, 1), round(abs(b), 1)  # log 3 = 1.1
        (1.1, 0.0)

    References:
        Platt 1999, "Probabilistic outputs for support vector machines", section 2.1.
    """
    if 0 in (real.size, fake.size):
        raise ValueError(f"give logits of both kinds; got {real.size} and {fake.size}")

    def value(given: tuple[float, float]) -> float:
        a, b = given
        logs = log_sigmoid(a * real + b), log_sigmoid(-(a * fake + b))
        return float(logs[0].mean() + logs[1].mean())

    def cost(given: Float[np.ndarray, "2"]) -> tuple[float, Float[np.ndarray, "2"]]:
        total, slope = 0.0, np.zeros(2)
        for logits, sign in (((real - centre) / spread, 1), ((fake - centre) / spread, -1)):
            target = (len(logits) + 1) / (len(logits) + 2)
            odds = sign * (given[0] * logits + given[1])
            right, wrong = log_sigmoid(odds), log_sigmoid(-odds)
            total -= float(np.mean(target * right + (1 - target) * wrong))
            slopes = sign * (np.exp(right) - target)
            slope += np.mean(slopes * logits), np.mean(slopes)
        return total, slope

    if not (np.isfinite(real).all() and np.isfinite(fake).all()):
        return 1.0, 0.0
    import scipy.optimize  # takes a second, and most programs do not need it

    # Of the logits' own scale, however small, as the optimiser stops at slopes of a fixed size.
    both = np.concatenate([real, fake]).astype(np.float64)
    centre = both.mean()
    spread = 1.0 if both.max() == both.min() else np.mean(np.abs(both - centre))
    fitted = scipy.optimize.minimize(cost, np.array([1.0, 0.0]), jac=True, method="BFGS").x
    slope = float(fitted[0] / spread)
    # A fit that is no better than the unchanged logits changes nothing.
    candidates: list[tuple[float, float]] = [(1.0, 0.0), (0.0, 0.0)]
    candidates.append((slope, float(fitted[1] - slope * centre)))
    return max(candidates, key=value)
