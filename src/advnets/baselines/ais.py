r"""Annealed importance sampling: log Z of a restricted Boltzmann machine, from both directions.

Runs go from a machine of independent units, whose log Z is known, to the machine in question, or
back, in small steps of an inverse temperature β between 0 and 1:

$$\log p^*_\beta(v) = ((1 - \beta) a + \beta c)^T v
+ \textstyle\sum_j \log(1 + e^{\beta (v^T W_j + b_j)})$$

Forward, the mean weight of the runs is an unbiased estimate of Z, and its log tends to be too
small; in reverse, from the machine's own samples, it estimates 1 / Z, and log Z tends to be too
large. If both agree, both are right.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jax import lax
from jaxtyping import Array, Float, Key

from advnets import _progress, _signals
from advnets._counts import check_count
from advnets.baselines._pixels import check_units
from advnets.baselines.rbm import RBM, binary, log_odds, softplus

# Temperatures in one call of the compiled program.
BLOCK = 250


@dataclass(frozen=True)
class LogPartition:
    """An estimate of log Z from several runs.

    Attributes:
        value: the estimate, in nats.
        standard_error: its standard error over the runs, in nats; it does not account for regions
            that no run has visited.
        effective_runs: the number of equal weights whose mean would vary as much as the mean of
            these; near 1, a single run dominates.
        log_weights: the log weight of each run, in nats.
    """

    value: float
    standard_error: float
    effective_runs: float
    log_weights: Float[np.ndarray, " runs"]


def log_partition(
    key: Key[Array, ""],
    model: RBM,
    means: Float[np.ndarray, " visible"],
    *,
    runs: int = 100,
    temperatures: int = 10_000,
    progress: bool = False,
) -> LogPartition:
    """log Z by forward runs, from independent units to the machine.

    Args:
        key: a typed random key.
        model: the machine.
        means: the means of the independent units, above 0 and below 1, such as those of the data;
            see [`advnets.baselines.rbm.pixel_means`][]. They affect the precision of the estimate,
            not what it estimates.
        runs: the number of runs, side by side.
        temperatures: the number of steps from β = 0 to β = 1, of equal size.
        progress: show progress.

    Returns:
        The estimate, which tends to be too small.

    Raises:
        ValueError: if there are fewer than 2 runs, or no step; if the means are not as many as the
            machine's visible units, or one is not above 0 and below 1.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import numpy as np
        >>> from advnets.baselines import ais, rbm
        >>> free = rbm.RBM(jnp.zeros((4, 3)), jnp.ones(4), jnp.zeros(3))
        >>> found = ais.log_partition(jax.random.key(0), free, np.full(4, 0.6), temperatures=50)
        >>> abs(found.value - float(rbm.log_partition(free))) < 0.1
        True

    References:
        Neal 2001, "Annealed importance sampling"; Salakhutdinov and Murray 2008, "On the
        quantitative analysis of deep belief networks", section 4.
    """
    check_count("for a standard error, the number of runs", runs, 2)
    check_count("the number of steps", temperatures)
    check_units("means", means.shape, model.visible_bias.size)
    base = log_odds(means)
    first, further = jax.random.split(key)
    visible = binary(first, jnp.broadcast_to(jax.nn.sigmoid(base)[None, :], (runs, base.size)))
    logs = _anneal(further, model, base, visible, _inverse(temperatures), "log Z", progress)
    return _estimate(logs + _log_base(model, base), sign=1)


def reverse_log_partition(
    key: Key[Array, ""],
    model: RBM,
    means: Float[np.ndarray, " visible"],
    visible: Float[Array, "runs visible"],
    *,
    temperatures: int = 10_000,
    progress: bool = False,
) -> LogPartition:
    """log Z by reverse runs, from the machine's samples to independent units.

    Args:
        key: a typed random key.
        model: the machine.
        means: the means of the independent units, as in [`advnets.baselines.ais.log_partition`][].
        visible: binary samples of the machine, one for each run. If they come from a chain that has
            not converged, the estimate is not one of log Z.
        temperatures: the number of steps from β = 1 to β = 0, of equal size.
        progress: show progress.

    Returns:
        The estimate, which tends to be too large.

    Raises:
        ValueError: if there are fewer than 2 runs, or no step; if means or samples do not have as
            many entries as the machine has visible units, or a mean is not above 0 and below 1.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import numpy as np
        >>> from advnets.baselines import ais, rbm
        >>> free = rbm.RBM(jnp.zeros((4, 3)), jnp.zeros(4), jnp.zeros(3))
        >>> coins = rbm.fair_coins(jax.random.key(1), chains=100, units=4)
        >>> found = ais.reverse_log_partition(
        ...     jax.random.key(0), free, np.full(4, 0.5), coins, temperatures=10
        ... )
        >>> abs(found.value - float(rbm.log_partition(free))) < 0.1
        True

    References:
        Burda, Grosse and Salakhutdinov 2015, "Accurate and conservative estimates of MRF
        log-likelihood using reverse annealing".
    """
    check_count("for a standard error, the number of runs", len(visible), 2)
    check_count("the number of steps", temperatures)
    for name, units in (("means", means.shape), ("samples", visible.shape)):
        check_units(name, units, model.visible_bias.size)
    base = log_odds(means)
    downwards = _inverse(temperatures)[::-1]
    logs = _anneal(key, model, base, visible, downwards, "log Z, backwards", progress)
    return _estimate(_log_base(model, base) - logs, sign=-1)


def _inverse(temperatures: int) -> Float[np.ndarray, " steps"]:
    return np.linspace(0.0, 1.0, temperatures + 1)


def _log_base(model: RBM, base: Float[Array, " visible"]) -> float:
    """log Z at β = 0, where visible units are independent and hidden units are fair coins."""
    of_visible = np.logaddexp(0, np.asarray(base, np.float64)).sum()
    return float(of_visible) + model.hidden_bias.size * math.log(2)


def _anneal(
    key: Key[Array, ""],
    model: RBM,
    base: Float[Array, " visible"],
    visible: Float[Array, "runs visible"],
    inverse: Float[np.ndarray, " steps"],
    what: str,
    progress: bool,
) -> Float[np.ndarray, " runs"]:
    """The log weight of each run through inverse temperatures, summed in float64.

    At each temperature, a run is weighted for the step to the next, then takes a Gibbs step there.
    """
    steps = np.stack([inverse[:-1], inverse[1:]], axis=1).astype(model.weights.dtype)
    count, length = len(steps), min(BLOCK, len(steps))
    # Steps from the last temperature to itself add no weight.
    idle = np.repeat(steps[-1:, 1:], 2, axis=1).repeat(-count % length, axis=0)
    blocks = np.concatenate([steps, idle]).reshape(-1, length, 2)
    total = np.zeros(len(visible))
    precise = jax.default_matmul_precision("highest")  # TF32 rounds weights to 3 digits
    with precise, _progress.bar(count, what, unit="temperature", enabled=progress) as bar:
        for number, block in enumerate(blocks):
            block_key = jax.random.fold_in(key, number)
            visible, logs = _advance(block_key, model, base, visible, jnp.asarray(block))
            total += np.asarray(logs, np.float64).sum(axis=0)
            _signals.check()
            bar.update(min(length, count - number * length))
    return total


@jax.jit
def _advance(
    key: Key[Array, ""],
    model: RBM,
    base: Float[Array, " visible"],
    visible: Float[Array, "runs visible"],
    steps: Float[Array, "steps 2"],
) -> tuple[Float[Array, "runs visible"], Float[Array, "steps runs"]]:
    """The runs after some steps, and their log weights at each step."""

    def step(
        visible: Float[Array, "runs visible"], given: tuple[Key[Array, ""], Float[Array, "2"]]
    ) -> tuple[Float[Array, "runs visible"], Float[Array, " runs"]]:
        of_step, (before, after) = given
        up, down = jax.random.split(of_step)
        inputs = model.hidden_inputs(visible)
        of_hidden = softplus(after * inputs) - softplus(before * inputs)
        of_visible = (after - before) * (visible @ (model.visible_bias - base))
        hidden = binary(up, jax.nn.sigmoid(after * inputs))
        inputs = (1 - after) * base[None, :] + after * model.visible_inputs(hidden)
        moved = binary(down, jax.nn.sigmoid(inputs))
        return moved, of_visible + jnp.sum(of_hidden, axis=1)

    return lax.scan(step, visible, (jax.random.split(key, len(steps)), steps))


def _estimate(log_weights: Float[np.ndarray, " runs"], *, sign: int) -> LogPartition:
    """The log of the mean weight (sign 1), or of the harmonic mean weight (sign -1)."""
    logs = sign * log_weights
    log_mean = scipy.special.logsumexp(logs) - math.log(len(logs))
    weights = np.exp(logs - log_mean)
    return LogPartition(
        value=float(sign * log_mean),
        standard_error=float(weights.std(ddof=1) / math.sqrt(len(weights))),
        effective_runs=float(weights.sum() ** 2 / (weights**2).sum()),
        log_weights=log_weights,
    )
