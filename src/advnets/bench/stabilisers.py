"""Stabilisers compared: how many modes of toy data each finds, over many seeds."""

import dataclasses
import functools
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import msgspec
import numpy as np
from jaxtyping import Array, Float, Key

from advnets import _files, _locks, _progress, _signals
from advnets._counts import counted
from advnets.bench import results
from advnets.bench._parts import Part, identity_of, read_kept
from advnets.bench.folders import check_writable
from advnets.bench.modes import drawing
from advnets.bench.modes.gaussians import TRUE_SHARE, Counted, Gaussians, count, grid, ring
from advnets.bench.modes.methods import BATCH, METHODS, Method
from advnets.bench.modes.scores import Scores, Setting
from advnets.bench.results import Provenance, distribution
from advnets.model import Model
from advnets.training import Snapshot, Trained, TrainingDiverged, train_many

DATA: Mapping[str, Callable[[], Gaussians]] = {"ring": ring, "grid": grid}
# Rows of data: an epoch of 200 updates.
ROWS = 200 * BATCH
LOOKS = 10
# Games of a setting, which are trained in one program.
MOST_SEEDS = 1_000
KEPT = "settings"
# What was measured by another version of these definitions is measured again.
VERSION = 1


class Effort(msgspec.Struct, frozen=True):
    """How much is measured.

    Attributes:
        seeds: games of each setting.
        updates: of each game, a multiple of 200.
        samples: drawn of each generator.
        data: the names of the data.
    """

    seeds: int = 20
    updates: int = 7000
    samples: int = 2500
    data: tuple[str, ...] = tuple(DATA)


FULL = Effort()
QUICK = Effort(seeds=2, updates=1600, data=("ring",))


class Stabilisers(msgspec.Struct, frozen=True):
    """The comparison.

    Attributes:
        settings: what was found for each method on each data.
        effort: how much was measured.
        provenance: of the command that wrote it. Each setting has that of its own numbers, as what
            was measured before is kept.
    """

    settings: tuple[Setting, ...]
    effort: Effort
    provenance: Provenance


class _Kept(Part, frozen=True):
    """What was measured of a setting."""

    setting: Setting


def prepare(out: str | os.PathLike[str], *, effort: Effort = FULL) -> Callable[[bool], Stabilisers]:
    """Checks all that can be checked before stabilisers are compared.

    Args:
        out: the folder of the table; a setting that was finished there before is not played again.
        effort: how much is measured.

    Returns:
        A function that plays what is missing and writes the table, given whether to show progress.

    Raises:
        ValueError: for a number out of range, or unknown data.
        OSError: if the table can't be written.
    """
    if not 1 <= effort.seeds <= MOST_SEEDS:
        raise ValueError(
            f"the number of seeds must be from 1 to {MOST_SEEDS:,}, as the games of a setting are "
            f"played at once; got {effort.seeds}"
        )
    each = ROWS // BATCH
    if not each <= effort.updates < 2**31 or effort.updates % each:
        raise ValueError(
            f"the updates of a game must be a positive multiple of {each}, those of an epoch; "
            f"got {effort.updates}"
        )
    if not 1 <= effort.samples < 2**31:
        raise ValueError(f"the number of samples must be from 1 to 2**31 - 1; got {effort.samples}")
    unknown = sorted(set(effort.data) - set(DATA))
    if unknown or not effort.data:
        got = unknown[0] if unknown else "none"
        raise ValueError(f"the data must be among {', '.join(DATA)}; got {got}")
    out, origin = Path(out), Provenance.here()
    check_writable(out / "stabilisers.json")
    return lambda progress: _measured(out, effort, origin, progress=progress)


