"""A row of Table 1 from samples, and results as files."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

import advnets
from advnets import _files

# The paper's protocol chooses the bandwidth on these many validation rows; during training, the
# likelihood is of these rows too.
SELECTION_ROWS = 1000


def unit_interval(images: UInt8[np.ndarray, " n *shape"]) -> Float[np.ndarray, " n *shape"]:
    """Pixels as float32 in [0, 1], as the players see them."""
    return images.astype(np.float32) / 255


def score(samples: Float[np.ndarray, " n *shape"], data: advnets.data.Dataset) -> dict[str, Any]:
    """The Parzen log-likelihood of samples by the paper's protocol, in nats."""
    evaluation = advnets.parzen.evaluate(
        samples,
        unit_interval(data.validation),
        unit_interval(data.test),
        validation_rows=SELECTION_ROWS,
    )
    return dataclasses.asdict(evaluation)


def write_json(path: Path, content: Any) -> None:
    """Writes JSON to a file that appears whole or not at all."""
    _files.replace(path, (json.dumps(content, indent=2) + "\n").encode())
