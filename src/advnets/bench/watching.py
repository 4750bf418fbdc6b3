"""What a run does between epochs: measure validation likelihood, keep the best model, draw."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

import advnets
from advnets import _files
from advnets.bench import frames
from advnets.bench.folders import METRICS, best_name, best_row, read_rows
from advnets.bench.protocol import Samples, on_host, validate
from advnets.bench.results import Measured
from advnets.bench.settings import PREPROCESSING, Settings
from advnets.paper_figures import Sampler
from advnets.training.devices import is_main_process
from advnets.training.journal import Metrics

# Figure 2 has 4 rows of 5 samples; a run's picture has more.
ROWS, COLUMNS = 8, 10
# A picture has a row for each class, up to this many.
MOST_CLASSES = 20


def pictured(settings: Settings, samples: int) -> Any:
    """A function from images to pictures in [0, 1], scaled by the samples, which come first."""
    if settings.preprocessing == "unit":
        return np.asarray

    def picture(images: Float[Array, " n *shape"]) -> Float[np.ndarray, " n *shape"]:
        shown = np.asarray(images)
        return advnets.preprocessing.gcn_picture(shown, float(abs(shown[:samples]).max()) or None)

    return picture


@dataclasses.dataclass(frozen=True)
class ByClass:
    """A conditional model's samples class by class, instead of with random classes.

    Attributes:
        model: the model; its generator takes labels.
        classes: how many classes.
    """

    model: advnets.Model
    classes: int

    def sample(self, key: Key[Array, ""], n: int) -> Float[np.ndarray, " n *shape"]:
        """The same number of samples of each class: those of class 0 first.

        Raises a ValueError if n is not a multiple of the number of classes.
        """
        if n % self.classes:
            raise ValueError(f"{n} samples can't be split evenly over {self.classes} classes")
        labels = np.repeat(np.arange(self.classes), n // self.classes)
        return self.model.sample(key, n, condition=labels)


def in_rows(model: Sampler) -> tuple[Sampler, int]:
    """The sampler that pictures of a model are drawn from, and their number of rows.

    Args:
        model: the model.

    Returns:
        For a conditional model, its samples class by class, with a row for each class or for each
        of the first 20; for any other, the model itself, with 8 rows.
    """
    if not isinstance(model, advnets.Model):
        return model, ROWS
    classes = advnets.players.classes_taken(model.generator)
    if classes is None:
        return model, ROWS
    rows = min(classes, MOST_CLASSES)
    return ByClass(model, rows), rows


@dataclasses.dataclass(frozen=True)
class Watch:
    """Called between epochs with the epoch's number and the current model.

    Attributes:
        settings: the run's.
        data: the run's.
        folder: where pictures and the best model go.
        key: the key of the run's samples.
        after_row: a function called once the row of an evaluation is on disk, if any.
        measures: whether there is anything to do between epochs.
    """

    settings: Settings
    data: advnets.data.Dataset
    folder: Path
    key: Key[Array, ""]
    after_row: Callable[[], object] | None = None
    measures: bool = True

    def at(self, folder: Path, key: Key[Array, ""]) -> "Watch":
        """The same watch for another stage of the run."""
        return dataclasses.replace(self, folder=folder, key=key)

    def samples(self, epoch: int, model: Sampler, num_samples: int | None = None) -> Samples:
        """The samples of an epoch that are scored; by default as many as the settings say.

        They come from the model's `blocks(key, n)` if it has one, which need not hold all of them
        at once, as [`advnets.Model.blocks`][]; otherwise from its `sample(key, n)`. A ValueError
        for an epoch that is not an unsigned 32-bit number.
        """
        if not 0 <= epoch < 2**32:
            raise ValueError(f"the epoch must be at least 0 and below 2**32; got {epoch}")
        draw = getattr(model, "blocks", model.sample)
        found = draw(jax.random.fold_in(self.key, epoch), num_samples or self.settings.num_samples)
        return np.asarray(found) if isinstance(found, jax.Array) else found

    def __call__(self, epoch: int, model: Sampler) -> Mapping[str, Any]:
        """The measurements of a model; a ValueError for an epoch that `samples` refuses."""
        if not self.measures:
            return {}
        estimate = validate(
            self.samples(epoch, model), self.data, on_host(self.settings.preprocessing)
        )
        kept = {}
        if is_main_process():
            kept = self._keep_best(epoch, model, estimate.validation.mean)
            self.draw(model, epoch)
        return {
            "validation": dataclasses.asdict(estimate.validation),
            "bandwidth": estimate.bandwidth,
            "at_grid_end": estimate.at_grid_end,
            **kept,
        }

    def row(self, epoch: int, model: Sampler | None = None, **numbers: Any) -> Metrics:
        """Writes a row of `metrics.jsonl`, for a system not trained by [`advnets.train`][].

        Args:
            epoch: the epoch's number, from 1 on. Existing rows from this one on, which a stopped
                run may have left, are dropped.
            model: the current model, if its likelihood is to be measured, as it must be after the
                last epoch.
            numbers: further entries of the row.

        Returns:
            The row, for [`advnets.bench.systems.Fitted`][].
        """
        measured = {} if model is None else self(epoch, model)
        row = {"epoch": epoch, **numbers, **measured}
        if self.measures and is_main_process():
            log = self.folder / METRICS
            lines = log.read_bytes().splitlines(keepends=True) if log.exists() else []
            line = json.dumps(row, default=float) + "\n"
            _files.replace(log, b"".join(lines[: epoch - 1]) + line.encode())
            if self.after_row is not None and model is not None:
                self.after_row()
        return row

    def _keep_best(self, epoch: int, model: Any, likelihood: float) -> dict[str, str]:
        """Saves a model that is better than all before, and returns its SHA-256 for the row."""
        log = self.folder / METRICS
        best = None
        if log.exists():
            # Rows of models that were the best so far have a SHA-256, except in earlier versions.
            rows = read_rows(log, Measured, having="model_sha256")
            rows = rows or read_rows(log, Measured, having="validation")
            best = best_row([row for row in rows if row.epoch < epoch])
        if best is not None and likelihood <= best.mean:
            return {}
        # One file per best model; the previous best stays, as a run may be resumed from there.
        advnets.save_model(self.folder / best_name(epoch), model)
        kept = {best_name(epoch)} | ({best_name(best.epoch)} if best else set())
        for path in self.folder.glob(best_name("*")):
            if path.name not in kept:
                path.unlink()
        return {"model_sha256": _files.sha256(self.folder / best_name(epoch))}

    def draw(self, model: Any, epoch: int) -> None:
        """Draws Figure 2 of the current model, and the same samples for the report's slider."""
        drawn, rows = in_rows(model)
        picture = pictured(self.settings, rows * COLUMNS)
        advnets.paper_figures.figure_2(
            self.folder / "samples.png",
            self.key,
            drawn,
            self.data.train,
            rows=rows,
            columns=COLUMNS,
            preprocess=PREPROCESSING[self.settings.preprocessing],
            picture=picture,
        )
        samples = picture(jnp.asarray(drawn.sample(self.key, rows * COLUMNS)))
        frames.write_frame(self.folder, epoch, self.settings.evaluate_every, samples, COLUMNS)
        frames.write_sheet(self.folder, self.data.train)
