"""Results that ship with the package: `results.json` of runs, and reference rows, as JSON files."""

import importlib.resources
import json
from typing import Any


def recorded() -> list[dict[str, Any]]:
    """The results that ship with the package.

    Returns:
        What each file holds: a run's has a `benchmark`, a file of reference rows a `dataset`.

    Example:
        >>> from advnets.bench.recorded import recorded
        >>> "mnist" in {result.get("benchmark") for result in recorded()}
        True
    """
    folder = importlib.resources.files(__name__)
    files = [file for file in folder.iterdir() if file.name.endswith(".json")]
    return [json.loads(file.read_text()) for file in sorted(files, key=lambda file: file.name)]
