"""Monitors a run: the best response of D, and the variety of samples, at every evaluation."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key

from advnets import _progress, _warnings
from advnets._counts import counted
from advnets.algorithms import Fake, generated
from advnets.batches import Batch, parts
from advnets.draws import generator_draws
from advnets.monitor._rows import Estimate
from advnets.monitor.drawing import NAME
from advnets.monitor.frozen import Examples, as_applied, draw, flat
from advnets.monitor.response import ADAM, BestResponse, best_response, check
from advnets.monitor.samples import SAMPLES, Collapse, RealRows, collapse, real_rows
from advnets.players import Players, judge
from advnets.training.callbacks import Measuring, Snapshot
from advnets.training.check import evaluated_shapes, preprocessed
from advnets.training.devices import is_main_process
from advnets.training.journal import Metrics
from advnets.training.sources import Source, source_of

# The reasons for an alarm, in words.
WORDS = {
    "spread": "they vary {:.2g} times as much as held-out rows",
    "effective_rank": "their effective rank is {:.2g} of that of held-out rows",
    "neighbours": "nearest neighbours are {:.2g} times as far apart as among held-out rows",
    "duplicates": "they repeat, as if drawn from about {}",
}


class Monitor(Measuring):
    """A callback that measures, at every evaluation, how far a game is from its equilibrium.

    Its results join the epoch's row of metrics under `"monitor"`: the numbers of
    [`advnets.monitor.BestResponse`][] (`value`, `best_value`, `regret`, `divergence` and
    `overfitting`, each with `mean` and `standard_error`; `step` and `curve`) and of
    [`advnets.monitor.Collapse`][] (`samples`, `spread`, `effective_rank`, `neighbours`, `p_value`,
    `support`, `below` and `collapsed`, and `least`, the smallest ratio of each kind between two
    halves of the real rows);
    `noise`, the divergence at each noise scale; and `alarms`: what is collapsed both at this
    evaluation and at the one before, which also causes a `RuntimeWarning`.

    The run is bit for bit what it would be without the monitor, which works on copies and has its
    own key. It resumes with the run, since everything that it needs from the past is in the rows.

    Args:
        key: a typed random key, into which the epoch is folded; or one for each run of
            [`advnets.train_many`][].
        data: the training rows, as for [`advnets.train`][].
        held_out: rows of the same kind that are not trained on, at least 4.
        rule: the update rule of the copy of D; Adam at 1e-3 unless given.
        steps: the number of steps that the copy is trained for.
        every: steps between two evaluations on the rows that choose the best step.
        batch_size: rows in a minibatch of these steps.
        noise_scales: standard deviations of noise at which the divergence is bounded as well; each
            takes as long as the bound without noise.
        samples: the number of samples to compare with held-out rows.
        features: a function from vectors of pixels to the features that samples and rows are
            compared by; pixels unless given.
        fake: how the generated examples that D judges are made, if not by G(z) or G(z, c).
        progress: print a line at each evaluation.

    Raises:
        ValueError: for a setting out of range, or too few rows; before training, if it can't
            monitor the game, see [`advnets.training.Measuring`][].

    Example:
        >>> import jax
        >>> import advnets
        >>> digits = advnets.data.load("digits")
        >>> key, g_key, d_key, monitor_key = jax.random.split(jax.random.key(0), 4)
        >>> players = advnets.Players(
        ...     advnets.networks.mlp_generator(g_key, 100, (8, 8), hidden_sizes=[32]),
        ...     advnets.networks.maxout_discriminator(d_key, (8, 8), units=[16]),
        ... )
        >>> monitor = advnets.monitor.Monitor(monitor_key, digits.train, digits.validation)
        >>> trained = advnets.train(
        ...     key, players, digits.train, epochs=2, callbacks=[monitor], progress=False
        ... )
        >>> found = trained.metrics[-1]["monitor"]
        >>> found["divergence"]["mean"] > 0.6, found["collapsed"]
        (True, ['spread', 'neighbours', 'duplicates'])

    References:
        Section 3 (D near its optimum), section 6 (the Helvetica scenario).
    """

    names = (NAME,)

    def __init__(
        self,
        key: Key[Array, "*runs"],
        data: Any,
        held_out: Any,
        *,
        rule: optax.GradientTransformation = ADAM,
        steps: int = 500,
        every: int = 25,
        batch_size: int = 100,
        noise_scales: Sequence[float] = (),
        samples: int = SAMPLES,
        features: Callable[[Any], Any] | None = None,
        fake: Fake = generated,
        progress: bool = False,
    ) -> None:
        self._key, self._fake, self._progress = key, fake, progress
        self._data: Source = source_of(data)
        self._held_out: Source = source_of(held_out)
        self._settings: dict[str, Any] = {
            "rule": rule,
            "steps": steps,
            "every": every,
            "batch_size": batch_size,
            "fake": fake,
        }
        self._noise_scales, self._samples = tuple(noise_scales), samples
        self._features = features
        for scale in (0.0, *self._noise_scales):
            check(self._data, self._held_out, steps, every, batch_size, scale)
        if samples < 2:
            raise ValueError(f"at least 2 samples must be compared; got {samples}")
        self._real: RealRows | None = None
        self._previous_alarms: dict[int, tuple[str, ...]] = {}

    def check(self, initial: Any, source: Source, runs: int) -> None:
        """Refuses a game that it can't monitor, before any training.

        Args:
            initial: the players.
            source: the data that they are trained on.
            runs: the number of runs.

        Raises:
            ValueError: if there is no game; if there are several keys, but not one for each run; if
                its rows are not like those trained on, or not finite; or if examples can't be
                generated, judged or compared.
        """
        if not isinstance(initial, Players):
            raise ValueError(
                "a Monitor measures games, but what is trained here is a "
                f"{type(initial).__name__}; leave it out of callbacks"
            )
        if self._key.ndim:
            self._key_of(runs - 1)
        trained_on = _two(source)
        rows = {"data": self._data, "held_out": self._held_out}
        for name, mine in rows.items():
            if _shapes(_two(mine)) != _shapes(trained_on):
                raise ValueError(
                    f"a Monitor's {name} must be rows like those trained on, {_spelt(trained_on)}; "
                    f"got {_spelt(_two(mine))}"
                )
            try:
                mine.check_finite()
            except ValueError as error:
                raise ValueError(f"a Monitor's {name} can't be used: {error}") from None
        draws = generator_draws(self._key if self._key.ndim == 0 else self._key[0])
        fake = evaluated_shapes(
            lambda: self._fake(draws, as_applied(initial), initial.prior, trained_on),
            "a Monitor that isn't given the algorithm's fake= can't generate examples for its rows",
        )
        for kind, batch in (("real", trained_on), ("generated", fake)):
            evaluated_shapes(
                lambda batch=batch: judge(None, initial.discriminator, batch),
                f"a Monitor can't let D judge {kind} examples without noise (key=None) as they "
                f"are, {_spelt(batch)}; leave it out of callbacks if D judges more than rows, as "
                "in inpainting",
            )
        real, drawn = (jax.eval_shape(flat, batch).shape[1] for batch in (trained_on, fake))
        if real != drawn:
            raise ValueError(
                f"a Monitor compares generated examples with rows, so both must have as many "
                f"values; got {drawn} and {real} (give it another fake=)"
            )
        if self._features is not None:
            self._check_features(self._features)

    def _check_features(self, features: Callable[[Any], Any]) -> None:
        rows = Examples(self._held_out)[np.arange(2)]
        try:
            found = np.asarray(features(jnp.asarray(rows)), np.float32)
        except Exception as error:  # whatever it raises
            raise ValueError(
                f"a Monitor's features fail on 2 rows of {rows.shape[1]} pixels ({error})"
            ) from None
        if found.shape[:1] != (2,) or not np.isfinite(found).all():
            raise ValueError(
                "a Monitor's features must be finite numbers, a row for each row of pixels; from 2 "
                f"rows they made {'NaN or infinity' if found.shape[:1] == (2,) else found.shape}"
            )

    def measure(self, snapshot: Snapshot, earlier: Sequence[Metrics]) -> Mapping[str, Any]:
        """Measures a run after an epoch.

        Args:
            snapshot: the run.
            earlier: the rows of the epochs before.

        Returns:
            An entry `"monitor"`.

        Raises:
            ValueError: if there are several keys, but none for this run.
        """
        key = jax.random.fold_in(self._key_of(snapshot.run), snapshot.epoch)
        play_key, draw_key, compare_key = jax.random.split(key, 3)
        found = self._best_response(play_key, snapshot, 0.0)
        row = _row_of(found)
        noisy = {
            scale: self._best_response(play_key, snapshot, scale).divergence
            for scale in self._noise_scales
        }
        row["noise"] = [
            {"scale": scale, "divergence": dataclasses.asdict(bound)}
            for scale, bound in noisy.items()
        ]
        real = self._real_rows()
        drawn = draw(draw_key, snapshot.players, self._held_out, real.samples, self._fake)
        compared = collapse(compare_key, self._seen(drawn), real)
        row |= dataclasses.asdict(compared) | {"least": dict(real.least)}
        before: Metrics = next((one[NAME] for one in reversed(earlier) if one.get(NAME)), {})
        alarms = [name for name in compared.collapsed if name in before.get("collapsed", ())]
        self._previous_alarms[snapshot.run] = tuple(before.get("alarms", ()))
        if self._progress and is_main_process():
            _progress.say(_line(snapshot, found, noisy, compared))
        return {NAME: row | {"alarms": alarms}}

    def __call__(self, snapshot: Snapshot) -> None:
        """Warns of alarms that are new since the evaluation before."""
        found = snapshot.metrics[NAME]
        earlier = self._previous_alarms.get(snapshot.run, ())
        fresh = [name for name in found["alarms"] if name not in earlier]
        if fresh:
            whose = f"the samples of {snapshot.name}" if snapshot.name else "the samples"
            reasons = "; ".join(_worded(name, found) for name in fresh)
            _warnings.warn(
                f"{whose} have collapsed, or G has hardly been trained: {reasons}, at epoch "
                f"{snapshot.epoch} and at the evaluation before (for remedies, see the page "
                '"When a game collapses" of the documentation, docs/collapse.md)'
            )

    def _key_of(self, run: int) -> Key[Array, ""]:
        if self._key.ndim == 0:
            return self._key
        if run >= len(self._key):
            raise ValueError(f"there must be a key for each run, or one; got {len(self._key)}")
        return self._key[run]

    def _best_response(
        self, key: Key[Array, ""], snapshot: Snapshot, noise_scale: float
    ) -> BestResponse:
        return best_response(
            key,
            snapshot.players,
            self._data,
            self._held_out,
            noise_scale=noise_scale,
            **self._settings,
        )

    def _real_rows(self) -> RealRows:
        """What samples are compared with: the same at every evaluation, so computed once."""
        if self._real is None:
            key = self._key if self._key.ndim == 0 else self._key[0]
            self._real = real_rows(
                key,
                _Featured(Examples(self._held_out), self._seen),
                _Featured(Examples(self._data), self._seen),
                samples=self._samples,
            )
        return self._real

    def _seen(self, rows: Float[np.ndarray, "n columns"]) -> Float[np.ndarray, "n features"]:
        if self._features is None:
            return rows
        found = np.asarray(self._features(jnp.asarray(rows)), np.float32)
        return found.reshape(len(rows), -1)


@dataclasses.dataclass(frozen=True)
class _Featured:
    """Rows, as the features that are compared."""

    rows: Examples
    seen: Callable[[Any], Any]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, numbers: Any) -> Any:
        return self.seen(self.rows[numbers])


def _two(source: Source) -> Batch:
    """Zeros in the place of two preprocessed rows."""
    return preprocessed(source, jax.tree.map(jnp.asarray, source.gather(np.zeros(2, int))))


def _shapes(batch: Batch) -> Any:
    """The shapes of a batch's rows; conditions may be of any type."""
    return [jax.tree.map(lambda x: tuple(x.shape[1:]), part) for part in parts(batch)]


