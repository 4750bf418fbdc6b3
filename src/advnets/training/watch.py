"""What a person sees of training: a progress bar, and a sentence when a game diverges."""

import sys
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float
from tqdm import tqdm

from advnets.training.devices import is_main_process

# What each player's steps saw, by name, with leading axes of games and iterations.
Seen = Mapping[str, Mapping[str, Float[np.ndarray, " games iterations"]]]


class TrainingDiverged(ArithmeticError):
    """A cost, a gradient or a parameter stopped being finite."""


class Progress:
    """A progress bar over updates, with a rate and the time left."""

    def __init__(self, total: int, done: int, shown: Mapping[str, str], *, enabled: bool) -> None:
        self._shown = shown
        self._bar = tqdm(
            total=total,
            initial=done,
            unit=" updates",
            disable=not (enabled and is_main_process()),
            mininterval=0.5 if sys.stderr.isatty() else 30,
            dynamic_ncols=True,
        )

    def advance(self, updates: int, seen: Seen, running: Bool[np.ndarray, " games"]) -> None:
        """Moves the bar on, and shows means over the games that are running."""
        self._bar.update(updates)
        values = seen["discriminator"]
        shown = {
            label: f"{values[name][running].mean():.3f}"
            for label, name in self._shown.items()
            if name in values
        }
        self._bar.set_postfix(shown, refresh=False)

    def close(self) -> None:
        """Leaves the bar as it is."""
        self._bar.close()


def finite(seen: Seen, start: int, norms_every: int) -> Bool[np.ndarray, " games"]:
    """Whether all that each game computed is finite.

    Args:
        seen: what the iterations saw.
        start: the number of the first of them.
        norms_every: gradient norms were computed in one iteration of this many.

    Returns:
        A truth value for each game.
    """
    found: list[np.ndarray] = []
    for values in seen.values():
        for name, value in values.items():
            computed = value[:, -start % norms_every :: norms_every]
            kept = computed if name == "gradient_norm" else value
            found.append(np.asarray(np.isfinite(kept).all(axis=1)))
    return np.logical_and.reduce(found)


def report_divergence(
    names: Sequence[str],
    running: Bool[np.ndarray, " games"],
    sound: Bool[np.ndarray, " games"],
    start: int,
    end: int,
) -> None:
    """Names the games that have just diverged.

    Args:
        names: those of the games, or one empty name.
        running: the games that had not diverged before.
        sound: the games whose numbers are finite.
        start: the first of the iterations that were looked at.
        end: the one after the last.

    Raises:
        TrainingDiverged: if no game is left; else there is a `RuntimeWarning`.
    """
    lost = [n for n, was, still in zip(names, running, sound, strict=True) if was and not still]
    if not lost:
        return
    left = int((running & sound).sum())
    who = f" of {', '.join(lost)}" if any(names) else ""
    message = (
        f"training{who} diverged between iterations {start} and {end}: a cost, a gradient or a "
        "parameter is not finite (lower the learning rate)"
    )
    if not left:
        raise TrainingDiverged(message)
    warnings.warn(f"{message}; the other {left} go on", RuntimeWarning, stacklevel=5)
