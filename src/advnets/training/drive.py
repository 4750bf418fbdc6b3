"""Drives a run from its journal to its last epoch, whatever is trained: games or one model."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Key

from advnets.algorithms import State
from advnets.training import devices as device
from advnets.training.callbacks import Callback
from advnets.training.identity import environment
from advnets.training.journal import Journal
from advnets.training.loop import ITERATIONS_PER_CALL, EvaluateState, chunks, loop
from advnets.training.plan import Plan
from advnets.training.program import Program
from advnets.training.sources import Rows, Source
from advnets.training.watch import Progress


@dataclasses.dataclass(frozen=True)
class Drive:
    """Everything that makes up one run or several; names and files belong to the journal.

    Attributes:
        keys: the key of one run, or those of several.
        initial: what is trained, before the first iteration.
        program: the compiled program.
        source: the data.
        mesh: the devices, if there are several.
        plan: how long training is.
        journal: where metrics and checkpoints go.
        identity: what distinguishes the run from others.
        evaluate: what to measure at each evaluation.
        callbacks: what to call after it.
        resume: whether to resume, and whether changes are accepted.
        shown: what the progress bar shows; None for no bar.
    """

    keys: Key[Array, "*runs"]
    initial: Any
    program: Program
    source: Source
    mesh: Mesh | None
    plan: Plan
    journal: Journal
    identity: Mapping[str, str]
    evaluate: EvaluateState | None
    callbacks: Sequence[Callback]
    resume: bool | str
    shown: Mapping[str, str] | None

    def advance(self) -> tuple[State, list[float]]:
        """Trains from where the journal left off to the last epoch.

        Returns:
            The state, and one run's updates per second in each call of the program.
        """
        plan, mesh, games = self.plan, self.mesh, len(self.journal.names)
        many = self.keys.ndim
        split = jax.vmap(jax.random.split) if many else jax.random.split
        step_keys, order_keys = jnp.moveaxis(split(self.keys), -1, 0)
        state, first = self.journal.open(
            self.program.init(self.initial),
            self.identity,
            environment(1 if mesh is None else mesh.size),
            plan.epochs,
            resume=self.resume,
        )
        step_keys = self.program.place_keys(step_keys)
        if mesh is not None:
            order_keys = device.place(order_keys, device.replicated(mesh))
        rows = Rows(order_keys, plan.n, plan.iterations, plan.k, plan.batch_size)
        placed = self.source.place(mesh)
        minibatch_axis = 0 if many else (1 if plan.k == 1 else 2)

        def feed(start: int, end: int) -> Callable[[State], Any]:
            chunk = self.source.chunk(rows(start, end), mesh, minibatch_axis)
            return lambda state: self.program.advance(step_keys, state, placed, chunk)

        most = self.source.iterations_per_chunk(plan.batch_size * plan.k * games)
        ranges = chunks(
            first,
            plan.stops(first),
            min(most or ITERATIONS_PER_CALL, ITERATIONS_PER_CALL),
        )
        per_iteration = plan.k * games
        bar = Progress(
            plan.epochs * plan.iterations * per_iteration,
            first * per_iteration,
            self.shown or {},
            games=games,
            epochs=plan.epochs,
            rows=plan.n,
            left_out=plan.n - plan.iterations * plan.k * plan.batch_size,
            enabled=self.shown is not None,
        )
        try:
            return loop(
                self.program,
                state,
                feed,
                self.journal,
                bar,
                plan,
                first,
                ranges,
                evaluate=self.evaluate,
                callbacks=self.callbacks,
            )
        finally:
            bar.close()