def _measured(out: Path, effort: Effort, origin: Provenance, *, progress: bool) -> Stabilisers:
    """Plays what is missing, keeps each setting as soon as it is finished, and writes the table."""
    kept = out / KEPT
    kept.mkdir(exist_ok=True)
    tasks = [(name, method) for name in effort.data for method in METHODS]
    with _locks.locked(kept):
        known = [_read(kept, name, method, effort) for name, method in tasks]
        games = effort.seeds * effort.updates
        bar = _progress.bar(
            games * len(tasks),
            "stabilisers",
            unit="update",
            done=games * sum(one is not None for one in known),
            enabled=progress,
        )
        settings = []
        with bar as shown:
            for (name, method), found in zip(tasks, known, strict=True):
                shown.set_postfix_str(f"{name}: {method}")
                if found is None:
                    found = _play(name, method, effort, origin, shown.update)
                    identity = _identity(name, method, effort)
                    results.write(_path(kept, name, method, effort), _Kept(identity, found))
                settings.append(found)
                _signals.check()
    comparison = Stabilisers(tuple(settings), effort, origin)
    write(out, comparison)
    return comparison


def _path(kept: Path, data: str, method: str, effort: Effort) -> Path:
    """A quick comparison in the same folder leaves a long one's settings as they are."""
    games = f"{effort.seeds}-seeds-{effort.updates}-updates"
    return kept / f"{data}-{method.replace(' ', '-')}-{games}.json"


def _identity(data: str, method: str, effort: Effort) -> str:
    """What a setting's numbers depend on."""
    parts = [VERSION, data, method, METHODS[method].description]
    parts += [effort.seeds, effort.updates, effort.samples]
    return identity_of(parts)


def _read(folder: Path, data: str, method: str, effort: Effort) -> Setting | None:
    """What was measured of a setting before, if it is whole and of this effort."""
    identity = _identity(data, method, effort)
    found = read_kept(_path(folder, data, method, effort), _Kept, identity)
    return None if found is None else found.setting


def _play(
    name: str, method: str, effort: Effort, origin: Provenance, on_updates: Callable[[int], object]
) -> Setting:
    """All games of a setting, in one program."""
    began = time.monotonic()
    data, chosen = DATA[name](), METHODS[method]
    seeds = jnp.arange(effort.seeds)
    keys = jax.vmap(lambda seed: jax.random.split(jax.random.key(seed), 3))(seeds)
    run_keys, build_keys, sample_keys = keys.T
    trained = _train(run_keys, build_keys, data, chosen, effort, on_updates)
    ended = [(one, key) for one, key in zip(trained, sample_keys, strict=True) if one is not None]

    def samples(models: Sequence[Model]) -> list[Float[np.ndarray, "n 2"]]:
        return [
            model.sample(key, effort.samples) for model, (_, key) in zip(models, ended, strict=True)
        ]

    last = samples([one.model for one, _ in ended])
    average = samples([one.averaged for one, _ in ended if one.averaged is not None])
    scores = [[count(one, data) for one in drawn] for drawn in (last, average)]
    shown = _median([one.share for one in scores[0]])
    return Setting(
        data=name,
        method=method,
        definition=chosen.description,
        modes=data.modes,
        diverged=effort.seeds - len(ended),
        last=_scores(scores[0]),
        averaged=_scores(scores[1]),
        shown=[] if shown is None else np.round(last[shown][:1000], 3).tolist(),
        seconds=time.monotonic() - began,
        provenance=origin,
    )


