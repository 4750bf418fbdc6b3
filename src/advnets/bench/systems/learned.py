"""Common code of systems that train one model on a cost, in stages with folders of their own."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
from jaxtyping import Array, Key

import advnets
from advnets import training
from advnets.bench.folders import FIRST_STAGE
from advnets.bench.settings import PREPROCESSING
from advnets.bench.systems.base import Run
from advnets.bench.watching import Watch
from advnets.paper_figures import Sampler
from advnets.training.devices import is_main_process
from advnets.training.journal import holds_run


def stage_keys(seed: int, stage: int) -> tuple[Key[Array, ""], Key[Array, ""]]:
    """The keys of a stage's model before training, and of its training.

    Args:
        seed: the run's.
        stage: 1, or 2 for the layer above.

    Returns:
        The keys. The key of samples is [`advnets.bench.systems.System.sample_key`][].

    Raises:
        OverflowError: for a seed or a stage beyond 64 bits.
    """
    build, train = jax.random.split(jax.random.fold_in(jax.random.key(seed), 2**16 + stage))
    return build, train


def fit_stage(
    run: Run,
    watch: Watch,
    model: Any,
    learner: training.Learner,
    *,
    stage: int = 1,
    last: bool = True,
    epochs: int,
    batch_size: int,
    sampler: Callable[[Any], Sampler] = lambda model: model,
    progress: bool,
) -> training.Learned[Any]:
    """Fits one stage of a run: the last one in the run's folder, an earlier one in `first-stage/`.

    Args:
        run: the run.
        watch: the run's watch.
        model: the model to fit; its parts inside `Frozen` stay unchanged.
        learner: how to fit it.
        stage: the stage's number, for its keys.
        last: whether it is the last stage, whose samples are scored.
        epochs: the number of epochs.
        batch_size: examples in a minibatch.
        sampler: maps the last stage's model to the sampler that is scored; the model itself
            unless given.
        progress: show progress.

    Returns:
        The fitted model, with its metrics.

    Raises:
        TrainingDiverged: if the model's numbers do not stay finite.
        ValueError, FileExistsError, RunInUseError: as [`advnets.training.fit`][].
    """
    folder = run.folder if last else run.folder / FIRST_STAGE

    def evaluate(epoch: int, now: Any) -> Mapping[str, Any]:
        return watch(epoch, sampler(now))

    learned = training.fit(
        stage_keys(run.seed, stage)[1],
        model,
        training.Resident(run.data.train, PREPROCESSING[run.system.settings.preprocessing]),
        learner=learner,
        epochs=epochs,
        batch_size=batch_size,
        evaluate=evaluate if last else None,
        evaluate_every=run.system.settings.evaluate_every,
        callbacks=run.callbacks if last else (),
        folder=folder,
        resume=run.resumes(holds_run(folder)),
        devices=run.devices,
        progress=progress,
    )
    if not last and is_main_process():
        title = f"{run.called}, first stage, seed {run.seed}"
        advnets.figures.curves(folder / "curves.png", learned.metrics, title=title)
    return learned


def check_batch(run_settings: Any, data: advnets.data.Dataset) -> None:
    """Refuses, with a ValueError, a batch size below 1 or above the number of training rows."""
    size, rows = run_settings.batch_size, len(data.train)
    if not 1 <= size <= rows:
        raise ValueError(
            f"the batch size must be at least 1 and at most the {rows} training rows of "
            f"{run_settings.dataset}; got {size}"
        )


def check_pixels(settings: Any) -> None:
    """Refuses, with a ValueError, pixels outside [0, 1], as only those can be made."""
    if settings.preprocessing != "unit":
        raise ValueError(
            "this benchmark's pixels must be in [0, 1], and those of "
            f"{settings.preprocessing} images are not; use --preprocessing unit"
        )
