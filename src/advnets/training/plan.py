"""How long training is, and where it evaluates and saves."""

import dataclasses
from collections.abc import Iterator

from advnets.algorithms import Algorithm
from advnets.training.check import check_data
from advnets.training.sources import Source

# Gradient norms are computed in one iteration of this many: each costs a pass over memory.
NORMS_EVERY = 10
# Iterations are counted in the state, in 32 bits.
MOST_ITERATIONS = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class Plan:
    """How long training is: epochs, iterations per epoch, and where it evaluates and saves.

    Attributes:
        n: the number of rows of data.
        epochs: the number of epochs.
        iterations: the number of iterations in an epoch.
        k: discriminator updates in an iteration.
        batch_size: examples in a minibatch.
        evaluate_every: epochs between evaluations.
        checkpoint_every: epochs between checkpoints.
    """

    n: int
    epochs: int
    iterations: int
    k: int
    batch_size: int
    evaluate_every: int
    checkpoint_every: int

    @property
    def norms_every(self) -> int:
        """How often gradient norms are computed: at least once in an epoch."""
        return min(NORMS_EVERY, self.iterations)

    def settle(self, algorithm: Algorithm) -> Algorithm:
        """The algorithm for epochs of this length, with norms computed in each of them."""
        settled = algorithm.for_epochs_of(self.iterations)
        return dataclasses.replace(settled, norms_every=self.norms_every)

    def is_evaluated(self, iteration: int) -> bool:
        """Whether to evaluate after this many iterations."""
        return self._ends_one_in(self.evaluate_every, iteration)

    def is_saved(self, iteration: int) -> bool:
        """Whether a checkpoint is due after this many iterations."""
        return self._ends_one_in(self.checkpoint_every, iteration)

    def _ends_one_in(self, every: int, iteration: int) -> bool:
        epoch, beyond = divmod(iteration, self.iterations)
        return beyond == 0 and (epoch % every == 0 or epoch == self.epochs)

    def stops(self, first: int) -> Iterator[int]:
        """The iterations beyond `first` after which to evaluate or save."""
        for epoch in range(first // self.iterations + 1, self.epochs + 1):
            iteration = epoch * self.iterations
            if self.is_evaluated(iteration) or self.is_saved(iteration):
                yield iteration


def plan_of(
    source: Source,
    k: int,
    *,
    epochs: int,
    batch_size: int,
    evaluate_every: int,
    checkpoint_every: int | None,
) -> Plan:
    """The plan of a run, after checking its settings and data.

    Args:
        source: the data.
        k: the number of minibatches in an iteration.
        epochs: the number of epochs.
        batch_size: examples in a minibatch.
        evaluate_every: epochs between evaluations.
        checkpoint_every: epochs between checkpoints; `evaluate_every` unless given.

    Returns:
        The plan.

    Raises:
        ValueError: for a setting out of range; for data of an unsupported type, or too few for an
            iteration.
    """
    checkpoint_every = evaluate_every if checkpoint_every is None else checkpoint_every
    for name, value in (
        ("k", k),
        ("epochs", epochs),
        ("batch_size", batch_size),
        ("evaluate_every", evaluate_every),
        ("checkpoint_every", checkpoint_every),
    ):
        if value < 1:
            raise ValueError(f"{name} must be at least 1; got {value}")
    n = len(source)
    if n < batch_size * k:
        raise ValueError(
            f"an iteration needs {batch_size * k} examples (k={k} minibatches of "
            f"{batch_size}); got {n} (lower batch_size or k)"
        )
    check_data(source)
    iterations = n // (batch_size * k)
    check_epochs(epochs, iterations)
    return Plan(n, epochs, iterations, k, batch_size, evaluate_every, checkpoint_every)


def check_epochs(epochs: int, iterations: int) -> None:
    """Raises a ValueError for more iterations than 32 bits count; `iterations` are per epoch."""
    if epochs * iterations > MOST_ITERATIONS:
        raise ValueError(
            f"epochs must be at most {MOST_ITERATIONS // iterations}, as iterations are counted "
            f"in 32 bits and an epoch has {iterations}; got {epochs}"
        )