def _spelt(batch: Batch) -> str:
    """The dtypes and shapes of a batch's rows, in words."""
    of_parts = (
        " and ".join(f"{x.dtype} of shape {tuple(x.shape[1:])}" for x in jax.tree.leaves(part))
        for part in parts(batch)
    )
    return " with the condition ".join(of_parts)


def _row_of(found: BestResponse) -> dict[str, Any]:
    names = ("value", "best_value", "regret", "divergence", "overfitting")
    row = {name: dataclasses.asdict(getattr(found, name)) for name in names}
    return row | {"step": found.step, "curve": list(found.curve), "curve_every": found.every}


def _worded(name: str, found: Mapping[str, Any]) -> str:
    if name == "duplicates":
        return WORDS[name].format(counted(round(found["support"]), "distinct sample"))
    return WORDS[name].format(found[name])


def _line(
    snapshot: Snapshot,
    found: BestResponse,
    noisy: Mapping[float, Estimate],
    compared: Collapse,
) -> str:
    """The line printed at an evaluation."""
    who = f"{snapshot.name}, " if snapshot.name else ""
    under = "".join(f", {bound.mean:.3f} with noise of {s:.2g}" for s, bound in noisy.items())
    return (
        f"{who}epoch {snapshot.epoch}: V(D, G) {found.value}, V(D*, G) {found.best_value}, regret "
        f"of D {found.regret.mean:.3f}, JSD at least {found.divergence.mean:.3f} of "
        f"0.693{under}; spread of samples {compared.spread:.2f}, effective rank "
        f"{compared.effective_rank:.2f}, neighbours {compared.neighbours:.2f}"
    )
