"""A row of Table 1 from samples, and results as files."""

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, UInt8

import advnets
from advnets import _files
from advnets.bench.recipes import PREPROCESSING, Preprocessing

# The paper's protocol chooses MNIST's bandwidth on these many validation rows; during training, the
# likelihood is of these rows too.
SELECTION_ROWS = 1000

CAVEAT = (
    "A Parzen log-likelihood compares samples that were scored alike: it moves by tens of nats "
    "with the number of samples, k-means centroids beat real images at it, and it says little of "
    "how samples look."
)

Preprocess = Callable[[UInt8[np.ndarray, " n *shape"]], Float[np.ndarray, " n *shape"]]


def on_host(preprocessing: Preprocessing) -> Preprocess:
    """A recipe's preprocessing, from and to arrays on the host."""
    compiled = jax.jit(PREPROCESSING[preprocessing])
    return lambda images: np.asarray(compiled(images))


def score(
    samples: Float[np.ndarray, " n *shape"], data: advnets.data.Dataset, preprocess: Preprocess
) -> dict[str, Any]:
    """The Parzen log-likelihood of samples by the paper's protocol, in nats.

    Args:
        samples: draws of the generator.
        data: what to score them by. With several folds, each has its bandwidth, chosen on all its
            validation rows.
        preprocess: takes the data's pixels to where the samples are.

    Returns:
        `validation` and `test`, each with `mean`, `standard_error` and `n`: over rows, or over
        folds where there are several; `bandwidth`; `at_grid_end`; and with several folds `folds`,
        the same for each of them.

    References:
        Section 5, Table 1 and its caption.
    """
    return _by_fold(functools.partial(advnets.parzen.evaluate, samples), data, preprocess)


def score_draws(
    blocks: advnets.parzen.Blocks,
    data: advnets.data.Dataset,
    preprocess: Preprocess,
    *,
    devices: Sequence[jax.Device] | None = None,
    notes: Path | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """The same for samples that are drawn in blocks, none of which is kept.

    Args:
        blocks: draws of the generator, see [`advnets.parzen.evaluate_draws`][].
        data: what to score them by, as for [`advnets.bench.scoring.score`][].
        preprocess: takes the data's pixels to where the samples are.
        devices: what to spread the samples over, as for [`advnets.parzen.evaluate_draws`][].
        notes: a folder from which the same call goes on where it was stopped, likewise.
        progress: show progress.

    Returns:
        As [`advnets.bench.scoring.score`][] does.

    References:
        Section 5, Table 1 and its caption.
    """
    evaluate = functools.partial(
        advnets.parzen.evaluate_draws, blocks, devices=devices, notes=notes, progress=progress
    )
    return _by_fold(evaluate, data, preprocess)


def _by_fold(
    evaluate: Callable[..., advnets.parzen.Evaluation],
    data: advnets.data.Dataset,
    preprocess: Preprocess,
) -> dict[str, Any]:
    several = len(data.folds) > 1
    folds = [
        dataclasses.asdict(
            evaluate(
                preprocess(fold.validation),
                preprocess(fold.test),
                validation_rows=len(fold.validation) if several else SELECTION_ROWS,
            )
        )
        for fold in data.folds
    ]
    if not several:
        return folds[0]
    ends = sorted({fold["at_grid_end"] for fold in folds} - {None})
    return {
        "num_samples": folds[0]["num_samples"],
        "bandwidth": [fold["bandwidth"] for fold in folds],
        "at_grid_end": ends[0] if ends else None,
        "validation": _over_folds([fold["validation"]["mean"] for fold in folds]),
        "test": _over_folds([fold["test"]["mean"] for fold in folds]),
        "folds": folds,
    }


def _over_folds(means: list[float]) -> dict[str, float]:
    n = len(means)
    error = float(np.std(means, ddof=1)) / math.sqrt(n)
    return {"mean": float(np.mean(means)), "standard_error": error, "n": n}


def write_json(path: Path, content: Any) -> None:
    """Writes JSON to a file that appears whole or not at all."""
    _files.replace(path, (json.dumps(content, indent=2) + "\n").encode())
