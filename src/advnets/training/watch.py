"""What a person sees of training: a progress bar, and a sentence when a game diverges."""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from advnets import _progress
from advnets._counts import check_count
from advnets.training.devices import is_main_process

SIGMOID_OF_ONE = 1 / (1 + np.exp(-1.0))
FRESH = 0.02
# No cost is as large, in nats, while the players still learn.
LEAPT = 1e8
# Fewer updates than these in all are pointed out, and more rows than this part that are left out.
FEW, MANY = 1000, 0.1
# So sure is D when it has won, where besides G's gradients are exactly 0.
WON = 1e-3
# What each player's steps saw, by name, with leading axes of games and iterations.
Seen = Mapping[str, Mapping[str, Float[np.ndarray, " games iterations"]]]


class TrainingDiverged(ArithmeticError):
    """A cost, a gradient or a parameter stopped being finite."""


class Progress:
    """A progress bar over updates: the epoch, a rate, the time left, and how the game stands.

    Args:
        total: the updates of all epochs and games.
        done: those made before.
        shown: what to show of the discriminator, or of the one model that there is: labels, and
            names among what its steps saw.
        games: how many games they are of.
        epochs: how many epochs there are.
        rows: how many rows the data have.
        left_out: how many of them are in no minibatch of an epoch.
        enabled: whether to show anything.
    """

    def __init__(
        self,
        total: int,
        done: int,
        shown: Mapping[str, str],
        *,
        games: int,
        epochs: int,
        rows: int,
        left_out: int,
        enabled: bool,
    ) -> None:
        self._shown, self._epochs = shown, epochs
        enabled = enabled and is_main_process()
        if enabled and (total < FEW * games or left_out > MANY * rows):
            _progress.say(_few(total // games, rows, left_out))
        self._bar = _progress.bar(
            total,
            "compiling ..." if done < total else "trained",
            unit="update",
            done=done,
            enabled=enabled,
            stays=True,
        )
        self._compiling = True
        self._best: list[str] = []
        self._game: list[str] = []

    def advance(self, updates: int, seen: Seen, running: Bool[np.ndarray, " games"]) -> None:
        """Moves the bar on, and shows means over the games that are running."""
        if self._bar.disable:
            return
        values = seen.get("discriminator", seen.get("model", {}))
        self._game = [
            f"{label}={values[name][running].mean():.2f}"
            for label, name in self._shown.items()
            if name in values
        ]
        epoch = -(-(self._bar.n + updates) * self._epochs // self._bar.total)
        self._bar.set_description_str(f"epoch {epoch}/{self._epochs}", refresh=False)
        self._say_how_it_stands()
        if self._compiling:
            self._bar.pass_over(updates)  # its time is that of compiling
        self._bar.update(updates)
        if self._compiling and self._bar.n < self._bar.total:
            self._bar.refresh()
        self._compiling = False

    def evaluated(self, metrics: Iterable[Sequence[Mapping[str, Any]]]) -> None:
        """Shows the best validation likelihood so far, of the rows of each game."""
        scored = [
            row["validation"]["mean"]
            for rows in metrics
            for row in rows
            if isinstance(row.get("validation"), Mapping)
            and row["validation"].get("mean") is not None
        ]
        if scored:
            self._best = [f"best {max(scored):.1f}"]
            self._say_how_it_stands()

    def _say_how_it_stands(self) -> None:
        standing = ", ".join([*self._best, " ".join(self._game)])
        self._bar.set_postfix_str(standing, refresh=False)

    def close(self) -> None:
        """Leaves the bar as it is."""
        self._bar.close()


def _few(updates: int, rows: int, left_out: int) -> str:
    """What there is to say of training with few updates, or without many of the rows.

    Args:
        updates: the updates of all epochs.
        rows: how many rows the data have.
        left_out: how many of them are in no minibatch of an epoch.

    Returns:
        A sentence.
    """
    said = f"{updates:,} update{'' if updates == 1 else 's'} in all"
    if updates < FEW:
        said += ", where most models need thousands (more epochs make more)"
    if left_out:
        said += f"; {left_out:,} of {rows:,} rows left out of each epoch, as they fill no minibatch"
    remedy = " (a smaller batch size uses more)" if left_out > MANY * rows else ""
    return f"note: {said}{remedy}"


def _computed(seen: Seen, start: int, norms_every: int) -> Iterator[tuple[str, str, np.ndarray]]:
    """Each player's and quantity's values; of gradient norms those that were computed."""
    check_count("the number of iterations from one gradient norm to the next", norms_every)
    for player, values in seen.items():
        for name, value in values.items():
            every = norms_every if name == "gradient_norm" else 1
            yield player, name, value[:, -start % every :: every]


def finite(seen: Seen, start: int, norms_every: int) -> Bool[np.ndarray, " games"]:
    """Whether all that each game computed is finite.

    Args:
        seen: what the iterations saw.
        start: the number of the first of them.
        norms_every: gradient norms were computed in one iteration of this many.

    Returns:
        A truth value for each game.

    Raises:
        ValueError: if `norms_every` is below 1.
    """
    found = [
        np.asarray(np.isfinite(value).all(axis=1))
        for _, _, value in _computed(seen, start, norms_every)
    ]
    return np.logical_and.reduce(found)


def _first_bad(seen: Seen, game: int, start: int, norms_every: int) -> tuple[int, str, str] | None:
    """The first iteration of a game in which something is not finite, and what; None if all is."""
    found = []
    for player, name, values in _computed(seen, start, norms_every):
        bad = np.flatnonzero(~np.isfinite(values[game]))
        if bad.size:
            every = norms_every if name == "gradient_norm" else 1
            value = values[game][bad[0]]
            what = f"the {player}'s {name.replace('_', ' ')} is {value}"
            found.append((start + -start % every + int(bad[0]) * every, player, what))
    return min(found, key=lambda one: one[0], default=None)


def _what(seen: Seen, game: int, start: int, norms_every: int) -> str:
    """When a game diverged, what was not finite first, and what to try."""
    bad = _first_bad(seen, game, start, norms_every)
    if bad is None:
        last = start + next(iter(next(iter(seen.values())).values())).shape[1]
        when, whose, what = (
            f"by iteration {last}",
            "the learning rates",
            "a parameter is not finite",
        )
    else:
        iteration, player, what = bad
        when, whose = f"at iteration {iteration + 1}", f"the {player}'s learning rate"
        cost = seen[player]["cost"][game, iteration - start] if "cost" in seen[player] else 0.0
        if LEAPT < abs(cost) < np.inf and "discriminator" in seen:
            # Its own parameters are those of before; it is D's logits that are as large.
            what += f" where its cost is {cost:.1e}"
            whose = "the discriminator's learning rate"
    return f"{when}: {what} (lower {whose}, clip gradients, or scale data to about [0, 1])"


def warn_of_sigmoid(seen: Seen) -> None:
    """Says so if the first outputs of D are as if its logits went through a sigmoid before.

    Args:
        seen: what the first iterations saw.
    """
    values = seen.get("discriminator", {})
    outputs = [values[name] for name in ("real_output", "fake_output") if name in values]
    if len(outputs) < 2 or not all(np.isfinite(part).all() for part in outputs):
        return
    least, most = (float(f([f(part) for part in outputs])) for f in (np.min, np.max))
    # The sigmoid of 0 is a half, that of 1 is SIGMOID_OF_ONE; a fresh D is close to a half.
    if least > 0.5 + FRESH and most <= SIGMOID_OF_ONE:
        warnings.warn(
            f"D(x) and D(G(z)) are all from {least:.2f} to {most:.2f}, as if the discriminator "
            "ended in a sigmoid; it must give logits, which the costs take through one",
            RuntimeWarning,
            stacklevel=5,
        )


def warn_of_a_winner(seen: Seen, start: int, norms_every: int) -> bool:
    """Says so if D is sure of everything and G learns nothing from it any more.

    Args:
        seen: what the iterations saw.
        start: the number of the first of them.
        norms_every: gradient norms were computed in one iteration of this many.

    Returns:
        Whether that is so of any game.

    Raises:
        ValueError: if `norms_every` is below 1.
    """
    of_d = seen.get("discriminator", {})
    every = {(player, name): x for player, name, x in _computed(seen, start, norms_every)}
    norms = every.get(("generator", "gradient_norm"))
    if norms is None or norms.shape[1] == 0 or not {"real_output", "fake_output"} <= of_d.keys():
        return False
    won = (
        (norms == 0).all(axis=1)
        & (of_d["real_output"] > 1 - WON).all(axis=1)
        & (of_d["fake_output"] < WON).all(axis=1)
    )
    if won.any():
        warnings.warn(
            "D has won: D(x) is 1, D(G(z)) is 0, and the generator's gradient is exactly 0, so "
            "that it learns no more; start again with noise before D (advnets.layers.GaussianNoise)"
            ' or a slower D (the page "When a game collapses" of the documentation has more)',
            RuntimeWarning,
            stacklevel=5,
        )
    return bool(won.any())


def report_divergence(
    names: Sequence[str],
    running: Bool[np.ndarray, " games"],
    sound: Bool[np.ndarray, " games"],
    seen: Seen,
    start: int,
    norms_every: int,
) -> None:
    """Names the games that have just diverged, and what of each was not finite first.

    Args:
        names: those of the games, or one empty name.
        running: the games that had not diverged before.
        sound: the games whose numbers are finite.
        seen: what the iterations saw.
        start: the first of the iterations that were looked at.
        norms_every: gradient norms were computed in one iteration of this many.

    Raises:
        TrainingDiverged: if no game is left; else there is a `RuntimeWarning`.
        ValueError: if `norms_every` is below 1.
    """
    lost = np.flatnonzero(running & ~sound).tolist()
    if not lost:
        return
    said = []
    for game in lost:
        who = f"training of {names[game]}" if names[game] else "training"
        said.append(f"{who} diverged {_what(seen, game, start, norms_every)}")
    left = int((running & sound).sum())
    if not left:
        raise TrainingDiverged("; ".join(said))
    warnings.warn(f"{'; '.join(said)}; the other {left} go on", RuntimeWarning, stacklevel=5)
