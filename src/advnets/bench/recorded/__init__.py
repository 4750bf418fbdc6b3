"""Results that ship with the package: `results.json` of runs, and reference rows, as JSON files."""

import importlib.resources

from advnets import _documents
from advnets.bench.results import Entry, ReferenceRows


def recorded() -> list[Entry | ReferenceRows]:
    """The results that ship with the package.

    Returns:
        The content of each file.

    Example:
        >>> from advnets.bench.recorded import recorded
        >>> from advnets.bench.results import Entry
        >>> "mnist" in {one.benchmark for one in recorded() if isinstance(one, Entry)}
        True
    """
    folder = importlib.resources.files(__name__)
    files = [file for file in folder.iterdir() if file.name.endswith(".json")]
    return [
        entry_or_rows(file.read_bytes(), file.name)
        for file in sorted(files, key=lambda file: file.name)
    ]


def entry_or_rows(content: bytes, source: object) -> Entry | ReferenceRows:
    """A run's result, or reference rows, from JSON.

    Args:
        content: the JSON.
        source: what it was read from, for error messages.

    Returns:
        The result, or the reference rows.

    Raises:
        ValueError: if it is neither.
    """
    fields, _ = _documents.unseal(content, source)
    if "benchmark" in fields:
        return _documents.convert(fields, Entry, source)
    if "dataset" in fields:
        return _documents.convert(fields, ReferenceRows, source)
    raise ValueError(f"{source} holds neither a run's results nor reference rows")
