"""A callback that logs a run for TensorBoard."""

import os
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Key

from advnets import _reprs
from advnets._extras import needed_for
from advnets.model import Model
from advnets.training.callbacks import Callback, EpochSummary
from advnets.training.pictures import sample_images, shown

# Samples in the grid; tensorboardX puts 8 in a row.
SAMPLES = 64


def tensorboard(
    folder: str | os.PathLike[str] | None = None, *, key: Key[Array, ""] | None = None
) -> Callback:
    """Makes a callback that logs the row's numbers, and samples, for TensorBoard.

    Numbers are logged as scalars at the epoch, by their names in the row, such as `generator/cost`.
    If examples are images, 64 samples are logged as a picture, drawn with the same key every time.
    A resumed run replaces what was logged for the epochs that it repeats. Needs the `tensorboard`
    extra.

    Args:
        folder: where the event files go, with a subfolder for each of many runs, by its name;
            `tensorboard/` in the run's own folder unless given.
        key: a typed random key for the samples; `jax.random.key(0)` unless given.

    Returns:
        The callback, for the `callbacks` of [`advnets.train`][] and [`advnets.train_many`][].

    Raises:
        ModuleNotFoundError: without the extra; the message says how to install it.

    Example:
        >>> import tempfile
        >>> import jax
        >>> import advnets
        >>> images = advnets.data.load("digits").train
        >>> key, g_key, d_key = jax.random.split(jax.random.key(0), 3)
        >>> players = advnets.Players(
        ...     advnets.networks.mlp_generator(g_key, 100, (8, 8), hidden_sizes=[32]),
        ...     advnets.networks.maxout_discriminator(d_key, (8, 8), units=[16]),
        ... )
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     log = advnets.training.tensorboard(folder)
        ...     trained = advnets.train(
        ...         key, players, images, epochs=2, callbacks=[log], progress=False
        ...     )
    """
    with needed_for("TensorBoard's files", "tensorboard"):
        import PIL  # noqa: F401  # tensorboardX encodes pictures with it
        from tensorboardX import summary

        # This writes at once; a SummaryWriter writes in a thread, which may die with its queue.
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog
    samples_key = jax.random.key(0) if key is None else key
    writers: dict[Path, Any] = {}

    def log(snapshot: EpochSummary) -> None:
        place = _place(folder, snapshot)
        now = {"wall_time": time.time(), "step": snapshot.epoch}
        if place not in writers:
            place.mkdir(parents=True, exist_ok=True)
            writers[place] = EventsWriter(f"{place / 'events'}", f".{snapshot.epoch}")
            # Discards what an earlier process logged from here on: it is repeated.
            start = SessionLog(status=SessionLog.START)
            writers[place].write_event(Event(session_log=start, **now))
        event = Event(**now)
        for name, value in _reprs.entries(snapshot.metrics):
            if isinstance(value, int | float) and name != "epoch":
                event.summary.MergeFrom(summary.scalar(name, float(value)))
        model = getattr(snapshot, "model", None)
        samples = sample_images(samples_key, model, SAMPLES) if isinstance(model, Model) else None
        if samples is not None:
            pixels = np.round(255 * shown(samples)).astype(np.uint8)
            pixels = pixels[..., None] if pixels.ndim == 3 else pixels
            event.summary.MergeFrom(summary.image("samples", pixels, dataformats="NHWC"))
        writers[place].write_event(event)
        writers[place].flush()

    return log


def _place(folder: str | os.PathLike[str] | None, snapshot: EpochSummary) -> Path:
    if folder is not None:
        return Path(folder) / snapshot.name
    if snapshot.folder is None:
        raise ValueError(
            "the run has no folder of its own; say where the logs go, tensorboard(folder)"
        )
    return snapshot.folder / "tensorboard"
