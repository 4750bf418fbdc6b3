"""The training loop: advance, check, record, and now and then evaluate and save."""

import copy
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import jax
import numpy as np

from advnets import _signals
from advnets._counts import counted
from advnets.algorithms import State
from advnets.training.callbacks import Callback, EpochSummary, Measuring, StopTraining
from advnets.training.devices import agree, is_main_process
from advnets.training.journal import Journal, Metrics, with_evaluation
from advnets.training.plan import Plan
from advnets.training.program import Program
from advnets.training.watch import (
    Progress,
    finite,
    report_divergence,
    warn_of_a_winner,
    warn_of_sigmoid,
)

# Iterations in one compiled call: enough to hide the host's work (a millisecond or two), few enough
# for a progress bar that moves.
ITERATIONS_PER_CALL = 100

# Seconds after which a checkpoint is written even if none is due: the most that a crash costs.
SECONDS_BETWEEN_CHECKPOINTS = 600
# What processes agree on after each call; HEED plus a signal's number means to obey it.
GO_ON, SAVE, HEED = 0, 1, 2

# A run's metrics at an epoch, from what its program extracts from a state.
EvaluateState: TypeAlias = Callable[..., Mapping[str, Any]]


def chunks(start: int, stops: Iterable[int], most: int) -> Iterator[tuple[int, int]]:
    """Ranges of at most `most` iterations, none across a stop.

    Between two stops they have the same length if possible: each length costs a compilation.
    """
    for stop in stops:
        parts = -(-(stop - start) // most)
        length = -(-(stop - start) // parts) if parts else 0
        while start < stop:
            end = min(start + length, stop)
            yield start, end
            start = end


def _by_game(info: Any, games: int) -> Any:
    """The info, as host arrays with axes (games, iterations)."""
    return jax.tree.map(lambda x: np.asarray(x).reshape(games, -1), info)


def loop(
    program: Program,
    state: State,
    feed: Callable[[int, int], Callable[[State], Any]],
    journal: Journal,
    progress: Progress,
    plan: Plan,
    first: int,
    ranges: Iterator[tuple[int, int]],
    *,
    evaluate: EvaluateState | None,
    callbacks: Sequence[Callback],
) -> tuple[State, list[float]]:
    """Trains from a state through all ranges, or until a callback stops it.

    Args:
        program: the compiled program.
        state: the state to continue from.
        feed: given a range of iterations, gathers their minibatches and returns the call of the
            program that runs them.
        journal: where metrics and checkpoints go.
        progress: the progress bar.
        plan: when to evaluate and save.
        first: the number of iterations completed.
        ranges: the iterations of each call.
        evaluate: what to measure at each evaluation.
        callbacks: what to call after it.

    Returns:
        The state, and one game's discriminator updates per second in each call.

    Raises:
        Stopped: on a signal to stop, once the running call has finished and a checkpoint is
            written.
    """

    def finish(state: State, end: int, asked: int, *, repeated: bool = False) -> bool:
        """Writes, evaluates, saves and calls back; returns whether to stop."""
        epoch, evaluated = end // plan.iterations, repeated or plan.is_evaluated(end)
        stopped = _record(
            program, state, journal, end, epoch, evaluate, callbacks, evaluated=evaluated
        )
        if evaluated:
            progress.evaluated(record.metrics for record in journal.records)
        if repeated or plan.is_saved(end) or asked != GO_ON:
            journal.save(end, state)
        if evaluated:
            for game in np.flatnonzero(journal.running).tolist() if callbacks else ():
                stopped |= _call_back(program, state, journal, game, callbacks, end)
            asked = agree(_asked(journal))  # again, as evaluation may have taken long
            stopped = bool(agree(stopped))
            if asked != GO_ON or stopped:
                journal.save(end, state)
        if asked >= HEED:
            raise _signals.Stopped(asked - HEED, _saved(journal, end, plan.iterations))
        return stopped

    # If an evaluation failed, its checkpoint is from before the row: evaluate again.
    behind = journal.is_behind(first // plan.iterations)
    if behind and finish(state, first, GO_ON, repeated=True):
        return state, []
    rates: list[float] = []
    games, won = len(journal.names), False
    upcoming = next(ranges, None)
    call = feed(*upcoming) if upcoming else None
    while upcoming is not None:
        assert call is not None
        start, end = upcoming
        began = time.perf_counter()
        state, info = call(state)
        # While the device works on this call, the host gathers what the next one needs.
        upcoming = next(ranges, None)
        call = feed(*upcoming) if upcoming else None
        seen = _by_game(info, games)
        rates.append((end - start) * plan.k / (time.perf_counter() - began))
        asked = agree(_asked(journal))
        kept = plan.is_evaluated(end) or plan.is_saved(end) or asked != GO_ON
        sound = finite(seen, start, plan.norms_every)
        if kept:
            # Check before anything of a state is kept: an update may overflow after finite costs.
            sound &= np.asarray(program.finite(state)).reshape(games)
        report_divergence(journal.names, journal.running, sound, seen, start, plan.norms_every)
        journal.running &= sound
        if start == 0:
            warn_of_sigmoid(seen)
        won = won or warn_of_a_winner(seen, start, plan.norms_every)
        progress.advance((end - start) * plan.k * games, seen, journal.running)
        for game in np.flatnonzero(journal.running).tolist():
            journal.records[game].see(jax.tree.map(lambda x, game=game: x[game], seen))
        if finish(state, end, asked):
            break
    return state, rates


def _record(
    program: Program,
    state: State,
    journal: Journal,
    iteration: int,
    epoch: int,
    evaluate: EvaluateState | None,
    callbacks: Sequence[Callback],
    *,
    evaluated: bool,
) -> bool:
    """Writes the rows of all games' new epochs, the last with what is measured; whether to stop.

    If a measurement fails, a checkpoint without any of the rows is written first: a resumed run
    measures again.
    """
    failed: BaseException | None = None
    stopped = False
    found: dict[int, list[Metrics]] = {}
    for game in np.flatnonzero(journal.running).tolist():
        found[game] = journal.records[game].rows(epoch)
        if evaluated:
            try:
                stopped |= _measure(program, state, journal, game, evaluate, callbacks, found[game])
            except BaseException as error:
                failed = error
                break
    if evaluated and agree(failed is not None):
        journal.save(iteration, state)
        raise failed or RuntimeError("an evaluation failed in another process")
    for game, rows in found.items():
        journal.records[game].write(rows)
    return stopped


def _measure(
    program: Program,
    state: State,
    journal: Journal,
    game: int,
    evaluate: EvaluateState | None,
    callbacks: Sequence[Callback],
    rows: list[Metrics],
) -> bool:
    """Adds what is measured of a game to the last of `rows`; returns whether to stop."""
    stopped = False
    if evaluate is not None:
        try:
            found = evaluate(game, rows[-1]["epoch"], *program.evaluated(state, game))
            rows[-1] = with_evaluation(rows[-1], found)
        except StopTraining:
            stopped = True
    for callback in callbacks:
        if not isinstance(callback, Measuring):
            continue
        snapshot = _snapshot(program, state, journal, game, rows[-1])
        try:
            found = callback.measure(snapshot, [*journal.records[game].metrics, *rows[:-1]])
            rows[-1] = with_evaluation(rows[-1], found, who=type(callback).__name__)
        except StopTraining:
            stopped = True
    return stopped


def _snapshot(program: Program, state: State, journal: Journal, game: int, row: Metrics) -> Any:
    row = copy.deepcopy(row)
    folder = journal.records[game].folder
    summary = EpochSummary(game, journal.names[game], row["epoch"], row["updates"], row, folder)
    return program.snapshot(state, summary)


def _call_back(
    program: Program,
    state: State,
    journal: Journal,
    game: int,
    callbacks: Sequence[Callback],
    iteration: int,
) -> bool:
    """Calls the callbacks for a game, and returns whether to stop; other exceptions end the run.

    In both cases a checkpoint is written first.
    """
    snapshot = _snapshot(program, state, journal, game, journal.records[game].metrics[-1])
    failed: BaseException | None = None
    stopped = False
    for callback in callbacks if is_main_process() else ():
        try:
            callback(snapshot)
        except StopTraining:
            stopped = True
        except BaseException as error:
            failed = error
            break
    if agree(failed is not None):
        journal.save(iteration, state)
        raise failed or RuntimeError("a callback failed in the main process")
    return stopped


def _asked(journal: Journal) -> int:
    """What this process wants after a call: to go on, to save, or to obey a signal."""
    number = _signals.received()
    if number is not None:
        return HEED + number
    due = journal.seconds_since_save() > SECONDS_BETWEEN_CHECKPOINTS
    return SAVE if due and journal.folder is not None else GO_ON


def _saved(journal: Journal, iteration: int, iterations: int) -> str:
    if journal.folder is None:
        return ""
    epoch, beyond = divmod(iteration, iterations)
    epochs = counted(epoch, "epoch")
    return f"{epochs} and {counted(beyond, 'iteration')}" if beyond else epochs