def _train(
    run_keys: Key[Array, " seeds"],
    build_keys: Key[Array, " seeds"],
    data: Gaussians,
    method: Method,
    effort: Effort,
    on_updates: Callable[[int], object],
) -> Sequence[Trained | None]:
    epochs = effort.updates // (ROWS // BATCH)
    players = eqx.filter_vmap(functools.partial(method.players, modes=data.modes))(build_keys)
    counted = 0

    def moved(snapshot: Snapshot) -> None:
        nonlocal counted
        now = snapshot.updates * effort.seeds
        on_updates(max(0, now - counted))
        counted = max(now, counted)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # the table says which ones diverged
            trained = train_many(
                run_keys,
                players,
                data.draw(0, ROWS),
                epochs=epochs,
                algorithm=method.algorithm(effort.updates),
                batch_size=BATCH,
                evaluate_every=max(1, epochs // LOOKS),
                callbacks=[moved],
                pictures=False,
                progress=False,
            )
    except TrainingDiverged:
        trained = [None] * effort.seeds
    on_updates(effort.updates * effort.seeds - counted)
    return trained


def _scores(counted: Sequence[Counted]) -> Scores | None:
    if not counted:
        return None
    columns = {
        field.name: distribution([float(getattr(one, field.name)) for one in counted])
        for field in dataclasses.fields(Counted)
    }
    return Scores(**columns)


def _median(values: Sequence[float]) -> int | None:
    """The index of the median; of two middle values, that of the larger."""
    return int(np.argsort(values, kind="stable")[len(values) // 2]) if values else None


def markdown(comparison: Stabilisers) -> str:
    """The comparison as Markdown.

    Args:
        comparison: the comparison.

    Returns:
        A table for each kind of data, what its numbers are, and where they come from.
    """
    effort, lines = comparison.effort, []
    for name in effort.data:
        of_data = [one for one in comparison.settings if one.data == name]
        modes = of_data[0].modes
        lines += [
            f"## {name}: {modes} modes",
            "",
            "| method | modes found | covered | share | divergence | average of G: covered | share "
            "| divergence | diverged |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for one in of_data:
            of_last: tuple[drawing.Column, ...] = ("found", "covered", "share", "divergence")
            cells = [one.method, *(drawing.format_score(one.last, column) for column in of_last)]
            cells += [drawing.format_score(one.averaged, column) for column in of_last[1:]]
            lines.append(f"| {' | '.join(cells)} | {one.diverged} of {effort.seeds} |")
        lines.append("")
    lines += [
        f"Mean ± standard deviation over {counted(effort.seeds, 'seed')} of "
        f"{effort.updates:,} updates, by {effort.samples:,} samples each. Found: modes with a "
        "sample within three standard deviations. Covered: modes with at least a tenth of their "
        "due there. Share: of samples "
        f"within three standard deviations of a mode, of data {TRUE_SHARE:.3f}. Divergence: of the "
        "samples' histogram over nearest modes from the uniform one, in nats.",
        "",
        "What the methods are:",
        "",
        *(f"- {name}: {method.description}" for name, method in METHODS.items()),
        "",
        "When and where they were played:",
        "",
    ]
    for one in comparison.settings:
        origin = one.provenance.line(f"in {one.seconds:.0f} s")
        lines.append(f"- {one.data}, {one.method}: {origin}")
    return "\n".join(lines) + "\n"


def summary(comparison: Stabilisers) -> str:
    """The comparison for a terminal, a line for each setting.

    Args:
        comparison: the comparison.

    Returns:
        The lines.
    """
    lines = []
    for name in comparison.effort.data:
        of_data = [one for one in comparison.settings if one.data == name]
        lines.append(
            f"{name}, {of_data[0].modes} modes: covered, share (of data {TRUE_SHARE:.3f}):"
        )
        for one in of_data:
            scores = ", ".join(
                drawing.format_score(one.last, column) for column in ("covered", "share")
            )
            average = drawing.format_score(one.averaged, "share")
            lines.append(f"  {one.method}: {scores}; average of G {average}")
    return "\n".join(lines)


def write(out: str | os.PathLike[str], comparison: Stabilisers) -> None:
    """Writes `stabilisers.json`, `stabilisers.md`, `shares.png`, and samples by data, `ring.png`.

    Args:
        out: the folder.
        comparison: the comparison.

    Raises:
        OSError: if something can't be written there.
    """
    out = Path(out)
    check_writable(out / "stabilisers.json")
    results.write(out / "stabilisers.json", comparison)
    _files.replace(out / "stabilisers.md", markdown(comparison).encode())
    drawing.shares(out / "shares.png", comparison.settings)
    for name in comparison.effort.data:
        of_data = [one for one in comparison.settings if one.data == name]
        drawing.samples(out / f"{name}.png", DATA[name](), of_data)
