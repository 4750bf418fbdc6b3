"""The paper's protocol: a Parzen window on samples, its bandwidth chosen on validation rows."""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import jax
import numpy as np
from jaxtyping import Float, UInt8

import advnets
from advnets.bench.results import Score
from advnets.bench.settings import PREPROCESSING, Preprocessing
from advnets.parzen import Blocks, Evaluation, LogLikelihood

# The paper's protocol chooses MNIST's bandwidth on this many validation rows; likelihoods during
# training are of the same rows.
SELECTION_ROWS = 1000

Preprocess: TypeAlias = Callable[[UInt8[np.ndarray, " n *shape"]], Float[np.ndarray, " n *shape"]]
# Samples in an array, or drawn block by block and not stored.
Samples: TypeAlias = np.ndarray | Blocks


def on_host(preprocessing: Preprocessing) -> Preprocess:
    """A benchmark's preprocessing, from host arrays to host arrays."""
    compiled = jax.jit(PREPROCESSING[preprocessing])
    return lambda images: np.asarray(compiled(images))


def validate(samples: Samples, data: advnets.data.Dataset, preprocess: Preprocess) -> Evaluation:
    """The likelihood of validation rows during training, by which the best epoch is chosen.

    Raises a ValueError if there are no samples.
    """
    validation = preprocess(data.validation[:SELECTION_ROWS])
    return _evaluation(samples)(validation, None)


def _evaluation(
    samples: Samples,
    devices: Sequence[jax.Device] | None = None,
    notes: Path | None = None,
    progress: bool | str = False,
) -> Callable[..., Evaluation]:
    if isinstance(samples, np.ndarray):
        return functools.partial(advnets.parzen.evaluate, samples)
    return functools.partial(
        advnets.parzen.evaluate_draws, samples, devices=devices, notes=notes, progress=progress
    )


def score(
    samples: Samples,
    data: advnets.data.Dataset,
    preprocess: Preprocess,
    *,
    devices: Sequence[jax.Device] | None = None,
    notes: Path | None = None,
    progress: bool | str = False,
) -> Score:
    """The Parzen log-likelihood of samples by the paper's protocol, in nats.

    Args:
        samples: a model's samples: an array, or blocks that are not stored, see
            [`advnets.parzen.evaluate_draws`][].
        data: the data to score them on. With several folds, each has its own bandwidth, chosen on
            all its validation rows.
        preprocess: maps the data's pixels to the range of the samples.
        devices: the devices to distribute blocks over, as for
            [`advnets.parzen.evaluate_draws`][].
        notes: a folder from which an interrupted call on blocks continues, likewise.
        progress: show progress on blocks; a text says what is being scored.

    Returns:
        The score.

    References:
        Section 5, Table 1 and its caption.
    """
    evaluate = _evaluation(samples, devices, notes, progress)
    several = len(data.folds) > 1
    folds = tuple(
        _as_score(
            evaluate(
                preprocess(fold.validation),
                preprocess(fold.test),
                validation_rows=len(fold.validation) if several else SELECTION_ROWS,
            )
        )
        for fold in data.folds
    )
    if not several:
        return folds[0]
    ends = sorted({fold.at_grid_end for fold in folds if fold.at_grid_end is not None})
    bandwidths = [fold.bandwidth for fold in folds if isinstance(fold.bandwidth, float)]
    return Score(
        num_samples=folds[0].num_samples,
        bandwidth=tuple(bandwidths),
        at_grid_end=ends[0] if ends else None,
        validation=_over_folds([fold.validation.mean for fold in folds]),
        test=_over_folds([fold.test.mean for fold in folds]),
        folds=folds,
    )


def _as_score(found: Evaluation) -> Score:
    assert found.test is not None
    return Score(
        found.num_samples, found.bandwidth, found.at_grid_end, found.validation, found.test
    )


def _over_folds(means: list[float]) -> LogLikelihood:
    n = len(means)
    error = float(np.std(means, ddof=1)) / math.sqrt(n)
    return LogLikelihood(float(np.mean(means)), error, n)


def first_fold(data: advnets.data.Dataset, *, proper_folds: bool) -> advnets.data.Dataset:
    """The data with the folds on which a best epoch may be tested.

    The best epoch was chosen on the first fold's validation rows; unless the folds are proper,
    other folds test on those rows.

    Args:
        data: the run's.
        proper_folds: whether no fold validates on rows that another one tests on.

    Returns:
        The data, with only the first fold unless the folds are proper.
    """
    return data if proper_folds else dataclasses.replace(data, folds=data.folds[:1])
