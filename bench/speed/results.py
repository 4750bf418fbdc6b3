"""A result as JSON, with its provenance."""

import importlib.metadata
import json

from advnets import _files
from advnets._provenance import provenance

PEERS = ("torch",)


def finish(result, out):
    """Adds command, commit, versions and hardware, and writes the file if `out` is given."""
    origin = provenance()
    for name in PEERS:
        try:
            origin["versions"][name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            origin["versions"][name] = None
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(result | {"provenance": origin}, indent=2)
        _files.replace(out, (text + "\n").encode())
