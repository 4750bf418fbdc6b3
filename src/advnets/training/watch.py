"""What the user sees of training: a progress bar, and warnings when a game goes wrong."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from advnets import _progress, _warnings
from advnets._counts import check_count
from advnets.training.devices import is_main_process

SIGMOID_OF_ONE = 1 / (1 + np.exp(-1.0))
FRESH = 0.02
# A cost this large, in nats, means that the players no longer learn.
LEAPT = 1e8
# A note is shown for fewer updates than FEW, or for more than this fraction of rows left out.
FEW, MANY = 1000, 0.1
# D has won if its outputs are this close to 1 and 0, and G's gradients are exactly 0.
WON = 1e-3
# The info of each player, by name, with leading axes of games and iterations.
Seen = Mapping[str, Mapping[str, Float[np.ndarray, " games iterations"]]]


class TrainingDiverged(ArithmeticError):
    """A cost, a gradient or a parameter stopped being finite."""


class Progress:
    """A progress bar over updates: the epoch, a rate, the time left, and current values.

    Args:
        total: the number of updates over all epochs and games.
        done: the number made before.
        shown: what to show of the discriminator, or of the single model: labels, and the names of
            the quantities in its info.
        games: the number of games.
        epochs: the number of epochs.
        rows: the number of rows of data.
        left_out: the number of rows that are in no minibatch of an epoch.
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
        """Advances the bar, and shows means over the games that are running."""
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
            self._bar.pass_over(updates)  # most of its time is compilation
        self._bar.update(updates)
        if self._compiling and self._bar.n < self._bar.total:
            self._bar.refresh()
        self._compiling = False

    def evaluated(self, metrics: Iterable[Sequence[Mapping[str, Any]]]) -> None:
        """Shows the best validation likelihood so far, over the rows of all games."""
        scored = [
            row["validation"]["mean"]
            for rows in metrics
            for row in rows
            if isinstance(row.get("validation"), Mapping)
            and row["validation"].get("mean") is not None
        ]
        if scored:
            self._best = [f"best {max(scored):.1f} nats"]
            self._say_how_it_stands()

    def _say_how_it_stands(self) -> None:
        standing = ", ".join([*self._best, " ".join(self._game)])
        self._bar.set_postfix_str(standing, refresh=False)

    def close(self) -> None:
        """Closes the bar, which stays on the screen."""
        self._bar.close()


def _few(updates: int, rows: int, left_out: int) -> str:
    """A note about training with few updates, or with many rows left out.

    Args:
        updates: the number of updates over all epochs.
        rows: the number of rows of data.
        left_out: the number of rows that are in no minibatch of an epoch.

    Returns:
        A sentence.
    """
    text = f"{updates:,} update{'' if updates == 1 else 's'} in total"
    if updates < FEW:
        text += ", but most models need thousands (train for more epochs)"
    if left_out:
        text += f"; {left_out:,} of {rows:,} rows left out of each epoch (no full minibatch)"
    remedy = " (a smaller batch size uses more)" if left_out > MANY * rows else ""
    return f"note: {text}{remedy}"


def _computed(seen: Seen, start: int, norms_every: int) -> Iterator[tuple[str, str, np.ndarray]]:
    """The values of each player's quantities; of gradient norms, those that were computed."""
    check_count("the number of iterations from one gradient norm to the next", norms_every)
    for player, values in seen.items():
        for name, value in values.items():
            every = norms_every if name == "gradient_norm" else 1
            yield player, name, value[:, -start % every :: every]


def finite(seen: Seen, start: int, norms_every: int) -> Bool[np.ndarray, " games"]:
    """Whether everything that each game computed is finite.

    Args:
        seen: the info of the iterations.
        start: the number of the first iteration.
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
    """The first iteration of a game with a non-finite value, and which value; None if none."""
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
    """When a game diverged, what was the first non-finite value, and what to try."""
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
            # This player's parameters are from before its update; it is D's logits that are large.
            what += f" where its cost is {cost:.1e}"
            whose = "the discriminator's learning rate"
    return f"{when}: {what} (lower {whose}, clip gradients, or scale data to about [0, 1])"


def warn_of_sigmoid(seen: Seen) -> None:
    """Warns if the first outputs of D look as if its logits had already gone through a sigmoid.

    Args:
        seen: the info of the first iterations.
    """
    values = seen.get("discriminator", {})
    outputs = [values[name] for name in ("real_output", "fake_output") if name in values]
    if len(outputs) < 2 or not all(np.isfinite(part).all() for part in outputs):
        return
    least, most = (float(f([f(part) for part in outputs])) for f in (np.min, np.max))
    # The sigmoid of 0 is a half, that of 1 is SIGMOID_OF_ONE; a fresh D is close to a half.
    if least > 0.5 + FRESH and most <= SIGMOID_OF_ONE:
        _warnings.warn(
            f"D(x) and D(G(z)) are all from {least:.2f} to {most:.2f}, as if the discriminator "
            "ended in a sigmoid; it must return logits, as the costs apply the sigmoid"
        )


def warn_of_a_winner(seen: Seen, start: int, norms_every: int) -> bool:
    """Warns if D is certain everywhere and G no longer learns anything from it.

    Args:
        seen: the info of the iterations.
        start: the number of the first iteration.
        norms_every: gradient norms were computed in one iteration of this many.

    Returns:
        Whether this is true of any game.

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
        _warnings.warn(
            "D has won: D(x) is 1, D(G(z)) is 0, and the generator's gradient is exactly 0, so it "
            "no longer learns; start again with noise before D (advnets.layers.GaussianNoise) or a "
            'slower D (see the page "When a game collapses" of the documentation)'
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
    """Reports the games that have just diverged, and the first non-finite value of each.

    Args:
        names: the games' names, or one empty name.
        running: the games that had not diverged before.
        sound: the games whose numbers are finite.
        seen: the info of the iterations.
        start: the number of the first iteration.
        norms_every: gradient norms were computed in one iteration of this many.

    Raises:
        TrainingDiverged: if no game is left; otherwise it is a `RuntimeWarning`.
        ValueError: if `norms_every` is below 1.
    """
    lost = np.flatnonzero(running & ~sound).tolist()
    if not lost:
        return
    messages = []
    for game in lost:
        who = f"training of {names[game]}" if names[game] else "training"
        messages.append(f"{who} diverged {_what(seen, game, start, norms_every)}")
    left = int((running & sound).sum())
    if not left:
        raise TrainingDiverged("; ".join(messages))
    _warnings.warn(f"{'; '.join(messages)}; the other {left} continue")
